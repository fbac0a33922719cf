"""Removal from a model with an l1 penalty, whose support may change."""

from dataclasses import dataclass, field, fields

import numpy as np

from skinfluence.removal.base import Base
from skinfluence.removal.stack import Stack

__all__ = ["SupportBase"]


@dataclass(frozen=True, eq=False)
class SupportBase(Base):
    """The start of removal on a support, which "newton" and "exact" may have to leave.

    They ask the optimality conditions of every result whether the support holds, and let
    scikit-learn refit the groups for which it does not.

    Parameters
    ----------
    refit : callable
        Maps indices of rows to the parameters (K, D) of scikit-learn's refit without them.
    changed : list
        Filled with the rows of every group that scikit-learn refitted.
    """

    refit: object = None
    changed: list = field(default_factory=list)

    @classmethod
    def of(cls, base, refit):
        """Return the same start as a base, with a way to refit."""
        return cls(**{f.name: getattr(base, f.name) for f in fields(base)}, refit=refit)

    def remove(self, rows, method):
        """Return (theta, decrement, converged) of groups of rows (b, a), padded by -1.

        Without a group there may be no optimum on the support, because the linear penalty
        keeps pulling beyond 0.
        """
        theta, decrement, converged = super().remove(rows, method)
        if method in ("newton", "exact"):
            for j in np.flatnonzero(~(converged & self._hold(rows, theta))):
                leaving = rows[j][rows[j] >= 0]
                theta[j], converged[j] = self.refit(leaving), True
                self.changed.append(leaving)
        return theta, decrement, converged

    def _hold(self, rows, theta):
        """Return whether optima on the support, without rows each, are optima, (b,)."""
        objective, stack = self.point.objective, Stack(self, rows)
        gradients = stack.gradients(theta)
        sums = objective.weight_sum - stack.t
        holds = objective.formulation.l1_support.holds
        return np.array([holds(*each) for each in zip(theta, gradients, sums, strict=True)])
