"""influence_perturbation is the derivative of the refit's loss in a training row's features.

The oracle is the central difference of two refits with one feature of the row moved, times
S/w, the sum of the weights over the row's own.
"""

import re
import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler

from skinfluence import UnsupportedEstimatorError
from skinfluence.kernel_ridge import KernelRidge
from skinfluence.linear_model import Lasso, LinearRegression, Ridge
from skinfluence.pipeline import make_pipeline, problem_of
from skinfluence.svm import SVC, SVR, LinearSVC, SmoothHingeSVC
from tests.cases import CASES
from tests.fits import DESCENT, Case, data, frozen, relative_error

NAMES = {
    "binary-balanced",
    "softmax-3",
    "softmax-no-intercept",
    "ridge",
    "ridge-targets",
    "poisson",
    "least-squares",
    "ridge-classifier-balanced",
    "gamma",
    "tweedie-gamma-identity",
    "lasso",
    "elastic-net-targets",
    "smooth-hinge-1",
    "squared-hinge",
    "squared-hinge-classes",
    "kernel-ridge",
    "kernel-ridge-targets",
    "smooth-svc-1",
    "smooth-svc-classes",
}
SHARED = [MinMaxScaler(), MaxAbsScaler(), RobustScaler(), SimpleImputer(strategy="median")]
SMOOTH = {"tol": 1e-13, "max_iter": 1000}
LIBSVM = {"gamma": 0.1, "tol": 1e-11}
MORE = [
    Case(
        "smooth-linear",
        SmoothHingeSVC(kernel="linear", **SMOOTH),
        "cancer",
        kernel=True,
        rows=(5, 22),
    ),
    Case(
        "kernel-ridge-sigmoid",
        KernelRidge(kernel="sigmoid", gamma=0.01, coef0=0.1),
        "diabetes",
        kernel=True,
    ),
    Case(
        "smooth-poly",
        SmoothHingeSVC(kernel="poly", gamma=0.05, coef0=1.0, temperature=1.0, **SMOOTH),
        "cancer",
        kernel=True,
    ),
    Case("svc", SVC(C=2.0, **LIBSVM), "cancer", kernel=True, influence=1e-3),
    Case("svr", SVR(C=2.0, **LIBSVM), "diabetes", kernel=True, influence=1e-3),
]
CASES_HERE = [case for case in CASES if case.name in NAMES] + MORE


@pytest.mark.parametrize("case", CASES_HERE, ids=lambda case: case.name)
def test_it_is_the_derivative_in_the_features(case):
    fitted, (X, y, w) = case.fit(), case.data()
    estimator = frozen(case, fitted)
    # Off the training data: there the loss of a row held by a kink has two slopes.
    queries, labels = X[::9] + 0.01, y[::9]
    step = 1e-3 if case.name.startswith("sv") else 1e-4
    rows = case.rows
    if case.name.startswith("sv"):  # one on the bound, one held, one off the support
        partition = problem_of(fitted).state("auto").point.partition
        on_kink, sloped = partition.held[:, 0], partition.slope[:, 0] != 0
        rows = [np.flatnonzero(mask)[0] for mask in (sloped, on_kink, ~on_kink & ~sloped)]
    for row in rows:
        found = fitted.influence_perturbation(queries, labels, index=row)
        for feature in (0, X.shape[1] - 1):
            losses = []
            for sign in (1, -1):
                moved = X.copy()
                moved[row, feature] += sign * step
                refit = clone(estimator).fit(moved, y, sample_weight=w)
                losses.append(refit.sample_loss(queries, labels))
            expected = w.sum() / w[row] * (losses[0] - losses[1]) / (2 * step)
            error = np.abs(found[:, feature] - expected).max()
            size = max(np.abs(found).max(), np.abs(expected).max())
            assert error <= case.influence * size


@pytest.mark.parametrize("name", ["binary", "ridge", "smooth-hinge-1"])
def test_sparse_data_give_the_same(name):
    case = next(case for case in CASES if case.name == name)
    fitted, (X, y, w) = case.fit(), case.data()
    expected = fitted.influence_perturbation(X[:5], y[:5], index=4)
    fitted.set_training_data(sparse.csr_array(X), y, w)
    found = fitted.influence_perturbation(sparse.csr_array(X[:5]), y[:5], index=4)
    assert relative_error(found, expected) < 1e-9


def test_kernels_without_a_derivative_are_refused():
    X, y, w = data("cancer")
    K = X @ X.T
    clf = SmoothHingeSVC(kernel="precomputed").fit(K, y, w)
    with pytest.raises(UnsupportedEstimatorError, match="kernel='precomputed'"):
        clf.influence_perturbation(K[:2], y[:2], index=0)
    clf = SmoothHingeSVC(kernel=lambda A, B: A @ B.T).fit(X, y, w)
    with pytest.raises(UnsupportedEstimatorError, match="kernel=<function"):
        clf.influence_perturbation(X[:2], y[:2], index=0)
    X, y, w = data("diabetes")
    reg = KernelRidge(kernel="laplacian").fit(X, y, w)
    with pytest.raises(UnsupportedEstimatorError, match="kernel='laplacian'"):
        reg.influence_perturbation(X[:2], y[:2], index=0)


def test_a_row_held_by_a_linear_model_is_refused():
    X, y, w = data("cancer")
    clf = LinearSVC(loss="hinge", tol=1e-8, max_iter=1_000_000, random_state=0).fit(X, y, w)
    held = np.flatnonzero(problem_of(clf).state("auto").point.partition.held)[0]
    with pytest.raises(UnsupportedEstimatorError, match=f"sample {held} is exactly at a kink"):
        clf.influence_perturbation(X[:2], y[:2], index=held)


def test_dependent_features_are_refused():
    X, y, w = data("dependent")
    reg = LinearRegression().fit(X, y, w)
    with pytest.raises(UnsupportedEstimatorError, match="depend on each other"):
        reg.influence_perturbation(X[:2], y[:2], index=0)


def test_a_feature_off_the_support_does_nothing():
    X, y, w = data("diabetes")
    reg = Lasso(alpha=0.15, **DESCENT).fit(X, y, w)
    found = reg.influence_perturbation(X[:9], y[:9], index=3)
    np.testing.assert_array_equal((found != 0).any(axis=0), reg.coef_ != 0)
    off = np.flatnonzero(reg.coef_ == 0)
    assert 0 < len(off) < 10
    moved = X.copy()
    moved[3, off] += 1e-3
    refit = Lasso(alpha=0.15, **DESCENT).fit(moved, y, w)
    assert relative_error(refit.params_, reg.params_) < 1e-10


@pytest.mark.parametrize("index", [-201, 200, 1.5, [0, 1], True])
def test_the_index_is_one_training_row(index):
    case = CASES[0]
    fitted, (X, y, _) = case.fit(), case.data()
    with pytest.raises(ValueError, match=r"ind(ex|ices)"):
        fitted.influence_perturbation(X[:2], y[:2], index=index)


@pytest.mark.parametrize("step", SHARED, ids=lambda step: type(step).__name__)
def test_values_that_samples_share_have_two_derivatives_and_a_warning_tells_their_gap(step):
    X, y = (part[:29] for part in data("diabetes")[:2])
    X = np.round(X[:, 2:4] * 2) / 2
    if isinstance(step, SimpleImputer):
        X[::7, 0] = np.nan
    pipe = make_pipeline(clone(step), Ridge()).fit(X, y)
    queries, target, size, kinks = X[1:4], y[1:4], 1e-6, 0

    def losses(row, column, change):
        moved = X.copy()
        moved[row, column] += change
        return (clone(pipe).fit(moved, y).predict(queries) - target) ** 2

    before = losses(0, 0, 0.0)
    for row in range(1, len(X), 2):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = pipe.influence_perturbation(queries, target, index=row) / len(X)
        up, down = (
            np.stack([(losses(row, j, c) - before) / c for j in range(2)], axis=1)
            for c in (size, -size)
        )
        known = ~np.isnan(X[row])
        up, down, mean = up[:, known], down[:, known], (up + down)[:, known] / 2
        gap, largest = np.abs(up - down).max(), np.abs(mean).max()
        np.testing.assert_allclose(found[:, known], mean, atol=2e-3 * largest)
        told = [re.search(r"by ([\d.]+) of the largest", str(w.message)) for w in caught]
        told = float(told[0][1]) if told else 0.0
        assert told == pytest.approx(gap / largest, rel=0.1, abs=1e-2)
        kinks += told > 0
    assert 0 < kinks < len(X) // 2
