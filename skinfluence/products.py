"""Matrix products in place, from the one pool of BLAS threads that LAPACK uses as well.

The wheels of NumPy and SciPy bring a BLAS each, and the threads of each go on spinning for a
while after their work. Alternating between the two has one wait for the other: on two cores a
GEMM of NumPy right after a Cholesky factorisation of SciPy took twice its time. Factorisations
can only be had from SciPy, so large products come from there, too.

SciPy's wrappers hold the interpreter's lock. Where blocks run side by side, each with one BLAS
thread, products are NumPy's, which release it.
"""

import numpy as np
from scipy.linalg import blas

from skinfluence.blocks import blas_is_limited

__all__ = ["add_gram", "fill_lower", "multiply"]

_GEMM = {"d": blas.dgemm, "f": blas.sgemm}
_GEMV = {"d": blas.dgemv, "f": blas.sgemv}

# Columns of a square that are copied at a time, so that both sides stay in cache.
_TILE = 128


def multiply(a, b, out, *, add=False):
    """Write a @ b into out and return it.

    Parameters
    ----------
    a, b : ndarray of shape (m, k) and (k, n)
        Factors. Those that are contiguous in either order are not copied.
    out : ndarray of shape (m, n)
        Filled in place.
    add : bool, default=False
        Add to what is in out.
    """
    kind = a.dtype.char
    if not out.size:
        return out
    if not a.size or a.dtype != b.dtype or kind not in _GEMM or blas_is_limited():
        if add:
            out += a @ b
            return out
        return np.matmul(a, b, out=out)
    if out.dtype != a.dtype or not out.flags.carray:  # BLAS would write into a copy
        product = multiply(a, b, np.empty(out.shape, a.dtype))
        np.add(out, product, out=out) if add else np.copyto(out, product, casting="same_kind")
        return out
    beta = float(add)
    # Fortran sees a C-ordered array as its transpose: out' = b' a'.
    if out.shape[1] == 1:
        matrix, trans = _operand(a)
        gemv = _GEMV[kind]
        gemv(1.0, matrix, b[:, 0], beta=beta, y=out[:, 0], trans=trans, overwrite_y=1)
    elif out.shape[0] == 1:
        matrix, trans = _operand(b.T)
        gemv = _GEMV[kind]
        gemv(1.0, matrix, a[0], beta=beta, y=out[0], trans=trans, overwrite_y=1)
    else:
        left, trans_a = _operand(b.T)
        right, trans_b = _operand(a.T)
        gemm = _GEMM[kind]
        gemm(1.0, left, right, beta, out.T, trans_a=trans_a, trans_b=trans_b, overwrite_c=1)
    return out


def _operand(a):
    """Return a Fortran-ordered matrix and whether a is its transpose."""
    return (a.T, 1) if a.flags.c_contiguous else (np.asfortranarray(a), 0)


def add_gram(rows, out):
    """Add rows' rows to the upper triangle of out; below it nothing is promised.

    Parameters
    ----------
    rows : ndarray of shape (m, D)
        Contiguous float64, in either order.
    out : ndarray of shape (D, D)
        C-contiguous float64.
    """
    if blas_is_limited() and len(rows) >= len(out):
        # NumPy makes A'A of one buffer a SYRK, half the work of a GEMM, and leaves the other
        # threads the interpreter, for an array of out's size. Few rows add in place.
        out += rows.T @ rows
    elif rows.size:
        matrix, trans = _operand(rows.T)
        blas.dsyrk(1.0, matrix, beta=1.0, c=out.T, trans=trans, lower=1, overwrite_c=1)


def fill_lower(square):
    """Copy the upper triangle of a square array to the lower one, in place."""
    order = len(square)
    for start in range(0, order, _TILE):
        stop = min(start + _TILE, order)
        square[stop:, start:stop] = square[start:stop, stop:].T
        tile = square[start:stop, start:stop]
        tile[...] = np.triu(tile) + np.triu(tile, 1).T
    return square
