"""The steps before a pipeline's last one: raw samples, stages and refits."""

import copy
import warnings
from dataclasses import replace
from functools import cached_property

import numpy as np
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
)
from sklearn.utils.metadata_routing import process_routing
from sklearn.utils.validation import has_fit_parameter

from skinfluence.distributed import is_dask
from skinfluence.exceptions import TrainingDataMissingError, UnsupportedEstimatorError, warn
from skinfluence.namespaces import to_host
from skinfluence.stages.base import numbers
from skinfluence.stages.registry import learns_from_rows, make_chain, parts_of
from skinfluence.steps import (
    divided_weights,
    feature_names,
    fits_otherwise,
    paths_of,
    random_steps,
    refuse_divided_weights,
    replace_steps,
    routing_enabled,
    steps_before,
    steps_of,
    through,
    transform,
)
from skinfluence.whole.data import take_rows, whole_numbers

# Steps that contain other estimators and route metadata to them.
_OF_OTHERS = (ColumnTransformer, FeatureUnion, Pipeline)

# If the transformed training rows have a larger relative difference, refitted transformers
# do not reproduce the fitted ones.
_SAME = 1e-6


class OfPipeline:
    """A problem for raw samples, with the pipeline as `pipe`."""

    @property
    def data(self):
        """The pipeline's `TrainingData`, None if they are unknown."""
        return vars(self.pipe).get("training_data_")

    @property
    def rows_for_scikit_learn(self):
        """The training samples before the steps, or behind them if the others are unknown."""
        return super().rows_for_scikit_learn if self.data is None else self.data.X

    def transform(self, X):
        return transform(self.pipe, X)

    def pipe_of(self, steps, final):
        """Return a copy of the pipeline with other steps and without training data."""
        pipe = copy.copy(self.pipe)
        for name in ("training_data_", "_whole_problem", "_lazy_problem"):
            vars(pipe).pop(name, None)
        replace_steps(pipe, steps, final)
        return pipe


class StepsBefore(OfPipeline):
    """A problem that takes the steps before the last one into account."""

    def remember_steps(self):
        """Store the steps as they are now."""
        self.steps = steps_of(self.pipe)
        self.paths = paths_of(self.pipe)[:-1]
        self.settings = _settings(self.steps)
        self.refits_are_checked = False

    @property
    def fitted_rows(self):
        """The transformed training rows that the last step was fitted on."""
        raise NotImplementedError

    @property
    def has_same_steps(self):
        """Whether the pipeline still has the steps that were stored, with the same parameters.

        After `set_params` a refit of a step returns other values, and often the step does too.
        """
        steps = steps_of(self.pipe)
        return same_steps(self.steps, steps) and _are_equal(self.settings, _settings(steps))

    @cached_property
    def chain(self):
        """The stages before the model."""
        weights = []
        for (_, step), params in zip(self.steps, self.step_params(self.data), strict=True):
            given = given_names(params)
            if given - {"sample_weight"} or (given and isinstance(step, _OF_OTHERS)):
                raise UnsupportedEstimatorError(
                    f"No derivative is known of the fit of {type(step).__name__} with "
                    f"{', '.join(sorted(given))}. The methods that remove samples "
                    "(leave_out_*, remove_samples) fit it again and need none."
                )
            weight = params.get("sample_weight")
            weights.append(None if weight is None else numbers(weight))
        steps = [step for _, step in self.steps]
        chain = make_chain(steps, self.data.X, self.data.y, weights)
        if chain.has_influence:
            self.check_refits(of_removal=False)
        return chain

    def refuse_divided_weights(self):
        """Raise if sample weights reach some parts of the fit, but not others."""
        if self.data.routing:
            refuse_divided_weights(*divided_weights(self.pipe))
            return
        pairs = zip(self.paths, self.step_params(self.data), strict=True)
        taking = [path for path, own in pairs if "sample_weight" in given_names(own)]
        last = paths_of(self.pipe)[-1]
        is_reached = f"{last}__sample_weight" in given_names(self.data.params)
        refuse_divided_weights(taking, [] if is_reached else [last])

    def step_params(self, data):
        """Return the `fit` metadata for each step, a list of dict."""
        if not (data.params and self.steps):
            return [{} for _ in self.steps]
        if not data.routing:
            return [
                {
                    key.removeprefix(f"{path}__"): value
                    for key, value in data.params.items()
                    if key.startswith(f"{path}__")
                }
                for path in self.paths
            ]
        with config_context(enable_metadata_routing=True):
            before = Pipeline(self.steps)
            names = before.get_metadata_routing().consumes("fit_transform", data.params)
            given = {name: data.params[name] for name in names}
            routed = process_routing(before, "fit_transform", **given)
            empty = {"fit_transform": {}}
            steps = [routed.get(name, empty) for name, _ in self.steps]
            return [{**step.get("fit", {}), **step["fit_transform"]} for step in steps]

    @cached_property
    def feature_names(self):
        """Names for the model's features, None if the steps do not provide them."""
        return feature_names(Pipeline(self.steps))

    def refit_before(self, data):
        """Return (transformers, transformed rows) from clones fitted on data."""
        before = Pipeline([(name, _unfitted(step)) for name, step in self.steps])
        if not self.steps:
            return before, data.X
        if data.counts is not None:
            return fit_counted(before, data, self.step_params(data), self.refit_before)
        with config_context(enable_metadata_routing=data.routing):
            if data.routing and data.params:
                names = before.get_metadata_routing().consumes("fit_transform", data.params)
                params = {name: data.params[name] for name in names}
                return before, before.fit_transform(data.X, data.y, **params)
            # As `Pipeline.fit_transform`, whose checks take longer than a simple step.
            X, given = data.X, self.step_params(data)
            for (_, step), params in zip(before.steps, given, strict=True):
                if step in (None, "passthrough"):
                    continue
                if hasattr(step, "fit_transform"):
                    X = step.fit_transform(X, data.y, **params)
                else:
                    X = step.fit(X, data.y, **params).transform(X)
        return before, X

    def refit_behind_first(self, first, X, data):
        """Return `refit_before` given the first transformer and the rows that it returns."""
        (place, _), *others = self.steps
        later = [(name, _unfitted(step)) for name, step in others]
        if later:
            X = Pipeline(later).fit_transform(X, data.y)
        return Pipeline([(place, first), *later]), X

    @cached_property
    def dependence(self):
        """Largest change of rows after the steps if other rows are absent.

        Relative to the largest value. Only functions that fit nothing are looked at, because
        the steps that learn are fitted again.
        """
        data = vars(self.pipe).get("training_data_")
        parts = [part for _, step in self.steps for part in parts_of(step)]
        has_function = any(
            isinstance(part, FunctionTransformer) and part.func for part in parts
        )
        if data is None or not has_function:
            return 0.0
        half = np.arange(0, data.n_rows, 2)
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                alone = self.transform(take_rows(data.X, half))
                return _difference(alone, take_rows(self.transform(data.X), half))
            except Exception:  # a user's function may fail in any way
                return np.inf

    def warn_of_functions(self):
        """Warn if a function in the steps gives rows other values if others are absent."""
        if self.dependence > _SAME:
            warn(
                "A function in a FunctionTransformer gives samples other values if other "
                f"samples are absent (relative difference {self.dependence:.2g}), and nothing "
                "fits it again: results keep the values of all samples. Use a transformer "
                "whose fit learns what the function needs, such as StandardScaler or "
                "SimpleImputer."
            )

    def check_refits(self, *, of_removal=True):
        """Raise or warn if refitted transformers differ from the fitted ones.

        Random refits have no removal. Derivatives do not need refits.
        """
        if self.refits_are_checked:
            return
        refit = self.refit_before(self.data)
        difference = _difference(refit[1], self.fitted_rows)
        names = random_steps(self.pipe)
        if names and self._draws(refit, is_same=difference <= _SAME):
            if not of_removal:
                return
            raise UnsupportedEstimatorError(
                f"A refit of {', '.join(names)} is random: set random_state to a number, that "
                "of a score_func by functools.partial, and fit the pipeline again; or freeze "
                "the fitted step with sklearn.frozen.FrozenEstimator."
            )
        if not difference <= _SAME:
            warn(
                "The transformers, fitted again on the training data, return other values "
                f"(relative difference {difference:.2g}): they were fitted on other samples "
                "or with other weights, or X, y, sample_weight or parameters have changed "
                "since. Results are those of the present data and parameters. Fit the whole "
                "pipeline on these data, with metadata routing if transformers take the "
                "weights; or freeze fitted transformers with sklearn.frozen.FrozenEstimator."
            )
        self.refits_are_checked = True

    def _draws(self, refit, *, is_same):
        """Return whether another refit of the steps differs from a refit.

        Scores that are drawn can select the same features by chance, so that the rows are the
        same.
        """
        steps, rows = refit
        scores = _scores(steps)
        if is_same and not scores:
            return False
        steps, again = self.refit_before(self.data)
        return not _difference(again, rows) <= _SAME or not all(
            np.allclose(a, b, rtol=_SAME, atol=0.0, equal_nan=True)
            for a, b in zip(scores, _scores(steps), strict=True)
        )


def rows_behind(pipe, X, y, sample_weight):
    """Return the rows on which a pipeline's last step was fitted, and why they may be others.

    If `fit_transform` of a step may differ from `transform`, clones of the steps are fitted
    again, twice if they can draw random numbers: the rows must be the same both times. They
    must transform the rows as the pipeline does. The reason is None if no difference is known.

    Parameters
    ----------
    pipe : Pipeline
        The fitted pipeline.
    X, y, sample_weight : array-like
        Its training data; y and the weights may be None.
    """
    rows = through(steps_before(pipe), X, pipe.steps[-1][1])
    others = [] if y is None or is_dask(X) else fits_otherwise(pipe.steps[:-1])
    if not others:
        return rows, None
    again, params = Pipeline([(name, _unfitted(step)) for name, step in pipe.steps[:-1]]), {}
    if sample_weight is not None and routing_enabled():
        names = again.get_metadata_routing().consumes("fit_transform", ["sample_weight"])
        params = dict.fromkeys(names, sample_weight)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the fit has already warned
        try:
            fitted = again.fit_transform(X, y, **params)
            if random_steps(pipe):
                other = again.fit_transform(X, y, **params)
                if not _difference(other, fitted) <= _SAME:
                    return rows, (
                        f"the random numbers of {', '.join(others)}: what fit_transform "
                        "returned is known only if they have an integer random_state of their "
                        "own or of their cv"
                    )
            same = _difference(again.transform(X), rows) <= _SAME
        except (TypeError, ValueError):  # these are other data
            same = False
    return (fitted if same else rows), None


def rows_inside(pipe, X, y, sample_weight):
    """Return `rows_behind` for the final estimator inside nested pipelines."""
    reason = None
    while isinstance(pipe, Pipeline):
        X, known = rows_behind(pipe, X, y, sample_weight)
        reason, pipe = reason or known, pipe.steps[-1][1]
    return X, reason


def _scores(steps):
    """Return the scores by which the fitted steps select features."""
    return [part.scores_ for part in parts_of(steps) if hasattr(part, "scores_")]


def _difference(again, fitted):
    """Return the largest difference between rows, relative to the largest fitted value."""
    if again.shape != fitted.shape:
        return np.inf
    gap = abs(numbers(again) - numbers(fitted))  # booleans cannot be subtracted
    difference = gap.max() / max(abs(numbers(fitted)).max(), np.finfo(float).tiny)
    return difference if np.isfinite(difference) else np.inf


def fit_counted(before, data, given, fit):
    """Return (transformers, transformed rows) for samples that occur `data.counts` times.

    Parameters
    ----------
    before : Pipeline
        The transformers, not fitted.
    data : TrainingData
        Samples with `counts`, None if all occur once. Numbers that are not whole are weights
        in the transformers' fits.
    given : list of dict
        Metadata of each transformer's fit. The counts multiply the weights in them.
    fit : callable
        ``fit(data)`` returns the result for samples that occur once.
    """
    if data.counts is None:
        return fit(data)
    params, counts, whole = {}, data.counts, whole_numbers(data.counts)
    if whole is not None:
        rows = np.repeat(np.arange(len(whole)), whole)
        fitted, X = fit(replace(data.take(rows), counts=None))
        once = take_rows(X, np.cumsum(whole) - whole)
        if not _difference(take_rows(once, rows), X) <= _SAME:
            raise UnsupportedEstimatorError(
                f"A fit of {', '.join(type(step).__name__ for _, step in before.steps)} gives "
                "copies of a sample other features, as with folds or draws. Use the methods "
                "that remove samples (leave_out_*), or freeze the step with "
                "sklearn.frozen.FrozenEstimator."
            )
        return fitted, once
    for (name, step), own in zip(before.steps, given, strict=True):
        if not learns_from_rows(step) or _sees_presence_only(step):
            continue
        if not has_fit_parameter(step, "sample_weight") or set(own) - {"sample_weight"}:
            raise UnsupportedEstimatorError(
                f"{type(step).__name__} cannot be fitted at weights that are not whole "
                "multiples of those of the fit, because its fit takes no sample_weight. "
                "Use whole multiples, which repeat samples, or freeze the step with "
                "sklearn.frozen.FrozenEstimator."
            )
        weight = to_host(own.get("sample_weight"))
        params[f"{name}__sample_weight"] = counts if weight is None else counts * weight
    with config_context(enable_metadata_routing=False):
        return before, before.fit_transform(data.X, data.y, **params)


def _sees_presence_only(step):
    """Return whether a step depends on which samples have a weight, and not on how much."""
    if isinstance(step, OneHotEncoder | OrdinalEncoder):
        return step.min_frequency is None and step.max_categories is None
    return isinstance(step, MaxAbsScaler | MinMaxScaler)


def _unfitted(step):
    """Return a step's clone, or the step itself if it is no estimator ("passthrough")."""
    return step if step is None or isinstance(step, str) else clone(step)


def same_steps(first, second):
    """Return whether two lists of named steps have the same objects."""
    pairs = zip(first, second, strict=False)
    return len(first) == len(second) and all(a is b for (_, a), (_, b) in pairs)


def warn_of_absent(count):
    """Warn if some training samples have weight 0 in the model, but not in the steps."""
    if count:
        warn(
            f"{count} training sample(s) with a weight of 0 have no influence, because "
            "the steps before the model take them without weight: their entries are NaN. "
            "The methods that remove samples (leave_out_*) take them into account."
        )


def check_same_rows(n, data):
    """Raise unless the last step has as many training samples, n, as its pipeline."""
    if n != data.n_rows:
        raise TrainingDataMissingError(
            f"The last step has {n} training samples, and its pipeline has {data.n_rows}: a "
            "method of the last step alone has changed it. Fit the pipeline again and change "
            "it by its own methods, or call its set_training_data(X, y, sample_weight) with "
            "the samples of the last step."
        )


def given_names(params):
    """Return the metadata names whose value is not None."""
    return {name for name, value in params.items() if value is not None}


def _settings(steps):
    """Return the parameters of named steps and of the objects inside them, a list of dict."""
    return [step.get_params() if hasattr(step, "get_params") else {} for _, step in steps]


def _are_equal(first, second):
    """Return whether two values, or dicts or lists of values, are the same or equal."""
    if first is second:
        return True
    if type(first) is not type(second):
        return False
    if isinstance(first, dict):
        pairs = ((first[name], second[name]) for name in first if name in second)
        return first.keys() == second.keys() and all(_are_equal(a, b) for a, b in pairs)
    if isinstance(first, list | tuple):
        same_size = len(first) == len(second)
        return same_size and all(map(_are_equal, first, second))
    try:
        return bool(np.all(first == second))
    except (TypeError, ValueError):  # values that cannot be compared are taken as others
        return False
