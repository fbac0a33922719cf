"""Arithmetic that several losses share."""

import math

import numpy as np

__all__ = ["LONGEST", "SHORT", "align", "exp", "exp_remainder", "ratio", "series"]

# Steps of the raw prediction up to which four terms of the logistic series, and six of the
# exponential's, are right to 1e-6 of the remainder; and beyond which single precision is not.
SHORT, MEDIUM, LONGEST = 0.1, 0.5, 8.0


def align(values, direction):
    """Return values (n, K) shaped to broadcast against (n, ..., K)."""
    return np.expand_dims(values, tuple(range(1, direction.ndim - 1)))


def ratio(numerator, denominator):
    """Return numerator / denominator, 0 where both are 0."""
    with np.errstate(divide="ignore", over="ignore"):
        return np.divide(
            numerator, denominator, out=np.zeros_like(numerator), where=numerator > 0
        )


def exp(raw_prediction):
    """Return exp; inf where a line search tries a step that is far too long."""
    with np.errstate(over="ignore"):
        return np.exp(raw_prediction)


def exp_remainder(delta):
    """Return exp(delta) - 1 - delta, small steps by their series."""
    if np.abs(delta).max(initial=0.0) > MEDIUM:
        return np.expm1(delta) - delta
    return series([1 / math.factorial(k) for k in range(2, 8)], delta)


def series(coefficients, delta):
    """Return delta^2 (c_0 + c_1 delta + ...) for numbers or arrays (n, K) c."""
    coefficients = [np.asarray(c, dtype=delta.dtype) for c in coefficients]
    coefficients = [align(c, delta) if c.ndim else c for c in coefficients]
    total = delta * coefficients[-1]
    for c in coefficients[-2:0:-1]:
        total += c
        total *= delta
    total += coefficients[0]
    total *= delta
    total *= delta
    return total
