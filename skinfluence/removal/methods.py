"""One stack of groups at one accuracy.

    "influence"   theta* + H^-1 sum_A v_i                                       first order
    "one-step"    theta* - (H - H_A)^-1 (G - sum_A v_i)       one Newton step, unchecked
    "newton"      the same, plus further steps if the first is not accurate
    "exact"       Newton steps to the minimum of F without A

The error of a Newton step is small for most groups, which `step_error` shows from few rows or
none. For the others, and if the loss has kinks, one gradient of F without A decides: the error
is the Newton decrement after the step over the one before it. These groups also take the next
step, and more if the error is large.
"""

import numpy as np

from skinfluence import convergence
from skinfluence.exceptions import SingularHessianError
from skinfluence.namespaces import to_host
from skinfluence.removal.alone import refit
from skinfluence.removal.exact import refine_stack, refit_stack
from skinfluence.removal.stack import Stack, finite

__all__ = ["ACCURATE", "METHODS", "ONE_STEP", "first_order_pull", "first_steps", "remove"]

#: Accuracies that users can choose.
METHODS = ("influence", "newton", "exact")
#: A Newton step, accurate or not, for measures that are defined by it.
ONE_STEP = "one-step"

#: Largest relative error of an accurate Newton step, and the error to reach if it is larger.
#: Both are in the metric of the Hessian. In the parameters it may be a few times as large.
ACCURATE, _REFINED = 0.005, 1e-3
# The same for squared loss, for which "newton" is exact.
_EXACT = 1e-10


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
        found = bounds.estimate(steps, decrement[suspects], rows)
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
    if method == "exact":
        theta, converged = refit(base, rows)
        return theta, 0.0, converged
    reduced = base.point.objective.without(rows).at(base.theta)
    try:
        factor = base.solver.factorise(reduced)
    except SingularHessianError:
        return np.full_like(base.theta, np.nan), np.inf, method == ONE_STEP
    step = convergence.newton_correction(reduced, factor)
    theta, decrement = base.theta + step, convergence.newton_decrement(reduced, step)
    if method == ONE_STEP or reduced.objective.formulation.loss.constant_curvature:
        return theta, decrement, True
    # If few rows have curvature, a first step over kinks may predict any decrease.
    if not reduced.objective.formulation.loss.has_kinks:
        following = reduced.objective.at(theta)
        remaining = convergence.newton_correction(following, factor)
        remaining = convergence.newton_decrement(following, remaining)
        if np.isfinite(remaining) and remaining <= max(ACCURATE * decrement, base.rounding):
            return theta, decrement, True
    theta, converged = refit(base, rows, theta, first=decrement, tol=_REFINED)
    return theta, decrement, converged
