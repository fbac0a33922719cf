"""The fit of smooth hinge models: Newton's method at falling temperatures."""

from dataclasses import replace

import numpy as np

from skinfluence import convergence
from skinfluence.solvers import ConjugateGradientSolver, WoodburySolver, get_solver

__all__ = ["anneal"]

# Temperatures fall by this factor from one stage of the fit to the next. With the path
# followed to first order a stage then takes two to four Newton steps.
_COOLING = 0.2
# How exactly the stages before the last are solved, see `convergence.polish`.
_STAGE_TOL = 1e-3
# Kernel models of this many rows and more start from a sample, which keeps _FEW rows of a
# small class, and at a temperature of at most about _COLD.
_MANY, _FEW, _COLD = 1000, 50, 0.1
# Their Newton steps are solved to this accuracy from the rows whose curvature adds more
# than the cutoff, relative to the penalty.
_INEXACT, _CUTOFF = 1e-2, 1.0


def anneal(objective, tol, max_iter):
    """Return the optimum at the temperature of the objective, as `Polished`.

    Newton's method from zero converges at a temperature near 1, the scale of margins. At a
    low one nearly every row is on a flat piece of the loss and says nothing of where the
    optimum is. So the temperature falls in stages, and each one starts where the optimum
    is going: d theta / d t = -H^-1 d G / d t keeps (1 - y eta)/t of the rows near the kink,
    on which their gradients depend, where it was.

    A kernel model of many rows starts from that of a quarter of them, solved in the same
    way, at a temperature at which it has most rows on flat pieces. Each of its Newton steps
    is one of conjugate gradients, preconditioned by the rows that are not.
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
    """Return (rows, objective) of a quarter of the rows, with the weight of all.

    Every fourth row of each class at random, all of a small class.
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
        own = np.isin(rows, members)
        whole = objective.sample_weight[codes == codes[members[0]]].sum()
        if weight[own].any():
            weight[own] *= whole / weight[own].sum()
    return rows, replace(part, sample_weight=weight)


def _at_temperature(objective, t):
    formulation = objective.formulation
    loss = replace(formulation.loss, temperature=t)
    return replace(objective, formulation=replace(formulation, loss=loss))


def _follow(point, solver, cooling):
    """Return the optimum at `cooling` times the temperature, to first order."""
    objective = point.objective
    loss = objective.formulation.loss
    slope = loss.temperature_slope(objective.target, point.raw_prediction)
    moved = objective.design.adjoint(objective.row_weight * slope)
    path = -solver.factorise(point).solve(moved[None])[0]
    return point.theta + (cooling - 1.0) * loss.temperature * path
