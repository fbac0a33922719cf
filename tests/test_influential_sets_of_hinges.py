"""Influential sets of models that kinks hold: each flip is one of scikit-learn's refit."""

import re
from inspect import signature

import numpy as np
import pytest
from sklearn.base import is_classifier

from skinfluence import UnsupportedEstimatorError, functionals
from skinfluence.inspection import most_influential_set
from skinfluence.kernel_ridge import KernelRidge
from skinfluence.svm import SVC, SVR, LinearSVC, LinearSVR
from tests.fits import data, sklearn_parent

LIBLINEAR = {"tol": 1e-8, "max_iter": 10_000_000}
CLASSIFIERS = {
    "rbf": SVC(tol=1e-10),
    "linear-kernel": SVC(kernel="linear", tol=1e-10),
    "liblinear": LinearSVC(loss="hinge", **LIBLINEAR),
}
REGRESSORS = {
    "svr": SVR(epsilon=0.3, tol=1e-10),
    "liblinear": LinearSVR(epsilon=0.3, **LIBLINEAR),
}


def refit_without(fitted, X, y, rows):
    """Return scikit-learn's own refit without some rows, gamma="scale" as of the others."""
    kept = np.delete(np.arange(len(y)), rows)
    options = fitted.get_params() | LIBLINEAR
    return sklearn_parent(fitted)(**options).fit(X[kept], y[kept])


@pytest.mark.parametrize("search", ["greedy", "linear"])
@pytest.mark.parametrize("clf", CLASSIFIERS.values(), ids=CLASSIFIERS)
def test_a_flipped_class_is_one_of_the_refit(clf, search):
    X, y, _ = data("cancer")
    clf.fit(X, y)
    closest = int(np.abs(clf.decision_function(X)).argmin())
    x = X[[closest]]
    result = most_influential_set(clf, functionals.margin(clf, x), search=search)
    refit = refit_without(clf, X, y, result.indices)
    sign = 1.0 if clf.predict(x)[0] == clf.classes_[1] else -1.0
    np.testing.assert_allclose(
        result.target_before, sign * clf.decision_function(x), atol=1e-5
    )
    np.testing.assert_allclose(
        result.target_after, sign * refit.decision_function(x), atol=1e-5
    )
    assert result.flipped == (refit.predict(x) != clf.predict(x))
    if search == "greedy":
        assert result.flipped
        assert result.n_linear is None or len(result.indices) <= result.n_linear


@pytest.mark.parametrize("reg", REGRESSORS.values(), ids=REGRESSORS)
def test_a_mean_passes_a_threshold_as_in_the_refit(reg):
    X, y, _ = data("diabetes")
    reg.fit(X, y)
    now = reg.predict(X[:5]).mean()
    for threshold in (0.98 * now, 1.02 * now):
        mean = functionals.mean_prediction(reg, X[:5])
        result = most_influential_set(reg, mean, threshold=threshold)
        refit = refit_without(reg, X, y, result.indices)
        assert result.flipped
        np.testing.assert_allclose(result.target_after, refit.predict(X[:5]).mean(), rtol=1e-5)
        assert (result.target_after > threshold) == (threshold > now)


def test_one_row_is_found_if_one_is_enough():
    X, y, _ = data("cancer")
    clf = SVC(gamma="auto", tol=1e-10).fit(X, y)
    gap = functionals.margin(clf, X[[3]])
    before = gap.value(clf.params_)
    single = np.array([gap.value(params) for params in clf.leave_out_params(method="exact")])
    threshold = before + 0.9 * (single - before).min()
    result = most_influential_set(clf, gap, threshold=threshold)
    assert result.indices.tolist() == [single.argmin()]
    np.testing.assert_allclose(result.target_after, single.min(), rtol=1e-8)


def test_pairs_of_classes():
    X, y, _ = data("wine")
    clf = SVC(tol=1e-10, break_ties=True).fit(X, y)
    scores = np.sort(clf.decision_function(X), axis=1)
    x = X[[int((scores[:, -1] - scores[:, -2]).argmin())]]
    result = most_influential_set(clf, functionals.margin(clf, x))
    assert result.flipped
    assert refit_without(clf, X, y, result.indices).predict(x) != clf.predict(x)


def test_repeated_rows_are_refitted():
    X, y, _ = data("cancer")
    X, y = np.repeat(X[:40], 3, axis=0), np.repeat(y[:40], 3)
    clf = SVC(kernel="linear", tol=1e-10).fit(X, y)
    closest = int(np.abs(clf.decision_function(X)).argmin())
    margin = functionals.margin(clf, X[[closest]])
    result = most_influential_set(clf, margin, max_samples=20)
    refit = refit_without(clf, X, y, result.indices)
    sign = 1.0 if clf.predict(X[[closest]])[0] == clf.classes_[1] else -1.0
    expected = sign * refit.decision_function(X[[closest]])
    np.testing.assert_allclose(result.target_after, expected, atol=1e-5)


@pytest.mark.parametrize(
    "model",
    [
        SVC(),
        SVR(),
        KernelRidge(),
        LinearSVC(loss="hinge", **LIBLINEAR),
        LinearSVR(**LIBLINEAR),
    ],
    ids=str,
)
def test_significance_is_refused_with_a_remedy_that_works(model):
    X, y, _ = data("cancer")
    y = y if is_classifier(model) else np.where(y == "benign", 1.0, -1.0)
    fitted = model.fit(X, y)
    with pytest.raises(UnsupportedEstimatorError, match="standard error") as error:
        most_influential_set(fitted, 0, significance=0.05)
    message = str(error.value)
    if "smooth()" in message:
        followed = fitted.smooth().polish()
    elif "loss=" in message:
        (loss,) = re.findall(r"loss='(\w+)'", message)
        followed = type(model)(**model.get_params() | {"loss": loss}).fit(X, y)
    else:
        assert "a functional as target, or a linear model" in message
        row = X[[3]]
        take = functionals.margin if is_classifier(fitted) else functionals.mean_prediction
        most_influential_set(fitted, take(fitted, row), max_samples=1)
        linear = LinearSVC if is_classifier(fitted) else LinearSVR
        loss = signature(LinearSVC).parameters["loss"].default
        loss = loss if is_classifier(fitted) else "squared_epsilon_insensitive"
        followed = linear(loss=loss, **LIBLINEAR).fit(X, y)
    most_influential_set(followed, 0, significance=0.05, max_samples=1)


def test_the_estimator_stays_as_it_was():
    X, y, _ = data("cancer")
    clf = SVC(tol=1e-10).fit(X, y)
    before, margin = clf.params_.copy(), functionals.margin(clf, X[[0]])
    most_influential_set(clf, margin, max_samples=2)
    np.testing.assert_array_equal(clf.params_, before)
    assert len(clf.influence_loss(X[:1], y[:1])[0]) == len(y)


def test_if_no_optimum_is_found_a_smooth_model_will_do():
    X, y = np.array([[1.0], [1.0 + 5e-7], [-1e-3]]), np.array([1, 1, 0])
    clf = LinearSVC(loss="hinge", C=10.0, fit_intercept=False, tol=1e-8).fit(X, y)
    with pytest.raises(ValueError, match=r"Use smooth\(\)\.polish\(\)"):
        most_influential_set(clf, "coef[x0]")
    result = most_influential_set(clf.smooth().polish(), "coef[x0]", max_samples=1)
    assert result.target_before > result.target_after > 0
