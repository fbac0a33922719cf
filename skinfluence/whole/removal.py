"""Removal methods for a pipeline, which refit every transformer and then the model.

The refits are in `refits`. Scalers and choices need none for most groups.
"""

from functools import cached_property
from itertools import chain

import numpy as np
from sklearn.utils.validation import check_consistent_length

from skinfluence import removal
from skinfluence._compat import check_sample_weight
from skinfluence.blocks import batches, row_blocks, run_blocks
from skinfluence.checks import check_classes_left, check_option
from skinfluence.column_scales import Cancellation
from skinfluence.exceptions import UnsupportedEstimatorError, warn
from skinfluence.groups import Cases, Groups, check_indices
from skinfluence.namespaces import to_host
from skinfluence.problem.directions import lost_params
from skinfluence.problem.jumps import warn_of_jumps
from skinfluence.problem.metrics import MetricAnswers, flat_rows
from skinfluence.problem.refits import OF_ONE
from skinfluence.problem.removal import RemovalAnswers
from skinfluence.problem.requests import NEW, Removal
from skinfluence.problem.updates import UpdateAnswers
from skinfluence.whole.data import take_rows
from skinfluence.whole.first_order import FirstOrderPipeline
from skinfluence.whole.refits import ForSameRows, PipelineRefits
from skinfluence.whole.unread import attempt

# Bytes of the refits that take their steps together: what stays in cache, or, for many
# parameters, so many times the bytes of H^-1, which each step reads.
_CACHED, _PASSES = 4 * 2**20, 16


class WholeMetrics:
    """`leave_out_metric` and predictions for the whole fit of a pipeline."""

    leave_out_metric = MetricAnswers.leave_out_metric

    def scores_without(self, metric, X, request):
        """Return the `Scores` without each group."""
        groups = request.groups
        scaled = self.scaled_without(groups)
        if scaled is not None and not metric.needs_model:
            return scaled.scores_without(metric, self.transform(X), request)
        scores = metric.table(len(groups))
        if request.method == "influence":
            self._add_first_order(scores, groups, request.hessian_solver)
            return scores

        def read(group, refit):
            if metric.needs_model or refit.params is None:
                return metric.of_model(self.as_pipeline(refit))
            return metric.of_raw(self, refit.raw_predictions(metric.X))

        self.each(request, read, scores.store)
        return scores

    def _add_first_order(self, scores, groups, hessian_solver):
        """Add the scores of first-order changes."""
        members = [groups.rows(group) for group in range(len(groups))]
        if scores.metric.needs_model:
            moved = self.moved_raw(hessian_solver)
            for group, rows in enumerate(members):
                scores.add_model(group, self.first_order(rows, moved))
            return
        X = scores.metric.X
        X = X if hasattr(X, "shape") else np.asarray(X)
        for block in row_blocks(len(members), 8 * 2 * X.shape[0] * self.n_scores):
            raw = [
                self._first_order_raw(take_rows(X, [q]), members[block], hessian_solver)
                for q in range(X.shape[0])
            ]
            for group, one in zip(
                range(block.start, block.stop), np.stack(raw).swapaxes(0, 1), strict=True
            ):
                scores.add_raw(group, self, one)

    def predictions_without(self, X, request, visit, *, response_method):
        """Call `visit` with responses from pipeline refits, see `PredictionsWithout`."""
        request = self.resolve(request)
        groups = request.groups
        scaled = self.scaled_without(groups)
        if scaled is not None:
            rows = self.transform(X)
            scaled.predictions_without(rows, request, visit, response_method=response_method)
            return
        groups.partition()
        X = X if hasattr(X, "shape") else np.asarray(X)
        if request.method == "influence":
            rows, owner = flat_rows(groups, range(len(groups)))
            raw = self.raw_without(request)
            responses = self.responses_of(raw[rows], response_method)
            members = [groups.rows(group) for group in range(len(groups))]
            for q in range(X.shape[0]):
                raw = self._first_order_raw(take_rows(X, [q]), members, request.hessian_solver)
                predicted = self.responses_of(raw[None], response_method)
                visit(slice(q, q + 1), rows, owner, responses, predicted)
            return

        def read(group, refit):
            own = refit.raw_predictions_of(self.data, groups.rows(group))
            return [
                self.responses_of(raw, response_method)
                for raw in (own, refit.raw_predictions(X))
            ]

        def write(group, found):
            rows, (responses, predicted) = groups.rows(group), found
            visit(
                slice(0, X.shape[0]), rows, np.zeros_like(rows), responses, predicted[:, None]
            )

        self.each(request, read, write)


class WholeRemoval(WholeMetrics, PipelineRefits):
    """Removal methods with the signatures that estimators have."""

    #: The `Choices` that are known without refits, None if every group needs a refit.
    choices = None

    def resolve(self, request):
        resolved = super().resolve(request)
        if not isinstance(request.groups, Groups):
            warn_of_jumps(self, resolved, resolved.groups)
        return resolved

    def leave_out_params(self, request, output=NEW, *, return_bound=False):
        if return_bound:
            raise UnsupportedEstimatorError(
                "return_bound of a pipeline: the bound is one for a model on fixed features, "
                "and these move. Leave it out, or explain the last step alone: "
                "from_fitted(pipe[-1], pipe[:-1].transform(X), y)."
            )
        return self._params_without(self.resolve(request), output)

    def _params_without(self, request, output=NEW):
        """Return `leave_out_params` for a request from `resolve`."""
        groups = request.groups
        out = output.prepare((len(groups), len(self.params)), self.like)
        if request.method == "influence":
            moved = self.influence_params(request=request)
            for group in range(len(groups)):
                out[group] = self.params - self._summed(moved, groups.rows(group))
            return out
        scaled = self.scaled_without(groups)
        if scaled is not None:
            return self._scaled_params(scaled, request, out)
        cases = Cases.of_groups(groups)
        return self.write_params(cases, self.each, request, out, groups.rows)

    def _scaled_params(self, scaled, request, out):
        """Write `leave_out_params` from a problem with another penalty for each group."""
        base, request = scaled.start_removal(request)
        objective, groups = base.point.objective, request.groups
        layout = objective.formulation.layout

        def emit(indices, _rows, theta):
            out[indices] = layout.to_public(theta)

        undetermined = list(scaled.remove(base, request, emit))
        self._rescale(out, groups)
        for group, directions in undetermined:
            scales = objective.without(groups.rows(group)).scales
            out[group, lost_params(layout, directions, scales)] = np.nan
        return out

    def leave_out_loss(self, X, y, request, output=NEW):
        request = self.resolve(request)
        groups = request.groups
        scaled = self.scaled_without(groups)
        if scaled is not None:
            return scaled.leave_out_loss(self.transform(X), y, request, output)
        plain = self.sample_loss(X, y)
        out = output.prepare((len(plain), len(groups)), self.like)
        if request.method == "influence":
            loss = self.formulation.loss
            target = self.formulation.target.encode(to_host(y))
            members = [groups.rows(group) for group in range(len(groups))]
            for q in range(len(plain)):
                raw = self._first_order_raw(take_rows(X, [q]), members, request.hessian_solver)
                out[q] = loss.loss(np.repeat(target[[q]], len(raw), axis=0), raw)
            return out

        self.each(request, lambda _, refit: refit.loss(X, y), out.T.__setitem__, missing=out.T)
        return out

    # The same as for an estimator, from the methods below.
    leave_out_predict = RemovalAnswers.leave_out_predict
    leave_out_score = RemovalAnswers.leave_out_score
    leave_out_check = UpdateAnswers.leave_out_check

    def raw_without(self, request):
        """Return each training sample's raw prediction without its group, (n, K)."""
        request = self.resolve(request)
        groups = request.groups
        scaled = self.scaled_without(groups)
        if scaled is not None:
            return scaled.raw_without(request)
        groups.partition()
        K = self.n_scores
        raw = np.full((self.data.n_rows, K), np.nan)
        if request.method == "influence":
            for group in range(len(groups)):
                for row in groups.rows(group):
                    query, members = take_rows(self.data.X, [row]), [groups.rows(group)]
                    found = self._first_order_raw(query, members, request.hessian_solver)
                    raw[row] = to_host(found[0])
            return raw

        def read(group, refit):
            return to_host(refit.raw_predictions_of(self.data, groups.rows(group)))

        def write(group, found):
            raw[groups.rows(group)] = found

        self.each(request, read, write)
        return raw

    def params_to_check(self, request):
        return self.optimum(), to_host(self._params_without(request))

    def remove_samples(self, indices, *, method="exact", hessian_solver="auto"):
        check_option("method", method, removal.METHODS)
        if method == "influence":
            raise UnsupportedEstimatorError(
                f"remove_samples of {self.name} fits the steps or the kernel before the model "
                "again, and parameters to first order are those for the present ones: use "
                "method='exact' or 'newton'."
            )
        rows = check_indices(indices, self.data.n_rows)
        self.resolve(Removal([rows], method=method))
        self.check_refits()
        refit = self.without(rows, method)
        if refit is None:
            if self.is_classifier:
                check_classes_left(self.data.y, rows)
            raise ValueError(
                "Without these samples the objective has no optimum: the model was left as it "
                "is. Keep some of them, or strengthen the penalty."
            )
        if refit.open is not None:
            told = self.undetermined(refit, "")
            raise ValueError(f"{told} The model was left as it is.")
        self.become(refit, self.data.without(rows))

    def add_samples(self, X, y, sample_weight=None, *, hessian_solver="auto"):
        rows, named = X, None
        if hasattr(self.data.X, "columns") and not hasattr(X, "columns"):
            # The steps may select columns by name.
            named = self.data.append(X, y, sample_weight)
            rows = take_rows(named.X, np.arange(self.data.n_rows, named.n_rows))
        form, weight = self.objective.formulation, [to_host(self.objective.sample_weight)]
        _, not_taken = attempt(self.transform, rows)
        if not_taken is None:  # the samples must pass the model's checks
            more = self.make_objective(form, rows, y, sample_weight)
            weight.append(to_host(more.sample_weight))
        else:  # refitted steps may take them, for example with a category more
            check_consistent_length(rows, y)
            form.target.encode(to_host(y))
            given, like = to_host(sample_weight), np.empty((len(to_host(y)), 0))
            weight.append(check_sample_weight(given, like, ensure_non_negative=True))
        self.check_refits()

        def fit_again():
            data = named or self.data.append(X, y, sample_weight)
            return data, self.refit(data, np.concatenate(weight), "exact")

        found, error = attempt(fit_again)
        if error is not None:
            raise not_taken or error
        data, refit = found
        if refit is None:
            raise ValueError(
                "With these samples there is another class, or the objective has no optimum: "
                "the pipeline was left as it is. Fit it again."
            )
        self.become(refit, data)

    def scaled_without(self, groups):
        """Return `scaled` for removals, or None if they need new fits of the steps.

        The steps are fitted again if a group has almost all of a column's variance.
        Subtraction would lose the digits of the variance that is left.
        """
        if self.scaled is None or self.cancellation.without_any(groups):
            return None
        return self.scaled

    @cached_property
    def cancellation(self):
        """The groups without which the scales of `scaled` lose their digits."""
        return Cancellation(self.scaled.objective)

    def optimum(self):
        """Return the parameters of the refit with all samples, (p,), else the fitted ones."""
        try:
            refit = self.without(np.empty(0, dtype=np.intp), "exact")
        except ValueError:
            return self.params
        return self.params if refit is None else self.matched(refit)

    def groups_for(self, groups, cv=None):
        return self.data.groups_for(groups, cv, self.is_classifier)

    def each(self, request, read, write, missing=None):
        """Call ``write(group, read(group, refit))`` with the `Refit` without each group.

        `read` may run in another process, and must not change anything. Groups without a
        refit get NaN rows in `missing`, and a warning names them. A share `refine` of the
        groups whose choices are known is written again, exactly.
        """
        self.check_refits()
        groups = request.groups
        left = np.arange(len(groups))
        if self.choices is not None:
            left = self.choices.write(request, read, write)

        def find(block):
            return self.without_each([groups.rows(group) for group in block], request.method)

        blocks = self._blocks(left, request)
        cases = Cases.of_groups(groups)
        self.write_refits(cases, find, blocks, read, write, missing, request)

    def models_without(self, request):
        """Return the pipeline without each group of rows, see `Problem.models_without`."""
        groups, method = request.groups, request.method
        if method == "influence":
            moved = self.moved_raw(request.hessian_solver)
            return [self.first_order(rows, moved) for rows in groups]
        self.check_refits()

        def work(block):
            found = self.without_each(block, method)
            return [
                (self.as_pipeline(refit), self.undetermined(refit, OF_ONE))
                for refit, _ in found
            ]

        options = {"n_jobs": request.n_jobs, "verbose": request.verbose}
        found = list(chain(*run_blocks(work, self._blocks(groups, request), **options)))
        told = [sentence for _, sentence in found if sentence is not None]
        if told:
            warn(told[0])
        return [pipe for pipe, _ in found]

    def _blocks(self, groups, request):
        """Return lists of groups whose refits take their steps together."""
        if self.nearby is None:
            blocks = batches(len(groups), 1)
        else:
            K, D = self.nearby.point.theta.shape
            group_bytes = 8 * self.data.n_rows * (D + 4 * K)
            # One pass over H^-1 serves all groups of a block.
            largest = max(_CACHED, _PASSES * 8 * (K * D) ** 2)
            options = {"n_jobs": request.n_jobs, "largest": largest}
            blocks = row_blocks(len(groups), group_bytes, **options)
        return [groups[block] for block in blocks]

    def moved_raw(self, hessian_solver):
        """Return a function of samples: raw predictions (q, K), their influence (q, n, K)."""

        def compute(X):
            queries = [take_rows(X, [q]) for q in range(X.shape[0])]
            moved = [self.raw_influence(one, hessian_solver) for one in queries]
            return self.raw_predictions(X), np.stack(moved)

        return ForSameRows(compute)

    def first_order(self, rows, moved_raw):
        """Return the pipeline without some samples, to first order, from `moved_raw`."""

        def raw(X):
            plain, moved = moved_raw(X)
            return plain - self._summed(moved.swapaxes(0, 1), rows)

        return FirstOrderPipeline(self, raw)

    def as_pipeline(self, refit):
        """Return a `Refit` as a pipeline, None if there is none."""
        if refit is None:
            return None
        if refit.open is not None:
            refit.model.take_least_norm()
        return self.pipe_of([step for _, step in refit.before.steps], refit.model.estimator)

    def _rescale(self, params, groups):
        """Convert parameters (G, p) from current to refitted scales, in place."""
        objective = self.scaled.objective
        layout, design = objective.formulation.layout, objective.design

        def group_bytes(a):
            return 24 * a * design.n_columns

        for block in groups.stacks(np.arange(len(groups)), group_bytes):
            rows = groups.padded(block)
            theta, counts = layout.from_public(params[block]), (rows >= 0).sum(axis=1)
            theta = objective.scales.to_refit(theta, design.groups(rows), counts)
            params[block] = layout.to_public(theta)
        return params

    def _summed(self, influence, rows):
        """Return sum_A w_i/S I for influences I (n, .), summed over some rows."""
        w = self.objective.sample_weight[rows] / self.objective.weight_sum
        return np.tensordot(w, influence[rows], 1)

    def _first_order_raw(self, X, members, hessian_solver):
        """Return one sample's raw prediction without each list of rows, (G, K)."""
        raw = self.raw_predictions(X)[0]
        moved = self.raw_influence(X, hessian_solver)  # (n, K)
        return np.stack([raw - self._summed(moved, rows) for rows in members])
