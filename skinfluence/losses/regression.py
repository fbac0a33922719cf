"""Losses for real targets."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from skinfluence.losses.base import Loss, PiecewiseLinearLoss, align


class SquaredLoss(Loss):
    """Squared error l = sum_k (y_k - eta_k)^2, without the 1/2; target (n, K)."""

    constant_curvature = True
    curvature_rate = 0.0
    has_dispersion = True

    def loss(self, target, raw_prediction):
        return np.sum((align(target, raw_prediction) - raw_prediction) ** 2, axis=-1)

    def gradient(self, target, raw_prediction):
        return 2.0 * (raw_prediction - align(target, raw_prediction))

    def curvature(self, target, raw_prediction):
        return np.full_like(raw_prediction, 2.0)

    def remainder(self, target, raw_prediction, delta):
        return np.zeros_like(delta)


class HalfSquaredLoss(SquaredLoss):
    """Half the squared error l = 1/2 sum_k (y_k - eta_k)^2; target (n, K)."""

    def loss(self, target, raw_prediction):
        return 0.5 * super().loss(target, raw_prediction)

    def gradient(self, target, raw_prediction):
        return raw_prediction - align(target, raw_prediction)

    def curvature(self, target, raw_prediction):
        return np.ones_like(raw_prediction)


# A fitted scale is 0 if it is smaller, in units of the quartiles' distance of the targets. If
# most rows are beyond epsilon, which no other scale allows, the second bound applies.
_NO_SCALE, _FEW_WITHIN = 1e-6, 1e-4


@dataclass(frozen=True)
class HuberLoss(Loss):
    """Huber's loss with its scale, l = sigma + H((y - eta)/sigma) sigma; target (n, 1).

    H(u) = u^2 up to |u| = epsilon and 2 epsilon |u| - epsilon^2 beyond. The raw prediction has
    two outputs (eta, sigma). The fit also estimates sigma, one number for all rows. The
    curvature is 2/sigma (1, u)(1, u)' up to epsilon and 0 beyond.

    Parameters
    ----------
    epsilon : float, default=1.35
        Largest residual in the quadratic part, in units of sigma.
    """

    epsilon: float = 1.35
    coupled: ClassVar[bool] = True
    has_kinks: ClassVar[bool] = True
    positive_output: ClassVar[int | None] = 1
    if_lost: ClassVar[str] = (
        "The scale falls to 0 if the features fit many samples exactly. A larger epsilon or "
        "fewer features help."
    )

    def loss(self, target, raw_prediction):
        u, sigma = self._scaled(target, raw_prediction)
        size = np.abs(u)
        H = np.where(size <= self.epsilon, u**2, 2 * self.epsilon * size - self.epsilon**2)
        with np.errstate(invalid="ignore"):  # inf * 0 if sigma is 0
            return np.where(sigma <= 0, np.inf, sigma + H * sigma)  # NaN stays

    def gradient(self, target, raw_prediction):
        u, sigma = self._scaled(target, raw_prediction)
        cut = np.clip(u, -self.epsilon, self.epsilon)
        gradient = np.stack([-2 * cut, 1 - cut**2], axis=-1)
        return np.where(sigma[..., None] > 0, gradient, np.nan)

    def curvature(self, target, raw_prediction):
        u, sigma = self._scaled(target, raw_prediction)
        inside = np.where(np.abs(u) <= self.epsilon, 2 / sigma, 0.0)
        direction = np.stack([np.ones_like(u), u], axis=-1)
        return inside[:, None, None] * direction[:, :, None] * direction[:, None]

    def curvature_product(self, target, raw_prediction, direction):
        curvature = self.curvature(target, raw_prediction)
        curvature = np.expand_dims(curvature, tuple(range(1, direction.ndim - 1)))
        return np.matmul(curvature, direction[..., None])[..., 0]

    def curvature_diagonal(self, target, raw_prediction):
        return np.einsum("nkk->nk", self.curvature(target, raw_prediction))

    def kink_distance(self, target, raw_prediction):
        # The kinks are where |y - eta| = epsilon sigma.
        u, sigma = self._scaled(target, raw_prediction)
        distance = sigma * np.abs(np.abs(u) - self.epsilon) / np.hypot(1.0, self.epsilon)
        return distance[..., None]

    def chi_square(self, target, raw_prediction):
        # The scale has no residual.
        chi_square = super().chi_square(target, raw_prediction)
        chi_square[..., 1] = 0.0
        return chi_square

    def response(self, raw_prediction):
        return raw_prediction[..., :1]

    def response_jacobian(self, raw_prediction):
        return np.broadcast_to([[1.0, 0.0]], (len(raw_prediction), 1, 2))

    def why_no_scale(self, target, raw_prediction, weight):
        """Return why the scale is 0 beside the spread of the targets, None if it is not.

        Let the fit be exact for rows with weights W, and V be the others' weights. As sigma
        falls to 0, the objective's slope in it is W + (1 - epsilon^2) V.
        """
        u, sigma = self._scaled(target, raw_prediction)
        spread = np.subtract(*np.percentile(target, [75, 25]))
        exact = np.abs(u) <= self.epsilon
        limit = _FEW_WITHIN if 2 * exact.sum() < len(exact) else _NO_SCALE
        if not sigma[0] <= limit * spread:
            return None
        W, V = weight[exact].sum(), weight[~exact].sum()
        heaviest = np.argmax(np.where(exact, weight, -1.0))
        told = (
            f"The scale of the fit is {sigma[0]:.2g}, which is 0 beside the spread of the "
            f"targets, {spread:.2g}, so the fit has no derivatives: it is exact for "
            f"{exact.sum()} row(s), such as row {heaviest}, whose weights add up to {W:.3g}"
        )
        if V <= 0:
            return f"{told}. These are all rows: use fewer features, or LinearRegression."
        least = np.sqrt(1 + W / V)
        return (
            f"{told}, those of the others to {V:.3g}. Use epsilon={1.2 * least:.3g}, because "
            f"the scale falls to 0 below about sqrt(1 + {W:.3g}/{V:.3g}) = {least:.3g}, or "
            "give these rows less weight."
        )

    @staticmethod
    def _scaled(target, raw_prediction):
        """Return u = (y - eta)/sigma and sigma, (n, ...)."""
        eta, sigma = raw_prediction[..., 0], raw_prediction[..., 1]
        with np.errstate(divide="ignore", invalid="ignore"):
            return (align(target, raw_prediction)[..., 0] - eta) / sigma, sigma


@dataclass(frozen=True)
class HalfHuberLoss(Loss):
    """Half the squared error, linear for residuals beyond epsilon; target (n, K).

        l = sum_k 1/2 r_k^2 if |r_k| = |y_k - eta_k| <= epsilon,
                  else epsilon |r_k| - epsilon^2/2

    Parameters
    ----------
    epsilon : float
        Residual at which the loss becomes linear.
    """

    epsilon: float
    has_kinks: ClassVar[bool] = True

    def loss(self, target, raw_prediction):
        size = np.abs(raw_prediction - align(target, raw_prediction))
        inner = np.minimum(size, self.epsilon)
        return np.sum(inner * (size - inner / 2), axis=-1)

    def gradient(self, target, raw_prediction):
        residual = raw_prediction - align(target, raw_prediction)
        return np.clip(residual, -self.epsilon, self.epsilon)

    def curvature(self, target, raw_prediction):
        return np.where(np.abs(raw_prediction - target) <= self.epsilon, 1.0, 0.0)

    def kink_distance(self, target, raw_prediction):
        return np.abs(np.abs(raw_prediction - target) - self.epsilon)


@dataclass(frozen=True)
class EpsilonInsensitiveLoss(PiecewiseLinearLoss):
    """Loss l = sum_k max(0, |y_k - eta_k| - epsilon); target (n, K).

    Parameters
    ----------
    epsilon : float, default=0.0
        Half width of the tube in which the loss is zero.
    """

    epsilon: float = 0.0

    def loss(self, target, raw_prediction):
        residual = np.abs(raw_prediction - align(target, raw_prediction))
        return np.sum(np.maximum(0.0, residual - self.epsilon), axis=-1)

    def gradient(self, target, raw_prediction):
        residual = raw_prediction - align(target, raw_prediction)
        return np.where(np.abs(residual) > self.epsilon, np.sign(residual), 0.0)

    def kinks(self, target):
        y = np.asarray(target, dtype=np.float64)
        positions = np.stack([y - self.epsilon, y + self.epsilon], axis=-1)
        return positions, np.broadcast_to([-1.0, 0.0, 1.0], (*y.shape, 3))


@dataclass(frozen=True)
class SquaredEpsilonInsensitiveLoss(Loss):
    """Loss l = sum_k max(0, |y_k - eta_k| - epsilon)^2; target (n, K).

    Once differentiable. The curvature is 2 outside the tube |y_k - eta_k| < epsilon and 0
    inside. On its border it is an element of the generalised second derivative.

    Parameters
    ----------
    epsilon : float, default=0.0
        Half width of the tube; for 0 the loss is the squared error.
    """

    epsilon: float = 0.0
    has_kinks: ClassVar[bool] = True

    def loss(self, target, raw_prediction):
        return np.sum(self._excess(target, raw_prediction) ** 2, axis=-1)

    def gradient(self, target, raw_prediction):
        residual = raw_prediction - align(target, raw_prediction)
        return 2.0 * np.sign(residual) * self._excess(target, raw_prediction)

    def curvature(self, target, raw_prediction):
        residual = np.abs(raw_prediction - target)
        return np.where(residual >= self.epsilon, 2.0, 0.0)

    def kink_distance(self, target, raw_prediction):
        return np.abs(np.abs(raw_prediction - target) - self.epsilon)

    def _excess(self, target, raw_prediction):
        residual = np.abs(raw_prediction - align(target, raw_prediction))
        return np.maximum(0.0, residual - self.epsilon)
