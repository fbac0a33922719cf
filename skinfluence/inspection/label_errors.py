"""Ranking of training samples by how likely their labels are to be wrong."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args, overload

import numpy as np

from skinfluence._typing import Accuracy, DataFrame, Estimator, Floats, Indices
from skinfluence.checks import check_option, import_pandas
from skinfluence.pipeline import problem_of
from skinfluence.problem.ranking import named_rows, numbered
from skinfluence.problem.requests import Removal
from skinfluence.removal import METHODS
from skinfluence.solvers import HessianSolver

Strategy: TypeAlias = Literal["relabel", "leave_out_loss", "self_influence", "loss"]
STRATEGIES = get_args(Strategy)


@overload
def rank_label_errors(
    estimator: Estimator,
    *,
    strategy: Strategy = ...,
    method: Accuracy = ...,
    refine: float | None = ...,
    return_scores: Literal[False] = ...,
    as_frame: Literal[False] = ...,
    hessian_solver: str | HessianSolver = ...,
    n_jobs: int | None = ...,
) -> Indices: ...


@overload
def rank_label_errors(
    estimator: Estimator,
    *,
    strategy: Strategy = ...,
    method: Accuracy = ...,
    refine: float | None = ...,
    return_scores: Literal[True],
    as_frame: Literal[False] = ...,
    hessian_solver: str | HessianSolver = ...,
    n_jobs: int | None = ...,
) -> tuple[Indices, Floats]: ...


@overload
def rank_label_errors(
    estimator: Estimator,
    *,
    strategy: Strategy = ...,
    method: Accuracy = ...,
    refine: float | None = ...,
    return_scores: bool = ...,
    as_frame: Literal[True],
    hessian_solver: str | HessianSolver = ...,
    n_jobs: int | None = ...,
) -> DataFrame: ...


def rank_label_errors(
    estimator: Estimator,
    *,
    strategy: Strategy = "relabel",
    method: Accuracy = "newton",
    refine: float | None = None,
    return_scores: bool = False,
    as_frame: bool = False,
    hessian_solver: str | HessianSolver = "auto",
    n_jobs: int | None = None,
) -> Indices | tuple[Indices, Floats] | DataFrame:
    """Rank the training samples by how suspicious their labels are.

    The score of sample j depends on the strategy:

    - "relabel": decrease in loss with the best other label,
      ``l(x_j, y_j) - min_y l(x_j, y)``, under the model without sample j. If weight moves
      from one label of a sample to another, this difference is the derivative of the
      minimum of the objective; here the losses come from a model that has not seen the
      sample. With two classes the ranking equals that of "leave_out_loss". For a regressor
      the best other target is the prediction, which has the smallest possible loss, so the
      two strategies agree. If samples have several labels, it is the best other set of them.
      If an estimator normalises the probabilities of three or more classes that were each
      fitted against the rest, l is the sum of the losses that its members minimised. These
      estimators are OneVsRestClassifier, CalibratedClassifierCV with sigmoids or isotonic
      calibrators, and others around one of them. Such a probability is near 1 for every
      sample that surely belongs to its class, so the odds against a wrong label no longer
      contain how much speaks for the right one. With ``method="influence"`` behind steps that
      learn, l is always the loss of the estimator's probabilities.
    - "leave_out_loss": loss under the model without sample j.
    - "self_influence": ``-self_influence``, the amount by which the sample lowers its own
      loss. This score is also high for unusual samples with correct labels.
    - "loss": loss under the fitted model. It is too low for samples with high leverage.

    No strategy is always best: see the table in the documentation. If the model without a
    sample does not exist, the fitted model replaces it. Scores do not use class weights. They
    have no cut-off: read the list from the top, until corrections become rare.

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
    as_frame : bool, default=False
        Return a pandas DataFrame instead, a list to review.
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
        A higher score is more suspicious. For log losses "relabel" gives log-odds under the
        model without the sample: of the best other label, against the given one, as a sum
        over the members if l is one. Only returned if `return_scores` is true.
    table : DataFrame
        Only returned if `as_frame` is true: a row for each training sample, the most
        suspicious first, with the columns ``sample`` (its name in the index of the fitted
        X), ``position`` (its index), ``label`` (the label or target it has),
        ``proposed_label`` and ``score``. The proposal is the prediction of the model without
        the sample for the strategies "relabel" and "leave_out_loss", and that of the fitted
        model for the others. With several targets each has its own columns, ``label[0]``,
        ``label[1]``, and so on.

    Raises
    ------
    ValueError
        If an option is not known, or `refine` is given with another method than "newton".
    UnsupportedEstimatorError
        If the estimator cannot leave out samples, or has no influence for "self_influence".

    See Also
    --------
    most_influential_relabels : Few labels that would change a prediction.
    error_slices : Errors on other samples, by the training samples that cause them.
    outlier_test : P-values for targets of a least-squares regression.

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

    A list to review, of samples with names:

    >>> import pandas as pd
    >>> names = [f"patient {i}" for i in range(len(y))]
    >>> X = pd.DataFrame(scale(X), index=names)
    >>> clf = LogisticRegression(tol=1e-6).fit(X, y)
    >>> rank_label_errors(clf, as_frame=True).head(3).round(1)
            sample  position  label  proposed_label  score
    0   patient 50        50      0               1    6.8
    1  patient 297       297      0               1    5.8
    2  patient 213       213      0               1    5.5
    """
    check_option("strategy", strategy, STRATEGIES)
    removal = Removal(None, None, method, refine, hessian_solver, n_jobs)
    check_option("method", method, METHODS)
    pandas = import_pandas("as_frame=True") if as_frame else None
    problem = problem_of(estimator, composites=True)
    if as_frame:
        problem.refuse_dask("rank_label_errors with as_frame=True")
    proposed = None
    if problem.has_parts:
        scores, proposed = problem.suspicions(strategy, removal, as_frame)
    elif strategy == "self_influence":
        problem = problem_of(estimator, "self_influence", "rank_label_errors")
        scores = -np.asarray(problem.self_influence(removal))
        raw = _raw_predictions(problem) if as_frame else None
    else:
        left_out = None
        if strategy != "loss":
            problem = problem_of(estimator, "leave_out_predict", "rank_label_errors")
        relabel = strategy == "relabel" and problem.is_classifier
        lazy = problem.objective.is_distributed
        if strategy != "loss" and lazy:
            left_out, _ = problem.lazy_raw_without(removal)
        elif strategy != "loss":
            left_out = problem.raw_without(removal)
        if lazy:
            scores = problem.values_of_rows(_loss_scores, left_out, relabel)
        else:
            raw = _raw_predictions(problem, left_out)
            scores = _loss_scores(problem.objective, raw, relabel)
    indices = np.argsort(-scores, kind="stable")
    if pandas is None:
        return (indices, scores) if return_scores else indices
    if proposed is None:
        proposed = problem.respond(raw, "predict")
    columns = named_rows(problem, indices)
    columns |= numbered("proposed_label", np.asarray(proposed)[indices])
    return pandas.DataFrame(columns | {"score": scores[indices]})


def _raw_predictions(problem, left_out=None):
    """Return raw predictions of the training samples, (n, K).

    They come from `left_out` (n, K), or from the fit if it is None or NaN.
    """
    raw = problem.objective.design.predict(problem.theta)
    return raw if left_out is None else np.where(np.isnan(left_out), raw, left_out)


def _loss_scores(objective, raw, relabel):
    """Return the losses of an objective's rows, or their relabel scores, (n,)."""
    formulation = objective.formulation
    loss = formulation.loss.loss(objective.target, raw)
    if relabel:
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
