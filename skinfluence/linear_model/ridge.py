"""Least squares with a squared penalty or none, for real targets and labels."""

import numpy as np
from sklearn import linear_model

from skinfluence._compat import has_several_labels, rank_unit
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.l1_support import L1Support
from skinfluence.linear_model.search import SearchInfluenceMixin
from skinfluence.losses import SquaredLoss
from skinfluence.methods import InfluenceEstimatorMixin, get_problem
from skinfluence.namespaces import to_host
from skinfluence.objective import Formulation
from skinfluence.responses import RidgeResponses
from skinfluence.targets import (
    LabelIndicators,
    OneVsRestLabels,
    RealTarget,
    SignedLabels,
    balanced_by,
)


class Ridge(InfluenceEstimatorMixin, linear_model.Ridge):
    """Ridge regression with influence functions.

    Parameters, attributes and `fit` are the same as in :class:`sklearn.linear_model.Ridge`.
    `fit` minimises this objective, with sample weights w and targets k::

        F = sum_i w_i sum_k (y_ik - eta_ik)^2 + sum_k alpha_k |coef_k|^2

    The intercepts are not penalised. With ``positive=True`` influence is the derivative on
    the active set: coefficients at 0 stay there as long as the gradient pushes them against
    the bound. In removal by "newton" and "exact", scikit-learn refits the groups that change
    the active set.

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
        return least_squares(self, self.alpha)

    @property
    def _refits_stop_early(self):
        return get_problem(self).formulation.l1_support is not None

    def _tight_params(self, params):
        # Direct solvers do not accept every input. For sparse data with an intercept, the
        # iterative solver is as accurate with this tolerance.
        return {"tol": 1e-14, "max_iter": None, "copy_X": True}


class LinearRegression(InfluenceEstimatorMixin, linear_model.LinearRegression):
    """Ordinary least squares with influence functions.

    Parameters, attributes and `fit` are the same as in
    :class:`sklearn.linear_model.LinearRegression`. `fit` minimises this objective, with
    sample weights w and targets k::

        F = sum_i w_i sum_k (y_ik - eta_ik)^2

    If features are linearly dependent, the coefficients are the solution with the least
    norm, and all results belong to that solution. A linear combination of features that has
    no variance then has no effect on predictions or coefficients.

    The removal of a sample may take the last variance from such a combination. In this case
    there is no Newton step; "exact" removal returns the new solution with the least norm.

    ``positive=True`` works as in `Ridge`. The features whose coefficients are not at 0 may
    not be linearly dependent.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.linear_model import LinearRegression
    >>> X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), [0.0, 1.0, 2.0, 5.0]
    >>> reg = LinearRegression().fit(X, y)
    >>> reg.leave_out_predict().round(2)
    array([-1.33,  1.29,  3.14,  3.  ])
    """

    def _formulate(self, y, sample_weight):
        minimum_norm = None if self.positive else rank_unit(self)
        return least_squares(self, 0.0, minimum_norm=minimum_norm)

    def _tight_params(self, params):
        # For dense data the solver is direct, and tol only determines the numerical rank.
        dense = get_problem(self).objective.design.is_dense
        return {"tol": params["tol"] if dense else 1e-14, "copy_X": True}


class RidgeClassifier(InfluenceEstimatorMixin, linear_model.RidgeClassifier):
    """Ridge classifier with influence functions.

    Parameters, attributes and `fit` are the same as in
    :class:`sklearn.linear_model.RidgeClassifier`. `fit` minimises this objective, with
    sample weights w, class weights c and labels y = +-1 in problem k::

        F = sum_i w_i c_i sum_k (y_ik - eta_ik)^2 + alpha sum_k |coef_k|^2

    The intercepts are not penalised. Two classes are one problem; with more classes there is
    one problem for each class. In every problem a row has the weight for its own class.
    "balanced" class weights move with the samples; they depend on their number, not on
    sample weights. ``positive=True`` works as in `Ridge`.

    If y is an indicator matrix, samples have several labels. There is one problem for each
    label, and the loss of a sample is the sum over its labels. ``class_weight`` must then be
    None.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skinfluence.linear_model import RidgeClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = RidgeClassifier().fit(X, y)
    >>> clf.leave_out_score() == clf.leave_out_score(method="exact")
    True
    """

    _refits_on_all_rows = True
    _responses = RidgeResponses()

    def _formulate(self, y, sample_weight):
        return _labelled(self, y, self.alpha)

    _refits_stop_early = Ridge._refits_stop_early
    _tight_params = Ridge._tight_params


class RidgeCV(SearchInfluenceMixin, linear_model.RidgeCV):
    """Ridge regression with a search for alpha, with influence functions.

    Parameters, attributes and `fit` are the same as in
    :class:`sklearn.linear_model.RidgeCV`. The objective is that of `Ridge` at ``alpha_``,
    which is frozen. Influence and removal describe the model with this alpha and do not
    search again.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.linear_model import RidgeCV
    >>> X, y = load_diabetes(return_X_y=True)
    >>> reg = RidgeCV(alphas=[1e-3, 1e-2, 1e-1]).fit(X, y)
    >>> reg.influence_loss(X[:2], y[:2]).shape
    (2, 442)
    """

    _plain = linear_model.Ridge

    def _formulate(self, y, sample_weight):
        return least_squares(self, self.alpha_)

    def _tight_params(self, params):
        kept = {"fit_intercept": params["fit_intercept"]}
        return {"alpha": self.alpha_, **kept, "tol": 1e-14}


class RidgeClassifierCV(SearchInfluenceMixin, linear_model.RidgeClassifierCV):
    """Ridge classifier with a search for alpha, with influence functions.

    Parameters, attributes and `fit` are the same as in
    :class:`sklearn.linear_model.RidgeClassifierCV`. The objective is that of
    `RidgeClassifier` at ``alpha_``, which is frozen. Influence and removal describe the model
    with this alpha. y may be an indicator matrix, as in `RidgeClassifier`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skinfluence.linear_model import RidgeClassifierCV
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = RidgeClassifierCV(alphas=[1e-3, 1e-2, 1e-1]).fit(X, y)
    >>> clf.influence_params().shape
    (150, 15)
    """

    _refits_on_all_rows = True
    _responses = RidgeResponses()
    _plain = linear_model.RidgeClassifier

    def _formulate(self, y, sample_weight):
        return _labelled(self, y, self.alpha_)

    _tight_params = RidgeCV._tight_params


def support_of(estimator, layout, share):
    """Return the coefficients that neither an l1 penalty nor a bound keeps at 0.

    The result is None if there is neither. The l1 penalty is `share` (K, D) per unit of
    sample weight.
    """
    bounded = None
    if getattr(estimator, "positive", False):
        bounded = layout.of_coef(1.0) > 0
    elif not share.any():
        return None
    sign = layout.of_coef(np.sign(estimator._parameters.read(estimator, layout)[0]))
    return L1Support(sign, np.zeros(layout.shape), share, bounded)


def least_squares(estimator, alpha, target=None, **fields):
    """Return the formulation for squared error with the penalty alpha |coef|^2.

    Further `fields` are those of `Formulation`. The target is real if it is None.
    """
    layout = estimator._layout()
    return Formulation(
        loss=SquaredLoss(),
        target=RealTarget(layout.n_outputs) if target is None else target,
        layout=layout,
        penalty=layout.of_coef(2.0 * np.reshape(to_host(alpha), (-1, 1))),
        l1_support=support_of(estimator, layout, np.zeros(layout.shape)),
        **fields,
    )


def _labelled(estimator, y, alpha):
    """Return the formulation for squared error with labels -1 and +1."""
    classes = to_host(estimator.classes_)
    if has_several_labels(estimator):
        if estimator.class_weight:
            raise UnsupportedEstimatorError(
                f"{type(estimator).__name__}(class_weight={estimator.class_weight!r}) with "
                "several labels for each sample has no influence functions here: use "
                "class_weight=None, and pass "
                "sklearn.utils.class_weight.compute_sample_weight('balanced', y) as "
                "sample_weight, which has the same objective."
            )
        return least_squares(estimator, alpha, LabelIndicators(estimator._layout().n_outputs))
    encoder = (OneVsRestLabels if len(classes) > 2 else SignedLabels)(classes)
    weight = encoder.class_weight(estimator.class_weight, y, None)
    return least_squares(
        estimator,
        alpha,
        encoder,
        class_weight=None if weight is None else weight[:, None],
        balanced_by=balanced_by(estimator.class_weight, "count"),
    )
