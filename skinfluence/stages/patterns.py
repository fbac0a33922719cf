"""Helpers for cotangents on sparse rows, which have values only at stored entries."""

import numpy as np
from scipy import sparse

__all__ = ["column_sums", "entry_rows", "product_on", "values_at", "with_values"]

#: Largest number of entries in a dense block in `product_on`.
_BLOCK = 10_000_000


def column_sums(X):
    """Return the sum of each column of a dense or sparse array, (d,)."""
    return np.asarray(X.sum(axis=0)).ravel()


def entry_rows(X):
    """Return the row index of every stored entry in a csr array, (nnz,)."""
    return np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))


def with_values(X, values):
    """Return a csr array with new values at the stored entries of X."""
    return sparse.csr_array((values, X.indices, X.indptr), shape=X.shape)


def values_at(X, B):
    """Return the entries of B at the stored entries of a csr array X, (nnz,)."""
    if sparse.issparse(B):
        B = sparse.csr_array(B)
        same = B.nnz == X.nnz and np.array_equal(B.indptr, X.indptr)
        if same and np.array_equal(B.indices, X.indices):
            return B.data
    # Entries that B does not store are 0.
    return np.asarray(B[entry_rows(X), X.indices], dtype=np.float64).ravel()


def product_on(X, B, W):
    """Return B @ W, which has the shape of X. If X is sparse, only at its stored entries."""
    if not sparse.issparse(X):
        pulled = B @ W
        return pulled.toarray() if sparse.issparse(pulled) else np.asarray(pulled)
    X = sparse.csr_array(X)
    B = sparse.csr_array(B) if sparse.issparse(B) else B
    step = max(1, _BLOCK // max(1, X.shape[1]))
    starts = range(0, X.shape[0], step)
    blocks = [values_at(X[k : k + step], B[k : k + step] @ W) for k in starts]
    return with_values(X, np.concatenate([np.zeros(0), *blocks]))
