"""Least squares without a penalty: the solution of least norm where there are many."""

import numpy as np
import pytest
from sklearn import linear_model

from skinfluence.linear_model import LinearRegression
from skinfluence.pipeline import problem_of
from tests.fits import data, relative_error


def wide():
    """Return 8 rows of 12 dependent features: every row is interpolated."""
    X, y, w = data("dependent")
    return X[:8], y[:8], w[:8]


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_predictions_outside_the_features_seen_follow_the_refit(fit_intercept):
    X, y, w = data("dependent")
    reg = LinearRegression(fit_intercept=fit_intercept).fit(X, y, w)
    queries = X[:5] + np.random.default_rng(0).standard_normal((5, X.shape[1]))
    assert np.abs(problem_of(reg).objective.pin @ (queries - X[:5]).T).min() > 0
    found = reg.influence_prediction(queries)[:, 7]
    values = []
    for sign in (1, -1):
        moved = w.copy()
        moved[7] += sign * 1e-4
        refit = linear_model.LinearRegression(fit_intercept=fit_intercept)
        values.append(refit.fit(X, y, moved).predict(queries))
    expected = w.sum() * (values[0] - values[1]) / 2e-4
    assert relative_error(found, expected) < 1e-7


def test_a_shift_of_dependent_features_is_taken_by_the_intercept():
    X, y, w = data("dependent")
    expected = LinearRegression().fit(X, y, w).influence_loss(X, y)
    found = LinearRegression().fit(X + 100.0, y, w).influence_loss(X + 100.0, y)
    assert relative_error(found, expected) < 1e-8


@pytest.mark.parametrize("method", ["newton", "exact"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_removal_that_lowers_the_rank_is_the_refit_of_least_norm(fit_intercept, method):
    X, y, w = wide()
    reg = LinearRegression(fit_intercept=fit_intercept).fit(X, y, w)
    found = reg.leave_out_params([[0], [3], [1, 6]], method=method)
    for params, rows in zip(found, [[0], [3], [1, 6]], strict=True):
        kept = np.delete(np.arange(8), rows)
        refit = LinearRegression(fit_intercept=fit_intercept).fit(X[kept], y[kept], w[kept])
        assert relative_error(params, refit.params_) < 1e-8


@pytest.mark.parametrize("method", ["newton", "exact"])
@pytest.mark.parametrize("rank", [11, 12])
def test_a_leverage_of_one_is_not_told_by_rounding(rank, method):
    # As many parameters as rows: every leverage is 1, and 1 - h is rounding, larger than any
    # fixed bound if the features nearly depend on each other.
    rng = np.random.default_rng(0)
    X = rng.standard_normal((12, rank)) @ rng.standard_normal((rank, 12)) + 1.0
    y = rng.standard_normal(12)
    params = LinearRegression(fit_intercept=False).fit(X, y).leave_out_params(method=method)
    for row, found in enumerate(params):
        refit = LinearRegression(fit_intercept=False).fit(
            np.delete(X, row, 0), np.delete(y, row)
        )
        assert relative_error(found, refit.params_) < 1e-8


def test_statsmodels_agrees_on_the_change_without_each_row():
    from statsmodels.api import OLS, add_constant

    X, y, _ = data("diabetes")
    reg = LinearRegression().fit(X, y)
    dfbeta = OLS(y, add_constant(X)).fit().get_influence().dfbeta
    found = reg.params_ - reg.leave_out_params()
    np.testing.assert_allclose(found, np.roll(dfbeta, -1, axis=1), rtol=1e-9, atol=1e-12)


def test_removal_and_addition_go_from_one_solution_of_least_norm_to_another():
    X, y, w = wide()
    reg = LinearRegression().fit(X, y, w).remove_samples([2, 5])
    kept = np.delete(np.arange(8), [2, 5])
    np.testing.assert_allclose(
        reg.params_, LinearRegression().fit(X[kept], y[kept], w[kept]).params_, atol=1e-9
    )
    reg.add_samples(X[[2, 5]], y[[2, 5]], w[[2, 5]])
    np.testing.assert_allclose(reg.params_, LinearRegression().fit(X, y, w).params_, atol=1e-9)
