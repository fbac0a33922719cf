"""A fit that stopped early is noticed, measured, and brought to the optimum."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import scale

from skinfluence import InfluenceWarning
from skinfluence.linear_model import LogisticRegression, Ridge
from skinfluence.pipeline import problem_of
from tests.cases import each_case
from tests.fits import NEWTON, data, relative_error
from tests.problems import Problem


def stopped_after(max_iter, dataset, **params):
    X, y, w = data(dataset)
    with pytest.warns(ConvergenceWarning):
        return LogisticRegression(max_iter=max_iter, **params).fit(X, y, w)


def unscaled_breast_cancer():
    X, y = load_breast_cancer(return_X_y=True)
    with pytest.warns(ConvergenceWarning):
        clf = LogisticRegression().fit(X, y)
    return clf, LogisticRegression(solver="newton-cholesky", tol=1e-14).fit(X, y)


@pytest.mark.parametrize("max_iter", range(3, 9))
@pytest.mark.parametrize("dataset", ["cancer", "wine", "digits"])
def test_polish_reaches_the_optimum_from_an_early_stop(dataset, max_iter):
    clf = stopped_after(max_iter, dataset)
    X, y, w = data(dataset)
    tight = LogisticRegression(**NEWTON).fit(X, y, w)
    assert relative_error(clf.polish().params_, tight.params_) < 1e-8
    assert 1 <= clf.n_newton_iter_ <= 10
    assert clf.newton_decrement_ < 1e-9


def test_polish_reaches_the_optimum_of_unscaled_breast_cancer():
    clf, tight = unscaled_breast_cancer()
    report = clf.convergence_report()
    assert not report.converged
    assert report.gradient_shift > 0.3
    assert report.convergence_ratio > 100
    assert "polish()" in report.message
    assert clf.polish() is clf
    assert relative_error(clf.params_, tight.params_) < 1e-8
    assert clf.n_newton_iter_ <= 10
    assert clf.convergence_report().converged


@pytest.mark.parametrize("case", **each_case)
def test_polish_leaves_an_optimum_as_it_is(case):
    fitted = case.fit().polish()
    params = fitted.params_
    shape = [np.shape(part) for part in fitted.split_params(params)]
    np.testing.assert_array_equal(fitted.polish().params_, params)
    assert fitted.n_newton_iter_ == 0
    assert [np.shape(part) for part in fitted.split_params(params)] == shape


def test_ridge_needs_one_step_from_anywhere():
    X, y, w = data("linnerud")
    reg = Ridge(alpha=np.array([0.1, 1.0, 7.0]), solver="cholesky").fit(X, y, w)
    params = reg.params_
    reg.coef_ = reg.coef_ + 5.0
    reg.intercept_ = reg.intercept_ - 3.0
    assert relative_error(reg.polish().params_, params) < 1e-12
    assert reg.n_newton_iter_ == 1


def test_the_decrement_estimates_the_excess_of_the_objective():
    X, y = load_breast_cancer(return_X_y=True)
    X = scale(X)
    clf = LogisticRegression(max_iter=12)
    with pytest.warns(ConvergenceWarning):
        clf.fit(X, y)
    objective, theta = problem_of(clf).objective, problem_of(clf).theta
    estimate = clf.convergence_report().newton_decrement ** 2 / 2
    excess = objective.value(theta) - objective.value(problem_of(clf.polish()).theta)
    np.testing.assert_allclose(estimate, excess, rtol=0.05)


def test_influence_of_an_unconverged_fit_warns_once_with_the_number():
    clf, _ = unscaled_breast_cancer()
    shift = clf.convergence_report().gradient_shift
    X, y = load_breast_cancer(return_X_y=True)
    calls = [
        lambda: clf.influence_params(),
        lambda: clf.influence_loss(X[:3], y[:3]),
        lambda: clf.influence_prediction(X[:3]),
        lambda: clf.influence_functional(np.ones(31)),
        lambda: clf.self_influence(),
        lambda: clf.influential_samples(X[:3], y[:3]),
        lambda: list(clf.influence_loss_chunked(X[:3], y[:3])),
    ]
    for call in calls:
        with pytest.warns(InfluenceWarning, match=r"polish\(\)") as caught:
            call()
        assert len(caught) == 1
        assert f"{shift:.3g}" in str(caught[0].message)
        assert caught[0].filename == __file__


def test_a_default_fit_on_scaled_data_does_not_warn():
    X, y = load_breast_cancer(return_X_y=True)
    X = scale(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf = LogisticRegression().fit(X, y)
        clf.influence_loss(X[:3], y[:3])
        assert clf.convergence_report().converged


def test_gradient_shift_tracks_the_error_of_influence():
    X, y = load_breast_cancer(return_X_y=True)
    X = scale(X)
    exact = LogisticRegression(**NEWTON).fit(X, y).influence_loss(X, y)
    shifts, errors = [], []
    for max_iter in (4, 6, 9, 14, 20):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            clf = LogisticRegression(max_iter=max_iter).fit(X, y)
            found = clf.influence_loss(X, y)
        shifts.append(clf.convergence_report().gradient_shift)
        errors.append(np.linalg.norm(found - exact) / np.linalg.norm(exact))
    assert np.all(np.diff(shifts) < 0)
    ratio = np.array(errors) / np.array(shifts)
    assert np.all((ratio[:-1] > 0.2) & (ratio[:-1] < 5))
    assert ratio[-1] < 0.01  # near the optimum, influence is evaluated after a Newton step


def test_the_norms_of_the_report_are_those_in_the_docstring():
    clf = stopped_after(5, "wine")
    _, _, w = data("wine")
    report = clf.convergence_report()
    N = clf.newton_correction()
    np.testing.assert_array_equal(report.correction, N)
    point = problem_of(clf).objective.at(problem_of(clf).theta)
    layout = problem_of(clf).fitted.formulation.layout
    G = layout.to_public(point.gradient)
    np.testing.assert_allclose(report.gradient_norm, np.abs(G).max() / w.sum())
    np.testing.assert_allclose(report.newton_decrement, np.sqrt(-G @ N))
    v = w[:, None] * layout.to_public(point.rows.toarray())
    norms = np.sqrt(np.einsum("ip,ip->i", v, clf.solve_hessian(v)))
    np.testing.assert_allclose(
        report.convergence_ratio, report.newton_decrement / np.median(norms)
    )


def test_a_perfect_ridge_fit_is_converged():
    X = np.random.default_rng(0).standard_normal((30, 4))
    reg = Ridge(alpha=0.0, solver="cholesky").fit(X, X @ [1.0, 2.0, 3.0, 4.0] + 5.0)
    report = reg.convergence_report()
    assert report.gradient_shift == 0.0
    assert report.converged


def test_polish_of_separable_data_without_penalty_warns():
    X = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    clf = LogisticRegression(C=np.inf, max_iter=20).fit(X, [0, 0, 1, 1])
    with pytest.warns(ConvergenceWarning, match=r"falls forever along \+1 coef\[x0\]"):
        clf.polish(max_iter=4)
    assert np.all(np.isfinite(clf.params_))


def test_training_arrays_changed_since_fit_are_noticed():
    X, y, _ = data("diabetes")
    X = X.copy()
    reg = Ridge(solver="cholesky").fit(X, y)
    expected = reg.influence_params()
    X[:, 0] *= -3.0
    with pytest.warns(InfluenceWarning, match="training arrays changed"):
        reg.influence_params()
    X[:, 0] /= -3.0
    np.testing.assert_allclose(reg.influence_params(), expected, rtol=1e-9, atol=1e-12)


def test_polish_comes_back_from_where_the_loss_is_flat():
    X, y, w = data("wine")
    clf = LogisticRegression(**NEWTON).fit(X, y, w)
    params = clf.params_
    clf.coef_ = clf.coef_ + 300 * np.random.default_rng(0).standard_normal(clf.coef_.shape)
    clf.coef_ -= clf.coef_.mean(axis=0)
    assert relative_error(clf.polish().params_, params) < 1e-8


def test_polish_comes_back_from_where_next_to_nothing_curves():
    # All rows but one are saturated to the last bit, and the intercept is free: the Hessian
    # has an inverse, and its Newton step goes 1e15 and more beyond the optimum.
    problem = Problem(
        "sgd log",
        n_samples=12,
        n_features=12,
        rank=4,
        offset=10.0,
        strength=0.1,
        seed=200860923,
    )
    fitted = problem.unfitted().fit(problem.X, problem.y)
    assert fitted.convergence_report().newton_decrement > 1e15
    C = 1 / problem_of(fitted).objective.penalty[0, 0]
    tight = LogisticRegression(C=C, **NEWTON).fit(problem.X, problem.y)
    assert relative_error(fitted.polish().params_, tight.params_) < 1e-8
    assert fitted.n_newton_iter_ <= 20


@pytest.mark.parametrize(
    ("params", "match"),
    [({"tol": -1}, "tol=-1"), ({"max_iter": 0}, "max_iter=0"), ({"tol": 2}, "tol=2")],
)
def test_bad_arguments_of_polish_leave_the_estimator_as_it_was(params, match):
    clf = LogisticRegression(**NEWTON).fit(*data("wine")[:2])
    before = clf.params_
    with pytest.raises(ValueError, match=match):
        clf.polish(**params)
    np.testing.assert_array_equal(clf.params_, before)
    assert not hasattr(clf, "n_newton_iter_")


@pytest.mark.parametrize("dataset", ["cancer", "wine"])
def test_default_fits_have_the_influence_of_the_optimum_for_every_sample(dataset):
    X, y, _ = data(dataset)
    X = scale(X)
    clf = LogisticRegression().fit(X, y)
    tight = LogisticRegression(**NEWTON).fit(X, y)
    params = clf.params_.copy()
    for answer in (
        lambda fitted: fitted.influence_loss(X[:4], y[:4]),
        lambda fitted: fitted.influence_params().T,
        lambda fitted: fitted.self_influence()[None],
    ):
        found, exact = answer(clf), answer(tight)
        error = np.linalg.norm(found - exact, axis=0) / np.linalg.norm(exact, axis=0)
        assert error.max() < 0.01
    np.testing.assert_array_equal(clf.params_, params)
