"""Generalised linear models."""

import numpy as np
from sklearn import linear_model
from sklearn.metrics import d2_tweedie_score

from skinfluence.losses import PoissonLoss
from skinfluence.mixins import InfluenceEstimatorMixin
from skinfluence.objective import Formulation
from skinfluence.targets import RealTarget

__all__ = ["PoissonRegressor"]


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
