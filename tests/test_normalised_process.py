"""Gaussian processes whose `fit` takes the mean and the scale of y from the samples.

The kernel is frozen, and the mean and the scale move. scikit-learn's own fits at the fitted
kernel are the oracle: refits for removal, fits of many copies for influence.
"""

import pickle
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.gaussian_process import GaussianProcessRegressor as PlainProcess
from sklearn.gaussian_process.kernels import RBF, DotProduct, Matern, WhiteKernel
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline as make_plain_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler, scale

from skinfluence import InfluenceWarning, UnsupportedEstimatorError, from_fitted, functionals
from skinfluence.compose import TransformedTargetRegressor
from skinfluence.gaussian_process import GaussianProcessRegressor
from skinfluence.model_selection import jackknife_plus_interval
from skinfluence.pipeline import make_pipeline
from tests.cases import NORMALISED
from tests.fits import data

SMALL = tuple(part[:50] for part in data("diabetes")[:2])
QUERIES = slice(10, 15)


@pytest.fixture(params=NORMALISED, ids=lambda case: case.name)
def fitted(request):
    """Return X, y, a fit, and scikit-learn's estimator at its kernel."""
    X, y, _ = request.param.data()
    y = 3.0 * y + 5.0
    reg = clone(request.param.estimator).fit(X, y)
    return X, y, reg, PlainProcess(reg.kernel_, optimizer=None, normalize_y=True)


def test_influence_is_the_derivative_in_the_number_of_copies():
    X, y = SMALL
    fixed = {"alpha": 0.3, "optimizer": None, "normalize_y": True}
    process = GaussianProcessRegressor(Matern(3.0), **fixed)
    reg, n = process.fit(X, y), len(y)
    queries = X[:4] + 0.1, y[:4] + 0.5

    def numbers(counts, m):
        rows = np.repeat(np.arange(n), counts)
        model = clone(process).set_params(alpha=0.3 * m).fit(X[rows], y[rows])
        return np.concatenate([model.predict(queries[0]), model.sample_loss(*queries)])

    for row in (3, 17):
        found = []
        for m in (2, 4, 8):
            more, fewer = np.full(n, m), np.full(n, m)
            more[row] += 1
            fewer[row] -= 1
            found.append(n * (numbers(more, m) - numbers(fewer, m)) * m / 2)
        first = (4 * found[1] - found[0]) / 3, (4 * found[2] - found[1]) / 3
        expected = (16 * first[1] - first[0]) / 15
        moved = np.concatenate(
            [reg.influence_prediction(queries[0]), reg.influence_loss(*queries)]
        )[:, row]
        np.testing.assert_allclose(moved, expected, rtol=1e-4, atol=1e-4 * np.abs(moved).max())


def test_metrics_are_those_of_refits(fitted):
    X, y, reg, plain = fitted
    groups = [[0, 1, 2], [7]]
    found = reg.leave_out_metric(X[QUERIES], y[QUERIES], scoring="r2", groups=groups)
    refits = [clone(plain).fit(np.delete(X, g, 0), np.delete(y, g, 0)) for g in groups]
    expected = [refit.score(X[QUERIES], y[QUERIES]) for refit in refits]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_influence_is_that_of_a_scaler_around_the_targets():
    X, y = SMALL
    kernel = 2.0 * RBF(3.0) + WhiteKernel(0.5)
    ours = GaussianProcessRegressor(kernel, optimizer=None, normalize_y=True).fit(X, y)
    plain = GaussianProcessRegressor(kernel, optimizer=None)
    around = TransformedTargetRegressor(plain, transformer=StandardScaler()).fit(X, y)
    queries = X[QUERIES] + 0.1, y[QUERIES]
    np.testing.assert_allclose(ours.sample_loss(*queries), around.sample_loss(*queries))
    expected = around.influence_loss(*queries)
    atol = 1e-9 * np.abs(expected).max()
    np.testing.assert_allclose(ours.influence_loss(*queries), expected, atol=atol)
    np.testing.assert_allclose(
        ours.influence_prediction(queries[0]), around.influence_prediction(queries[0])
    )


def test_results_agree_with_each_other(fitted):
    X, y, reg, _ = fitted
    n, loss = len(y), reg.influence_loss(X, y)
    close = {"rtol": 1e-8, "atol": 1e-9 * np.abs(loss).max()}
    gradient, params = reg.loss_gradient(X, y), reg.influence_params()
    np.testing.assert_allclose(gradient @ params.T, loss, **close)
    np.testing.assert_allclose(reg.self_influence(), np.diag(loss), **close)
    average = reg.influence_loss(X, y, average=True)
    np.testing.assert_allclose(average, loss.mean(axis=0), **close)
    chunks = list(reg.influence_loss_chunked(X, y, working_memory=1e-3))
    assert len(chunks) > 1
    np.testing.assert_allclose(np.concatenate(chunks), loss, **close)
    indices = reg.influential_samples(X[:3], y[:3], 2, return_influence=False)
    np.testing.assert_array_equal(indices, np.argsort(-np.abs(loss[:3]), axis=1)[:, :2])
    moved = reg.influence_prediction(X)
    assert moved.shape == (n, n, *y.shape[1:])
    if y.ndim == 1:
        indices = reg.influential_samples(X[:3], None, 2, return_influence=False)
        np.testing.assert_array_equal(indices, np.argsort(-np.abs(moved[:3]), axis=1)[:, :2])
    slope = -2 * (y - reg.predict(X))
    total = np.sum((slope[:, None] * moved).reshape(n, n, -1), axis=2)
    np.testing.assert_allclose(total, loss, **close)
    probe = functionals.mean_prediction(reg, X[:1], label=0)
    assert probe.value(reg.params_) == pytest.approx(np.ravel(reg.predict(X[:1]))[0])
    expected = moved.reshape(n, n, -1)[0, :, 0]
    np.testing.assert_allclose(reg.influence_functional(probe), expected, rtol=1e-8)


def test_relabelling_is_the_derivative_in_the_target(fitted):
    X, y, reg, plain = fitted
    y_new = y[::-1] + 3.0
    found = reg.influence_relabel(X[:3], y[:3], y_new=y_new)
    step = 1e-3 * (np.arange(len(y)) == 7).reshape(-1, *[1] * (y.ndim - 1)) * (y_new - y)
    losses = []
    for moved in (y + step, y - step):
        predicted = clone(plain).fit(X, moved).predict(X[:3])
        losses.append(np.sum(((y[:3] - predicted) ** 2).reshape(3, -1), axis=1))
    expected = len(y) * (losses[0] - losses[1]) / 2e-3
    np.testing.assert_allclose(found[:, 7], expected, rtol=1e-5)


@pytest.mark.parametrize("method", ["newton", "exact"])
def test_removal_is_the_refit(fitted, method):
    X, y, reg, plain = fitted
    assert reg.leave_out_check(6, method=method, random_state=0).max_relative_error < 1e-10
    groups = [[0], [3, 11, 4], np.arange(5, 15)]
    params = reg.leave_out_params(groups, method=method)
    losses = reg.leave_out_loss(X[QUERIES], y[QUERIES], groups, method=method)
    for rows, found, loss in zip(groups, params, losses.T, strict=True):
        kept = np.delete(np.arange(len(y)), rows)
        refit = clone(plain).fit(X[kept], y[kept])
        coef, mean = reg.split_params(found)
        scaled = np.transpose(refit.alpha_ * y[kept].std(axis=0))
        np.testing.assert_allclose(coef[..., kept], scaled, rtol=1e-8, atol=1e-10)
        assert not coef[..., rows].any()
        np.testing.assert_allclose(mean, y[kept].mean(axis=0))
        error = (y[QUERIES] - refit.predict(X[QUERIES])) ** 2
        np.testing.assert_allclose(loss, error.reshape(len(error), -1).sum(axis=1), rtol=1e-8)


def test_predictions_without_samples_are_those_of_cross_validation(fitted):
    X, y, reg, plain = fitted
    cv = KFold(4, shuffle=True, random_state=0)
    expected = cross_val_predict(plain, X, y, cv=cv)
    np.testing.assert_allclose(reg.leave_out_predict(cv=cv), expected, rtol=1e-8)
    mean = np.mean((y - expected) ** 2)
    score = reg.leave_out_score(cv=cv, scoring="neg_mean_squared_error")
    assert score == pytest.approx(-mean)


def test_first_order_removal_is_the_sum_of_influences(fitted):
    _, y, reg, _ = fitted
    found = reg.leave_out_params([[0, 4, 9]], method="influence")[0]
    moved = reg.influence_params()[[0, 4, 9]].sum(axis=0) / len(y)
    np.testing.assert_allclose(found, reg.params_ - moved, rtol=1e-8, atol=1e-9)
    raw = reg.leave_out_predict(method="influence")
    on_itself = reg.influence_prediction(reg.X_train_)[np.arange(len(y)), np.arange(len(y))]
    np.testing.assert_allclose(raw, reg.predict(reg.X_train_) - on_itself / len(y), rtol=1e-8)


def test_other_weights_are_other_numbers_of_copies(fitted):
    X, y, reg, plain = fitted
    counts = np.arange(len(y)) % 3
    rows = np.repeat(np.arange(len(y)), counts)
    expected = clone(plain).fit(X[rows], y[rows]).predict(X)
    found = reg.reweight_predict(X, counts, method="exact")[0]
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-9)
    without = np.where(np.arange(len(y)) == 4, 0.0, 1.0)
    for method in ("influence", "newton"):
        np.testing.assert_allclose(
            reg.reweight_params(without, method=method),
            reg.leave_out_params([[4]], method=method),
            rtol=1e-8,
            atol=1e-9,
        )


def test_updates_are_refits(fitted):
    X, y, reg, plain = fitted
    kept = np.delete(np.arange(len(y)), [2, 7])
    refit, before = clone(plain).fit(X[kept], y[kept]), reg.params_
    reg.remove_samples([2, 7])
    for found, expected in zip(
        reg.predict(X, return_std=True), refit.predict(X, return_std=True), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-8)
    assert reg.leave_out_check(3, random_state=0).max_relative_error < 1e-10
    reg.add_samples(X[[2, 7]], y[[2, 7]])
    order = np.append(kept, [2, 7])
    coef, mean = reg.split_params(reg.params_)
    np.testing.assert_allclose(coef[..., np.argsort(order)], reg.split_params(before)[0])
    np.testing.assert_allclose(mean, y.mean(axis=0))


def test_fitted_processes_are_converted_and_their_data_checked(fitted):
    X, y, reg, plain = fitted
    ours = from_fitted(plain.fit(X, y), X, y)
    expected = reg.influence_loss(X[:2], y[:2])
    np.testing.assert_allclose(ours.influence_loss(X[:2], y[:2]), expected, rtol=1e-8)
    with pytest.warns(InfluenceWarning, match="not those that this"):
        from_fitted(plain, X, y[::-1])
    with pytest.raises(UnsupportedEstimatorError, match="leave out sample_weight"):
        from_fitted(plain, X, y, np.full(len(y), 2.0))
    again = pickle.loads(pickle.dumps(ours)).drop_training_data().set_training_data(X, y)
    np.testing.assert_array_equal(again.influence_params(), ours.influence_params())
    # A parameter that is set after the fit changes nothing.
    again.set_params(normalize_y=False)
    np.testing.assert_array_equal(again.leave_out_params(), ours.leave_out_params())
    again.fit(X, scale(y))
    assert again.params_.size == np.size(again.alpha_)


def test_processes_almost_without_noise():
    X, y = SMALL
    plain = PlainProcess(RBF(3.0), optimizer=None, normalize_y=True).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reg = from_fitted(plain, X, y)
    assert reg.leave_out_check(6, random_state=0).max_relative_error < 1e-4


def test_pipelines_are_refitted_whole():
    X, y = SMALL
    process = GaussianProcessRegressor(
        RBF(3.0) + WhiteKernel(0.5), optimizer=None, normalize_y=True
    )
    pipe = make_pipeline(StandardScaler(), process).fit(X, y)
    plain = make_plain_pipeline(
        StandardScaler(), PlainProcess(process.kernel, optimizer=None, normalize_y=True)
    )
    expected = cross_val_predict(plain, X, y, cv=4)
    np.testing.assert_allclose(pipe.leave_out_predict(cv=4), expected, rtol=1e-8)
    with pytest.raises(UnsupportedEstimatorError, match="derivative of the kernel"):
        pipe.influence_loss(X, y)
    stateless = make_pipeline(PolynomialFeatures(1, include_bias=False), process).fit(X, y)
    np.testing.assert_allclose(
        stateless.influence_loss(X[:2], y[:2]),
        clone(process).fit(X, y).influence_loss(X[:2], y[:2]),
    )


def test_intervals_and_hidden_methods():
    X, y = SMALL
    reg = GaussianProcessRegressor(RBF(3.0) + WhiteKernel(0.5), normalize_y=True).fit(X, y)
    interval = jackknife_plus_interval(reg, X[:5] + 0.1, confidence_level=0.8)
    predicted = reg.predict(X[:5] + 0.1)
    assert np.all((interval[:, 0] < predicted) & (predicted < interval[:, 1]))
    for name in ("polish", "influence_summary", "convergence_report"):
        assert not hasattr(reg, name)
    with pytest.raises(AttributeError) as error:
        reg.newton_step(0.1)
    assert "normalize_y=False on targets in standard units" in str(error.value.__cause__)
    with pytest.raises(UnsupportedEstimatorError, match="needs no bound"):
        reg.leave_out_params(return_bound=True)


def test_low_noise_beside_a_kernel_with_large_values_is_read_exactly():
    X = np.column_stack([np.random.default_rng(0).normal(size=30), np.full(30, 1e4)])
    y = X[:, 0] + np.random.default_rng(1).normal(size=30)
    plain = PlainProcess(DotProduct() + WhiteKernel(0.1), optimizer=None).fit(X, y)
    found = from_fitted(plain, X, y).leave_out_predict()
    kept = np.arange(30) != 3
    refit = clone(plain).fit(X[kept], y[kept])
    np.testing.assert_allclose(found[3], refit.predict(X[[3]])[0], rtol=1e-4)
