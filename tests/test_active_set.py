"""The true hinge: derivatives and removal follow the active set, as libsvm's refits do.

Oracles are refits of scikit-learn's own classes at tight tolerances: central differences in
a row's weight, and fits without the row.
"""

import copy
import pickle
import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn import svm as sklearn_svm
from sklearn.base import clone, is_classifier
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import cross_val_predict

from skinfluence import (
    InfluenceWarning,
    SingularHessianError,
    TrainingDataMissingError,
    UnsupportedEstimatorError,
    active_set,
)
from skinfluence.methods.convergence import ConvergenceMixin
from skinfluence.pipeline import problem_of
from skinfluence.svm import SVC, SVR, LinearSVC, LinearSVR, SmoothHingeSVC
from tests.cases import HINGES, Case, data, relative_error, sklearn_parent


def by_hand(A, B):
    return rbf_kernel(A, B, gamma=0.1)


CASES = [*HINGES, Case("svc-callable", SVC(C=2.0, kernel=by_hand, tol=1e-10), "cancer")]
CASE = {case.name: case for case in CASES}
each_hinge = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
DECISIONS = {"svr", "svr-narrow", "linear-svr"}


def queries(case):
    X, _, _ = case.data()
    return X[3::17]


def decisions(estimator, X):
    return estimator.decision_function(X) if is_classifier(estimator) else estimator.predict(X)


def tight_parent(fitted):
    """Return scikit-learn's own estimator at the frozen values of a fit."""
    max_iter = -1 if is_libsvm(fitted) else 10_000_000
    return problem_of(fitted).unfitted_parent().set_params(tol=1e-10, max_iter=max_iter)


def is_libsvm(fitted):
    return isinstance(fitted, sklearn_svm.SVC | sklearn_svm.SVR)


def rows_by_place(fitted):
    """Return the rows on the bound of a problem, held by a kink of one, and neither."""
    point = problem_of(fitted).state("auto").point
    bound = ((point.partition.slope != 0) & ~point.partition.held).any(axis=1)
    on_kink = point.partition.held.any(axis=1) & ~bound
    return np.flatnonzero(bound), np.flatnonzero(on_kink), np.flatnonzero(~bound & ~on_kink)


@each_hinge
def test_influence_is_the_derivative_of_the_refit(case):
    fitted, (X, y, w) = case.fit(), case.data()
    influence = fitted.influence_prediction(queries(case))
    refit = tight_parent(fitted)
    # The derivative is constant until a row changes its place, and a longer step shows it
    # better where liblinear's regression stops early.
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
        _, misplaced = active_set.first_step(point, reduced, range(len(point.theta)))
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


def test_without_a_held_row_nothing_holds_the_intercept():
    X, y = np.array([[0.0], [0.1], [1.0], [1.1]]), [0, 0, 1, 1]
    clf = SVC(C=1e-3, kernel="linear").fit(X, y)
    np.testing.assert_array_equal(np.abs(clf.dual_coef_), clf.C)
    with pytest.raises(SingularHessianError, match=r"intercept: no row is .* larger C"):
        clf.influence_prediction(X)


def test_rows_that_hold_all_others_are_told_with_what_is_left():
    # Two features and as many held rows, whatever the third says: the model cannot move.
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30, 2))
    X = np.column_stack([X, X.sum(axis=1)])
    y = X[:, 0] + 0.3 * rng.standard_normal(30) > 0
    how = {"loss": "hinge", "fit_intercept": False, "tol": 1e-10, "max_iter": 1_000_000}
    fitted = LinearSVC(C=100.0, random_state=0, **how).fit(X, y)
    bound, held, _ = rows_by_place(fitted)
    assert len(held) == 2
    assert len(bound) > 0
    with pytest.warns(InfluenceWarning, match=r"fraction \d\.\de-1\d .* about [01] correct"):
        influence = fitted.influence_loss(X, y)
    alone = len(y) * fitted.C * np.sum(X**2, axis=1).max()
    assert np.abs(influence).max() <= 1e-12 * alone
    # One row more that may move, and what was rounding is a number.
    fewer = LinearSVC(C=0.01, random_state=0, **how).fit(X, y)
    assert len(rows_by_place(fewer)[1]) < 2
    with warnings.catch_warnings():
        warnings.simplefilter("error", InfluenceWarning)
        assert np.abs(fewer.influence_loss(X, y)).max() > 1e-4


def test_methods_of_newton_are_hidden_or_refused():
    clf = CASE["svc"].fit()
    for name in ("polish", "newton_correction", "newton_step", "convergence_report"):
        assert not hasattr(clf, name)
    linear = CASE["linear-svc"].fit()
    with pytest.raises(UnsupportedEstimatorError, match="loss='squared_hinge'"):
        linear.polish()
    with pytest.raises(UnsupportedEstimatorError, match="smooth"):
        linear.newton_correction()
    with pytest.raises(ValueError, match="use 'auto' or 'woodbury'"):
        linear.influence_params(hessian_solver="cholesky")
    with pytest.raises(UnsupportedEstimatorError, match="return_bound"):
        linear.leave_out_params(return_bound=True)


@pytest.mark.parametrize("estimator", [SVC(), SVR()], ids=str)
def test_what_is_hidden_names_a_smooth_model(estimator):
    chapter = [name for name in vars(ConvergenceMixin) if not name.startswith("_")]
    remedy = "Use smooth()" if isinstance(estimator, SVC) else "Use skinfluence.kernel_ridge"
    for name in [*chapter, "influence_summary"]:
        with pytest.raises(AttributeError, match=f"no attribute '{name}'") as caught:
            getattr(estimator, name)
        reason = str(caught.value.__cause__)
        assert f"has no {name}: its loss" in reason
        assert remedy in reason


@pytest.mark.parametrize("name", ["linear-svc", "linear-svr"])
def test_measures_of_linear_models_with_kinks(name):
    case = CASE[name]
    fitted = case.fit()
    with pytest.raises(UnsupportedEstimatorError, match="no leverage: use loss='squared_"):
        fitted.influence_summary()
    groups = np.arange(problem_of(fitted).objective.n_rows) % 10
    moved = fitted.leave_out_params(groups) - fitted.params_
    found = fitted.params_covariance("jackknife", groups)
    np.testing.assert_allclose(found, moved.T @ moved, atol=1e-6 * np.abs(found).max())


def test_calibrated_probabilities_have_no_influence():
    X, y, _ = CASE["svc"].data()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # from scikit-learn 1.9 on
        clf = SVC(probability=True, random_state=0).fit(X, y)
    with pytest.raises(UnsupportedEstimatorError, match="calibrated"):
        clf.influence_prediction(X[:2], response_method="predict_proba")


@pytest.mark.parametrize(
    "case", [c for c in CASES if c.name.startswith("sv")], ids=lambda c: c.name
)
def test_the_training_data_of_a_kernel_model_are_its_own(case):
    fitted, (X, y, w) = case.fit(), case.data()
    expected = fitted.influence_prediction(X[:3])
    fitted.drop_training_data()
    decisions(fitted, X[:3])
    with pytest.raises(TrainingDataMissingError):
        fitted.influence_prediction(X[:3])
    with pytest.raises(ValueError, match="rows of its fit only"):
        fitted.set_training_data(X[1:], y[1:], w[1:])
    if case.name != "svc-callable":  # which keeps its rows where nobody sees them
        with pytest.raises(ValueError, match="differs in"):
            fitted.set_training_data(X * 2, y, w)
    again = pickle.loads(pickle.dumps(fitted)) if case.name != "svc-callable" else fitted
    again.set_training_data(X, y, w)
    np.testing.assert_allclose(again.influence_prediction(X[:3]), expected, atol=1e-9)


@pytest.mark.parametrize("temperature", [1.0, 0.1])
@pytest.mark.parametrize("case", [CASE["svc"], CASE["svc-classes"]], ids=lambda c: c.name)
def test_smooth_keeps_the_parameters(case, temperature):
    fitted, (X, y, _) = case.fit(), case.data()
    smooth = fitted.smooth(temperature)
    np.testing.assert_array_equal(smooth.params_, fitted.params_)
    np.testing.assert_allclose(decisions(smooth, X), decisions(fitted, X), atol=1e-9)
    assert not smooth.convergence_report().converged
    refit = clone(smooth).fit(X, y, case.data()[2])
    np.testing.assert_allclose(smooth.polish().params_, refit.params_, atol=1e-6)


def test_the_gap_to_the_hinge_falls_with_the_temperature():
    case = CASE["svc"]
    fitted, (X, y, w) = case.fit(), case.data()
    gaps = []
    for temperature in (1.0, 1e-1, 1e-2, 1e-3, 1e-4):
        smooth = SmoothHingeSVC(C=2.0, gamma=0.1, temperature=temperature).fit(X, y, w)
        gaps.append(np.abs(decisions(smooth, X) - decisions(fitted, X)).max())
    assert np.all(np.diff(gaps) < 0)
    assert gaps[-1] < 1e-3


def test_copies_share_and_params_cover_all_rows():
    fitted = CASE["svc-classes"].fit()
    X, _, _ = CASE["svc-classes"].data()
    n = X.shape[0]
    assert fitted.params_.shape == (3 * n + 3,)
    coef, intercept = fitted.split_params(fitted.params_)
    assert coef.shape == (3, n)
    np.testing.assert_array_equal(intercept, fitted.intercept_)
    off = np.setdiff1d(np.arange(n), fitted.support_)
    assert np.all(coef[:, off] == 0)
    names = fitted.param_names()
    assert names[0] == "dual_coef[0 vs 1, 0]"
    assert names[-1] == "intercept[1 vs 2]"
    fitted.influence_prediction(X[:2])
    assert problem_of(copy.copy(fitted)).cached_state is problem_of(fitted).cached_state
    assert sklearn_parent(fitted) is sklearn_svm.SVC


# Corners: few features, repeated rows, rows without weight, other containers.


def few_features():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(60, 2))
    return X, np.where(X[:, 0] + 0.5 * rng.normal(size=60) > 0, 1, 0)


def repeated_rows():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 3, (90, 3)).astype(float)
    return X, (X[:, 0] + rng.normal(size=90) > 1).astype(int)


@pytest.mark.parametrize("problem", [few_features, repeated_rows])
@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_more_rows_may_be_held_than_a_kernel_has_directions(problem, kernel):
    X, y = problem()
    options = {"kernel": kernel, "gamma": 0.1, "tol": 1e-10}
    fitted = SVC(**options).fit(X, y)
    assert problem_of(fitted).state("auto").point.misfit < 1e-4
    K = problem_of(fitted).objective.design.basis.kernel(X, X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InfluenceWarning)  # some paths go to a refit
        rows = np.arange(0, len(y), 8)
        params = fitted.leave_out_params(list(rows[:, None]), method="exact")

    def objective(f, a, rows):
        return 0.5 * a @ K @ a + np.maximum(0, 1 - (2 * y - 1) * f)[rows].sum()

    for row, found in zip(rows, params, strict=True):
        kept = np.delete(np.arange(len(y)), row)
        refit = sklearn_svm.SVC(**options).fit(X[kept], y[kept])
        a, f = found[:-1], K @ found[:-1] + found[-1]
        theirs = np.zeros(len(y))
        theirs[kept[refit.support_]] = refit.dual_coef_[0]
        # The intercept, and how repeated rows share a coefficient, need not be unique.
        best = objective(refit.decision_function(X), theirs, kept)
        np.testing.assert_allclose(objective(f, a, kept), best, rtol=1e-6)
        np.testing.assert_allclose(K @ a, K @ theirs, atol=1e-4)


def test_influence_among_repeated_rows_is_the_derivative():
    X, y = repeated_rows()
    fitted = SVC(gamma=0.1, tol=1e-10).fit(X, y)
    queries = X[::9] + 0.1
    influence = fitted.influence_prediction(queries)
    for row in rows_by_place(fitted)[0][:3]:
        values = []
        for sign in (1, -1):
            w = np.ones(len(y))
            w[row] += sign * 1e-4
            refit = sklearn_svm.SVC(gamma=0.1, tol=1e-10).fit(X, y, sample_weight=w)
            values.append(refit.decision_function(queries))
        expected = len(y) * (values[0] - values[1]) / 2e-4
        assert np.abs(influence[:, row] - expected).max() < 1e-2 * np.abs(influence).max()


@pytest.mark.parametrize("make", [SVC, SVR])
def test_rows_without_weight_are_counted(make):
    name = "svc" if make is SVC else "svr"
    case = next(case for case in HINGES if case.name == name)
    X, y, w = case.data()
    w = w.copy()
    w[[3, 9, len(y) - 1]] = 0.0
    fitted = clone(case.estimator).fit(X, y, w)
    raw = problem_of(fitted).objective.design.predict(problem_of(fitted).theta)[:, 0]
    np.testing.assert_allclose(raw, decisions(fitted, X), atol=1e-9)
    fitted.drop_training_data().set_training_data(X, y, w)
    queries = X[::17] + 0.1
    influence = fitted.influence_prediction(queries)
    for row in (3, 9, len(y) - 1):
        values = []
        for weight in (1e-4, 0.0):
            moved = w.copy()
            moved[row] = weight
            values.append(decisions(tight_parent(fitted).fit(X, y, moved), queries))
        expected = w.sum() * (values[0] - values[1]) / 1e-4
        atol = 1e-3 * max(1.0, np.abs(expected).max())
        np.testing.assert_allclose(influence[:, row], expected, atol=atol)
    np.testing.assert_allclose(
        fitted.self_influence(), np.diag(fitted.influence_loss(X, y)), atol=1e-8
    )


@pytest.mark.parametrize(
    "container", [np.float32, np.asfortranarray, sparse.csr_array, sparse.csr_matrix]
)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_changed_model_predicts_whatever_held_the_data(container, n_classes):
    rng = np.random.default_rng(0)
    X = container(rng.normal(size=(60, 4)))
    y = np.array(["a", "b", "c"])[np.arange(60) % n_classes]
    fitted = SVC(gamma=0.3, tol=1e-8).fit(X, y).remove_samples([0, 7])
    kept = np.delete(np.arange(60), [0, 7])
    refit = sklearn_svm.SVC(gamma=0.3, tol=1e-8).fit(X[kept], y[kept])
    np.testing.assert_allclose(decisions(fitted, X), decisions(refit, X), atol=1e-4)
    fitted.add_samples(X[[0, 7]], y[[0, 7]])
    whole = sklearn_svm.SVC(gamma=0.3, tol=1e-8).fit(X, y)
    np.testing.assert_allclose(decisions(fitted, X), decisions(whole, X), atol=1e-4)


def test_a_fit_that_stopped_far_away_says_so_and_is_refitted():
    case = next(case for case in HINGES if case.name == "linear-svc")
    X, y, w = case.data()
    fitted = LinearSVC(loss="hinge", C=100.0, max_iter=3, random_state=0)
    with pytest.warns(UserWarning, match="converge"):
        fitted.fit(X, y, w)
    if np.isfinite(problem_of(fitted).evaluate(problem_of(fitted).objective).misfit):
        with pytest.warns(InfluenceWarning, match="not at its optimum"):
            fitted.leave_out_params([[0]], method="newton")
    else:
        with pytest.warns(InfluenceWarning, match="no optimum was found"):
            fitted.leave_out_params([[0]], method="newton")


def test_perturbation_at_the_parameters_of_the_hinge_is_that_of_the_linear_model():
    X, y = few_features()
    kernel = SVC(kernel="linear", C=0.5).fit(X, y).smooth(0.5)
    linear = LinearSVC(loss="hinge", C=0.5, intercept_scaling=1e5, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # neither is at an optimum, which is the point
        linear = linear.fit(X, y)
        linear.coef_, linear.intercept_ = kernel.dual_coef_ @ X, kernel.intercept_.copy()
        arguments = (X[:5] + 0.1, y[:5])
        found = kernel.influence_perturbation(*arguments, index=5)
        expected = linear.smooth(0.5).influence_perturbation(*arguments, index=5)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def test_a_first_step_from_no_optimum_is_told_and_not_taken():
    # One of the first two margins is held; no distance to the kink tells it from the other.
    X, y = np.array([[1.0], [1.0 + 5e-7], [-1e-3]]), np.array([1, 1, 0])
    fitted = LinearSVC(loss="hinge", C=10.0, fit_intercept=False, tol=1e-8).fit(X, y)
    with pytest.warns(InfluenceWarning):
        params = fitted.leave_out_params(method="newton")
    assert np.isnan(params).any()


@pytest.mark.parametrize("epsilon", [0.1, 0.3])
def test_a_row_close_to_a_kink_need_not_be_held(epsilon):
    # With 0.3 a residual lies 2.3e-4 beside the border of the tube, and no more can be held.
    X, y, _ = data("diabetes")
    reg = LinearSVR(epsilon=epsilon, tol=1e-8, max_iter=10_000_000).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        moved = reg.leave_out_params([[3], [7, 8]], method="exact")
    for params, rows in zip(moved, ([3], [7, 8]), strict=True):
        kept = np.delete(np.arange(len(y)), rows)
        refit = tight_parent(reg).fit(X[kept], y[kept])
        np.testing.assert_allclose(params[:-1], refit.coef_, atol=1e-5)
