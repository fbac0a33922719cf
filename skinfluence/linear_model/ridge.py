"""Least squares with a squared penalty."""

import numpy as np
from sklearn import linear_model

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.losses import SquaredLoss
from skinfluence.mixins import InfluenceEstimatorMixin
from skinfluence.objective import Formulation
from skinfluence.targets import RealTarget

__all__ = ["Ridge"]


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
