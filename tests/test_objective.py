"""The objective written here is the one that scikit-learn's fit minimises.

Its gradient vanishes at a tight fit, as far as each solver goes: newton-cholesky and the
direct ridge solvers to rounding, the iterative ones to what they stop at.
"""

import numpy as np
import pandas as pd
import pytest
import sklearn
from scipy import sparse

from skinfluence.gradients import absent_in
from skinfluence.linear_model import (
    HuberRegressor,
    LinearRegression,
    LogisticRegression,
    Ridge,
)
from skinfluence.objective import weigh
from skinfluence.pipeline import problem_of
from skinfluence.rank import null_directions
from tests.cases import each_case, each_linear_case
from tests.fits import data

# Largest entry of the gradient of the mean objective at each solver's tightest fit.
LOGISTIC = {
    "newton-cholesky": (1e-13, {"tol": 1e-14, "max_iter": 500}),
    "newton-cg": (2e-12, {"tol": 1e-12, "max_iter": 1000}),
    "lbfgs": (4e-7, {"tol": 1e-12, "max_iter": 100_000}),
    "liblinear": (1e-5, {"tol": 1e-12, "max_iter": 10_000}),
    "sag": (1e-5, {"tol": 1e-11, "max_iter": 10_000}),
    # On sparse data sag and saga move the intercept at a hundredth of the rate.
    "saga": (1e-4, {"tol": 1e-11, "max_iter": 50_000}),
}
RIDGE = {
    "auto": 1e-13,
    "svd": 1e-13,
    "cholesky": 1e-13,
    "lsqr": 1e-12,
    "sparse_cg": 1e-12,
    "sag": 1e-12,
    "saga": 1e-11,
}
CONTAINERS = {"dense": np.asarray, "csr": sparse.csr_array}
NO_SPARSE_RIDGE = {
    True: {"svd", "cholesky", "saga"},  # with an intercept
    False: {"svd"},
}


@pytest.mark.parametrize("case", **each_case)
def test_gradient_vanishes_at_a_tight_fit(case):
    report = case.fit().convergence_report()
    assert report.gradient_norm <= case.gradient
    assert report.converged


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("weighted", "class_weight", "fit_intercept", "container"),
    [
        (False, None, True, "dense"),
        (True, None, False, "csr"),
        (False, "balanced", False, "dense"),
        (True, "balanced", True, "csr"),
        (False, "dict", True, "csr"),
        (True, "dict", False, "dense"),
    ],
)
@pytest.mark.parametrize("dataset", ["cancer", "wine"])
@pytest.mark.parametrize("solver", LOGISTIC)
def test_logistic_regression(
    solver, dataset, weighted, class_weight, fit_intercept, container
):
    if solver == "liblinear" and dataset == "wine":
        pytest.skip("liblinear takes two classes")
    X, y, w = data(dataset)
    if class_weight == "dict":
        class_weight = {np.unique(y)[0]: 3.0, np.unique(y)[1]: 0.4}
    bound, options = LOGISTIC[solver]
    clf = LogisticRegression(
        solver=solver,
        fit_intercept=fit_intercept,
        class_weight=class_weight,
        random_state=0,
        **options,
    ).fit(CONTAINERS[container](X), y, sample_weight=w if weighted else None)
    assert clf.convergence_report().gradient_norm <= bound


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg", "newton-cholesky"])
def test_logistic_regression_without_penalty(solver):
    X, y, w = data("cancer")
    bound, options = LOGISTIC[solver]
    clf = LogisticRegression(C=np.inf, solver=solver, **options).fit(X, y, w)
    assert clf.convergence_report().gradient_norm <= bound


@pytest.mark.parametrize("intercept_scaling", [0.5, 1, 3])
def test_liblinear_penalises_its_scaled_intercept(intercept_scaling):
    X, y, w = data("cancer")
    bound, options = LOGISTIC["liblinear"]
    clf = LogisticRegression(
        solver="liblinear", C=0.2, intercept_scaling=intercept_scaling, **options
    ).fit(X + 1, y, w)
    assert clf.convergence_report().gradient_norm <= bound


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dataset", ["diabetes", "linnerud"])
@pytest.mark.parametrize("solver", RIDGE)
def test_ridge(solver, dataset, weighted, fit_intercept, container):
    if container == "csr" and solver in NO_SPARSE_RIDGE[fit_intercept]:
        pytest.skip(f"{solver} does not take sparse data like this")
    if solver == "saga" and dataset == "linnerud":
        pytest.skip("scikit-learn's saga diverges on these 20 rows")
    X, y, w = data(dataset)
    reg = Ridge(
        alpha=0.7,
        solver=solver,
        fit_intercept=fit_intercept,
        tol=1e-14,
        max_iter=100_000,
        random_state=0,
    ).fit(CONTAINERS[container](X), y, sample_weight=w if weighted else None)
    assert reg.convergence_report().gradient_norm <= RIDGE[solver]


@pytest.mark.parametrize("case", **each_case)
def test_value_gradient_and_curvature_are_of_one_function(case):
    # Away from the optimum, along a direction in which the parameters move.
    fitted = case.fit()
    objective, theta = problem_of(fitted).objective, problem_of(fitted).theta
    size = 0.01 * np.linalg.norm(theta)
    rng = np.random.default_rng(0)
    offset, step = (objective.freeze(rng.standard_normal(theta.shape)) for _ in range(2))
    theta = theta + size * offset / np.linalg.norm(offset)
    step *= size / np.linalg.norm(step)
    point, h = objective.at(theta), 1e-4
    ahead, behind = objective.at(theta + h * step), objective.at(theta - h * step)
    readings = objective.design.readings(step)

    slope = np.sum(point.gradient * readings)
    scale = np.linalg.norm(point.gradient) * np.linalg.norm(readings)
    assert abs((ahead.value - behind.value) / (2 * h) - slope) <= 1e-6 * scale
    assert ahead.value == objective.value(ahead.theta)
    slope_at = point.slope_along(step)
    assert abs(slope_at(0.0) - slope) <= 1e-12 * scale
    assert abs(slope_at(h) - np.sum(ahead.gradient * readings)) <= 1e-12 * scale

    bend = (ahead.gradient - behind.gradient) / (2 * h)
    product = point.hessian_product(step[None])[0]
    assert np.linalg.norm(bend - product) <= 1e-7 * np.linalg.norm(product)


def whole(objective, blocks):
    """Return H (K D, K D) from its blocks."""
    K, D = objective.penalty.shape
    H = np.zeros((K, D, K, D))
    for outputs, block in blocks:
        filled = np.triu(block) + np.triu(block, 1).T
        if objective.coupled:
            return filled
        for k in outputs:
            H[k, :, k] = filled
    return H.reshape(K * D, K * D)


@pytest.mark.parametrize("working_memory", [1024, 0.01])
@pytest.mark.parametrize("case", **each_linear_case)
def test_the_forms_of_the_hessian_agree(case, working_memory):
    fitted = case.fit()
    objective, theta = problem_of(fitted).objective, 0.9 * problem_of(fitted).theta
    point, size = objective.at(theta), theta.size
    with sklearn.config_context(working_memory=working_memory):
        H = whole(objective, point.hessian_blocks())
        products = point.hessian_product(np.eye(size).reshape(size, *theta.shape))
    moves = objective.free.ravel()
    expected = products.reshape(size, size) * moves[:, None] + np.diag(~moves)
    np.testing.assert_allclose(H, expected, rtol=1e-10, atol=1e-12 * np.abs(expected).max())
    diagonal = point.hessian_diagonal()
    np.testing.assert_allclose(diagonal.ravel(), expected.diagonal(), rtol=1e-10)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("n_features", [5, 250])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_the_hessian_of_a_softmax_in_shifted_features(fit_intercept, n_features):
    # H in the features x - m is that in x, of coefficients b and intercepts c - m'b.
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((60, n_features)) + 2.0, rng.integers(3, size=60)
    clf = LogisticRegression(fit_intercept=fit_intercept, max_iter=3).fit(X, y)
    objective = problem_of(clf).objective
    point, m = objective.at(problem_of(clf).theta), X.mean(axis=0)
    H = whole(objective, point.hessian_blocks(m)) - np.diag(objective.penalty.ravel())
    shifted = X - m
    if fit_intercept:
        shifted = np.column_stack([shifted, np.ones(60)])
    expected = np.einsum("ikl,id,ie->kdle", point.curvature(), shifted, shifted)
    expected = expected.reshape(H.shape)
    np.testing.assert_allclose(H, expected, rtol=1e-9, atol=1e-12 * np.abs(H).max())


def test_a_tight_fit_is_lower_than_its_neighbourhood():
    X, y, w = data("wine")
    clf = LogisticRegression(solver="newton-cholesky", tol=1e-12).fit(X, y, w)
    objective = problem_of(clf).objective
    for seed in range(5):
        offset = np.random.default_rng(seed).normal(scale=1e-3, size=(3, 14))
        assert objective.value(problem_of(clf).theta) < objective.value(
            problem_of(clf).theta + offset
        )


def test_rows_of_weight_zero_weigh_nothing_infinite_or_not():
    weight = np.array([[0.0], [2.0]])
    values = np.array([[np.inf, np.nan], [1.0, 3.0]])
    expected = [[0.0, 0.0], [2.0, 6.0]]
    np.testing.assert_array_equal(weigh(weight, values), expected)
    np.testing.assert_array_equal(weigh(weight, values, out=values), expected)
    np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("case", **each_linear_case)
def test_an_extra_penalty_adds_its_multiple_of_the_parameters(case):
    fitted = case.fit()
    objective, theta = problem_of(fitted).objective, problem_of(fitted).theta
    more = objective.with_extra_penalty(0.5)
    np.testing.assert_allclose(more.penalty - objective.penalty, 0.5, atol=1e-9)
    V = np.random.default_rng(0).standard_normal((2, *theta.shape))
    found = more.penalty_product(V) - objective.penalty_product(V)
    size = np.abs(objective.penalty_product(V)).max()
    np.testing.assert_allclose(found, 0.5 * V, atol=1e-12 * max(size, 1.0))


def test_an_extra_penalty_keeps_dependent_features_determined():
    X, y, _ = data("diabetes")
    X = np.column_stack([X, X[:, 0] + X[:, 1]])
    objective = problem_of(LinearRegression().fit(X, y)).objective
    assert objective.pin is not None
    V = np.random.default_rng(0).standard_normal((1, *objective.penalty.shape))
    found = objective.with_extra_penalty(0.5).penalty_product(V)
    np.testing.assert_allclose(found, objective.penalty_product(V) + 0.5 * V, rtol=1e-12)


@pytest.mark.parametrize("case", **each_case)
def test_without_rows_the_penalty_of_all_of_them_is_left(case):
    objective = problem_of(case.fit()).objective
    bare = objective.without_rows()
    assert bare.n_rows == len(bare.target) == len(bare.sample_weight) == 0
    np.testing.assert_array_equal(bare.penalty, objective.penalty)
    assert bare.pin is None


@pytest.mark.parametrize("scale", [1.0, 1e-12])
def test_a_point_knows_data_that_changed_in_place(scale):
    X, y, _ = data("diabetes")
    X = scale * X
    reg = Ridge(fit_intercept=False).fit(X, y)
    objective = problem_of(reg).objective
    point, still = (objective.at(size * problem_of(reg).theta) for size in (1.0, 0.0))
    assert point.is_current()
    assert still.is_current()
    X *= 1.1
    assert not point.is_current()


@pytest.mark.parametrize("rows", [slice(0, 4), slice(4, 8)])
def test_absent_rows_belong_to_one_block(rows):
    absent = np.array([[3, 4, -1], [0, 7, 8]])
    places, vector = absent_in(rows, absent)
    found = {(int(v), int(row) + rows.start) for row, v in zip(places, vector, strict=True)}
    expected = {(0, 3), (1, 0)} if rows.start == 0 else {(0, 4), (1, 7)}
    assert found == expected


def test_a_shift_keeps_the_gauge_only_where_all_outputs_follow():
    # An l1 penalty is no part of Lam; where it holds a coefficient of one class at zero, the
    # others cannot be shifted together.
    X, y, _ = data("wine")
    clf = LogisticRegression(
        C=0.1, l1_ratio=1, solver="saga", tol=1e-10, max_iter=100_000, random_state=0
    ).fit(X, y)
    objective = problem_of(clf).objective
    assert not objective.free.all()
    np.testing.assert_array_equal(objective.gauge, objective.free.all(axis=0))


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_weights_of_both_signs_make_a_gram_matrix_in_shifted_features(fit_intercept):
    X, y, _ = data("diabetes")
    design = problem_of(Ridge(fit_intercept=fit_intercept).fit(X, y)).objective.design
    weights = np.random.default_rng(0).standard_normal((len(X), 2))
    shift = X.mean(axis=0) + 2.0
    shifted = X - shift
    if fit_intercept:
        shifted = np.column_stack([shifted, np.ones(len(X))])
    expected = np.einsum("im,ij,ik->mjk", weights, shifted, shifted)
    found = design.signed_gram(weights, shift)
    filled = np.triu(found) + np.triu(found, 1).swapaxes(1, 2)
    np.testing.assert_allclose(filled, expected, atol=1e-10 * np.abs(expected).max())


@pytest.mark.parametrize("case", **each_linear_case)
def test_outputs_of_one_curvature_share_a_block(case):
    fitted = case.fit()
    objective = problem_of(fitted).objective
    grams = objective.at(problem_of(fitted).theta).curvature_grams()
    K, D = objective.penalty.shape
    if objective.coupled:
        expected = (1, K * D)
    elif objective.formulation.loss.constant_curvature and objective.row_weight.shape[1] == 1:
        expected = (1, D)
    else:
        expected = (K, D)
    assert grams.shape == (*expected, expected[1])


@pytest.mark.parametrize("scale", [1e-100, 1.0, 1e100])
def test_directions_without_variance_are_found_at_any_scale(scale):
    X, y, _ = data("diabetes")
    X = scale * np.column_stack([X, X[:, 0] - X[:, 1]])
    design = problem_of(LinearRegression(fit_intercept=False).fit(X, y)).objective.design
    moments = np.triu(design.gram(np.ones((len(X), 1)))[0])
    moments += np.triu(moments, 1).T
    null, mean, variance = null_directions(moments, design, 1e-6)
    assert null.shape == (1, X.shape[1])
    assert np.abs(X @ null[0]).max() < 1e-6 * np.abs(X).max()
    assert not mean.any()
    np.testing.assert_allclose(variance, np.sum(X**2) / X.shape[1], rtol=1e-12)


def test_the_centre_is_where_the_rows_count_in_the_hessian():
    X, y, w = data("cancer")
    clf = LogisticRegression(C=0.1, **LOGISTIC["newton-cholesky"][1]).fit(X + 3.0, y, w)
    point = problem_of(clf).objective.at(problem_of(clf).theta)
    counts = point.curvature_diagonal()[:, 0]
    np.testing.assert_allclose(point.centre(), counts @ (X + 3.0) / counts.sum(), rtol=1e-9)


@pytest.mark.parametrize(("offset", "shifts"), [(1.4, True), (1.1, False), (0.0, False)])
def test_a_shift_by_less_than_the_spread_is_not_worth_it(offset, shifts):
    # Four features with a spread of 2.5, four that are zero: 4 (offset / 2.5)^2 against 1.
    X = np.zeros((640, 8))
    X[:, :4] = offset + 2.5 * (-1.0) ** np.arange(640)[:, None]
    reg = Ridge().fit(X, np.random.default_rng(0).standard_normal(640))
    centre = problem_of(reg).objective.at(problem_of(reg).theta).centre()
    assert (centre is not None) == shifts


def test_the_hessian_of_a_scale_and_coefficients_in_shifted_features():
    # A coupled loss with outputs that no shift of all of them leaves as they are.
    X, y, _ = data("diabetes")
    reg = HuberRegressor(tol=1e-10, max_iter=10_000).fit(X, y)
    objective = problem_of(reg).objective
    point, m = objective.at(problem_of(reg).theta), X.mean(axis=0) + 1.0
    H, moves = whole(objective, point.hessian_blocks(m)), objective.free.ravel()
    shifted = np.column_stack([X - m, np.ones(len(X))])
    W = point.curvature() * objective.row_weight[:, :, None]
    expected = np.einsum("ikl,id,ie->kdle", W, shifted, shifted).reshape(H.shape)
    expected += np.diag(objective.penalty.ravel())
    expected = np.where(np.outer(moves, moves), expected, np.diag(1.0 * ~moves))
    np.testing.assert_allclose(H, expected, rtol=1e-9, atol=1e-12 * np.abs(H).max())


@pytest.mark.parametrize("named", [(True, True), (True, False), (False, True)])
def test_rows_have_names_where_all_of_them_have(named):
    X, y, _ = data("diabetes")
    parts = [slice(0, 100), slice(100, None)]
    frames = [
        pd.DataFrame(X[part], index=[f"r{i}" for i in range(*part.indices(len(X)))])
        if has_names
        else X[part]
        for part, has_names in zip(parts, named, strict=True)
    ]
    objectives = [
        problem_of(Ridge().fit(frame, y[part])).objective
        for frame, part in zip(frames, parts, strict=True)
    ]
    index = objectives[0].append(objectives[1]).index
    if all(named):
        assert list(index) == [f"r{i}" for i in range(len(X))]
    else:
        assert index is None
