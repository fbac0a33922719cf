"""scikit-learn's kernel ridge regression with influence functions."""

import numpy as np
from sklearn import kernel_ridge

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.kernels import Kernel
from skinfluence.losses import SquaredLoss
from skinfluence.methods import InfluenceEstimatorMixin
from skinfluence.objective import Formulation
from skinfluence.parameters import DualCoefficients
from skinfluence.targets import RealTarget

__all__ = ["KernelRidge"]


class _RidgeCoefficients(DualCoefficients):
    """Dual coefficients in `dual_coef_`, with one column per target and no intercepts."""

    def kernel(self, model, X):
        if callable(model.kernel):
            return Kernel(model.kernel, dict(model.kernel_params or {}))
        params = {"gamma": model.gamma, "degree": model.degree, "coef0": model.coef0}
        return Kernel(model.kernel, params)

    def problems(self, model):
        return (1 if model.dual_coef_.ndim == 1 else model.dual_coef_.shape[1]), False

    def n_training_rows(self, model):
        return model.dual_coef_.shape[0]

    def kept_rows(self, model):
        return slice(None), model.X_fit_

    def read_dual(self, model, n):
        return np.transpose(model.dual_coef_), np.zeros(np.shape(model.dual_coef_)[1:])

    def write_dual(self, model, coef, intercept, objective):
        model.dual_coef_ = np.array(np.transpose(coef), order="C")
        model.X_fit_ = objective.design.basis.X


class KernelRidge(InfluenceEstimatorMixin, kernel_ridge.KernelRidge):
    """Kernel ridge regression with influence functions.

    Parameters, attributes and `fit` are the same as in
    :class:`sklearn.kernel_ridge.KernelRidge`. `fit` minimises this objective, with sample
    weights w, targets k and f = sum_j a_j K(., x_j)::

        F = sum_i w_i sum_k (y_ik - f_k(x_i))^2 + sum_k alpha_k a_k' K a_k

    There is no intercept. `params_` contains the dual coefficients for all training samples,
    one target after another.

    Examples
    --------
    Which patients have the largest influence on the prediction for the first one?

    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.kernel_ridge import KernelRidge
    >>> X, y = load_diabetes(return_X_y=True)
    >>> reg = KernelRidge(alpha=0.1, kernel="rbf", gamma=50).fit(X, y - y.mean())
    >>> reg.influential_samples(X[:1], y[:1] - y.mean(), n_influential=3)[1].shape
    (1, 3)
    """

    _parameters = _RidgeCoefficients()
    _fitted_kernel = None

    def _formulate(self, y, sample_weight):
        alpha = np.reshape(self.alpha, (-1, 1)).astype(np.float64)
        if not np.all(alpha > 0):
            raise UnsupportedEstimatorError(
                f"KernelRidge(alpha={self.alpha!r}) has no influence functions here, because "
                "without a penalty it interpolates: use a positive alpha."
            )
        layout = self._layout()
        return Formulation(
            loss=SquaredLoss(),
            target=RealTarget(layout.n_outputs),
            layout=layout,
            penalty=2.0 * np.broadcast_to(alpha, layout.shape),
        )

    def _tight_params(self, params):
        return {}
