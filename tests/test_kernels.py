"""Kernel models: the same answers as features give, for every kernel and container."""

import pickle

import numpy as np
import pytest
from scipy import sparse
from sklearn import svm as sklearn_svm
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics.pairwise import pairwise_kernels, rbf_kernel
from sklearn.model_selection import GridSearchCV, cross_val_predict

from skinfluence import (
    InfluenceWarning,
    SingularHessianError,
    TrainingDataMissingError,
    from_fitted,
)
from skinfluence.kernel_ridge import KernelRidge
from skinfluence.linear_model import Ridge
from skinfluence.pipeline import problem_of
from skinfluence.solvers import WoodburySolver
from skinfluence.svm import SVC, LinearSVC, SmoothHingeLinearSVC, SmoothHingeSVC
from tests.cases import CASES
from tests.fits import data, frozen, relative_error

TIGHT = {"tol": 1e-13, "max_iter": 1000}
KERNELS = [case for case in CASES if case.kernel]
each_kernel_case = pytest.mark.parametrize("case", KERNELS, ids=lambda case: case.name)


@pytest.mark.parametrize("method", ["influence", "newton", "exact"])
def test_a_linear_kernel_is_the_linear_model(method):
    X, y, w = data("diabetes")
    primal = Ridge(alpha=0.7, fit_intercept=False, solver="cholesky").fit(X, y, w)
    dual = KernelRidge(alpha=0.7, kernel="linear").fit(X, y, w)
    queries = X[:9] + 0.1, y[:9]
    same(dual.influence_loss(*queries), primal.influence_loss(*queries))
    same(dual.influence_prediction(X[:9]), primal.influence_prediction(X[:9]))
    same(dual.self_influence(), primal.self_influence())
    same(dual.influence_params() @ X, primal.influence_params())
    same(dual.newton_step(0.01) @ X, primal.newton_step(0.01))
    same(dual.leave_out_params(method=method) @ X, primal.leave_out_params(method=method))
    groups = [[1, 2, 3], list(range(40))]
    same(
        dual.leave_out_loss(*queries, groups, method=method),
        primal.leave_out_loss(*queries, groups, method=method),
    )
    report, expected = dual.convergence_report(), primal.convergence_report()
    assert report.converged
    assert expected.converged


@pytest.mark.parametrize("temperature", [1.0, 0.1, 0.01])
def test_a_linear_kernel_is_the_linear_machine(temperature):
    # The kernel model's intercept is free, the linear one's hardly penalised.
    X, y, w = data("cancer")
    primal = SmoothHingeLinearSVC(temperature=temperature, intercept_scaling=1e5, **TIGHT)
    dual = SmoothHingeSVC(kernel="linear", temperature=temperature, **TIGHT)
    primal.fit(X, y, w)
    dual.fit(X, y, w)
    queries = X[:9] + 0.1, y[:9]
    same(dual.decision_function(X), primal.decision_function(X))
    same(dual.influence_loss(*queries), primal.influence_loss(*queries))
    same(dual.self_influence(), primal.self_influence())
    same(dual.newton_correction()[-1], primal.newton_correction()[-1])
    same(
        dual.leave_out_loss(*queries, method="exact"),
        primal.leave_out_loss(*queries, method="exact"),
        1e-6,
    )


def same(found, expected, tolerance=1e-8):
    scale = max(1e-3, np.max(np.abs(expected)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)


@each_kernel_case
def test_precomputed_is_the_kernel(case):
    if not isinstance(case.estimator.kernel, str):
        pytest.skip("Gaussian processes have no precomputed kernel")
    fitted, (X, y, w) = case.fit(), case.data()
    kernel = problem_of(fitted).objective.design.basis.kernel
    K = kernel(X, X)
    K = (K + K.T) / 2
    same_params = {"kernel": "precomputed"}
    other = clone(case.estimator).set_params(**same_params).fit(K, y, w)
    query = X[:7] * 0.9
    between = kernel(query, X)
    if hasattr(fitted, "decision_function"):
        np.testing.assert_allclose(
            other.decision_function(between), fitted.decision_function(query), atol=1e-7
        )
    np.testing.assert_allclose(
        other.influence_loss(between, y[:7]), fitted.influence_loss(query, y[:7]), atol=1e-7
    )
    np.testing.assert_allclose(
        other.leave_out_params([[0, 4]], method="exact"),
        fitted.leave_out_params([[0, 4]], method="exact"),
        atol=1e-7,
    )
    with pytest.raises(ValueError, match="precomputed"):
        other.add_samples(K[:2], y[:2])
    with pytest.raises(ValueError, match=r"features|columns"):
        other.influence_loss(between[:, :5], y[:7])


@each_kernel_case
def test_removed_and_added_rows_are_those_of_the_refit(case):
    fitted, (X, y, w) = case.fit(), case.data()
    estimator, rows = frozen(case, fitted), [2, 7, 12]
    kept = np.delete(np.arange(len(y)), rows)
    refit = clone(estimator).fit(X[kept], y[kept], w[kept])
    fitted.remove_samples(rows)
    assert relative_error(fitted.params_, refit.params_) < 1e-7
    np.testing.assert_allclose(
        fitted.influence_loss(X[:4], y[:4]), refit.influence_loss(X[:4], y[:4]), atol=1e-6
    )
    fitted.add_samples(X[rows], y[rows], w[rows])
    order = np.concatenate([kept, rows])
    again = clone(estimator).fit(X[order], y[order], w[order])
    assert relative_error(fitted.params_, again.params_) < 1e-7


@each_kernel_case
def test_the_training_data_are_those_of_the_fit(case):
    fitted, (X, y, w) = case.fit(), case.data()
    expected = fitted.influence_loss(X[:4], y[:4])
    small = pickle.loads(pickle.dumps(fitted.drop_training_data()))
    small.predict(X[:4])
    with pytest.raises(TrainingDataMissingError):
        small.influence_loss(X[:4], y[:4])
    with pytest.raises(ValueError, match="rows of its fit only"):
        small.set_training_data(X[:-1], y[:-1], w[:-1])
    with pytest.raises(ValueError, match="differs in"):
        small.set_training_data(X * 2, y, w)
    small.set_training_data(X, y, w)
    np.testing.assert_allclose(small.influence_loss(X[:4], y[:4]), expected, atol=1e-9)


@each_kernel_case
def test_only_training_samples_have_an_influence_on_dual_coefficients(case):
    fitted, (X, y, _) = case.fit(), case.data()
    for method in (fitted.influence_params, lambda X, y: fitted.newton_step(0.1, X, y)):
        with pytest.raises(ValueError, match="coefficients of its training samples"):
            method(X[:2], y[:2])
    for name in ("solve_hessian", "dfbetas", "params_covariance"):
        assert not hasattr(fitted, name)
    for solver in ("cholesky", "cg"):
        with pytest.raises(ValueError, match="use 'auto' or 'woodbury'"):
            fitted.influence_loss(X[:2], y[:2], hessian_solver=solver)


def test_changed_training_arrays_are_noticed():
    X, y, w = data("diabetes")
    X = X.copy()
    reg = KernelRidge(alpha=0.3, gamma=0.1, kernel="rbf").fit(X, y, w)
    reg.influence_loss(X[:3], y[:3])
    X[7] += 3.0
    with pytest.warns(InfluenceWarning, match="training arrays changed"):
        reg.influence_loss(X[:3], y[:3])


def test_no_kernel_value_outlives_the_rows_that_it_was_computed_from():
    X, y, w = data("diabetes")
    X = X.copy()
    reg = KernelRidge(alpha=0.3, gamma=0.1, kernel="rbf").fit(X, y, w)
    for _ in range(2):  # the second time asks whether the rows are still the same
        reg.self_influence()
    X[7] += 3.0
    other = from_fitted(reg, X.copy(), y, w)
    with pytest.warns(InfluenceWarning, match="training arrays changed"):
        assert relative_error(reg.self_influence(), other.self_influence()) < 1e-12
    state = problem_of(reg).cached_state
    with pytest.warns(InfluenceWarning, match="training arrays changed"):
        reg.self_influence()
    assert problem_of(reg).cached_state is state


def test_kernel_ridge_influence_is_the_derivative_to_1e_6():
    X, y, w = data("diabetes")
    make = KernelRidge(alpha=0.3, kernel="rbf", gamma=0.1)
    influence = clone(make).fit(X, y, w).influence_prediction(X[::5] + 0.1)
    for row in (0, 40, 111):
        values = []
        for sign in (1, -1):
            moved = w.copy()
            moved[row] += sign * 1e-4
            values.append(make.fit(X, y, moved).predict(X[::5] + 0.1))
        expected = w.sum() * (values[0] - values[1]) / 2e-4
        assert relative_error(influence[:, row], expected) < 1e-6


@pytest.mark.parametrize("kernel", ["linear", "rbf", "poly", "sigmoid"])
@pytest.mark.parametrize("gamma", ["scale", "auto", 0.01])
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_kernels_are_those_of_scikit_learn(kernel, gamma, container):
    X, y, _ = data("cancer")
    options = {"kernel": kernel, "gamma": gamma, "degree": 2, "coef0": 0.5, "C": 0.1}
    clf = SmoothHingeSVC(temperature=1.0, **options)
    if kernel == "sigmoid":
        options |= {"coef0": 0.0, "gamma": 1e-3}  # elsewhere it is far from semidefinite
        clf.set_params(**options)
    clf.fit(container(X), y)
    theirs = sklearn_svm.SVC(**options).fit(container(X), y)
    ours = problem_of(clf).objective.design.basis.kernel(X, X)
    gamma = options["gamma"] if isinstance(options["gamma"], float) else theirs._gamma
    params = {"gamma": gamma, "degree": 2, "coef0": options["coef0"]}
    expected = pairwise_kernels(X, metric=kernel, filter_params=True, **params)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-13 * np.abs(expected).max())


def test_a_kernel_that_is_not_positive_definite_is_refused():
    X, y, _ = data("cancer")
    with pytest.raises(SingularHessianError, match="kernel must be positive definite"):
        SmoothHingeSVC(kernel="sigmoid", gamma=1.0, coef0=-1.0).fit(X, y)


@pytest.mark.parametrize("n", [1200])
def test_many_rows_are_fitted_from_a_sample_of_them(n):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 4))
    y = np.where(X[:, 0] * X[:, 1] + 0.3 * rng.standard_normal(n) > 0, "a", "b")
    y[:30] = "c"
    w = rng.uniform(0.2, 2.0, n)
    clf = SmoothHingeSVC(temperature=0.05).fit(X, y, w)
    assert clf.convergence_report().newton_decrement < 1e-6
    polished = clone(clf).fit(X, y, w).polish()
    np.testing.assert_allclose(clf.params_, polished.params_, atol=1e-6)


def test_a_fit_that_stops_early_says_so():
    X, y, w = data("cancer")
    with pytest.warns(ConvergenceWarning, match="SmoothHingeSVC stopped after 2 Newton"):
        clf = SmoothHingeSVC(temperature=0.01, max_iter=2).fit(X, y, w)
    assert not clf.convergence_report().converged
    assert clf.polish().convergence_report().converged


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"kernel": "cosine"}, "kernel='cosine'"),
        ({"gamma": "wide"}, "gamma='wide'"),
        ({"gamma": -1.0}, "gamma=-1.0"),
        ({"C": 0.0}, "C=0.0"),
        ({"temperature": -1}, "temperature=-1"),
        ({"degree": "two", "kernel": "poly"}, "degree='two'"),
        ({"max_iter": 0}, "max_iter=0"),
    ],
)
def test_parameters_are_checked_by_name(params, match):
    X, y, _ = data("cancer")
    with pytest.raises(ValueError, match=match):
        SmoothHingeSVC(**params).fit(X, y)


def test_predictions_of_classes_are_those_of_the_limit():
    X, y, _ = data("wine")
    smooth = SmoothHingeSVC(temperature=1e-4).fit(X, y)
    hinge = sklearn_svm.SVC(tol=1e-8).fit(X, y)
    np.testing.assert_allclose(
        smooth.decision_function(X), hinge.decision_function(X), atol=1e-3
    )
    np.testing.assert_array_equal(smooth.predict(X), hinge.predict(X))


def test_searches_and_cross_validation():
    X, y, _ = data("cancer")
    search = GridSearchCV(SmoothHingeSVC(), {"C": [0.1, 1.0], "gamma": [0.01, 0.1]}, cv=3)
    best = search.fit(X, y).best_estimator_
    assert best.influence_loss(X[:2], y[:2]).shape == (2, 200)
    kernel = SmoothHingeSVC(kernel="precomputed")
    expected = cross_val_predict(SmoothHingeSVC(gamma=0.1), X, y, cv=4)
    found = cross_val_predict(kernel, rbf_kernel(X, gamma=0.1), y, cv=4)
    np.testing.assert_array_equal(found, expected)
    fitted = SmoothHingeSVC(gamma=0.1).fit(X, y)
    np.testing.assert_array_equal(fitted.leave_out_predict(cv=4, method="exact"), expected)


def test_the_hinge_of_liblinear_is_that_of_libsvm_with_a_constant():
    X, y, w = data("cancer")
    linear = LinearSVC(loss="hinge", intercept_scaling=1e3, C=0.1, tol=1e-12, max_iter=10**7)
    linear.fit(X, y, w)
    kernel = SVC(kernel="linear", C=0.1, tol=1e-10).fit(X, y, w)
    np.testing.assert_allclose(
        linear.influence_prediction(X[:9]), kernel.influence_prediction(X[:9]), atol=1e-4
    )


@pytest.mark.parametrize("labels", ["kernel", "one class"])
def test_a_failed_fit_leaves_the_model_as_it_was(labels):
    X, y, _ = data("cancer")
    clf = SmoothHingeSVC(gamma=0.1).fit(X, y)
    decision = clf.decision_function(X)
    influence = clf.influence_loss(X[:3], y[:3])
    if labels == "kernel":
        clf.set_params(kernel="sigmoid", gamma=1.0, coef0=-1.0)
        with pytest.raises(SingularHessianError):
            clf.fit(X, y)
    else:
        with pytest.raises(ValueError, match="only one class: 'benign'"):
            clf.fit(X, np.full(len(y), "benign"))
    np.testing.assert_array_equal(clf.decision_function(X), decision)
    np.testing.assert_array_equal(clf.influence_loss(X[:3], y[:3]), influence)


@pytest.mark.parametrize("estimator", [SVC(), KernelRidge()], ids=lambda e: type(e).__name__)
def test_methods_that_dual_coefficients_lack_name_the_alternatives(estimator):
    for name in ("solve_hessian", "dfbetas", "params_covariance"):
        with pytest.raises(AttributeError, match=f"no attribute '{name}'") as caught:
            getattr(estimator, name)
        reason = str(caught.value.__cause__)
        assert f"has no {name}, which describes coefficients of features" in reason
        advice = reason.partition(": use ")[2].rstrip(".")
        named = advice.replace(" or ", ", ").split(", ")
        assert len(named) >= 2
        assert all(hasattr(estimator, remedy) for remedy in named)


@pytest.mark.parametrize("name", ["kernel-ridge", "smooth-svc-0.1"])
def test_a_pickle_does_not_hold_the_kernel_matrix(name):
    case = next(case for case in CASES if case.name == name)
    X, y, w = case.data()
    fitted = clone(case.estimator).fit(X, y, w)
    before = len(pickle.dumps(fitted))
    influence = fitted.influence_loss(X[:3], y[:3])
    assert len(pickle.dumps(fitted)) == before
    copied = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_allclose(copied.influence_loss(X[:3], y[:3]), influence, rtol=1e-12)


@pytest.mark.parametrize("method", ["newton", "exact"])
def test_removal_under_a_weak_penalty_is_that_of_the_primal_model(method):
    # Dual coefficients of hundreds cancel in predictions: 0 but for rounding is not enough for
    # those of the rows that left.
    rng = np.random.default_rng(0)
    X = rng.standard_normal((14, 2)) @ rng.standard_normal((2, 12)) + 30.0
    y = rng.standard_normal(14)
    fitted = KernelRidge(alpha=1e-2, kernel="linear").fit(X, y)
    for row, params in enumerate(fitted.leave_out_params(method=method)):
        without = Ridge(alpha=1e-2, fit_intercept=False, solver="svd")
        without.fit(np.delete(X, row, 0), np.delete(y, row))
        assert params[row] == 0
        assert relative_error(X @ (X.T @ params), without.predict(X)) < 1e-7


@pytest.mark.parametrize("method", ["newton", "exact"])
@pytest.mark.parametrize(("alpha", "tolerance"), [(1e-3, 1e-9), (1e-6, 1e-7), (1e-8, 1e-5)])
def test_removal_under_a_weak_penalty_shares_a_factor(method, alpha, tolerance, monkeypatch):
    """Dual coefficients of up to 1e10, of which predictions of 1e2 are left."""
    X, y = load_diabetes(return_X_y=True)
    X, y = X[:200], y[:200]
    fitted = KernelRidge(alpha=alpha, kernel="rbf", gamma=1.0).fit(X, y)
    factors, factorise = [], WoodburySolver.factorise
    monkeypatch.setattr(
        WoodburySolver, "factorise", lambda *args: factors.append(0) or factorise(*args)
    )
    found = fitted.leave_out_predict(method=method)
    expected = [
        clone(fitted).fit(np.delete(X, i, 0), np.delete(y, i)).predict(X[[i]])[0]
        for i in range(20)
    ]
    np.testing.assert_allclose(found[:20], expected, atol=tolerance * np.abs(y).max())
    assert len(factors) < 10  # of 200 removals: the optimum to start from takes a few
