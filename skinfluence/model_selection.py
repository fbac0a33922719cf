"""Prediction intervals, and hyperparameter search by leave-one-out from single fits."""

from __future__ import annotations

from numbers import Real

import numpy as np

from skinfluence._typing import Accuracy, Estimator, Floats, MatrixLike
from skinfluence.blocks import row_blocks
from skinfluence.leave_one_out import leave_one_out_scorer
from skinfluence.pipeline import problem_of
from skinfluence.search import LeaveOneOutSearchCV
from skinfluence.solvers import HessianSolver

__all__ = ["LeaveOneOutSearchCV", "jackknife_plus_interval", "leave_one_out_scorer"]


def jackknife_plus_interval(
    estimator: Estimator,
    X: MatrixLike,
    *,
    confidence_level: float = 0.9,
    method: Accuracy = "newton",
    refine: float | None = None,
    hessian_solver: str | HessianSolver = "auto",
    n_jobs: int | None = None,
) -> Floats:
    """Return prediction intervals from leave-one-out residuals, without refits.

    Let mu_(i) be the model without training sample i, and r_i = ``|y_i - mu_(i)(x_i)|`` its
    absolute error for that sample. The interval at x has these ends, with n training
    samples::

        lower = the floor((1 - level) (n + 1))-th smallest mu_(i)(x) - r_i
        upper = the ceil(level (n + 1))-th smallest mu_(i)(x) + r_i

    If training and new samples are exchangeable, the interval contains the new target with
    probability at least ``2 level - 1`` for any model, and usually with probability near
    `level`. Hyperparameters are frozen. In a pipeline, each model without a sample includes
    all steps. For squared error these models are exact.

    Parameters
    ----------
    estimator : object
        Fitted skinfluence regressor with one target, or a pipeline that ends in one.
    X : {array-like, sparse matrix} of shape (q, n_features)
        Samples to predict.
    confidence_level : float, default=0.9
        Level: the intended fraction of new targets inside their intervals. The quantiles do
        not use sample weights.
    method : {"influence", "newton", "exact"}, default="newton"
        Accuracy of the models without each sample.
    refine : float, default=None
        Fraction of training samples to leave out exactly, see `leave_out_params`.
    hessian_solver : str or HessianSolver, default="auto"
        Solver for the Hessian H; results do not depend on it.
    n_jobs : int, default=None
        Number of joblib threads over training samples.

    Returns
    -------
    interval : ndarray of shape (q, 2)
        Lower and upper ends, in units of the target. They are infinite if there are too few
        training samples for the level.

    Raises
    ------
    ValueError
        If the estimator is a classifier or has several targets, or if `confidence_level` is
        not between 0 and 1.

    References
    ----------
    Barber, Candes, Ramdas & Tibshirani, "Predictive inference with the jackknife+", Annals
    of Statistics 49, 2021.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.linear_model import Ridge
    >>> from skinfluence.model_selection import jackknife_plus_interval
    >>> X, y = load_diabetes(return_X_y=True)
    >>> reg = Ridge(alpha=0.1).fit(X[:300], y[:300])
    >>> lower, upper = jackknife_plus_interval(reg, X[300:]).T
    >>> round(float(((lower <= y[300:]) & (y[300:] <= upper)).mean()), 2)
    0.9
    """
    problem = problem_of(estimator)
    problem.refuse_dask("jackknife_plus_interval", X)
    if problem.is_classifier or problem.formulation.layout.n_predictions != 1:
        raise ValueError(
            "jackknife_plus_interval is for regressors with one target. Use probabilities for "
            "a classifier, and fit one model for each of several targets."
        )
    if not isinstance(confidence_level, Real) or not 0 < confidence_level < 1:
        raise ValueError(f"confidence_level={confidence_level!r} must be between 0 and 1.")
    problem = problem_of(estimator, "leave_out_predict", "jackknife_plus_interval")
    samples = X
    if problem.scaled is not None:  # the penalty changes with the scales
        problem, samples = problem.scaled, problem.transform(X)
    elif problem.is_whole:
        left_out, predicted = problem.predictions_without(
            X, method, refine, hessian_solver, n_jobs
        )
        residual = np.abs(problem.objective.target[:, 0] - left_out)
        kept = np.isfinite(residual)
        blocks = [(slice(None), predicted[:, kept])]
        return _interval(blocks, len(predicted), residual[kept], confidence_level)
    objective = problem.objective
    formulation = objective.formulation
    design = problem.check_X(formulation, samples)
    params = problem.leave_out_params(
        method=method, refine=refine, hessian_solver=hessian_solver, n_jobs=n_jobs
    )
    theta = formulation.layout.from_public(params)[:, 0]
    readings = objective.design.readings(theta)
    left_out = np.concatenate(
        [
            np.einsum("bd,bd->b", objective.design.take(block).rows(), readings[block])
            for block in row_blocks(len(theta), 8 * 3 * theta.shape[1])
        ]
    )
    y = objective.target[:, 0]
    residual = np.abs(y - formulation.loss.response(left_out[:, None])[:, 0])
    kept = np.isfinite(residual)  # for some samples the model without them does not exist
    theta, residual = theta[kept], residual[kept]

    def blocks_of_queries():
        for block in row_blocks(design.n_rows, 8 * 5 * len(residual)):
            raw = design.take(block).predict(theta)
            yield block, formulation.loss.response(raw[..., None])[..., 0]

    return _interval(blocks_of_queries(), design.n_rows, residual, confidence_level)


def _interval(blocks, n_queries, residual, confidence_level):
    """Return the ends (q, 2) from blocks of predictions (m, n) without each sample.

    `residual` (n,) is the absolute error of each model for its left-out sample.
    """
    n = len(residual)
    # Round first, because rounding error could turn the 90th rank into the 91st.
    upper_rank = int(np.ceil(round(confidence_level * (n + 1), 9)))
    lower_rank = int(np.floor(round((1 - confidence_level) * (n + 1), 9)))
    interval = np.empty((n_queries, 2))
    interval[:] = -np.inf, np.inf
    for block, predicted in blocks:
        if lower_rank >= 1:
            below = np.partition(predicted - residual, lower_rank - 1, axis=1)
            interval[block, 0] = below[:, lower_rank - 1]
        if upper_rank <= n:
            above = np.partition(predicted + residual, upper_rank - 1, axis=1)
            interval[block, 1] = above[:, upper_rank - 1]
    return interval
