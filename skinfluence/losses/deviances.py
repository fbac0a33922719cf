"""Deviances for generalised linear models."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from skinfluence.losses.base import LONGEST, Loss, align, exp, exp_remainder, xlogy


class PoissonLoss(Loss):
    """Half Poisson deviance l = y log(y/mu) - y + mu, mu = exp(eta); target (n, 1)."""

    curvature_rate = 1.0

    def loss(self, target, raw_prediction):
        target = align(target, raw_prediction)
        constant = xlogy(target, target) - target
        return np.sum(constant - target * raw_prediction + exp(raw_prediction), axis=-1)

    def gradient(self, target, raw_prediction):
        return exp(raw_prediction) - align(target, raw_prediction)

    def curvature(self, target, raw_prediction):
        return exp(raw_prediction)

    def higher_derivatives(self, target, raw_prediction):
        return exp(raw_prediction), exp(raw_prediction)

    def falls_forever(self, target, n_outputs):
        return np.where(target > 0, 0.0, -1.0)

    def response(self, raw_prediction):
        return exp(raw_prediction)

    def response_jacobian(self, raw_prediction):
        return exp(raw_prediction)[:, :, None]

    def remainder(self, target, raw_prediction, delta):
        if np.abs(delta).max(initial=0.0) > LONGEST:
            return super().remainder(target, raw_prediction, delta)
        return align(exp(raw_prediction), delta).astype(delta.dtype) * exp_remainder(delta)


@dataclass(frozen=True)
class TweedieLoss(Loss):
    """Half Tweedie deviance with the log link, mu = exp(eta); target (n, 1).

        l = y^(2-p)/((1-p)(2-p)) - y mu^(1-p)/(1-p) + mu^(2-p)/(2-p)

    and its limits y log(y/mu) - y + mu at p = 1 (Poisson) and y/mu - log(y/mu) - 1 at p = 2
    (Gamma). Convex for 1 <= p <= 2. If p < 0, targets may be negative and count as 0 in the
    first term.

    Parameters
    ----------
    power : float
        p.
    """

    power: float

    @property
    def curvature_rate(self):
        """Rate of the faster exponential in the curvature, None if the sign changes."""
        return max(2.0 - self.power, self.power - 1.0) if self.convex else None

    @property
    def convex(self):
        """Whether the curvature (2-p) mu^(2-p) - (1-p) y mu^(1-p) is never negative."""
        return 1 <= self.power <= 2

    @property
    def description(self):
        return f"the Tweedie deviance of power={self.power:g} with link='log'"

    @property
    def has_dispersion(self):
        """Whether the deviance is in units of a dispersion; the Poisson deviance is not."""
        return self.power != 1

    def loss(self, target, raw_prediction):
        target, p = align(target, raw_prediction), self.power
        # If an exponent is 0, the power turns into a logarithm.
        saturated = _saturated(target, p)
        with np.errstate(over="ignore", invalid="ignore"):
            if p == 1:
                pull, push = target * raw_prediction, exp(raw_prediction)
            else:
                pull = target * np.exp((1 - p) * raw_prediction) / (1 - p)
                push = raw_prediction if p == 2 else np.exp((2 - p) * raw_prediction) / (2 - p)
            return np.sum(saturated - pull + push, axis=-1)

    def gradient(self, target, raw_prediction):
        # mu^(2-p) - y mu^(1-p)
        pull, push = self._powers(target, raw_prediction)
        with np.errstate(invalid="ignore"):
            return push - pull

    def curvature(self, target, raw_prediction):
        pull, push = self._powers(target, raw_prediction)
        with np.errstate(invalid="ignore"):
            return (2 - self.power) * push - (1 - self.power) * pull

    def higher_derivatives(self, target, raw_prediction):
        pull, push = self._powers(target, raw_prediction)
        faster, slower = 2 - self.power, 1 - self.power
        with np.errstate(invalid="ignore"):
            third = faster**2 * push - slower**2 * pull
            return third, faster**3 * push - slower**3 * pull

    def falls_forever(self, target, n_outputs):
        # If y <= 0, both terms vanish as mu tends to 0. If y > 0, the minimum is at mu = y and
        # the loss rises on both sides, possibly only to a limit if it is not convex.
        return None if self.power >= 2 else np.where(target > 0, 0.0, -1.0)

    def shortest_step(self):
        # (mu^(2-p) - y mu^(1-p)) / ((2-p) mu^(2-p) - (1-p) y mu^(1-p)) for y <= 0.
        return 1 / (2 - self.power)

    def chi_square(self, target, raw_prediction):
        # (y - mu)^2 / mu^p
        mean, p = exp(raw_prediction), self.power
        return (align(target, raw_prediction) - mean) ** 2 * exp(-p * raw_prediction)

    def response(self, raw_prediction):
        return exp(raw_prediction)

    def response_jacobian(self, raw_prediction):
        return exp(raw_prediction)[:, :, None]

    def _powers(self, target, raw_prediction):
        """Return y mu^(1-p) and mu^(2-p)."""
        pull = align(target, raw_prediction) * exp((1 - self.power) * raw_prediction)
        return pull, exp((2 - self.power) * raw_prediction)


@dataclass(frozen=True)
class TweedieIdentityLoss(Loss):
    """Half Tweedie deviance, as in `TweedieLoss`, with the identity link, mu = eta > 0.

    Target (n, 1). The loss is infinite if eta is not positive. For p = 0, eta may be any
    number and the loss is `HalfSquaredLoss`. Convex for p = 1; otherwise the curvature
    (1-p) mu^-p + p y mu^(-p-1) takes both signs.

    Parameters
    ----------
    power : float
        p, not 0.
    """

    power: float
    lower: ClassVar[float] = 0.0

    @property
    def convex(self):
        """Whether the curvature is never negative."""
        return self.power == 1

    @property
    def description(self):
        return f"the Tweedie deviance of power={self.power:g} with link='identity'"

    @property
    def has_dispersion(self):
        """Whether the deviance is in units of a dispersion; the Poisson deviance is not."""
        return self.power != 1

    def loss(self, target, raw_prediction):
        with np.errstate(divide="ignore", invalid="ignore"):
            log_mean = np.log(raw_prediction)
        value = TweedieLoss(self.power).loss(target, log_mean)
        return np.where(np.any(raw_prediction <= 0, axis=-1), np.inf, value)  # NaN stays

    def gradient(self, target, raw_prediction):
        # mu^-p (mu - y)
        target = align(target, raw_prediction)
        return self._power(raw_prediction, -self.power) * (raw_prediction - target)

    def curvature(self, target, raw_prediction):
        p = self.power
        slope = self._power(raw_prediction, -p - 1)
        with np.errstate(over="ignore", invalid="ignore"):
            return slope * ((1 - p) * raw_prediction + p * align(target, raw_prediction))

    def chi_square(self, target, raw_prediction):
        residual = align(target, raw_prediction) - raw_prediction
        return residual**2 * self._power(raw_prediction, -self.power)

    @staticmethod
    def _power(mean, exponent):
        """Return mu^exponent, NaN if mu is not positive."""
        with np.errstate(over="ignore"):
            return np.where(mean > 0, mean, np.nan) ** exponent


def _saturated(target, power):
    """Return the term that makes the half Tweedie deviance 0 for a perfect prediction."""
    if power == 1:
        return xlogy(target, target) - target
    if power == 2:
        return -np.log(target) - 1
    if power == 0:
        return target**2 / 2
    return np.maximum(target, 0.0) ** (2 - power) / ((1 - power) * (2 - power))
