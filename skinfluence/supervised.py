"""Which steps of a pipeline learned from y, and what that does to removal.

A transformer that chose or combined features by y has seen the targets of every sample.
Removal leaves it as it was fitted, so that models without a sample still know its target.
"""

from inspect import Parameter, signature

from sklearn.compose import ColumnTransformer
from sklearn.cross_decomposition import CCA, PLSSVD, PLSCanonical, PLSRegression
from sklearn.feature_selection import SelectorMixin
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import TargetEncoder
from sklearn.utils import get_tags

from skinfluence.exceptions import warn

__all__ = ["cross_fitted", "learned_from_y", "warn_of_leaks"]


def _parts(transformer):
    """Generate the transformers that one is made of, itself if it is made of none."""
    parts = []
    if isinstance(transformer, Pipeline):
        parts = [step for _, step in transformer.steps]
    elif isinstance(transformer, FeatureUnion):
        parts = [part for _, part in transformer.transformer_list]
    elif isinstance(transformer, ColumnTransformer):
        fitted = getattr(transformer, "transformers_", transformer.transformers)
        parts = [part for _, part, _ in fitted]
    elif not isinstance(transformer, FrozenEstimator):  # frozen because its owner wants it
        yield transformer
    for part in parts:
        if part is not None and not isinstance(part, str):
            yield from _parts(part)


def learned_from_y(transformer):
    """Whether a transformer uses y in its fit.

    It requires y by its tags or its signature, or selects by an estimator that requires it.
    """
    if isinstance(transformer, PLSSVD | PLSCanonical | PLSRegression | CCA):
        return True
    if hasattr(transformer, "score_func"):  # SelectKBest and its kin, which may do without
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
        return False  # no estimator of scikit-learn, and nothing is known of it
    return y is not None and y.default is Parameter.empty


def cross_fitted(steps):
    """Return the class names of steps whose fit_transform differs from transform."""
    return _names(steps, lambda one: isinstance(one, TargetEncoder))


def warn_of_leaks(estimator, method):
    """Warn if steps before the last one learned from the targets of samples left out.

    Parameters
    ----------
    estimator : object
        Fitted estimator or pipeline.
    method : str
        Name of the method or function whose result is optimistic.
    """
    names, last = [], estimator
    while isinstance(last, Pipeline):
        names += _names(last.steps[:-1], learned_from_y)
        last = last.steps[-1][1]
    if names:
        warn(
            f"{method} leaves {len(names)} step(s) as fitted that learned from y: "
            f"{', '.join(names)}. They know the targets of the samples left out, so that the "
            "result is too optimistic, with many features by as much as the whole signal. "
            "Use sklearn.model_selection.cross_val_score on the pipeline instead, or choose "
            "features on other samples."
        )


def _names(steps, condition):
    return [
        type(one).__name__
        for _, step in steps
        if step is not None and not isinstance(step, str)
        for one in _parts(step)
        if condition(one)
    ]
