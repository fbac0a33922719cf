"""Ranking of new samples by the effect that adding each would have on a loss."""

from __future__ import annotations

from dataclasses import replace
from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import Bunch

from skinfluence import convergence
from skinfluence._typing import Estimator, MatrixLike
from skinfluence.blocks import row_blocks, run_blocks
from skinfluence.checks import check_number, count_rows
from skinfluence.exceptions import UnsupportedEstimatorError, warn
from skinfluence.inspection.removals import Removals, check_newton
from skinfluence.inspection.whole_removals import why_no_refit
from skinfluence.pipeline import problem_of
from skinfluence.results import Result
from skinfluence.solvers import HessianSolver
from skinfluence.stages import learning_steps
from skinfluence.whole.data import take_rows

# Largest difference between predicted and confirmed changes without a warning, as a share of
# the largest change.
_APART = 0.05


def rank_candidates(
    estimator: Estimator,
    X: MatrixLike,
    y: ArrayLike,
    X_val: MatrixLike,
    y_val: ArrayLike,
    *,
    n_confirmed: int = 10,
    hessian_solver: str | HessianSolver = "auto",
    n_jobs: int | None = None,
) -> Bunch:
    """Rank new labelled samples by the effect of adding each to the training samples.

    For each candidate z one Newton step predicts the model that is fitted with z as another
    training sample of weight one::

        theta_z = theta - (H + hess L(z))^-1 grad L(z)

    This is exact for squared error. The candidates are ranked by the mean loss of validation
    samples under theta_z, the smallest first. Refits with the first candidates confirm their
    order.

    The effects are those of single candidates. Two that are alike may be of little use
    together: call `add_samples` with the chosen ones and rank the others again.

    "Balanced" class weights move with the candidate, other class weights and hyperparameters
    are frozen. In a pipeline the steps before the model learn from the candidate to first
    order::

        loss_change = (mean loss under theta_z - loss_before) + sum_l c_l' ds_l/dm_z

    The sum is over the steps l with statistics s_l, see "The whole fit" in the user guide. It
    is left out, with a warning, if a step has no known derivative, and for candidates beyond
    the extremes that a step learned. The refits that confirm the ranking fit every step
    again, unless a step is random.

    Parameters
    ----------
    estimator : object
        Fitted skinfluence estimator, or a pipeline that ends in one.
    X : {array-like, sparse matrix} of shape (m, n_features)
        The m candidates.
    y : array-like of shape (m,) or (m, n_targets)
        Their targets, known or proposed.
    X_val : {array-like, sparse matrix} of shape (q, n_features)
        Validation samples.
    y_val : array-like of shape (q,) or (q, n_targets)
        Their targets.
    n_confirmed : int, default=10
        Number of candidates to confirm by a refit, the first in the ranking; 0 for none.
    hessian_solver : str or HessianSolver, default="auto"
        Solver for the Hessian H; results do not depend on it.
    n_jobs : int, default=None
        Number of joblib threads.

    Returns
    -------
    result : Bunch
        Results, with these attributes:

        indices : ndarray of shape (m,)
            The candidates, the most helpful first.
        loss_change : ndarray of shape (m,)
            Predicted change in the mean loss of the validation samples if the candidate is
            added, in the order of `X`. Negative changes help.
        confirmed_change : ndarray of shape (min(n_confirmed, m),)
            The change by a refit with each of the first candidates in `indices`. NaN if no
            optimum was found.
        loss_before : float
            Mean loss of the validation samples at the optimum for the training samples.

    Raises
    ------
    UnsupportedEstimatorError
        If the model has no Newton step, or if a candidate would bring a parameter of its own,
        as in kernel models.
    ValueError
        If no optimum of the training objective was found, or if an argument is not valid.

    Warns
    -----
    InfluenceWarning
        If a refit confirms a change that is off from its `loss_change` by more than 5 per cent
        of the largest confirmed one, as with few training samples.

    See Also
    --------
    data_values : The value of the present training samples.

    References
    ----------
    Koh & Liang, "Understanding Black-box Predictions via Influence Functions", 2017, for the
    influence of upweighting a sample.

    Examples
    --------
    Which of 300 patients would help most, after 60?

    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.inspection import rank_candidates
    >>> from skinfluence.linear_model import Ridge
    >>> X, y = load_diabetes(return_X_y=True)
    >>> reg = Ridge(alpha=0.1).fit(X[:60], y[:60])
    >>> result = rank_candidates(reg, X[60:360], y[60:360], X[360:], y[360:])
    >>> best = 60 + result.indices[0]
    >>> round(result.loss_before), round(result.loss_before + result.confirmed_change[0])
    (3283, 3108)
    >>> more = Ridge(alpha=0.1).fit(X[[*range(60), best]], y[[*range(60), best]])
    >>> round(more.sample_loss(X[360:], y[360:]).mean())
    3108
    """
    problem = problem_of(estimator)
    problem.refuse_dask("rank_candidates", X, y, X_val, y_val)
    problem = problem_of(estimator, "leave_out_params", "rank_candidates")
    expected = "an integer of at least 0"
    check_number("n_confirmed", n_confirmed, expected, kind=Integral, least=0, closed="left")
    _check_model(problem)
    more = problem.make_objective(problem.objective.formulation, X, y, None)
    validation = problem.check_samples(problem.formulation, X_val, y_val)
    additions = _Additions(problem, hessian_solver, n_jobs)
    loss_before = additions.loss(validation, additions.full.theta)
    change = additions.predict(more, validation) - loss_before
    reason, frozen, why = None, np.zeros(len(change), dtype=bool), ""
    if problem.is_whole:
        reason = why_no_refit(problem)
        moved, frozen, why = _moved_by_steps(problem, X, X_val, y_val, hessian_solver)
        change += moved
    indices = np.argsort(change, kind="stable")
    if problem.is_whole and reason is None:
        confirmed = [
            _whole_loss_with(problem, X, y, more, row, X_val, y_val) - loss_before
            for row in indices[:n_confirmed]
        ]
    else:
        confirmed = [
            additions.loss_with(more, row, validation) - loss_before
            for row in indices[:n_confirmed]
        ]
    confirmed = np.array(confirmed)
    if reason is None:  # refits show by how much the frozen steps matter
        frozen[indices[:n_confirmed][np.isfinite(confirmed)]] = False
    _warn_of_frozen_steps(problem, frozen, why, reason)
    _warn_of_difference(problem, change[indices[:n_confirmed]], confirmed)
    return Result(
        indices=indices,
        loss_change=change,
        confirmed_change=confirmed,
        loss_before=loss_before,
    )


def _warn_of_difference(problem, predicted, confirmed):
    """Warn if refits confirm other changes than those predicted."""
    known = np.isfinite(confirmed)
    largest = np.abs(confirmed[known]).max(initial=np.finfo(np.float64).tiny)
    apart = np.abs(predicted - confirmed)[known].max(initial=0.0)
    if apart > _APART * largest:
        steps = ", with the steps before it to first order," if problem.is_whole else ""
        warn(
            f"One Newton step{steps} does not reach the model with another sample: "
            "loss_change is off "
            f"from confirmed_change by up to {100 * apart / largest:.0f} % of the largest one "
            "of these, and that of other candidates may be off by as much. Confirm more of "
            "them (n_confirmed), or fit on more samples or with a stronger penalty."
        )


def _check_model(problem):
    check_newton(problem, "rank_candidates predicts the optimum with another sample")
    if problem.objective.design.has_metric:
        raise UnsupportedEstimatorError(
            f"rank_candidates of {problem.name}: each training sample of a kernel model has a "
            "parameter, so a new one has no Newton step. Use a linear model on features of "
            "the kernel, such as Nystroem."
        )


def _moved_by_steps(problem, X, X_val, y_val, hessian_solver):
    """Return the change in the mean validation loss through the steps of a pipeline, (m,).

    A mask (m,) tells for which candidates it is unknown and left out, and a clause why.
    """
    try:
        change = problem.loss_moved_by_steps(X, X_val, y_val, hessian_solver)
    except UnsupportedEstimatorError:
        change = np.zeros(count_rows(X))
        return change, np.ones(len(change), dtype=bool), ""
    why = "which have values beyond those that a step learned, or new words or categories, "
    return change, problem.chain.outside(X).any(axis=0), why


def _warn_of_frozen_steps(problem, frozen, why, no_refit):
    """Warn of candidates, a mask (m,), whose predictions keep the steps before the model.

    `why` tells what they have, `no_refit` why refits keep these steps, too.
    """
    if not frozen.any():
        return
    confirmed = "confirmed_change is that of refits of the whole pipeline."
    if no_refit is not None:
        confirmed = f"So does confirmed_change. The reason: {no_refit}"
    warn(
        f"rank_candidates predicts loss_change of {np.sum(frozen)} candidate(s), such as row "
        f"{np.argmax(frozen)}, {why}with the steps before the model as they were fitted: "
        f"{', '.join(learning_steps(problem.steps))}. {confirmed}"
    )


def _whole_loss_with(problem, X, y, more, row, X_val, y_val):
    """Return the mean validation loss of the pipeline's refit with one row, or NaN."""
    data = problem.data.append(take_rows(X, [row]), np.asarray(y)[[row]], None)
    weight = np.append(problem.objective.sample_weight, more.sample_weight[row])
    try:
        refit = problem.refit(data, weight, "exact")
    except ValueError:
        return np.nan
    return np.nan if refit is None else float(np.mean(refit.loss(X_val, y_val)))


class _Additions(Removals):
    """Models with one more row."""

    def loss(self, validation, theta):
        """Return the mean validation loss for parameters (..., K, D), (...)."""
        design, target = validation
        loss = self.objective.formulation.loss.loss(target, design.predict(theta))
        return np.mean(loss, axis=0)

    def predict(self, more, validation):
        """Return the mean validation loss with each row of `more`, by one Newton step."""
        point, factor = self.full.point, self.full.plain_factor
        objective, form = point.objective, point.objective.formulation
        if form.penalty_share is not None:
            heavier = objective.with_penalty_weight(1.0).at(point.theta)
            factor = self.solver.factorise(heavier)
        rows = form.weight_gradients(more.design, more.target, point.theta)
        epsilon = 1.0 / objective.weight_sum
        n_validation, K = validation[0].n_rows, point.theta.shape[0]

        def block_losses(block):
            steps = np.empty((block.stop - block.start, form.layout.size))
            target = more.target[block]
            if objective.balance is None:
                part = rows.take(block)
                convergence.newton_step(point, factor, epsilon, part, target, steps)
            else:
                part = more.design.take(block)
                convergence.balanced_newton_step(
                    point, self.solver, epsilon, part, target, steps
                )
            theta = point.theta + form.layout.from_public(steps)
            return self.loss(validation, theta)

        row_bytes = 8 * (4 * n_validation * K + 4 * form.layout.size)
        blocks = row_blocks(more.n_rows, row_bytes, n_jobs=self.n_jobs)
        return np.concatenate(run_blocks(block_losses, blocks, n_jobs=self.n_jobs))

    def loss_with(self, more, row, validation):
        """Return the mean validation loss of the refit with one row; NaN without optimum."""
        objective = replace(self.objective, index=None)
        base = self.base_at_optimum(objective.append(more.take([row])), self.full)
        return np.nan if base is None else self.loss(validation, base.theta)
