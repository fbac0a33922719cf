"""Moment models: influence is the derivative of the fit, removal is the refit.

The oracles are scikit-learn's fits of many copies, fits at other weights, and fits without
the rows, for every model of means, variances and counts.
"""

import pickle
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import cross_val_predict, cross_val_score

from skinfluence import (
    InfluenceWarning,
    TrainingDataMissingError,
    from_fitted,
)
from skinfluence.discriminant_analysis import (
    QuadraticDiscriminantAnalysis,
)
from skinfluence.naive_bayes import (
    CategoricalNB,
)
from skinfluence.neighbors import NearestCentroid
from skinfluence.problem import parent_class
from tests.moments import MOMENTS, data, difference, fitted, is_unbiased, weights, without


def copies(estimator, X, y, w, counts, m):
    """Return the fit of copies of each row, the smoothing that of as many data."""
    rows = np.repeat(np.arange(len(y)), counts)
    model = clone(estimator)
    if hasattr(model, "alpha"):
        model.alpha = model.alpha * m
    return fitted(model, X[rows], y[rows], None if w is None else w[rows])


def counts_matter(estimator):
    """Return whether m copies of the data have another fit, other than by smoothing."""
    is_automatic = getattr(estimator, "shrinkage", None) == "auto"
    return is_automatic or isinstance(estimator, NearestCentroid)


@pytest.fixture(params=MOMENTS, ids=lambda case: f"{case.name}-{case.estimator}"[:70])
def case(request):
    estimator = request.param.estimator
    X, y = data(request.param.name)
    w = weights(estimator, y)
    return estimator, X, y, w, fitted(estimator, X, y, w)


def test_influence_is_the_derivative_in_the_number_of_copies(case):
    estimator, X, y, w, ours = case
    if is_unbiased(estimator):
        pytest.skip("its sums are over n - K or n_k - 1")
    if counts_matter(estimator):
        pytest.skip("its sums are differentiated in the next test")
    S = len(y) if w is None else w.sum()
    hard = np.argsort(-ours.sample_loss(X, y))[:5]
    queries = X[hard], y[hard]
    params, loss = ours.influence_params(), ours.influence_loss(*queries)
    probability = ours.influence_prediction(queries[0], response_method="predict_proba")
    for i in (3, len(y) - 1):
        of = S if w is None else S / w[i]

        def numbers(counts, m):
            model = copies(estimator, X, y, w, counts, m)
            responses = model.sample_loss(*queries), model.predict_proba(queries[0]).ravel()
            return np.concatenate([model.params_, *responses])

        found = difference(numbers, len(y), i) * of
        p = params.shape[1]
        expected = np.concatenate([params[i], loss[:, i], probability[:, i].ravel()])
        for part in (slice(0, p), slice(p, p + 5), slice(p + 5, None)):
            atol = 1e-5 * np.abs(expected[part]).max() + 1e-10
            np.testing.assert_allclose(found[part], expected[part], atol=atol, rtol=0)


def ledoit_wolf(X, c):
    """Return scikit-learn's shrunk covariance of rows that occur c times."""
    n, d = c.sum(), X.shape[1]
    mean = c @ X / n
    deviation = np.sqrt(c @ (X - mean) ** 2 / n)
    deviation[deviation == 0] = 1
    Z = (X - mean) / deviation
    R = (c[:, None] * Z).T @ Z / n
    m, norm = np.trace(R) / d, np.sum(R**2)
    beta = (c @ np.sum(Z**2, axis=1) ** 2 / n - norm) / (d * n)
    delta = (norm - 2 * m * np.trace(R) + d * m**2) / d
    r = min(beta, delta) / delta
    return np.outer(deviation, deviation) * ((1 - r) * R + r * m * np.eye(d))


def weighted_fit(estimator, X, y, c):
    """Return the parameters of a fit with rows that occur c times."""
    of = [y == label for label in np.unique(y)]
    n = np.array([c[k].sum() for k in of])
    means = np.array([c[k] @ X[k] for k in of]) / n[:, None]
    priors = n / n.sum() if estimator.priors is None else np.asarray(estimator.priors)
    if isinstance(estimator, NearestCentroid):
        if isinstance(estimator.priors, str):
            uniform = estimator.priors == "uniform"
            priors = np.full(len(n), 1 / len(n)) if uniform else n / n.sum()
        codes = np.unique(y, return_inverse=True)[1]
        std = np.sqrt(c @ (X - means[codes]) ** 2 / (c.sum() - len(n)))
        return np.concatenate([means.ravel(), std, priors])
    covariances = np.array([ledoit_wolf(X[k], c[k]) for k in of])
    if isinstance(estimator, QuadraticDiscriminantAnalysis):
        return np.concatenate([means.ravel(), covariances.ravel(), priors])
    coef = np.linalg.pinv(np.tensordot(priors, covariances, 1)) @ means.T
    intercept = np.log(priors) - 0.5 * np.sum(means * coef.T, axis=1)
    if len(n) == 2:
        return np.append(coef[:, 1] - coef[:, 0], intercept[1] - intercept[0])
    return np.concatenate([coef.T.ravel(), intercept])


def test_influence_through_counts_of_samples(case):
    estimator, X, y, _, ours = case
    if not counts_matter(estimator):
        pytest.skip("copies have the same fit")
    ones, params = np.ones(len(y)), ours.influence_params()
    fit = weighted_fit(estimator, X, y, ones)
    np.testing.assert_allclose(ours.params_, fit, rtol=1e-8, atol=1e-8 * np.abs(fit).max())
    for i in (3, len(y) - 1):
        step = 1e-4 * (np.arange(len(y)) == i)
        found = weighted_fit(estimator, X, y, ones + step)
        found = len(y) * (found - weighted_fit(estimator, X, y, ones - step)) / 2e-4
        largest = np.abs(params[i]).max()
        np.testing.assert_allclose(params[i], found, atol=1e-6 * largest, rtol=0)


def test_influence_is_the_derivative_in_the_weight(case):
    estimator, X, y, w, ours = case
    if w is None or getattr(estimator, "var_smoothing", 0):
        pytest.skip("no weights, or a part of the fit without them")
    params = ours.influence_params()
    for i in (3, len(y) - 1):
        step = 1e-4 * (np.arange(len(y)) == i)
        found = fitted(estimator, X, y, w + step).params_
        found = w.sum() * (found - fitted(estimator, X, y, w - step).params_) / 2e-4
        largest = np.abs(found).max()
        np.testing.assert_allclose(params[i], found, atol=1e-6 * largest, rtol=0)


def test_influences_agree(case):
    estimator, X, y, w, ours = case
    loss, params = ours.influence_loss(X, y), ours.influence_params()
    largest = np.abs(loss).max()
    close = {"atol": 1e-8 * largest, "rtol": 0}
    np.testing.assert_allclose(ours.loss_gradient(X, y) @ params.T, loss, **close)
    np.testing.assert_allclose(ours.self_influence(), np.diag(loss), **close)
    np.testing.assert_allclose(ours.influence_loss(X, y, average=True), loss.mean(0), **close)
    chunks = ours.influence_loss_chunked(X, y, working_memory=0.5)
    np.testing.assert_allclose(np.concatenate(list(chunks)), loss, **close)
    if w is None or not getattr(estimator, "var_smoothing", 0):  # epsilon_ has no weights
        given = ours.influence_params(X[:3], y[:3])
        np.testing.assert_allclose(given, params[:3], atol=1e-8 * np.abs(params).max())
    np.testing.assert_allclose(
        ours.influence_functional(lambda params: np.eye(len(params))[:2]),
        params[:, :2].T,
        atol=1e-10 * np.abs(params).max(),
    )
    influence, indices = ours.influential_samples(X[:4], y[:4], n_influential=3)
    np.testing.assert_allclose(influence, np.take_along_axis(loss[:4], indices, 1), **close)
    assert np.abs(influence[:, 0]).tolist() == pytest.approx(np.abs(loss[:4]).max(axis=1))
    assert len(ours.param_names()) == params.shape[1] == len(ours.params_)


@pytest.mark.filterwarnings("ignore::skinfluence.InfluenceWarning")
def test_removal_is_the_refit(case):
    estimator, X, y, w, ours = case
    rows = ours.leave_out_params(method="exact")
    groups = [np.arange(0, len(y), 9), np.array([1, 5])]
    sets = ours.leave_out_params(groups)
    losses = ours.leave_out_loss(X[:9], y[:9], groups)
    for found, left in [
        (rows[3], [3]),
        (rows[-1], [len(y) - 1]),
        *zip(sets, groups, strict=True),
    ]:
        refit = without(estimator, X, y, w, left)
        if len(refit.params_) == len(found):
            atol = 1e-8 * np.abs(refit.params_).max()
            np.testing.assert_allclose(found, refit.params_, rtol=1e-8, atol=atol)
    for g, left in enumerate(groups):
        refit = without(estimator, X, y, w, left)
        try:
            expected = refit.sample_loss(X[:9], y[:9])
        except ValueError:
            continue  # a category that the refit has not seen
        np.testing.assert_allclose(losses[:, g], expected, rtol=1e-6, atol=1e-9)


def test_relabelling_is_the_difference_of_two_influences(case):
    _, X, y, _, ours = case
    labels = np.unique(y)
    y_new = labels[(np.searchsorted(labels, y) + 1) % len(labels)]
    y_new[:2] = y[:2]
    params = ours.influence_params(X, y_new) - ours.influence_params(X, y)
    expected = ours.loss_gradient(X[:5], y[:5]) @ params.T
    found = ours.influence_relabel(X[:5], y[:5], y_new=y_new)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9 * np.abs(expected).max())
    assert not found[:, :2].any()
    with pytest.raises(ValueError, match="y_new holds 3 targets"):
        ours.influence_relabel(X[:5], y[:5], y_new=y[:3])


def test_first_order_removal_is_the_sum_of_influences(case):
    _, _, y, w, ours = case
    params = ours.influence_params()
    share = np.full(len(y), 1 / len(y)) if w is None else w / w.sum()
    found = ours.leave_out_params([[0, 4, 9]], method="influence")[0]
    expected = ours.params_ - share[[0, 4, 9]] @ params[[0, 4, 9]]
    np.testing.assert_allclose(found, expected, atol=1e-9 * np.abs(expected).max())


def test_cross_validation_without_refits(case):
    estimator, X, y, _, _ = case
    if isinstance(estimator, CategoricalNB) and estimator.min_categories is None:
        pytest.skip("folds that lack a category of the others cannot predict")
    ours = fitted(estimator, X, y, None)
    for response in ("predict", "predict_proba"):
        found = ours.leave_out_predict(cv=5, method="exact", response_method=response)
        expected = cross_val_predict(estimator, X, y, cv=5, method=response)
        if response == "predict":
            np.testing.assert_array_equal(found, expected)
        else:
            np.testing.assert_allclose(found, expected, atol=1e-6)
    if hasattr(ours, "decision_function"):
        found = ours.leave_out_predict(cv=5, response_method="decision_function")
        expected = cross_val_predict(estimator, X, y, cv=5, method="decision_function")
        np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())
    score = ours.leave_out_score(cv=5, scoring="neg_log_loss")
    folds = cross_val_score(estimator, X, y, cv=5, scoring="neg_log_loss")
    assert score == pytest.approx(np.mean(folds), rel=0.1)
    assert 0 <= ours.leave_out_score(cv=5) <= 1


def test_decision_values_move_with_the_weight_of_a_row(case):
    _, X, y, w, ours = case
    if not hasattr(ours, "decision_function"):
        pytest.skip("no decision values")
    w = np.ones(len(y)) if w is None else w
    influence = ours.influence_prediction(X[:2], response_method="decision_function")
    step = 1e-5 * (np.arange(len(y)) == 3)
    ahead, back = ours.reweight_predict(
        X[:2], [w + step, w - step], response_method="decision_function"
    )
    expected = w.sum() * (ahead - back) / 2e-5
    assert np.abs(influence[:, 3] - expected).max() < 1e-5 * np.abs(influence).max()


@pytest.mark.filterwarnings("ignore::skinfluence.InfluenceWarning")
def test_updates_are_refits(case):
    estimator, X, y, w, ours = case
    names = ("coef_", "intercept_", "theta_", "var_", "means_", "centroids_")
    first = {name: np.copy(vars(ours)[name]) for name in names if name in vars(ours)}
    ours.remove_samples([2, 7])
    refit = without(estimator, X, y, w, [2, 7])
    np.testing.assert_array_equal(ours.params_, refit.params_)
    np.testing.assert_allclose(
        ours.influence_loss(X[:2], y[:2]), refit.influence_loss(X[:2], y[:2])
    )
    ours.add_samples(X[[2, 7]], y[[2, 7]], None if w is None else w[[2, 7]])
    for name, value in first.items():
        np.testing.assert_allclose(getattr(ours, name), value, rtol=1e-6)
    check = ours.leave_out_check(4, random_state=0)
    assert check.max_relative_error < 1e-6


def test_results_do_not_depend_on_n_jobs_and_fill_out(case):
    _, X, y, _, ours = case
    for name, args in [("influence_loss", (X, y)), ("leave_out_params", ())]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InfluenceWarning)
            one = getattr(ours, name)(*args)
            out = np.empty(one.shape, dtype=np.float32)
            two = getattr(ours, name)(*args, n_jobs=2, out=out)
        assert two is out
        atol = 1e-5 * np.nanmax(np.abs(one))
        np.testing.assert_allclose(two, one, rtol=1e-5, atol=atol)


@pytest.mark.filterwarnings("ignore::skinfluence.InfluenceWarning")
def test_from_fitted_checks_the_data(case):
    estimator, X, y, w, ours = case
    cls = parent_class(type(estimator))
    given = {} if w is None else {"sample_weight": w}
    plain = cls(**estimator.get_params()).fit(X, y, **given)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = from_fitted(plain, X, y, **given)
    np.testing.assert_array_equal(
        again.influence_loss(X[:2], y[:2]), ours.influence_loss(X[:2], y[:2])
    )
    with pytest.warns(InfluenceWarning, match="not those that this"):
        from_fitted(plain, X[1:], y[1:])
    with pytest.raises(TrainingDataMissingError):
        from_fitted(plain).influence_params()
    copied = pickle.loads(pickle.dumps(again))
    np.testing.assert_array_equal(copied.influence_params(), again.influence_params())
    copied.drop_training_data()
    copied.sample_loss(X, y)
    with pytest.raises(TrainingDataMissingError):
        copied.self_influence()
    copied.set_training_data(X, y, w)
    np.testing.assert_array_equal(copied.influence_params(), again.influence_params())
