"""Removal of rows that alone move few others, by secants and exactly, against each other.

Features that few rows have, as rare words of texts do, give such rows. A sample of the rows
shows nothing of the error of their Newton steps.
"""

import numpy as np
import pytest
from sklearn.datasets import load_wine
from sklearn.preprocessing import scale

from skinfluence.linear_model import LogisticRegression
from skinfluence.losses.base import MEDIUM, exp_remainder
from skinfluence.methods import get_problem
from skinfluence.removal import accuracies
from skinfluence.removal.accuracies import refine_stack, refit_stack
from skinfluence.removal.stack import Stack
from tests.fits import NEWTON


@pytest.fixture(scope="module")
def words():
    rng = np.random.default_rng(3)
    n, d = 600, 60
    X = (rng.random((n, d)) < rng.permutation(np.geomspace(0.3, 2.5 / n, d))).astype(float)
    y = X @ rng.normal(size=d) * 2 + rng.logistic(size=n) > 0
    return LogisticRegression(C=100.0, **NEWTON).fit(X, y)


def test_steps_that_move_few_rows_are_accurate(words):
    found, refits = words.leave_out_params(), words.leave_out_params(method="exact")
    size = np.linalg.norm(refits - words.params_, axis=1)
    error = np.linalg.norm(found - refits, axis=1)
    assert np.all(error <= 0.02 * np.maximum(size, 0.01 * size.max()))


@pytest.mark.parametrize("is_scaled", [False, True], ids=["0 and 1", "in standard units"])
def test_steps_that_move_one_category_are_accurate(is_scaled):
    rng, n, levels = np.random.default_rng(0), 2700, 80
    share = 1 / np.arange(1, levels + 1)
    code = rng.choice(levels, n, p=share / share.sum())
    X = np.eye(levels)[code]
    X = scale(X) if is_scaled else X
    y = rng.random(n) < 1 / (1 + np.exp(-rng.normal(0, 1.5, levels)[code]))
    fitted = LogisticRegression(C=100.0, **NEWTON).fit(X, y)
    full = fitted.sample_loss(X[:200], y[:200])[:, None]
    found = fitted.leave_out_loss(X[:200], y[:200])
    refits = fitted.leave_out_loss(X[:200], y[:200], method="exact")
    size = np.linalg.norm(refits - full, axis=0)
    error = np.linalg.norm(found - refits, axis=0)
    assert np.all(error <= 0.01 * np.maximum(size, 1e-6))


def test_secants_find_the_refits_and_leave_few_groups_to_their_own_hessians(
    words, monkeypatch
):
    base = get_problem(words, "leave_out_params").start_base("exact", "auto")
    base.prepare("exact")
    rows = np.arange(len(words.leave_out_params()))[:, None]
    apart, alone = accuracies.refit_apart, []

    def refit_apart(base, groups, *arguments):
        alone.append(len(groups))
        return apart(base, groups, *arguments)

    monkeypatch.setattr(accuracies, "refit_apart", refit_apart)
    theta, converged = refit_stack(Stack(base, rows))
    assert converged.all()
    assert 0 < alone[0] < 12
    stack = Stack(base, rows)
    start, decrement = stack.newton()
    slow = np.flatnonzero(decrement > 0.3)
    assert len(slow) > 10
    assert refine_stack(stack, start, decrement, slow, 1e-8).all()
    np.testing.assert_allclose(start[slow], theta[slow], rtol=1e-4, atol=1e-4)


def test_a_group_of_a_stack_takes_the_same_steps_alone(words):
    base = get_problem(words, "leave_out_params").start_base("newton", "auto")
    rows = np.arange(40)[:, None]
    stack = Stack(base, rows)
    together, decrement = stack.newton()
    refine_stack(stack, together, decrement, np.arange(40), 1e-3)
    for row in rows[::13]:
        stack = Stack(base, row[None])
        alone, decrement = stack.newton()
        refine_stack(stack, alone, decrement, np.arange(1), 1e-3)
        np.testing.assert_allclose(alone[0], together[row[0]], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("largest", [1e-6, 0.3, 0.9 * MEDIUM, 2 * MEDIUM])
def test_remainders_of_the_exponential(dtype, largest):
    delta = np.array([-1.0, -0.5, 0.7, 1.0], dtype=dtype) * dtype(largest)
    exactly = delta.astype(np.longdouble)
    term, expected = exactly**2 / 2, np.zeros(4, dtype=np.longdouble)
    for k in range(3, 80):
        expected += term
        term *= exactly / k
    error = np.abs(exp_remainder(delta) / expected - 1).max()
    assert error < 8 * np.finfo(dtype).eps


def test_softmax_rows_that_are_all_but_certain_have_exact_refits():
    X, y = load_wine(return_X_y=True)
    X = scale(X)
    options = {"C": 1000.0, "class_weight": "balanced", **NEWTON}
    fitted = LogisticRegression(**options).fit(X, y)
    found = fitted.leave_out_params(method="exact")
    for row in (136, 146, 169):
        kept = np.delete(np.arange(len(y)), row)
        refit = LogisticRegression(**options).fit(X[kept], y[kept]).polish(tol=1e-12).params_
        error = np.linalg.norm(found[row] - refit)
        assert error < 5e-7 * np.linalg.norm(refit - fitted.params_)
