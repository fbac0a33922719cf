"""Class weights mean different things to different estimators; six classes tell them apart.

"balanced" counts samples (RidgeClassifier) or sums their weights (LogisticRegression,
LinearSVC), and of several one-against-rest problems a class's weight goes to all of its
rows everywhere (RidgeClassifier) or only in its own problem (LinearSVC). The oracle is the
refit by scikit-learn.
"""

import numpy as np
import pytest
from sklearn import linear_model, svm
from sklearn.base import clone
from sklearn.datasets import load_digits

from skinfluence.class_balance import ClassBalance
from skinfluence.linear_model import LogisticRegression, RidgeClassifier
from skinfluence.svm import LinearSVC
from tests.fits import DUAL, NEWTON, relative_error

GIVEN = {0: 3.0, 2: 0.2, 3: 1.7, 5: 0.6}
ESTIMATORS = {
    "ridge": RidgeClassifier(alpha=2.0, solver="cholesky"),
    "svc": LinearSVC(C=0.05, **DUAL),
    "logistic": LogisticRegression(C=0.3, **NEWTON),
}
each = pytest.mark.parametrize("name", ESTIMATORS)


def six_classes():
    """Return 120 digits of six kinds, more of some than of others, with weights."""
    X, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    rows = [rng.permutation(np.flatnonzero(y == k))[: 10 + 4 * k] for k in range(6)]
    rows = np.concatenate(rows)
    weight = rng.uniform(0.2, 2.0, len(rows)) * (1 + (y[rows] == 1))
    return X[rows] / 16, y[rows], weight


@each
@pytest.mark.parametrize("class_weight", [GIVEN, "balanced"], ids=["given", "balanced"])
def test_influence_is_the_derivative_of_the_refit(name, class_weight):
    X, y, w = six_classes()
    fitted = clone(ESTIMATORS[name]).set_params(class_weight=class_weight).fit(X, y, w)
    influence = fitted.influence_params()
    for row in (1, 60, 110):  # of classes 0, 3 and 5
        values = []
        for sign in (1, -1):
            times = np.ones(len(y))  # that each row occurs
            times[row] += sign * 1e-4 / w[row]
            resolved = weights_of(name, class_weight, y, w, times)
            refit = parent_of(fitted).set_params(class_weight=resolved)
            values.append(params(refit.fit(X, y, w * times)))
        expected = w.sum() * (values[0] - values[1]) / 2e-4
        assert np.abs(expected).max() > 1e-3
        assert relative_error(influence[row], expected) < (1e-3 if name == "svc" else 1e-5)


@each
@pytest.mark.parametrize("class_weight", [GIVEN, "balanced"], ids=["given", "balanced"])
def test_exact_removal_is_the_refit(name, class_weight):
    X, y, w = six_classes()
    fitted = clone(ESTIMATORS[name]).set_params(class_weight=class_weight).fit(X, y, w)
    refit = parent_of(fitted)
    groups = [[0], [60], [1, 30, 100]]
    for rows, found in zip(
        groups, fitted.leave_out_params(groups, method="exact"), strict=True
    ):
        kept = np.delete(np.arange(len(y)), rows)
        expected = params(refit.fit(X[kept], y[kept], w[kept]))
        assert relative_error(found, expected) < 1e-6


def test_balanced_counts_samples_or_sums_weights():
    _, y, w = six_classes()
    by_count = weights_of("ridge", "balanced", y, w)
    by_weight = weights_of("svc", "balanced", y, w)
    assert max(abs(by_count[k] / by_weight[k] - 1) for k in range(6)) > 0.2


def test_ridge_classifiers_go_on_without_a_class():
    # The rows of all other classes still have -1 as a target of its problem.
    X, y, w = six_classes()
    clf = RidgeClassifier(alpha=2.0, class_weight="balanced").fit(X, y, w)
    rows = np.flatnonzero(y == 4)
    check = clf.leave_out_check(1, [rows], method="exact", random_state=0)
    assert check.max_relative_error < 1e-8
    kept = y != 4
    binary = linear_model.Ridge(alpha=2.0)
    # The class weights are those of five classes.
    balanced = {k: kept.sum() / (5 * np.sum(y == k)) for k in range(6)}
    weight = np.array([balanced[k] for k in y]) * w
    binary.fit(X[kept], np.where(y[kept] == 2, 1.0, -1.0), weight[kept])
    coef, _ = clf.split_params(clf.leave_out_params([rows])[0])
    np.testing.assert_allclose(coef[2], binary.coef_, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(coef[4], 0.0, atol=1e-10)


def test_class_weights_grow_to_those_of_the_rows_left():
    codes = np.array([0, 0, 1, 1, 1, 2, 2, 2, 2])
    u = np.array([0.5, 2.0, 1.0, 0.0, 3.0, 1.0, 1.5, 0.7, 0.2])
    balance = ClassBalance(u, codes, np.ones((3, 1), bool), by_weight=True)
    groups = np.array([[1, -1, -1], [2, 5, 6], [0, 8, 7], [0, 1, 4]])
    for growth, rows in zip(balance.growth(groups), groups, strict=True):
        rows = rows[rows >= 0]
        expected = balance.without(rows).class_weight / balance.class_weight - 1.0
        expected[np.setdiff1d(codes, np.delete(codes, rows))] = 0.0  # a class without rows
        np.testing.assert_allclose(growth, expected, atol=1e-14)


def weights_of(name, class_weight, y, w, times=1.0):
    """Return the class weights as a fit resolves them, written out by hand."""
    if class_weight != "balanced":
        return class_weight
    size = times * (np.ones(len(y)) if name == "ridge" else w)
    of_class = np.bincount(y, weights=size)
    return {k: size.sum() / (6 * of_class[k]) for k in range(6)}


def parent_of(fitted):
    """Return scikit-learn's own estimator with the same parameters."""
    module = svm if hasattr(svm, type(fitted).__name__) else linear_model
    return getattr(module, type(fitted).__name__)(**fitted.get_params())


def params(fitted):
    return np.concatenate([fitted.coef_.ravel(), fitted.intercept_])
