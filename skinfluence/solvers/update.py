"""(H + X_A' C X_A)^-1 for many small groups of rows A, from one factor of H.

A group's rows change the Hessian by a matrix of low rank: C = -W_A takes the rows out,
C = +t W_A puts weight on them. Woodbury's identity turns it into a system of the size of
the group,

    Z = H^-1 X_A',   M = X_A Z,   (H + X_A' C X_A)^-1 r = y - Z C (I + M C)^-1 X_A y,
    y = H^-1 r,

which is solved for a stack of groups at a time. Groups of unequal size are padded with
rows of zero curvature, which change nothing. One row is a group of one.
"""

import copy

import numpy as np

from skinfluence.solvers.base import DOUBTFUL

__all__ = ["GroupUpdate"]

# The smallest eigenvalue of I + M C, 1 less the largest leverage of a group, is known to about
# eps / rcond of the Hessian. Where that leaves it fewer than four digits, there is no update;
# up to a leverage of 0.99, for beyond that the Hessian itself is in doubt.
_LEAST, _MOST = 1e-12, 1e-2


class GroupUpdate:
    """A stack of b groups of a rows, each updating the same H by its own C.

    Where outputs do not interact, Z is kept: one solve for a group and any number of steps.
    A coupled loss would need K solves for each row, so there M comes from the factor's
    `row_products` and every step takes a second solve instead.

    Parameters
    ----------
    factor : Factor
        H^-1.
    x : ndarray of shape (b, a, D)
        Rows of each group.
    C : ndarray of shape (b, a, K) or (b, a, K, K)
        Change of curvature of each row; with one axis less where outputs do not interact.
    rows : ndarray of shape (b, a) or None, default=None
        Which training rows these are, -1 where padded; None where they do not leave.
    solve : callable or None, default=None
        Takes the place of ``factor.solve``: maps right-hand sides (m, K, D), those of a
        group next to each other, to solutions that may differ between groups.
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
            self.C = np.zeros((b, a, K, a, K))
            rows = np.arange(a)
            # Advanced indices around a slice come first: (a, b, K, K).
            self.C[:, rows, :, rows] = np.moveaxis(C, 1, 0)
            self.C = self.C.reshape(b, a * K, a * K)
            self.system = np.eye(a * K) + factor.row_products(x) @ self.C
        else:
            known = None if rows is None else factor.removal(rows)
            if known is None:
                V = np.broadcast_to(x[:, :, None], (b, a, K, D)).reshape(b * a, K, D)
                Z = self.solve(V).reshape(b, a, K, D)
            else:
                Z, left = known
            self.Z = Z.transpose(0, 2, 1, 3)
            self.C = C.transpose(0, 2, 1)
            M = np.matmul(self.readings(self.Z), x.transpose(0, 2, 1)[:, None])
            self.system = np.eye(a) + M * self.C[:, :, None]
            if known is not None:
                self.system = np.where(np.isnan(left), self.system, left)
                self.least = np.finfo(np.float64).tiny
        self.inverse = _inverse(self.system, self.least)

    def of_rows(self, weights):
        """Return H^-1 sum_i weights_i (x) x_i of each group.

        Parameters
        ----------
        weights : ndarray of shape (b, a, K)
            Factors of the rows, such as their gradients in the raw prediction.

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
        """Return the largest entry of (I + M C)^-1 of each group, (b,).

        About 1 / (1 - the largest leverage): what a gradient loses to rounding in directions
        that few other rows hold comes back this much larger.
        """
        return np.abs(self.inverse).reshape(len(self.x), -1).max(axis=1)

    def is_definite(self):
        """Return for each group whether H + X' C X is positive definite, (b,) bool.

        Its eigenvalues relative to H are those of I + M C, and ones.
        """
        values = np.linalg.eigvals(self.system).real.min(axis=-1)
        return values.reshape(len(values), -1).min(axis=1) > self.least

    def release(self, theta, rows):
        """Bring coefficients of the groups' own rows to 0, in place, in theta (b, K, n + 1).

        For kernels, whose parameters belong to rows. Along Z no other row's condition
        changes: what the coefficient had said, the others say, instead of no one.

        Parameters
        ----------
        theta : ndarray of shape (b, K, D)
            Parameters without each group, which are right but for rounding.
        rows : ndarray of shape (b, a)
            The groups, -1 where padded.
        """
        real = rows >= 0
        at, pairs = np.where(real, rows, 0)[:, None], real[:, :, None] & real[:, None]
        own = np.where(
            pairs[:, None],
            np.take_along_axis(self.Z, at[:, :, None], axis=-1),
            np.eye(rows.shape[1]),
        )
        held = np.take_along_axis(theta, at, axis=-1) * real[:, None]
        moved = held[:, :, None] @ _inverse(own, np.finfo(np.float64).tiny)
        theta -= np.matmul(moved, self.Z)[:, :, 0]
        for line, one in zip(rows, theta, strict=True):
            one[:, line[line >= 0]] = 0.0

    def take(self, groups):
        """Return the update of some groups of the stack."""
        part = copy.copy(self)
        for name in ("x", "C", "system", "inverse", *(() if self.coupled else ("Z",))):
            setattr(part, name, getattr(self, name)[groups])
        return part


def _inverse(inner, least):
    """Return the inverses of I + M C, NaN for a group that leaves no curvature behind.

    The smallest eigenvalue is 1 less the largest leverage of the group. Below `least` what is
    left of the Hessian in that direction is rounding.
    """
    if inner.shape[-1] == 1:
        left = np.where(np.abs(inner) < least, np.nan, inner)
        return 1.0 / left
    try:
        inverse = np.linalg.inv(inner)
    except np.linalg.LinAlgError:
        # One singular group of the stack spoils the call for all of them.
        inverse = np.full(inner.shape, np.nan)
        for at in np.ndindex(inner.shape[:-2]):
            if np.linalg.matrix_rank(inner[at]) == inner.shape[-1]:
                inverse[at] = np.linalg.inv(inner[at])
    norms = [np.abs(matrix).sum(axis=-2).max(axis=-1) for matrix in (inner, inverse)]
    # Small as a whole is singular too: it is to be compared with the I of I + M C.
    inverse[np.maximum(norms[0], 1.0) * norms[1] * least > 1.0] = np.nan
    return inverse
