"""Gradients for many rows, v_i = g_i (x) x~_i + shift, stored as factors.

A row's loss has a gradient in the parameters that is the gradient g_i in the raw prediction
times the row itself. Every influence is a product between such gradients and H^-1 times other
such gradients, so these few methods are sufficient. Other modules also take their batches of
rows and their weighted rows from here.
"""

from dataclasses import dataclass, replace

import numpy as np

from skinfluence.blocks import IN_CACHE, batches, multiply, row_blocks

# Rows are written out from this many queries per design column on, if contracting takes one
# product and if it takes several. On two cores, 10,000 x 100 with 1,000 queries: 28 ms written
# out, 34 ms contracted; 5,000 x 500 with 500: 24 and 20 ms. On one core, 10,000 x 100 behind a
# scaler with 50 queries: 10 ms either way; with 400: 29 and 47 ms.
_WRITE_OUT, _WRITE_OUT_SEVERAL = 4.0, 0.5
# Bytes for raw predictions kept between two products: a share of a core's cache.
_CACHED = 2 * 2**20
# Arrays as large as the raw predictions that a pass over the rows makes.
_ON_DEVICE = 6


@dataclass(frozen=True, eq=False)
class ClassShift:
    """A vector for each row that depends on its class: f_i T_k for row i in class k.

    Parameters
    ----------
    values : ndarray of shape (n_classes, K, D)
        T.
    codes : ndarray of shape (n,)
        Class codes of the rows.
    factor : ndarray of shape (n,) or None, default=None
        f; None for ones.
    """

    values: np.ndarray
    codes: np.ndarray
    factor: np.ndarray | None = None

    def take(self, rows):
        """Return the vectors of some rows."""
        factor = None if self.factor is None else self.factor[rows]
        return replace(self, codes=self.codes[rows], factor=factor)

    def scaled(self, factor):
        """Return the vectors multiplied by a number."""
        return replace(self, values=factor * self.values)

    def output(self, k):
        """Return the entries for one output."""
        return replace(self, values=self.values[:, [k]])

    def add_to(self, out):
        """Add the vectors to out (n, K, D)."""
        vectors = self.values[self.codes]
        out += vectors if self.factor is None else vectors * self.factor[:, None, None]

    def sum(self, weights):
        """Return the weighted sum over the rows, (K, D)."""
        if self.factor is not None:
            weights = weights * self.factor
        sums = np.bincount(self.codes, weights, len(self.values))
        return np.tensordot(sums, self.values, 1)

    def read(self, V):
        """Return the products of V (q, K, D) with each class's vector, (q, n_classes)."""
        return np.tensordot(V, self.values, ([1, 2], [1, 2]))

    def add_dot(self, V, out):
        """Add the products with V (q, K, D) to out (q, n)."""
        self.add(self.read(V), out)

    def add_products(self, factor, queries, out):
        """Add q' H^-1 times the vectors for `GradientRows` q to out (q, n)."""
        common = queries.design.predict(factor.solve(self.values))  # (q, n_classes, K)
        self.add(np.einsum("qk,qck->qc", queries.raw_gradient, common), out)

    def add(self, of_classes, out):
        """Add a number for each class (q, n_classes), times f, to out (q, n)."""
        for rows in row_blocks(len(self.codes), 16 * len(out)):
            part = of_classes[:, self.codes[rows]]
            if self.factor is not None:
                part *= self.factor[rows]
            np.add(out[:, rows], part, out=out[:, rows], casting="same_kind")


class GradientRows:
    """Gradient rows v_i with shape (K, D), stored as factors.

    Parameters
    ----------
    design : Design
        The rows x~_i, n of them with D columns.
    raw_gradient : ndarray of shape (n, K)
        Gradient in the raw prediction, g_i.
    shift : ndarray of shape (K, D) or None, default=None
        Added to every row: the penalty gradient per unit of sample weight, for objectives in
        mean form.
    row_shifts : tuple of ClassShift or PenaltyShift, default=()
        Added to each row, depending on its class or its features.
    """

    #: Whether the rows are in dask arrays.
    is_distributed = False

    def __init__(self, design, raw_gradient, shift=None, row_shifts=()):
        self.design = design
        self.raw_gradient = raw_gradient
        self.shift = shift
        self.row_shifts = row_shifts

    def __len__(self):
        return self.design.n_rows

    @property
    def shape(self):
        """Shape of `toarray()`, (n, K, D)."""
        return (len(self), self.raw_gradient.shape[1], self.design.n_columns)

    @property
    def row_bytes(self):
        """Bytes of one row when written out."""
        return 8 * self.shape[1] * self.shape[2]

    def take(self, rows):
        """Return some of the rows, given as a slice or an index array."""
        row_shifts = tuple(part.take(rows) for part in self.row_shifts)
        raw_gradient = self.raw_gradient[rows]
        return GradientRows(self.design.take(rows), raw_gradient, self.shift, row_shifts)

    def scaled(self, factor):
        """Return the rows multiplied by a number."""
        shift = None if self.shift is None else factor * self.shift
        row_shifts = tuple(part.scaled(factor) for part in self.row_shifts)
        return GradientRows(self.design, factor * self.raw_gradient, shift, row_shifts)

    def output(self, k):
        """Return the rows' entries for one output, shape (n, 1, D)."""
        shift = None if self.shift is None else self.shift[[k]]
        row_shifts = tuple(part.output(k) for part in self.row_shifts)
        return GradientRows(self.design, self.raw_gradient[:, [k]], shift, row_shifts)

    def toarray(self):
        """Return the rows as a dense array, shape (n, K, D)."""
        if not self.row_shifts:
            return self._fill(self.design.outer(self.raw_gradient))
        out = np.empty(self.shape, like=self.raw_gradient)
        # There are several passes over each block.
        for rows in cached_batches(len(self), self.row_bytes // 8, like=self.design.like):
            block = self.take(rows)
            block._fill(block.design.outer(block.raw_gradient, out=out[rows]))
        return out

    def _fill(self, out):
        """Add the shifts to out (n, K, D) and return it."""
        if self.shift is not None:
            out += self.shift
        for part in self.row_shifts:
            part.add_to(out)
        return out

    def sum(self, weights=None):
        """Return sum_i weights_i v_i, shape (K, D)."""
        if weights is None:
            weights = np.ones(len(self), like=self.raw_gradient)
        total = self.design.adjoint(weights[:, None] * self.raw_gradient)
        if self.shift is not None:
            total += weights.sum() * self.shift
        for part in self.row_shifts:
            total += part.sum(weights)
        return total

    def dot(self, V, out=None):
        """Return <V_q, v_i> for V (q, K, D), shape (q, n).

        The product can be computed in two orders, and the cheaper one is used. Contracting in
        the raw prediction, sum_k g_ik (x~_i' V_qk), takes a GEMM for each output, followed by
        passes over (q, n), and one more for a penalty that moves. Writing the rows out takes a
        single GEMM and n K D writes, with everything in it. Sparse rows are never written out.
        """
        q, (n, K, D) = V.shape[0], self.shape
        if out is None:
            out = np.empty((q, n), like=self.raw_gradient)
        few = _WRITE_OUT_SEVERAL if K > 1 or self.row_shifts else _WRITE_OUT
        if self.design.is_dense and q >= few * D:
            self._dot_written_out(V, out)
            return out
        if K == 1:
            self._dot_one_output(V[:, 0], out)
        else:
            self._dot_by_output(V, out)
        for part in self.row_shifts:
            part.add_dot(V, out)
        return out

    def _dot_written_out(self, V, out):
        V = V.reshape(len(V), -1)
        blocks = row_blocks(len(self), 2 * self.row_bytes)
        if len(blocks) > 1:  # BLAS needs a copy for a column block of out
            blocks = row_blocks(len(self), 2 * self.row_bytes + 8 * len(V))
        for rows in blocks:
            written = self.take(rows).toarray()
            multiply(V, written.reshape(len(written), -1).T, out[:, rows])

    def _dot_one_output(self, V, out):
        """Fill out with g_i (x~_i' V_q) + <V_q, shift>."""
        whole = out.dtype == np.float64 and out.flags.carray and self.design.is_dense
        for rows in [slice(0, len(self))] if whole else row_blocks(len(self), 24 * len(V)):
            shape = (len(V), rows.stop - rows.start)
            raw = out if whole else np.empty(shape, like=self.raw_gradient)
            self.design.take(rows).read_into(V, raw, self.raw_gradient[rows, 0])
            if self.shift is not None:
                raw += (V @ self.shift[0])[:, None]
            if not whole:
                out[:, rows] = raw

    def _dot_by_output(self, V, out):
        """Fill out with sum_k g_ik (x~_i' V_qk) + <V_q, shift>, block by block in cache."""
        q, K, _ = V.shape
        offset = 0.0 if self.shift is None else np.tensordot(V, self.shift, 2)[:, None]
        largest = 8 * IN_CACHE if self.design.like is None else np.inf
        for rows in row_blocks(len(self), 24 * q, largest=largest):
            part, g = self.design.take(rows), self.raw_gradient[rows].T
            total, term = np.empty((2, q, part.n_rows), like=g)
            part.read_into(V[:, 0], total, g[0])
            for k in range(1, K):
                part.read_into(V[:, k], term, g[k])
                total += term
            np.add(total, offset, out=out[:, rows], casting="same_kind")


def cached_batches(n_rows, width, dtype=np.float64, like=None):
    """Return row slices whose raw predictions, `width` for each row, stay in cache.

    Beside an array on a device they are as long as memory allows.
    """
    row_bytes = np.dtype(dtype).itemsize * width
    if like is not None:
        return row_blocks(n_rows, _ON_DEVICE * row_bytes, largest=np.inf)
    return batches(n_rows, max(64, _CACHED // row_bytes))


def absent_in(rows, absent):
    """Return (row, vector) for entries of `absent` (b, a) that lie in a slice of rows."""
    vector, position = np.nonzero((absent >= rows.start) & (absent < rows.stop))
    return absent[vector, position] - rows.start, vector


def weigh(weight, values, out=None):
    """Return w_i v_i, with 0 for rows with weight zero even if v_i is infinite."""
    if weight.all():
        return np.multiply(weight, values, out=out)
    out = np.empty_like(values) if out is None else out
    np.multiply(weight, values, out=out, where=weight != 0)
    np.copyto(out, 0.0, where=weight == 0)
    return out


def weighted_sum(weight, values):
    """Return sum_i w_i v_i without rows that have weight zero, even if v_i is infinite."""
    with np.errstate(invalid="ignore"):
        total = weight @ values
    return weight[weight != 0] @ values[weight != 0] if np.isnan(total) else total
