"""The models without growing sets of rows, as a search among such sets needs them.

A base is a model at its optimum from which further rows can be removed. Models of smooth
losses get there by Newton's method. Models of losses with kinks follow the path of optima on
their active sets.
"""

import numpy as np

from skinfluence import active_set, convergence, existence, influence, removal
from skinfluence.exceptions import SingularHessianError, UnsupportedEstimatorError
from skinfluence.groups import Groups
from skinfluence.solvers import get_solver

__all__ = ["make_removals"]


def make_removals(problem, hessian_solver, n_jobs):
    """Return the `Removals` of a fitted estimator.

    Parameters
    ----------
    problem : Problem
        The problem of the fitted estimator.
    hessian_solver : str or HessianSolver
        As users pass it.
    n_jobs : int or None
        Number of joblib threads for scoring.
    """
    if not problem.estimator._has_objective:
        raise UnsupportedEstimatorError(
            f"most_influential_set of {problem.name}: the search goes from optimum to optimum "
            "of an objective, and this model has its parameters in closed form. Use "
            "leave_out_params(groups) of the sets in question, which is exact."
        )
    kinks = problem.formulation.loss.is_piecewise_linear
    return (KinkRemovals if kinks else Removals)(problem, hessian_solver, n_jobs)


class Removals:
    """Exact refits without sets of rows, of a model with a smooth loss.

    Attributes
    ----------
    full : Base
        The optimum of all rows.
    """

    def __init__(self, problem, hessian_solver, n_jobs):
        self.problem = problem
        self.objective = problem.objective
        self.solver = get_solver(hessian_solver, self.objective)
        self.n_jobs = n_jobs
        with problem.naming_directions():
            self.full = self._start()

    def check_significance(self):
        """Raise if a parameter of the model has no standard error."""
        if self.objective.design.has_metric:
            raise UnsupportedEstimatorError(
                "significance needs the standard error of a parameter, and dual coefficients "
                f"of {self.problem.name} have none: the Hessian is singular if the "
                "kernel matrix is. Use a functional as target, or a linear model."
            )

    def refit(self, rows, start):
        """Return the base without some rows, from another base; None if there is none."""
        group = Groups(self.objective.n_rows, [np.asarray(rows, dtype=np.intp)])
        reduced = self.objective.without(group.members[0])
        empty = removal.groups_without_optimum(self.objective, group)
        if empty or not reduced.sample_weight.any():
            return None
        try:
            return self._optimum(reduced, start)
        except SingularHessianError:
            return None

    def without_one_more(self, base, emit):
        """Call `emit(indices, theta)` with the parameters without one more row."""
        removal.leave_out(
            base,
            Groups(self.objective.n_rows),
            removal.ONE_STEP,
            lambda indices, _rows, theta: emit(indices, theta),
            n_jobs=self.n_jobs,
        )

    def change(self, base, V):
        """Return the change of a scalar with gradient V (K, D) without each row, (n,).

        By one Newton step, or its counterpart on the active set.
        """
        full = base.theta + base.correction
        change = np.empty(self.objective.n_rows)

        def emit(indices, theta):
            change[indices] = np.tensordot(theta - full, V, 2)

        self.without_one_more(base, emit)
        return change

    def first_order(self, base, V):
        """Return -(w_i/S) I of each row on a scalar with gradient V (K, D), (n,)."""
        objective = base.point.objective
        moved = influence.influence_on(base.point, base.plain_factor, V[None])[0]
        return -objective.sample_weight / objective.weight_sum * moved

    def _start(self):
        """Return the base of all rows."""
        base = self._at_optimum(self.objective, self.problem.theta)
        if base is None:
            raise ValueError(
                "Newton's method did not reach the optimum of the training objective: call "
                "polish(), or strengthen the penalty."
            )
        return base

    def _optimum(self, objective, start):
        return self._at_optimum(objective, start.theta)

    def _at_optimum(self, objective, theta):
        polished = convergence.polish(objective, theta, self.solver, tol=1e-11, max_iter=100)
        if not polished.converged:
            return None
        doubtful = existence.may_lack_minimum(objective, polished.correction)
        if doubtful and existence.recession_direction(objective, polished.theta) is not None:
            return None
        point = objective.at(polished.theta)
        return removal.Base.at(point, self.solver.factorise(point), self.solver)


class KinkRemovals(Removals):
    """The same of a model that kinks hold, by the path of optima on its active sets.

    Where a path does not arrive, as with repeated rows, scikit-learn refits.
    """

    def check_significance(self):
        super().check_significance()
        raise UnsupportedEstimatorError(
            f"significance needs the standard error of a parameter, and {self._name} has "
            f"none: its loss has no curvature but in its kinks. Use {self._remedy()}."
        )

    def first_order(self, base, V):
        # The derivative of a held row is 0, while its removal may move the model most.
        return self.change(base, V)

    def _start(self):
        point = active_set.evaluate(self.objective, self.problem.theta)
        if not np.isfinite(point.misfit):
            point = active_set.evaluate(self.objective, self._refitted(self.objective))
        if not np.isfinite(point.misfit):
            raise ValueError(
                f"No optimum of {self._name} was found from the fit, nor from a refit of "
                f"scikit-learn. Use {self._remedy()}."
            )
        return self._base(point)

    def _optimum(self, objective, start):
        outputs = range(len(start.theta))
        theta, arrived = active_set.follow(start.point, objective, outputs)
        if not arrived:
            theta = self._refitted(objective)
        return self._base(active_set.evaluate(objective, theta))

    def _base(self, point):
        return removal.ActiveSetBase(point, self.solver, self.problem.refitted_theta)

    def _refitted(self, objective):
        """Return the parameters (K, D) of scikit-learn's own refit."""
        return objective.formulation.layout.from_public(self.problem.refit_on(objective))

    @property
    def _name(self):
        return self.problem.name

    def _remedy(self):
        """Return the way to a smooth loss."""
        if hasattr(self.problem.estimator, "smooth"):
            return "smooth().polish(), a model with a smooth hinge"
        if hasattr(self.problem.estimator, "loss"):
            return f"loss='squared_{self.problem.estimator.loss}'"
        return "skinfluence.kernel_ridge.KernelRidge, whose loss is smooth"
