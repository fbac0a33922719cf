"""Objectives without a minimum: found, named, and said everywhere the same way."""

import warnings

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import linprog
from sklearn.datasets import load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import KBinsDiscretizer

from skinfluence import existence
from skinfluence.exceptions import InfluenceWarning, SingularHessianError
from skinfluence.linear_model import (
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    SGDClassifier,
    TweedieRegressor,
)
from skinfluence.losses import LOSSES, Loss, TweedieLoss
from skinfluence.pipeline import make_pipeline, problem_of
from skinfluence.svm import LinearSVC, SmoothHingeLinearSVC
from tests.cases import NEWTON
from tests.test_losses import name as loss_name

FREE = {"C": np.inf, **NEWTON}


def quietly(estimator, *data, **weights):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return estimator.fit(*data, **weights)


def dummy(overlaps=0):
    """Return data in which a dummy has one label, but for some rows, and its rows."""
    rng = np.random.default_rng(0)
    x = (rng.random(200) < 0.15).astype(float)
    z = rng.normal(size=200)
    y = (z + rng.logistic(size=200) > 0).astype(int)
    y[x == 1] = 1
    rows = np.flatnonzero(x)
    y[rows[:overlaps]] = 0
    return np.column_stack([x, z]), y, rows


def find(estimator, theta=None):
    return existence.find_recession(problem_of(estimator).objective, theta)


def lost_names(estimator):
    lost = problem_of(estimator).layout.to_public(find(estimator).lost)
    return [name for name, gone in zip(estimator.param_names(), lost, strict=True) if gone]


def told(function, *arguments, **keywords):
    """Return what a call returns and the messages of its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = function(*arguments, **keywords)
    return found, [str(w.message) for w in caught]


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


# What is said, and by whom.

SENTENCE = "There is no optimum: the objective falls forever along +1 coef[x0], because"


def test_every_method_says_so_once():
    X, y, rows = dummy()
    fit = LogisticRegression(C=np.inf).fit(X, y)
    report, messages = told(fit.convergence_report)
    assert not report.converged
    assert report.message.startswith(SENTENCE)
    assert f"{len(rows)} of 200 samples" in report.message
    assert not messages
    for method in (
        fit.influence_params,
        fit.self_influence,
        fit.newton_correction,
        lambda: fit.influence_loss(X[:3], y[:3]),
        lambda: fit.influential_samples(X[:3], y[:3]),
        fit.influence_summary,
        fit.dfbetas,
        *(
            lambda kind=kind: fit.params_covariance(kind)
            for kind in ("hessian", "jackknife", "infinitesimal_jackknife")
        ),
        *(
            lambda method=method: fit.leave_out_params(method=method)
            for method in ("influence", "newton", "exact")
        ),
        lambda: fit.leave_out_params(refine=0.1),
        lambda: fit.leave_out_predict(response_method="decision_function"),
        lambda: fit.leave_out_loss(X[:3], y[:3]),
    ):
        _, messages = told(method)
        assert len(messages) == 1
        assert messages[0].startswith(SENTENCE)
    for method in (fit.leave_out_predict, fit.leave_out_score):
        with pytest.raises(ValueError, match="no predicted class"):
            told(method)
    with pytest.warns(ConvergenceWarning, match=r"falls forever along \+1 coef\[x0\]"):
        fit.polish()


@pytest.mark.parametrize("as_sparse", [False, True])
def test_what_is_not_in_the_direction_stays(as_sparse):
    # The limit is the fit to the other rows, whose standard errors statsmodels has as well.
    X, y, rows = dummy()
    fit = LogisticRegression(**FREE).fit(sparse.csr_matrix(X) if as_sparse else X, y)
    rest = np.setdiff1d(np.arange(200), rows)
    other = LogisticRegression(**FREE).fit(X[rest, 1:], y[rest])
    assert lost_names(fit) == ["coef[x0]"]
    for kind in ("hessian", "infinitesimal_jackknife", "jackknife"):
        covariance, _ = told(fit.params_covariance, kind)
        np.testing.assert_array_equal(np.isnan(covariance), [[1, 1, 1], [1, 0, 0], [1, 0, 0]])
        expected = other.params_covariance(kind)
        np.testing.assert_allclose(covariance[1:, 1:], expected, rtol=1e-5, atol=1e-7)
    dfbetas, _ = told(fit.dfbetas)
    assert np.isnan(dfbetas[:, 0]).all()
    np.testing.assert_allclose(dfbetas[rest, 1:], other.dfbetas(), rtol=1e-3, atol=1e-5)
    removed, _ = told(fit.leave_out_params)
    assert np.isnan(removed[:, 0]).all()
    np.testing.assert_allclose(removed[rest, 1:], other.leave_out_params(), atol=1e-4)
    exact, _ = told(fit.leave_out_params, method="exact")
    assert np.isnan(exact[:, 0]).all()
    expected = other.leave_out_params(method="exact")
    np.testing.assert_allclose(exact[rest, 1:], expected, rtol=1e-6, atol=1e-8)


def test_standard_errors_beside_the_direction_are_those_of_statsmodels():
    sm = pytest.importorskip("statsmodels.api")
    X, y, rows = dummy()
    fit = quietly(LogisticRegression(**FREE), X, y)
    covariance, _ = told(fit.params_covariance, "hessian")
    rest = np.setdiff1d(np.arange(200), rows)
    logit = sm.Logit(y[rest], np.column_stack([X[rest, 1], np.ones(len(rest))])).fit(disp=0)
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)[1:]), logit.bse, rtol=1e-5)


def test_complete_separation_loses_every_parameter():
    X = np.arange(10.0)[:, None]
    fit = LogisticRegression(C=np.inf).fit(X, X[:, 0] > 4.2)
    assert lost_names(fit) == ["coef[x0]", "intercept"]
    covariance, messages = told(fit.params_covariance)
    assert np.isnan(covariance).all()
    assert len(messages) == 1
    assert "coef[x0]" in messages[0]
    assert "intercept" in messages[0]


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


def test_a_feature_in_other_units_is_named_too():
    X, y, _ = dummy()
    for unit in (1e-6, 1e6):
        fit = quietly(LogisticRegression(**FREE), X * [unit, 1.0], y)
        assert "along +1 coef[x0]" in fit.convergence_report().message
    years = np.column_stack([2000.0 + np.arange(20), np.random.default_rng(0).normal(size=20)])
    fit = quietly(LogisticRegression(**FREE), years, years[:, 0] > 2011)
    assert "coef[x0]" in fit.convergence_report().message


# Other estimators.


def test_a_class_apart_among_three():
    X, y = load_iris(return_X_y=True)
    fit = quietly(LogisticRegression(C=np.inf), X, y)
    report, _ = told(fit.convergence_report)
    assert not report.converged
    assert "coef[0, x" in report.message
    assert find(LogisticRegression(max_iter=1000).fit(X, y)) is None


@pytest.mark.parametrize(
    "estimator",
    [
        PoissonRegressor(alpha=0, **NEWTON),
        TweedieRegressor(power=1.5, alpha=0, **NEWTON),
        TweedieRegressor(power=1.0, alpha=0, link="log", **NEWTON),
    ],
    ids=repr,
)
def test_a_category_of_zeros(estimator):
    X, _, rows = dummy()
    y = np.random.default_rng(1).poisson(np.exp(0.5 * X[:, 1]) + 0.5).astype(float)
    y[rows] = 0.0
    fit = quietly(estimator, X, y)
    assert "along -1 coef[x0]" in told(fit.convergence_report)[0].message
    assert lost_names(fit) == ["coef[x0]"]
    covariance, messages = told(fit.params_covariance, "hessian")
    assert np.isnan(np.diag(covariance)).tolist() == [True, False, False]
    assert sum("no optimum" in m for m in messages) == 1
    y[rows[0]] = 1.0
    fit = quietly(estimator, X, y)
    assert find(fit) is None
    assert fit.convergence_report().converged
    removed, messages = told(fit.leave_out_params)
    assert np.isnan(removed).any(axis=1).nonzero()[0].tolist() == [rows[0]]


def test_a_gamma_deviance_holds_every_side():
    X, _, rows = dummy()
    y = np.random.default_rng(1).gamma(2.0, size=200)
    y[rows] *= 1e-3
    for power in (2.0, 3.0):
        fit = quietly(TweedieRegressor(power=power, alpha=0, **NEWTON), X, y)
        assert find(fit) is None


@pytest.mark.parametrize(
    "estimator",
    [
        LogisticRegression(C=1e4, **NEWTON),
        LogisticRegression(C=1e4, solver="liblinear", tol=1e-10, max_iter=1000),
        LogisticRegression(C=10.0, l1_ratio=1.0, solver="saga", tol=1e-8, max_iter=10000),
        LinearSVC(),
        SmoothHingeLinearSVC(C=10.0),
        SGDClassifier("log_loss", alpha=1e-6, random_state=0),
    ],
    ids=repr,
)
def test_a_penalty_holds_whatever_it_is(estimator):
    X, y, _ = dummy()
    fit = quietly(estimator, X, y)
    assert find(fit) is None
    report, messages = told(fit.convergence_report)
    assert "no optimum" not in " ".join([report.message, *messages])


def test_a_huge_penalty_parameter_has_an_optimum_far_away():
    X, y, _ = dummy()
    fit = LogisticRegression(C=1e10, **NEWTON).fit(X, y)
    report = fit.convergence_report()
    assert report.converged
    covariance = fit.params_covariance("hessian")
    assert covariance[0, 0] > 1e4


def test_rows_without_weight_do_not_hold_a_direction():
    X, y, rows = dummy(overlaps=1)
    w = np.ones(200)
    w[rows[0]] = 0.0
    fit = quietly(LogisticRegression(C=np.inf), X, y, sample_weight=w)
    assert find(fit) is not None
    message = told(fit.convergence_report)[0].message
    assert f"{len(rows) - 1} of 199 samples" in message


def test_an_intercept_alone_has_no_optimum_without_other_targets():
    X, _, rows = dummy()
    y = np.zeros(200)
    y[rows[0]] = 2.0
    fit = PoissonRegressor(alpha=1.0, **NEWTON).fit(X, y)
    direction = existence.recession_direction(problem_of(fit).objective.without(rows[:1]))
    np.testing.assert_array_equal(direction, [[0.0, 0.0, -1.0]])


def test_in_a_pipeline_and_on_float32():
    X, y, _ = dummy()
    pipe = make_pipeline(LogisticRegression(C=np.inf)).fit(X.astype(np.float32), y)
    with pytest.warns(InfluenceWarning, match=r"falls forever along \+1 coef\[x0\]"):
        pipe.influence_params()


@pytest.mark.parametrize("method", ["newton", "exact"])
def test_no_refit_of_a_pipeline_ends_at_a_singular_hessian_in_silence(method):
    X, y = load_wine(return_X_y=True)
    X, y = X[::2, :5], y[::2]
    # The bins of a feature add up to the intercept, and some hold one class only.
    bins = KBinsDiscretizer(3, quantile_method="averaged_inverted_cdf")
    pipe = make_pipeline(bins, LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000))
    with pytest.warns(InfluenceWarning, match="there is no model"):
        assert np.isnan(pipe.fit(X, y).leave_out_params([[0]], method=method)).all()


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
