"""Fits that the experiments share: the optimum of all rows, and scikit-learn's refits.

They are kept on disk, so that an experiment that runs again only predicts again. The
directory is `SKINFLUENCE_CACHE` in the environment, by default one of the user's.
"""

import os
import warnings
from pathlib import Path

import numpy as np
import sklearn
from joblib import Memory, Parallel, delayed
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from skinfluence import from_fitted
from skinfluence.pipeline import problem_of

__all__ = ["CACHE", "optimum", "quietly", "refits", "unfinished"]

#: Environment variable that names the directory of fits.
CACHE = "SKINFLUENCE_CACHE"


def optimum(problem, estimator, **options):
    """Return an estimator of ours, fitted and at its optimum.

    Parameters
    ----------
    problem : Problem
        What to fit to.
    estimator : object
        Not fitted.
    **options : dict
        Passed to `polish`.
    """
    fit = _kept(_optimum, ["X", "y", "options"])
    fitted = fit(problem.name, estimator, problem.X, problem.y, options)
    return fitted.set_training_data(problem.X, problem.y)


def refits(problem, estimator, groups, start=None, n_jobs=2):
    """Return scikit-learn's estimators fitted without each group of rows.

    Parameters
    ----------
    problem : Problem
        The rows.
    estimator : object
        Of scikit-learn, not fitted.
    groups : list of ndarray
        Rows that leave together.
    start : object, default=None
        Fitted estimator at whose parameters the refits begin, for one that takes a warm
        start.
    n_jobs : int, default=2
        Number of processes.
    """
    job = delayed(_kept(_refit, ["X", "y", "start"]))
    start = None if start is None else (start.coef_, start.intercept_)
    return Parallel(n_jobs=n_jobs)(
        job(problem.name, sklearn.__version__, estimator, rows, problem.X, problem.y, start)
        for rows in groups
    )


def unfinished(problem, fitted, refit, rows, query, hessian_solver="auto"):
    """Return by how much a refit stopped short: of its gradient, and in the query's loss.

    The largest entry of the gradient of the mean objective, and what the Newton step that
    is left would change the losses of the query samples by, to first order.
    """
    kept = np.delete(np.arange(len(problem.y)), rows)
    model = from_fitted(refit, problem.X[kept], problem.y[kept])
    step = model.newton_correction(hessian_solver=hessian_solver)
    moved = model.loss_gradient(*query) @ step
    objective = problem_of(model).objective
    gradient = objective.at(problem_of(model).theta).gradient
    return np.abs(gradient).max() / len(kept), np.abs(moved).max()


def quietly(method, *arguments, **options):
    """Return what a method returns, without its warnings: that there are some is the point."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return method(*arguments, **options)


def _kept(function, ignore):
    """Return a function that looks on disk first; what it ignores goes with the name."""
    beside = Path.home() / ".cache" / "skinfluence" / "paper"
    memory = Memory(os.environ.get(CACHE, beside), verbose=0)
    return memory.cache(function, ignore=ignore)


def _optimum(name, estimator, X, y, options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # polish goes the rest of the way
        fitted = clone(estimator).fit(X, y)
    return fitted.polish(**options).drop_training_data()


def _refit(name, version, estimator, rows, X, y, start):
    refit = clone(estimator)
    if start is not None:
        refit.coef_, refit.intercept_ = (values.copy() for values in start)
    kept = np.delete(np.arange(len(y)), rows)
    with threadpool_limits(1, "blas"):
        return refit.fit(X[kept], y[kept])
