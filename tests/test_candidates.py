"""Candidates ranked by the validation loss with each, confirmed by refits."""

import warnings

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn import linear_model
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.decomposition import PCA
from sklearn.kernel_approximation import Nystroem
from sklearn.metrics import log_loss
from sklearn.preprocessing import MinMaxScaler, StandardScaler, scale

from skinfluence import InfluenceWarning, UnsupportedEstimatorError, from_fitted
from skinfluence.inspection import rank_candidates
from skinfluence.kernel_ridge import KernelRidge
from skinfluence.linear_model import LogisticRegression, PoissonRegressor, Ridge
from skinfluence.pipeline import make_pipeline
from skinfluence.svm import LinearSVC
from tests.fits import NEWTON


def split(X, y):
    order = np.random.default_rng(0).permutation(len(y))
    train, new, held = order[:60], order[60:76], order[90:160]
    return X[train], y[train], X[new], y[new], X[held], y[held]


def diabetes():
    X, y = load_diabetes(return_X_y=True)
    return scale(X), y


def cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return scale(X)[:, :8], y


def wine():
    X, y = load_wine(return_X_y=True)
    return scale(X), y


CASES = {
    "ridge": (diabetes, Ridge, linear_model.Ridge, {"alpha": 2.0}, 1e-9),
    "poisson": (
        diabetes,
        PoissonRegressor,
        linear_model.PoissonRegressor,
        {"alpha": 0.1, **NEWTON, "tol": 1e-8},
        0.05,
    ),
    "logistic": (
        cancer,
        LogisticRegression,
        linear_model.LogisticRegression,
        {"C": 0.1, **NEWTON},
        0.05,
    ),
    "balanced softmax": (
        wine,
        LogisticRegression,
        linear_model.LogisticRegression,
        {"C": 0.05, "class_weight": "balanced", **NEWTON},
        0.05,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_change_is_that_of_a_refit_with_the_candidate(case):
    data, ours, theirs, options, tolerance = CASES[case]
    X, y, X_new, y_new, X_val, y_val = split(*data())
    w = np.linspace(0.5, 1.5, len(y))
    fitted = ours(**options).fit(X, y, w)
    result = rank_candidates(fitted, X_new, y_new, X_val, y_val, n_confirmed=8)
    before = ours(**options).fit(X, y, w).sample_loss(X_val, y_val).mean()
    np.testing.assert_allclose(result.loss_before, before, rtol=1e-6)

    def loss_with(row):
        X_more, y_more = np.vstack([X, X_new[[row]]]), np.append(y, y_new[row])
        more = X_more, y_more, np.append(w, 1.0)
        refit = from_fitted(theirs(**options).fit(*more), *more)
        return refit.sample_loss(X_val, y_val).mean()

    actual = np.array([loss_with(row) for row in range(len(y_new))]) - before
    spread = np.abs(actual).max()
    assert np.abs(result.loss_change - actual).max() <= tolerance * spread
    assert spearmanr(result.loss_change, actual).statistic > 0.97
    np.testing.assert_array_equal(result.indices, np.argsort(result.loss_change))
    first = result.indices[:8]
    np.testing.assert_allclose(result.confirmed_change, actual[first], atol=1e-5 * spread)


def test_impossible_requests_are_named():
    X, y, X_new, y_new, X_val, y_val = split(*cancer())
    rest = X_new, y_new, X_val, y_val
    clf = LogisticRegression(**NEWTON).fit(X, y)
    assert rank_candidates(clf, *rest, n_confirmed=0).confirmed_change.shape == (0,)
    with pytest.raises(ValueError, match="n_confirmed=-1"):
        rank_candidates(clf, *rest, n_confirmed=-1)
    with pytest.raises(ValueError, match="not seen in fit"):
        rank_candidates(clf, X_new, y_new + 5, X_val, y_val)
    with pytest.raises(ValueError, match="features"):
        rank_candidates(clf, X_new[:, :3], y_new, X_val, y_val)
    hinge = LinearSVC(loss="hinge").fit(X, y)
    with pytest.raises(UnsupportedEstimatorError, match="by Newton's method"):
        rank_candidates(hinge, *rest)
    with pytest.raises(UnsupportedEstimatorError, match="kernel"):
        rank_candidates(KernelRidge().fit(X, y), *rest)


def test_every_step_of_a_pipeline_learns_from_a_candidate():
    X, y, X_new, y_new, X_val, y_val = split(*load_breast_cancer(return_X_y=True))
    X, X_new, X_val = X[:, :8], X_new[:, :8], X_val[:, :8]
    rest = X_new, y_new, X_val, y_val
    plain = make_pipeline(
        StandardScaler(), PCA(3), linear_model.LogisticRegression(C=0.1, **NEWTON)
    ).fit(X, y)
    pipe = from_fitted(plain, X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = rank_candidates(pipe, *rest, n_confirmed=16)
    actual = np.empty(16)
    for row in range(16):
        refit = clone(plain).fit(np.vstack([X, X_new[[row]]]), np.append(y, y_new[row]))
        actual[row] = log_loss(y_val, refit.predict_proba(X_val)) - result.loss_before
    np.testing.assert_allclose(result.confirmed_change, actual[result.indices], rtol=1e-6)
    assert np.abs(result.loss_change - actual).max() <= 0.06 * np.abs(actual).max()
    assert spearmanr(result.loss_change, actual).statistic > 0.99  # 0.64 with frozen steps


def test_steps_that_cannot_learn_from_a_candidate_are_named():
    X, y, X_new, y_new, X_val, y_val = split(*load_breast_cancer(return_X_y=True))
    rest = X_new, y_new, X_val, y_val
    clf = LogisticRegression(**NEWTON)
    beyond = ((X_new < X.min(axis=0)) | (X_new > X.max(axis=0))).any(axis=1)
    pipe = make_pipeline(MinMaxScaler(), clf).fit(X, y)
    named = (
        rf"of {beyond.sum()} candidate\(s\), such as row {np.argmax(beyond)}, .*MinMaxScaler"
    )
    with pytest.warns(InfluenceWarning, match=named):
        result = rank_candidates(pipe, *rest, n_confirmed=0)
    assert np.isfinite(result.loss_change).all()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", InfluenceWarning)
        rank_candidates(pipe, *(given[beyond][:3] for given in rest[:2]), *rest[2:])
    assert not any("predicts loss_change" in str(w.message) for w in caught)
    random = make_pipeline(StandardScaler(), Nystroem(n_components=8), clf).fit(X, y)
    with pytest.warns(InfluenceWarning, match=r"fitted: .*So does confirmed_change\."):
        rank_candidates(random, *rest, n_confirmed=1)


def test_a_step_that_a_refit_contradicts_is_told():
    X, y, X_new, y_new, X_val, y_val = split(*cancer())
    X, y = X[:30], y[:30]
    model = LogisticRegression(C=100.0, **NEWTON)
    clf = clone(model).fit(X, y)
    with pytest.warns(InfluenceWarning, match="One Newton step does not reach") as found:
        result = rank_candidates(clf, X_new, y_new, X_val, y_val, n_confirmed=5)
    first = result.indices[:5]
    refits = [
        clone(model).fit(np.vstack([X, X_new[[i]]]), np.append(y, y_new[i])) for i in first
    ]
    change = [clf.sample_loss(X_val, y_val).mean() for clf in refits] - result.loss_before
    share = np.abs(result.loss_change[first] - change).max() / np.abs(change).max()
    assert f"by up to {100 * share:.0f} %" in str(found[0].message)
    ridge = Ridge().fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error", InfluenceWarning)
        rank_candidates(ridge, X_new, y_new, X_val, y_val)
