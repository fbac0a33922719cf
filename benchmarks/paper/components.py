"""Figure 1: what is lost without the parts that influence is made of."""

import numpy as np
from scipy.stats import pearsonr, spearmanr
from sklearn import linear_model as reference

from benchmarks._report import Table
from benchmarks.paper._data import two_digits
from benchmarks.paper._fits import optimum, refits
from skinfluence.linear_model import LogisticRegression

__all__ = ["compare", "components"]

_QUERY = 30  # of the test images of the two digits, as in the published code
_PENALTY = 0.01
_N_REFITS = 300


def components(repeats):
    """Influence of images of 1 and 7 on a 7, with and without its parts, against refits."""
    table = Table(
        "Digits 1 against 7, influence on one test image and what is left without its parts",
        ["score", "r to influence", "rank r", "r to refits", "rank r of the same digit"]
        + ["same digit, harmful", "published"],
    )
    compare(table, two_digits(), _PENALTY, _QUERY, _N_REFITS)
    return table


def compare(table, problem, penalty, query, n_refits):
    """Append a row for each score of the training rows."""
    n = len(problem.y)
    common = {"C": 1 / (penalty * n), "fit_intercept": False, "tol": 1e-10}
    model = optimum(problem, LogisticRegression(**common, solver="newton-cholesky"))
    X, y = problem.query(query)
    scores = _scores(model, problem, X, y)

    # Every so many-th in the order of influence, so that all sizes and both signs are there.
    ranking = np.argsort(scores["influence"])
    rows = ranking[np.linspace(0, n - 1, n_refits).astype(int)]
    estimator = reference.LogisticRegression(
        **common, solver="newton-cholesky", warm_start=True
    )
    found = refits(problem, estimator, list(rows[:, None]), start=model)
    code = np.searchsorted(model.classes_, y)
    loss = np.concatenate([-refit.predict_log_proba(X)[[0], code] for refit in found])
    actual = loss - model.sample_loss(X, y)
    same = problem.y == y
    for name, score in scores.items():
        full = scores["influence"]
        harmful = np.mean(score[same] > 0)
        table.rows.append(
            [name, f"{pearsonr(score, full).statistic:.3f}"]
            + [f"{spearmanr(score, full).statistic:.3f}"]
            + [f"{pearsonr(-score[rows], actual).statistic:.4f}"]
            + [f"{spearmanr(score[same], full[same]).statistic:.3f}"]
            + [f"{100 * harmful:.0f} %", "a curve"]
        )
    table.notes += [
        "r to influence: Pearson, then Spearman, over all training images. r to refits:",
        f"Pearson, of minus the score and the change of the loss in {len(actual)} refits",
        "without one image, taken evenly from the order of influence. Harmful: share of the",
        f"images of the query's digit with a score above 0. {problem.size()}, lambda =",
        f"{penalty:g}, C = {common['C']:.3g}, no intercept; fits by newton-cholesky, tol =",
        f"1e-10; changes in refits {actual.min():.1e} to {actual.max():.1e}.",
    ]


def _scores(model, problem, X, y):
    """Return influence of each training row on a query, whole and without some parts."""
    n = len(problem.y)
    signs = np.where(problem.y == model.classes_[1], 1.0, -1.0)
    sign = 1.0 if y[0] == model.classes_[1] else -1.0
    gradient = model.loss_gradient(X, y)
    gradients = model.loss_gradient(problem.X, problem.y)
    without_loss = -signs[:, None] * problem.X  # gradients of rows that are quite wrong
    solution = n * model.solve_hessian(gradient)
    return {
        "influence": model.influence_loss(X, y)[0],
        "without the factor of the training loss": -(without_loss @ solution[0]),
        "without the Hessian": -(gradients @ gradient[0]),
        "without either: inner product": -sign * signs * (problem.X @ X[0]),
    }
