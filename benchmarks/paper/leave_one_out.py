"""Figure 2, left: leave-one-out for ten classes."""

import numpy as np
import sklearn
from scipy.stats import linregress, pearsonr
from sklearn import linear_model as reference

from benchmarks._report import Table
from benchmarks.paper._data import ten_digits
from benchmarks.paper._fits import optimum, refits, unfinished
from skinfluence.linear_model import LogisticRegression
from skinfluence.solvers import ConjugateGradientSolver

__all__ = ["compare", "leave_one_out"]

_QUERY = 8  # of the test images, as in the published code
_PENALTY = 0.01
_N_INFLUENTIAL, _EVERY = 500, 12


def leave_one_out(repeats):
    """Loss of a misread digit without each of its 500 most influential training images."""
    problem = ten_digits()
    table = Table(
        "Ten digits of MNIST, the 500 images of the largest influence on a misread one",
        ["lambda", "method", "Pearson r", "slope", "largest error", "published r"],
    )
    compare(table, problem, _PENALTY, _QUERY, _N_INFLUENTIAL, _EVERY)
    return table


def compare(table, problem, penalty, query, n_influential, every):
    """Append a row for each method, judged by refits without every so many-th image."""
    n = len(problem.y)
    C = 1 / (penalty * n)
    common = {"C": C, "fit_intercept": False}
    model = optimum(
        problem,
        LogisticRegression(**common, max_iter=300),
        hessian_solver=ConjugateGradientSolver(1e-2),
    )
    X, y = problem.query(query)
    before = model.sample_loss(X, y)

    influence = model.influence_loss(X, y)[0]
    ranking = np.argsort(-np.abs(influence))[:n_influential]
    groups = list(ranking[:, None])
    predicted = {"influence": -influence[ranking] / n}
    # Room for H beside its factor, from which "exact" takes what is beyond first order.
    with sklearn.config_context(working_memory=4_096):
        for method in ("newton", "exact"):
            predicted[method] = model.leave_out_loss(X, y, groups, method=method)[0] - before

    estimator = reference.LogisticRegression(
        **common, solver="newton-cg", tol=1e-10, max_iter=100, warm_start=True
    )
    found = refits(problem, estimator, groups[::every], start=model)
    code = np.searchsorted(model.classes_, y)
    loss = [-refit.predict_log_proba(X)[[0], code] for refit in found]
    actual = np.concatenate(loss) - before
    short = np.array(
        [
            unfinished(problem, model, refit, rows, (X, y), "cg")
            for refit, rows in list(zip(found, groups[::every], strict=True))[::4]
        ]
    )
    for method, changes in predicted.items():
        fit = linregress(changes[::every], actual)
        error = np.abs(changes[::every] - actual).max() / np.abs(actual).max()
        table.rows.append(
            [f"{penalty:.2g}", method, f"{fit.rvalue:.7f}", f"{fit.slope:.5f}", f"{error:.1e}"]
            + ["a curve"]
        )
    table.notes.append(
        f"lambda = {penalty:.2g}: {problem.size()}, {len(model.classes_)} classes, "
        f"C = {C:.3g}, no intercept; loss of the query {before[0]:.2f}; {len(actual)} refits, "
        f"changes {np.abs(actual).min():.1e} to {np.abs(actual).max():.1e}; of every "
        f"fourth refit the gradient of the mean objective is at most {short[:, 0].max():.0e}, "
        f"the distance to its optimum in the loss at most {short[:, 1].max():.0e}. Over all "
        f"{n_influential} images r of newton and exact is {_pearson(predicted):.7f}."
    )


def _pearson(predicted):
    return pearsonr(predicted["newton"], predicted["exact"]).statistic
