"""Logistic regression, with and without a search for C."""

import numpy as np
from sklearn import linear_model

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.l1_support import L1Support
from skinfluence.linear_model.search import SearchInfluenceMixin
from skinfluence.losses import LogisticLoss, SoftmaxLoss
from skinfluence.methods import InfluenceEstimatorMixin, get_problem
from skinfluence.namespaces import to_host
from skinfluence.objective import Formulation
from skinfluence.targets import ClassCodes, SignedLabels, balanced_by


class LogisticRegression(InfluenceEstimatorMixin, linear_model.LogisticRegression):
    """Logistic regression with influence functions.

    Parameters, attributes and `fit` are the same as in
    :class:`sklearn.linear_model.LogisticRegression`. `fit` minimises this objective, with
    sample weights w, class weights c ("balanced" ones move with the samples) and r = l1_ratio,
    which is 0 by default::

        F = sum_i w_i c_i log_loss(y_i, eta_i) + 1/C ((1-r)/2 |coef|^2 + r |coef|_1)

    The intercept is not penalised, except with ``solver="liblinear"``. That solver adds
    ``1/(2 C) (intercept/intercept_scaling)^2`` if r = 0, and
    ``1/C |intercept|/intercept_scaling`` if r = 1. With ``C=inf`` there is no penalty. A
    model with two classes has one output; with more classes it has one output for each class
    (softmax).

    If r > 0, influence is the derivative on the support: coefficients at zero stay at zero
    and all signs stay the same. In removal by "newton" and "exact", scikit-learn
    refits the groups that change the support.

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
        penalty = getattr(self, "penalty", "deprecated")
        C = np.inf if penalty is None else self.C
        l1_ratio = {"l1": 1.0, "l2": 0.0, None: 0.0}.get(penalty, self.l1_ratio)
        return _formulate(self, y, sample_weight, C, l1_ratio, self.intercept_scaling)

    def _tight_params(self, params):
        return _tight_params(self, params["solver"])


class LogisticRegressionCV(SearchInfluenceMixin, linear_model.LogisticRegressionCV):
    """Logistic regression with a search for C, with influence functions.

    Parameters, attributes and `fit` are the same as in
    :class:`sklearn.linear_model.LogisticRegressionCV`. The objective is that of
    `LogisticRegression` at ``C_``, which is frozen. Influence and
    removal describe the model with this C.

    With solver="liblinear", the final fit in scikit-learn uses intercept_scaling=1, even if
    the parameter has another value. With ``refit=False`` the estimator averages the models
    from all folds. It then fits and predicts, but has no influence functions.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from skinfluence.linear_model import LogisticRegressionCV
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> clf = LogisticRegressionCV(
    ...     Cs=[0.1, 1], l1_ratios=(0,), scoring="neg_log_loss", use_legacy_attributes=False
    ... ).fit(scale(X), y)
    >>> clf.influence_loss(scale(X)[:2], y[:2]).shape
    (2, 569)
    """

    _plain = linear_model.LogisticRegression

    def _formulate(self, y, sample_weight):
        if not self.refit:
            raise UnsupportedEstimatorError(
                "LogisticRegressionCV(refit=False) has no influence functions, because it "
                "averages models and minimises no objective: use refit=True."
            )
        C, l1_ratio = self._chosen()
        return _formulate(self, y, sample_weight, C, l1_ratio, intercept_scaling=1.0)

    def _chosen(self):
        """Return the C and l1_ratio that scikit-learn chose, the same for all classes."""
        penalty = getattr(self, "penalty", "deprecated")
        l1_ratio = np.ravel(self.l1_ratio_)[0]
        l1_ratio = {"l1": 1.0, "l2": 0.0}.get(penalty, l1_ratio or 0.0)
        return float(np.ravel(self.C_)[0]), float(l1_ratio)

    def _tight_params(self, params):
        C, l1_ratio = self._chosen()
        kept = {name: params[name] for name in ("fit_intercept", "solver", "random_state")}
        return {"C": C, "l1_ratio": l1_ratio, **kept, **_tight_params(self, params["solver"])}


def _formulate(estimator, y, sample_weight, C, l1_ratio, intercept_scaling):
    """Return the formulation for log loss with penalty strength 1/C."""
    layout, lam = estimator._layout(), 1.0 / C
    on_params = np.full(layout.shape, lam)
    l1_ratio = l1_ratio if lam else 0.0
    if layout.fit_intercept:
        # liblinear penalises the intercept like a coefficient.
        free = estimator.solver != "liblinear"
        power = 1 if l1_ratio else 2
        on_params[:, -1] = 0.0 if free else lam / intercept_scaling**power
    support = None
    if l1_ratio:
        theta = layout.from_public(estimator._parameters.vector(estimator, layout))
        nothing = np.zeros(layout.shape)
        support = L1Support(np.sign(theta), l1_ratio * on_params, nothing)
    classes = to_host(estimator.classes_)
    binary = len(classes) == 2
    target = (SignedLabels if binary else ClassCodes)(classes)
    weight = target.class_weight(estimator.class_weight, y, sample_weight)
    return Formulation(
        loss=LogisticLoss() if binary else SoftmaxLoss(),
        target=target,
        layout=layout,
        penalty=(1.0 - l1_ratio) * on_params,
        class_weight=None if weight is None else weight[:, None],
        balanced_by=balanced_by(estimator.class_weight, "weight"),
        l1_support=support,
    )


def _tight_params(estimator, solver):
    """Return parameters for the most accurate refit that the solver can do."""
    tight = {"tol": 1e-12, "max_iter": 100_000, "warm_start": False, "verbose": 0}
    if solver != "liblinear" and get_problem(estimator).formulation.is_smooth:
        tight["solver"] = "newton-cholesky"
    return tight
