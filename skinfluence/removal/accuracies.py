"""One stack of groups at one accuracy.

    "influence"   theta* + H^-1 sum_A v_i                                       first order
    "one-step"    theta* - (H - H_A)^-1 (G - sum_A v_i)       one Newton step, unchecked
    "newton"      the same, plus further steps if the first is not accurate
    "exact"       Newton steps to the minimum of F without A

The error of a Newton step is small for most groups, which `step_error` shows from few rows or
none. For the others, and if the loss has kinks, one gradient of F without A decides: the error
is the Newton decrement after the step over the one before it. These groups also take the next
step, and more if the error is large.

For exact refits the groups in a stack iterate together. They share the Hessian at the base
point, which is corrected for each group's rows but not refreshed:

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

from skinfluence.exceptions import SingularHessianError
from skinfluence.namespaces import to_host
from skinfluence.optimum import newton_correction, newton_decrement
from skinfluence.removal.identified import determines
from skinfluence.removal.refit import refit
from skinfluence.removal.run import Run
from skinfluence.removal.stack import AMPLIFIED, Stack, finite
from skinfluence.removal.weighted import refit_apart

#: Accuracies that users can choose.
METHODS = ("influence", "newton", "exact")
#: A Newton step, accurate or not, for measures that are defined by it.
ONE_STEP = "one-step"

#: Largest relative error of an accurate Newton step, and the error to reach if it is larger.
#: Both are in the metric of the Hessian. In the parameters it may be a few times as large.
ACCURATE, _REFINED = 0.005, 1e-3
# The same for squared loss, for which "newton" is exact.
_EXACT = 1e-10
# Errors to reach in single and in double precision, relative to the first step and in the
# metric of H - H_A. An error that is small in that metric may be larger in the parameters, so
# double precision continues to rounding. Single precision is only for groups that contract
# fast.
_SINGLE_TOL, _TOL, _SLOW = 1e-8, 1e-11, 1e-2
# Relative decrement at which rounding in single precision may stop the iteration.
_ROUGH_FLOOR = 1e-4
# Largest ratio between two weights for which single precision is tried, and number of rows
# from which it saves time if only a step or two follow a Newton step.
_WIDE, _MANY = 1e4, 1_000


def remove(base, rows, method):
    """Return (theta, decrement, converged) for groups of rows (b, a), padded by -1.

    Parameters
    ----------
    base : Base
        The start of removal.
    rows : ndarray of shape (b, a)
        Rows in each group.
    method : {"influence", "one-step", "newton", "exact"}
        Accuracy.

    Returns
    -------
    theta : ndarray of shape (b, K, D)
        Parameters without each group.
    decrement : ndarray of shape (b,)
        Newton decrement before the first step; zeros for "influence" and "exact".
    converged : ndarray of shape (b,)
        Whether "exact" reached an optimum or "newton" an accurate step; True for the others.
    """
    decrement, converged = np.zeros(len(rows)), np.ones(len(rows), dtype=bool)
    large = rows.shape[1] > base.point.objective.design.n_columns
    if method == "influence":
        theta = _first_order(base, rows) if large else Stack(base, rows).influence()
    elif large:
        # For large groups a common factorisation saves nothing, so each has its own Hessian.
        theta, decrement, converged = each_alone(base, rows, method)
    elif method == "exact":
        theta, converged = refit_stack(Stack(base, rows))
    else:
        stack = Stack(base, rows)
        theta, decrement, alone, suspects = first_steps(stack, method)
        theta[alone], decrement[alone], converged[alone] = each_alone(
            base, rows[alone], method
        )
        if len(suspects):
            tol = _tolerances(stack)[1]
            converged[suspects] = refine_stack(stack, theta, decrement, suspects, tol)
    return theta, decrement, converged


def first_steps(stack, method):
    """Return the Newton steps of a stack, which take no pass over the rows that stay.

    Parameters
    ----------
    stack : Stack
        The groups.
    method : {"one-step", "newton"}
        Accuracy.

    Returns
    -------
    theta : ndarray of shape (b, K, D)
        Parameters without each group.
    decrement : ndarray of shape (b,)
        Newton decrement before the step.
    alone : ndarray
        Indices of groups without a result. They own nearly all the curvature along a
        direction, so the update divides by rounding error, and the reduced Hessian is to be
        factorised.
    suspects : ndarray
        Indices of groups whose step may not be accurate; none for "one-step".
    """
    theta, decrement = stack.newton(exact=method == ONE_STEP)
    alone = np.flatnonzero(~finite(theta))
    suspects = np.zeros(0, dtype=np.intp)
    if method != ONE_STEP:
        suspects = np.flatnonzero(_may_be_inaccurate(stack, theta, decrement))
    return theta, decrement, alone, suspects


def _tolerances(stack):
    """Return the largest error of an accurate step, and the error to reach otherwise."""
    if stack.base.point.objective.formulation.loss.constant_curvature:
        return _EXACT, _EXACT  # if only the penalty changes, a step or two are enough
    return ACCURATE, _REFINED


def _may_be_inaccurate(stack, theta, decrement):
    """Return whether one Newton step may not be accurate for each group, (b,) bool."""
    loss = stack.base.point.objective.formulation.loss
    if loss.constant_curvature and (stack.moved_penalty is None or stack.is_corrected):
        return np.zeros(len(stack), dtype=bool)
    bounds = stack.base.step_error
    error = np.zeros(len(stack))
    if stack.scale_ratio is not None:
        # The step uses the penalty for all rows, not the one without the group.
        error += to_host(np.abs(stack.scale_ratio - 1.0).max(axis=1))
    if stack.class_growth is not None:  # likewise, it uses the curvature at the old weights
        error += np.abs(stack.class_growth).max(axis=(1, 2))
    accurate = _tolerances(stack)[0]
    by_leverage = bounds.bound(decrement, 1.0 - 1.0 / stack.update.amplification())
    suspects = ~(error + by_leverage <= accurate) & finite(theta)
    if bounds.rate and suspects.any():
        rows = stack.base.point.objective.among_all(stack.rows[suspects])
        steps = theta[suspects] - stack.base.theta
        found = bounds.estimate(steps, decrement[suspects], rows, enough=accurate)
        suspects[suspects] = ~(error[suspects] + found <= accurate)
    return suspects


def _first_order(base, rows):
    """Return theta* + N + H^-1 sum_A v_i for groups too large for a stack."""
    lines = [line[line >= 0] for line in rows]
    total = first_order_pull(base.point, lines)
    return base.theta + base.correction + base.factor.solve(total)


def first_order_pull(point, lines):
    """Return the derivative of grad F in the multiplicity of each group of rows, (b, K, D).

    It is sum_A v_i, and the parts through "balanced" class weights and column scales.
    """
    objective = point.objective
    rows, w = point.rows, objective.sample_weight
    if point.class_shift is not None:
        rows, w = point.multiplicity_rows, np.ones_like(w)
    total = np.stack([rows.take(line).sum(w[line]) for line in lines])
    if objective.scales is not None:
        for pull, line in zip(total, lines, strict=True):
            moved = objective.scales.first_order(objective.design.take(line).rows())
            pull += moved.sum(axis=0) * objective.penalty * point.theta
    return total


def each_alone(base, rows, method):
    """Return the result of `remove` for groups that each have a separate Hessian."""
    b = len(rows)
    theta = np.full((b, *base.theta.shape), np.nan, like=base.theta)
    decrement, converged = np.zeros(b), np.ones(b, dtype=bool)
    for j, line in enumerate(rows):
        theta[j], decrement[j], converged[j] = _alone(base, line[line >= 0], method)
    return theta, decrement, converged


def _alone(base, rows, method):
    """Return (theta, decrement, converged) for one group."""
    objective = base.point.objective
    if method == "exact":
        theta, converged = refit(base, rows)
        return theta, 0.0, converged and determines(objective.without(rows), objective)
    reduced = objective.without(rows).at(base.theta)
    try:
        factor = base.solver.factorise(reduced)
    except SingularHessianError:
        return np.full_like(base.theta, np.nan), np.inf, method == ONE_STEP
    step = newton_correction(reduced, factor)
    theta, decrement = base.theta + step, newton_decrement(reduced, step)
    if method == ONE_STEP or reduced.objective.formulation.loss.constant_curvature:
        return theta, decrement, True
    # If few rows have curvature, a first step over kinks may predict any decrease.
    if not reduced.objective.formulation.loss.has_kinks:
        following = reduced.objective.at(theta)
        remaining = newton_correction(following, factor)
        remaining = newton_decrement(following, remaining)
        if np.isfinite(remaining) and remaining <= max(ACCURATE * decrement, base.rounding):
            return theta, decrement, True
    theta, converged = refit(base, rows, theta, first=decrement, tol=_REFINED)
    return theta, decrement, converged


def refit_stack(stack):
    """Return (theta, converged) for each group in a stack, (b, K, D) and (b,)."""
    run = Run(stack)
    unfinished = run.started
    # Tolerances are relative to the first step. If heavy rows leave or cross a kink and only
    # light rows remain, their decrement is smaller by the ratio of the weights.
    spread = stack.base.point.objective.weight_spread
    fit = _fit_for_single_precision(stack, unfinished)
    if len(fit):
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
    run, rest = Run(stack, theta, decrement), chosen
    if stack.base.point.objective.n_rows >= _MANY:
        fit = _fit_for_single_precision(stack, chosen)
        run.iterate(fit, Stack.approximate_gradients, tol, _ROUGH_FLOOR * run.first)
        rest = chosen[~run.converged[chosen]]
    run.iterate(rest, Stack.near_gradients, tol, stack.rounding, with_secants=True)
    _refit_rest(run, chosen[~run.converged[chosen]], tol)
    return run.converged[chosen]


def _fit_for_single_precision(stack, groups):
    """Return which groups may take steps from gradients in single precision first."""
    base, near = stack.base, stack.is_quadratic_between_kinks
    if base.hessian is None or base.point.objective.weight_spread > _WIDE or near:
        return groups[:0]
    # Subtracting the leaving rows from a sum leaves rounding as large as those rows.
    return groups[stack.update.amplification()[groups] <= AMPLIFIED]


def _refit_rest(run, rest, tol):
    """Refit groups whose steps do not contract, with their own Hessians, in place."""
    if not len(rest):
        return
    stack = run.stack
    lines = [stack.rows[j][stack.real[j]] for j in rest]
    found = refit_apart(stack.base, lines, run.theta[rest], run.first[rest], tol)
    run.theta[rest], run.converged[rest] = found
