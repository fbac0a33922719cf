"""Chapter C: the model without some training rows, computed without refitting."""

from dataclasses import replace

import numpy as np
from sklearn.metrics import check_scoring

from skinfluence import distributed, existence, removal
from skinfluence.checks import check_one_metric, check_response, instead_of_labels
from skinfluence.exceptions import SingularHessianError, UnsupportedEstimatorError, warn
from skinfluence.groups import Cases
from skinfluence.namespaces import is_device, to_host
from skinfluence.optimum import optimum_from, refine_optimum
from skinfluence.problem.directions import lost_params
from skinfluence.problem.kinds import kind_of, no_bound
from skinfluence.problem.lazy import LazyRemoval
from skinfluence.problem.metrics import pooled_predictions, score_known
from skinfluence.problem.requests import NEW
from skinfluence.solvers import get_solver


class RemovalAnswers(LazyRemoval):
    """Leave-one-out and group removal, see `methods.removal`."""

    def leave_out_params(self, request, output=NEW, *, return_bound=False):
        base, request = self.start_removal(request)
        groups = request.groups
        if base.point.objective.is_distributed and groups.members is None:
            if return_bound:
                raise UnsupportedEstimatorError(
                    "return_bound of single samples in dask arrays takes a pass over all rows "
                    "for each of them: give the samples of interest as groups, such as "
                    "groups=[[3], [17]]."
                )
            return self.rows_removed(base, request).params(output.lazy_dtype())
        layout = base.point.objective.formulation.layout
        out = output.prepare((len(groups), layout.size), self.like)
        bound = np.full(len(groups), np.nan)
        if return_bound:
            self.check_bounded(base.point.objective)

        def emit(indices, rows, theta):
            out[indices] = layout.to_public(theta)
            if return_bound:
                bound[indices] = removal.error_bound(base, rows, theta)

        for group, directions in self.remove(base, request, emit):
            out[group, lost_params(layout, directions)] = bound[group] = np.nan
        return (out, bound) if return_bound else out

    def leave_out_loss(self, X, y, request, output=NEW):
        if self.objective.is_distributed:
            return self.lazy_losses(X, y, request, output)
        self.refuse_dask("leave_out_loss", X, y)
        formulation = self.objective.formulation
        design, target = self.check_samples(formulation, X, y)
        base, request = self.start_removal(request)
        out = output.prepare((design.n_rows, len(request.groups)), self.like)

        def emit(indices, _rows, theta):
            removal.losses_into(out, indices, formulation.loss, design, target, theta)

        for group, directions in self.remove(base, request, emit):
            out[removal.depends(directions, design), group] = np.nan
        return out

    def leave_out_predict(self, request, *, response_method="predict"):
        self.check_left_out_response(response_method)
        if self.objective.is_distributed:
            raw, lost = self.lazy_raw_without(request)
            if response_method == "predict":
                self.check_labelled(lost)
            return self.lazy_respond(raw, response_method)
        return self.respond(self.raw_without(request), response_method)

    def check_left_out_response(self, response_method):
        """Raise if the response does not exist."""
        check_response(self.estimator, self.name, response_method)
        self.responses.check(response_method)

    def respond(self, raw, response_method):
        """Return a response from raw predictions (m, K), NaN if there is no model."""
        if response_method == "predict":
            self.check_labelled(np.flatnonzero(np.isnan(raw).any(axis=1)))
        return getattr(self.pooled(raw), response_method)(None)

    def leave_out_score(self, request, *, scoring=None, sample_weight=None):
        check_one_metric(scoring)
        if distributed.is_dask(sample_weight):
            (sample_weight,) = distributed.in_memory(sample_weight)
        metadata = {} if sample_weight is None else {"sample_weight": sample_weight}
        return self.score_raw(self.raw_without(request), scoring, metadata)

    def resolve(self, request):
        """Check a request and return it with the selected `Groups`."""
        request.check()
        objective = self.objective
        groups = self.groups_for(request.groups, request.cv)
        if not objective.is_distributed:
            groups.check_leaves_weight(to_host(objective.sample_weight))
        elif groups.sizes().max(initial=0) >= objective.n_weighted:
            groups.check_leaves_weight(objective.samples.weights())
        return request.of(groups)

    def start_removal(self, request):
        """Return (base, request) for one call, with the request resolved."""
        request = self.resolve(request)
        return self.start_base(request.method, request.hessian_solver), request

    def start_base(self, method, hessian_solver):
        """Return the start of removal, or of a move to other weights."""
        solver = get_solver(hessian_solver, self.objective)
        return kind_of(self).start_base(method, hessian_solver, solver)

    def removal_base(self, method, hessian_solver):
        """Return the base at the optimum with all rows, to rounding error for "exact".

        If there is no optimum, use the optimum in the parameters that have one.
        """
        solver = get_solver(hessian_solver, self.objective)
        state, recession = self._state_or_recession(hessian_solver)
        if state is None or recession is not None:
            base = removal.base_of_part(self.objective, self.theta, solver, recession)
            if base is not None and recession is None:
                warn(self.describe_undetermined(base.open, of="the fit"))
            if base is not None:
                return base
        if state is not None and method == "influence":
            self.warn_of_mixing(state)
        if state is not None and method != "exact":
            kind_of(self, self.formulation).warn_of_edge(state)
        with self.naming_directions():
            point, factor = self._optimum_for_removal(state, solver, refine=method == "exact")
            if point.objective.is_distributed:
                return distributed.DistributedBase.at(point, factor, solver)
            return removal.Base.at(point, factor, solver)

    def _state_or_recession(self, hessian_solver):
        """Return (state, recession), with a warning if the objective falls forever.

        The state is None if the Hessian is singular at the fit. It may be regular at the
        optimum.
        """
        try:
            state = self.state(hessian_solver)  # warns if there is no optimum
        except SingularHessianError:
            recession = existence.find_recession(self.objective, self.theta)
            if recession is not None:
                warn(self.describe_direction(recession.direction))
            return None, recession
        return state, state.recession

    def _optimum_for_removal(self, state, solver, *, refine):
        """Return the point at the optimum with all rows, and a factor of its Hessian."""
        objective = self.objective
        try:
            if state is not None:
                optimum = state.optimum
            else:
                optimum = optimum_from(objective, self.theta, solver)
        except SingularHessianError:
            restart = kind_of(self).restart(objective)
            if restart is None:
                raise
            objective, theta = restart
            optimum = optimum_from(objective, theta, solver)
        if refine:
            optimum = refine_optimum(optimum, solver)
        point, factor = optimum.point, optimum.factor
        try:
            settled, theta = self.settle(objective, point.theta)
        except ValueError as error:
            settled = objective
            warn(str(error))
        if settled is not objective:
            point = settled.at(theta)
            factor = solver.factorise(point)
        if not optimum.converged:
            warn(
                "No optimum was reached from the fit: Newton's method ended at a Newton "
                f"decrement of {optimum.decrement:.3g}, and results may be off by as much "
                "as it is from the optimum. "
                f"{self.why_no_scale() or self.formulation.loss.if_lost}",
            )
        return point, factor

    def remove(self, base, request, emit):
        """Remove each group; return (group, directions) for those without a single result.

        See `removal.leave_out` for `emit`.
        """
        outcome = self.remove_groups(base, request, emit, recover=True)
        return base.open_directions(outcome, len(request.groups))

    def remove_groups(self, base, request, emit, **options):
        """Remove each group, warn about groups without a result, and return the outcome."""
        outcome = removal.leave_out(
            base,
            request.groups,
            request.method,
            emit,
            refine=request.refine,
            n_jobs=request.n_jobs,
            verbose=request.verbose,
            **options,
        )
        self.warn_of_outcome(base, request.groups, outcome, request.method)
        return outcome

    def warn_of_lost_classes(self, groups):
        """Warn about groups with the last samples of a class if an optimum remains."""
        lost = dict(removal.groups_without_class(self.objective, groups))
        consequence = "results keep the class in the parameters and in the loss"
        if self.objective.formulation.layout.n_outputs == 1:  # which two classes share
            consequence = "results are for the optimum with samples of the other class alone"
        Cases.of_groups(groups).tell(
            lost,
            "the last samples of a class are gone, and a refit would not have this class; "
            f"{consequence}",
            name=lambda g: f"{groups.name(g)} (class {self.label(lost[g])!r})",
        )

    def warn_of_outcome(self, base, groups, outcome, method):
        """Warn of groups whose results are NaN, or come from a refit by scikit-learn."""
        objective = base.point.objective
        cases = Cases.of_groups(groups, lambda g: objective.without(groups.rows(g)))
        if not base.has_optimum:
            outcome = replace(outcome, unsolved=())
        self.warn_of_cases(cases, outcome, base, method)
        if not outcome.without_optimum:
            self.warn_of_lost_classes(groups)

    def raw_without(self, request):
        """Return each training sample's raw prediction without its group, (n, K)."""
        if self.objective.is_distributed:
            return np.asarray(self.lazy_raw_without(request)[0])
        base, request = self.start_removal(request)
        groups = request.groups
        groups.partition()
        design = base.point.objective.design
        raw = np.empty((base.point.objective.n_rows, self.n_scores), like=self.like)

        def emit(_indices, rows, theta):
            if rows.shape[1] == 1:  # one product per row would dominate the run time
                single = rows[:, 0] >= 0
                alone = rows[single, 0]
                raw[alone] = design.take(alone).predict_each(theta[single])
                return
            for line, one in zip(rows, theta, strict=True):
                rows_of_group = line[line >= 0]
                raw[rows_of_group] = design.take(rows_of_group).predict(one)

        for group, directions in self.remove(base, request, emit):
            rows = groups.rows(group)
            raw[rows[removal.depends(directions, design.take(rows))]] = np.nan
        return to_host(raw)  # for scikit-learn's responses and scorers

    def score_raw(self, raw, scoring, metadata):
        """Return the score for the training samples' raw predictions (n, K)."""
        missing = np.flatnonzero(np.isnan(raw).any(axis=1))
        self.check_labelled(missing, scored=True)
        X = self.rows_for_scikit_learn
        if self.objective.is_distributed or is_device(self.objective.design.X):
            X = np.empty((len(raw), 0))  # the predictions are known
        pooled = self.pooled(raw)
        y = self.training_target

        def score():
            if scoring is None:
                return self.own_score(pooled, X, y, metadata)
            return check_scoring(pooled, scoring=scoring)(pooled, X, y, **metadata)

        return score_known(score, missing)

    def check_labelled(self, missing, *, scored=False):
        """Raise if a classifier has no model for some samples: NaN would become a class."""
        if not missing.size or not self.is_classifier:
            return
        response = instead_of_labels(self.estimator)
        remedy = f"leave_out_predict({response})" if scored else response
        raise ValueError(
            f"There is no model without the groups of {missing.size} sample(s), so they have "
            f"no predicted class: {missing[:5].tolist()}. A warning says why. Use groups that "
            f"leave members of every class, or {remedy}, where they are NaN."
        )

    def pooled(self, raw):
        """Return an estimator that returns these raw predictions."""
        return pooled_predictions(self, raw)

    def own_score(self, pooled, X, y, metadata):
        """Return the estimator's own score for `pooled` predictions."""
        return self.responses.score(pooled, X, y, self.fitted.params, **metadata)

    def check_bounded(self, objective):
        """Raise if the objective is not strongly convex in feature coefficients."""
        kind_of(self, objective.formulation).check_bounded()
        loss = objective.formulation.loss
        if objective.design.has_metric:
            raise no_bound(self.name)
        if not loss.convex:
            raise UnsupportedEstimatorError(
                f"return_bound of {self.name}: the bound needs a convex loss, and "
                f"{loss.description} is not convex. Use method='exact', which needs no bound, "
                "or leave_out_check, which refits."
            )
        if np.all(objective.penalty > 0):
            return
        free = objective.formulation.layout.to_public(objective.penalty) == 0
        names = [n for n, f in zip(self.param_names(), free, strict=True) if f]
        remedy = "fit_intercept=False on centred data"
        if not np.any(objective.penalty > 0):
            remedy = "a penalty and fit_intercept=False"
        elif (
            "solver" in self.fitted.params
            and np.shape(getattr(self.estimator, "classes_", ()))[0] == 2
        ):
            remedy += ", or solver='liblinear' for logistic regression"
        raise ValueError(
            "return_bound=True needs a penalty on every parameter, but these have none: "
            f"{', '.join(names[:5])}. Use {remedy}."
        )
