"""Refits by a solver whose optimum is one of many: equal features without a unique share."""

import numpy as np
import pytest
from sklearn import linear_model
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import RobustScaler, StandardScaler

from skinfluence import InfluenceWarning, from_fitted

L1 = linear_model.LogisticRegression(l1_ratio=1.0, solver="liblinear", C=9.0, tol=1e-10)
HUBER = linear_model.HuberRegressor(alpha=0.0, tol=1e-10, max_iter=5000)
LASSO = linear_model.Lasso(0.05, tol=1e-12)
GROUPS = [[3], [0, 5, 9]]


def twins(classes):
    """Return rows whose features 0 and 3 are equal, with 0 as a value of one row's twins."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(41, 3))
    y = X @ [1.0, -2.0, 0.7] + rng.normal(size=41)
    return np.hstack([X, X[:, :1]]), (y > 0).astype(int) if classes else y


@pytest.mark.parametrize("scaler", [StandardScaler(), RobustScaler()])
@pytest.mark.parametrize("model", [L1, HUBER, LASSO], ids=["l1", "huber", "lasso"])
def test_parameters_that_may_be_shared_otherwise_are_nan(model, scaler):
    X, y = twins(model is L1)
    pipe = make_pipeline(scaler, model)
    ours = from_fitted(clone(pipe).fit(X, y), X, y)
    with pytest.warns(InfluenceWarning, match=r"do not determine 2 parameter\(s\)"):
        params = ours.leave_out_params(GROUPS)
    with pytest.warns(InfluenceWarning, match=r"coef\[x0\], coef\[x3\]"):
        loss = ours.leave_out_loss(X, y, GROUPS)
    for group, found, losses in zip(GROUPS, params, loss.T, strict=True):
        kept = np.delete(np.arange(len(y)), group)
        refit = from_fitted(clone(pipe).fit(X[kept], y[kept]), X[kept], y[kept])
        expected = np.array(refit.params_)
        expected[[0, 3]] = np.nan
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(losses, refit.sample_loss(X, y), rtol=1e-3, atol=1e-3)


def test_predictions_that_tell_the_twins_apart_are_nan():
    X, y = twins(classes=False)
    ours = from_fitted(make_pipeline(StandardScaler(), HUBER).fit(X, y), X, y)
    apart = X[:2] + [[0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0]]
    with pytest.warns(InfluenceWarning, match="have no value"):
        loss = ours.leave_out_loss(apart, y[:2], GROUPS)
    assert np.isnan(loss[0]).all()
    assert np.isfinite(loss[1]).all()


@pytest.mark.parametrize("method", ["newton", "exact"])
@pytest.mark.parametrize("model", [L1, LASSO], ids=["l1", "lasso"])
def test_a_row_that_alone_tells_features_apart(model, method):
    X, y = twins(model is L1)
    X[3, 3] += 1.0
    ours, kept = from_fitted(clone(model).fit(X, y), X, y), np.delete(np.arange(len(y)), 3)
    with pytest.warns(InfluenceWarning, match=r"row 3 \(coef\[x0\], coef\[x3\]\)"):
        params = ours.leave_out_params([[3], [4]], method=method)
    refit = from_fitted(clone(model).fit(X[kept], y[kept]), X[kept], y[kept])
    expected = np.where([True, False, False, True, False], np.nan, refit.params_)
    np.testing.assert_allclose(params[0], expected, rtol=1e-3, atol=1e-3)
    assert np.isfinite(params[1]).all()
    with pytest.warns(InfluenceWarning, match="row 3"):
        loss = ours.leave_out_loss(X, y, [[3]], method=method)[:, 0]
    np.testing.assert_allclose(loss[kept], refit.sample_loss(X, y)[kept], rtol=1e-3, atol=1e-3)
    assert np.isnan(loss[3])
    weight = np.ones((2, len(y)))
    weight[:, 3], weight[1, 7] = 0.0, 2.5
    with pytest.warns(InfluenceWarning, match="about these parameters are NaN"):
        moved = ours.reweight_params(weight, method=method)
    assert np.array_equal(np.isnan(moved), np.isnan([expected, expected]))


def test_features_that_leave_the_model_alone_are_determined():
    X, y = twins(classes=True)
    weak = clone(L1).set_params(C=0.08)  # the twins stay at 0, inside the bound
    ours = from_fitted(make_pipeline(StandardScaler(), weak).fit(X, y), X, y)
    params = ours.leave_out_params(GROUPS)
    assert np.isfinite(params).all()
    assert not params[:, [0, 3]].any()
    X, y = twins(classes=False)
    least = make_pipeline(RobustScaler(), linear_model.LinearRegression())  # of least norm
    assert np.isfinite(from_fitted(least.fit(X, y), X, y).leave_out_params(GROUPS)).all()
