"""Weights over many decades, features in different units and features far from 0."""

import numpy as np
import pytest
from sklearn import svm

from skinfluence.svm import LinearSVC, LinearSVR


def wide_problem(seed):
    """Return X, labels, targets, weights over eight decades and C; a row comes twice."""
    rng = np.random.default_rng(seed)
    p = int(rng.integers(1, 4))
    n = int(rng.integers(2 * p + 4, 40))
    C = 10.0 ** rng.uniform(1, 5)
    whole = rng.random() < 0.5
    X = rng.integers(-3, 4, size=(n, p)).astype(float) if whole else rng.normal(size=(n, p))
    labels = rng.integers(0, 2, n)
    labels[:2] = 0, 1
    X[-1], labels[-1] = X[0], 1
    weight = 10.0 ** rng.uniform(-4, 4, n)
    return X, labels, X @ rng.normal(size=p) + rng.normal(size=n), weight, C


@pytest.mark.parametrize(
    ("seed", "group"), [(34, [5]), (113, [6, 4]), (233, [0]), (285, [0]), (285, [2])]
)
def test_exact_removal_finds_the_optimum_of_rows_that_weigh_little(seed, group):
    X, y, _, weight, C = wide_problem(seed)
    clf = LinearSVC(C=C, dual=False, tol=1e-8, max_iter=10**5).fit(X, y, weight)
    (params,) = clf.leave_out_params([group], method="exact")
    kept = np.setdiff1d(np.arange(len(y)), group)
    refit = svm.LinearSVC(C=C, dual=False, tol=1e-13, max_iter=10**5)
    refit.fit(X[kept], y[kept], weight[kept])
    expected = refit.decision_function(X)
    error = np.abs(X @ params[:-1] + params[-1] - expected).max()
    assert error <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize(("seed", "group"), [(34, [3]), (391, [1, 5])])
def test_exact_removal_of_heavy_rows_leaves_the_tube_of_light_ones(seed, group):
    X, _, t, weight, C = wide_problem(seed)
    options = {"C": C, "epsilon": 0.3, "loss": "squared_epsilon_insensitive", "dual": False}
    reg = LinearSVR(tol=1e-8, max_iter=10**5, **options).fit(X, t, weight)
    (params,) = reg.leave_out_params([group], method="exact")
    kept = np.setdiff1d(np.arange(len(t)), group)
    refit = svm.LinearSVR(tol=1e-13, max_iter=10**5, **options)
    refit.fit(X[kept], t[kept], weight[kept])
    expected = refit.predict(X)
    error = np.abs(X @ params[:-1] + params[-1] - expected).max()
    assert error <= 1e-5 * np.abs(expected).max()
