"""Cholesky factors of arrays of other libraries, as `solvers.cholesky` needs them."""

from importlib import import_module

import numpy as np
from scipy.sparse.linalg import LinearOperator, onenormest

__all__ = ["factorise", "half_solve", "smallest", "solve"]


def smallest(a, k):
    """Return the indices of the k smallest numbers in each row of a (m, n), in any order."""
    if hasattr(a, "space") and a.space.name == "torch":
        found = a.space.xp.topk(a.raw, k, dim=1, largest=False, sorted=False)
        return a.space.wrap(found.indices)
    return np.argpartition(a, k - 1, axis=1)[:, :k]


def factorise(block):
    """Return the lower factor of a symmetric array and its reciprocal condition number.

    The factor is None if the array is not positive definite.
    """
    space = block.space
    try:
        factor = space.wrap(space.xp.linalg.cholesky(block.raw))
    except Exception:  # each library has its own class
        return None, 0.0
    if not np.all(np.isfinite(factor)):
        return None, 0.0

    def apply(v):
        return solve(factor, space.array(np.asarray(v, dtype=np.float64))).host()

    inverse = LinearOperator(
        block.shape, matvec=apply, rmatvec=apply, matmat=apply, rmatmat=apply, dtype=np.float64
    )
    size = np.abs(block).sum(axis=0).max()
    # Two columns, as in LAPACK's estimate; more would be as many solves.
    return factor, 1.0 / float(size * onenormest(inverse, t=min(2, len(block))))


def solve(factor, B):
    """Return (L L')^-1 B for a lower factor L and B (p, m) or (p,)."""
    flat = B.ndim == 1
    B = B[:, None] if flat else B
    out = _triangular(factor, _triangular(factor, B), transposed=True)
    return out[:, 0] if flat else out


def half_solve(factor, B):
    """Return L^-1 B for a lower factor L and B (p, m)."""
    return _triangular(factor, B)


def _triangular(factor, B, transposed=False):
    space, xp = factor.space, factor.space.xp
    L, B = factor.raw, B.raw
    if space.name == "torch":
        native = xp.linalg.solve_triangular
        return space.wrap(
            native(L.mT, B, upper=True) if transposed else native(L, B, upper=False)
        )
    if space.name == "cupy":
        native = import_module("cupyx.scipy.linalg").solve_triangular
        return space.wrap(native(L, B, lower=True, trans=int(transposed)))
    # The standard has no triangular solve.
    return space.wrap(xp.linalg.solve(xp.matrix_transpose(L) if transposed else L, B))
