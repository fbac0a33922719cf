"""Influence is the derivative of scikit-learn's own fit in a sample's weight.

The oracle is the central difference of two refits with the weight moved by 1e-4, times S,
the sum of the weights.
"""

import numpy as np
import pytest

from skinfluence.linear_model import LogisticRegression, Ridge
from skinfluence.pipeline import problem_of
from tests.cases import CASES, each_case, each_linear_case
from tests.fits import COUNTING, NEWTON, data, frozen, rebalanced, relative_error

STEP = 1e-4
RESPONSES = ("binary", "softmax-3", "ridge", "ridge-alphas", "poisson")


def refit_derivative(estimator, case, row, statistic):
    """Return S d statistic / d w_row by the central difference of two refits.

    The row's weight grows with the number of times that it occurs, so it moves "balanced"
    class weights even if these count samples.
    """
    _, y, w = case.data()
    values = []
    for sign in (1, -1):
        moved = w.copy()
        moved[row] += sign * STEP
        refit = rebalanced(estimator, y, w, moved / w)
        values.append(statistic(case.fit_to(refit, moved)))
    return w.sum() * (values[0] - values[1]) / (2 * STEP)


@pytest.mark.parametrize("case", **each_case)
def test_influence_on_parameters_and_losses_is_the_derivative_of_the_refit(case):
    fitted = case.fit()
    estimator = frozen(case, fitted)
    X, y, _ = case.data()
    X, y = X[::8], y[::8]  # of every class
    on_params, on_losses = fitted.influence_params(), fitted.influence_loss(X, y)
    for row in case.rows:
        expected = refit_derivative(
            estimator, case, row, lambda e: np.append(e.params_, e.sample_loss(X, y))
        )
        params, losses = np.split(expected, [on_params.shape[1]])
        assert relative_error(on_params[row], params) < case.influence
        assert relative_error(on_losses[:, row], losses) < case.influence


@pytest.mark.parametrize("case", [c for c in CASES if c.name in RESPONSES])
@pytest.mark.parametrize("response", ["decision_function", "predict", "predict_proba"])
def test_influence_prediction_is_the_derivative_of_the_refits_prediction(case, response):
    fitted = case.fit()
    estimator = frozen(case, fitted)
    classifier = isinstance(fitted, LogisticRegression)
    if classifier == (response == "predict"):
        pytest.skip("classes have no derivative, regressors no decision function")
    X, _, _ = case.data()
    influence = fitted.influence_prediction(X[:9], response_method=response)
    expected = refit_derivative(estimator, case, 3, lambda e: getattr(e, response)(X[:9]))
    assert influence[:, 3].shape == expected.shape
    assert relative_error(influence[:, 3], expected) < 1e-5


def test_a_row_of_weight_zero_has_the_derivative_at_zero():
    X, y, w = data("cancer")
    w = w.copy()
    w[4] = 0.0
    make = LogisticRegression(**NEWTON)
    clf = LogisticRegression(**NEWTON).fit(X, y, w)
    values = []
    for weight in (STEP, 2 * STEP):
        w[4] = weight
        values.append(make.fit(X, y, w).params_)
    w[4] = 0.0
    # One-sided difference of second order: there are no weights below zero.
    forward = (4 * values[0] - values[1] - 3 * clf.params_) / (2 * STEP) * w.sum()
    influence = clf.influence_params()
    assert relative_error(influence[4], forward) < 1e-5
    # The row changes nothing else.
    without = LogisticRegression(**NEWTON).fit(
        np.delete(X, 4, 0), np.delete(y, 4), np.delete(w, 4)
    )
    np.testing.assert_allclose(
        np.delete(influence, 4, 0), without.influence_params(), rtol=1e-9, atol=1e-12
    )


def test_a_row_of_weight_zero_may_lie_anywhere():
    X, y, w = data("cancer")
    far, label = np.full((1, X.shape[1]), 1e9), y[:1]
    clf = LogisticRegression(**NEWTON).fit(X, y, w)
    expected = clf.influence_loss(X[:5], y[:5])
    clf.set_training_data(np.vstack([X, far]), np.append(y, label), np.append(w, 0.0))
    found = clf.influence_loss(X[:5], y[:5])[:, :-1]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_average_is_the_influence_on_the_mean_loss():
    X, y, w = data("wine")
    clf = LogisticRegression(**NEWTON).fit(X, y, w)
    influence = clf.influence_loss(X[:30], y[:30])
    average = clf.influence_loss(X[:30], y[:30], average=True)
    np.testing.assert_allclose(average, influence.mean(axis=0), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("case", **each_case)
def test_self_influence_is_the_diagonal(case):
    fitted = case.fit()
    X, y, _ = case.data()
    diagonal = np.diag(fitted.influence_loss(X, y))
    np.testing.assert_allclose(fitted.self_influence(), diagonal, rtol=1e-9, atol=1e-13)
    form = problem_of(fitted).fitted.formulation
    if form.penalty_share is None and form.balanced_by is None:
        # In mean form a row also brings its share of the penalty, and it moves "balanced"
        # class weights.
        assert np.all(fitted.self_influence() <= 0)


@pytest.mark.parametrize("case", **each_case)
def test_influence_functional_covers_params_and_losses(case):
    fitted = case.fit()
    X, y, _ = case.data()
    params = fitted.influence_params()
    np.testing.assert_allclose(
        fitted.influence_functional(np.eye(params.shape[1])[:4]),
        params.T[:4],
        rtol=1e-8,
        atol=1e-11,
    )
    gradient = fitted.loss_gradient(X[:3], y[:3])
    expected = fitted.influence_loss(X[:3], y[:3])
    np.testing.assert_allclose(
        fitted.influence_functional(gradient), expected, rtol=1e-9, atol=1e-12
    )
    np.testing.assert_allclose(
        fitted.influence_functional(lambda p: gradient[0]), expected[0], atol=1e-12
    )


@pytest.mark.parametrize("case", **each_linear_case)
def test_influence_of_training_rows_given_by_hand(case):
    X, y, w = case.data()
    counts = isinstance(case.estimator, COUNTING) and case.estimator.class_weight == "balanced"
    # If class weights count samples, a sample with weight 2 is not two samples.
    fitted = case.fit(np.ones_like(w) if counts else None)
    np.testing.assert_allclose(
        fitted.influence_params(X[:7], y[:7]),
        fitted.influence_params()[:7],
        rtol=1e-10,
        atol=1e-12,
    )


@pytest.mark.parametrize("case", **each_linear_case)
def test_weighted_influences_sum_to_the_pull_of_the_penalty(case):
    # sum_i (w_i/S) I_up,params(z_i) = H^-1 (Lam theta - G), with G = 0 at the optimum.
    fitted = case.fit().polish()
    _, _, w = case.data()
    form = problem_of(fitted).fitted.formulation
    # In mean form each row brings its share of the penalty, and the sum is zero.
    pull = form.penalty * problem_of(fitted).theta
    if form.l1_support is not None:
        pull += form.l1_support.strength * form.l1_support.sign
    pull = form.layout.to_public(pull)
    expected = fitted.solve_hessian(pull[None])[0]
    found = w @ fitted.influence_params() / w.sum()
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("case", **each_case)
def test_loss_gradient_is_the_derivative_of_sample_loss(case):
    fitted = case.fit()
    X, y, _ = case.data()
    gradient = fitted.loss_gradient(X[:4], y[:4])
    theta, layout = problem_of(fitted).theta, problem_of(fitted).fitted.formulation.layout
    for j in (0, len(fitted.params_) // 2, len(fitted.params_) - 1):
        losses = []
        for sign in (1, -1):
            moved = fitted.params_
            moved[j] += sign * 1e-6
            problem_of(fitted).theta = layout.from_public(moved)
            losses.append(fitted.sample_loss(X[:4], y[:4]))
            problem_of(fitted).theta = theta
        difference = (losses[0] - losses[1]) / 2e-6
        np.testing.assert_allclose(gradient[:, j], difference, rtol=1e-6, atol=1e-7)


def test_sample_loss_is_scikit_learns_metric():
    from sklearn.metrics import log_loss, mean_squared_error

    X, y, w = data("wine")
    clf = LogisticRegression(**NEWTON).fit(X, y, w)
    np.testing.assert_allclose(clf.sample_loss(X, y).mean(), log_loss(y, clf.predict_proba(X)))
    X, y, w = data("linnerud")
    reg = Ridge().fit(X, y, w)
    error = mean_squared_error(y, reg.predict(X), multioutput="raw_values").sum()
    np.testing.assert_allclose(reg.sample_loss(X, y).mean(), error)
