"""H^-1 v by preconditioned conjugate gradients, from products with H alone.

Nothing of order p x p is formed: for models too wide for a Hessian. All right-hand sides
of a block iterate together, so that one iteration is one pass over the data.
"""

import warnings

import numpy as np

from skinfluence.blocks import row_blocks
from skinfluence.exceptions import InfluenceWarning, SingularHessianError
from skinfluence.solvers.base import Factor, HessianSolver

__all__ = ["ConjugateGradientSolver"]


class ConjugateGradientSolver(HessianSolver):
    """Conjugate gradients with the diagonal of H as preconditioner.

    Parameters
    ----------
    tol : float, default=1e-12
        Stop when the preconditioned residual is this small relative to the right-hand
        side's.
    max_iter : int or None, default=None
        Largest number of iterations; None for 20 p + 100.
    """

    name = "cg"

    def __init__(self, tol=1e-12, max_iter=None):
        self.tol = tol
        self.max_iter = max_iter

    def factorise(self, point):
        return ConjugateGradientFactor(point, self.tol, self.max_iter)

    def __repr__(self):
        return f"{type(self).__name__}(tol={self.tol}, max_iter={self.max_iter})"


class ConjugateGradientFactor(Factor):
    """The diagonal preconditioner of H at one point.

    Parameters
    ----------
    point : Point
        The point whose Hessian is applied.
    tol : float
        Relative residual to reach.
    max_iter : int or None
        Largest number of iterations.
    """

    def __init__(self, point, tol, max_iter):
        super().__init__(point)
        self.tol = tol
        self.max_iter = 20 * point.theta.size + 100 if max_iter is None else max_iter
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

    def solve(self, V):
        V = np.array(V, dtype=np.float64)
        out = np.empty_like(V)
        # Residual, direction, product and solution: four arrays like a right-hand side,
        # beside the blocks that a product with H takes by itself.
        for some in row_blocks(V.shape[0], 48 * self.point.theta.size):
            out[some] = self._solve(V[some])
        return out

    def _solve(self, V):
        remove_gauge = self.point.objective.remove_gauge
        residual = remove_gauge(V.copy())
        x = np.zeros_like(V)
        z = remove_gauge(self.inverse_diagonal * residual)
        p = z.copy()
        rz = _row_dot(residual, z)
        goal = self.tol**2 * rz
        for _ in range(self.max_iter):
            active = rz > goal
            if not active.any():
                return remove_gauge(x)
            Hp = self.point.hessian_product(p)
            pHp = _row_dot(p, Hp)
            alpha = np.where(active, rz / np.where(pHp > 0, pHp, 1.0), 0.0)
            flat = active & (pHp <= 0)
            if flat.any():
                raise SingularHessianError(
                    "The Hessian of the objective is not positive definite: drop "
                    "linearly dependent features or add a penalty.",
                    p[np.flatnonzero(flat)[0]],
                )
            x += alpha[:, None, None] * p
            residual -= alpha[:, None, None] * Hp
            z = remove_gauge(self.inverse_diagonal * residual)
            rz_next = _row_dot(residual, z)
            p = (
                z
                + np.where(active, rz_next / np.where(rz > 0, rz, 1.0), 0.0)[:, None, None] * p
            )
            rz = rz_next
        worst = np.sqrt(np.max(rz * self.tol**2 / np.where(goal > 0, goal, 1.0)))
        warnings.warn(
            f"Conjugate gradients stopped after {self.max_iter} iterations at a relative "
            f"residual of {worst:.1e} instead of {self.tol:.1e}. Scale the features, or "
            "use hessian_solver='cholesky' where its p x p Hessian fits into memory.",
            InfluenceWarning,
            stacklevel=2,
        )
        return remove_gauge(x)


def _row_dot(a, b):
    return np.einsum("mkd,mkd->m", a, b)
