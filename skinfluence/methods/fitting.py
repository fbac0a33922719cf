"""Estimators that remember their training data: fit, training data, parameters."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Self

import sklearn
from numpy.typing import ArrayLike

from skinfluence import _version
from skinfluence._typing import MatrixLike
from skinfluence.exceptions import warn
from skinfluence.methods.available import get_problem
from skinfluence.methods.convergence import ConvergenceMixin
from skinfluence.methods.diagnostics import DiagnosticsMixin
from skinfluence.methods.gradients import GradientMixin
from skinfluence.methods.influence import InfluenceMixin
from skinfluence.methods.metrics import MetricMixin
from skinfluence.methods.ranking import RankingMixin
from skinfluence.methods.removal import RemovalMixin
from skinfluence.methods.reweighting import ReweightMixin
from skinfluence.methods.updates import UpdateMixin
from skinfluence.parameters import Coefficients, GivenNames
from skinfluence.responses import Responses


class InfluenceMethods(
    GradientMixin,
    InfluenceMixin,
    RankingMixin,
    ConvergenceMixin,
    RemovalMixin,
    ReweightMixin,
    MetricMixin,
    UpdateMixin,
    DiagnosticsMixin,
):
    """All chapters, for any object that has a problem."""


class InfluenceEstimatorMixin(InfluenceMethods):
    """All chapters for an estimator that remembers its fit.

    Inherit it before the scikit-learn class.

    An estimator adds two methods. `_formulate(y, sample_weight)` returns the `Formulation`
    that its `fit` minimised, or raises `UnsupportedEstimatorError`. `_tight_params(params)`
    returns constructor parameters for an accurate refit, given those of the fit.
    """

    #: How the model stores its parameters.
    _parameters = Coefficients()
    #: What a composite around it calls its features and classes.
    _given_names = GivenNames()
    #: How raw predictions become responses.
    _responses = Responses()
    #: Whether the loss has a curvature, for Newton steps.
    _has_curvature = True
    #: Whether the parameters minimise an objective instead of having a closed form.
    _has_objective = True
    #: Whether `fit` computes statistics of the targets, which change with the samples.
    _has_moving_target = False
    #: scikit-learn class that refits the model with the parameters from `_tight_params`. None
    #: for the class that defines `fit`, which keeps its other parameters.
    _plain: type | None = None
    #: Whether scikit-learn's `fit` multiplies the weights into X in place if there is no
    #: intercept, even with copy_X=True, unless a conversion has copied X before.
    _weights_rows_in_place = False
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
        lent = X
        if (
            self._weights_rows_in_place
            and sample_weight is not None
            and not self.fit_intercept
        ):
            lent = copy.deepcopy(X) if self.copy_X else X
        before = vars(self).copy()
        problem = get_problem(self)
        try:
            problem.forget_fit()
            vars(self).pop("_given_names", None)
            super().fit(lent, y, **params)
            problem.remember(given, y, sample_weight)
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise
        return self

    def _layout(self):
        """Return the fitted parameters' shapes, for `_formulate`."""
        return self._parameters.layout(self)

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


class UnweightedMixin(InfluenceEstimatorMixin):
    """All chapters for an estimator whose `fit` takes no sample weights."""

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
