"""Case diagnostics of a moment model, from the scores without each sample or group.

There is no Hessian, so the scores f of all training samples replace the parameters, as in a
pipeline whose steps learn:

    distance = sum_k (f_k - f_(A)k)' W_k (f_k - f_(A)k)

with the curvature W_k of sample k's weighted log loss. The dispersion of a log loss is 1.
"""

import numpy as np

from skinfluence.exceptions import UnsupportedEstimatorError, warn
from skinfluence.losses.base import softmax
from skinfluence.problem.requests import Influence, Removal


class MomentDiagnostics:
    """The measures of `influence_summary` that need no Hessian."""

    def check_curved(self, lacks="Newton step"):
        pass  # the measures here need no Newton step

    def check_leverage(self):
        raise UnsupportedEstimatorError(
            f"{self.name} has no leverages: its parameters are no optimum of an objective "
            "with a Hessian. Use influence_summary, self_influence or dfbetas."
        )

    def summarise_rows(self, hessian_solver, n_jobs):
        try:
            on_itself = self.self_influence(Influence(hessian_solver, n_jobs))
        except UnsupportedEstimatorError as error:  # through a step without a derivative
            on_itself = np.full(self.objective.n_rows, np.nan)
            warn(f"influence_summary: self_influence is NaN. {error}")
        request = self.resolve(Removal(n_jobs=n_jobs))
        return {"self_influence": on_itself, **self.measures_without(request)}

    def summarise_groups(self, groups, hessian_solver, n_jobs):
        request = self.resolve(Removal(groups, n_jobs=n_jobs))
        groups = request.groups
        return {"size": groups.sizes(), **self.measures_without(request)}, groups.labels

    def measures_without(self, request):
        """Return the measures (G,) by name, for a request from `resolve`."""
        groups, data, loss = request.groups, self.objective, self.formulation.loss
        full = self.predict_rows(data.design)
        p, top = softmax(full), full.argmax(axis=1)[:, None]
        seen = np.flatnonzero(data.sample_weight)
        dffits, left_out = np.full((2, len(groups)), np.nan)

        def write(group, raw):
            rows, moved = groups.rows(group), raw - full
            u = moved - np.take_along_axis(moved, top, axis=1)  # a common change has no effect
            u -= np.sum(p * u, axis=1, keepdims=True)
            spread = np.sum(p * u * u, axis=1)
            dffits[group] = np.sqrt(data.sample_weight[seen] @ spread[seen])
            if groups.members is None and p.shape[1] == 2:
                falls = moved[rows[0], 0] - moved[rows[0], 1]
                dffits[group] = np.copysign(dffits[group], falls)
            left_out[group] = loss.loss(data.target[rows], raw[rows]).mean()

        with np.errstate(invalid="ignore"):
            self.each_raw_without(request, write)
        return {
            "cooks_distance": dffits**2 / len(self.params),
            "dffits": dffits,
            "leave_out_loss": left_out,
        }

    def each_raw_without(self, request, write):
        """Call ``write(group, raw)`` with the training samples' scores without each group."""
        design = self.objective.design

        def emit(indices, _rows, theta):
            for group, one in zip(indices, theta, strict=True):
                write(group, design.predict(one))

        self.remove_groups(None, request, emit)
