"""Order statistics of columns: extremes, medians and quantiles."""

import copy
from functools import cached_property

import numpy as np
from scipy import sparse

from skinfluence.blocks import row_blocks
from skinfluence.namespaces import is_device, to_host
from skinfluence.stages.base import Stage, dense, with_values


class OrderStatistics:
    """Column quantiles by linear interpolation, as in numpy's nanquantile.

    A column with n observed values x_(0) <= ... <= x_(n-1) has the quantile

        q(f) = (1 - t) x_(k) + t x_(k+1)    with    k + t = (n - 1) f,  0 <= t < 1,

    so at most two rows determine it.

    The derivative with respect to the multiplicity of a row is 0 almost everywhere, for this
    reason: with m copies of all rows, the position (m n - 1) f is inside the block of m equal
    values x_(floor(n f)). It is still inside if one copy is added or removed, so the quantile
    is constant there. It jumps only if n f is a whole number.

    Parameters
    ----------
    X : ndarray or csr array of shape (n, d)
        Rows, with NaN for entries that are not observed.
    fractions : array-like of shape (k,)
        Fractions f between 0 and 1.
    """

    def __init__(self, X, fractions):
        self.X = X
        self.fractions = np.asarray(fractions, dtype=np.float64)
        f = self.fractions[:, None]
        if sparse.issparse(X):
            columns = sparse.csc_array(X)
            missing = np.bincount(X.indices[np.isnan(X.data)], minlength=X.shape[1])
            low, high, self.share = self._places(X.shape[0] - missing, f)
            self.place = low, high
            self.low, self.high = np.empty_like(low), np.empty_like(high)
            for j in range(X.shape[1]):
                # Process one column at a time, to avoid a dense copy of all rows.
                by_value = np.argsort(columns[:, [j]].toarray().ravel(), kind="stable")
                self.low[:, j], self.high[:, j] = by_value[low[:, j]], by_value[high[:, j]]
        else:
            count = to_host((~np.isnan(X)).sum(axis=0))
            low, high, self.share = self._places(count, f)
            self.place = low, high
            by_value = np.argsort(X, axis=0, kind="stable")
            self.low = to_host(np.take_along_axis(by_value, low, axis=0))
            self.high = to_host(np.take_along_axis(by_value, high, axis=0))

    @staticmethod
    def _places(count, f):
        """Return k, k + 1 and t for every quantile, each of shape (len(f), d)."""
        place = np.maximum(count - 1, 0) * f
        low = np.floor(place).astype(np.intp)
        return low, np.minimum(low + 1, np.maximum(count - 1, 0)), place - low

    def values(self):
        """Return the quantiles, (k, d)."""
        columns = np.broadcast_to(np.arange(self.X.shape[1]), self.low.shape)
        low, high = (
            np.asarray(to_host(self.X[rows.ravel(), columns.ravel()])).reshape(rows.shape)
            for rows in (self.low, self.high)
        )
        return low + self.share * (high - low)

    def beyond(self, X):
        """Return which rows have a value beyond a quantile that is an extreme, (m,)."""
        values, out = self.values(), np.zeros(X.shape[0], dtype=bool)
        low, high = values[self.fractions == 0.0], values[self.fractions == 1.0]
        for block in row_blocks(X.shape[0], 3 * 8 * X.shape[1]):
            part = dense(X[block])[:, None]
            beyond = (part < low).any(axis=(1, 2)) | (part > high).any(axis=(1, 2))
            out[block] = to_host(beyond)
        return out

    @cached_property
    def extremes(self):
        """For each fraction 0 or 1, the entries with this extreme, and their number."""
        found = []
        for value in self.values()[np.isin(self.fractions, (0.0, 1.0))]:
            if sparse.issparse(self.X):
                is_extreme = with_values(self.X, self.X.data == value[self.X.indices])
            else:
                is_extreme = to_host(self.X) == value
            found.append((is_extreme, np.ravel(is_extreme.sum(axis=0))))
        return found

    def jump_without(self, rows):
        """Return whether a quantile moves without some rows.

        Between the extremes it does if any row leaves, unless values are tied. An extreme
        moves if all rows that have it leave.
        """
        if not np.isin(self.fractions, (0.0, 1.0)).all():
            return True
        return any(
            bool(np.any((count > 0) & (np.ravel(is_extreme[rows].sum(axis=0)) == count)))
            for is_extreme, count in self.extremes
        )

    def sides(self, row):
        """Return (above, below, number) for a row, see `Stage.sides`.

        Rows with the same value are in any order. A larger value makes this row the last of
        them, a smaller one the first. `number` counts columns with a quantile among them.
        """
        columns = np.arange(self.X.shape[1])
        if sparse.issparse(self.X):  # entries that are always 0 do not move
            columns = self.X[[row]].indices
        above, below, number, found = copy.copy(self), copy.copy(self), 0, False
        for side in (above, below):
            side.low, side.high = self.low.copy(), self.high.copy()
        for block in row_blocks(len(columns), 3 * 8 * self.X.shape[0]):
            part = columns[block]
            X = to_host(dense(self.X[:, part]))
            equal = X[row] == X
            first, last = (X[row] > X).sum(axis=0), equal.sum(axis=0) - 1
            tied, last = last > 0, first + last
            equal[row] = False
            other = equal.argmax(axis=0)
            for side, end in ((above, last), (below, first)):
                for rows, place in zip((side.low, side.high), self.place, strict=True):
                    beside = np.where(rows[:, part] == row, other, rows[:, part])
                    moved = np.where(place[:, part] == end, row, beside)
                    rows[:, part] = np.where(tied, moved, rows[:, part])
            low, high = (place[:, part] for place in self.place)
            number += int((tied & (low <= last) & (high >= first)).any(axis=0).sum())
            found |= bool(tied.any())
        return (above, below, number) if found else (self, self, 0)

    def pull(self, c):
        """Return d(c . q)/dx for every row, (n, d), with c of shape (k, d)."""
        columns = np.broadcast_to(np.arange(self.X.shape[1]), self.low.shape)
        values = np.concatenate([(c * (1 - self.share)).ravel(), (c * self.share).ravel()])
        rows = np.concatenate([self.low.ravel(), self.high.ravel()])
        places = rows, np.concatenate([columns.ravel()] * 2)
        pulled = sparse.coo_array((to_host(values), places), shape=self.X.shape)
        if sparse.issparse(self.X):
            pattern = with_values(self.X, np.ones_like(self.X.data))
            return sparse.csr_array(pattern.multiply(pulled))
        pulled = pulled.toarray()
        return np.asarray(pulled, like=self.X) if is_device(self.X) else pulled


class OrderStage(Stage):
    """A stage whose statistics are order statistics, see `OrderStatistics`.

    They depend on the values in the rows that determine them, but their derivatives with
    respect to multiplicities are 0.
    """

    #: The `OrderStatistics` of the training rows, None if the fit uses none.
    places: OrderStatistics | None

    #: Whether a value at a quantile has a kink of its own.
    bends_at_quantiles = False

    can_jump = True

    def jumps_without(self, rows):
        return self.places is not None and self.places.jump_without(rows)

    def sides(self, row):
        above, below, number = sides_of(self, "places", row)
        return above, below, number if self.bends_at_quantiles else 0

    def outside(self, X):
        outside = super().outside(X)
        if self.places is not None:
            outside[0] = self.places.beyond(self.rows(X))
        return outside

    def row_influence(self, c, rows=None):
        return self.zeros(rows)

    def pull_fit(self, c):
        return None if c is None else self.places.pull(c)


def sides_of(stage, name, row):
    """Return `Stage.sides` for a stage with the `OrderStatistics` of a name, or None there."""
    places = getattr(stage, name)
    if places is None:
        return stage, stage, 0
    *ends, number = places.sides(row)
    if ends[0] is places:
        return stage, stage, 0
    found = []
    for end in ends:
        found.append(copy.copy(stage))
        vars(found[-1])[name] = end
    return *found, number
