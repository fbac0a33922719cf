"""Logistic regression."""

import numpy as np
from sklearn import linear_model

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.losses import LogisticLoss, SoftmaxLoss
from skinfluence.mixins import InfluenceEstimatorMixin
from skinfluence.objective import Formulation
from skinfluence.targets import ClassCodes, SignedLabels

__all__ = ["LogisticRegression"]


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
        layout = self._layout()
        penalty = np.full(layout.shape, lam)
        if self.fit_intercept:
            free = self.solver != "liblinear"
            penalty[:, -1] = 0.0 if free else lam / self.intercept_scaling**2
        binary = len(self.classes_) == 2
        target = (SignedLabels if binary else ClassCodes)(self.classes_)
        weight = target.class_weight(self.class_weight, y, sample_weight)
        return Formulation(
            loss=LogisticLoss() if binary else SoftmaxLoss(),
            target=target,
            layout=layout,
            penalty=penalty,
            class_weight=None if weight is None else weight[:, None],
        )

    def _tight_params(self, params):
        form = self._influence_problem.formulation
        tight = {"tol": 1e-12, "max_iter": 100_000, "warm_start": False, "verbose": 0}
        if form.class_weight is not None:
            weights = form.class_weight[:, 0].tolist()
            tight["class_weight"] = dict(zip(self.classes_.tolist(), weights, strict=True))
        if params["solver"] != "liblinear":
            tight["solver"] = "newton-cholesky"
        return tight

    def _penalty_strength(self):
        """Return lambda = 1/C; 0 without penalty."""
        penalty = getattr(self, "penalty", "deprecated")
        C = np.inf if penalty is None else self.C
        l1_ratio = {"l1": 1.0, "l2": 0.0, None: 0.0}.get(penalty, self.l1_ratio)
        if penalty == "deprecated" and np.isinf(C):
            l1_ratio = 0.0  # no penalty at all
        if l1_ratio:
            raise UnsupportedEstimatorError(
                f"LogisticRegression with an l1 penalty (l1_ratio={l1_ratio:g}) is not smooth "
                "and has no influence function here: use l1_ratio=0."
            )
        return 1.0 / C
