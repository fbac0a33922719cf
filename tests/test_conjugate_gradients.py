"""Conjugate gradients: numbers from any preconditioner, and when "auto" takes them."""

import warnings

import numpy as np
import pytest
import sklearn
from scipy import sparse
from sklearn.datasets import load_digits

import skinfluence.solvers
from skinfluence import InfluenceWarning, SingularHessianError
from skinfluence.linear_model import LogisticRegression, Ridge
from skinfluence.pipeline import problem_of
from skinfluence.solvers import SOLVERS, ConjugateGradientSolver, select_solver
from skinfluence.solvers.cg import (
    BlockDiagonalSolver,
    DiagonalSolver,
    select_preconditioner,
)
from tests.fits import NEWTON, data, relative_error

PRECONDITIONERS = {
    "default": None,
    "diagonal": DiagonalSolver(),
    "blocks": BlockDiagonalSolver(),
    "few-rows": BlockDiagonalSolver(sketch=0.5),
    "other-solver": SOLVERS["cholesky"],
}


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    X = X.astype(np.uint8)
    return LogisticRegression(C=0.01, **NEWTON).fit(X, y), X, y


@pytest.mark.parametrize("preconditioner", PRECONDITIONERS)
def test_results_do_not_depend_on_the_preconditioner(digits, preconditioner):
    clf, X, y = digits
    solver = ConjugateGradientSolver(preconditioner=PRECONDITIONERS[preconditioner])
    expected = clf.influence_loss(X[:5], y[:5], hessian_solver="cholesky")
    found = clf.influence_loss(X[:5], y[:5], hessian_solver=solver)
    assert relative_error(found, expected) < 1e-9


def test_blocks_take_fewer_iterations_than_the_diagonal(digits):
    clf, X, y = digits
    point = problem_of(clf).objective.at(problem_of(clf).theta)
    V = problem_of(clf).check_query(X[:3], y[:3]).toarray()
    calls = dict.fromkeys(("diagonal", "blocks", "default"), 0)
    for name in calls:
        factor = ConjugateGradientSolver(preconditioner=PRECONDITIONERS[name]).factorise(point)
        product = point.hessian_product

        def count(*arguments, name=name, product=product):
            calls[name] += 1
            return product(*arguments)

        point.hessian_product = count
        factor.solve(V)
        point.hessian_product = product
    assert isinstance(select_preconditioner(point), BlockDiagonalSolver)
    assert 2 * calls["default"] < calls["diagonal"]
    assert calls["blocks"] <= calls["default"]


def test_results_do_not_depend_on_rows_blocks_and_arrays(digits):
    clf, X, y = digits
    expected = clf.influence_loss(X[:5], y[:5], hessian_solver="cg")
    order = np.random.default_rng(0).permutation(len(y))
    for given in (X[order], sparse.csr_array(X[order]), X[order].astype(np.float32)):
        other = LogisticRegression(C=0.01, **NEWTON).fit(X, y)
        other.set_training_data(given, y[order])
        with sklearn.config_context(working_memory=1):
            found = other.influence_loss(X[:5], y[:5], hessian_solver="cg")
        assert relative_error(found, expected[:, order]) < 1e-9


def test_a_shift_of_all_outputs_is_divided_by_its_penalty(digits):
    clf, *_ = digits
    layout = problem_of(clf).fitted.formulation.layout
    V = np.zeros((1, *problem_of(clf).theta.shape))
    V[0, :, 3] = 2.0
    found = clf.solve_hessian(layout.to_public(V), hessian_solver="cg")
    np.testing.assert_allclose(found, layout.to_public(V) * clf.C, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("preconditioner", ["default", "blocks"])
def test_dependent_features_of_a_softmax_are_a_singular_hessian(preconditioner):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((200, 4)), rng.integers(0, 3, 200)
    X = np.column_stack([X, X[:, 1] - X[:, 2]])
    clf = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(X, y)
    solver = ConjugateGradientSolver(preconditioner=PRECONDITIONERS[preconditioner])
    with pytest.raises(SingularHessianError, match=r"coef\[\d, x4\]"):
        clf.influence_params(hessian_solver=solver)


def test_the_residual_that_is_told_is_that_of_the_solution(digits):
    clf, X, y = digits
    solver = ConjugateGradientSolver(max_iter=6, preconditioner=DiagonalSolver())
    point = problem_of(clf).objective.at(problem_of(clf).theta)
    factor = solver.factorise(point)
    V = problem_of(clf).check_query(X[:1], y[:1]).toarray()
    with pytest.warns(InfluenceWarning) as caught:
        x = factor.solve(V)
    told = float(str(caught[0].message).split("residual of ")[1].split()[0])
    project = point.objective.remove_gauge
    residual, first = V - point.hessian_product(x), project(V.copy())
    size = [np.sum(r * project(r / point.hessian_diagonal())) for r in (residual, first)]
    assert told > 1e-9
    assert told == pytest.approx(np.sqrt(size[0] / size[1]), rel=0.1)


def test_the_automatic_choice_counts_right_hand_sides(monkeypatch):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((900, 300)), rng.integers(0, 10, 900)
    clf = LogisticRegression(C=0.01, tol=1e-8, max_iter=500).fit(X, y)
    objective = problem_of(clf).objective
    assert select_solver(objective, 1) is SOLVERS["cholesky"]  # nothing to be saved
    monkeypatch.setattr(skinfluence.solvers.cg, "_FEW_FLOPS", 0.0)
    assert select_solver(objective, 1) is SOLVERS["cg"]
    assert select_solver(objective, 1000) is SOLVERS["cholesky"]
    assert select_solver(objective) is SOLVERS["cholesky"]
    single = clf.influence_loss(X[:1], y[:1])
    assert problem_of(clf).cached_state.solver is SOLVERS["cg"]
    clf.influence_loss(X, y, average=True)
    assert problem_of(clf).cached_state.solver is SOLVERS["cg"]
    clf.self_influence()
    assert problem_of(clf).cached_state.solver is SOLVERS["cholesky"]
    again = clf.influence_loss(X[:1], y[:1])
    assert problem_of(clf).cached_state.solver is SOLVERS["cholesky"]  # it is there
    assert relative_error(single, again) < 1e-9


@pytest.mark.filterwarnings("ignore:The Hessian is close to singular .reciprocal")
@pytest.mark.parametrize("offset", [0.0, 30.0])
@pytest.mark.parametrize("alpha", [1e-3, 1e-6, 1e-9])
@pytest.mark.parametrize("shape", [(60, 100), (40, 10)])
def test_parameters_of_a_nearly_singular_hessian_come_with_a_warning(shape, alpha, offset):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal(shape) + offset, rng.standard_normal(shape[0])
    model = Ridge(alpha=alpha, solver="svd").fit(X, y)
    expected = model.influence_params(hessian_solver="cholesky")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = model.influence_params(hessian_solver="cg")
    told = [str(w.message) for w in caught if "smallest eigenvalue about" in str(w.message)]
    error = np.abs(found - expected).max() / np.abs(expected).max()
    assert told or error <= 1e-4
    if shape[0] > shape[1]:
        assert not told  # the rows themselves hold every direction
        assert error <= 1e-12
    elif alpha == 1e-9 and offset == 0:  # the penalty alone determines some directions
        smallest = float(told[0].split("eigenvalue about ")[1].split()[0])
        diagonal = np.sum(X**2, axis=0)
        assert 0.5 * alpha / diagonal.max() < smallest < 10 * alpha / diagonal.min()


def test_queries_take_the_solver_of_the_call(monkeypatch):
    X, y, w = data("cancer")
    clf = LogisticRegression(**NEWTON).fit(X, y, w)
    expected = clf.influence_loss(X[:3], y[:3])

    def refuse(solver, point):
        raise AssertionError("a second factor")

    monkeypatch.setattr(type(SOLVERS["cholesky"]), "factorise", refuse)
    fresh = LogisticRegression(**NEWTON).fit(X, y, w)
    chunks = fresh.influence_loss_chunked(X[:3], y[:3], hessian_solver="cg")
    np.testing.assert_allclose(np.concatenate(list(chunks)), expected, rtol=1e-6, atol=1e-8)
    fresh = LogisticRegression(**NEWTON).fit(X, y, w)
    fresh.influential_samples(X[:3], hessian_solver="cg")
