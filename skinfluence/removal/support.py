"""Removal from a model with an l1 penalty, whose support may change."""

from dataclasses import dataclass, fields, replace

import numpy as np

from skinfluence import l1_support
from skinfluence.exceptions import SingularHessianError
from skinfluence.optimum import polish
from skinfluence.removal.base import Base
from skinfluence.removal.identified import EDGE, flat_directions
from skinfluence.removal.stack import Stack

# Rounds in which a support may change before scikit-learn refits, and the number of parameters
# up to which this is tried.
_ROUNDS, _FEW_PARAMETERS = 20, 500


@dataclass(frozen=True, eq=False)
class SupportBase(Base):
    """The start of removal on a support, which "newton" and "exact" may have to leave.

    They check the optimality conditions for each result. If these show that the support
    changes, scikit-learn refits the group.

    Parameters
    ----------
    refit : callable
        Maps an objective to the parameters (K, D) of scikit-learn's refit on it.
    """

    refit: object = None

    @classmethod
    def of(cls, base, refit):
        """Return the same start as a base, plus a function that refits."""
        known = {f.name: getattr(base, f.name) for f in fields(base)}
        return cls(**known | {"refit": refit})

    def remove(self, rows, method):
        """Return (theta, decrement, converged) for groups of rows (b, a), padded by -1.

        Without a group there may be no optimum on the support, because the linear penalty
        keeps pulling beyond 0.
        """
        theta, decrement, converged = super().remove(rows, method)
        if method in ("newton", "exact"):
            holds, at_edge = self._hold(rows, theta)
            holds &= converged
            for j in np.flatnonzero(~holds | at_edge):
                objective = self.point.objective.without(rows[j][rows[j] >= 0])
                if not holds[j]:
                    theta[j], converged[j] = self.refit(objective), True
                self._note(rows[j].tobytes(), objective, theta[j])
        return theta, decrement, converged

    def reweight(self, objectives, method):
        """Return (theta, converged) at other weights, see `Base.reweight`."""
        theta, converged = super().reweight(objectives, method)
        for j, objective in enumerate(objectives):
            if converged[j] and l1_support.is_optimum(objective, theta[j]):
                if l1_support.other_side(objective, theta[j], EDGE) is not None:
                    self._note(id(objective), objective, theta[j])
                continue
            found = self._follow(objective, theta[j] if converged[j] else self.theta)
            theta[j] = self.refit(objective) if found is None else found
            self._note(id(objective), objective, theta[j])
            converged[j] = True
        return theta, converged

    def _note(self, key, objective, theta):
        """Note the directions along which an optimum is one of many."""
        directions = flat_directions(objective, theta)
        if directions is not None:
            self.flat[key] = directions

    def _follow(self, objective, theta):
        """Return the optimum on another support, None if a few rounds do not find it.

        In each round parameters with a changed sign become 0, parameters that the gradient
        pulls off 0 become free, and Newton steps find the optimum on that support.

        Parameters
        ----------
        objective : Objective
            F at other weights, on the present support.
        theta : ndarray of shape (K, D)
            Its optimum on that support, or a point nearby.
        """
        form = objective.formulation
        has_l1 = bool(form.l1_support.total(objective.weight_sum).any())
        if theta.size > _FEW_PARAMETERS or (form.loss.constant_curvature and has_l1):
            return None  # coordinate descent on squared loss is faster
        for _ in range(_ROUNDS):
            support = objective.formulation.l1_support
            gradient = objective.gradients(theta[None])[0]
            kept = support.free & (np.sign(theta) == support.sign)
            strong = support.pull(gradient) > support.total(objective.weight_sum)
            enters = support.penalised & ~support.free & strong
            sign = np.where(kept, support.sign, np.where(enters, -np.sign(gradient), 0.0))
            theta = np.where(support.penalised & ~kept, 0.0, theta)
            support = replace(support, sign=sign * support.penalised)
            form = replace(objective.formulation, l1_support=support)
            objective = replace(objective, formulation=form)
            try:
                polished = polish(objective, theta, self.solver, tol=1e-11, max_iter=50)
            except SingularHessianError:
                return None
            if not polished.converged:
                return None
            theta = polished.theta
            if l1_support.is_optimum(objective, theta):
                return theta
        return None

    def _hold(self, rows, theta):
        """Return whether each optimum on the support satisfies all conditions, (b,) bool.

        The second mask tells whether a parameter is at the edge of 0.
        """
        objective, stack = self.point.objective, Stack(self, rows)
        gradients = stack.gradients(theta)
        sums, support = objective.weight_sum - stack.t, objective.formulation.l1_support
        found = []
        for one, gradient, weight_sum in zip(theta, gradients, sums, strict=True):
            fixed, limit = support.penalised & ~support.free, support.total(weight_sum)
            at_edge = np.abs(support.pull(gradient) - limit) <= EDGE * limit
            holds = support.holds(one, gradient, weight_sum)
            found.append((holds, (at_edge & fixed & (limit > 0)).any()))
        return np.array(found, dtype=bool).reshape(-1, 2).T
