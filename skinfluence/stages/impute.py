"""SimpleImputer, which replaces missing entries by a statistic of their column."""

from numbers import Real

import numpy as np
from scipy import sparse
from sklearn.impute import SimpleImputer

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.stages.base import Stage, column_sums, with_values
from skinfluence.stages.order import OrderStatistics, sides_of


class SimpleImputerStage(Stage):
    """SimpleImputer: t_j = x_j if it is observed, else s_j.

    Column j has S_j observed rows. The statistic s_j depends on the strategy:

        mean                       d s_j / d m_i = (x_ij - s_j) / S_j
        median                     an order statistic, see `OrderStatistics`
        most_frequent, constant    d s_j / d m_i = 0

    Missing entries have no derivative, and neither have indicator columns.
    """

    def __init__(self, transformer, X, y=None, weight=None):
        if callable(transformer.strategy):
            raise UnsupportedEstimatorError(
                "The strategy of SimpleImputer is a function, whose derivative is not known. "
                "Use strategy='mean' or 'median', or a method that removes samples "
                "(leave_out_*, remove_samples)."
            )
        # Strings have no derivative.
        dtypes = X.dtypes if hasattr(X, "iloc") else [np.asarray(X).dtype]
        if not sparse.issparse(X) and any(kind.kind not in "biuf" for kind in dtypes):
            self.takes_numbers = False
        super().__init__(transformer, X, y, weight)
        empty = np.zeros(len(transformer.statistics_), dtype=bool)
        if not transformer.keep_empty_features:
            empty = np.array([s != s for s in transformer.statistics_])
        self.kept = np.flatnonzero(~empty)
        self.strategy = transformer.strategy
        if self.strategy not in ("mean", "median"):
            return
        self.statistics = np.nan_to_num(transformer.statistics_.astype(np.float64))
        missing = self._missing(self.X)
        self.count = self.n_rows - column_sums(missing)
        if self.strategy == "median":
            if sparse.issparse(self.X):
                data = np.where(missing.data > 0, np.nan, self.X.data)
                observed = with_values(self.X, data)
            else:
                observed = np.where(missing, np.nan, self.X)
            self.middle = OrderStatistics(observed, [0.5])
            # Without missing entries the median has no effect.
            self.can_jump = bool(np.any(self.count < self.n_rows))

    @property
    def sums(self):
        if self.strategy == "median":
            return None
        return self.count if self.strategy == "mean" else np.zeros(0)

    def take_sums(self, sums):
        self.count = sums

    @property
    def per_row(self):
        """1 / S_j; 0 for a column without observed rows, whose statistic stays at 0."""
        return np.where(self.count > 0, 1.0 / np.maximum(self.count, 1), 0.0)

    def _missing(self, X):
        """Return a mask for missing entries, sparse if the rows are sparse."""
        value = self.transformer.missing_values
        data = X.data if sparse.issparse(X) else X
        # None, NaN, or pandas' NA, which has no truth value beside others.
        is_nan = not isinstance(value, str | Real) or value != value
        mask = np.isnan(data) if is_nan else data == value
        if not sparse.issparse(X):
            return mask
        return with_values(X, mask.astype(np.float64))

    def _on_columns(self, X, B):
        """Return the cotangent on all input columns, without indicator columns."""
        B = B[:, : len(self.kept)]
        if B.shape[1] == X.shape[1]:
            return B
        if sparse.issparse(B):
            B = sparse.coo_array(B)
            place = (B.row, self.kept[B.col])
            return sparse.csr_array((B.data, place), shape=X.shape)
        spread = np.zeros(X.shape)
        spread[:, self.kept] = B
        return spread

    def outside(self, X):
        outside, indicator = super().outside(X), self.transformer.indicator_
        if indicator is not None and indicator.features == "missing-only":
            missing = self._missing(self.rows(X))
            others = np.setdiff1d(np.arange(missing.shape[1]), indicator.features_)
            outside[1] = np.ravel(missing[:, others].sum(axis=1)) > 0
        return outside

    def pull_statistics(self, X, B):
        if self.strategy not in ("mean", "median"):
            return None
        B, missing = self._on_columns(X, B), self._missing(X)
        if sparse.issparse(X):
            return column_sums(missing.multiply(B))
        return np.einsum("ij,ij->j", np.asarray(B), missing)

    def pull_input(self, X, B):
        if not self.takes_numbers:
            return np.zeros(X.shape)
        B, missing = self._on_columns(X, B), self._missing(X)
        if sparse.issparse(X):
            return sparse.csr_array(B - missing.multiply(B))
        return np.where(missing, 0.0, B)

    def row_influence(self, c, rows=None):
        X, weight = rows or self.training
        if c is None or self.strategy != "mean":
            return np.zeros(len(weight))
        c, missing = c * self.per_row, self._missing(X)
        if sparse.issparse(X):
            observed = X.copy()
            observed.data[missing.data > 0] = 0.0
            return observed @ c - self.statistics @ c + missing @ (self.statistics * c)
        return np.where(missing, 0.0, X - self.statistics) @ c

    def sides(self, row):
        if self.strategy != "median":
            return super().sides(row)
        above, below, _ = sides_of(self, "middle", row)
        return above, below, 0

    def pull_fit(self, c):
        if c is None:
            return None
        if self.strategy == "median":
            return self.middle.pull(c[None, :])
        missing = self._missing(self.X)
        if sparse.issparse(self.X):
            pulled = self.X.copy()
            pulled.data = np.where(missing.data > 0, 0.0, (c * self.per_row)[pulled.indices])
            return pulled
        return np.where(missing, 0.0, c * self.per_row)


STAGES = {SimpleImputer: SimpleImputerStage}
