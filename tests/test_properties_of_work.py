"""What does not matter to any estimator on any problem, tried on random ones.

Weights are copies of rows, their unit is free in mean form; jobs, blocks, solvers, containers
and the order of rows change no number, and a call changes no sample.
"""

import warnings
from contextlib import suppress

import numpy as np
import pytest
import sklearn
from hypothesis import assume, given
from hypothesis import strategies as st

from skinfluence import SingularHessianError, from_fitted
from skinfluence.pipeline import problem_of
from skinfluence.solvers.base import is_penalised
from tests.drawn import (
    EPS,
    SMOOTH,
    assert_close,
    change,
    digits,
    families,
    fit,
    problems,
    rows_of,
)
from tests.problems import CONTAINERS

WITH_COEF = families(lambda t: "kernel" not in t.kind)


# Weights.


@given(problem=problems(families(lambda t: t.kind != "kernel hinge")), row=st.integers(0, 11))
def test_weight_two_is_a_duplicated_row(problem, row):
    """All but libsvm's models, where either of two equal rows may be the one that is held."""
    problem = problem.but(weights="none", container="C order")
    fitted, (X, y) = fit(problem), problem.queries()
    # Some estimators balance numbers of samples, not weights.
    assume(problem_of(fitted).formulation.balanced_by != "count")
    w = problem.w
    w[row] = 2.0
    order = np.append(np.arange(problem.n_samples), row)
    if problem.has_coef:
        weighted = from_fitted(fitted, problem.X, problem.y, w)
        doubled = from_fitted(fitted, problem.X[order], problem.y[order])
    else:
        weighted = problem.fit(w=w)
        doubled = problem.fit(X=problem.X[order], y=problem.y[order], w=np.ones(len(order)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = weighted.influence_loss(X, y)
        tolerance = digits(1e-8, weighted)
        assert_close(doubled.influence_loss(X, y), expected[:, order], tolerance)
        if problem.is_smooth:
            size = np.abs(expected).max()
            kwargs = {"method": "exact"}
            expected = weighted.leave_out_loss(X, y, [[row]], **kwargs)
            found = doubled.leave_out_loss(X, y, [[row, len(order) - 1]], **kwargs)
            assert_close(found, expected, 1e-7, scale=size)


@given(problem=problems(families(lambda t: t.mean_form)), factor=st.sampled_from((1e-3, 7.0)))
def test_the_unit_of_weights_does_not_matter_in_mean_form(problem, factor):
    fitted, (X, y) = fit(problem), problem.queries()
    other = from_fitted(fitted, problem.X, problem.y, factor * problem.w)
    influence = fitted.influence_loss(X, y)
    assert_close(other.influence_loss(X, y), influence, digits(1e-9, fitted))


@given(problem=problems())
def test_the_samples_stay_as_they_are(problem):
    X, y, w = problem.X, problem.y, problem.w
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = problem.fit(X=X, y=y, w=w)
        with suppress(SingularHessianError):  # a refusal changes nothing, either
            answers(fitted, problem)
        with suppress(ValueError):
            fitted.remove_samples([10]) if problem.is_smooth else None
    assert abs(X - problem.X).max() == 0
    np.testing.assert_array_equal(y, problem.y)
    np.testing.assert_array_equal(w, problem.w)


# How the work is done and the data are held.


def answers(fitted, problem, **keywords):
    X, y = problem.queries()
    found = {
        "influence_loss": fitted.influence_loss(X, y, **keywords),
        "self_influence": fitted.self_influence(**keywords),
        "leave_out_loss": fitted.leave_out_loss(X, y, **keywords),
        "leave_out_params": change(fitted.leave_out_params(**keywords), fitted),
    }
    if problem.is_smooth:
        found["newton_step"] = fitted.newton_step(0.01, **keywords)
        for name, measure in fitted.influence_summary(**keywords).items():
            found[f"summary: {name}"] = measure
    return found


def assert_same_answers(found, expected, tolerance):
    for name in expected:
        largest = np.nanmax(np.abs(expected[name]), initial=0.0)
        assert_close(
            found[name], expected[name], tolerance, scale=max(largest, 1e-12), name=name
        )


@pytest.mark.filterwarnings("ignore::skinfluence.InfluenceWarning")
@given(problem=problems())
def test_jobs_and_blocks(problem):
    fitted = fit(problem)
    expected = answers(fitted, problem)
    tolerance = digits(1e-7, fitted)
    assert_same_answers(answers(fitted, problem, n_jobs=2), expected, tolerance)
    with sklearn.config_context(working_memory=0.01):
        solver = problem_of(fitted).cached_state.solver
        found = answers(fitted, problem, hessian_solver=solver)
    assert_same_answers(found, expected, tolerance)


@pytest.mark.filterwarnings("ignore::skinfluence.InfluenceWarning")
@given(problem=problems(SMOOTH), solver=st.sampled_from(("cholesky", "woodbury", "cg")))
def test_solver(problem, solver):
    fitted = fit(problem)
    loss, objective = problem_of(fitted).formulation.loss, problem_of(fitted).objective
    if solver != "woodbury" and (not problem.has_coef or not loss.convex):
        return
    coef = solver == "woodbury" and problem.has_coef
    if coef and not is_penalised(objective):
        return
    expected = answers(fitted, problem)
    found = answers(fitted, problem, hessian_solver=solver)
    assert_same_answers(found, expected, digits(1e-6, fitted, "auto", solver))


@pytest.mark.filterwarnings("ignore::skinfluence.InfluenceWarning")
@given(
    problem=problems(families(lambda t: t.kind != "kernel hinge")),
    container=st.sampled_from(list(CONTAINERS)),
    dtype=st.sampled_from((np.float64, np.float32, np.int32)),
)
def test_container(problem, container, dtype):
    """All but libsvm's models, which keep their rows in the container of the fit."""
    if dtype is np.int32 and problem.scale < 1e3:
        dtype = np.float32
    X = problem.samples[0].astype(dtype)
    fitted = fit(problem, X=CONTAINERS[problem.container](X.astype(np.float64)))
    same = from_fitted(fitted, CONTAINERS[container](X), problem.y, problem.w)
    # scikit-learn computes kernels of single precision in single precision. And features
    # that depend on each other do so only to that precision once they are rounded to it: rows
    # differ by this along directions that count as undetermined in least squares.
    dependent = "least squares" in problem.family and problem.rank < problem.n_features
    single = (not problem.has_coef or dependent) and dtype is np.float32
    eps = np.finfo(np.float32).eps if single else EPS
    tolerance = max(digits(1e-7, model, eps=eps) for model in (fitted, same))
    assert_same_answers(answers(same, problem), answers(fitted, problem), tolerance)


@pytest.mark.filterwarnings("ignore::skinfluence.InfluenceWarning")
@given(problem=problems(WITH_COEF))
def test_row_order(problem):
    fitted = fit(problem)
    order = np.random.default_rng(problem.seed).permutation(problem.n_samples)
    X = rows_of(problem.X, order)
    shuffled = from_fitted(fitted, X, problem.y[order], problem.w[order])
    expected = answers(fitted, problem)
    for name, array in expected.items():
        by_columns = name in ("influence_loss", "leave_out_loss")
        expected[name] = array[:, order] if by_columns else array[order]
    # In one order the active set of a hinge may be found, in the other only its warning.
    tolerance = max(digits(1e-7, model) for model in (fitted, shuffled))
    assert_same_answers(answers(shuffled, problem), expected, tolerance)
