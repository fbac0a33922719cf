"""Figure 3: the hinge, smoothed only when influence is computed."""

import numpy as np
from scipy.stats import linregress
from sklearn import svm as reference

from benchmarks._report import Table
from benchmarks.paper._data import two_digits
from benchmarks.paper._fits import quietly, refits
from skinfluence.svm import LinearSVC

__all__ = ["compare", "hinge"]

_QUERY = 1597  # of the test images of the two digits, as in the published code
_PENALTY = 0.01
_N_INFLUENTIAL = 100
_TEMPERATURES = (0.0, 0.001, 0.01, 0.1)
_PUBLISHED = {0.0: "0.63", 0.001: "0.95", 0.1: "0.91"}


def hinge(repeats):
    """Hinge loss of a misread digit without each of 100 images, by temperature."""
    problem = two_digits()
    # Cut to hundreds, as in the published code.
    n = len(problem.y) // 100 * 100
    problem = problem._replace(name=f"{problem.name} {n}", X=problem.X[:n], y=problem.y[:n])
    table = Table(
        "Digits 1 against 7, linear support vector machine, the 100 most influential images",
        ["prediction of the change of the hinge loss", "Pearson r", "slope", "published r"],
    )
    compare(table, problem, _PENALTY, _QUERY, _N_INFLUENTIAL)
    return table


def compare(table, problem, penalty, query, n_influential):
    """Append a row for each temperature, and for the hinge itself at its active set."""
    n = len(problem.y)
    options = {"loss": "hinge", "C": 1 / (penalty * n), "fit_intercept": False}
    options |= {"tol": 1e-9, "max_iter": 10_000_000, "random_state": 0}
    model = LinearSVC(**options).fit(problem.X, problem.y)
    X, y = problem.query(query)
    before = model.sample_loss(X, y)
    predicted = {t: -_influence(model, problem, X, y, t) / n for t in _TEMPERATURES}
    rows = np.argsort(-np.abs(predicted[0.0]))[:n_influential]
    groups = list(rows[:, None])

    found = refits(problem, reference.LinearSVC(**options), groups)
    label = 1.0 if y[0] == model.classes_[1] else -1.0
    margin = np.array([label * refit.decision_function(X)[0] for refit in found])
    actual = np.maximum(0.0, 1.0 - margin) - before

    def report(name, changes, published="-"):
        fit = linregress(changes, actual)
        table.rows.append([name, f"{fit.rvalue:.3f}", f"{fit.slope:.3f}", published])

    for t, changes in predicted.items():
        name = f"influence, smoothed by t = {t:g} after the fit"
        report(name, changes[rows], _PUBLISHED.get(t, "a curve"))
    report("influence, active set", -model.influence_loss(X, y)[0, rows] / n)
    for method in ("newton", "exact"):
        loss = model.leave_out_loss(X, y, groups, method=method)[0]
        report(f"{method}, active set", loss - before)
    table.notes += [
        f"{problem.size()}, lambda = {penalty:g}, C = {options['C']:.3g}, no intercept;",
        "liblinear, tol = 1e-9, for the fit and the refits. Slope: of actual against",
        f"predicted changes. Loss of the query {before[0]:.2f}, changes {actual.min():.1e} to",
        f"{actual.max():.1e}; images by their influence at t = 0, where the hinge has no",
        "curvature and H is the penalty's.",
    ]


def _influence(model, problem, X, y, temperature):
    """Return the influence of all rows with the hinge smoothed at the fit's parameters."""
    if temperature > 0:  # that the fit is no optimum of the smooth objective is the point
        return quietly(model.smooth(temperature=temperature).influence_loss, X, y)[0]
    # H is that of the penalty, 1, and the gradient of rows within the margin C (-y x).
    n = len(problem.y)
    gradients = model.C * model.loss_gradient(problem.X, problem.y)
    return -n * (gradients @ model.loss_gradient(X, y)[0])
