"""Gradients of many rows, v_i = g_i (x) x~_i + shift, without storing them.

The gradient of a row's loss in the parameters is the gradient g_i in the raw prediction
times the row itself. Every influence is a product of such rows with H^-1 times such rows;
these few methods are all that the chapters need.
"""

import numpy as np

from skinfluence.blocks import row_blocks

__all__ = ["GradientRows"]


class GradientRows:
    """Rows v_i of shape (K, D), held as their factors.

    Parameters
    ----------
    design : Design
        The rows x~_i, n of them with D columns.
    raw_gradient : ndarray of shape (n, K)
        Gradient in the raw prediction, g_i.
    shift : ndarray of shape (K, D) or None, default=None
        Added to every row: the share of the penalty that one unit of sample weight owns
        in objectives of mean form.
    """

    def __init__(self, design, raw_gradient, shift=None):
        self.design = design
        self.raw_gradient = raw_gradient
        self.shift = shift

    def __len__(self):
        return self.design.n_rows

    @property
    def shape(self):
        """Shape of the array the rows would make, (n, K, D)."""
        return (len(self), self.raw_gradient.shape[1], self.design.n_columns)

    @property
    def row_bytes(self):
        """Bytes of one row when written out."""
        return 8 * self.shape[1] * self.shape[2]

    def take(self, rows):
        """Return some of the rows, given as a slice or an index array."""
        return GradientRows(self.design.take(rows), self.raw_gradient[rows], self.shift)

    def scaled(self, factor):
        """Return the rows times a number."""
        shift = None if self.shift is None else factor * self.shift
        return GradientRows(self.design, factor * self.raw_gradient, shift)

    def output(self, k):
        """Return the part of the rows that belongs to one output, shape (n, 1, D)."""
        shift = None if self.shift is None else self.shift[[k]]
        return GradientRows(self.design, self.raw_gradient[:, [k]], shift)

    def toarray(self):
        """Return the rows written out, shape (n, K, D)."""
        out = self.design.outer(self.raw_gradient)
        if self.shift is not None:
            out += self.shift
        return out

    def sum(self, weights=None):
        """Return sum_i weights_i v_i, shape (K, D)."""
        if weights is None:
            weights = np.ones(len(self))
        total = self.design.adjoint(weights[:, None] * self.raw_gradient)
        if self.shift is not None:
            total += weights.sum() * self.shift
        return total

    def dot(self, V, out=None):
        """Return <V_q, v_i> for V (q, K, D), shape (q, n).

        Two orders of the same product. Written-out rows make it one GEMM, which costs
        n K D writes; contracting in the raw prediction, sum_k g_ik (x~_i' V_qk), costs a
        few passes over (n, q) for each output. The cheaper one is taken; sparse rows are
        never written out.
        """
        q, n = V.shape[0], len(self)
        if out is None:
            out = np.empty((q, n))
        write_out = self.design.is_dense and 2 * q >= self.shape[2]
        if write_out:
            flat = np.ascontiguousarray(V).reshape(q, -1)
            row_bytes = 2 * self.row_bytes
        else:
            offset = None if self.shift is None else np.tensordot(V, self.shift, 2)
            row_bytes = 24 * q
        exact = out.dtype == np.float64
        for rows in row_blocks(n, row_bytes):
            part = self.take(rows)
            if write_out:
                v = part.toarray().reshape(len(part), -1)
                if exact:
                    np.matmul(flat, v.T, out=out[:, rows])
                else:
                    out[:, rows] = flat @ v.T
            else:
                out[:, rows] = part._contract(V).T
                if offset is not None:
                    out[:, rows] += offset[:, None]
        return out

    def _contract(self, V):
        """Return sum_k g_ik (x~_i' V_qk), shape (n, q)."""
        total = self.design.read(V[:, 0])
        total *= self.raw_gradient[:, 0, None]
        for k in range(1, V.shape[1]):
            term = self.design.read(V[:, k])
            term *= self.raw_gradient[:, k, None]
            total += term
        return total
