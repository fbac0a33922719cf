"""Case diagnostics of a pipeline compare its fit with refits of the whole pipeline.

What describes the fit alone, such as leverages, stays that of the last step.
"""

from typing import Any, NamedTuple

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.decomposition import PCA
from sklearn.kernel_approximation import Nystroem
from sklearn.preprocessing import RobustScaler, StandardScaler

from skinfluence import InfluenceWarning
from skinfluence.inspection import LeverageDisplay, outlier_test
from skinfluence.kernel_ridge import KernelRidge
from skinfluence.linear_model import GammaRegressor, LogisticRegression, Ridge
from skinfluence.neighbors import NearestCentroid
from skinfluence.pipeline import make_pipeline
from skinfluence.svm import SmoothHingeSVC

TIGHT = {"tol": 1e-12, "max_iter": 10_000, "solver": "newton-cholesky"}


class Case(NamedTuple):
    """A pipeline; curvature W and squared Pearson residuals as functions of y and raw f.

    Refits by Newton's method are exact for squared error, and else accurate to 1e-6.
    """

    model: Any
    curvature: Any
    squares: Any
    tol: float = 1e-5


def squared(model):
    return Case(model, lambda y, f: 2.0 + 0.0 * f, lambda y, f: 2.0 * (y - f) ** 2, 1e-9)


CASES = {
    "scaler": squared(make_pipeline(StandardScaler(), Ridge(alpha=1.0))),
    "scaler-pca": squared(make_pipeline(StandardScaler(), PCA(3), Ridge(alpha=1.0))),
    "kernel": squared(make_pipeline(StandardScaler(), KernelRidge(kernel="rbf", gamma=0.1))),
    "logistic": Case(
        make_pipeline(StandardScaler(), PCA(3), LogisticRegression(**TIGHT)),
        lambda y, f: 0.25 / np.cosh(f / 2.0) ** 2,
        None,
    ),
    "gamma": Case(
        make_pipeline(RobustScaler(), GammaRegressor(alpha=0.1, **TIGHT)),
        lambda y, f: y * np.exp(-f),
        lambda y, f: (y * np.exp(-f) - 1.0) ** 2,
    ),
}
GROUPS = [[3], [11, 17, 30], [5]]


def data(model):
    load = load_breast_cancer if hasattr(model, "predict_proba") else load_diabetes
    X, y = load(return_X_y=True)
    if load is load_diabetes:
        return 10 * X[:50, [0, 2, 3, 8, 9]] + 2, y[:50]
    return X[100:150, :5], y[100:150]


def raw(pipe, X):
    if hasattr(pipe, "decision_function"):
        return pipe.decision_function(X)
    f = pipe.predict(X)
    return np.log(f) if isinstance(pipe[-1], GammaRegressor) else f


@pytest.mark.parametrize("name", CASES)
def test_measures_and_dfbetas_are_those_of_refits(name):
    pipe, curvature, squares, tol = CASES[name]
    X, y = data(pipe)
    n = len(y)
    pipe.fit(X, y)
    single, grouped = pipe.influence_summary(), pipe.influence_summary(groups=GROUPS)
    of_last = pipe[-1].influence_summary()
    for fixed in ("leverage", "covratio", "standardized_residual", "newton_decrement"):
        np.testing.assert_array_equal(single[fixed], of_last[fixed])
    np.testing.assert_allclose(single.self_influence, pipe.self_influence())
    f, p = raw(pipe, X), single.leverage.sum()
    phi = 1.0 if squares is None else squares(y, f).sum() / (n - p)
    has_errors = not isinstance(pipe[-1], KernelRidge)
    if has_errors:
        per_group = pipe.dfbetas(GROUPS)
        np.testing.assert_allclose(pipe.dfbetas()[[3, 5]], per_group[[0, 2]], rtol=1e-9)
        error = np.sqrt(np.diag(pipe[-1].params_covariance("hessian")) / phi)
        params = np.append(pipe[-1].coef_, pipe[-1].intercept_)
    for g, rows in enumerate(GROUPS):
        others = np.delete(np.arange(n), rows)
        refit = clone(pipe).fit(X[others], y[others])
        moved = raw(refit, X)
        distance = np.sum(curvature(y, f) * (f - moved) ** 2)
        dispersion = 1.0
        if squares is not None:
            dispersion = squares(y, moved)[others].sum() / (n - len(rows) - p)
        expected = [
            distance / (p * phi),
            np.sqrt(distance / dispersion),
            refit.sample_loss(X[rows], y[rows]).mean(),
        ]
        found = [grouped.cooks_distance[g], grouped.dffits[g], grouped.leave_out_loss[g]]
        np.testing.assert_allclose(found, expected, rtol=tol)
        if len(rows) == 1:
            (i,) = rows
            expected[1] *= np.sign(f[i] - moved[i])
            # r_i / sqrt(phi (1 - h_i)) in units of the refit's dispersion
            residual = of_last.standardized_residual[i] * np.sqrt(phi / dispersion)
            found = [single.cooks_distance[i], single.dffits[i], single.leave_out_loss[i]]
            np.testing.assert_allclose(found, expected, rtol=tol)
            np.testing.assert_allclose(single.studentized_residual[i], residual, rtol=tol)
        if has_errors:
            other = np.append(refit[-1].coef_, refit[-1].intercept_)
            expected = (params - other) / (np.sqrt(dispersion) * error)
            np.testing.assert_allclose(per_group[g], expected, rtol=tol, atol=tol)


def test_functions_of_the_summary_are_of_the_whole_fit():
    pipe = CASES["scaler-pca"].model
    X, y = data(pipe)
    summary = pipe.fit(X, y).influence_summary()
    np.testing.assert_array_equal(outlier_test(pipe).statistic, summary.studentized_residual)
    display = LeverageDisplay.from_estimator(pipe)
    np.testing.assert_array_equal(display.cooks_distance, summary.cooks_distance)


def test_a_step_without_a_derivative_lacks_self_influence_alone():
    X, y = data(Ridge())
    step = Nystroem(n_components=5, random_state=0)
    pipe = make_pipeline(StandardScaler(), step, Ridge(alpha=1.0)).fit(X, y)
    with pytest.warns(InfluenceWarning, match="self_influence is NaN.*Nystroem"):
        summary = pipe.influence_summary()
    assert np.isnan(summary.pop("self_influence")).all()
    assert np.isfinite(list(summary.values())).all()
    refit = clone(pipe).fit(X[1:], y[1:])
    expected = refit.sample_loss(X[:1], y[:1])
    np.testing.assert_allclose(summary.leave_out_loss[:1], expected, rtol=1e-7)


def test_gamma_moves_in_the_summary_of_a_kernel_model_alone():
    X, y = data(LogisticRegression())
    fit = SmoothHingeSVC(C=1.0, gamma="scale").fit(X, y)
    refit = clone(fit).fit(X[1:], y[1:])
    expected = refit.sample_loss(X[:1], y[:1])
    np.testing.assert_allclose(fit.influence_summary().leave_out_loss[:1], expected, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")
@pytest.mark.parametrize("step", [StandardScaler(), RobustScaler()])
def test_the_jackknife_of_a_fit_that_stopped_early_is_around_the_optimum(step):
    X, y = load_breast_cancer(return_X_y=True)
    X, y = X[:90, :4], y[:90]
    early = make_pipeline(step, LogisticRegression(max_iter=3)).fit(X, y)
    optimum = make_pipeline(clone(step), LogisticRegression(tol=1e-9, max_iter=500)).fit(X, y)
    moved = optimum.leave_out_params(method="exact") - optimum[-1].params_
    found = early.params_covariance("jackknife")
    np.testing.assert_allclose(found, moved.T @ moved, rtol=1e-2, atol=1e-4 * found.max())
    check = early.leave_out_check(4, random_state=0)
    np.testing.assert_allclose(check.actual, moved[check.indices], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "model",
    [make_pipeline(StandardScaler(), Ridge()), make_pipeline(RobustScaler(), Ridge())],
    ids=["scaled", "refitted"],
)
def test_changes_of_large_parameters_keep_their_digits_in_single_precision(model):
    X, y = load_diabetes(return_X_y=True)
    X, y = X[:60], 1e6 + y[:60]
    fitted = model.fit(X, y)
    expected = fitted.dfbetas()
    found = fitted.dfbetas(dtype=np.float32)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


def test_parameters_that_do_not_move_have_no_change_in_single_precision():
    X, y = load_iris(return_X_y=True)
    fitted = NearestCentroid().fit(X[::3] + 1e4, y[::3])
    expected = fitted.dfbetas()
    found = np.empty(expected.shape, np.float32)
    assert fitted.dfbetas(out=found) is found
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
