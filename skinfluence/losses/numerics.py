"""Arithmetic that several losses share."""

import math

import numpy as np
from scipy import special

__all__ = [
    "LONGEST",
    "SHORT",
    "align",
    "exp",
    "exp_remainder",
    "expit",
    "log_expit",
    "log_sum_exp",
    "ratio",
    "series",
    "softmax",
    "xlogy",
]

# The logistic series with four terms is accurate to 1e-6 relative to the remainder for steps
# in the raw prediction up to SHORT, the exponential series with six terms up to MEDIUM. In
# single precision remainders are inaccurate beyond LONGEST.
SHORT, MEDIUM, LONGEST = 0.1, 0.5, 8.0


def align(values, direction):
    """Reshape values (n, K) so that they broadcast against (n, ..., K)."""
    return np.expand_dims(values, tuple(range(1, direction.ndim - 1)))


def ratio(numerator, denominator):
    """Return numerator / denominator, and 0 for 0 / 0."""
    with np.errstate(divide="ignore", over="ignore"):
        return np.divide(
            numerator, denominator, out=np.zeros_like(numerator), where=numerator > 0
        )


def exp(raw_prediction):
    """Return exp, and inf on overflow: a line search may try a step that is far too long."""
    with np.errstate(over="ignore"):
        return np.exp(raw_prediction)


# SciPy's functions of one NumPy array are a single pass. They take no other arrays.


def expit(values):
    """Return 1 / (1 + exp(-values))."""
    if isinstance(values, np.ndarray):
        return special.expit(values)
    return 1.0 / (1.0 + exp(-values))


def log_expit(values):
    """Return log expit without loss of small tails."""
    if isinstance(values, np.ndarray):
        return special.log_expit(values)
    return np.minimum(values, 0.0) - np.log1p(np.exp(-np.abs(values)))


def xlogy(x, y):
    """Return x log y, and 0 if x is 0."""
    if isinstance(x, np.ndarray):
        return special.xlogy(x, y)
    return x * np.log(np.where(x == 0, 1.0, y))


def softmax(values):
    """Return exp(values), divided by the sum over the last axis."""
    out = np.exp(values - values.max(axis=-1, keepdims=True))
    out /= out.sum(axis=-1, keepdims=True)
    return out


def log_sum_exp(values):
    """Return log sum exp over the last axis.

    `scipy.special.logsumexp` supports several array libraries, and takes two to four times as
    long. Line searches call it thousands of times.
    """
    largest = values.max(axis=-1, keepdims=True)
    largest[~np.isfinite(largest)] = 0.0
    with np.errstate(over="ignore"):
        return np.log(np.exp(values - largest).sum(axis=-1)) + largest[..., 0]


def exp_remainder(delta):
    """Return exp(delta) - 1 - delta, by a series if all steps are small."""
    if np.abs(delta).max(initial=0.0) > MEDIUM:
        return np.expm1(delta) - delta
    return series([1 / math.factorial(k) for k in range(2, 8)], delta)


def series(coefficients, delta):
    """Return delta^2 (c_0 + c_1 delta + ...); each c is a number or an array (n, K)."""
    coefficients = [
        align(c.astype(delta.dtype), delta) if np.ndim(c) else delta.dtype.type(c)
        for c in coefficients
    ]
    total = delta * coefficients[-1]
    for c in coefficients[-2:0:-1]:
        total += c
        total *= delta
    total += coefficients[0]
    total *= delta
    total *= delta
    return total
