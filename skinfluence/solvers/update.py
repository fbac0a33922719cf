"""(H + X_A' C X_A)^-1 for many small groups of rows A, from one factor of H.

A group's rows change the Hessian by a low-rank matrix: C = -W_A removes the rows, C = +t W_A
adds weight to them. Woodbury's identity reduces the problem to a system as large as the group,

    Z = H^-1 X_A',   M = X_A Z,   (H + X_A' C X_A)^-1 r = y - Z C (I + M C)^-1 X_A y,
    y = H^-1 r,

which is solved for a stack of groups at a time. Shorter groups are padded with rows without
curvature, which change nothing. A single row is a group with one row.
"""

import copy

import numpy as np

from skinfluence.namespaces import to_host
from skinfluence.solvers.base import DOUBTFUL

# The smallest eigenvalue of I + M C is 1 minus the largest leverage in a group. It is accurate
# to about eps / rcond. If that leaves fewer than four digits, there is no update. The limit is
# a leverage of 0.99, because beyond it the Hessian itself is in doubt.
_LEAST, _MOST = 1e-12, 1e-2


class GroupUpdate:
    """A stack of b groups with a rows each; each group updates the same H by its own C.

    If outputs do not interact, Z is kept, so a group takes one solve for any number of steps.
    A coupled loss would need K solves for each row. There M comes from the factor's
    `row_products`, and every step takes a second solve instead.

    Parameters
    ----------
    factor : Factor
        H^-1.
    x : ndarray of shape (b, a, D)
        The groups' rows.
    C : ndarray of shape (b, a, K) or (b, a, K, K)
        Change of each row's curvature, with one axis fewer if outputs do not interact.
    rows : ndarray of shape (b, a) or None, default=None
        Training row indices, -1 for padding; None if the rows are not removed.
    solve : callable or None, default=None
        Replaces ``factor.solve``. It maps right-hand sides (m, K, D) to solutions, which may
        differ between groups. The sides for one group stand next to each other.
    """

    def __init__(self, factor, x, C, *, rows=None, solve=None):
        self.x = x
        self.coupled = C.ndim == 4
        self.least = np.clip(DOUBTFUL / factor.rcond, _LEAST, _MOST)
        self.solve = factor.solve if solve is None else solve
        self.readings = factor.point.objective.design.readings
        b, a, D = x.shape
        K = C.shape[2]
        if self.coupled:
            self.C = np.zeros((b, a, K, a, K), like=C)
            for row in range(a):
                self.C[:, row, :, row] = C[:, row]
            self.C = self.C.reshape(b, a * K, a * K)
            self.system = np.eye(a * K) + factor.row_products(x) @ self.C
        else:
            known = None if rows is None else factor.removal(rows)
            if known is None:
                V = np.broadcast_to(x[:, :, None], (b, a, K, D)).reshape(b * a, K, D)
                Z = self.solve(V).reshape(b, a, K, D)
            else:
                Z, remaining = known
            self.Z = Z.transpose(0, 2, 1, 3)
            self.C = C.transpose(0, 2, 1)
            M = np.matmul(self.readings(self.Z), x.transpose(0, 2, 1)[:, None])
            self.system = np.eye(a) + M * self.C[:, :, None]
            if known is not None:
                self.system = np.where(np.isnan(remaining), self.system, remaining)
                self.least = np.finfo(np.float64).tiny
        self.inverse = _inverse(self.system, self.least)

    def of_rows(self, weights):
        """Return H^-1 sum_i weights_i (x) x_i for each group.

        Parameters
        ----------
        weights : ndarray of shape (b, a, K)
            Factors for the rows, such as their gradients in the raw prediction.

        Returns
        -------
        ndarray of shape (b, K, D)
            Solutions.
        """
        weights = weights.transpose(0, 2, 1)
        if self.coupled:
            return self.solve(np.matmul(weights, self.x))
        return np.matmul(weights[:, :, None], self.Z)[:, :, 0]

    def correct(self, Y):
        """Return (H + X' C X)^-1 R given Y = H^-1 R, both (b, K, D)."""
        b, a, _ = self.x.shape
        raw = np.matmul(self.x, self.readings(Y).transpose(0, 2, 1))  # X_A y, (b, a, K)
        if self.coupled:
            weights = self.C @ (self.inverse @ raw.reshape(b, -1, 1))
            return Y - self.of_rows(weights.reshape(b, a, -1))
        weights = self.C * (self.inverse @ raw.transpose(0, 2, 1)[..., None])[..., 0]
        return Y - self.of_rows(weights.transpose(0, 2, 1))

    def amplification(self):
        """Return the largest entry of (I + M C)^-1 for each group, (b,).

        It is about 1 / (1 - largest leverage). If few other rows determine a direction, the
        rounding error that a gradient has along it grows by this factor.
        """
        return to_host(np.abs(self.inverse).reshape(len(self.x), -1).max(axis=1))

    def is_definite(self):
        """Return whether H + X' C X is positive definite for each group, (b,) bool.

        Its eigenvalues relative to H are those of I + M C, and ones.
        """
        values = np.linalg.eigvals(to_host(self.system)).real.min(axis=-1)
        return values.reshape(len(values), -1).min(axis=1) > self.least

    def release(self, theta, rows):
        """Set the coefficients of the groups' rows in theta (b, K, n + 1) to 0, in place.

        For kernels, whose parameters belong to rows. A step along Z leaves every other row's
        condition unchanged: the other rows' coefficients take over the contribution.

        Parameters
        ----------
        theta : ndarray of shape (b, K, D)
            Parameters without each group, accurate to rounding.
        rows : ndarray of shape (b, a)
            The groups, padded with -1.
        """
        real = rows >= 0
        columns, pairs = np.where(real, rows, 0)[:, None], real[:, :, None] & real[:, None]
        blocks = np.where(
            pairs[:, None],
            np.take_along_axis(self.Z, columns[:, :, None], axis=-1),
            np.eye(rows.shape[1]),
        )
        coefficients = np.take_along_axis(theta, columns, axis=-1) * real[:, None]
        moved = coefficients[:, :, None] @ _inverse(blocks, np.finfo(np.float64).tiny)
        theta -= np.matmul(moved, self.Z)[:, :, 0]
        for members, parameters in zip(rows, theta, strict=True):
            parameters[:, members[members >= 0]] = 0.0

    def take(self, groups):
        """Return the update for a subset of the groups in the stack."""
        part = copy.copy(self)
        for name in ("x", "C", "system", "inverse", *(() if self.coupled else ("Z",))):
            setattr(part, name, getattr(self, name)[groups])
        return part


def _inverse(inner, least):
    """Return the inverses of I + M C, NaN if a group leaves no curvature behind.

    The smallest eigenvalue is 1 minus the group's largest leverage. If it is less than
    `least`, the remaining curvature along that direction is only rounding.
    """
    if inner.shape[-1] == 1:
        regular = np.where(np.abs(inner) < least, np.nan, inner)
        return 1.0 / regular
    try:
        inverse = np.linalg.inv(inner)
    except np.linalg.LinAlgError:
        # If one group in the stack is singular, the call fails for all of them.
        inverse = np.full(inner.shape, np.nan, like=inner)
        for index in np.ndindex(inner.shape[:-2]):
            if np.linalg.matrix_rank(to_host(inner[index])) == inner.shape[-1]:
                inverse[index] = np.linalg.inv(inner[index])
    norms = [np.abs(matrix).sum(axis=-2).max(axis=-1) for matrix in (inner, inverse)]
    # A matrix whose entries are all small is singular too, because the scale is that of I.
    inverse[np.maximum(norms[0], 1.0) * norms[1] * least > 1.0] = np.nan
    return inverse
