"""Ranking of training samples by how likely their labels are to be wrong."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args, overload

import numpy as np

from skinfluence._typing import Accuracy, Estimator, Floats, Indices
from skinfluence.checks import check_option
from skinfluence.pipeline import is_composite, problem_of
from skinfluence.removal import METHODS
from skinfluence.solvers import HessianSolver

__all__ = ["rank_label_errors"]

Strategy: TypeAlias = Literal["relabel", "leave_out_loss", "self_influence", "loss"]
STRATEGIES = get_args(Strategy)


@overload
def rank_label_errors(
    estimator: Estimator,
    *,
    strategy: Strategy = ...,
    return_scores: Literal[False] = ...,
    hessian_solver: str | HessianSolver = ...,
    n_jobs: int | None = ...,
) -> Indices: ...


@overload
def rank_label_errors(
    estimator: Estimator,
    *,
    strategy: Strategy = ...,
    return_scores: Literal[True],
    hessian_solver: str | HessianSolver = ...,
    n_jobs: int | None = ...,
) -> tuple[Indices, Floats]: ...


def rank_label_errors(
    estimator: Estimator,
    *,
    strategy: Strategy = "relabel",
    method: Accuracy = "newton",
    refine: float | None = None,
    return_scores: bool = False,
    hessian_solver: str | HessianSolver = "auto",
    n_jobs: int | None = None,
) -> Indices | tuple[Indices, Floats]:
    """Rank the training samples by how suspicious their labels are.

    The score of sample j depends on the strategy:

    - "relabel": decrease in loss with the best other label,
      ``l(x_j, y_j) - min_y l(x_j, y)``, under the model without sample j. If weight moves
      from one label of a sample to another, this difference is the derivative of the
      minimum of the objective; here the losses come from a model that has not seen the
      sample. With two classes the ranking equals that of "leave_out_loss". For a regressor
      the best other target is the prediction, which has the smallest possible loss, so the
      two strategies agree. If samples have several labels, it is the best other set of them.
    - "leave_out_loss": loss under the model without sample j.
    - "self_influence": ``-self_influence``, the amount by which the sample lowers its own
      loss. This score is also high for unusual samples with correct labels.
    - "loss": loss under the fitted model. It is too low for samples with high leverage.

    No strategy is always best: see the table in the documentation. If the model without a
    sample does not exist, the fitted model replaces it. Scores do not use class weights.

    Parameters
    ----------
    estimator : object
        Fitted skinfluence estimator, or a pipeline that ends in one.
    strategy : {"relabel", "leave_out_loss", "self_influence", "loss"}, default="relabel"
        Score to rank by.
    method : {"influence", "newton", "exact"}, default="newton"
        Accuracy of the models without each sample. Only for "relabel" and "leave_out_loss".
    refine : float, default=None
        Fraction of samples to leave out exactly, starting with the largest Newton decrement.
        Only for "newton".
    return_scores : bool, default=False
        Whether to return the scores, too.
    hessian_solver : str or HessianSolver, default="auto"
        Solver for the Hessian H; results do not depend on it.
    n_jobs : int, default=None
        Number of joblib threads.

    Returns
    -------
    indices : ndarray of shape (n,)
        Indices of the training samples, the most suspicious first. Ties keep their order in
        the training data.
    scores : ndarray of shape (n,)
        Score of each training sample, in the order of the training data and in loss units.
        A higher score is more suspicious. Only returned if `return_scores` is true.

    References
    ----------
    Koh & Liang, "Understanding Black-box Predictions via Influence Functions", 2017,
    section 5.4, for self-influence.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from skinfluence.inspection import rank_label_errors
    >>> from skinfluence.linear_model import LogisticRegression
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> y[[50, 100, 150]] = 1 - y[[50, 100, 150]]
    >>> clf = LogisticRegression(tol=1e-6).fit(scale(X), y)
    >>> rank_label_errors(clf)[:5].tolist()
    [50, 297, 213, 150, 100]
    """
    check_option("strategy", strategy, STRATEGIES)
    check_option("method", method, METHODS)
    problem = problem_of(estimator, composites=True)
    problem.refuse_dask("rank_label_errors")
    options = {"hessian_solver": hessian_solver, "n_jobs": n_jobs}
    if is_composite(estimator):
        scores = problem.suspicions(strategy, method, refine, **options)
    elif strategy == "self_influence":
        problem = problem_of(estimator, "self_influence", "rank_label_errors")
        scores = -problem.self_influence(**options)
    elif strategy == "loss":
        scores = _loss_scores(problem, strategy, None)
    else:
        problem = problem_of(estimator, "leave_out_predict", "rank_label_errors")
        left_out = problem.raw_without(None, None, method, refine, **options, verbose=0)
        scores = _loss_scores(problem, strategy, left_out)
    indices = np.argsort(-scores, kind="stable")
    return (indices, scores) if return_scores else indices


def _loss_scores(problem, strategy, left_out):
    """Return the losses or relabel scores of the training samples, (n,).

    Raw predictions come from `left_out` (n, K), or from the fit if it is None or NaN.
    """
    objective = problem.objective
    formulation = objective.formulation
    raw = objective.design.predict(problem.theta)
    if left_out is not None:
        raw = np.where(np.isnan(left_out), raw, left_out)
    loss = formulation.loss.loss(objective.target, raw)
    if strategy == "relabel" and problem.is_classifier:
        loss -= _best_other_loss(formulation, objective.target, raw)
    return loss


def _best_other_loss(formulation, target, raw):
    """Return the smallest loss of each row over all other classes, (n,)."""
    encoder = formulation.target
    if not hasattr(encoder, "classes"):
        return _best_other_labels(formulation.loss, target, raw)
    codes = encoder.class_codes(target)
    best = np.full(len(codes), np.inf)
    for code, label in enumerate(encoder.classes):
        other = codes != code
        labels = np.full(int(other.sum()), label)
        loss = formulation.loss.loss(encoder.encode(labels), raw[other])
        best[other] = np.minimum(best[other], loss)
    return best


def _best_other_labels(loss, target, raw):
    """Return the smallest loss of each row over all other sets of labels, (n,).

    The loss is a sum over labels, so each label changes it by itself.
    """
    given = loss.loss(target, raw)
    change = np.empty(raw.shape)
    for label in range(raw.shape[1]):
        other = target.copy()
        other[:, label] *= -1.0
        change[:, label] = loss.loss(other, raw) - given
    fall = np.minimum(change, 0.0).sum(axis=1)
    return given + np.where(fall < 0, fall, change.min(axis=1))
