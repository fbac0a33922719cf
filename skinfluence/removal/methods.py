"""One stack of groups at one accuracy.

    "influence"   theta* + H^-1 sum_A v_i                                       first order
    "one-step"    theta* - (H - H_A)^-1 (G - sum_A v_i)       one Newton step, as it comes
    "newton"      the same, and further steps if that one is not accurate
    "exact"       Newton steps of F without A until they end

A Newton step d ignores that the curvature changes on the way. If the loss declares how fast,
|h'| <= rate h, the error of the step relative to its length, both in the metric of H - H_A, is
at most about

    rate/2 max_j |x~_j'd|  <=  rate/2 max_j sqrt(x~_j' (H - H_A)^-1 x~_j)  ||d||

which costs nothing for most groups. For the others, and if the loss has kinks, one gradient of
F without A tells: the Newton decrement after the step over the one before it. They take the
step that follows, too, and more of them until the error is small.
"""

import numpy as np

from skinfluence import convergence
from skinfluence.exceptions import SingularHessianError
from skinfluence.removal.exact import refine_stack, refit, refit_stack
from skinfluence.removal.stack import Stack

__all__ = ["ACCURATE", "METHODS", "ONE_STEP", "remove"]

#: Accuracies that users choose from.
METHODS = ("influence", "newton", "exact")
#: A Newton step whether or not it is accurate, for measures that are defined by it.
ONE_STEP = "one-step"

#: Relative error of a Newton step that passes for accurate, and error to reach if it does not.
#: Both are in the metric of the Hessian; in the parameters it may be a few times as large.
ACCURATE, _REFINED = 0.005, 1e-3
# The same for squared loss, for which "newton" is exact.
_EXACT = 1e-10


def remove(base, rows, method):
    """Return (theta, decrement, converged) of groups of rows (b, a), padded by -1.

    Parameters
    ----------
    base : Base
        Where removal starts.
    rows : ndarray of shape (b, a)
        Rows of each group.
    method : {"influence", "one-step", "newton", "exact"}
        Accuracy.

    Returns
    -------
    theta : ndarray of shape (b, K, D)
        Parameters without each group.
    decrement : ndarray of shape (b,)
        Newton decrement before the first step; zeros for "influence" and "exact".
    converged : ndarray of shape (b,)
        Whether "exact" reached an optimum, and "newton" an accurate step; True for the others.
    """
    decrement, converged = np.zeros(len(rows)), np.ones(len(rows), dtype=bool)
    large = rows.shape[1] > base.point.objective.design.n_columns
    if method == "influence":
        theta = _first_order(base, rows) if large else Stack(base, rows).influence()
    elif large:
        # Nothing is gained from a common factorisation: each has a Hessian of its own.
        theta, decrement, converged = _each_alone(base, rows, method)
    elif method == "exact":
        theta, converged = refit_stack(Stack(base, rows))
    else:
        stack = Stack(base, rows)
        theta, decrement = stack.newton()
        # Rows that take nearly all curvature of a direction leave a difference of roundings
        # to divide by; the Hessian without them is more accurate.
        alone = np.flatnonzero(~np.isfinite(theta).all(axis=(1, 2)))
        theta[alone], decrement[alone], converged[alone] = _each_alone(
            base, rows[alone], method
        )
        if method == "newton":
            converged &= _refine(stack, theta, decrement, alone)
    return theta, decrement, converged


def _refine(stack, theta, decrement, done):
    """Make Newton steps (b, K, D) accurate, in place; return which are, (b,) bool.

    Groups whose indices are in `done` are left alone.
    """
    converged = np.ones(len(stack), dtype=bool)
    loss = stack.base.point.objective.formulation.loss
    if loss.constant_curvature and stack.moved_penalty is None:
        return converged
    finite = np.isfinite(theta).all(axis=(1, 2))
    error = stack.base.step_error(decrement, 1.0 - 1.0 / stack.update.amplification())
    if stack.scale_ratio is not None:
        # The step takes the penalty of all rows for that without some of them.
        error = error + np.abs(stack.scale_ratio - 1.0).max(axis=1)
    # Without curvature that changes only the penalty is to follow, in a step or two.
    accurate, refined = (_EXACT, _EXACT) if loss.constant_curvature else (ACCURATE, _REFINED)
    suspects = np.setdiff1d(np.flatnonzero(finite & ~(error <= accurate)), done)
    if len(suspects):
        converged[suspects] = refine_stack(stack, theta, decrement, suspects, refined)
    return converged


def _first_order(base, rows):
    """Return theta* + N + H^-1 sum_A v_i for groups too large to write out."""
    w, gradients = base.point.objective.sample_weight, base.point.rows
    lines = [line[line >= 0] for line in rows]
    total = np.array([gradients.take(line).sum(w[line]) for line in lines])
    objective = base.point.objective
    if objective.scales is not None:
        for j, line in enumerate(lines):
            x = objective.design.take(line).rows()
            moved = objective.scales.first_order(x).sum(axis=0)
            total[j] += moved * objective.penalty * base.theta
    return base.theta + base.correction + base.factor.solve(total)


def _each_alone(base, rows, method):
    """Return what `remove` does, of groups that each have a Hessian of their own."""
    b = len(rows)
    theta = np.full((b, *base.theta.shape), np.nan)
    decrement, converged = np.zeros(b), np.ones(b, dtype=bool)
    for j, line in enumerate(rows):
        theta[j], decrement[j], converged[j] = _alone(base, line[line >= 0], method)
    return theta, decrement, converged


def _alone(base, rows, method):
    """Return (theta, decrement, converged) of one group."""
    if method == "exact":
        theta, converged = refit(base, rows)
        return theta, 0.0, converged
    reduced = base.point.objective.without(rows).at(base.theta)
    try:
        factor = base.solver.factorise(reduced)
    except SingularHessianError:
        return np.full(base.theta.shape, np.nan), np.inf, method == ONE_STEP
    step = convergence.newton_correction(reduced, factor)
    theta, decrement = base.theta + step, convergence.newton_decrement(reduced, step)
    if method == ONE_STEP or reduced.objective.formulation.loss.constant_curvature:
        return theta, decrement, True
    following = reduced.objective.at(theta)
    left = convergence.newton_correction(following, factor)
    left = convergence.newton_decrement(following, left)
    if np.isfinite(left) and left <= max(ACCURATE * decrement, base.rounding):
        return theta, decrement, True
    theta, converged = refit(base, rows, theta, first=decrement, tol=_REFINED)
    return theta, decrement, converged
