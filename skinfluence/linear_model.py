"""Linear models of scikit-learn with influence.

Same names, same parameters, same `fit`: each class adds methods and says which objective
its `fit` minimises.
"""

import numpy as np
from sklearn import linear_model
from sklearn.metrics import d2_tweedie_score

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.losses import LogisticLoss, PoissonLoss, SoftmaxLoss, SquaredLoss
from skinfluence.mixins import InfluenceEstimatorMixin
from skinfluence.objective import Formulation
from skinfluence.targets import ClassCodes, RealTarget, SignedLabels

__all__ = ["LogisticRegression", "PoissonRegressor", "Ridge"]


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
        layout = self._layout()
        penalty = np.zeros(layout.shape)
        penalty[:, : layout.n_features] = 2.0 * np.reshape(self.alpha, (-1, 1))
        return Formulation(
            loss=SquaredLoss(),
            target=RealTarget(layout.n_outputs),
            layout=layout,
            penalty=penalty,
        )

    def _tight_params(self, params):
        # The direct solvers do not take every input; the iterative one for sparse data
        # with an intercept is as exact at this tolerance.
        return {"tol": 1e-14, "max_iter": None, "copy_X": True}


class PoissonRegressor(InfluenceEstimatorMixin, linear_model.PoissonRegressor):
    """Poisson regression of scikit-learn with influence functions.

    Parameters, attributes and fit are those of
    :class:`sklearn.linear_model.PoissonRegressor`. The objective, with sample weights w and
    S their sum:

        F = sum_i w_i (half Poisson deviance of y_i and exp(eta_i)) + S alpha/2 |coef|^2

    with a free intercept. The penalty moves with the weights: a row owns the share
    w_i alpha/2 |coef|^2 of it, which its influence and its removal include.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.linear_model import PoissonRegressor
    >>> X = np.array([[1.0], [2.0], [3.0], [4.0]])
    >>> reg = PoissonRegressor(alpha=0.01).fit(X, [1, 2, 5, 8])
    >>> int(np.abs(reg.influence_params()[:, 0]).argmax())
    3
    """

    def _formulate(self, y, sample_weight):
        layout = self._layout()
        share = np.zeros(layout.shape)
        share[:, : layout.n_features] = self.alpha
        return Formulation(
            loss=PoissonLoss(),
            target=RealTarget(1, minimum=0.0),
            layout=layout,
            penalty=np.zeros(layout.shape),
            penalty_share=share,
        )

    def _score_predictions(self, pooled, y):
        return d2_tweedie_score(y, pooled.predict(None), power=1)

    def _tight_params(self, params):
        return {
            "solver": "newton-cholesky",
            "tol": 1e-12,
            "max_iter": 1000,
            "warm_start": False,
            "verbose": 0,
        }
