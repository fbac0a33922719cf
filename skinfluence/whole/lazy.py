"""The whole fit of a pipeline whose training rows are in dask arrays.

A StandardScaler learns sums over the rows, and changes only the penalty, see `column_scales`.
So every answer comes from the model with this penalty, in the features that the fitted steps
return. Parameters are converted to the features of the refit. Influence also goes through
other steps that learn sums, see `lazy_sweep`. For any other step an error has its name.

Groups leave through steps that learn sums or extremes. Without a group, each step that learns
is fitted again from summaries of the chunks, on the rows that the refitted steps before it
return. Then Newton's method goes from the present parameters to the optimum on the new
features. All of this takes passes over the rows.
"""

import numpy as np
from sklearn.utils import check_array

from skinfluence import diagnostics, distributed
from skinfluence.design import make_design
from skinfluence.diagnostics import ROW_COLUMNS
from skinfluence.exceptions import UnsupportedEstimatorError, warn
from skinfluence.groups import Cases
from skinfluence.optimum import optimum_from
from skinfluence.problem.metrics import Metric
from skinfluence.problem.requests import NEW, PLAIN, Influence, Removal
from skinfluence.solvers import get_solver
from skinfluence.stages.registry import learns_from_rows, moves_with_weights
from skinfluence.stages.scalers import scaled_columns
from skinfluence.stages.summaries import fit_from, has_summary, join, summarise
from skinfluence.steps import acting, innermost, paths_of, steps_of, through
from skinfluence.whole.before import given_names, same_steps
from skinfluence.whole.data import take_rows
from skinfluence.whole.influence import WholeInfluence
from skinfluence.whole.lazy_sweep import LazySteps, OnDaskArrays, SweptProblem, check_training
from skinfluence.whole.problem import PipelineProblem, moving_scaler

# Larger differences between the statistics of the fitted scaler and those of the rows warn.
_SAME = 1e-6

_REMEDY = (
    "Freeze the steps with sklearn.frozen.FrozenEstimator, or call compute() on a part of the "
    "rows and give that to set_training_data."
)


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
                lost.append(group)
            else:
                yield group, *found
        Cases.of_groups(groups).tell(
            lost,
            "there is no model, because the steps return other features then, or the "
            "objective has no optimum; their results are NaN",
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


def lazy_problem(pipe, method):
    """Return the problem for a method of a pipeline's whole fit on rows in dask arrays.

    It is kept as long as nothing changes, because it takes a pass over the rows. Choices and
    extremes of columns have no derivative in the rows' weights. If steps learn nothing else,
    influence takes them as they were fitted. Removal does not.
    """
    kept = vars(pipe).get("_lazy_problem")
    if kept is not None and kept.is_current(method):
        return kept
    last = PipelineProblem(pipe)
    steps = [step for _, step in steps_of(pipe)]
    if hasattr(WholeInfluence, method):
        moving = [j for j, step in enumerate(steps) if moves_with_weights(step)]
        steps = steps[moving[0] :] if moving else []
    learning = [j for j, step in enumerate(steps) if learns_from_rows(step)]
    if not learning:
        return last
    scaler = moving_scaler(steps)
    present = acting(step for _, step in steps_of(pipe))
    if scaler is None and method in SweptProblem.METHODS:
        _check_metadata(last, method)
        return SweptProblem(pipe, present.index(steps[0]))
    if scaler is None and method in GroupRefits.METHODS and GroupRefits.takes(present):
        _check_metadata(last, method)
        return GroupRefits(pipe, present.index(steps[learning[0]]))
    _check_steps(last, steps[learning[0] :], scaler, method)
    objective = last.objective.with_scales(*scaled_columns(scaler))
    _warn_of_other_rows(scaler, objective.scales)
    kept = vars(pipe)["_lazy_problem"] = LazyWholeProblem(last, objective, method)
    return kept


def _check_steps(last, steps, scaler, method):
    """Raise unless the steps, the first of which learns, change the penalty only."""
    names = ", ".join(type(step).__name__ for step in steps)
    if scaler is None:
        raise UnsupportedEstimatorError(
            f"{method} covers the whole fit. For dask arrays it can do so behind a "
            f"StandardScaler, alone or right behind another scaler, but not behind {names}. "
            f"{_REMEDY}"
        )
    _check_metadata(last, method)
    free = last.formulation.layout.fit_intercept and not last.objective.penalty[:, -1].any()
    if scaler.with_mean and not free:
        raise UnsupportedEstimatorError(
            f"{method} of dask arrays does not take {names} before a model without a free "
            "intercept, which would make up for the means: use with_mean=False or "
            f"fit_intercept=True. {_REMEDY}"
        )


def _check_metadata(last, method):
    """Raise if `fit` passed anything but weights of the model to the steps."""
    data = last.data
    of_model = set() if data.routing else {f"{paths_of(last.pipe)[-1]}__sample_weight"}
    given = given_names(data.params) - of_model
    if given:
        raise UnsupportedEstimatorError(
            f"{method} of dask arrays does not take {', '.join(sorted(given))} of the steps "
            f"before the model. {_REMEDY}"
        )


def _warn_of_other_rows(scaler, scales):
    """Warn if the statistics of the fitted scaler are not those of the training rows."""
    moves = scales.variance > 0
    gap = abs(np.sqrt(scales.variance[moves]) - 1.0).max(initial=0.0)
    if scaler.with_mean:
        gap = max(gap, abs(scales.total / scales.count)[: scales.n_features].max())
    if gap > _SAME:
        warn(
            "The StandardScaler was fitted on other rows than the training samples: their "
            f"means or standard deviations differ by {gap:.2g} standard deviations. Results "
            "are those of the present scaler. Its partial_fit takes rows chunk by chunk."
        )


class LazyWholeProblem(OnDaskArrays):
    """The problem for a whole fit on rows in dask arrays.

    Parameters
    ----------
    last : PipelineProblem
        The problem of the last step alone.
    objective : DistributedObjective
        The objective of the last step, with `scales`.
    method : str
        A method that it answers, with the other methods of the same kind.
    """

    def __init__(self, last, objective, method):
        super().__init__(last.as_model(last.on(objective).estimator))
        self.last = last
        self.is_of_influence = hasattr(WholeInfluence, method)
        self.made_for = steps_of(last.pipe), last.objective, last.params

    def is_current(self, method):
        """Return whether this is the problem for a method in the pipeline's present state."""
        steps, objective, params = self.made_for
        if self.is_of_influence != hasattr(WholeInfluence, method):
            return False
        same = innermost(self.last.pipe) is self.last.estimator
        same = same and same_steps(steps, steps_of(self.last.pipe))
        same = same and self.last.objective is objective
        return same and np.array_equal(self.last.params, params)

    # ---------------------------------------------------------------- influence

    def influence_params(self, X=None, y=None, request=PLAIN, output=NEW):
        check_training(X)
        return super().influence_params(None, None, request, output)

    # ---------------------------------------------------------------- removal

    def leave_out_params(self, request, output=NEW, *, return_bound=False):
        groups = self.groups_for(request.groups, request.cv)
        found = super().leave_out_params(request.of(groups), output, return_bound=return_bound)
        if groups.members is None:  # the tasks convert them
            return found
        return self.rescaled(found, groups, request.method)

    def rescaled(self, params, groups, method="newton"):
        """Convert parameters (G, p) without groups to the refitted scales, in place."""
        objective, layout = self.objective, self.layout
        sums = distributed.group_sums(objective, groups.members)
        if method == "influence":
            moved = objective.scales.refit_first_order(sums, self.theta)
            params -= layout.to_public(moved)
            return params
        for number, of_group in enumerate(sums):
            theta = layout.from_public(params[[number]])[0]
            theta = objective.scales.less(of_group).to_refit(theta)
            params[number] = layout.to_public(theta[None])[0]
        return params

    def leave_out_metric(self, X, y, request, *, scoring=None, sample_weight=None):
        self.refuse_dask("leave_out_metric", X, y, sample_weight, training=False)
        if Metric(self, X, y, scoring, sample_weight).needs_model:
            self.refuse_dask("leave_out_metric with a function of models")
        return super().leave_out_metric(
            X, y, request, scoring=scoring, sample_weight=sample_weight
        )

    def resolve(self, request):
        request = super().resolve(request)
        if request.method != "influence":
            self.check_scales(request.groups)
        return request

    def check_scales(self, groups):
        """Raise if the scales lose their digits without a group."""
        lost = distributed.cancelling_groups(self.objective, groups)
        if len(lost):
            raise UnsupportedEstimatorError(
                f"Without {groups.name(lost[0])} almost none of the variance of a feature is "
                "left, and the sums over dask arrays have lost its digits: replace the "
                "outlying value, drop the feature, or call compute() on the rows."
            )

    # ---------------------------------------------------------------- diagnostics

    def lazy_summary(self, hessian_solver):
        on_itself = self.self_influence(Influence(hessian_solver))
        measures = self.lazy_whole_measures("influence_summary", hessian_solver)
        columns = measures.own.columns((), None) | measures.columns()
        columns["self_influence"] = on_itself
        return {name: columns[name] for name in ROW_COLUMNS}

    def lazy_dfbetas(self, state, hessian_solver, dtype):
        measures = self.lazy_whole_measures("dfbetas", hessian_solver)
        scale = diagnostics.inverse_diagonal(state.point, state.factor)
        return measures.dfbetas(scale, state.layout, dtype)

    def dfbetas(self, groups=None, output=NEW, *, hessian_solver="auto", n_jobs=None):
        if groups is None:
            return super().dfbetas(None, output, hessian_solver=hessian_solver)
        state = self.influence_state(hessian_solver)
        layout, groups = state.layout, self.groups_for(groups)
        out = output.prepare((len(groups), layout.size))
        changes = np.empty((len(groups), *self.theta.shape))
        measures, _ = self.measure_groups(
            state, groups, hessian_solver, n_jobs, changes.__setitem__
        )
        params = layout.to_public(measures.theta + changes)
        moves = layout.to_public(measures.theta[None]) - self.rescaled(params, groups)
        scale = diagnostics.inverse_diagonal(state.point, state.factor)
        phi = measures.deleted_dispersion
        out[:] = diagnostics.moves_in_errors(moves, scale, phi, layout)
        return out

    def lazy_whole_measures(self, name, hessian_solver):
        """Return the `RefitMeasures` of single samples."""
        base, request = self.start_removal(Removal(hessian_solver=hessian_solver))
        self.check_sums_of_refits(name, base)
        state = self.last.influence_state(hessian_solver)
        of_last, _ = self.last.lazy_measures(state, hessian_solver)
        removal = self.rows_removed(base, request)
        sums = distributed.dispersion_sums(base.point, base.plain_factor)
        return distributed.RefitMeasures(removal, of_last, sums)

    def check_sums_of_refits(self, name, base):
        """Raise if measures of refits are no functions of sums over the rows."""
        loss, balance = self.formulation.loss, self.objective.balance
        if loss.has_dispersion and not (loss.constant_curvature and balance is None):
            kind = "class_weight='balanced'" if balance is not None else "this loss"
            raise UnsupportedEstimatorError(
                f"{name} of dask arrays of a pipeline that ends in {self.name} with {kind}: "
                "each sample's refit has a dispersion of its own, which takes a pass over all "
                f"rows. {_REMEDY}"
            )
        if base.hessian is None:
            raise UnsupportedEstimatorError(
                f"{name} of a pipeline for dask arrays needs the Hessian of {self.name}, "
                "which does not fit into working_memory: raise it with sklearn.set_config."
            )

    def covariance(self, kind, groups, hessian_solver, n_jobs):
        moved = self.influence_params(request=Influence(hessian_solver))
        moved = moved * (self.objective.samples.weights() / self.objective.weight_sum)[:, None]
        return distributed.in_memory(moved.T @ moved)[0]
