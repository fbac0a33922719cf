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
classes), the group is refitted with its own Hessian, see `weighted`.
"""

import numpy as np

from skinfluence.removal.run import Run
from skinfluence.removal.stack import AMPLIFIED, Stack
from skinfluence.removal.weighted import refit_apart

# Errors to reach in single and in double precision, relative to the first step and in the
# metric of H - H_A. An error that is small in that metric may be larger in the parameters, so
# double precision continues to rounding. Single precision is only for groups that contract
# fast.
_SINGLE_TOL, _TOL, _SLOW = 1e-8, 1e-11, 1e-2
# Relative decrement at which rounding in single precision may stop the iteration.
_ROUGH_FLOOR = 1e-4
# Largest ratio between two weights for which single precision is tried.
_WIDE = 1e4


def refit_stack(stack):
    """Return (theta, converged) for each group in a stack, (b, K, D) and (b,)."""
    run = Run(stack)
    unfinished = run.started
    # Tolerances are relative to the first step. If heavy rows leave or cross a kink and only
    # light rows remain, their decrement is smaller by the ratio of the weights.
    spread = stack.base.point.objective.weight_spread
    near = stack.is_quadratic_between_kinks
    if stack.base.hessian is not None and spread <= _WIDE and not near:
        # Subtracting the leaving rows from a sum leaves rounding as large as those rows.
        fit = unfinished[stack.update.amplification()[unfinished] <= AMPLIFIED]
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
    run.iterate(unfinished, Stack.near_gradients, _TOL, stack.rounding, with_secants=True)
    _refit_rest(run, np.flatnonzero(~run.converged), _TOL)
    return run.theta, run.converged


def _by_series(run, fit, spread):
    """Iterate with remainders from a series; return the groups for which it is accurate.

    The other groups return to their parameters at the start.
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
    run.iterate(chosen, Stack.near_gradients, tol, stack.rounding, with_secants=True)
    _refit_rest(run, chosen[~run.converged[chosen]], tol)
    return run.converged[chosen]


def _refit_rest(run, rest, tol):
    """Refit groups whose steps do not contract, with their own Hessians, in place."""
    stack = run.stack
    lines = [stack.rows[j][stack.real[j]] for j in rest]
    found = refit_apart(stack.base, lines, run.theta[rest], run.first[rest], tol)
    run.theta[rest], run.converged[rest] = found
