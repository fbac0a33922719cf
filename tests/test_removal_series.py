"""Exact leave-one-out of many rows: remainders of the gradient as a polynomial in the step."""

import numpy as np
import pytest

from skinfluence.linear_model import (
    GammaRegressor,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    TweedieRegressor,
)
from skinfluence.losses import LOSSES
from skinfluence.pipeline import problem_of
from skinfluence.removal import base as base_of_removal
from skinfluence.removal.stack import Stack
from tests.fits import NEWTON

SOLVER = {"solver": "newton-cholesky", "tol": 1e-11}
MODELS = {
    "logistic": LogisticRegression(C=10.0, **NEWTON),
    "balanced": LogisticRegression(
        class_weight={0: 1.0, 1: 3.0}, fit_intercept=False, **NEWTON
    ),
    "poisson": PoissonRegressor(alpha=1e-3, **SOLVER),
    "gamma": GammaRegressor(alpha=1e-3, **SOLVER),
    "tweedie": TweedieRegressor(power=1.5, alpha=1e-3, **SOLVER),
}


@pytest.fixture(params=MODELS)
def fitted(request, monkeypatch):
    """A model of 1,200 rows in columns of different scales, few enough for refits."""
    monkeypatch.setattr(base_of_removal, "_ROWS", 500)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1_200, 3)) * [0.1, 1.0, 30.0] + [0.0, 1.0, 0.0]
    eta = X @ [4.0, -0.5, 0.02]
    if request.param in ("logistic", "balanced"):
        y = (eta + rng.logistic(size=len(eta)) > 0).astype(int)
    else:
        y = np.exp(0.3 * eta) * rng.gamma(4.0, 0.25, len(eta)) + 1e-3
    w = rng.uniform(0.5, 2.0, len(eta))
    return MODELS[request.param].fit(X, y, w)


def test_the_polynomial_is_the_pass_over_the_rows_up_to_fourth_order(fitted):
    base = problem_of(fitted).removal_base("exact", "auto")
    stack = Stack(base, np.array([[3, 700], [5, -1], [11, -1]]))
    steps = stack.newton()[0] - base.theta
    errors = []
    for length in (4.0, 2.0):
        expected = base.point.remainders(length * steps, stack.rows)
        found = base.series.remainders(length * steps, stack.rows)
        errors.append(np.linalg.norm(found - expected))
        assert errors[-1] < 1e-2 * np.linalg.norm(expected)
    assert errors[1] < errors[0] / 8
    assert not base.series.remainders(0.0 * steps, stack.rows).any()


def test_the_estimated_error_covers_the_error(fitted):
    base = problem_of(fitted).removal_base("exact", "auto")
    stack = Stack(base, np.arange(0, 1_200, 40)[:, None])
    steps = stack.newton()[0] - base.theta
    wrong = base.point.remainders(steps, stack.rows)
    wrong -= base.series.remainders(steps, stack.rows)
    decrement = np.sqrt(base.plain_factor.quadratic(wrong))
    assert np.all(decrement <= base.series.error(steps, stack.rows) + 1e-9 * stack.newton()[1])
    near, far = (base.series.error(length * steps, stack.rows) for length in (2.0, 4.0))
    assert far.max() > 8 * near.max()  # 16 times but for higher orders


def test_exact_removal_by_the_polynomial_is_that_by_passes(fitted, monkeypatch):
    problem = problem_of(fitted)
    assert problem.removal_base("exact", "auto").series is not None
    found = fitted.leave_out_params(method="exact")
    optimum = problem.removal_base("exact", "auto").optimum().ravel()
    monkeypatch.setattr(base_of_removal, "_ROWS", 10**9)
    expected = fitted.leave_out_params(method="exact")
    change = np.linalg.norm(expected - optimum, axis=1)
    error = np.linalg.norm(found - expected, axis=1)
    np.testing.assert_array_less(error, 1e-6 * change + 1e-12)
    assert np.median(error / change) < 1e-8


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_higher_derivatives_are_those_of_the_curvature(loss):
    rng = np.random.default_rng(0)
    raw = rng.uniform(0.2, 1.5, size=(20, 1))
    target = rng.choice([-1.0, 1.0], size=(20, 1))
    if loss.description.startswith("the Tweedie") or "Poisson" in type(loss).__name__:
        target = np.abs(target)
    derivatives = loss.higher_derivatives(target, raw)
    if derivatives is None:
        pytest.skip("no higher derivatives")
    step = 1e-3
    ahead, behind = (loss.curvature(target, raw + s) for s in (step, -step))
    middle = loss.curvature(target, raw)
    np.testing.assert_allclose(
        derivatives[0], (ahead - behind) / (2 * step), rtol=1e-4, atol=1e-6
    )
    fourth = (ahead - 2 * middle + behind) / step**2
    np.testing.assert_allclose(derivatives[1], fourth, rtol=1e-4, atol=1e-5)


def test_few_rows_many_features_and_several_outputs_take_passes():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(6_000, 3)), rng.normal(size=6_000)
    labels = (X[:, 0] + rng.logistic(size=len(y)) > 0).astype(int)

    def base_of(model):
        return problem_of(model).removal_base("exact", "auto")

    assert base_of(LogisticRegression().fit(X, labels)).series is not None
    assert base_of(LogisticRegression().fit(X[:500], labels[:500])).series is None
    wide = rng.normal(size=(6_000, 40))
    assert base_of(LogisticRegression().fit(wide, labels)).series is None
    assert base_of(Ridge().fit(X, y)).series is None
    three = labels + (X[:, 1] > 0)
    assert base_of(LogisticRegression().fit(X, three)).series is None
