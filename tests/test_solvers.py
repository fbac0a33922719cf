"""Hessian solvers: each one applies the inverse of the same Hessian.

Every registered solver runs over the same problems; a new one is tested by registering it.
"""

import warnings
from functools import cache

import numpy as np
import pytest
import sklearn
from scipy import linalg, sparse
from sklearn.exceptions import ConvergenceWarning

from skinfluence import InfluenceWarning, SingularHessianError
from skinfluence.linear_model import LogisticRegression, PoissonRegressor, Ridge
from skinfluence.pipeline import problem_of
from skinfluence.solvers import (
    SOLVERS,
    ConjugateGradientSolver,
    get_solver,
    select_solver,
)
from skinfluence.solvers.base import is_penalised
from tests.cases import CASES, each_linear_case
from tests.fits import NEWTON, data, relative_error
from tests.memory import peak

each_solver = pytest.mark.parametrize("solver", SOLVERS)
each_unpenalised_solver = pytest.mark.parametrize("solver", ["cholesky", "cg"])


def fit_for(case, solver):
    """Return the fitted case, unless the solver does not take its penalty."""
    fitted = case.fit()
    if solver != "cholesky" and not problem_of(fitted).objective.formulation.loss.convex:
        with pytest.raises(ValueError, match="convex losses: use 'cholesky'"):
            fitted.influence_params(hessian_solver=solver)
        pytest.skip(f"{solver} refuses losses that are not convex, by name")
    if solver == "woodbury" and not is_penalised(problem_of(fitted).objective):
        with pytest.raises(ValueError, match="penalty on every coefficient"):
            fitted.influence_params(hessian_solver=solver)
        pytest.skip("woodbury refuses coefficients without a penalty, by name")
    return fitted


def dense_hessian(fitted):
    """Return H column by column from gradients, in the layout of `params_`."""
    objective, layout = (
        problem_of(fitted).objective,
        problem_of(fitted).fitted.formulation.layout,
    )
    theta = problem_of(fitted).theta
    columns = []
    for j in range(layout.size):
        unit = layout.from_public(np.eye(layout.size)[j])
        plus = objective.at(theta + 1e-5 * unit).gradient
        minus = objective.at(theta - 1e-5 * unit).gradient
        columns.append(layout.to_public((plus - minus) / 2e-5))
    frozen = ~layout.to_public(objective.free)
    for j in np.flatnonzero(frozen):
        columns[j][:] = 0.0  # fixed parameters have no part in H^+
    return np.array(columns)


def least_norm(fitted):
    """Return the projection, in the layout of `params_`, on what least norm lets move.

    Coefficients without a part along features' combinations of no variance; everything but
    where the solution of least norm is one of many.
    """
    objective, layout = (
        problem_of(fitted).objective,
        problem_of(fitted).fitted.formulation.layout,
    )
    P = np.eye(layout.size)
    if objective.formulation.minimum_norm is None:
        return P
    X = objective.design.rows()[:, : layout.n_features]
    centred = X - X.mean(axis=0) if layout.fit_intercept else X
    _, values, directions = np.linalg.svd(centred)
    null = directions[np.append(values, np.zeros(len(directions)))[: len(directions)] < 1e-9]
    for k in range(layout.n_outputs):
        coef = slice(k * layout.n_features, (k + 1) * layout.n_features)
        P[coef, coef] -= null.T @ null
    return P


@cache
def dense_inverse(case):
    fitted = case.fit()
    H, P = dense_hessian(fitted), least_norm(fitted)
    return np.linalg.pinv(P @ H @ P, rcond=1e-8, hermitian=False)


@cache
def by_cholesky(case):
    fitted, (X, y, _) = case.fit(), case.data()
    expected = fitted.influence_loss(X[:9], y[:9], hessian_solver="cholesky")
    return expected, case.fit().self_influence()


@each_solver
@pytest.mark.parametrize("case", **each_linear_case)
def test_solve_inverts_the_derivative_of_the_gradient(case, solver):
    fitted = fit_for(case, solver)
    inverse = dense_inverse(case)
    V = np.random.default_rng(0).standard_normal((3, len(inverse)))
    solution = fitted.solve_hessian(V, hessian_solver=solver)
    assert relative_error(solution, V @ inverse) < 1e-5
    # A quadratic form is the product with the solution.
    factor = problem_of(fitted).state(solver).factor
    V = np.random.default_rng(0).standard_normal((4, *problem_of(fitted).theta.shape))
    expected = np.einsum("mkd,mkd->m", V, factor.solve(V))
    np.testing.assert_allclose(factor.quadratic(V), expected, rtol=1e-9)
    # Results do not depend on the solver.
    X, y, _ = case.data()
    on_loss, on_own_loss = by_cholesky(case)
    found = fitted.influence_loss(X[:9], y[:9], hessian_solver=solver)
    assert relative_error(found, on_loss) < 1e-9
    found = fitted.self_influence(hessian_solver=solver)
    assert relative_error(found, on_own_loss) < 1e-9


@each_solver
def test_a_factor_does_not_touch_its_right_hand_sides(solver):
    fitted = CASES[0].fit()
    factor = problem_of(fitted).state(solver).factor
    V = np.random.default_rng(0).standard_normal((4, *problem_of(fitted).theta.shape))
    before = V.copy()
    factor.solve(V)
    factor.quadratic(V)
    np.testing.assert_array_equal(V, before)


@each_solver
@pytest.mark.parametrize("C", [1.0, np.inf])
def test_softmax_solutions_keep_the_shift_of_the_intercepts(solver, C):
    if solver == "woodbury" and np.inf == C:
        pytest.skip("woodbury needs a penalty")
    rng = np.random.default_rng(0)
    X = rng.standard_normal((120, 3)) + 4.0
    y = rng.integers(0, 3, 120)
    clf = LogisticRegression(C=C, **NEWTON).fit(X, y)
    coef, intercept = clf.split_params(clf.influence_params(hessian_solver=solver))
    np.testing.assert_allclose(intercept.sum(axis=1), 0.0, atol=1e-9)
    np.testing.assert_allclose(coef.sum(axis=1), 0.0, atol=1e-9)


@each_solver
def test_hessian_times_solution_is_the_right_hand_side_of_unscaled_features(solver):
    if solver != "cholesky":
        pytest.skip("features of scales 1 to 1e8 are for the solver that scales them")
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 4)) * [1.0, 1e3, 1e-3, 1.0] + [0.0, 1e5, 0.0, 2000.0]
    y = (rng.standard_normal(200) > 0).astype(int)
    clf = LogisticRegression(**NEWTON).fit((X - X.mean(0)) / X.std(0), y)
    coef, intercept = clf.coef_ / X.std(0), clf.intercept_
    raw = LogisticRegression(C=1e8).fit((X - X.mean(0)) / X.std(0), y)
    raw.coef_, raw.intercept_ = coef, intercept - coef @ X.mean(0)
    raw.set_training_data(X, y)
    state = problem_of(raw).state(solver)
    V = state.point.rows.take(slice(0, 5)).toarray()
    back = state.point.hessian_product(state.factor.solve(V))
    np.testing.assert_allclose(back, V, rtol=1e-6, atol=1e-9 * np.abs(V).max())


@each_unpenalised_solver
def test_a_feature_without_effect_is_a_singular_hessian_by_name(solver):
    X, y, _ = data("diabetes")
    X = np.column_stack([X, np.zeros(len(X))])
    reg = Ridge(alpha=0.0, solver="svd").fit(X, y)
    with pytest.raises(SingularHessianError, match=r"coef\[x10\]") as caught:
        reg.influence_params(hessian_solver=solver)
    assert caught.value.direction.shape == reg.params_.shape
    assert np.argmax(np.abs(caught.value.direction)) == 10


@each_unpenalised_solver
def test_dependent_features_are_a_singular_hessian_by_name(solver):
    X, y, _ = data("diabetes")
    X = np.column_stack([X, X[:, 2] * 5])
    reg = Ridge(alpha=0.0, solver="svd").fit(X, y)
    with pytest.raises(SingularHessianError, match="penalty") as caught:
        reg.influence_params(hessian_solver=solver)
    direction = np.abs(caught.value.direction)
    assert set(np.flatnonzero(direction > 0.01)) == {2, 10}
    assert "coef[x2]" in str(caught.value)
    assert "coef[x10]" in str(caught.value)
    # A penalty is a remedy.
    Ridge(alpha=1e-3).fit(X, y).influence_params()


def test_a_hessian_close_to_singular_warns_with_the_number():
    X, y, _ = data("diabetes")
    rng = np.random.default_rng(0)
    X = np.column_stack([X, X[:, 2] + 1e-6 * rng.standard_normal(len(X))])
    reg = Ridge(alpha=0.0, solver="svd").fit(X, y)
    with pytest.warns(InfluenceWarning, match=r"condition number \d"):
        reg.influence_params()


@pytest.mark.parametrize("alpha", [1e-3, 1e-6, 1e-9, 1e-12, 1e-15])
@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_a_weak_penalty_on_a_wide_model_is_right_or_told(alpha, offset):
    """Without an intercept X'u with (X X' + alpha I) u = y; alpha bends nothing else."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((8, 12)) + offset, rng.standard_normal(8)
    reg = Ridge(alpha=alpha, fit_intercept=False, solver="svd").fit(X, y)
    u, s, vt = linalg.svd(X, full_matrices=False)
    coef = [rest_coef(np.delete(X, i, 0), np.delete(y, i), alpha) for i in range(8)]
    # d coef / d w_i = (X'X + alpha I)^-1 x_i (y_i - x_i'coef), residuals alpha u_i exactly.
    dual = u @ ((u.T @ y) / (s**2 + alpha))
    derivative = 8 * (alpha * dual)[:, None] * ((u * (s / (s**2 + alpha))) @ vt)
    answers = {
        "influence_params": (reg.influence_params, derivative),
        "newton": (reg.leave_out_params, np.array(coef)),
        "exact": (lambda: reg.leave_out_params(method="exact"), np.array(coef)),
    }
    for name, (answer, expected) in answers.items():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", InfluenceWarning)
            found = answer()
        told = any("digits of the result" in str(w.message) for w in caught)
        assert told or relative_error(found, expected) < 1e-4, name
        assert told == (8 * X.shape[1] * (1 + offset**2) / alpha > 1e12), name


def rest_coef(X, y, alpha):
    u, s, vt = linalg.svd(X, full_matrices=False)
    return (s / (s**2 + alpha) * (u.T @ y)) @ vt


def test_conjugate_gradients_that_stop_early_say_their_residual():
    X, y, _ = data("diabetes")
    reg = Ridge(alpha=1e-6).fit(X, y)
    solver = ConjugateGradientSolver(max_iter=2)
    with pytest.warns(InfluenceWarning, match=r"relative residual of \d") as caught:
        reg.solve_hessian(np.eye(11), hessian_solver=solver)
    assert len(caught) == 1


def test_the_automatic_choice_follows_its_table():
    fitted = CASES[0].fit()
    objective = problem_of(fitted).objective
    assert select_solver(objective) is SOLVERS["cholesky"]
    with sklearn.config_context(working_memory=1e-4):
        assert select_solver(objective) is SOLVERS["cg"]
    assert get_solver("auto", objective) is SOLVERS["cholesky"]
    wide = Ridge().fit(np.eye(5, 30), np.arange(5.0))
    assert select_solver(problem_of(wide).objective) is SOLVERS["woodbury"]
    unpenalised = Ridge(alpha=0.0, solver="svd").fit(np.eye(5, 30), np.arange(5.0))
    assert select_solver(problem_of(unpenalised).objective) is SOLVERS["cholesky"]


@pytest.mark.parametrize("bad", ["lu", None, 3, ["cg"]])
def test_an_unknown_solver_lists_the_known_ones(bad):
    fitted = CASES[0].fit()
    with pytest.raises(ValueError, match=r"'auto', 'cholesky'.*'cg'"):
        fitted.influence_params(hessian_solver=bad)


def test_a_solver_instance_is_taken():
    fitted = CASES[0].fit()
    found = fitted.influence_params(hessian_solver=ConjugateGradientSolver(tol=1e-13))
    assert relative_error(found, fitted.influence_params()) < 1e-9


def test_no_solver_warns_on_a_plain_problem(recwarn):
    for name in SOLVERS:
        CASES[0].fit().influence_params(hessian_solver=name)
    assert not [w for w in recwarn if not issubclass(w.category, ConvergenceWarning)]


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("kind", ["binary", "liblinear", "softmax", "ridge", "poisson"])
def test_wide_models(kind, container, fit_intercept):
    rng = np.random.default_rng(0)
    X = container(rng.standard_normal((40, 150)) * (rng.random((40, 150)) < 0.3))
    y, w = rng.integers(0, 2 + (kind == "softmax"), 40), rng.uniform(0.5, 2.0, 40)
    w[3] = 0.0
    estimator = {
        "binary": LogisticRegression(**NEWTON),
        "liblinear": LogisticRegression(solver="liblinear", intercept_scaling=2.0),
        "softmax": LogisticRegression(solver="newton-cg", tol=1e-10),
        "ridge": Ridge(alpha=np.array([2.0]), solver="sparse_cg", tol=1e-12),
        "poisson": PoissonRegressor(alpha=0.1, **NEWTON),
    }[kind].set_params(fit_intercept=fit_intercept)
    fitted = estimator.fit(X, y, w)
    assert select_solver(problem_of(fitted).objective) is SOLVERS["woodbury"]
    for name in ("influence_params", "self_influence", "newton_correction"):
        expected = getattr(fitted, name)(hessian_solver="cholesky")
        found = getattr(fitted, name)(hessian_solver="woodbury")
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)
    expected = fitted.influence_loss(X[:9], y[:9], hessian_solver="cholesky")
    for given in (X, X.toarray() if sparse.issparse(X) else sparse.csr_array(X)):
        found = fitted.influence_loss(given[:9], y[:9], hessian_solver="woodbury")
        assert relative_error(found, expected) < 1e-9
    expected = fitted.leave_out_params(method="exact", hessian_solver="cholesky")
    found = fitted.leave_out_params(method="exact")
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("C", [1.0, 1e3, 1e8])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_rows_that_hardly_bend_the_loss_keep_their_digits(C, fit_intercept):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 90)) * rng.uniform(0.1, 30.0, (60, 1))
    y = (X[:, 0] + rng.standard_normal(60) > 0).astype(int)
    clf = LogisticRegression(C=C, fit_intercept=fit_intercept, **NEWTON).fit(X, y)
    curvature = problem_of(clf).state("woodbury").point.curvature()[:, 0]
    assert curvature.min() < 1e-6 * curvature.max()
    # Of the parameters, from coefficients; of the loss, from products of rows.
    expected = clf.loss_gradient(X, y) @ clf.influence_params(hessian_solver="woodbury").T
    found = clf.influence_loss(X, y, hessian_solver="woodbury")
    scale = np.abs(expected).max(axis=0)
    np.testing.assert_allclose(found / scale, expected / scale, atol=1e-9)


def test_wide_text_takes_no_array_with_a_column_for_each_feature():
    rng = np.random.default_rng(0)
    X = sparse.random_array((200, 100_000), density=5e-4, format="csr", random_state=rng)
    y = rng.integers(0, 2, 200)
    clf = LogisticRegression(tol=1e-8, max_iter=1000).fit(X, y)
    clf.influence_loss(X[:2], y[:2])
    for call in (clf.influence_loss, lambda X, y: clf.influential_samples(X, y, 5)):
        problem_of(clf).forget_state()
        memory, _ = peak(call, X, y)
        assert memory < 30 * 2**20  # gradients of the 200 queries would take 153 MiB


def test_a_wide_sparse_model_is_never_dense():
    rng = np.random.default_rng(0)
    X = sparse.random_array((300, 20_000), density=0.002, format="csr", random_state=rng)
    y = rng.integers(0, 2, 300)
    clf = LogisticRegression(tol=1e-8, max_iter=1000).fit(X, y)
    memory, influence = peak(clf.influence_loss, X[:50], y[:50])
    assert memory < 100 * 2**20  # H would take 3 GiB, X written out 48 MiB
    state = problem_of(clf).state("auto")
    v = state.point.rows.take(slice(0, 4)).toarray()
    back = state.point.hessian_product(state.factor.solve(v))
    np.testing.assert_allclose(back, v, atol=1e-9)
    expected = clf.influence_loss(X[:3], y[:3], hessian_solver="cg")
    np.testing.assert_allclose(influence[:3], expected, rtol=1e-6, atol=1e-9)
