"""Interface for a transformer before the model, with derivatives of its fit.

A stage is a fitted transformer together with its training rows. Its fit computes statistics s
(means, scales, components) from these rows, and its transform is t(x; s). The multiplicity
m_i is the number of times that training row i occurs. A scalar Q depends on the training rows
through s. From the cotangent B = dQ/dt on transformed rows, a stage computes:

    pull_statistics, pull_input    c = sum_rows (dt/ds)' B    and    (dt/dx)' B
    row_influence                  c . ds/dm_i                for every training row i
    pull_fit                       d(c . s)/dx_i              for every training row i

A row that is not a training row has multiplicity 0, and c . ds/dm_i follows the same formula.
Its own values do not count then, because its cotangent is B = 0.

The chain rule gives all other derivatives, see `chain`. A cotangent on dense rows is an array
(m, D). A cotangent on sparse rows is a sparse matrix with the same sparsity pattern, because
an entry that is always 0 needs no cotangent.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from skinfluence.checks import count_rows
from skinfluence.namespaces import is_device, where_it_is

#: Largest number of entries in a dense block in `product_on`.
_BLOCK = 10_000_000


def column_sums(X):
    """Return the sum of each column of a dense or sparse array, (d,)."""
    return np.asarray(X.sum(axis=0)).ravel()


def entry_rows(X):
    """Return the row index of every stored entry in a csr array, (nnz,)."""
    return np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))


def with_values(X, values):
    """Return a csr array with new values at the stored entries of X."""
    return sparse.csr_array((values, X.indices, X.indptr), shape=X.shape)


def values_at(X, B):
    """Return the entries of B at the stored entries of a csr array X, (nnz,)."""
    if sparse.issparse(B):
        B = sparse.csr_array(B)
        same = B.nnz == X.nnz and np.array_equal(B.indptr, X.indptr)
        if same and np.array_equal(B.indices, X.indices):
            return B.data
    # Entries that B does not store are 0.
    return np.asarray(B[entry_rows(X), X.indices], dtype=np.float64).ravel()


def product_on(X, B, W):
    """Return B @ W, which has the shape of X. If X is sparse, only at its stored entries."""
    if not sparse.issparse(X):
        pulled = B @ W
        return pulled.toarray() if sparse.issparse(pulled) else np.asarray(pulled)
    X = sparse.csr_array(X)
    B = sparse.csr_array(B) if sparse.issparse(B) else B
    step = max(1, _BLOCK // max(1, X.shape[1]))
    starts = range(0, X.shape[0], step)
    blocks = [values_at(X[k : k + step], B[k : k + step] @ W) for k in starts]
    return with_values(X, np.concatenate([np.zeros(0), *blocks]))


def dense(X):
    """Return rows as a float64 array (m, d)."""
    return X.toarray() if sparse.issparse(X) else numbers(X)


def plain(X):
    """Return rows as an array or a sparse matrix, without DataFrame names.

    Arrays of other libraries stay where they are.
    """
    X = where_it_is(X)
    return X if sparse.issparse(X) or is_device(X) else np.asarray(X)


def numbers(X):
    """Return rows as a float64 array or csr array, without DataFrame names.

    Arrays of other libraries stay where they are.
    """
    if sparse.issparse(X):
        return sparse.csr_array(X, dtype=np.float64)
    X = where_it_is(X)
    if is_device(X):
        return X.astype(np.float64, copy=False)
    if hasattr(X, "iloc"):  # np.asarray fails for pandas' NA
        return X.to_numpy(np.float64, na_value=np.nan)
    return np.asarray(X, np.float64)


def like_rows(X):
    """Return an array beside which results for rows are made; None for NumPy's."""
    X = where_it_is(X)
    return X if is_device(X) else None


def on_rows(rows, row_factors, column_factors):
    """Return row_factors @ column_factors, only at stored entries if the rows are sparse.

    Parameters
    ----------
    rows : ndarray or sparse matrix of shape (m, d)
        Rows to which the cotangent belongs.
    row_factors : ndarray of shape (m, K)
        Factors for the rows.
    column_factors : ndarray of shape (K, d)
        Factors for the columns.
    """
    if not sparse.issparse(rows):
        return row_factors @ column_factors
    rows = rows.tocsr()
    row_indices = entry_rows(rows)
    data = np.zeros(len(rows.indices))
    for of_rows, of_columns in zip(row_factors.T, column_factors, strict=True):
        data += of_rows[row_indices] * of_columns[rows.indices]
    return with_values(rows, data)


@dataclass(frozen=True, eq=False)
class Factors:
    """Cotangents B_j = bend_j theta + pull v_j for m scalars on the same rows.

    Parameters
    ----------
    rows : ndarray or sparse matrix of shape (n, d)
        Rows. If they are sparse, cotangents have the same sparsity pattern.
    bend : ndarray of shape (m, n, K)
        Row factors for each scalar.
    theta : ndarray of shape (K, d)
        Column factors.
    pull : ndarray of shape (n, K)
        Row factors.
    V : ndarray of shape (m, K, d)
        Column factors for each scalar.
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
            row_factors = np.hstack([bend, self.pull])
            yield on_rows(self.rows, row_factors, np.vstack([self.theta, v]))


class Rows(NamedTuple):
    """Rows whose multiplicity changes.

    Attributes
    ----------
    X : object
        Rows in the form that a stage takes; a list with those of its parts for a composite.
    weight : ndarray of shape (m,)
        Their sample weights in the stage.
    """

    X: Any
    weight: np.ndarray


class Stage(ABC):
    """A fitted transformer with its training rows.

    Parameters
    ----------
    transformer : estimator
        Fitted transformer. It is not changed.
    X : {ndarray, sparse matrix, DataFrame} of shape (n, d)
        Training rows.
    y : array-like of shape (n,) or None, default=None
        Training targets.
    weight : ndarray of shape (n,) or None, default=None
        Sample weights that `fit` used; None for ones.
    """

    #: Whether input rows are numbers. If not, the input has no derivative.
    takes_numbers = True
    #: Whether the statistics have derivatives with respect to the training rows.
    has_influence = True
    #: Whether `fit_transform` returns other training rows than `apply`.
    is_cross_fitted = False
    #: Whether the fit may jump if rows leave, see `jumps_without`.
    can_jump = False
    #: Whether to pull back once for each parameter, however few the scalars are.
    is_costly = False

    def __init__(self, transformer, X, y=None, weight=None):
        self.transformer = transformer
        self.given = X
        self.X = self.rows(X)
        self.like = like_rows(X)
        self.y = y
        self.weight = np.ones(self.n_rows, like=self.like) if weight is None else weight

    @property
    def n_rows(self):
        """Number of training rows, n."""
        return count_rows(self.X)

    @property
    def sums(self):
        """Sums over the training rows on which `row_influence` and `pull_fit` depend.

        An array; None if they depend on more than sums.
        """
        return None

    def take_sums(self, sums):
        """Replace `sums`, if they are stored, by those over more rows."""
        vars(self)["sums"] = sums

    def rows(self, X):
        """Return rows in the form that other methods take, without DataFrame names."""
        return numbers(X) if self.takes_numbers else X

    @property
    def training(self):
        """The training rows, as `Rows`."""
        return Rows(self.X, self.weight)

    def added(self, X):
        """Return rows that are not training rows as `Rows` with weight 1."""
        rows = self.rows(X)
        return Rows(rows, np.ones(count_rows(rows), like=self.like))

    def outside(self, X):
        """Return which rows change a statistic or choice at once if they are added, (2, m).

        However small its weight, an added row beyond the extremes is the new extreme, and a
        word or category that the training rows lack gets a feature. The first mask has the
        rows with such values, for which no derivative exists. The second mask has those
        with words or categories.
        """
        return np.zeros((2, count_rows(self.rows(X))), dtype=bool)

    def sides(self, row):
        """Return (above, below, number) for one training row whose values may be tied.

        If other rows have the same value, an order statistic moves with this row on one side
        only. The two stages have the derivatives for larger and for smaller values. In
        `number` columns the transformed value has a kink there as well.
        """
        return self, self, 0

    @property
    def name(self):
        """Name of the transformer's class."""
        return type(self.transformer).__name__

    def jumping(self):
        """Return the stages whose fit may jump if rows leave: this one, or those inside it."""
        return [self] if self.can_jump else []

    def jumps_without(self, rows):
        """Return whether the fit without some training rows is not near its derivative.

        Only stages that can jump are asked. Order statistics move to another value, however
        many rows there are.
        """
        return True

    def apply(self, X):
        """Transform rows in their original form, as `predict` does."""
        return self.transformer.transform(X)

    def complete(self, rows, X=None):
        """Return transformed rows of X, with all entries stored that have a cotangent.

        Sparse rows store no zero. If a part of their columns comes from a dense transformer,
        a zero among these may move with the statistics, and is stored here.

        Parameters
        ----------
        rows : {ndarray, sparse matrix} of shape (m, D)
            Transformed rows.
        X : object
            Rows in their original form; None for the training rows.
        """
        return rows

    def training_output(self):
        """Return the transformed training rows, on which the next step was fitted."""
        return self.apply(self.given)

    @abstractmethod
    def pull_statistics(self, X, B):
        """Return the cotangent c on the statistics, from cotangent B on transformed rows.

        Parameters
        ----------
        X : ndarray or sparse matrix of shape (m, d)
            Rows before the transform.
        B : ndarray or sparse matrix of shape (m, D)
            Cotangent on the transformed rows.

        Returns
        -------
        object
            Cotangent in the form that `row_influence` and `pull_fit` take; None for zero.
        """

    @abstractmethod
    def pull_input(self, X, B):
        """Return the cotangent (m, d) on input rows; None if they are not numbers."""

    def evaluate(self, X):
        """Return intermediate results for rows, which are kept for the training rows."""
        raise NotImplementedError

    @cached_property
    def _training_results(self):
        return self.evaluate(self.X)

    def evaluated(self, X):
        """Return `evaluate` for rows, from memory for the array of the training rows."""
        return self._training_results if X is self.X else self.evaluate(X)

    def pull_training_statistics(self, B):
        """Return `pull_statistics` for the training rows, with B of shape (n, D)."""
        return self.pull_statistics(self.X, B)

    def pull_training_input(self, B):
        """Return `pull_input` for the training rows, (n, d)."""
        return self.pull_input(self.X, B)

    def pull_training_factors(self, factors):
        """Return `pull_training_statistics` for each cotangent in `Factors`, as a list."""
        return [self.pull_training_statistics(B) for B in factors]

    def zeros(self, rows=None):
        """Return zeros for every training row, or for rows from `added`, (n,)."""
        return np.zeros(self.n_rows if rows is None else len(rows.weight), like=self.like)

    def row_influences(self, cs, rows=None):
        """Return `row_influence` for several cotangents on the statistics, (m, n)."""
        zero = self.zeros(rows)
        return np.stack([zero if c is None else self.row_influence(c, rows) for c in cs])

    @abstractmethod
    def row_influence(self, c, rows=None):
        """Return c . ds/dm_i for every training row, or for rows from `added`, (n,)."""

    @abstractmethod
    def pull_fit(self, c):
        """Return d(c . s)/dx_i for every training row, (n, d); None for zero."""


class Stateless(Stage):
    """A transformer that learns nothing, or only makes a discrete choice."""

    has_influence = False

    @property
    def sums(self):
        return np.zeros(0)

    def pull_statistics(self, X, B):
        return None

    def row_influence(self, c, rows=None):
        return self.zeros(rows)

    def pull_fit(self, c):
        return None


class NotNumbers(Stateless):
    """A transformer for text or categories. The set of words or categories is discrete."""

    takes_numbers = False

    def pull_input(self, X, B):
        return None
