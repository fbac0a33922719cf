"""Pipelines as methods and functions see them: a final estimator behind fitted steps.

Pipelines may hold pipelines as their last steps, to any depth, ours or scikit-learn's. The
final estimator is the last step of the innermost one, and raw samples go through the steps
before it at every depth.
"""

import copy
from functools import partial
from numbers import Integral

import numpy as np
from sklearn import get_config
from sklearn.pipeline import Pipeline

from skinfluence import unsupported
from skinfluence.distributed import is_dask, map_rows
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.methods import FittedMixin
from skinfluence.methods.available import HasProblem

__all__ = [
    "feature_names",
    "final_estimator",
    "innermost",
    "name_rows",
    "param_names",
    "paths_of",
    "random_steps",
    "replace_steps",
    "routing_enabled",
    "row_names",
    "steps_before",
    "steps_of",
    "through",
    "transform",
]


def innermost(estimator):
    """Return the last step of pipelines within each other, an empty pipeline itself."""
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
    if isinstance(final, HasProblem) and not isinstance(final, FittedMixin):
        raise TypeError(
            f"{type(final).__name__} has several models and no vector of parameters of its "
            "own, which is needed here. Use one of its models, or its own methods, such as "
            "influence_loss and leave_out_predict."
        )
    if not isinstance(final, FittedMixin):
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
    """Return raw samples as the final estimator sees them."""
    before = []
    last = estimator
    while isinstance(last, Pipeline) and last.steps:
        before += steps_before(last)
        last = last.steps[-1][1]
    return through(before, X, last)


def steps_of(estimator):
    """Return (name, transformer) of all steps before the final estimator, at every depth."""
    steps = []
    while isinstance(estimator, Pipeline) and estimator.steps:
        steps += [(f"{len(steps)}_{name}", step) for name, step in estimator.steps[:-1]]
        estimator = estimator.steps[-1][1]
    return steps


def paths_of(estimator):
    """Return how metadata name each step of `steps_of`, and last the final estimator."""
    paths, prefix = [], ""
    while isinstance(estimator, Pipeline) and estimator.steps:
        paths += [prefix + name for name, _ in estimator.steps[:-1]]
        name, estimator = estimator.steps[-1]
        prefix += f"{name}__"
    return [*paths, prefix.removesuffix("__")]


def replace_steps(pipe, transformers, final):
    """Put other transformers and another final estimator into a pipeline, in place.

    Transformers are in the order of `steps_of`. Pipelines inside are copied, because others
    may hold them, too.
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
    """Return the class names of steps before the model whose refit may be random."""
    names = []
    for _, step in steps_of(estimator):
        params = step.get_params() if hasattr(step, "get_params") else {}
        if any(_is_random(name, params) for name in params):
            names.append(type(step).__name__)
    return names


def _is_random(name, params):
    """Return whether a parameter leaves it to chance what a fit does."""
    value = params[name]
    if name.endswith("random_state"):
        # TargetEncoder from 1.9 on: deprecated, and without effect if cv brings the folds.
        cv = params.get(name.removesuffix("random_state") + "cv")
        drawn = value == "deprecated" and (cv is None or isinstance(cv, Integral))
        return value is None or drawn
    return getattr(value, "shuffle", False) is True and value.random_state is None


def steps_before(pipe):
    """Return the transformers before the last step of one pipeline."""
    held = [transformer for _, transformer in pipe.steps[:-1]]
    return [transformer for transformer in held if transformer not in (None, "passthrough")]


def through(transformers, X, last):
    """Return samples after fitted transformers, as the step behind them sees them."""
    if transformers and is_dask(X):
        return map_rows(partial(_transform, transformers), X, last.n_features_in_)
    return _transform(transformers, X)


def _transform(transformers, X):
    for transformer in transformers:
        X = transformer.transform(X)
    return X


def feature_names(transformer):
    """Return the names of the features that a transformer returns, None if unknown."""
    try:
        return np.asarray(transformer.get_feature_names_out())
    except (AttributeError, ValueError):  # not every transformer knows them
        return None


def param_names(estimator, features=None):
    """Return the names of the parameters, the features named as the steps name them.

    Parameters
    ----------
    estimator : object
        Fitted estimator or pipeline.
    features : array-like of str, default=None
        Names of the raw features; None for those that each step has seen.

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
    for transformer in steps_before(estimator):
        try:
            features = transformer.get_feature_names_out(features)
        except (AttributeError, ValueError):  # not every transformer knows them
            features = None
            break
    return param_names(estimator.steps[-1][1], features)


def routing_enabled():
    """Whether scikit-learn's metadata routing is on."""
    return get_config()["enable_metadata_routing"]


def name_rows(estimator, index):
    """Give the training rows of the final estimator the names that transformers took away."""
    final = innermost(estimator)
    if index is not None and isinstance(final, FittedMixin):
        final._problem().name_rows(index)


def row_names(X):
    """Return the names of the rows of a DataFrame, None of anything else."""
    return X.index if hasattr(X, "iloc") and not is_dask(X) else None
