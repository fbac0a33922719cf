"""Rows x~_i and their products: the base class of all designs, and rows in NumPy arrays."""

from abc import ABC, abstractmethod
from functools import cached_property, singledispatch
from typing import Any

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
from skinfluence.namespaces import to_host

# A mean is far from 0 if it exceeds the spread by this factor. Products between two such rows
# have lost six of sixteen digits.
_FAR = 1e3
# Gram matrices for many weights are one product with the pairs of columns for up to this many
# columns. With 50 weights and 21 columns it took a third of the time of SYRK, with 101 columns
# four fifths.
_FEW = 100
# Bytes for rows that stay in cache between two products. For 55,000 x 784 rows and ten columns
# 3 to 50 MiB are equally fast, a quarter of the time for two passes. Rows stored as bytes are
# converted first, so they need small blocks.
_CACHED = 4 * 2**20
# Rows used to estimate the spread of features.
_ENOUGH_ROWS = 64


class Design(ABC):
    """Rows x~_i = (x_i, 1), or x_i without an intercept.

    Parameters
    ----------
    X : ndarray or sparse matrix of shape (n_samples, n_features)
        The data, kept by reference.
    fit_intercept : bool
        Whether a column of ones is appended.
    """

    def __init__(self, X, fit_intercept):
        self.X = X
        self.fit_intercept = bool(fit_intercept)

    def __getstate__(self):
        # Cached numbers follow from X, so pickles leave them out.
        counted = ("n_rows", "n_features", "n_columns")
        return {name: value for name, value in vars(self).items() if name not in counted}

    #: An array beside which new arrays are made; None for NumPy's.
    like: Any = None
    #: Whether writing a row block as a dense array costs no more than reading it.
    is_dense = False
    #: Whether gradients and parameters pair through a metric, see the package docstring.
    has_metric = False

    @cached_property
    def n_rows(self):
        """Number of rows, n."""
        return self.X.shape[0]

    @cached_property
    def n_features(self):
        """Number of features, d."""
        return self.X.shape[1]

    @cached_property
    def n_columns(self):
        """Number of columns including the intercept, D."""
        return self.n_features + int(self.fit_intercept)

    def groups(self, rows):
        """Return groups of rows (b, a, D) for indices (b, a), 0 where an index is -1."""
        real = rows >= 0
        x = self.take(np.where(real, rows, 0).ravel()).rows()
        return x.reshape(*rows.shape, -1) * real[:, :, None]

    def take(self, rows):
        """Return the design for some rows, given as a slice or an index array."""
        return type(self)(self.X[rows], self.fit_intercept)

    def predict(self, theta, dtype=np.float64):
        """Return x~_i' theta for theta (..., D), shape (n, ...)."""
        flat = np.ascontiguousarray(theta, dtype=dtype, like=self.like)
        flat = flat.reshape(-1, self.n_columns)
        out = np.empty((self.n_rows, flat.shape[0]), dtype=dtype, like=self.like)
        for rows in self.product_blocks(flat.shape[0]):
            features = self.features(rows, dtype)
            multiply(features, flat[:, : self.n_features].T, out[rows])
        if self.fit_intercept:
            out += flat[:, -1]
        return out.reshape(self.n_rows, *theta.shape[:-1])

    def readings(self, theta):
        """Return M theta for theta (..., D); a row times this is its prediction."""
        return theta

    def is_unchanged(self):
        """Whether cached values still match X; deletes them if they do not."""
        return True

    def read(self, readings):
        """Return x~_i' readings for readings (..., D), shape (n, ...)."""
        return self.predict(readings)

    def read_into(self, readings, out, scale=None):
        """Write x~_i' readings, times scale_i, for readings (q, D) into out (q, n)."""
        out[...] = self.read(readings).T
        if scale is not None:
            out *= scale

    def predict_each(self, theta):
        """Return x~_i' theta_i for theta (n, K, D), shape (n, K); for blocks only."""
        return np.einsum("bd,bkd->bk", self.rows(), self.readings(theta))

    def magnitude(self, theta):
        """Return sum_d |x~_id theta_d| for theta (K, D), shape (n, K)."""
        out = np.empty((self.n_rows, len(theta)), like=self.like)
        for rows in row_blocks(self.n_rows, 24 * self.n_columns):
            block = self.X[rows]
            if block.dtype.kind == "i":  # abs overflows for the lowest integer
                block = block.astype(np.float64)
            sizes = type(self)(abs(block), self.fit_intercept)
            out[rows] = sizes.predict(np.abs(theta))
        return out

    def adjoint(self, weights, dtype=np.float64):
        """Return sum_i weights_i x~_i for weights (n, ...), shape (..., D)."""
        width = int(np.prod(weights.shape[1:]))
        flat = weights.astype(dtype, copy=False).reshape(self.n_rows, width)
        out = np.zeros((width, self.n_columns), like=self.like)
        for rows in self.product_blocks(flat.shape[1]):
            product = np.empty((width, self.n_features), dtype=dtype, like=self.like)
            multiply(flat[rows].T, self.features(rows, dtype), product)
            out[:, : self.n_features] += product
        if self.fit_intercept:
            out[:, -1] = flat.sum(axis=0)
        return out.reshape(*weights.shape[1:], self.n_columns)

    def centre(self, weights):
        """Return a feature shift that keeps Gram matrices well conditioned, or None.

        For dense data with an intercept these are the means for given weights (n,), for
        sparse data the `offset`. The result is None if a shift would destroy sparsity or no
        intercept can compensate it.
        """
        return None

    def offset(self, weights):
        """Return the feature means that are far from 0 relative to the spread, or None.

        Other features have 0. Weights have shape (n,). If a mean has k more digits than the
        spread, products between rows lose as many digits. Rows less this offset lose none.
        """
        return None

    def less(self, offset):
        """Return this design with an `offset` (d,) subtracted from the features."""
        raise NotImplementedError

    def restrict(self, rows):
        """Return the design for a model fitted on only some of the rows."""
        return self.take(rows)

    @abstractmethod
    def append(self, other):
        """Return a copy of this design with the rows of another one appended."""

    @abstractmethod
    def gram(self, weights, shift=None):
        """Return sum_i weights_im x~_i x~_i' for weights (n, M) >= 0, (M, D, D).

        If `shift` (d,) is given, the features are replaced by x_i - shift.
        """

    def signed_gram(self, weights, shift=None):
        """Return `gram` for weights (n, M) with any sign.

        `gram` uses square roots of the weights, so each sign needs a Gram matrix.
        """
        if not (weights < 0).any():
            return self.gram(weights, shift)
        grams = -self.gram(np.maximum(-weights, 0.0), shift)
        if (weights > 0).any():
            grams += self.gram(np.maximum(weights, 0.0), shift)
        return grams

    def stacked_grams(self, weights, shift):
        """Return `signed_gram` for many vectors of weights (n, b, M), (b, M, D, D)."""
        n, b, M = weights.shape
        D, flat = self.n_columns, weights.reshape(n, b * M)
        if D > _FEW or b * M < 8 or not self.is_dense:
            return self.signed_gram(flat, shift).reshape(b, M, D, D)
        first, second = np.triu_indices(D)
        sums = np.zeros((b * M, len(first)), like=self.like)
        for rows in row_blocks(n, 16 * len(first)):
            x = self.take(rows).outer(
                np.ones((rows.stop - rows.start, 1), like=self.like), shift
            )[:, 0]
            pairs, start = np.empty((len(x), len(first)), like=self.like), 0
            for column in range(D):
                stop = start + D - column
                np.multiply(x[:, column:], x[:, [column]], out=pairs[:, start:stop])
                start = stop
            multiply(flat[rows].T, pairs, sums, add=True)
        out = np.empty((b * M, D, D), like=self.like)
        out[:, first, second] = sums
        out[:, second, first] = sums
        return out.reshape(b, M, D, D)

    def products(self, scale):
        """Return x~_i' diag(scale) x~_j for scale (D,) >= 0, shape (n, n)."""
        out, columns = self.partial_products(np.sqrt(scale[: self.n_features]))
        for block in columns:
            add_gram(block.T, out)
        if self.fit_intercept:
            out += scale[-1]
        return fill_lower(out)

    def products_with(self, other, scale):
        """Return x~_i' diag(scale) x~_j for rows i in another design, shape (m, n).

        Callers pass the smaller design as `other`. If this design is sparse, so is `other`.
        """
        root = np.sqrt(scale[: self.n_features])
        out, pairs = self.partial_products(root, other)
        for columns, other_columns in pairs:
            multiply(other_columns, columns.T, out, add=True)
        if self.fit_intercept:
            out += scale[-1]
        return out

    def partial_products(self, root, other=None):
        """Return products over some features, and dense columns for the other features.

        The features are multiplied by `root`. If `other` is given, the products have shape
        (m, n), and the columns come in pairs: first this design's, then the other's.
        """
        raise NotImplementedError

    def squared_norms(self, scale):
        """Return x~_i' diag(scale) x~_i for scale (D,) >= 0, shape (n,)."""
        out = np.empty(self.n_rows, like=self.like)
        for rows in row_blocks(self.n_rows, 16 * self.n_columns):
            X = self.features(rows)
            squares = X.power(2) if sparse.issparse(X) else X**2
            out[rows] = squares @ scale[: self.n_features]
        return out + scale[-1] if self.fit_intercept else out

    @abstractmethod
    def squared_adjoint(self, weights):
        """Return sum_i weights_im x~_i^2, elementwise squares: (n, M) -> (M, D)."""

    def outer(self, weights, shift=None, out=None):
        """Return weights_ik x~_i for weights (n, K), dense (n, K, D); for blocks only.

        If `shift` (d,) is given, the features are replaced by x_i - shift. The result is
        written into `out` if it is given.
        """
        X = self.features(slice(None))
        X = X.toarray() if sparse.issparse(X) else X
        X = X if shift is None else X - shift
        if out is None:
            out = np.empty((*weights.shape, self.n_columns), like=self.like)
        for k in range(weights.shape[1]):
            np.multiply(X, weights[:, k, None], out=out[:, k, : self.n_features])
        if self.fit_intercept:
            out[:, :, -1] = weights
        return out

    def rows(self):
        """Return the rows x~_i as a dense float64 array (n, D); for blocks only."""
        return self.outer(np.ones((self.n_rows, 1), like=self.like))[:, 0]

    def features(self, rows, dtype=np.float64):
        """Return a block's features in float64, without the intercept."""
        return self.X[rows].astype(dtype, copy=False)

    def loaded(self):
        """Return this design with features in float64, for repeated reading."""
        return self

    def pass_blocks(self, width):
        """Return row blocks for `predict` followed by `adjoint`, each with `width` columns."""
        return row_blocks(self.n_rows, 24 * width)

    @abstractmethod
    def product_blocks(self, width):
        """Return row blocks for a product with `width` columns."""


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


@singledispatch
def make_design(X, fit_intercept):
    """Return the design for a validated array or CSR matrix.

    The class depends on the type of X. `make_design.register` is called next to each class of
    designs for other types than NumPy's arrays.
    """
    return DenseDesign(X, fit_intercept)


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
