"""Regression with Huber's loss, whose scale is fitted with the coefficients."""

import numpy as np
from numpy.typing import ArrayLike
from sklearn import linear_model
from sklearn.utils.validation import check_is_fitted

from skinfluence._typing import Floats
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.l1_support import L1Support
from skinfluence.layout import ScaleLayout
from skinfluence.losses import HuberLoss
from skinfluence.mixins import InfluenceEstimatorMixin
from skinfluence.objective import Formulation
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

    _refits_stop_early = True

    def split_params(self, params: ArrayLike) -> tuple[Floats, Floats]:
        """Return parameter vectors in the shapes of `coef_` and `intercept_`.

        The scale, their last entry, is left out.

        Parameters
        ----------
        params : array-like of shape (..., p)
            Vectors laid out as `params_`, such as rows of `influence_params`.

        Returns
        -------
        coef : ndarray of shape (..., n_features)
            Coefficients.
        intercept : ndarray of shape (...)
            Intercepts; zeros when `fit_intercept=False`.

        Examples
        --------
        >>> from sklearn.datasets import load_diabetes
        >>> from skinfluence.linear_model import HuberRegressor
        >>> reg = HuberRegressor(max_iter=1000).fit(*load_diabetes(return_X_y=True))
        >>> coef, intercept = reg.split_params(reg.params_)
        >>> coef.shape, intercept.shape
        ((10,), ())
        """
        check_is_fitted(self)
        layout, params = self._get_layout(), np.asarray(params)
        if params.ndim == 0 or params.shape[-1] != layout.size:
            raise ValueError(
                f"params has shape {params.shape}, but the last axis must hold the "
                f"{layout.size} parameters of the model."
            )
        theta = layout.from_public(params)
        return theta[..., 0, :-1], theta[..., 0, -1]

    def param_names(self) -> list[str]:
        """Return a name for each entry of `params_`.

        Returns
        -------
        list of str
            Such as ``"coef[bmi]"``, ``"intercept"`` and, last, ``"scale"``.
        """
        check_is_fitted(self)
        layout = self._get_layout()
        names = [f"coef[{name}]" for name in self._column_names(layout.n_features)]
        return [*names, *(["intercept"] if layout.has_intercept else []), "scale"]

    def _layout(self):
        return ScaleLayout(2, self.n_features_in_, True, self.fit_intercept)

    def _flat_params(self, estimator):
        intercept = [estimator.intercept_] if self._get_layout().has_intercept else []
        return np.concatenate([estimator.coef_, intercept, [estimator.scale_]])

    def _set_theta(self, theta, ndims=None):
        layout, objective = self._get_layout(), self._get_objective()
        self.coef_ = theta[0, :-1].copy()
        if layout.has_intercept:
            self.intercept_ = float(theta[0, -1])
        self.scale_ = float(theta[1, -1])
        residual = objective.target[:, 0] - objective.design.predict(theta)[:, 0]
        loss = objective.formulation.loss
        self.outliers_ = np.abs(residual) > loss.epsilon * self.scale_

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

    def _check_takes_dask(self, formulation):
        raise UnsupportedEstimatorError(
            f"{type(self).__name__} takes no dask arrays: its scale, and which rows are "
            "outliers, are found on rows in memory. Call compute() on a part of the rows and "
            "pass that, or use SGDRegressor(loss='huber')."
        )

    def _tight_params(self, params):
        return {"tol": 1e-10, "max_iter": 100_000, "warm_start": False}
