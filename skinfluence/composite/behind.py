"""A pipeline that ends in a composite: the steps are stages that all members share.

Influence is the composite's for fixed steps, plus the part that comes through its features,
see `whole.inputs`. Removal fits the steps again, and then the composite's members on the rows
that they return, with the composite's folds and draws as they were.
"""

from dataclasses import replace
from functools import cached_property
from operator import attrgetter

import numpy as np
from sklearn import config_context
from sklearn.base import clone

from skinfluence.checks import check_classes_left
from skinfluence.composite.influence import CompositeInfluence
from skinfluence.composite.moved import Moved, Staged, add
from skinfluence.composite.refits import check_more, copied
from skinfluence.composite.removal import CompositeRemoval, bytes_of
from skinfluence.composite.reweighting import CompositeReweighting
from skinfluence.exceptions import TrainingDataMissingError, UnsupportedEstimatorError
from skinfluence.groups import check_indices
from skinfluence.methods import InfluenceMethods, get_problem
from skinfluence.parameters import GivenNames
from skinfluence.problem.requests import Removal
from skinfluence.stages import learns_from_rows
from skinfluence.steps import innermost, names_behind, replace_steps, row_names, steps_of
from skinfluence.whole import (
    StagesBefore,
    StepsBefore,
    TrainingData,
    check_same_rows,
    give_data,
    rows_inside,
    take_rows,
    training_data,
    warn_of_absent,
)


class BehindSteps(StepsBefore, CompositeInfluence, CompositeRemoval, CompositeReweighting):
    """The problem for a pipeline that ends in a composite; samples are raw.

    Parameters
    ----------
    pipe : Pipeline
        The fitted pipeline, ours or scikit-learn's.
    """

    def __init__(self, pipe):
        self.pipe = pipe
        self.estimator = innermost(pipe)
        self.inner = get_problem(self.estimator)
        if self.inner.remembered.data is not None:
            given = vars(pipe).get("_given_names", GivenNames())
            features = names_behind(pipe, given.features)
            self.inner.name_members(GivenNames(features, given.classes))
        self.remember_steps()
        self.made_for = (super().data, self.inner.remembered)

    def is_current(self):
        """Return whether the pipeline is in the state that this problem was made for."""
        data, remembered = self.made_for
        same = self.has_same_steps and innermost(self.pipe) is self.estimator
        return same and data is super().data and remembered is self.inner.remembered

    # ---------------------------------------------------------------- as without steps

    name = property(attrgetter("inner.name"))
    is_classifier = property(attrgetter("inner.is_classifier"))
    parts = property(attrgetter("inner.parts"))
    sample_weight = property(attrgetter("inner.sample_weight"))
    counts_samples = property(attrgetter("inner.counts_samples"))
    n_rows = property(attrgetter("inner.n_rows"))
    loss_method = property(attrgetter("inner.loss_method"))
    loss = property(attrgetter("inner.loss"))
    response_method = property(attrgetter("inner.response_method"))
    refuse_dask = property(attrgetter("inner.refuse_dask"))
    warn_of_choice = property(attrgetter("inner.warn_of_choice"))

    # ---------------------------------------------------------------- the fit

    @property
    def fitted_model(self):
        """The fitted object as users have it: the pipeline."""
        return self.pipe

    @property
    def data(self):
        """The pipeline's `TrainingData`; raises if they are missing."""
        self.inner.parts  # noqa: B018  # raises if the last step lacks its own
        data = super().data
        if data is None:
            remedy = "Call set_training_data(X, y, sample_weight) to give them."
            if not isinstance(self.pipe, InfluenceMethods):  # scikit-learn's
                remedy = "Use skinfluence.from_fitted(pipe, X, y)."
            raise TrainingDataMissingError(
                f"This pipeline does not hold its raw training samples. {remedy}"
            )
        check_same_rows(self.inner.n_rows, data)
        return data

    @property
    def fitted_rows(self):
        return self.inner.data.X

    @property
    def index(self):
        """The training samples' names, None without names."""
        data = super().data
        return None if data is None else row_names(data.X)

    @property
    def training_target(self):
        """The training targets as passed to `fit`."""
        return self.data.y

    # ---------------------------------------------------------------- losses, responses

    def response(self, X, method):
        """Return one response for raw samples."""
        return self.inner.response(self.transform(X), method)

    def sample_loss(self, X, y):
        return self.inner.sample_loss(self.transform(X), y)

    def label_loss(self, X, y):
        return self.inner.label_loss(self.transform(X), y)

    # ---------------------------------------------------------------- influence

    @cached_property
    def staged(self):
        """The `Staged` members for each solver, a dict."""
        return {}

    def moved(self, X, options):
        """Return the members' derivatives through the steps, None if these learn nothing."""
        data = self.data
        if not self.chain.has_influence:
            return None
        solver = options["hessian_solver"]
        if solver not in self.staged:
            warn_of_absent(int(np.sum(self.sample_weight == 0)))
            inputs = StagesBefore(self.chain, data.X, self.inner.row_scale)
            self.staged[solver] = Staged(self.inner, inputs, solver)
        handles = [take_rows(X, [q]) for q in range(X.shape[0])]
        return Moved(self.staged[solver], self.transform(X), handles)

    def influence_on_losses(self, X, y, options):
        moved, rows = self.moved(X, options), self.transform(X)
        found = self.inner.influence_on_losses(rows, y, options)
        return found if moved is None else found + self.inner.moved_losses(rows, y, moved)

    def influence_on_responses(self, X, method, options):
        moved, rows = self.moved(X, options), self.transform(X)
        found = self.inner.influence_on_responses(rows, method, options)
        return found if moved is None else add(found, self.inner.tangent(rows, method, moved))

    # ---------------------------------------------------------------- refits

    @property
    def jumping(self):
        """The stages whose fit may jump if rows leave, see `ProblemBase`."""
        return [(stage, np.asarray) for stage in self.chain.jumping()] + self.inner.jumping

    @property
    def model_bytes(self):
        """Memory in bytes for a copy of the members, with the rows that refits hold."""
        rows = bytes_of(self.inner.data.X) * len(self.parts) if self.learns else 0
        return self.inner.model_bytes + rows

    @property
    def learns(self):
        """Whether any step depends on the training samples."""
        return any(learns_from_rows(step) for _, step in self.steps)

    def models_without(self, request):
        is_first_order = request.method == "influence"
        if self.learns or (is_first_order and self.inner.answers_as_one(request.method)):
            if not is_first_order:
                self.check_refits()
            return self.refits_without(request)
        return self.behind_fixed_steps(self.inner.models_without(request))

    def behind_fixed_steps(self, models):
        """Return a pipeline for each model of the last step, with the present steps."""
        steps = [step for _, step in self.steps]
        return [None if model is None else self.pipe_of(steps, model) for model in models]

    def refit_without(self, rows, method, *, remember=False):
        kept = ~np.isin(np.arange(self.data.n_rows), rows)
        data = self.data.take(np.flatnonzero(kept))
        weight = self.inner.data.params["sample_weight"]
        weight = None if weight is None else weight[kept]
        drawn, tests = self.inner.rest(kept)
        return self.refit(data, weight, drawn, tests, method, kept=kept, remember=remember)

    def refit(self, data, weight, drawn, tests, method, *, kept=None, remember=False):
        """Return the pipeline fitted on other raw data, None if there is no such fit.

        See `CompositeProblem.refit`; `weight` (n,) or None is for the composite.
        """
        before, X = self.refit_before(data)
        params = {"sample_weight": weight}
        rows = TrainingData(X, data.y, params, data.routing, data.counts)
        final = self.inner.refit(rows, drawn, tests, method, kept=kept, remember=remember)
        if final is None:
            return None
        pipe = self.pipe_of(steps_in(before), final)
        if remember:
            give_data(pipe, data)
        return pipe

    def model_on(self, X, y, sample_weight, method, kept=None, *, counts=None, remember=False):
        """Return the pipeline fitted on other rows, see `Problem.model_on`."""
        given = sample_weight if counts is None else sample_weight / counts
        given = None if np.all(given == 1) else given
        weight = None if np.all(sample_weight == 1) else sample_weight
        routing = self.data.routing
        data = replace(training_data(self.pipe, X, y, given, routing), counts=counts)
        if kept is None and self.inner.draws:
            with config_context(enable_metadata_routing=routing):
                steps = [step for _, step in self.steps]
                pipe = self.pipe_of(steps, self.inner.as_fitted)
                return clone(pipe).fit(X, y, **data.params)
        drawn, tests = (None, None) if kept is None else self.inner.rest(kept)
        return self.refit(data, weight, drawn, tests, method, kept=kept, remember=remember)

    # ---------------------------------------------------------------- other weights

    @property
    def moves_by_members(self):
        return not self.learns and self.inner.moves_by_members

    def models_at_weights(self, request):
        is_first_order = request.method == "influence"
        if self.learns or (is_first_order and not self.moves_by_members):
            if not is_first_order:
                self.check_refits()
            return self.refits_at_weights(request)
        return self.behind_fixed_steps(self.inner.models_at_weights(request))

    def refit_at(self, weight, method):
        kept = weight > 0
        counts = (weight / self.sample_weight)[kept]
        data = replace(self.data.take(np.flatnonzero(kept)), counts=counts)
        return self.refit(data, weight[kept], *self.inner.rest(kept), method, kept=kept)

    # ---------------------------------------------------------------- other training data

    def drop_training_data(self):
        self.inner.drop_training_data()
        give_data(self.pipe, None)

    def set_training_data(self, X, y, sample_weight=None):
        if X is None:
            raise ValueError("X is required: it is None.")
        rows, _ = rows_inside(self.pipe, X, y, sample_weight)
        self.inner.set_training_data(rows, y, sample_weight)
        give_data(self.pipe, training_data(self.pipe, X, y, sample_weight))

    def remove_samples(self, indices, *, method="exact", hessian_solver="auto"):
        rows = check_indices(indices, self.data.n_rows)
        self.resolve(Removal([rows], method=method))
        if not self.learns:
            final, data = copied(self.estimator), self.data.without(rows)
            final.remove_samples(rows, method=method, hessian_solver=hessian_solver)
            replace_steps(self.pipe, [step for _, step in self.steps], final)
            give_data(self.pipe, data)
            return
        if method == "influence":
            raise UnsupportedEstimatorError(
                "remove_samples of a pipeline fits its transformers again, and parameters to "
                "first order are those for the present ones: use method='exact' or 'newton'."
            )
        self.check_refits()
        refit = self.refit_without(rows, method, remember=True)
        if refit is None and self.inner.is_classifier:
            check_classes_left(self.data.y, rows)
        self.become(refit, self.data.without(rows), "Without these samples")

    def add_samples(self, X, y, sample_weight=None, *, hessian_solver="auto"):
        y = y if hasattr(y, "shape") else np.asarray(y)
        check_more(self, X, y, sample_weight)
        data, weight = self.data, self.inner.data.params["sample_weight"]
        if sample_weight is not None or weight is not None:
            more = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight)
            weight = np.concatenate([self.sample_weight, more])
        if sample_weight is not None and not data.params:
            weights, routing = self.sample_weight, data.routing
            data = training_data(self.pipe, data.X, data.y, weights, routing)
        data = data.append(X, y, sample_weight)
        if not self.learns:
            final = copied(self.estimator)
            final.add_samples(self.transform(X), y, sample_weight)
            replace_steps(self.pipe, [step for _, step in self.steps], final)
            give_data(self.pipe, data)
            return
        self.check_refits()
        before, X = self.refit_before(data)
        rows = TrainingData(X, data.y, {"sample_weight": weight}, data.routing)
        final = self.inner.fit_again(rows)
        refit = None if final is None else self.pipe_of(steps_in(before), final)
        self.become(refit, data, "With these samples")

    def become(self, refit, data, when):
        """Turn the pipeline into its refit, in place; the previous steps are not changed."""
        if refit is None:
            raise ValueError(
                f"{when} a class is lost, or a member of {self.name} has no optimum: the "
                "pipeline was left as it is. Strengthen the penalty."
            )
        replace_steps(self.pipe, [step for _, step in steps_of(refit)], innermost(refit))
        give_data(self.pipe, data)


def steps_in(before):
    """Return the steps of a pipeline of transformers."""
    return [step for _, step in before.steps]
