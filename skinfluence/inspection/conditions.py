"""Conditions on an optimum, and lower bounds for the number of removals that meet them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from skinfluence.inspection.removal_bounds import RemovalBound

# If rounding may be this large, there is no bound.
_DOUBTFUL = 1e-3


@dataclass(frozen=True, eq=False)
class Crossing:
    """The smallest of several linear functions has to pass a threshold.

    Parameters
    ----------
    parts : list of (float, ndarray of shape (K, D))
        Value of each function at the optimum for all rows, and its gradient.
    threshold : float
        The value to pass.
    direction : {-1.0, 1.0}
        Side of the threshold to reach.
    """

    parts: list
    threshold: float
    direction: float

    def least(self, bound, most):
        """Return the least k that may be enough, at most ``most + 1``."""
        if self.direction > 0:  # every part has to rise
            gaps = [(-V, self.threshold - value) for value, V in self.parts]
            return max(bound.least(V, self._passes(gap), most) for V, gap in gaps)
        least = most + 1  # one part has to fall
        for value, V in self.parts:
            least = min(least, bound.least(V, self._passes(value - self.threshold), least - 1))
        return least

    @staticmethod
    def _passes(gap):
        return lambda sizes, changes: (changes.fall >= gap) | (gap <= 0)

    def map(self, function):
        """Return this crossing with a function of the gradients."""
        return replace(self, parts=[(value, function(V)) for value, V in self.parts])


@dataclass(frozen=True, eq=False)
class Significance:
    """A parameter has to change whether it differs significantly from zero.

    Without S the variance of c'theta is phi_-S c'H_-S^-1 c, see `diagnostics`. Its last factor
    is at least c'H^-1 c exp(-R) and at most exp(R) times `Changes.variance`. For squared error
    without a penalty,

        phi (n - p) >= phi_-S (n - |S| - p) >= phi (n - p) - e_S'(I - P_SS)^-1 e_S

    Parameters
    ----------
    value : float
        The parameter c'theta.
    V : ndarray of shape (K, D)
        Its gradient c.
    level : float
        Level of the two-sided test.
    change : {"lost", "gained", "opposite"}
        Whether it has to lose or to gain significance, or to gain it with the opposite sign.
    variance : float
        c'H^-1 c.
    dispersion : (float, float) or None
        The sum phi (n - p) and the degrees of freedom n - p; None if phi is 1.
    """

    value: float
    V: np.ndarray
    level: float
    change: str
    variance: float
    dispersion: tuple | None

    def least(self, bound, most):
        """Return the least k that may be enough, at most ``most + 1``."""
        down = np.copysign(1.0, self.value) * self.V
        size = abs(self.value)
        if self.change == "lost":
            return bound.least(
                down, lambda k, changes: size - changes.fall <= self._largest(k, changes), most
            )
        least = bound.least(
            down, lambda k, changes: changes.fall - size >= self._smallest(changes), most
        )
        if self.change == "opposite":
            return least
        return bound.least(
            -down, lambda k, changes: changes.fall + size >= self._smallest(changes), least - 1
        )

    def _largest(self, sizes, changes):
        """Return the largest possible critical value for the parameter."""
        variance = changes.variance * changes.curving
        if self.dispersion is None:
            return stats.norm.isf(self.level / 2) * np.sqrt(variance)
        total, dof = self.dispersion
        dof = np.maximum(dof - sizes, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            critical = stats.t.isf(self.level / 2, dof) * np.sqrt(variance * total / dof)
        return np.where(dof > 0, critical, np.inf)

    def _smallest(self, changes):
        """Return the smallest possible critical value for the parameter."""
        variance = self.variance / changes.curving
        if self.dispersion is None:
            return stats.norm.isf(self.level / 2) * np.sqrt(variance)
        total, dof = self.dispersion
        remaining = np.maximum(total - changes.decrement, 0.0)
        return stats.t.isf(self.level / 2, dof) * np.sqrt(variance * remaining / dof)

    def map(self, function):
        """Return this condition with a function of the gradient."""
        return replace(self, V=function(self.V))


def least_removals(base, condition, most, *, is_paired, n_jobs=None):
    """Return a k such that no set of fewer than k rows meets a condition.

    Parameters
    ----------
    base : Base
        Optimum for all rows, of an objective for which `has_bound` is true.
    condition : Crossing or Significance
        The condition, which the optimum for all rows does not meet.
    most : int
        Largest set to consider.
    is_paired : bool
        Whether to compute the products of all pairs of rows, or to use leverages only.
    n_jobs : int or None, default=None
        Number of joblib threads.

    Returns
    -------
    int or None
        At most ``most + 1``. None if the Hessian is too close to singular.
    """
    if base.centred is not None:
        offset = base.point.objective.offset
        condition = condition.map(lambda V: _less_offset(V, offset))
        base = base.centred
    bound = RemovalBound(base, most, is_paired, n_jobs)
    return condition.least(bound, most) if bound.margin < _DOUBTFUL else None


def has_bound(objective):
    """Return whether the bounds hold for an objective."""
    form = objective.formulation
    return (
        form.loss.curvature_rate is not None
        and not form.loss.coupled
        and (form.penalty_share is None or not form.penalty_share.any())
        and form.l1_support is None
        and objective.scales is None
        and not objective.design.has_metric
    )


def _less_offset(V, offset):
    """Return the gradient of the same function in `Objective.to_centred` of theta."""
    return np.concatenate([V[:, :-1] - V[:, -1:] * offset, V[:, -1:]], axis=1)
