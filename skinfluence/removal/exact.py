"""Every refit to rounding, many at a time.

The groups of a stack iterate together on the Hessian of the base point, corrected for each
group's rows but not refreshed:

    r_A = grad F_-A(theta_A)             two matrix products with X for the whole stack
    theta_A <- theta_A - (H - H_A)^-1 r_A

The Hessian hardly changes when a few of many rows leave, so the error falls by a large
factor in each step, 10 to 1000 on ordinary data. Where it does not (high leverage, a tiny
penalty, nearly separable classes) the group goes to damped Newton with its own Hessian.
"""

import numpy as np

from skinfluence.convergence import polish
from skinfluence.exceptions import SingularHessianError

__all__ = ["refit", "refit_stack"]

# Stop when a step is this small relative to the first one, both in the metric of H - H_A;
# the step is still made, and what remains is smaller by another factor of contraction.
_TOL = 1e-9
# A step that does not halve the decrement is no contraction to wait for.
_CONTRACTION = 0.5
_MAX_ITER = 40


def refit_stack(stack):
    """Return (theta, converged) of each group of a stack, (b, K, D) and (b,)."""
    theta, first = stack.newton()
    converged = np.zeros(len(stack), dtype=bool)
    active = np.flatnonzero(np.isfinite(theta).all(axis=(1, 2)) & np.isfinite(first))
    part, update = stack.take(active), stack.update.take(active)
    previous = np.full(len(active), np.inf)
    goal = _TOL * first[active]
    for _ in range(_MAX_ITER):
        if not len(active):
            break
        residual = part.gradients(theta[active])
        step = -update.correct(part.solve(residual))
        with np.errstate(invalid="ignore"):
            decrement = np.sqrt(-np.einsum("bkd,bkd->b", residual, step))
        contracts = decrement <= _CONTRACTION * previous
        done = (decrement <= goal) | (~contracts & (decrement <= stack.base.rounding))
        contracts |= done
        theta[active[contracts]] += step[contracts]
        converged[active[done]] = True
        goes_on = contracts & ~done
        active, previous, goal = active[goes_on], decrement[goes_on], goal[goes_on]
        part, update = part.take(goes_on), update.take(goes_on)
    for j in np.flatnonzero(~converged):
        theta[j], converged[j] = refit(stack.base, stack.rows[j][stack.real[j]], theta[j])
    return theta, converged


def refit(base, rows, start=None):
    """Return (theta, converged) of F without some rows, by damped Newton of its own.

    Parameters
    ----------
    base : Base
        The objective with all rows and the solver.
    rows : ndarray of shape (a,)
        Indices of the rows that leave.
    start : ndarray of shape (K, D) or None, default=None
        Where to begin if F is lower there than at the base point.
    """
    objective = base.point.objective.without(rows)
    theta = base.theta
    if start is not None and np.isfinite(start).all():
        value = objective.value(start)
        if np.isfinite(value) and value < objective.value(theta):
            theta = start
    try:
        polished = polish(objective, theta, base.solver, tol=1e-11, max_iter=100)
    except SingularHessianError:
        return np.full(theta.shape, np.nan), False
    return polished.theta, polished.converged
