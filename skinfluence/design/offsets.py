"""Means of features that are far from 0 for their spread."""

import numpy as np

__all__ = ["confirmed_offset", "is_far", "spread"]

# How many times the spread a mean is far from 0: products of two such rows have lost six of
# sixteen digits.
_FAR = 1e3


def spread(columns, mean):
    """Return root mean squares about the mean, (d,)."""
    with np.errstate(over="ignore"):
        return np.sqrt(np.mean((columns - mean) ** 2, axis=0))


def is_far(mean, spread):
    """Return which means are far from 0 for their spread, (d,) bool."""
    return np.abs(mean) > _FAR * spread


def confirmed_offset(mean, candidates, blocks):
    """Return the offset of the candidates whose spread over all blocks is small, or None."""
    if not len(candidates):
        return None
    squares, n = np.zeros(len(candidates)), 0
    for block in blocks:
        squares += len(block) * spread(block, mean[candidates]) ** 2
        n += len(block)
    far = is_far(mean[candidates], np.sqrt(squares / n))
    if not far.any():
        return None
    offset = np.zeros(len(mean))
    offset[candidates[far]] = mean[candidates[far]]
    return offset
