"""Removal predicts the converged refit from any fit, and names results without a value."""

import warnings

import numpy as np
import pytest
from sklearn import linear_model as sk
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, PowerTransformer, StandardScaler, scale

from skinfluence import InfluenceWarning, from_fitted
from skinfluence.linear_model import (
    GammaRegressor,
    HuberRegressor,
    Lasso,
    LogisticRegression,
    PoissonRegressor,
    SGDRegressor,
)
from skinfluence.losses import LOSSES
from skinfluence.pipeline import problem_of
from skinfluence.problem.requests import Removal
from skinfluence.svm import SVC, SVR, LinearSVC, LinearSVR
from tests.test_losses import name as loss_name

few = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@few
def test_a_score_from_a_fit_far_from_its_optimum():
    X, y = load_wine(return_X_y=True)
    clf = LogisticRegression().fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error", InfluenceWarning)
        newton = clf.leave_out_score(scoring="neg_log_loss")
    exact = clf.leave_out_score(scoring="neg_log_loss", method="exact")
    assert exact == pytest.approx(-0.09872, abs=1e-5)
    assert newton == pytest.approx(exact, rel=1e-3)


def test_a_year_as_feature_of_a_huber_regression():
    rng = np.random.default_rng(0)
    year = np.linspace(1990, 2010, 60)[:, None]
    y = 0.3 * (year[:, 0] - 2000) + rng.normal(0, 0.3, 60)
    y[::9] += 8
    reg = HuberRegressor().fit(year, y)
    assert reg.leave_out_params([[1]])[0, 0] == pytest.approx(0.3103, rel=1e-3)
    assert reg.leave_out_predict()[1] == pytest.approx(-2.885, rel=1e-3)
    assert reg.leave_out_score() == pytest.approx(0.223, rel=1e-2)


@few
@pytest.mark.parametrize(
    ("early", "tight"),
    [
        (
            LogisticRegression(C=10.0, max_iter=6),
            sk.LogisticRegression(C=10.0, solver="newton-cholesky", tol=1e-12),
        ),
        (
            PoissonRegressor(alpha=1e-3, max_iter=3),
            sk.PoissonRegressor(alpha=1e-3, solver="newton-cholesky", tol=1e-12),
        ),
        (
            GammaRegressor(alpha=1e-3, max_iter=3),
            sk.GammaRegressor(alpha=1e-3, solver="newton-cholesky", tol=1e-12),
        ),
    ],
    ids=["logistic", "poisson", "gamma"],
)
def test_a_fit_that_stopped_early(early, tight):
    X, y = load_breast_cancer(return_X_y=True)
    X = scale(X)[::4, :6]
    y = y[::4] if isinstance(early, LogisticRegression) else 1.0 + np.abs(X[:, 0] + X[:, 1])
    early.fit(X, y)
    assert not early.convergence_report().converged
    rows = np.argsort(-np.abs(early.self_influence()))[[0, 1, 5, 40, 90]]
    found = early.leave_out_params()[rows]
    optimum = tight.fit(X, y)
    at = np.append(np.ravel(optimum.coef_), optimum.intercept_)
    for row, params in zip(rows, found, strict=True):
        kept = np.delete(np.arange(len(y)), row)
        refit = tight.fit(X[kept], y[kept])
        refit = np.append(np.ravel(refit.coef_), refit.intercept_)
        assert np.linalg.norm(params - refit) < 0.02 * np.linalg.norm(refit - at)


def test_one_newton_step_from_far_away_loses_digits_even_of_a_squared_loss():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 3)) * [1e5, 1.0, 1e3]
    y = X @ [1e-5, 1.0, 1e-3] + rng.normal(size=40)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reg = SGDRegressor(alpha=0.1, random_state=0).fit(X, y)  # diverges
    assert np.abs(reg.coef_).max() > 1e6
    newton, exact = reg.leave_out_params(), reg.leave_out_params(method="exact")
    np.testing.assert_allclose(newton, exact, rtol=1e-6)


@pytest.mark.parametrize("C", [1.0, 1e3])
def test_steps_that_are_not_accurate_are_refined(C):
    # At C = 1,000 one Newton step is off by more than the change itself for some rows.
    X, y = load_breast_cancer(return_X_y=True)
    X = scale(X)
    clf = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-10).fit(X, y)
    base, request = problem_of(clf).start_removal(Removal())
    step = base.remove(request.groups.padded(np.arange(len(y))), "one-step")[0]
    step = base.point.objective.formulation.layout.to_public(step)
    newton, exact = clf.leave_out_params(), clf.leave_out_params(method="exact")
    change = np.linalg.norm(exact - clf.params_, axis=1)
    moves = change > 1e-6 * np.linalg.norm(clf.params_)
    error = [np.linalg.norm(P - exact, axis=1)[moves] / change[moves] for P in (step, newton)]
    assert error[0].max() > 0.2
    assert error[1].max() < 0.02


def test_steps_are_refined_to_the_end_of_a_flat_valley():
    # Without one row those with the flag are separated, and only the penalty ends the valley.
    X, y = load_breast_cancer(return_X_y=True)
    positive, others = np.flatnonzero(y == 1)[0], np.flatnonzero(y == 0)[:5]
    flag = np.isin(np.arange(len(y)), [positive, *others])
    X = np.column_stack([scale(X[:, :3]), flag])
    clf = LogisticRegression(C=1e10, solver="newton-cholesky", tol=1e-10).fit(X, y)
    newton = clf.leave_out_params([[positive]])[0]
    refit = clone(clf).fit(np.delete(X, positive, axis=0), np.delete(y, positive))
    np.testing.assert_allclose(newton, refit.polish().params_, rtol=1e-3)


@few
def test_steps_over_many_kinks_are_refined_to_the_end():
    # With few rows outside the tube, one more changes most of the curvature.
    X, y = load_diabetes(return_X_y=True)
    tube = {"loss": "squared_epsilon_insensitive", "epsilon": 60.0, "C": 1e8, "dual": True}
    reg = LinearSVR(max_iter=10**4, tol=1e-8, **tube).fit(X[:30], y[:30]).polish()
    newton, exact = reg.leave_out_params(), reg.leave_out_params(method="exact")
    change = np.linalg.norm(exact - reg.params_, axis=1)
    moves = change > 1e-6 * np.linalg.norm(reg.params_)
    assert moves.sum() > 3
    assert np.all(np.linalg.norm(newton - exact, axis=1)[moves] <= 0.02 * change[moves])


@pytest.mark.parametrize(
    "clf", [SVC(tol=1e-9, C=3.0), LinearSVC(loss="hinge", tol=1e-9, max_iter=10**6)]
)
def test_rows_that_change_their_place_are_followed(clf):
    X, y = load_breast_cancer(return_X_y=True)
    X, y = scale(X)[:150], y[:150]
    clf.fit(X, y)
    newton = clf.leave_out_predict(response_method="decision_function")
    exact = clf.leave_out_predict(response_method="decision_function", method="exact")
    np.testing.assert_allclose(newton, exact, rtol=1e-6, atol=1e-8)


def test_a_support_vector_regression_is_followed_too():
    X, y = load_diabetes(return_X_y=True)
    reg = SVR(C=1.0, gamma=0.5, epsilon=0.2, tol=1e-9).fit(scale(X)[:120], scale(y[:120]))
    np.testing.assert_allclose(
        reg.leave_out_predict(), reg.leave_out_predict(method="exact"), rtol=1e-6, atol=1e-8
    )


def test_coefficients_that_enter_or_leave_are_those_of_the_refit():
    X, y = load_diabetes(return_X_y=True)
    reg = Lasso(alpha=0.1, tol=1e-12, max_iter=10**5).fit(X[:100], y[:100])
    newton, exact = reg.leave_out_params(), reg.leave_out_params(method="exact")
    assert (np.sign(newton[:, :-1]) != np.sign(reg.coef_)).any()
    np.testing.assert_allclose(newton, exact, rtol=1e-6, atol=1e-6)


def test_the_summary_has_the_losses_of_leave_out_loss():
    X, y = load_breast_cancer(return_X_y=True)
    clf = LogisticRegression(C=1e3, solver="newton-cholesky", tol=1e-10).fit(scale(X), y)
    on_itself = clf.leave_out_loss(scale(X), y).diagonal()
    found = clf.influence_summary().leave_out_loss
    np.testing.assert_allclose(found, on_itself, rtol=1e-2, atol=1e-9)


def sites():
    rng = np.random.default_rng(1)
    site = np.repeat([0, 1, 2, 3], 40)
    x = rng.normal(size=160)
    y = (x + 0.5 * rng.normal(size=160) + 0.3 * site > 0.5).astype(int)
    return np.column_stack([x, np.eye(4)[site][:, 1:]]), y, site


def test_coefficients_that_stay_identified_are_those_of_the_refit():
    X, y, site = sites()
    clf = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10).fit(X, y)
    with pytest.warns(InfluenceWarning, match=r"group 1 \(coef\[x1\]\)"):
        found = clf.leave_out_params(site, method="exact")
    for s in range(4):
        kept = site != s
        columns = np.flatnonzero(X[kept].any(axis=0))
        if s == 0:  # the sites left are one dummy each, and the intercept is their sum
            columns = columns[:-1]
        plain = sk.LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10)
        refit = plain.fit(X[kept][:, columns], y[kept])
        assert found[s, 0] == pytest.approx(refit.coef_[0, 0], rel=1e-6)
        lost = [f"coef[x{s}]"] if s else ["coef[x1]", "coef[x2]", "coef[x3]", "intercept"]
        named = np.array(clf.param_names())[np.isnan(found[s])]
        assert named.tolist() == lost
    with pytest.warns(InfluenceWarning, match="do not determine"):
        default = clf.leave_out_params(site)
    np.testing.assert_allclose(default, found, rtol=1e-6)


@few
@pytest.mark.parametrize(
    "step", [StandardScaler(), MinMaxScaler(), PowerTransformer()], ids=str
)
def test_identified_parameters_behind_a_step_are_those_of_the_refit(step):
    X, y, site = sites()
    model = sk.LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10)
    pipe = make_pipeline(step, model).fit(X, y)
    ours = from_fitted(pipe, X, y)
    with pytest.warns(InfluenceWarning, match="do not determine"):
        losses = ours.leave_out_loss(X, y, site)
    with pytest.warns(InfluenceWarning, match="do not determine"):
        params = ours.leave_out_params(site)
    kept = site != 2
    plain = clone(pipe).fit(X[kept][:, [0, 1, 3]], y[kept])
    assert "coef[x2]" in np.array(ours.param_names())[np.isnan(params[2])]
    assert params[2, 0] == pytest.approx(plain[-1].coef_[0, 0], rel=1e-6)
    assert params[2, -1] == pytest.approx(plain[-1].intercept_[0], rel=1e-5)
    assert np.isnan(losses[~kept, 2]).all()
    proba = plain.predict_proba(X[kept][:, [0, 1, 3]])[np.arange(kept.sum()), y[kept]]
    np.testing.assert_allclose(losses[kept, 2], -np.log(proba), rtol=1e-6, atol=1e-9)
    weight = np.where(kept, 1.0, 0.0)
    with pytest.warns(InfluenceWarning, match="do not determine"):
        same = ours.reweight_loss(X, y, weight)[:, 0]
    np.testing.assert_allclose(same, losses[:, 2], rtol=1e-5, atol=1e-9)


def test_predictions_and_losses_that_do_not_depend_on_lost_coefficients_are_numbers():
    X, y, site = sites()
    clf = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10).fit(X, y)
    with pytest.warns(InfluenceWarning, match="do not determine"):
        losses = clf.leave_out_loss(X, y, site)
    assert np.array_equal(np.isnan(losses), site[:, None] == np.arange(4))
    kept = site != 2
    plain = sk.LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10)
    plain.fit(X[kept][:, [0, 1, 3]], y[kept])
    own = -plain.predict_log_proba(X[kept][:, [0, 1, 3]])[np.arange(120), y[kept]]
    np.testing.assert_allclose(losses[kept, 2], own, rtol=1e-5)
    with pytest.warns(InfluenceWarning, match="do not determine"):
        decisions = clf.leave_out_predict(site, response_method="decision_function")
    assert np.isnan(decisions).all()  # each site is predicted without itself
    before = clf.params_
    with pytest.raises(ValueError, match="do not determine 1 parameter"):
        clf.remove_samples(np.flatnonzero(site == 2))
    np.testing.assert_array_equal(clf.params_, before)


def test_without_an_optimum_the_rest_is_that_of_the_other_rows():
    rng = np.random.default_rng(0)
    x = (rng.random(200) < 0.15).astype(float)
    z = rng.normal(size=200)
    y = (z + rng.logistic(size=200) > 0).astype(int)
    y[x == 1] = 1
    X = np.column_stack([x, z])
    clf = LogisticRegression(C=np.inf).fit(X, y)
    for method in ("newton", "exact"):
        with pytest.warns(InfluenceWarning, match=r"falls forever along \+1 coef\[x0\]"):
            found = clf.leave_out_params(method=method)
        assert np.isnan(found[:, 0]).all()
        plain = sk.LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10)
        for row in np.flatnonzero(x == 0)[[0, 7, 30]]:
            kept = (x == 0) & (np.arange(200) != row)
            refit = plain.fit(z[kept, None], y[kept])
            expected = [refit.coef_[0, 0], refit.intercept_[0]]
            np.testing.assert_allclose(found[row, 1:], expected, rtol=1e-2)
            if method == "exact":
                np.testing.assert_allclose(found[row, 1:], expected, rtol=1e-6)


def test_the_separated_classes_of_a_softmax_have_no_removal():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2))
    y = np.repeat([0, 1, 2], 20)
    X[y == 2] += 20.0
    clf = LogisticRegression(C=np.inf).fit(X, y)
    with pytest.warns(InfluenceWarning, match="falls forever"):
        assert np.isnan(clf.leave_out_params()).all()


@pytest.mark.parametrize(
    "loss", [l for l in LOSSES if l.curvature_rate is not None], ids=loss_name
)
def test_the_curvature_changes_no_faster_than_its_rate(loss):
    rng = np.random.default_rng(0)
    K = 3 if loss.coupled else 1
    raw = rng.normal(size=(400, K)) * 2.0
    step = rng.normal(size=(400, K)) * 10.0 ** rng.uniform(-3, 0.5, (400, 1))
    if loss.coupled:
        target = rng.integers(0, K, 400)
    elif hasattr(loss, "temperature") or type(loss).__name__ == "LogisticLoss":
        target = rng.choice([-1.0, 1.0], (400, 1))
    else:
        target = rng.gamma(2.0, size=(400, 1))
    if hasattr(loss, "temperature"):
        raw, step = 1.0 + raw * loss.temperature, step * loss.temperature
    along = [
        np.sum(step * loss.curvature_product(target, r, step), axis=1)
        for r in (raw, raw + step)
    ]
    largest = np.exp(loss.curvature_rate * np.linalg.norm(step, axis=1))
    assert (along[1] <= (1 + 1e-9) * largest * along[0] + 1e-300).all()
    assert (along[0] <= (1 + 1e-9) * largest * along[1] + 1e-300).all()


def test_data_out_of_step_are_named_before_any_removal():
    X, y = load_diabetes(return_X_y=True)
    fitted = sk.Ridge(alpha=0.1).fit(X, y)
    with pytest.warns(InfluenceWarning, match="reverse order"):
        from_fitted(fitted, X[::-1], y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        score = from_fitted(fitted, X, y).leave_out_score()
    assert score == pytest.approx(0.493, abs=1e-3)
