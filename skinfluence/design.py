"""What X is: rows x~_i = (x_i, 1) behind a handful of products.

Dense and sparse data differ here and nowhere else. A design holds a reference to X in the
dtype it came in and converts to float64 block by block, so uint8 images or a float32
memmap cost no second copy. The intercept column is never stored.

With n rows, D = n_features + fit_intercept columns:

    predict(theta)   (..., D) -> (n, ...)     x~_i' theta
    adjoint(weights) (n, ...) -> (..., D)     sum_i weights_i x~_i
    gram(weights)    (n, M)   -> (M, D, D)    sum_i weights_im x~_i x~_i'
    outer(weights)   (n, K)   -> (n, K, D)    weights_ik x~_i written out, for blocks only
    take(rows)       a design of some rows; a slice of dense data stays a view
    products(scale)  (D,)     -> (n, n)       x~_i' diag(scale) x~_j

A design may be written in coordinates where gradients and parameters pair through a metric M
(`kernels.py`): predictions are x~_i' M theta, and M theta are the *readings* of theta:

    readings(theta)  (..., D) -> (..., D)     M theta; theta itself for features
    read(readings)   (..., D) -> (n, ...)     x~_i' readings, so predict = read of readings
"""

from abc import ABC, abstractmethod

import numpy as np
from scipy import sparse
from sklearn.utils import gen_batches

from skinfluence.blocks import IN_CACHE, memory_budget, row_blocks
from skinfluence.products import add_gram, fill_lower, multiply

__all__ = ["DenseDesign", "Design", "SparseDesign", "make_design"]

# Share of the rows from which on a feature's products are faster as a dense column. Such a
# column of n entries adds n^2 operations to a SYRK, of which there are 50 in a nanosecond; as
# a sparse one with m entries it adds m^2 at 5 ns each. On text of 5,430 rows every share
# from 1/50 to 1/20 took 0.6 s, 1/100 half as long again, and all features sparse 3.2 s.
_FREQUENT = 1 / 30

# Bytes of rows that stay in cache from one product to the next: 3 to 50 MiB do as well for
# 55,000 x 784 rows and ten columns, a quarter of the time of two passes; bytes, which are
# converted, want small blocks.
_CACHED = 4 * 2**20

# Rows from which the spread of features is estimated, and how many times the spread a mean is
# far from 0: products of two such rows have lost six of sixteen digits.
_ENOUGH_ROWS = 64
_FAR = 1e3


def make_design(X, fit_intercept):
    """Return the design for an array or a CSR matrix that has been validated."""
    if sparse.issparse(X):
        return SparseDesign(X, fit_intercept)
    return DenseDesign(X, fit_intercept)


class Design(ABC):
    """Rows x~_i = (x_i, 1), or x_i without intercept.

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

    #: Whether a block of rows can be written out at no more cost than reading it.
    is_dense = False
    #: Whether gradients and parameters pair through a metric, see above.
    has_metric = False

    @property
    def n_rows(self):
        """Number of rows, n."""
        return self.X.shape[0]

    @property
    def n_features(self):
        """Number of features, d."""
        return self.X.shape[1]

    @property
    def n_columns(self):
        """Number of columns with the intercept, D."""
        return self.n_features + int(self.fit_intercept)

    def take(self, rows):
        """Return the design of some rows, given as a slice or an index array."""
        return type(self)(self.X[rows], self.fit_intercept)

    def predict(self, theta, dtype=np.float64):
        """Return x~_i' theta for theta (..., D), shape (n, ...)."""
        flat = np.ascontiguousarray(theta, dtype=dtype).reshape(-1, self.n_columns)
        out = np.empty((self.n_rows, flat.shape[0]), dtype=dtype)
        for rows in self._blocks(flat.shape[0]):
            self._predict(rows, flat[:, : self.n_features], out[rows])
        if self.fit_intercept:
            out += flat[:, -1]
        return out.reshape(self.n_rows, *theta.shape[:-1])

    def readings(self, theta):
        """Return M theta, what rows are multiplied with to predict; theta (..., D)."""
        return theta

    def is_unchanged(self):
        """Whether what is cached of X still belongs to it; forgets it otherwise."""
        return True

    def read(self, readings):
        """Return x~_i' readings for readings (..., D), shape (n, ...)."""
        return self.predict(readings)

    def read_into(self, readings, out, scale=None):
        """Write x~_i' readings, times scale_i, for readings (q, D) into out (q, n)."""
        out[...] = self.read(readings).T
        if scale is not None:
            out *= scale

    def magnitude(self, theta):
        """Return sum_d |x~_id theta_d| for theta (K, D), shape (n, K)."""
        out = np.empty((self.n_rows, len(theta)))
        for rows in row_blocks(self.n_rows, 24 * self.n_columns):
            block = self.X[rows]
            if block.dtype.kind == "i":  # where the size of the lowest number overflows
                block = block.astype(np.float64)
            sizes = type(self)(abs(block), self.fit_intercept)
            out[rows] = sizes.predict(np.abs(theta))
        return out

    def adjoint(self, weights, dtype=np.float64):
        """Return sum_i weights_i x~_i for weights (n, ...), shape (..., D)."""
        width = int(np.prod(weights.shape[1:]))
        flat = weights.astype(dtype, copy=False).reshape(self.n_rows, width)
        out = np.zeros((width, self.n_columns))
        for rows in self._blocks(flat.shape[1]):
            out[:, : self.n_features] += self._adjoint(rows, flat[rows])
        if self.fit_intercept:
            out[:, -1] = flat.sum(axis=0)
        return out.reshape(*weights.shape[1:], self.n_columns)

    def centre(self, weights):
        """Return a shift of the features that keeps Gram matrices well conditioned.

        The means with the given weights (n,) for dense data with an intercept, for sparse data
        the `offset`; None where shifting would cost sparsity or there is no intercept to
        absorb it.
        """
        return None

    def offset(self, weights):
        """Return the means of features that are far from 0 for their spread, or None.

        Zeros for the other features. The products of such rows lose as many digits as the
        mean has more than the spread; rows less this offset lose none. Weights (n,).
        """
        return None

    def less(self, offset):
        """Return this design with an `offset` (d,) taken off the features."""
        raise NotImplementedError

    def restrict(self, rows):
        """Return the design of a model that has only some of the rows."""
        return self.take(rows)

    @abstractmethod
    def append(self, other):
        """Return a design with the rows of another one behind these, a copy."""

    @abstractmethod
    def gram(self, weights, shift=None):
        """Return sum_i weights_im x~_i x~_i' for weights (n, M) >= 0, (M, D, D).

        With `shift` (d,), the features are replaced by x_i - shift.
        """

    def products(self, scale):
        """Return x~_i' diag(scale) x~_j for scale (D,) >= 0, shape (n, n)."""
        out, columns = self._start_products(np.sqrt(scale[: self.n_features]))
        for block in columns:
            add_gram(block.T, out)
        if self.fit_intercept:
            out += scale[-1]
        return fill_lower(out)

    def products_with(self, other, scale):
        """Return x~_i' diag(scale) x~_j of rows i of another design, shape (m, n).

        The rows j of this one are the many: sparse ones never meet a dense design's.
        """
        root = np.sqrt(scale[: self.n_features])
        out, pairs = self._start_products(root, other)
        for ours, theirs in pairs:
            multiply(theirs, ours.T, out, add=True)
        if self.fit_intercept:
            out += scale[-1]
        return out

    def _start_products(self, root, other=None):
        """Return products of rows, without some of the features, and these as dense columns.

        Features are times `root`. With the rows of `other` the products are (m, n), and the
        columns come in pairs, ours and theirs.
        """
        raise NotImplementedError

    def squared_norms(self, scale):
        """Return x~_i' diag(scale) x~_i for scale (D,) >= 0, shape (n,)."""
        out = np.empty(self.n_rows)
        for rows in row_blocks(self.n_rows, 16 * self.n_columns):
            X = self._float(rows)
            squares = X.power(2) if sparse.issparse(X) else X**2
            out[rows] = squares @ scale[: self.n_features]
        return out + scale[-1] if self.fit_intercept else out

    @abstractmethod
    def squared_adjoint(self, weights):
        """Return sum_i weights_im x~_i^2, elementwise squares: (n, M) -> (M, D)."""

    def outer(self, weights, shift=None):
        """Return weights_ik x~_i for weights (n, K), dense (n, K, D); for blocks only.

        With `shift` (d,), the features are replaced by x_i - shift.
        """
        X = self._float(slice(None))
        X = X.toarray() if sparse.issparse(X) else X
        X = X if shift is None else X - shift
        out = np.empty((*weights.shape, self.n_columns))
        for k in range(weights.shape[1]):
            np.multiply(X, weights[:, k, None], out=out[:, k, : self.n_features])
        if self.fit_intercept:
            out[:, :, -1] = weights
        return out

    def rows(self):
        """Return the rows x~_i as a dense float64 array (n, D); for blocks only."""
        return self.outer(np.ones((self.n_rows, 1)))[:, 0]

    def _float(self, rows, dtype=np.float64):
        """Return the features of a block in float64, without the intercept."""
        return self.X[rows].astype(dtype, copy=False)

    def _predict(self, rows, coef, out):
        """Write x_i' coef of a block for coef (L, d) into out (m, L)."""
        multiply(self._float(rows, coef.dtype), coef.T, out)

    def _adjoint(self, rows, weights):
        """Return sum_i weights_i x_i of a block for weights (m, L), shape (L, d)."""
        out = np.empty((weights.shape[1], self.n_features), dtype=weights.dtype)
        return multiply(weights.T, self._float(rows, weights.dtype), out)

    def loaded(self):
        """Return this design with features in float64, to be read more than once."""
        return self

    def pass_blocks(self, width):
        """Return row blocks for `predict` and then `adjoint`, of `width` columns each."""
        return row_blocks(self.n_rows, 24 * width)

    @abstractmethod
    def _blocks(self, width):
        """Return row blocks for a product with `width` columns."""


class DenseDesign(Design):
    """Rows of an ndarray or memmap of any real dtype."""

    is_dense = True

    def _blocks(self, width):
        if self.X.dtype == np.float64 and self.X.flags.forc:
            return [slice(0, self.n_rows)]
        return row_blocks(self.n_rows, 8 * (self.n_features + width))

    def loaded(self):
        return DenseDesign(self._float(slice(None)), self.fit_intercept)

    def pass_blocks(self, width):
        # What the first product has read is still in cache for the second one; many columns
        # take longer than reading, and more rows at once save passes over the result.
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
        # A sample of the rows names the candidates.
        some = self.X[:: 1 + self.n_rows // _ENOUGH_ROWS].astype(np.float64)
        candidates = np.flatnonzero(_is_far(mean, _spread(some, mean)))
        return _confirmed(mean, candidates, self._far_columns(candidates))

    def _far_columns(self, candidates):
        for rows in row_blocks(self.n_rows, 24 * max(1, len(candidates))):
            yield self.X[rows][:, candidates].astype(np.float64)

    def less(self, offset):
        if 8 * self.X.size <= memory_budget():
            return DenseDesign(self.X - offset, self.fit_intercept)
        return DenseDesign(_Shifted(self.X, offset), self.fit_intercept)

    def read_into(self, readings, out, scale=None):
        d = self.n_features
        for rows in self._blocks(len(readings)):
            multiply(readings[:, :d], self._float(rows).T, out[:, rows])
        for some in gen_batches(len(out), max(1, IN_CACHE // (8 * self.n_rows))):
            if self.fit_intercept:
                out[some] += readings[some, d:]
            if scale is not None:
                out[some] *= scale

    def _start_products(self, root, other=None):
        n, m = self.n_rows, 0 if other is None else other.n_rows
        blocks = row_blocks(self.n_features, 16 * (n + m))
        if other is None:
            return np.zeros((n, n)), (self.X[:, some] * root[some] for some in blocks)
        X = other.X.tocsc() if sparse.issparse(other.X) else other.X

        def theirs(some):
            return (X[:, some].toarray() if sparse.issparse(X) else X[:, some]) * root[some]

        return np.zeros((m, n)), (
            (self.X[:, some] * root[some], theirs(some)) for some in blocks
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
            # Scaled many times, columns are better each in one piece: rows of a few features
            # take NumPy as long to step to as to multiply.
            columns = self._by_column(self.X[rows], shift)
            for k in range(M):
                np.multiply(columns, root[:, k], out=scaled.reshape(D, m))
                add_gram(scaled.reshape(D, m).T, out[k])
        for square in out:
            fill_lower(square)
        return out

    def _by_column(self, X, shift):
        """Return the columns of x~_i - shift of a block, C-contiguous of shape (D, m)."""
        columns = np.empty((self.n_columns, len(X)))
        np.subtract(X.T, 0.0 if shift is None else shift[:, None], out=columns[: X.shape[1]])
        columns[X.shape[1] :] = 1.0
        return columns

    def _scale(self, X, shift, root, out):
        """Write root_i (x~_i - shift) into out (m, D), by pieces that stay in cache."""
        d = self.n_features
        shifted = np.empty((max(1, IN_CACHE // (8 * self.n_columns)), d))
        for piece in gen_batches(len(X), len(shifted)):
            features = X[piece]
            if shift is not None:
                features = np.subtract(features, shift, out=shifted[: len(features)])
            np.multiply(features, root[piece], out=out[piece, :d])
        if self.fit_intercept:
            out[:, d:] = root

    def squared_adjoint(self, weights):
        out = np.zeros((weights.shape[1], self.n_columns))
        for rows in row_blocks(self.n_rows, 16 * self.n_columns):
            out[:, : self.n_features] += weights[rows].T @ self._float(rows) ** 2
        if self.fit_intercept:
            out[:, -1] = weights.sum(axis=0)
        return out


class SparseDesign(Design):
    """Rows of a CSR matrix or array; never densified beyond a block of rows or columns."""

    def _blocks(self, width):
        if self.X.dtype == np.float64:
            return [slice(0, self.n_rows)]
        return row_blocks(self.n_rows, self._row_bytes() + 8 * width)

    def _predict(self, rows, coef, out):
        out[...] = self._float(rows, coef.dtype) @ coef.T

    def _adjoint(self, rows, weights):
        return weights.T @ self._float(rows, weights.dtype)

    def _row_bytes(self):
        """Return the mean bytes of a row's values and column indices in float64."""
        return 8 + 16 * self.X.nnz // max(1, self.n_rows)

    def _start_products(self, root, other=None):
        # Most features of text are in few rows, and products of these are sparse. Those in
        # many rows are few and make nearly all of the operations: they are dense columns.
        often = self._counts() > max(4.0, _FREQUENT * self.n_rows)
        ours = self._columns(root)
        theirs = (
            ours
            if other is None
            else SparseDesign(sparse.csr_array(other.X), self.fit_intercept)._columns(root)
        )
        out = np.empty((theirs.shape[1], ours.shape[1]))
        rare, others = ours[~often], theirs[~often].T.tocsr()
        for rows in row_blocks(len(out), 32 * self.n_rows):
            (others[rows] @ rare).toarray(out=out[rows])
        ours, theirs = ours[often], theirs[often]
        blocks = row_blocks(ours.shape[0], 16 * (sum(out.shape)))
        if other is None:
            return out, (ours[some].toarray().T for some in blocks)
        return out, ((ours[some].toarray().T, theirs[some].toarray().T) for some in blocks)

    def _counts(self):
        """Return in how many rows each feature is."""
        return np.bincount(self.X.indices, minlength=self.n_features)

    def _columns(self, root):
        """Return the features times `root` one after the other, CSR of shape (d, n)."""
        X = self.X
        data = X.data * root[X.indices]
        return sparse.csr_array((data, X.indices, X.indptr), shape=X.shape).T.tocsr()

    def offset(self, weights):
        # Only a feature without zeros can be far from 0, and taking its mean off leaves the
        # pattern of the others as it is.
        candidates = np.flatnonzero(self._counts() == self.n_rows)
        if not len(candidates) or not self.fit_intercept or not weights.sum() > 0:
            return None
        if not self.X.has_canonical_format:  # an entry in two pieces
            return None
        mean = self.adjoint(weights)[: self.n_features] / weights.sum()
        columns = self.X[:, candidates].toarray().astype(np.float64)
        far = _is_far(mean[candidates], _spread(columns, mean[candidates]))
        return _confirmed(mean, candidates[far], [columns[:, far]])

    def centre(self, weights):
        return self.offset(weights)

    def less(self, offset):
        X = self.X.astype(np.float64, copy=True)
        if np.any(self._counts()[offset != 0] < self.n_rows):
            raise ValueError("A sparse design cannot be shifted without densifying it.")
        X.data -= offset[X.indices]
        return SparseDesign(X, self.fit_intercept)

    def append(self, other):
        X = sparse.vstack([self.X, sparse.csr_array(other.X)], format="csr")
        return SparseDesign(X, self.fit_intercept)

    def loaded(self):
        return SparseDesign(self._float(slice(None)), self.fit_intercept)

    def gram(self, weights, shift=None):
        D, d = self.n_columns, self.n_features
        if shift is not None:
            return self.less(shift).gram(weights)
        out = np.zeros((weights.shape[1], D, D))
        for rows in row_blocks(self.n_rows, 3 * self._row_bytes()):
            X = self._float(rows)
            for m in range(weights.shape[1]):
                w = weights[rows, m]
                scaled = X.multiply(w[:, None]).tocsr()
                out[m, :d, :d] += (X.T @ scaled).toarray()
                if self.fit_intercept:
                    out[m, :d, d] += X.T @ w
                    out[m, d, d] += w.sum()
        if self.fit_intercept:
            out[:, d, :d] = out[:, :d, d]
        return out

    def squared_adjoint(self, weights):
        out = np.zeros((weights.shape[1], self.n_columns))
        for rows in row_blocks(self.n_rows, 3 * self._row_bytes()):
            squares = self._float(rows).power(2)
            out[:, : self.n_features] += (squares.T @ weights[rows]).T
        if self.fit_intercept:
            out[:, -1] = weights.sum(axis=0)
        return out


class _Shifted:
    """Rows of an array less an offset, taken off as they are read."""

    dtype = np.dtype(np.float64)

    def __init__(self, X, offset):
        self.X, self.offset = X, offset
        self.shape, self.flags = X.shape, np.empty((4, 4))[::2, ::2].flags  # of no order

    def __len__(self):
        return len(self.X)

    def __getitem__(self, rows):
        columns = rows[1] if isinstance(rows, tuple) else slice(None)
        return self.X[rows] - self.offset[columns]


def _spread(columns, mean):
    """Return root mean squares about the mean, (d,)."""
    with np.errstate(over="ignore"):
        return np.sqrt(np.mean((columns - mean) ** 2, axis=0))


def _is_far(mean, spread):
    """Return which means are far from 0 for their spread, (d,) bool."""
    return np.abs(mean) > _FAR * spread


def _confirmed(mean, candidates, blocks):
    """Return the offset of the candidates whose spread over all blocks is small, or None."""
    if not len(candidates):
        return None
    squares, n = np.zeros(len(candidates)), 0
    for block in blocks:
        squares += len(block) * _spread(block, mean[candidates]) ** 2
        n += len(block)
    far = _is_far(mean[candidates], np.sqrt(squares / n))
    if not far.any():
        return None
    offset = np.zeros(len(mean))
    offset[candidates[far]] = mean[candidates[far]]
    return offset
