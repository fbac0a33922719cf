"""Random weights, relative errors and refits for tests of models at other weights."""

import numpy as np


def drawn(n, seed=0):
    """Return counts of a bootstrap times random numbers: zeros, and weights up to about 8."""
    rng = np.random.default_rng(seed)
    counts = np.bincount(rng.integers(n, size=n), minlength=n)
    return counts * rng.uniform(0.5, 2.0, n)


def error(found, expected, start):
    """Return the distance between parameters relative to that from the start."""
    return np.linalg.norm(found - expected) / np.linalg.norm(expected - start)
