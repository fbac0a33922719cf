"""The whole fit of a kernel estimator whose gamma="scale" depends on the training samples.

The kernel, with gamma = 1/(d var(X)), is the only stage before the model. Without some samples
the kernel changes, so removal refits the model on the remaining samples.
"""

import copy
from dataclasses import replace
from functools import cached_property

import numpy as np
from scipy.sparse import issparse

from skinfluence.groups import check_indices
from skinfluence.kernels import Basis, KernelDesign
from skinfluence.problem import Problem
from skinfluence.problem.requests import NEW
from skinfluence.solvers.update import GroupUpdate
from skinfluence.steps import row_names
from skinfluence.whole.data import TrainingData
from skinfluence.whole.diagnostics import WholeCovariance, WholeDiagnostics
from skinfluence.whole.influence import WholeInfluence
from skinfluence.whole.refits import KernelRefit
from skinfluence.whole.removal import WholeRemoval
from skinfluence.whole.sweep import GammaSweep


class GammaProblem(WholeInfluence, WholeRemoval, WholeDiagnostics, Problem):
    """The problem for a kernel estimator alone, with a gamma that moves."""

    is_whole = True
    #: The steps before the model, and the words of the first one: none.
    steps, words = (), None

    @property
    def data(self):
        """The estimator's `TrainingData`, as checked by its `fit`."""
        return TrainingData(self.objective.design.basis.X, self.training_target, {})

    @property
    def pipe(self):
        """The estimator; other problems have their pipeline here."""
        return self.estimator

    def sweep(self, hessian_solver):
        """Return the sweep at the estimator's current parameters."""
        state = self.influence_state(hessian_solver, quiet=True)
        return GammaSweep(state.point, state.factor, self)

    def influence_perturbation(self, X, y, *, index, hessian_solver="auto"):
        # The next class in the method resolution order computes it for a fixed kernel.
        fixed = super(WholeInfluence, self).influence_perturbation(
            X, y, index=index, hessian_solver=hessian_solver
        )
        query, (row,) = self.check_query(X, y), check_indices(index, self.n_rows, "index")
        samples = self.one_by_one(X, query)
        return fixed + self.sweep(hessian_solver).along_row(query.toarray(), samples, row)

    def warn_of_weights(self):
        if not self.parameters.gamma_by_weight and not self.objective.drawn:
            super().warn_of_weights()

    def leave_out_params(self, request, output=NEW, *, return_bound=False):
        if return_bound:
            self.check_bounded(self.objective)  # raises with the reason
        return super().leave_out_params(request, output)

    def refuse_supervised(self, method):
        """Do nothing, because the kernel does not depend on the targets."""

    def check_refits(self, *, of_removal=True):
        """Do nothing, because a refit's kernel depends on the samples alone."""

    def refit_steps(self, rows, method):
        """Return the `KernelRefit` without some samples, None if there is no model.

        With a smooth loss, Newton steps start from the optimum with the present kernel. If
        they fail or the loss has kinks, the estimator's solver fits the model.
        """
        smooth = not self.formulation.loss.is_piecewise_linear
        model = self.near(rows, method) if smooth and method != "refit" else None
        if model is None:
            return super().refit_steps(rows, method)
        return KernelRefit(self, model)

    def near(self, rows, method):
        """Return the problem without some samples after Newton steps, None if they fail."""
        reduced = self.objective.without(rows)
        kept = np.delete(np.arange(self.n_rows), rows)
        if not self.has_every_class(self.training_target[kept], reduced.sample_weight[kept]):
            return None
        kernel = self.kernel_without(rows)
        basis = Basis(kernel, reduced.design.basis.X)
        design = KernelDesign(basis, reduced.design.fit_intercept)
        moved = replace(reduced, design=design)
        factor = _Without(self.factor, rows)
        found = self.descend(moved, self.theta, method, None, factor)
        if found is None:
            return None
        objective, theta = self.parameters.take_rows(moved, found[0], kept)
        fresh = self.of(copy.copy(self.estimator))
        vars(fresh.estimator).pop("feature_names_in_", None)
        self.parameters.keep_kernel(fresh.estimator, kernel)
        fresh.replace_objective(objective, theta)
        return fresh

    @cached_property
    def factor(self):
        """H^-1 for nearby refits with a smooth loss."""
        return self.state("auto", quiet=True).factor

    def kernel_without(self, rows):
        """Return the kernel whose gamma is that of the other samples."""
        kernel, (first, second) = self.objective.design.basis.kernel, self._moments
        u = np.ones(self.n_rows)
        if self.parameters.gamma_by_weight:
            u = self.objective.sample_weight.copy()
        u[rows] = 0.0
        variance = np.average(second, weights=u) - np.average(first, weights=u) ** 2
        d = self.objective.design.basis.X.shape[1]
        gamma = 1.0 / (d * variance) if variance > 0 else 1.0
        return replace(kernel, params=kernel.params | {"gamma": float(gamma)})

    @cached_property
    def _moments(self):
        """Mean and mean square over each row of X less the mean of X, two arrays (n,)."""
        X = self.objective.design.basis.X
        X = np.asarray(X.toarray() if issparse(X) else X, dtype=np.float64)
        X = X - X.mean()
        return X.mean(axis=1), (X * X).mean(axis=1)

    def refit(self, data, weight, method):
        """Return the `KernelRefit` on other data, None if there is no model."""
        if method == "refit":
            model = self.refit_by_solver(data.X, data.y, weight)
        else:
            model = self.refit_near(data.X, data.y, weight, method)
        return None if model is None else KernelRefit(self, model)

    def as_pipeline(self, refit):
        """Return the refitted estimator, None if there is none."""
        if refit is None:
            return None
        fresh, names = refit.model.estimator, vars(self.estimator).get("feature_names_in_")
        if names is not None:
            fresh.feature_names_in_ = names
        return fresh

    def add_samples(self, X, y, sample_weight=None, **options):
        before, added = self.index, row_names(X)
        index = before.append(added) if before is not None and added is not None else None
        super().add_samples(X, y, sample_weight, **options)
        self.name_rows(index)

    def remove_samples(self, indices, **options):
        index = self.index
        if index is not None:
            rows = check_indices(indices, self.n_rows)
            index = index[np.delete(np.arange(self.n_rows), rows)]
        super().remove_samples(indices, **options)
        self.name_rows(index)

    def become(self, refit, data):
        """Turn the estimator into its refit, in place."""
        vars(self.estimator).update(vars(self.as_pipeline(refit)))
        self.forget_state()


class _Without:
    """H^-1 without some rows, with the kernel of all rows.

    Newton steps with it leave a small share of the distance to the optimum, because the kernel
    changes little. With the rows, they would not contract if the rows' leverage is large.

    Parameters
    ----------
    factor : Factor
        H^-1 with the rows.
    rows : ndarray of int
        The rows.
    """

    def __init__(self, factor, rows):
        self.factor, self.point = factor, factor.point
        rows = np.asarray(rows)
        x, W = self.point.objective.design.take(rows).rows(), self.point.curvature(rows)
        self.update = GroupUpdate(factor, x[None], -W[None], rows=rows[None])

    def solve(self, V):
        """Return H^-1 V for one vector (1, K, D)."""
        return self.update.correct(self.factor.solve(V))


def is_of_whole_fit(method):
    """Return whether a method takes the whole fit into account."""
    chapters = (WholeInfluence, WholeRemoval, WholeCovariance, WholeDiagnostics)
    return any(hasattr(chapter, method) for chapter in chapters)


def gamma_problem(estimator, method=None):
    """Return a kernel estimator's problem for a method."""
    problem = Problem(estimator)
    moves = method is not None and is_of_whole_fit(method) and problem.gamma_moves
    return GammaProblem(estimator) if moves else problem
