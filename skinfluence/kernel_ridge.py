"""Kernel ridge regression of scikit-learn with influence."""

import numpy as np
from sklearn import kernel_ridge

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.kernels import Kernel
from skinfluence.losses import SquaredLoss
from skinfluence.mixins import KernelEstimatorMixin
from skinfluence.objective import Formulation
from skinfluence.targets import RealTarget

__all__ = ["KernelRidge"]


class KernelRidge(KernelEstimatorMixin, kernel_ridge.KernelRidge):
    """Kernel ridge regression of scikit-learn with influence functions.

    Parameters, attributes and fit are those of :class:`sklearn.kernel_ridge.KernelRidge`. The
    objective, for f = sum_j a_j K(., x_j), sample weights w and targets k::

        F = sum_i w_i sum_k (y_ik - f_k(x_i))^2 + sum_k alpha_k a_k' K a_k

    without an intercept. `params_` holds the dual coefficients, target by target, of all
    training samples.

    Examples
    --------
    Which patients drive the prediction for the first one?

    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.kernel_ridge import KernelRidge
    >>> X, y = load_diabetes(return_X_y=True)
    >>> reg = KernelRidge(alpha=0.1, kernel="rbf", gamma=50).fit(X, y - y.mean())
    >>> reg.influential_samples(X[:1], y[:1] - y.mean(), n_influential=3)[1].shape
    (1, 3)
    """

    def _formulate(self, y, sample_weight):
        alpha = np.reshape(self.alpha, (-1, 1)).astype(np.float64)
        if not np.all(alpha > 0):
            raise UnsupportedEstimatorError(
                f"KernelRidge(alpha={self.alpha!r}) without a penalty interpolates, and "
                "has no influence function here: use a positive alpha."
            )
        layout = self._layout()
        return Formulation(
            loss=SquaredLoss(),
            target=RealTarget(layout.n_outputs),
            layout=layout,
            penalty=2.0 * np.broadcast_to(alpha, layout.shape),
        )

    def _kernel(self, X):
        if callable(self.kernel):
            return Kernel(self.kernel, dict(self.kernel_params or {}))
        params = {"gamma": self.gamma, "degree": self.degree, "coef0": self.coef0}
        return Kernel(self.kernel, params)

    def _problems(self):
        return (1 if self.dual_coef_.ndim == 1 else self.dual_coef_.shape[1]), False

    def _n_training_rows(self):
        return self.dual_coef_.shape[0]

    def _kept_rows(self):
        return slice(None), self.X_fit_

    def _read_dual(self, estimator, n):
        return np.transpose(estimator.dual_coef_), np.zeros(np.shape(estimator.dual_coef_)[1:])

    def _write_dual(self, coef, intercept, objective):
        self.dual_coef_ = np.array(np.transpose(coef), order="C")
        self.X_fit_ = objective.design.basis.X

    def _tight_params(self, params):
        return {}
