"""What a solver of H x = v promises.

A solver is a small immutable description (a name and options). `factorise` does the work
that is shared by all right-hand sides, once; the factor it returns then solves as many as
asked. H is symmetric and, off the gauge directions, positive definite: anything else is
refused with `SingularHessianError`.

The one primitive is v_a' H^-1 v_b. `solve` gives it for pairs, `quadratic` for one row
against itself, where half a solve is enough.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from skinfluence._typing import Floats, Indices
from skinfluence.exceptions import SingularHessianError
from skinfluence.gradients import GradientRows
from skinfluence.objective import Point

__all__ = ["DOUBTFUL", "Factor", "HessianSolver", "digits_left", "why_not_finite"]

#: Reciprocal condition number below which fewer than four digits of a solution are right.
DOUBTFUL = 1e4 * np.finfo(np.float64).eps


def digits_left(rcond: float) -> int:
    """Return about how many digits of a solution are right, its error being eps / rcond.

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
    """Return the message for a gradient or Hessian that is not finite, with its cause.

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
    return f"{start}rescale the features, or the weights, whose products overflow."


class Factor(ABC):
    """H at one point, ready to solve.

    Parameters
    ----------
    point : Point
        The point whose Hessian this is.

    Attributes
    ----------
    doubt : str or None
        What a user should be told about the accuracy of the solutions.
    rcond : float
        Reciprocal condition number of what was factorised: solutions have a relative error
        of about eps / rcond.
    """

    doubt = None
    rcond = 1.0

    def __init__(self, point: Point) -> None:
        if not np.all(np.isfinite(point.gradient)):
            raise SingularHessianError(why_not_finite(point))
        self.point = point

    @abstractmethod
    def solve(self, V: Floats) -> Floats:
        """Return H^-1 V, a new array; H^+ V where there are gauge directions.

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
        """Return H^-1 V to a few digits where that costs less.

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

    def without_rows(self) -> "Factor":
        """Return a factor to be sent where the training rows are not.

        Returns
        -------
        Factor
            With the same solutions; this one, rows and all, where solving needs them.
        """
        return self

    def solve_transposed(self, V: Floats) -> Floats:
        """Return what training rows read of H^-1 applied to functionals of parameters.

        ``rows @ solve_transposed(v)`` is the product v' H^-1 (rows). For features that is
        `solve`; designs with a metric M write rows as u, their gradients being M u, and
        H = M A: then `solve` is A^-1 and this A^-T, which no inverse of M is needed for.

        Parameters
        ----------
        V : ndarray of shape (m, K, D)
            Gradients of functionals in the parameters.

        Returns
        -------
        ndarray of shape (m, K, D)
            Readings, see `Design`.
        """
        return self.solve(V)

    def has_products(self, queries: GradientRows, rows: GradientRows) -> bool:
        """Return whether `products` of these takes no solution: less time and memory.

        Parameters
        ----------
        queries, rows : GradientRows
            What `products` would be given.

        Returns
        -------
        bool
            Whether it does.
        """
        return False

    def products(
        self, queries: GradientRows, rows: GradientRows, out: Floats | None = None
    ) -> Floats:
        """Return v_q' H^-1 v_j for every query and every training row.

        Parameters
        ----------
        queries : GradientRows
            The rows v_q, q of them.
        rows : GradientRows
            The rows v_j, of the training rows; gradients of other labels, say, will do.
        out : ndarray of shape (q, n), default=None
            Array to fill.

        Returns
        -------
        ndarray of shape (q, n)
            `out`, or a new array.
        """
        return rows.dot(self.solve_transposed(queries.toarray()), out=out)

    def query_bytes(self, queries: GradientRows, rows: GradientRows) -> int:
        """Return the bytes that one query takes in `products` beside its share of `out`.

        Parameters
        ----------
        queries, rows : GradientRows
            What `products` is given.

        Returns
        -------
        int
            Bytes of temporaries for each query.
        """
        # Its gradient, the solution and the copies the solver makes.
        return 6 * queries.row_bytes

    def removal(self, rows: Indices) -> tuple[Floats, Floats] | None:
        """Return what is left of the Hessian where groups of training rows leave.

        Solutions tell it too, as 1 less a leverage; but rows that hold nearly all of the
        curvature of a direction leave only rounding there.

        Parameters
        ----------
        rows : ndarray of shape (b, a)
            Rows of b groups, -1 where a group is shorter.

        Returns
        -------
        tuple of ndarrays, or None
            Z = H^-1 X_A', of shape (b, a, K, D), and I - M W, of shape (b, K, a, a) and NaN
            where solutions tell it as well; None for all of it.
        """
        return None

    def quadratic(self, V: Floats) -> Floats:
        """Return v' H^-1 v of each row of V.

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
        """Return M = X_A H^-1 X_A' within groups of rows of a coupled loss.

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
        V = np.zeros((b, a, K, K, D))
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
        Name that `hessian_solver` takes.
    by_rows : bool
        Whether it works with products of rows alone, as kernel models and losses whose
        kinks hold rows in place need it.
    needs_convex : bool
        Whether it takes a curvature of every row that is not negative for granted.
    by_sums : bool
        Whether it asks a point for sums over the rows alone, the centre and the blocks of
        H: all that is known of rows in dask arrays.
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
            Where the Hessian has no inverse.
        """
