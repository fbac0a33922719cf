"""Training samples whose labels are likely to be wrong."""

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

    - "relabel": by how much the loss of the sample falls with the best other label,
      ``l(x_j, y_j) - min_y l(x_j, y)`` under the model without sample j. The derivative of
      the smallest objective, as weight moves from one label of a sample to another, is the
      difference of the two losses; judged by a model that has not seen the sample. With two
      classes the ranking is that of "leave_out_loss". For a regressor the best other target
      is what is predicted, which has the smallest loss there is, so the two are the same.
    - "leave_out_loss": plain loss of the sample under the model without it.
    - "self_influence": how much the sample lowers its own loss, ``-self_influence``; also
      high for samples that are right and unusual.
    - "loss": plain loss under the fitted model, which a sample of high leverage keeps low.

    None of them wins everywhere: see the table in the documentation. Where there is no model
    without a sample, the fitted model takes its place. Class weights are not in the scores.

    Parameters
    ----------
    estimator : object
        Fitted estimator of skinfluence, or a pipeline that ends in one.
    strategy : {"relabel", "leave_out_loss", "self_influence", "loss"}, default="relabel"
        What makes a label suspicious.
    method : {"influence", "newton", "exact"}, default="newton"
        Accuracy of the models without each sample, for "relabel" and "leave_out_loss".
    refine : float, default=None
        Share of the samples, those with the largest Newton decrement, that are left out
        exactly. With "newton" only.
    return_scores : bool, default=False
        Return the scores with the ranking.
    hessian_solver : str or HessianSolver, default="auto"
        How to apply H^-1; results do not depend on it.
    n_jobs : int, default=None
        Number of joblib threads.

    Returns
    -------
    indices : ndarray of shape (n,)
        Training samples, the most suspicious first; ties in their order.
    scores : ndarray of shape (n,)
        Score of each training sample in the order of the training data, in units of the
        loss; higher is more suspicious. Only if `return_scores`.

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
    """Return losses of the training samples at the fit, or at raw predictions left out."""
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
    """Return the smallest loss of each row over the classes it does not have, (n,)."""
    encoder = formulation.target
    own = encoder.class_codes(target)
    best = np.full(len(own), np.inf)
    for code, label in enumerate(encoder.classes):
        other = own != code
        labels = np.full(int(other.sum()), label)
        loss = formulation.loss.loss(encoder.encode(labels), raw[other])
        best[other] = np.minimum(best[other], loss)
    return best
