"""Fit smooth hinge models by Newton's method at falling temperatures."""

from dataclasses import replace

import numpy as np

from skinfluence import convergence
from skinfluence.solvers import ConjugateGradientSolver, WoodburySolver, get_solver

# Factor between the temperatures in successive stages. Each stage starts from a first-order
# prediction and then needs two to four Newton steps.
_COOLING = 0.2
# Tolerance for all stages except the last, see `convergence.polish`.
_STAGE_TOL = 1e-3
# A kernel model with at least _MANY rows starts from a subsample, which contains at least _FEW
# rows from each class (or all, if there are fewer). Its first temperature is at most about
# _COLD.
_MANY, _FEW, _COLD = 1000, 50, 0.1
# Tolerance for Newton steps in these models, and curvature relative to the penalty above
# which a row enters the preconditioner.
_INEXACT, _CUTOFF = 1e-2, 1.0


def anneal(objective, tol, max_iter):
    """Return the optimum for the temperature in the objective, as `Polished`.

    From zero, Newton's method converges if the temperature is near 1, the scale of margins.
    At a low temperature it does not, because nearly all rows are on flat pieces of the loss
    and have no curvature. For this reason the temperature falls in stages. Each stage starts
    from a first-order prediction of its optimum, d theta / d t = -H^-1 d G / d t. The
    prediction keeps (1 - y eta)/t almost constant for the rows near the kink, and their
    gradients depend on this ratio.

    A kernel model with many rows starts from the model for a quarter of them, which is
    fitted in the same way. It starts at a temperature at which most rows are on flat pieces.
    Conjugate gradients solve for each Newton step, with a preconditioner from the other
    rows.
    """
    t = objective.formulation.loss.temperature
    stages = max(0, int(np.ceil(np.log(t) / np.log(_COOLING) - 1e-9)))
    theta, n_iter = np.zeros(objective.formulation.layout.shape), 0
    solver = get_solver("auto", objective)
    if objective.design.has_metric and objective.n_rows >= _MANY:
        stages = max(0, int(np.ceil(np.log(t / _COLD) / np.log(_COOLING) - 1e-9)))
        rows, part = _sample(objective)
        coarse = anneal(_at_temperature(part, t / _COOLING**stages), _STAGE_TOL, max_iter)
        n_iter = coarse.n_iter
        theta[:, rows], theta[:, -1] = coarse.theta[:, :-1], coarse.theta[:, -1]
        solver = ConjugateGradientSolver(_INEXACT, None, WoodburySolver(_CUTOFF))
    for stage in range(stages, -1, -1):
        warm = _at_temperature(objective, t / _COOLING**stage)
        polished = convergence.polish(
            warm,
            theta,
            solver,
            tol=_STAGE_TOL if stage else tol,
            max_iter=max_iter - n_iter,
        )
        n_iter += polished.n_iter
        if stage and n_iter >= max_iter:
            return replace(polished, n_iter=n_iter, converged=False)
        if stage:
            theta = _follow(warm.at(polished.theta), solver, _COOLING)
    return replace(polished, n_iter=n_iter)


def _sample(objective):
    """Return a random quarter of the rows and the objective for them, as (rows, objective).

    The function draws from each class separately and keeps at least _FEW rows. The weights
    in each class are scaled to the same sum as before.
    """
    codes = objective.formulation.target.class_codes(objective.target)
    order = np.random.default_rng(0).permutation(objective.n_rows)
    chosen = []
    for code in np.unique(codes):
        members = order[codes[order] == code]
        chosen.append(members[: max(_FEW, len(members) // 4)])
    rows = np.sort(np.concatenate(chosen))
    part = objective.restrict(rows)
    weight = part.sample_weight.copy()
    for members in chosen:
        in_class = np.isin(rows, members)
        total = objective.sample_weight[codes == codes[members[0]]].sum()
        if weight[in_class].any():
            weight[in_class] *= total / weight[in_class].sum()
    return rows, replace(part, sample_weight=weight)


def _at_temperature(objective, t):
    formulation = objective.formulation
    loss = replace(formulation.loss, temperature=t)
    return replace(objective, formulation=replace(formulation, loss=loss))


def _follow(point, solver, cooling):
    """Predict the optimum at `cooling` times the temperature, to first order."""
    objective = point.objective
    loss = objective.formulation.loss
    slope = loss.temperature_slope(objective.target, point.raw_prediction)
    gradient_slope = objective.design.adjoint(objective.row_weight * slope)
    theta_slope = -solver.factorise(point).solve(gradient_slope[None])[0]
    return point.theta + (cooling - 1.0) * loss.temperature * theta_slope
