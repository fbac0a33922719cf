"""Ridge regression at the precisions that maximise the evidence."""

from __future__ import annotations

import numpy as np
from sklearn import linear_model

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.l1_support import L1Support
from skinfluence.losses import SquaredLoss
from skinfluence.methods import InfluenceEstimatorMixin, UnweightedMixin, get_problem
from skinfluence.objective import Formulation
from skinfluence.targets import RealTarget

# Factor of |coef| that exceeds any gradient, so that pruned features stay at 0.
_PRUNED = 1e300


class FixedPrecisions(linear_model.Ridge):
    """Ridge regression with one penalty per coefficient; infinite penalties fix it at 0.

    It refits models with their precisions fixed. The objective is
    ``sum_i w_i (y_i - eta_i)^2 + sum_j penalty_j coef_j^2``, with a free intercept.
    """

    def __init__(self, penalty=1.0, *, fit_intercept=True):
        super().__init__(alpha=1.0, fit_intercept=fit_intercept, solver="svd")
        self.penalty = penalty

    def fit(self, X, y, sample_weight=None):
        """Fit scikit-learn's ridge regression to features in units of their penalties."""
        unit = np.broadcast_to(1 / np.sqrt(self.penalty), X.shape[1:])
        super().fit(X * unit, y, sample_weight=sample_weight)
        self.coef_ = self.coef_ * unit
        return self


class PrecisionMixin(InfluenceEstimatorMixin):
    """All chapters for ridge regression at precisions that stay as fitted."""

    _plain = FixedPrecisions

    def _formulate(self, y, sample_weight):
        layout = self._layout()
        kept = self.lambda_ < getattr(self, "threshold_lambda", np.inf)
        ratio = np.where(kept, self.lambda_ / self.alpha_, np.inf)
        if np.ndim(ratio) and len(ratio) != layout.n_features:
            raise UnsupportedEstimatorError(
                f"{type(self).__name__} has precisions for {len(ratio)} features, not for "
                f"{layout.n_features}: use BayesianRidge, which has one for all features."
            )
        strength = layout.of_coef(np.where(np.isfinite(ratio), 0.0, _PRUNED))
        nothing = np.zeros(layout.shape)
        pruned = L1Support(sign=nothing, strength=strength, share=nothing)
        return Formulation(
            loss=SquaredLoss(),
            target=RealTarget(1),
            layout=layout,
            penalty=layout.of_coef(np.where(np.isfinite(ratio), 2.0 * ratio, 0.0)),
            l1_support=pruned if strength.any() else None,
        )

    def _tight_params(self, params):
        form = get_problem(self).formulation
        layout, penalty = form.layout, form.penalty / 2
        penalty[~form.support.free] = np.inf
        return {
            "penalty": penalty[0, : layout.n_features],
            "fit_intercept": layout.fit_intercept,
        }


class BayesianRidge(PrecisionMixin, linear_model.BayesianRidge):
    """Bayesian ridge regression of scikit-learn with influence functions.

    Parameters, attributes and fit are those of :class:`sklearn.linear_model.BayesianRidge`.
    The objective at the fitted precisions, with sample weights w::

        F = sum_i w_i (y_i - eta_i)^2 + lambda_/alpha_ |coef|^2

    with a free intercept. The precisions ``alpha_`` and ``lambda_`` are frozen: influence and
    removal are the same as in `Ridge` with this penalty, and do not account for other
    precisions that the evidence would choose. ``sigma_`` stays as fitted.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.linear_model import BayesianRidge
    >>> X, y = load_diabetes(return_X_y=True)
    >>> reg = BayesianRidge().fit(X, y)
    >>> reg.influence_loss(X[:2], y[:2]).shape
    (2, 442)
    """


class ARDRegression(UnweightedMixin, PrecisionMixin, linear_model.ARDRegression):
    """Automatic relevance determination of scikit-learn with influence functions.

    Parameters, attributes and fit are those of :class:`sklearn.linear_model.ARDRegression`.
    The objective at the fitted precisions, with sample weights w, which `fit` takes as 1::

        F = sum_i w_i (y_i - eta_i)^2 + sum_j lambda_j/alpha_ coef_j^2

    with a free intercept. The precisions ``alpha_`` and ``lambda_`` are frozen. Features whose
    precision reaches ``threshold_lambda`` are pruned: their coefficients are 0 and stay there.
    ``sigma_`` stays as fitted.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.linear_model import ARDRegression
    >>> X, y = load_diabetes(return_X_y=True)
    >>> reg = ARDRegression(threshold_lambda=1e-3).fit(X, y)
    >>> moves = (reg.influence_params() != 0).any(axis=0)[:10]
    >>> bool((moves == (reg.coef_ != 0)).all())
    True
    """
