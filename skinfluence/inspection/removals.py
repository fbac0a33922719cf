"""Refits without growing sets of rows, for the search for influential sets.

A base is a model at an optimum, from which more rows can be removed. If the loss is smooth,
Newton's method finds the optimum. If the loss has kinks, the model follows the path of optima
on its active sets.
"""

import numpy as np

from skinfluence import active_set, existence, influence, removal
from skinfluence.exceptions import SingularHessianError, UnsupportedEstimatorError
from skinfluence.groups import Groups
from skinfluence.inspection.goals import layout_of, refit_theta
from skinfluence.optimum import polish
from skinfluence.problem.kinds import kind_of
from skinfluence.solvers import get_solver


def check_newton(problem, does):
    """Raise if Newton's method does not lead to optima of a model.

    Parameters
    ----------
    problem : Problem
        Problem of the fitted estimator.
    does : str
        Beginning of the message: the caller and its action.
    """
    if not problem.has_objective:
        why = "has its parameters in closed form"
    elif problem.formulation.loss.is_piecewise_linear:
        why = "has a loss with kinks"
    else:
        return
    raise UnsupportedEstimatorError(
        f"{does} by Newton's method, and {problem.name} {why}. Use a model with a smooth "
        "loss, such as LogisticRegression or smooth().polish() of an SVC, of a pipeline's "
        "step pipe[-1].smooth().polish()."
    )


def make_removals(problem, hessian_solver, n_jobs):
    """Return the `Removals` for a fitted estimator.

    Parameters
    ----------
    problem : Problem
        Problem of the fitted estimator.
    hessian_solver : str or HessianSolver
        Solver for the Hessian, as in public methods.
    n_jobs : int or None
        Number of joblib threads for scoring.
    """
    if not problem.has_objective:
        raise UnsupportedEstimatorError(
            f"most_influential_set of {problem.name}: the search goes from optimum to optimum "
            "of an objective, and this model has its parameters in closed form. Use "
            "leave_out_params(groups) of the sets in question, which is exact."
        )
    kinks = problem.formulation.loss.is_piecewise_linear
    return (KinkRemovals if kinks else Removals)(problem, hessian_solver, n_jobs)


def weighted_influence(base, V, rows=None):
    """Return (w_i/S) I_i, (n,), with the influence I_i on a scalar with gradient V (K, D).

    Gradients of other terms than those of the objective are given as `rows`.
    """
    objective = base.point.objective
    on = influence.influence_on(base.point, base.plain_factor, V[None], rows=rows)[0]
    return objective.sample_weight / objective.weight_sum * on


class Removals:
    """Exact refits without sets of rows, for a model with a smooth loss.

    Attributes
    ----------
    full : Base
        Optimum for all rows.
    """

    #: Cheaper refits that decide on the order of the rows, None for these.
    ahead = None

    def __init__(self, problem, hessian_solver, n_jobs):
        self.problem = problem
        self.objective = problem.objective
        self.solver = get_solver(hessian_solver, self.objective)
        self.n_jobs = n_jobs
        with problem.naming_directions():
            self.full = self.start_base()

    def check_significance(self):
        """Raise if a parameter of the model has no standard error."""
        if self.objective.design.has_metric:
            raise UnsupportedEstimatorError(
                "significance needs the standard error of a parameter. The dual coefficients "
                f"of {self.problem.name} have none, because their Hessian is singular if the "
                "kernel matrix is. Use a functional as target, or a linear model."
            )

    def refit(self, rows, start):
        """Return the base without some rows, or None if no optimum was found.

        The refit starts from another base.
        """
        group = Groups(self.objective.n_rows, [np.asarray(rows, dtype=np.intp)])
        reduced = self.objective.without(group.members[0])
        empty = removal.groups_without_optimum(self.objective, group)
        if empty or not reduced.sample_weight.any():
            return None
        return self.base_at_optimum(reduced, start)

    def params(self, base):
        """Return the public parameters of a refit, (p,)."""
        return layout_of(self.full).to_public(refit_theta(base))

    def without_one_more(self, base, emit):
        """Call `emit(indices, theta)` with the parameters after one more row is removed.

        The parameters come from one Newton step, or one step on the active set.
        """
        removal.leave_out(
            base,
            Groups(self.objective.n_rows),
            removal.ONE_STEP,
            lambda indices, _rows, theta: emit(indices, theta),
            n_jobs=self.n_jobs,
        )

    def change(self, base, V):
        """Return the change in a scalar with gradient V (K, D) without each row, (n,).

        The change comes from one Newton step, or one step on the active set.
        """
        full = base.theta + base.correction
        change = np.empty(self.objective.n_rows)

        def emit(indices, theta):
            change[indices] = np.tensordot(theta - full, V, 2)

        self.without_one_more(base, emit)
        return change

    def first_order(self, base, V):
        """Return the first-order change in a scalar with gradient V without each row, (n,)."""
        return -weighted_influence(base, V)

    def start_base(self):
        """Return the base for all rows."""
        base = self._at_optimum(self.objective, self.problem.theta)
        if base is None:
            raise ValueError(
                "Newton's method did not reach the optimum of the training objective. Call "
                "polish(), or use a stronger penalty."
            )
        return base

    def base_at_optimum(self, objective, start):
        """Return the base at another objective's optimum, None if it was not found."""
        try:
            return self.follow(objective, start)
        except SingularHessianError:
            return None

    def follow(self, objective, start):
        """Return the base at another objective's optimum, from the one of `start`."""
        return self._at_optimum(objective, start.theta)

    def _at_optimum(self, objective, theta):
        kind = kind_of(self.problem, objective.formulation)
        objective, theta = kind.start_of_polish(objective, theta)
        polished = polish(objective, theta, self.solver, tol=1e-11, max_iter=100)
        try:
            settled, theta = kind.settle(objective, polished.theta)
        except ValueError:
            return None
        if settled is not objective:
            objective = settled
            polished = polish(objective, theta, self.solver, tol=1e-11, max_iter=100)
        if not polished.converged:
            return None
        theta, step = polished.theta, polished.correction
        if existence.recession_direction(objective, theta, step) is not None:
            return None
        point = objective.at(theta)
        return removal.Base.at(point, self.solver.factorise(point), self.solver)


class KinkRemovals(Removals):
    """Exact refits without sets of rows, for a loss with kinks.

    A refit follows the path of optima on the active sets. If the path does not reach its end,
    for example because rows are repeated, scikit-learn refits the model.
    """

    def check_significance(self):
        super().check_significance()
        raise UnsupportedEstimatorError(
            "significance needs the standard error of a parameter. "
            f"{self.problem.name} has none, because its loss has no curvature except at "
            f"kinks. Use {self._remedy()}."
        )

    def first_order(self, base, V):
        # If a row is held at a kink, its derivative is 0, but its removal may have a large
        # effect.
        return self.change(base, V)

    def start_base(self):
        point = active_set.evaluate(self.objective, self.problem.theta)
        if not np.isfinite(point.misfit):
            point = active_set.evaluate(self.objective, self._refitted(self.objective))
        if not np.isfinite(point.misfit):
            raise ValueError(
                f"No optimum of {self.problem.name} was found, neither from the fit nor from "
                f"a refit by scikit-learn. Use {self._remedy()}."
            )
        return self._base(point)

    def follow(self, objective, start):
        outputs = range(len(start.theta))
        theta, arrived, _ = active_set.follow(start.point, objective, outputs)
        if not arrived:
            theta = self._refitted(objective)
        return self._base(active_set.evaluate(objective, theta))

    def _base(self, point):
        return removal.ActiveSetBase(point, self.solver, self.problem.refitted_theta)

    def _refitted(self, objective):
        """Return the parameters (K, D) after a refit by scikit-learn."""
        return objective.formulation.layout.from_public(self.problem.refit_on(objective))

    def _remedy(self):
        """Return a change to a smooth loss, for error messages."""
        if hasattr(self.problem.estimator, "smooth"):
            return (
                "smooth().polish(), of a pipeline's step pipe[-1].smooth().polish(), a model "
                "with a smooth hinge"
            )
        if hasattr(self.problem.estimator, "loss"):
            return f"loss='squared_{self.problem.estimator.loss}'"
        return "skinfluence.kernel_ridge.KernelRidge, whose loss is smooth"
