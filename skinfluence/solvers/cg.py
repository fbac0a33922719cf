"""H^-1 v by preconditioned conjugate gradients, using only products with H.

For models too wide for a Hessian, because nothing of order p x p is formed. All right-hand
sides in a block iterate together, so one iteration is one pass over the data.

A softmax has no curvature along a common shift of all outputs. If every output has the same
penalty, H separates the mean over the outputs from the deviations. The mean is divided by the
penalty, and only the deviations iterate. A preconditioner that treats each output separately
would otherwise give the mean the curvature of the deviations.

A preconditioner is a solver whose factor is cheaper than that of H. Results with it alone are
wrong, and the iteration corrects for the difference.

    DiagonalSolver        the diagonal of H
    BlockDiagonalSolver   one block of order D for each output of a coupled loss
"""

import warnings
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
from scipy.sparse.linalg import LinearOperator, lobpcg

from skinfluence.blocks import memory_budget, row_blocks
from skinfluence.exceptions import SingularHessianError, warn
from skinfluence.l1_support import freeze_hessian
from skinfluence.objective import Objective, Point
from skinfluence.solvers.base import Factor, HessianSolver, is_penalised
from skinfluence.solvers.cholesky import CholeskyFactor

# Rows drawn for each block, as a multiple of D. On 55,000 images with 784 pixels and ten
# classes, C = 1, blocks from four times as many rows as pixels take a twentieth of the time
# for exact blocks, and 42 iterations instead of 38.
_SKETCH = 4.0
# The residual in the recurrence drifts from the true residual by rounding. If the tolerance is
# below this share, the true residual is computed at the end.
_DRIFT = 1e-6
# Largest number of restarts from the true residual.
_RESTARTS = 3
# If rounding stops the residual below this size, no warning is needed.
_NOTABLE = 1e-9
# Relative residual of a rough solution.
_ROUGH = 1e-6
# A residual of 1e-12 leaves an error up to 1e-12 over the smallest eigenvalue of H, scaled to
# unit diagonal. Below this eigenvalue fewer than four digits are right. (60 x 100 Gaussian
# features, ridge with alpha = 1e-6: eigenvalue 1.6e-8, error 6e-5; with all means at 30: 2e-11
# and 1e-2.)
_DOUBTFUL = 1e-8
# The cost of a solve by conjugate gradients, in products with H. On 55,000 images with 784
# pixels and ten classes it took 42 products. A product with one vector ran at 20 GFLOP/s, a
# Gram matrix at 83.
_PRODUCTS, _SLOWER = 45, 4.0
# Factorising at this many operations takes half a second, so nothing can be saved below. With
# one query and ten classes, 4.7e10 operations (20,000 x 200) take 0.9 s and conjugate
# gradients 1.0 s; 7e10 (2,000 x 500) take 1.0 s and conjugate gradients 0.45 s.
_FEW_FLOPS = 5e10


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
    """Return the diagonal of H (K, D); raise an error if an entry is not positive."""
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
    """Cholesky factors of the K diagonal blocks of a coupled H, or of sketched blocks.

    Block k, of order D, is X~' diag(h_k) X~ plus the penalty; h_k is the rows' curvature in
    output k. From all rows the blocks take n K D^2 operations, and the whole of H takes
    (K + 1) / 2 times as many. A sketch draws `sketch` D rows for each block. Row i is drawn
    with a probability proportional to h_ik and weighted by the inverse probability, so the
    expected block is exact.

    Parameters
    ----------
    sketch : float or None, default=None
        Rows drawn for each block, as a multiple of D; None for all rows. A sketch needs a
        penalty on every coefficient, because otherwise the omitted rows may be essential.
    """

    sketch: float | None = None
    name: ClassVar[str] = "blocks"
    needs_convex: ClassVar[bool] = True

    def factorise(self, point):
        n_drawn = np.inf if self.sketch is None else self.sketch * point.theta.shape[1]
        return CholeskyFactor(point, partial(_diagonal_blocks, point, n_drawn))


def _diagonal_blocks(point, n_drawn, shift):
    """Yield each output's diagonal block of the Hessian, as `Point.hessian_blocks` does."""
    objective, curvature = point.objective, point.curvature_diagonal()
    for k, penalty in enumerate(objective.penalty):
        block = _sketched_gram(objective.design, curvature[:, k], n_drawn, shift)
        block[np.diag_indices_from(block)] += penalty
        yield np.array([k]), freeze_hessian(block, objective.free[k])


def _sketched_gram(design, weights, n_drawn, shift):
    """Return the Gram matrix with row weights (n,), from all rows or about n_drawn of them."""
    total = weights.sum()
    if n_drawn >= np.count_nonzero(weights) or not total > 0:
        return design.gram(weights[:, None], shift)[0]
    chance = np.minimum(1.0, n_drawn / total * weights)
    rows = np.flatnonzero(np.random.default_rng(0).random(len(weights)) < chance)
    return design.take(rows).gram((weights[rows] / chance[rows])[:, None], shift)[0]


def select_preconditioner(point):
    """Return the default preconditioner for conjugate gradients.

    These are the blocks if the loss is coupled and they fit into `working_memory`, otherwise
    the diagonal.
    """
    objective = point.objective
    if not has_blocks(objective):
        return DiagonalSolver()
    penalised = objective.penalty[:, : objective.design.n_features].all()
    return BlockDiagonalSolver(_SKETCH if penalised else None)


def has_blocks(objective):
    """Return whether `select_preconditioner` takes blocks."""
    K, D = objective.penalty.shape
    # Besides the factors there are the block that is being formed and its copy in LAPACK.
    return objective.coupled and memory_budget() >= 8 * (K + 2) * D**2


def _sketch_flops(objective):
    """Return the number of operations that sketched blocks take for a coupled loss."""
    K, D = objective.penalty.shape
    return K * D**2 * (min(objective.n_rows, _SKETCH * D) + D / 3)


@dataclass(frozen=True)
class ConjugateGradientSolver(HessianSolver):
    """Preconditioned conjugate gradients, checked against the true residual.

    Parameters
    ----------
    tol : float, default=1e-12
        Iteration stops when the preconditioned residual is this small relative to that of
        the right-hand side.
    max_iter : int or None, default=None
        Largest number of iterations; None for 20 p + 100.
    preconditioner : HessianSolver or None, default=None
        A solver for a matrix close to H, such as `WoodburySolver` for the rows with most
        curvature; None for the choice of `select_preconditioner`.
    """

    tol: float = 1e-12
    max_iter: int | None = None
    preconditioner: HessianSolver | None = None
    name: ClassVar[str] = "cg"
    needs_convex: ClassVar[bool] = True

    @property
    def by_rows(self) -> bool:  # type: ignore[override]
        """Whether the preconditioner needs only products between rows."""
        return self.preconditioner is not None and self.preconditioner.by_rows

    def factorise(self, point: Point) -> Factor:
        return ConjugateGradientFactor(point, self.tol, self.max_iter, self.preconditioner)

    def pays(self, objective: Objective, n_solves: int) -> bool:
        """Return whether a few solves cost less than a factor of H.

        Only if the preconditioner is known to be good for all features.

        Parameters
        ----------
        objective : Objective
            The objective whose Hessian is to be inverted.
        n_solves : int
            Number of right-hand sides.

        Returns
        -------
        bool
            False for a loss that is not shift invariant.
        """
        K, D = objective.penalty.shape
        n, design = objective.n_rows, objective.design
        if not (objective.formulation.loss.shift_invariant and design.is_dense):
            return False
        if not is_penalised(objective) or not has_blocks(objective):
            return False
        direct = n * D**2 * K * (K + 1) / 2 + (K * D) ** 3 / 3
        products = _SLOWER * _PRODUCTS * (n_solves + 1) * 4 * n * K * D
        return direct > _FEW_FLOPS and _sketch_flops(objective) + products < direct


class ConjugateGradientFactor(Factor):
    """A preconditioner for H at one point.

    Parameters
    ----------
    point : Point
        The point whose Hessian is applied.
    tol : float
        Relative residual to reach.
    max_iter : int or None
        Largest number of iterations.
    preconditioner : HessianSolver or None, default=None
        Solves for a matrix close to H; None for the choice of `select_preconditioner`.
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
        # Residual, direction, product and solution: four arrays as large as the right-hand
        # side, besides the blocks for a product with H.
        for block in row_blocks(V.shape[0], 64 * self.point.theta.size):
            V[block] = self._solve(V[block])
        return V

    def _probe(self):
        """Raise an error if H is singular.

        Conjugate gradients do not detect this on consistent right-hand sides. On a random
        one, the residual stops falling at its component in the null space. If only an
        intercept has no penalty, H is positive definite and no check is needed.
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
        """Set a doubt if H, scaled to unit diagonal, is nearly singular.

        H is never less than its penalty, which settles nearly every case. Otherwise one solve
        gives the answer: x = H^-1 v for a random v lies along the flattest directions.
        """
        objective = self.point.objective
        penalty, penalised = objective.penalty, objective.penalty > 0
        if self.tol > _DRIFT or objective.design.has_metric or not penalised.any():
            return
        diagonal = positive_diagonal(self.point)
        if np.min(penalty[penalised] / diagonal[penalised]) > _DOUBTFUL:
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
        """Return a random right-hand side (1, K, D), scaled so that H has a unit diagonal."""
        V = np.random.default_rng(0).standard_normal((1, *self.point.theta.shape))
        V *= np.sqrt(diagonal)
        self._project(V)
        return V

    def _flattest(self, start, scale):
        """Return the direction (K, D) along which H is smallest relative to its diagonal."""
        shape = scale.shape

        def scaled(columns):
            V = scale * columns.T.reshape(-1, *shape)
            return (scale * self.point.hessian_product(V)).reshape(len(V), -1).T

        size = scale.size
        operator = LinearOperator((size, size), scaled, matmat=scaled, dtype=np.float64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a rough direction suffices for the message
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
            penalised = self.mean_penalty > 0
            mean = np.divide(mean, self.mean_penalty, out=np.zeros_like(mean), where=penalised)
        if rough:
            x, _ = self._iterate(V, max(_ROUGH, self.tol))
        else:
            x, size = self._refine(V)
            self._warn_of(size.max(initial=0.0))
        x += mean
        return objective.remove_gauge(x)

    def _warn_of(self, size):
        """Warn if the largest relative residual is above the tolerance."""
        small = size <= max(self.tol, _NOTABLE)
        if small or self.doubt is not None:
            return
        self.doubt = (
            f"Conjugate gradients reached a relative residual of {size:.1e} instead of "
            f"{self.tol:.1e}. Scale the features, allow more than {self.max_iter} "
            "iterations, or use hessian_solver='cholesky' if its p x p Hessian fits into "
            "memory."
        )
        warn(self.doubt)

    def _refine(self, V):
        """Return (solution, relative size of the residual) for each row of V.

        Conjugate gradients restart from the true residual until it is below the tolerance or
        rounding stops it.
        """
        x, size = self._iterate(V, self.tol)
        if self.tol > _DRIFT:
            return x, size
        first, goal = self._squares(V), np.full(len(V), self.tol)
        residual, size = self._residual(V, x, first)
        for _ in range(_RESTARTS):
            unfinished = np.flatnonzero(size > goal)
            if not len(unfinished):
                break
            ratio = goal[unfinished] / size[unfinished]
            closer = x[unfinished] + self._iterate(residual[unfinished], ratio)[0]
            anew, smaller = self._residual(V[unfinished], closer, first[unfinished])
            fell = smaller < size[unfinished]
            x[unfinished[fell]], residual[unfinished[fell]] = closer[fell], anew[fell]
            # If a residual has not halved, it has reached rounding.
            goal[unfinished[smaller > 0.5 * size[unfinished]]] = np.inf
            size[unfinished[fell]] = smaller[fell]
        return x, size

    def _residual(self, V, x, first):
        """Return V - H x and its size relative to `first`, the squared size of V."""
        residual = self._project(V - self.point.hessian_product(x))
        return residual, _relative(self._squares(residual), first)

    def _squares(self, residual):
        """Return the squared sizes of residuals in the preconditioner's norm."""
        read = self.point.objective.design.readings(self._precondition(residual))
        return _row_dot(residual, read)

    def _iterate(self, V, tol):
        """Return (solution, relative size of the residual) for each row of V.

        `tol` is one number or one for each row. A row leaves the iteration when it is done.
        Residuals are gradients and are multiplied with the readings of directions. The
        readings follow the same recurrence as the directions, so an iteration takes one
        product with the metric.
        """
        readings = self.point.objective.design.readings
        x, size = np.zeros_like(V), np.zeros(len(V))
        residual, active = V.copy(), np.arange(len(V))
        p = self._precondition(residual)
        read = readings(p)
        rz = _row_dot(residual, read)
        first = rz.copy()
        goal = tol**2 * first
        for _ in range(self.max_iter):
            go = rz > goal[active]
            if not go.all():
                size[active] = _relative(rz, first[active])
                active, p, read, rz, residual = (
                    a[go] for a in (active, p, read, rz, residual)
                )
                if not len(active):
                    return x, size
            Hp = self.point.hessian_product(p, read)
            pHp = _row_dot(read, Hp)
            rising = pHp > 0  # otherwise only rounding is left
            goal[active[~rising]] = np.inf
            alpha = np.divide(rz, pHp, out=np.zeros_like(rz), where=rising)[:, None, None]
            x[active] += alpha * p
            residual -= alpha * Hp
            z = self._precondition(residual)
            read_z = readings(z)
            rz_next = _row_dot(residual, read_z)
            beta = (rz_next / rz)[:, None, None]
            rz = rz_next
            p = z + beta * p
            read = p if read_z is z else read_z + beta * read
        size[active] = _relative(rz, first[active])
        return x, size

    def _precondition(self, V):
        return self._project(self.precondition(V))

    def _project(self, V):
        """Remove from V, in place, the components that do not iterate."""
        if self.mean_penalty is not None:
            V -= V.mean(axis=1, keepdims=True)
            return self.point.objective.freeze(V)
        return self.point.objective.remove_gauge(V)


def _mean_penalty(objective):
    """Return the penalty (D,) of the mean over the outputs if H separates it, or None."""
    penalty, free = objective.penalty, objective.free
    alike = np.all(penalty == penalty[0]) and free.all()
    return penalty[0] if alike and objective.formulation.loss.shift_invariant else None


def _relative(squared, first):
    """Return the sizes of residuals, given squared, relative to the first ones."""
    return np.sqrt(np.maximum(squared, 0.0) / np.where(first > 0, first, 1.0))


def _row_dot(a, b):
    return np.einsum("mkd,mkd->m", a, b)
