"""(H + X_A' C X_A)^-1 for many small groups of rows A, from one factor of H.

A group's rows change the Hessian by a matrix of low rank: C = -W_A takes the rows out,
C = +t W_A puts weight on them. Woodbury's identity turns it into a system of the size of
the group,

    Z = H^-1 X_A',   M = X_A Z,   (H + X_A' C X_A)^-1 r = y - Z C (I + M C)^-1 X_A y,
    y = H^-1 r,

which is solved for a stack of groups at a time. Groups of unequal size are padded with
rows of zero curvature, which change nothing. One row is a group of one.
"""

import numpy as np

__all__ = ["GroupUpdate"]


class GroupUpdate:
    """A stack of b groups of a rows, each updating the same H by its own C.

    Parameters
    ----------
    solve : callable
        Maps right-hand sides (m, K, D) to H^-1 times them; rows of group j of the stack
        are contiguous in m, so that a solver may treat each group differently.
    x : ndarray of shape (b, a, D)
        Rows of each group.
    C : ndarray of shape (b, a, K) or (b, a, K, K)
        Change of curvature of each row; with one axis less where outputs do not interact.
    """

    def __init__(self, solve, x, C):
        self.x = x
        self.coupled = C.ndim == 4
        b, a, D = x.shape
        K = C.shape[2]
        if self.coupled:
            V = np.zeros((b, a, K, K, D))
            outputs = np.arange(K)
            V[:, :, outputs, outputs] = x[:, :, None]
            # (b, a K, K, D): row (i, k) of Z is H^-1 (e_k (x) x_i).
            self.Z = solve(V.reshape(b * a * K, K, D)).reshape(b, a * K, K, D)
            self.C = np.zeros((b, a, K, a, K))
            rows = np.arange(a)
            # Advanced indices around a slice come first: (a, b, K, K).
            self.C[:, rows, :, rows] = np.moveaxis(C, 1, 0)
            self.C = self.C.reshape(b, a * K, a * K)
            M = np.matmul(self.Z, x.transpose(0, 2, 1)[:, None])  # (b, a K, K, a)
            M = M.transpose(0, 3, 2, 1).reshape(b, a * K, a * K)
            self.inner = np.eye(a * K) + M @ self.C
            return
        V = np.broadcast_to(x[:, :, None], (b, a, K, D)).reshape(b * a, K, D)
        self.Z = solve(V).reshape(b, a, K, D).transpose(0, 2, 1, 3)
        self.C = C.transpose(0, 2, 1)
        M = np.matmul(self.Z, x.transpose(0, 2, 1)[:, None])
        self.inner = np.eye(a) + M * self.C[:, :, None]

    def of_rows(self, weights):
        """Return H^-1 sum_i weights_i (x) x_i of each group, from what is there.

        Parameters
        ----------
        weights : ndarray of shape (b, a, K)
            Factors of the rows, such as their gradients in the raw prediction.

        Returns
        -------
        ndarray of shape (b, K, D)
            Solutions.
        """
        b, a, K = weights.shape
        if self.coupled:
            flat = self.Z.reshape(b, a * K, -1)
            return np.matmul(weights.reshape(b, 1, a * K), flat).reshape(b, K, -1)
        return np.matmul(weights.transpose(0, 2, 1)[:, :, None], self.Z)[:, :, 0]

    def correct(self, Y):
        """Return (H + X' C X)^-1 R given Y = H^-1 R, both (b, K, D)."""
        b, K, D = Y.shape
        raw = np.matmul(self.x, Y.transpose(0, 2, 1))  # X_A y, (b, a, K)
        if self.coupled:
            raw = raw.reshape(b, -1, 1)
            weights = np.matmul(self.C, self._solve_inner(raw)).transpose(0, 2, 1)
            return Y - np.matmul(weights, self.Z.reshape(b, -1, K * D)).reshape(b, K, D)
        weights = self.C * self._solve_inner(raw.transpose(0, 2, 1)[..., None])[..., 0]
        return Y - np.matmul(weights[:, :, None], self.Z)[:, :, 0]

    def take(self, groups):
        """Return the update of some groups of the stack."""
        part = object.__new__(GroupUpdate)
        part.coupled = self.coupled
        for name in ("x", "Z", "C", "inner"):
            setattr(part, name, getattr(self, name)[groups])
        return part

    def _solve_inner(self, raw):
        """Return (I + M C)^-1 raw; inf or nan where a group takes all curvature away."""
        if self.inner.shape[-1] == 1:
            with np.errstate(divide="ignore", invalid="ignore"):
                return raw / self.inner
        try:
            return np.linalg.solve(self.inner, raw)
        except np.linalg.LinAlgError:
            # One singular group of the stack spoils the call for all of them.
            out = np.full(raw.shape, np.nan)
            for at in np.ndindex(self.inner.shape[:-2]):
                if np.linalg.matrix_rank(self.inner[at]) == self.inner.shape[-1]:
                    out[at] = np.linalg.solve(self.inner[at], raw[at])
            return out
