"""Choosing hyperparameters by leave-one-out from one fit per value; prediction intervals."""

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
    """Return prediction intervals from leave-one-out residuals, without refitting.

    With mu_(i) the model without training sample i and r_i its absolute error on it,
    ``|y_i - mu_(i)(x_i)|``, the interval at x goes from the
    ``floor((1 - level) (n + 1))``-th smallest of ``mu_(i)(x) - r_i`` to the
    ``ceil(level (n + 1))``-th smallest of ``mu_(i)(x) + r_i``.

    If training and new samples are exchangeable, the interval holds the new target with
    probability at least ``2 level - 1``, whatever the model, and usually about `level`.
    Frozen: hyperparameters. In a pipeline each model without a sample is one of all steps. For
    squared error these models are exact.

    Parameters
    ----------
    estimator : object
        Fitted regressor of skinfluence with one target, or a pipeline that ends in one.
    X : {array-like, sparse matrix} of shape (q, n_features)
        Samples to predict.
    confidence_level : float, default=0.9
        Share of new targets that the intervals are to hold. Sample weights do not enter.
    method : {"influence", "newton", "exact"}, default="newton"
        Accuracy of the models without each sample.
    refine : float, default=None
        Share of the training samples left out exactly, see `leave_out_params`.
    hessian_solver : str or HessianSolver, default="auto"
        How to apply H^-1; results do not depend on it.
    n_jobs : int, default=None
        Number of joblib threads over training samples.

    Returns
    -------
    interval : ndarray of shape (q, 2)
        Lower and upper ends; infinite where there are too few training samples for the
        level.

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
            "jackknife_plus_interval is for regressors with one target: for a classifier use "
            "probabilities, for several targets a model for each."
        )
    if not isinstance(confidence_level, Real) or not 0 < confidence_level < 1:
        raise ValueError(f"confidence_level={confidence_level!r} must be between 0 and 1.")
    problem = problem_of(estimator, "leave_out_predict", "jackknife_plus_interval")
    samples = X
    if problem.scaled is not None:  # their penalty moves with the scales
        problem, samples = problem.scaled, problem.transform(X)
    elif problem.is_whole:
        own, predicted = problem.predictions_without(X, method, refine, hessian_solver, n_jobs)
        residual = np.abs(problem.objective.target[:, 0] - own)
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
    own = np.concatenate(
        [
            np.einsum("bd,bd->b", objective.design.take(block).rows(), readings[block])
            for block in row_blocks(len(theta), 8 * 3 * theta.shape[1])
        ]
    )
    y = objective.target[:, 0]
    residual = np.abs(y - formulation.loss.response(own[:, None])[:, 0])
    kept = np.isfinite(residual)  # samples that no model can do without are left out
    theta, residual = theta[kept], residual[kept]

    def blocks_of_queries():
        for block in row_blocks(design.n_rows, 8 * 5 * len(residual)):
            raw = design.take(block).predict(theta)
            yield block, formulation.loss.response(raw[..., None])[..., 0]

    return _interval(blocks_of_queries(), design.n_rows, residual, confidence_level)


def _interval(blocks, n_queries, residual, confidence_level):
    """Return the ends (q, 2) from blocks of predictions (m, n) without each sample.

    `residual` (n,) is the absolute error of each model for the sample that it lacks.
    """
    n = len(residual)
    # Rounding must not turn the 90th of 99 into the 91st.
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
