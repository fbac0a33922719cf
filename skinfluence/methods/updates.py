"""Training data and parameters, changes to both in place, and refits that check removals."""

from __future__ import annotations

from typing import Self

from numpy.typing import ArrayLike
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from skinfluence._typing import (
    Accuracy,
    CrossValidation,
    Floats,
    GroupsLike,
    MatrixLike,
    RandomState,
)
from skinfluence.methods.available import available, get_problem, get_space, why_not
from skinfluence.namespaces import as_given
from skinfluence.problem.requests import Removal
from skinfluence.solvers import HessianSolver


class UpdateMixin:
    """Training data and parameters, changes to both, and refits that check removals."""

    @available
    def drop_training_data(self) -> Self:
        """Drop the training data, so that the pickle is small.

        Predictions stay available, and so do methods that need no training row. An example
        is `sample_loss`, except for kernel models, which predict from their training rows.
        `set_training_data` restores the data.

        Returns
        -------
        self : object
            The estimator.
        """
        get_problem(self, "drop_training_data").drop_training_data()
        return self

    @available
    def set_training_data(
        self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Set the training data for which the fitted estimator computes influence.

        Usually these are the data from the fit, after `drop_training_data` or unpickling.
        Other rows are also accepted, for example to fit on a subsample and explain with all
        rows. The parameters are then not the optimum on these rows. `convergence_report`
        measures the distance to the optimum, and `polish` moves the parameters there.

        Hyperparameters stay as fitted. "balanced" class weights become those of these rows.

        Parameters
        ----------
        X : {array-like, sparse matrix, dask array} of shape (n_samples, n_features)
            Training data, kept by reference. Dask arrays are read once, to check them.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Target values. Labels must be among those seen in `fit`.
        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights; None means ones.

        Returns
        -------
        self : object
            The estimator.
        """
        get_problem(self, "set_training_data").set_training_data(X, y, sample_weight)
        return self

    @property
    def params_(self) -> Floats:
        """Parameters as one vector, `coef_.ravel()` then `intercept_`, shape (p,)."""
        reason = why_not(self, "params_")
        if reason is not None:
            raise AttributeError(reason)
        check_is_fitted(self)
        params, space = get_problem(self, "params_").params, get_space(self)
        return params if space is None else as_given(params, space)

    @available
    def split_params(self, params: ArrayLike) -> tuple[Floats, Floats]:
        """Return parameter vectors split into the shapes of `coef_` and `intercept_`.

        Parameters
        ----------
        params : array-like of shape (..., p)
            Vectors laid out as `params_`, for example rows from `influence_params`.

        Returns
        -------
        coef : ndarray
            Coefficients: the leading axes from `params`, then the axes from `coef_`.
        intercept : ndarray
            Intercepts, likewise; zeros if `fit_intercept=False`.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skinfluence.linear_model import LogisticRegression
        >>> X, y = load_iris(return_X_y=True)
        >>> clf = LogisticRegression(max_iter=1000).fit(X, y)
        >>> coef, intercept = clf.split_params(clf.influence_params())
        >>> coef.shape, intercept.shape
        ((150, 3, 4), (150, 3))
        """
        return get_problem(self, "split_params").split_params(params)

    @available
    def param_names(self) -> list[str]:
        """Return a name for each entry of `params_`.

        Returns
        -------
        list of str
            Names such as ``"coef[setosa, petal length (cm)]"`` and ``"intercept[setosa]"``.
            If the model has only one output, the names omit it.
        """
        return get_problem(self, "param_names").param_names()

    @available
    def leave_out_check(
        self,
        n_checks: int | None = None,
        groups: GroupsLike = None,
        *,
        cv: CrossValidation = None,
        method: Accuracy = "newton",
        refine: float | None = None,
        random_state: RandomState = None,
        hessian_solver: str | HessianSolver = "auto",
        n_jobs: int | None = None,
    ) -> Bunch:
        """Return a comparison between predicted changes and actual scikit-learn refits.

        Half the checked groups are those with the largest predicted parameter changes; the
        other half are drawn at random from the remaining groups. Refits use the parent
        scikit-learn class with a tight tolerance, and compute "balanced" class weights and
        ``gamma="scale"`` without the group.

        Parameters
        ----------
        n_checks : int, default=None
            Number of refits. None means 20, or one for each group if there are fewer.
        groups : None, array-like of shape (n,) or list of index arrays, default=None
            Rows that are left out together, see `leave_out_params`.
        cv : int, splitter or iterable, default=None
            The test folds are the groups.
        method : {"influence", "newton", "exact"}, default="newton"
            Accuracy to check.
        refine : float, default=None
            Fraction of groups to recompute exactly, see `leave_out_params`.
        random_state : int, RandomState instance or None, default=None
            Source of randomness for the random half.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1. Results do not depend on it.
        n_jobs : int, default=None
            Number of joblib threads.

        Returns
        -------
        check : Bunch
            Measurements, as attributes:

            predicted, actual : ndarray of shape (n_checks, p)
                Parameter change from the optimum with all rows.
            indices : ndarray of shape (n_checks,)
                Groups that were refitted.
            pearson_r, slope : float
                Correlation and slope for actual against predicted changes, over all
                entries. Kernel models compare predictions for the training samples instead,
                because dual coefficients may not be unique.
            max_relative_error : float
                Largest ``|predicted - actual| / |actual|`` in the 2-norm, among groups that
                move the parameters by more than 1e-6 times their size.

        Examples
        --------
        >>> from sklearn.datasets import load_diabetes
        >>> from skinfluence.linear_model import Ridge
        >>> reg = Ridge(alpha=0.1).fit(*load_diabetes(return_X_y=True))
        >>> reg.leave_out_check(random_state=0).max_relative_error < 1e-9
        True
        """
        return get_problem(self, "leave_out_check").leave_out_check(
            n_checks,
            Removal(groups, cv, method, refine, hessian_solver, n_jobs),
            random_state=random_state,
        )

    @available
    def remove_samples(
        self,
        indices: ArrayLike,
        *,
        method: Accuracy = "exact",
        hessian_solver: str | HessianSolver = "auto",
    ) -> Self:
        """Remove training samples from the fitted model, in place.

        The parameters become the `leave_out_params` result for this group, and the samples
        are removed from the training data. To keep the model as it is, call this on a
        ``copy.deepcopy`` of it. A pickle contains the other training data, unless
        `drop_training_data` was called before.

        Parameters
        ----------
        indices : array-like of shape (m,) or int
            Positions of the training data rows to remove, from 0.
        method : {"influence", "newton", "exact"}, default="exact"
            Accuracy: first order, a Newton step (refined if it is inaccurate), or the refit.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1. Results do not depend on it.

        Returns
        -------
        self : object
            The estimator.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.datasets import load_diabetes
        >>> from skinfluence.linear_model import Ridge
        >>> X, y = load_diabetes(return_X_y=True)
        >>> reg = Ridge(alpha=0.1).fit(X, y).remove_samples([0, 1])
        >>> refit = Ridge(alpha=0.1).fit(X[2:], y[2:])
        >>> bool(np.allclose(reg.coef_, refit.coef_))
        True
        """
        get_problem(self, "remove_samples").remove_samples(
            indices, method=method, hessian_solver=hessian_solver
        )
        return self

    @available
    def add_samples(
        self,
        X: MatrixLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        hessian_solver: str | HessianSolver = "auto",
    ) -> Self:
        """Add samples to the training data and refit exactly, in place.

        Damped Newton steps start at the current parameters and minimise the enlarged
        objective. Class weights stay as fitted. Labels must have been seen in `fit`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (m, n_features)
            New training samples.
        y : array-like of shape (m,) or (m, n_targets)
            Their targets or labels.
        sample_weight : array-like of shape (m,), default=None
            Their weights; None means ones.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1. Results do not depend on it.

        Returns
        -------
        self : object
            The estimator.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.datasets import load_diabetes
        >>> from skinfluence.linear_model import Ridge
        >>> X, y = load_diabetes(return_X_y=True)
        >>> reg = Ridge(alpha=0.1).fit(X[:400], y[:400]).add_samples(X[400:], y[400:])
        >>> bool(np.allclose(reg.coef_, Ridge(alpha=0.1).fit(X, y).coef_))
        True
        """
        get_problem(self, "add_samples").add_samples(
            X, y, sample_weight, hessian_solver=hessian_solver
        )
        return self
