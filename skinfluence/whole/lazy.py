"""The whole fit of a pipeline whose training rows are in dask arrays.

Steps that scale columns by a StandardScaler change only the penalty, see `column_scales`, and
what they learn is sums over the rows. So every answer is that of the model with this penalty,
in the features that the fitted steps return. Parameters are converted to the features of the
refit. Influence also goes through other steps that learn sums, see `lazy_sweep`, and groups
leave through steps that learn sums or extremes, see `lazy_refits`. The rest raise an error
with their names.
"""

import numpy as np

from skinfluence import diagnostics, distributed
from skinfluence.checks import prepare_out
from skinfluence.diagnostics import ROW_COLUMNS
from skinfluence.exceptions import UnsupportedEstimatorError, warn
from skinfluence.problem.metrics import Metric
from skinfluence.stages.registry import learns_from_rows, moves_with_weights
from skinfluence.stages.scalers import moving_columns
from skinfluence.steps import innermost, paths_of, steps_of
from skinfluence.whole.before import given_names
from skinfluence.whole.influence import WholeInfluence
from skinfluence.whole.lazy_refits import GroupRefits
from skinfluence.whole.lazy_sweep import OnDaskArrays, SweptProblem, check_training
from skinfluence.whole.problem import PipelineProblem, moving_scaler

__all__ = ["LazyWholeProblem", "lazy_problem"]

# Larger differences between the statistics of the fitted scaler and those of the rows warn.
_SAME = 1e-6

_REMEDY = (
    "Freeze the steps with sklearn.frozen.FrozenEstimator, or call compute() on a part of the "
    "rows and give that to set_training_data."
)


def lazy_problem(pipe, method):
    """Return the problem for a method of a pipeline's whole fit on rows in dask arrays.

    It is kept as long as nothing changes, because it takes a pass over the rows. Choices and
    extremes of columns have no derivative in the rows' weights. So steps that learn no more
    than these are taken as fitted by influence, but not by removal.
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
    present = [step for _, step in steps_of(pipe) if step not in (None, "passthrough")]
    if scaler is None and method in SweptProblem.METHODS:
        _check_metadata(last, method)
        return SweptProblem(pipe, present.index(steps[0]))
    if scaler is None and method in GroupRefits.METHODS and GroupRefits.takes(present):
        _check_metadata(last, method)
        return GroupRefits(pipe, present.index(steps[learning[0]]))
    _check_steps(last, steps[learning[0] :], scaler, method)
    objective = last.objective.with_scales(moving_columns(scaler), scaler.with_mean)
    _warn_of_other_rows(scaler, objective.scales)
    kept = vars(pipe)["_lazy_problem"] = LazyWholeProblem(last, objective, method)
    return kept


def _check_steps(last, steps, scaler, method):
    """Raise unless the steps, the first of which learns, change the penalty only."""
    names = ", ".join(type(step).__name__ for step in steps)
    if scaler is None:
        raise UnsupportedEstimatorError(
            f"{method} of dask arrays takes the whole fit, and before the model it takes a "
            f"StandardScaler, alone or right behind another scaler, but not {names}. {_REMEDY}"
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
        A method that it answers. It answers the others of the same chapter, too.
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
        now = steps_of(self.last.pipe)
        if innermost(self.last.pipe) is not self.last.estimator or len(now) != len(steps):
            return False
        same = all(a is b for (_, a), (_, b) in zip(now, steps, strict=True))
        same = same and self.last.objective is objective
        return same and np.array_equal(self.last.params, params)

    # ---------------------------------------------------------------- influence

    def influence_params(self, X=None, y=None, **options):
        check_training(X)
        return super().influence_params(**options)

    # ---------------------------------------------------------------- removal

    def leave_out_params(
        self, groups=None, *, cv=None, method="newton", return_bound=False, **options
    ):
        if return_bound:
            self.refuse_dask("leave_out_params with return_bound=True")
        groups = self.groups_for(groups, cv)
        found = super().leave_out_params(groups, method=method, **options)
        if groups.members is None:  # the tasks convert them
            return found
        return self.rescaled(found, groups, method)

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

    def leave_out_metric(self, X, y, *, scoring=None, sample_weight=None, **options):
        self.refuse_dask("leave_out_metric", X, y, sample_weight, training=False)
        if Metric(self, X, y, scoring, sample_weight).needs_model:
            self.refuse_dask("leave_out_metric with a function of models")
        return super().leave_out_metric(
            X, y, scoring=scoring, sample_weight=sample_weight, **options
        )

    def start_removal(self, groups, cv, method, hessian_solver):
        base, groups = super().start_removal(groups, cv, method, hessian_solver)
        if method != "influence":
            self.check_scales(groups)
        return base, groups

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
        own = self.self_influence(hessian_solver=hessian_solver)
        measures = self.lazy_whole_measures("influence_summary", hessian_solver)
        columns = measures.own.columns((), None) | measures.columns()
        columns["self_influence"] = own
        return {name: columns[name] for name in ROW_COLUMNS}

    def lazy_dfbetas(self, state, hessian_solver, dtype):
        measures = self.lazy_whole_measures("dfbetas", hessian_solver)
        scale = diagnostics.inverse_diagonal(state.point, state.factor)
        return measures.dfbetas(scale, state.layout, dtype)

    def dfbetas(
        self, groups=None, *, hessian_solver="auto", n_jobs=None, dtype=None, out=None
    ):
        if groups is None:
            return super().dfbetas(hessian_solver=hessian_solver, dtype=dtype, out=out)
        state = self.influence_state(hessian_solver)
        layout, groups = state.layout, self.groups_for(groups)
        out = prepare_out(out, (len(groups), layout.size), dtype)
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
        base, _ = self.start_removal(None, None, "newton", hessian_solver)
        self.check_sums_of_refits(name, base)
        state = self.last.influence_state(hessian_solver)
        own, _ = self.last.lazy_measures(state, hessian_solver)
        removal = self.rows_removed(base, "newton", None, None, 0)
        sums = distributed.dispersion_sums(base.point, base.plain_factor)
        return distributed.RefitMeasures(removal, own, sums)

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
        moved = self.influence_params(hessian_solver=hessian_solver)
        moved = moved * (self.objective.samples.weights() / self.objective.weight_sum)[:, None]
        return distributed.in_memory(moved.T @ moved)[0]
