"""Exact refits, many at a time.

The groups in a stack iterate together. They share the Hessian at the base point, which is
corrected for each group's rows but not refreshed:

    r_A = grad F_-A(theta_A)             two matrix products with X for the whole stack
    theta_A <- theta_A - (H - H_A)^-1 r_A

The Hessian hardly changes if a few out of many rows leave, so the error falls by a large
factor in each step: 10 to 1000 on ordinary data. The gradient's part beyond first order is
smaller by the same factor, so it is first computed in single precision, at half the cost. That
suffices if the estimated rounding is below the tolerance; the other groups continue in double
precision. If a step does not contract (high leverage, a tiny penalty, nearly separable
classes), the group is refitted by damped Newton steps with its own Hessian.
"""

import numpy as np

from skinfluence import existence
from skinfluence.convergence import polish
from skinfluence.exceptions import SingularHessianError
from skinfluence.removal.stack import Stack

__all__ = [
    "Run",
    "refine_stack",
    "refit",
    "refit_objective",
    "refit_stack",
    "weight_growth",
]

# Errors to reach in single and in double precision, relative to the first step and in the
# metric of H - H_A. An error that is small in that metric may be larger in the parameters, so
# double precision continues to rounding. Single precision is only for groups that contract
# fast.
_SINGLE_TOL, _TOL, _SLOW = 1e-8, 1e-11, 1e-2
# Relative decrement at which rounding in single precision may stop the iteration.
_ROUGH_FLOOR = 1e-4
# Largest ratio between two weights for which single precision is tried.
_WIDE = 1e4
# If rounding is amplified more than this, the leaving rows must not enter a sum at all.
_AMPLIFIED = 1e3
# A step has to reduce the decrement by this factor to count as a contraction.
_CONTRACTION = 0.5
# A refit has converged at this multiple of the estimated rounding in a gradient.
_AT_ROUNDING = 4.0
_MAX_ITER = 40


def refit_stack(stack):
    """Return (theta, converged) for each group in a stack, (b, K, D) and (b,)."""
    run = Run(stack)
    unfinished = run.started
    # Tolerances are relative to the first step. If heavy rows leave or cross a kink and only
    # light rows remain, their decrement is smaller by the ratio of the weights.
    spread = stack.base.point.objective.weight_spread
    if stack.base.hessian is not None and spread <= _WIDE:
        # Subtracting the leaving rows from a sum leaves rounding as large as those rows.
        fit = unfinished[stack.update.amplification()[unfinished] <= _AMPLIFIED]
        proven = _by_series(run, fit, spread)
        unfinished, fit = np.setdiff1d(unfinished, proven), np.setdiff1d(fit, proven)
        done = run.iterate(
            fit,
            Stack.approximate_gradients,
            _SINGLE_TOL / spread,
            _ROUGH_FLOOR / spread * run.first,
        )
        # The remainder is a share `slowest` of the gradient and grows quadratically with the
        # step, so a relative error in the step causes twice the error times that share.
        error = 2.0 * stack.single_precision(run.theta) * run.slowest
        enough = (error <= _SINGLE_TOL) & (run.slowest <= _SLOW)
        unfinished = np.setdiff1d(unfinished, done[enough[done]])
        # A decrement in single precision is no reference for the contraction of the steps that
        # follow.
        run.last[unfinished] = np.maximum(
            run.last[unfinished], _ROUGH_FLOOR * run.first[unfinished]
        )
    run.converged[unfinished] = False
    run.iterate(unfinished, Stack.gradients, _TOL, stack.rounding)
    for j in np.flatnonzero(~run.converged):
        rows = stack.rows[j][stack.real[j]]
        run.theta[j], run.converged[j] = refit(
            stack.base, rows, run.theta[j], first=run.first[j]
        )
    return run.theta, run.converged


def _by_series(run, fit, spread):
    """Iterate with remainders from a series; return the groups for which it is accurate.

    The others are put back to where they were.
    """
    stack, series = run.stack, run.stack.base.series
    if series is None or not len(fit):
        return fit[:0]
    start = run.theta[fit]

    def gradients(part, theta):
        return part.approximate_gradients(theta, series.remainders)

    run.iterate(fit, gradients, _SINGLE_TOL / spread, _ROUGH_FLOOR / spread * run.first)
    error = series.error(run.theta[fit] - stack.base.theta, stack.rows[fit])
    proven = run.converged[fit] & (run.slowest[fit] <= _SLOW)
    proven &= error <= _SINGLE_TOL / spread * run.first[fit]
    rest = fit[~proven]
    run.theta[rest], run.last[rest] = start[~proven], run.first[rest]
    run.converged[rest], run.slowest[rest] = False, 0.0
    return fit[proven]


def refine_stack(stack, theta, decrement, chosen, tol):
    """Take further steps after a Newton step until the remaining error is small.

    Parameters
    ----------
    stack : Stack
        The groups.
    theta : ndarray of shape (b, K, D)
        Parameters after a Newton step. The function overwrites those of the chosen groups.
    decrement : ndarray of shape (b,)
        Newton decrement before the step.
    chosen : ndarray
        Indices of the groups to refine.
    tol : float
        Decrement to reach, relative to the first one.

    Returns
    -------
    converged : ndarray
        Whether each chosen group reached it.
    """
    run = Run(stack, theta, decrement)
    run.iterate(chosen, Stack.gradients, tol, stack.rounding)
    for j in chosen[~run.converged[chosen]]:
        rows = stack.rows[j][stack.real[j]]
        theta[j], run.converged[j] = refit(
            stack.base, rows, theta[j], first=run.first[j], tol=tol
        )
    return run.converged[chosen]


class Run:
    """The state of an iteration over a stack; every array has one entry for each group.

    Parameters
    ----------
    stack : Stack or WeightedStack
        The groups, or the vectors of weights.
    theta, first : ndarray or None, default=None
        Starting parameters and the decrement of the step before; None for one Newton step.

    Attributes
    ----------
    theta : ndarray of shape (b, K, D)
        Current parameters of each group.
    first, last : ndarray of shape (b,)
        Decrements of the first and the most recent step.
    ratio : ndarray of shape (b,)
        Decrement at the current parameters over the one before; NaN before `iterate`.
    slowest : ndarray of shape (b,)
        Largest ratio between two consecutive decrements that led to a step.
    step : ndarray of shape (b, K, D)
        The last step that was taken.
    taken : ndarray of shape (b,)
        Number of steps that contracted.
    converged : ndarray of shape (b,)
        Whether each group has converged.
    started : ndarray
        Indices of the groups whose Newton step is finite.
    """

    def __init__(self, stack, theta=None, first=None):
        self.stack = stack
        self.theta, self.first = stack.newton() if theta is None else (theta, first)
        self.last, self.slowest = self.first.copy(), np.zeros(len(stack))
        self.ratio, self.step = np.full(len(stack), np.nan), np.zeros_like(self.theta)
        self.taken = np.zeros(len(stack), dtype=np.intp)
        self.converged = np.zeros(len(stack), dtype=bool)
        finite = np.isfinite(self.theta).all(axis=(1, 2)) & np.isfinite(self.first)
        self.started = np.flatnonzero(finite)

    def iterate(self, active, gradients_of, tol, floor, contraction=_CONTRACTION, least=0):
        """Take steps for the active groups while they contract; return the converged groups.

        A decrement d after a decrement c shows a contraction by d/c, so the next step leaves
        d^2/c. If the curvature jumps this does not hold, and d itself must be small. A
        decrement below the floor that no longer falls is rounding. Both count only after
        `least` contractions.
        """
        objective = self.stack.base.point.objective
        jumps = objective.formulation.loss.has_kinks
        part = self.stack.take(active)
        for _ in range(_MAX_ITER):
            if not len(active):
                break
            rounding = self.stack.rounding[active]
            residual = gradients_of(part, self.theta[active])
            step = -part.update.correct(part.solve(residual))
            with np.errstate(invalid="ignore"):
                slope = np.einsum("bkd,bkd->b", residual, part.readings(step))
                decrement = np.sqrt(np.abs(slope))
            last = self.last[active]
            ratio = np.divide(decrement, last, out=np.zeros_like(last), where=last > 0)
            # If a step points uphill, rounding has changed the sign of H - H_A or the residual
            # is only rounding. A step would amplify it along directions in which H is flat.
            contracts = (ratio <= contraction) & (slope <= 0) & (decrement > rounding)
            self.ratio[active] = ratio
            slowest = np.maximum(self.slowest[active], ratio)
            ahead = decrement if jumps else decrement * ratio
            done = contracts & (ahead <= tol * self.first[active])
            done |= ~contracts & (decrement <= np.maximum(floor[active], rounding))
            done &= self.taken[active] >= least
            moved = active[contracts]
            self.theta[moved] += step[contracts]
            arrived = self.theta[moved]
            part.take(contracts).release(arrived)
            self.theta[moved], self.step[moved] = arrived, step[contracts]
            self.last[moved] = decrement[contracts]
            self.taken[moved] += 1
            self.slowest[moved] = slowest[contracts]
            self.converged[active[done]] = True
            goes_on = contracts & ~done
            active = active[goes_on]
            part = part.take(goes_on)
        return np.flatnonzero(self.converged)


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
        Where to start, if F is lower there than at the base point.
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
    goal = 1e-11
    if tol > 1e-6 and np.isfinite(first):
        goal = max(goal, tol * first / np.sqrt(abs(objective.value(theta)) or 1.0))
    try:
        polished = polish(objective, theta, base.solver, tol=goal, max_iter=100)
    except SingularHessianError:
        return np.full(theta.shape, np.nan), False
    if polished.converged and _lacks_minimum(objective, polished):
        return polished.theta, False
    first = first if np.isfinite(first) else np.inf  # there was no earlier step
    rounding = _AT_ROUNDING * base.rounding * weight_growth(base, objective)
    enough = polished.decrement <= max(tol * first, rounding)
    return polished.theta, polished.converged and enough


def weight_growth(base, objective):
    """Return the factor by which rounding grows, because an objective has larger weights."""
    before, after = base.point.objective.row_weight.max(), objective.row_weight.max()
    return max(1.0, float(np.sqrt(after / before))) if before > 0 else 1.0


def _lacks_minimum(objective, polished):
    """Return whether F falls forever from the result, as it does for separated classes."""
    if not existence.may_recede(objective):
        return False
    if not existence.may_lack_minimum(objective, polished.correction):
        return False
    return existence.recession_direction(objective, polished.theta) is not None
