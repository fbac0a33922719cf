"""Gaps between two groups as functionals."""

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import column_or_1d
from sklearn.utils.validation import check_consistent_length

from skinfluence._typing import Estimator, MatrixLike
from skinfluence.functionals.base import Functional
from skinfluence.functionals.checks import (
    check_classifier,
    check_temperature,
    class_code,
    default_label,
)
from skinfluence.functionals.predictions import WeightedResponse, smooth_response
from skinfluence.pipeline import problem_of

__all__ = ["demographic_parity", "equal_opportunity"]


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
    check_classifier(estimator, "equal_opportunity")
    problem = problem_of(estimator)
    code = class_code(problem, default_label(problem, label))
    among = problem.formulation.target.codes(y) == code
    return _gap(estimator, X, sensitive, among, label, temperature)


def _gap(estimator, X, sensitive, among, label, temperature):
    """Return the difference of two group means, among some of the samples."""
    check_temperature(temperature)
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
    loss, response = smooth_response(estimator, label)
    return WeightedResponse(estimator, X, loss, response, weights, temperature)
