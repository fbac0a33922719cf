"""Designs for arrays, memmaps and arrays of other libraries."""

import numpy as np
from scipy import sparse

from skinfluence.blocks import (
    IN_CACHE,
    add_gram,
    batches,
    fill_lower,
    memory_budget,
    multiply,
    row_blocks,
)
from skinfluence.design.base import Design, confirmed_offset, is_far, spread

# Bytes for rows that stay in cache between two products. For 55,000 x 784 rows and ten columns
# 3 to 50 MiB are equally fast, a quarter of the time for two passes. Rows stored as bytes are
# converted first, so they need small blocks.
_CACHED = 4 * 2**20

# Rows used to estimate the spread of features.
_ENOUGH_ROWS = 64


class DenseDesign(Design):
    """Rows in an ndarray or memmap with any real dtype."""

    is_dense = True

    def product_blocks(self, width):
        if self.X.dtype == np.float64 and self.X.flags.forc:
            return [slice(0, self.n_rows)]
        return row_blocks(self.n_rows, 8 * (self.n_features + width))

    def loaded(self):
        return DenseDesign(self.features(slice(None)), self.fit_intercept)

    def pass_blocks(self, width):
        # The second product finds the rows from the first one in cache. With many columns the
        # products take longer than reading, and larger blocks save passes over the result.
        d = self.n_features
        largest = max(_CACHED, 64 * width * d)
        return row_blocks(self.n_rows, 8 * d + 24 * width, largest=largest)

    def append(self, other):
        X = other.X.toarray() if sparse.issparse(other.X) else other.X
        return DenseDesign(np.concatenate([self.X, X]), self.fit_intercept)

    def centre(self, weights):
        total = weights.sum()
        if not self.fit_intercept or not total > 0:
            return None
        return self.adjoint(weights)[: self.n_features] / total

    def offset(self, weights):
        mean = self.centre(weights)
        if mean is None:
            return None
        # A sample of rows determines the candidates.
        sample = self.X[:: 1 + self.n_rows // _ENOUGH_ROWS].astype(np.float64)
        candidates = np.flatnonzero(is_far(mean, spread(sample, mean)))
        return confirmed_offset(mean, candidates, self._far_columns(candidates))

    def _far_columns(self, candidates):
        for rows in row_blocks(self.n_rows, 24 * max(1, len(candidates))):
            yield self.X[rows][:, candidates].astype(np.float64)

    def less(self, offset):
        if 8 * self.X.size <= memory_budget():
            return DenseDesign(self.X - offset, self.fit_intercept)
        return DenseDesign(_Shifted(self.X, offset), self.fit_intercept)

    def read_into(self, readings, out, scale=None):
        d = self.n_features
        for rows in self.product_blocks(len(readings)):
            multiply(readings[:, :d], self.features(rows).T, out[:, rows])
        for batch in self.cached_blocks(len(out)):
            if self.fit_intercept:
                out[batch] += readings[batch, d:]
            if scale is not None:
                out[batch] *= scale

    def cached_blocks(self, m):
        """Return slices of m values for each row that stay in cache."""
        return batches(m, max(1, IN_CACHE // (8 * self.n_rows)))

    def partial_products(self, root, other=None):
        n, m = self.n_rows, 0 if other is None else other.n_rows
        blocks = row_blocks(self.n_features, 16 * (n + m))
        if other is None:
            return np.zeros((n, n)), (self.X[:, block] * root[block] for block in blocks)
        X = other.X.tocsc() if sparse.issparse(other.X) else other.X

        def other_columns(block):
            return (X[:, block].toarray() if sparse.issparse(X) else X[:, block]) * root[block]

        return np.zeros((m, n)), (
            (self.X[:, block] * root[block], other_columns(block)) for block in blocks
        )

    def gram(self, weights, shift=None):
        D, M = self.n_columns, weights.shape[1]
        out = np.zeros((M, D, D))
        blocks = row_blocks(self.n_rows, (16 if M == 1 else 32) * D)
        buffer = np.empty((blocks[0].stop if blocks else 0) * D)
        for rows in blocks:
            m, root = rows.stop - rows.start, np.sqrt(weights[rows])
            scaled = buffer[: m * D]
            if M == 1:
                self._scale(self.X[rows], shift, root, scaled.reshape(m, D))
                add_gram(scaled.reshape(m, D), out[0])
                continue
            # For repeated scaling, contiguous columns are faster: if rows have few features,
            # NumPy takes as long to step to a row as to multiply it.
            columns = self._by_column(self.X[rows], shift)
            for k in range(M):
                np.multiply(columns, root[:, k], out=scaled.reshape(D, m))
                add_gram(scaled.reshape(D, m).T, out[k])
        for square in out:
            fill_lower(square)
        return out

    def _by_column(self, X, shift):
        """Return the columns of x~_i - shift for a block, C-contiguous with shape (D, m)."""
        columns = np.empty((self.n_columns, len(X)))
        np.subtract(X.T, 0.0 if shift is None else shift[:, None], out=columns[: X.shape[1]])
        columns[X.shape[1] :] = 1.0
        return columns

    def _scale(self, X, shift, root, out):
        """Write root_i (x~_i - shift) into out (m, D), in pieces that stay in cache."""
        d = self.n_features
        shifted = np.empty((max(1, IN_CACHE // (8 * self.n_columns)), d))
        for piece in batches(len(X), len(shifted)):
            features = X[piece]
            if shift is not None:
                features = np.subtract(features, shift, out=shifted[: len(features)])
            np.multiply(features, root[piece], out=out[piece, :d])
        if self.fit_intercept:
            out[:, d:] = root

    def squared_adjoint(self, weights):
        out = np.zeros((weights.shape[1], self.n_columns), like=self.like)
        for rows in row_blocks(self.n_rows, 16 * self.n_columns):
            out[:, : self.n_features] += weights[rows].T @ self.features(rows) ** 2
        if self.fit_intercept:
            out[:, -1] = weights.sum(axis=0)
        return out


class _Shifted:
    """Rows in an array less an offset, which is subtracted on reading."""

    dtype = np.dtype(np.float64)

    def __init__(self, X, offset):
        self.X, self.offset = X, offset
        self.shape, self.flags = X.shape, np.empty((4, 4))[::2, ::2].flags  # not contiguous

    def __len__(self):
        return len(self.X)

    def __getitem__(self, rows):
        columns = rows[1] if isinstance(rows, tuple) else slice(None)
        return self.X[rows] - self.offset[columns]


class DeviceDesign(DenseDesign):
    """Rows in a `DeviceArray`.

    Blocks of rows are as large as memory allows, because each product starts anew on a device.
    """

    @property
    def like(self):
        return self.X

    def product_blocks(self, width):
        if self.X.dtype == np.float64:
            return [slice(0, self.n_rows)]
        return row_blocks(self.n_rows, 8 * (self.n_features + width), largest=np.inf)

    def cached_blocks(self, m):
        return [slice(0, m)]

    def pass_blocks(self, width):
        return row_blocks(self.n_rows, 8 * self.n_features + 24 * width, largest=np.inf)

    def loaded(self):
        return self.take(slice(None))

    def append(self, other):
        return type(self)(np.concatenate([self.X, other.X]), self.fit_intercept)

    def less(self, offset):
        return type(self)(self.X - offset, self.fit_intercept)

    def gram(self, weights, shift=None):
        D, M = self.n_columns, weights.shape[1]
        out = np.zeros((M, D, D), like=self.X)
        for rows in row_blocks(self.n_rows, 16 * D, largest=np.inf):
            part = self.take(rows)
            for k in range(M):
                root = np.sqrt(weights[rows, k])
                scaled = part.outer(root[:, None], shift)[:, 0]
                out[k] += scaled.T @ scaled
        return out
