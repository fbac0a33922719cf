"""What an l1 penalty makes of an objective while its support holds.

The optimum of F + sum_d l_d |theta_d| has some parameters at 0, and stays there under small
changes of the data as long as |dF/dtheta_d| < l_d for each of them. The others see a penalty
that is linear, l_d sign_d theta_d, as long as they keep their signs. On the parameters that
are free the objective is smooth, and everything said about smooth objectives is true.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

__all__ = ["L1Support"]


@dataclass(frozen=True, eq=False)
class L1Support:
    """Which parameters an l1 penalty has left free, and on which side of 0.

    Parameters
    ----------
    sign : ndarray of shape (K, D)
        Signs of the fitted parameters, 0 where they are 0.
    strength : ndarray of shape (K, D)
        Factor of |theta| that does not depend on the weights, 0 where there is no l1
        penalty.
    share : ndarray of shape (K, D)
        Factor of |theta| per unit of sample weight (mean form).
    """

    sign: np.ndarray
    strength: np.ndarray
    share: np.ndarray

    @cached_property
    def free(self):
        """Parameters that move, (K, D) bool."""
        return (self.sign != 0) | ~self.penalised

    @cached_property
    def penalised(self):
        """Parameters with an l1 penalty, (K, D) bool."""
        return (self.strength > 0) | (self.share > 0)

    def total(self, weight_sum):
        """Return the factor of |theta| at a sum of sample weights, (K, D)."""
        return self.strength + weight_sum * self.share

    def freeze(self, V):
        """Set what does not move to zero in directions V (..., K, D), in place."""
        V[..., ~self.free] = 0.0
        return V

    def freeze_hessian(self, block, free):
        """Decouple the parameters of a block that do not move, in place."""
        frozen = np.flatnonzero(~free)
        block[frozen] = 0.0
        block[:, frozen] = 0.0
        block[frozen, frozen] = 1.0
        return block

    def holds(self, theta, gradient, weight_sum):
        """Return whether an optimum on the free parameters is one of all parameters.

        Parameters
        ----------
        theta : ndarray of shape (K, D)
            Minimum of the objective with linear penalties and the rest at 0; one with
            others than the free ones off 0 has another support.
        gradient : ndarray of shape (K, D)
            Gradient of the smooth part there; only where parameters are held at 0.
        weight_sum : float
            Sum of the sample weights.

        Returns
        -------
        bool
            Whether signs are kept, and no gradient beats the penalty that holds it.
        """
        held, moving = self.penalised & ~self.free, self.penalised & self.free
        limit = (1 + 1e-9) * self.total(weight_sum)
        kept = np.sign(theta[moving]) == self.sign[moving]
        kept = kept.all() and not theta[held].any()
        return bool(kept and np.all(np.abs(gradient[held]) <= limit[held]))
