"""Estimators with an l1 penalty: what holds as long as their support does."""

from dataclasses import dataclass, field, fields, replace

import numpy as np

from skinfluence import removal
from skinfluence.exceptions import UnsupportedEstimatorError, warn
from skinfluence.mixins.problem import ProblemMixin
from skinfluence.mixins.removal import RemovalMixin
from skinfluence.removal.stack import Stack

__all__ = ["L1SupportMixin"]


class L1SupportMixin(RemovalMixin, ProblemMixin):
    """What an l1 penalty adds; stands before `InfluenceEstimatorMixin`.

    Derivatives are those on the support: parameters at 0 stay there, and signs are kept.
    "newton" and "exact" removal ask the optimality conditions of every result whether both
    are true, and let scikit-learn refit the groups for which they are not.
    """

    def _removal(self, groups, cv, method, hessian_solver):
        base, groups = super()._removal(groups, cv, method, hessian_solver)
        if self._get_formulation().l1_support is not None:
            base = _SupportBase(
                **{f.name: getattr(base, f.name) for f in fields(base)},
                refit=self._refitted_theta,
            )
        return base, groups

    def _leave_out(self, base, groups, *arguments, **how):
        outcome = super()._leave_out(base, groups, *arguments, **how)
        changed = getattr(base, "changed", ())
        if changed and "exact" in arguments:
            warn(
                f"{len(changed)} of {len(groups)} group(s), a share of "
                f"{len(changed) / len(groups):.2g}, change which coefficients are zero, or "
                "their signs: scikit-learn refitted them.",
            )
        return outcome

    def _check_takes_dask(self, formulation):
        if formulation.l1_support is not None:
            raise UnsupportedEstimatorError(
                f"{type(self).__name__} with an l1 penalty takes no dask arrays: whether its "
                "zeros stay zeros is asked of rows in memory. Use a squared penalty, or call "
                "compute() on a part of the rows and pass that."
            )
        super()._check_takes_dask(formulation)

    def _settle(self, objective, theta):
        form = objective.formulation
        support = form.l1_support
        if support is None or self._is_optimum(objective, theta):
            return objective, theta
        theta = form.layout.from_public(self._refit_on(objective))
        support = replace(support, sign=np.sign(theta) * support.penalised)
        objective = replace(objective, formulation=replace(form, l1_support=support))
        if not self._is_optimum(objective, theta):
            raise ValueError(
                "At the new optimum other coefficients are zero, or have other signs, and "
                "scikit-learn's refit did not reach it: the model was left as it is. Scale "
                "the features, or strengthen the penalty."
            )
        return objective, theta

    def _support_holds(self, state):
        objective = state.point.objective
        if objective.formulation.l1_support is None:
            return True
        return self._is_optimum(objective, state.point.theta + state.correction)

    @staticmethod
    def _is_optimum(objective, theta):
        """Whether the optimum on a support is one of the whole objective."""
        gradient = objective.gradients(theta[None])[0]
        holds = objective.formulation.l1_support.holds
        return holds(theta, gradient, objective.weight_sum)

    def _check_bounded(self, objective):
        if objective.formulation.l1_support is not None:
            raise ValueError(
                "return_bound=True needs a penalty that is smooth, and this one has an l1 "
                "part: use method='exact' instead."
            )
        super()._check_bounded(objective)


@dataclass(frozen=True, eq=False)
class _SupportBase(removal.Base):
    """Where removal starts from a support, which "exact" may have to leave.

    Parameters
    ----------
    refit : callable
        Maps indices of rows to the parameters (K, D) of scikit-learn's refit without them.
    changed : list
        Filled with the rows of every group that was left to it.
    """

    refit: object = None
    changed: list = field(default_factory=list)

    def remove(self, rows, method):
        """Return (theta, decrement, converged) of groups of rows (b, a), padded by -1.

        Without a group there may be no optimum on the support at all: past 0 the penalty
        that keeps its slope pulls on.
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
        return np.array([holds(*one) for one in zip(theta, gradients, sums, strict=True)])
