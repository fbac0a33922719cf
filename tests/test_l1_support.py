"""l1 penalties: derivatives on the support, refits by scikit-learn where it changes."""

import warnings

import numpy as np
import pytest
from sklearn import linear_model
from sklearn.base import clone
from sklearn.model_selection import KFold, cross_val_predict

from skinfluence import InfluenceWarning
from skinfluence.linear_model import (
    ElasticNet,
    Lasso,
    LinearRegression,
    LogisticRegression,
    Ridge,
)
from skinfluence.pipeline import problem_of
from skinfluence.problem import Problem as FittedProblem
from tests.cases import CASES
from tests.fits import DESCENT, SAGA, data, frozen, params_without, relative_error
from tests.problems import Problem

SPARSE = [c for c in CASES if c.name in ("lasso", "elastic-net-targets", "l1-logistic")]
each = pytest.mark.parametrize("case", SPARSE, ids=lambda c: c.name)


def signs(fitted, params=None):
    """Return the signs of the coefficients, or of others laid out like them."""
    params = fitted.params_ if params is None else params
    return np.sign(params[: np.size(fitted.coef_)])


@each
def test_zeros_stay_zero(case):
    fitted = case.fit()
    moves = (fitted.influence_params() != 0).any(axis=0)[: fitted.coef_.size]
    np.testing.assert_array_equal(moves, signs(fitted) != 0)
    assert 0 < moves.sum() < moves.size


@each
def test_exact_removal_is_the_refit_of_every_row_without_a_warning(case):
    fitted = case.fit()
    estimator = frozen(case, fitted)
    n = len(case.data()[1])
    with warnings.catch_warnings():
        warnings.simplefilter("error", InfluenceWarning)
        params = fitted.leave_out_params(method="exact")
    refits = [params_without(estimator, case, row) for row in range(n)]
    for found, refit in zip(params, refits, strict=True):
        assert relative_error(found, refit) < 1e-7
    changed = sum(not np.array_equal(signs(fitted, refit), signs(fitted)) for refit in refits)
    assert 0 < changed < n / 2


def test_units_of_features_do_not_matter():
    """Features that are left out have gradients in their units, and no part in a step."""
    X, y, w = data("diabetes")
    X, y, w = X[:25], y[:25], w[:25]
    found = []
    for unit in (1.0, 1e9):
        l1, l2 = 0.05 * unit, 1e-3 * unit**2
        reg = ElasticNet(alpha=l1 + l2, l1_ratio=l1 / (l1 + l2), **DESCENT)
        found.append(reg.fit(unit * X, y, w).influence_summary())
    for name in ("newton_decrement", "cooks_distance", "covratio"):
        np.testing.assert_allclose(found[1][name], found[0][name], rtol=1e-10, err_msg=name)


def test_only_groups_that_change_the_support_are_refitted(monkeypatch):
    X, y, w = data("diabetes")
    reg = Lasso(alpha=0.05, **DESCENT).fit(X, y, w)
    refitted = []
    refit = FittedProblem.refit_on

    def counted(problem, objective):
        refitted.append(objective)
        return refit(problem, objective)

    monkeypatch.setattr(FittedProblem, "refit_on", counted)
    reg.leave_out_params(method="exact")
    everything = len(refitted)
    assert everything < 30
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reg.leave_out_params()
    assert len(refitted) == 2 * everything
    reg.leave_out_params(method="exact", groups=[[97], [0]])
    assert len(refitted) == 2 * everything + 1


def test_a_group_without_an_optimum_on_the_support_is_refitted():
    problem = Problem(
        "l1 logistic",
        n_samples=12,
        n_features=12,
        rank=12,
        scale=1e-3,
        offset=10.0,
        weights="some zero",
        seed=3,
    )
    fitted = problem.fit()

    def without(row):
        kept = np.delete(np.arange(12), row)
        refit = linear_model.LogisticRegression(**fitted.get_params())
        refit.fit(problem.X[kept], problem.y[kept], problem.w[kept])
        return np.append(refit.coef_, refit.intercept_)

    params = fitted.leave_out_params(method="exact")
    for row in np.flatnonzero(problem.w > 0):
        assert relative_error(params[row], without(row)) < 1e-5
    refit = without(10)
    assert relative_error(fitted.remove_samples([10]).params_, refit) < 1e-5


def test_a_support_that_grew_with_a_removal_shrinks_again():
    problem = Problem(
        "lasso cv",
        n_samples=12,
        n_features=7,
        rank=7,
        scale=1e-3,
        offset=10.0,
        weights="integers",
        intercept=False,
        strength=10.0,
        container="csc_array",
        seed=9,
    )
    fitted = problem.fit()
    before, X = fitted.params_, problem.X.tocsr()
    removed = fitted.remove_samples([0]).params_
    assert np.any((removed != 0) & (before == 0))
    fitted.add_samples(X[[0]], problem.y[[0]], problem.w[[0]])
    np.testing.assert_allclose(fitted.params_, before, rtol=1e-9)


def test_more_features_than_samples():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 300))
    y = X[:, :3].sum(axis=1) + rng.standard_normal(40)
    reg = Lasso(alpha=0.2, **DESCENT).fit(X, y)
    assert 3 <= np.count_nonzero(reg.coef_) < 40
    influence = reg.influence_params()
    assert relative_error(reg.influence_params(hessian_solver="cg"), influence) < 1e-9
    values = []
    for sign in (1, -1):
        w = np.ones(40)
        w[5] += sign * 1e-5
        refit = linear_model.Lasso(alpha=0.2, **DESCENT).fit(X, y, w)
        values.append(np.append(refit.coef_, refit.intercept_))
    assert relative_error(influence[5], 40 * (values[0] - values[1]) / 2e-5) < 1e-5


def test_predictions_are_those_of_cross_val_predict():
    X, y, _ = data("diabetes")
    estimator = ElasticNet(alpha=0.3, **DESCENT)
    cv = KFold(5, shuffle=True, random_state=0)
    found = clone(estimator).fit(X, y).leave_out_predict(cv=cv, method="exact")
    np.testing.assert_allclose(found, cross_val_predict(estimator, X, y, cv=cv), atol=1e-8)


def test_removal_in_place_goes_to_another_support_and_back():
    X, y, w = data("diabetes")
    reg = Lasso(alpha=0.05, **DESCENT).fit(X, y, w)
    before = reg.params_
    changes = [
        row
        for row in range(150)
        if not np.array_equal(signs(reg, params_without(reg, SPARSE[0], row)), signs(reg))
    ]
    for row in (changes[0], 3):
        kept = np.delete(np.arange(150), row)
        refit = Lasso(alpha=0.05, **DESCENT).fit(X[kept], y[kept], w[kept])
        assert relative_error(reg.remove_samples([row]).params_, refit.params_) < 1e-9
        np.testing.assert_allclose(
            reg.influence_params(), refit.influence_params(), rtol=1e-6, atol=1e-9
        )
        reg.add_samples(X[[row]], y[[row]], w[[row]])
        assert relative_error(reg.params_, before) < 1e-9
        reg = Lasso(alpha=0.05, **DESCENT).fit(X, y, w)


def test_a_support_that_is_not_that_of_the_optimum_is_told_and_mended():
    X, y, w = data("diabetes")
    tight = Lasso(alpha=0.05, **DESCENT).fit(X, y, w)
    loose = Lasso(alpha=0.05, tol=0.5).fit(X, y, w)
    assert not np.array_equal(signs(loose), signs(tight))
    report = loose.convergence_report()
    assert not report.converged
    assert "other coefficients are zero" in report.message
    with pytest.warns(InfluenceWarning, match="other coefficients are zero"):
        loose.influence_params()
    # Removal starts at the optimum, on the support that is right there.
    removed, expected = loose.leave_out_params(), tight.leave_out_params()
    np.testing.assert_allclose(removed, expected, rtol=1e-6, atol=1e-6)
    assert relative_error(loose.polish().params_, tight.params_) < 1e-9
    assert loose.convergence_report().converged
    np.testing.assert_allclose(
        loose.influence_params(), tight.influence_params(), rtol=1e-6, atol=1e-9
    )


def test_a_gram_matrix_of_all_rows_is_not_used_for_refits():
    X, y, _ = data("diabetes")
    X, y = X - X.mean(axis=0), y - y.mean()
    reg = Lasso(alpha=0.2, precompute=X.T @ X, fit_intercept=False, tol=1e-12).fit(X, y)
    check = reg.leave_out_check(4, method="exact", random_state=0)
    assert check.max_relative_error < 1e-9


def test_the_intercept_of_liblinear_may_be_zero_too():
    X, y, w = data("cancer")
    params = {"l1_ratio": 1, "solver": "liblinear", "tol": 1e-12, "random_state": 0}
    clf = LogisticRegression(C=0.03, max_iter=100_000, **params).fit(X, y, w)
    assert clf.intercept_[0] == 0
    assert clf.convergence_report().gradient_norm < 1e-10
    influence = clf.influence_params()
    assert not influence[:, -1].any()
    values = []
    for sign in (1, -1):
        moved = w.copy()
        moved[11] += sign * 1e-3
        refit = linear_model.LogisticRegression(C=0.03, max_iter=100_000, **params)
        values.append(refit.fit(X, y, moved).coef_[0])
    expected = w.sum() * (values[0] - values[1]) / 2e-3
    assert relative_error(influence[11, :-1], expected) < 1e-4


def test_weak_l1_penalties_tend_to_none():
    X, y, w = data("cancer")
    smooth = LogisticRegression(C=0.5, **SAGA).fit(X, y, w)
    almost = LogisticRegression(C=0.5, l1_ratio=1e-9, **SAGA).fit(X, y, w)
    assert problem_of(almost).formulation.l1_support is not None
    assert relative_error(almost.influence_loss(X, y), smooth.influence_loss(X, y)) < 1e-6


def test_without_an_l1_part_there_is_no_l1_support():
    X, y, w = data("diabetes")
    reg = ElasticNet(alpha=0.1, l1_ratio=0, fit_intercept=False, **DESCENT).fit(X, y, w)
    ridge = Ridge(alpha=0.1 * w.sum(), fit_intercept=False).fit(X, y, w)
    np.testing.assert_allclose(reg.coef_, ridge.coef_, rtol=1e-6)
    params, bound = reg.leave_out_params(method="exact", return_bound=True)
    assert np.isfinite(params).all()
    assert bound.max() < 1e-6


def test_no_bound_for_a_penalty_with_a_kink():
    X, y, _ = data("diabetes")
    reg = ElasticNet(alpha=0.1, fit_intercept=False).fit(X, y)
    with pytest.raises(ValueError, match="method='exact'"):
        reg.leave_out_params(return_bound=True)


@pytest.mark.parametrize(
    "estimator",
    [
        Lasso(alpha=0.01, positive=True, **DESCENT),
        Ridge(positive=True),
        LinearRegression(positive=True),
    ],
)
def test_coefficients_at_their_bound_are_held_by_a_gradient_of_one_sign(estimator):
    X, y, _ = data("diabetes")
    fitted = estimator.fit(X, y).polish()
    assert 0 < np.sum(fitted.coef_ == 0) < X.shape[1]
    objective, theta = problem_of(fitted).objective, problem_of(fitted).theta
    support, sums = objective.formulation.l1_support, objective.weight_sum
    gradient = objective.gradients(theta[None])[0]
    at_zero = support.bounded & (theta == 0)
    # Most of them beat any l1 penalty on this side, and not the bound.
    assert np.all(gradient[at_zero] + support.total(sums)[at_zero] > 0)
    assert support.holds(theta, gradient, sums)
    assert not support.holds(theta, -gradient, sums)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InfluenceWarning)  # rows that change the active set
        found = fitted.leave_out_params(method="exact")
    for row in range(0, len(y), 10):
        refit = clone(estimator).fit(np.delete(X, row, 0), np.delete(y, row)).polish()
        np.testing.assert_allclose(found[row], refit.params_, rtol=1e-6, atol=1e-8)
