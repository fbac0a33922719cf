"""Newton steps of a stack whose class weights or column scales change with its groups.

A refit has new "balanced" class weights, so its Hessian differs in all rows. Groups with equal
weights share a factor of theirs. For other groups the update of the present Hessian solves the
equations of the new one, one correction after the other.
"""

import numpy as np

from skinfluence.namespaces import to_host
from skinfluence.solvers.update import GroupUpdate

# Relative accuracy of a Newton step at new class weights, and the steps that lead to it.
_CORRECTED, _MAX_CORRECTIONS = 1e-9, 30
# Factorise at new class weights if that takes at most this many rows of the fit for each
# group.
_FEW = 30


def steps_at_new_weights(stack, residual):
    """Return Newton steps (b, K, D) with the Hessians at the new class weights.

    Groups with as many rows of each class have the same class weights, and share a factor
    if there are many such groups.
    """
    objective, b = stack.base.point.objective, len(stack)
    growths, which = np.unique(stack.class_growth.reshape(b, -1), axis=0, return_inverse=True)
    shared = len(growths) * objective.n_rows <= _FEW * b
    if not shared or not stack.base.has_factors_of_classes(len(growths)):
        step = -stack.update.correct(stack.solve(residual))
        correct(stack, step, residual)
        return step
    step, which = np.full_like(residual, np.nan), which.reshape(b)
    curvature = stack.grown(stack.curvature)
    for place, growth in enumerate(growths):
        groups = np.flatnonzero(which == place)
        factor = stack.base.factor_at(growth.reshape(stack.class_growth.shape[1:]))
        if factor is not None:
            update = GroupUpdate(factor, stack.x[groups], -curvature[groups])
            step[groups] = -update.correct(factor.solve(residual[groups]))
    return step


def correct(stack, step, residual):
    """Change steps (b, K, D) to those for the Hessian at new weights, in place.

    These are new class weights, or a new penalty. A step is NaN if they change too much
    for the present Hessian.
    """
    active, last = np.arange(len(step)), np.inf
    share = stack.base.point.objective.formulation.penalty_share
    for _ in range(_MAX_CORRECTIONS):
        part = stack.take(active)
        moved = part.moved_hessian_times(step[active])
        if share is not None:
            moved -= part.t[:, None, None] * share * step[active]
        if part.moved_penalty is not None:
            moved += part.moved_penalty * step[active]
        change = part.update.correct(part.solve(residual[active] + moved))
        step[active] -= change
        size = to_host(np.abs(change).max(axis=(1, 2)))
        goes_on = size > _CORRECTED * to_host(np.abs(step[active]).max(axis=(1, 2)))
        grows = goes_on & ~(size <= 0.5 * last)
        step[active[grows]] = np.nan
        goes_on &= ~grows
        active, last = active[goes_on], size[goes_on]
        if not len(active):
            return
    step[active] = np.nan
