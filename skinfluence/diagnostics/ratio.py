"""Quotients of measures, and DFBETAS from the changes of the parameters."""

import numpy as np

__all__ = ["divide_by_deleted", "moves_in_errors", "per_parameter", "ratio", "scaled_moves"]


def scaled_moves(d, scale, layout):
    """Return -d_ij / sqrt((H^-1)_jj) for changes d (b, K, D), (b, p).

    `scale` (p,) is the root of the diagonal of H^-1. A coefficient that the penalty keeps at 0
    does not move and has no standard error; its result is 0.
    """
    moves = -layout.to_public(d)
    return np.divide(moves, scale, out=np.zeros_like(moves), where=scale > 0)


def divide_by_deleted(moves, deleted_dispersion, layout):
    """Return moves (b, p) over sqrt(phi_(i)), from phi_(i) (b, K); NaN without dispersion."""
    deleted = np.sqrt(deleted_dispersion)[:, :, None]
    deleted = np.broadcast_to(deleted, (*deleted.shape[:2], layout.n_columns))
    with np.errstate(divide="ignore", invalid="ignore"):
        unit = layout.to_public(deleted)
        return np.where(unit > 0, moves / unit, np.nan)


def moves_in_errors(moves, scale, deleted_dispersion, layout):
    """Return moves (b, p) over sqrt(phi_(i) (H^-1)_jj), (b, p).

    `scale` (K, D) is the diagonal of H^-1, and phi_(i) has the shape (b, K). A coefficient
    that the penalty keeps at 0 has no standard error; its result is 0.
    """
    error = layout.to_public(np.sqrt(scale * deleted_dispersion[:, :, None]))
    out = np.where(np.isnan(error) | np.isnan(moves), np.nan, 0.0)
    return np.divide(moves, error, out=out, where=error > 0)


def per_parameter(squares, leverage):
    """Return the sums of squares (m, K) over the effective number of parameters, (m,)."""
    total = leverage.sum()
    squares = squares.sum(axis=1)
    return squares / total if total > 0 else np.zeros(len(squares))


def ratio(a, b):
    """Return a / b, NaN if b is not positive."""
    a, b = np.broadcast_arrays(a, b)
    return np.divide(a, b, out=np.full_like(a, np.nan, dtype=np.float64), where=b > 0)
