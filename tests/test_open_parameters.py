"""Features that leave parameters open: removal returns the values that all optima share.

Dummies for every site beside an intercept are such features. Each refit by scikit-learn has
other coefficients, but the same predictions.
"""

import numpy as np
import pytest
from sklearn.base import clone

from skinfluence import InfluenceWarning
from skinfluence.linear_model import (
    GammaRegressor,
    HuberRegressor,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
)
from tests.fits import NEWTON, data

# The solvers of scikit-learn warn of such features, too.
pytestmark = [
    pytest.mark.filterwarnings("ignore::scipy.linalg.LinAlgWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

RNG = np.random.default_rng(3)
SITE = np.repeat(np.arange(4), 15)
Z = RNG.normal(size=60)
X = np.column_stack([Z, np.eye(4)[SITE]])
REAL = Z + SITE + RNG.normal(size=60)
POSITIVE = np.exp(REAL / 3)
MODELS = {
    "logistic": (LogisticRegression(C=np.inf, **NEWTON), REAL > 1.5),
    "multinomial": (LogisticRegression(C=np.inf, **NEWTON), RNG.integers(0, 3, 60)),
    "poisson": (PoissonRegressor(alpha=0, **NEWTON), np.floor(POSITIVE)),
    "gamma": (GammaRegressor(alpha=0, **NEWTON), POSITIVE),
    "ridge": (Ridge(alpha=0), REAL),
    "huber": (HuberRegressor(alpha=0, tol=1e-9, max_iter=10_000), REAL),
}


def response(model):
    return "predict_proba" if hasattr(model, "predict_proba") else "predict"


@pytest.mark.parametrize("method", ["newton", "exact"])
@pytest.mark.filterwarnings("ignore:Without")
@pytest.mark.parametrize("name", MODELS)
def test_predictions_without_a_row_are_those_of_the_refit(name, method):
    model, y = MODELS[name]
    fitted, how = clone(model).fit(X, y), response(model)
    with pytest.warns(InfluenceWarning, match=r"The samples of the fit do not .*coef\[.*x1\]"):
        found = fitted.leave_out_predict(method=method, response_method=how)
    for row in (0, 20, 59):
        kept = np.arange(60) != row
        refit = getattr(clone(model).fit(X[kept], y[kept]), how)(X[[row]])[0]
        change = np.abs(refit - getattr(fitted, how)(X[[row]])[0]).max()
        np.testing.assert_allclose(found[row], refit, rtol=0, atol=0.01 * change)


@pytest.mark.filterwarnings("ignore:The samples of the fit")
@pytest.mark.filterwarnings("ignore:Without")
def test_parameters_and_predictions_that_are_open_are_nan():
    model, y = MODELS["logistic"]
    fitted = clone(model).fit(X, y)
    whole_site = np.flatnonzero(SITE == 2)
    params = fitted.leave_out_params([[0], whole_site])
    assert np.isfinite(params[:, 0]).all()
    assert np.isnan(params[:, 1:]).all()
    kept = SITE != 2
    refit = clone(model).fit(X[kept], y[kept])
    np.testing.assert_allclose(params[1, 0], refit.coef_[0, 0], rtol=1e-6)
    loss = fitted.leave_out_loss(X[[0, 30]], y[[0, 30]], [whole_site])
    assert np.isfinite(loss[0, 0])
    assert np.isnan(loss[1, 0])  # nothing is left of its site


@pytest.mark.filterwarnings("ignore:Without")
def test_a_site_takes_no_parameter_with_it_but_its_own():
    """The first site has no dummy: without it the others depend on the intercept."""
    rng = np.random.default_rng(1)
    site = np.repeat(np.arange(4), 40)
    x = rng.normal(size=160)
    y = (x + 0.5 * rng.normal(size=160) + 0.3 * site > 0.5).astype(int)
    features = np.column_stack([x, np.eye(4)[site][:, 1:]])
    model = LogisticRegression(C=np.inf, **NEWTON)
    found = clone(model).fit(features, y).leave_out_params(site, method="exact")
    for gone in range(4):
        rows = site != gone
        columns = np.setdiff1d(np.arange(4), [max(gone, 1)])  # these determine a refit
        refit = clone(model).fit(features[rows][:, columns], y[rows])
        np.testing.assert_allclose(found[gone, 0], refit.coef_[0, 0], rtol=1e-6)
        open_ones = np.flatnonzero(np.isnan(found[gone]))
        assert open_ones.tolist() == ([1, 2, 3, 4] if gone == 0 else [gone])
        if gone:
            np.testing.assert_allclose(found[gone, columns], refit.coef_[0], rtol=1e-6)


def test_a_removal_in_place_is_refused_and_changes_nothing():
    model, y = MODELS["ridge"]
    fitted = clone(model).fit(X, y)
    before = fitted.params_.copy()
    with (
        pytest.warns(InfluenceWarning, match="do not determine"),
        pytest.raises(ValueError, match=r"flat along .* The model was left as it is"),
    ):
        fitted.remove_samples([3])
    np.testing.assert_array_equal(fitted.params_, before)
    # The remedies of the message.
    Ridge(alpha=1e-3).fit(X, y).remove_samples([3])
    Ridge(alpha=0).fit(X[:, :-1], y).remove_samples([3])


@pytest.mark.parametrize("seed", [7, 11, 12])
def test_rounding_does_not_hide_undetermined_parameters(seed):
    """What is left of the smallest eigenvalue of a Hessian may be positive rounding."""
    X, y, _ = data("counts")
    rng, gone = np.random.default_rng(seed), np.arange(3)
    known = np.where(np.arange(len(y)) < 3, rng.standard_normal(len(y)), 0.0)
    model = PoissonRegressor(alpha=0, **NEWTON)
    model.fit(np.column_stack([X[:, :3], known]), y).polish()
    weight = rng.uniform(0.5, 2.0, len(y))
    weights = np.stack([weight, np.ones(len(y))])  # the second only removes
    weights[:, gone] = 0.0
    for method in ("newton", "exact"):
        with pytest.warns(InfluenceWarning, match=r"not determine.*coef\[x3\]"):
            removed = model.leave_out_params([gone], method=method)[0]
        with pytest.warns(InfluenceWarning, match=r"not determine.*coef\[x3\]"):
            moved = model.reweight_params(weights, method=method)
        for params in (removed, *moved):
            assert np.flatnonzero(np.isnan(params)).tolist() == [3]
