"""Scores and predictions of a whole pipeline without each group of samples."""

import numpy as np

from skinfluence.blocks import row_blocks
from skinfluence.problem.metrics import MetricAnswers
from skinfluence.problem.predictions import flat_rows
from skinfluence.whole.data import take_rows

__all__ = ["WholeMetrics"]


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
            for group, rows in enumerate(members):
                scores.add_model(group, self.first_order(rows, hessian_solver))
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
