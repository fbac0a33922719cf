"""Slices of errors with the same cause, confirmed by refits."""

import numpy as np
import pytest
from sklearn import linear_model
from sklearn.datasets import load_diabetes, load_digits, load_iris
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler

from skinfluence import UnsupportedEstimatorError
from skinfluence.inspection import error_slices, slices
from skinfluence.kernel_ridge import KernelRidge
from skinfluence.linear_model import LogisticRegression, Ridge
from skinfluence.pipeline import make_pipeline, problem_of
from skinfluence.problem.requests import PLAIN
from skinfluence.svm import LinearSVC
from tests.fits import NEWTON


@pytest.fixture(scope="module")
def mislabelled():
    """Return digits, their labels, and labels with some 2s as 3s and some 4s as 9s."""
    X, y = load_digits(return_X_y=True)
    kept = np.isin(y, (2, 3, 4, 9))
    X, y = X[kept] / 16, y[kept]
    given = y.copy()
    given[np.flatnonzero(y == 2)[:40]] = 3
    given[np.flatnonzero(y == 4)[:40]] = 9
    return X, y, given


def test_each_kind_of_wrong_labels_is_a_slice_and_refits_confirm_it(mislabelled):
    X, y, given = mislabelled
    clf = LogisticRegression(C=0.1, **NEWTON).fit(X[:360], given[:360])
    wrong = 360 + np.flatnonzero(clf.predict(X[360:]) != y[360:])
    found = error_slices(clf, X[wrong], y[wrong], n_slices=2, random_state=0)
    assert sorted(found.sizes, reverse=True) == found.sizes.tolist()
    kinds = []
    for k in range(2):
        members, rows = wrong[found.labels == k], found.indices[k]
        assert len(members) == found.sizes[k]
        digit = np.bincount(y[members]).argmax()
        kinds.append(digit)
        assert np.mean(y[members] == digit) > 0.7
        assert np.sum((y[rows] == digit) & (given[rows] != digit)) >= 8
        kept = np.delete(np.arange(360), rows)
        refit = linear_model.LogisticRegression(C=0.1, **NEWTON)
        refit.fit(X[kept], given[kept])
        losses = [
            log_loss(y[members], model.predict_proba(X[members]), labels=model.classes_)
            for model in (clf, refit)
        ]
        np.testing.assert_allclose(found.loss_before[k], losses[0], rtol=1e-8)
        change = losses[1] - losses[0]
        np.testing.assert_allclose(found.confirmed_change[k], change, rtol=1e-6)
        assert found.predicted_change[k] == pytest.approx(change, rel=0.3)
    assert sorted(kinds) == [2, 4]


@pytest.mark.parametrize("q", [8, 60], ids=["fewer samples than parameters", "more"])
def test_inner_products_of_embeddings_are_influences(q):
    X, y = load_diabetes(return_X_y=True)
    reg = Ridge(alpha=0.1).fit(X[:300], y[:300])
    gradients = reg.loss_gradient(X[300 : 300 + q], y[300 : 300 + q])
    embedding = slices.embed(problem_of(reg), gradients, PLAIN)
    assert embedding.shape[1] == min(q, 11)
    products = gradients @ reg.solve_hessian(gradients).T
    np.testing.assert_allclose(
        embedding @ embedding.T, products, rtol=1e-8, atol=1e-10 * np.abs(products).max()
    )


def test_a_pipeline_is_refitted_with_its_steps():
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    w = np.linspace(0.5, 1.5, 200)
    pipe = make_pipeline(StandardScaler(), Ridge(alpha=20.0))
    pipe.fit(X[:200], y[:200], ridge__sample_weight=w)
    found = error_slices(
        pipe, X[200:240], y[200:240], n_slices=3, n_influential=6, random_state=0
    )
    k = 1
    kept = np.delete(np.arange(200), found.indices[k])
    refit = make_pipeline(StandardScaler(), linear_model.Ridge(alpha=20.0))
    refit.fit(X.iloc[kept], y.iloc[kept], ridge__sample_weight=w[kept])
    rows = 200 + np.flatnonzero(found.labels == k)
    after = np.mean((refit.predict(X.iloc[rows]) - y.iloc[rows]) ** 2)
    np.testing.assert_allclose(
        found.loss_before[k] + found.confirmed_change[k], after, rtol=1e-8
    )
    assert found.confirmed_change[k] < 0


def test_bad_calls_are_refused():
    X, y = load_diabetes(return_X_y=True)
    reg = Ridge().fit(X[:50], y[:50])
    with pytest.raises(ValueError, match="n_slices=5 is more than the 3 sample"):
        error_slices(reg, X[50:53], y[50:53])
    with pytest.raises(ValueError, match="n_slices=0"):
        error_slices(reg, X[50:], y[50:], n_slices=0)
    with pytest.raises(ValueError, match="n_influential=0"):
        error_slices(reg, X[50:], y[50:], n_influential=0)
    with pytest.raises(UnsupportedEstimatorError, match="KernelRidge has no solve_hessian"):
        error_slices(KernelRidge().fit(X[:50], y[:50]), X[50:], y[50:])


def test_samples_without_a_loss_are_no_slices():
    X, y = load_iris(return_X_y=True)
    X, y = X[y < 2], y[y < 2]
    clf = LinearSVC(dual=False, tol=1e-10).fit(X, y)
    losses = clf.sample_loss(X, y)
    outside = np.flatnonzero(losses == 0)
    rows = np.r_[outside[:9], np.argmax(losses)]
    with pytest.raises(ValueError, match=r"n_slices=5 is more than the 2 different gradient"):
        error_slices(clf, X[rows], y[rows])
    found = error_slices(clf, X[rows], y[rows], n_slices=2, random_state=0)
    np.testing.assert_array_equal(found.sizes, [9, 1])
