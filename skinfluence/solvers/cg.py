"""H^-1 v by preconditioned conjugate gradients, from products with H alone.

Nothing of order p x p is formed: for models too wide for a Hessian. All right-hand sides
of a block iterate together, so that one iteration is one pass over the data.
"""

import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.sparse.linalg import LinearOperator, lobpcg

from skinfluence.blocks import row_blocks
from skinfluence.exceptions import InfluenceWarning, SingularHessianError
from skinfluence.solvers.base import Factor, HessianSolver

__all__ = ["ConjugateGradientSolver"]


@dataclass(frozen=True)
class ConjugateGradientSolver(HessianSolver):
    """Conjugate gradients, preconditioned by the diagonal of H or by another solver.

    Parameters
    ----------
    tol : float, default=1e-12
        Stop when the preconditioned residual is this small relative to the right-hand
        side's.
    max_iter : int or None, default=None
        Largest number of iterations; None for 20 p + 100.
    preconditioner : HessianSolver or None, default=None
        A solver for something close to H, such as `WoodburySolver` of the rows with most
        curvature; None for the diagonal of H.
    """

    tol: float = 1e-12
    max_iter: int | None = None
    preconditioner: HessianSolver | None = None
    name: ClassVar[str] = "cg"
    needs_convex: ClassVar[bool] = True

    @property
    def by_rows(self):
        """Whether the preconditioner works with products of rows alone."""
        return self.preconditioner is not None and self.preconditioner.by_rows

    def factorise(self, point):
        if self.preconditioner is None:
            return ConjugateGradientFactor(point, self.tol, self.max_iter)
        precondition = self.preconditioner.factorise(point).solve
        return ConjugateGradientFactor(point, self.tol, self.max_iter, precondition)


class ConjugateGradientFactor(Factor):
    """A preconditioner of H at one point.

    Parameters
    ----------
    point : Point
        The point whose Hessian is applied.
    tol : float
        Relative residual to reach.
    max_iter : int or None
        Largest number of iterations.
    precondition : callable or None, default=None
        Solves for something close to H; None for the diagonal of H.
    """

    def __init__(self, point, tol, max_iter, precondition=None):
        super().__init__(point)
        self.tol = tol
        self.max_iter = 20 * point.theta.size + 100 if max_iter is None else max_iter
        self.precondition = precondition
        if precondition is None:
            self._use_diagonal(point)

    def _use_diagonal(self, point):
        diagonal = point.hessian_diagonal()
        if not np.all(diagonal > 0):
            direction = (diagonal <= 0).astype(np.float64)
            raise SingularHessianError(
                "The Hessian of the objective has a zero on its diagonal: some "
                "parameters do not matter to any prediction and have no penalty. Drop "
                "the features concerned or add a penalty.",
                direction,
            )
        self.inverse_diagonal = 1.0 / diagonal
        self.precondition = lambda V: self.inverse_diagonal * V
        self._probe()

    def solve(self, V):
        V = np.array(V, dtype=np.float64)
        out = np.empty_like(V)
        # Residual, direction, product and solution: four arrays like a right-hand side,
        # beside the blocks that a product with H takes by itself.
        for some in row_blocks(V.shape[0], 48 * self.point.theta.size):
            out[some] = self._solve(V[some])
        return out

    def _probe(self):
        """Raise where H is singular.

        On consistent right-hand sides conjugate gradients never notice; on a random one
        the residual stops at its part in the null space. Where only an intercept has no
        penalty, H is positive definite and nothing needs to be tried.
        """
        objective = self.point.objective
        free = (objective.penalty == 0) & ~objective.gauge & objective.free
        if objective.design.fit_intercept:
            free[:, -1] = False
        if not free.any():
            return
        V = np.random.default_rng(0).standard_normal((1, *self.point.theta.shape))
        V /= np.sqrt(self.inverse_diagonal)
        _, size = self._iterate(V)
        if size[0] > 1e-3:
            raise SingularHessianError(
                "The Hessian of the objective is not positive definite: drop linearly "
                "dependent features or add a penalty.",
                self._flattest(V),
            )

    def _flattest(self, start):
        """Return the direction in which H is smallest relative to its diagonal, (K, D)."""
        scale = np.sqrt(self.inverse_diagonal)
        shape = scale.shape

        def scaled(columns):
            V = scale * columns.T.reshape(-1, *shape)
            return (scale * self.point.hessian_product(V)).reshape(len(V), -1).T

        size = scale.size
        operator = LinearOperator((size, size), scaled, matmat=scaled, dtype=np.float64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a rough direction is good enough to name
            _, vectors = lobpcg(operator, start.reshape(-1, 1), largest=False, maxiter=200)
        direction = scale * vectors[:, 0].reshape(shape)
        return direction / np.abs(direction).max()

    def _solve(self, V):
        x, size = self._iterate(V)
        if size.max() > self.tol and self.doubt is None:
            self.doubt = (
                f"Conjugate gradients stopped after {self.max_iter} iterations at a relative "
                f"residual of {size.max():.1e} instead of {self.tol:.1e}. Scale the "
                "features, or use hessian_solver='cholesky' where its p x p Hessian fits "
                "into memory."
            )
            warnings.warn(self.doubt, InfluenceWarning, stacklevel=3)
        return x

    def _iterate(self, V):
        """Return (solution, relative size of the residual) for each row of V.

        Residuals are gradients and pair with the readings of directions, which follow the
        recurrence of the directions themselves: one product with the metric an iteration.
        """
        remove_gauge = self.point.objective.remove_gauge
        readings = self.point.objective.design.readings
        residual = remove_gauge(V.copy())
        x = np.zeros_like(V)
        p = remove_gauge(self.precondition(residual))
        read = readings(p)
        rz = _row_dot(residual, read)
        first = rz.copy()
        goal = self.tol**2 * first
        for _ in range(self.max_iter):
            active = rz > goal
            if not active.any():
                break
            Hp = self.point.hessian_product(p, read)
            pHp = _row_dot(read, Hp)
            active &= pHp > 0  # what is left is rounding
            if not active.any():
                break
            alpha = np.where(active, rz / np.where(active, pHp, 1.0), 0.0)
            x += alpha[:, None, None] * p
            residual -= alpha[:, None, None] * Hp
            z = remove_gauge(self.precondition(residual))
            read_z = readings(z)
            rz_next = _row_dot(residual, read_z)
            beta = np.where(active, rz_next / np.where(rz > 0, rz, 1.0), 0.0)[:, None, None]
            p = z + beta * p
            read = p if read_z is z else read_z + beta * read
            rz = rz_next
        size = np.sqrt(np.maximum(rz, 0.0) / np.where(first > 0, first, 1.0))
        return remove_gauge(x), size


def _row_dot(a, b):
    return np.einsum("mkd,mkd->m", a, b)
