"""Synthetic samples of any size."""

import numpy as np

__all__ = ["labelled", "measured"]


def labelled(n, d, seed=0):
    """Return X (n, d) and labels 0 or 1 of a logistic model."""
    X, raw, rng = _linear(n, d, seed)
    return X, (raw + rng.logistic(size=n) > 0).astype(int)


def measured(n, d, seed=0):
    """Return X (n, d) and real targets of a linear model with noise."""
    X, raw, rng = _linear(n, d, seed)
    return X, raw + rng.standard_normal(n)


def _linear(n, d, seed):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    return X, X @ rng.standard_normal(d) / np.sqrt(d), rng
