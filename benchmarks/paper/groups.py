"""The follow-up's figure 1: groups of many kinds and sizes."""

import numpy as np
import sklearn
from scipy.stats import linregress, spearmanr
from sklearn import linear_model as reference
from sklearn.cluster import MiniBatchKMeans

from benchmarks._report import Table
from benchmarks.paper._data import few_digits, messages
from benchmarks.paper._fits import optimum, refits
from skinfluence.linear_model import LogisticRegression
from skinfluence.solvers import ConjugateGradientSolver

__all__ = ["compare", "draw_groups", "groups"]

_SIZES = 0.0025, 0.25  # smallest and largest share of the rows
_CLUSTERS = (4, 8, 16, 32, 64, 128)


def groups(repeats):
    """Loss of one query without groups of seven kinds, 0.25 % to 25 % of the rows."""
    table = Table(
        "Loss of a query without groups of 0.25 % to 25 % of the rows",
        ["data", "groups", "number"]
        + [f"{method} {name}" for method in _METHODS for name in ("rank r", "r", "slope")]
        + ["published rank r"],
        notes=[
            "Rank r: Spearman; r: Pearson; slope: of actual against predicted changes.",
            "Influence: -1/n times the sum over the group; newton, exact: leave_out_loss.",
        ],
    )
    digits, texts = few_digits(), messages()
    compare(table, "MNIST", digits, 1e-3, 1790, 20)
    compare(table, "SMS", texts, 1e-3, None, 20)
    return table


_METHODS = ("influence", "newton", "exact")


def compare(table, name, problem, penalty, query, n_sizes):
    """Append a row for each kind of groups and one for all; query None: the worst fitted."""
    n = len(problem.y)
    common = {"C": 1 / (penalty * n), "max_iter": 1000}
    model = optimum(
        problem,
        LogisticRegression(**common),
        hessian_solver=ConjugateGradientSolver(1e-2),
    )
    if query is None:
        query = np.argmax(model.sample_loss(problem.X_test, problem.y_test))
    X, y = problem.query(query)
    before = model.sample_loss(X, y)
    influence = model.influence_loss(X, y)[0]
    kinds = draw_groups(model, problem, influence, n_sizes)
    rows = [group for drawn in kinds.values() for group in drawn]

    estimator = reference.LogisticRegression(
        **common, solver="newton-cg", tol=1e-9, warm_start=True
    )
    found = refits(problem, estimator, rows, start=model)
    code = np.searchsorted(model.classes_, y)
    actual = np.concatenate([-refit.predict_log_proba(X)[[0], code] for refit in found])
    actual -= before
    predicted = {"influence": np.array([-influence[group].sum() / n for group in rows])}
    with sklearn.config_context(working_memory=2_048):
        for method in _METHODS[1:]:
            predicted[method] = model.leave_out_loss(X, y, rows, method=method)[0] - before

    start = 0
    published = "0.8 to 1.0"
    for kind, drawn in (kinds | {"all": rows}).items():
        part = slice(None) if kind == "all" else slice(start, start + len(drawn))
        table.rows.append([name, kind, str(len(drawn))])
        for method in _METHODS:
            table.rows[-1] += _agreement(predicted[method][part], actual[part])
        table.rows[-1].append(published if kind == "all" else "a curve")
        start += len(drawn)
    table.notes.append(
        f"{name}: {problem.size()}, {len(model.classes_)} classes, lambda = {penalty:g}, "
        f"C = {common['C']:.3g}, free intercepts; loss of the query {before[0]:.2f}; refits "
        f"by newton-cg, tol = 1e-9, changes {actual.min():.1e} to {actual.max():.1e}."
    )


def draw_groups(model, problem, influence, n_sizes):
    """Return groups of rows by kind, in all sizes there are members for."""
    rng = np.random.default_rng(0)
    n = len(problem.y)
    sizes = np.ceil(np.linspace(_SIZES[0] * n, _SIZES[1] * n, n_sizes)).astype(int)
    ranking = np.argsort(influence)
    near = ranking[: int(1.5 * sizes[-1])], ranking[-int(1.5 * sizes[-1]) :]
    classes = [np.flatnonzero(problem.y == label) for label in model.classes_]
    gradients = model.loss_gradient(problem.X, problem.y)
    drawn = {
        "random": [rng.choice(n, size, replace=False) for size in sizes],
        "of one class": _within(classes, sizes, rng),
        "near in one feature": [_window(problem.X, size, rng) for size in sizes],
        "near in features": _within(_clusters(problem.X), sizes, rng),
        "near in gradients": _within(_clusters(gradients), sizes, rng),
        "helpful": [rng.choice(near[0], size, replace=False) for size in sizes],
        "harmful": [rng.choice(near[1], size, replace=False) for size in sizes],
    }
    return {kind: found for kind, found in drawn.items() if found}


def _within(sets, sizes, rng):
    """Return for each size part of a random one of the sets that are large enough."""
    found = []
    for size in sizes:
        large = [rows for rows in sets if len(rows) >= size]
        if large:
            found.append(rng.choice(large[rng.integers(len(large))], size, replace=False))
    return found


def _window(X, size, rng):
    """Return rows next to each other in the order of a random feature."""
    order = np.argsort(X[:, rng.integers(X.shape[1])], kind="stable")
    start = rng.integers(len(order) - size + 1)
    return order[start : start + size]


def _clusters(X):
    """Return the clusters that k-means finds, for several numbers of them."""
    found = []
    for n_clusters in (k for k in _CLUSTERS if k < len(X)):
        labels = MiniBatchKMeans(n_clusters, n_init=1, random_state=0).fit(X).labels_
        found += [np.flatnonzero(labels == label) for label in range(n_clusters)]
    return found


def _agreement(predicted, actual):
    """Return rank correlation, correlation and slope as text."""
    fit = linregress(predicted, actual)
    rank = spearmanr(predicted, actual).statistic
    return [f"{rank:.3f}", f"{fit.rvalue:.4f}", f"{fit.slope:.3f}"]
