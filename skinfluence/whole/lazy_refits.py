"""Removal of groups of rows in dask arrays through steps that learn sums or extremes.

Without a group, each step that learns is fitted again from summaries of the chunks, on the
rows that the refitted steps before it return. Then Newton's method goes from the present
parameters to the optimum on the new features. All of this takes passes over the rows.
"""

import numpy as np
from sklearn.utils import check_array

from skinfluence import distributed
from skinfluence.design import make_design
from skinfluence.exceptions import UnsupportedEstimatorError, warn
from skinfluence.problem.requests import NEW
from skinfluence.removal.optimum import optimum_from
from skinfluence.solvers import get_solver
from skinfluence.stages.registry import learns_from_rows
from skinfluence.stages.summaries import fit_from, has_summary, join, summarise
from skinfluence.steps import through
from skinfluence.whole.data import take_rows
from skinfluence.whole.lazy_sweep import LazySteps

__all__ = ["GroupRefits"]


class GroupRefits(LazySteps):
    """Removal of groups from a pipeline on dask arrays by refits of its steps.

    Every method is "exact", because each step of Newton's method takes a pass at any rate.
    """

    #: The methods that it answers.
    METHODS = (
        "leave_out_loss",
        "leave_out_metric",
        "leave_out_params",
        "leave_out_predict",
        "leave_out_score",
    )

    @staticmethod
    def takes(steps):
        """Return whether every step that learns can be fitted again from summaries."""
        return all(has_summary(step) for step in steps if learns_from_rows(step))

    def leave_out_params(self, request, output=NEW, *, return_bound=False):
        if return_bound:
            self.refuse_dask("leave_out_params with return_bound=True")
        request = self.resolve(request)
        out = output.prepare((len(request.groups), self.layout.size))
        out[:] = np.nan
        for group, _, theta in self.refits(request):
            out[group] = self.layout.to_public(theta[None])[0]
        return out

    def lazy_losses(self, X, y, request, output):
        self.refuse_dask("leave_out_loss of queries", X, y, training=False)
        form, request = self.formulation, self.resolve(request)
        _, target = self.check_samples(form, X, y)
        out = output.prepare((len(target), len(request.groups)))
        out[:] = np.nan
        for group, steps, theta in self.refits(request):
            out[:, group] = form.loss.loss(target, self.raw_through(steps, theta, X))
        return out

    def scores_without(self, metric, X, request):
        if metric.needs_model:
            self.refuse_dask("leave_out_metric with a function of models")
        scores = metric.table(len(request.groups))
        for group, steps, theta in self.refits(request):
            scores.add_raw(group, self, self.raw_through(steps, theta, X))
        return scores

    def lazy_raw_without(self, request):
        request = self.resolve(request)
        owner, models = request.groups.partition(), [None] * len(request.groups)
        for group, steps, theta in self.refits(request):
            models[group] = steps, theta
        lost = np.flatnonzero([models[group] is None for group in owner])
        samples, trailing = self.objective.samples, (len(self.theta),)
        ends = zip(samples.starts, samples.lengths, strict=True)
        own = [(X, owner[i : i + m]) for X, (i, m) in zip(self.rows, ends, strict=True)]
        tasks = self.objective.map(_raw_of_groups, models, len(self.theta), own=own)
        return distributed.join_rows(tasks, samples.lengths, trailing), lost

    # ---------------------------------------------------------------- refits

    def resolve(self, request):
        names = ", ".join(type(step).__name__ for step in self.steps if learns_from_rows(step))
        if request.method == "influence":
            raise UnsupportedEstimatorError(
                f"method='influence' of dask arrays through {names}: use method='exact', or "
                "influence_params for the first-order changes."
            )
        request = super().resolve(request)
        if request.groups.members is None:
            raise UnsupportedEstimatorError(
                f"Removal of every sample of dask arrays would fit {names} again for each, by "
                "passes over all rows: pass the samples of interest as groups, such as "
                "groups=[[3], [17]], or freeze the steps with sklearn.frozen.FrozenEstimator."
            )
        return request

    def refits(self, request):
        """Generate (group, refitted steps, theta) for the groups that leave a model."""
        groups, lost = request.groups, []
        for group in range(len(groups)):
            found = self.refit_without(groups.rows(group), request.hessian_solver)
            if found is None:
                lost.append(groups.name(group))
            else:
                yield group, *found
        if lost:
            warn(
                f"{len(lost)} of {len(groups)} group(s) leave no model, because the steps "
                "return other features then, or the objective has no optimum; their results "
                f"are NaN: {', '.join(lost[:5])}."
            )

    def refit_without(self, rows, hessian_solver):
        """Return (steps, theta) without some rows, None if there is no such fit."""
        objective, steps = self.objective, []
        places = [one[one >= 0] for one in objective.samples.places(np.asarray(rows))]
        own = list(zip(self.rows, places, strict=True))
        for step in self.steps:
            if learns_from_rows(step):
                tasks = objective.map(_summary, steps, step, own=own)
                task = distributed.reduce_tasks(_joined, tasks, step)
                step = fit_from(step, *distributed.in_memory(task))
            if step is None:
                return None
            steps.append(step)
        X = through(steps, self.before(self.data.X), self.estimator)
        reduced = objective.with_features(X).without(rows)
        solver = get_solver(hessian_solver, reduced)
        try:
            optimum = optimum_from(reduced, self.theta, solver)
        except np.linalg.LinAlgError:
            return None
        theta = optimum.point.theta
        return (steps, theta) if optimum.converged and np.isfinite(theta).all() else None

    def raw_through(self, steps, theta, X):
        """Return raw predictions (q, K) of a refit for samples in memory."""
        fit_intercept = self.layout.fit_intercept
        return _raw_through(steps, theta, fit_intercept, self.before(X))


# Functions that run in tasks.


def _summary(objective, own, steps, step):
    X, gone = own
    kept = np.delete(np.arange(objective.n_rows), gone)
    if not len(kept):
        return None
    X = take_rows(X, kept)
    for earlier in steps:
        X = earlier.transform(X)
    return summarise(step, X)


def _joined(summaries, step):
    summaries = [summary for summary in summaries if summary is not None]
    return join(step, summaries) if summaries else None


def _raw_through(steps, theta, fit_intercept, X):
    for step in steps:
        X = step.transform(X)
    return make_design(check_array(X, accept_sparse="csr"), fit_intercept).predict(theta)


def _raw_of_groups(objective, own, models, n_scores):
    X, owner = own
    out = np.full((objective.n_rows, n_scores), np.nan)
    for group in np.unique(owner):
        if models[group] is not None:
            rows = np.flatnonzero(owner == group)
            part, fit_intercept = take_rows(X, rows), objective.design.fit_intercept
            out[rows] = _raw_through(*models[group], fit_intercept, part)
    return out
