"""Differences between two groups as functionals."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import column_or_1d
from sklearn.utils.validation import check_consistent_length

from skinfluence._typing import Estimator, MatrixLike
from skinfluence.checks import shown
from skinfluence.functionals.base import (
    Functional,
    check_classifier,
    check_temperature,
    class_code,
)
from skinfluence.functionals.predictions import WeightedResponse, smooth_response


def demographic_parity(
    estimator: Estimator,
    X: MatrixLike,
    sensitive: ArrayLike,
    *,
    label: object = None,
    temperature: float = 1.0,
) -> Functional:
    """Return a functional for the difference in mean prediction between two groups.

    With the prediction f(x), and m_a samples in group a::

        1/m_2 sum_(i in group 2) f(x_i) - 1/m_1 sum_(i in group 1) f(x_i)

    For a regressor, f is `predict`. For a classifier, it is the smoothed probability of the
    class, so that the means are the rates at which samples get it, see `mean_prediction`.

    Parameters
    ----------
    estimator : object
        Fitted skinfluence estimator, or a pipeline that ends in one.
    X : {array-like, sparse matrix} of shape (m, n_features)
        The m samples.
    sensitive : array-like of shape (m,)
        Group labels with two distinct values. The first group is the first in the order
        that `np.unique` returns.
    label : object, default=None
        For a classifier the class; None selects the second if there are two. For a
        regressor with several targets the index of a target.
    temperature : float, default=1.0
        Width t of the smoothing, in units of the decision function. Only for classifiers.

    Returns
    -------
    functional : Functional
        Mean in the second group minus mean in the first, in units of the target for a
        regressor, and between -1 and 1 for a classifier.

    Raises
    ------
    ValueError
        If `sensitive` does not have two distinct values.

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
    """Return a functional for the difference in true positive rate between two groups.

    This is the difference that `demographic_parity` computes, restricted to samples whose
    class is `label`: both sums and counts have only samples with y_i = label.

    Parameters
    ----------
    estimator : object
        Fitted skinfluence classifier, or a pipeline that ends in one.
    X : {array-like, sparse matrix} of shape (m, n_features)
        The m samples.
    y : array-like of shape (m,)
        True labels.
    sensitive : array-like of shape (m,)
        Group labels with two distinct values. The first group is the first in the order
        that `np.unique` returns.
    label : object, default=None
        The class; None selects the second if there are two.
    temperature : float, default=1.0
        Width t of the smoothing, see `mean_prediction`.

    Returns
    -------
    functional : Functional
        Rate in the second group minus rate in the first, between -1 and 1.

    Raises
    ------
    ValueError
        If the estimator is not a classifier, if `sensitive` does not have two distinct
        values, or if a group has no sample with this label.

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
    problem = check_classifier(estimator, "equal_opportunity")
    among = problem.formulation.target.codes(y) == class_code(problem, label)
    return _gap(estimator, X, sensitive, among, label, temperature)


def _gap(estimator, X, sensitive, among, label, temperature):
    """Return a functional for the difference between two group means.

    Only samples whose entry in the mask `among` is true count; None counts all.
    """
    check_temperature(temperature)
    groups, member = np.unique(column_or_1d(sensitive), return_inverse=True)
    if len(groups) != 2:
        raise ValueError(
            f"sensitive has {len(groups)} distinct values, {groups[:5].tolist()}, but the "
            "functional compares two groups: pass two distinct values."
        )
    counted = np.ones(len(member), dtype=bool) if among is None else among
    check_consistent_length(member, counted)
    weights = np.zeros(len(member))
    for group, sign in enumerate((-1.0, 1.0)):
        inside = counted & (member == group)
        if not inside.any():
            raise ValueError(
                f"No sample in group {shown(groups[group])} has the requested label, so its "
                "rate is not defined: pass samples with this label for both groups."
            )
        weights[inside] = sign / inside.sum()
    loss, response = smooth_response(estimator, label)
    return WeightedResponse(estimator, X, loss, response, weights, temperature)
