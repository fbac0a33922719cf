"""Removal of groups of rows in dask arrays through steps that learn sums or extremes.

Without a group, each step that learns is fitted again from summaries of the chunks, on the
rows that the refitted steps before it return. Then Newton's method goes from the present
parameters to the optimum on the new features. All of this takes passes over the rows.
"""

import numpy as np
from sklearn.utils import check_array

from skinfluence import distributed, removal
from skinfluence.checks import check_option, check_refine, prepare_out
from skinfluence.design import make_design
from skinfluence.exceptions import UnsupportedEstimatorError, warn
from skinfluence.problem.metrics import Metric
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

    def leave_out_params(self, groups=None, *, cv=None, return_bound=False, **options):
        if return_bound:
            self.refuse_dask("leave_out_params with return_bound=True")
        groups = self.resolve(groups, cv, **options)
        out = prepare_out(
            options.get("out"), (len(groups), self.layout.size), options.get("dtype")
        )
        out[:] = np.nan
        for group, _, theta in self.refits(groups, **options):
            out[group] = self.layout.to_public(theta[None])[0]
        return out

    def leave_out_loss(self, X, y, groups=None, *, cv=None, **options):
        self.refuse_dask("leave_out_loss of queries", X, y, training=False)
        form, groups = self.formulation, self.resolve(groups, cv, **options)
        _, target = self.check_samples(form, X, y)
        out = prepare_out(options.get("out"), (len(target), len(groups)), options.get("dtype"))
        out[:] = np.nan
        for group, steps, theta in self.refits(groups, **options):
            out[:, group] = form.loss.loss(target, self.raw_through(steps, theta, X))
        return out

    def leave_out_metric(
        self, X, y, *, scoring=None, groups=None, cv=None, sample_weight=None, **options
    ):
        self.refuse_dask("leave_out_metric", X, y, sample_weight, training=False)
        groups = self.resolve(groups, cv, **options)
        metric = Metric(self, X, y, scoring, sample_weight)
        if metric.needs_model:
            self.refuse_dask("leave_out_metric with a function of models")
        scores = metric.table(len(groups))
        for group, steps, theta in self.refits(groups, **options):
            scores.add_raw(group, self, self.raw_through(steps, theta, X))
        return scores.result

    def leave_out_predict(self, groups=None, *, cv=None, response_method="predict", **options):
        self.check_left_out_response(response_method)
        raw, lost = self.lazy_raw_of_groups(groups, cv, **options)
        if response_method == "predict":
            self.check_labelled(lost)
        return self.lazy_respond(raw, response_method)

    def raw_without(self, groups, cv, method, refine, hessian_solver, n_jobs, verbose):
        options = {"method": method, "refine": refine, "hessian_solver": hessian_solver}
        return np.asarray(self.lazy_raw_of_groups(groups, cv, **options)[0])

    def lazy_raw_of_groups(self, groups, cv, **options):
        """Return each row's raw prediction without its group, (n, K), and rows without one."""
        groups = self.resolve(groups, cv, **options)
        owner, models = groups.partition(), [None] * len(groups)
        for group, steps, theta in self.refits(groups, **options):
            models[group] = steps, theta
        lost = np.flatnonzero([models[group] is None for group in owner])
        objective, rows = self.objective, self.rows
        ends = zip(objective.samples.starts, objective.samples.lengths, strict=True)
        own = [(X, owner[i : i + m]) for X, (i, m) in zip(rows, ends, strict=True)]
        tasks = objective.map(_raw_of_groups, models, len(self.theta), own=own)
        lengths, trailing = objective.samples.lengths, (len(self.theta),)
        return distributed.join_rows(tasks, lengths, trailing), lost

    # ---------------------------------------------------------------- refits

    def resolve(self, groups, cv, *, method="newton", refine=None, **options):
        """Check the arguments and return the selected `Groups`."""
        check_option("method", method, removal.METHODS)
        check_refine(refine, method)
        names = ", ".join(type(step).__name__ for step in self.steps if learns_from_rows(step))
        if method == "influence":
            raise UnsupportedEstimatorError(
                f"method='influence' of dask arrays through {names}: use method='exact', or "
                "influence_params for the first-order changes."
            )
        groups, objective = self.groups_for(groups, cv), self.objective
        if groups.members is None:
            raise UnsupportedEstimatorError(
                f"{names} of dask arrays: without each single sample they are fitted again, "
                "by passes over all rows. A group takes as many: give the samples of interest "
                "as groups, such as groups=[[3], [17]], or freeze the steps with "
                "sklearn.frozen.FrozenEstimator."
            )
        if groups.sizes().max(initial=0) >= objective.n_weighted:
            groups.check_leaves_weight(objective.samples.weights())
        return groups

    def refits(self, groups, *, hessian_solver="auto", **options):
        """Generate (group, refitted steps, theta) for the groups that leave a model."""
        lost = []
        for group in range(len(groups)):
            found = self.refit_without(groups.rows(group), hessian_solver)
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
