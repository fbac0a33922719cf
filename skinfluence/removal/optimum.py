"""The optimum for all rows, from which every removal starts.

A fit that stopped early is some way from its optimum. Then one Newton step without a row need
not end near the optimum without it, so every removal starts at the optimum:

    theta <- theta - H^-1 grad F(theta)      with the factor at the fitted point, while each
                                             step leaves at most a quarter of the last one
    damped Newton                            from there if the steps do not contract

The fitted point is kept if it is much closer to the optimum than one row's effect. `refit`
goes from there to the optimum of one group, or one vector of weights, with its own Hessian.
"""

from dataclasses import dataclass

import numpy as np

from skinfluence import convergence, existence
from skinfluence.exceptions import SingularHessianError
from skinfluence.objective import curvature_change, gradient_shift, largest_move

# A fitted point is kept if its distance to the optimum is at most this share of a median row's
# effect, and if no row's curvature changes by more than this share on the way.
_NEAR = 1e-2
# Newton decrement to reach, relative to sqrt(F).
_TOL = 1e-9
# Steps with an old factor continue while they contract by this factor.
_CONTRACTION = 0.25
_MAX_CHORDS = 12
# Steps that contract more need no update of the factor.
_SWIFT = 0.02
# Rounding error of F, relative to F.
_FLAT = 64 * np.finfo(np.float64).eps
# Number of rows from which a median row's effect is estimated.
_ENOUGH_ROWS = 256
# A refit has converged at this multiple of the estimated rounding in a gradient.
_AT_ROUNDING = 4.0
# Decrement to reach, relative to sqrt(F), and the share of the whole change in a prediction
# that the last step may be if a larger decrement was the goal.
_AT_OPTIMUM, _SHORT = 1e-11, 0.02


@dataclass(frozen=True, eq=False)
class Optimum:
    """The optimum near a fitted point.

    Parameters
    ----------
    point : Point
        The objective at the optimum.
    factor : Factor
        H^-1 at the optimum.
    converged : bool
        Whether it is an optimum, because an objective may have no minimum.
    decrement : float
        Newton decrement at the point.
    """

    point: object
    factor: object
    converged: bool = True
    decrement: float = 0.0


def find_optimum(point, factor, solver):
    """Return the `Optimum` near a point.

    Parameters
    ----------
    point : Point
        The objective at the fitted parameters.
    factor : Factor
        H^-1 at the point.
    solver : HessianSolver
        Factorises H at other points.

    Returns
    -------
    Optimum
        The given point itself if it is near enough to the optimum.

    Raises
    ------
    SingularHessianError
        If H has no inverse at the optimum.
    """
    correction = convergence.newton_correction(point, factor)
    if _is_near(point, factor, correction):
        return Optimum(point, factor)
    objective = point.objective
    if objective.offset is not None:  # features far from 0, which `polish` centres
        return optimum_from(objective, point.theta, solver)
    point, _, decrement = follow(point, factor, correction, _TOL)
    if decrement > _TOL * np.sqrt(abs(point.value)):
        return optimum_from(objective, point.theta, solver)
    return Optimum(point, solver.factorise(point), True, decrement)


def optimum_from(objective, theta, solver):
    """Return the `Optimum` that damped Newton steps from theta (K, D) reach."""
    polished = convergence.polish(objective, theta, solver, tol=_TOL, max_iter=100)
    point = objective.at(polished.theta)
    return Optimum(point, solver.factorise(point), polished.converged, polished.decrement)


def refine_optimum(optimum, solver):
    """Return an `Optimum` that is accurate to rounding, from one nearby."""
    objective, theta = optimum.point.objective, optimum.point.theta
    polished = convergence.polish(objective, theta, solver, tol=1e-11, max_iter=100)
    if polished.n_iter == 0 and polished.converged:
        return optimum
    point = objective.at(polished.theta)
    return Optimum(point, solver.factorise(point), polished.converged, polished.decrement)


def _is_near(point, factor, correction):
    """Return whether removal predicts the same from a point as from the optimum near it."""
    loss = point.objective.formulation.loss
    decrement = convergence.newton_decrement(point, correction)
    # For squared loss one Newton step reaches the optimum, but a long step loses digits.
    share = 1.0 if loss.constant_curvature else _NEAR
    if not decrement <= share * _effect_of_a_row(point, factor):
        return False
    if loss.constant_curvature:
        return True
    if loss.curvature_rate is None:
        return gradient_shift(point, correction) <= _NEAR
    return curvature_change(point, correction) <= _NEAR


def _effect_of_a_row(point, factor):
    """Return the median ||H^-1 v_i||_H over a sample of rows with v_i != 0."""
    squares = point.collect(_squared_effects, factor)
    squares = squares[squares > 0]
    return float(np.sqrt(np.median(squares))) if len(squares) else 0.0


def _squared_effects(point, factor):
    """Return ||H^-1 v_i||_H^2 for a sample of rows."""
    # The sample is drawn by size, because the order of the rows must not matter.
    size = np.abs(point.rows.raw_gradient).sum(axis=1) * point.objective.sample_weight
    order = np.argsort(size, kind="stable")
    rows = order[:: 1 + len(order) // _ENOUGH_ROWS]
    V = point.rows.take(rows).toarray()
    V *= point.objective.sample_weight[rows, None, None]
    return factor.quadratic(V)


def _falls(point, following):
    """Return whether F does not rise, apart from its rounding error."""
    highest = point.value + _FLAT * abs(point.value)
    return np.isfinite(following.value) and following.value <= highest


class Secants:
    """H^-1 of nearby objectives, updated so that it maps changes of gradients to steps (BFGS).

    If rows of the Hessian left or changed a little, few steps show the difference.

    Parameters
    ----------
    inverse : callable
        Maps V (b, K, D) to H^-1 V without the steps.
    readings : callable
        Returns `Design.readings`.
    """

    def __init__(self, inverse, readings=np.asarray):
        self.inverse = inverse
        self.readings = readings
        self.pairs = []

    def add(self, step, change):
        """Take steps (b, K, D), and the changes of the gradients over them."""
        readings = self.readings(step)
        curvature = np.sum(change * readings, axis=(1, 2), keepdims=True)
        # A step along which the gradient does not grow says nothing.
        curvature = np.where(curvature > 0, curvature, np.inf)
        self.pairs.append((step, readings, change, curvature))

    def solve(self, V):
        """Return H^-1 V for one vector for each objective, (b, K, D)."""
        shares = []
        for _, readings, change, curvature in reversed(self.pairs):
            shares.append(np.sum(V * readings, axis=(1, 2), keepdims=True) / curvature)
            V = V - shares[-1] * change
        solved = self.inverse(V)
        for step, _, change, curvature in self.pairs:
            products = change * self.readings(solved)
            share = np.sum(products, axis=(1, 2), keepdims=True) / curvature
            solved = solved + (shares.pop() - share) * step
        return solved

    def take(self, places, inverse=None):
        """Return the secants of some of the objectives, with their own `inverse` if given."""
        part = Secants(inverse or self.inverse, self.readings)
        part.pairs = [tuple(one[places] for one in pair) for pair in self.pairs]
        return part


def follow(point, factor, correction, tol):
    """Return (point, next step, decrement) after contracting quasi-Newton steps.

    Parameters
    ----------
    point : Point
        Start of the steps.
    factor : Factor
        H^-1, at the start or nearby.
    correction : ndarray of shape (K, D)
        The first step.
    tol : float
        Decrement to reach, relative to sqrt(F).
    """
    decrement = convergence.newton_decrement(point, correction)
    secants = Secants(factor.solve, point.objective.design.readings)
    convex = point.objective.formulation.loss.convex
    start = point
    for _ in range(_MAX_CHORDS):
        # F changes little, so its value at the start tells when its present one is needed.
        if decrement <= tol * np.sqrt(abs(start.value)):
            if decrement <= tol * np.sqrt(abs(point.value)):
                break
            start = point
        following = point.objective.at(point.theta + correction)
        # Steps that contract lead to a zero of the gradient, the minimum of a convex F.
        if not (convex or _falls(point, following)):
            break
        ahead = convergence.newton_correction(following, secants)
        remaining = convergence.newton_decrement(following, ahead)
        if not remaining <= _SWIFT * decrement:
            change = following.gradient - point.gradient
            secants.add(correction[None], change[None])
            ahead = convergence.newton_correction(following, secants)
            remaining = convergence.newton_decrement(following, ahead)
        if not remaining <= _CONTRACTION * decrement:
            break
        point, correction, decrement = following, ahead, remaining
    return point, correction, decrement


def refit(base, rows, start=None, first=np.inf, tol=1e-6):
    """Return (theta, converged) for F without some rows, see `refit_objective`."""
    objective = base.point.objective.without(rows)
    return refit_objective(base, objective, start, first=first, tol=tol)


def refit_objective(base, objective, start=None, first=np.inf, tol=1e-6):
    """Return (theta, converged) for a changed F, by separate damped Newton steps.

    Parameters
    ----------
    base : Base
        The start of removal and the solver.
    objective : Objective
        F without some rows, or at other weights.
    start : ndarray of shape (K, D) or None, default=None
        Start of the steps, if F is lower there than at the base point.
    first : float, default=np.inf
        Decrement of the first step. The final decrement must be small relative to it, or be
        rounding.
    tol : float, default=1e-6
        The relative size that is small enough. Above the default, it also ends the iteration.
    """
    theta = base.theta
    if start is not None and np.isfinite(start).all():
        value = objective.value(start)
        if np.isfinite(value) and value < objective.value(theta):
            theta = start
    goal = _AT_OPTIMUM
    # Beyond a kink the curvature differs, so a small decrement proves nothing.
    jumps = objective.formulation.loss.has_kinks
    if tol > 1e-6 and np.isfinite(first) and not jumps:
        goal = max(goal, tol * first / np.sqrt(abs(objective.value(theta)) or 1.0))
    try:
        polished = convergence.polish(objective, theta, base.solver, tol=goal, max_iter=100)
        if goal > _AT_OPTIMUM and _goes_on(base, objective, polished):
            polished = convergence.polish(
                objective, polished.theta, base.solver, tol=_AT_OPTIMUM, max_iter=100
            )
    except SingularHessianError:
        return np.full_like(theta, np.nan), False
    if polished.converged and _lacks_minimum(objective, polished):
        return polished.theta, False
    first = first if np.isfinite(first) else np.inf  # there was no earlier step
    rounding = _AT_ROUNDING * base.rounding * weight_growth(base, objective)
    enough = polished.decrement <= max(tol * first, rounding)
    return polished.theta, polished.converged and enough


def _goes_on(base, objective, polished):
    """Return whether the last step still changed some prediction by much.

    If the other rows are nearly separated along a direction, the loss is almost flat there, so
    the decrement becomes small long before the steps do.
    """
    point = objective.at(polished.theta)
    last = largest_move(point, polished.correction)
    return last > _SHORT * largest_move(point, polished.theta - base.theta)


def weight_growth(base, objective):
    """Return the factor by which rounding grows, because an objective has larger weights."""
    if objective.is_distributed:  # only "balanced" class weights grow, and by little
        return 1.0
    before, after = base.point.objective.row_weight.max(), objective.row_weight.max()
    return max(1.0, float(np.sqrt(after / before))) if before > 0 else 1.0


def _lacks_minimum(objective, polished):
    """Return whether F falls forever from the result, as it does for separated classes.

    If the rows are distributed, a last step that is long counts as proof, because at a minimum
    steps end.
    """
    if objective.is_distributed:
        return existence.may_lack_minimum(objective, polished.correction)
    if objective.n_opposed or not existence.may_lack_minimum(objective, polished.correction):
        return False
    return existence.recession_direction(objective, polished.theta) is not None
