"""Case diagnostics and covariances of a pipeline's whole fit.

Without a sample, every step is fitted again, and the coefficients belong to other features.
The raw predictions f of the training samples remain comparable, so they replace the
coefficients in distances:

    distance      sum_k (f_k - f_(i)k)' W_k (f_k - f_(i)k)
    phi_(i)       sum of the others' chi-squares in the refit / (n - 1 - p)
    DFBETAS       (theta_j - theta_(i)j) / sqrt(phi_(i) (H^-1)_jj)

The distance is d'H d of a model without a penalty if the steps do not change. With the
influence I_i of a sample and the change d_i from the optimum with all samples to the one
without it, both through every step, the covariances of the parameters are

    infinitesimal jackknife    sum (w_i/S)^2 I_i I_i'
    jackknife                  sum d_i d_i'

Samples in a group are summed first, or leave together.
"""

import numpy as np

from skinfluence import diagnostics
from skinfluence.blocks import row_blocks
from skinfluence.exceptions import UnsupportedEstimatorError, warn
from skinfluence.groups import Cases
from skinfluence.problem.lazy import warn_of_perfect_fits
from skinfluence.problem.requests import NEW, Influence, Output, Removal
from skinfluence.whole.refits import warn_of_lost_features


class WholeDiagnostics:
    """Diagnostics with the signatures that estimators have."""

    def influence_summary(self, **options):
        return super().influence_summary(**options)

    def summarise_rows(self, hessian_solver, n_jobs):
        try:
            # This warns if the fit is far from its optimum.
            on_itself = self.self_influence(Influence(hessian_solver, n_jobs))
        except UnsupportedEstimatorError as error:
            on_itself = np.full(self.n_rows, np.nan)
            warn(f"influence_summary: self_influence is NaN. {error}")
        state = self.influence_state(hessian_solver, quiet=True)
        last = self.measure(state, hessian_solver, n_jobs)
        columns = last.columns(on_itself, n_jobs=n_jobs)
        whole = self.measure_whole(state, self.resolve(Removal(n_jobs=n_jobs)))
        return columns | {
            "cooks_distance": whole.cooks_distance(),
            "dffits": whole.signed_dffits(),
            "studentized_residual": last.residual(whole.deleted_dispersion),
            "leave_out_loss": whole.loss,
        }

    def summarise_groups(self, groups, hessian_solver, n_jobs):
        state = self.influence_state(hessian_solver)
        request = self.resolve(Removal(groups, n_jobs=n_jobs))
        measures, groups = self.measure_whole(state, request), request.groups
        return measures.columns(groups.sizes()), groups.labels

    def dfbetas(self, groups=None, output=NEW, *, hessian_solver="auto", n_jobs=None):
        self.check_curved(lacks="standard errors")
        request = self.resolve(Removal(groups, n_jobs=n_jobs))
        groups, state = request.groups, self.influence_state(hessian_solver)
        layout = state.layout
        out = output.prepare((len(groups), layout.size), self.like)
        # In single precision, differences between parameters would lose their digits.
        single = self.like is None and out.dtype != np.float64
        params = np.empty(out.shape) if single else out
        base = self.start_base("newton", hessian_solver)
        full = layout.to_public((base.theta + base.correction)[None])[0]
        scale = diagnostics.inverse_diagonal(state.point, state.factor, n_jobs=n_jobs)
        phi = None
        if state.point.objective.formulation.loss.has_dispersion:
            phi = self.measure_whole(state, request, params).deleted_dispersion
        else:
            self._params_without(request, Output(out=params))
        phi = np.ones((len(groups), len(scale))) if phi is None else phi
        for rows in row_blocks(len(out), 4 * 8 * layout.size):
            moves = full - params[rows]
            out[rows] = diagnostics.moves_in_errors(moves, scale, phi[rows], layout)
        out[:, self.lost_params] = np.nan
        return out

    def measure_whole(self, state, request, params=None):
        """Return the `PredictionMeasures` for a request from `resolve`.

        If `params` (G, p) is given, it receives the parameters without each group.
        """
        groups = request.groups
        leverage = diagnostics.leverages(state.point, state.factor, n_jobs=request.n_jobs)
        request = request.of(groups, hessian_solver=state.solver)
        scales = self.scaled_without(groups) is not None
        measure = self._measure_scaled if scales else self._measure_refits
        measures = measure(request, leverage, params)
        kind = "group(s)" if groups.members is not None else "sample(s)"
        names = range(len(groups)) if groups.labels is None else groups.labels
        warn_of_perfect_fits(measures.deleted_dispersion, kind, names)
        return measures

    def _measure_scaled(self, request, leverage, params):
        """Return the measures if the steps change only the penalty."""
        base, request = self.scaled.start_removal(request)
        groups = request.groups
        measures = PredictionMeasures(base, leverage, len(groups))
        layout = base.point.objective.formulation.layout

        def emit(indices, rows, theta):
            measures.add(indices, rows, theta)
            if params is not None:
                params[indices] = layout.to_public(theta)

        self.scaled.remove_groups(base, request, emit)
        if params is not None:
            self._rescale(params, groups)
        return measures

    def _measure_refits(self, request, leverage, params):
        """Return the measures from a refit without each group."""
        groups, base = request.groups, self.start_base("newton", request.hessian_solver)
        measures = PredictionMeasures(base, leverage, len(groups))
        X = self.data.X
        full = self.check_X(self.formulation, X).predict(measures.theta)

        has_dispersion, lacking = self.formulation.loss.has_dispersion, {}

        def read(group, refit):
            moved = None if params is None else self.matched(refit, groups.rows(group))
            return (
                refit.raw_predictions(X),
                refit.chi_squares() if has_dispersion else None,
                moved,
                None if params is None else self.lost_features(refit, moved),
            )

        def write(group, found):
            raw, chi_squares, moved, lost = found
            measures.add_refit(group, groups.rows(group), full, raw, chi_squares)
            if params is not None:
                params[group] = moved
            if lost is not None:
                lacking[group] = lost

        self.each(request, read, write, missing=params)
        n_outputs = self.parameters.layout(self.estimator).n_outputs
        warn_of_lost_features(Cases.of_groups(groups), lacking, n_outputs)
        return measures


class PredictionMeasures(diagnostics.GroupMeasures):
    """Measures from the raw predictions of all training samples without each group.

    Results are NaN for groups that are not added.

    Attributes
    ----------
    moved : ndarray of shape (n_groups, K)
        Change of the raw prediction of each group's first sample.
    """

    def __init__(self, base, leverage, n_groups):
        sums = diagnostics.DispersionSums.of(base.point, leverage)
        super().__init__(base, sums, n_groups, with_penalty=False)
        for values in (self.distance, self.deleted_dispersion, self.loss):
            values[...] = np.nan
        if not base.point.objective.formulation.loss.has_dispersion:
            self.deleted_dispersion[...] = 1.0
        self.moved = np.full(self.distance.shape, np.nan, like=base.point.like)

    def add(self, indices, rows, theta):
        d = super().add(indices, rows, theta)
        design = self.base.point.objective.design
        self.moved[indices] = design.take(rows[:, 0]).predict_each(d)
        return d

    def add_refit(self, group, rows, full, raw, chi_squares):
        """Add the refit without a group's rows.

        Its raw predictions `raw` and those of the fit `full` have shape (n, K), the sums of
        its samples' chi-squares (K,), if the loss has a dispersion.
        """
        objective = self.base.point.objective
        loss = objective.formulation.loss
        moved = raw - full
        bend = self.base.point.curvature_product(moved)
        self.distance[group] = np.sum(moved * bend, axis=0)
        self.moved[group] = moved[rows[0]]
        self.loss[group] = loss.loss(objective.target[rows], raw[rows]).mean()
        if loss.has_dispersion:
            counted = np.sum(objective.sample_weight[rows] > 0)
            self.add_dispersion([group], chi_squares[None], np.array([[counted]]))

    def signed_dffits(self):
        """Return DFFITS of single samples, (n_groups,); norms over several outputs."""
        size = self.dffits()
        single = self.base.point.objective.formulation.layout.n_predictions == 1
        return np.copysign(size, -self.moved[:, 0]) if single else size


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
