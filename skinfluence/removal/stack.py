"""A stack of b groups with at most a rows each, and the objective without each group.

Notation for one group A at parameters theta; arrays are stacked along the first axis:

    x (b, a, D)   rows x~_i, zero for padding       w (b, a)   their sample weights
    t (b,)        leaving weight, sum_A w_i         v_i = w_i (g_i x~_i + share theta)

and F_-A(theta) = F(theta) - sum_A [w_i c_i l_i + w_i/2 theta' share theta].
"""

import copy
from functools import cached_property

import numpy as np

from skinfluence.namespaces import to_host
from skinfluence.removal.new_weights import correct, steps_at_new_weights
from skinfluence.solvers.update import GroupUpdate

#: Rows that lose more than this share of the curvature in some direction change the Hessian.
LOST = 0.25
#: If rounding is amplified more than this, the leaving rows must not enter a sum at all.
AMPLIFIED = 1e3


def finite(theta):
    """Return a NumPy mask (b,) of the parameter vectors (b, K, D) that are finite."""
    return to_host(np.isfinite(theta).all(axis=(1, 2)))


def step_from(stack, theta):
    """Return (parameters after a Newton step from theta, decrement before it).

    A step is NaN if it points uphill by more than rounding.
    """
    residual = stack.gradients(theta)
    step = -stack.inverse_times(residual)
    slope = to_host(np.einsum("bkd,bkd->b", residual, stack.readings(step)))
    step[slope > stack.rounding**2] = np.nan
    return theta + step, np.sqrt(np.abs(slope))


class Stack:
    """Groups of rows that leave one objective.

    Parameters
    ----------
    base : Base
        The objective, the starting point and its factor.
    rows : ndarray of shape (b, a)
        Row indices, -1 if a group is shorter.
    """

    def __init__(self, base, rows):
        self.base = base
        self.rows = rows
        self.real = rows >= 0
        objective = base.point.objective
        self.target = objective.target[np.where(self.real, rows, 0).ravel()]
        self.weight = np.where(self.real, objective.sample_weight[rows], 0.0)
        self.t = self.weight.sum(axis=1)
        self.x = objective.design.groups(rows)

    def release(self, theta):
        """Set the leaving rows' dual coefficients in theta (b, K, D) to 0, in place.

        They are 0 up to rounding, but the kernel matrix would amplify the rounding.
        """
        if self.base.point.objective.design.has_metric:
            self.update.release(theta, self.rows)

    @property
    def rounding(self):
        """Newton decrement that rounding can cause in each group, (b,)."""
        return np.full(len(self), self.base.rounding)

    def readings(self, theta):
        """Return the values that rows are multiplied with to predict, see `Design`."""
        return self.base.point.objective.design.readings(theta)

    def fallen(self, theta, length):
        """Return the rows that have less curvature at theta than at the base point.

        Parameters
        ----------
        theta : ndarray of shape (b, K, D)
            Parameters of each group.
        length : ndarray of shape (b,)
            Bounds on the steps to them, in the metric of H - H_A.

        Returns
        -------
        group, row, root
            See `Objective.fallen`. Groups whose rows own no more than the share `LOST` of the
            curvature may be left out.
        """
        base = self.base
        objective, start = base.point.objective, base.theta[None]
        if self.is_far_from_kinks:
            length = length * np.sqrt(self.growth)
            doubtful = np.flatnonzero(~(self.growth * base.kinks.share(length) <= LOST))
            found = [objective.take(slice(0, 0)).fallen(start, theta)]
            for groups, near in base.kinks.batches(length[doubtful]):
                groups = doubtful[groups]
                group, row, root = objective.take(near).fallen(start, theta[groups])
                found.append((groups[group], near[row], root))
            group, row, root = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
        else:
            group, row, root = objective.fallen(start, theta)
        stays = (objective.among_all(self.rows)[group] != row[:, None]).all(axis=1)
        return group[stays], row[stays], root[stays]

    @property
    def is_far_from_kinks(self):
        """Whether the rows near kinks may stand for all.

        For few groups, a pass over all rows costs less than the reach of each row.
        """
        objective = self.base.point.objective
        has_kinks = objective.formulation.loss.has_kinks
        return has_kinks and len(self) >= objective.design.n_columns and objective.has_all_rows

    @property
    def growth(self):
        """Bound on the growth of H^-1 along any direction without each group, (b,).

        The eigenvalues of (I + M C)^-1 are at least 1, so the largest is at most their sum
        minus the others' ones. The penalty shrinks by no more than the leaving weight's share.
        """
        inverse, b = to_host(self.update.inverse), len(self)
        others = inverse.shape[-1] - 1
        growth = np.einsum("...aa->...", inverse).reshape(b, -1).max(axis=1) - others
        objective = self.base.point.objective
        if objective.formulation.penalty_share is None:
            return growth
        return growth / (1.0 - to_host(self.t) / objective.weight_sum)

    def inverse_of(self, group):
        """Return a function for H^-1 V, and by how much (H - H_A)^-1 may exceed H^-1."""
        return self.base.plain_factor.solve, self.growth[group]

    def __len__(self):
        return len(self.rows)

    def take(self, groups):
        """Return the stack for a subset of the groups."""
        part = copy.copy(self)
        part.update = self.update.take(groups)
        part.curvature = self.curvature[groups]
        for name in ("moved_penalty", "class_growth"):
            value = getattr(self, name)
            setattr(part, name, None if value is None else value[groups])
        for name in ("rows", "real", "weight", "t", "x"):
            setattr(part, name, getattr(self, name)[groups])
        b, a = self.rows.shape
        part.target = self.target.reshape(b, a, *self.target.shape[1:])[groups]
        part.target = part.target.reshape(-1, *self.target.shape[1:])
        return part

    @cached_property
    def curvature(self):
        """W_i for the leaving rows at the base point, (b, a, K) or (b, a, K, K)."""
        point = self.base.point
        raw = point.raw_prediction[np.where(self.real, self.rows, 0).ravel()]
        W = point.objective.formulation.weight_curvature(self.target, raw)
        W = W.reshape(*self.rows.shape, *W.shape[1:])
        return W * np.expand_dims(self.weight, tuple(range(2, W.ndim)))

    @cached_property
    def scale_ratio(self):
        """r^2 of the columns without each group, (b, D), see `ColumnScales`, or None."""
        scales = self.base.point.objective.scales
        return None if scales is None else scales.ratio(self.x, self.real.sum(axis=1))

    @cached_property
    def moved_penalty(self):
        """Growth of the penalty's diagonal by new column scales, (b, K, D), or None."""
        if self.scale_ratio is None:
            return None
        return self.remaining_penalty * (self.scale_ratio[:, None] - 1.0)

    @cached_property
    def class_growth(self):
        """Relative growth of "balanced" class weights without each group, or None.

        See `ClassBalance.growth`.
        """
        balance = self.base.point.objective.balance
        return None if balance is None else balance.growth(self.rows)

    @property
    def moves(self):
        """Whether the objective for the remaining rows changes, too."""
        return self.moved_penalty is not None or self.class_growth is not None

    @property
    def remaining_penalty(self):
        """Penalty diagonal minus the leaving rows' share, (b or 1, K, D)."""
        objective = self.base.point.objective
        share = objective.formulation.penalty_share
        if share is None:
            return objective.penalty[None]
        return objective.penalty - self.t[:, None, None] * share

    @cached_property
    def update(self):
        """(H - H_A)^-1 at the base point, for each group."""
        return GroupUpdate(
            self.base.factor, self.x, -self.curvature, rows=self.rows, solve=self.solve
        )

    @property
    def solve(self):
        """Function that maps V to (H - t P)^-1 V, with each group's weight t."""
        factor, t = self.base.factor, self.t
        if self.base.point.objective.formulation.penalty_share is None:
            return factor.solve
        # The function refers to t only. If it referred to the stack, which owns the update,
        # the stack would live until the next garbage collection, and many of them would pile
        # up.
        return lambda V: factor.solve(V, np.repeat(t, len(V) // len(t)))

    def near_gradients(self, theta):
        """Return `gradients` from the rows near kinks, if the loss is quadratic between them.

        Groups whose rows own nearly all the curvature along a direction take all rows.
        """
        near = np.full(len(self), self.is_quadratic_between_kinks)
        near &= self.growth <= AMPLIFIED
        out = np.empty_like(theta)
        if near.any():
            part, steps = self.take(near), theta[near] - self.base.theta
            square = np.sum(steps * self.base.hessian_times(steps), axis=(1, 2))
            length = np.sqrt(np.maximum(to_host(square), 0.0))

            def remainders(steps, rows):
                return self.base.kinks.remainders(steps, length, rows)

            out[near] = part.approximate_gradients(theta[near], remainders)
        if not near.all():
            out[~near] = self.take(~near).gradients(theta[~near])
        return out

    @property
    def is_quadratic_between_kinks(self):
        """Whether only the rows near kinks have gradients that are not linear in a step."""
        if not self.is_far_from_kinks or self.base.point.objective.coupled:
            return False
        return self.class_growth is None and self.base.hessian is not None

    def gradients(self, theta):
        """Return grad F_-A at each group's theta, both (b, K, D)."""
        objective = self.base.point.objective
        share = objective.formulation.share_gradient(theta)
        gradients = objective.gradients(theta, self.rows, self.class_growth)
        if share is not None:
            gradients -= self.t[:, None, None] * share
        if self.moved_penalty is not None:
            gradients += self.moved_penalty * theta
        return gradients

    def approximate_gradients(self, theta, remainders=None):
        """Return `gradients`, with the part beyond first order in single precision.

            G - sum_A v_i + (H - H_A) d + remainder of the rows that stay,   d = theta - theta~

        Only the remainder takes a pass over all rows. It excludes the leaving rows, because
        their remainders may be large and would not cancel in single precision.
        `remainders` is another function for it, see `RemainderSeries`.
        """
        base = self.base
        remainders = remainders or base.point.remainders
        share = base.point.objective.formulation.penalty_share
        steps = theta - base.theta
        gradients = base.point.gradient - self._leaving()
        if self.class_growth is None:
            gradients += remainders(steps, self.rows) + self._remaining_times(steps)
        else:
            gradients += base.point.remainders(steps, self.rows, self.class_growth)
            gradients += self.moved_hessian_times(steps)
        if share is not None:
            gradients -= self.t[:, None, None] * share * steps
        if self.moved_penalty is not None:
            gradients += self.moved_penalty * theta
        return gradients

    def single_precision(self, theta):
        """Return the relative error in raw predictions of steps in single precision.

        x~_j' d_A is a sum of terms x~_jk d_Ak that are each rounded. The sum and the rounding
        are root mean squares over the rows j, for the worst output, shape (b,). The result is
        four times the value for independent rounding errors.
        """
        size, gram = self.base.second_moments
        steps = theta - self.base.theta
        rounding = 2.0 * np.finfo(np.float32).eps * np.linalg.norm(steps * size, axis=-1)
        moved = np.sqrt(np.maximum(0.0, np.sum((steps @ gram) * steps, axis=-1)))
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = to_host(rounding / moved)
            return np.nan_to_num(ratio, nan=0.0, posinf=np.inf).max(axis=1)

    def influence(self):
        """Return theta~ + N + H^-1 sum_A v_i, which is additive over the rows."""
        leaving = self._leaving(grown=False)
        shift = self.base.point.class_shift
        if shift is not None:
            flat = np.where(self.real, self.rows, 0)
            u = np.where(self.real, shift.factor[flat], 0.0)
            for values, codes, weights in zip(leaving, shift.codes[flat], u, strict=True):
                values += np.tensordot(weights, shift.values[codes], 1)
        scales = self.base.point.objective.scales
        if scales is not None:
            b, a, D = self.x.shape
            moved = scales.first_order(self.x.reshape(-1, D)).reshape(b, a, D)
            moved = np.where(self.real[:, :, None], moved, 0.0).sum(axis=1)
            penalty = self.base.point.objective.penalty
            leaving = leaving + moved[:, None] * penalty * self.base.theta
        pull = self.base.factor.solve(leaving)
        return self.base.theta + self.base.correction + pull

    def newton(self, *, exact=False):
        """Return theta after one Newton step without the rows, and the decrement before it.

        If "balanced" class weights change, the step has the Hessian at the present ones, or
        at the new ones if `exact` or if the loss is quadratic.

        r = G - sum_A v_i;  step = -(H - H_A)^-1 r;  decrement^2 = -r' step. The step is NaN if
        it points uphill by more than rounding in r, because then H - H_A has lost its sign.
        """
        base = self.base
        plain = base.point.objective.formulation.penalty_share is None
        if plain and not self.moves:
            # H^-1 r = -N - Z g follows from the update, so it needs no further solve and r is
            # never formed.
            g = self._base_gradients()
            step = self.update.correct(-base.correction - self.update.of_rows(g))
            np.negative(step, out=step)
            read = self.readings(step)
            slope = np.tensordot(read, base.point.gradient, 2)
            slope -= np.sum(g * np.matmul(self.x, read.transpose(0, 2, 1)), axis=(1, 2))
            slope = to_host(slope)
        else:
            residual = self.first_gradients
            if (exact or self.is_quadratic) and self.class_growth is not None:
                step = steps_at_new_weights(self, residual)
            else:
                step = -self.update.correct(self.solve(residual))
                if self.is_corrected:
                    correct(self, step, residual)
            slope = to_host(np.einsum("bkd,bkd->b", residual, self.readings(step)))
        if np.any(slope > 0):
            lost = slope > base.rounding**2
            step[lost] = slope[lost] = np.nan
        theta = base.theta + step
        self.release(theta)
        return theta, np.sqrt(np.abs(slope))

    @property
    def first_gradients(self):
        """The gradients at the base point, grad F_-A (b, K, D)."""
        residual = self.base.point.gradient - self._leaving()
        if self.moved_penalty is not None:
            residual += self.moved_penalty * self.base.theta
        return residual

    def inverse_times(self, V):
        """Return (H - H_A)^-1 V at the base point for right-hand sides (b, K, D)."""
        return self.update.correct(self.solve(V))

    @property
    def is_quadratic(self):
        """Whether the loss is quadratic, so that one step with the right Hessian is exact."""
        return self.base.point.objective.formulation.loss.constant_curvature

    @property
    def is_corrected(self):
        """Whether steps have the Hessian at the new column scales.

        If the loss is quadratic, further steps would do the same in memory. They would take
        passes over rows that are distributed.
        """
        is_part = not self.base.point.objective.has_all_rows
        return is_part and self.is_quadratic and self.moved_penalty is not None

    def moved_hessian_times(self, steps):
        """Return (H - H_A) d for steps (b, K, D), with the penalty of the present scales.

        If class weights change, H has the new ones.
        """
        base, growth = self.base, self.class_growth
        if growth is None:
            return self._remaining_times(steps)
        if base.class_hessians is None:
            return base.point.hessian_products(steps, self.rows, growth)
        return self._remaining_times(steps) + base.class_hessian_times(steps, growth)

    def _remaining_times(self, steps):
        """Return (H - H_A) d for steps (b, K, D), with H_A at the new class weights."""
        moved = self._curvature_times(np.matmul(self.x, steps.transpose(0, 2, 1)))
        if self.class_growth is not None:
            moved = self.grown(moved)
        out = self.base.hessian_times(steps)
        out -= np.matmul(moved.transpose(0, 2, 1), self.x)
        return out

    def _curvature_times(self, raw):
        """Return the leaving rows' curvature times changes in their raw predictions."""
        W = self.curvature
        return np.matmul(W, raw[..., None])[..., 0] if W.ndim == 4 else W * raw

    def grown(self, values):
        """Return the leaving rows' values (b, a, K) or (b, a, K, K) at new class weights."""
        codes = self.base.point.objective.balance.codes[self.rows]
        growth = np.take_along_axis(self.class_growth, codes[..., None], axis=1)
        return values * (1.0 + (growth[..., None] if values.ndim == 4 else growth))

    def _base_gradients(self):
        """Return s_i l' for the leaving rows at the base point, zero for padding."""
        rows = self.base.point.rows.raw_gradient[np.where(self.real, self.rows, 0)]
        return rows * self.weight[:, :, None]

    def _leaving(self, grown=True):
        """Return G minus grad F_-A at the base point, (b, K, D), except a moved penalty.

        It is sum_A v_i, and the effect of new class weights if `grown`.
        """
        g, growth = self._base_gradients(), self.class_growth if grown else None
        if growth is not None:
            g = self.grown(g)
        total = np.matmul(g.transpose(0, 2, 1), self.x)
        if growth is not None:
            by_class = self.base.point.class_gradients
            if growth.shape[2] == 1:  # all outputs have the same class weights
                total -= np.tensordot(growth[..., 0], by_class, 1)
            else:
                total -= np.einsum("bck,ckd->bkd", growth, by_class)
        shift = self.base.point.rows.shift
        if shift is not None:
            total += self.t[:, None, None] * shift
        return total
