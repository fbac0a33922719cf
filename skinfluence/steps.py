"""Pipelines with a final estimator behind fitted steps, as methods and functions see them.

A pipeline's last step may be another pipeline, to any depth, from this package or from
scikit-learn. The final estimator is the innermost pipeline's last step. Raw samples pass
through the steps before it at every depth. Some steps learned from y, or return other rows
from `fit_transform` than from `transform`.
"""

import copy
from functools import partial
from inspect import Parameter, signature
from numbers import Integral

import numpy as np
from sklearn import config_context, get_config
from sklearn.cross_decomposition import CCA, PLSSVD, PLSCanonical, PLSRegression
from sklearn.feature_selection import SelectorMixin
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags

from skinfluence import unsupported
from skinfluence.distributed import is_dask, map_rows
from skinfluence.exceptions import UnsupportedEstimatorError, warn
from skinfluence.methods import InfluenceEstimatorMixin, InfluenceMethods, get_problem
from skinfluence.stages.registry import parts_of

#: scikit-learn's classes whose fit_transform returns other rows than transform.
_FIT_OTHERWISE = (
    "DictionaryLearning",
    "LocallyLinearEmbedding",
    "MiniBatchNMF",
    "NMF",
    "TargetEncoder",
)


def innermost(estimator):
    """Return the last step inside nested pipelines, or the pipeline itself if it is empty."""
    while isinstance(estimator, Pipeline) and estimator.steps:
        estimator = estimator.steps[-1][1]
    return estimator


def final_estimator(estimator):
    """Return the estimator that has the influence methods."""
    final = innermost(estimator)
    if isinstance(final, Pipeline):
        raise TypeError(
            "A pipeline without steps has no influence methods: add steps, the last one an "
            "estimator of skinfluence."
        )
    if isinstance(final, InfluenceMethods) and not isinstance(final, InfluenceEstimatorMixin):
        problem = get_problem(final)
        raise TypeError(
            f"{type(final).__name__} {problem.lacks}, which is needed here. Use "
            f"{problem.holds}, or its own methods, such as influence_loss and "
            "leave_out_predict."
        )
    if not isinstance(final, InfluenceEstimatorMixin):
        listed = unsupported.why(final)
        if listed is not None:
            raise UnsupportedEstimatorError(listed)
        is_name = final is None or isinstance(final, str)  # "passthrough"
        named = repr(final) if is_name else type(final).__name__
        raise TypeError(
            f"{named} has no influence methods: use an estimator of skinfluence, alone or as "
            "the last step of a pipeline. What is fitted already needs no new fit: "
            "skinfluence.from_fitted(estimator, X, y), which says what is supported."
        )
    return final


def transform(estimator, X):
    """Return the final estimator's features for raw samples."""
    before = []
    last = estimator
    while isinstance(last, Pipeline) and last.steps:
        before += steps_before(last)
        last = last.steps[-1][1]
    return through(before, X, last)


def steps_of(estimator):
    """Return (name, transformer) for all steps before the final estimator, at every depth."""
    steps = []
    while isinstance(estimator, Pipeline) and estimator.steps:
        steps += [(f"{len(steps)}_{name}", step) for name, step in estimator.steps[:-1]]
        estimator = estimator.steps[-1][1]
    return steps


def paths_of(estimator):
    """Return each `steps_of` entry's metadata path, and last the final estimator's."""
    paths, prefix = [], ""
    while isinstance(estimator, Pipeline) and estimator.steps:
        paths += [prefix + name for name, _ in estimator.steps[:-1]]
        name, estimator = estimator.steps[-1]
        prefix += f"{name}__"
    return [*paths, prefix.removesuffix("__")]


def replace_steps(pipe, transformers, final):
    """Replace a pipeline's transformers and final estimator, in place.

    Transformers have the same order as in `steps_of`. Nested pipelines are copied, because
    other objects may share them.
    """
    transformers = list(transformers)
    count = len(pipe.steps) - 1
    names = [name for name, _ in pipe.steps]
    last = pipe.steps[-1][1]
    if isinstance(last, Pipeline):
        last = copy.copy(last)
        replace_steps(last, transformers[count:], final)
    else:
        last = final
    pipe.steps = list(zip(names, [*transformers[:count], last], strict=True))


def random_steps(estimator):
    """Return what may make a refit of the steps before the model random.

    Names are such as "Nystroem", or "Nystroem in FeatureUnion" for a part of a step.
    """
    found = {}
    for _, step in steps_of(estimator):
        params = step.get_params() if hasattr(step, "get_params") else {}
        for name in params:
            if _is_random(name, params):
                part = params.get(name.rpartition("__")[0], step)
                within = "" if part is step else f" in {type(step).__name__}"
                found[f"{type(part).__name__}{within}"] = None
    return list(found)


def _is_random(name, params):
    """Return whether a parameter makes a fit random."""
    value = params[name]
    if name.endswith("score_func") and callable(value):
        # mutual_info_classif adds noise, unless functools.partial sets its random_state.
        try:
            seed = signature(value).parameters.get("random_state")
        except (TypeError, ValueError):  # compiled functions may have no signature
            return False
        return seed is not None and seed.default is None
    if name.endswith("random_state"):
        # TargetEncoder since 1.9: deprecated, and without effect if cv provides the folds.
        cv = params.get(name.removesuffix("random_state") + "cv")
        drawn = value == "deprecated" and (cv is None or isinstance(cv, Integral))
        return value is None or drawn
    return getattr(value, "shuffle", False) is True and value.random_state is None


def acting(transformers):
    """Return the transformers without those that pass samples through as they are."""
    return [one for one in transformers if one not in (None, "passthrough")]


def steps_before(pipe):
    """Return the transformers before one pipeline's last step that change samples."""
    return acting(transformer for _, transformer in pipe.steps[:-1])


def through(transformers, X, last):
    """Return transformed samples as input for the step behind the fitted transformers."""
    if transformers and is_dask(X):
        return map_rows(partial(_transform, transformers), X, last.n_features_in_)
    return _transform(transformers, X)


def _transform(transformers, X):
    try:
        for transformer in transformers:
            X = transformer.transform(X)
    except ValueError as error:
        if hasattr(X, "iloc") and np.ndim(X) == 1:
            name = X.name.item() if isinstance(X.name, np.generic) else X.name
            raise ValueError(
                f"X is a {type(X).__name__}, which has one dimension: pass a frame. If it is "
                f"one row, X.loc[[{name!r}]] is a frame of one row."
            ) from error
        raise
    return X


def feature_names(transformer):
    """Return a transformer's output feature names, None if unknown."""
    try:
        return np.asarray(transformer.get_feature_names_out())
    except (AttributeError, ValueError):  # not every transformer provides them
        return None


def param_names(estimator, features=None):
    """Return the parameter names, with feature names from the steps.

    Parameters
    ----------
    estimator : object
        Fitted estimator or pipeline.
    features : array-like of str, default=None
        Raw feature names; None for the names that each step saw in `fit`.

    Returns
    -------
    list of str
        One name for each entry of `params_`.
    """
    if not isinstance(estimator, Pipeline):
        if features is not None:
            estimator = copy.copy(estimator)
            estimator.feature_names_in_ = features
        return estimator.param_names()
    if features is None and "_given_names" in vars(estimator):  # by a composite around it
        features = vars(estimator)["_given_names"].features
    return param_names(estimator.steps[-1][1], names_behind(estimator, features))


def names_behind(pipe, features=None):
    """Return feature names behind one pipeline's transformers, None if unknown.

    `features` are the raw names; None for the names that each step saw in `fit`.
    """
    for transformer in steps_before(pipe):
        try:
            features = transformer.get_feature_names_out(features)
        except (AttributeError, ValueError):  # not every transformer provides them
            return None
    return features


def routing_enabled():
    """Whether scikit-learn's metadata routing is on."""
    return get_config()["enable_metadata_routing"]


def weights_reach(estimator, routing):
    """Return whether sample weights reach an estimator or one of its parts in `fit`.

    `routing` tells whether metadata routing was on.
    """
    if not routing or not hasattr(estimator, "get_metadata_routing"):
        return True
    return bool(estimator.get_metadata_routing().consumes("fit", ["sample_weight"]))


def weights_stop(estimator, routing):
    """Return whether sample weights reach a pipeline's steps, but not its final estimator."""
    reached = weights_reach(estimator, routing)
    return reached and not weights_reach(innermost(estimator), routing)


def divided_weights(model):
    """Return the parts of a model that take routed weights, and those told not to.

    Both are lists of names from `get_params`. Parts that stay as they were fitted are left
    out.
    """
    taking, refusing, frozen = [], [], ()
    with config_context(enable_metadata_routing=True):
        for name, part in [("", model), *sorted(model.get_params().items())]:
            if frozen and name.startswith(frozen):
                continue
            if isinstance(part, FrozenEstimator):
                frozen += (f"{name}__",)
            if isinstance(part, type) or not hasattr(part, "get_metadata_routing"):
                continue
            fit = getattr(part.get_metadata_routing(), "fit", None)  # None for routers
            asked = None if fit is None else fit.requests.get("sample_weight")
            if asked is True:
                taking.append(name or type(part).__name__)
            elif asked is False:
                refusing.append(name or type(part).__name__)
    return taking, refusing


def refuse_divided_weights(taking, refusing):
    """Raise if some parts of a fit take sample weights, and others were told not to.

    Both are lists of names.
    """
    if taking and refusing:
        taking, refusing = ", ".join(taking), ", ".join(refusing)
        raise UnsupportedEstimatorError(
            f"This fit gives sample weights to {taking}, but not to {refusing}, so other "
            "weights have two meanings: how often a sample occurs in every part, or weights "
            f"for {taking} alone. Let every part take them, with "
            "set_fit_request(sample_weight=True) or as step__sample_weight, and fit again. "
            "Methods that remove samples (leave_out_*) take them out of every part."
        )


def name_rows(estimator, index):
    """Restore the final estimator's training row names, which transformers dropped."""
    final = innermost(estimator)
    if index is not None and isinstance(final, InfluenceEstimatorMixin):
        get_problem(final).name_rows(index)


def row_names(X):
    """Return a DataFrame's row names, None for other types."""
    return X.index if hasattr(X, "iloc") and not is_dask(X) else None


def learned_from_y(transformer):
    """Return whether a transformer uses y in its fit.

    It does if its tags or its signature require y, or if it selects features by an estimator
    that requires y.
    """
    if isinstance(transformer, PLSSVD | PLSCanonical | PLSRegression | CCA):
        return True
    if hasattr(transformer, "score_func"):  # SelectKBest and similar classes
        return True
    chooser = getattr(transformer, "estimator", None)
    if isinstance(transformer, SelectorMixin) and chooser is not None:
        return not isinstance(chooser, str) and _requires_y(chooser)
    return _requires_y(transformer)


def _requires_y(estimator):
    try:
        if get_tags(estimator).target_tags.required:
            return True
        y = signature(estimator.fit).parameters.get("y")
    except (AttributeError, TypeError, ValueError):
        return False  # not a scikit-learn estimator
    return y is not None and y.default is Parameter.empty


def fits_otherwise(steps):
    """Return the class names of steps whose fit_transform may differ from transform.

    Those of scikit-learn are known. Other classes differ only if they have a fit_transform of
    their own.
    """
    return _names(steps, _fits_otherwise)


def _fits_otherwise(transformer):
    classes = type(transformer).__mro__
    owner = next((cls for cls in classes if "fit_transform" in vars(cls)), None)
    if owner is not None and owner.__module__.startswith("sklearn."):
        return any(cls.__name__ in _FIT_OTHERWISE for cls in classes)
    return owner is not None


def warn_of_leaks(estimator, method):
    """Warn if steps before the last one learned from the targets of left-out samples.

    Parameters
    ----------
    estimator : object
        Fitted estimator or pipeline.
    method : str
        Name of the method or function whose result is too optimistic.
    """
    names, last = [], estimator
    while isinstance(last, Pipeline):
        names += names_of_learners(last.steps[:-1])
        last = last.steps[-1][1]
    if names:
        warn(
            f"{method} does not fit {len(names)} step(s) again that learned from y: "
            f"{', '.join(names)}. These steps depend on the targets of the left-out samples, "
            "so the result is too optimistic. With many features, the score may come entirely "
            "from this leak. Use sklearn.model_selection.cross_val_score on the pipeline "
            "instead, or choose features on other samples."
        )


def names_of_learners(steps):
    """Return the class names of steps, or parts of steps, that learned from y."""
    return _names(steps, learned_from_y)


def _names(steps, condition):
    return [
        type(part).__name__ for _, step in steps for part in parts_of(step) if condition(part)
    ]
