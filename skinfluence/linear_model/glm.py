"""Generalised linear models."""

import numpy as np
from sklearn import linear_model

from skinfluence.losses import (
    HalfSquaredLoss,
    PoissonLoss,
    TweedieIdentityLoss,
    TweedieLoss,
)
from skinfluence.methods import InfluenceEstimatorMixin
from skinfluence.objective import Formulation
from skinfluence.responses import DevianceResponses
from skinfluence.targets import RealTarget


class PoissonRegressor(InfluenceEstimatorMixin, linear_model.PoissonRegressor):
    """Poisson regression with influence functions.

    Parameters, attributes and `fit` are the same as in
    :class:`sklearn.linear_model.PoissonRegressor`. `fit` minimises this objective, with
    sample weights w and their sum S::

        F = sum_i w_i (half Poisson deviance of y_i and exp(eta_i)) + S alpha/2 |coef|^2

    The intercept is not penalised. The penalty grows with the sample weights: row i
    contributes ``w_i alpha/2 |coef|^2``. Influence and removal include this contribution.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.linear_model import PoissonRegressor
    >>> X = np.array([[1.0], [2.0], [3.0], [4.0]])
    >>> reg = PoissonRegressor(alpha=0.01).fit(X, [1, 2, 5, 8])
    >>> int(np.abs(reg.influence_params()[:, 0]).argmax())
    3
    """

    _responses = DevianceResponses(1)

    def _formulate(self, y, sample_weight):
        return _deviance(self, PoissonLoss(), RealTarget(1, minimum=0.0))

    def _tight_params(self, params):
        return _TIGHT


class GammaRegressor(InfluenceEstimatorMixin, linear_model.GammaRegressor):
    """Gamma regression with influence functions.

    Parameters, attributes and `fit` are the same as in
    :class:`sklearn.linear_model.GammaRegressor`. `fit` minimises this objective, with sample
    weights w and their sum S::

        F = sum_i w_i (half Gamma deviance of y_i and exp(eta_i)) + S alpha/2 |coef|^2

    The intercept is not penalised. Each row contributes to the penalty, as in
    `PoissonRegressor`.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.linear_model import GammaRegressor
    >>> X = np.array([[1.0], [2.0], [3.0], [4.0]])
    >>> reg = GammaRegressor(alpha=0.01).fit(X, [1, 2, 5, 8])
    >>> int(np.abs(reg.influence_params()[:, 0]).argmax())
    3
    """

    _responses = DevianceResponses(2)

    def _formulate(self, y, sample_weight):
        return _deviance(self, TweedieLoss(2), RealTarget(1, positive=True))

    def _tight_params(self, params):
        return _TIGHT


class TweedieRegressor(InfluenceEstimatorMixin, linear_model.TweedieRegressor):
    """Tweedie regression with influence functions.

    Parameters, attributes and `fit` are the same as in
    :class:`sklearn.linear_model.TweedieRegressor`. `fit` minimises this objective, with
    sample weights w and their sum S, and mu_i = exp(eta_i) for the log link or mu_i = eta_i
    for the identity link::

        F = sum_i w_i (half Tweedie deviance of y_i and mu_i) + S alpha/2 |coef|^2

    The intercept is not penalised. Each row contributes to the penalty, as in
    `PoissonRegressor`.

    F is convex for the log link with powers from 1 to 2, and for the identity link with the
    powers 0 and 1. Otherwise results are derivatives of the minimum that `fit` found. If the
    Hessian there is not positive definite, the influence methods raise
    `SingularHessianError`.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.linear_model import TweedieRegressor
    >>> X = np.array([[1.0], [2.0], [3.0], [4.0]])
    >>> reg = TweedieRegressor(power=1.5, alpha=0.01).fit(X, [0, 2, 5, 8])
    >>> int(np.abs(reg.influence_params()[:, 0]).argmax())
    0
    """

    _responses = DevianceResponses()

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

    def _tight_params(self, params):
        return _TIGHT


# With this tolerance the Newton solver converges until rounding limits the gradient.
_TIGHT = {
    "solver": "newton-cholesky",
    "tol": 1e-12,
    "max_iter": 1000,
    "warm_start": False,
    "verbose": 0,
}


def _deviance(estimator, loss, target):
    """Return the formulation for a deviance whose penalty grows with the sample weights."""
    layout = estimator._layout()
    return Formulation(
        loss=loss,
        target=target,
        layout=layout,
        penalty=np.zeros(layout.shape),
        penalty_share=layout.of_coef(estimator.alpha),
    )
