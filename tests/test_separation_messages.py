"""All methods name a fit without an optimum in the same way; identified values are right.

The oracles are the limit of the fits, the fit without the rows, and statsmodels.
"""

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import KBinsDiscretizer

from skinfluence import existence
from skinfluence.exceptions import InfluenceWarning
from skinfluence.linear_model import (
    LogisticRegression,
    PoissonRegressor,
    SGDClassifier,
    TweedieRegressor,
)
from skinfluence.pipeline import make_pipeline, problem_of
from skinfluence.svm import LinearSVC, SmoothHingeLinearSVC
from tests.fits import NEWTON
from tests.separated import FREE, dummy, find, quietly, told


def lost_names(estimator):
    lost = problem_of(estimator).layout.to_public(find(estimator).lost)
    return [name for name, gone in zip(estimator.param_names(), lost, strict=True) if gone]


# What is said, and by whom.

SENTENCE = "There is no optimum: the objective falls forever along +1 coef[x0], because"


def test_every_method_says_so_once():
    X, y, rows = dummy()
    fit = LogisticRegression(C=np.inf).fit(X, y)
    report, messages = told(fit.convergence_report)
    assert not report.converged
    assert report.message.startswith(SENTENCE)
    assert f"{len(rows)} of 200 samples" in report.message
    assert not messages
    for method in (
        fit.influence_params,
        fit.self_influence,
        fit.newton_correction,
        lambda: fit.influence_loss(X[:3], y[:3]),
        lambda: fit.influential_samples(X[:3], y[:3]),
        fit.influence_summary,
        fit.dfbetas,
        *(
            lambda kind=kind: fit.params_covariance(kind)
            for kind in ("hessian", "jackknife", "infinitesimal_jackknife")
        ),
        *(
            lambda method=method: fit.leave_out_params(method=method)
            for method in ("influence", "newton", "exact")
        ),
        lambda: fit.leave_out_params(refine=0.1),
        lambda: fit.leave_out_predict(response_method="decision_function"),
        lambda: fit.leave_out_loss(X[:3], y[:3]),
    ):
        _, messages = told(method)
        assert len(messages) == 1
        assert messages[0].startswith(SENTENCE)
    for method in (fit.leave_out_predict, fit.leave_out_score):
        with pytest.raises(ValueError, match="no predicted class"):
            told(method)
    with pytest.warns(ConvergenceWarning, match=r"falls forever along \+1 coef\[x0\]"):
        fit.polish()


@pytest.mark.parametrize("as_sparse", [False, True])
def test_parameters_outside_the_direction_stay(as_sparse):
    # The limit is the fit to the other rows, whose standard errors statsmodels has as well.
    X, y, rows = dummy()
    fit = LogisticRegression(**FREE).fit(sparse.csr_matrix(X) if as_sparse else X, y)
    rest = np.setdiff1d(np.arange(200), rows)
    other = LogisticRegression(**FREE).fit(X[rest, 1:], y[rest])
    assert lost_names(fit) == ["coef[x0]"]
    for kind in ("hessian", "infinitesimal_jackknife", "jackknife"):
        covariance, _ = told(fit.params_covariance, kind)
        np.testing.assert_array_equal(np.isnan(covariance), [[1, 1, 1], [1, 0, 0], [1, 0, 0]])
        expected = other.params_covariance(kind)
        np.testing.assert_allclose(covariance[1:, 1:], expected, rtol=1e-5, atol=1e-7)
    dfbetas, _ = told(fit.dfbetas)
    assert np.isnan(dfbetas[:, 0]).all()
    np.testing.assert_allclose(dfbetas[rest, 1:], other.dfbetas(), rtol=1e-3, atol=1e-5)
    removed, _ = told(fit.leave_out_params)
    assert np.isnan(removed[:, 0]).all()
    np.testing.assert_allclose(removed[rest, 1:], other.leave_out_params(), atol=1e-4)
    exact, _ = told(fit.leave_out_params, method="exact")
    assert np.isnan(exact[:, 0]).all()
    expected = other.leave_out_params(method="exact")
    np.testing.assert_allclose(exact[rest, 1:], expected, rtol=1e-6, atol=1e-8)


def test_standard_errors_beside_the_direction_are_those_of_statsmodels():
    sm = pytest.importorskip("statsmodels.api")
    X, y, rows = dummy()
    fit = quietly(LogisticRegression(**FREE), X, y)
    covariance, _ = told(fit.params_covariance, "hessian")
    rest = np.setdiff1d(np.arange(200), rows)
    logit = sm.Logit(y[rest], np.column_stack([X[rest, 1], np.ones(len(rest))])).fit(disp=0)
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)[1:]), logit.bse, rtol=1e-5)


def test_complete_separation_loses_every_parameter():
    X = np.arange(10.0)[:, None]
    fit = LogisticRegression(C=np.inf).fit(X, X[:, 0] > 4.2)
    assert lost_names(fit) == ["coef[x0]", "intercept"]
    covariance, messages = told(fit.params_covariance)
    assert np.isnan(covariance).all()
    assert len(messages) == 1
    assert "coef[x0]" in messages[0]
    assert "intercept" in messages[0]


def test_a_feature_in_other_units_is_named_too():
    X, y, _ = dummy()
    for unit in (1e-6, 1e6):
        fit = quietly(LogisticRegression(**FREE), X * [unit, 1.0], y)
        assert "along +1 coef[x0]" in fit.convergence_report().message
    years = np.column_stack([2000.0 + np.arange(20), np.random.default_rng(0).normal(size=20)])
    fit = quietly(LogisticRegression(**FREE), years, years[:, 0] > 2011)
    assert "coef[x0]" in fit.convergence_report().message


# Other estimators.


def test_a_class_apart_among_three():
    X, y = load_iris(return_X_y=True)
    fit = quietly(LogisticRegression(C=np.inf), X, y)
    report, _ = told(fit.convergence_report)
    assert not report.converged
    assert "coef[0, x" in report.message
    assert find(LogisticRegression(max_iter=1000).fit(X, y)) is None


@pytest.mark.parametrize(
    "estimator",
    [
        PoissonRegressor(alpha=0, **NEWTON),
        TweedieRegressor(power=1.5, alpha=0, **NEWTON),
        TweedieRegressor(power=1.0, alpha=0, link="log", **NEWTON),
    ],
    ids=repr,
)
def test_a_category_of_zeros(estimator):
    X, _, rows = dummy()
    y = np.random.default_rng(1).poisson(np.exp(0.5 * X[:, 1]) + 0.5).astype(float)
    y[rows] = 0.0
    fit = quietly(estimator, X, y)
    assert "along -1 coef[x0]" in told(fit.convergence_report)[0].message
    assert lost_names(fit) == ["coef[x0]"]
    covariance, messages = told(fit.params_covariance, "hessian")
    assert np.isnan(np.diag(covariance)).tolist() == [True, False, False]
    assert sum("no optimum" in m for m in messages) == 1
    y[rows[0]] = 1.0
    fit = quietly(estimator, X, y)
    assert find(fit) is None
    assert fit.convergence_report().converged
    removed, messages = told(fit.leave_out_params)
    assert np.isnan(removed).any(axis=1).nonzero()[0].tolist() == [rows[0]]


def test_a_gamma_deviance_holds_every_side():
    X, _, rows = dummy()
    y = np.random.default_rng(1).gamma(2.0, size=200)
    y[rows] *= 1e-3
    for power in (2.0, 3.0):
        fit = quietly(TweedieRegressor(power=power, alpha=0, **NEWTON), X, y)
        assert find(fit) is None


@pytest.mark.parametrize(
    "estimator",
    [
        LogisticRegression(C=1e4, **NEWTON),
        LogisticRegression(C=1e4, solver="liblinear", tol=1e-10, max_iter=1000),
        LogisticRegression(C=10.0, l1_ratio=1.0, solver="saga", tol=1e-8, max_iter=10000),
        LinearSVC(),
        SmoothHingeLinearSVC(C=10.0),
        SGDClassifier("log_loss", alpha=1e-6, random_state=0),
    ],
    ids=repr,
)
def test_a_penalty_holds_whatever_it_is(estimator):
    X, y, _ = dummy()
    fit = quietly(estimator, X, y)
    assert find(fit) is None
    report, messages = told(fit.convergence_report)
    assert "no optimum" not in " ".join([report.message, *messages])


def test_a_huge_penalty_parameter_has_an_optimum_far_away():
    X, y, _ = dummy()
    fit = LogisticRegression(C=1e10, **NEWTON).fit(X, y)
    report = fit.convergence_report()
    assert report.converged
    covariance = fit.params_covariance("hessian")
    assert covariance[0, 0] > 1e4


def test_rows_without_weight_do_not_hold_a_direction():
    X, y, rows = dummy(overlaps=1)
    w = np.ones(200)
    w[rows[0]] = 0.0
    fit = quietly(LogisticRegression(C=np.inf), X, y, sample_weight=w)
    assert find(fit) is not None
    message = told(fit.convergence_report)[0].message
    assert f"{len(rows) - 1} of 199 samples" in message


def test_an_intercept_alone_has_no_optimum_without_other_targets():
    X, _, rows = dummy()
    y = np.zeros(200)
    y[rows[0]] = 2.0
    fit = PoissonRegressor(alpha=1.0, **NEWTON).fit(X, y)
    direction = existence.recession_direction(problem_of(fit).objective.without(rows[:1]))
    np.testing.assert_array_equal(direction, [[0.0, 0.0, -1.0]])


def test_in_a_pipeline_and_on_float32():
    X, y, _ = dummy()
    pipe = make_pipeline(LogisticRegression(C=np.inf)).fit(X.astype(np.float32), y)
    with pytest.warns(InfluenceWarning, match=r"falls forever along \+1 coef\[x0\]"):
        pipe.influence_params()


@pytest.mark.parametrize("method", ["newton", "exact"])
def test_no_refit_of_a_pipeline_ends_at_a_singular_hessian_in_silence(method):
    X, y = load_wine(return_X_y=True)
    X, y = X[::2, :5], y[::2]
    # The bins of a feature add up to the intercept, and some hold one class only.
    bins = KBinsDiscretizer(3, quantile_method="averaged_inverted_cdf")
    pipe = make_pipeline(bins, LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000))
    with pytest.warns(InfluenceWarning, match="there is no model"):
        assert np.isnan(pipe.fit(X, y).leave_out_params([[0]], method=method)).all()
