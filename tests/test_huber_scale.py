"""Huber's scale may fall to 0 on the way to an optimum, or at it."""

import re
import warnings

import numpy as np
import pytest
from sklearn import linear_model
from sklearn.datasets import load_diabetes
from sklearn.exceptions import ConvergenceWarning

from skinfluence import InfluenceWarning
from skinfluence.linear_model import HuberRegressor
from skinfluence.model_selection import jackknife_plus_interval
from tests.fits import HUBER, data


@pytest.fixture(scope="module")
def wide():
    """Return 20 samples of 10 features: without some rows the scale of the refit is 0."""
    rng = np.random.default_rng(5)
    X = rng.normal(size=(20, 10))
    return X, X @ rng.normal(size=10) + rng.normal(size=20)


def _refit(X, y, row):
    kept = np.arange(len(y)) != row
    return linear_model.HuberRegressor(tol=1e-10, max_iter=10_000).fit(X[kept], y[kept])


def test_an_optimum_is_found_although_newton_steps_shrink_the_scale(wide):
    X, y = wide
    # Newton's method alone ends at a scale of 1e-6 or less.
    found = HuberRegressor().fit(X, y).leave_out_params([[0], [17]])
    for row, params in zip((0, 17), found, strict=True):
        refit = _refit(X, y, row)
        assert refit.scale_ > 0.2
        np.testing.assert_allclose(params[:10], refit.coef_, rtol=0, atol=5e-3)
        np.testing.assert_allclose(params[11], refit.scale_, rtol=1e-3)


def test_a_scale_that_falls_to_0_is_named_with_a_remedy(wide):
    X, y = wide
    with pytest.warns(InfluenceWarning, match="scale falls to 0.*A larger epsilon"):
        assert np.isnan(HuberRegressor().fit(X, y).leave_out_params([[12]])).all()
    assert _refit(X, y, 12).scale_ < 1e-4
    assert np.isfinite(HuberRegressor(epsilon=1.8).fit(X, y).leave_out_params([[12]])).all()


def test_polish_names_the_scale_and_not_the_number_of_steps(wide):
    X, y = wide
    kept = np.arange(20) != 2
    reg = HuberRegressor().fit(X[kept], y[kept])
    with pytest.warns(ConvergenceWarning, match="No step lowers F. The scale falls to 0"):
        reg.polish()


def test_polish_takes_no_more_steps_than_it_may():
    X, y, _ = data("diabetes")
    reg = HuberRegressor(alpha=0.1, **HUBER).fit(X, y)
    reg.coef_ *= 3
    reg.scale_ *= 5
    with pytest.warns(ConvergenceWarning, match="1 Newton steps"):
        reg.polish(max_iter=1)


@pytest.mark.parametrize("weight", [1e3, 1e4, 1e6])
def test_a_scale_of_0_by_one_heavy_row_is_named_with_an_epsilon_that_works(weight):
    rng = np.random.default_rng(0)
    X, sample_weight = rng.normal(size=(40, 3)), np.ones(40)
    y, sample_weight[3] = X @ [1.0, 2.0, 3.0] + rng.normal(size=40), weight
    reg = HuberRegressor(max_iter=5000).fit(X, y, sample_weight)
    assert reg.scale_ < 1e-8
    named = r"scale of the fit is.*such as row 3, "
    with pytest.raises(np.linalg.LinAlgError, match=named) as told:
        reg.influence_params()
    epsilon = float(re.search(r"epsilon=([\d.e+]+)", str(told.value))[1])
    reg = HuberRegressor(epsilon=epsilon, max_iter=10_000, tol=1e-9).fit(X, y, sample_weight)
    found, kept = reg.leave_out_params([[7]], method="exact")[0], np.arange(40) != 7
    refit = linear_model.HuberRegressor(epsilon=epsilon, max_iter=10_000, tol=1e-9)
    refit.fit(X[kept], y[kept], sample_weight[kept])
    np.testing.assert_allclose(found[:3], refit.coef_, rtol=1e-3)
    assert np.isfinite(reg.polish().influence_params()).all()


def test_the_scale_is_no_output_of_an_interval():
    X, y = load_diabetes(return_X_y=True)
    reg = HuberRegressor(max_iter=10_000, tol=1e-8).fit(X, y)
    for method in ("newton", "exact"):
        found = jackknife_plus_interval(reg, X[:1], method=method)
        np.testing.assert_allclose(found, [[111.757, 296.269]], rtol=1e-5)


@pytest.mark.parametrize(("n", "seed", "heavy"), [(20, 1, 30.0), (60, 2, 100.0)])
def test_a_heavy_row_that_is_fitted_exactly_is_named_with_a_remedy(n, seed, heavy):
    """Rounding leaves a Hessian at the first scale, 2e-7, and none at the second, 3e-6."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    y = X @ [1, 2, -1] + rng.normal(size=n)
    weight = np.ones(n)
    weight[5] = heavy
    reg = HuberRegressor().fit(X, y, weight)
    with pytest.raises(np.linalg.LinAlgError, match=r"exact for .* such as row 5") as error:
        reg.influence_loss(X[:2], y[:2])
    epsilon = float(re.search(r"Use epsilon=([\d.]+)", str(error.value))[1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reg = HuberRegressor(epsilon=epsilon, tol=1e-9, max_iter=1000).fit(X, y, weight)
        assert reg.scale_ > 0.1
        reg.influence_loss(X[:2], y[:2])
