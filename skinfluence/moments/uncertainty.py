"""How uncertain a moment model's parameters are, and how far samples move them.

There is no Hessian. The parameters' covariance is that of the infinitesimal jackknife,

    sum_A c_A c_A'      with      c_A = sum_(i in A) (w_i/S) I_up,params(z_i)

over single samples or groups A, or of the jackknife, with the change without A as c_A.
"""

import numpy as np

from skinfluence.blocks import row_blocks
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.problem.requests import NEW, Influence, Removal

__all__ = ["MomentUncertainty"]


class MomentUncertainty:
    """Covariances, and changes in units of standard errors."""

    def covariance(self, kind, groups, hessian_solver, n_jobs):
        if kind == "hessian":
            raise UnsupportedEstimatorError(
                f"kind='hessian' of {self.name}: its parameters are no optimum of an "
                "objective with a Hessian. Use 'infinitesimal_jackknife' or 'jackknife'."
            )
        groups = self.groups_for(groups)
        owner = groups.partition()
        if kind == "jackknife":
            moved = self.leave_out_params(Removal(groups, n_jobs=n_jobs)) - self.params
        else:
            moved = np.zeros((len(groups), len(self.params)))
            np.add.at(moved, owner, self._first_order_moves(n_jobs))
        return moved.T @ moved

    def dfbetas(self, groups=None, output=NEW, *, hessian_solver="auto", n_jobs=None):
        groups = self.groups_for(groups)
        error = np.linalg.norm(self._first_order_moves(n_jobs), axis=0)
        out = self.leave_out_params(Removal(groups, n_jobs=n_jobs), output)
        error[error == 0] = np.nan  # a parameter that does not move has no unit
        for rows in row_blocks(len(out), 4 * 8 * out.shape[1]):
            moved = self.params - out[rows]
            out[rows] = np.where(moved == 0, 0.0, moved / error)
        return out

    def _first_order_moves(self, n_jobs):
        """Return (w_i/S) I_up,params for each training row, (n, p)."""
        data = self.objective
        share = (data.sample_weight / data.weight_sum)[:, None]
        moved = self.influence_params(request=Influence(n_jobs=n_jobs))
        return np.where(share > 0, share * moved, 0.0)
