"""Influence through the stages before a model: one sweep backwards for each scalar.

Let Q be a scalar of the fitted whole, with gradient q in the parameters and cotangent B_q on
the rows that it is evaluated at. With v = H^-1 q, a training row i has

    dQ/dm_i = - v' grad L(z_i)                                  as in a single estimator
              + c . ds/dm_i                                     through the stages

where c adds up the cotangents on the statistics of the rows of Q, with B_q, and of the
training rows, with

    B_k = - [ s_k l''_k (x~_k'v) theta + s_k l'_k v ].

The influence is S/w_i times this derivative, so that -(w_i/S) I is the first-order removal.
"""

import numpy as np
from scipy import sparse

from skinfluence.blocks import row_blocks
from skinfluence.products import multiply
from skinfluence.stages.base import dense
from skinfluence.stages.chain import add

__all__ = ["Sweep", "on_rows"]


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


class Sweep:
    """What the stages add to the influence of the model behind them.

    Parameters
    ----------
    point, factor : Point, Factor
        The model's objective at its parameters, and H^-1.
    whole : WholeFit
        Has the `chain` of everything before the model, with its training rows.
    """

    def __init__(self, point, factor, whole):
        self.point = point
        self.factor = factor
        self.whole = whole
        self._of_params = None

    @property
    def chain(self):
        """The stages before the model."""
        return self.whole.chain

    @property
    def scale(self):
        """S/w_i, (n,); NaN for rows without weight."""
        objective = self.point.objective
        w = np.where(objective.sample_weight > 0, objective.sample_weight, np.nan)
        return objective.weight_sum / w

    def training_cotangent(self, v):
        """Return B_k of all training rows for v (K, D), (n, d)."""
        point, d = self.point, self.point.objective.design.n_features
        if point.objective.design.has_metric:
            return self._kernel_cotangent(v)
        bend = point.curvature_product(point.objective.design.predict(v))
        pull = point.objective.sample_weight[:, None] * point.rows.raw_gradient
        left = -np.hstack([bend, pull])
        right = np.vstack([point.theta[:, :d], v[:, :d]])
        return on_rows(point.objective.design.X, left, right)

    def sample_cotangent(self, rows, raw_gradient):
        """Return B_q on rows (m, d) of scalars with gradients (m, K) in raw predictions."""
        d = self.point.objective.design.n_features
        return on_rows(rows, raw_gradient, self.point.theta[:, :d])

    def through_training(self, V):
        """Return what the stages add for gradients V (m, K, D) in the parameters, (m, n)."""
        m, (K, D) = len(V), self.point.theta.shape
        solved = self.factor.solve_transposed(V)
        if m <= K * D and self._of_params is None:
            return np.array([self._through_training(v) for v in solved]).reshape(m, -1)
        if self._of_params is None:
            # It is linear in v: with many scalars, sweep once for each parameter.
            basis = np.eye(K * D).reshape(-1, K, D)
            self._of_params = np.array([self._through_training(v) for v in basis])
        return solved.reshape(m, -1) @ self._of_params

    def _through_training(self, v):
        """Return what the stages add for v = H^-1 q (K, D), (n,)."""
        c = self.chain.pull_training_statistics(self.training_cotangent(v))
        return self.chain.row_influence(c)

    def through_samples(self, X, B):
        """Return what the stages add because a sample's own row moves, (n,).

        Parameters
        ----------
        X : {array-like, sparse matrix, DataFrame} of shape (m, .)
            Raw rows that one scalar is evaluated at.
        B : ndarray or sparse matrix of shape (m, d)
            Cotangent on the rows that the model sees.
        """
        return self.chain.row_influence(self.chain.pull_statistics(X, B))

    def extra(self, V, samples):
        """Return S/w_i times what the stages add for m scalars, (m, n).

        Parameters
        ----------
        V : ndarray of shape (m, K, D)
            Gradients in the parameters.
        samples : list of (X, B) or None
            For each scalar its raw rows and the cotangent on the transformed ones.
        """
        total = self.through_training(V)
        for line, part in zip(total, samples, strict=True):
            if part is not None:
                line += self.through_samples(*part)
        return total * self.scale

    def add_scales(self, V, out):
        """Add `extra` for scalars of predictions to out (m, n) if only scales move.

        In the features as scaled, row i pulls at the penalty alone:
        - v' Lam (d r^2 / d m_i) theta, see `column_scales`. With the mean m_j and the variance
        of x~_j that is a product with (x~_j - m_j)^2 and a constant.
        """
        objective = self.point.objective
        solved = self.factor.solve_transposed(V)
        pulled = np.einsum("mkd,kd,kd->md", solved, objective.penalty, self.point.theta)
        scales, n = objective.scales, objective.n_rows
        moves = np.flatnonzero(scales.variance > 0)
        design, d = objective.design, objective.design.n_features
        weights = np.zeros((len(V), d + 1))
        weights[:, moves] = pulled[:, moves] / (-scales.variance[moves] * scales.count)
        weights[:, d] = -(weights[:, :d] @ scales.variance[:d])
        mean, scale = (scales.total / scales.count)[:d], self.scale
        if np.ptp(scale) == 0:
            weights *= scale[0]
        for rows in row_blocks(n, 16 * (d + 1)):
            squares = np.ones((rows.stop - rows.start, d + 1))
            np.subtract(dense(design.X[rows]), mean, out=squares[:, :d])
            squares[:, :d] *= squares[:, :d]
            if np.ptp(scale) != 0:
                squares *= scale[rows, None]
            multiply(weights, squares.T, out[:, rows], add=True)
        return out

    def to_inputs(self, V, samples, index):
        """Return d(scalar)/d(raw training row `index`) of m scalars, (m, d_raw).

        The row pulls at the statistics of all stages and at the model.
        """
        out = []
        for v, part in zip(self.factor.solve_transposed(V), samples, strict=True):
            B = self.training_cotangent(v)
            c = self.chain.pull_training_statistics(B)
            if part is not None:
                c = add(c, self.chain.pull_statistics(*part))
            pulled = self.chain.pull_training_input(B)
            fit = self.chain.pull_fit(c)
            pulled = pulled if fit is None else pulled + fit
            row = pulled[[index]]
            out.append((row.toarray() if sparse.issparse(row) else np.asarray(row))[0])
        return np.array(out)
