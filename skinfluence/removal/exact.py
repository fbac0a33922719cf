"""Every refit to rounding, many at a time.

The groups of a stack iterate together on the Hessian of the base point, corrected for each
group's rows but not refreshed:

    r_A = grad F_-A(theta_A)             two matrix products with X for the whole stack
    theta_A <- theta_A - (H - H_A)^-1 r_A

The Hessian hardly changes when a few of many rows leave, so the error falls by a large
factor in each step, 10 to 1000 on ordinary data. The first steps take what the gradient has
beyond first order in single precision, at half the price, down to about 1e-8 of the change;
then double precision finishes, so that what is returned has been checked by it. Where a
step does not contract (high leverage, a tiny penalty, nearly separable classes) the group
goes to damped Newton with its own Hessian.
"""

import numpy as np

from skinfluence.convergence import polish
from skinfluence.exceptions import SingularHessianError

__all__ = ["refit", "refit_stack"]

# Error to reach relative to the first step, both in the metric of H - H_A.
_TOL = 1e-9
# The same where the remainder of the gradient is in single precision, and the relative
# decrement at which its rounding may stop the fall.
_ROUGH_TOL, _ROUGH_FLOOR = 1e-5, 1e-4
# A step that does not halve the decrement is no contraction to wait for.
_CONTRACTION = 0.5
_MAX_ITER = 40


def refit_stack(stack):
    """Return (theta, converged) of each group of a stack, (b, K, D) and (b,)."""
    theta, first = stack.newton()
    finite = np.flatnonzero(np.isfinite(theta).all(axis=(1, 2)) & np.isfinite(first))
    last = first.copy()
    if stack.base.hessian is not None:
        floor = _ROUGH_FLOOR * first
        rough = (first, "approximate_gradients", _ROUGH_TOL, floor)
        _iterate(stack, theta, finite, last, *rough)
    floor = np.full(len(stack), stack.base.rounding)
    done = _iterate(stack, theta, finite, last, first, "gradients", _TOL, floor)
    converged = np.zeros(len(stack), dtype=bool)
    converged[done] = True
    for j in np.flatnonzero(~converged):
        theta[j], converged[j] = refit(stack.base, stack.rows[j][stack.real[j]], theta[j])
    return theta, converged


def _iterate(stack, theta, active, last, first, gradients, tol, floor):
    """Move theta (b, K, D) of the active groups in place; return those that got there.

    `last` (b,) holds the decrement of each group's last step and is kept up to date. A
    decrement d after one of c shows a contraction by d/c, so the step that follows it
    leaves d^2/c. A decrement below the floor that no longer falls is rounding.
    """
    reached = []
    part, update = stack.take(active), stack.update.take(active)
    for _ in range(_MAX_ITER):
        if not len(active):
            break
        residual = getattr(part, gradients)(theta[active])
        step = -update.correct(part.solve(residual))
        with np.errstate(invalid="ignore"):
            decrement = np.sqrt(np.maximum(0.0, -np.einsum("bkd,bkd->b", residual, step)))
        previous = last[active]
        contracts = decrement <= _CONTRACTION * previous
        left = decrement * np.divide(
            decrement, previous, out=np.zeros_like(decrement), where=previous > 0
        )
        done = contracts & (left <= tol * first[active])
        done |= ~contracts & (decrement <= floor[active])
        theta[active[contracts]] += step[contracts]
        last[active[contracts]] = decrement[contracts]
        reached.append(active[done])
        goes_on = contracts & ~done
        active = active[goes_on]
        part, update = part.take(goes_on), update.take(goes_on)
    return np.concatenate(reached) if reached else active


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
