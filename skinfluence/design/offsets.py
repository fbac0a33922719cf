"""Feature means that are far from 0 relative to the spread."""

import numpy as np

from skinfluence.namespaces import to_host

__all__ = ["confirmed_offset", "is_far", "spread"]

# A mean is far from 0 if it exceeds the spread by this factor. Products between two such rows
# have lost six of sixteen digits.
_FAR = 1e3


def spread(columns, mean):
    """Return root mean square deviations from the mean, (d,)."""
    with np.errstate(over="ignore"):
        return np.sqrt(np.mean((columns - mean) ** 2, axis=0))


def is_far(mean, spread):
    """Return a mask for means that are far from 0 relative to the spread, (d,) bool."""
    return np.abs(mean) > _FAR * spread


def confirmed_offset(mean, candidates, blocks):
    """Return the offset for candidates with a small spread over all blocks, or None."""
    if not len(candidates):
        return None
    squares, n = np.zeros(len(candidates), like=mean), 0
    for block in blocks:
        squares += len(block) * spread(block, mean[candidates]) ** 2
        n += len(block)
    far = candidates[to_host(is_far(mean[candidates], np.sqrt(squares / n)))]
    if not len(far):
        return None
    offset = np.zeros(len(mean), like=mean)
    offset[far] = mean[far]
    return offset
