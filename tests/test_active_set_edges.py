"""What holds a hinge's fit may be nothing, or more than the features have directions.

Corners of the active set: few features, repeated rows, rows without weight, fits far from
the optimum, and what hinges do not have. Oracles are refits, as in `test_active_set`.
"""

import copy
import pickle
import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn import svm as sklearn_svm
from sklearn.base import clone

from skinfluence import (
    InfluenceWarning,
    SingularHessianError,
    TrainingDataMissingError,
    UnsupportedEstimatorError,
)
from skinfluence.methods.convergence import ConvergenceMixin
from skinfluence.pipeline import problem_of
from skinfluence.svm import SVC, SVR, LinearSVC, LinearSVR, SmoothHingeSVC
from tests.fits import data, sklearn_parent
from tests.hinges import CASE, CASES, HINGES, decisions, rows_by_place, tight_parent


def test_without_a_held_row_nothing_holds_the_intercept():
    X, y = np.array([[0.0], [0.1], [1.0], [1.1]]), [0, 0, 1, 1]
    clf = SVC(C=1e-3, kernel="linear").fit(X, y)
    np.testing.assert_array_equal(np.abs(clf.dual_coef_), clf.C)
    with pytest.raises(SingularHessianError, match=r"intercept: no row is .* larger C"):
        clf.influence_prediction(X)


def test_rows_that_hold_all_others_are_named_with_the_remaining_effect():
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
    # With one more row that may move, the rounding error becomes a true value.
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
def test_hidden_methods_name_a_smooth_model(estimator):
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
