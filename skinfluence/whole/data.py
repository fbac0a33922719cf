"""What a pipeline was fitted on, and its fit on some of these rows."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse

__all__ = ["TrainingData", "take_rows"]


def take_rows(X, rows):
    """Return some rows of an array, a sparse matrix, a DataFrame or a list."""
    if hasattr(X, "iloc"):
        return X.iloc[rows]
    if sparse.issparse(X):
        return X.tocsr()[rows]
    if isinstance(X, list | tuple):
        return [X[row] for row in rows]
    return X[rows]


@dataclass(frozen=True, eq=False)
class TrainingData:
    """The arguments of a pipeline's `fit`.

    Parameters
    ----------
    X : {array-like, sparse matrix, DataFrame} of shape (n, d)
        Raw samples.
    y : array-like of shape (n,) or (n, n_targets)
        Targets.
    params : dict of str to object
        Metadata of `fit`, such as sample weights under the names that route them.
    """

    X: Any
    y: Any
    params: dict

    @property
    def n_rows(self):
        """Number of samples, n."""
        return self.X.shape[0] if hasattr(self.X, "shape") else len(self.X)

    def take(self, rows):
        """Return the same of some samples."""
        n = self.n_rows
        params = {
            name: take_rows(value, rows) if _has_rows(value, n) else value
            for name, value in self.params.items()
        }
        return replace(
            self, X=take_rows(self.X, rows), y=take_rows(self.y, rows), params=params
        )

    def without(self, rows):
        """Return the same without some samples."""
        return self.take(np.delete(np.arange(self.n_rows), rows))

    def append(self, X, y, sample_weight):
        """Return the same with more samples behind them.

        Weights of metadata are 1 for the new samples unless they are given.
        """
        n, m = self.n_rows, len(y)
        weight = np.ones(m) if sample_weight is None else np.asarray(sample_weight)
        params = dict(self.params)
        for name, value in params.items():
            if _has_rows(value, n):
                params[name] = np.concatenate([np.asarray(value), weight])
        return TrainingData(_stack(self.X, X), _stack(self.y, y), params)


def _stack(first, second):
    """Return rows and more rows behind them, of the kind of the first."""
    if hasattr(first, "iloc"):
        import pandas as pd  # it is there, because the first rows are its own

        return pd.concat([first, type(first)(second)], ignore_index=True)
    if sparse.issparse(first):
        return sparse.vstack([first, second], format="csr")
    if isinstance(first, list | tuple):
        return [*first, *second]
    return np.concatenate([first, np.asarray(second)])


def _has_rows(value, n):
    """Return whether a value of metadata has an entry for each sample."""
    if value is None or isinstance(value, str | dict):
        return False
    shape = getattr(value, "shape", None)
    return (shape[0] if shape else len(value) if hasattr(value, "__len__") else None) == n
