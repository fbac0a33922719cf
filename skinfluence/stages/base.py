"""What a step of a fit before the model must be able to do.

A stage is a fitted transformer with the training rows that it was fitted on. It has statistics
s (means, scales, components), which its fit computed from the rows, and a transform t(x; s).
Let m_i be the multiplicity of training row i: how often the row occurs. A scalar Q depends
on the rows through the statistics. Given the cotangent B = dQ/dt on transformed rows, a stage
can do three things:

    pull_statistics, pull_input    c = sum_rows (dt/ds)' B    and    (dt/dx)' B
    row_influence                  c . ds/dm_i                for every training row i
    pull_fit                       d(c . s)/dx_i              for every training row i

Everything else follows by the chain rule, see `chain`. Cotangents on dense rows are arrays
(m, D). Cotangents on sparse rows are sparse matrices with the pattern of the rows: an entry
that is always 0 needs none.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

__all__ = ["Factors", "NotNumbers", "Stage", "Stateless", "dense", "numbers", "on_rows"]


def dense(X):
    """Return rows as a float64 array (m, d)."""
    return X.toarray() if sparse.issparse(X) else np.asarray(X, dtype=np.float64)


def numbers(X):
    """Return rows as a float64 array or csr array, without the names of a DataFrame."""
    if sparse.issparse(X):
        return sparse.csr_array(X, dtype=np.float64)
    return np.asarray(X, dtype=np.float64)


def on_rows(rows, left, right):
    """Return sum_k left_k (outer) right_k, on the pattern of the rows if they are sparse.

    Parameters
    ----------
    rows : ndarray or sparse matrix of shape (m, d)
        Rows that the cotangent belongs to.
    left : ndarray of shape (m, K)
        Factors of the rows.
    right : ndarray of shape (K, d)
        Factors of the columns.
    """
    if not sparse.issparse(rows):
        return left @ right
    rows = rows.tocsr()
    owner = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    data = np.zeros(len(rows.indices))
    for one, other in zip(left.T, right, strict=True):
        data += one[owner] * other[rows.indices]
    return sparse.csr_array((data, rows.indices, rows.indptr), shape=rows.shape)


@dataclass(frozen=True, eq=False)
class Factors:
    """Cotangents B_j = bend_j theta + pull v_j on the same rows, of m scalars.

    Parameters
    ----------
    rows : ndarray or sparse matrix of shape (n, d)
        The rows; cotangents on sparse ones have their pattern.
    bend : ndarray of shape (m, n, K)
        Factors of the rows for each scalar.
    theta : ndarray of shape (K, d)
        Factors of the columns.
    pull : ndarray of shape (n, K)
        Factors of the rows.
    V : ndarray of shape (m, K, d)
        Factors of the columns for each scalar.
    """

    rows: Any
    bend: np.ndarray
    theta: np.ndarray
    pull: np.ndarray
    V: np.ndarray

    def __len__(self):
        return len(self.V)

    def __iter__(self):
        for bend, v in zip(self.bend, self.V, strict=True):
            left, right = np.hstack([bend, self.pull]), np.vstack([self.theta, v])
            yield on_rows(self.rows, left, right)


class Stage(ABC):
    """A fitted transformer with its training rows.

    Parameters
    ----------
    transformer : estimator
        The fitted transformer. It is not changed.
    X : {ndarray, sparse matrix, DataFrame} of shape (n, d)
        Rows that it was fitted on.
    y : array-like of shape (n,) or None, default=None
        Targets that it was fitted on.
    weight : ndarray of shape (n,) or None, default=None
        Sample weights that its `fit` took; None for ones.
    """

    #: Whether rows come in and go out as numbers; else the input has no derivative.
    takes_numbers = True
    #: Whether statistics have a derivative in the weight of a row.
    has_influence = True
    #: Whether training rows come out of a fit other than they come out of `apply`.
    is_cross_fitted = False

    def __init__(self, transformer, X, y=None, weight=None):
        self.transformer = transformer
        self.given = X
        self.X = self.rows(X)
        self.y = y
        self.weight = np.ones(self.n_rows) if weight is None else weight

    @property
    def n_rows(self):
        """Number of training rows, n."""
        return self.X.shape[0] if hasattr(self.X, "shape") else len(self.X)

    def rows(self, X):
        """Return rows as the other methods take them: without the names of a DataFrame."""
        return numbers(X) if self.takes_numbers else X

    def apply(self, X):
        """Return transformed rows, as `predict` sees them, from rows as they were given."""
        return self.transformer.transform(X)

    def training_output(self):
        """Return the transformed training rows that the next step was fitted on."""
        return self.apply(self.given)

    @abstractmethod
    def pull_statistics(self, X, B):
        """Return the cotangent c on the statistics, of transformed rows with cotangent B.

        Parameters
        ----------
        X : ndarray or sparse matrix of shape (m, d)
            Rows before the transform.
        B : ndarray or sparse matrix of shape (m, D)
            Cotangent on the rows after it.

        Returns
        -------
        object
            In a form that `row_influence` and `pull_fit` take; None for zero.
        """

    @abstractmethod
    def pull_input(self, X, B):
        """Return the cotangent (m, d) on the rows before; None if they are no numbers."""

    def pull_training_statistics(self, B):
        """Return `pull_statistics` of the training rows, (n, D)."""
        return self.pull_statistics(self.X, B)

    def pull_training_input(self, B):
        """Return `pull_input` of the training rows, (n, d)."""
        return self.pull_input(self.X, B)

    def pull_training_factors(self, factors):
        """Return `pull_training_statistics` of each cotangent in `Factors`, a list."""
        return [self.pull_training_statistics(B) for B in factors]

    def row_influences(self, cs):
        """Return `row_influence` of several cotangents on the statistics, (m, n)."""
        zero = np.zeros(self.n_rows)
        return np.array([zero if c is None else self.row_influence(c) for c in cs])

    @abstractmethod
    def row_influence(self, c):
        """Return c . ds/dm_i of every training row, (n,)."""

    @abstractmethod
    def pull_fit(self, c):
        """Return d(c . s)/dx_i of every training row, (n, d); None for zero."""


class Stateless(Stage):
    """A transformer without statistics that move: it learns nothing, or a discrete choice."""

    has_influence = False

    def pull_statistics(self, X, B):
        return None

    def row_influence(self, c):
        return np.zeros(self.n_rows)

    def pull_fit(self, c):
        return None


class NotNumbers(Stateless):
    """A transformer of text or categories, whose words or categories are discrete choices."""

    takes_numbers = False

    def pull_input(self, X, B):
        return None
