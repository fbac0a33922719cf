"""Linear models fitted by stochastic gradient descent.

Descent stops near the optimum, not at it: `convergence_report` says how near, `polish` goes
there, and removal is always from there.
"""

from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn import linear_model

from skinfluence._typing import MatrixLike
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.losses import (
    HalfHuberLoss,
    HalfSquaredLoss,
    LogisticLoss,
    ModifiedHuberLoss,
    SquaredEpsilonInsensitiveLoss,
    SquaredHingeLoss,
)
from skinfluence.methods import InfluenceEstimatorMixin
from skinfluence.objective import Formulation
from skinfluence.targets import OneVsRestLabels, RealTarget, SignedLabels

__all__ = ["SGDClassifier", "SGDRegressor"]


class SGDInfluenceMixin(InfluenceEstimatorMixin):
    """All chapters for stochastic gradient descent on a smooth objective."""

    _refits_on_all_rows = True
    _refits_stop_early = True

    def fit(  # type: ignore[override]  # scikit-learn's order of the arguments
        self,
        X: MatrixLike,
        y: ArrayLike,
        coef_init: ArrayLike | None = None,
        intercept_init: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Fit the model as scikit-learn does, and remember the training data.

        The arrays are kept by reference. Nothing is factorised before a method needs it.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,)
            Target values or labels.
        coef_init : ndarray of shape (n_features,) or (n_classes, n_features), default=None
            Coefficients to start from.
        intercept_init : ndarray of shape (1,) or (n_classes,), default=None
            Intercepts to start from.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples; None for ones.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        return self._fit_and_remember(
            X,
            y,
            coef_init=coef_init,
            intercept_init=intercept_init,
            sample_weight=sample_weight,
        )

    def _descent(self, y, loss, target, class_weight=None):
        """Return the formulation of what the descent goes down on."""
        name, layout = type(self).__name__, self._layout()
        if self.penalty not in ("l2", None):
            raise UnsupportedEstimatorError(
                f"{name}(penalty={self.penalty!r}) is not smooth and has no influence "
                f"function here: use penalty='l2', or {self._with_l1}."
            )
        if self.early_stopping:
            raise UnsupportedEstimatorError(
                f"{name}(early_stopping=True) holds out training samples without saying "
                "which: use early_stopping=False."
            )
        penalty = np.zeros(layout.shape)
        if self.penalty == "l2":
            penalty[:, : layout.n_features] = self.alpha * np.shape(y)[0]
        return Formulation(
            loss=loss,
            target=target,
            layout=layout,
            penalty=penalty,
            class_weight=class_weight,
        )

    def _smooth_loss(self, losses):
        """Return the loss, or say which one to take instead."""
        if self.loss not in losses:
            instead = {
                "epsilon_insensitive": "loss='squared_epsilon_insensitive'",
            }.get(self.loss, "loss='squared_hinge', or SmoothHingeLinearSVC")
            raise UnsupportedEstimatorError(
                f"{type(self).__name__}(loss={self.loss!r}) is not smooth and has no "
                f"influence function here: use {instead}."
            )
        return losses[self.loss]

    def _tight_params(self, params):
        objective, alpha = self._problem().objective, params["alpha"]
        if params["penalty"] is not None:
            # The penalty stays as it was for the samples of `fit`, whatever has left since.
            alpha = objective.penalty.max() / objective.n_rows
        return {
            "alpha": alpha,  # without a penalty, what the length of steps goes by
            "tol": None,
            "max_iter": max(1000, params["max_iter"]),
            "warm_start": False,
            "verbose": 0,
        }


class SGDClassifier(SGDInfluenceMixin, linear_model.SGDClassifier):
    """Linear classifier by stochastic gradient descent, with influence functions.

    Parameters, attributes and fit are those of
    :class:`sklearn.linear_model.SGDClassifier`. The objective with a smooth loss l, n
    samples with weights w, class weights c (frozen at fit) and labels y = +-1 of problem k::

        F = sum_ik w_i c_ik l(y_ik, eta_ik) + n alpha/2 |coef|^2

    with free intercepts. Two classes are one problem with the weights of both classes;
    several are one problem for each, where c_ik is the weight of class k for its own rows
    and 1 for the others; "balanced" weights come from the numbers of samples. The penalty
    counts samples: n is that of `fit`, and removed samples stay in it as samples of weight
    zero, which is what `leave_out_check` refits, as near to the optimum as descent comes.

    Smooth are "log_loss", "modified_huber", "squared_hinge", "squared_error" (with 1/2),
    "huber" and "squared_epsilon_insensitive". Other losses, l1 penalties and early stopping
    fit and predict, but have no influence here. `partial_fit` forgets the training data.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from skinfluence.linear_model import SGDClassifier
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> clf = SGDClassifier(loss="log_loss", alpha=0.01, random_state=0).fit(scale(X), y)
    >>> clf.convergence_report().convergence_ratio > 1  # by more than a row matters
    True
    >>> clf.polish().convergence_report().convergence_ratio < 1e-6
    True
    """

    _with_l1 = "LogisticRegression with l1_ratio"

    def partial_fit(
        self,
        X: MatrixLike,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Go one epoch over some samples, and forget the training data.

        The parameters are then no longer those of `fit`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.
        y : array-like of shape (n_samples,)
            Labels.
        classes : array-like of shape (n_classes,), default=None
            Labels of all calls; needed in the first one.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples; None for ones.

        Returns
        -------
        self : object
            The estimator.

        Examples
        --------
        >>> import numpy as np
        >>> from skinfluence.linear_model import SGDClassifier
        >>> X, y = np.array([[0.0], [1.0]]), [0, 1]
        >>> SGDClassifier(loss="log_loss").partial_fit(X, y, classes=[0, 1]).coef_.shape
        (1, 1)
        """
        self._problem().forget_fit()
        return super().partial_fit(X, y, classes=classes, sample_weight=sample_weight)

    def _formulate(self, y, sample_weight):
        loss = self._smooth_loss(
            {
                "log_loss": LogisticLoss(),
                "modified_huber": ModifiedHuberLoss(),
                "squared_hinge": SquaredHingeLoss(),
                "squared_error": HalfSquaredLoss(),
                "huber": HalfHuberLoss(self.epsilon),
                "squared_epsilon_insensitive": SquaredEpsilonInsensitiveLoss(self.epsilon),
            }
        )
        classes = self.classes_
        target = (OneVsRestLabels if len(classes) > 2 else SignedLabels)(classes)
        weight = target.class_weight(self.class_weight, y, None)
        if weight is not None:
            weight = target.one_sided(weight)
        return self._descent(y, loss, target, weight)

    def _tight_params(self, params):
        form = self._problem().fitted.formulation
        return super()._tight_params(params) | {"class_weight": form.frozen_class_weight()}


class SGDRegressor(SGDInfluenceMixin, linear_model.SGDRegressor):
    """Linear regression by stochastic gradient descent, with influence functions.

    Parameters, attributes and fit are those of
    :class:`sklearn.linear_model.SGDRegressor`. The objective with a smooth loss l and n
    samples with weights w::

        F = sum_i w_i l(y_i, eta_i) + n alpha/2 |coef|^2

    with a free intercept. The penalty counts samples: n is that of `fit`, and removed samples
    stay in it as samples of weight zero.

    Smooth are "squared_error" (with 1/2), "huber" and "squared_epsilon_insensitive". Other
    losses, l1 penalties and early stopping fit and predict, but have no influence here.
    `partial_fit` forgets the training data.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.linear_model import SGDRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> reg = SGDRegressor(alpha=0.01, random_state=0).fit(20 * X, y)
    >>> reg.polish().leave_out_params().shape
    (442, 11)
    """

    _with_l1 = "ElasticNet"

    def partial_fit(
        self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Go one epoch over some samples, and forget the training data.

        The parameters are then no longer those of `fit`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.
        y : array-like of shape (n_samples,)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples; None for ones.

        Returns
        -------
        self : object
            The estimator.

        Examples
        --------
        >>> import numpy as np
        >>> from skinfluence.linear_model import SGDRegressor
        >>> SGDRegressor().partial_fit(np.array([[0.0], [1.0]]), [0, 1]).coef_.shape
        (1,)
        """
        self._problem().forget_fit()
        return super().partial_fit(X, y, sample_weight=sample_weight)

    def _formulate(self, y, sample_weight):
        loss = self._smooth_loss(
            {
                "squared_error": HalfSquaredLoss(),
                "huber": HalfHuberLoss(self.epsilon),
                "squared_epsilon_insensitive": SquaredEpsilonInsensitiveLoss(self.epsilon),
            }
        )
        return self._descent(y, loss, RealTarget(1))
