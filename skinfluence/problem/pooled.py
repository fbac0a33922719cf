"""An estimator that returns precomputed predictions, for scikit-learn's scorers."""

from copy import copy
from functools import partial

from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.metaestimators import available_if

from skinfluence.namespaces import to_host

__all__ = ["pooled_predictions", "respond_to"]


def pooled_predictions(problem, raw_prediction):
    """Return an estimator whose responses come from precomputed raw predictions.

    Parameters
    ----------
    problem : Problem
        The fitted estimator's problem. Its `score` and response shapes are kept.
    raw_prediction : ndarray of shape (n, K)
        Raw predictions for the rows to be scored, in the same order.

    Returns
    -------
    object
        A fitted classifier or regressor.
    """
    estimator = problem.estimator
    if problem.is_classifier:
        pooled = _PooledClassifier()
        pooled.classes_ = to_host(estimator.classes_)
        pooled.labels_ = partial(problem.responses.labels, estimator)
        pooled.transform_ = problem.responses.transform(estimator)
    else:
        pooled = _PooledRegressor()
        pooled.flat_ = problem.has_flat_target
    pooled.loss_ = problem.formulation.loss
    pooled.has_probabilities_ = hasattr(estimator, "predict_proba")
    pooled.has_decision_ = hasattr(estimator, "decision_function")
    pooled.check_ = problem.responses.check
    pooled.raw_prediction_ = raw_prediction
    return pooled


def respond_to(raw_prediction, pooled, response_method):
    """Return a response of `pooled_predictions` for other raw predictions."""
    pooled = copy(pooled)
    pooled.raw_prediction_ = raw_prediction
    return getattr(pooled, response_method)(None)


class _Pooled(BaseEstimator):
    def fit(self, X, y):
        return self  # scorers require `fit`; there is nothing to fit


class _PooledClassifier(ClassifierMixin, _Pooled):
    @available_if(lambda self: self.has_decision_)
    def decision_function(self, X):
        return self._response("decision_function")

    @available_if(lambda self: self.has_probabilities_)
    def predict_proba(self, X):
        return self._response("predict_proba")

    def predict(self, X):
        return self._response("predict")

    def _response(self, method):
        raw = self.raw_prediction_
        self.check_(method)
        if method == "predict_proba":
            return self.loss_.response(raw)
        if method == "decision_function":
            if self.transform_ is not None:
                return self.transform_(raw)
            return raw[:, 0] if raw.shape[1] == 1 else raw
        return self.labels_(raw)


class _PooledRegressor(RegressorMixin, _Pooled):
    def predict(self, X):
        return self._response("predict")

    def _response(self, method):
        response = self.loss_.response(self.raw_prediction_)
        return response[:, 0] if self.flat_ else response
