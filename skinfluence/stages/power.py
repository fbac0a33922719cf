"""PowerTransformer, which applies a power transform with a fitted exponent to each column."""

import math
from typing import NamedTuple

import numpy as np
from sklearn.preprocessing import PowerTransformer

from skinfluence.stages.base import Stage

# If |z| is smaller, use the series, which has 16 correct digits. Otherwise use the recurrence,
# which loses less than one digit.
_SERIES = 1.0
_TERMS = 18


class Bent(NamedTuple):
    """Power transform p(x, lambda) and its derivatives, each of shape (m, d)."""

    value: np.ndarray
    by_power: np.ndarray
    by_power_twice: np.ndarray
    by_x: np.ndarray
    by_x_and_power: np.ndarray
    log_slope: np.ndarray
    log_slope_by_x: np.ndarray


def _exponential_moments(z):
    """Return the integrals of s^k e^(s z) over 0 <= s <= 1 for k = 0, 1, 2.

    These are (e^z - 1)/z and its derivatives. Closed forms suffer from cancellation near 0.
    """
    small = np.abs(z) < _SERIES
    near, far = np.where(small, z, 0.0), np.where(small, 1.0, z)
    first = np.expm1(far) / far
    second = (np.exp(far) - first) / far
    third = (np.exp(far) - 2.0 * second) / far
    moments = []
    for k, closed in enumerate((first, second, third)):
        series = np.zeros_like(near)
        for j in reversed(range(_TERMS)):
            series = series * near + 1.0 / (math.factorial(j) * (j + k + 1))
        moments.append(np.where(small, series, closed))
    return moments


def _power_of(u, power):
    """Return (e^(power u) - 1) / power and its first two derivatives in the power."""
    first, second, third = _exponential_moments(power * u)
    return u * first, u**2 * second, u**3 * third


def box_cox(x, power):
    """Return p = (x^power - 1) / power for x > 0. Note log p' = (power - 1) log x."""
    u = np.log(x)
    value, once, twice = _power_of(u, power)
    slope = np.exp((power - 1.0) * u)
    return Bent(value, once, twice, slope, u * slope, u, 1.0 / x)


def yeo_johnson(x, power):
    """Return the Yeo-Johnson transform.

    If x >= 0, it is the Box-Cox transform of 1 + x. If x < 0, it is minus the Box-Cox
    transform of 1 - x with power 2 - power. So log p' = (power - 1) sign(x) log(1 + |x|).
    """
    sign = np.where(x < 0, -1.0, 1.0)
    u = np.log1p(np.abs(x))
    value, once, twice = _power_of(u, np.where(x < 0, 2.0 - power, power))
    slope = np.exp((power - 1.0) * sign * u)
    return Bent(
        sign * value, once, sign * twice, slope, sign * u * slope, sign * u, np.exp(-u)
    )


class PowerTransformerStage(Stage):
    """PowerTransformer: t = (p(x, lambda) - mu) / sigma, column by column.

    lambda maximises L = - S/2 log V + sum_i m_i log p'(x_i), in which V is the variance of p
    over the S observed rows. So

        0 = F = dL/dlambda = - S A/V + sum_i m_i g_i,     g = d log p' / d lambda,
        A = mean of p~ r~,  p~ = p - mu,  r = dp/dlambda,  r~ = r - mean of r,

        d lambda / d m_i = - (g_i - A/V - p~_i r~_i / V + A p~_i^2 / V^2) / (dF/dlambda)
        d mu / d m_i     = p~_i / S + (mean of r) d lambda / d m_i
        d V / d m_i      = (p~_i^2 - V) / S + 2 A d lambda / d m_i

    and sigma = sqrt(V). If `standardize` is false, mu is 0 and sigma is 1. The statistics of a
    constant column do not change. scikit-learn computes lambda to about 8 digits.
    """

    def __init__(self, transformer, X, y=None, weight=None):
        super().__init__(transformer, X, y, weight)
        self.bend = box_cox if transformer.method == "box-cox" else yeo_johnson
        self.missing = np.isnan(self.X)
        rows = self.bent = self._bent(self.X)
        self.count = np.maximum((~self.missing).sum(axis=0), 1)
        self.mean, self.mean_rate = self._average(rows.value), self._average(rows.by_power)
        self.centred = np.where(self.missing, 0.0, rows.value - self.mean)
        self.rate = rows.by_power - self.mean_rate
        variance = self._average(self.centred**2)
        # If the variance is rounding error, scikit-learn sets the scale to 1.
        rounding = self.count * np.finfo(float).eps
        small = variance <= rounding * variance + (rounding * self.mean) ** 2
        self.moves = ~small
        self.variance = np.where(small, 1.0, variance)
        self.covariance = self._average(self.centred * self.rate)
        curvature = self._average(self.rate**2 + self.centred * rows.by_power_twice)
        curvature /= self.variance
        curvature -= 2.0 * (self.covariance / self.variance) ** 2
        # At its maximum the likelihood is concave, except if the column is constant.
        concave = self.moves & (curvature > 0)
        self.inverse = concave / np.where(concave, self.count * curvature, 1.0)
        standardize = transformer.standardize
        self.shift = self.mean if standardize else np.zeros_like(self.mean)
        self.scale = np.sqrt(self.variance) if standardize else np.ones_like(self.mean)

    def _bent(self, X):
        """Return the transform and its derivatives; NaN becomes 1."""
        return self.bend(np.where(np.isnan(X), 1.0, X), self.transformer.lambdas_)

    def _average(self, values):
        """Return column means over the observed training rows, (d,)."""
        return np.where(self.missing, 0.0, values).sum(axis=0) / self.count

    def pull_statistics(self, X, B):
        B, rows = np.where(np.isnan(X), 0.0, B) / self.scale, self._bent(X)
        c_power = np.einsum("ij,ij->j", B, rows.by_power)
        if not self.transformer.standardize:
            return c_power, np.zeros_like(c_power), np.zeros_like(c_power)
        c_mean = -B.sum(axis=0)
        shifted = np.einsum("ij,ij->j", B, rows.value - self.shift)
        c_variance = -shifted * self.moves / (2.0 * self.variance)
        # The mean and variance depend on the power, too.
        c_power += c_mean * self.mean_rate + 2.0 * c_variance * self.covariance
        return c_power, c_mean, c_variance

    def pull_input(self, X, B):
        return np.where(np.isnan(X), 0.0, B * self._bent(X).by_x / self.scale)

    def row_influence(self, c, rows=None):
        if rows is None:
            missing, log_slope = self.missing, self.bent.log_slope
            centred, rate = self.centred, self.rate
        else:
            missing, bent = np.isnan(rows.X), self._bent(rows.X)
            centred = np.where(missing, 0.0, bent.value - self.mean)
            rate, log_slope = bent.by_power - self.mean_rate, bent.log_slope
        c_power, c_mean, c_variance = c
        power, ratio = c_power * self.inverse, self.covariance / self.variance
        # Add (g - A/V - p~ r~/V + A p~^2/V^2) and the terms for mean and variance by column.
        linear, square = c_mean / self.count, c_variance / self.count
        square_too = square + power * ratio / self.variance
        constant = ~missing @ (power * ratio + square * self.variance)
        value = np.where(missing, 0.0, log_slope) @ power
        value += centred @ linear + centred**2 @ square_too
        return value - (centred * rate) @ (power / self.variance) - constant

    def pull_fit(self, c):
        c_power, c_mean, c_variance = c
        power, ratio = c_power * self.inverse, self.covariance / self.variance
        rows = self.bent
        by_value = (c_mean + 2.0 * c_variance * self.centred) / self.count
        by_value = by_value + power / self.variance * (2.0 * ratio * self.centred - self.rate)
        pulled = by_value * rows.by_x + power * rows.log_slope_by_x
        pulled -= power / self.variance * self.centred * rows.by_x_and_power
        return np.where(self.missing, 0.0, pulled)


STAGES = {PowerTransformer: PowerTransformerStage}
