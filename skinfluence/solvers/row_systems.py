"""The factorised systems P of `WoodburySolver`, one for each group of outputs."""

from abc import ABC, abstractmethod

import numpy as np
from scipy.linalg import lapack

from skinfluence.exceptions import SingularHessianError

# Above this curvature, relative to the penalty, rho / h loses no more than three digits.
_STRONG = 1e-6


class System(ABC):
    """P for a group of outputs, factorised.

    Attributes
    ----------
    outputs : ndarray
        The outputs in the group.
    rows : ndarray
        Indices of the rows in P.
    part : Design
        These rows.
    n_rows : int
        Their number.
    n_coupled : int
        Number of outputs that interact, k.
    size : float
        Norm of H relative to the penalty: the norm of I + W^1/2 X Lam^-1 X' W^1/2. The
        condition number of H is as large, and so is the ratio of y above to the solution.
    lift : float
        Number added to every entry of P, because P is singular if there is one more margin
        vector than features. A free intercept fixes the sum of rho at v_b, so
        (P + lift 1 1') rho = raw + (b + lift v_b) 1 is equivalent to P rho = raw + b 1.
    """

    n_coupled = 1
    lift = 0.0

    @abstractmethod
    def apply(self, raw):
        """Return P^-1 raw for raw predictions (m, n, k)."""

    @abstractmethod
    def shared(self):
        """Return the outputs in groups that `apply` takes together."""

    def _factorise(self, M):
        self.factor = M
        if not len(M):
            return
        factor, info = lapack.dpotrf(M.T, lower=1, overwrite_a=1, clean=0)
        if info != 0:
            raise SingularHessianError(
                "The Hessian of the objective is not finite or not positive definite. "
                "Rescale the features. A kernel must be positive definite, and rows that lie "
                "on a kink must differ."
            )
        self.factor = factor

    def _substitute(self, rows):
        """Return M^-1 times each row."""
        rows = np.array(rows, dtype=np.float64, order="C")
        if not rows.size:
            return rows
        solved, _ = lapack.dpotrs(self.factor, rows.T, lower=1, overwrite_b=1)
        return solved.T


class RowSystem(System):
    """P = diag(1/h) + X Lam^-1 X' for pointwise curvature, scaled to unit diagonal.

    Parameters
    ----------
    outputs : ndarray
        Outputs with this curvature and penalty.
    h : ndarray of shape (n,)
        Curvature of each row, inf for a margin vector.
    design : Design
        All rows.
    inverse : ndarray of shape (D,)
        1 / Lam, 0 for a free intercept.
    cutoff : float
        Rows that add no more than this to H, relative to the penalty, are left out.
    """

    def __init__(self, outputs, h, design, inverse, cutoff):
        self.outputs = outputs
        with np.errstate(invalid="ignore"):  # inf * 0 for a row at the origin
            weight = h * design.squared_norms(inverse)
        counts = weight > cutoff
        if design.fit_intercept and inverse[-1] == 0:
            # A row may determine a free intercept although the penalty outweighs its
            # curvature.
            counts |= h > cutoff * np.max(np.where(np.isfinite(h), h, 0.0), initial=0.0)
        rows = slice(None) if counts.all() else np.flatnonzero(counts)
        if np.isinf(h).any():
            rows = self._independent(design, np.flatnonzero(counts), inverse)
        self.rows = np.arange(design.n_rows)[rows]
        self.h = h[rows]
        self.strong = weight[rows] > _STRONG
        self.strong &= np.isfinite(self.h)
        self.weak = np.setdiff1d(np.arange(design.n_rows), self.rows[self.strong])
        self.part = design.take(rows)
        self.n_rows = self.part.n_rows
        M = self.part.products(inverse)
        if self.lift:
            M += self.lift
        diagonal = M.diagonal() + 1.0 / self.h
        self.scale = 1.0 / np.sqrt(diagonal)
        M *= self.scale[:, None]
        M *= self.scale
        np.fill_diagonal(M, 1.0)
        self.size = self._relative_norm(M)
        self._factorise(M)

    def _independent(self, design, rows, inverse):
        """Return linearly independent margin vectors that span the others.

        With the others, P would be singular.
        """
        P = design.take(rows).products(inverse)
        if design.fit_intercept and inverse[-1] == 0 and len(rows):
            self.lift = P.diagonal().mean()
            P += self.lift
        scale = 1.0 / np.sqrt(np.where(P.diagonal() > 0, P.diagonal(), 1.0))
        if not len(rows):
            return rows
        _, order, rank, _ = lapack.dpstrf(P * scale[:, None] * scale, tol=1e-10, lower=1)
        return rows[np.sort(order[:rank] - 1)]

    def _relative_norm(self, M):
        """Return `size` in the Frobenius norm; margin vectors do not count."""
        with np.errstate(over="ignore"):
            t = self.h / self.scale**2
        t[~np.isfinite(t)] = 0.0
        largest = t.max(initial=1.0)
        t /= largest
        return largest * np.sqrt(np.einsum("i,ij,ij,j->", t, M, M, t))

    def find(self, rows):
        """Return the positions of rows in P, -1 for absent rows and for -1."""
        place = np.searchsorted(self.rows, rows)
        place[place == self.n_rows] = -1
        return np.where(self.rows[place] == rows, place, -1) if self.n_rows else place

    def apply(self, raw):
        return (self._substitute(raw[:, :, 0] * self.scale) * self.scale)[:, :, None]

    def shared(self):
        return [np.array([k]) for k in self.outputs]


class CoupledSystem(System):
    """P for a coupled loss, whose curvature W_i (k, k) may be singular.

    With R = W^1/2, P^-1 = R M^-1 R for M = I + R X Lam^-1 X' R, which has order n k.

    Parameters
    ----------
    outputs : ndarray
        All outputs.
    W : ndarray of shape (n, k, k)
        Curvature of each row.
    design : Design
        All rows.
    inverse : ndarray of shape (D,)
        1 / Lam, the same for every output, 0 for a free intercept.
    """

    def __init__(self, outputs, W, design, inverse):
        self.outputs = outputs
        self.rows, self.part = np.arange(design.n_rows), design
        self.n_rows, self.n_coupled = len(W), len(outputs)
        self.R = R = _root(W)
        order = self.n_rows * self.n_coupled
        M = np.einsum("iac,ij,jcb->iajb", R, design.products(inverse), R, optimize=True)
        M = M.reshape(order, order)
        M[np.arange(order), np.arange(order)] += 1.0
        self.size = np.linalg.norm(M)
        self._factorise(M)

    def apply(self, raw):
        alpha = self._weigh(raw).reshape(len(raw), -1)
        return self._weigh(self._substitute(alpha).reshape(raw.shape))

    def shared(self):
        return [self.outputs]

    def _weigh(self, raw):
        """Return R times raw predictions (m, n, k)."""
        return np.einsum("nab,mnb->mna", self.R, raw)


def _root(W):
    """Return the symmetric square roots of positive semidefinite W (n, k, k)."""
    values, vectors = np.linalg.eigh(W)
    values = np.sqrt(np.maximum(values, 0.0))
    return (vectors * values[:, None]) @ vectors.transpose(0, 2, 1)
