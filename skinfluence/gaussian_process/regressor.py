"""Gaussian process regression of scikit-learn with influence."""

from __future__ import annotations

import numpy as np
from scipy.linalg import cholesky
from sklearn import gaussian_process

from skinfluence._compat import target_scale, write_target_scale
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.gaussian_process.normalised import NormalisedProblem
from skinfluence.kernels import Kernel
from skinfluence.losses import SquaredLoss
from skinfluence.methods import UnweightedMixin, get_problem
from skinfluence.objective import Formulation
from skinfluence.parameters import DualCoefficients
from skinfluence.problem import Problem
from skinfluence.targets import RealTarget

# Rows per kernel block when we compute the noise inside the kernel.
_BLOCK = 64


class _ProcessCoefficients(DualCoefficients):
    """Dual coefficients in `alpha_`, one column for each target.

    With ``normalize_y=True`` they are multiplied by the targets' standard deviation, and the
    targets' mean is the intercept. So predictions are on the scale of y.
    """

    def kernel(self, model, X):
        # With two arguments scikit-learn's kernels leave out noise.
        return Kernel(model.kernel_, of_matrices=True)

    def problems(self, model):
        n_outputs = 1 if model.alpha_.ndim == 1 else model.alpha_.shape[1]
        return n_outputs, model.normalize_y

    def n_training_rows(self, model):
        return model.alpha_.shape[0]

    def kept_rows(self, model):
        return slice(None), model.X_train_

    def read_dual(self, model, n):
        mean, deviation = target_scale(model)
        if model.alpha_.ndim == 1:
            mean, deviation = np.ravel(mean)[0], np.ravel(deviation)[0]
        return np.transpose(model.alpha_ * deviation), mean

    def check_perturbable(self, objective):
        raise UnsupportedEstimatorError(
            "influence_perturbation, and influence through steps before the model, need the "
            "derivative of the kernel, and the kernels of Gaussian processes have none in "
            "their samples: use KernelRidge with kernel='rbf' or another kernel by name. The "
            "methods that remove samples (leave_out_*) do not need it."
        )

    def write_dual(self, model, coef, intercept, objective):
        target, basis = objective.target, objective.design.basis
        target = target[:, 0] if coef.ndim == 1 else target
        deviation = 1.0
        if objective.formulation.layout.fit_intercept:
            deviation = np.std(target, axis=0)
            deviation = np.where(deviation > 0, deviation, 1.0)
            write_target_scale(model, intercept, deviation)
        model.alpha_ = np.array(np.transpose(coef) / deviation, order="C")
        if basis.X is model.X_train_:
            return
        model.X_train_ = basis.X
        model.y_train_ = (target - intercept) / deviation
        noise = objective.penalty[0, 0] / 2 / objective.sample_weight
        model.L_ = cholesky(basis.matrix + np.diag(noise), lower=True)


class FixedProcess(gaussian_process.GaussianProcessRegressor):
    """Gaussian process regression at a fixed kernel, with sample weights.

    It refits models with their kernel fixed. Row i has the noise variance noise / w_i.
    """

    def __init__(self, kernel=None, noise=1e-10, normalize_y=False):
        super().__init__(kernel=kernel, optimizer=None, normalize_y=normalize_y)
        self.noise = noise

    def fit(self, X, y, sample_weight=None):
        """Fit scikit-learn's process to the rows with positive weight."""
        w = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight)
        kept = w > 0
        rows, y = X[kept], np.asarray(y)[kept]
        self.alpha = self.noise / w[kept] - _inner_noise(self.kernel, rows)
        super().fit(rows, y)
        if not kept.all():
            alpha, self.X_train_ = self.alpha_, X
            self.alpha_ = np.zeros((len(kept), *alpha.shape[1:]))
            self.alpha_[kept] = alpha
        return self


class GaussianProcessRegressor(UnweightedMixin, gaussian_process.GaussianProcessRegressor):
    """Gaussian process regression of scikit-learn with influence functions.

    Parameters, attributes and fit are those of
    :class:`sklearn.gaussian_process.GaussianProcessRegressor`. At the fitted kernel, the
    posterior mean f = sum_j a_j K(., x_j) has the following objective, with sample weights w,
    which `fit` takes as 1, targets k, and the noise variance v::

        F = sum_i w_i sum_k (y_ik - f_k(x_i))^2 + v sum_k a_k' K a_k

    without an intercept. v is the sum of ``alpha`` and the level of the ``WhiteKernel`` inside
    the kernel, which K leaves out. The parameters in ``kernel_`` are frozen: influence and
    removal are for the model with this kernel, and do not account for another kernel that the
    evidence would choose. `params_` contains the dual coefficients, ``alpha_``, target by
    target.

    With ``normalize_y=True``, f is m plus this sum, where m is the mean target, and the
    objective has y - m instead of y. The kernel and v are those of the fit, for targets in
    standard units; the mean and the standard deviation change with the samples, and the
    latter cancels. Losses and predictions are on the scale of y. `params_` contains the dual
    coefficients on this scale, ``alpha_`` times the standard deviation, and then m. Influence
    and removal are in closed form.

    Noise that differs between samples, and kernels on objects other than numeric rows fit and
    predict, but have no influence here.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.gaussian_process.kernels import RBF, WhiteKernel
    >>> from skinfluence.gaussian_process import GaussianProcessRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> X, y = X[:100], (y[:100] - y[:100].mean()) / y[:100].std()
    >>> reg = GaussianProcessRegressor(RBF(0.2) + WhiteKernel(0.5)).fit(X, y)
    >>> reg.influence_loss(X[:2], y[:2]).shape
    (2, 100)
    """

    _parameters = _ProcessCoefficients()
    _fitted_kernel = None
    _plain = FixedProcess

    def _formulate(self, y, sample_weight):
        layout = self._layout()
        return Formulation(
            loss=SquaredLoss(),
            target=RealTarget(layout.n_outputs),
            layout=layout,
            penalty=np.full(layout.shape, 2.0 * self._noise()),
        )

    @property
    def _has_moving_target(self):
        fitted = getattr(self, "_influence_problem", None)
        if fitted is None or fitted.layout is None:
            return self.normalize_y
        return fitted.layout.fit_intercept

    def _noise(self):
        """Return the noise variance, or raise if it differs between samples."""
        if not self.kernel_.requires_vector_input:
            raise UnsupportedEstimatorError(
                f"GaussianProcessRegressor(kernel={self.kernel_}) takes other objects than "
                "rows of numbers, and has no influence function here: use kernel=RBF() on "
                "numbers."
            )
        noise = self.alpha + _inner_noise(self.kernel_, self.X_train_)
        if np.ptp(noise) > 1e-9 * np.max(noise):
            raise UnsupportedEstimatorError(
                "GaussianProcessRegressor with noise that differs between samples, by alpha "
                "or by the kernel, has no influence function here: use alpha=1e-10 and a "
                "WhiteKernel."
            )
        if not noise.min() > 0:
            raise UnsupportedEstimatorError(
                "GaussianProcessRegressor without noise interpolates, and has no influence "
                "function here: use alpha=1e-10 or more."
            )
        return float(noise.mean())

    def _tight_params(self, params):
        penalty = get_problem(self).formulation.penalty
        return {
            "kernel": self.kernel_,
            "noise": penalty[0, 0] / 2,
            "normalize_y": self._has_moving_target,
        }


@get_problem.register(GaussianProcessRegressor)
def problem_of_process(process, method=None):
    """Return the problem of a process, whose targets may be normalised."""
    return (NormalisedProblem if process._has_moving_target else Problem)(process)


def _inner_noise(kernel, X):
    """Return the noise variance that a kernel adds to each row, (n,)."""
    parts = gaussian_process.kernels
    if not _has_noise(kernel):
        return np.zeros(len(X))
    if isinstance(kernel, parts.WhiteKernel):
        return np.full(len(X), float(kernel.noise_level))
    if isinstance(kernel, parts.Sum):  # a difference would lose the digits of low noise
        return _inner_noise(kernel.k1, X) + _inner_noise(kernel.k2, X)
    blocks = [X[start : start + _BLOCK] for start in range(0, len(X), _BLOCK)]
    smooth = [kernel(block, block).diagonal() for block in blocks]
    return kernel.diag(X) - np.concatenate(smooth)


def _has_noise(kernel):
    """Return whether a kernel has a `WhiteKernel` inside."""
    parts = [kernel, *kernel.get_params().values()]
    return any(isinstance(part, gaussian_process.kernels.WhiteKernel) for part in parts)
