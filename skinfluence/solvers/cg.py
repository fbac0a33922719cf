"""H^-1 v by preconditioned conjugate gradients, from products with H alone.

Nothing of order p x p is formed: for models too wide for a Hessian. All right-hand sides
of a block iterate together, so that one iteration is one pass over the data.

A softmax has no curvature along one shift of all outputs. With the same penalty for every
output H leaves that mean over the outputs and what differs from it apart: the mean is
solved by dividing by the penalty, and the rest iterates without it. A preconditioner that
knows each output by itself would take the curvature of the mean for that of the rest.
"""

import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.sparse.linalg import LinearOperator, lobpcg

from skinfluence.blocks import row_blocks
from skinfluence.exceptions import SingularHessianError, warn
from skinfluence.objective import Point
from skinfluence.solvers.base import Factor, HessianSolver
from skinfluence.solvers.preconditioners import (
    positive_diagonal,
    select_preconditioner,
)

__all__ = ["ConjugateGradientSolver"]

# The recurrence of the residual leaves the residual itself by rounding: where it is to fall
# below this share, the residual is computed anew at the end.
_DRIFT = 1e-6
# How often conjugate gradients start again from the residual computed anew.
_RESTARTS = 3
# Where a residual stops falling at rounding below this nobody needs to be told.
_NOTABLE = 1e-9
# The relative residual of a rough solution.
_ROUGH = 1e-6
# A residual of 1e-12 leaves an error of up to that over the smallest eigenvalue of H, scaled
# to unit diagonal: below this fewer than four digits. (60 x 100 Gaussian features, ridge with
# alpha = 1e-6: eigenvalue 1.6e-8, error 6e-5; with all means at 30: 2e-11 and 1e-2.)
_DOUBTFUL = 1e-8


@dataclass(frozen=True)
class ConjugateGradientSolver(HessianSolver):
    """Conjugate gradients from a preconditioner, checked against the residual itself.

    Parameters
    ----------
    tol : float, default=1e-12
        Stop when the preconditioned residual is this small relative to the right-hand
        side's.
    max_iter : int or None, default=None
        Largest number of iterations; None for 20 p + 100.
    preconditioner : HessianSolver or None, default=None
        A solver for something close to H, such as `WoodburySolver` of the rows with most
        curvature; None for what `select_preconditioner` takes.
    """

    tol: float = 1e-12
    max_iter: int | None = None
    preconditioner: HessianSolver | None = None
    name: ClassVar[str] = "cg"
    needs_convex: ClassVar[bool] = True

    @property
    def by_rows(self) -> bool:  # type: ignore[override]
        """Whether the preconditioner works with products of rows alone."""
        return self.preconditioner is not None and self.preconditioner.by_rows

    def factorise(self, point: Point) -> Factor:
        return ConjugateGradientFactor(point, self.tol, self.max_iter, self.preconditioner)


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
    preconditioner : HessianSolver or None, default=None
        Solves for something close to H; None for what `select_preconditioner` takes.
    """

    def __init__(self, point, tol, max_iter, preconditioner=None):
        super().__init__(point)
        self.tol = tol
        self.max_iter = 20 * point.theta.size + 100 if max_iter is None else max_iter
        self.mean_penalty = _mean_penalty(point.objective)
        solver = select_preconditioner(point) if preconditioner is None else preconditioner
        self.precondition = solver.factorise(point).solve
        if preconditioner is None:
            self._probe()
        self._examine()

    def solve(self, V):
        V = np.array(V, dtype=np.float64)
        # Residual, direction, product and solution: four arrays like a right-hand side,
        # beside the blocks that a product with H takes by itself.
        for some in row_blocks(V.shape[0], 64 * self.point.theta.size):
            V[some] = self._solve(V[some])
        return V

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
        diagonal = positive_diagonal(self.point)
        V = self._random(diagonal)
        _, size = self._iterate(V, self.tol)
        if size[0] > 1e-3:
            raise SingularHessianError(
                "The Hessian of the objective is not positive definite: drop linearly "
                "dependent features or add a penalty.",
                self._flattest(V, 1.0 / np.sqrt(diagonal)),
            )

    def _examine(self):
        """Doubt the solutions where H, scaled to unit diagonal, is nearly singular.

        H is never less than its penalty, which settles nearly every case. Elsewhere one
        solution tells: x = H^-1 v of a random v lies along the flattest directions.
        """
        objective = self.point.objective
        penalty, held = objective.penalty, objective.penalty > 0
        if self.tol > _DRIFT or objective.design.has_metric or not held.any():
            return
        diagonal = positive_diagonal(self.point)
        if np.min(penalty[held] / diagonal[held]) > _DOUBTFUL:
            return
        V = self._random(diagonal)
        x, _ = self._iterate(V, _ROUGH)
        smallest = np.sum(x * V) / np.sum(diagonal * x * x)
        if smallest < _DOUBTFUL:
            digits = int(12 + np.log10(max(smallest, 1e-12)))
            self.doubt = (
                "The Hessian is close to singular (smallest eigenvalue about "
                f"{smallest:.1e} after scaling to unit diagonal): about {digits} digits of "
                "parameters from conjugate gradients are right. Strengthen the penalty, "
                "centre the features, or use another hessian_solver."
            )

    def _random(self, diagonal):
        """Return a right-hand side (1, K, D), random in units where H has a unit diagonal."""
        V = np.random.default_rng(0).standard_normal((1, *self.point.theta.shape))
        V *= np.sqrt(diagonal)
        self._project(V)
        return V

    def _flattest(self, start, scale):
        """Return the direction in which H is smallest relative to its diagonal, (K, D)."""
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

    def rough_solve(self, V):
        return self._solve(np.array(V, dtype=np.float64), rough=True)

    def _solve(self, V, rough=False):
        """Return H^-1 V; V is overwritten."""
        objective = self.point.objective
        objective.remove_gauge(V)
        mean = 0.0
        if self.mean_penalty is not None:
            mean = V.mean(axis=1, keepdims=True)
            V -= mean
            held = self.mean_penalty > 0
            mean = np.divide(mean, self.mean_penalty, out=np.zeros_like(mean), where=held)
        if rough:
            x, _ = self._iterate(V, max(_ROUGH, self.tol))
        else:
            x, size = self._refine(V)
            self._warn_of(size.max(initial=0.0))
        x += mean
        return objective.remove_gauge(x)

    def _warn_of(self, size):
        """Warn where the largest relative residual is not as small as asked."""
        small = size <= max(self.tol, _NOTABLE)
        if small or self.doubt is not None:
            return
        self.doubt = (
            f"Conjugate gradients reached a relative residual of {size:.1e} instead of "
            f"{self.tol:.1e}. Scale the features, allow more than {self.max_iter} "
            "iterations, or use hessian_solver='cholesky' where its p x p Hessian fits into "
            "memory."
        )
        warn(self.doubt)

    def _refine(self, V):
        """Return (solution, relative size of the residual) for each row of V.

        Conjugate gradients again from the residual computed anew, until that is as small as
        asked or rounding keeps it from falling.
        """
        x, size = self._iterate(V, self.tol)
        if self.tol > _DRIFT:
            return x, size
        first, goal = self._squares(V), np.full(len(V), self.tol)
        residual, size = self._residual(V, x, first)
        for _ in range(_RESTARTS):
            left = np.flatnonzero(size > goal)
            if not len(left):
                break
            ratio = goal[left] / size[left]
            closer = x[left] + self._iterate(residual[left], ratio)[0]
            anew, smaller = self._residual(V[left], closer, first[left])
            fell = smaller < size[left]
            x[left[fell]], residual[left[fell]] = closer[fell], anew[fell]
            # What has not halved is at rounding.
            goal[left[smaller > 0.5 * size[left]]] = np.inf
            size[left[fell]] = smaller[fell]
        return x, size

    def _residual(self, V, x, first):
        """Return V - H x and its size relative to `first`, the square of that of V."""
        residual = self._project(V - self.point.hessian_product(x))
        return residual, _relative(self._squares(residual), first)

    def _squares(self, residual):
        """Return the squared sizes of residuals as the preconditioner measures them."""
        read = self.point.objective.design.readings(self._precondition(residual))
        return _row_dot(residual, read)

    def _iterate(self, V, tol):
        """Return (solution, relative size of the residual) for each row of V.

        `tol` is one number or one for each row; rows that are done leave. Residuals are
        gradients and pair with the readings of directions, which follow the recurrence of
        the directions themselves: one product with the metric an iteration.
        """
        readings = self.point.objective.design.readings
        x, size = np.zeros_like(V), np.zeros(len(V))
        residual, at = V.copy(), np.arange(len(V))
        p = self._precondition(residual)
        read = readings(p)
        rz = _row_dot(residual, read)
        first = rz.copy()
        goal = tol**2 * first
        for _ in range(self.max_iter):
            go = rz > goal[at]
            if not go.all():
                size[at] = _relative(rz, first[at])
                at, p, read, rz, residual = (a[go] for a in (at, p, read, rz, residual))
                if not len(at):
                    return x, size
            Hp = self.point.hessian_product(p, read)
            pHp = _row_dot(read, Hp)
            rising = pHp > 0  # what is left elsewhere is rounding
            goal[at[~rising]] = np.inf
            alpha = np.divide(rz, pHp, out=np.zeros_like(rz), where=rising)[:, None, None]
            x[at] += alpha * p
            residual -= alpha * Hp
            z = self._precondition(residual)
            read_z = readings(z)
            rz_next = _row_dot(residual, read_z)
            beta = (rz_next / rz)[:, None, None]
            rz = rz_next
            p = z + beta * p
            read = p if read_z is z else read_z + beta * read
        size[at] = _relative(rz, first[at])
        return x, size

    def _precondition(self, V):
        return self._project(self.precondition(V))

    def _project(self, V):
        """Take from V in place what does not iterate."""
        if self.mean_penalty is not None:
            V -= V.mean(axis=1, keepdims=True)
            return self.point.objective.freeze(V)
        return self.point.objective.remove_gauge(V)


def _mean_penalty(objective):
    """Return the penalty (D,) of the mean over the outputs where it is apart, or None."""
    penalty, free = objective.penalty, objective.free
    alike = np.all(penalty == penalty[0]) and free.all()
    return penalty[0] if alike and objective.formulation.loss.shift_invariant else None


def _relative(squared, first):
    """Return the size of residuals from their squares, relative to the first ones."""
    return np.sqrt(np.maximum(squared, 0.0) / np.where(first > 0, first, 1.0))


def _row_dot(a, b):
    return np.einsum("mkd,mkd->m", a, b)
