"""Each part of removal alone: its result, and the parts that get it."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from skinfluence import InfluenceWarning, active_set
from skinfluence.groups import Groups
from skinfluence.linear_model import HuberRegressor, LogisticRegression, PoissonRegressor
from skinfluence.pipeline import problem_of
from skinfluence.problem.requests import Removal
from skinfluence.removal import Base, accuracies, refit, run, weighted
from skinfluence.removal.accuracies import ONE_STEP, each_alone
from skinfluence.removal.leave_out import stacks_of
from skinfluence.removal.stack import Stack
from skinfluence.solvers import get_solver
from skinfluence.svm import SVR, LinearSVC, LinearSVR, SmoothHingeSVC
from tests.fits import NEWTON, data, relative_error, sklearn_parent


@pytest.fixture
def wine():
    X, y, w = data("wine")
    return LogisticRegression(**NEWTON).fit(X, y, w)


def base_at(objective, theta):
    """Return where removal starts, at given parameters."""
    point, solver = objective.at(theta), get_solver("cholesky", objective)
    return Base.at(point, solver.factorise(point), solver)


def test_every_group_is_in_one_stack(wine):
    rng = np.random.default_rng(0)
    n, sizes = len(data("wine")[1]), [1, 1, 3, 5, 8, 14, 15, 40, 40, 1]
    groups = Groups(n, [rng.choice(n, size, replace=False) for size in sizes])
    chosen = np.array([0, 2, 3, 4, 5, 6, 7, 8, 9])
    base = base_at(problem_of(wine).objective, problem_of(wine).theta)
    stacks = stacks_of(base, groups, chosen, None)
    np.testing.assert_array_equal(np.sort(np.concatenate(stacks)), chosen)


def test_the_optimum_is_found_from_elsewhere(wine):
    objective = problem_of(wine).objective
    base = base_at(objective, 0.5 * problem_of(wine).theta)
    assert np.abs(base.point.gradient).max() > 1.0
    assert np.abs(objective.at(base.optimum()).gradient).max() < 1e-9


def test_a_group_without_an_inverse_leaves_the_others_theirs():
    # Only row 0 says anything about the last coefficient, and nothing holds it.
    X, y, _ = data("cancer")
    X = np.column_stack([X[:, :3], np.zeros(len(X))])
    X[0, 3] = 1.0
    objective = problem_of(LogisticRegression(C=1.0, **NEWTON).fit(X, y)).objective
    bare = objective.with_extra_penalty(-objective.penalty)
    base = base_at(bare, np.zeros(objective.penalty.shape))
    theta, decrement, _ = each_alone(base, np.array([[0], [5]]), ONE_STEP)
    assert np.isnan(theta[0]).all()
    assert np.isfinite(theta[1]).all()
    assert decrement[1] > 0


@pytest.mark.parametrize("converged", [True, False])
@pytest.mark.parametrize("decrement", [0.0, 1e-3])
def test_a_refit_counts_where_it_converged_to_less_than_its_first_step(
    wine, monkeypatch, converged, decrement
):
    base = base_at(problem_of(wine).objective, problem_of(wine).theta)
    end = SimpleNamespace(
        theta=base.theta,
        converged=converged,
        decrement=decrement,
        correction=np.zeros_like(base.theta),
    )
    monkeypatch.setattr(refit, "polish", lambda *_, **__: end)
    assert refit.refit(base, [3], first=1.0)[1] == (converged and decrement == 0.0)
    assert refit.refit(base, [3])[1] == converged


def test_removals_that_a_stack_leaves_to_a_refit_are_measured_by_its_first_step(monkeypatch):
    # Nearly separable classes, for which steps on one Hessian do not contract.
    X, y, _ = data("cancer")
    fitted = LogisticRegression(C=1e5, **NEWTON).fit(X, y)
    asked, refit_apart = [], accuracies.refit_apart

    def measured(base, groups, start, first, tol):
        asked.extend(zip([int(rows[0]) for rows in groups], first, strict=True))
        return refit_apart(base, groups, start, first, tol)

    monkeypatch.setattr(accuracies, "refit_apart", measured)
    fitted.leave_out_params(method="exact")
    assert asked
    base, request = problem_of(fitted).start_removal(Removal(method="exact"))
    for row, first in asked:
        decrement = base.remove(request.groups.padded([row]), ONE_STEP)[1]
        np.testing.assert_allclose(first, decrement, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("wine", LogisticRegression(C=1e3, **NEWTON)),
        ("wine", LogisticRegression(C=10.0, class_weight="balanced", **NEWTON)),
        ("cancer", LogisticRegression(C=1e3, **NEWTON)),
        ("diabetes", HuberRegressor(tol=1e-10, max_iter=5000)),
        ("diabetes", PoissonRegressor(alpha=1e-3, tol=1e-10, max_iter=5000)),
    ],
    ids=["softmax", "balanced", "logistic", "huber", "mean-form"],
)
def test_groups_with_their_own_hessians_end_where_each_one_does_alone(
    name, model, monkeypatch
):
    X, y, w = data(name)
    problem = problem_of(model.fit(X, y, w))
    base, _ = problem.start_removal(Removal(method="exact"))
    # The rows that move the model most, alone and together.
    moved = np.linalg.norm(Stack(base, np.arange(len(y))[:, None]).newton()[0], axis=(1, 2))
    worst = np.argsort(-np.nan_to_num(moved))[:4]
    groups = [*worst[:, None], worst]
    alone_each = [refit.refit(base, rows) for rows in groups]
    monkeypatch.setattr(weighted, "refit_objective", None)  # together, or not at all
    start = np.repeat(base.theta[None], len(groups), axis=0)
    theta, converged = weighted.refit_apart(base, groups, start, np.ones(5), 1e-11)
    assert converged.all()
    for found, (expected, _) in zip(theta, alone_each, strict=True):
        change = np.linalg.norm(expected - base.theta)
        assert np.linalg.norm(found - expected) < 1e-6 * change


@pytest.mark.filterwarnings("ignore::skinfluence.InfluenceWarning")
@pytest.mark.parametrize("steps", [40, 0])
def test_a_dual_coefficient_without_its_row_is_zero_to_the_last_bit(steps, monkeypatch):
    # Also if each group gets a refit of its own.
    monkeypatch.setattr(run, "_MAX_ITER", steps)
    X, y, _ = data("cancer")
    clf = SmoothHingeSVC(C=100.0, gamma=0.1, temperature=0.1).fit(X[6:], y[6:])
    for method in ("newton", "exact"):
        without = clf.leave_out_params(method=method).diagonal()
        without = without[np.isfinite(without)]
        assert len(without) > 150
        assert not without.any()


def test_a_row_of_weight_zero_does_not_keep_a_class():
    X, y, _ = data("wine")
    keep = np.concatenate([np.flatnonzero(y < 2), [169, 170]])
    X, y, w = X[keep], y[keep], np.ones(len(keep))
    w[-1] = 0.0
    fitted = LogisticRegression(**NEWTON).fit(X, y, w)
    last = len(y) - 2
    with pytest.warns(InfluenceWarning, match=f"row {last} .class 2"):
        params = fitted.leave_out_params()
    assert np.flatnonzero(np.isnan(params).any(axis=1)).tolist() == [last]


@pytest.mark.parametrize("decrement", [np.nan, np.inf])
def test_refine_begins_where_the_newton_step_has_no_length(wine, monkeypatch, decrement):
    remove = Base.remove
    exact, newton = (wine.leave_out_params(method=name) for name in ("exact", "newton"))
    row = int(np.argmax(np.linalg.norm(newton - exact, axis=1)))

    def without_length(base, rows, method):
        theta, length, converged = remove(base, rows, method)
        if method == "newton":
            length[rows[:, 0] == row] = decrement
        return theta, length, converged

    monkeypatch.setattr(Base, "remove", without_length)
    refined = wine.leave_out_params(refine=1 / len(exact))
    assert relative_error(newton[row], exact[row]) > 1e-7
    assert relative_error(refined[row], exact[row]) < 1e-8


# Active sets that cannot be followed.


@pytest.mark.parametrize(("cls", "fixed"), [(LinearSVR, {}), (SVR, {"gamma": 0.1})])
def test_a_path_that_ends_early_is_refitted_and_counted(cls, fixed, monkeypatch):
    X, y, _ = data("diabetes")
    y = y / y.std()
    options = {"tol": 1e-10, "max_iter": 10**6} | fixed
    reg = cls(**options).fit(X, y)
    lost = np.full(problem_of(reg).theta.shape, np.nan)
    monkeypatch.setattr(active_set, "follow", lambda *_: (lost, False, 0.0))
    rows = [3, 11]
    with pytest.warns(InfluenceWarning, match=r"2 of 2 group\(s\) the active set"):
        loss = reg.leave_out_loss(X, y, [[row] for row in rows], method="exact")
    for j, row in enumerate(rows):
        refit = sklearn_parent(reg)(**options).fit(np.delete(X, row, 0), np.delete(y, row))
        expected = np.maximum(0.0, np.abs(y - refit.predict(X)) - reg.epsilon)
        np.testing.assert_allclose(loss[:, j], expected, atol=1e-6)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("method", ["newton", "exact"])
def test_removal_from_a_fit_without_an_optimum_nearby_starts_from_a_refit(method):
    X, y, _ = data("diabetes")
    y = y / y.std()
    reg = LinearSVR(max_iter=2, random_state=0).fit(X, y)
    assert not np.isfinite(problem_of(reg).state("auto", quiet=True).point.misfit)
    with warnings.catch_warnings():
        warnings.simplefilter("error", InfluenceWarning)
        loss = reg.leave_out_loss(X, y, [[3], [11]], method=method)
    for found, row in zip(loss.T, [3, 11], strict=True):
        refit = LinearSVR(tol=1e-10, max_iter=10**6, random_state=0)
        refit.fit(np.delete(X, row, 0), np.delete(y, row))
        expected = np.maximum(0.0, np.abs(y - refit.predict(X)) - reg.epsilon)
        np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_error_of_single_precision_in_predictions_is_estimated():
    # Far from the origin an intercept may take back what the coefficients bring, here in the
    # first two of five steps, of features in units of their own.
    X, y, _ = data("wine")
    X = (X + 30.0) * 10.0 ** np.linspace(-3, 3, X.shape[1])
    objective = problem_of(LogisticRegression(**NEWTON).fit(X, y)).objective
    K, D = objective.penalty.shape
    stack = Stack(base_at(objective, np.ones((K, D))), np.arange(5)[:, None])
    steps = np.random.default_rng(0).standard_normal((5, K, D))
    steps[:, :, :-1] /= X.mean(axis=0)
    steps[:2, :, -1] = -steps[:2, :, :-1] @ X.mean(axis=0)
    steps *= 10.0 ** -np.arange(5)[:, None, None]
    rows = np.column_stack([X, np.ones(len(X))])
    raw = np.einsum("id,bkd->ibk", rows, steps)
    rounded = np.einsum("id,bkd->ibk", rows.astype(np.float32), steps.astype(np.float32))
    error = np.sqrt(np.mean((rounded - raw) ** 2, axis=0) / np.mean(raw**2, axis=0)).max(
        axis=1
    )
    found = stack.single_precision(stack.base.theta + steps)
    assert np.all((found > error) & (found < 20 * error))
    assert not stack.single_precision(np.repeat(stack.base.theta[None], 5, axis=0)).any()


@pytest.mark.parametrize(
    "estimator", [LinearSVC(), LinearSVR(epsilon=0.5), SVR(C=0.5, gamma=0.1)]
)
def test_newton_is_exact_where_no_row_is_out_of_place(estimator):
    X, y, _ = data("cancer") if isinstance(estimator, LinearSVC) else data("diabetes")
    if not isinstance(estimator, LinearSVC):
        y = y / y.std()
    else:
        estimator.set_params(loss="hinge")
    fitted = estimator.set_params(tol=1e-9, max_iter=10**7).fit(X, y)
    base, request = problem_of(fitted).start_removal(Removal())
    rows = request.groups.padded(np.arange(len(y)))
    newton, misplaced, converged = base.remove(rows, ONE_STEP)
    exact = base.remove(rows, "exact")[0]
    assert misplaced.shape == (len(y),)
    assert converged.all()
    error = np.abs(newton - exact).max(axis=(1, 2)) / np.abs(exact).max()
    assert 0 < np.sum(misplaced > 0) < len(y)
    assert error[misplaced == 0].max() < 1e-9
    assert error[misplaced > 0].max() > 1e-6


def test_a_group_without_a_result_leaves_the_others_theirs(monkeypatch):
    X, y, _ = data("diabetes")
    fitted = LinearSVR(epsilon=0.5, tol=1e-9, max_iter=10**6).fit(X, y / y.std())
    expected = fitted.leave_out_params()

    def failing(work, arrived):
        first = iter([True])

        def once(point, *args):
            if next(first, False):
                return np.nan * point.theta, arrived, 0.0
            return work(point, *args)

        return once

    monkeypatch.setattr(active_set, "first_step", failing(active_set.first_step, 0))
    monkeypatch.setattr(active_set, "follow", failing(active_set.follow, False))
    with pytest.warns(InfluenceWarning, match=r"1 of 150 group\(s\) .* row 0.*method='exact'"):
        found = fitted.leave_out_params()
    assert np.isnan(found[0]).all()
    np.testing.assert_array_equal(found[1:], expected[1:])


def test_a_newton_step_uphill_is_no_step(wine, monkeypatch):
    stack = Stack(
        base_at(problem_of(wine).objective, problem_of(wine).theta), np.arange(3)[:, None]
    )
    expected, decrement = stack.newton()
    correct, signs = stack.update.correct, np.array([1.0, -1.0, 1.0])[:, None, None]
    monkeypatch.setattr(stack.update, "correct", lambda V: signs * correct(V))
    found, length = stack.newton()
    assert np.isnan(found[1]).all()
    assert np.isnan(length[1])
    np.testing.assert_array_equal(found[[0, 2]], expected[[0, 2]])
    np.testing.assert_array_equal(length[[0, 2]], decrement[[0, 2]])
