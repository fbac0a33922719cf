"""Pipelines with steps that choose rows, as in imbalanced-learn.

Such a step has `fit_resample` and keeps the rows that it chose in `sample_indices_`. The
model's training rows are these rows of the data, and each may occur several times. The
pipeline without these steps, fitted on the chosen rows, is the single member of a composite.
Steps before it that learned from all rows make a pipeline that ends in this composite.
imbalanced-learn is not imported.
"""

from __future__ import annotations

import copy
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.metrics import accuracy_score, r2_score
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skinfluence._typing import Floats, MatrixLike
from skinfluence.composite.mixin import CompositeMixin
from skinfluence.composite.problem import CompositeProblem
from skinfluence.exceptions import UnsupportedEstimatorError, warn
from skinfluence.fitted import convert
from skinfluence.methods import get_problem
from skinfluence.stages import learns_from_rows

__all__ = ["ResampledPipeline"]


class ResampledProblem(CompositeProblem):
    """One member on the rows that the samplers chose."""

    path = "model_"
    has_one_member = True
    lacks = "chooses samples and has no vector of parameters of its own"
    holds = "its model of the chosen samples, model_"
    #: The loss is the model's own.
    loss_method = None
    draws = True

    def drawn(self, data):
        rows = self.estimator.sample_indices_
        if rows.max() >= data.n_rows:
            raise ValueError(
                f"X has {data.n_rows} rows, but {self.samplers} chose row {rows.max()} of its "
                "training data: pass the samples of the fit."
            )
        return [(rows, None)]

    def fit_again(self, data):
        raise UnsupportedEstimatorError(
            f"add_samples of {self.name}: {self.samplers} would choose rows again. Fit the "
            "pipeline on all samples."
        )

    @property
    def samplers(self):
        """The class names of the steps that choose rows."""
        return _names(step for _, step in _samplers(self.estimator.pipeline))

    def warn_of_choice(self):
        rows = self.estimator.sample_indices_
        warn(
            f"Results without samples keep the {len(np.unique(rows))} of {self.n_rows} "
            f"samples that {self.samplers} chose. A refit also differs because it chooses "
            "again among the remaining samples."
        )


def _has(name):
    """Return whether the model has a response, for `available_if`."""
    return lambda pipe: hasattr(pipe.model_, name)


class ChosenRows(BaseEstimator):
    """Responses of a fitted pipeline without its samplers.

    Parameters
    ----------
    pipeline : Pipeline
        The fitted pipeline, with its samplers.
    """

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline

    def __sklearn_tags__(self):
        return get_tags(self.model_)

    def __sklearn_is_fitted__(self):
        return hasattr(self, "model_")

    @property
    def classes_(self) -> NDArray[Any]:
        """The class labels."""
        return self.model_.classes_

    def predict(self, X: MatrixLike) -> NDArray[Any]:
        """Return predictions.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples, which no sampler changes.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Labels or targets.
        """
        return self.model_.predict(X)

    @available_if(_has("predict_proba"))
    def predict_proba(self, X: MatrixLike) -> Floats:
        """Return probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples, which no sampler changes.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            The classes' probabilities.
        """
        return self.model_.predict_proba(X)

    @available_if(_has("decision_function"))
    def decision_function(self, X: MatrixLike) -> Floats:
        """Return decision values.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples, which no sampler changes.

        Returns
        -------
        decision : ndarray of shape (n_samples,) or (n_samples, n_classes)
            Decision values of the model.
        """
        return self.model_.decision_function(X)

    def score(
        self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> float:
        """Return the accuracy of a classifier, R^2 of a regressor.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples, which no sampler changes.
        y : array-like of shape (n_samples,)
            Their labels or targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights in the score.

        Returns
        -------
        score : float
            The score.
        """
        measure = accuracy_score if is_classifier(self) else r2_score
        return measure(y, self.predict(X), sample_weight=sample_weight)


class ResampledPipeline(CompositeMixin, ChosenRows):
    """A fitted pipeline with samplers, with influence of all samples that they saw.

    `skinfluence.from_fitted` returns it, or a pipeline that ends in it if steps before the
    samplers learned from all samples; there all samples have influence through these steps.
    Otherwise samples that were not chosen have none. Those chosen several times have that of
    all their copies. The choice is frozen: the methods that remove samples or change their
    weights warn, because a refit would choose again.

    Parameters
    ----------
    pipeline : Pipeline
        The fitted pipeline, with its samplers.

    Attributes
    ----------
    model_ : Pipeline
        The pipeline without its samplers, fitted on the chosen rows.
    sample_indices_ : ndarray of int
        The chosen training samples, in the order in which the model saw them.
    """

    _problem_class = ResampledProblem

    def fit(self, X: MatrixLike, y: ArrayLike) -> Self:
        """Fit a clone of the pipeline, and remember the samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training samples.
        y : array-like of shape (n_samples,)
            Their labels.

        Returns
        -------
        self : object
            The fitted pipeline.
        """
        found = convert_pipeline(clone(self.pipeline).fit(X, y), X, y, None, "pipeline")
        self.__dict__.update(vars(found) | {"pipeline": self.pipeline})
        return self


def convert_pipeline(obj, X, y, sample_weight, path):
    """Return `from_fitted` for a pipeline whose steps may choose rows.

    Parameters
    ----------
    obj : Pipeline or ResampledPipeline
        The fitted object.
    X, y, sample_weight : array-like or None
        The training data, before the choice.
    path : str
        The object's name in error messages.
    """
    check_is_fitted(obj)
    if isinstance(obj, ResampledPipeline):
        ours = object.__new__(ResampledPipeline)
        vars(ours).update(vars(obj))
    else:
        ours = _without_samplers(obj, obj.steps, path)
        if isinstance(ours, Pipeline):
            return convert(ours, X, y, sample_weight, path)
    if sample_weight is not None:
        _refuse_weights(get_problem(ours).samplers)
    get_problem(ours).adopt(X, y, None, path)
    return ours


def _without_samplers(obj, steps, path):
    """Return fitted steps as a pipeline or a `ResampledPipeline`.

    Steps that learned from all samples stay before the samplers that follow them: these,
    with all steps behind, are one last step.
    """
    learned = False
    for k, (_, step) in enumerate(steps):
        if not hasattr(step, "fit_resample"):
            learned |= k + 1 < len(steps) and learns_from_rows(step)
        elif learned:
            last = _without_samplers(obj, steps[k:], path)
            return _without_samplers(obj, [*steps[:k], ("resampled", last)], path)
    samplers = [pair for pair in steps if hasattr(pair[1], "fit_resample")]
    model = Pipeline(
        [pair for pair in steps if pair not in samplers],
        transform_input=obj.transform_input,
        memory=obj.memory,
        verbose=obj.verbose,
    )
    if not samplers:
        return model
    pipe = copy.copy(obj)
    pipe.steps = list(steps)
    ours = ResampledPipeline(pipe)
    ours.model_ = model
    ours.sample_indices_ = _chosen([step for _, step in samplers], path)
    return ours


def _samplers(pipe):
    """Return the (name, step) pairs of the steps that choose rows."""
    return [(name, step) for name, step in pipe.steps if hasattr(step, "fit_resample")]


def _names(steps):
    return ", ".join(type(step).__name__ for step in steps)


def _chosen(samplers, path):
    """Return the rows that the samplers chose, one after the other."""
    rows = None
    for step in samplers:
        chosen = getattr(step, "sample_indices_", None)
        if chosen is None or getattr(step, "shrinkage", None) is not None:
            raise UnsupportedEstimatorError(
                f"{path} is fitted on rows that {type(step).__name__} made. These "
                "are no training samples, and no sample's weight changes them. Use "
                "RandomOverSampler or RandomUnderSampler without shrinkage, or "
                "class_weight='balanced' without a sampler."
            )
        rows = np.asarray(chosen) if rows is None else rows[chosen]
    return rows


def _refuse_weights(samplers):
    raise UnsupportedEstimatorError(
        f"A pipeline with {samplers} takes no sample weights, because the choice of rows does "
        "not depend on them: leave out sample_weight."
    )
