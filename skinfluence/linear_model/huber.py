"""Huber regression, which fits a scale together with the coefficients."""

import numpy as np
from sklearn import linear_model

from skinfluence.l1_support import L1Support
from skinfluence.losses import HuberLoss
from skinfluence.methods import InfluenceEstimatorMixin
from skinfluence.objective import Formulation
from skinfluence.parameters import CoefficientsAndScale
from skinfluence.targets import RealTarget


class HuberRegressor(InfluenceEstimatorMixin, linear_model.HuberRegressor):
    """Huber regression with influence functions.

    Parameters, attributes and `fit` are the same as in
    :class:`sklearn.linear_model.HuberRegressor`. `fit` minimises this objective over the
    coefficients, the intercept and the scale sigma, with sample weights w::

        F = sum_i w_i (sigma + H((y_i - eta_i)/sigma) sigma) + alpha |coef|^2

    Here ``H(u) = u^2`` for ``|u| <= epsilon`` and ``H(u) = 2 epsilon |u| - epsilon^2``
    otherwise. The intercept is not penalised. The last entry in `params_` is `scale_`.

    A row with ``|u| > epsilon`` is an outlier: its loss has a constant derivative in eta and
    no curvature. Results are derivatives as long as no row becomes an outlier or stops being
    one.

    The solver in scikit-learn stops at a gradient of about 1e-3, even if `tol` is smaller.
    Call `polish` first if results need a smaller error.

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
        zeros = np.zeros(layout.shape)
        return Formulation(
            loss=HuberLoss(float(self.epsilon)),
            target=RealTarget(1),
            layout=layout,
            penalty=penalty,
            # Entries without a parameter stay at 0, as if an l1 penalty kept them there.
            l1_support=L1Support(sign=zeros, strength=1.0 - layout.free, share=zeros),
        )

    def _tight_params(self, params):
        return {"tol": 1e-10, "max_iter": 100_000, "warm_start": False}
