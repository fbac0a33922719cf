"""Kernel models, whose rows enter only through K(x, x_j).

    f(x) = sum_j a_j K(x, x_j) + b,      theta = (a, b), one a_j for each training row

with penalty lambda/2 a'K a. As a linear model it has rows (K(x_i, x_1) .. K(x_i, x_n), 1)
and the Hessian H = M A with M = diag(K, 1). Up to rounding H is as singular as K, but A is
regular:

    A = [[S K + lambda I, S 1], [1'S K, 1'S 1]]      for curvatures S = diag(h)

So no formula uses H. Gradients of training rows lie in the range of M and are stored as u with
v = M u: for row i, u is the i-th unit vector with a 1 for the intercept. Parameters keep their
coordinates. M maps them to their readings (K a, b): the values at the training rows, and the
intercept. In these coordinates the formulas for a linear model with penalty lambda I apply
unchanged:

    raw prediction   u_i' M theta          gradient   sum_i g_i u_i + lambda a
    A^-1 u           the solution for a gradient u = M^-1 v
    A^-T v           the readings of the solution for any functional v of the parameters

Samples outside the training data need the last one, because their (k(x), 1) is not in the
range of M. The readings of H^-1 (k(x), 1) at the training rows are A^-T (k(x), 1).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse
from scipy.linalg import blas
from sklearn.metrics.pairwise import euclidean_distances, pairwise_kernels, rbf_kernel

from skinfluence.blocks import multiply, row_blocks
from skinfluence.design import Design


@dataclass(frozen=True)
class Kernel:
    """A kernel with its parameters resolved.

    Parameters
    ----------
    metric : str or callable
        A kernel name from :func:`sklearn.metrics.pairwise.pairwise_kernels`, "precomputed",
        or a function.
    params : dict
        Kernel parameters, such as gamma. Parameters that the kernel does not have are ignored.
    of_matrices : bool, default=False
        Whether a function takes two matrices and returns all values at once, as in support
        vector machines, rather than two rows.
    """

    metric: str | Callable
    params: dict = field(default_factory=dict)
    of_matrices: bool = False

    @property
    def is_precomputed(self):
        """Whether X is already the matrix K."""
        return isinstance(self.metric, str) and self.metric == "precomputed"

    def __call__(self, X, Y):
        """Return K(x_i, y_j), float64 (n, m)."""
        if self.of_matrices and callable(self.metric):
            K = self.metric(X, Y)
        else:
            K = pairwise_kernels(X, Y, metric=self.metric, filter_params=True, **self.params)
        K = K.toarray() if sparse.issparse(K) else np.asarray(K)
        return np.ascontiguousarray(K, dtype=np.float64)

    @property
    def has_gradient(self):
        """Whether `gradient` supports this kernel."""
        return isinstance(self.metric, str) and self.metric in _GRADIENTS

    def gradient(self, x, Y):
        """Return dK(x, y_j) / dx for one row x (1, d), dense float64 (m, d)."""
        gamma = self.params.get("gamma")
        gamma = 1.0 / Y.shape[1] if gamma is None else gamma
        x, Y = _dense(x).astype(np.float64), _dense(Y).astype(np.float64)
        return _GRADIENTS[self.metric](x, Y, gamma, self.params)

    def gamma_gradient(self, X, Y):
        """Return dK(x_i, y_j) / d gamma, float64 (m, n), for kernels that have `gradient`."""
        X, Y = _dense(X).astype(np.float64), _dense(Y).astype(np.float64)
        gamma, K = self.params.get("gamma"), self(X, Y)
        if self.metric == "rbf":
            return np.where(K > 0, -K * euclidean_distances(X, Y, squared=True), 0.0)
        if self.metric == "sigmoid":
            return (1.0 - K**2) * (X @ Y.T)
        if self.metric == "poly":
            degree, coef0 = self.params.get("degree", 3), self.params.get("coef0", 1)
            inner = X @ Y.T
            return degree * (gamma * inner + coef0) ** (degree - 1) * inner
        return np.zeros_like(K)


@dataclass(eq=False)
class Basis:
    """The training rows as functions K(., x_j), and the matrix K between them on demand.

    Parameters
    ----------
    kernel : Kernel
        The kernel.
    X : ndarray or sparse matrix of shape (n, n_features)
        Training rows, kept by reference. If the kernel is precomputed, K itself.
    """

    kernel: Kernel
    X: Any

    def __len__(self):
        return self.X.shape[0]

    def __getstate__(self):
        return {"kernel": self.kernel, "X": self.X}

    @cached_property
    def matrix(self):
        """K between all training rows, (n, n)."""
        self._seen = self._checksum()
        if self.kernel.is_precomputed:
            return np.ascontiguousarray(_dense(self.X), dtype=np.float64)
        return self.kernel(self.X, self.X)

    @cached_property
    def diagonal(self):
        """K(x_j, x_j), shape (n,)."""
        return self.matrix.diagonal().copy()

    def between(self, X):
        """Return K(x, x_j) for other rows, (m, n)."""
        if self.kernel.is_precomputed:
            return np.ascontiguousarray(_dense(X), dtype=np.float64)
        return self.kernel(X, self.X)

    def take(self, rows):
        """Return the basis for some of the rows."""
        X = self.X[rows][:, rows] if self.kernel.is_precomputed else self.X[rows]
        return Basis(self.kernel, X)

    def append(self, X):
        """Return a copy of the basis with more rows."""
        if self.kernel.is_precomputed:
            raise ValueError(
                "kernel='precomputed' cannot add samples, because K between them and the "
                "training samples is unknown. Fit again on the larger K."
            )
        if sparse.issparse(self.X):
            return Basis(self.kernel, sparse.vstack([self.X, sparse.csr_array(X)], "csr"))
        return Basis(self.kernel, np.concatenate([self.X, _dense(X)]))

    def is_of(self, X):
        """Whether this basis consists of the given rows."""
        other = Basis(self.kernel, X)
        same = type(X) is type(self.X) and X.shape == self.X.shape
        return same and X.dtype == self.X.dtype and other._checksum() == self._checksum()

    def is_unchanged(self):
        """Whether X is unchanged since K was computed; deletes K if it is not."""
        if "matrix" not in self.__dict__ or self._seen == self._checksum():
            return True
        for name in ("matrix", "diagonal"):
            self.__dict__.pop(name, None)
        return False

    def _checksum(self):
        values = self.X.data if sparse.issparse(self.X) else np.asarray(self.X)
        if values.dtype.kind not in "fiub":
            return None
        order = np.arange(1, values.shape[0] + 1, dtype=np.float64)
        return (order @ values.astype(np.float64, copy=False)).tobytes()


class KernelDesign(Design):
    """Training rows in the coordinates from the module docstring.

    Parameters
    ----------
    basis : Basis
        All training rows.
    fit_intercept : bool
        Whether there is an intercept b.
    index : slice or ndarray, default=slice(None)
        Positions of this design's rows in the basis.
    """

    has_metric = True

    def __init__(self, basis, fit_intercept, index=slice(None)):
        self.basis = basis
        self.fit_intercept = bool(fit_intercept)
        self.index = index

    def __getstate__(self):
        # Pickles leave out K, because it can be computed again.
        return {name: vars(self)[name] for name in ("basis", "fit_intercept", "index")}

    @property
    def X(self):
        """The rows' features, or rows of K for a precomputed kernel."""
        return self.basis.X[self.index]

    @property
    def n_features(self):
        return len(self.basis)

    @cached_property
    def n_rows(self):
        if isinstance(self.index, slice):
            return len(range(*self.index.indices(len(self.basis))))
        return len(self.index)

    @property
    def _matrix(self):
        """K between the rows and the basis; for a slice of rows a view of the current K."""
        return self.basis.matrix[self.index] if isinstance(self.index, slice) else self._picked

    @cached_property
    def _picked(self):
        """A copy of K between some rows and the basis, for designs used in one factor."""
        return self.basis.matrix[self.index]

    def take(self, rows):
        if isinstance(self.index, slice) and self.index == slice(None):
            return KernelDesign(self.basis, self.fit_intercept, rows)
        index = np.arange(len(self.basis))[self.index][rows]
        return KernelDesign(self.basis, self.fit_intercept, index)

    def restrict(self, rows):
        return KernelDesign(self.basis.take(rows), self.fit_intercept)

    def append(self, other):
        return KernelDesign(self.basis.append(other.X), self.fit_intercept)

    def is_unchanged(self):
        return self.basis.is_unchanged()

    def readings(self, theta):
        n = len(self.basis)
        flat = theta.reshape(-1, self.n_columns)  # matmul computes stacks one by one
        out = np.empty(flat.shape)
        if len(flat) == 1:
            # The product is limited by memory. K is symmetric, so reading half of it takes
            # half the time.
            out[0, :n] = blas.dsymv(1.0, self.basis.matrix.T, flat[0, :n], lower=1)
        else:
            out[:, :n] = multiply(flat[:, :n], self.basis.matrix, np.empty((len(flat), n)))
        out[:, n:] = flat[:, n:]
        return out.reshape(theta.shape)

    def read(self, readings):
        values = np.moveaxis(readings[..., : len(self.basis)][..., self.index], -1, 0)
        return values + readings[..., -1] if self.fit_intercept else values.copy()

    def predict(self, theta, dtype=np.float64):
        n = len(self.basis)
        flat = theta.reshape(-1, self.n_columns)
        out = multiply(self._matrix, flat[:, :n].T, np.empty((self.n_rows, len(flat))))
        if self.fit_intercept:
            out += flat[:, -1]
        return out.reshape(self.n_rows, *theta.shape[:-1]).astype(dtype, copy=False)

    def adjoint(self, weights, dtype=np.float64):
        out = np.zeros((*weights.shape[1:], self.n_columns))
        moved = np.moveaxis(weights, 0, -1)
        out[..., : len(self.basis)][..., self.index] = moved
        if self.fit_intercept:
            out[..., -1] = moved.sum(axis=-1)
        return out

    def magnitude(self, theta):
        out = np.empty((self.n_rows, len(theta)))
        for rows in row_blocks(self.n_rows, 16 * len(self.basis)):
            sizes = np.abs(self._matrix[rows])
            out[rows] = sizes @ np.abs(theta[:, : len(self.basis)]).T
        return out + np.abs(theta[:, -1]) if self.fit_intercept else out

    def outer(self, weights, out=None):
        out = np.empty((*weights.shape, self.n_columns)) if out is None else out
        out[...] = 0.0
        index = np.arange(len(self.basis))[self.index]
        out[np.arange(len(index)), :, index] = weights
        if self.fit_intercept:
            out[:, :, -1] = weights
        return out

    def products(self, scale):
        matrix = self.basis.matrix
        if isinstance(self.index, slice) and self.index == slice(None):
            out = matrix * scale[0]
        else:
            out = matrix[np.ix_(*2 * (np.arange(len(matrix))[self.index],))]
            out *= scale[0]
        if self.fit_intercept:
            out += scale[-1]
        return out

    def squared_norms(self, scale):
        norms = self.basis.diagonal[self.index] * scale[0]
        return norms + scale[-1] if self.fit_intercept else norms

    def squared_adjoint(self, weights):
        return self.adjoint(weights * self.basis.diagonal[self.index][:, None])

    def gram(self, weights, shift=None):
        raise NotImplementedError("Kernel models have no matrix of second moments.")

    def product_blocks(self, width):
        return row_blocks(self.n_rows, 8 * (len(self.basis) + width))


class KernelQueries(Design):
    """Samples outside the training data: rows (K(x, x_1) .. K(x, x_n), 1), block by block.

    Parameters
    ----------
    basis : Basis
        The training rows.
    X : ndarray or sparse matrix of shape (m, n_features)
        The samples, or K(x, x_j) itself for a precomputed kernel.
    fit_intercept : bool
        Whether there is an intercept.
    """

    def __init__(self, basis, X, fit_intercept):
        super().__init__(X, fit_intercept)
        self.basis = basis

    @property
    def n_features(self):
        return len(self.basis)

    def take(self, rows):
        return KernelQueries(self.basis, self.X[rows], self.fit_intercept)

    def append(self, other):
        raise NotImplementedError("Queries cannot be appended.")

    def outer(self, weights, out=None):
        n = len(self.basis)
        out = np.empty((*weights.shape, self.n_columns)) if out is None else out
        np.multiply(
            self.features(slice(None))[:, None], weights[:, :, None], out=out[:, :, :n]
        )
        if self.fit_intercept:
            out[:, :, -1] = weights
        return out

    def squared_adjoint(self, weights):
        raise NotImplementedError("Queries have no Hessian.")

    def gram(self, weights, shift=None):
        raise NotImplementedError("Queries have no Hessian.")

    def features(self, rows, dtype=np.float64):
        return self.basis.between(self.X[rows]).astype(dtype, copy=False)

    def product_blocks(self, width):
        return row_blocks(self.n_rows, 8 * (len(self.basis) + width))


def _poly_gradient(x, Y, gamma, params):
    degree = params.get("degree", 3)
    if degree == 0:
        return np.zeros_like(Y)
    inner = gamma * (Y @ x.T) + params.get("coef0", 1)
    return degree * gamma * inner ** (degree - 1) * Y


#: Derivatives in x for the kernels that have one in closed form.
_GRADIENTS = {
    "linear": lambda x, Y, gamma, params: Y,
    "rbf": lambda x, Y, gamma, params: 2 * gamma * (Y - x) * rbf_kernel(Y, x, gamma=gamma),
    "poly": _poly_gradient,
    "polynomial": _poly_gradient,
    "sigmoid": lambda x, Y, gamma, params: (
        gamma * (1 - np.tanh(gamma * (Y @ x.T) + params.get("coef0", 1)) ** 2) * Y
    ),
}


def _dense(X):
    return X.toarray() if sparse.issparse(X) else np.asarray(X)
