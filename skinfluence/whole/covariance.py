"""The covariance of a pipeline's parameters, through its whole fit.

With the influence I of a sample and the change d without it, both through every step,

    infinitesimal jackknife    sum (w_i/S)^2 I_i I_i'
    jackknife                  sum d_i d_i'

d_i is the change from the optimum with all samples, also if the fit stopped before it.
Samples in a group are summed first, or leave together.
"""

import numpy as np

from skinfluence.problem.requests import Influence, Removal

__all__ = ["WholeCovariance"]


class WholeCovariance:
    """Covariances with the signature that estimators have."""

    def params_covariance(self, kind="infinitesimal_jackknife", groups=None, **options):
        return super().params_covariance(kind, groups, **options)

    def covariance(self, kind, groups, hessian_solver, n_jobs):
        if kind == "hessian":  # the model's own, which is that of its fixed features
            return super().covariance(kind, groups, hessian_solver, n_jobs)
        if kind == "jackknife":
            request = Removal(groups, hessian_solver=hessian_solver, n_jobs=n_jobs)
            request = self.resolve(request)
            request.groups.partition()
            moved = self._params_without(request) - self.optimum()
        else:
            groups = self.groups_for(groups)
            groups.partition()
            influence = self.influence_params(request=Influence(hessian_solver, n_jobs))
            members = [groups.rows(group) for group in range(len(groups))]
            moved = np.stack([self._summed(influence, rows) for rows in members])
        return moved.T @ moved
