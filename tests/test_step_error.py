"""Errors of Newton steps, estimated from few rows, against their distance to the optimum."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.preprocessing import scale

from skinfluence.linear_model import LogisticRegression, PoissonRegressor
from skinfluence.methods import get_problem
from skinfluence.problem.requests import Removal
from skinfluence.removal import ACCURATE
from skinfluence.removal.accuracies import refit_stack
from skinfluence.removal.stack import Stack
from tests.fits import NEWTON


def logistic(seed, n, d, *, tails=np.inf):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) if tails == np.inf else rng.standard_t(tails, (n, d))
    y = X @ rng.standard_normal(d) / np.sqrt(d) + rng.logistic(size=n) > 0
    return LogisticRegression(C=10.0, **NEWTON), X, y, rng.exponential(size=n) ** 2


def poisson():
    rng = np.random.default_rng(2)
    X = rng.standard_t(4, (2000, 8)) / 3
    return PoissonRegressor(alpha=1e-3, **NEWTON), X, rng.poisson(np.exp(X[:, 0])), None


def digits():
    X, y = load_digits(return_X_y=True)
    return LogisticRegression(C=0.1, **NEWTON), X / 16, y, None


def cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return LogisticRegression(C=0.01, **NEWTON), scale(X), y, None


def newton_steps(estimator, X, y, w):
    """Return the base, a stack of rows, and each row's Newton step with its size."""
    problem = get_problem(estimator.fit(X, y, w), "leave_out_params")
    rows = np.random.default_rng(0).choice(len(X), size=150, replace=False)[:, None]
    base, _ = problem.start_removal(Removal(list(rows)))
    stack = Stack(base, rows)
    theta, decrement = stack.newton()
    return base, stack, theta, decrement


def norms(stack, d):
    """Return the norms of d (b, K, D) in the metric of H - H_A."""
    objective, theta = stack.base.point.objective, stack.base.theta
    squares = [
        np.vdot(step, objective.without(rows).at(theta).hessian_product(step[None])[0])
        for rows, step in zip(stack.rows, d, strict=True)
    ]
    return np.sqrt(np.maximum(squares, 0.0))


@pytest.mark.parametrize(
    "model",
    [logistic(0, 3000, 20), logistic(1, 3000, 10, tails=2.5), poisson(), digits(), cancer()],
    ids=["logistic", "heavy tails", "poisson", "digits", "cancer"],
)
def test_a_step_that_the_estimate_accepts_is_accurate(model):
    base, stack, theta, decrement = newton_steps(*model)
    optimum, _ = refit_stack(stack)
    moved = decrement > 1e-9
    error = norms(stack, optimum - theta)[moved] / decrement[moved]
    steps = theta - base.theta
    estimate = base.step_error.estimate(steps, decrement, stack.rows)[moved]
    bound = base.step_error.bound(decrement, 1 - 1 / stack.update.amplification())[moved]
    assert np.sum(error < 0.1) > 100
    for limit in (0.001, ACCURATE, 0.02):
        assert np.all(error[estimate <= limit] <= limit)
        # The estimate is rarely far above the error.
        good = error <= limit / 6
        assert np.sum(estimate[good] <= limit) >= 0.9 * np.sum(good)
    assert np.all(estimate <= bound)


def test_most_steps_from_many_rows_need_no_pass_over_them():
    base, stack, theta, decrement = newton_steps(*logistic(3, 10_000, 20)[:3], None)
    steps = theta - base.theta
    estimate = base.step_error.estimate(steps, decrement, stack.rows)
    bound = base.step_error.bound(decrement, 1 - 1 / stack.update.amplification())
    assert np.mean(estimate > 0.005) < 0.02 < np.mean(bound > 0.005)


def test_the_order_of_the_rows_does_not_matter():
    estimator, X, y, w = logistic(4, 2000, 8)
    order = np.random.default_rng(0).permutation(len(X))
    found = []
    for rows in (np.arange(len(X)), order):
        fitted = estimator.fit(X[rows], y[rows], w[rows])
        base, _ = get_problem(fitted, "leave_out_params").start_removal(Removal())
        indices, weight = base.step_error.witnesses
        by_row = np.zeros(len(X))
        by_row[rows[indices]] = weight
        found.append(by_row)
    np.testing.assert_allclose(*found, rtol=1e-6)
