"""Least squares with an l1 penalty by coordinate descent, with and without a search."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn import linear_model

from skinfluence._typing import MatrixLike
from skinfluence.linear_model.ridge import support_of
from skinfluence.linear_model.search import SearchInfluenceMixin
from skinfluence.losses import HalfSquaredLoss
from skinfluence.methods import InfluenceEstimatorMixin
from skinfluence.objective import Formulation
from skinfluence.targets import RealTarget


class CoordinateDescentMixin(InfluenceEstimatorMixin):
    """Influence methods for `ElasticNet` and `Lasso`."""

    def fit(
        self,
        X: MatrixLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        check_input: bool = True,
    ) -> Self:
        """Fit the model as scikit-learn does, and store the training data.

        The estimator keeps references to the arrays. It factorises the Hessian only if a
        method needs it.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Target values.
        sample_weight : float or array-like of shape (n_samples,), default=None
            Sample weights; None for ones.
        check_input : bool, default=True
            Whether scikit-learn checks and converts X and y.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        return self._fit_and_remember(
            X, y, sample_weight=sample_weight, check_input=check_input
        )

    def _formulate(self, y, sample_weight):
        return mean_squares(self, self.alpha, self.l1_ratio)

    def _tight_params(self, params):
        return TIGHT_DESCENT


class ElasticNet(CoordinateDescentMixin, linear_model.ElasticNet):
    """Elastic net with influence functions.

    Parameters, attributes and `fit` are the same as in
    :class:`sklearn.linear_model.ElasticNet`. `fit` minimises this objective, with sample
    weights w and their sum S, targets k and r = l1_ratio::

        F = 1/2 sum_i w_i sum_k (y_ik - eta_ik)^2
            + S alpha sum_k (r |coef_k|_1 + (1-r)/2 |coef_k|^2)

    The intercepts are not penalised. Row i contributes the fraction w_i/S to the penalty.

    Influence is the derivative on the support: coefficients at zero stay at zero and all
    signs stay the same. This also holds for removal with "influence". With "newton" and
    "exact", scikit-learn refits the groups that change the support. With ``positive=True``,
    coefficients at 0 stay there as long as the gradient pushes them against the bound.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.linear_model import ElasticNet
    >>> X, y = load_diabetes(return_X_y=True)
    >>> reg = ElasticNet(alpha=0.01, tol=1e-10).fit(X, y)
    >>> reg.influence_loss(X[:2], y[:2]).shape
    (2, 442)
    """


class Lasso(CoordinateDescentMixin, linear_model.Lasso):
    """Lasso with influence functions.

    Parameters, attributes and `fit` are the same as in :class:`sklearn.linear_model.Lasso`.
    `fit` minimises the objective of `ElasticNet` with l1_ratio = 1, with sample weights w
    and their sum S::

        F = 1/2 sum_i w_i sum_k (y_ik - eta_ik)^2 + S alpha sum_k |coef_k|_1

    The intercepts are not penalised. Influence is the derivative on the support. In removal
    by "newton" and "exact", scikit-learn refits the groups that change the support.
    ``positive=True`` works as in `ElasticNet`.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.linear_model import Lasso
    >>> X, y = load_diabetes(return_X_y=True)
    >>> reg = Lasso(alpha=0.5, tol=1e-10).fit(X, y)
    >>> moves = (reg.influence_params() != 0).any(axis=0)[:10]
    >>> bool((moves == (reg.coef_ != 0)).all())
    True
    """


class CoordinateDescentSearchMixin(SearchInfluenceMixin):
    """Base class for searches that fit along a path of alphas."""

    _weights_rows_in_place = True


class ElasticNetCV(CoordinateDescentSearchMixin, linear_model.ElasticNetCV):
    """Elastic net with a search for alpha and l1_ratio, with influence functions.

    Parameters, attributes and `fit` are the same as in
    :class:`sklearn.linear_model.ElasticNetCV`. The objective is that of `ElasticNet` at
    ``alpha_`` and ``l1_ratio_``, which are frozen.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.linear_model import ElasticNetCV
    >>> X, y = load_diabetes(return_X_y=True)
    >>> reg = ElasticNetCV(alphas=[0.001, 0.01], tol=1e-10).fit(X, y)
    >>> reg.influence_loss(X[:2], y[:2]).shape
    (2, 442)
    """

    _plain = linear_model.ElasticNet

    def _formulate(self, y, sample_weight):
        return mean_squares(self, self.alpha_, self.l1_ratio_)

    def _tight_params(self, params):
        return _tight_at(self.alpha_, params) | {"l1_ratio": self.l1_ratio_}


class LassoCV(CoordinateDescentSearchMixin, linear_model.LassoCV):
    """Lasso with a search for alpha, with influence functions.

    Parameters, attributes and `fit` are the same as in
    :class:`sklearn.linear_model.LassoCV`. The objective is that of `Lasso` at ``alpha_``,
    which is frozen.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.linear_model import LassoCV
    >>> X, y = load_diabetes(return_X_y=True)
    >>> reg = LassoCV(alphas=[0.1, 1.0], tol=1e-10).fit(X, y)
    >>> reg.influence_loss(X[:2], y[:2]).shape
    (2, 442)
    """

    _plain = linear_model.Lasso

    def _formulate(self, y, sample_weight):
        return mean_squares(self, self.alpha_, 1.0)

    def _tight_params(self, params):
        return _tight_at(self.alpha_, params)


def _tight_at(alpha, params):
    """Return parameters for refits at the alpha that a search chose."""
    kept = {name: params[name] for name in ("fit_intercept", "positive")}
    return {"alpha": alpha, **kept, **TIGHT_DESCENT}


# Parameters for refits. Coordinate descent converges to rounding error.
TIGHT_DESCENT = {
    "tol": 1e-14,
    "max_iter": 1_000_000,
    "warm_start": False,
    "copy_X": True,
    "precompute": False,  # a precomputed Gram matrix would belong to all rows
}


def mean_squares(estimator, alpha, l1_ratio):
    """Return the formulation for squared error with an elastic-net penalty.

    The penalty grows with the sample weights.
    """
    layout = estimator._layout()
    on_coef = layout.of_coef(alpha)
    return Formulation(
        loss=HalfSquaredLoss(),
        target=RealTarget(layout.n_outputs),
        layout=layout,
        penalty=np.zeros(layout.shape),
        penalty_share=(1 - l1_ratio) * on_coef,
        l1_support=support_of(estimator, layout, l1_ratio * on_coef),
    )
