"""Estimators that remember their training data: fit, training data, parameters."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, Self

import sklearn
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from skinfluence import _version
from skinfluence._typing import Floats, MatrixLike
from skinfluence.exceptions import warn
from skinfluence.methods.available import HasProblem, available, why_not
from skinfluence.namespaces import as_given
from skinfluence.parameters import Coefficients
from skinfluence.problem import Problem
from skinfluence.responses import Responses

__all__ = ["FittedMixin", "ParameterMixin", "UnweightedMixin"]


class ParameterMixin(HasProblem):
    """Training data and the parameter vector."""

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
        self._problem("drop_training_data").drop_training_data()
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
        self._problem("set_training_data").set_training_data(X, y, sample_weight)
        return self

    @property
    def params_(self) -> Floats:
        """Parameters as one vector, `coef_.ravel()` then `intercept_`, shape (p,)."""
        self._check_has("params_")
        check_is_fitted(self)
        params, space = self._problem("params_").params, self._space()
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
        return self._problem("split_params").split_params(params)

    @available
    def param_names(self) -> list[str]:
        """Return a name for each entry of `params_`.

        Returns
        -------
        list of str
            Names such as ``"coef[setosa, petal length (cm)]"`` and ``"intercept[setosa]"``.
            If the model has only one output, the names omit it.
        """
        return self._problem("param_names").param_names()


class FittedMixin(ParameterMixin):
    """Remembers a fit's objective; inherit it before a scikit-learn class.

    An estimator adds two methods. `_formulate(y, sample_weight)` returns the `Formulation`
    that its `fit` minimised, or raises `UnsupportedEstimatorError`. `_tight_params(params)`
    returns constructor parameters for an accurate refit.
    """

    #: How the model stores its parameters.
    _parameters = Coefficients()
    #: How raw predictions become responses.
    _responses = Responses()
    #: Whether the loss has a curvature, for Newton steps.
    _has_curvature = True
    #: Whether the parameters minimise an objective instead of having a closed form.
    _has_objective = True
    #: Whether `fit` computes statistics of the targets, which change with the samples.
    _has_moving_target = False
    #: scikit-learn class that refits the model, None for the class that defines `fit`.
    _plain: type | None = None
    #: Whether scikit-learn's refits stop far from the optimum at any tolerance.
    _refits_stop_early = False
    #: Whether refits keep the removed rows, with weight zero. They do if the penalty depends
    #: on the number of samples, or if an optimum exists without any sample from a class.
    _refits_on_all_rows = False

    def fit(self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the model as scikit-learn does, and remember the training data.

        The arrays are kept by reference. The Hessian is factorised when a method needs it.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Target values.
        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights; None means ones.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        return self._fit_and_remember(X, y, sample_weight=sample_weight)

    def _fit_and_remember(self, X, y, **params):
        """Fit with scikit-learn's `fit` arguments, and remember the training data."""
        sample_weight = params.get("sample_weight")
        # With copy_X=False scikit-learn may centre and scale X in place, so the training
        # data would no longer match the fit.
        given = X if getattr(self, "copy_X", True) else _copied(X)
        before = vars(self).copy()
        problem = self._problem()
        try:
            problem.forget_fit()
            super().fit(self._lend(X, sample_weight), y, **params)
            problem.remember(given, y, sample_weight)
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise
        return self

    def _lend(self, X, sample_weight):
        """Return X for scikit-learn's `fit`, copied if `fit` would overwrite it."""
        return X

    def _layout(self):
        """Return the fitted parameters' shapes, for `_formulate`."""
        return self._parameters.layout(self)

    def _chosen_params(self):
        """Return the constructor parameters that refits keep."""
        return dict(self._influence_problem.params)

    def _score_pooled(self, pooled, X, y, **metadata):
        """Return the estimator's own score for an estimator with precomputed predictions."""
        return pooled.score(X, y, **metadata)

    def _weights_move(self, params):
        """Return why a value that `fit` chose moves with the weights in an unknown way."""

    def _problem(self, method: str | None = None) -> Any:
        """Return the problem for a method."""
        return Problem(self)

    def _space(self) -> Any:
        """Return the library and device of the training rows; None for NumPy."""
        return Problem(self).space

    def _check_has(self, name: str) -> None:
        """Raise AttributeError with the reason if the estimator cannot have a method."""
        reason = why_not(self, name)
        if reason is not None:
            raise AttributeError(reason)

    @classmethod
    def _parent_class(cls):
        """Return the parent class, to whose `fit` this class adds influence."""
        after = cls.__mro__[cls.__mro__.index(FittedMixin) + 1 :]
        return next(parent for parent in after if issubclass(parent, BaseEstimator))

    def __copy__(self):
        # A shallow copy shares the factorisation. By default `copy` would use the pickle
        # protocol, which drops it.
        copied = type(self).__new__(type(self))
        copied.__dict__.update(self.__dict__)
        return copied

    def __getstate__(self):
        state = super().__getstate__().copy()
        state.pop("_influence_state", None)
        state["_skinfluence_versions"] = (_version.__version__, sklearn.__version__)
        return state

    def __setstate__(self, state):
        state = dict(state)
        saved = state.pop("_skinfluence_versions", None)
        super().__setstate__(state)
        present = (_version.__version__, sklearn.__version__)
        if saved is None or tuple(saved) == present:
            return
        warn(
            f"This {type(self).__name__} was pickled with skinfluence {saved[0]} and "
            f"scikit-learn {saved[1]} and is read with skinfluence {present[0]} and "
            f"scikit-learn {present[1]}: results may differ. Fit it again."
        )
        fitted = getattr(self, "_influence_problem", None)
        if fitted is not None:
            # A newer scikit-learn may have removed constructor parameters used at the fit.
            known = {n: v for n, v in fitted.params.items() if n in self._get_param_names()}
            self._influence_problem = replace(fitted, params=known)


class UnweightedMixin(FittedMixin):
    """The same for a scikit-learn class whose `fit` takes no sample weights."""

    def fit(self, X: MatrixLike, y: ArrayLike) -> Self:  # type: ignore[override]
        """Fit the model as scikit-learn does, and store the training data.

        The arrays are kept by reference. Nothing is factorised until a method needs it.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data; sparse if scikit-learn accepts it.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Target values or labels.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        return self._fit_and_remember(X, y)


def _copied(X):
    """Return a copy of X, or None if there is not enough memory."""
    try:
        return copy.deepcopy(X)
    except Exception:
        return None
