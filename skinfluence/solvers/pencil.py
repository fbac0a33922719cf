"""(H - t P)^-1 for many t from one decomposition, for objectives in mean form.

In mean form the penalty grows with the weights. P is the share of the penalty that one unit of
weight owns. Without a row with weight t the Hessian loses t P besides the row's own curvature.
If B holds the eigenvectors of P v = mu H v, normalised so that B'HB = I and B'PB = diag(mu),

    (H - t P)^-1 = B diag(1 / (1 - t mu)) B'    for every t.
"""

import copy

import numpy as np
from scipy import linalg

from skinfluence.exceptions import SingularHessianError
from skinfluence.namespaces import to_host
from skinfluence.solvers.base import Factor

__all__ = ["PencilFactor"]


class PencilFactor(Factor):
    """Simultaneous diagonalisation of the Hessian blocks and the penalty's share.

    Parameters
    ----------
    point : Point
        The point whose Hessian is decomposed. Its outputs must not interact.
    """

    def __init__(self, point):
        super().__init__(point)
        # The share of a fixed parameter is not part of the problem.
        share = point.objective.formulation.penalty_share * point.objective.free
        self.blocks = []
        for outputs, block in point.hessian_blocks():
            upper = np.triu(block)
            H = upper + np.triu(block, 1).T
            scale = 1.0 / np.sqrt(H.diagonal())
            for k in outputs:
                penalty, scaled = share[k] * scale**2, H * scale[:, None] * scale
                mu, B = _pencil(np.diag(to_host(penalty)), to_host(scaled))
                mu, B = (np.asarray(part, like=point.like) for part in (mu, B))
                # The scaled H has a unit diagonal, and B B' is its inverse.
                self.rcond = min(self.rcond, 1.0 / (len(B) * np.sum(B**2)))
                self.blocks.append((k, mu, B * scale[:, None]))

    def without_rows(self):
        light = copy.copy(self)
        light.point = self.point.without_rows()
        return light

    def solve(self, V, t=0.0):
        """Return (H - t P)^-1 V.

        Parameters
        ----------
        V : ndarray of shape (m, K, D)
            Right-hand sides.
        t : float or ndarray of shape (m,), default=0.0
            Weight whose penalty share is removed, one for each right-hand side.

        Returns
        -------
        ndarray of shape (m, K, D)
            Solutions.
        """
        t = np.broadcast_to(t, V.shape[0])[:, None]
        out = np.empty_like(V)
        for k, mu, B in self.blocks:
            out[:, k] = ((V[:, k] @ B) / (1.0 - t * mu)) @ B.T
        return self.point.objective.freeze(out)

    def determinant(self, t):
        """Return det(H - t P) / det(H) for weights t (m,), one for each output, (m, K)."""
        out = np.empty((len(t), self.point.theta.shape[0]), like=self.point.like)
        for k, mu, _ in self.blocks:
            out[:, k] = np.prod(1.0 - t[:, None] * mu, axis=1)
        return out


def _pencil(P, H):
    """Return the eigenvalues and eigenvectors of P v = mu H v."""
    try:
        return linalg.eigh(P, H)
    except linalg.LinAlgError:
        smallest = linalg.eigvalsh(H)[0]
        raise SingularHessianError(
            "The Hessian is singular to working precision: in units in which its diagonal is "
            f"1 its smallest eigenvalue is {smallest:.2g}. Scale the features, drop or merge "
            "those that depend on each other, or strengthen the penalty."
        ) from None
