"""Ridge classifiers of samples with several labels: one problem for each label.

scikit-learn's own refits, alone and behind steps that learn, are the oracle. Influence and
removal alone are also in the cases of `tests.cases`.
"""

import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn import linear_model as plain
from sklearn.base import clone
from sklearn.metrics import f1_score
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline as make_plain_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import from_fitted, functionals
from skinfluence.inspection import rank_label_errors
from skinfluence.linear_model import Ridge, RidgeClassifier, RidgeClassifierCV
from skinfluence.pipeline import make_pipeline
from tests.fits import data

X, Y, W = data("labels")
TWO = Y[:, :2]  # as many labels as a single label has classes
CV = KFold(5, shuffle=True, random_state=0)


@pytest.mark.parametrize("y", [Y, TWO], ids=["three", "two"])
@pytest.mark.parametrize("scaled", [False, True])
def test_responses_without_samples_are_those_of_cross_validation(y, scaled):
    ours, oracle = RidgeClassifier(), plain.RidgeClassifier()
    if scaled:
        ours = make_pipeline(StandardScaler(), ours)
        oracle = make_plain_pipeline(StandardScaler(), oracle)
    clf = ours.fit(X**3, y)
    for response in ("predict", "decision_function"):
        found = clf.leave_out_predict(cv=CV, response_method=response)
        expected = cross_val_predict(oracle, X**3, y, cv=CV, method=response)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-10)
    labels = cross_val_predict(oracle, X**3, y, cv=CV)
    score = clf.leave_out_score(cv=CV, scoring="f1_macro")
    assert score == pytest.approx(f1_score(y, labels, average="macro"))
    assert clf.leave_out_score(cv=CV) == pytest.approx(np.mean((labels == y).all(axis=1)))


@pytest.mark.parametrize("y", [Y, TWO], ids=["three", "two"])
def test_results_are_those_of_ridge_regression_on_signs(y):
    clf, reg = RidgeClassifier().fit(X, y, W), Ridge().fit(X, 2.0 * y - 1, W)
    signs = 2.0 * y - 1
    close = {"rtol": 1e-8, "atol": 1e-9}
    np.testing.assert_allclose(clf.sample_loss(X, y), reg.sample_loss(X, signs), **close)
    np.testing.assert_allclose(
        clf.influence_loss(X[:3], y[:3]), reg.influence_loss(X[:3], signs[:3]), **close
    )
    moved = clf.influence_prediction(X[:3])
    assert moved.shape == (3, len(X), y.shape[1])
    np.testing.assert_allclose(moved, reg.influence_prediction(X[:3]), **close)
    frame = clf.influence_summary()
    np.testing.assert_allclose(frame.leave_out_loss, reg.influence_summary().leave_out_loss)


def test_a_fitted_model_is_converted_and_updated():
    fitted = plain.RidgeClassifierCV(alphas=[0.1, 1.0]).fit(X, sparse.csr_array(Y))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf = from_fitted(fitted, X, sparse.csr_array(Y))
    assert type(clf) is RidgeClassifierCV
    clf.remove_samples([3, 70])
    kept = np.delete(np.arange(len(X)), [3, 70])
    refit = plain.RidgeClassifier(alpha=fitted.alpha_).fit(X[kept], Y[kept])
    np.testing.assert_allclose(clf.coef_, refit.coef_, atol=1e-10)
    clf.add_samples(X[[3, 70]], Y[[3, 70]])
    np.testing.assert_allclose(clf.coef_, fitted.coef_, atol=1e-10)


def test_a_removal_may_leave_a_label_to_no_sample():
    y = np.column_stack([Y[:, 0], np.arange(len(Y)) == 5]).astype(int)
    pipe = make_pipeline(StandardScaler(), RidgeClassifier()).fit(X, y)
    refit = clone(pipe).fit(np.delete(X, 5, 0), np.delete(y, 5, 0))
    np.testing.assert_allclose(pipe.leave_out_params([[5]])[0], refit.params_, atol=1e-10)


def test_the_best_other_labels_are_those_of_all_sets():
    clf = RidgeClassifier().fit(X, Y)
    eta = clf.leave_out_predict(response_method="decision_function")
    sets = np.array(list(np.ndindex(2, 2, 2)))
    losses = np.sum((eta[:, None] - (2 * sets - 1)) ** 2, axis=2)
    given = (Y[:, None] == sets).all(axis=2)
    scores = losses[given] - np.where(given, np.inf, losses).min(axis=1)
    np.testing.assert_allclose(rank_label_errors(clf, return_scores=True)[1], scores)


@pytest.mark.parametrize(
    ("y", "message"),
    [(Y[:, 0], "one column of 0 and 1"), (2 * Y, "y holds 2"), (Y[:, :2], "with 3 labels")],
)
def test_other_targets_are_refused(y, message):
    clf = RidgeClassifier().fit(X, Y)
    with pytest.raises(ValueError, match=message):
        clf.influence_loss(X, y)


def test_functionals_of_a_class_are_refused():
    clf = RidgeClassifier().fit(X, TWO)
    with pytest.raises(ValueError, match="no classes of which a sample has one"):
        functionals.probability(clf, X[:1])
