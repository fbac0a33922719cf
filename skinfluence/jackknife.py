"""Prediction intervals and prediction sets by jackknife+ and CV+, from single fits."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from skinfluence._typing import (
    Accuracy,
    CrossValidation,
    Estimator,
    Floats,
    GroupsLike,
    MatrixLike,
)
from skinfluence.blocks import row_blocks
from skinfluence.checks import check_number, count_rows, has_one_target
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.pipeline import problem_of
from skinfluence.problem.requests import Removal
from skinfluence.solvers import HessianSolver


def jackknife_plus_interval(
    estimator: Estimator,
    X: MatrixLike,
    *,
    confidence_level: float = 0.9,
    groups: GroupsLike = None,
    cv: CrossValidation = None,
    method: Accuracy = "newton",
    refine: float | None = None,
    hessian_solver: str | HessianSolver = "auto",
    n_jobs: int | None = None,
) -> Floats:
    """Return prediction intervals from the errors for left-out samples, without refits.

    Let mu_(i) be the model without training sample i, or without the group or the fold that
    contains it, and r_i = ``|y_i - mu_(i)(x_i)|`` its absolute error for that sample. The
    interval at x has these ends, with n training samples::

        lower = the floor((1 - level) (n + 1))-th smallest mu_(i)(x) - r_i
        upper = the ceil(level (n + 1))-th smallest mu_(i)(x) + r_i

    Single samples give the jackknife+, and folds give CV+. If training and new samples are
    exchangeable, the jackknife+ interval contains the new target with probability at least
    ``2 level - 1`` for any model, and usually with probability near `level`. Groups that
    leave together give the errors for samples from new groups. Hyperparameters are frozen. In
    a pipeline, each model without a sample includes all steps. For squared error these models
    are exact.

    Parameters
    ----------
    estimator : object
        Fitted skinfluence regressor with one target, a pipeline that ends in one, or a
        regressor around others.
    X : {array-like, sparse matrix} of shape (q, n_features)
        Samples to predict.
    confidence_level : float, default=0.9
        Level: the intended fraction of new targets inside their intervals. The quantiles do
        not use sample weights.
    groups : None, array-like of shape (n,) or list of index arrays, default=None
        Training samples that are left out together, see `leave_out_params`. None leaves out
        each sample on its own. Every training sample must be in exactly one group.
    cv : int, splitter or iterable, default=None
        The test folds are the groups.
    method : {"influence", "newton", "exact"}, default="newton"
        Accuracy of the models without each group.
    refine : float, default=None
        Fraction of groups to leave out exactly, see `leave_out_params`.
    hessian_solver : str or HessianSolver, default="auto"
        Solver for the Hessian H; results do not depend on it.
    n_jobs : int, default=None
        Number of joblib threads over groups.

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

    See Also
    --------
    jackknife_plus_set : Prediction sets of classifiers.

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
    problem = problem_of(estimator, composites=True)
    problem.refuse_dask("jackknife_plus_interval", X)
    if problem.is_classifier or not has_one_target(problem.training_target):
        raise ValueError(
            "jackknife_plus_interval is for regressors with one target. Use "
            "jackknife_plus_set for a classifier, and fit one model for each of several "
            "targets."
        )
    check_number("confidence_level", confidence_level, "between 0 and 1", least=0, most=1)
    problem = problem_of(
        estimator, "leave_out_predict", "jackknife_plus_interval", composites=True
    )
    intervals = _Intervals(np.ravel(problem.training_target), count_rows(X), confidence_level)
    removal = Removal(groups, cv, method, refine, hessian_solver, n_jobs)
    problem.predictions_without(X, removal, intervals.visit, response_method="predict")
    return intervals.finish()


def jackknife_plus_set(
    estimator: Estimator,
    X: MatrixLike,
    *,
    confidence_level: float = 0.9,
    groups: GroupsLike = None,
    cv: CrossValidation = None,
    method: Accuracy = "newton",
    refine: float | None = None,
    hessian_solver: str | HessianSolver = "auto",
    n_jobs: int | None = None,
) -> NDArray[np.bool_]:
    """Return prediction sets of a classifier from left-out samples, without refits.

    Let p_(i)(k | x) be the probability of class k under the model without training sample i,
    or without the group or the fold that contains it. With n training samples, the set at x
    contains class k if ::

        1 + #{i : p_(i)(y_i | x_i) <= p_(i)(k | x)} > (1 - level) (n + 1)

    It leaves out the classes that fit x worse than almost all training samples fit their own
    class. Single samples give the jackknife+, and folds give CV+. If training and new samples
    are exchangeable, the jackknife+ set contains the new label with probability at least
    ``2 level - 1`` for any model, and usually with probability near `level`. A set may be
    empty or contain all classes. Hyperparameters are frozen. In a pipeline, each model
    without a sample includes all steps.

    Classifiers without probabilities use their decision function instead, with both signs
    for two classes.

    Parameters
    ----------
    estimator : object
        Fitted skinfluence classifier with one target, a pipeline that ends in one, or a
        classifier around others.
    X : {array-like, sparse matrix} of shape (q, n_features)
        Samples to predict.
    confidence_level : float, default=0.9
        Level: the intended fraction of new labels inside their sets. The counts do not use
        sample weights.
    groups : None, array-like of shape (n,) or list of index arrays, default=None
        Training samples that are left out together, see `leave_out_params`. None leaves out
        each sample on its own. Every training sample must be in exactly one group.
    cv : int, splitter or iterable, default=None
        The test folds are the groups.
    method : {"influence", "newton", "exact"}, default="newton"
        Accuracy of the models without each group.
    refine : float, default=None
        Fraction of groups to leave out exactly, see `leave_out_params`.
    hessian_solver : str or HessianSolver, default="auto"
        Solver for the Hessian H; results do not depend on it.
    n_jobs : int, default=None
        Number of joblib threads over groups.

    Returns
    -------
    prediction_set : ndarray of bool, shape (q, n_classes)
        Whether the set contains each class, in the order of `classes_`. All are True if there
        are too few training samples for the level.

    Raises
    ------
    ValueError
        If the estimator is no classifier or has several targets, or if `confidence_level` is
        not between 0 and 1.

    See Also
    --------
    jackknife_plus_interval : Prediction intervals of regressors.

    References
    ----------
    Romano, Sesia & Candes, "Classification with valid and adaptive coverage", NeurIPS 2020,
    sections 2.3 and 3.2; the score is that of Sadinle, Lei & Wasserman, "Least ambiguous
    set-valued classifiers with bounded error levels", JASA 114, 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from skinfluence.linear_model import LogisticRegression
    >>> from skinfluence.model_selection import jackknife_plus_set
    >>> X, y = load_digits(return_X_y=True)
    >>> clf = LogisticRegression(C=0.01).fit(X[::4] / 16, y[::4])
    >>> sets = jackknife_plus_set(clf, X[1::4] / 16)
    >>> sets.shape
    (449, 10)
    >>> float(sets[np.arange(449), y[1::4]].mean().round(2))
    0.89
    """
    problem = problem_of(estimator, composites=True)
    problem.refuse_dask("jackknife_plus_set", X)
    if not problem.is_classifier or not has_one_target(problem.training_target):
        raise ValueError(
            "jackknife_plus_set is for classifiers with one target. Use "
            "jackknife_plus_interval for a regressor, and fit one model for each of several "
            "targets."
        )
    check_number("confidence_level", confidence_level, "between 0 and 1", least=0, most=1)
    response_method = _response_of_classes(problem)
    problem = problem_of(estimator, "leave_out_predict", "jackknife_plus_set", composites=True)
    classes = problem.estimator.classes_
    codes = np.searchsorted(classes, np.ravel(problem.training_target))
    signed = response_method == "decision_function" and len(classes) == 2
    sets = _Sets(codes, len(classes), signed, count_rows(X), confidence_level)
    removal = Removal(groups, cv, method, refine, hessian_solver, n_jobs)
    problem.predictions_without(X, removal, sets.visit, response_method=response_method)
    return sets.finish()


class _Intervals:
    """The ends of the intervals, from predictions without each group.

    Parameters
    ----------
    y : ndarray of shape (n,)
        Training targets.
    n_queries : int
        Number of samples to predict, q.
    level : float
        Confidence level.
    """

    def __init__(self, y, n_queries, level):
        self.y, self.level = y, level
        self.interval = np.empty((n_queries, 2))
        self.interval[:] = -np.inf, np.inf
        self.pieces, self.lock = [], threading.Lock()

    def visit(self, queries, rows, owner, own, predicted):
        """Take predictions, see `predictions_without`."""
        residual = np.abs(self.y[rows] - own.reshape(len(rows)))
        predicted = predicted.reshape(*predicted.shape[:2])
        known = np.isfinite(residual)
        piece = predicted, owner[known], residual[known]
        if len(predicted) < len(self.interval):  # all groups, for some samples
            self._write(self.interval[queries], *piece)
            return
        with self.lock:
            self.pieces.append(piece)

    def finish(self):
        """Return the intervals, (q, 2)."""
        if self.pieces:
            predicted, owner, residual = zip(*self.pieces, strict=True)
            starts = np.cumsum([0, *(values.shape[1] for values in predicted)])
            owner = [values + start for values, start in zip(owner, starts, strict=False)]
            predicted, owner = np.concatenate(predicted, axis=1), np.concatenate(owner)
            self._write(self.interval, predicted, owner, np.concatenate(residual))
        return self.interval

    def _write(self, interval, predicted, owner, residual):
        """Write the ends (m, 2) from predictions (m, g) and errors (r,) of groups' samples."""
        n = len(residual)
        # Round first, because rounding error could turn the 90th rank into the 91st.
        upper = int(np.ceil(round(self.level * (n + 1), 9)))
        lower = int(np.floor(round((1 - self.level) * (n + 1), 9)))
        for block in row_blocks(len(predicted), 8 * 4 * n):
            centre = predicted[block][:, owner]
            if lower >= 1:
                below = np.partition(centre - residual, lower - 1, axis=1)
                interval[block, 0] = below[:, lower - 1]
            if upper <= n:
                above = np.partition(centre + residual, upper - 1, axis=1)
                interval[block, 1] = above[:, upper - 1]


class _Sets:
    """The classes in each set, from responses without each group.

    Parameters
    ----------
    codes : ndarray of int, shape (n,)
        Training labels as positions in the classes.
    n_classes : int
        Number of classes, C.
    signed : bool
        Whether the response is one value, positive for the second of two classes.
    n_queries : int
        Number of samples to predict, q.
    level : float
        Confidence level.
    """

    def __init__(self, codes, n_classes, signed, n_queries, level):
        self.codes, self.signed, self.level = codes, signed, level
        self.count = np.zeros((n_queries, n_classes), dtype=np.intp)
        self.n_compared = np.zeros(n_queries, dtype=np.intp)
        self.lock = threading.Lock()

    def visit(self, queries, rows, owner, own, predicted):
        """Take responses, see `predictions_without`."""
        own = self._by_class(own)[np.arange(len(rows)), self.codes[rows]]
        predicted = self._by_class(predicted)
        m, g, C = predicted.shape
        if len(owner) == g:  # one sample in each group
            found = (own[:, None] <= predicted[:, owner]).sum(axis=1)
        else:
            found = np.zeros((m, C), dtype=np.intp)
            order = np.lexsort((own, owner))
            ends = np.searchsorted(owner[order], np.arange(g + 1))
            for j in range(g):
                worst_first = own[order[ends[j] : ends[j + 1]]]
                found += np.searchsorted(worst_first, predicted[:, j], side="right")
        with self.lock:
            self.count[queries] += found
            self.n_compared[queries] += len(rows)

    def finish(self):
        """Return the sets, (q, C)."""
        # Round first, because rounding error could turn 10 into 9.
        needed = np.floor(np.round((1 - self.level) * (self.n_compared + 1), 9))
        return self.count >= needed[:, None]

    def _by_class(self, response):
        """Return responses with one value for each class, (..., C)."""
        return np.stack([-response, response], axis=-1) if self.signed else response


def _response_of_classes(problem):
    """Return the response that has a value for each class, or a signed one for two classes."""
    estimator = problem.estimator
    if _has_probabilities(problem):
        return "predict_proba"
    if not hasattr(estimator, "decision_function"):
        raise ValueError(
            f"{problem.name} has neither predict_proba nor decision_function, and a set needs "
            "one of them. Use voting='soft' for a VotingClassifier."
        )
    pairs = getattr(estimator, "decision_function_shape", "ovr") == "ovo"
    if pairs and len(estimator.classes_) > 2:
        raise ValueError(
            "A set needs one value for each class: use decision_function_shape='ovr'."
        )
    return "decision_function"


def _has_probabilities(problem):
    """Return whether the estimator has probabilities that follow from its parameters."""
    if not hasattr(problem.estimator, "predict_proba"):
        return False
    if problem.has_parts:
        return True
    try:
        problem.responses.check("predict_proba")
    except UnsupportedEstimatorError:
        return False
    return True
