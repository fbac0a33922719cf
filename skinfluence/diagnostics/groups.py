"""Measures for groups of rows, from the refits without them."""

import numpy as np

from skinfluence.blocks import row_blocks
from skinfluence.diagnostics.leverage import degrees_of_freedom, dispersion
from skinfluence.diagnostics.ratio import per_parameter, ratio
from skinfluence.namespaces import to_host
from skinfluence.objective import weigh
from skinfluence.objective.rows import absent_in

__all__ = ["GroupMeasures"]


class GroupMeasures:
    """Measures for groups of rows, filled with the models that ``removal.leave_out`` returns.

    Parameters
    ----------
    base : Base
        The start of removal.
    leverage : ndarray of shape (n, K)
        From `leverages`.
    n_groups : int
        Number of groups.

    Attributes
    ----------
    distance, deleted_dispersion : ndarray of shape (n_groups, K)
        d' H d and phi without each group. NaN if there is no model without the group.
    loss : ndarray of shape (n_groups,)
        Mean plain loss of each group's rows in the model without them.
    """

    def __init__(self, base, leverage, n_groups):
        self.base, self.leverage = base, leverage
        self.theta = base.theta + base.correction
        shape, like = (n_groups, leverage.shape[1]), base.point.like
        self.distance = np.empty(shape, like=like)
        self.deleted_dispersion = np.ones(shape, like=like)
        self.loss = np.empty(n_groups, like=like)

    def add(self, indices, rows, theta):
        """Add the parameters (b, K, D) without groups of rows (b, a); return the changes d."""
        objective = self.base.point.objective
        form, design = objective.formulation, objective.design
        d = theta - self.theta
        readings = design.readings(d)
        distance = self.penalty_distance(d, readings)
        chi2 = np.zeros_like(distance)
        for block in row_blocks(objective.n_rows, 8 * 6 * len(d) * d.shape[1]):
            part = design.take(block)
            moved = part.read(readings)
            bend = self.base.point.curvature_product(moved, block)
            distance += np.einsum("mbk,mbk->bk", moved, bend)
            if form.loss.has_dispersion:
                chi2 += self._chi_squares(block, part.predict(theta), rows)
        self.distance[indices] = distance
        counted = np.sum((rows >= 0) & (objective.sample_weight[rows] > 0), axis=1)[:, None]
        self.add_dispersion(indices, chi2, counted)
        for index, line, one in zip(indices, rows, theta, strict=True):
            members = line[line >= 0]
            raw = design.take(members).predict(one)
            self.loss[index] = form.loss.loss(objective.target[members], raw).mean()
        self.loss[indices[to_host(np.isnan(theta).any(axis=(1, 2)))]] = np.nan
        return d

    def add_dispersion(self, indices, chi2, counted):
        """Add phi from the others' chi-squares (b, K) without `counted` (b, 1) rows."""
        if self.base.point.objective.formulation.loss.has_dispersion:
            degrees = degrees_of_freedom(self.base.point, self.leverage, counted)
            self.deleted_dispersion[indices] = ratio(chi2, degrees)

    def penalty_distance(self, d, readings):
        """Return the penalty's part of d'Hd for changes (b, K, D), (b, K)."""
        return np.sum(self.base.point.objective.penalty_product(d) * readings, axis=-1)

    def _chi_squares(self, block, raw, rows):
        """Return the sums of chi-squares in a block without the groups' rows, (b, K)."""
        objective = self.base.point.objective
        loss, target = objective.formulation.loss, objective.target[block]
        chi2 = np.stack([loss.chi_square(target, one) for one in raw.transpose(1, 0, 2)], 1)
        chi2 = weigh(objective.row_weight[block, None], chi2)
        if objective.balance is not None:  # class weights are those without the groups
            chi2 += chi2 * objective.balance.of_rows(objective.balance.growth(rows), block)
        chi2[absent_in(block, rows)] = 0.0
        return chi2.sum(axis=0)

    def columns(self, sizes):
        """Return the columns of `influence_summary`, from the groups' sizes (n_groups,)."""
        return {
            "size": sizes,
            "cooks_distance": self.cooks_distance(),
            "dffits": self.dffits(),
            "leave_out_loss": self.loss,
        }

    def cooks_distance(self):
        """Return Cook's distance, (n_groups,); 0 if no parameter is free to move."""
        phi = dispersion(self.base.point, self.leverage)
        return per_parameter(ratio(self.distance, phi), self.leverage)

    def dffits(self):
        """Return the norms of DFFITS, (n_groups,)."""
        squares = ratio(self.distance, self.deleted_dispersion).sum(axis=1)
        return np.sqrt(np.maximum(0.0, squares))
