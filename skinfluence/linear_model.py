"""Linear models of scikit-learn with influence.

Same names, same parameters, same `fit`: each class adds methods and says which objective
its `fit` minimises.
"""

import numpy as np
from sklearn import linear_model
from sklearn.utils.class_weight import compute_class_weight

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.layout import ParameterLayout
from skinfluence.losses import LogisticLoss, SoftmaxLoss, SquaredLoss
from skinfluence.mixins import InfluenceEstimatorMixin
from skinfluence.objective import Formulation
from skinfluence.targets import ClassCodes, RealTarget, SignedLabels

__all__ = ["LogisticRegression", "Ridge"]


class LogisticRegression(InfluenceEstimatorMixin, linear_model.LogisticRegression):
    """Logistic regression of scikit-learn with influence functions.

    Parameters, attributes and fit are those of
    :class:`sklearn.linear_model.LogisticRegression`. The objective, with sample weights w
    and class weights c (frozen at fit, "balanced" ones too):

        F = sum_i w_i c_i log_loss(y_i, eta_i) + 1/(2 C) |coef|^2

    with a free intercept; solver="liblinear" penalises it by 1/(C intercept_scaling^2).
    Two classes have one output, more have one for each class (softmax). ``C=inf`` is no
    penalty. l1 and elastic-net penalties fit and predict, but have no influence here.

    Examples
    --------
    Which training flowers drive the prediction for the first one?

    >>> from sklearn.datasets import load_iris
    >>> from skinfluence.linear_model import LogisticRegression
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = LogisticRegression(max_iter=1000).fit(X, y)
    >>> influence, indices = clf.influential_samples(X[:1], y[:1], n_influential=3)
    >>> indices
    array([[20, 98, 18]])
    """

    def _formulate(self, y, sample_weight):
        lam = self._penalty_strength()
        n_classes, n_features = len(self.classes_), self.n_features_in_
        layout = ParameterLayout(len(self.coef_), n_features, self.fit_intercept)
        penalty = np.full(layout.shape, lam)
        if self.fit_intercept:
            free = self.solver != "liblinear"
            penalty[:, -1] = 0.0 if free else lam / self.intercept_scaling**2
        binary = n_classes == 2
        return Formulation(
            loss=LogisticLoss() if binary else SoftmaxLoss(),
            target=(SignedLabels if binary else ClassCodes)(self.classes_),
            layout=layout,
            penalty=penalty,
            class_weight=_class_weight(self, y, sample_weight),
        )

    def _penalty_strength(self):
        """Return lambda = 1/C; 0 without penalty."""
        penalty = getattr(self, "penalty", "deprecated")
        l1_ratio = self.l1_ratio if penalty == "deprecated" else 0.0
        if penalty in ("l1", "elasticnet") or l1_ratio:
            raise UnsupportedEstimatorError(
                f"LogisticRegression(penalty={penalty!r}, l1_ratio={self.l1_ratio!r}) is "
                "not smooth and has no influence function here: use l1_ratio=0."
            )
        return 0.0 if penalty is None else 1.0 / self.C


class Ridge(InfluenceEstimatorMixin, linear_model.Ridge):
    """Ridge regression of scikit-learn with influence functions.

    Parameters, attributes and fit are those of :class:`sklearn.linear_model.Ridge`. The
    objective, with sample weights w and targets k:

        F = sum_i w_i sum_k (y_ik - eta_ik)^2 + sum_k alpha_k |coef_k|^2

    with free intercepts. ``positive=True`` fits and predicts, but has no influence here.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.linear_model import Ridge
    >>> X, y = load_diabetes(return_X_y=True)
    >>> reg = Ridge(alpha=0.1).fit(X, y)
    >>> reg.influence_loss(X[:2], y[:2]).shape
    (2, 442)
    """

    def _formulate(self, y, sample_weight):
        if self.positive:
            raise UnsupportedEstimatorError(
                "Ridge(positive=True) has coefficients at the bound of its constraint "
                "and no influence function here: use positive=False."
            )
        n_outputs = np.atleast_2d(self.coef_).shape[0]
        layout = ParameterLayout(n_outputs, self.n_features_in_, self.fit_intercept)
        penalty = np.zeros(layout.shape)
        penalty[:, : layout.n_features] = 2.0 * np.reshape(self.alpha, (-1, 1))
        return Formulation(
            loss=SquaredLoss(),
            target=RealTarget(n_outputs),
            layout=layout,
            penalty=penalty,
        )


def _class_weight(estimator, y, sample_weight):
    """Return the weight of each class as scikit-learn's fit used it, (n_classes, 1)."""
    if estimator.class_weight is None:
        return None
    weight = compute_class_weight(
        estimator.class_weight,
        classes=estimator.classes_,
        y=np.asarray(y),
        sample_weight=sample_weight,
    )
    return np.asarray(weight, dtype=np.float64).reshape(-1, 1)
