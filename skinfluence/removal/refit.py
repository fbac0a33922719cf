"""The optimum of one changed objective, by Newton steps with its own Hessian."""

import numpy as np

from skinfluence import existence
from skinfluence.exceptions import SingularHessianError
from skinfluence.objective import largest_move
from skinfluence.optimum import polish

# A refit has converged at this multiple of the estimated rounding in a gradient.
_AT_ROUNDING = 4.0
# Decrement to reach, relative to sqrt(F), and the share of the whole change in a prediction
# that the last step may be if a larger decrement was the goal.
_AT_OPTIMUM, _SHORT = 1e-11, 0.02


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
        polished = polish(objective, theta, base.solver, tol=goal, max_iter=100)
        if goal > _AT_OPTIMUM and _goes_on(base, objective, polished):
            polished = polish(
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
    theta, step = polished.theta, polished.correction
    return existence.recession_direction(objective, theta, step) is not None
