"""Cholesky factors in place by LAPACK, and those of arrays on devices by their own library."""

import numpy as np
from scipy.linalg import blas, lapack

from skinfluence import namespaces
from skinfluence.blocks import batches

__all__ = ["factorise", "half_solve", "solve"]


def factorise(block):
    """Return the lower factor of a symmetric array and its reciprocal condition number.

    Parameters
    ----------
    block : ndarray of shape (p, p)
        C-ordered, with unit diagonal; overwritten. Only its upper triangle is read.

    Returns
    -------
    factor : ndarray of shape (p, p) or None
        L with block = L L'; None if there is none. Entries above the diagonal are undefined.
    rcond : float
        Reciprocal condition number in the 1-norm, roughly.
    """
    if namespaces.is_device(block):
        return namespaces.factorise(block)
    # LAPACK reads the upper triangle of a C-ordered array as the lower triangle of its
    # transpose, so the block is factorised in place.
    norm = _norm_from_upper(block)
    factor, info = lapack.dpotrf(block.T, lower=1, overwrite_a=1, clean=0)
    if info != 0:
        return None, 0.0
    return factor, lapack.dpocon(factor, norm, uplo="L")[0]


def solve(factor, B):
    """Return (L L')^-1 B for a factor and B (p, m), which may be overwritten."""
    if namespaces.is_device(factor):
        return namespaces.solve(factor, B)
    return lapack.dpotrs(factor, B, lower=1, overwrite_b=1)[0]


def half_solve(factor, B):
    """Return L^-1 B for a factor and B (p, m), which may be overwritten."""
    if namespaces.is_device(factor):
        return namespaces.half_solve(factor, B)
    return blas.dtrsm(1.0, factor, B, lower=1, overwrite_b=1)


def _norm_from_upper(block):
    """Return the 1-norm of a symmetric matrix with unit diagonal from its upper triangle."""
    sums = np.full(len(block), -1.0)
    for rows in batches(len(block), max(1, 2**19 // (8 * len(block)))):
        size = np.abs(block[rows, rows.start :])
        inside = rows.stop - rows.start
        size[:, :inside] = np.triu(size[:, :inside])
        sums[rows] += size.sum(axis=1)
        sums[rows.start :] += size.sum(axis=0)
    return sums.max()
