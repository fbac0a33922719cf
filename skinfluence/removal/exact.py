"""Every refit, many at a time.

The groups of a stack iterate together on the Hessian of the base point, corrected for each
group's rows but not refreshed:

    r_A = grad F_-A(theta_A)             two matrix products with X for the whole stack
    theta_A <- theta_A - (H - H_A)^-1 r_A

The Hessian hardly changes when a few of many rows leave, so the error falls by a large
factor in each step, 10 to 1000 on ordinary data. What the gradient has beyond first order is
as much smaller, so it is taken in single precision first, at half the price. That is enough
where the rounding it brings is estimated below the tolerance; the other groups go on in
double precision. Where a step does not contract (high leverage, a tiny penalty, nearly
separable classes) the group goes to damped Newton with its own Hessian.
"""

import numpy as np

from skinfluence import existence
from skinfluence.convergence import newton_correction, polish
from skinfluence.exceptions import SingularHessianError
from skinfluence.removal.stack import Stack

__all__ = ["refine_stack", "refit", "refit_stack"]

# Error to reach relative to the first step, both in the metric of H - H_A: in single and in
# double precision. What is small in that metric may be less so in the parameters, so double
# precision goes on to rounding; single precision is for groups that contract fast.
_SINGLE_TOL, _TOL, _SLOW = 1e-8, 1e-11, 1e-2
# Relative decrement at which the rounding of single precision may stop the fall.
_ROUGH_FLOOR = 1e-4
# Largest ratio of two weights for which single precision is tried.
_WIDE = 1e4
# Amplification of rounding above which the rows that leave must not enter a sum at all.
_AMPLIFIED = 1e3
# A step that does not halve the decrement is no contraction to wait for.
_CONTRACTION = 0.5
# Multiples of the rounding of a gradient, an estimate, at which a refit has arrived.
_AT_ROUNDING = 4.0
_MAX_ITER = 40


def refit_stack(stack):
    """Return (theta, converged) of each group of a stack, (b, K, D) and (b,)."""
    run = _Run(stack)
    left = run.started
    # Tolerances are relative to the first step. If rows of little weight are left when heavy
    # ones leave or cross a kink, their decrement is smaller by the ratio of the weights.
    spread = stack.base.point.objective.weight_spread
    if stack.base.hessian is not None and spread <= _WIDE:
        # Here the rows that leave are taken off a sum, which leaves rounding of theirs.
        fit = left[stack.update.amplification()[left] <= _AMPLIFIED]
        done = run.iterate(
            fit,
            Stack.approximate_gradients,
            _SINGLE_TOL / spread,
            _ROUGH_FLOOR / spread * run.first,
        )
        # The remainder is a share `slowest` of the gradient and grows with the square of
        # the step, so an error of the step comes back doubled, by that share smaller.
        error = 2.0 * stack.single_precision(run.theta) * run.slowest
        enough = (error <= _SINGLE_TOL) & (run.slowest <= _SLOW)
        left = np.setdiff1d(left, done[enough[done]])
        # What single precision took for a decrement says nothing about the contraction of
        # the steps that follow.
        run.last[left] = np.maximum(run.last[left], _ROUGH_FLOOR * run.first[left])
    floor = np.full(len(stack), stack.base.rounding)
    run.converged[left] = False
    run.iterate(left, Stack.gradients, _TOL, floor)
    for j in np.flatnonzero(~run.converged):
        rows = stack.rows[j][stack.real[j]]
        run.theta[j], run.converged[j] = refit(
            stack.base, rows, run.theta[j], first=run.first[j]
        )
    return run.theta, run.converged


def refine_stack(stack, theta, decrement, chosen, tol):
    """Take further steps from Newton steps until their error is a small share of them.

    Parameters
    ----------
    stack : Stack
        The groups.
    theta : ndarray of shape (b, K, D)
        Parameters after a Newton step; those of the chosen groups are overwritten.
    decrement : ndarray of shape (b,)
        Newton decrement before the step.
    chosen : ndarray
        Indices of the groups to refine.
    tol : float
        Decrement to reach relative to the first one.

    Returns
    -------
    converged : ndarray
        Whether it was reached, for each chosen group.
    """
    run = _Run(stack, theta, decrement)
    run.iterate(chosen, Stack.gradients, tol, np.full(len(stack), stack.base.rounding))
    for j in chosen[~run.converged[chosen]]:
        rows = stack.rows[j][stack.real[j]]
        theta[j], run.converged[j] = refit(
            stack.base, rows, theta[j], first=run.first[j], tol=tol
        )
    return run.converged[chosen]


class _Run:
    """The groups of a stack on their way; every array has one entry for each group.

    Parameters
    ----------
    stack : Stack
        The groups.
    theta, first : ndarray or None, default=None
        Where they begin, and the decrement of the step before; None for one Newton step.

    Attributes
    ----------
    theta : ndarray of shape (b, K, D)
        Where each group is.
    first, last : ndarray of shape (b,)
        Decrement of that step and of the last one made.
    slowest : ndarray of shape (b,)
        Largest ratio of two decrements in a row.
    converged : ndarray of shape (b,)
        Which groups have arrived.
    started : ndarray
        Groups whose Newton step is finite.
    """

    def __init__(self, stack, theta=None, first=None):
        self.stack = stack
        self.theta, self.first = stack.newton() if theta is None else (theta, first)
        self.last, self.slowest = self.first.copy(), np.zeros(len(stack))
        self.converged = np.zeros(len(stack), dtype=bool)
        finite = np.isfinite(self.theta).all(axis=(1, 2)) & np.isfinite(self.first)
        self.started = np.flatnonzero(finite)

    def iterate(self, active, gradients_of, tol, floor):
        """Move the active groups as far as steps contract; return those that arrived.

        A decrement d after one of c shows a contraction by d/c, so the step that follows
        leaves d^2/c; not so where the curvature jumps, and there d itself has to be small.
        A decrement below the floor that no longer falls is rounding.
        """
        objective = self.stack.base.point.objective
        jumps = objective.formulation.loss.has_kinks
        part = self.stack.take(active)
        rounding = self.stack.base.rounding
        for _ in range(_MAX_ITER):
            if not len(active):
                break
            residual = gradients_of(part, self.theta[active])
            step = -part.update.correct(part.solve(residual))
            with np.errstate(invalid="ignore"):
                slope = np.einsum("bkd,bkd->b", residual, part.readings(step))
                decrement = np.sqrt(np.abs(slope))
            last = self.last[active]
            ratio = np.divide(decrement, last, out=np.zeros_like(last), where=last > 0)
            # A step uphill says that rounding has taken the sign of H - H_A, or the residual
            # is rounding itself: a step would multiply it where H is nearly flat.
            contracts = (ratio <= _CONTRACTION) & (slope <= 0) & (decrement > rounding)
            slowest = np.maximum(self.slowest[active], ratio)
            ahead = decrement if jumps else decrement * ratio
            done = contracts & (ahead <= tol * self.first[active])
            done |= ~contracts & (decrement <= np.maximum(floor[active], rounding))
            moved = active[contracts]
            self.theta[moved] += step[contracts]
            arrived = self.theta[moved]
            part.take(contracts).release(arrived)
            self.theta[moved] = arrived
            self.last[moved] = decrement[contracts]
            self.slowest[moved] = slowest[contracts]
            self.converged[active[done]] = True
            goes_on = contracts & ~done
            active = active[goes_on]
            part = part.take(goes_on)
        return np.flatnonzero(self.converged)


def refit(base, rows, start=None, first=np.inf, tol=1e-6):
    """Return (theta, converged) of F without some rows, by damped Newton of its own.

    Parameters
    ----------
    base : Base
        The objective with all rows and the solver.
    rows : ndarray of shape (a,)
        Indices of the rows that leave.
    start : ndarray of shape (K, D) or None, default=None
        Where to begin if F is lower there than at the base point.
    first : float, default=np.inf
        Decrement of the first step; what is left must be small beside it, or rounding.
    tol : float, default=1e-6
        How small; more than that also ends the iteration there.
    """
    objective = base.point.objective.without(rows)
    theta = base.theta
    if start is not None and np.isfinite(start).all():
        value = objective.value(start)
        if np.isfinite(value) and value < objective.value(theta):
            theta = start
    goal = 1e-11
    if tol > 1e-6 and np.isfinite(first):
        goal = max(goal, tol * first / np.sqrt(abs(objective.value(theta)) or 1.0))
    try:
        polished = polish(objective, theta, base.solver, tol=goal, max_iter=100)
    except SingularHessianError:
        return np.full(theta.shape, np.nan), False
    if polished.converged and _lacks_minimum(objective, polished.theta, base.solver):
        return polished.theta, False
    first = first if np.isfinite(first) else np.inf  # there was no step to compare with
    enough = polished.decrement <= max(tol * first, _AT_ROUNDING * base.rounding)
    return polished.theta, polished.converged and enough


def _lacks_minimum(objective, theta, solver):
    """Whether F falls for ever near the end of Newton's method, as for separated classes."""
    if not existence.may_recede(objective):
        return False
    point = objective.at(theta)
    try:
        correction = newton_correction(point, solver.factorise(point))
    except SingularHessianError:
        return True
    if not existence.may_lack_minimum(objective, correction):
        return False
    return existence.recession_direction(objective, theta) is not None
