"""Which steps of a pipeline learned from y, and what that does to removal.

A transformer that chose or combined features by y has seen the targets of every sample.
Removal leaves it as it was fitted, so that models without a sample still know its target.
"""

from inspect import Parameter, signature

from sklearn.cross_decomposition import CCA, PLSSVD, PLSCanonical, PLSRegression
from sklearn.feature_selection import SelectorMixin
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import TargetEncoder
from sklearn.utils import get_tags

from skinfluence.exceptions import warn
from skinfluence.stages.parts import parts_of

__all__ = ["cross_fitted", "learned_from_y", "names_of_learners", "warn_of_leaks"]


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
        names += names_of_learners(last.steps[:-1])
        last = last.steps[-1][1]
    if names:
        warn(
            f"{method} leaves {len(names)} step(s) as fitted that learned from y: "
            f"{', '.join(names)}. They know the targets of the samples left out, so that the "
            "result is too optimistic, with many features by as much as the whole signal. "
            "Use sklearn.model_selection.cross_val_score on the pipeline instead, or choose "
            "features on other samples."
        )


def names_of_learners(steps):
    """Return the class names of steps, and of parts of steps, that learned from y."""
    return _names(steps, learned_from_y)


def _names(steps, condition):
    return [
        type(part).__name__ for _, step in steps for part in parts_of(step) if condition(part)
    ]
