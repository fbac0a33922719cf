"""What an l1 penalty or a lower bound of 0 makes of an objective while its support holds.

The optimum of F + sum_d l_d |theta_d| has some parameters at 0, and stays there under small
changes of the data as long as |dF/dtheta_d| < l_d for each of them. The others see a penalty
that is linear, l_d sign_d theta_d, as long as they keep their signs. On the parameters that
are free the objective is smooth, and everything said about smooth objectives is true.

Parameters that may not be negative stay at 0 as long as -dF/dtheta_d < l_d, with or without a
penalty: the gradient pushes them against the bound.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

__all__ = ["L1Support", "holds", "is_optimum", "may_change", "on_support_of", "settle"]


@dataclass(frozen=True, eq=False)
class L1Support:
    """Which parameters an l1 penalty or a bound has left free, and on which side of 0.

    Parameters
    ----------
    sign : ndarray of shape (K, D)
        Signs of the fitted parameters, 0 where they are 0.
    strength : ndarray of shape (K, D)
        Factor of |theta| that does not depend on the weights, 0 where there is no l1
        penalty.
    share : ndarray of shape (K, D)
        Factor of |theta| per unit of sample weight (mean form).
    bounded : ndarray of shape (K, D) or None, default=None
        Whether a parameter may not be negative; None if all may.
    """

    sign: np.ndarray
    strength: np.ndarray
    share: np.ndarray
    bounded: np.ndarray | None = None

    @cached_property
    def free(self):
        """Parameters that move, (K, D) bool."""
        return (self.sign != 0) | ~self.penalised

    @cached_property
    def penalised(self):
        """Parameters with an l1 penalty or a bound, (K, D) bool."""
        penalised = (self.strength > 0) | (self.share > 0)
        return penalised if self.bounded is None else penalised | self.bounded

    def total(self, weight_sum):
        """Return the factor of |theta| at a sum of sample weights, (K, D)."""
        return self.strength + weight_sum * self.share

    def pull(self, gradient):
        """Return how much a gradient (K, D) of the smooth part pulls parameters off 0."""
        if self.bounded is None:
            return np.abs(gradient)
        return np.where(self.bounded, -gradient, np.abs(gradient))

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
            Whether signs are kept, and no gradient beats the penalty or the bound that
            holds it.
        """
        held, moving = self.penalised & ~self.free, self.penalised & self.free
        limit = (1 + 1e-9) * self.total(weight_sum)
        kept = np.sign(theta[moving]) == self.sign[moving]
        kept = kept.all() and not theta[held].any()
        return bool(kept and np.all(self.pull(gradient)[held] <= limit[held]))


def may_change(formulation):
    """Return whether parameters that are held at 0 may become free.

    So it is for an l1 penalty or a bound. Those of a model with a scale are no parameters.
    """
    layout = formulation.layout
    return formulation.l1_support is not None and layout.n_predictions == layout.n_outputs


def on_support_of(objective, theta):
    """Return the objective with the support and the signs of other parameters (K, D)."""
    form = objective.formulation
    support = form.l1_support
    support = replace(support, sign=np.sign(theta) * support.penalised)
    return replace(objective, formulation=replace(form, l1_support=support))


def is_optimum(objective, theta):
    """Return whether the optimum theta (K, D) on a support is one of the whole objective."""
    gradient = objective.gradients(theta[None])[0]
    return objective.formulation.l1_support.holds(theta, gradient, objective.weight_sum)


def settle(objective, theta, refit):
    """Return (objective, theta) at the optimum of all parameters.

    Parameters
    ----------
    objective : Objective
        The objective, with the support of a fit.
    theta : ndarray of shape (K, D)
        Its optimum on that support.
    refit : callable
        Maps the objective to the parameters (p,) of scikit-learn's refit.
    """
    form = objective.formulation
    if not may_change(form) or is_optimum(objective, theta):
        return objective, theta
    theta = form.layout.from_public(refit(objective))
    objective = on_support_of(objective, theta)
    if not is_optimum(objective, theta):
        raise ValueError(
            "At the new optimum other coefficients are zero, or have other signs, and "
            "scikit-learn's refit did not reach it: the model was left as it is. Scale "
            "the features, or strengthen the penalty."
        )
    return objective, theta


def holds(state):
    """Return whether the optimum near a state has the free parameters of the state."""
    objective = state.point.objective
    if not may_change(objective.formulation):
        return True
    return is_optimum(objective, state.point.theta + state.correction)
