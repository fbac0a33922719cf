"""Significance of a parameter by standard errors that allow unequal or dependent errors.

With v_i the gradient of row i and c the indicator of the parameter, psi_i = c'H^-1 v_i is the
effect of row i. The variance of the parameter is

    HC0      sum_i psi_i^2                                 n rows with weight, p parameters
    HC1      n / (n - p) times HC0
    HC2      sum_i psi_i^2 / (1 - h_i)                     h_i the leverage
    HC3      sum_i psi_i^2 / (1 - h_i)^2
    cluster  sum_A (sum_{i in A} psi_i)^2 times G / (G - 1) (n - 1) / (n - p)   for G clusters

References: MacKinnon & White, 1985; Cameron & Miller, 2015.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from skinfluence import diagnostics
from skinfluence.blocks import row_blocks, run_blocks
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.inspection.goals import SignificanceGoal
from skinfluence.inspection.removals import weighted_influence

COVARIANCES = ("HC0", "HC1", "HC2", "HC3", "cluster")
_POWER = {"HC2": 1, "HC3": 2}
# Rows for which each step computes the errors without them from all pairs.
_CANDIDATES = 256


class RobustGoal(SignificanceGoal):
    """A parameter divided by its robust standard error.

    Parameters
    ----------
    position, level, opposite, full
        See `SignificanceGoal`.
    covariance : str
        One of `COVARIANCES`.
    cluster : ndarray of shape (n,) or None
        Cluster of each row, for "cluster".
    """

    def __init__(self, position, level, opposite, full, covariance, cluster):
        self.covariance = covariance
        if covariance in _POWER and full.point.objective.coupled:
            raise UnsupportedEstimatorError(
                f"covariance={covariance!r} needs one leverage for each row and output, and "
                "outputs that share a softmax have none: use 'HC0', 'HC1' or 'cluster'."
            )
        self.take_cluster(cluster)
        super().__init__(position, level, opposite, full)

    def take_cluster(self, cluster):
        """Sum within the clusters (n,), or not if they are None."""
        self.cluster = cluster
        if cluster is not None:
            # Sums over clusters are sums over runs of rows in this order.
            self.order = np.argsort(cluster, kind="stable")
            self.starts = np.flatnonzero(np.r_[True, np.diff(cluster[self.order]) != 0])

    def in_refit(self, position, base, kept):
        moved = super().in_refit(position, base, kept)
        moved.take_cluster(None if self.cluster is None else self.cluster[kept])
        return moved

    def critical_size(self, base):
        objective = base.point.objective
        if not objective.formulation.loss.has_dispersion:
            return stats.norm.isf(self.level / 2)
        if self.cluster is not None:
            return stats.t.isf(self.level / 2, self._n_clusters(base) - 1)
        n, p = self._counts(base)
        return stats.t.isf(self.level / 2, n - p)

    def condition(self, base):
        return self._sign_change(base)

    def first_order(self, base, removals):
        return self.one_step(base, removals)

    def one_step(self, base, removals):
        param = removals.change(base, self.V) + np.sum(self.V * base.theta)
        effects, leverage = self._effects(base), self._leverage(base)
        shares = self._shares(effects, leverage)
        n, p = self._counts(base)
        squares = shares.sum() - shares
        if self.cluster is not None:
            sums = self._cluster_sums(effects[None])[0]
            total = np.bincount(self.cluster, effects)[self.cluster]
            squares = np.sum(sums**2) - total**2 + (total - effects) ** 2
        change = self._ratio(param, squares, n - 1, p, base) - self.value(base)
        if base.point.objective.coupled:
            return change
        gain = np.where(np.isnan(change), -np.inf, self.direction * change)
        gain[base.point.objective.sample_weight == 0] = -np.inf
        rows = np.sort(np.argsort(-gain, kind="stable")[:_CANDIDATES])
        squares = self._squares_without(base, rows, leverage, removals.n_jobs)
        change[rows] = self._ratio(param[rows], squares, n - 1, p, base) - self.value(base)
        return change

    def _ratio(self, param, squares, n, p, base):
        with np.errstate(invalid="ignore", divide="ignore"):
            return param / np.sqrt(np.maximum(squares, 0.0) * self._correction(n, p, base))

    def standard_error(self, base):
        squares = self._sum(self._effects(base)[None], self._leverage(base)[None])[0]
        return np.sqrt(squares * self._correction(*self._counts(base), base))

    def _correction(self, n, p, base):
        if self.covariance == "HC1":
            return n / (n - p) if n > p else np.nan
        if self.covariance == "cluster":
            G = self._n_clusters(base)
            return G / (G - 1) * (n - 1) / (n - p) if G > 1 and n > p else np.nan
        return 1.0

    def _sum(self, effects, leverage):
        """Return the sum of squares for effects and leverages (b, n), (b,)."""
        if self.cluster is not None:
            return np.sum(self._cluster_sums(effects) ** 2, axis=1)
        return self._shares(effects, leverage).sum(axis=1)

    def _shares(self, effects, leverage):
        remaining = np.maximum(1.0 - leverage, np.finfo(float).eps)
        return effects**2 / remaining ** _POWER.get(self.covariance, 0)

    def _cluster_sums(self, effects):
        return np.add.reduceat(effects[:, self.order], self.starts, axis=1)

    def _n_clusters(self, base):
        return len(np.unique(self.cluster[base.point.objective.sample_weight > 0]))

    def _counts(self, base):
        """Return n and p."""
        n = int(np.sum(base.point.objective.sample_weight > 0))
        leverage = diagnostics.leverages(base.point, base.plain_factor)
        outputs = slice(None) if base.point.objective.coupled else self.output
        return n, float(leverage[:, outputs].sum())

    def _leverage(self, base):
        """Return the leverages h, (n,)."""
        return diagnostics.leverages(base.point, base.plain_factor)[:, self.output]

    def _effects(self, base):
        """Return psi, (n,)."""
        return weighted_influence(base, self.V)

    def _squares_without(self, base, rows, leverage, n_jobs):
        """Return the sum of squares without each of some rows, by one Newton step, (b,)."""
        point, k = base.point, self.output
        design, (K, D) = point.objective.design, point.theta.shape
        h = point.curvature()[:, k]
        g = point.objective.sample_weight * point.rows.raw_gradient[:, k]
        effect = design.predict(base.plain_factor.solve(self.V[None])[0])[:, k]

        def block_squares(block):
            removed = rows[block]
            V = np.zeros((len(removed), K, D))
            V[:, k] = design.take(removed).rows()
            x = design.predict(base.plain_factor.solve(V)[:, k]).T  # x~_i'H^-1 x~_j
            grown = x / np.maximum(1.0 - leverage[removed], np.finfo(float).eps)[:, None]
            without = (g + h * grown * g[removed, None]) * (
                effect + grown * (h[removed] * effect[removed])[:, None]
            )
            without[np.arange(len(removed)), removed] = 0.0
            return self._sum(without, leverage + h * x * grown * h[removed, None])

        blocks = row_blocks(len(rows), 8 * (8 * len(h) + 6 * K * D), n_jobs=n_jobs)
        return np.concatenate(run_blocks(block_squares, blocks, n_jobs=n_jobs))


def cluster_codes(problem, full, groups):
    """Return the cluster of each row, (n,); raise if there are fewer than two."""
    codes = problem.groups_for(groups).partition()
    if len(np.unique(codes[full.point.objective.sample_weight > 0])) < 2:
        raise ValueError("covariance='cluster' needs samples from at least two groups.")
    return codes
