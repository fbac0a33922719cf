"""The interface that a solver of H x = v implements, and the choice of a solver.

A solver is a small immutable description: a name and options. Its method `factorise` does the
work that all right-hand sides share, once. The factor that it returns solves for any number of
right-hand sides. H is symmetric and, off the gauge directions, positive definite. If it is
not, the solver raises `SingularHessianError`.

The one primitive is v_a' H^-1 v_b. `solve` computes it for pairs, `quadratic` for one row with
itself, which needs only half a solve.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

from skinfluence._typing import Floats, Indices
from skinfluence.blocks import memory_budget
from skinfluence.checks import shown
from skinfluence.exceptions import SingularHessianError
from skinfluence.gradients import GradientRows
from skinfluence.objective import Objective, Point

#: Below this reciprocal condition number fewer than four digits of a solution are right.
DOUBTFUL = 1e4 * np.finfo(np.float64).eps


def digits_left(rcond: float) -> int:
    """Return how many digits of a solution are right, roughly, for an error of eps / rcond.

    Parameters
    ----------
    rcond : float
        Reciprocal condition number.

    Returns
    -------
    int
        Digits, 0 to 16.
    """
    return max(0, int(16 + np.log10(rcond))) if rcond > 0 else 0


def why_not_finite(point: Point) -> str:
    """Return the message for a gradient or Hessian that is not finite, and its cause.

    Parameters
    ----------
    point : Point
        Objective and parameters.

    Returns
    -------
    str
        The cause and the remedy.
    """
    form = point.objective.formulation
    start = "The Hessian of the objective is not finite: "
    if not np.all(np.isfinite(point.theta)):
        value = point.theta[~np.isfinite(point.theta)][0]
        return f"{start}a fitted parameter is {value}. Scale the features and fit again."
    if not point.objective.is_distributed:
        raw = point.raw_prediction
        outside = np.flatnonzero(np.any(raw <= form.loss.lower, axis=1))
        if len(outside):
            row = outside[0]
            return (
                f"{start}{len(outside)} of {len(raw)} predictions are outside the domain of "
                f"the loss, such as {raw[row].min():.3g} for training row {row}. With "
                f"link='identity' predictions must be above {form.loss.lower:g}. Fit with "
                "link='log', or with an intercept, which starts at the mean of y."
            )
        wrong = ~np.isfinite(point.rows.raw_gradient) | ~np.isfinite(raw)
        if wrong.any():
            row, k = np.argwhere(wrong)[0]
            return (
                f"{start}the loss of training row {row} overflows at its prediction of "
                f"{raw[row, k]:.3g}. Scale the features and fit again."
            )
    return f"{start}rescale the features or the weights, because their products overflow."


def is_penalised(objective: Objective) -> bool:
    """Return whether every coefficient has a penalty and is free to move.

    Parameters
    ----------
    objective : Objective
        The objective whose Hessian is to be inverted.

    Returns
    -------
    bool
        True if the penalty alone has an inverse in the coefficients.
    """
    free = objective.penalty[:, : objective.design.n_features] == 0
    return not free.any() and objective.formulation.l1_support is None


class Factor(ABC):
    """H at one point, ready to solve.

    Parameters
    ----------
    point : Point
        The point at which H is evaluated.

    Attributes
    ----------
    doubt : str or None
        A warning about the accuracy of the solutions, if one is due.
    rcond : float
        Reciprocal condition number of the factorised matrix: the relative error of a solution
        is about eps / rcond.
    """

    doubt = None
    rcond = 1.0

    def __init__(self, point: Point) -> None:
        if not np.all(np.isfinite(point.gradient)):
            raise SingularHessianError(why_not_finite(point))
        self.point = point

    @abstractmethod
    def solve(self, V: Floats) -> Floats:
        """Return H^-1 V as a new array; H^+ V if there are gauge directions.

        Parameters
        ----------
        V : ndarray of shape (m, K, D)
            Right-hand sides.

        Returns
        -------
        ndarray of shape (m, K, D)
            Solutions.
        """

    def rough_solve(self, V: Floats) -> Floats:
        """Return H^-1 V to a few digits if that is cheaper.

        Parameters
        ----------
        V : ndarray of shape (m, K, D)
            Right-hand sides.

        Returns
        -------
        ndarray of shape (m, K, D)
            Solutions.
        """
        return self.solve(V)

    def without_rows(self) -> Factor:
        """Return a factor that can be sent to a process without the training rows.

        Returns
        -------
        Factor
            It has the same solutions. It is this one, with its rows, if solving needs them.
        """
        return self

    def solve_transposed(self, V: Floats) -> Floats:
        """Return the values that rows are multiplied with for products v' H^-1 (rows).

        ``rows @ solve_transposed(v)`` is the product v' H^-1 (rows). For features this is
        `solve`. Designs with a metric M write rows as u, so gradients are M u and H = M A.
        Then `solve` applies A^-1 and this method A^-T, which needs no inverse of M.

        Parameters
        ----------
        V : ndarray of shape (m, K, D)
            Gradients of functionals with respect to the parameters.

        Returns
        -------
        ndarray of shape (m, K, D)
            Readings, see `Design`.
        """
        return self.solve(V)

    def has_products(self, queries: GradientRows, rows: GradientRows) -> bool:
        """Return whether `products` for these rows needs no solution, saving time and memory.

        Parameters
        ----------
        queries, rows : GradientRows
            The arguments that `products` would get.

        Returns
        -------
        bool
            True if it needs none.
        """
        return False

    def products(
        self, queries: GradientRows, rows: GradientRows, out: Floats | None = None
    ) -> Floats:
        """Return v_q' H^-1 v_j for every query and every training row.

        Parameters
        ----------
        queries : GradientRows
            The q rows v_q.
        rows : GradientRows
            The rows v_j of the training data; other gradients, such as those for other
            labels, are allowed.
        out : ndarray of shape (q, n), default=None
            Array to fill.

        Returns
        -------
        ndarray of shape (q, n)
            `out`, or a new array.
        """
        return rows.dot(self.solve_transposed(queries.toarray()), out=out)

    def query_bytes(self, queries: GradientRows, rows: GradientRows) -> int:
        """Return the bytes that `products` needs for one query, besides its share of `out`.

        Parameters
        ----------
        queries, rows : GradientRows
            The arguments of `products`.

        Returns
        -------
        int
            Temporary bytes for each query.
        """
        # The query's gradient, its solution and the copies that the solver makes.
        return 6 * queries.row_bytes

    def removal(self, rows: Indices) -> tuple[Floats, Floats] | None:
        """Return the share I - M W of the Hessian that remains without groups of rows.

        It also follows from the solutions, as 1 minus a leverage. But if the rows own nearly
        all the curvature along a direction, that difference is only rounding.

        Parameters
        ----------
        rows : ndarray of shape (b, a)
            Rows of b groups, -1 if a group is shorter.

        Returns
        -------
        tuple of ndarrays, or None
            Z = H^-1 X_A' with shape (b, a, K, D), and I - M W with shape (b, K, a, a). NaN
            if the solutions give the entry as accurately; None if they give all of them.
        """
        return None

    def quadratic(self, V: Floats) -> Floats:
        """Return v' H^-1 v for each row v of V.

        Parameters
        ----------
        V : ndarray of shape (m, K, D)
            Rows v.

        Returns
        -------
        ndarray of shape (m,)
            Never negative.
        """
        readings = self.point.objective.design.readings(self.solve(V))
        return np.maximum(0.0, np.einsum("mkd,mkd->m", V, readings))

    def row_products(self, x: Floats) -> Floats:
        """Return M = X_A H^-1 X_A' within groups of rows, for a coupled loss.

        Parameters
        ----------
        x : ndarray of shape (b, a, D)
            Rows of b groups.

        Returns
        -------
        ndarray of shape (b, a K, a K)
            Entry (i k, j l) of a group is x~_i' (H^-1)_kl x~_j.
        """
        b, a, D = x.shape
        K = self.point.theta.shape[0]
        V = np.zeros((b, a, K, K, D), like=x)
        V[:, :, np.arange(K), np.arange(K)] = x[:, :, None]
        Z = self.solve(V.reshape(b * a * K, K, D)).reshape(b, a * K, K, D)
        Z = self.point.objective.design.readings(Z)
        M = np.matmul(Z, x.transpose(0, 2, 1)[:, None])  # (b, a K, K, a)
        return M.transpose(0, 3, 2, 1).reshape(b, a * K, a * K)


class HessianSolver(ABC):
    """A way to apply H^-1.

    Attributes
    ----------
    name : str
        The value of `hessian_solver` that selects it.
    by_rows : bool
        Whether it needs only products between rows. Kernel models and losses whose kinks fix
        predictions require this.
    needs_convex : bool
        Whether it assumes that no row has negative curvature.
    by_sums : bool
        Whether it needs only sums over the rows: the centre and the blocks of H. Nothing else
        is available for rows in dask arrays.
    """

    name: ClassVar[str]
    by_rows: ClassVar[bool] = False
    needs_convex: ClassVar[bool] = False
    by_sums: ClassVar[bool] = False

    @abstractmethod
    def factorise(self, point: Point) -> Factor:
        """Return the Hessian at a point, ready to solve.

        Parameters
        ----------
        point : Point
            Objective and parameters.

        Returns
        -------
        Factor
            Solves for any number of right-hand sides.

        Raises
        ------
        SingularHessianError
            If the Hessian has no inverse.
        """


#: Every registered solver by name; `solvers/__init__.py` registers them. Tests run over it.
SOLVERS: dict[str, Any] = {}


def select_solver(objective: Objective, n_solves: int | None = None) -> HessianSolver:
    """Return the solver that "auto" takes for an objective, see the package docstring.

    Parameters
    ----------
    objective : Objective
        The objective whose Hessian is to be inverted.
    n_solves : int or None, default=None
        Number of right-hand sides; None for as many as there are rows, or more later.

    Returns
    -------
    HessianSolver
        One of the registered solvers.
    """
    if _needs_rows(objective):
        return SOLVERS["woodbury"]
    if objective.is_distributed or not objective.formulation.loss.convex:
        return SOLVERS["cholesky"]
    K, D = objective.penalty.shape
    outputs = K if objective.coupled else 1  # that share one block of H
    rows, order = objective.n_rows * outputs, D * outputs
    fits = 16 * rows**2 <= memory_budget()
    if is_penalised(objective) and rows < order and fits:
        return SOLVERS["woodbury"]
    few = n_solves is not None and objective.formulation.loss.shift_invariant
    if few and SOLVERS["cg"].pays(objective, n_solves):
        return SOLVERS["cg"]
    hessian_bytes = 8 * ((K * D) ** 2 if objective.coupled else K * D**2)
    if 2 * hessian_bytes <= memory_budget():  # each Gram block is added to H in memory
        return SOLVERS["cholesky"]
    return SOLVERS["cg"]


def get_solver(
    hessian_solver: str | HessianSolver, objective: Objective, n_solves: int | None = None
) -> HessianSolver:
    """Return the solver for the value of a `hessian_solver` keyword.

    Parameters
    ----------
    hessian_solver : str or HessianSolver
        "auto", a registered name, or an instance.
    objective : Objective
        The objective that "auto" decides for.
    n_solves : int or None, default=None
        Number of right-hand sides, see `select_solver`.

    Returns
    -------
    HessianSolver
        The solver.
    """
    solver = hessian_solver
    if isinstance(solver, str) and solver == "auto":
        return select_solver(objective, n_solves)
    if isinstance(solver, str) and solver in SOLVERS:
        solver = SOLVERS[solver]
    if isinstance(solver, HessianSolver):
        if _needs_rows(objective) and not solver.by_rows:
            raise ValueError(
                f"hessian_solver={shown(hessian_solver)} needs a Hessian in feature "
                "coefficients, which kernel models and piecewise linear losses do not have: "
                "use 'auto' or 'woodbury'."
            )
        if solver.needs_convex and not objective.formulation.loss.convex:
            raise ValueError(
                f"hessian_solver={shown(hessian_solver)} is for convex losses: use "
                "'cholesky', which checks whether the Hessian is positive definite."
            )
        if objective.is_distributed and not solver.by_sums:
            raise ValueError(
                f"hessian_solver={shown(hessian_solver)} needs the training rows, which are "
                "in a dask array: use 'auto' or 'cholesky', or compute() the rows."
            )
        return solver
    names = ", ".join(repr(name) for name in ("auto", *SOLVERS))
    raise ValueError(
        f"hessian_solver={shown(hessian_solver)} is not known: use one of {names}, or an "
        "instance of skinfluence.solvers.HessianSolver."
    )


def _needs_rows(objective):
    """Return whether H^-1 must be applied without a Hessian of the features."""
    return objective.design.has_metric or objective.formulation.loss.is_piecewise_linear
