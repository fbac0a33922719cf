"""Factors of matrices close to H, for conjugate gradients to start from.

Each is a solver whose factor is cheaper than that of H and not H^-1: results with it alone
are wrong. `ConjugateGradientSolver` takes any of them and corrects for the difference.

    DiagonalSolver        the diagonal of H
    BlockDiagonalSolver   one block of order D for each output of a coupled loss
    NystromSolver         the penalty and the directions in which H is largest
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import linalg

from skinfluence.blocks import memory_budget, row_blocks
from skinfluence.exceptions import SingularHessianError
from skinfluence.solvers.base import Factor, HessianSolver
from skinfluence.solvers.cholesky import CholeskyFactor

__all__ = [
    "BlockDiagonalSolver",
    "DiagonalSolver",
    "NystromSolver",
    "select_preconditioner",
]


@dataclass(frozen=True)
class DiagonalSolver(HessianSolver):
    """The diagonal of H: one pass over the data, p numbers."""

    name: ClassVar[str] = "diagonal"
    needs_convex: ClassVar[bool] = True

    def factorise(self, point):
        return DiagonalFactor(point)


class DiagonalFactor(Factor):
    """The diagonal of H at one point.

    Parameters
    ----------
    point : Point
        The point whose Hessian has this diagonal.
    """

    def __init__(self, point):
        super().__init__(point)
        self.diagonal = positive_diagonal(point)

    def solve(self, V):
        return self.point.objective.remove_gauge(V / self.diagonal)


def positive_diagonal(point):
    """Return the diagonal of H (K, D), or raise where it is zero."""
    diagonal = point.hessian_diagonal()
    if not np.all(diagonal > 0):
        raise SingularHessianError(
            "The Hessian of the objective has a zero on its diagonal: some parameters do "
            "not matter to any prediction and have no penalty. Drop the features concerned "
            "or add a penalty.",
            (diagonal <= 0).astype(np.float64),
        )
    return diagonal


@dataclass(frozen=True)
class BlockDiagonalSolver(HessianSolver):
    """Cholesky factors of the K diagonal blocks of order D of a coupled H.

    n K D^2 instead of n K^2 D^2 / 2 for all of H, and a K-th of its memory.

    Parameters
    ----------
    sketch : float or None, default=None
        Rows drawn for each block, as a multiple of D; None for all of them.
    """

    sketch: float | None = None
    name: ClassVar[str] = "blocks"
    needs_convex: ClassVar[bool] = True

    def factorise(self, point):
        return BlockDiagonalFactor(point, self.sketch)


class BlockDiagonalFactor(CholeskyFactor):
    """Triangular factors of the diagonal blocks of H, one for each output.

    Parameters
    ----------
    point : Point
        The point whose Hessian has these blocks.
    sketch : float or None
        Rows drawn for each block, as a multiple of D; None for all of them.
    """

    def __init__(self, point, sketch=None):
        self.sketch = sketch
        super().__init__(point)

    def _is_coupled(self):
        return False

    def _hessian_blocks(self, shift):
        point = self.point
        penalty = point.objective.penalty
        weights = point.curvature_diagonal()
        size = point.objective.n_rows
        if self.sketch is not None:
            size = int(self.sketch * penalty.shape[1])
        for k in range(len(penalty)):
            block = self._gram(weights[:, [k]], size, shift)
            block[np.diag_indices_from(block)] += penalty[k]
            yield np.array([k]), block

    def _gram(self, weights, size, shift):
        design = self.point.objective.design
        total = weights.sum()
        if size >= np.count_nonzero(weights) or not total > 0:
            return design.gram(weights, shift)[0]
        rng = np.random.default_rng(0)
        chance = np.minimum(1.0, 0.0 + size * weights[:, 0] / total)
        rows = np.flatnonzero(rng.random(len(weights)) < chance)
        return design.take(rows).gram(weights[rows] / chance[rows, None], shift)[0]


@dataclass(frozen=True)
class NystromSolver(HessianSolver):
    """The diagonal of H, and the directions in which H is largest relative to it.

    A randomised Nystroem approximation of H scaled to unit diagonal: `rank` products with H
    side by side, and as many vectors of p numbers.

    Parameters
    ----------
    rank : int, default=64
        Number of random directions.
    """

    rank: int = 64
    name: ClassVar[str] = "nystrom"
    needs_convex: ClassVar[bool] = True

    def factorise(self, point):
        return NystromFactor(point, self.rank)


class NystromFactor(Factor):
    """S^-1 (I + U (diag(values) - I) U') S^-1 for S = diag(H)^-1/2.

    Parameters
    ----------
    point : Point
        The point whose Hessian is approximated.
    rank : int
        Number of random directions.
    """

    def __init__(self, point, rank):
        super().__init__(point)
        objective = point.objective
        self.scale = 1.0 / np.sqrt(positive_diagonal(point))
        shape, size = self.scale.shape, self.scale.size
        rng = np.random.default_rng(0)
        draws = rng.standard_normal((min(rank, size), *shape))
        objective.remove_gauge(draws)
        basis = linalg.qr(draws.reshape(len(draws), size).T, mode="economic")[0].T
        image = np.empty_like(basis)
        for some in row_blocks(len(basis), 64 * size):
            V = self.scale * basis[some].reshape(-1, *shape)
            image[some] = (self.scale * point.hessian_product(V)).reshape(-1, size)
        # H ~ Y (O'Y)^-1 Y' for Y = H O, from Y with a little of O so that O'Y has a root.
        shift = np.finfo(np.float64).eps * np.linalg.norm(image)
        image += shift * basis
        inner = basis @ image.T
        root = linalg.cholesky((inner + inner.T) / 2, lower=True)
        half = linalg.solve_triangular(root, image, lower=True)
        _, values, directions = linalg.svd(half, full_matrices=False)
        values = values**2 - shift
        large = values > 1.0  # the mean eigenvalue
        self.values, self.directions = values[large], directions[large]

    def solve(self, V):
        scaled = (self.scale * V).reshape(len(V), -1)
        parts = scaled @ self.directions.T
        scaled += (parts * (1.0 / self.values - 1.0)) @ self.directions
        out = scaled.reshape(V.shape)
        out *= self.scale
        return self.point.objective.remove_gauge(out)


def select_preconditioner(point):
    """Return the preconditioner that conjugate gradients take by themselves."""
    objective = point.objective
    K, D = objective.penalty.shape
    if objective.coupled and 2 * 8 * K * D**2 <= memory_budget():
        return BlockDiagonalSolver()
    return DiagonalSolver()
