"""Scalers, which shift and scale each column by its own statistics."""

from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.stats import norm
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

from skinfluence.namespaces import to_host
from skinfluence.stages.base import Stage, column_sums
from skinfluence.stages.order import OrderStage, OrderStatistics


def moving_columns(scaler):
    """Return a mask of the columns whose scale in a StandardScaler moves with the rows, (d,).

    The square roots of other libraries are not always rounded as NumPy's.
    """
    if scaler.scale_ is None:
        return np.zeros(scaler.n_features_in_, dtype=bool)
    deviation = np.sqrt(to_host(scaler.var_))
    return np.isclose(to_host(scaler.scale_), deviation, rtol=1e-6, atol=0)


def scaled_columns(scaler):
    """Return the columns that a refit of a StandardScaler scales, and those it centres.

    Both are masks of shape (d,).
    """
    moves = moving_columns(scaler)
    return moves, np.full(len(moves), bool(scaler.with_mean))


class StandardScalerStage(Stage):
    """StandardScaler: t_j = (x_j - mu_j) / sigma_j.

    The statistics are the mean and variance of each column over its observed rows. Let S_j be
    the total weight of rows with a value that is not NaN:

        d mu_j / d m_i       = w_i (x_ij - mu_j) / S_j
        d sigma^2_j / d m_i  = w_i ((x_ij - mu_j)^2 - sigma^2_j) / S_j

    If a column has no variance, its scale is the constant 1. Sparse rows are only scaled, not
    shifted.
    """

    def __init__(self, transformer, X, y=None, weight=None):
        super().__init__(transformer, X, y, weight)
        d = self.X.shape[1]
        scale, mean = transformer.scale_, transformer.mean_
        self.scale = np.ones(d) if scale is None else to_host(scale)
        self.moves = moving_columns(transformer)
        self.mean = np.zeros(d) if mean is None else to_host(mean)
        self.is_sparse = sparse.issparse(self.X)
        #: Total weight of the observed rows for each column, (d,).
        self.observed = np.full(d, self.weight.sum())
        if not self.is_sparse:
            self.observed = self.weight @ ~np.isnan(self.X)

    @property
    def sums(self):
        return np.stack([self.observed, self.total])

    def take_sums(self, sums):
        self.observed, self.total = sums

    @cached_property
    def total(self):
        """Weighted sum of each column if the rows are sparse, else zeros, (d,)."""
        if not self.is_sparse:
            return np.zeros(self.X.shape[1])
        return np.asarray(self.X.T @ self.weight).ravel()

    def pull_statistics(self, X, B):
        # dt/dmu = -1/sigma and dt/dsigma^2 = -t / (2 sigma^2).
        if sparse.issparse(X):
            total = column_sums(B.multiply(X))
            return np.zeros(len(total)), -total * self.moves / (2 * self.scale**3)
        shifted = np.where(np.isnan(X), 0.0, X - self.mean)
        with_mean = float(self.transformer.with_mean)
        shifted = shifted if with_mean else np.where(np.isnan(X), 0.0, X)
        B = np.where(np.isnan(X), 0.0, B)
        c_mean = -with_mean * B.sum(axis=0) / self.scale
        c_variance = -np.einsum("ij,ij->j", B, shifted) * self.moves / (2 * self.scale**3)
        return c_mean, c_variance

    def pull_input(self, X, B):
        if sparse.issparse(B):
            return B.multiply(1.0 / self.scale).tocsr()
        return B / self.scale

    def row_influence(self, c, rows=None):
        c_mean, c_variance = (part / self.observed for part in c)
        X, weight = rows or self.training
        if sparse.issparse(X):
            # (x - mu)^2 - sigma^2 = x^2 - 2 x mu + mu^2 - sigma^2
            mean = self.total / self.observed
            squares = X.multiply(X) @ c_variance
            value = squares + X @ (c_mean - 2 * mean * c_variance)
            constant = (mean**2 - self._variance()) @ c_variance - mean @ c_mean
            return weight * (value + constant)
        mean = self._mean()
        shifted = np.where(np.isnan(X), 0.0, X - mean)
        value = shifted @ c_mean + shifted**2 @ c_variance
        return weight * (value - ~np.isnan(X) @ (self._variance() * c_variance))

    def _mean(self):
        """Return the mean of each column, even if the scaler does not subtract it."""
        if self.transformer.mean_ is not None:
            return self.mean
        return self.weight @ np.nan_to_num(self.X) / self.observed

    def _variance(self):
        """Return the variance of each column; 0 if the scaler does not scale."""
        var = self.transformer.var_
        return np.zeros(self.X.shape[1]) if var is None else to_host(var)

    def pull_fit(self, c):
        c_mean, c_variance = (part / self.observed for part in c)
        if self.is_sparse:
            mean = self.total / self.observed
            pulled = self.X.multiply(2 * c_variance).tocsr()
            # Only stored entries have a cotangent, so only these get the shift.
            shift = c_mean - 2 * mean * c_variance
            pulled.data += shift[pulled.indices]
            return sparse.csr_array(pulled.multiply(self.weight[:, None]))
        shifted = np.where(np.isnan(self.X), 0.0, self.X - self._mean())
        pulled = self.weight[:, None] * (c_mean + 2 * c_variance * shifted)
        return np.where(np.isnan(self.X), 0.0, pulled)


class MinMaxScalerStage(OrderStage):
    """MinMaxScaler: t_j = low + (high - low) (x_j - min_j) / (max_j - min_j).

        dt/dmin = (high - low) (x - max) / (max - min)^2
        dt/dmax = (high - low) (min - x) / (max - min)^2

    If the result is clipped, these derivatives are 0. The scale of a constant column does not
    change.
    """

    def __init__(self, transformer, X, y=None, weight=None):
        super().__init__(transformer, X, y, weight)
        low, high = transformer.feature_range
        width, self.scale = to_host(transformer.data_range_), to_host(transformer.scale_)
        self.moves = np.isclose(self.scale * width, high - low, rtol=1e-9, atol=0)
        self.per_width = np.where(self.moves, self.scale, 0.0)
        self.per_width /= np.where(self.moves, width, 1.0)
        self.places = OrderStatistics(self.X, [0.0, 1.0])

    def _within(self, X):
        """Return whether each entry is observed and not clipped, (m, d)."""
        if not self.transformer.clip:
            return ~np.isnan(X)
        low, high = self.transformer.feature_range
        free = X * self.scale + to_host(self.transformer.min_)
        return (free >= low) & (free <= high)

    def pull_statistics(self, X, B):
        B = np.where(self._within(X), B, 0.0)
        X = np.nan_to_num(X)
        c_min = np.einsum("ij,ij->j", B, X - to_host(self.transformer.data_max_))
        c_max = np.einsum("ij,ij->j", B, to_host(self.transformer.data_min_) - X)
        return np.stack([c_min, c_max]) * self.per_width

    def pull_input(self, X, B):
        return np.where(self._within(X), B * self.scale, 0.0)


class MaxAbsScalerStage(OrderStage):
    """MaxAbsScaler: t_j = x_j / a_j, a_j = max |x_j|.

        dt/da = -x / a^2

    If the result is clipped, the derivative is 0. If a column is zero, its scale is the
    constant 1.
    """

    def __init__(self, transformer, X, y=None, weight=None):
        super().__init__(transformer, X, y, weight)
        self.clip = getattr(transformer, "clip", False)
        self.scale = to_host(transformer.scale_)
        self.moves = self.scale == to_host(transformer.max_abs_)
        self.places = OrderStatistics(abs(self.X), [1.0])

    def outside(self, X):
        return super().outside(abs(self.rows(X)))

    def _within(self, X):
        """Return whether each entry is observed and not clipped."""
        return np.abs(X) <= self.scale if self.clip else ~np.isnan(X)

    def _kept(self, X, B):
        """Return a sparse cotangent without clipped entries."""
        if not self.clip:
            return B
        beyond = abs(X).multiply(1.0 / self.scale) > 1.0
        return B - B.multiply(beyond)

    def pull_statistics(self, X, B):
        if sparse.issparse(X):
            total = column_sums(self._kept(X, B).multiply(X))
        else:
            B = np.where(self._within(X), B, 0.0)
            total = np.einsum("ij,ij->j", B, np.nan_to_num(X))
        return -total * self.moves / self.scale**2

    def pull_input(self, X, B):
        if sparse.issparse(X):
            return sparse.csr_array(self._kept(X, B).multiply(1.0 / self.scale))
        return np.where(self._within(X), B / self.scale, 0.0)

    def pull_fit(self, c):
        pulled = self.places.pull(c[None, :])
        if sparse.issparse(pulled):
            return sparse.csr_array(pulled.multiply(self.X.sign()))
        return pulled * np.sign(np.nan_to_num(self.X))


class RobustScalerStage(OrderStage):
    """RobustScaler: t_j = (x_j - med_j) / r_j, r_j = (high_j - low_j) / u.

    low_j and high_j are the quantiles in `quantile_range`. If `unit_variance` is true, u is
    the distance between the same quantiles for a normal distribution, else 1.

        dt/dmed = -1/r,    dt/dr = -(x - med) / r^2

    If both quantiles are equal, the scale does not change. Sparse rows are only scaled, not
    shifted.
    """

    def __init__(self, transformer, X, y=None, weight=None):
        super().__init__(transformer, X, y, weight)
        d = self.X.shape[1]
        ends = np.array(transformer.quantile_range) / 100.0
        self.unit = np.diff(norm.ppf(ends))[0] if transformer.unit_variance else 1.0
        self.places = OrderStatistics(self.X, [ends[0], 0.5, ends[1]])
        self.center = np.zeros(d) if transformer.center_ is None else transformer.center_
        self.scale = np.ones(d) if transformer.scale_ is None else transformer.scale_
        self.moves = np.zeros(d, dtype=bool)
        if transformer.scale_ is not None:
            low, _, high = self.places.values()
            self.moves = np.isclose(self.scale * self.unit, high - low, rtol=1e-9, atol=0)

    def pull_statistics(self, X, B):
        if sparse.issparse(X):
            c_center = np.zeros(X.shape[1])
            total = column_sums(B.multiply(X))
        else:
            B = np.where(np.isnan(X), 0.0, B)
            c_center = -B.sum(axis=0) / self.scale
            if not self.transformer.with_centering:
                c_center[:] = 0.0
            shifted = np.where(np.isnan(X), 0.0, X - self.center)
            total = np.einsum("ij,ij->j", B, shifted)
        c_high = -total * self.moves / (self.unit * self.scale**2)
        return np.stack([-c_high, c_center, c_high])

    def pull_input(self, X, B):
        if sparse.issparse(B):
            return sparse.csr_array(B.multiply(1.0 / self.scale))
        return np.where(np.isnan(X), 0.0, B / self.scale)


STAGES = {
    MaxAbsScaler: MaxAbsScalerStage,
    MinMaxScaler: MinMaxScalerStage,
    RobustScaler: RobustScalerStage,
    StandardScaler: StandardScalerStage,
}
