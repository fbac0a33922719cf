"""Objectives without a minimum are found, and the direction along which they fall.

The oracle for random problems is a linear program of the test's own.
"""

import numpy as np
import pytest
from scipy.optimize import linprog

from skinfluence import existence
from skinfluence.exceptions import SingularHessianError
from skinfluence.linear_model import (
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    SGDClassifier,
    TweedieRegressor,
)
from skinfluence.losses import LOSSES, Loss, TweedieLoss
from skinfluence.pipeline import problem_of
from tests.separated import FREE, dummy, find, quietly, told
from tests.test_losses import name as loss_name

# The losses: on which sides they fall for ever.


@pytest.mark.parametrize("loss", LOSSES, ids=loss_name)
def test_a_loss_falls_forever_on_the_sides_that_it_names_and_no_other(loss):
    if loss.coupled and not loss.shift_invariant:
        assert loss.falls_forever(np.ones((1, 1)), 2) is None
        return
    if loss.coupled:
        target, n_outputs = np.array([0, 2]), 3
        signs = loss.falls_forever(target, n_outputs)
        np.testing.assert_array_equal(signs, [[1, -1, -1], [-1, -1, 1]])
        return
    labels = ("Logistic", "Hinge", "ModifiedHuber")
    of_labels = any(name in type(loss).__name__ for name in labels)
    values = [-1.0, 1.0] if of_labels else [0.0, 0.5, 3.0]
    power = getattr(loss, "power", None)
    if power is not None and power >= 2:
        values.remove(0.0)
    if power is not None and power <= 0:
        values.append(-2.0)
    target = np.array(values)[:, None]
    signs = loss.falls_forever(target, 1)
    far = np.linspace(0.0, 20.0, 81)
    step = getattr(loss, "temperature", 1.0)
    for i, y in enumerate(target):
        for side in (-1.0, 1.0):
            raw = (side * step * far)[:, None]
            if "Identity" in type(loss).__name__:
                if side < 0:
                    continue  # leaves the domain at 0
                raw += 0.1
            with np.errstate(all="ignore"):
                value = loss.loss(np.tile(y, (len(far), 1)), raw)
            falls = bool(np.all(np.diff(value) < 0))
            named = signs is not None and signs[i, 0] == side
            assert falls == named, (y, side)


@pytest.mark.parametrize(
    "loss",
    [l for l in LOSSES if l.falls_forever(np.ones((1, 1)), 1) is not None],
    ids=loss_name,
)
def test_the_shortest_step_is_the_least_ratio_of_gradient_and_curvature(loss):
    if loss.coupled:
        return
    target = np.array([[-1.0], [1.0], [0.0]])
    if isinstance(loss, TweedieLoss) and loss.power > 0:
        target = target[2:]
    raw = np.linspace(-15, 15, 61)
    for y in target:
        sign = loss.falls_forever(y[None], 1)[0, 0]
        if np.isnan(sign) or sign == 0:
            continue
        many = np.tile(y, (len(raw), 1))
        margins = raw[:, None] * getattr(loss, "temperature", 1.0)
        g, h = loss.gradient(many, margins)[:, 0], loss.curvature(many, margins)[:, 0]
        assert np.all(np.sign(g[h > 0]) == -sign)
        ratio = np.abs(g[h > 0]) / h[h > 0]
        assert ratio.min(initial=np.inf) >= loss.shortest_step() * (1 - 1e-9)


def test_losses_that_reach_their_minimum_always_have_one():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 3))
    y = (X[:, 0] > 0).astype(int)
    for loss in ("squared_hinge", "modified_huber"):
        fit = quietly(SGDClassifier(loss, penalty=None, random_state=0), X, y)
        assert find(fit) is None
    assert find(quietly(LinearRegression(), np.column_stack([X, X[:, 0]]), X[:, 1])) is None


# Against a linear program of its own, and numbers along the direction.


def problem(rng, kind):
    """Return (estimator, A, equal): A d >= 0 and equal d = 0 for directions, or None."""
    n, d = int(rng.integers(6, 30)), int(rng.integers(1, 5))
    X = np.where(rng.random(d) < 0.5, rng.integers(0, 2, (n, d)), rng.normal(size=(n, d)))
    X *= 10.0 ** rng.integers(-3, 4, d)
    intercept = bool(rng.random() < 0.7)
    Z = np.column_stack([X, np.ones(n)]) if intercept else X
    w = np.where(rng.random(n) < 0.2, 0.0, 1.0)
    on = w > 0
    if kind in ("binary", "softmax"):
        K = 2 if kind == "binary" else 3
        y = rng.integers(0, K, n)
        if len(np.unique(y[on])) < K:
            return None
        fit = quietly(
            LogisticRegression(C=np.inf, fit_intercept=intercept), X, y, sample_weight=w
        )
        if K == 2:
            return fit, (Z * (2 * y - 1)[:, None])[on], Z[:0]
        rows = np.zeros((n, 3, 3, Z.shape[1]))
        for i in range(n):
            for k in range(3):
                rows[i, k, y[i]] += Z[i]
                rows[i, k, k] -= Z[i]
        return fit, rows[on].reshape(-1, 3 * Z.shape[1]), np.zeros((0, 3 * Z.shape[1]))
    y = rng.poisson(0.7, n).astype(float)
    if not y[on].sum():
        return None
    if kind == "poisson":
        fit = PoissonRegressor(alpha=0, fit_intercept=intercept)
    else:
        fit = TweedieRegressor(power=1.5, alpha=0, link="log", fit_intercept=intercept)
    zero = on & (y == 0)
    return quietly(fit, X, y, sample_weight=w), -Z[zero], Z[on & (y > 0)]


def is_separated(A, equal):
    """Whether some d has A d >= 0, not 0, and equal d = 0."""
    if not len(A):
        return False
    p = A.shape[1]
    scale = np.abs(np.vstack([A, equal])).max(axis=0)
    A, equal = (part / np.where(scale > 0, scale, 1.0) for part in (A, equal))
    found = linprog(
        np.zeros(p),
        A_ub=np.vstack([-A, -A.sum(axis=0)]),
        b_ub=np.append(np.zeros(len(A)), -1.0),
        A_eq=equal if len(equal) else None,
        b_eq=np.zeros(len(equal)) if len(equal) else None,
        bounds=(None, None),
    )
    return found.status == 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["binary", "softmax", "poisson", "tweedie"])
def test_random_problems_agree_with_a_linear_program(kind):
    rng, seen = np.random.default_rng(1), [0, 0]
    for _ in range(80):
        made = problem(rng, kind)
        if made is None:
            continue
        fit, A, equal = made
        objective, theta = problem_of(fit).objective, problem_of(fit).theta
        expected = is_separated(A, equal)
        seen[expected] += 1
        found = existence.find_recession(objective)
        assert (found is not None) == expected
        hinted = existence.find_recession(objective, theta)
        assert (hinted is not None) == expected
        if not expected:
            continue
        np.testing.assert_array_equal(found.lost, hinted.lost)
        size = np.abs(objective.design.predict(found.direction)).max()
        for direction in (found.direction, hinted.direction):
            values = [objective.value(t * direction / size) for t in (0, 1, 10, 100)]
            assert values[1] < values[0]
            assert np.all(np.diff(values) <= 1e-12 * values[0])
        # The cheap sign never misses one, at whatever point.
        elsewhere = rng.normal(size=theta.shape)
        elsewhere *= 3 / np.abs(objective.design.predict(elsewhere)).max()
        for start in (theta, np.zeros_like(theta), elsewhere):
            problem_of(fit).theta = start
            try:
                state = problem_of(fit).state("auto", quiet=True)
            except SingularHessianError:
                continue
            assert state.recession is not None
    assert min(seen) >= 10


@pytest.mark.slow
def test_no_false_alarm_on_problems_with_an_optimum():
    # Default fits, which stop early, of classes that overlap.
    rng, alarms, n_fits = np.random.default_rng(2), [], 0
    while n_fits < 60:
        n, d = int(rng.integers(20, 60)), int(rng.integers(1, 4))
        X = rng.normal(size=(n, d)) * 10.0 ** rng.integers(-2, 3, d)
        y = rng.integers(0, 2, n)
        A = np.column_stack([X, np.ones(n)]) * (2 * y - 1)[:, None]
        if len(np.unique(y)) < 2 or is_separated(A, A[:0]):
            continue
        n_fits += 1
        fit = quietly(LogisticRegression(C=np.inf), X, y)
        report, messages = told(fit.convergence_report)
        alarms += [m for m in (*messages, report.message) if "no optimum" in m]
        polished, messages = told(fit.polish)
        assert not messages
        assert problem_of(polished).state("auto").recession is None
    assert not alarms


def test_at_an_optimum_no_linear_program_is_solved(monkeypatch):
    X, y, _ = dummy(overlaps=3)
    fit = LogisticRegression(**FREE).fit(X, y)

    def never(*_, **__):
        raise AssertionError("a linear program")

    monkeypatch.setattr(existence.cones, "linprog", never)
    assert fit.convergence_report().converged
    fit.influence_params()
    fit.params_covariance("hessian")
    fit.polish()


def test_a_removal_that_separates_is_recognised():
    X, y, rows = dummy(overlaps=1)
    fit = LogisticRegression(C=np.inf).fit(X, y)
    assert fit.convergence_report().converged
    for method in ("influence", "newton", "exact"):
        removed, messages = told(fit.leave_out_params, method=method)
        assert np.flatnonzero(np.isnan(removed).any(axis=1)).tolist() == [rows[0]]
        assert len(messages) == 1
        assert f"row {rows[0]}: There is no optimum" in messages[0]
        assert "along +1 coef[x0]" in messages[0]
        assert "where the solver stopped" not in messages[0]
    before = fit.params_
    with pytest.raises(ValueError, match=r"Without these samples: There is no .* coef\[x0\]"):
        fit.remove_samples([rows[0]])
    np.testing.assert_array_equal(fit.params_, before)
    # Of two overlapping rows either may leave, but not both.
    X, y, rows = dummy(overlaps=2)
    fit = LogisticRegression(C=np.inf).fit(X, y)
    for method in ("newton", "exact"):
        assert np.isfinite(fit.leave_out_params(method=method)).all()
        removed, messages = told(
            fit.leave_out_params, groups=[rows[:2], rows[1:3]], method=method
        )
        np.testing.assert_array_equal(np.isnan(removed).any(axis=1), [True, False])
        assert len(messages) == 1


def test_random_removals_that_separate_agree_with_a_linear_program():
    rng, seen = np.random.default_rng(3), [0, 0]
    for _ in range(40):
        n = int(rng.integers(12, 30))
        X = np.column_stack([rng.normal(size=n), rng.random(n) < 0.3])
        y = (X[:, 0] + rng.logistic(size=n) > 0).astype(int)
        A = np.column_stack([X, np.ones(n)]) * (2 * y - 1)[:, None]
        full_rank = all(np.linalg.matrix_rank(np.delete(A, i, 0)) == 3 for i in range(n))
        counts = np.bincount(y, minlength=2)
        if counts.min() < 2 or not full_rank or is_separated(A, A[:0]):
            continue
        fit = LogisticRegression(**FREE).fit(X, y)
        expected = [is_separated(np.delete(A, i, 0), A[:0]) for i in range(n)]
        for method in ("newton", "exact"):
            removed, _ = told(fit.leave_out_params, method=method)
            np.testing.assert_array_equal(np.isnan(removed).any(axis=1), expected)
        seen = np.add(seen, np.bincount(np.array(expected, int), minlength=2))
    assert min(seen) >= 10


def test_many_rows_need_few_constraints():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20_000, 5))
    y = (X[:, 0] + 0.1 * rng.normal(size=20_000) > 0).astype(int)
    assert find(quietly(LogisticRegression(C=np.inf), X, y)) is None
    y = (X @ [1.0, 2.0, -1.0, 0.5, 0.0] > 0.3).astype(int)
    fit = quietly(LogisticRegression(C=np.inf), X, y)
    found = find(fit)
    margin = (2 * y - 1) * problem_of(fit).objective.design.predict(found.direction)[:, 0]
    assert margin.min() >= -1e-8


def test_a_loss_without_a_word_about_it_always_has_a_minimum():
    assert Loss.falls_forever(None, np.ones((3, 1)), 1) is None
