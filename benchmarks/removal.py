"""Removal without refitting: accuracy against every refit, and speed against them."""

import warnings
from time import perf_counter

import numpy as np
import sklearn
from joblib import Parallel, delayed
from scipy.linalg import blas
from sklearn import linear_model as reference
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.preprocessing import PolynomialFeatures, scale
from threadpoolctl import threadpool_limits

from benchmarks._data import labelled
from benchmarks._report import Table
from benchmarks._timing import best_of, peak_memory
from skinfluence.linear_model import LogisticRegression, Ridge
from skinfluence.pipeline import problem_of

__all__ = ["BENCHMARKS"]

_LEVELS = {
    "influence": {"method": "influence"},
    "newton": {"method": "newton"},
    "refine 1 %": {"refine": 0.01},
    "refine 5 %": {"refine": 0.05},
    "refine 10 %": {"refine": 0.10},
    "exact": {"method": "exact"},
}


def accuracy(repeats):
    """Leave-one-out parameters of every row against every refit, three penalties each."""
    table = Table(
        "Leave-one-out parameters against refits of every row",
        ["data", "penalty", "method", "max error", "median error", "Pearson r"],
        notes=[
            "Error of a row: |predicted - refit| / |refit - full fit| in the 2-norm, of rows",
            "that move the parameters by more than 1e-6 of their size.",
            "Pearson r: of predicted against actual changes, all rows and parameters.",
            "Refits: scikit-learn, newton-cholesky or cholesky, tolerance 1e-13.",
        ],
    )
    for name, X, y, make in _accuracy_problems():
        for strength in (0.1, 1.0, 10.0):
            fitted = make(strength).fit(X, y)
            refits = np.array(
                Parallel(n_jobs=2)(
                    delayed(_refit)(make(strength), X, y, row) for row in range(len(y))
                )
            )
            actual = refits - fitted.params_
            size = np.linalg.norm(actual, axis=1)
            moved = size > 1e-6 * np.linalg.norm(fitted.params_)
            for level, options in _LEVELS.items():
                change = fitted.leave_out_params(**options) - fitted.params_
                error = np.linalg.norm(change - actual, axis=1)[moved] / size[moved]
                r = np.corrcoef(change.ravel(), actual.ravel())[0, 1]
                table.rows.append(
                    [name, f"{strength:g}", level, f"{error.max():.1e}"]
                    + [f"{np.median(error):.1e}", f"{r:.6f}"]
                )
    return table


def exact_speed(repeats):
    """Exact leave-one-out of all rows against warm-started refits on both cores."""
    table = Table(
        "Exact leave-one-out of all rows against warm-started scikit-learn refits",
        ["problem", "method", "error", "ms a row", "all rows s", "ratio"],
        notes=[
            "exact: one call with n_jobs=2, the polish of the fit included.",
            "refits: from the parameters of the full fit, in two processes with one BLAS",
            "thread each; wall time of 100 of them.",
            "error: largest |parameters - tight refit|.",
        ],
    )
    X, y = labelled(10_000, 100)
    _exact_rows(table, "binary 10,000 x 100", X, y, repeats)
    X, y = load_digits(return_X_y=True)
    _exact_rows(table, "digits 1,797 x 64, 10 classes", X / 16, y, repeats)
    return table


def exact_many_rows(repeats):
    """Exact leave-one-out of up to 200,000 rows, by a polynomial in the step."""
    table = Table(
        "Exact leave-one-out of all rows, where passes over the rows would take n^2",
        ["n", "d", "exact s", "us a row", "refit s", "ratio", "max error", "median error"],
        notes=[
            "exact: one call with n_jobs=2, run once, the polish of the fit included.",
            "refit: newton-cholesky from the parameters of the full fit, tol=1e-14, wall time",
            "in two processes; ratio: of n refits to exact.",
            "error: |predicted - refit| / |refit - full fit| in the 2-norm, of 200 rows, both",
            "after a polish to the optimum.",
        ],
    )
    for n, d in ((20_000, 20), (50_000, 50), (200_000, 50)):
        X, y = labelled(n, d)
        fitted = LogisticRegression(tol=1e-6, max_iter=1000).fit(X, y)
        start = perf_counter()
        found = fitted.leave_out_params(method="exact", n_jobs=2)
        seconds = perf_counter() - start
        rows = np.random.default_rng(0).choice(n, 200, replace=False)
        options = {"solver": "newton-cholesky", "tol": 1e-14}
        refit, params = _warm_refits(fitted.polish(), X, y, rows, options)
        error = np.linalg.norm(found[rows] - params, axis=1)
        error /= np.linalg.norm(params - fitted.params_, axis=1)
        table.rows.append([n, d, f"{seconds:.1f}", f"{1e6 * seconds / n:.0f}", f"{refit:.3f}"])
        table.rows[-1] += [f"{n * refit / seconds:,.0f}", f"{error.max():.0e}"]
        table.rows[-1].append(f"{np.median(error):.0e}")
    return table


def newton_speed(repeats):
    """Newton leave-one-out of all rows against the leverages alone."""
    table = Table(
        'leave_out_params(method="newton") against the leverages it needs (ms)',
        ["n", "d", "leverages", "method", "ratio", "peak - result MiB", "working_memory"],
        notes=[
            "leverages: Hessian, its Cholesky factor, one triangular solve for all rows and",
            "the sums of squares. Ratio: time of the method over theirs.",
        ],
    )
    for n, d in ((10_000, 100), (5_000, 500), (100_000, 30)):
        X, y = labelled(n, d)
        fitted = LogisticRegression(tol=1e-8).fit(X, y)

        def method(fitted=fitted):
            problem_of(fitted).forget_state()
            return fitted.leave_out_params()

        def leverages(X=X, fitted=fitted):
            x = np.column_stack([X, np.ones(len(X))])
            p = fitted.predict_proba(X)[:, 1]
            scaled = np.sqrt(p * (1 - p))[:, None] * x
            H = scaled.T @ scaled + np.eye(x.shape[1])
            half = blas.dtrsm(1.0, np.linalg.cholesky(H).T, x.T, trans_a=1)
            return np.einsum("di,di->i", half, half)

        best = best_of({"leverages": leverages, "method": method}, repeats)
        with sklearn.config_context(working_memory=64):
            beyond = peak_memory(method) - 8 * n * (d + 1)
        times = [1000 * best[name] for name in ("leverages", "method")]
        table.rows.append([n, d, *times, f"{times[1] / times[0]:.2f}", beyond / 2**20, 64])
    return table


def _accuracy_problems():
    X, y = load_breast_cancer(return_X_y=True)
    yield "breast cancer", scale(X), y, _logistic
    X, y = load_digits(return_X_y=True)
    keep = (y == 1) | (y == 7)
    yield "digits 1 vs 7", X[keep] / 16, y[keep], _logistic
    X, y = load_diabetes(return_X_y=True)
    X = scale(PolynomialFeatures(2, include_bias=False).fit_transform(X))
    yield "diabetes, quadratic", X, y, _ridge


def _logistic(strength):
    options = {"solver": "newton-cholesky", "tol": 1e-13, "max_iter": 1000}
    return LogisticRegression(C=1 / strength, **options)


def _ridge(strength):
    return Ridge(alpha=strength, solver="cholesky")


def _refit(estimator, X, y, row):
    with threadpool_limits(1, "blas"):
        return estimator.fit(np.delete(X, row, 0), np.delete(y, row)).params_


def _exact_rows(table, name, X, y, repeats):
    fitted = LogisticRegression(tol=1e-6, max_iter=1000).fit(X, y)
    rows = np.random.default_rng(0).permutation(len(y))[:100]
    checked = rows[:20]
    tight = np.array(
        Parallel(n_jobs=2)(delayed(_refit)(_logistic(1), X, y, i) for i in checked)
    )

    def exact():
        problem_of(fitted).forget_state()
        return fitted.leave_out_params(method="exact", n_jobs=2)

    error = np.abs(exact()[checked] - tight).max()
    seconds = best_of({"exact": exact}, min(repeats, 3))["exact"]
    table.rows.append([name, "exact", f"{error:.0e}", 1000 * seconds / len(y), seconds, "1"])
    for label, options in _WARM.items():
        refit, found = _warm_refits(fitted, X, y, rows, options)
        error, together = np.abs(found[:20] - tight).max(), len(y) * refit
        table.rows.append([name, label, f"{error:.0e}", 1000 * refit, together])
        table.rows[-1].append(f"{together / seconds:.0f}")


_WARM = {
    "refit, lbfgs tol=1e-8": {"solver": "lbfgs", "tol": 1e-8, "max_iter": 5000},
    "refit, newton-cg tol=1e-10": {"solver": "newton-cg", "tol": 1e-10, "max_iter": 500},
    "refit, newton-cholesky tol=1e-10": {"solver": "newton-cholesky", "tol": 1e-10},
}


def _warm_refits(fitted, X, y, rows, options):
    """Return (wall seconds a refit, parameters) of refits in two processes."""
    with Parallel(n_jobs=2) as pool:
        job = delayed(_warm_refit)
        pool(job(fitted, X, y, row, options) for row in rows[:4])  # start the processes
        start = perf_counter()
        params = pool(job(fitted, X, y, row, options) for row in rows)
        seconds = perf_counter() - start
    return seconds / len(rows), np.array(params)


def _warm_refit(fitted, X, y, row, options):
    """Return scikit-learn's refit without a row, from the parameters of the full fit."""
    refit = reference.LogisticRegression(C=fitted.C, warm_start=True, **options)
    refit.coef_, refit.intercept_ = fitted.coef_.copy(), fitted.intercept_.copy()
    with threadpool_limits(1, "blas"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        refit.fit(np.delete(X, row, 0), np.delete(y, row))
    return np.concatenate([refit.coef_.ravel(), refit.intercept_])


BENCHMARKS = {
    "removal_accuracy": accuracy,
    "removal_exact": exact_speed,
    "removal_exact_many": exact_many_rows,
    "removal_newton": newton_speed,
}
