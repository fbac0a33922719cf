"""Inputs of a model that move with training rows of a larger fit.

A model inside a composite or behind a pipeline's steps is fitted on rows that change with the
training rows of the whole. To its sweep such inputs look like the stages before it: from a
cotangent on the model's rows they return a cotangent of their own, and from that the
derivative in the multiplicity of each training row of the whole, (N,). A query is known to
them by a handle, because its features alone do not say what it was made of.
"""

from abc import ABC, abstractmethod

import numpy as np
from scipy import sparse

from skinfluence.blocks import row_blocks
from skinfluence.stages.base import Factors
from skinfluence.stages.chain import add
from skinfluence.whole.data import take_rows


class Inputs(ABC):
    """Inputs that move."""

    #: Whether a pull on the training rows costs much, so that sweeps do few of them.
    is_costly = False
    #: Number of the whole's training rows, N.
    width: int

    def complete(self, rows, handle=None):
        """Return the model's rows for a query, with all entries stored that have a cotangent.

        The training rows without a handle.
        """
        return rows

    @abstractmethod
    def pull_training_factors(self, factors):
        """Return own cotangents, a list, from several on the model's training rows."""

    def pull_training_statistics(self, B):
        """Return the own cotangent from one on the model's training rows, (m, D)."""
        return self.pull_training_factors([B])[0]

    @abstractmethod
    def pull_statistics(self, handle, B):
        """Return the own cotangent from one on a query's features, (1, D)."""

    @abstractmethod
    def row_influences(self, cs):
        """Return the derivatives in the whole's training rows for own cotangents, (m, N)."""

    @abstractmethod
    def training_handle(self, row):
        """Return the handle of the model's training row as a query."""


class StagesBefore(Inputs):
    """Rows behind a pipeline's steps. A query's handle is its raw row.

    Parameters
    ----------
    chain : Stage
        The steps.
    X : {array-like, sparse matrix, DataFrame} of shape (n, .)
        Raw training rows.
    scale : ndarray of shape (n,)
        Factors from the derivative in a row's multiplicity to its influence, S/w_i.
    """

    def __init__(self, chain, X, scale):
        self.chain = chain
        self.X = X
        self.scale = scale
        self.width = len(scale)

    def complete(self, rows, handle=None):
        return complete(self.chain, rows, handle)

    def pull_training_factors(self, factors):
        return pull_each(self.chain, factors)

    def pull_statistics(self, handle, B):
        return pull_query(self.chain, handle, B)[0]

    def row_influences(self, cs):
        return self.chain.row_influences(cs) * self.scale

    def training_handle(self, row):
        return training_row(self.chain, self.X, row)


class Behind(Inputs):
    """Rows behind the steps of a pipeline whose own input moves.

    A query's handle has its row as the pipeline takes it, and that row's handle.

    Parameters
    ----------
    chain : Stage
        The steps.
    X : {array-like, sparse matrix, DataFrame} of shape (n, .)
        The pipeline's training rows.
    outer : Inputs
        The pipeline's input.
    """

    def __init__(self, chain, X, outer):
        self.chain = chain
        self.X = X
        self.outer = outer
        self.width = outer.width
        self.is_costly = outer.is_costly

    def complete(self, rows, handle=None):
        return complete(self.chain, rows, None if handle is None else handle[0])

    def pull_training_factors(self, factors):
        inner = pull_each(self.chain, factors)
        pulled = [self.chain.pull_training_input(B) for B in factors]
        return list(zip(inner, self._pull_outer(pulled), strict=True))

    def _pull_outer(self, pulled):
        """Return the outer cotangents for those on its rows, None for None."""
        found = iter(self.outer.pull_training_factors([B for B in pulled if B is not None]))
        return [None if B is None else next(found) for B in pulled]

    def pull_statistics(self, handle, B):
        inner, pulled = pull_query(self.chain, handle[0], B, to_rows=True)
        if pulled is None:  # the input consists of no numbers
            return inner, None
        return inner, self.outer.pull_statistics(handle[1], pulled)

    def row_influences(self, cs):
        # The statistics' own derivative in the rows' multiplicities is not part of this.
        fits = [None if inner is None else self.chain.pull_fit(inner) for inner, _ in cs]
        through = self._pull_outer(fits)
        total = [add(c, more) for (_, c), more in zip(cs, through, strict=True)]
        return self.outer.row_influences(total)

    def training_handle(self, row):
        return training_row(self.chain, self.X, row), self.outer.training_handle(row)


class Shared(Inputs):
    """Rows and columns that a composite's member takes from the composite's input.

    Parameters
    ----------
    outer : Inputs
        The composite's input.
    X : {array-like, sparse matrix, DataFrame} of shape (n, D)
        The composite's training rows.
    rows : ndarray of shape (m,)
        The member's rows.
    columns : ndarray of shape (d,) or None, default=None
        The composite's columns that the member takes; None for all columns.
    start : int, default=0
        The position of the first of them among the member's columns.
    """

    def __init__(self, outer, X, rows, columns=None, start=0):
        self.outer = outer
        self.X = X
        self.rows = rows
        self.columns = np.arange(X.shape[1]) if columns is None else columns
        self.start = start
        self.width = outer.width
        self.is_costly = outer.is_costly
        self.has_all_rows = np.array_equal(rows, np.arange(X.shape[0]))

    def pull_training_factors(self, factors):
        if not len(self.columns):
            return [None] * len(factors)
        if isinstance(factors, Factors):
            return self.outer.pull_training_factors(self.spread_factors(factors))
        spread = [self.spread_rows(self.spread_columns(B)) for B in factors]
        return self.outer.pull_training_factors(spread)

    def spread_factors(self, factors):
        """Return `Factors` of the composite's rows and columns."""
        rows = sparse.csr_array(self.X) if sparse.issparse(self.X) else np.asarray(self.X)
        rows = self.outer.complete(rows)
        bend, pull = factors.bend, factors.pull
        if not self.has_all_rows:
            bend = self._sum_at_rows(bend.swapaxes(0, 1)).swapaxes(0, 1)
            pull = self._sum_at_rows(pull)
        theta, V = self.spread_columns(factors.theta), factors.V
        V = self.spread_columns(V.reshape(-1, V.shape[-1])).reshape(*V.shape[:-1], -1)
        return Factors(rows, bend, theta, pull, V)

    def _sum_at_rows(self, values):
        """Return values (m, ...) summed at the composite's rows, (n, ...)."""
        out = np.zeros((self.X.shape[0], *values.shape[1:]))
        np.add.at(out, self.rows, values)
        return out

    def spread_columns(self, B):
        """Return a cotangent (., d) on the member's columns as one on the composite's."""
        D, columns = self.X.shape[1], self.columns
        B = B[:, self.start : self.start + len(columns)]
        if np.array_equal(columns, np.arange(D)):
            return B
        if sparse.issparse(B):
            ones = np.ones(len(columns))
            places = (np.arange(len(columns)), columns)
            return sparse.csr_array(B @ sparse.csr_array((ones, places), (len(columns), D)))
        out = np.zeros((D, len(B)))
        np.add.at(out, columns, B.T)
        return out.T

    def spread_rows(self, B):
        """Return a cotangent (m, D) on the member's rows as one on the composite's."""
        if self.has_all_rows:
            return B
        if sparse.issparse(B):
            ones = np.ones(len(self.rows))
            places = (self.rows, np.arange(len(self.rows)))
            shape = (self.X.shape[0], len(self.rows))
            return sparse.csr_array(sparse.csr_array((ones, places), shape) @ B)
        return self._sum_at_rows(B)

    def pull_statistics(self, handle, B):
        if not len(self.columns):
            return None
        return self.outer.pull_statistics(handle, self.spread_columns(B))

    def row_influences(self, cs):
        return self.outer.row_influences(cs)

    def training_handle(self, row):
        return self.outer.training_handle(self.rows[row])


class Fed(Inputs):
    """Columns that are other models' responses. A query's handle is their derivative (F, N).

    Parameters
    ----------
    width : int
        The number of the whole's training rows, N.
    columns : slice
        The columns among the model's.
    rows : ndarray of shape (m,)
        The model's rows among the training rows of the composite.
    n_rows : int
        The number of the composite's training rows.
    moved : callable
        ``moved(rows)`` returns the columns' derivatives for training rows, (b, F, N).
    """

    is_costly = True

    def __init__(self, width, columns, rows, n_rows, moved):
        self.width = width
        self.columns = columns
        self.rows = rows
        self.n_rows = n_rows
        self.moved = moved

    def pull_training_factors(self, factors):
        pulls = []
        for B in factors:
            pulls.append(np.zeros((self.n_rows, self.columns.stop - self.columns.start)))
            np.add.at(pulls[-1], self.rows, self._take(B))
        pulls, out = np.array(pulls), np.zeros((len(pulls), self.width))
        for block in row_blocks(self.n_rows, 64 * self.width):
            pull = pulls[:, block]
            if pull.any():
                moved = self.moved(np.arange(block.start, block.stop))
                out += np.einsum("jkf,kfn->jn", pull, moved, optimize=True)
        return list(out)

    def _take(self, B):
        B = B[:, self.columns]
        return B.toarray() if sparse.issparse(B) else np.asarray(B)

    def pull_statistics(self, handle, B):
        return self._take(B)[0] @ handle

    def row_influences(self, cs):
        return np.array([np.zeros(self.width) if c is None else c for c in cs])

    def training_handle(self, row):
        return self.moved(self.rows[[row]])[0]


class Beside(Inputs):
    """Columns from the composite's input, and columns that are other models' responses.

    Parameters
    ----------
    first, second : Inputs
        Both see all columns. A query's handle is a pair of theirs.
    """

    is_costly = True

    def __init__(self, first, second):
        self.parts = (first, second)
        self.width = first.width

    def pull_training_factors(self, factors):
        pulled = [part.pull_training_factors(factors) for part in self.parts]
        return list(zip(*pulled, strict=True))

    def pull_statistics(self, handle, B):
        pairs = zip(self.parts, handle, strict=True)
        return tuple(part.pull_statistics(one, B) for part, one in pairs)

    def row_influences(self, cs):
        columns = zip(*[(None, None) if c is None else c for c in cs], strict=True)
        return sum(p.row_influences(list(c)) for p, c in zip(self.parts, columns, strict=True))

    def training_handle(self, row):
        return tuple(part.training_handle(row) for part in self.parts)


def pull_each(chain, factors):
    """Return a chain's cotangents on its statistics for several on its training output."""
    if isinstance(factors, Factors):
        return chain.pull_training_factors(factors)
    return [chain.pull_training_statistics(B) for B in factors]


def pull_query(chain, row, B, *, to_rows=False):
    """Return a chain's cotangents on its statistics and, if asked, on a query's input.

    A training row whose transformed values differ from `transform` is known by its index.
    """
    if not isinstance(row, int | np.integer):
        pulled = chain.pull_input(row, B) if to_rows else None
        return chain.pull_statistics(row, B), pulled
    spread = np.zeros((chain.n_rows, B.shape[1]))
    spread[row] = B.toarray() if sparse.issparse(B) else B
    pulled = chain.pull_training_input(spread)[[row]] if to_rows else None
    return chain.pull_training_statistics(spread), pulled


def complete(chain, rows, row=None):
    """Return a chain's `complete` for a query; for the training rows without one."""
    if sparse.issparse(rows) and isinstance(row, int | np.integer):
        return chain.complete(rows)[[row]]
    return chain.complete(rows, row)


def training_row(chain, X, row):
    """Return a training row for `pull_query`."""
    return int(row) if chain.is_cross_fitted else take_rows(X, [row])
