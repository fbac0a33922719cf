"""H^-1 from a system of the order of the rows, for models wider than long.

With a penalty Lam on every coefficient, H = Lam + X' W X has an inverse that needs nothing of
order d x d. Write R = W^1/2 and M = I + R X Lam^-1 X' R, of order n (n K for a coupled loss,
with W block diagonal in K x K). Then, for a right-hand side v of the coefficients,

    y = Lam^-1 v,   alpha = M^-1 R X y,   H^-1 v = y - Lam^-1 X' R alpha.

An intercept without penalty has no Lam^-1. It is eliminated: with z = R 1, q = M^-1 z and
S = z'q, the Schur complement of the coefficients in H,

    b = (v_b - z'alpha) / S,   x = y - Lam^-1 X' R (alpha + q b).

No term is a difference of large ones: z'M^-1 z is what 1'W1 - 1'WX (..)^-1 X'W1 comes to. A
penalised intercept is a column like the others.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.linalg import lapack

from skinfluence.blocks import lapack_threads
from skinfluence.exceptions import SingularHessianError
from skinfluence.solvers.base import Factor, HessianSolver

__all__ = ["WoodburySolver"]


@dataclass(frozen=True)
class WoodburySolver(HessianSolver):
    """Cholesky factorisation of order n: n^2 d + n^3 / 3 once, 4 n d for a solution.

    Needs a penalty on every coefficient; an intercept may be free.
    """

    name: ClassVar[str] = "woodbury"

    def factorise(self, point):
        return WoodburyFactor(point)

    @staticmethod
    def is_applicable(objective):
        """Return whether every coefficient of an objective has a penalty.

        Parameters
        ----------
        objective : Objective
            The objective whose Hessian is to be inverted.

        Returns
        -------
        bool
            True where this solver can be used.
        """
        free = objective.penalty[:, : objective.design.n_features] == 0
        return not free.any()


class WoodburyFactor(Factor):
    """Cholesky factors of M, one for each group of outputs that share it.

    Parameters
    ----------
    point : Point
        The point whose Hessian is applied.
    """

    def __init__(self, point):
        super().__init__(point)
        objective = point.objective
        if not WoodburySolver.is_applicable(objective):
            raise ValueError(
                "hessian_solver='woodbury' needs a penalty on every coefficient: use "
                "'cholesky' or 'cg' where there is none."
            )
        design = objective.design
        self.free_intercept = design.fit_intercept and not objective.penalty[:, -1].any()
        W = point.curvature()
        if objective.coupled:
            self.systems = [self._system(np.arange(W.shape[1]), _root(W))]
        else:
            self.systems = [
                self._system(np.array([k]), np.sqrt(W[:, k])[:, None, None])
                for k in range(W.shape[1])
            ]

    def solve(self, V):
        V = np.array(V, dtype=np.float64)
        self.point.objective.remove_gauge(V)
        out = np.empty_like(V)
        for system in self.systems:
            out[:, system.outputs] = self._solve(system, V[:, system.outputs])
        return self.point.objective.remove_gauge(out)

    def _system(self, outputs, R):
        """Return M of some outputs, factorised, with what eliminates the intercepts."""
        objective, design = self.point.objective, self.point.objective.design
        n, k = len(R), len(outputs)
        inverse = self._inverse_penalty(outputs)
        # All outputs of a coupled loss have one penalty, so X Lam^-1 X' is the same n x n
        # array for each of them.
        products = design.products(inverse)
        if k == 1:
            root = R[:, 0, 0]
            M = products * root[:, None] * root
        else:
            M = np.einsum("iac,ij,jcb->iajb", R, products, R, optimize=True)
            M = M.reshape(n * k, n * k)
        M[np.arange(n * k), np.arange(n * k)] += 1.0
        with lapack_threads(M.shape[0] ** 3 / 3):
            factor, info = lapack.dpotrf(M.T, lower=1, overwrite_a=1, clean=0)
        if info != 0:
            raise SingularHessianError(
                "The Hessian of the objective is not finite or not positive definite: "
                "rescale the features."
            )
        system = _System(outputs, R, inverse, factor)
        if self.free_intercept:
            z = R.reshape(n * k, k)  # R (1 (x) I): row (i, a) is R_i[a]
            system.q = system.solve(z.T).T
            schur = z.T @ system.q
            if objective.coupled:
                schur += schur.diagonal().mean() / k
            if not np.all(np.isfinite(schur)) or np.linalg.cond(schur) > 1e14:
                direction = np.zeros(self.point.theta.shape)
                direction[outputs, -1] = 1.0
                raise SingularHessianError(
                    "The rows have no curvature left that could hold the intercept: every "
                    "prediction is saturated. Strengthen the penalty.",
                    direction,
                )
            system.schur = schur
        return system

    def _inverse_penalty(self, outputs):
        """Return 1 / Lam of one output, 0 for a free intercept, shape (D,)."""
        penalty = self.point.objective.penalty[outputs[0]]
        return np.divide(1.0, penalty, out=np.zeros_like(penalty), where=penalty > 0)

    def _solve(self, system, V):
        """Return H^-1 V for the outputs of one system, (m, k, D)."""
        design = self.point.objective.design
        m, k, _ = V.shape
        y = V * system.inverse
        raw = design.predict(y).transpose(1, 0, 2)  # X y, (m, n, k); 0 at a free intercept
        alpha = system.solve(system.weigh(raw).reshape(m, -1))
        if self.free_intercept:
            z = system.R.reshape(-1, k)
            b = np.linalg.solve(system.schur, (V[:, :, -1] - alpha @ z).T).T
            alpha = alpha + b @ system.q.T
        weights = system.weigh(alpha.reshape(m, -1, k)).transpose(1, 0, 2)
        y -= design.adjoint(np.ascontiguousarray(weights)) * system.inverse
        if self.free_intercept:
            y[:, :, -1] = b
        return y


@dataclass
class _System:
    """M of some outputs, factorised.

    Parameters
    ----------
    outputs : ndarray of shape (k,)
        The outputs it serves.
    R : ndarray of shape (n, k, k)
        Square root of the curvature of each row.
    inverse : ndarray of shape (D,)
        1 / Lam, 0 for a free intercept.
    factor : ndarray of shape (n k, n k)
        Lower triangular factor of M.
    q, schur : ndarray or None
        M^-1 R 1 and the Schur complement, with a free intercept.
    """

    outputs: np.ndarray
    R: np.ndarray
    inverse: np.ndarray
    factor: np.ndarray
    q: np.ndarray | None = None
    schur: np.ndarray | None = None

    def solve(self, rows):
        """Return M^-1 times each row, (m, n k)."""
        rows = np.array(rows, dtype=np.float64, order="C")
        with lapack_threads(2 * rows.size * len(self.factor)):
            solved, _ = lapack.dpotrs(self.factor, rows.T, lower=1, overwrite_b=1)
        return solved.T

    def weigh(self, raw):
        """Return R times raw predictions (m, n, k)."""
        if raw.shape[2] == 1:
            return raw * self.R[:, 0]
        return np.einsum("nab,mnb->mna", self.R, raw)


def _root(W):
    """Return the symmetric square roots of positive semidefinite W (n, k, k)."""
    values, vectors = np.linalg.eigh(W)
    values = np.sqrt(np.maximum(values, 0.0))
    return (vectors * values[:, None]) @ vectors.transpose(0, 2, 1)
