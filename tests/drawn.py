"""Random problems of every family, their fits, and how answers on them are compared."""

import re
import warnings

import numpy as np
import pytest
from hypothesis import assume
from hypothesis import strategies as st
from scipy import sparse

from skinfluence import InfluenceWarning, SingularHessianError
from skinfluence.pipeline import problem_of
from tests.problems import CONTAINERS, FAMILIES, SCALES, WEIGHTS, consistent_problem

EPS = np.finfo(np.float64).eps


def families(condition=lambda traits: True):
    return [name for name, traits in FAMILIES.items() if condition(traits)]


@st.composite
def problems(draw, names=tuple(FAMILIES)):
    """Draw a problem of some families; it shrinks to few samples of simple features.

    Without an intercept the offset of the features, and everywhere the penalty, set the
    condition of the Hessian: up to 1e7 or so, which leaves the digits that are asked for.
    Features under an l1 penalty are independent, for a support of dependent ones has no
    derivative; and least squares have samples left over, for influence on a perfect fit is
    rounding. Both are told, see `test_degenerate`. Without an intercept features under an l1
    penalty are not far from 0, for coordinate descent would take a hundred thousand sweeps.
    """
    problem = _drawn(draw, names)
    if problem.kind == "l1":
        problem = problem.but(rank=problem.n_features)
        if not problem.intercept:
            problem = problem.but(offset=min(problem.offset, 1.0))
    if "least squares" in problem.family:
        rows = max(problem.n_samples, problem.n_features + 4)
        problem = problem.but(n_samples=rows + rows // 2)  # a third may have no weight
    return problem


def _drawn(draw, names):
    return consistent_problem(
        family=draw(st.sampled_from(list(names))),
        n_samples=draw(st.integers(12, 40)),
        n_features=draw(st.integers(1, 15)),
        rank=draw(st.integers(1, 15)),
        scale=draw(st.sampled_from(sorted(SCALES, key=lambda s: abs(np.log10(s))))),
        offset=draw(st.sampled_from((0.0, 1.0, 10.0))),
        weights=draw(st.sampled_from(WEIGHTS)),
        intercept=draw(st.booleans()),
        strength=draw(st.sampled_from((1.0, 10.0, 100.0, 0.1, 0.01))),
        container=draw(st.sampled_from(list(CONTAINERS))),
        seed=draw(st.integers(0, 2**31 - 1)),
    )


SMOOTH = families(lambda t: "hinge" not in t.kind)


def assert_close(found, expected, tolerance, scale=None, name=None):
    """Assert a largest difference relative to the largest entry, NaN and inf in place."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(found[~finite], expected[~finite])
    found, expected = found[finite], expected[finite]
    difference = np.abs(found - expected).max(initial=0.0)
    largest = np.abs(expected).max(initial=0.0)
    largest = max(largest, 0.0 if scale is None else scale)
    assert tolerance == np.inf or difference <= tolerance * largest, name


def digits(tolerance, fitted, *solvers, eps=EPS):
    """Return the tolerance, or 10 eps / rcond where H says itself that it is larger.

    With the rounding `eps` of what H is made of. Any of some solvers may say so, "auto"
    without. None is left where held rows hold all
    others, or no optimum is found that held rows belong to: a warning tells.
    """
    largest = tolerance
    for solver in solvers or ("auto",):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            state = problem_of(fitted).state(solver)
        if state.factor.rcond == 0 or getattr(state.point, "misfit", 0.0) == np.inf:
            with pytest.warns(InfluenceWarning):
                fitted.self_influence()
            return np.inf
        largest = max(largest, 10 * eps / state.factor.rcond)
    return largest


def fit(problem, derivatives=True, X=None):
    """Return the fit of a problem, if it has an optimum, and that derivatives where asked.

    Huber's scale goes to 0 where there are few rows for each feature; and a kernel machine
    with all dual coefficients at their bounds has a constant that is anywhere in an
    interval. Either is told. Of other features X than those of the problem, where given.
    """
    fitted = problem.fit(X=X, y=problem.y)
    if problem.family == "huber" and fitted.scale_ < 1e-5 * np.abs(problem.y).max():
        words = "flat along .* scale|close to singular|not at its optimum"
        assert told(fitted, problem, words)
        assume(False)
    if derivatives and problem.kind == "kernel hinge":
        dual, _ = fitted.split_params(fitted.params_)
        bound = fitted.C * problem.w
        inside = (np.abs(dual) > 1e-9 * bound) & (np.abs(dual) < (1 - 1e-9) * bound)
        if not inside.reshape(-1, problem.n_samples).any(axis=1).all():
            assert told(fitted, problem, "no row is a margin vector")
            assume(False)
    return fitted


def told(fitted, problem, what):
    """Return whether influence is refused or comes with a warning, in these words."""
    with warnings.catch_warnings(record=True) as words:
        warnings.simplefilter("always")
        try:
            fitted.influence_loss(*problem.queries())
        except SingularHessianError as error:
            return re.search(what, str(error))
    return any(re.search(what, str(word.message)) for word in words)


def rows_of(X, rows):
    return X.tocsr()[rows] if sparse.issparse(X) else X[rows]


def change(params, fitted):
    """Return changes of the parameters, of kernel models of what the rows read of them."""
    layout = problem_of(fitted).objective.formulation.layout
    moved = layout.from_public(params) - problem_of(fitted).theta
    readings = problem_of(fitted).objective.design.readings(moved)
    return readings.reshape(*np.shape(params)[:-1], -1)
