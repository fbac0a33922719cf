"""Designs for sparse matrices."""

import numpy as np
from scipy import sparse

from skinfluence.blocks import row_blocks
from skinfluence.design.dense import Design, confirmed_offset, is_far, make_design, spread

# If a feature is present in at least this fraction of the rows, products are faster with a
# dense column. A dense column with n entries adds n^2 operations to a SYRK, at 50 per
# nanosecond. A sparse one with m entries adds m^2, at 5 ns each. On text with 5,430 rows
# fractions from 1/50 to 1/20 took 0.6 s, 1/100 half as long again, only sparse columns 3.2 s.
_FREQUENT = 1 / 30


@make_design.register(sparse.sparray)
@make_design.register(sparse.spmatrix)
class SparseDesign(Design):
    """Rows in a CSR matrix or array; only blocks of rows or columns are made dense."""

    def product_blocks(self, width):
        if self.X.dtype == np.float64:
            return [slice(0, self.n_rows)]
        return row_blocks(self.n_rows, self._row_bytes() + 8 * width)

    def _row_bytes(self):
        """Return the mean bytes for a row's values in float64 and its column indices."""
        return 8 + 16 * self.X.nnz // max(1, self.n_rows)

    def partial_products(self, root, other=None):
        # In text data most features are present in few rows, so their products are sparse. The
        # few frequent features cause nearly all operations, so they become dense columns.
        often = self.counts() > max(4.0, _FREQUENT * self.n_rows)
        X = Z = self._columns(root)
        if other is not None:
            Z = SparseDesign(sparse.csr_array(other.X), self.fit_intercept)._columns(root)
        out = np.empty((Z.shape[1], X.shape[1]))
        rare, other_rare = X[~often], Z[~often].T.tocsr()
        for rows in row_blocks(len(out), 32 * self.n_rows):
            (other_rare[rows] @ rare).toarray(out=out[rows])
        X, Z = X[often], Z[often]
        blocks = row_blocks(X.shape[0], 16 * (sum(out.shape)))
        if other is None:
            return out, (X[block].toarray().T for block in blocks)
        return out, ((X[block].toarray().T, Z[block].toarray().T) for block in blocks)

    def counts(self):
        """Return the number of rows in which each feature is present."""
        return np.bincount(self.X.indices, minlength=self.n_features)

    def _columns(self, root):
        """Return the features times `root`, one per row, CSR with shape (d, n)."""
        X = self.X
        data = X.data * root[X.indices]
        return sparse.csr_array((data, X.indices, X.indptr), shape=X.shape).T.tocsr()

    def offset(self, weights):
        # Only a feature without zeros can be far from 0. Subtracting its mean does not change
        # the sparsity pattern.
        candidates = np.flatnonzero(self.counts() == self.n_rows)
        if not len(candidates) or not self.fit_intercept or not weights.sum() > 0:
            return None
        if not self.X.has_canonical_format:  # duplicate entries
            return None
        mean = self.adjoint(weights)[: self.n_features] / weights.sum()
        columns = self.X[:, candidates].toarray().astype(np.float64)
        far = is_far(mean[candidates], spread(columns, mean[candidates]))
        return confirmed_offset(mean, candidates[far], [columns[:, far]])

    def centre(self, weights):
        return self.offset(weights)

    def less(self, offset):
        X = self.X.astype(np.float64, copy=True)
        if np.any(self.counts()[offset != 0] < self.n_rows):
            raise ValueError("A sparse design would become dense if it was shifted.")
        X.data -= offset[X.indices]
        return SparseDesign(X, self.fit_intercept)

    def append(self, other):
        X = sparse.vstack([self.X, sparse.csr_array(other.X)], format="csr")
        return SparseDesign(X, self.fit_intercept)

    def loaded(self):
        return SparseDesign(self.features(slice(None)), self.fit_intercept)

    def gram(self, weights, shift=None):
        D, d = self.n_columns, self.n_features
        if shift is not None:
            return self.less(shift).gram(weights)
        out = np.zeros((weights.shape[1], D, D))
        for rows in row_blocks(self.n_rows, 3 * self._row_bytes()):
            X = self.features(rows)
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
            squares = self.features(rows).power(2)
            out[:, : self.n_features] += (squares.T @ weights[rows]).T
        if self.fit_intercept:
            out[:, -1] = weights.sum(axis=0)
        return out
