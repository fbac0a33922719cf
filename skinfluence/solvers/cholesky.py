"""H = L L', formed once and factorised densely.

Two measures keep the results accurate for unscaled features. If a free intercept can absorb a
shift, H is formed from features minus their means: with T = [[I, 0], [mu', 1]],
x~ = T'(x - mu, 1), so H = T' H_c T and H^-1 = T^-1 H_c^-1 T^-T with a far better conditioned
H_c. Then H_c is scaled to unit diagonal, so its condition number depends on the problem and
not on the units of the features. LAPACK factorises in place; arrays on devices are factorised
by their own library.
"""

import copy
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import linalg
from scipy.linalg import blas, lapack

from skinfluence import namespaces
from skinfluence.blocks import batches, memory_budget
from skinfluence.exceptions import SingularHessianError
from skinfluence.namespaces import to_host
from skinfluence.objective import Point
from skinfluence.objective.coupled import pin
from skinfluence.solvers.base import (
    DOUBTFUL,
    Factor,
    HessianSolver,
    digits_left,
    why_not_finite,
)

# The relative error of a solve is about eps / rcond. Below this bound no digit is right.
# Between it and `DOUBTFUL` fewer than four digits are right, and the user is told.
_SINGULAR = 4 * np.finfo(np.float64).eps


@dataclass(frozen=True)
class CholeskySolver(HessianSolver):
    """Dense Cholesky factorisation: n p^2 + p^3 / 3 once, 2 p^2 for each right-hand side."""

    name = "cholesky"
    by_sums = True

    def factorise(self, point: Point) -> Factor:
        return CholeskyFactor(point)


class CholeskyFactor(Factor):
    """Triangular factors of the Hessian's diagonal blocks.

    Parameters
    ----------
    point : Point
        The point whose Hessian is factorised.
    hessian_blocks : callable or None, default=None
        ``hessian_blocks(shift)`` returns one block for each output, in place of those from
        `Point.hessian_blocks`.
    """

    def __init__(self, point, hessian_blocks=None):
        super().__init__(point)
        objective = point.objective
        self.coupled = objective.coupled and hessian_blocks is None
        hessian_blocks = hessian_blocks or point.hessian_blocks
        self.shift = None
        free_intercept = objective.free[:, -1].all() and not objective.penalty[:, -1].any()
        if objective.design.fit_intercept and free_intercept:
            # With the mean that weights rows by their curvature, the intercept decouples.
            self.shift = point.centre()
        self.blocks = []
        for outputs, block in hessian_blocks(self.shift):
            if self.coupled:
                pin(block, objective.gauge, len(outputs))
            factorised = _factorise(block)
            if factorised is None:
                raise self._singular(outputs, hessian_blocks(None))
            scale, factor, rcond = factorised
            self.blocks.append((outputs, scale, factor))
            self.rcond = min(self.rcond, rcond)
        if self.rcond < DOUBTFUL:
            self.doubt = (
                "The Hessian is close to singular (reciprocal condition number "
                f"{self.rcond:.1e} after scaling to unit diagonal): about "
                f"{digits_left(self.rcond)} digits of the result are right. "
                "Drop linearly dependent features or strengthen the penalty."
            )

    def without_rows(self):
        light = copy.copy(self)
        light.point = self.point.without_rows()
        return light

    def solve(self, V):
        out = np.array(V, dtype=np.float64, order="C", like=self.point.like)
        self.point.objective.remove_gauge(out)
        self._to_shifted(out)
        for outputs, scale, factor in self.blocks:
            flat = self._flat(out, outputs)
            flat *= scale
            solved = _solve(factor, flat.T)
            solved *= scale[:, None]
            self._put(out, outputs, solved.T)
        self._from_shifted(out)
        return self.point.objective.remove_gauge(out)

    def quadratic(self, V):
        # v' H^-1 v = |L^-1 v|^2: one triangular solve instead of two.
        V = np.array(V, dtype=np.float64, order="C", like=self.point.like)
        self.point.objective.remove_gauge(V)
        self._to_shifted(V)
        total = np.zeros(V.shape[0], like=V)
        for outputs, scale, factor in self.blocks:
            flat = self._flat(V, outputs)
            flat *= scale
            half = _half_solve(factor, flat.T)
            squares = np.einsum("pm,pm->m", half, half)
            total += squares.reshape(V.shape[0], -1).sum(axis=1)
        return total

    def row_products(self, x):
        K, D = self.point.theta.shape
        if not self.point.objective.coupled or memory_budget() < 24 * (K * D) ** 2:
            return super().row_products(x)
        # The blocks of H_c^-1 take a K-th of the work that K solves for each row take. The
        # blocks of H^-1 would lose digits, because they grow with the squared distance from 0.
        if self.shift is not None:
            x = x.copy()
            x[..., :-1] -= x[..., -1:] * self.shift
        b, a, _ = x.shape
        M = np.empty((b, a, K, a, K), like=x)
        for k, block in enumerate(self._inverse):
            product = (x.reshape(b * a, D) @ block.reshape(D, K * D)).reshape(b, a * K, D)
            product = np.matmul(product, x.transpose(0, 2, 1)).reshape(b, a, K, a)
            M[:, :, k] = product.transpose(0, 1, 3, 2)
        return M.reshape(b, a * K, a * K)

    @cached_property
    def _inverse(self):
        """H_c^-1 as an array (K, D, K, D)."""
        K, D = self.point.theta.shape
        plain = copy.copy(self)
        plain.shift = None
        return plain.solve(np.eye(K * D).reshape(K * D, K, D)).reshape(K, D, K, D)

    def _singular(self, outputs, blocks):
        """Return the error for one of the Hessian's blocks, with its null direction."""
        objective = self.point.objective
        block = next(b for o, b in blocks if np.array_equal(o, outputs))
        block = np.triu(block) + np.triu(block, 1).T
        if self.coupled:
            pin(block, objective.gauge, len(outputs))
        direction = np.zeros(self.point.theta.shape, like=block)
        message = (
            "The Hessian of the objective is not positive definite: no unique derivative "
            "of the fit exists. Likely causes: linearly dependent or constant features "
            "without a penalty, weights that leave too few rows, or separable classes "
            "without a penalty. Drop the features concerned or add a penalty."
        )
        if np.all(np.isfinite(block)):
            size = np.sqrt(np.maximum(block.diagonal(), 0.0))
            scale = 1.0 / np.where(size > 0, size, 1.0)
            vector = _flattest(block * scale[:, None] * scale) * scale
            vector /= np.abs(vector).max()
            if self.coupled:
                direction[:] = vector.reshape(direction.shape)
            else:
                direction[outputs[0]] = vector
            return SingularHessianError(message, direction)
        return SingularHessianError(why_not_finite(self.point))

    def _flat(self, V, outputs):
        """Return a block's right-hand sides as rows: a view if V has no others."""
        if self.coupled or V.shape[1] == 1:
            return V.reshape(V.shape[0], -1)
        return V[:, outputs].reshape(-1, V.shape[2])

    def _put(self, V, outputs, flat):
        """Write the rows that `_flat` returned back into V."""
        if not np.may_share_memory(flat, V):
            V[:, outputs] = flat.reshape(V.shape[0], len(outputs), V.shape[2])

    def _to_shifted(self, V):
        """Apply T^-T to gradients in place: coefficients minus mu times the intercept."""
        if self.shift is not None:
            V[..., :-1] -= V[..., -1:] * self.shift
            self.point.objective.freeze(V)

    def _from_shifted(self, V):
        """Apply T^-1 to parameters in place: intercept minus mu' coefficients."""
        if self.shift is not None:
            V[..., -1] -= np.einsum("mkd,d->mk", V[..., :-1], self.shift)


def _factorise(block):
    """Return (scale, lower factor, reciprocal condition number), None if block is singular."""
    diagonal = block.diagonal().copy()
    if not np.all(diagonal > 0) or not np.all(np.isfinite(diagonal)):
        return None
    scale = 1.0 / np.sqrt(diagonal)
    block *= scale[:, None]
    block *= scale
    factor, rcond = _triangular(block)
    return None if rcond < _SINGULAR else (scale, factor, rcond)


def _flattest(block):
    """Return the eigenvector for the smallest eigenvalue of a symmetric matrix."""
    _, vectors = linalg.eigh(namespaces.to_host(block), subset_by_index=[0, 0])
    return vectors[:, 0]


def _triangular(block):
    """Return the lower factor of a symmetric array and its reciprocal condition number.

    Parameters
    ----------
    block : ndarray of shape (p, p)
        C-ordered, with unit diagonal; overwritten. Only its upper triangle is read.

    Returns
    -------
    factor : ndarray of shape (p, p) or None
        L with block = L L'; None if there is none. Entries above the diagonal are undefined.
    rcond : float
        Reciprocal condition number in the 1-norm, roughly.
    """
    if namespaces.is_device(block):
        return namespaces.factorise(block)
    # LAPACK reads the upper triangle of a C-ordered array as the lower triangle of its
    # transpose, so the block is factorised in place.
    norm = _norm_from_upper(block)
    factor, info = lapack.dpotrf(block.T, lower=1, overwrite_a=1, clean=0)
    if info != 0:
        return None, 0.0
    return factor, lapack.dpocon(factor, norm, uplo="L")[0]


def _solve(factor, B):
    """Return (L L')^-1 B for a factor and B (p, m), which may be overwritten."""
    if namespaces.is_device(factor):
        return namespaces.solve(factor, B)
    return lapack.dpotrs(factor, B, lower=1, overwrite_b=1)[0]


def _half_solve(factor, B):
    """Return L^-1 B for a factor and B (p, m), which may be overwritten."""
    if namespaces.is_device(factor):
        return namespaces.half_solve(factor, B)
    return blas.dtrsm(1.0, factor, B, lower=1, overwrite_b=1)


def _norm_from_upper(block):
    """Return the 1-norm of a symmetric matrix with unit diagonal from its upper triangle."""
    sums = np.full(len(block), -1.0)
    for rows in batches(len(block), max(1, 2**19 // (8 * len(block)))):
        size = np.abs(block[rows, rows.start :])
        inside = rows.stop - rows.start
        size[:, :inside] = np.triu(size[:, :inside])
        sums[rows] += size.sum(axis=1)
        sums[rows.start :] += size.sum(axis=0)
    return sums.max()


class PencilFactor(Factor):
    """(H - t P)^-1 for many t from one decomposition, for objectives in mean form.

    In mean form the penalty grows with the weights, and P is the share of it that one unit of
    weight owns. Without a row with weight t the Hessian loses t P besides the row's own
    curvature. If B holds the eigenvectors of P v = mu H v, normalised so that B'HB = I and
    B'PB = diag(mu),

        (H - t P)^-1 = B diag(1 / (1 - t mu)) B'    for every t.

    Parameters
    ----------
    point : Point
        The point whose Hessian is decomposed. Its outputs must not interact.
    """

    def __init__(self, point):
        super().__init__(point)
        # The share of a fixed parameter is not part of the problem.
        free = point.objective.free
        share = point.objective.formulation.penalty_share * free
        self.blocks = []
        for outputs, block in point.hessian_blocks():
            upper = np.triu(block)
            H = upper + np.triu(block, 1).T
            scale = 1.0 / np.sqrt(H.diagonal())
            for k in outputs:
                penalty, scaled = share[k] * scale**2, H * scale[:, None] * scale
                mu, B = _pencil(np.diag(to_host(penalty)), to_host(scaled))
                mu, B = (np.asarray(part, like=point.like) for part in (mu, B))
                # The scaled H has a unit diagonal, and B B' is its inverse.
                self.rcond = min(self.rcond, 1.0 / (len(B) * np.sum(B**2)))
                # Nor is its gradient, of which rounding in B would let a part through: it has
                # the units of a feature, whatever the scale of the others.
                self.blocks.append((k, mu, B * (scale * free[k])[:, None]))

    def without_rows(self):
        light = copy.copy(self)
        light.point = self.point.without_rows()
        return light

    def solve(self, V, t=0.0):
        """Return (H - t P)^-1 V.

        Parameters
        ----------
        V : ndarray of shape (m, K, D)
            Right-hand sides.
        t : float or ndarray of shape (m,), default=0.0
            Weight whose penalty share is removed, one for each right-hand side.

        Returns
        -------
        ndarray of shape (m, K, D)
            Solutions.
        """
        t = np.broadcast_to(t, V.shape[0])[:, None]
        out = np.empty_like(V)
        for k, mu, B in self.blocks:
            out[:, k] = ((V[:, k] @ B) / (1.0 - t * mu)) @ B.T
        return out

    def determinant(self, t):
        """Return det(H - t P) / det(H) for weights t (m,), one for each output, (m, K)."""
        out = np.empty((len(t), self.point.theta.shape[0]), like=self.point.like)
        for k, mu, _ in self.blocks:
            out[:, k] = np.prod(1.0 - t[:, None] * mu, axis=1)
        return out


def _pencil(P, H):
    """Return the eigenvalues and eigenvectors of P v = mu H v."""
    try:
        return linalg.eigh(P, H)
    except linalg.LinAlgError:
        smallest = linalg.eigvalsh(H)[0]
        raise SingularHessianError(
            "The Hessian is singular to working precision: in units in which its diagonal is "
            f"1 its smallest eigenvalue is {smallest:.2g}. Scale the features, drop or merge "
            "those that depend on each other, or strengthen the penalty."
        ) from None
