"""Weights over many decades, features in different units and features far from 0."""

import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn import config_context, linear_model, svm
from sklearn.base import clone

from skinfluence import InfluenceWarning
from skinfluence._compat import TOL_DECIDES_RANK
from skinfluence.linear_model import (
    ElasticNet,
    GammaRegressor,
    HuberRegressor,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    SGDRegressor,
    TweedieRegressor,
)
from skinfluence.pipeline import problem_of
from skinfluence.svm import LinearSVC, LinearSVR


def wide_problem(seed):
    """Return X, labels, targets, weights over eight decades and C; a row comes twice."""
    rng = np.random.default_rng(seed)
    p = int(rng.integers(1, 4))
    n = int(rng.integers(2 * p + 4, 40))
    C = 10.0 ** rng.uniform(1, 5)
    whole = rng.random() < 0.5
    X = rng.integers(-3, 4, size=(n, p)).astype(float) if whole else rng.normal(size=(n, p))
    labels = rng.integers(0, 2, n)
    labels[:2] = 0, 1
    X[-1], labels[-1] = X[0], 1
    weight = 10.0 ** rng.uniform(-4, 4, n)
    return X, labels, X @ rng.normal(size=p) + rng.normal(size=n), weight, C


@pytest.mark.parametrize(
    ("seed", "group"), [(34, [5]), (113, [6, 4]), (233, [0]), (285, [0]), (285, [2])]
)
def test_exact_removal_finds_the_optimum_of_rows_that_weigh_little(seed, group):
    X, y, _, weight, C = wide_problem(seed)
    clf = LinearSVC(C=C, dual=False, tol=1e-8, max_iter=10**5).fit(X, y, weight)
    (params,) = clf.leave_out_params([group], method="exact")
    kept = np.setdiff1d(np.arange(len(y)), group)
    refit = svm.LinearSVC(C=C, dual=False, tol=1e-13, max_iter=10**5)
    refit.fit(X[kept], y[kept], weight[kept])
    expected = refit.decision_function(X)
    error = np.abs(X @ params[:-1] + params[-1] - expected).max()
    assert error <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize(("seed", "group"), [(34, [3]), (391, [1, 5])])
def test_exact_removal_of_heavy_rows_leaves_the_tube_of_light_ones(seed, group):
    X, _, t, weight, C = wide_problem(seed)
    options = {"C": C, "epsilon": 0.3, "loss": "squared_epsilon_insensitive", "dual": False}
    reg = LinearSVR(tol=1e-8, max_iter=10**5, **options).fit(X, t, weight)
    (params,) = reg.leave_out_params([group], method="exact")
    kept = np.setdiff1d(np.arange(len(t)), group)
    refit = svm.LinearSVR(tol=1e-13, max_iter=10**5, **options)
    refit.fit(X[kept], t[kept], weight[kept])
    expected = refit.predict(X)
    error = np.abs(X @ params[:-1] + params[-1] - expected).max()
    assert error <= 1e-5 * np.abs(expected).max()


def units(seed, n_targets=1):
    """Return X in units from 1e-6 to 1e6, and targets."""
    rng = np.random.default_rng(seed)
    n, p = int(rng.integers(12, 60)), int(rng.integers(1, 6))
    unit = 10.0 ** rng.uniform(-6, 6, p)
    Z = rng.normal(size=(n, p))
    return Z * unit, Z @ rng.normal(size=(p, n_targets)) + rng.normal(size=(n, n_targets)), rng


def refit_error(reg):
    """Return the relative error of predictions that rounding leaves a refit, at least 1e-8.

    scikit-learn 1.8 keeps directions whose singular values are far below its default `tol`
    in 1.9, with which this is 1e-8.
    """
    condition = reg.singular_[0] / reg.singular_[reg.rank_ - 1]
    return max(1e-8, 10 * np.finfo(float).eps * condition)


needs_tol = pytest.mark.skipif(
    not TOL_DECIDES_RANK,
    reason="LinearRegression of scikit-learn 1.8 has no tol for dense features",
)


@pytest.mark.parametrize("method", ["newton", "exact"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_the_refit_decides_which_units_are_too_small_to_count(fit_intercept, method):
    changed = 0
    for seed in range(60):
        X, y, _ = units(seed)
        reg = LinearRegression(fit_intercept=fit_intercept).fit(X, y[:, 0])
        params = reg.leave_out_params(method=method)
        for row in range(3):
            kept = np.arange(len(X)) != row
            refit = linear_model.LinearRegression(fit_intercept=fit_intercept)
            expected = refit.fit(X[kept], y[kept, 0]).predict(X)
            coef, intercept = reg.split_params(params[row])
            error = np.abs(X @ coef + intercept - expected).max()
            assert error <= refit_error(refit) * np.abs(expected).max(), (seed, row)
            changed += refit.rank_ < X.shape[1]
    if TOL_DECIDES_RANK:
        assert changed > 20  # there are directions that do not count
    else:
        assert changed == 0  # in scikit-learn 1.8 all of these directions count


@pytest.mark.parametrize("method", ["newton", "exact"])
def test_groups_weights_and_targets_in_different_units_are_the_refit(method):
    for seed in range(30):
        X, y, rng = units(seed, n_targets=2)
        w = rng.uniform(0.1, 3.0, len(X)) * (rng.random(len(X)) > 0.1)
        groups = [rng.choice(len(X), 3, replace=False) for _ in range(2)]
        groups.append(np.arange(len(X) // 2))  # more rows than columns
        reg = LinearRegression().fit(X, y, w)
        for group, params in zip(
            groups, reg.leave_out_params(groups, method=method), strict=True
        ):
            kept = np.setdiff1d(np.arange(len(X)), group)
            refit = linear_model.LinearRegression().fit(X[kept], y[kept], w[kept])
            coef, intercept = reg.split_params(params)
            error = np.abs(X @ coef.T + intercept - refit.predict(X)).max()
            assert error <= refit_error(refit) * np.abs(refit.predict(X)).max(), seed


@pytest.mark.parametrize("method", ["newton", "exact"])
@pytest.mark.parametrize("shift", [0.0, 1e3])
def test_directions_that_count_in_single_precision_are_those_of_the_refit(shift, method):
    ranks = set()
    for small in (3e-8, 1e-5, 1e-3):
        rng = np.random.default_rng(0)
        Z = rng.normal(size=(200, 2))
        X = (Z * [1.0, small] + [shift, 0.0]).astype(np.float32)
        y = (Z.sum(axis=1) + rng.normal(size=200)).astype(np.float32)
        reg = LinearRegression().fit(X, y)
        (params,) = reg.leave_out_params([[0]], method=method)
        refit = linear_model.LinearRegression().fit(X[1:], y[1:])
        np.testing.assert_allclose(reg.split_params(params)[0], refit.coef_, rtol=1e-5)
        assert refit.rank_ == reg.rank_
        ranks.add((small, int(reg.rank_)))
    # Before 1.9 the precision decides, which is 200 * eps = 2.4e-5 here, later tol=1e-6 does.
    assert ranks == {(3e-8, 1), (1e-5, 1 + TOL_DECIDES_RANK), (1e-3, 2)}


@needs_tol
def test_a_removal_carries_a_singular_value_across_the_tolerance():
    # One row has nearly all of the small direction's variance: without it the direction is
    # at half of the tolerance, with it at twice.
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30, 2)) * [1.0, 0.5e-6]
    X[0, 1] = 2e-6 * np.sqrt(30)
    y = rng.standard_normal(30)
    reg = LinearRegression().fit(X, y)
    assert reg.rank_ == 2
    for method in ("newton", "exact"):
        params = reg.leave_out_params(method=method)
        for row in (0, 1):
            refit = linear_model.LinearRegression().fit(
                np.delete(X, row, 0), np.delete(y, row)
            )
            assert refit.rank_ == 2 - (row == 0)
            expected = [*refit.coef_, refit.intercept_]
            np.testing.assert_allclose(params[row], expected, rtol=1e-7, atol=1e-12)


def turning(X, y, influence):
    """Return by which share each row's influence on predictions is off from refits."""
    share = np.empty(len(X))
    for row, found in enumerate(influence):
        values = []
        for step in (1e-4, -1e-4):
            weight = np.ones(len(X))
            weight[row] += step
            values.append(linear_model.LinearRegression().fit(X, y, weight).predict(X))
        expected = len(X) * (values[0] - values[1]) / 2e-4
        moved = X @ found[:-1] + found[-1]
        share[row] = np.linalg.norm(moved - expected) / np.linalg.norm(moved)
    return share


@needs_tol
def test_first_order_results_say_by_how_much_dropped_directions_turn():
    X, y, _ = units(146)
    y = y[:, 0]
    reg = LinearRegression().fit(X, y)
    mixing = reg.singular_[reg.rank_] / reg.singular_[reg.rank_ - 1]
    assert 0.02 < mixing < 1
    with pytest.warns(InfluenceWarning, match=f"up to {mixing:.2g} of the smallest") as told:
        influence = reg.influence_params()
    share = turning(X, y, influence)
    assert f"those of {(share > 0.05).sum()} of {len(X)} samples" in str(told[0].message)
    assert f"of sample {share.argmax()} by {share.max():.2g} times" in str(told[0].message)
    with pytest.warns(InfluenceWarning, match="samples are off"):
        reg.leave_out_params(method="influence")


@needs_tol
def test_dropped_directions_that_hardly_matter_are_not_told():
    rng = np.random.default_rng(10)
    x = rng.normal(size=(60, 1)) * 10
    X, y = x ** np.arange(1, 8), np.sin(x[:, 0] / 20) + 0.1 * rng.normal(size=60)
    reg = LinearRegression().fit(X, y)
    mixing = reg.singular_[reg.rank_] / reg.singular_[reg.rank_ - 1]
    assert 0.02 < mixing < 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        influence = reg.influence_params()
    assert turning(X, y, influence).max() < 0.05


def test_sparse_least_squares_counts_every_direction():
    # Iterations on sparse features know no tolerance for singular values: they go on to the
    # small direction, which the same features as an array do not have.
    rng = np.random.default_rng(0)
    X = sparse.csr_array(rng.standard_normal((30, 2)) * [1.0, 3e-7])
    y = X @ [1.0, 1e7] + rng.standard_normal(30)
    reg = LinearRegression(fit_intercept=False).fit(X, y)
    params = reg.leave_out_params(method="exact")
    refit = linear_model.LinearRegression(fit_intercept=False, tol=1e-14).fit(X[1:], y[1:])
    np.testing.assert_allclose(params[0], refit.coef_, rtol=1e-6)
    assert np.abs(params[:, 1]).min() > 1e6


def near_zero():
    """Return X that a shift does not round, and a linear predictor with its noise."""
    rng = np.random.default_rng(0)
    X = np.round(rng.normal(size=(60, 2)) * 1024) / 1024
    eta = X @ [0.5, -0.3]
    return X, eta, rng


def problems():
    """Return (estimator, targets) of every class with a free intercept."""
    _, eta, rng = near_zero()
    label = (rng.random(60) < 1 / (1 + np.exp(-eta))).astype(int)
    labels = label + (rng.random(60) < 0.4)
    real = eta + 0.3 * rng.normal(size=60)
    count = rng.poisson(np.exp(eta))
    positive = np.exp(eta) * rng.gamma(3, 1 / 3, 60) + 0.01
    return {
        "binary": (LogisticRegression(), label),
        "softmax": (LogisticRegression(), labels),
        "poisson": (PoissonRegressor(alpha=0.01), count),
        "gamma": (GammaRegressor(alpha=0.01), positive),
        "tweedie": (TweedieRegressor(power=1.5, alpha=0.01), count),
        "huber": (HuberRegressor(), real),
        "ridge": (Ridge(alpha=0.1), real),
        "least-squares": (LinearRegression(), real),
        "elastic-net": (ElasticNet(alpha=0.01), real),
        "ridge-classifier": (RidgeClassifier(alpha=0.1), labels),
        "sgd": (SGDRegressor(alpha=0.01, random_state=0), real),
    }


FAR = [(n, s) for n in problems() for s in (1e6, 1e9, 1e12) if n != "sgd"] + [("sgd", 1e3)]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("name", "shift"), FAR)
def test_features_far_from_0_have_the_coefficients_of_those_near_it(name, shift):
    X = near_zero()[0]
    estimator, y = problems()[name]
    groups = [[0], [1, 2, 3], np.arange(12)]

    def results(X):
        fitted = clone(estimator).fit(X, y).polish()
        exact = fitted.leave_out_params(groups, method="exact")
        newton = fitted.leave_out_params(groups)
        return [fitted.split_params(p)[0] for p in (fitted.params_, exact, newton)]

    expected, found = results(X), results(X + shift)
    # The intercept of the fit, which "newton" starts from, is rounded to eps * shift.
    for one, other, tol in zip(
        found, expected, (1e-12, 1e-8, 1e-8 + 1e-17 * shift), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=0, atol=tol * np.abs(other).max())


def test_sparse_features_far_from_0_stay_sparse():
    X, _, rng = near_zero()
    y = (rng.random(60) < 0.5).astype(int)
    rare = sparse.coo_array(rng.random((60, 3)) * (rng.random((60, 3)) < 0.1))
    far = sparse.csr_array(sparse.hstack([X[:, :1] + 1e9, rare]))
    near = sparse.csr_array(sparse.hstack([X[:, :1], rare]))
    objective = problem_of(LogisticRegression().fit(far, y)).objective
    assert np.flatnonzero(objective.offset).tolist() == [0]
    assert objective.centred().design.X.nnz == far.nnz
    assert problem_of(LogisticRegression().fit(rare, y)).objective.offset is None
    found = LogisticRegression().fit(far, y).polish().leave_out_params(method="exact")
    expected = LogisticRegression().fit(near, y).polish().leave_out_params(method="exact")
    np.testing.assert_allclose(found[:, :-1], expected[:, :-1], rtol=1e-8, atol=1e-9)


def test_an_offset_is_taken_off_as_rows_are_read_if_a_copy_is_too_large():
    X, _, rng = near_zero()
    X = np.repeat(X, 2000, axis=0) + 1e9
    objective = problem_of(LinearRegression().fit(X, rng.normal(size=len(X)))).objective
    with config_context(working_memory=1):
        lazy = objective.centred()
        assert not isinstance(lazy.design.X, np.ndarray)
        theta = rng.normal(size=(1, 3))
        found, weight = lazy.at(theta), rng.random((len(X), 1))
        gram, size = lazy.design.gram(weight), lazy.design.magnitude(theta)
    whole = objective.centred()
    expected = whole.at(theta)
    np.testing.assert_allclose(found.raw_prediction, expected.raw_prediction, rtol=1e-12)
    np.testing.assert_allclose(found.gradient, expected.gradient, rtol=1e-9)
    np.testing.assert_allclose(gram, whole.design.gram(weight), rtol=1e-9)
    np.testing.assert_allclose(size, whole.design.magnitude(theta), rtol=1e-12)


def test_ordinary_features_have_no_offset():
    X, eta, _ = near_zero()
    dummies = np.column_stack([X + 100.0, np.arange(60) == 59])
    assert problem_of(Ridge().fit(dummies, eta)).objective.offset is None
    assert problem_of(Ridge(fit_intercept=False).fit(X + 1e9, eta)).objective.offset is None


def test_huber_polishes_on_a_timestamp():
    rng = np.random.default_rng(0)
    t = np.linspace(1.7e12, 1.7e12 + 20000, 40)[:, None]
    y = 0.002 * (t[:, 0] - t[0, 0]) + 5 + rng.normal(0, 0.3, 40)
    y[3] += 20
    reg = HuberRegressor().fit(t, y).polish()
    near = HuberRegressor(max_iter=10000).fit(t - t[0], y).polish()
    np.testing.assert_allclose(reg.coef_, near.coef_, rtol=1e-10)
    np.testing.assert_allclose(reg.coef_, 0.0020015, rtol=1e-4)
