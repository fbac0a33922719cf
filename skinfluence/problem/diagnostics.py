"""Chapter D: case diagnostics and the uncertainty of the parameters."""

import numpy as np

from skinfluence import diagnostics, distributed, influence, removal
from skinfluence.blocks import add_gram, fill_lower, row_blocks
from skinfluence.checks import import_pandas
from skinfluence.groups import Groups
from skinfluence.influence import covariance_factor, sandwich
from skinfluence.namespaces import to_host
from skinfluence.problem.lazy import LazyDiagnostics, check_dispersion, warn_of_perfect_fits
from skinfluence.problem.requests import NEW, Removal
from skinfluence.results import Result
from skinfluence.solvers import get_solver

_KINDS = ("infinitesimal_jackknife", "jackknife", "hessian")


def check_kind(kind):
    """Raise unless the value is a kind of covariance."""
    if kind not in _KINDS:
        raise ValueError(
            f"kind={kind!r} is not known: use 'hessian' for the standard errors of the model, "
            "'infinitesimal_jackknife' for robust ones (HC0, the sandwich) or 'jackknife' "
            "(HC3)."
        )


class DiagnosticsAnswers(LazyDiagnostics):
    """Case diagnostics and covariances, see `methods.diagnostics`."""

    def influence_summary(
        self, *, groups=None, as_frame=False, hessian_solver="auto", n_jobs=None
    ):
        if as_frame:
            self.refuse_dask("influence_summary with as_frame=True", groups)
        self.check_groups("influence_summary", groups)
        self.check_curved(lacks="leverage")
        if self.objective.is_distributed and groups is None:
            return Result(**self.lazy_summary(hessian_solver))
        pandas = import_pandas("as_frame=True") if as_frame else None
        if groups is None:
            columns = self.summarise_rows(hessian_solver, n_jobs)
            index = self.objective.index
        else:
            columns, index = self.summarise_groups(groups, hessian_solver, n_jobs)
        if not as_frame:
            return Result(**columns)
        columns = {name: to_host(column) for name, column in columns.items()}
        return pandas.DataFrame(columns, index=index)

    def check_groups(self, caller, groups):
        """Raise if groups are a dask array, unless the training samples are."""
        if not self.objective.is_distributed:
            self.refuse_dask(f"{caller} with groups", groups)

    def summarise_rows(self, hessian_solver, n_jobs):
        """Return the columns of `influence_summary` for single samples."""
        state = self.influence_state(hessian_solver)
        measures = self.measure(state, hessian_solver, n_jobs)
        self.refine_losses(measures, state, hessian_solver, n_jobs)
        on_itself = influence.self_influence(state.point, state.factor, n_jobs=n_jobs)
        return measures.columns(on_itself, n_jobs=n_jobs)

    def refine_losses(self, measures, state, hessian_solver, n_jobs):
        """Replace losses of rows for which a Newton step may not be accurate."""
        doubtful = measures.doubtful()
        if not len(doubtful) or state.recession is not None:
            return
        rows = Groups(len(measures.loss), list(doubtful[:, None]))
        request = Removal(rows, hessian_solver=hessian_solver, n_jobs=n_jobs)
        base, request = self.start_removal(request)

        def refine(indices, _rows, theta):
            measures.refine_loss(doubtful[indices], theta)

        self.remove_groups(base, request, refine)

    def summarise_groups(self, groups, hessian_solver, n_jobs):
        """Return the columns of `influence_summary` for groups, and their names."""
        state = self.influence_state(hessian_solver)
        measures, groups = self.measure_groups(state, groups, hessian_solver, n_jobs)
        return measures.columns(groups.sizes()), groups.labels

    def check_leverage(self):
        """Raise if the fit has no leverages."""
        self.check_curved(lacks="leverage")

    def effective_counts(self, caller, hessian_solver, n_jobs):
        """Return the number of samples with a weight, and the sum of the leverages."""
        self.refuse_dask(caller)
        self.check_leverage()
        state = self.influence_state(hessian_solver)
        leverage = diagnostics.leverages(state.point, state.factor, n_jobs=n_jobs)
        return int(np.sum(state.point.objective.sample_weight > 0)), float(leverage.sum())

    def check_squared_error(self, caller):
        """Raise unless the model is a regression of one target with squared error."""
        self.refuse_dask(caller)
        form = self.formulation
        if self.is_classifier or not form.loss.constant_curvature:
            raise ValueError(
                f"{caller} of {self.name}: its residuals have no t distribution, because "
                "they are not those of a regression with squared error. Use "
                "influence_summary and influence_cutoffs."
            )
        if form.layout.n_outputs > 1:
            raise ValueError(
                f"{caller} of {self.name} with {form.layout.n_outputs} targets: the "
                "studentized residuals are norms over them. Fit one target at a time."
            )

    def dfbetas(self, groups=None, output=NEW, *, hessian_solver="auto", n_jobs=None):
        self.check_curved(lacks="standard errors")
        self.check_groups("dfbetas", groups)
        state = self.influence_state(hessian_solver)
        layout = state.layout
        if state.point.objective.is_distributed and groups is None:
            return self.lazy_dfbetas(state, hessian_solver, output.lazy_dtype())
        out = output.prepare((len(self.groups_for(groups)), layout.size), self.like)
        scale = diagnostics.inverse_diagonal(state.point, state.factor, n_jobs=n_jobs)
        scale = np.sqrt(layout.to_public(scale))

        def write(indices, d):
            out[indices] = diagnostics.scaled_moves(d, scale, layout)

        if groups is None:
            measures = self.measure(state, hessian_solver, n_jobs, write)
        else:
            measures, _ = self.measure_groups(state, groups, hessian_solver, n_jobs, write)
        deleted = measures.deleted_dispersion
        for rows in row_blocks(len(out), 4 * 8 * layout.size):
            out[rows] = diagnostics.divide_by_deleted(out[rows], deleted[rows], layout)
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
        check_kind(kind)
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
        if kind == "hessian":
            self.check_curved(lacks="standard errors by the Hessian")
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
        if state.point.objective.is_distributed:
            return distributed.sandwich(self.lazy_base(state, hessian_solver))
        groups = self.groups_for(groups)
        groups.partition()
        return sandwich(state.point, state.factor, groups, n_jobs=n_jobs)

    def measure(self, state, hessian_solver, n_jobs, write=None):
        """Return the `RemovalMeasures`; `write(indices, d)` gets each block's changes."""
        objective = state.point.objective
        solver = get_solver(hessian_solver, objective)
        base = removal.Base.at(state.point, state.factor, solver)
        shares = diagnostics.curvature_shares(state.point, state.factor, n_jobs=n_jobs)
        sums = diagnostics.DispersionSums.of(state.point, shares[0])
        check_dispersion(state.point, sums, n_deleted=1)
        measures = diagnostics.RemovalMeasures(base, *shares, sums)

        def emit(indices, _rows, theta):
            d = measures.add(indices, theta)
            if write is not None:
                write(indices, d)

        groups = Groups(objective.n_rows)
        request = Removal(groups, method=removal.ONE_STEP, n_jobs=n_jobs)
        self.remove_groups(base, request, emit)
        warn_of_perfect_fits(measures.deleted_dispersion, "sample(s)", range(len(groups)))
        return measures

    def measure_groups(self, state, groups, hessian_solver, n_jobs, write=None):
        """Return (measures, groups); `write(indices, d)` gets each block's changes."""
        request = Removal(groups, hessian_solver=hessian_solver, n_jobs=n_jobs)
        base, request = self.start_removal(request)
        groups = request.groups
        lazy = base.point.objective.is_distributed
        if lazy:
            sums = distributed.dispersion_sums(base.point, base.plain_factor)
        else:
            leverage = diagnostics.leverages(state.point, state.factor, n_jobs=n_jobs)
            sums = diagnostics.DispersionSums.of(base.point, leverage)
        check_dispersion(base.point, sums)
        with_penalty = not self.is_whole
        measures = diagnostics.GroupMeasures(
            base, sums, len(groups), with_penalty=with_penalty
        )

        def emit(indices, rows, theta):
            d = measures.add(indices, rows, theta)
            if write is not None:
                write(indices, d)

        if lazy:
            theta = self.params_without(base, request)
            d = distributed.fill_group_measures(measures, groups.members, theta)
            if write is not None:
                write(np.arange(len(groups)), d)
        else:
            self.remove_groups(base, request, emit)
        names = range(len(groups)) if groups.labels is None else groups.labels
        warn_of_perfect_fits(measures.deleted_dispersion, "group(s)", names)
        return measures, groups

    def hessian_covariance(self, state, n_jobs):
        """Return phi H^-1."""
        point, factor = state.point, state.factor
        layout = point.objective.formulation.layout
        covariance = np.empty((layout.size, layout.size), like=self.like)
        influence.write_solutions(
            factor, np.eye(layout.size), layout, covariance, n_jobs=n_jobs
        )
        if point.objective.formulation.loss.has_dispersion:
            leverage = diagnostics.leverages(point, factor, n_jobs=n_jobs)
            check_dispersion(point, diagnostics.DispersionSums.of(point, leverage))
            phi = diagnostics.dispersion(point, leverage)
            root = covariance_factor(phi, layout)
            covariance *= root[:, None] * root
        return covariance

    def jackknife_covariance(self, groups, hessian_solver, n_jobs):
        """Return sum d d' over the groups."""
        self.warn_of_misfit(self.state(hessian_solver, quiet=True))
        request = Removal(groups, hessian_solver=hessian_solver, n_jobs=n_jobs)
        base, request = self.start_removal(request)
        request.groups.partition()
        layout = base.point.objective.formulation.layout
        full = base.theta + base.correction
        covariance = np.zeros((layout.size, layout.size), like=self.like)

        def emit(_indices, _rows, theta):
            change = layout.to_public(theta - full)
            return np.ascontiguousarray(change, like=base.point.like)

        def add(change):
            add_gram(change, covariance)

        self.remove_groups(base, request, emit, reduce=add)
        return fill_lower(covariance)
