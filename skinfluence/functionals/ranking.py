"""The area under the ROC curve as a functional."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit
from sklearn.utils.validation import check_consistent_length

from skinfluence._typing import Estimator, MatrixLike
from skinfluence.blocks import row_blocks
from skinfluence.functionals.base import (
    Functional,
    PredictionFunctional,
    check_classifier,
    check_temperature,
)


def auc_surrogate(
    estimator: Estimator, X: MatrixLike, y: ArrayLike, *, temperature: float = 1.0
) -> Functional:
    """Return a functional for a smooth area under the ROC curve.

    The functional averages over all pairs with i in the second class and j in the first::

        mean_(i, j) sigma((eta_i - eta_j) / t)

    The area under the ROC curve is the share of pairs in the right order, which is the limit
    t -> 0. Time is proportional to the number of pairs; pairs are formed in blocks to limit
    memory.

    Parameters
    ----------
    estimator : object
        Fitted binary skinfluence classifier, or a pipeline that ends in one.
    X : {array-like, sparse matrix} of shape (m, n_features)
        The m samples, from both classes.
    y : array-like of shape (m,)
        True labels.
    temperature : float, default=1.0
        Width t of the smoothing, in units of the decision function.

    Returns
    -------
    functional : Functional
        The smoothed area, from 0 to 1.

    Raises
    ------
    ValueError
        If the estimator does not have two classes, or if `y` contains only one.

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
    problem = check_classifier(estimator, "auc_surrogate")
    check_temperature(temperature)
    if len(problem.estimator.classes_) != 2:
        raise ValueError(
            "auc_surrogate needs a model with two classes, and this model has "
            f"{len(problem.estimator.classes_)}."
        )
    positive = problem.formulation.target.codes(y) == 1
    if positive.all() or not positive.any():
        raise ValueError(
            "y must contain samples from both classes, because the area under the ROC curve "
            "compares pairs."
        )
    return _RankingProbability(estimator, X, positive, temperature)


class _RankingProbability(PredictionFunctional):
    """mean_(i, j) sigma((eta_i - eta_j) / t) over pairs with i positive and j negative.

    Parameters
    ----------
    estimator : object
        Fitted binary classifier.
    X : array-like of shape (m, n_features)
        The samples.
    positive : ndarray of shape (m,)
        Mask for the positive samples.
    temperature : float
        Temperature t.
    """

    def __init__(self, estimator, X, positive, temperature):
        super().__init__(estimator, X)
        check_consistent_length(self.design.X, positive)
        self.positive, self.negative = np.flatnonzero(positive), np.flatnonzero(~positive)
        self.temperature = temperature

    def _blocks(self, raw):
        """Yield (positive rows, sigma for their pairs with every negative row)."""
        score = raw[:, -1] - raw[:, 0] if raw.shape[1] == 2 else raw[:, 0]
        below = score[self.negative]
        for block in row_blocks(len(self.positive), 8 * 4 * len(below)):
            rows = self.positive[block]
            yield rows, expit((score[rows, None] - below) / self.temperature)

    def value_of_raw(self, raw):
        return np.mean([s.mean() for _, part in self._blocks(raw) for s in part])

    def gradient_of_raw(self, raw):
        gradient = np.zeros(raw.shape)
        n_pairs = len(self.positive) * len(self.negative)
        for rows, s in self._blocks(raw):
            slope = s * (1.0 - s) / (self.temperature * n_pairs)
            gradient[rows, -1] = slope.sum(axis=1)
            gradient[self.negative, -1] -= slope.sum(axis=0)
        if raw.shape[1] == 2:
            gradient[:, 0] = -gradient[:, 1]
        return gradient
