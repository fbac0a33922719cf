"""The true hinge: derivatives and removal follow the active set, as libsvm's refits do.

Oracles are refits of scikit-learn's own classes at tight tolerances: central differences in
a row's weight, and fits without the row.
"""

import warnings

import numpy as np
import pytest
from sklearn.base import is_classifier
from sklearn.model_selection import cross_val_predict

from skinfluence import (
    InfluenceWarning,
    active_set,
)
from skinfluence.pipeline import problem_of
from skinfluence.svm import SVC, SVR, LinearSVR
from tests.fits import relative_error
from tests.hinges import CASE, CASES, by_hand, decisions, rows_by_place, tight_parent

each_hinge = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def queries(case):
    X, _, _ = case.data()
    return X[3::17]


@each_hinge
def test_influence_is_the_derivative_of_the_refit(case):
    fitted, (X, y, w) = case.fit(), case.data()
    influence = fitted.influence_prediction(queries(case))
    refit = tight_parent(fitted)
    # The derivative is constant until a row changes its place, and a longer step shows it
    # better if liblinear's regression stops early.
    step = 1e-3 if isinstance(fitted, LinearSVR) else 1e-4
    bound, held, outside = rows_by_place(fitted)
    for row in (*bound[:3], *held[:1], *outside[:1]):
        values = []
        for sign in (1, -1):
            moved = w.copy()
            moved[row] += sign * step
            values.append(decisions(refit.fit(X, y, sample_weight=moved), queries(case)))
        expected = w.sum() * (values[0] - values[1]) / (2 * step)
        if row in bound:
            assert relative_error(influence[:, row], expected) < 1e-2
        else:
            assert np.all(influence[:, row] == 0)
            np.testing.assert_allclose(expected, 0, atol=1e-2 * np.abs(influence).max())


@each_hinge
def test_only_rows_on_the_bound_have_influence(case):
    fitted, (X, y, _) = case.fit(), case.data()
    bound, held, outside = rows_by_place(fitted)
    assert len(bound) > 0
    assert len(held) > 0
    influence = fitted.influence_loss(X[:20], y[:20])
    others = np.concatenate([held, outside])
    assert np.all(influence[:, others] == 0)
    assert np.all(fitted.influence_params()[others] == 0)
    assert np.all(fitted.self_influence()[others] == 0)
    same = fitted.influence_relabel(X[:20], y[:20], y_new=y) if is_classifier(fitted) else 0
    assert np.all(same == 0)
    assert np.all(np.abs(fitted.influence_params()[bound]).max(axis=1) > 0)
    np.testing.assert_allclose(
        fitted.self_influence()[:20], np.diag(influence[:, :20]), rtol=1e-8, atol=1e-10
    )


@each_hinge
def test_influence_on_loss_is_that_on_decisions_through_the_slope(case):
    fitted, (X, y, _) = case.fit(), case.data()
    if is_classifier(fitted) and len(fitted.classes_) > 2:
        pytest.skip("decisions of several classes are not the raw predictions")
    loss = problem_of(fitted).formulation.loss
    target = problem_of(fitted).formulation.target.encode(y[:20])
    raw = decisions(fitted, X[:20])[:, None]
    slope = loss.gradient(target, raw)
    expected = slope * fitted.influence_prediction(X[:20])
    np.testing.assert_allclose(fitted.influence_loss(X[:20], y[:20]), expected, atol=1e-9)


@each_hinge
def test_exact_removal_decides_as_the_refit(case):
    fitted, (X, y, w) = case.fit(), case.data()
    groups = [[row] for row in range(0, len(y), 9)] + [list(range(0, len(y), 6))]
    with warnings.catch_warnings():
        warnings.simplefilter("error", InfluenceWarning)  # nothing was left to a refit
        found = fitted.leave_out_params(groups, method="exact")
    layout, design = problem_of(fitted).layout, problem_of(fitted).objective.design
    for params, rows in zip(found, groups, strict=True):
        kept = np.delete(np.arange(len(y)), rows)
        refit = tight_parent(fitted).fit(X[kept], y[kept], sample_weight=w[kept])
        raw = design.predict(layout.from_public(params))
        expected = decisions(refit, X)
        if raw.shape[1] == 1:
            np.testing.assert_allclose(raw[:, 0], expected, atol=1e-4)
            assert np.array_equal(raw[:, 0] > 0, expected > 0)
        if is_classifier(fitted):
            np.testing.assert_array_equal(
                problem_of(fitted).responses.labels(fitted, raw), refit.predict(X)
            )


@each_hinge
def test_first_order_removal_adds_up_the_influence_of_the_rows(case):
    fitted, (_, _, w) = case.fit(), case.data()
    bound, held, outside = rows_by_place(fitted)
    groups = [bound[:1], bound[1:4], [*bound[:2], held[0], *outside[:1]], held[:2], []]
    found = fitted.leave_out_params(groups, method="influence")
    point = problem_of(fitted).state("auto").point
    optimum = point.objective.formulation.layout.to_public(point.theta)
    per_row = -(w / w.sum())[:, None] * fitted.influence_params()
    expected = optimum + [per_row[np.array(rows, dtype=int)].sum(axis=0) for rows in groups]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert np.abs(found[0] - optimum).max() > 0


@each_hinge
def test_leave_out_check_refits(case):
    check = case.fit().leave_out_check(4, method="exact", random_state=0)
    # liblinear stops at 1e-4 or so of the optimum of a loss that is not smooth.
    libsvm = case.name.startswith("sv")
    assert check.max_relative_error < (1e-3 if libsvm else 2e-2)
    assert check.pearson_r > 0.9999


@each_hinge
def test_rows_off_the_support_change_nothing(case):
    fitted = case.fit()
    _, _, outside = rows_by_place(fitted)
    params = fitted.leave_out_params([*outside[:, None], []], method="exact")[:-1]
    optimum = problem_of(fitted).state("auto").point
    optimum = optimum.objective.formulation.layout.to_public(optimum.theta)
    np.testing.assert_array_equal(params, np.tile(optimum, (len(outside), 1)))


@pytest.mark.parametrize(
    "case", [c for c in CASES if c.name != "svr-narrow"], ids=lambda case: case.name
)
def test_newton_is_exact_while_no_row_changes_its_place(case):
    fitted = case.fit()
    rows = np.arange(0, len(case.data()[1]), 5)
    newton = fitted.leave_out_params(list(rows[:, None]))
    exact = fitted.leave_out_params(list(rows[:, None]), method="exact")
    point = problem_of(fitted).state("auto").point
    stays = 0
    for at, row in enumerate(rows):
        reduced = point.objective.without([row])
        _, misplaced, _ = active_set.first_step(point, reduced, range(len(point.theta)))
        if misplaced == 0:
            stays += 1
            np.testing.assert_allclose(newton[at], exact[at], rtol=1e-6, atol=1e-8)
    assert stays > 3


def test_leave_one_out_predictions_are_those_of_refits():
    case = CASE["svc"]
    fitted, (X, y, _) = case.fit(np.ones(200)), case.data()
    expected = cross_val_predict(tight_parent(fitted), X, y, cv=10)
    found = fitted.leave_out_predict(cv=10, method="exact")
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("make", [SVC, SVR])
def test_precomputed_is_the_kernel(make):
    case = CASE["svc"] if make is SVC else CASE["svr"]
    fitted, (X, y, w) = case.fit(), case.data()
    K = by_hand(X, X)
    params = {k: v for k, v in case.estimator.get_params().items() if k in ("C", "tol")}
    same = make(kernel="precomputed", **params)
    if make is SVR:
        same.set_params(epsilon=0.2)
    same.fit(K, y, sample_weight=w)
    query = by_hand(X[:9] + 0.1, X)
    np.testing.assert_allclose(
        same.influence_prediction(query), fitted.influence_prediction(X[:9] + 0.1), atol=1e-8
    )
    with pytest.raises(ValueError, match="precomputed"):
        same.add_samples(K[:2], y[:2])
    same.remove_samples([0, 3])
    fitted.remove_samples([0, 3])
    others = np.delete(np.arange(len(y)), [0, 3])
    np.testing.assert_allclose(
        decisions(same, query[:, others]), decisions(fitted, X[:9] + 0.1), atol=1e-6
    )


@pytest.mark.parametrize(
    "case", [c for c in CASES if c.name.startswith("sv")], ids=lambda c: c.name
)
def test_removed_and_added_rows_leave_a_model_that_predicts(case):
    fitted, (X, y, w) = case.fit(), case.data()
    rows = [0, 5, 30, 60]
    kept = np.delete(np.arange(len(y)), rows)
    refit = tight_parent(fitted).fit(X[kept], y[kept], sample_weight=w[kept])
    before = decisions(fitted, X)
    fitted.remove_samples(rows)
    np.testing.assert_allclose(decisions(fitted, X), decisions(refit, X), atol=1e-4)
    if is_classifier(fitted):
        np.testing.assert_array_equal(fitted.predict(X), refit.predict(X))
    assert len(fitted.influence_prediction(X[:2])[0]) == len(kept)
    fitted.add_samples(X[rows], y[rows], w[rows])
    np.testing.assert_allclose(decisions(fitted, X), before, atol=1e-4)


def test_an_early_fit_has_the_derivatives_of_the_optimum():
    case = CASE["svc"]
    X, y, w = case.data()
    tight, loose = case.fit(), SVC(C=2.0, gamma=0.1, tol=1e-2).fit(X, y, w)
    np.testing.assert_allclose(
        loose.influence_prediction(X[:9]), tight.influence_prediction(X[:9]), rtol=1e-6
    )
    with pytest.warns(InfluenceWarning, match="not at its optimum.*of the largest one"):
        SVC(C=2.0, gamma=0.1, tol=1.0).fit(X, y, w).influence_prediction(X[:9])
