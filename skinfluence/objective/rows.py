"""Batches of rows, row weights and rows to leave out."""

import numpy as np

from skinfluence.blocks import batches, row_blocks

__all__ = ["absent_in", "cached_batches", "weigh", "weighted_sum"]

# Bytes for raw predictions kept between two products: a share of a core's cache.
_CACHED = 2 * 2**20
# Arrays as large as the raw predictions that a pass over the rows makes.
_ON_DEVICE = 6


def cached_batches(n_rows, width, dtype=np.float64, like=None):
    """Return row slices whose raw predictions, `width` for each row, stay in cache.

    Beside an array on a device they are as long as memory allows.
    """
    row_bytes = np.dtype(dtype).itemsize * width
    if like is not None:
        return row_blocks(n_rows, _ON_DEVICE * row_bytes, largest=np.inf)
    return batches(n_rows, max(64, _CACHED // row_bytes))


def absent_in(rows, absent):
    """Return (row, vector) for entries of `absent` (b, a) that lie in a slice of rows."""
    vector, position = np.nonzero((absent >= rows.start) & (absent < rows.stop))
    return absent[vector, position] - rows.start, vector


def weigh(weight, values, out=None):
    """Return w_i v_i, with 0 for rows with weight zero even if v_i is infinite."""
    if weight.all():
        return np.multiply(weight, values, out=out)
    out = np.empty_like(values) if out is None else out
    np.multiply(weight, values, out=out, where=weight != 0)
    np.copyto(out, 0.0, where=weight == 0)
    return out


def weighted_sum(weight, values):
    """Return sum_i w_i v_i without rows that have weight zero, even if v_i is infinite."""
    with np.errstate(invalid="ignore"):
        total = weight @ values
    return weight[weight != 0] @ values[weight != 0] if np.isnan(total) else total
