"""The fit of smooth hinge models: Newton's method at falling temperatures."""

from dataclasses import replace

import numpy as np

from skinfluence import convergence
from skinfluence.solvers import get_solver

__all__ = ["anneal"]

# Temperatures fall by this factor from one stage of the fit to the next. With the path
# followed to first order a stage then takes two to four Newton steps.
_COOLING = 0.2
# How exactly the stages before the last are solved, see `convergence.polish`.
_STAGE_TOL = 1e-3


def anneal(objective, tol, max_iter):
    """Return the optimum at the temperature of the objective, as `Polished`.

    Newton's method from zero converges at a temperature near 1, the scale of margins. At a
    low one nearly every row is on a flat piece of the loss and says nothing of where the
    optimum is. So the temperature falls in stages, and each one starts where the optimum
    is going: d theta / d t = -H^-1 d G / d t keeps (1 - y eta)/t of the rows near the kink,
    on which their gradients depend, where it was.
    """
    t = objective.formulation.loss.temperature
    stages = max(0, int(np.ceil(np.log(t) / np.log(_COOLING) - 1e-9)))
    theta, n_iter = np.zeros(objective.formulation.layout.shape), 0
    for stage in range(stages, -1, -1):
        warm = _at_temperature(objective, t / _COOLING**stage)
        solver = get_solver("auto", warm)
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
