"""Generalised linear models."""

import numpy as np
from sklearn import linear_model
from sklearn.metrics import d2_tweedie_score

from skinfluence.losses import (
    HalfSquaredLoss,
    PoissonLoss,
    TweedieIdentityLoss,
    TweedieLoss,
)
from skinfluence.methods import InfluenceEstimatorMixin
from skinfluence.objective import Formulation
from skinfluence.targets import RealTarget

__all__ = ["GammaRegressor", "PoissonRegressor", "TweedieRegressor"]


class PoissonRegressor(InfluenceEstimatorMixin, linear_model.PoissonRegressor):
    """Poisson regression of scikit-learn with influence functions.

    Parameters, attributes and fit are those of
    :class:`sklearn.linear_model.PoissonRegressor`. The objective, with sample weights w and
    S their sum::

        F = sum_i w_i (half Poisson deviance of y_i and exp(eta_i)) + S alpha/2 |coef|^2

    with a free intercept. The penalty moves with the weights: a row owns the share
    ``w_i alpha/2 |coef|^2`` of it, which its influence and its removal include.

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
        return _deviance(self, PoissonLoss(), RealTarget(1, minimum=0.0))

    def _score_pooled(self, pooled, X, y, **metadata):
        return d2_tweedie_score(y, pooled.predict(None), power=1, **metadata)

    def _tight_params(self, params):
        return _TIGHT


class GammaRegressor(InfluenceEstimatorMixin, linear_model.GammaRegressor):
    """Gamma regression of scikit-learn with influence functions.

    Parameters, attributes and fit are those of
    :class:`sklearn.linear_model.GammaRegressor`. The objective, with sample weights w and
    S their sum::

        F = sum_i w_i (half Gamma deviance of y_i and exp(eta_i)) + S alpha/2 |coef|^2

    with a free intercept. A row owns a share of the penalty as in `PoissonRegressor`.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.linear_model import GammaRegressor
    >>> X = np.array([[1.0], [2.0], [3.0], [4.0]])
    >>> reg = GammaRegressor(alpha=0.01).fit(X, [1, 2, 5, 8])
    >>> int(np.abs(reg.influence_params()[:, 0]).argmax())
    3
    """

    def _formulate(self, y, sample_weight):
        return _deviance(self, TweedieLoss(2), RealTarget(1, positive=True))

    def _score_pooled(self, pooled, X, y, **metadata):
        return d2_tweedie_score(y, pooled.predict(None), power=2, **metadata)

    def _tight_params(self, params):
        return _TIGHT


class TweedieRegressor(InfluenceEstimatorMixin, linear_model.TweedieRegressor):
    """Generalised linear model with a Tweedie distribution, with influence functions.

    Parameters, attributes and fit are those of
    :class:`sklearn.linear_model.TweedieRegressor`. The objective, with sample weights w, S
    their sum, and mu_i = exp(eta_i), or mu_i = eta_i with the identity link::

        F = sum_i w_i (half Tweedie deviance of y_i and mu_i) + S alpha/2 |coef|^2

    with a free intercept. A row owns a share of the penalty as in `PoissonRegressor`.

    F is convex with the log link for powers from 1 to 2, and with the identity link for the
    powers 0 and 1. Otherwise results are derivatives of the minimum that was reached, if its
    Hessian is positive definite; a `SingularHessianError` says where it is not.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.linear_model import TweedieRegressor
    >>> X = np.array([[1.0], [2.0], [3.0], [4.0]])
    >>> reg = TweedieRegressor(power=1.5, alpha=0.01).fit(X, [0, 2, 5, 8])
    >>> int(np.abs(reg.influence_params()[:, 0]).argmax())
    0
    """

    def _formulate(self, y, sample_weight):
        power = self.power
        target = RealTarget(1, minimum=0.0 if 0 < power < 2 else -np.inf, positive=power >= 2)
        link = self.link
        if link == "auto":
            link = "identity" if power <= 0 else "log"
        if link == "log":
            return _deviance(self, TweedieLoss(power), target)
        loss = HalfSquaredLoss() if power == 0 else TweedieIdentityLoss(power)
        return _deviance(self, loss, target)

    def _score_pooled(self, pooled, X, y, **metadata):
        power = self._problem().fitted.params["power"]
        return d2_tweedie_score(y, pooled.predict(None), power=power, **metadata)

    def _tight_params(self, params):
        return _TIGHT


# The Newton solver goes to rounding where the gradient does.
_TIGHT = {
    "solver": "newton-cholesky",
    "tol": 1e-12,
    "max_iter": 1000,
    "warm_start": False,
    "verbose": 0,
}


def _deviance(estimator, loss, target):
    """Return the formulation of a deviance in mean form."""
    layout = estimator._layout()
    share = np.zeros(layout.shape)
    share[:, : layout.n_features] = estimator.alpha
    return Formulation(
        loss=loss,
        target=target,
        layout=layout,
        penalty=np.zeros(layout.shape),
        penalty_share=share,
    )
