"""Appendix B: leave-one-out from fits that stopped early."""

import numpy as np
from scipy.stats import pearsonr
from sklearn import linear_model as reference

from benchmarks._report import Table
from benchmarks.paper._data import two_digits
from benchmarks.paper._fits import optimum, quietly, refits
from skinfluence.linear_model import LogisticRegression

__all__ = ["compare", "non_convergence"]

_PENALTY = 0.01
_STEPS = (5, 10, 15, 20, 30, 50)
_N_QUERIES, _N_REFITS = 10, 100


def non_convergence(repeats):
    """Leave-one-out from fits that lbfgs stopped early, with and without the correction."""
    table = Table(
        "Digits 1 against 7, fits stopped early: error of predicted changes of the loss",
        ["lbfgs steps", "gradient_shift", "influence", "r"]
        + ["influence + N", "r + N", "newton", "r newton", "exact", "published"],
    )
    compare(table, two_digits(), _PENALTY, _STEPS, _N_QUERIES, _N_REFITS)
    return table


def compare(table, problem, penalty, steps, n_queries, n_refits):
    """Append a row for each number of steps."""
    n = len(problem.y)
    common = {"C": 1 / (penalty * n), "fit_intercept": False}
    estimator = reference.LogisticRegression(
        **common, solver="newton-cholesky", tol=1e-10, warm_start=True
    )
    best = optimum(problem, LogisticRegression(**common, solver="newton-cholesky"))
    loss = best.sample_loss(problem.X_test, problem.y_test)
    X, y = problem.query(np.argsort(-loss)[:n_queries])
    # Of all rows those that move these losses most.
    size = np.abs(best.influence_loss(X, y)).max(axis=0)
    rows = np.argsort(-size)[:n_refits]
    groups = list(rows[:, None])
    found = refits(problem, estimator, groups, start=best)
    code = np.searchsorted(best.classes_, y)
    after = [-refit.predict_log_proba(X)[np.arange(len(y)), code] for refit in found]
    after = np.array(after).T
    scale = _size(after - best.sample_loss(X, y)[:, None])
    for n_steps in steps:
        stopped = LogisticRegression(**common, tol=1e-12, max_iter=n_steps)
        stopped = quietly(stopped.fit, problem.X, problem.y)
        start = stopped.sample_loss(X, y)[:, None]
        actual = after - start

        def measure(predicted, actual=actual):
            r = [pearsonr(p, a).statistic for p, a in zip(predicted, actual, strict=True)]
            return [f"{_size(predicted - actual) / scale:.1e}", f"{np.median(r):.5f}"]

        influence = -quietly(stopped.influence_loss, X, y)[:, rows] / n
        corrected = (
            influence + (stopped.loss_gradient(X, y) @ stopped.newton_correction())[:, None]
        )
        newton = stopped.leave_out_loss(X, y, groups) - start
        shift = stopped.convergence_report().gradient_shift
        exact = stopped.leave_out_loss(X, y, groups, method="exact") - start
        table.rows.append(
            [str(n_steps), f"{shift:.1e}", *measure(influence), *measure(corrected)]
            + [*measure(newton), measure(exact)[0], "none"]
        )
    table.notes += [
        "Change of the loss from the stopped fit to the converged refit without one image:",
        "error, root mean square relative to that of the changes by removal alone, and",
        f"Pearson r, median over the {len(y)} queries, the test images fitted worst. N:",
        "newton_correction, times the gradient of the loss; newton, exact: leave_out_loss,",
        f"which predicts the converged refit by itself. {len(rows)} images, of the largest",
        f"influence. {problem.size()}, lambda = {penalty:g}, C = {common['C']:.3g}, no",
        "intercept; refits by newton-cholesky, tol = 1e-10.",
    ]


def _size(changes):
    return np.sqrt(np.mean(changes**2))
