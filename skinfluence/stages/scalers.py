"""Scalers: every column is shifted and scaled by two statistics of its own."""

import numpy as np
from scipy import sparse
from sklearn.preprocessing import StandardScaler

from skinfluence.stages.base import Stage

__all__ = ["STAGES", "StandardScalerStage"]


class StandardScalerStage(Stage):
    """StandardScaler: t_j = (x_j - mu_j) / sigma_j.

    The statistics are the mean and the variance of each column over its observed rows:

        d mu_j / d m_i       = w_i (x_ij - mu_j) / S_j
        d sigma^2_j / d m_i  = w_i ((x_ij - mu_j)^2 - sigma^2_j) / S_j

    with S_j the weight of the rows that are not NaN. A column without variance has the scale
    1, which does not move. Sparse rows are scaled only.
    """

    def __init__(self, transformer, X, y=None, weight=None):
        super().__init__(transformer, X, y, weight)
        d = self.X.shape[1]
        scaler = transformer
        self.scale = np.ones(d) if scaler.scale_ is None else scaler.scale_
        self.moves = np.zeros(d, dtype=bool)
        if scaler.scale_ is not None:
            self.moves = scaler.scale_ == np.sqrt(scaler.var_)
        self.mean = np.zeros(d)
        if scaler.mean_ is not None:
            self.mean = scaler.mean_
        self.is_sparse = sparse.issparse(self.X)
        self.observed = self._observed()

    def _observed(self):
        """Return the weight of the observed rows of each column, (d,)."""
        if self.is_sparse:
            return np.full(self.X.shape[1], self.weight.sum())
        return self.weight @ ~np.isnan(self.X)

    def pull_statistics(self, X, B):
        # dt/dmu = -1/sigma and dt/dsigma^2 = -t / (2 sigma^2).
        if sparse.issparse(X):
            total = np.asarray(B.multiply(X).sum(axis=0)).ravel()
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

    def row_influence(self, c):
        c_mean, c_variance = (part / self.observed for part in c)
        if self.is_sparse:
            # (x - mu)^2 - sigma^2 = x^2 - 2 x mu + mu^2 - sigma^2
            mean = np.asarray(self.X.T @ self.weight).ravel() / self.observed
            squares = self.X.multiply(self.X) @ c_variance
            value = squares + self.X @ (c_mean - 2 * mean * c_variance)
            constant = (mean**2 - self._variance()) @ c_variance - mean @ c_mean
            return self.weight * (value + constant)
        mean = self._mean()
        shifted = np.where(np.isnan(self.X), 0.0, self.X - mean)
        value = shifted @ c_mean + shifted**2 @ c_variance
        return self.weight * (value - ~np.isnan(self.X) @ (self._variance() * c_variance))

    def _mean(self):
        """Return the mean of each column, whether or not it is taken off."""
        if self.transformer.mean_ is not None:
            return self.transformer.mean_
        return self.weight @ np.nan_to_num(self.X) / self.observed

    def _variance(self):
        """Return the variance of each column; 0 if it has no scale."""
        var = self.transformer.var_
        return np.zeros(self.X.shape[1]) if var is None else var

    def pull_fit(self, c):
        c_mean, c_variance = (part / self.observed for part in c)
        if self.is_sparse:
            mean = np.asarray(self.X.T @ self.weight).ravel() / self.observed
            pulled = self.X.multiply(2 * c_variance).tocsr()
            # Entries without a pattern have no cotangent, so the shift is for the others.
            shift = c_mean - 2 * mean * c_variance
            pulled.data += shift[pulled.indices]
            return sparse.csr_array(pulled.multiply(self.weight[:, None]))
        shifted = np.where(np.isnan(self.X), 0.0, self.X - self._mean())
        pulled = self.weight[:, None] * (c_mean + 2 * c_variance * shifted)
        return np.where(np.isnan(self.X), 0.0, pulled)


STAGES = {StandardScaler: StandardScalerStage}
