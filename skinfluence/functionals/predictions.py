"""Predictions, probabilities and margins as functionals."""

from __future__ import annotations

from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import column_or_1d
from sklearn.utils.validation import check_consistent_length

from skinfluence._typing import Estimator, MatrixLike
from skinfluence.checks import shown
from skinfluence.functionals.base import (
    Functional,
    PredictionFunctional,
    check_classifier,
    check_one_sample,
    check_temperature,
    class_code,
)
from skinfluence.losses import LogisticLoss, SoftmaxLoss, SquaredLoss
from skinfluence.pipeline import problem_of


def mean_prediction(
    estimator: Estimator,
    X: MatrixLike,
    *,
    label: object = None,
    sample_weight: ArrayLike | None = None,
    temperature: float = 1.0,
) -> Functional:
    """Return a functional for the mean prediction over some samples.

    For a regressor this is the mean of `predict`. For a classifier it is the mean smoothed
    probability for one class, ``sigma(eta/t)`` or ``softmax(eta/t)`` with the raw
    prediction eta. At temperature t = 1 these are the probabilities that `predict_proba`
    returns for a logistic regression. As t approaches 0, the mean approaches the share of
    samples that get the class.

    Parameters
    ----------
    estimator : object
        Fitted skinfluence estimator, or a pipeline that ends in one.
    X : {array-like, sparse matrix} of shape (m, n_features)
        The m samples.
    label : object, default=None
        For a classifier the class; None selects the second if there are two. For a
        regressor with several targets the index of a target.
    sample_weight : array-like of shape (m,), default=None
        Weights in the mean; None for equal weights.
    temperature : float, default=1.0
        Width t of the smoothing, in units of the decision function. Only for classifiers.

    Returns
    -------
    functional : Functional
        The weighted mean, in units of the target, or a rate between 0 and 1.

    Raises
    ------
    ValueError
        If `label` is required and None, or unknown, or if `temperature` is not positive.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.functionals import mean_prediction
    >>> from skinfluence.linear_model import Ridge
    >>> X, y = load_diabetes(return_X_y=True)
    >>> reg = Ridge().fit(X, y)
    >>> round(mean_prediction(reg, X[:10]).value(reg.params_), 1)
    142.5
    """
    check_temperature(temperature)
    weights = np.ones(np.shape(X)[0]) if sample_weight is None else column_or_1d(sample_weight)
    weights = weights / weights.sum()
    loss, response = smooth_response(estimator, label)
    return WeightedResponse(estimator, X, loss, response, weights, temperature)


def probability(
    estimator: Estimator, x: MatrixLike, *, label: object = None, temperature: float = 1.0
) -> Functional:
    """Return a functional for the probability that one sample belongs to a class.

    Parameters
    ----------
    estimator : object
        Fitted skinfluence classifier, or a pipeline that ends in one.
    x : array-like of shape (1, n_features)
        The sample.
    label : object, default=None
        The class; None selects the second if there are two.
    temperature : float, default=1.0
        Width t of the smoothing, see `mean_prediction`.

    Returns
    -------
    functional : Functional
        The entry for the class in ``sigma(eta/t)`` or ``softmax(eta/t)``.

    Raises
    ------
    ValueError
        If the estimator is not a classifier, or if `x` does not contain exactly one sample.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skinfluence.functionals import probability
    >>> from skinfluence.linear_model import LogisticRegression
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = LogisticRegression(max_iter=1000).fit(X, y)
    >>> f = probability(clf, X[:1], label=0)
    >>> round(f.value(clf.params_), 3)
    0.982
    """
    check_classifier(estimator, "probability")
    check_one_sample(x)
    return mean_prediction(estimator, x, label=label, temperature=temperature)


def margin(estimator: Estimator, x: MatrixLike, *, label: object = None) -> Functional:
    """Return a functional for the margin by which one sample gets a class.

    The margin is ``eta_c - max_{k != c} eta_k``, which is positive if `predict` returns
    class c. With two classes it is the decision function or its negative. If two other
    classes tie for the maximum, the gradient follows one of them.

    For an `SVC` with several classes the sign agrees with `predict` if ``break_ties=True``.
    By default, that estimator resolves tied votes in favour of the first class.

    Parameters
    ----------
    estimator : object
        Fitted skinfluence classifier, or a pipeline that ends in one.
    x : array-like of shape (1, n_features)
        The sample.
    label : object, default=None
        The class c; None selects the predicted class.

    Returns
    -------
    functional : Functional
        The margin, in units of the decision function.

    Raises
    ------
    ValueError
        If the estimator is not a classifier, or if `x` does not contain exactly one sample.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skinfluence.functionals import margin
    >>> from skinfluence.linear_model import LogisticRegression
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = LogisticRegression(max_iter=1000).fit(X, y)
    >>> round(margin(clf, X[:1]).value(clf.params_), 1)
    4.0
    """
    problem = check_classifier(estimator, "margin")
    check_one_sample(x)
    if label is None:
        label = estimator.predict(x)[0]
    return _Margin(estimator, x, class_code(problem, label))


class WeightedResponse(PredictionFunctional):
    """sum_i a_i response_r(eta_i / t).

    Parameters
    ----------
    estimator : object
        Fitted estimator.
    X : array-like of shape (m, n_features)
        The samples.
    loss : Loss
        Maps raw predictions to responses.
    response : int
        Column r to use from the responses.
    weights : ndarray of shape (m,)
        Weights a.
    temperature : float, default=1.0
        Temperature t.
    """

    def __init__(self, estimator, X, loss, response, weights, temperature=1.0):
        super().__init__(estimator, X)
        check_consistent_length(self.design.X, weights)
        self.loss, self.response, self.weights = loss, response, weights
        # The response of a regressor has no temperature.
        self.temperature = temperature if self.problem.is_classifier else 1.0

    def value_of_raw(self, raw):
        return self.weights @ self.loss.response(raw / self.temperature)[:, self.response]

    def gradient_of_raw(self, raw):
        jacobian = self.loss.response_jacobian(raw / self.temperature)
        if jacobian is None:
            gradient = np.zeros(raw.shape)
            gradient[:, self.response] = self.weights
        else:
            gradient = self.weights[:, None] * jacobian[:, self.response]
        return gradient / self.temperature

    def parts_of_raw(self):
        raw = np.zeros((len(self.weights), self.layout.n_outputs))
        if self.loss.response_jacobian(raw) is not None:
            return None
        return [self.gradient_of_raw(raw)]


class _Margin(PredictionFunctional):
    """eta_c - max_{k != c} eta_k for one sample; +-eta if there is one output.

    Parameters
    ----------
    estimator : object
        Fitted classifier.
    x : array-like of shape (1, n_features)
        The sample.
    code : int
        Index c of the class in `classes_`.
    """

    def __init__(self, estimator, x, code):
        super().__init__(estimator, x)
        self.code = code

    def value_of_raw(self, raw):
        return np.sum(self.gradient_of_raw(raw) * raw)

    def gradient_of_raw(self, raw):
        if raw.shape[1] == 1:
            return np.full((1, 1), 1.0 if self.code else -1.0)
        others = raw[0].copy()
        others[self.code] = -np.inf
        gradient = np.zeros(raw.shape)
        gradient[0, self.code], gradient[0, others.argmax()] = 1.0, -1.0
        return gradient

    def parts_of_raw(self):
        K = self.layout.n_outputs
        if K == 1:
            return [self.gradient_of_raw(np.zeros((1, 1)))]
        chosen = np.eye(K)[self.code]
        return [(chosen - np.eye(K)[k])[None] for k in range(K) if k != self.code]


def smooth_response(estimator, label):
    """Return the loss and the column of its response for a label or target."""
    problem = problem_of(estimator)
    formulation = problem.formulation
    K = formulation.layout.n_predictions
    if problem.is_classifier:
        return (LogisticLoss() if K == 1 else SoftmaxLoss()), class_code(problem, label)
    target = 0 if label is None and K == 1 else label
    if not isinstance(target, Integral) or not 0 <= target < K:
        raise ValueError(f"label={shown(label)} must be the index of one of {K} targets.")
    # If the last output is a scale, the response does not contain it.
    loss = formulation.loss
    raw = np.zeros((1, formulation.layout.n_outputs))
    return (SquaredLoss() if loss.response_jacobian(raw) is None else loss), target
