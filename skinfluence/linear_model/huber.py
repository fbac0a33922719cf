"""Regression with Huber's loss, whose scale is fitted with the coefficients."""

import numpy as np
from sklearn import linear_model

from skinfluence.l1_support import L1Support
from skinfluence.losses import HuberLoss
from skinfluence.methods import InfluenceEstimatorMixin
from skinfluence.objective import Formulation
from skinfluence.parameters import CoefficientsAndScale
from skinfluence.targets import RealTarget

__all__ = ["HuberRegressor"]


class HuberRegressor(InfluenceEstimatorMixin, linear_model.HuberRegressor):
    """Huber regression of scikit-learn with influence functions.

    Parameters, attributes and fit are those of
    :class:`sklearn.linear_model.HuberRegressor`. The objective, with sample weights w and
    the scale sigma a parameter like the others::

        F = sum_i w_i (sigma + H((y_i - eta_i)/sigma) sigma) + alpha |coef|^2

    with ``H(u) = u^2`` up to ``|u| = epsilon`` and ``2 epsilon |u| - epsilon^2`` beyond, and
    a free intercept. `params_` ends with `scale_`. Outliers, rows beyond epsilon, pull with a
    constant force and have no curvature; results are derivatives as long as no row becomes
    one or ceases to be one.

    scikit-learn's solver stops at a gradient of about 1e-3 whatever its tolerance:
    `polish` before anything that needs more.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.linear_model import HuberRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> reg = HuberRegressor(max_iter=1000).fit(X, y).polish()
    >>> reg.influence_loss(X[:2], y[:2]).shape
    (2, 442)
    """

    _parameters = CoefficientsAndScale()
    _refits_stop_early = True

    def _formulate(self, y, sample_weight):
        layout = self._layout()
        penalty = np.zeros(layout.shape)
        penalty[0, :-1] = 2.0 * self.alpha
        nothing = np.zeros(layout.shape)
        return Formulation(
            loss=HuberLoss(float(self.epsilon)),
            target=RealTarget(1),
            layout=layout,
            penalty=penalty,
            # What is no parameter stays at 0 like what an l1 penalty holds there.
            l1_support=L1Support(sign=nothing, strength=1.0 - layout.free, share=nothing),
        )

    def _tight_params(self, params):
        return {"tol": 1e-10, "max_iter": 100_000, "warm_start": False}
