"""Find the steps in a pipeline that learned from y, and warn about leaks.

If a transformer selects or combines features by their relation to y, it has seen the targets
of all samples. If removal does not fit it again, the model without a sample still depends on
the target of that sample.
"""

from inspect import Parameter, signature

from sklearn.cross_decomposition import CCA, PLSSVD, PLSCanonical, PLSRegression
from sklearn.feature_selection import SelectorMixin
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags

from skinfluence.exceptions import warn
from skinfluence.stages.registry import parts_of

#: scikit-learn's classes whose fit_transform returns other rows than transform.
_FIT_OTHERWISE = (
    "DictionaryLearning",
    "LocallyLinearEmbedding",
    "MiniBatchNMF",
    "NMF",
    "TargetEncoder",
)


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
