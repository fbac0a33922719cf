"""Chapter C, continued: any metric of the model without some training rows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, overload

from numpy.typing import ArrayLike

from skinfluence._typing import (
    Accuracy,
    CrossValidation,
    Floats,
    GroupsLike,
    MatrixLike,
    Scoring,
)
from skinfluence.methods.available import available, get_problem
from skinfluence.problem.requests import Removal
from skinfluence.solvers import HessianSolver


class MetricMixin:
    """Scores by scikit-learn's scorers for models without some training rows."""

    @overload
    def leave_out_metric(
        self,
        X: MatrixLike,
        y: ArrayLike,
        *,
        scoring: str | None = ...,
        groups: GroupsLike = ...,
        cv: CrossValidation = ...,
        sample_weight: ArrayLike | None = ...,
        method: Accuracy = ...,
        refine: float | None = ...,
        hessian_solver: str | HessianSolver = ...,
        n_jobs: int | None = ...,
        verbose: int = ...,
    ) -> Floats: ...

    @overload
    def leave_out_metric(
        self,
        X: MatrixLike,
        y: ArrayLike,
        *,
        scoring: Callable[..., Any] | Collection[str] | Mapping[str, Any],
        groups: GroupsLike = ...,
        cv: CrossValidation = ...,
        sample_weight: ArrayLike | None = ...,
        method: Accuracy = ...,
        refine: float | None = ...,
        hessian_solver: str | HessianSolver = ...,
        n_jobs: int | None = ...,
        verbose: int = ...,
    ) -> Any: ...

    @available
    def leave_out_metric(
        self,
        X: MatrixLike,
        y: ArrayLike,
        *,
        scoring: Scoring = None,
        groups: GroupsLike = None,
        cv: CrossValidation = None,
        sample_weight: ArrayLike | None = None,
        method: Accuracy = "newton",
        refine: float | None = None,
        hessian_solver: str | HessianSolver = "auto",
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> Any:
        """Return the score on query samples for the model without each group of rows.

        Entry g is ``scorer(model_g, X, y)``, and model_g is fitted without group g. The
        scorer is scikit-learn's, so it may be any metric: the area under the ROC curve, F1
        or R^2. The metric is evaluated and not linearised.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (q, n_features)
            Query samples. They must be held out: a score on training samples mixes rows that
            a model was fitted on with rows that it was not.
        y : array-like of shape (q,) or (q, n_targets)
            Their targets or labels.
        scoring : str, callable, list, tuple, set, dict or None, default=None
            One or several scorers, as in :func:`sklearn.metrics.check_scoring`. A callable
            is called as ``scoring(estimator, X, y)`` with a copy of the fitted object that
            has the parameters without a group, and returns a number or a dict of numbers.
            None uses the estimator's own `score`.
        groups : None, array-like of shape (n,) or list of index arrays, default=None
            Rows that are left out together, see `leave_out_params`.
        cv : int, splitter or iterable, default=None
            The test folds are the groups.
        sample_weight : array-like of shape (q,), default=None
            Weights of the query samples in the score.
        method : {"influence", "newton", "exact"}, default="newton"
            Accuracy: first order, a Newton step (refined if it is inaccurate), or the refit.
        refine : float, default=None
            Fraction of groups to recompute exactly, see `leave_out_params`.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1. Results do not depend on it.
        n_jobs : int, default=None
            Number of joblib threads, which process groups in batches. If there are several,
            threads call the scorer at the same time.
        verbose : int, default=0
            Verbosity level for joblib's progress messages.

        Returns
        -------
        score : ndarray of shape (G,) or dict of such arrays
            Score without each group, in the metric's units; higher is better for
            scikit-learn's scorers. Several scorers return a dict. If no model exists without
            a group, the score is NaN, and an `InfluenceWarning` names the group. The arrays
            are lazy dask arrays if the training samples are dask arrays and no groups are
            given.

        Raises
        ------
        ValueError
            If a scorer is not known or does not return numbers.

        See Also
        --------
        leave_out_score : Scores each training sample by the model without its group.

        Examples
        --------
        The area under the curve on new samples, without each of 10 groups:

        >>> from sklearn.datasets import load_breast_cancer
        >>> from sklearn.preprocessing import StandardScaler
        >>> from skinfluence.linear_model import LogisticRegression
        >>> from skinfluence.pipeline import make_pipeline
        >>> X, y = load_breast_cancer(return_X_y=True)
        >>> pipe = make_pipeline(StandardScaler(), LogisticRegression()).fit(X[:300], y[:300])
        >>> auc = pipe.leave_out_metric(X[300:], y[300:], scoring="roc_auc", cv=10)
        >>> auc.shape
        (10,)
        """
        return get_problem(self, "leave_out_metric").leave_out_metric(
            X,
            y,
            Removal(groups, cv, method, refine, hessian_solver, n_jobs, verbose),
            scoring=scoring,
            sample_weight=sample_weight,
        )
