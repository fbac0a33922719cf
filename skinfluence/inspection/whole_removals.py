"""Refits of a whole pipeline without sets of rows or with new labels, for searches.

The last step alone orders the rows, because its refits are cheap. Refits of the pipeline
decide how many of them are needed, and give all values that are reported.
"""

from dataclasses import replace
from functools import cached_property

import numpy as np

from skinfluence import removal
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.inspection.goals import Goal, SignificanceGoal
from skinfluence.solvers import get_solver
from skinfluence.whole.sweep import sample_of


def why_no_refit(problem):
    """Return why a whole fit cannot be repeated, None if it can."""
    try:
        problem.check_refits()
    except UnsupportedEstimatorError as error:
        return str(error)
    return None


class WholeRemovals:
    """Exact refits of a pipeline without sets of rows.

    Parameters
    ----------
    ahead : Removals
        Refits of the pipeline's last step.
    hessian_solver : str or HessianSolver
        Solver for the Hessian, as in public methods.

    Attributes
    ----------
    full : Base
        Optimum of the last step for all rows.
    """

    def __init__(self, ahead, hessian_solver):
        self.ahead, self.hessian_solver = ahead, hessian_solver
        self.problem, self.full = ahead.problem, ahead.full

    def refit(self, rows, start):
        """Return the `WholeFit` without some rows, or None if there is no model.

        The refit starts from the fitted pipeline, whatever `start` is.
        """
        rows = np.asarray(rows, dtype=np.intp)
        kept = np.delete(np.arange(self.problem.data.n_rows), rows)
        if not self.problem.objective.sample_weight[kept].any():
            return None
        try:
            refit = self.problem.without(rows, "exact")
        except ValueError:  # from a step or the model, which the remaining rows do not allow
            return None
        return None if refit is None else WholeFit(self, refit, rows, kept)

    def params(self, fit):
        """Return the public parameters of a `WholeFit`, (p,)."""
        return fit.params

    def stage_effects(self, V, sample):
        """Return the first-order change that comes through the steps before the model, (n,).

        Parameters
        ----------
        V : ndarray of shape (K, D)
            Gradient of the target in the parameters.
        sample : Sample or None
            The rows at which the target is evaluated.
        """
        problem, objective = self.problem, self.problem.objective
        none = np.zeros(objective.n_rows)
        # Only the order depends on it, and for a loss with kinks the path of optima gives it.
        if problem.formulation.loss.is_piecewise_linear:
            return none
        try:
            if not problem.gamma_moves and not problem.chain.has_influence:
                return none
            extra = problem.sweep(self.hessian_solver).extra(V[None], [sample])[0]
        except UnsupportedEstimatorError:  # a step has no derivative
            return none
        return -np.nan_to_num(extra) * objective.sample_weight / objective.weight_sum


class WholeRelabels(WholeRemovals):
    """Exact refits of a pipeline with new labels for sets of rows."""

    def refit(self, rows, start):
        """Return the `WholeFit` with the new labels of some rows, or None if there is none."""
        rows, problem = np.asarray(rows, dtype=np.intp), self.problem
        y, new = np.asarray(problem.data.y), problem.decode(self.ahead.target_new[rows])
        y = y.astype(np.result_type(y, new))
        y[rows] = np.reshape(new, y[rows].shape)
        weight = problem.objective.sample_weight
        try:
            refit = problem.refit(replace(problem.data, y=y), weight, "exact")
        except ValueError:  # from a step or the model, which these labels do not allow
            return None
        kept = np.arange(len(weight))
        return None if refit is None else WholeFit(self, refit, kept[:0], kept)

    def stage_effects(self, V, sample):
        return np.zeros(self.problem.objective.n_rows)


class WholeFit:
    """A pipeline fitted without some rows.

    Parameters
    ----------
    removals : WholeRemovals
        Where it comes from.
    refit : Refit
        The refit.
    rows, kept : ndarray of int
        The rows that it lacks, and those that it has.
    """

    def __init__(self, removals, refit, rows, kept):
        self.removals, self.refit, self.rows, self.kept = removals, refit, rows, kept

    @cached_property
    def params(self):
        """Parameters at the positions of the fitted pipeline, NaN if the refit lacks one."""
        return self.removals.problem.matched(self.refit, self.rows)

    def position(self, j):
        """Return the position in the refit of parameter j, -1 if it has none."""
        return self.removals.problem.positions(self.refit)[j]

    @cached_property
    def base(self):
        """The base at the refit of the last step."""
        model = self.refit.model
        solver = get_solver(self.removals.hessian_solver, model.objective)
        point = model.objective.at(model.theta)
        return removal.Base.at(point, solver.factorise(point), solver)


def whole_goal(goal, removals):
    """Return the goal of the last step as one of the pipeline."""
    if isinstance(goal, SignificanceGoal):
        return _WholeSignificance(goal, removals)
    full = removals.full
    params = full.point.objective.formulation.layout.to_public(full.theta)
    sample = sample_of(goal.functional, params)
    moved = removals.stage_effects(goal.gradient(full), sample)
    return _WholeFunctional(goal, removals, moved)


class _WholeGoal(Goal):
    """A target of a pipeline.

    Values are those of a `WholeFit`. Predictions are those of the last step, and take a
    `Base`.

    Parameters
    ----------
    goal : Goal
        The target of the last step.
    removals : WholeRemovals
        Refits of the pipeline.
    moved : ndarray of shape (n,) or float, default=0.0
        The first-order change that comes through the steps before the model.
    """

    def __init__(self, goal, removals, moved=0.0):
        self.goal, self.ahead, self.moved = goal, removals.ahead, moved
        self.before, self.direction = goal.before, goal.direction

    def first_order(self, base, removals):
        return self.goal.first_order(base, self.ahead) + self.moved

    def one_step(self, base, removals):
        return self.goal.one_step(base, self.ahead) + self.moved

    def gap(self, base):
        return self.goal.gap(base)

    def flipped_ahead(self, base):
        """Return whether the last step alone has crossed the threshold."""
        return self.goal.flipped(base)


class _WholeFunctional(_WholeGoal):
    """The value of a functional for the whole pipeline."""

    def value(self, fit):
        functional = self.goal.functional
        if hasattr(functional, "of_refit"):
            return functional.of_refit(fit.refit).value(fit.refit.model.params)
        return functional.value(fit.params)

    def critical(self, fit):
        return float(self.goal.threshold)


class _WholeSignificance(_WholeGoal):
    """A parameter divided by its standard error in the refit of the pipeline.

    The order of the rows is that of the last step: the steps move the parameter and its
    standard error together.
    """

    def value(self, fit):
        goal = self._goal_of(fit)
        return np.nan if goal is None else goal.value(fit.base)

    def critical(self, fit):
        goal = self._goal_of(fit)
        return np.nan if goal is None else goal.critical(fit.base)

    def flipped(self, fit):
        goal = self._goal_of(fit)
        return goal is not None and goal.flipped(fit.base)

    def _goal_of(self, fit):
        """Return the goal for the refit's last step, None if it lacks the parameter."""
        position = fit.position(self.goal.position)
        return None if position < 0 else self.goal.in_refit(position, fit.base, fit.kept)
