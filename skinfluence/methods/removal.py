"""Chapter C: the model without some of its training rows, without refitting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, overload

from numpy.typing import ArrayLike, DTypeLike, NDArray

from skinfluence._typing import Accuracy, CrossValidation, Floats, GroupsLike, MatrixLike
from skinfluence.methods.available import HasProblem, available
from skinfluence.solvers import HessianSolver

__all__ = ["RemovalMixin"]


class RemovalMixin(HasProblem):
    """Leave-one-out and group removal at three accuracies.

    "influence" is first order and additive over rows. "newton" is one Newton step of the
    reduced objective, exact for squared loss, with further steps for groups for which it is
    not accurate to about 1 %. "exact" is scikit-learn's refit: the error is usually below
    1e-8 of the change of the parameters, and 3e-7 is the largest measured. Groups that
    scikit-learn itself refits, as a warning then says, are as exact as its solver.
    All three start at the optimum of all rows, so they predict the converged refit from any
    fit. Frozen: class weights and hyperparameters as fitted. In a pipeline the steps before
    the model are fitted again without the rows.
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
        """Return the parameters of the model refitted without each group of rows.

        ``argmin of F with w_i = 0 for i in the group``, all else frozen.

        Parameters
        ----------
        groups : None, array-like of shape (n,) or list of index arrays, default=None
            None leaves out every training sample on its own; labels leave out the
            samples of each label, in the order of `np.unique`; a list of 1-d index
            arrays names the groups, which may overlap.
        cv : int, splitter or iterable, default=None
            The test folds are the groups; `groups` then goes to ``cv.split``.
        method : {"influence", "newton", "exact"}, default="newton"
            Accuracy: first order; a Newton step, refined if it is not accurate; the refit.
        refine : float, default=None
            Share of the groups, those with the largest Newton decrement, recomputed
            exactly. With "newton" only.
        return_bound : bool, default=False
            Also return a bound on the distance to the exact parameters,
            ``|grad F without the group| / min diag(penalty)``. Needs a convex loss
            and a penalty on every parameter, the intercept too.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1; results do not depend on it.
        n_jobs : int, default=None
            Number of joblib threads over stacks of groups.
        verbose : int, default=0
            Messages of joblib about progress; more of them for larger values.
        dtype : numpy dtype, default=None
            Type of the result, float64 by default. Computations are in float64.
        out : ndarray of shape (G, p), default=None
            Array or memmap to fill.

        Returns
        -------
        params : ndarray of shape (G, p)
            Parameters without each group, laid out as `params_`. NaN, with an
            `InfluenceWarning` that names the group, where there is no such model. Without an
            optimum of all rows, parameters without a value are NaN; of softmax all are.
        bound : ndarray of shape (G,)
            Bound on the error in the 2-norm. Only if `return_bound`.

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
        return self._problem("leave_out_params").leave_out_params(
            groups,
            cv=cv,
            method=method,
            refine=refine,
            return_bound=return_bound,
            hessian_solver=hessian_solver,
            n_jobs=n_jobs,
            verbose=verbose,
            dtype=dtype,
            out=out,
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
        """Return the loss of query samples under the model without each group of rows.

        The plain loss at the moved parameters: evaluated, not linearised.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (q, n_features)
            Query samples.
        y : array-like of shape (q,) or (q, n_targets)
            Their targets or labels.
        groups : None, array-like of shape (n,) or list of index arrays, default=None
            Which rows leave together, see `leave_out_params`.
        cv : int, splitter or iterable, default=None
            The test folds are the groups.
        method : {"influence", "newton", "exact"}, default="newton"
            Accuracy: first order; a Newton step, refined if it is not accurate; the refit.
        refine : float, default=None
            Share of the groups recomputed exactly, see `leave_out_params`.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1; results do not depend on it.
        n_jobs : int, default=None
            Number of joblib threads over stacks of groups.
        verbose : int, default=0
            Messages of joblib about progress; more of them for larger values.
        dtype : numpy dtype, default=None
            Type of the result, float64 by default. Computations are in float64.
        out : ndarray of shape (q, G), default=None
            Array or memmap to fill.

        Returns
        -------
        loss : ndarray of shape (q, G)
            Loss of each query without each group.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skinfluence.linear_model import LogisticRegression
        >>> X, y = load_iris(return_X_y=True)
        >>> clf = LogisticRegression(max_iter=1000).fit(X, y)
        >>> clf.leave_out_loss(X[:3], y[:3]).shape
        (3, 150)
        """
        return self._problem("leave_out_loss").leave_out_loss(
            X,
            y,
            groups,
            cv=cv,
            method=method,
            refine=refine,
            hessian_solver=hessian_solver,
            n_jobs=n_jobs,
            verbose=verbose,
            dtype=dtype,
            out=out,
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
        """Return for every training sample the prediction of a model that never saw it.

        `sklearn.model_selection.cross_val_predict` without refitting.

        Parameters
        ----------
        groups : None, array-like of shape (n,) or list of index arrays, default=None
            Which rows leave together, see `leave_out_params`. Every training sample must
            be in exactly one group.
        cv : int, splitter or iterable, default=None
            The test folds are the groups.
        method : {"influence", "newton", "exact"}, default="newton"
            Accuracy: first order; a Newton step, refined if it is not accurate; the refit.
        refine : float, default=None
            Share of the groups recomputed exactly, see `leave_out_params`.
        response_method : {"predict", "decision_function", "predict_proba"}, \
default="predict"
            Which response.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1; results do not depend on it.
        n_jobs : int, default=None
            Number of joblib threads over stacks of groups.
        verbose : int, default=0
            Messages of joblib about progress; more of them for larger values.

        Returns
        -------
        prediction : ndarray of shape (n,) or (n, n_responses)
            As the response method gives it.

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
        return self._problem("leave_out_predict").leave_out_predict(
            groups,
            cv=cv,
            method=method,
            refine=refine,
            response_method=response_method,
            hessian_solver=hessian_solver,
            n_jobs=n_jobs,
            verbose=verbose,
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
        """Return the score of the predictions of models that never saw their samples.

        The predictions of `leave_out_predict` of all groups are pooled and scored once.
        `sklearn.model_selection.cross_val_score` instead scores each fold and its mean is
        another number: by a little for a mean over samples, as accuracy, if folds differ in
        size, and in general for R^2 or the area under the ROC curve.

        Parameters
        ----------
        groups : None, array-like of shape (n,) or list of index arrays, default=None
            Which rows leave together, see `leave_out_params`. Every training sample must
            be in exactly one group.
        cv : int, splitter or iterable, default=None
            The test folds are the groups.
        scoring : str or callable, default=None
            A scoring of scikit-learn, or a scorer; None for the estimator's own `score`
            (accuracy or R^2; D^2 for the Poisson family).
        sample_weight : array-like of shape (n,), default=None
            Weights of the samples in the score; None counts each once, whatever their
            weights in the fit.
        method : {"influence", "newton", "exact"}, default="newton"
            Accuracy: first order; a Newton step, refined if it is not accurate; the refit.
        refine : float, default=None
            Share of the groups recomputed exactly, see `leave_out_params`.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1; results do not depend on it.
        n_jobs : int, default=None
            Number of joblib threads over stacks of groups.
        verbose : int, default=0
            Messages of joblib about progress; more of them for larger values.

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
        return self._problem("leave_out_score").leave_out_score(
            groups,
            cv=cv,
            scoring=scoring,
            sample_weight=sample_weight,
            method=method,
            refine=refine,
            hessian_solver=hessian_solver,
            n_jobs=n_jobs,
            verbose=verbose,
        )
