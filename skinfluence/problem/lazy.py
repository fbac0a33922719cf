"""Models without rows that are in dask arrays: lazy results, one value for each row."""

import numpy as np

from skinfluence import diagnostics, distributed, removal
from skinfluence.exceptions import UnsupportedEstimatorError, warn
from skinfluence.groups import Groups
from skinfluence.problem.metrics import respond_to
from skinfluence.problem.requests import Removal
from skinfluence.solvers import get_solver


class LazyRemoval:
    """Leave-one-out and group removal for rows in dask arrays, see `distributed.removal`."""

    def rows_removed(self, base, request):
        """Return the `RowRemoval`; rows that take passes are solved here, with warnings."""

        def solve(rows, method):
            groups = Groups(base.point.objective.n_rows, list(rows[:, None]))
            return self.params_without(base, request.of(groups, method=method, refine=None))

        return distributed.RowRemoval.of(base, request.method, request.refine, solve)

    def params_without(self, base, request):
        """Return the parameters without each group, (G, K, D), in memory."""
        out = np.empty((len(request.groups), *base.theta.shape))

        def emit(indices, _rows, theta):
            out[indices] = theta

        self.remove_groups(base, request, emit, recover=True)
        return out

    def lazy_losses(self, X, y, request, output):
        """Return `leave_out_loss`, lazy unless groups leave and the queries are in memory."""
        base, request = self.start_removal(request)
        groups = request.groups
        form = base.point.objective.formulation
        is_lazy = distributed.is_dask(X, y)
        if is_lazy:
            query = self.dask_queries(form, X, y, self.theta)
        else:
            query = self.check_samples(form, X, y)
        if groups.members is None:
            rows = self.rows_removed(base, request)
            return rows.losses(query, output.lazy_dtype())
        theta = self.params_without(base, request)
        if is_lazy:
            return distributed.losses_without(query, theta, output.lazy_dtype())
        found = output.prepare((query[0].n_rows, len(groups)))
        removal.losses_into(found, slice(0, len(groups)), form.loss, *query, theta)
        return found

    def lazy_raw_without(self, request):
        """Return `raw_without` as a dask array, and the rows without a model."""
        base, request = self.start_removal(request)
        if request.groups.members is None:
            found = self.rows_removed(base, request)
            rows, theta = np.asarray(found.rows), found.theta
            known = np.ones(len(rows), dtype=bool)
            if theta is not None:
                known = np.isfinite(theta).all(axis=(1, 2))
            return found.raw(), rows[~known]
        owner = request.groups.partition()
        theta = self.params_without(base, request)
        lost = ~np.isfinite(theta).all(axis=(1, 2))
        raw = distributed.raw_without(base.point, owner, theta)
        return raw, np.flatnonzero(lost[owner])

    def lazy_scores(self, metric, X, request):
        """Return `leave_out_metric` for single rows: a dask array (n,), or a dict of them."""
        base = self.start_base(request.method, request.hessian_solver)
        design = self.check_X(base.point.objective.formulation, X)
        rows = self.rows_removed(base, request)
        metric = metric.with_problem(self.on(None))  # without the data
        columns = dict(zip(metric.names, rows.scores(metric, design), strict=True))
        return columns[None] if metric.names == [None] else columns

    def values_of_rows(self, function, left_out, *arguments):
        """Return function(objective, raw predictions, *arguments) of the rows, (n,).

        `left_out` are raw predictions (n, K) in a dask array, None for those of the fit. If
        there is no model without a row, they are NaN, and those of the fit replace them.
        """
        objective, theta = self.objective, self.theta
        lazy = distributed.values_of_rows(objective, function, left_out, theta, *arguments)
        return np.asarray(lazy)

    def lazy_respond(self, raw, response_method):
        """Return a response from raw predictions (n, K) in a dask array."""
        pooled = self.on(None).pooled(None)  # without the data
        example = respond_to(np.zeros((1, raw.shape[1])), pooled, response_method)
        chunks = (raw.chunks[0], *((m,) for m in example.shape[1:]))
        options = {} if example.ndim == 2 else {"drop_axis": 1}
        return raw.map_blocks(
            respond_to,
            pooled,
            response_method,
            chunks=chunks,
            meta=example[:0],
            **options,
        )


class LazyDiagnostics:
    """Case diagnostics for rows in dask arrays, see `distributed.diagnostics`."""

    def lazy_base(self, state, hessian_solver):
        """Return the `DistributedBase` at the state's point."""
        solver = get_solver(hessian_solver, state.point.objective)
        return distributed.DistributedBase.at(state.point, state.factor, solver)

    def lazy_summary(self, hessian_solver):
        """Return the columns of `influence_summary` for single rows, as dask arrays."""
        state = self.influence_state(hessian_solver)
        measures, doubtful = self.lazy_measures(state, hessian_solver)
        refined = None
        if len(doubtful):
            base = self.start_base("newton", hessian_solver)
            groups = Groups(base.point.objective.n_rows, list(doubtful[:, None]))
            refined = self.params_without(base, Removal(groups))
        return measures.columns(doubtful, refined)

    def lazy_dfbetas(self, state, hessian_solver, dtype):
        """Return `dfbetas` for single rows, (n, p), as a dask array."""
        measures, _ = self.lazy_measures(state, hessian_solver)
        scale = diagnostics.inverse_diagonal(state.point, state.factor)
        scale = np.sqrt(state.layout.to_public(scale))
        return measures.dfbetas(scale, state.layout, dtype)

    def lazy_measures(self, state, hessian_solver):
        """Return the `RowMeasures`, and the rows whose Newton step may not be accurate."""
        objective = state.point.objective
        sums = distributed.dispersion_sums(state.point, state.factor)
        check_dispersion(state.point, sums, n_deleted=1)
        base = self.lazy_base(state, hessian_solver)
        if base.takes_passes(removal.ONE_STEP):
            raise UnsupportedEstimatorError(
                f"The measures of {self.name} with class_weight='balanced' for dask arrays "
                "need a Hessian for each class, which do not fit into working_memory: raise "
                "it with sklearn.set_config, or give class weights as numbers."
            )
        measures = distributed.RowMeasures(base, sums)
        alone, doubtful, perfect = measures.survey()
        if len(alone):
            groups = Groups(objective.n_rows, list(alone[:, None]))
            theta = self.params_without(base, Removal(groups, method=removal.ONE_STEP))
            measures = distributed.RowMeasures(base, sums, alone, theta)
        count = objective.n_rows
        tell_perfect_fits(perfect, count, "sample(s)", range(count))
        return measures, doubtful


def warn_of_perfect_fits(dispersion, kind, names):
    """Warn if the rows that stay have a dispersion (m, K) of 0."""
    perfect = np.flatnonzero((dispersion == 0).any(axis=1))
    tell_perfect_fits(perfect, len(dispersion), kind, names)


def tell_perfect_fits(perfect, count, kind, names):
    """Warn if the other rows have a dispersion of 0 without some rows or groups."""
    if len(perfect):
        warn(
            f"Without {len(perfect)} of {count} {kind} the others are fitted with a "
            f"dispersion of 0: {[names[i] for i in perfect[:5]]}. Measures in units of it "
            "are NaN."
        )


def check_dispersion(point, sums, n_deleted=0):
    """Warn if no degree of freedom is left to estimate a dispersion."""
    if not point.objective.formulation.loss.has_dispersion:
        return
    if not sums.degrees(n_deleted).all():
        warn(
            f"The fit leaves {sums.degrees().min():.3g} degrees of freedom, the number of "
            "samples less the effective number of parameters: there is no dispersion to "
            "estimate, and measures in units of it are NaN. Strengthen the penalty or use "
            "fewer features.",
        )
