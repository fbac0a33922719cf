"""Equation (11): one Newton step after upweighting a sample, from anywhere."""

import warnings

import numpy as np
import pytest

from skinfluence import InfluenceWarning
from skinfluence.linear_model import LogisticRegression, PoissonRegressor, Ridge
from tests.fits import data, relative_error

EPSILON = 0.003


def far_from_the_optimum(dataset):
    X, y, w = data(dataset)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dataset == "linnerud":
            fitted = Ridge(alpha=np.array([0.2, 1.0, 3.0])).fit(X, y, w)
            fitted.coef_ = fitted.coef_ + 0.3
        elif dataset == "counts":
            fitted = PoissonRegressor(max_iter=1).fit(X, y, w)
        else:
            fitted = LogisticRegression(C=0.5, max_iter=2).fit(X, y, w)
    assert not fitted.convergence_report().converged
    return fitted, X, y, w


def dense_derivatives(fitted, X, y, w):
    """Return gradient and Hessian of each row's term, G and H, written out densely.

    A penalty of the mean loss is a share of every row's term, any other a term of its own.
    """
    x = np.hstack([X, np.ones((len(X), 1))])
    coef, intercept = np.atleast_2d(fitted.coef_), np.ravel(fitted.intercept_)
    eta = X @ coef.T + intercept
    K, D = coef.shape[0], x.shape[1]
    if isinstance(fitted, Ridge):
        first, second = 2 * (eta - y), np.broadcast_to(2 * np.eye(K), (len(X), K, K))
        lam, share = 2 * np.reshape(fitted.alpha, (-1, 1)), 0.0
    elif isinstance(fitted, PoissonRegressor):
        first, second = np.exp(eta) - y[:, None], np.exp(eta)[:, :, None]
        lam, share = 0.0, fitted.alpha
    else:
        lam, share = 1 / fitted.C, 0.0
        if K == 1:
            p = 1 / (1 + np.exp(-eta))
            first = p - (y == fitted.classes_[1])[:, None]
            second = (p * (1 - p))[:, :, None]
        else:
            p = np.exp(eta) / np.exp(eta).sum(axis=1, keepdims=True)
            first = p - (y[:, None] == fitted.classes_)
            second = p[:, :, None] * np.eye(K) - p[:, :, None] * p[:, None, :]
    gradients = (first[:, :, None] * x[:, None, :]).reshape(len(X), -1)
    hessians = np.einsum("nkl,nd,ne->nkdle", second, x, x)
    hessians = hessians.reshape(len(X), K * D, K * D)
    theta = np.column_stack([coef, intercept])
    features = np.ones((K, D))
    features[:, -1] = 0.0
    gradients += share * (features * theta).ravel()
    hessians += share * np.diag(features.ravel())
    penalty = lam * features
    G = w @ gradients + (penalty * theta).ravel()
    H = np.einsum("n,npq->pq", w, hessians) + np.diag(penalty.ravel())
    order = np.arange(K * D).reshape(K, D)
    public = np.concatenate([order[:, :-1].ravel(), order[:, -1]])
    return gradients, hessians, G, H, public


@pytest.mark.parametrize("dataset", ["cancer", "wine", "linnerud", "counts"])
def test_newton_step_is_equation_11_written_out(dataset):
    fitted, X, y, w = far_from_the_optimum(dataset)
    gradients, hessians, G, H, public = dense_derivatives(fitted, X, y, w)
    S = w.sum()
    steps = fitted.newton_step(EPSILON)
    for i in (0, 7, 19):
        matrix = H / S + EPSILON * hessians[i]
        # lstsq: with free intercepts a softmax Hessian is singular, and the step keeps
        # the shift of the intercepts, as the solution of least norm does.
        expected = -np.linalg.lstsq(matrix, G / S + EPSILON * gradients[i], rcond=1e-12)[0]
        assert relative_error(steps[i], expected[public]) < 1e-10
    expected = -np.linalg.lstsq(H, G, rcond=1e-12)[0]
    assert relative_error(fitted.newton_correction(), expected[public]) < 1e-10


@pytest.mark.parametrize("dataset", ["cancer", "wine", "linnerud", "counts"])
def test_the_decomposition_holds_to_second_order(dataset):
    # N_eps,z = N + eps I_up,params + eps H^-1 hess L H^-1 g + O(eps^2): what is left after
    # the terms of first order falls with the square of eps.
    fitted, X, y, w = far_from_the_optimum(dataset)
    _, hessians, _, _, public = dense_derivatives(fitted, X, y, w)
    S, N = w.sum(), fitted.newton_correction()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        influence = fitted.influence_params()[7]
    bend = fitted.solve_hessian(-(hessians[7][np.ix_(public, public)] @ N)[None] * S)[0]

    def rest(epsilon):
        step = fitted.newton_step(epsilon, X[7:8], y[7:8])[0]
        return np.linalg.norm(step - N - epsilon * (influence + bend))

    assert rest(1e-3) < 0.02 * np.linalg.norm(1e-3 * (influence + bend))
    np.testing.assert_allclose(rest(1e-3) / rest(1e-4), 100, rtol=0.1)


@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_at_an_optimum_the_step_is_epsilon_times_influence(class_weight):
    X, y, w = data("wine")
    clf = LogisticRegression(
        class_weight=class_weight, solver="newton-cholesky", tol=1e-12
    ).fit(X, y, w)
    step = clf.newton_step(1e-7)
    assert relative_error(step, 1e-7 * clf.influence_params()) < 1e-4


def test_removing_a_ridge_row_is_one_newton_step():
    X, y, w = data("diabetes")
    reg = Ridge(alpha=0.3, solver="cholesky").fit(X, y, w)
    i = 5
    step = reg.newton_step(-w[i] / w.sum(), X[i : i + 1], y[i : i + 1])[0]
    refit = Ridge(alpha=0.3, solver="cholesky").fit(
        np.delete(X, i, 0), np.delete(y, i), np.delete(w, i)
    )
    np.testing.assert_allclose(reg.params_ + step, refit.params_, rtol=1e-9, atol=1e-12)


def test_taking_more_weight_than_a_row_has_is_nan_and_named():
    X, y, _ = data("diabetes")
    X = np.column_stack([X, np.zeros(len(X))])
    X[5, -1] = 10.0
    reg = Ridge(alpha=1e-3, solver="cholesky").fit(X, y)
    # Twice the weight of a row is too much if its leverage is above one half.
    x = np.column_stack([X, np.ones(len(y))])
    leverage = 2 * np.einsum("ip,ip->i", x, reg.solve_hessian(x))
    expected = np.flatnonzero(leverage > 0.5).tolist()
    assert 5 in expected
    with pytest.warns(InfluenceWarning, match="not positive definite for") as caught:
        step = reg.newton_step(-2 / len(y))
    assert f"{expected}" in str(caught[0].message)
    assert np.isnan(step).all(axis=1).nonzero()[0].tolist() == expected
