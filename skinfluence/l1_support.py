"""Objectives with an l1 penalty, or a lower bound of 0, on a fixed support.

The optimum of F + sum_d l_d |theta_d| has some parameters at 0. They stay there under small
data changes as long as |dF/dtheta_d| < l_d for each of them. For the other parameters
the penalty is linear, l_d sign_d theta_d, as long as they keep their signs. The objective is
therefore smooth in the free parameters, and all formulas for smooth objectives apply.

Parameters that may not be negative stay at 0 as long as -dF/dtheta_d < l_d, with or without a
penalty, because the gradient pushes them against the bound.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

# Largest distance from a bound, relative to it, of a gradient that counts as at the bound.
_EDGE = 1e-6


@dataclass(frozen=True, eq=False)
class L1Support:
    """The parameters that an l1 penalty or a bound leaves free, and their signs.

    Parameters
    ----------
    sign : ndarray of shape (K, D)
        Signs of the fitted parameters, or 0.
    strength : ndarray of shape (K, D)
        Factor on |theta| that does not depend on the weights, 0 without an l1 penalty.
    share : ndarray of shape (K, D)
        Factor on |theta| per unit of sample weight (mean form).
    bounded : ndarray of shape (K, D) or None, default=None
        Mask of the parameters that may not be negative; None if all may.
    held : ndarray of shape (K, D) or None, default=None
        Mask of the parameters that stay at their values, because the rows do not determine
        them; None if all are determined.
    """

    sign: np.ndarray
    strength: np.ndarray
    share: np.ndarray
    bounded: np.ndarray | None = None
    held: np.ndarray | None = None

    @cached_property
    def free(self):
        """Mask of the free parameters, (K, D) bool."""
        free = (self.sign != 0) | ~self.penalised
        return free if self.held is None else free & ~self.held

    @cached_property
    def penalised(self):
        """Mask of the parameters with an l1 penalty or a bound, (K, D) bool."""
        penalised = (self.strength > 0) | (self.share > 0)
        return penalised if self.bounded is None else penalised | self.bounded

    @classmethod
    def of(cls, support, shape):
        """Return a support, or for None the one that leaves all parameters (K, D) free."""
        if support is not None:
            return support
        zeros = np.zeros(shape)
        return cls(sign=zeros, strength=zeros, share=zeros)

    def holding(self, held):
        """Return this support with more parameters that stay at their values, (K, D) bool."""
        return replace(self, held=held if self.held is None else held | self.held)

    def total(self, weight_sum):
        """Return the factor on |theta| for a given sum of sample weights, (K, D)."""
        return self.strength + weight_sum * self.share

    def pull(self, gradient):
        """Return how much a gradient (K, D) of the smooth part pulls parameters off 0."""
        if self.bounded is None:
            return np.abs(gradient)
        return np.where(self.bounded, -gradient, np.abs(gradient))

    def slope(self, weight_sum):
        """Return the gradient of the linear penalty for a sum of sample weights, (K, D)."""
        return self.total(weight_sum) * self.sign

    def holds(self, theta, gradient, weight_sum):
        """Return whether an optimum over the free parameters is optimal over all parameters.

        Parameters
        ----------
        theta : ndarray of shape (K, D)
            Minimum of the objective with linear penalties on the free parameters, if the other
            parameters are 0. If another parameter is not 0, the support has changed.
        gradient : ndarray of shape (K, D)
            Gradient of the smooth part at theta. Only parameters fixed at 0 use it.
        weight_sum : float
            Sum of the sample weights.

        Returns
        -------
        bool
            Whether all signs are kept and no gradient exceeds the factor of the penalty, or
            pushes a parameter away from its bound.
        """
        fixed, moving = self.penalised & (self.sign == 0), self.penalised & self.free
        limit = (1 + 1e-9) * self.total(weight_sum)
        kept = np.sign(theta[moving]) == self.sign[moving]
        kept = kept.all() and not theta[fixed].any()
        return bool(kept and np.all(self.pull(gradient)[fixed] <= limit[fixed]))


def freeze_hessian(block, free):
    """Set the rows and columns of fixed parameters to those of the identity, in place."""
    frozen = np.flatnonzero(~free)
    block[frozen] = 0.0
    block[:, frozen] = 0.0
    block[frozen, frozen] = 1.0
    return block


def on_support_of(objective, theta):
    """Return the objective with the support and the signs of other parameters (K, D)."""
    form = objective.formulation
    support = form.l1_support
    support = replace(support, sign=np.sign(theta) * support.penalised)
    return replace(objective, formulation=replace(form, l1_support=support))


def is_optimum(objective, theta):
    """Return whether theta (K, D), optimal on its support, minimises the whole objective."""
    gradient = objective.gradients(theta[None])[0]
    return objective.formulation.l1_support.holds(theta, gradient, objective.weight_sum)


def other_side(objective, theta, edge=_EDGE):
    """Return the objective in which parameters at the edge of 0 are free, None without any.

    If the gradient of a parameter at 0 is exactly at its bound, more weight on a row moves
    the parameter and less weight does not, or the reverse. Its distance from the bound counts
    as 0 up to a share `edge` of the bound.
    """
    form = objective.formulation
    if not form.support_may_change:
        return None
    support, limit = form.l1_support, form.l1_support.total(objective.weight_sum)
    gradient = objective.gradients(theta[None])[0]
    fixed = support.penalised & ~support.free & (limit > 0)
    at_edge = fixed & (np.abs(support.pull(gradient) - limit) <= edge * limit)
    if not at_edge.any():
        return None
    support = replace(support, sign=np.where(at_edge, -np.sign(gradient), support.sign))
    return replace(objective, formulation=replace(form, l1_support=support))


def at_edge_of(objective, theta, edge=_EDGE):
    """Return the objective on the support of theta, with parameters at the edge of 0 free.

    It is the objective itself if no parameter may become free.
    """
    if not objective.formulation.support_may_change:
        return objective
    objective = on_support_of(objective, theta)
    freed = other_side(objective, theta, edge)
    return objective if freed is None else freed


def settle(objective, theta, refit):
    """Return (objective, theta) at the optimum over all parameters.

    Parameters
    ----------
    objective : Objective
        The objective, with the support from a fit.
    theta : ndarray of shape (K, D)
        Its optimum on that support.
    refit : callable
        Maps the objective to the parameters (p,) from a refit by scikit-learn.
    """
    if is_optimum(objective, theta):
        return objective, theta
    theta = objective.formulation.layout.from_public(refit(objective))
    objective = on_support_of(objective, theta)
    if not is_optimum(objective, theta):
        raise ValueError(
            "The new optimum has other zero coefficients or other signs, and scikit-learn's "
            "refit did not reach it. The model was left as it is. Scale the features or "
            "strengthen the penalty."
        )
    return objective, theta


def holds(state):
    """Return whether the nearby optimum has the same free parameters as the state."""
    objective = state.point.objective
    if not objective.formulation.support_may_change:
        return True
    return is_optimum(objective, state.point.theta + state.correction)
