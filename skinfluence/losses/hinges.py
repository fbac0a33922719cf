"""Hinges for class labels -1 and +1."""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from skinfluence.losses.base import LabelLoss, Loss, PiecewiseLinearLoss, align


class HingeLoss(PiecewiseLinearLoss):
    """Hinge l = sum_k max(0, 1 - y_k eta_k) for labels y in {-1, +1}; target (n, K).

    Not smooth; it is the limit of `SmoothHingeLoss`. A row with label 0 does not belong to
    problem k.
    """

    def loss(self, target, raw_prediction):
        return np.sum(np.maximum(0.0, shortfall(target, raw_prediction)), axis=-1)

    def gradient(self, target, raw_prediction):
        short = shortfall(target, raw_prediction) > 0.0
        return np.where(short, -align(target, raw_prediction), 0.0)

    def kinks(self, target):
        y = np.asarray(target, dtype=np.float64)
        slopes = np.stack([np.minimum(-y, 0.0), np.maximum(-y, 0.0)], axis=-1)
        return y[..., None], slopes


@dataclass(frozen=True)
class SmoothHingeLoss(Loss):
    """Smooth hinge l = sum_k t log(1 + exp((1 - y_k eta_k)/t)), y in {-1, +1}.

    Target (n, K). With z = 1 - y eta the smooth hinge exceeds the hinge by at most t log 2,
    at the kink, and by t exp(-|z|/t) at a distance |z| from it. Its gradient -y sigma(z/t)
    and curvature sigma(z/t) sigma(-z/t)/t use a logistic function with width t.

    Parameters
    ----------
    temperature : float, default=0.1
        t > 0.
    """

    temperature: float = 0.1

    @property
    def curvature_rate(self):
        """1/t."""
        return 1.0 / self.temperature

    def loss(self, target, raw_prediction):
        z, t = shortfall(target, raw_prediction), self.temperature
        with np.errstate(over="ignore"):
            # If |z|/t overflows to inf, exp gives the correct 0.
            excess = t * np.log1p(np.exp(-np.abs(z) / t))
        return np.sum(np.maximum(0.0, z) + excess, axis=-1)

    def gradient(self, target, raw_prediction):
        return -align(target, raw_prediction) * expit(self._scaled(target, raw_prediction))

    def curvature(self, target, raw_prediction):
        u = self._scaled(target, raw_prediction)
        return expit(u) * expit(-u) / self.temperature

    def falls_forever(self, target, n_outputs):
        return np.where(target == 0, np.nan, target)

    def shortest_step(self):
        return self.temperature

    def temperature_slope(self, target, raw_prediction):
        """Return d gradient / d temperature, shape (n, ..., K).

        y sigma(u) sigma(-u) u/t with u = (1 - y eta)/t.
        """
        # Beyond 750 the product of both logistic functions is 0.
        u = np.clip(self._scaled(target, raw_prediction), -750.0, 750.0)
        return align(target, raw_prediction) * expit(u) * expit(-u) * u / self.temperature

    def _scaled(self, target, raw_prediction):
        """Return u = (1 - y eta)/t, and on overflow inf, which expit accepts."""
        with np.errstate(over="ignore"):
            return shortfall(target, raw_prediction) / self.temperature


class SquaredHingeLoss(Loss):
    """Squared hinge l = sum_k max(0, 1 - y_k eta_k)^2, y in {-1, +1}; target (n, K).

    Once differentiable. The curvature is 2 if the margin y eta is below 1 and 0 above. At the
    kink it is an element of the generalised second derivative.
    """

    has_kinks = True

    def loss(self, target, raw_prediction):
        return np.sum(np.maximum(0.0, shortfall(target, raw_prediction)) ** 2, axis=-1)

    def gradient(self, target, raw_prediction):
        short = np.maximum(0.0, shortfall(target, raw_prediction))
        return -2.0 * align(target, raw_prediction) * short

    def curvature(self, target, raw_prediction):
        return np.where(shortfall(target, raw_prediction) > 0.0, 2.0, 0.0)

    def kink_distance(self, target, raw_prediction):
        return np.abs(shortfall(target, raw_prediction))


class ModifiedHuberLoss(LabelLoss):
    """Squared hinge with a linear tail, for labels y in {-1, +1}; target (n, K).

        l = sum_k max(0, 1 - m_k)^2 if m_k = y_k eta_k >= -1, else -4 m_k

    Once differentiable. The curvature is 2 between the margins -1 and 1 and 0 elsewhere. At
    both margins it is an element of the generalised second derivative.
    """

    has_kinks = True

    def loss(self, target, raw_prediction):
        short = np.maximum(0.0, shortfall(target, raw_prediction))
        inner = np.minimum(short, 2.0)
        return np.sum(inner * (2.0 * short - inner), axis=-1)

    def gradient(self, target, raw_prediction):
        short = np.clip(shortfall(target, raw_prediction), 0.0, 2.0)
        return -2.0 * align(target, raw_prediction) * short

    def curvature(self, target, raw_prediction):
        short = shortfall(target, raw_prediction)
        return np.where((short > 0.0) & (short <= 2.0), 2.0, 0.0)

    def kink_distance(self, target, raw_prediction):
        return np.abs(1.0 - np.abs(shortfall(target, raw_prediction) - 1.0))

    def probability(self, raw_prediction):
        return (np.clip(raw_prediction, -1.0, 1.0) + 1.0) / 2.0

    def probability_slope(self, raw_prediction):
        return np.where(np.abs(raw_prediction) < 1.0, 0.5, 0.0)


def shortfall(target, raw_prediction):
    """Return z = 1 - y eta, 1 minus the margin, and -inf if y = 0."""
    y = align(target, raw_prediction)
    short = 1.0 - y * raw_prediction
    if np.all(target):
        return short
    return np.where(y == 0, -np.inf, short)
