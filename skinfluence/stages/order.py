"""Order statistics of columns (extremes, medians, quantiles) and the rows that hold them."""

import numpy as np
from scipy import sparse

from skinfluence.stages.base import Stage

__all__ = ["OrderStage", "OrderStatistics", "on_pattern"]


def on_pattern(rows, X):
    """Return sparse numbers at the entries that sparse rows X store, a csr array."""
    pattern = sparse.csr_array(X, copy=True)
    pattern.data = np.ones_like(pattern.data)
    return sparse.csr_array(pattern.multiply(rows))


class OrderStatistics:
    """Quantiles of every column by linear interpolation, as numpy's nanquantile has them.

    A column with n observed values x_(0) <= ... <= x_(n-1) has the quantile

        q(f) = (1 - t) x_(k) + t x_(k+1)    with    k + t = (n - 1) f,  0 <= t < 1,

    so the quantile moves with the values of two rows at most.

    It does not move with the multiplicity of a row. With m copies of all rows, the place
    (m n - 1) f lies in the block of m equal values x_(floor(n f)), and still does if a
    single copy is more or less. The quantile is constant there, and jumps where n f is a
    whole number. So its derivative in a multiplicity is 0 almost everywhere.

    Parameters
    ----------
    X : ndarray or csr array of shape (n, d)
        Rows; NaN is not observed.
    fractions : array-like of shape (k,)
        Fractions f between 0 and 1.
    """

    def __init__(self, X, fractions):
        self.X = X
        f = np.asarray(fractions, dtype=np.float64)[:, None]
        if sparse.issparse(X):
            columns = sparse.csc_array(X)
            missing = np.bincount(X.indices[np.isnan(X.data)], minlength=X.shape[1])
            low, high, self.share = self._places(X.shape[0] - missing, f)
            self.low, self.high = np.empty_like(low), np.empty_like(high)
            for j in range(X.shape[1]):
                # One column at a time, so that no dense copy of all rows is made.
                by_value = np.argsort(columns[:, [j]].toarray().ravel(), kind="stable")
                self.low[:, j], self.high[:, j] = by_value[low[:, j]], by_value[high[:, j]]
        else:
            count = (~np.isnan(X)).sum(axis=0)
            low, high, self.share = self._places(count, f)
            by_value = np.argsort(X, axis=0, kind="stable")
            self.low = np.take_along_axis(by_value, low, axis=0)
            self.high = np.take_along_axis(by_value, high, axis=0)

    @staticmethod
    def _places(count, f):
        """Return the places k, k + 1 and the share t of every quantile, each (k, d)."""
        place = np.maximum(count - 1, 0) * f
        low = np.floor(place).astype(np.intp)
        return low, np.minimum(low + 1, np.maximum(count - 1, 0)), place - low

    def values(self):
        """Return the quantiles, (k, d)."""
        columns = np.broadcast_to(np.arange(self.X.shape[1]), self.low.shape)
        low, high = (
            np.asarray(self.X[rows.ravel(), columns.ravel()]).reshape(rows.shape)
            for rows in (self.low, self.high)
        )
        return low + self.share * (high - low)

    def pull(self, c):
        """Return d(c . q)/dx of every row, (n, d); c has the shape (k, d)."""
        columns = np.broadcast_to(np.arange(self.X.shape[1]), self.low.shape)
        values = np.concatenate([(c * (1 - self.share)).ravel(), (c * self.share).ravel()])
        rows = np.concatenate([self.low.ravel(), self.high.ravel()])
        columns = np.concatenate([columns.ravel()] * 2)
        pulled = sparse.coo_array((values, (rows, columns)), shape=self.X.shape)
        return on_pattern(pulled, self.X) if sparse.issparse(self.X) else pulled.toarray()


class OrderStage(Stage):
    """A stage whose statistics are order statistics, see `OrderStatistics`.

    They do not move with the multiplicity of a row. They move with the values of the rows
    that hold them.
    """

    def row_influence(self, c):
        return np.zeros(self.n_rows)
