"""Base class for designs, and feature means that are far from 0 relative to the spread."""

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from skinfluence.blocks import add_gram, fill_lower, multiply, row_blocks
from skinfluence.namespaces import to_host

# A mean is far from 0 if it exceeds the spread by this factor. Products between two such rows
# have lost six of sixteen digits.
_FAR = 1e3
# Gram matrices for many weights are one product with the pairs of columns for up to this many
# columns. With 50 weights and 21 columns it took a third of the time of SYRK, with 101 columns
# four fifths.
_FEW = 100


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
