"""The objective written here is the one that scikit-learn's fit minimises.

Its gradient vanishes at a tight fit, as far as each solver goes: newton-cholesky and the
direct ridge solvers to rounding, the iterative ones to what they stop at.
"""

from itertools import product

import numpy as np
import pytest
from scipy import sparse

from skinfluence.linear_model import LogisticRegression, Ridge
from tests.cases import data, each_case

# Largest entry of the gradient of the mean objective at each solver's tightest fit.
LOGISTIC = {
    "newton-cholesky": (1e-13, {"tol": 1e-14, "max_iter": 500}),
    "newton-cg": (1e-12, {"tol": 1e-12, "max_iter": 1000}),
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
@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("class_weight", [None, "balanced", "dict"])
@pytest.mark.parametrize("weighted", [False, True])
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
        alpha=0.7, solver=solver, fit_intercept=fit_intercept, tol=1e-14, max_iter=100_000
    ).fit(CONTAINERS[container](X), y, sample_weight=w if weighted else None)
    assert reg.convergence_report().gradient_norm <= RIDGE[solver]


def test_the_minimum_is_lower_than_its_neighbourhood():
    # The value, which line searches rely on, belongs to the gradient.
    X, y, w = data("wine")
    clf = LogisticRegression(solver="newton-cholesky", tol=1e-12).fit(X, y, w)
    objective = clf._get_objective()
    theta = clf._theta() + np.random.default_rng(0).normal(scale=0.05, size=(3, 14))
    gradient = objective.at(theta).gradient
    for k, j in product(range(3), (0, 5, 13)):
        step = np.zeros_like(theta)
        step[k, j] = 1e-5
        difference = objective.value(theta + step) - objective.value(theta - step)
        np.testing.assert_allclose(difference / 2e-5, gradient[k, j], rtol=1e-6)
    assert objective.value(clf._theta()) < objective.value(theta)
