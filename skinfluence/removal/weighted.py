"""The optimum at other sample weights, for many vectors of weights at a time.

All vectors in a stack iterate together from the optimum theta* at the weights of the fit,

    r_j = grad F(theta_j; w_j)            two matrix products with X for the whole stack
    theta_j <- theta_j - P_j r_j

P_j is H^-1 at the weights of the fit, if that is good enough, or the inverse of vector j's own
Hessian. All of the own Hessians at theta* are sums over the rows of x~_i x~_i' with different
weights, so they take one matrix product. A vector is done when its Newton decrement is small
relative to the first one. If its steps do not contract, it continues alone, by damped Newton
steps.
"""

import numpy as np

from skinfluence._compat import rank_cutoff
from skinfluence.blocks import row_blocks
from skinfluence.gradients import cached_batches, weigh
from skinfluence.namespaces import to_host
from skinfluence.objective.coupled import pin, stacked_coupled_grams
from skinfluence.rank import has_full_rank, least_norm
from skinfluence.removal.identified import determines
from skinfluence.removal.refit import refit_objective, weight_growth
from skinfluence.removal.run import Run
from skinfluence.removal.stack import finite, step_from

# Decrement to reach, relative to the first step. Weights can be a thousand times those of the
# fit. Then an error that is small in the metric of the Hessian is much larger in parameters
# that few rows determine, so "newton" goes further than a removal. Its last steps are cheap.
_TOL = {"newton": 1e-5, "exact": 1e-11}
# Squared loss: one step is exact up to rounding.
_EXACT = 1e-11
# Up to this order the own Hessians cost less than the steps that they save.
_NARROW = 64
# Own Hessians of a larger order B are not tried at all, because each takes B^2 numbers.
_WIDE = 600
# A step with the fit's Hessian has to reduce the decrement by the first factor, or else own
# Hessians replace it. Steps with an own Hessian have to reduce it by the second factor, or
# else it is computed again. Without own Hessians slower steps are accepted.
_SHARED, _OWN, _SLOW = 0.3, 0.2, 0.5
# A first decrement of up to this many times its rounding error needs no second one.
_SMALL = 1e3
# Share of a step that is taken if the whole step made the gradient larger.
_SHORTER = 0.4
# How often own Hessians are computed before a vector continues alone, and the least error that
# it then has to reach to count as converged.
_ATTEMPTS, _ALONE = 6, 1e-6


def move_to_weights(base, objectives, method):
    """Return the optima at other weights.

    Parameters
    ----------
    base : Base
        The optimum at the weights of the fit.
    objectives : list of Objective
        The objective at each vector of weights, b in number.
    method : {"newton", "exact"}
        Accuracy.

    Returns
    -------
    theta : ndarray of shape (b, K, D)
        Parameters.
    step : ndarray of shape (b, K, D)
        The last step to them; zeros if damped Newton steps or another solver found them.
    converged : ndarray of shape (b,)
        Whether they are accurate.
    """
    form = base.point.objective.formulation
    theta = np.repeat(base.theta[None], len(objectives), axis=0)
    first, step = np.zeros(len(objectives)), np.zeros_like(theta)
    tol = _EXACT if form.loss.constant_curvature else _TOL[method]
    converged = _approach(
        base, objectives, theta, step, first, tol, _plan(base.point.objective)
    )
    for j in np.flatnonzero(~converged):
        step[j] = 0.0
        theta[j], converged[j] = _alone(base, objectives[j], theta[j], first[j])
    return theta, step, converged


def refit_apart(base, groups, start, first, tol):
    """Return the optima without groups of rows, each with its own Hessian.

    For groups whose steps with the Hessian for all rows do not contract.

    Parameters
    ----------
    base : Base
        The optimum for all rows.
    groups : list of ndarray
        The rows that leave, b groups.
    start : ndarray of shape (b, K, D)
        Starts of the steps, if F is lower there than at the base point.
    first : ndarray of shape (b,)
        Decrements of the first steps.
    tol : float
        Decrement to reach, relative to the first one.

    Returns
    -------
    theta : ndarray of shape (b, K, D)
        Parameters.
    converged : ndarray of shape (b,)
        Whether they are accurate.
    """
    theta, converged = start.copy(), np.zeros(len(groups), dtype=bool)
    objective = base.point.objective
    plan = [attempt for attempt in _plan(objective) if attempt[0]]
    # In least squares one refit is one step. A part of the rows has only sums, and one group's
    # products fill a device.
    quadratic = objective.formulation.minimum_norm is not None
    if quadratic or not objective.has_all_rows or base.point.like is not None:
        plan = []
    K, _ = base.theta.shape
    row_bytes = 8 * (objective.n_rows * (4 * K + 2) + 4 * _entries(objective))
    for block in row_blocks(len(groups), row_bytes):
        chosen = np.arange(len(groups))[block]
        reduced = [objective.without(groups[j]) for j in chosen]
        found = theta[block]
        step = np.zeros_like(found)
        if plan:
            for j, one in enumerate(reduced):
                found[j] = _better(one, found[j], base.theta)
        size = np.where(np.isfinite(first[chosen]), first[chosen], 0.0)
        done = _approach(base, reduced, found, step, size, tol, plan, fixed=size > 0)
        done[list(base.existence.directions(step, reduced.__getitem__, found))] = False
        for j in np.flatnonzero(~done):
            found[j], done[j] = refit_objective(
                base, reduced[j], found[j], first=first[chosen[j]], tol=max(tol, _ALONE)
            )
        for j in np.flatnonzero(done):
            done[j] = determines(reduced[j], objective)
        converged[chosen] = done
    return theta, converged


def _better(objective, start, theta):
    """Return `start` if it is finite and F is lower there than at theta, or theta."""
    if not np.isfinite(start).all():
        return theta
    return start if objective.value(start) < objective.value(theta) else theta


def _approach(base, objectives, theta, step, first, tol, plan, fixed=False):
    """Iterate towards the optima of changed objectives; return which converged, (b,).

    Parameters and results as in `move_to_weights`. The function changes `theta` and the last
    `step`, both (b, K, D), and the reference for the tolerance, `first` (b,), unless it is
    `fixed`.
    """
    form = base.point.objective.formulation
    converged = np.zeros(len(objectives), dtype=bool)
    # If classes are nearly separated, a long step may end where the loss is flat. The gradient
    # is small there, but only because the curvature is. The next step does not contract.
    least = 0 if form.loss.constant_curvature else 1
    for own, contraction in plan:
        todo = np.flatnonzero(~converged)
        if not len(todo):
            break
        stack = WeightedStack(base, [objectives[j] for j in todo], theta[todo], own=own)
        run = Run(stack)
        known = np.isfinite(run.first) & ~np.broadcast_to(fixed, len(first))[todo]
        first[todo[known]] = np.maximum(run.first, first[todo])[known]
        run.first = first[todo]
        run.taken[run.first <= _SMALL * stack.rounding] = 1
        run.iterate(
            run.started,
            WeightedStack.gradients,
            tol,
            stack.rounding,
            contraction=contraction,
            least=least,
        )
        better = run.converged | (run.ratio < 1.0) | to_host(run.step.any(axis=(1, 2)))
        theta[todo[better]], step[todo[better]] = run.theta[better], run.step[better]
        if own:
            # A first step that overshot is shortened, and the next Hessian is that of its end.
            over = ~better & finite(run.theta)
            theta[todo[over]] += _SHORTER * (run.theta[over] - theta[todo[over]])
        converged[todo] = run.converged
        if form.minimum_norm is not None:  # the rank is in doubt
            converged[todo] &= stack.regular
    return converged


def _alone(base, objective, theta, first):
    """Return (theta, converged) for one vector of weights."""
    form, design = objective.formulation, objective.design
    if form.minimum_norm is not None and design.is_dense:
        weight = objective.sample_weight
        return least_norm(design, objective.target, weight, _cutoff(objective)), True
    first = first if first > 0 else np.inf
    # A first decrement can be huge, so it sets no goal here: the steps go to the optimum.
    return refit_objective(base, objective, theta, first=first)


def _cutoff(objective):
    """Return the largest relative singular value of a null direction in least squares."""
    design, unit = objective.design, objective.formulation.minimum_norm
    return rank_cutoff(unit, design.n_rows, design.n_features)


def first_order(base, slopes, extra):
    """Return theta* + N - H^-1 sum_i dw_i grad L_i, the derivative along changes in weights.

    Parameters
    ----------
    base : Base or ActiveSetBase
        The optimum at the weights of the fit.
    slopes : ndarray of shape (n, b, 1) or (n, b, K)
        Relative change in each row's gradient: d s_i / s_i per unit of sample weight, times
        the class weight's share.
    extra : ndarray of shape (b,)
        Changes in the sum of the weights.
    """
    point = base.point
    raw = point.rows.raw_gradient[:, None, :] * slopes
    pull = point.objective.design.adjoint(raw)
    share = point.objective.formulation.share_gradient(point.theta)
    if share is not None:
        pull += extra[:, None, None] * share
    return base.theta + base.correction - base.factor.solve(pull)


class WeightedStack:
    """One objective at b vectors of weights; it stands in for a `Stack` in a `Run`.

    Parameters
    ----------
    base : Base
        The optimum at the weights of the fit.
    objectives : list of Objective
        The objective at each vector of weights.
    start : ndarray of shape (b, K, D)
        Parameters from which the steps start.
    own : bool
        Whether each vector has its own Hessian, or that of the fit.
    """

    def __init__(self, base, objectives, start, *, own):
        self.base, self.start = base, start
        objective = base.point.objective
        self.weight = np.stack([o.row_weight for o in objectives], axis=1)
        self.penalty = np.stack([o.penalty for o in objectives])
        self.sums = np.array([o.weight_sum for o in objectives])
        self.linear, l1 = np.zeros(self.penalty.shape), objective.formulation.l1_support
        if l1 is not None:
            self.linear = np.stack([l1.slope(S) for S in self.sums])
        growth = np.array([weight_growth(base, o) for o in objectives])
        self.rounding = base.rounding * growth
        self.inverse, self.regular = None, np.ones(len(objectives), dtype=bool)
        if own:
            self._invert()

    def __len__(self):
        return len(self.penalty)

    def take(self, chosen):
        """Return the stack for a subset of the vectors."""
        chosen = np.arange(len(self))[chosen]
        if len(chosen) == len(self):
            return self
        part = object.__new__(WeightedStack)
        part.base = self.base
        for name, axis in (
            ("start", 0),
            ("weight", 1),
            ("penalty", 0),
            ("sums", 0),
            ("linear", 0),
            ("rounding", 0),
            ("inverse", 0),
            ("scale", 0),
            ("regular", 0),
        ):
            value = vars(self).get(name)
            if value is not None:
                value = value[:, chosen] if axis else value[chosen]
            setattr(part, name, value)
        part.shift = vars(self).get("shift")
        return part

    def release(self, theta):
        """Do nothing, because rows without weight keep a coefficient of rounding size."""

    def readings(self, theta):
        """Return the values that rows are multiplied with to predict, see `Design`."""
        return self.base.point.objective.design.readings(theta)

    def fallen(self, theta, length):
        """Return the rows with less curvature at theta (b, K, D), see `Objective.fallen`."""
        objective = self.base.point.objective
        before = self.start if self.inverse is not None else self.base.theta[None]
        return objective.fallen(before, theta, weight=self.weight)

    def inverse_of(self, vector):
        """Return the function that maps V to P V for one vector, and 1, see `Stack`."""
        return self.take([vector]).inverse_times, 1.0

    def newton(self):
        """Return theta after one step from the start, and the decrement before it."""
        return step_from(self, self.start)

    def gradients(self, theta):
        """Return grad F at each vector's weights and parameters, both (b, K, D)."""
        objective = self.base.point.objective
        b, K, _ = theta.shape
        out = self.penalty * theta + self.linear
        loss = objective.formulation.loss
        for rows in cached_batches(objective.n_rows, b * K, like=objective.design.like):
            part = objective.design.take(rows)
            gradient = loss.gradient(objective.target[rows], part.predict(theta))
            weight = self.weight[rows]
            with np.errstate(invalid="ignore"):
                gradient *= weight
            if not np.isfinite(gradient.sum()):  # of rows that may have no weight
                gradient[np.broadcast_to(weight == 0, gradient.shape)] = 0.0
            out += part.adjoint(gradient)
        return objective.freeze(out)

    def inverse_times(self, V):
        """Return P_j V_j for right-hand sides (b, K, D)."""
        base = self.base
        if self.inverse is None:
            if base.point.objective.formulation.penalty_share is None:
                return base.factor.solve(V)
            return base.plain_factor.solve(V)
        V = base.point.objective.remove_gauge(V.copy())
        if self.shift is not None:
            V[..., :-1] -= V[..., -1:] * self.shift
            base.point.objective.freeze(V)
        flat = V.reshape(len(V), *self.scale.shape[1:]) * self.scale
        flat = np.matmul(self.inverse, flat[..., None])[..., 0]
        flat *= self.scale
        V = flat.reshape(V.shape)
        if self.shift is not None:
            V[..., -1] -= V[..., :-1] @ self.shift
        return base.point.objective.remove_gauge(V)

    def _invert(self):
        """Compute each vector's inverse Hessian at its start, for features less their means.

        The Hessians are scaled to unit diagonal. Errors in the inverse only slow the steps,
        because gradients are computed anew.
        """
        base = self.base
        objective, (b, _, D) = base.point.objective, self.start.shape
        free = objective.free
        self.shift = None
        fits_intercept = objective.design.fit_intercept
        if fits_intercept and free[:, -1].all() and not self.penalty[:, :, -1].any():
            self.shift = base.point.centre()
        M, B = _block_shape(objective)
        grams = self._grams()
        if objective.formulation.minimum_norm is not None:
            cutoff = _cutoff(objective)
            with np.errstate(divide="ignore", invalid="ignore"):
                self.regular = has_full_rank(grams[:, 0], D - int(fits_intercept), cutoff)
        grams = np.broadcast_to(grams, (b, M, B, B)).copy()
        grams[..., range(B), range(B)] += self.penalty.reshape(b, M, B)
        if not free.all():
            for m, mask in enumerate(free.reshape(M, B)):
                frozen = np.flatnonzero(~mask)
                grams[:, m, frozen] = 0.0
                grams[:, m, :, frozen] = 0.0
                grams[:, m, frozen, frozen] = 1.0
        if objective.coupled:
            for gram in grams[:, 0]:
                pin(gram, objective.gauge, len(free))
        with np.errstate(divide="ignore", invalid="ignore"):
            self.scale = 1.0 / np.sqrt(grams[..., range(B), range(B)])
            grams *= self.scale[..., None] * self.scale[..., None, :]
        usable = np.isfinite(grams).all(axis=(1, 2, 3))
        grams[~usable], self.scale[~usable] = np.eye(B), 1.0
        try:
            self.inverse = np.linalg.inv(grams)
        except np.linalg.LinAlgError:
            self.inverse = np.stack([_inverse(gram) for gram in grams])
        self.inverse[~usable] = np.nan

    def _grams(self):
        """Return the Hessians' blocks without the penalty, see `_block_shape`."""
        objective = self.base.point.objective
        if objective.coupled:
            return stacked_coupled_grams(objective, self.weight, self.start, self.shift)
        return objective.design.stacked_grams(self._curvature(), self.shift)

    def _curvature(self):
        """Return the rows' curvature at the start, with weights, (n, b, K or 1)."""
        point = self.base.point
        objective = point.objective
        loss, target = objective.formulation.loss, objective.target
        if loss.constant_curvature:
            curvature = loss.curvature(target[:1], point.raw_prediction[:1])
            return self.weight * curvature[:, None, : self.weight.shape[2]]
        if (self.start == point.theta).all():
            curvature = loss.curvature(target, point.raw_prediction)[:, None]
        else:
            raw = objective.design.predict(self.start)
            curvature = np.empty_like(raw)
            for j in range(len(self)):
                curvature[:, j] = loss.curvature(target, raw[:, j])
        weight, curvature = np.broadcast_arrays(self.weight, curvature)
        return weigh(weight, curvature)


def _inverse(gram):
    """Return the inverses of matrices in a stack, NaN if one of them has none."""
    try:
        return np.linalg.inv(gram)
    except np.linalg.LinAlgError:
        return np.full(gram.shape, np.nan)


def _block_shape(objective):
    """Return the number and the order of the Hessian's diagonal blocks."""
    K, D = objective.penalty.shape
    return (1, K * D) if objective.coupled else (K, D)


def _entries(objective):
    """Return the number of entries in the Hessian's diagonal blocks."""
    M, B = _block_shape(objective)
    return M * B**2


def _plan(objective):
    """Return (own, contraction) for the attempts to reach the optima of a stack."""
    form, (_, B) = objective.formulation, _block_shape(objective)
    alone = objective.design.has_metric or B > _WIDE
    if form.minimum_norm is not None:
        # Only own Hessians tell the rank, and which directions have no variance depends on
        # the weights.
        known = not alone and objective.design.is_dense and objective.dependence is None
        return [(True, _OWN)] if known else []
    if alone:
        return [(False, _SLOW)]
    # One own Hessian is as large as that of the fit. Memory does not decide about it, because
    # the accuracy of "newton" depends on the way to the optimum.
    own = [(True, _OWN)] * _ATTEMPTS
    return own if B <= _NARROW else [(False, _SHARED), *own]
