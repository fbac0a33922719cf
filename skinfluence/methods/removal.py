"""Chapter C: the model without some training rows, computed without refitting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, overload

from numpy.typing import ArrayLike, DTypeLike, NDArray

from skinfluence._typing import Accuracy, CrossValidation, Floats, GroupsLike, MatrixLike
from skinfluence.methods.available import available, get_problem
from skinfluence.problem.requests import Output, Removal
from skinfluence.solvers import HessianSolver


class RemovalMixin:
    """Leave-one-out and group removal at three accuracies.

    "influence" is first order and additive over rows. If a step before the model learns order
    statistics or choices, which jump as rows leave, a warning tells how far it is off on a few
    groups. "newton" takes one Newton step on the reduced objective, which is exact for squared
    loss. Groups for which this step is not accurate to about 1 % get further steps. "exact"
    agrees with scikit-learn's refit: the error is usually below 1e-8 times the parameter
    change, and the largest measured is 3e-7. If a support changes or an active set cannot be
    followed, scikit-learn itself refits the group, and the result is as exact as its solver.

    All three start at the optimum with all rows, so they predict the converged refit even if
    the fit has not converged. Hyperparameters stay as fitted. "balanced" class weights and
    ``gamma="scale"`` are computed without the rows, and in a pipeline the steps before the
    model are refitted without them.
    """

    @overload
    def leave_out_params(
        self,
        groups: GroupsLike = ...,
        *,
        cv: CrossValidation = ...,
        method: Accuracy = ...,
        refine: float | None = ...,
        return_bound: Literal[False] = ...,
        hessian_solver: str | HessianSolver = ...,
        n_jobs: int | None = ...,
        verbose: int = ...,
        dtype: DTypeLike | None = ...,
        out: Floats | None = ...,
    ) -> Floats: ...

    @overload
    def leave_out_params(
        self,
        groups: GroupsLike = ...,
        *,
        cv: CrossValidation = ...,
        method: Accuracy = ...,
        refine: float | None = ...,
        return_bound: Literal[True],
        hessian_solver: str | HessianSolver = ...,
        n_jobs: int | None = ...,
        verbose: int = ...,
        dtype: DTypeLike | None = ...,
        out: Floats | None = ...,
    ) -> tuple[Floats, Floats]: ...

    @available
    def leave_out_params(
        self,
        groups: GroupsLike = None,
        *,
        cv: CrossValidation = None,
        method: Accuracy = "newton",
        refine: float | None = None,
        return_bound: bool = False,
        hessian_solver: str | HessianSolver = "auto",
        n_jobs: int | None = None,
        verbose: int = 0,
        dtype: DTypeLike | None = None,
        out: Floats | None = None,
    ) -> Floats | tuple[Floats, Floats]:
        """Return the parameters after a refit without each group of rows.

        ``argmin F with w_i = 0 for i in the group``. "balanced" class weights and
        ``gamma="scale"`` in F are those without the group.

        Parameters
        ----------
        groups : None, array-like of shape (n,) or list of index arrays, default=None
            Rows that are left out together. None leaves out each training sample on its
            own. An array gives each sample's group label, and groups are ordered as in
            `np.unique`. A list contains one 1-d index array per group; groups may overlap.
        cv : int, splitter or iterable, default=None
            The test folds are the groups; `groups` is then passed to ``cv.split``.
        method : {"influence", "newton", "exact"}, default="newton"
            Accuracy: first order, a Newton step (refined if it is inaccurate), or the refit.
        refine : float, default=None
            Fraction of groups to recompute exactly, starting with the largest Newton
            decrement. Only with "newton".
        return_bound : bool, default=False
            Also return a bound on the distance to the exact parameters,
            ``|grad F without the group| / min diag(penalty)``. It requires a convex loss
            and a penalty on every parameter, including the intercept.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1. Results do not depend on it.
        n_jobs : int, default=None
            Number of joblib threads, which process groups in batches.
        verbose : int, default=0
            Verbosity level for joblib's progress messages. If it is positive,
            method="exact" says its cost before it starts.
        dtype : numpy dtype, default=None
            The result's dtype, float64 by default. Computations use float64.
        out : ndarray of shape (G, p), default=None
            Array or memmap that receives the result.

        Returns
        -------
        params : ndarray of shape (G, p)
            Parameters without each group, laid out as `params_`. If no model exists without
            a group, its row is NaN, and an `InfluenceWarning` names the group. If no optimum
            exists with all rows, parameters without a value are NaN; for softmax all
            parameters are. It is a lazy dask array if the training samples are dask arrays
            and `groups` is None.
        bound : ndarray of shape (G,)
            Bound on the error in the 2-norm. Returned only if `return_bound`.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.datasets import load_diabetes
        >>> from skinfluence.linear_model import Ridge
        >>> X, y = load_diabetes(return_X_y=True)
        >>> reg = Ridge(alpha=0.1).fit(X, y)
        >>> params = reg.leave_out_params()
        >>> refit = Ridge(alpha=0.1).fit(X[1:], y[1:])
        >>> bool(np.allclose(params[0], refit.params_, rtol=1e-9))
        True
        """
        return get_problem(self, "leave_out_params").leave_out_params(
            Removal(groups, cv, method, refine, hessian_solver, n_jobs, verbose),
            Output(dtype, out),
            return_bound=return_bound,
        )

    @available
    def leave_out_loss(
        self,
        X: MatrixLike,
        y: ArrayLike,
        groups: GroupsLike = None,
        *,
        cv: CrossValidation = None,
        method: Accuracy = "newton",
        refine: float | None = None,
        hessian_solver: str | HessianSolver = "auto",
        n_jobs: int | None = None,
        verbose: int = 0,
        dtype: DTypeLike | None = None,
        out: Floats | None = None,
    ) -> Floats:
        """Return the loss at query samples under the model without each group of rows.

        The plain loss is evaluated at the changed parameters and is not linearised. It is the
        loss of the converged refit, and `sample_loss` that of the fit as it is. For a change,
        ``leave_out_loss(X, y) - sample_loss(X, y)[:, None]``, call `polish` first or fit with
        ``tol=1e-8``: if the fit stopped early, the difference is one between two fits, and may
        be off by a third or more.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (q, n_features)
            Query samples.
        y : array-like of shape (q,) or (q, n_targets)
            Their targets or labels.
        groups : None, array-like of shape (n,) or list of index arrays, default=None
            Rows that are left out together, see `leave_out_params`.
        cv : int, splitter or iterable, default=None
            The test folds are the groups.
        method : {"influence", "newton", "exact"}, default="newton"
            Accuracy: first order, a Newton step (refined if it is inaccurate), or the refit.
        refine : float, default=None
            Fraction of groups to recompute exactly, see `leave_out_params`.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1. Results do not depend on it.
        n_jobs : int, default=None
            Number of joblib threads, which process groups in batches.
        verbose : int, default=0
            Verbosity level for joblib's progress messages. If it is positive,
            method="exact" says its cost before it starts.
        dtype : numpy dtype, default=None
            The result's dtype, float64 by default. Computations use float64.
        out : ndarray of shape (q, G), default=None
            Array or memmap that receives the result.

        Returns
        -------
        loss : ndarray of shape (q, G)
            Loss at each query without each group. It is a lazy dask array if the training
            samples are dask arrays and `groups` is None, or if the queries are, too.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skinfluence.linear_model import LogisticRegression
        >>> X, y = load_iris(return_X_y=True)
        >>> clf = LogisticRegression(max_iter=1000).fit(X, y)
        >>> clf.leave_out_loss(X[:3], y[:3]).shape
        (3, 150)
        """
        return get_problem(self, "leave_out_loss").leave_out_loss(
            X,
            y,
            Removal(groups, cv, method, refine, hessian_solver, n_jobs, verbose),
            Output(dtype, out),
        )

    @available
    def leave_out_predict(
        self,
        groups: GroupsLike = None,
        *,
        cv: CrossValidation = None,
        method: Accuracy = "newton",
        refine: float | None = None,
        response_method: Literal["predict", "decision_function", "predict_proba"] = "predict",
        hessian_solver: str | HessianSolver = "auto",
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> NDArray[Any]:
        """Return each training sample's prediction by a model fitted without its group.

        This is `sklearn.model_selection.cross_val_predict` without refitting the model. It
        predicts only the rows of each group, by the model without that group. For predictions
        of any samples without some rows, give these rows the weight 0 in `reweight_predict`,
        or call `remove_samples` on a copy.

        Parameters
        ----------
        groups : None, array-like of shape (n,) or list of index arrays, default=None
            Rows that are left out together, see `leave_out_params`. Every training sample must
            be in exactly one group.
        cv : int, splitter or iterable, default=None
            The test folds are the groups.
        method : {"influence", "newton", "exact"}, default="newton"
            Accuracy: first order, a Newton step (refined if it is inaccurate), or the refit.
        refine : float, default=None
            Fraction of groups to recompute exactly, see `leave_out_params`.
        response_method : {"predict", "decision_function", "predict_proba"}, \
default="predict"
            Which response to return.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1. Results do not depend on it.
        n_jobs : int, default=None
            Number of joblib threads, which process groups in batches.
        verbose : int, default=0
            Verbosity level for joblib's progress messages.

        Returns
        -------
        prediction : ndarray of shape (n,) or (n, n_responses)
            The response, in the response method's format. It is a lazy dask array if the
            training samples are dask arrays.

        Examples
        --------
        >>> from sklearn.datasets import load_breast_cancer
        >>> from sklearn.preprocessing import scale
        >>> from skinfluence.linear_model import LogisticRegression
        >>> X, y = load_breast_cancer(return_X_y=True)
        >>> clf = LogisticRegression().fit(scale(X), y)
        >>> round(float((clf.leave_out_predict(cv=5) == y).mean()), 2)
        0.98
        """
        return get_problem(self, "leave_out_predict").leave_out_predict(
            Removal(groups, cv, method, refine, hessian_solver, n_jobs, verbose),
            response_method=response_method,
        )

    @available
    def leave_out_score(
        self,
        groups: GroupsLike = None,
        *,
        cv: CrossValidation = None,
        scoring: str | Callable[..., Any] | None = None,
        sample_weight: ArrayLike | None = None,
        method: Accuracy = "newton",
        refine: float | None = None,
        hessian_solver: str | HessianSolver = "auto",
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> float:
        """Return the score for predictions by models fitted without each sample's group.

        The predictions from `leave_out_predict` are pooled over all groups and scored once.
        `sklearn.model_selection.cross_val_score` instead scores each fold, and the mean over
        folds differs from the pooled score. For a score that is a mean over samples, such as
        accuracy, it differs slightly and only if fold sizes differ. For R^2 or the area
        under the ROC curve it differs in general.

        Parameters
        ----------
        groups : None, array-like of shape (n,) or list of index arrays, default=None
            Rows that are left out together, see `leave_out_params`. Every training sample must
            be in exactly one group.
        cv : int, splitter or iterable, default=None
            The test folds are the groups.
        scoring : str or callable, default=None
            A scikit-learn scoring name or a scorer. None uses the estimator's own `score`
            (accuracy or R^2; D^2 for the Poisson family).
        sample_weight : array-like of shape (n,), default=None
            Sample weights in the score. None counts each sample once, even if the fit used
            weights.
        method : {"influence", "newton", "exact"}, default="newton"
            Accuracy: first order, a Newton step (refined if it is inaccurate), or the refit.
        refine : float, default=None
            Fraction of groups to recompute exactly, see `leave_out_params`.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1. Results do not depend on it.
        n_jobs : int, default=None
            Number of joblib threads, which process groups in batches.
        verbose : int, default=0
            Verbosity level for joblib's progress messages.

        Returns
        -------
        score : float
            Pooled score.

        Examples
        --------
        >>> from sklearn.datasets import load_diabetes
        >>> from skinfluence.linear_model import Ridge
        >>> reg = Ridge(alpha=0.1).fit(*load_diabetes(return_X_y=True))
        >>> round(reg.leave_out_score(scoring="neg_mean_absolute_error"), 1)
        -44.5
        """
        return get_problem(self, "leave_out_score").leave_out_score(
            Removal(groups, cv, method, refine, hessian_solver, n_jobs, verbose),
            scoring=scoring,
            sample_weight=sample_weight,
        )
