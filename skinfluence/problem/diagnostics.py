"""Chapter D: case diagnostics and the uncertainty of the parameters."""

import numpy as np
from sklearn.utils import Bunch

from skinfluence import diagnostics, distributed, influence, removal
from skinfluence.blocks import row_blocks
from skinfluence.checks import check_option, prepare_out
from skinfluence.exceptions import warn
from skinfluence.groups import Groups
from skinfluence.products import add_gram, fill_lower
from skinfluence.solvers import get_solver

__all__ = ["DiagnosticsAnswers"]


KINDS = ("infinitesimal_jackknife", "jackknife", "hessian")


class DiagnosticsAnswers:
    """Case diagnostics and covariances, see `methods.diagnostics`."""

    def influence_summary(self, *, as_frame=False, hessian_solver="auto", n_jobs=None):
        self.refuse_dask("influence_summary")
        self.check_curved(lacks="leverage")
        state = self.influence_state(hessian_solver)
        measures = self.measure(state, hessian_solver, n_jobs)
        doubtful = measures.doubtful()
        if len(doubtful) and state.recession is None:
            rows = [np.array([i]) for i in doubtful]
            base, groups = self.start_removal(rows, None, "newton", hessian_solver)

            def refine(indices, _rows, theta):
                measures.refine_loss(doubtful[indices], theta)

            self.remove_groups(base, groups, "newton", refine, None, n_jobs, 0)
        columns = {
            "leverage": measures.leverage.sum(axis=1),
            "self_influence": influence.self_influence(
                state.point, state.factor, n_jobs=n_jobs
            ),
            "cooks_distance": measures.cooks_distance(),
            "dffits": measures.dffits(),
            "studentized_residual": measures.studentized_residual(),
            "leave_out_loss": measures.loss,
            "newton_decrement": measures.newton_decrement(),
        }
        if not as_frame:
            return Bunch(**columns)
        import pandas as pd

        return pd.DataFrame(columns, index=state.point.objective.index)

    def dfbetas(self, *, hessian_solver="auto", n_jobs=None, dtype=None, out=None):
        self.refuse_dask("dfbetas")
        state = self.influence_state(hessian_solver)
        layout = state.layout
        out = prepare_out(out, (state.point.objective.n_rows, layout.size), dtype)
        scale = diagnostics.inverse_diagonal(state.point, state.factor, n_jobs=n_jobs)
        scale = np.sqrt(layout.to_public(scale))

        def write(indices, d):
            # Coefficients that the penalty keeps at 0 do not move and have no standard error.
            moves = -layout.to_public(d)
            out[indices] = np.divide(moves, scale, out=np.zeros_like(moves), where=scale > 0)

        measures = self.measure(state, hessian_solver, n_jobs, write)
        deleted = np.sqrt(measures.deleted_dispersion)[:, :, None]
        for rows in row_blocks(len(out), 4 * 8 * layout.size):
            part = np.broadcast_to(deleted[rows], (*deleted[rows].shape[:2], layout.n_columns))
            part = layout.to_public(part)
            with np.errstate(divide="ignore", invalid="ignore"):
                out[rows] = np.where(part > 0, out[rows] / part, np.nan)
        out[:, self.lost_params] = np.nan
        return out

    def params_covariance(
        self,
        kind="infinitesimal_jackknife",
        groups=None,
        *,
        hessian_solver="auto",
        n_jobs=None,
    ):
        check_option("kind", kind, KINDS)
        self.refuse_dask(
            "params_covariance",
            groups,
            training=kind != "infinitesimal_jackknife" or groups is not None,
        )
        if kind == "hessian" and groups is not None:
            raise ValueError(
                "kind='hessian' takes the samples as independent and no groups: use "
                "'infinitesimal_jackknife' or 'jackknife'."
            )
        covariance = self.covariance(kind, groups, hessian_solver, n_jobs)
        lost = self.lost_params
        covariance[lost] = covariance[:, lost] = np.nan
        return covariance

    def covariance(self, kind, groups, hessian_solver, n_jobs):
        """Return `params_covariance`, even if there is no optimum."""
        if kind == "jackknife":
            return self.jackknife_covariance(groups, hessian_solver, n_jobs)
        state = self.influence_state(hessian_solver)
        if kind == "hessian":
            return self.hessian_covariance(state, n_jobs)
        if distributed.is_distributed(state.point):
            return distributed.sandwich(state.point, state.factor)
        groups = self.groups_for(groups)
        groups.partition()
        return diagnostics.sandwich(state.point, state.factor, groups, n_jobs=n_jobs)

    def measure(self, state, hessian_solver, n_jobs, write=None):
        """Return the `RemovalMeasures`; `write(indices, d)` gets each block's changes."""
        objective = state.point.objective
        solver = get_solver(hessian_solver, objective)
        base = removal.Base.at(state.point, state.factor, solver)
        leverage = diagnostics.leverages(state.point, state.factor, n_jobs=n_jobs)
        _check_dispersion(state.point, leverage, n_deleted=1)
        measures = diagnostics.RemovalMeasures(base, leverage)

        def emit(indices, _rows, theta):
            d = measures.add(indices, theta)
            if write is not None:
                write(indices, d)

        groups = Groups(objective.n_rows)
        self.remove_groups(base, groups, removal.ONE_STEP, emit, None, n_jobs, 0)
        perfect = np.flatnonzero((measures.deleted_dispersion == 0).any(axis=1))
        if perfect.size:
            warn(
                f"Without {perfect.size} of {objective.n_rows} sample(s) the others are "
                f"fitted with a dispersion of 0: {perfect[:5].tolist()}. What is in units of "
                "it is NaN."
            )
        return measures

    def hessian_covariance(self, state, n_jobs):
        """Return phi H^-1."""
        point, factor = state.point, state.factor
        layout = point.objective.formulation.layout
        covariance = np.empty((layout.size, layout.size))
        influence.write_solutions(
            factor, np.eye(layout.size), layout, covariance, n_jobs=n_jobs
        )
        if point.objective.formulation.loss.has_dispersion:
            leverage = diagnostics.leverages(point, factor, n_jobs=n_jobs)
            _check_dispersion(point, leverage)
            phi = diagnostics.dispersion(point, leverage)
            root = diagnostics.covariance_factor(phi, layout)
            covariance *= root[:, None] * root
        return covariance

    def jackknife_covariance(self, groups, hessian_solver, n_jobs):
        """Return sum d d' over the groups."""
        self.warn_of_misfit(self.state(hessian_solver, quiet=True))
        base, groups = self.start_removal(groups, None, "newton", hessian_solver)
        groups.partition()
        layout = base.point.objective.formulation.layout
        full = base.theta + base.correction
        covariance = np.zeros((layout.size, layout.size))

        def emit(_indices, _rows, theta):
            return np.ascontiguousarray(layout.to_public(theta - full))

        def add(change):
            add_gram(change, covariance)

        self.remove_groups(base, groups, "newton", emit, None, n_jobs, 0, reduce=add)
        return fill_lower(covariance)


def _check_dispersion(point, leverage, n_deleted=0):
    """Warn if no degree of freedom is left to estimate a dispersion."""
    if not point.objective.formulation.loss.has_dispersion:
        return
    if not diagnostics.degrees_of_freedom(point, leverage, n_deleted).all():
        left = diagnostics.degrees_of_freedom(point, leverage).min()
        warn(
            f"The fit leaves {left:.3g} degrees of freedom, the number of samples less the "
            "effective number of parameters: there is no dispersion to estimate, and what is "
            "in units of it is NaN. Strengthen the penalty or use fewer features.",
        )
