"""Measures for groups of rows, from the refits without them."""

import numpy as np

from skinfluence.blocks import row_blocks
from skinfluence.diagnostics.leverage import per_parameter, ratio
from skinfluence.gradients import absent_in
from skinfluence.namespaces import to_host
from skinfluence.objective import weigh


class GroupMeasures:
    """Measures for groups of rows, filled with the models that ``removal.leave_out`` returns.

    Parameters
    ----------
    base : Base
        The start of removal.
    sums : DispersionSums
        Sums over all rows at the base.
    n_groups : int
        Number of groups.
    with_penalty : bool, default=True
        Whether the penalty has a part in distances.

    Attributes
    ----------
    distance, deleted_dispersion : ndarray of shape (n_groups, K)
        d' H d and phi without each group. NaN if there is no model without the group.
    loss : ndarray of shape (n_groups,)
        Mean plain loss of each group's rows in the model without them.
    """

    def __init__(self, base, sums, n_groups, *, with_penalty=True):
        self.base, self.sums, self.with_penalty = base, sums, with_penalty
        self.theta = base.theta + base.correction
        shape, like = (n_groups, len(base.theta)), base.point.like
        self.distance = np.empty(shape, like=like)
        self.deleted_dispersion = np.ones(shape, like=like)
        self.loss = np.empty(n_groups, like=like)

    def add(self, indices, rows, theta):
        """Add the parameters (b, K, D) without groups of rows (b, a); return the changes d."""
        objective = self.base.point.objective
        d = theta - self.theta
        balance = objective.balance
        growth = None if balance is None else balance.growth(rows)
        sums = sums_of_groups(self.base.point, rows, theta, d, growth)
        counted = np.sum((rows >= 0) & (objective.sample_weight[rows] > 0), axis=1)
        self.fill(indices, d, sums, counted, np.sum(rows >= 0, axis=1))
        return d

    def fill(self, indices, d, sums, counted, sizes):
        """Add groups by the changes d (b, K, D) without them.

        Parameters
        ----------
        indices : ndarray of shape (b,)
            Numbers of the groups.
        d : ndarray of shape (b, K, D)
            Changes of the parameters.
        sums : ndarray of shape (b, 2 K + 1)
            `sums_of_groups` over all rows.
        counted, sizes : ndarray of shape (b,)
            Number of rows with a weight in each group, and of all its rows.
        """
        K = d.shape[1]
        distance, chi2, loss = sums[:, :K], sums[:, K:-1], sums[:, -1]
        if self.with_penalty:
            objective = self.base.point.objective
            penalty, readings = objective.penalty_product(d), objective.design.readings(d)
            distance = distance + np.sum(penalty * readings, axis=-1)
        self.distance[indices] = distance
        self.add_dispersion(indices, chi2, counted[:, None])
        self.loss[indices] = loss / np.asarray(sizes, like=loss)
        self.loss[indices[to_host(np.isnan(d).any(axis=(1, 2)))]] = np.nan

    def add_dispersion(self, indices, chi2, counted):
        """Add phi from the remaining rows' chi-squares (b, K), `counted` (b, 1) rows fewer."""
        if self.base.point.objective.formulation.loss.has_dispersion:
            self.deleted_dispersion[indices] = ratio(chi2, self.sums.degrees(counted))

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
        phi = np.ones(self.distance.shape[1])
        if self.base.point.objective.formulation.loss.has_dispersion:
            phi = ratio(self.sums.chi_square, self.sums.degrees())
        return per_parameter(ratio(self.distance, phi), self.sums.leverage)

    def dffits(self):
        """Return the norms of DFFITS, (n_groups,)."""
        squares = ratio(self.distance, self.deleted_dispersion).sum(axis=1)
        return np.sqrt(np.maximum(0.0, squares))


def sums_of_groups(point, rows, theta, d, growth):
    """Return sums over a point's rows for models without groups, (b, 2 K + 1).

    These are the rows' parts in d'H d, (b, K), the chi-squares of the rows that stay, (b, K),
    and the plain losses of those that leave.

    Parameters
    ----------
    point : Point
        All rows, or some of them, at the start of removal.
    rows : ndarray of shape (b, a)
        The point's rows in each group, padded by -1.
    theta, d : ndarray of shape (b, K, D)
        Parameters without each group, and their changes.
    growth : ndarray or None
        Growth of "balanced" class weights without each group, see `ClassBalance.growth`.
    """
    objective, (b, K, _) = point.objective, d.shape
    loss, design = objective.formulation.loss, objective.design
    readings = design.readings(d)
    out = np.zeros((b, 2 * K + 1), like=d)
    for block in row_blocks(objective.n_rows, 8 * 6 * b * K):
        part = design.take(block)
        moved = part.read(readings)
        bend = point.curvature_product(moved, block)
        out[:, :K] += np.einsum("mbk,mbk->bk", moved, bend)
        if loss.has_dispersion:
            raw = part.predict(theta)
            out[:, K:-1] += _chi_squares(objective, block, raw, rows, growth)
    for index, (line, params) in enumerate(zip(rows, theta, strict=True)):
        members = line[line >= 0]
        if len(members):
            raw = design.take(members).predict(params)
            out[index, -1] = loss.loss(objective.target[members], raw).sum()
    return out


def _chi_squares(objective, block, raw, rows, growth):
    """Return the sums of chi-squares in a block without the groups' rows, (b, K)."""
    loss, target = objective.formulation.loss, objective.target[block]
    chi2 = np.stack([loss.chi_square(target, column) for column in raw.transpose(1, 0, 2)], 1)
    chi2 = weigh(objective.row_weight[block, None], chi2)
    if growth is not None:  # class weights are those without the groups
        chi2 += chi2 * objective.class_sums.of_rows(growth, block)
    chi2[absent_in(block, rows)] = 0.0
    return chi2.sum(axis=0)
