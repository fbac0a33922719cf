"""Matrix products in place, using the same pool of BLAS threads as LAPACK.

The wheels for NumPy and SciPy each contain a BLAS, whose threads keep spinning for a while
after their work. If calls alternate between both, one waits for the other: on two cores a
GEMM from NumPy right after a Cholesky factorisation from SciPy took twice its time. Only SciPy
has the factorisations we need, so large products also use SciPy.

SciPy's wrappers hold the interpreter's lock, and NumPy's products release it. If blocks run
in parallel, each with one BLAS thread, products therefore use NumPy.
"""

import numpy as np
from scipy.linalg import blas
from scipy.sparse import issparse

from skinfluence.blocks import blas_is_limited

_GEMM = {"d": blas.dgemm, "f": blas.sgemm}
_GEMV = {"d": blas.dgemv, "f": blas.sgemv}

# Columns copied at a time, so that both triangles stay in cache.
_TILE = 128


def multiply(a, b, out, *, add=False):
    """Write a @ b into out and return it.

    Parameters
    ----------
    a, b : ndarray or sparse matrix of shape (m, k) and (k, n)
        Factors. They are copied only if they are contiguous in neither order.
    out : ndarray of shape (m, n)
        Filled in place.
    add : bool, default=False
        Add the product to out instead.
    """
    if not out.size:
        return out
    on_device = not isinstance(out, np.ndarray)  # with a BLAS of its own
    if on_device or issparse(a) or issparse(b):
        out[...] = out + a @ b if add else a @ b
        return out
    kind = a.dtype.char
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
        first, trans_a = _operand(b.T)
        second, trans_b = _operand(a.T)
        gemm = _GEMM[kind]
        gemm(1.0, first, second, beta, out.T, trans_a=trans_a, trans_b=trans_b, overwrite_c=1)
    return out


def _operand(a):
    """Return a Fortran-ordered matrix and whether it is the transpose of a."""
    return (a.T, 1) if a.flags.c_contiguous else (np.asfortranarray(a), 0)


def add_gram(rows, out):
    """Add rows' rows to the upper triangle of out; entries below it are undefined.

    Parameters
    ----------
    rows : ndarray of shape (m, D)
        Contiguous float64, in either order.
    out : ndarray of shape (D, D)
        C-contiguous float64.
    """
    if not isinstance(out, np.ndarray) or (blas_is_limited() and len(rows) >= len(out)):
        # NumPy computes A'A from one buffer by SYRK, half the work of a GEMM, and releases the
        # interpreter's lock, but allocates an array as large as out. Few rows add in place.
        out += rows.T @ rows
    elif rows.size:
        matrix, trans = _operand(rows.T)
        blas.dsyrk(1.0, matrix, beta=1.0, c=out.T, trans=trans, lower=1, overwrite_c=1)


def fill_lower(square):
    """Copy the upper triangle of a square array to the lower one, in place."""
    if not isinstance(square, np.ndarray):  # `add_gram` fills both
        return square
    order = len(square)
    for start in range(0, order, _TILE):
        stop = min(start + _TILE, order)
        square[stop:, start:stop] = square[start:stop, stop:].T
        tile = square[start:stop, start:stop]
        tile[...] = np.triu(tile) + np.triu(tile, 1).T
    return square
