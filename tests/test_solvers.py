"""Hessian solvers: each one applies the inverse of the same Hessian.

Every registered solver runs over the same problems; a new one is tested by registering it.
"""

import numpy as np
import pytest
import sklearn
from sklearn.exceptions import ConvergenceWarning

from skinfluence import InfluenceWarning, SingularHessianError
from skinfluence.linear_model import LogisticRegression, Ridge
from skinfluence.solvers import SOLVERS, ConjugateGradientSolver, get_solver, select_solver
from tests.cases import CASES, NEWTON, data, each_case, relative_error

each_solver = pytest.mark.parametrize("solver", SOLVERS)


def dense_hessian(fitted):
    """Return H column by column from gradients, in the layout of `params_`."""
    objective, layout = fitted._get_objective(), fitted._influence_problem.formulation.layout
    theta = fitted._theta()
    columns = []
    for j in range(layout.size):
        unit = layout.from_public(np.eye(layout.size)[j])
        plus = objective.at(theta + 1e-5 * unit).gradient
        minus = objective.at(theta - 1e-5 * unit).gradient
        columns.append(layout.to_public((plus - minus) / 2e-5))
    return np.array(columns)


@each_solver
@pytest.mark.parametrize("case", **each_case)
def test_solve_inverts_the_derivative_of_the_gradient(case, solver):
    fitted = case.fit()
    H = dense_hessian(fitted)
    V = np.random.default_rng(0).standard_normal((3, len(H)))
    solution = fitted.solve_hessian(V, hessian_solver=solver)
    expected = V @ np.linalg.pinv(H, rcond=1e-8, hermitian=False)
    assert relative_error(solution, expected) < 1e-5


@each_solver
@pytest.mark.parametrize("case", **each_case)
def test_results_do_not_depend_on_the_solver(case, solver):
    fitted = case.fit()
    X, y, _ = case.data()
    expected = fitted.influence_loss(X[:9], y[:9], hessian_solver="cholesky")
    found = fitted.influence_loss(X[:9], y[:9], hessian_solver=solver)
    assert relative_error(found, expected) < 1e-9
    found = fitted.self_influence(hessian_solver=solver)
    assert relative_error(found, fitted.self_influence()) < 1e-9


@each_solver
@pytest.mark.parametrize("case", **each_case)
def test_quadratic_is_the_product_with_the_solution(case, solver):
    fitted = case.fit()
    factor = fitted._get_state(solver).factor
    V = np.random.default_rng(0).standard_normal((4, *fitted._theta().shape))
    expected = np.einsum("mkd,mkd->m", V, factor.solve(V))
    np.testing.assert_allclose(factor.quadratic(V), expected, rtol=1e-9)


@each_solver
def test_a_factor_does_not_touch_its_right_hand_sides(solver):
    fitted = CASES[0].fit()
    factor = fitted._get_state(solver).factor
    V = np.random.default_rng(0).standard_normal((4, *fitted._theta().shape))
    before = V.copy()
    factor.solve(V)
    factor.quadratic(V)
    np.testing.assert_array_equal(V, before)


@each_solver
@pytest.mark.parametrize("C", [1.0, np.inf])
def test_softmax_solutions_keep_the_shift_of_the_intercepts(solver, C):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((120, 3)) + 4.0
    y = rng.integers(0, 3, 120)
    clf = LogisticRegression(C=C, **NEWTON).fit(X, y)
    coef, intercept = clf.split_params(clf.influence_params(hessian_solver=solver))
    np.testing.assert_allclose(intercept.sum(axis=1), 0.0, atol=1e-9)
    np.testing.assert_allclose(coef.sum(axis=1), 0.0, atol=1e-9)


@each_solver
def test_hessian_times_solution_is_the_right_hand_side_of_unscaled_features(solver):
    if solver == "cg":
        pytest.skip("features of scales 1 to 1e8 are for direct solvers")
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 4)) * [1.0, 1e3, 1e-3, 1.0] + [0.0, 1e5, 0.0, 2000.0]
    y = (rng.standard_normal(200) > 0).astype(int)
    clf = LogisticRegression(**NEWTON).fit((X - X.mean(0)) / X.std(0), y)
    coef, intercept = clf.coef_ / X.std(0), clf.intercept_
    raw = LogisticRegression(C=1e8).fit((X - X.mean(0)) / X.std(0), y)
    raw.coef_, raw.intercept_ = coef, intercept - coef @ X.mean(0)
    raw.set_training_data(X, y)
    state = raw._get_state(solver)
    V = state.point.rows.take(slice(0, 5)).toarray()
    back = state.point.hessian_product(state.factor.solve(V))
    np.testing.assert_allclose(back, V, rtol=1e-6, atol=1e-9 * np.abs(V).max())


@each_solver
def test_a_feature_without_effect_is_a_singular_hessian_by_name(solver):
    X, y, _ = data("diabetes")
    X = np.column_stack([X, np.zeros(len(X))])
    reg = Ridge(alpha=0.0, solver="svd").fit(X, y)
    with pytest.raises(SingularHessianError, match=r"coef\[x10\]") as caught:
        reg.influence_params(hessian_solver=solver)
    assert caught.value.direction.shape == reg.params_.shape
    assert np.argmax(np.abs(caught.value.direction)) == 10


@each_solver
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


def test_conjugate_gradients_that_stop_early_say_their_residual():
    X, y, _ = data("diabetes")
    reg = Ridge(alpha=1e-6).fit(X, y)
    solver = ConjugateGradientSolver(max_iter=2)
    with pytest.warns(InfluenceWarning, match=r"relative residual of \d") as caught:
        reg.solve_hessian(np.eye(11), hessian_solver=solver)
    assert len(caught) == 1


def test_the_automatic_choice_follows_its_table():
    fitted = CASES[0].fit()
    objective = fitted._get_objective()
    assert select_solver(objective) is SOLVERS["cholesky"]
    with sklearn.config_context(working_memory=1e-4):
        assert select_solver(objective) is SOLVERS["cg"]
    assert get_solver("auto", objective) is SOLVERS["cholesky"]


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
