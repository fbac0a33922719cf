"""Numbers that a fitted model is judged by, with their gradients in the parameters.

A functional f maps the parameter vector to one number and knows its gradient, so
`influence_functional` tells which training samples push it up or down:

>>> from sklearn.datasets import load_breast_cancer
>>> from sklearn.preprocessing import scale
>>> from skinfluence.functionals import auc_surrogate
>>> from skinfluence.linear_model import LogisticRegression
>>> X, y = load_breast_cancer(return_X_y=True)
>>> clf = LogisticRegression(tol=1e-8).fit(scale(X), y)
>>> auc = auc_surrogate(clf, scale(X), y)
>>> round(auc.value(clf.params_), 3)
0.996
>>> clf.influence_functional(auc).shape
(569,)

Everything but a coefficient is a function of the raw predictions of some given samples,
which stay as they are: what moves is the model. Class labels have no derivative; where a
rate is meant, they are smoothed by a logistic function of the raw prediction divided by a
temperature. At temperature 1 that is `predict_proba` of a logistic regression; towards 0 it
tends to the share of samples that are given the class.

Of a support vector classifier that decides between pairs of classes, the raw predictions are
the decision values of each class, with ``decision_function_shape="ovr"``: votes, and a share
of the confidences that breaks their ties. Gradients are those of the confidences, because
votes are constant until one of them jumps.
"""

from abc import ABC, abstractmethod
from numbers import Integral, Real

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit
from sklearn.utils import column_or_1d
from sklearn.utils.validation import check_consistent_length

from skinfluence._typing import Estimator, Floats, MatrixLike
from skinfluence.blocks import row_blocks
from skinfluence.losses import LogisticLoss, SoftmaxLoss, SquaredLoss
from skinfluence.pairs import PairDecision
from skinfluence.pipeline import problem_of
from skinfluence.steps import final_estimator, param_names
from skinfluence.targets import OneVsOneLabels

__all__ = [
    "Functional",
    "auc_surrogate",
    "coefficient",
    "demographic_parity",
    "equal_opportunity",
    "margin",
    "mean_prediction",
    "probability",
]


class Functional(ABC):
    """A number that depends on the parameters of a model, with its gradient.

    Calling it returns the gradient, which is what `influence_functional` asks of a callable.
    """

    @abstractmethod
    def value(self, params: Floats) -> float:
        """Return f(params).

        Parameters
        ----------
        params : ndarray of shape (p,)
            Parameters, laid out as `params_`.

        Returns
        -------
        value : float
            The number.
        """

    @abstractmethod
    def gradient(self, params: Floats) -> Floats:
        """Return the gradient of f in the parameters.

        Parameters
        ----------
        params : ndarray of shape (p,)
            Parameters, laid out as `params_`.

        Returns
        -------
        gradient : ndarray of shape (p,)
            Laid out as `params_`.
        """

    def __call__(self, params: Floats) -> Floats:
        """Return `gradient(params)`."""
        return self.gradient(params)


class _Coefficient(Functional):
    """One entry of the parameters.

    Parameters
    ----------
    position : int
        Which.
    """

    def __init__(self, position):
        self.position = position

    def value(self, params):
        return float(params[self.position])

    def gradient(self, params):
        gradient = np.zeros(len(params))
        gradient[self.position] = 1.0
        return gradient


class _OfPredictions(Functional):
    """A function of the raw predictions of given samples.

    Of models that decide between pairs of classes it is one of their decision values, one
    for each class.

    Parameters
    ----------
    estimator : object
        Fitted estimator.
    X : array-like
        The samples.
    """

    def __init__(self, estimator, X):
        self.problem = problem = problem_of(estimator)
        formulation = problem.formulation
        self.layout = formulation.layout
        self.samples = X
        self.design = problem.check_X(formulation, X)
        self.decide = None
        if isinstance(formulation.target, OneVsOneLabels):
            self.decide = PairDecision(len(problem.estimator.classes_))

    def value(self, params):
        raw = self._raw(params)
        return float(self._value(raw if self.decide is None else self.decide(raw)))

    def gradient(self, params):
        gradient = self._gradient_in_raw(self._raw(params))
        return self.problem.pull_sum(self.design, gradient, params)

    def sample_gradient(self, params):
        """Return the raw samples, their design, and the gradient in raw predictions."""
        return self.samples, self.design, self._gradient_in_raw(self._raw(params))

    def _gradient_in_raw(self, raw):
        if self.decide is None:
            return self._raw_gradient(raw)
        gradient = self._raw_gradient(self.decide(raw))
        return np.einsum("mc,mcp->mp", gradient, self.decide.jacobian(raw))

    def _raw(self, params):
        theta = self.layout.from_public(np.asarray(params, dtype=np.float64))
        return self.design.predict(theta)

    @abstractmethod
    def _value(self, raw):
        """Return f of raw predictions (m, K)."""

    @abstractmethod
    def _raw_gradient(self, raw):
        """Return the gradient of f in the raw predictions, (m, K)."""


class _WeightedResponse(_OfPredictions):
    """sum_i a_i response_r(eta_i / t).

    Parameters
    ----------
    estimator : object
        Fitted estimator.
    X : array-like of shape (m, n_features)
        The samples.
    loss : Loss
        Makes the responses of raw predictions.
    response : int
        Which of its responses, r.
    weights : ndarray of shape (m,)
        a.
    temperature : float, default=1.0
        t.
    """

    def __init__(self, estimator, X, loss, response, weights, temperature=1.0):
        super().__init__(estimator, X)
        check_consistent_length(self.design.X, weights)
        self.loss, self.response, self.weights = loss, response, weights
        self.temperature = temperature

    def _value(self, raw):
        return self.weights @ self.loss.response(raw / self.temperature)[:, self.response]

    def _raw_gradient(self, raw):
        jacobian = self.loss.response_jacobian(raw / self.temperature)
        if jacobian is None:
            gradient = np.zeros(raw.shape)
            gradient[:, self.response] = self.weights
        else:
            gradient = self.weights[:, None] * jacobian[:, self.response]
        return gradient / self.temperature


class _RankingProbability(_OfPredictions):
    """mean over pairs of sigma((eta_i - eta_j) / t), i positive and j negative.

    Parameters
    ----------
    estimator : object
        Fitted binary classifier.
    X : array-like of shape (m, n_features)
        The samples.
    positive : ndarray of shape (m,)
        Which are positive.
    temperature : float
        t.
    """

    def __init__(self, estimator, X, positive, temperature):
        super().__init__(estimator, X)
        check_consistent_length(self.design.X, positive)
        self.positive, self.negative = np.flatnonzero(positive), np.flatnonzero(~positive)
        self.temperature = temperature

    def _blocks(self, raw):
        """Generate (positive rows, sigma of their pairs with every negative row)."""
        score = raw[:, -1] - raw[:, 0] if raw.shape[1] == 2 else raw[:, 0]
        below = score[self.negative]
        for block in row_blocks(len(self.positive), 8 * 4 * len(below)):
            rows = self.positive[block]
            yield rows, expit((score[rows, None] - below) / self.temperature)

    def _value(self, raw):
        return np.mean([s.mean() for _, part in self._blocks(raw) for s in part])

    def _raw_gradient(self, raw):
        gradient = np.zeros(raw.shape)
        n_pairs = len(self.positive) * len(self.negative)
        for rows, s in self._blocks(raw):
            slope = s * (1.0 - s) / (self.temperature * n_pairs)
            gradient[rows, -1] = slope.sum(axis=1)
            gradient[self.negative, -1] -= slope.sum(axis=0)
        if raw.shape[1] == 2:
            gradient[:, 0] = -gradient[:, 1]
        return gradient


class _Margin(_OfPredictions):
    """eta_c - max_{k != c} eta_k of one sample, with one output +-eta.

    Parameters
    ----------
    estimator : object
        Fitted classifier.
    x : array-like of shape (1, n_features)
        The sample.
    code : int
        Position c of the class in `classes_`.
    """

    def __init__(self, estimator, x, code):
        super().__init__(estimator, x)
        self.code = code

    def _value(self, raw):
        return np.sum(self._raw_gradient(raw) * raw)

    def _raw_gradient(self, raw):
        if raw.shape[1] == 1:
            return np.full((1, 1), 1.0 if self.code else -1.0)
        others = raw[0].copy()
        others[self.code] = -np.inf
        gradient = np.zeros(raw.shape)
        gradient[0, self.code], gradient[0, others.argmax()] = 1.0, -1.0
        return gradient


def coefficient(estimator: Estimator, param: str | int) -> Functional:
    """Return the functional that is one parameter.

    Parameters
    ----------
    estimator : object
        Fitted estimator of skinfluence, or a pipeline that ends in one.
    param : str or int
        Name as in `param_names()`, or position in `params_`.

    Returns
    -------
    functional : Functional
        The number ``params[j]``.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.functionals import coefficient
    >>> from skinfluence.linear_model import Ridge
    >>> reg = Ridge().fit(*load_diabetes(return_X_y=True, as_frame=True))
    >>> bmi = coefficient(reg, "coef[bmi]")
    >>> round(bmi.value(reg.params_), 1)
    306.4
    """
    final_estimator(estimator)
    names = param_names(estimator)
    if isinstance(param, Integral) and not isinstance(param, bool):
        if not 0 <= param < len(names):
            raise ValueError(
                f"param={param} is outside the {len(names)} parameters, 0 to {len(names) - 1}."
            )
        return _Coefficient(int(param))
    if param not in names:
        raise ValueError(
            f"param={param!r} is not a parameter of this model: use a position or one of "
            f"{', '.join(names[:5])}{', ...' if len(names) > 5 else ''}."
        )
    return _Coefficient(names.index(param))


def mean_prediction(
    estimator: Estimator,
    X: MatrixLike,
    *,
    label: object = None,
    sample_weight: ArrayLike | None = None,
    temperature: float = 1.0,
) -> Functional:
    """Return the functional that is the mean prediction over some samples.

    Of a regressor the mean of `predict`, of a classifier the mean probability of a class,
    ``sigma(eta/t)`` or ``softmax(eta/t)``: at temperature t = 1 `predict_proba` of a
    logistic regression, towards 0 the share of samples that get the class.

    Parameters
    ----------
    estimator : object
        Fitted estimator of skinfluence, or a pipeline that ends in one.
    X : {array-like, sparse matrix} of shape (m, n_features)
        The samples, m of them.
    label : object, default=None
        Class of a classifier, by default the second of two; target of a regressor with
        several, by position.
    sample_weight : array-like of shape (m,), default=None
        Weights of the samples in the mean.
    temperature : float, default=1.0
        Width of the smoothing, for classifiers.

    Returns
    -------
    functional : Functional
        The weighted mean of the response.

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
    _check_temperature(temperature)
    weights = np.ones(np.shape(X)[0]) if sample_weight is None else column_or_1d(sample_weight)
    weights = weights / weights.sum()
    loss, response = _smooth_response(estimator, label)
    return _WeightedResponse(estimator, X, loss, response, weights, temperature)


def probability(
    estimator: Estimator, x: MatrixLike, *, label: object = None, temperature: float = 1.0
) -> Functional:
    """Return the functional that is the probability of a class for one sample.

    Parameters
    ----------
    estimator : object
        Fitted classifier of skinfluence, or a pipeline that ends in one.
    x : array-like of shape (1, n_features)
        The sample.
    label : object, default=None
        The class; by default the second of two.
    temperature : float, default=1.0
        Width of the smoothing, see `mean_prediction`.

    Returns
    -------
    functional : Functional
        The entry of ``sigma(eta/t)`` or ``softmax(eta/t)`` for the class.

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
    _check_classifier(estimator, "probability")
    _check_one(x)
    return mean_prediction(estimator, x, label=label, temperature=temperature)


def margin(estimator: Estimator, x: MatrixLike, *, label: object = None) -> Functional:
    """Return the functional whose sign tells whether one sample is given a class.

    ``eta_c - max_{k != c} eta_k``, positive where `predict` gives class c; with two classes
    plus or minus the decision function. Where two other classes tie the gradient is that of
    one of them. An `SVC` with several classes predicts so with ``break_ties=True``; by
    default it gives a tie of votes to the first class.

    Parameters
    ----------
    estimator : object
        Fitted classifier of skinfluence, or a pipeline that ends in one.
    x : array-like of shape (1, n_features)
        The sample.
    label : object, default=None
        The class c; by default the one that is predicted.

    Returns
    -------
    functional : Functional
        The margin of the class.

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
    _check_classifier(estimator, "margin")
    _check_one(x)
    if label is None:
        label = estimator.predict(x)[0]
    return _Margin(estimator, x, _code(problem_of(estimator), label))


def demographic_parity(
    estimator: Estimator,
    X: MatrixLike,
    sensitive: ArrayLike,
    *,
    label: object = None,
    temperature: float = 1.0,
) -> Functional:
    """Return the functional that is the gap of the mean prediction between two groups.

    Mean over the samples of the second group less mean over those of the first, of the
    prediction of a regressor or the smoothed rate of a class, see `mean_prediction`.

    Parameters
    ----------
    estimator : object
        Fitted estimator of skinfluence, or a pipeline that ends in one.
    X : {array-like, sparse matrix} of shape (m, n_features)
        The samples, m of them.
    sensitive : array-like of shape (m,)
        Group of each sample; two distinct values, in the order of `np.unique`.
    label : object, default=None
        The class; by default the second of two.
    temperature : float, default=1.0
        Width of the smoothing.

    Returns
    -------
    functional : Functional
        Mean in the second group less mean in the first.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.functionals import demographic_parity
    >>> from skinfluence.linear_model import LogisticRegression
    >>> X, y = load_diabetes(return_X_y=True)
    >>> clf = LogisticRegression().fit(X, y > 150)
    >>> gap = demographic_parity(clf, X, sensitive=X[:, 1] > 0)
    >>> round(gap.value(clf.params_), 3)
    0.061
    """
    return _gap(estimator, X, sensitive, None, label, temperature)


def equal_opportunity(
    estimator: Estimator,
    X: MatrixLike,
    y: ArrayLike,
    sensitive: ArrayLike,
    *,
    label: object = None,
    temperature: float = 1.0,
) -> Functional:
    """Return the functional that is the gap of a true positive rate between two groups.

    The gap of `demographic_parity` among the samples whose class is `label`.

    Parameters
    ----------
    estimator : object
        Fitted classifier of skinfluence, or a pipeline that ends in one.
    X : {array-like, sparse matrix} of shape (m, n_features)
        The samples, m of them.
    y : array-like of shape (m,)
        Their labels.
    sensitive : array-like of shape (m,)
        Group of each sample; two distinct values, in the order of `np.unique`.
    label : object, default=None
        The class; by default the second of two.
    temperature : float, default=1.0
        Width of the smoothing, see `mean_prediction`.

    Returns
    -------
    functional : Functional
        Rate in the second group less rate in the first.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.functionals import equal_opportunity
    >>> from skinfluence.linear_model import LogisticRegression
    >>> X, y = load_diabetes(return_X_y=True)
    >>> clf = LogisticRegression().fit(X, y > 150)
    >>> gap = equal_opportunity(clf, X, y > 150, sensitive=X[:, 1] > 0)
    >>> round(gap.value(clf.params_), 3)
    0.062
    """
    _check_classifier(estimator, "equal_opportunity")
    problem = problem_of(estimator)
    code = _code(problem, _default_label(problem, label))
    among = problem.formulation.target.codes(y) == code
    return _gap(estimator, X, sensitive, among, label, temperature)


def auc_surrogate(
    estimator: Estimator, X: MatrixLike, y: ArrayLike, *, temperature: float = 1.0
) -> Functional:
    """Return the functional that is a smooth area under the ROC curve.

    ``mean over pairs of sigma((eta_i - eta_j) / t)``, i of the second class and j of the
    first: the area under the curve counts pairs in the right order, the limit t -> 0. Time
    and memory in blocks for every pair.

    Parameters
    ----------
    estimator : object
        Fitted binary classifier of skinfluence, or a pipeline that ends in one.
    X : {array-like, sparse matrix} of shape (m, n_features)
        The samples, m of them, of both classes.
    y : array-like of shape (m,)
        Their labels.
    temperature : float, default=1.0
        Width t of the smoothing, in units of the decision function.

    Returns
    -------
    functional : Functional
        The smoothed area, from 0 to 1.

    References
    ----------
    Yan, Dodier, Mozer & Wolniewicz, "Optimizing classifier performance via an approximation
    to the Wilcoxon-Mann-Whitney statistic", 2003.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from skinfluence.functionals import auc_surrogate
    >>> from skinfluence.linear_model import LogisticRegression
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> clf = LogisticRegression().fit(scale(X), y)
    >>> round(auc_surrogate(clf, scale(X), y, temperature=0.01).value(clf.params_), 4)
    0.9974
    """
    _check_classifier(estimator, "auc_surrogate")
    _check_temperature(temperature)
    problem = problem_of(estimator)
    if len(problem.estimator.classes_) != 2:
        raise ValueError(
            "auc_surrogate is for two classes, and this model has "
            f"{len(problem.estimator.classes_)}."
        )
    positive = problem.formulation.target.codes(y) == 1
    if positive.all() or not positive.any():
        raise ValueError("y must hold samples of both classes: an area needs pairs.")
    return _RankingProbability(estimator, X, positive, temperature)


def _gap(estimator, X, sensitive, among, label, temperature):
    """Return the difference of two group means, among some of the samples."""
    _check_temperature(temperature)
    groups, member = np.unique(column_or_1d(sensitive), return_inverse=True)
    if len(groups) != 2:
        raise ValueError(
            f"sensitive holds {len(groups)} distinct values, {groups[:5].tolist()}: a gap is "
            "between two groups."
        )
    counted = np.ones(len(member), dtype=bool) if among is None else among
    check_consistent_length(member, counted)
    weights = np.zeros(len(member))
    for group, sign in enumerate((-1.0, 1.0)):
        inside = counted & (member == group)
        if not inside.any():
            raise ValueError(f"No sample of group {groups[group]!r} has the label asked for.")
        weights[inside] = sign / inside.sum()
    loss, response = _smooth_response(estimator, label)
    return _WeightedResponse(estimator, X, loss, response, weights, temperature)


def _smooth_response(estimator, label):
    """Return (loss, column): whose response stands for a label or target."""
    problem = problem_of(estimator)
    formulation = problem.formulation
    K = formulation.layout.n_predictions
    if problem.is_classifier:
        code = _code(problem, _default_label(problem, label))
        return (LogisticLoss() if K == 1 else SoftmaxLoss()), code
    target = 0 if label is None and K == 1 else label
    if not isinstance(target, Integral) or not 0 <= target < K:
        raise ValueError(f"label={label!r} must be the position of one of {K} targets.")
    # A scale among the outputs is no part of the response.
    loss = formulation.loss
    raw = np.zeros((1, formulation.layout.n_outputs))
    return (SquaredLoss() if loss.response_jacobian(raw) is None else loss), target


def _default_label(problem, label):
    """Return the label, the second class of two for None."""
    if label is not None:
        return label
    classes = problem.estimator.classes_
    if len(classes) != 2:
        raise ValueError(f"label is required: one of {classes.tolist()}.")
    return classes[1]


def _code(problem, label):
    """Return the position of a label in `classes_`."""
    return int(problem.formulation.target.codes([label])[0])


def _check_classifier(estimator, name):
    problem = problem_of(estimator)
    if not problem.is_classifier:
        raise ValueError(f"{name} is for classifiers, and {problem.name} is none.")


def _check_one(x):
    if np.ndim(x) != 2 or np.shape(x)[0] != 1:
        raise ValueError(f"x has shape {np.shape(x)}, but must hold one sample: X[[i]].")


def _check_temperature(temperature):
    if not isinstance(temperature, Real) or not 0 < temperature < np.inf:
        raise ValueError(f"temperature={temperature!r} must be a positive number.")
