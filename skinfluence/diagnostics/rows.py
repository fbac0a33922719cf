"""Measures for single rows, from one Newton step without each."""

from functools import cached_property

import numpy as np

from skinfluence import removal
from skinfluence.diagnostics.leverage import (
    DispersionSums,
    chi_squares,
    per_parameter,
    ratio,
    remaining_in_mean_form,
)
from skinfluence.namespaces import to_host

#: Names of the columns of `influence_summary` for single rows.
ROW_COLUMNS = (
    "leverage",
    "self_influence",
    "cooks_distance",
    "dffits",
    "covratio",
    "studentized_residual",
    "standardized_residual",
    "leave_out_loss",
    "newton_decrement",
)


class RemovalMeasures:
    """Measures for single rows, filled with the models that ``removal.leave_out`` returns.

    Parameters
    ----------
    base : Base
        The start of removal.
    leverage, remaining : ndarray of shape (n, K)
        From `curvature_shares`.
    sums : DispersionSums or None, default=None
        Sums over all rows, if the base holds a part of them.

    Attributes
    ----------
    decrement2, distance : ndarray of shape (n, K)
        See ``skinfluence.diagnostics``. NaN if there is no model without the row.
    loss : ndarray of shape (n,)
        Plain loss of each row in the model without it.
    """

    def __init__(self, base, leverage, remaining, sums=None):
        self.base = base
        self.leverage, self.remaining = leverage, remaining
        self.sums = DispersionSums.of(base.point, leverage) if sums is None else sums
        self.theta = base.theta + base.correction
        shape = leverage.shape
        self.loss = np.empty(shape[0], like=base.point.like)
        self.decrement2, self.distance, self._moved, self._regrown, self._penalty_fall = (
            np.zeros((5, *shape), like=base.point.like)
        )

    def add(self, indices, theta):
        """Add the parameters (b, K, D) without each of b rows; return the changes d."""
        point = self.base.point
        objective, form = point.objective, point.objective.formulation
        design = objective.design.take(indices)
        d = theta - self.theta
        ahead = design.predict(self.base.correction)
        moved = design.predict_each(d)
        w = objective.sample_weight[indices, None]
        u = w * point.rows.raw_gradient[indices] + point.curvature_product(ahead, indices)
        bend = point.curvature_product(moved, indices)
        penalty = np.broadcast_to(objective.penalty, d.shape)
        self.decrement2[indices] = u * moved
        if form.penalty_share is not None:
            row_penalty = w[:, :, None] * form.penalty_share
            share = w[:, :, None] * form.share_gradient(self.theta)
            self.decrement2[indices] += np.sum(share * d, axis=-1)
            self.distance[indices] = np.sum(row_penalty * d * d, axis=-1)
            penalty = penalty - row_penalty
        else:
            self.distance[indices] = 0.0
        self.distance[indices] += self.decrement2[indices] + bend * moved
        if objective.balance is not None:
            self._add_class_weights(indices, d, u * moved)
        self._moved[indices] = moved
        before, after = (t * design.readings(t) for t in (self.theta, theta))
        self._penalty_fall[indices] = np.sum(penalty * (before - after), axis=-1)
        # The penalty 2 l |theta| changes likewise.
        l1 = form.support.slope(objective.weight_sum - w[:, :, None])
        self._penalty_fall[indices] -= 2.0 * np.sum(l1 * d, axis=-1)
        raw = point.raw_prediction[indices] + ahead + moved
        self.loss[indices] = form.loss.loss(objective.target[indices], raw)
        return d

    def _add_class_weights(self, indices, d, own):
        """Correct b rows for "balanced" class weights that change without them.

        `own` is -v_i'd at the present class weights, (b, K).
        """
        point, balance = self.base.point, self.base.point.objective.balance
        readings = point.objective.design.readings(d)
        growth = balance.growth(indices[:, None])  # (b, n_classes, 1 or K)
        of_row = growth[np.arange(len(indices)), balance.codes[indices]]
        pulls = np.einsum("ckd,bkd->bck", point.class_gradients, readings)
        self.decrement2[indices] = (1.0 + of_row) * own - np.sum(growth * pulls, axis=1)
        self.distance[indices] = np.sum(readings * self.base.hessian_product(d), axis=-1)
        if point.objective.formulation.loss.has_dispersion:
            others = np.sum(growth * self.sums.of_classes, axis=1)
            self._regrown[indices] = others - of_row * self._chi_squares[indices]

    @cached_property
    def _chi_squares(self):
        """Pearson's chi-squares of the rows, (n, K)."""
        return chi_squares(self.base.point)

    def refine_loss(self, indices, theta):
        """Replace the losses of b rows by those for more accurate parameters (b, K, D)."""
        objective = self.base.point.objective
        design = objective.design.take(indices)
        raw = design.predict_each(theta)
        loss = objective.formulation.loss.loss(objective.target[indices], raw)
        self.loss[indices] = np.where(np.isnan(raw).any(axis=1), np.nan, loss)

    def doubtful(self):
        """Return the indices of rows for which a Newton step may not be accurate."""
        decrement = to_host(self.newton_decrement())
        if not self.base.point.objective.formulation.is_smooth:
            return np.flatnonzero(decrement > 0)  # the support may change without the row
        error = self.base.step_error.bound(decrement, to_host(self.leverage.max(axis=1)))
        return np.flatnonzero(~(error <= removal.ACCURATE) & np.isfinite(decrement))

    @cached_property
    def dispersion(self):
        """phi, (K,)."""
        if not self.base.point.objective.formulation.loss.has_dispersion:
            return np.ones(self.leverage.shape[1])
        return ratio(self.sums.chi_square, self.sums.degrees())

    @cached_property
    def deleted_dispersion(self):
        """phi_(i), (n, K).

        Without row i, the minimum of F is F - (chi-square_i + decrement_i^2)/2, and its
        penalty term changes too. The remainder is the squared error of the other rows in the
        model without row i. The effective number of parameters is kept fixed. The result is
        exact for squared error, and has the accuracy of a Newton step for other deviances.
        """
        point = self.base.point
        if not point.objective.formulation.loss.has_dispersion:
            return np.ones_like(self.leverage)
        others = self.sums.chi_square - self._chi_squares - self.decrement2
        others += self._penalty_fall
        others += self._regrown
        counted = (point.objective.sample_weight > 0)[:, None]
        return ratio(np.maximum(others, 0.0), self.sums.degrees(counted))

    def columns(self, self_influence, *, n_jobs=None):
        """Return the columns of `influence_summary`, a dict of arrays (n,)."""
        values = (
            self.leverage.sum(axis=1),
            self_influence,
            self.cooks_distance(),
            self.dffits(),
            self.covratio(n_jobs=n_jobs),
            self.studentized_residual(),
            self.standardized_residual(),
            self.loss,
            self.newton_decrement(),
        )
        return dict(zip(ROW_COLUMNS, values, strict=True))

    def studentized_residual(self):
        """Return externally studentised residuals, (n,); norms over several outputs."""
        return self.residual(self.deleted_dispersion)

    def standardized_residual(self):
        """Return internally studentised residuals, (n,); norms over several outputs."""
        return self.residual(self.dispersion)

    def residual(self, dispersion):
        """Return studentised residuals in units of a dispersion (K,) or (n, K), (n,)."""
        squares = self._chi_squares + self.decrement2
        raw_gradient = self.base.point.rows.raw_gradient
        return self._signed_root(ratio(squares, dispersion), -raw_gradient)

    def covratio(self, *, n_jobs=None):
        """Return COVRATIO, (n,), with the leverages' sum as the number of parameters.

        It is infinite if the row alone determines a parameter.
        """
        remaining, share = self.remaining, self.base.point.objective.formulation.penalty_share
        if share is not None and share.any():
            remaining = remaining_in_mean_form(self.base, n_jobs)
        grown = ratio(self.deleted_dispersion, self.dispersion) ** self.sums.leverage
        found = ratio(grown.prod(axis=1), remaining.prod(axis=1))
        found[remaining.prod(axis=1) <= 0] = np.inf
        found[np.isnan(self.decrement2).any(axis=1)] = np.nan
        return found

    def cooks_distance(self):
        """Return Cook's distance, (n,); 0 if no parameter is free to move."""
        return per_parameter(ratio(self.distance, self.dispersion), self.sums.leverage)

    def dffits(self):
        """Return DFFITS, (n,); norms over several outputs."""
        squares = ratio(self.distance, self.deleted_dispersion)
        return self._signed_root(squares, -self._moved)

    def newton_decrement(self):
        """Return the Newton decrement of F without each row, at the optimum of F, (n,)."""
        return np.sqrt(np.maximum(0.0, self.decrement2.sum(axis=1)))

    def _signed_root(self, squares, direction):
        """Return the root of the sum of squares, with a sign if there is one prediction."""
        root = np.sqrt(np.maximum(0.0, squares.sum(axis=1)))
        single = self.base.point.objective.formulation.layout.n_predictions == 1
        return np.copysign(root, direction[:, 0]) if single else root
