"""Problems for a fitted pipeline: its last step alone, or the whole fit."""

from dataclasses import replace
from functools import cached_property, singledispatch

import numpy as np
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

from skinfluence.column_scales import ColumnScales
from skinfluence.exceptions import (
    SingularHessianError,
    UnsupportedEstimatorError,
)
from skinfluence.gaussian_process.normalised import NormalisedProblem
from skinfluence.groups import check_indices
from skinfluence.methods import get_problem
from skinfluence.moments import MomentProblem
from skinfluence.namespaces import to_host
from skinfluence.problem import Problem
from skinfluence.stages.choices import make_choice
from skinfluence.stages.columns import known_columns
from skinfluence.stages.registry import learns_from_rows
from skinfluence.stages.scalers import scaled_columns
from skinfluence.stages.text import TermWeights, Words
from skinfluence.steps import (
    acting,
    fits_otherwise,
    innermost,
    name_rows,
    names_of_learners,
    param_names,
    replace_steps,
    row_names,
    steps_of,
    weights_stop,
)
from skinfluence.whole.before import (
    OfPipeline,
    StepsBefore,
    check_same_rows,
    given_names,
    rows_inside,
)
from skinfluence.whole.choices import Choices
from skinfluence.whole.data import give_data, take_rows, training_data
from skinfluence.whole.diagnostics import WholeCovariance, WholeDiagnostics
from skinfluence.whole.influence import WholeInfluence
from skinfluence.whole.moments import MomentSweep, MomentWholeInfluence
from skinfluence.whole.removal import WholeRemoval
from skinfluence.whole.reweighting import WholeReweighting
from skinfluence.whole.sweep import GammaSweep, make_sweep
from skinfluence.whole.texts import CountRemoval, TermWeightRemoval

# Transformers that shift and scale each column.
_OF_COLUMNS = (MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler)


# Answers that take the whole fit into account.
_CHAPTERS = (
    WholeInfluence,
    WholeRemoval,
    WholeReweighting,
    WholeCovariance,
    WholeDiagnostics,
)


class _OfPipeline(OfPipeline):
    """The last step's problem for raw samples. List this mixin before the problem class.

    Parameters
    ----------
    pipe : Pipeline
        The fitted pipeline, ours or scikit-learn's.
    """

    def __init__(self, pipe):
        super().__init__(innermost(pipe))
        self.pipe = pipe

    @property
    def fitted_model(self):
        """The fitted object as users have it: the pipeline."""
        return self.pipe

    def param_names(self):
        return param_names(self.pipe)

    def as_model(self, estimator):
        return self.pipe_of([step for _, step in steps_of(self.pipe)], estimator)

    def remove_samples(self, indices, **options):
        data = self.data
        if data is not None:
            data = data.without(check_indices(indices, data.n_rows))
        super().remove_samples(indices, **options)
        give_data(self.pipe, data)

    def add_samples(self, X, y, sample_weight=None, **options):
        data, index = self.data, row_names(X)
        if data is not None:
            data = data.append(X, y, sample_weight)
        before = getattr(self.objective, "index", None)
        super().add_samples(X, y, sample_weight, **options)
        if before is not None and index is not None:
            self.name_rows(before.append(index))
        give_data(self.pipe, data)

    def set_training_data(self, X, y, sample_weight=None):
        if fits_otherwise(steps_of(self.pipe)):
            rows, reason = rows_inside(self.pipe, X, y, sample_weight)
            get_problem(self.estimator).adopt(rows, y, sample_weight, reason)
        else:
            super().set_training_data(X, y, sample_weight)
        self.name_rows(row_names(X))
        give_data(self.pipe, training_data(self.pipe, X, y, sample_weight))

    def drop_training_data(self):
        super().drop_training_data()
        give_data(self.pipe, None)


class PipelineProblem(_OfPipeline, Problem):
    """The problem of a pipeline's last step, for raw samples."""


class MomentPipelineProblem(_OfPipeline, MomentProblem):
    """The last step's problem, for raw samples, if it is a moment model."""


class NormalisedPipelineProblem(_OfPipeline, NormalisedProblem):
    """The last step's problem, for raw samples, if it is a process with normalised targets."""


class _OfWhole(StepsBefore):
    """The steps before the model and their chain. List before the last step's problem.

    Parameters
    ----------
    pipe : Pipeline
        The fitted pipeline, with its training data.
    """

    is_whole = True

    def __init__(self, pipe):
        super().__init__(pipe)
        self.remember_steps()
        self.made_for = (self.data, self.objective, self.params)

    @staticmethod
    def answers(method):
        """Return whether a method takes the whole fit into account."""
        return any(hasattr(chapter, method) for chapter in _CHAPTERS)

    @property
    def jumping(self):
        """The stages whose fit may jump if rows leave, see `ProblemBase`."""
        if self.scaled is not None:
            return []
        return [(stage, np.asarray) for stage in self.chain.jumping()]

    def is_current(self):
        """Return whether the pipeline is in the state that this problem was made for."""
        same = self.has_same_steps and innermost(self.pipe) is self.estimator
        data, objective, params = self.made_for
        if not same or data is not self.data or self.objective is not objective:
            return False
        return np.array_equal(self.params, params)

    @property
    def fitted_rows(self):
        return self.parameters.rows_of_X(self.objective, np.arange(self.data.n_rows))

    def learns(self, method):
        """Return whether any step, or the kernel, depends on the training samples.

        A feature selection does not change with the weights, but a removal may change it.
        """
        learning = any(learns_from_rows(step) for _, step in self.steps)
        # At other weights, a model without steps computes gamma as its `fit` does.
        moves = self.gamma_moves and not method.startswith("reweight")
        if not learning and not moves:
            return False
        check_same_rows(self.objective.n_rows, self.data)
        if hasattr(WholeInfluence, method):
            return self.gamma_moves or self.chain.has_influence
        return True

    def refuse_supervised(self, method):
        """Raise if a step uses the targets."""
        names = names_of_learners(self.steps)
        if names:
            raise UnsupportedEstimatorError(
                f"{method} of a pipeline whose {', '.join(names)} learned from y: another "
                "label would move its statistics, too. Fit it on other labels, or freeze the "
                "step with sklearn.frozen.FrozenEstimator."
            )

    @cached_property
    def steps_take_params(self):
        """Whether the fit gave weights or other parameters to a step before the model."""
        return any(given_names(params) for params in self.step_params(self.data))

    @cached_property
    def words(self):
        """The `Words` of the first step, None unless it is a vectorizer of text."""
        if not self.steps or self.steps_take_params:
            return None
        return Words.of(self.steps[0][1], self.data.X)

    @cached_property
    def term_weights(self):
        """The `TermWeights` of the steps, None if the steps do more."""
        if self.steps_take_params:
            return None
        steps = acting(step for _, step in self.steps)
        if not steps:
            return None
        return TermWeights.of(steps, self.words or Words(steps[0], self.data.X))

    def model_on(self, X, y, sample_weight, method, *, is_near=False, counts=None):
        """Return the pipeline fitted on other rows, see `Problem.model_on`."""
        given = sample_weight if counts is None else sample_weight / counts
        given = None if np.all(given == 1) else given
        routing = self.data.routing
        data = replace(training_data(self.pipe, X, y, given, routing), counts=counts)
        if weights_stop(self.pipe, routing):
            sample_weight = np.ones(len(sample_weight)) if counts is None else counts
        return self.as_pipeline(self.refit(data, sample_weight, method))

    def become(self, refit, data):
        """Turn the pipeline into its refit, in place; the previous steps are not changed."""
        replace_steps(
            self.pipe, [step for _, step in refit.before.steps], refit.model.estimator
        )
        name_rows(self.pipe, row_names(data.X))
        give_data(self.pipe, data)


class WholeProblem(  # type: ignore[misc]  # updates of the whole, not of the last step
    WholeInfluence,
    WholeRemoval,
    WholeReweighting,
    WholeCovariance,
    WholeDiagnostics,
    _OfWhole,
    PipelineProblem,
):
    """The problem for a pipeline's whole fit."""

    @cached_property
    def scaled(self):
        """The model with variable feature scales, or None if the steps do more than scale.

        This applies to a StandardScaler before a model with a free intercept and a quadratic
        penalty, see `column_scales`.
        """
        scaler = moving_scaler([step for _, step in self.steps])
        return None if scaler is None else self._scaled_by(*scaled_columns(scaler))

    def _scaled_by(self, moves, is_centred):
        """Return `scaled`, given masks of the scaled and of the centred features, (d,)."""
        objective = self.objective
        form, design = objective.formulation, objective.design
        if not self.is_smooth or form.minimum_norm is not None:
            return None
        if self.steps_take_params or objective.offset is not None:
            return None
        free = design.fit_intercept and not objective.penalty[:, -1].any()
        if is_centred.any() and not free and objective.penalty.any():
            return None
        if is_centred.any() and not design.fit_intercept:
            return None
        self.check_refits()
        scales = ColumnScales.of(design, moves, is_centred)
        return self.on(replace(objective, scales=scales))

    def on(self, objective):
        other = super().on(objective)
        other.features = self.feature_names
        return other

    @cached_property
    def is_smooth(self):
        """Whether the model is one of features with a smooth loss and a quadratic penalty."""
        return self.formulation.is_smooth and not self.objective.design.has_metric

    @property
    def penalty_counts_rows(self):
        """Whether a fit with another row has another penalty, as in gradient descent."""
        rows = np.append(np.arange(self.data.n_rows), 0)
        weight = to_host(self.objective.sample_weight)[rows]
        penalty = self.formulate(take_rows(self.data.y, rows), weight).penalty
        return not np.array_equal(penalty, self.formulation.penalty)

    @cached_property
    def choices(self):
        """The `Choices` that are known without refits, None if the steps do more.

        This applies to steps that select columns, scale them to a range or encode categories,
        and to one StandardScaler, alone or in a ColumnTransformer, under the conditions of
        `_scaled_by`. For tf-idf weights it is a `TermWeightRemoval`. If the penalty counts
        rows, every group needs a refit.
        """
        if self.scaled is not None or not self.is_smooth or self.penalty_counts_rows:
            return None
        if self.steps_take_params:
            return None
        if self.term_weights is not None:
            return TermWeightRemoval.of(self, self.term_weights)
        choices, masks = [], None
        for step, X in self._steps_with_rows():
            if not learns_from_rows(step):
                if masks is not None:
                    return None
                continue
            choice = make_choice(step, X, self.data.y, is_moved=masks is not None)
            if choice is None and masks is None:
                choice, masks = known_columns(step, X)
                if choice is None and masks is None:
                    return None
            elif choice is None:
                return None
            elif masks is not None and hasattr(step, "get_support"):
                masks = tuple(mask[step.get_support()] for mask in masks)
            if choice is not None:
                choices.append(choice)
        if not choices:
            return None
        fixed = self.on(self.objective) if masks is None else self._scaled_by(*masks)
        return None if fixed is None else Choices(self, fixed, choices)

    def _steps_with_rows(self):
        """Yield each fitted step with its training rows, which are transformed when needed."""
        X, before = self.data.X, None
        for _, step in self.steps:
            if step in (None, "passthrough"):
                continue
            X = X if before is None else before.transform(X)
            before = step
            yield step, X

    @cached_property
    def factor(self):
        """The model's H^-1 for nearby refits, None if it has no curvature."""
        return self.nearby_factor

    @cached_property
    def nearby(self):
        """The model's `Optimum`, from which nearby refits start, None if there is none."""
        form = self.formulation
        if not self.is_smooth or form.minimum_norm is not None or not form.loss.convex:
            return None
        try:
            state = self.nearby_state
            optimum = None if state is None else state.optimum
        except SingularHessianError:
            return None
        return optimum if optimum is not None and optimum.converged else None

    def sweep(self, hessian_solver):
        """Return the sweep at the model's current parameters."""
        if self.objective.design.has_metric and not self.chain.has_influence:
            state = self.influence_state(hessian_solver, quiet=True)
            return GammaSweep(state.point, state.factor, self)
        return make_sweep(self, hessian_solver, self)

    def of_rows(self, values):
        """Return derivatives in the model's rows as derivatives in the pipeline's, (m, n)."""
        return values


class MomentWholeProblem(  # type: ignore[misc]
    MomentWholeInfluence, WholeRemoval, WholeReweighting, _OfWhole, MomentPipelineProblem
):
    """The problem for a whole fit that ends in a moment model; refits need no start."""

    factor = None

    @cached_property
    def choices(self):
        """The `CountRemoval` behind term weights, or None."""
        terms = self.term_weights
        return None if terms is None else CountRemoval.of(self, terms)

    def sweep(self, hessian_solver):
        """Return the sweep at the model's current parameters."""
        self.objective.model.check_smooth(self.name)
        return MomentSweep(self, self)


class NormalisedWholeProblem(  # type: ignore[misc]
    WholeInfluence, WholeRemoval, WholeReweighting, _OfWhole, NormalisedPipelineProblem
):
    """The problem for a whole fit that ends in a process with normalised targets."""

    factor = None

    def sweep(self, hessian_solver):
        """Raise, because the kernel has no derivative in its samples."""
        self.parameters.check_perturbable(self.objective)


#: The problems of a pipeline's last step and of its whole fit, by the last step's own problem.
_OF_PIPELINES = {
    Problem: (PipelineProblem, WholeProblem),
    MomentProblem: (MomentPipelineProblem, MomentWholeProblem),
    NormalisedProblem: (NormalisedPipelineProblem, NormalisedWholeProblem),
}


def pipeline_problem(pipe):
    """Return the problem of a pipeline's last step."""
    return _OF_PIPELINES[type(get_problem(innermost(pipe)))][0](pipe)


def whole_problem(pipe):
    """Return the problem for a pipeline's whole fit, kept as long as nothing changes."""
    whole = vars(pipe).get("_whole_problem")
    if whole is None or not whole.is_current():
        whole = vars(pipe)["_whole_problem"] = make_whole_problem(innermost(pipe), pipe)
    return whole


@singledispatch
def make_whole_problem(final, pipe):
    """Return a new problem for a whole fit; it depends on the pipeline's last step."""
    return _OF_PIPELINES[type(get_problem(final))][1](pipe)


def moving_scaler(steps):
    """Return the StandardScaler that is equal to all steps that learn, None without one.

    Another column scaler right before it changes nothing, because the StandardScaler undoes
    it.
    """
    learning = np.flatnonzero([learns_from_rows(step) for step in steps])
    if not learning.size:
        return None
    *others, scaler = acting(steps[learning[0] :])
    if type(scaler) is not StandardScaler:
        return None
    if others and not (scaler.with_mean and scaler.with_std):
        return None
    if any(type(one) not in _OF_COLUMNS or getattr(one, "clip", False) for one in others):
        return None
    return scaler
