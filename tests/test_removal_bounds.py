"""The lower bound of most_influential_set against all sets of fewer samples."""

from itertools import combinations

import numpy as np
import pytest
from scipy import sparse, stats
from scipy.special import expit
from sklearn import config_context, linear_model
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.preprocessing import StandardScaler, scale

from skinfluence import functionals
from skinfluence.inspection import most_influential_set
from skinfluence.inspection.curving import longest_step, remainder
from skinfluence.linear_model import (
    HuberRegressor,
    Lasso,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
)
from skinfluence.pipeline import make_pipeline
from tests.fits import NEWTON


def smallest_set(values, before, threshold, n, most):
    """Return the size of the smallest set that flips a target, None if it exceeds `most`."""
    above = before > threshold
    for k in range(1, most + 1):
        for rows in combinations(range(n), k):
            value = values(np.delete(np.arange(n), rows))
            if value < threshold if above else value > threshold:
                return k
    return None


def rows_of(seed):
    """Return samples with a few far away, targets of two outputs, weights and penalty."""
    rng = np.random.default_rng(seed)
    n, p = int(rng.integers(8, 10)), int(rng.integers(1, 4))
    X = rng.normal(size=(n, p)) * (1 + 3 * (rng.random((n, 1)) < 0.15)) + rng.normal()
    Y = X @ rng.normal(size=(p, 3)) * 0.5 + rng.normal(size=(n, 3))
    w = rng.choice([0.5, 1.0, 2.0], size=n) if seed % 2 else np.ones(n)
    return rng, X, Y, w, [0.0, 0.1, 1.0, 10.0][seed % 4], seed % 3 > 0


def least_squares(X, Y, w, alpha, intercept):
    """Return the ridge solution (D, K) for some rows, from the normal equations."""
    A = np.c_[X, np.ones(len(X))] if intercept else X
    penalty = np.full(A.shape[1], alpha)
    if intercept:
        penalty[-1] = 0.0

    def solution(kept):
        B = w[kept, None] * A[kept]
        return np.linalg.solve(A[kept].T @ B + np.diag(penalty), B.T @ Y[kept])

    return solution


def problem(kind, seed):
    """Return (estimator, target, threshold, value without some rows)."""
    rng, X, Y, w, alpha, intercept = rows_of(seed)
    x = rng.normal(size=(6, X.shape[1]))
    a = np.c_[x, np.ones(6)] if intercept else x
    options = {"alpha": alpha, "fit_intercept": intercept, "solver": "cholesky"}
    if kind.startswith("margin"):
        y = (Y[:, 0] > 0).astype(int) if kind == "margin" else Y.argmax(axis=1)
        y[:3] = [0, 1, 2 if kind == "margins" else 0]
        clf = RidgeClassifier(**options | {"alpha": alpha + 0.1}).fit(X, y, w)
        label = seed % len(clf.classes_)
        ones = np.where(y[:, None] == np.arange(3), 1.0, -1.0)
        ones = ones if kind == "margins" else ones[:, :2]
        solution = least_squares(X, ones, w, alpha + 0.1, intercept)

        def value(kept):
            scores = a[0] @ solution(kept)
            return scores[label] - np.delete(scores, label).max()

        # With two classes the second score is the negative of the first.
        margin = functionals.margin(clf, x[:1], label=label)
        return clf, margin, 0.0, value if kind == "margins" else lambda kept: value(kept) / 2
    solution = least_squares(X, Y, w, alpha, intercept)
    if kind == "coefficient":
        reg = Ridge(**options).fit(X, Y, w)
        position = 1 * X.shape[1] if intercept else X.shape[1]
        return reg, position, 0.0, lambda kept: solution(kept)[0, 1]
    reg = LinearRegression(fit_intercept=intercept) if alpha == 0 else Ridge(**options)
    reg.fit(X, Y[:, 0], w)
    if kind == "prediction":
        target = functionals.mean_prediction(reg, x[:1])
        threshold = float(reg.predict(x[:1])[0] + 0.4 * rng.normal())
        return reg, target, threshold, lambda kept: a[0] @ solution(kept)[:, 0]
    gap = functionals.demographic_parity(reg, x, [0, 0, 1, 1, 1, 0])
    contrast = a[2:5].mean(axis=0) - a[[0, 1, 5]].mean(axis=0)
    return reg, gap, 0.0, lambda kept: contrast @ solution(kept)[:, 0]


@pytest.mark.parametrize("kind", ["coefficient", "prediction", "gap", "margin", "margins"])
def test_no_smaller_set_flips_least_squares(kind):
    exact = 0
    for seed in range(12):
        fitted, target, threshold, value = problem(kind, seed)
        n = len(rows_of(seed)[1])
        result = most_influential_set(fitted, target, threshold=threshold, max_samples=n - 5)
        before = value(np.arange(n))
        np.testing.assert_allclose(result.target_before, before, rtol=1e-7, atol=1e-9)
        most = len(result.indices) if result.flipped else n - 5
        smallest = smallest_set(value, before, threshold, n, most)
        assert 1 <= result.n_at_least <= (most + 1 if smallest is None else smallest)
        exact += result.n_at_least == smallest
        if result.flipped:
            assert smallest <= len(result.indices)
    assert exact >= 4


def test_no_smaller_set_flips_a_logistic_regression():
    above_one = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        n, C = 16, [0.003, 0.01, 0.1][seed % 3]
        X, w = rng.normal(size=(n, 2)), rng.choice([1.0, 2.0], size=n)
        y = np.arange(n) % 2
        X[:, 0] += y
        options = {"C": C, "fit_intercept": bool(seed % 2), **NEWTON}
        clf = LogisticRegression(**options).fit(X, y, w)
        threshold = clf.coef_[0, 0] * (0.6 if seed % 4 < 2 else 1.2)

        def value(kept, X=X, y=y, w=w, options=options):
            parent = linear_model.LogisticRegression(**options)
            return parent.fit(X[kept], y[kept], w[kept]).coef_[0, 0]

        result = most_influential_set(clf, 0, threshold=threshold, max_samples=2)
        most = len(result.indices) if result.flipped else 2
        smallest = smallest_set(value, clf.coef_[0, 0], threshold, n, most)
        assert result.n_at_least <= (most + 1 if smallest is None else smallest)
        above_one += result.n_at_least > 1
    assert above_one >= 3


def test_steps_of_a_logistic_regression_are_no_longer_than_their_bound():
    # Rows that are fitted well and far away, for which a bound by the worst row fails.
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 2)) * (1 + 4 * (rng.random((40, 1)) < 0.3))
    y = (X[:, 0] + rng.logistic(size=40) > 0).astype(int)
    options = {"C": 0.3, "fit_intercept": False, **NEWTON}
    theta = LogisticRegression(**options).fit(X, y).params_
    g, h = expit(X @ theta) - y, expit(X @ theta) * expit(-X @ theta)
    c, finite, tight = np.array([1.0, 0.0]), 0, 0.0
    for size in (1, 1, 1, 2, 3):
        S = rng.choice(40, size, replace=False)
        kept = np.delete(np.arange(40), S)
        H = (X[kept].T * h[kept]) @ X[kept] + np.eye(2) / 0.3
        inverse, pull = np.linalg.inv(H), X[S].T @ g[S]
        q = np.einsum("id,de,ie->i", X, inverse, X)
        nu = np.sqrt(pull @ inverse @ pull)
        r = longest_step(1.0, nu, q, h * q)
        v = LogisticRegression(**options).fit(X[kept], y[kept]).params_ - theta
        assert np.sqrt(v @ H @ v) <= r
        if np.isfinite(r):
            finite += 1
            bound = remainder(1.0, r, q, np.sqrt(h) * np.abs(X @ inverse @ c))
            assert abs(c @ v - c @ inverse @ pull) <= bound
            tight = max(tight, np.sqrt(v @ H @ v) / r)
    assert finite >= 3
    assert tight > 0.5


def test_rows_that_are_fitted_well_do_not_weaken_a_bound():
    X, y = load_breast_cancer(return_X_y=True)
    clf = LogisticRegression(**NEWTON).fit(scale(X[:, [0, 1, 4]]), y)
    assert most_influential_set(clf, 1, bound="pairs").n_at_least >= 5  # 2 by the worst row


def test_no_smaller_set_changes_significance():
    lost = exact = 0
    for seed in range(24):
        rng = np.random.default_rng(seed)
        n, intercept = 9, bool(seed % 3)
        X, w = rng.normal(size=(n, 1 + seed % 2)), rng.choice([1.0, 2.0], size=n)
        y = (0.5 + seed % 4) * 0.5 * X[:, 0] + 0.7 * rng.normal(size=n)
        A = np.c_[X, np.ones(n)] if intercept else X
        reg = LinearRegression(fit_intercept=intercept).fit(X, y, w)
        most = n - A.shape[1] - 3
        result = most_influential_set(reg, 0, significance=0.05, max_samples=most)

        def excess(kept, A=A, y=y, w=w):
            root = np.sqrt(w[kept])
            B, b, dof = root[:, None] * A[kept], root * y[kept], len(kept) - A.shape[1]
            inverse = np.linalg.inv(B.T @ B)
            coef = inverse @ B.T @ b
            error = np.sqrt(inverse[0, 0] * np.sum((b - B @ coef) ** 2) / dof)
            return abs(coef[0]) / error - stats.t.isf(0.025, dof)

        before = excess(np.arange(n))
        most = len(result.indices) if result.flipped else most
        smallest = smallest_set(excess, before, 0.0, n, most)
        assert result.n_at_least <= (most + 1 if smallest is None else smallest)
        lost += before > 0 and result.n_at_least > 1
        exact += result.n_at_least == smallest > 1
    assert lost >= 5
    assert exact >= 3


def diabetes(**options):
    X, y = load_diabetes(return_X_y=True)
    return X, y, Ridge(alpha=0.0, **options).fit(X, y)


def test_the_smallest_set_for_a_coefficient_is_known():
    _, _, reg = diabetes()
    result = most_influential_set(reg, "coef[x5]")
    assert len(result.indices) == result.n_at_least == 4
    # For more than `max_samples` samples, there is no smaller set either.
    result = most_influential_set(reg, "coef[x2]", max_samples=10)
    assert not result.flipped
    assert result.n_at_least == 11


def test_the_bound_does_not_depend_on_how_it_is_computed():
    X, y, _ = diabetes()
    X, y = X[:150], y[:150]
    reg = Ridge(alpha=0.0).fit(X, y)
    expected = most_influential_set(reg, 2).n_at_least
    with config_context(working_memory=0.2):
        assert most_influential_set(reg, 2, n_jobs=2).n_at_least == expected
    cg = {"hessian_solver": "cg", "bound": "pairs"}
    assert most_influential_set(reg, 2, **cg).n_at_least == expected
    assert most_influential_set(reg, 2, hessian_solver="cg").n_at_least is None
    order = np.random.default_rng(0).permutation(len(y))
    moved = Ridge(alpha=0.0).fit(sparse.csr_array(X[order] - [[*[0] * 9, 1e6]]), y[order])
    assert most_influential_set(moved, 2).n_at_least == expected
    # From leverages only, the bound is looser.
    assert 1 < most_influential_set(reg, 2, bound="leverages").n_at_least <= expected
    assert most_influential_set(reg, 2, bound="pairs").n_at_least == expected
    assert most_influential_set(reg, 2, bound=None).n_at_least is None
    with pytest.raises(ValueError, match="bound='tight' is not known"):
        most_influential_set(reg, 2, bound="tight")
    # Nor on the units, though products are in single precision.
    small = Ridge(alpha=0.0).fit(X * 1e12, y * 1e-15)
    assert most_influential_set(small, 2).n_at_least == expected
    for seed in range(4):
        fitted, target, threshold, value = problem("coefficient", seed)
        n = len(rows_of(seed)[1])
        result = most_influential_set(
            fitted, target, threshold=threshold, max_samples=n - 5, bound="leverages"
        )
        smallest = smallest_set(value, value(np.arange(n)), threshold, n, n - 5)
        assert result.n_at_least <= (n - 4 if smallest is None else smallest)


def test_dependent_features_and_a_row_that_alone_determines_a_feature():
    X, y, _ = diabetes()
    X, y = X[:60], y[:60]
    levels = np.eye(3)[np.arange(60) % 3]  # sums to the intercept
    reg = LinearRegression().fit(np.c_[X[:, :3], levels], y)
    plain = LinearRegression().fit(np.c_[X[:, :3], levels[:, :2]], y)
    assert (
        most_influential_set(reg, 2).n_at_least
        == most_influential_set(plain, 2).n_at_least
        > 1
    )
    alone = LinearRegression().fit(np.c_[X[:, :3], np.arange(60) == 7], y)
    assert most_influential_set(alone, 2).n_at_least == 1


def test_targets_without_proof_have_no_bound():
    X, y, _ = diabetes()
    X, y = X[:80], y[:80]
    labels = (y > 100).astype(int)
    iris = load_iris(return_X_y=True)
    scaled = make_pipeline(StandardScaler(), Ridge()).fit(X, y)
    balanced = RidgeClassifier(class_weight="balanced").fit(X, labels)
    clf = LogisticRegression(C=0.01, **NEWTON).fit(X, labels)
    for fitted, target, options in [
        (Ridge().fit(X, y), 0, {"significance": 0.05}),
        (scaled, 0, {}),
        (balanced, functionals.margin(balanced, X[:1]), {}),
        (clf, functionals.probability(clf, X[:1]), {"threshold": 0.5}),
        (LogisticRegression(**NEWTON).fit(*iris), 0, {}),
        (PoissonRegressor(**NEWTON).fit(X, y), 0, {}),
        (HuberRegressor(max_iter=1000).fit(X, y), 0, {}),
        (Lasso(alpha=0.1).fit(X, y), 0, {}),
    ]:
        result = most_influential_set(fitted, target, max_samples=2, **options)
        assert result.n_at_least is None
    assert most_influential_set(clf, functionals.margin(clf, X[:1])).n_at_least >= 1
