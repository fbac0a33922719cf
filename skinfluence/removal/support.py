"""Removal from a model with an l1 penalty, whose support may change."""

from dataclasses import dataclass, field, fields

import numpy as np

from skinfluence import l1_support
from skinfluence.removal.base import Base
from skinfluence.removal.stack import Stack

__all__ = ["SupportBase"]


@dataclass(frozen=True, eq=False)
class SupportBase(Base):
    """The start of removal on a support, which "newton" and "exact" may have to leave.

    They check the optimality conditions for each result. If these show that the support
    changes, scikit-learn refits the group.

    Parameters
    ----------
    refit : callable
        Maps an objective to the parameters (K, D) of scikit-learn's refit on it.
    changed : list
        Collects the objectives on which scikit-learn refitted the model.
    """

    refit: object = None
    changed: list = field(default_factory=list)

    @classmethod
    def of(cls, base, refit):
        """Return the same start as a base, plus a function that refits."""
        return cls(**{f.name: getattr(base, f.name) for f in fields(base)}, refit=refit)

    def remove(self, rows, method):
        """Return (theta, decrement, converged) for groups of rows (b, a), padded by -1.

        Without a group there may be no optimum on the support, because the linear penalty
        keeps pulling beyond 0.
        """
        theta, decrement, converged = super().remove(rows, method)
        if method in ("newton", "exact"):
            for j in np.flatnonzero(~(converged & self._hold(rows, theta))):
                self._refit(self.point.objective.without(rows[j][rows[j] >= 0]), theta[j])
                converged[j] = True
        return theta, decrement, converged

    def reweight(self, objectives, method):
        """Return (theta, converged) at other weights, see `Base.reweight`."""
        theta, converged = super().reweight(objectives, method)
        for j, objective in enumerate(objectives):
            if not (converged[j] and l1_support.is_optimum(objective, theta[j])):
                self._refit(objective, theta[j])
                converged[j] = True
        return theta, converged

    def _refit(self, objective, out):
        """Write scikit-learn's refit on an objective into out (K, D)."""
        out[...] = self.refit(objective)
        self.changed.append(objective)

    def _hold(self, rows, theta):
        """Return whether each optimum on the support satisfies all conditions, (b,) bool."""
        objective, stack = self.point.objective, Stack(self, rows)
        gradients = stack.gradients(theta)
        sums = objective.weight_sum - stack.t
        holds = objective.formulation.l1_support.holds
        return np.array([holds(*each) for each in zip(theta, gradients, sums, strict=True)])
