"""How many samples a conclusion depends on: at least, as proved, and at most, as found."""

from itertools import combinations

import numpy as np
from scipy import stats
from scipy.special import expit
from sklearn.datasets import load_diabetes
from sklearn.preprocessing import scale

from benchmarks._report import MissingError, Table
from skinfluence.functionals import mean_prediction
from skinfluence.inspection import most_influential_set
from skinfluence.linear_model import LinearRegression, LogisticRegression, Ridge

__all__ = ["BENCHMARKS"]

_LEVEL = 0.05
_N_PROBLEMS = 250


def influential_sets(repeats):
    """Samples without which a coefficient changes its sign or its significance."""
    table = Table(
        "Number of samples to leave out, of all n, in a least squares regression",
        ["data", "n", "coefficient", "t", "sign", "significance"],
        notes=[
            "a to b: no fewer than a samples can do it (n_at_least, proved), and b samples",
            "do it (found by the greedy search, confirmed by the refit). One number: a = b,",
            "so it is the smallest. diabetes: from scikit-learn; fair: affairs, from",
            "statsmodels. t: t value with all samples; significance at the level "
            f"{_LEVEL:g} is lost or gained.",
        ],
    )
    for name, names, X, y in _regressions():
        reg = LinearRegression().fit(scale(X), y)
        error = np.sqrt(np.diag(reg.params_covariance("hessian")))
        for j, coefficient in enumerate(names):
            row = [name, len(y), coefficient, f"{reg.coef_[j] / error[j]:+.2f}"]
            for level in (None, _LEVEL):
                found = most_influential_set(reg, j, significance=level, bound="pairs")
                row.append(_range(found))
            table.rows.append(row)
    return table


def _range(found):
    if not found.flipped:
        return f"{found.n_at_least} or more"
    n_found = len(found.indices)
    return str(n_found) if found.n_at_least == n_found else f"{found.n_at_least} to {n_found}"


def _regressions():
    """Yield name, names of the features, X and y."""
    data = load_diabetes()
    yield "diabetes", data.feature_names, data.data, data.target
    try:
        from statsmodels.datasets import fair
    except ImportError:
        raise MissingError(
            "statsmodels is not installed (the extra bench brings it)"
        ) from None
    data = fair.load_pandas().data
    X = data.drop(columns="affairs")
    yield "fair", list(X.columns), X.to_numpy(), data.affairs.to_numpy()


def set_bounds(repeats):
    """Proved and found sizes of sets against the smallest set, by trying all of them."""
    table = Table(
        f"Smallest set that flips a conclusion, by all refits; {_N_PROBLEMS} problems a row",
        ["target", "smallest", "proved too high", "proved = smallest", "found = smallest"],
        notes=[
            "8 to 10 samples (logistic: 12 to 16), 1 to 3 features, some far away, random",
            "weights and penalties; least squares, except in the last row.",
            "smallest: mean size of the smallest set, by refits without every set. proved",
            "too high: n_at_least exceeds it, which must not happen. The last two columns",
            "count the problems in which n_at_least or the search gives exactly this size.",
        ],
    )
    problems = dict.fromkeys(
        ("sign of a coefficient", "prediction", "significance"), _least_squares_problem
    )
    for target, make in (problems | {"logistic coefficient": _logistic_problem}).items():
        outcomes = [_against_all_sets(*make(target, seed)) for seed in range(_N_PROBLEMS)]
        proved, smallest, found = np.array(outcomes).T
        table.rows.append(
            [
                target,
                f"{smallest.mean():.2f}",
                int(np.sum(proved > smallest)),
                int(np.sum(proved == smallest)),
                int(np.sum(found == smallest)),
            ]
        )
    return table


def _against_all_sets(result, excess, n, most):
    """Return proved, smallest and found size; one more than tried if there is no such set."""
    above = excess(np.arange(n)) > 0
    most = len(result.indices) if result.flipped else most
    smallest = most + 1
    for k in range(1, most + 1):
        sets = combinations(range(n), k)
        if any((excess(np.delete(np.arange(n), rows)) > 0) != above for rows in sets):
            smallest = k
            break
    found = len(result.indices) if result.flipped else most + 1
    return result.n_at_least, smallest, found


def _least_squares_problem(target, seed):
    """Return the result, a function of the rows kept that changes its sign, n and most."""
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(8, 11)), int(rng.integers(1, 4))
    X = rng.normal(size=(n, d)) * (1 + 3 * (rng.random((n, 1)) < 0.15))
    y = X @ rng.normal(size=d) * rng.choice([0.3, 1.0]) + rng.normal(size=n)
    w = rng.choice([0.5, 1.0, 2.0], size=n)
    alpha = 0.0 if target == "significance" else float(rng.choice([0.0, 0.1, 1.0, 10.0]))
    A, penalty = np.c_[X, np.ones(n)], alpha * np.r_[np.ones(d), 0.0]
    x, threshold = np.r_[rng.normal(size=d), 1.0], 0.0
    reg = Ridge(alpha=alpha, solver="cholesky").fit(X, y, w)
    options = {"max_samples": n - d - 3}
    if target == "prediction":
        threshold = float(x @ np.r_[reg.coef_, reg.intercept_] + 0.4 * rng.normal())
        functional = mean_prediction(reg, x[None, :-1])
        result = most_influential_set(reg, functional, threshold=threshold, **options)
    elif target == "significance":
        result = most_influential_set(reg, 0, significance=_LEVEL, **options)
    else:
        result = most_influential_set(reg, 0, **options)

    def excess(kept):
        B = w[kept, None] * A[kept]
        inverse = np.linalg.inv(A[kept].T @ B + np.diag(penalty))
        theta = inverse @ (B.T @ y[kept])
        if target == "prediction":
            return x @ theta - threshold
        if target != "significance":
            return theta[0]
        dof = len(kept) - d - 1
        squares = np.sum(w[kept] * (y[kept] - A[kept] @ theta) ** 2) / dof
        return abs(theta[0]) / np.sqrt(squares * inverse[0, 0]) - _critical(dof)

    return result, excess, n, options["max_samples"]


def _logistic_problem(target, seed):
    """Return the same for the first coefficient of a logistic regression."""
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(12, 17)), int(rng.integers(1, 4))
    X = rng.normal(size=(n, d)) * (1 + 2 * (rng.random((n, 1)) < 0.15))
    y = (X @ rng.normal(size=d) + rng.logistic(size=n) > 0).astype(float)
    y[:4] = [0, 1, 0, 1]
    w, C = rng.choice([0.5, 1.0, 2.0], size=n), float(rng.choice([0.01, 0.03, 0.1, 1.0]))
    clf = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-12).fit(X, y, w)
    threshold = clf.coef_[0, 0] * rng.choice([0.0, 0.6, 0.8, 1.2])
    result = most_influential_set(clf, 0, threshold=threshold, max_samples=3)
    A, penalty = np.c_[X, np.ones(n)], np.r_[np.ones(d), 1e-12] / C

    def excess(kept):
        theta, B = clf.params_, A[kept]
        for _ in range(20):  # Newton steps from the fit with all samples
            p = expit(B @ theta)
            gradient = B.T @ (w[kept] * (p - y[kept])) + penalty * theta
            hessian = (B.T * (w[kept] * p * (1 - p))) @ B + np.diag(penalty)
            step = np.linalg.solve(hessian, gradient)
            theta = theta - step * min(1.0, 2.0 / np.abs(B @ step).max())
            if np.abs(step).max() < 1e-10:
                break
        return theta[0] - threshold

    return result, excess, n, 3


def _critical(dof):
    if dof not in _CRITICAL:
        _CRITICAL[dof] = stats.t.isf(_LEVEL / 2, dof)
    return _CRITICAL[dof]


_CRITICAL = {}

BENCHMARKS = {"influential_sets": influential_sets, "set_bounds": set_bounds}
