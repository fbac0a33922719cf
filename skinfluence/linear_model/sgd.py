"""Linear models fitted by stochastic gradient descent.

Gradient descent stops near the optimum, not at it. `convergence_report` measures the
distance, and `polish` moves the parameters to the optimum. Removal always starts from the
optimum.
"""

from __future__ import annotations

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
from skinfluence.methods import InfluenceEstimatorMixin, get_problem
from skinfluence.objective import Formulation
from skinfluence.targets import OneVsRestLabels, RealTarget, SignedLabels, balanced_by


class SGDInfluenceMixin(InfluenceEstimatorMixin):
    """Influence methods for stochastic gradient descent on a smooth objective."""

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
        """Fit the model as scikit-learn does, and store the training data.

        The estimator keeps references to the arrays. It factorises the Hessian only if a
        method needs it.

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
            Sample weights; None for ones.

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

    def _descent(self, y, loss, target, class_weight=None, balance=None):
        """Return the formulation of the objective for gradient descent."""
        name, layout = type(self).__name__, self._layout()
        if self.penalty not in ("l2", None):
            raise UnsupportedEstimatorError(
                f"{name}(penalty={self.penalty!r}) has no influence functions here, because "
                f"its penalty is not smooth: use penalty='l2', or {self._with_l1}."
            )
        if self.early_stopping:
            raise UnsupportedEstimatorError(
                f"{name}(early_stopping=True) has no influence functions here, because it "
                "fits on an unknown subset: use early_stopping=False."
            )
        strength = self.alpha * np.shape(y)[0] if self.penalty == "l2" else 0.0
        return Formulation(
            loss=loss,
            target=target,
            layout=layout,
            penalty=layout.of_coef(strength),
            class_weight=class_weight,
            balanced_by=balance,
        )

    def _smooth_loss(self, losses):
        """Return the loss; raise an error that suggests another if it is not smooth."""
        if self.loss not in losses:
            instead = {
                "epsilon_insensitive": "loss='squared_epsilon_insensitive'",
            }.get(self.loss, "loss='squared_hinge', or SmoothHingeLinearSVC")
            raise UnsupportedEstimatorError(
                f"{type(self).__name__}(loss={self.loss!r}) has no influence functions here, "
                f"because its loss is not smooth: use {instead}."
            )
        return losses[self.loss]

    def _tight_params(self, params):
        objective, alpha = get_problem(self).objective, params["alpha"]
        if params["penalty"] is not None:
            # The penalty is the one at `fit`, even if samples have been removed since.
            alpha = objective.penalty.max() / objective.n_rows
        return {
            "alpha": alpha,  # also determines the step sizes, even without a penalty
            "tol": None,
            "max_iter": max(1000, params["max_iter"]),
            "warm_start": False,
            "verbose": 0,
        }


class SGDClassifier(SGDInfluenceMixin, linear_model.SGDClassifier):
    """Linear classifier by stochastic gradient descent, with influence functions.

    Parameters, attributes and `fit` are the same as in
    :class:`sklearn.linear_model.SGDClassifier`. `fit` minimises this objective, with a
    smooth loss l, n samples with weights w, class weights c and labels y = +-1 in
    problem k::

        F = sum_ik w_i c_ik l(y_ik, eta_ik) + n alpha/2 |coef|^2

    The intercepts are not penalised. Two classes are one problem, and c_i is the weight for
    the class of row i. With more classes there is one problem for each class, and c_ik is
    the weight for class k if row i belongs to class k, else 1. "balanced" class weights
    move with the samples; they depend on their number, not on sample weights.

    The penalty is proportional to the number n of samples at `fit`. A removed sample still
    counts in n, as if it had weight zero. The refits in `leave_out_check` do the same, and
    come as close to the optimum as gradient descent does. A fit to the other samples alone
    has a penalty that is smaller by the share 1/n. If a sample has a small gradient, as most
    have, this moves the model more than the sample itself; LogisticRegression with
    ``C=1/(n alpha)`` has the same objective and a penalty that does not count samples. In a
    pipeline, behind steps that removal fits again, n is the number of the other samples.

    The smooth losses are "log_loss", "modified_huber", "squared_hinge", "squared_error"
    (with a factor 1/2), "huber" and "squared_epsilon_insensitive". With another loss, an l1
    penalty or early stopping, the estimator fits and predicts, but has no influence
    functions. After `partial_fit` the training data are not stored any more.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from skinfluence.linear_model import SGDClassifier
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> clf = SGDClassifier(loss="log_loss", alpha=0.01, random_state=0).fit(scale(X), y)
    >>> clf.convergence_report().convergence_ratio > 1  # larger than the effect of a row
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
        """Run one epoch on some samples, and drop the stored training data.

        Afterwards the parameters do not belong to the data from `fit` any more.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.
        y : array-like of shape (n_samples,)
            Labels.
        classes : array-like of shape (n_classes,), default=None
            All labels in all calls; required in the first call.
        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights; None for ones.

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
        get_problem(self).forget_fit()
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
        balance = balanced_by(self.class_weight, "count")
        return self._descent(y, loss, target, weight, balance)


class SGDRegressor(SGDInfluenceMixin, linear_model.SGDRegressor):
    """Linear regression by stochastic gradient descent, with influence functions.

    Parameters, attributes and `fit` are the same as in
    :class:`sklearn.linear_model.SGDRegressor`. `fit` minimises this objective, with a smooth
    loss l and n samples with weights w::

        F = sum_i w_i l(y_i, eta_i) + n alpha/2 |coef|^2

    The intercept is not penalised. The penalty is proportional to the number n of samples at
    `fit`. A removed sample still counts in n, as if it had weight zero. A fit to the other
    samples alone has a penalty that is smaller by the share 1/n, which may move the model more
    than the sample does; Ridge with ``alpha=n alpha`` has the same objective for squared
    errors, and a penalty that does not count samples. In a pipeline, behind steps that removal
    fits again, n is the number of the other samples.

    The smooth losses are "squared_error" (with a factor 1/2), "huber" and
    "squared_epsilon_insensitive". With another loss, an l1 penalty or early stopping, the
    estimator fits and predicts, but has no influence functions. After `partial_fit` the
    training data are not stored any more.

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
        """Run one epoch on some samples, and drop the stored training data.

        Afterwards the parameters do not belong to the data from `fit` any more.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.
        y : array-like of shape (n_samples,)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights; None for ones.

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
        get_problem(self).forget_fit()
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
