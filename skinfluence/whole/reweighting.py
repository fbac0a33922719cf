"""A pipeline at other sample weights: every step before the model is fitted again with them.

A weight counts how often a sample occurs, in every step. Weights that are multiples of those
of the fit repeat rows, and scikit-learn's own `fit_transform` sees them. Other weights are
passed to the steps, all of which must take them.
"""

from dataclasses import replace
from functools import partial

import numpy as np

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.groups import Cases
from skinfluence.namespaces import to_host
from skinfluence.problem.jumps import warn_of_jumps
from skinfluence.problem.refits import OF_ONE
from skinfluence.problem.requests import NEW, Output
from skinfluence.problem.reweighting import ReweightAnswers
from skinfluence.whole.data import take_rows, whole_numbers
from skinfluence.whole.first_order import FirstOrderPipeline
from skinfluence.whole.unread import attempt


class WholeReweighting:
    """Methods for other sample weights with the signatures that estimators have."""

    def reweight_params(self, request, output=NEW):
        if self.parameters.is_dual:
            raise UnsupportedEstimatorError(
                f"reweight_params of a pipeline that ends in {self.name}: its parameters are "
                "coefficients of the samples of each fit, in features that move. Use "
                "reweight_predict or reweight_loss."
            )
        request = self.resolve_weights(request)
        warn_of_jumps(self, request)
        values = request.sample_weight
        out = output.prepare((len(values), len(self.params)), self.like)
        if request.method == "influence":
            moved = self.influence_params(request=request)
            out[...] = self.params + self._shares(values) @ moved
            return out
        scaled = self.scaled_at(values)
        if scaled is not None:
            scaled.reweight_params(request, Output(out=out))
            objective = scaled.objective
            layout = objective.formulation.layout
            for row, weight in zip(out, values, strict=True):
                scales = objective.scales.at(objective.design, weight)
                theta = scales.to_refit(layout.from_public(row[None].astype(np.float64))[0])
                row[...] = layout.to_public(theta[None])[0]
            return out

        cases = Cases.of_weights(values)
        return self.write_params(cases, self.each_weighted, request, out, lambda _: ())

    def reweight_loss(self, X, y, request, output=NEW):
        request = self.resolve_weights(request)
        warn_of_jumps(self, request)
        is_first_order, values = request.method == "influence", request.sample_weight
        scaled = None if is_first_order else self.scaled_at(values)
        if scaled is not None:
            return scaled.reweight_loss(self.transform(X), y, request, output)
        plain = self.sample_loss(X, y)
        out = output.prepare((len(plain), len(values)), self.like)
        if is_first_order:
            form = self.formulation
            target = form.target.encode(to_host(y))
            raw = self.raw_reweighted(X, request)
            for vector, one in enumerate(raw):
                out[:, vector] = form.loss.loss(target, one)
            return out

        self.each_weighted(
            request, lambda _, refit: refit.loss(X, y), out.T.__setitem__, missing=out.T
        )
        return out

    # The same as for an estimator, from `raw_reweighted`.
    reweight_predict = ReweightAnswers.reweight_predict

    def raw_reweighted(self, X, request):
        """Return raw predictions for samples at each vector of weights, (m, q, K)."""
        values, solver = request.sample_weight, request.hessian_solver
        if request.method == "influence":
            raw, share = self.raw_predictions(X), self._shares(values)
            moved = [self.raw_influence(take_rows(X, [q]), solver) for q in range(len(raw))]
            return to_host(raw + np.tensordot(share, np.stack(moved), (1, 1)))
        scaled = self.scaled_at(values)
        if scaled is not None:
            return scaled.raw_reweighted(self.transform(X), request)
        raw = np.full((len(values), len(self.raw_predictions(X)), self.n_scores), np.nan)

        def read(_vector, refit):
            return to_host(refit.raw_predictions(X))

        self.each_weighted(request, read, raw.__setitem__)
        return raw

    def models_at_weights(self, request):
        """Return the pipeline at each vector of weights, see `Problem.models_at_weights`."""
        request = self.resolve_weights(request)
        values = request.sample_weight
        if request.method == "influence":
            return [
                FirstOrderPipeline(
                    self, partial(self._first_order_at, request.at(values[[vector]]))
                )
                for vector in range(len(values))
            ]
        models = [None] * len(values)

        def read(_vector, refit):
            return self.as_pipeline(refit)

        self.each_weighted(request, read, models.__setitem__, None, OF_ONE)
        return models

    def _first_order_at(self, request, X):
        """Return raw predictions (q, K) at one vector of weights."""
        return self.raw_reweighted(X, request)[0]

    def scaled_at(self, values):
        """Return `scaled` for vectors of weights, or None if they need fits of the steps.

        See `scaled_without`.
        """
        if self.scaled is None:
            return None
        design, scales = self.scaled.objective.design, self.scaled.objective.scales
        return None if any(scales.cancels(design, w) for w in values) else self.scaled

    def resolve_weights(self, request):
        request = request.resolve(self.data.n_rows)
        self.refuse_divided_weights()
        absent = np.flatnonzero(to_host(self.objective.sample_weight) == 0)
        if absent.size:
            raise UnsupportedEstimatorError(
                f"Sample {absent[0]} has weight 0 in the fit, and the steps before the model "
                "may have seen it: its weight is no multiple of that. Fit without the samples "
                "whose weight is 0."
            )
        return request

    def _shares(self, values):
        """Return (w - w_fit)/S, which multiplies influence, (m, n)."""
        objective = self.objective
        return (values - objective.sample_weight) / objective.weight_sum

    def each_weighted(self, request, read, write, missing=None, *consequence):
        """Call ``write(vector, read(vector, refit))`` with the `Refit` at each vector.

        `read` may run in another process, and must not change anything. Vectors without a
        refit get NaN rows in `missing`, and a warning names them.
        """
        self.check_refits()
        values = request.sample_weight

        def find(vectors):
            for vector in vectors:
                weight, fatal = values[vector], UnsupportedEstimatorError
                yield attempt(self.at_weights, weight, request.method, fatal=fatal)

        alone = [[vector] for vector in range(len(values))]
        cases = Cases.of_weights(values)
        self.write_refits(cases, find, alone, read, write, missing, request, *consequence)

    def at_weights(self, weight, method):
        """Return the `Refit` at sample weights (n,), None if there is no model."""
        fitted = to_host(self.objective.sample_weight)
        counts, kept = weight / fitted, np.flatnonzero(weight)
        whole = whole_numbers(counts)
        if whole is None:
            data = replace(self.data.take(kept), counts=counts[kept])
            return self.refit(data, weight[kept], method)
        rows = np.repeat(np.arange(len(whole)), whole)
        return self.refit(self.data.take(rows), fitted[rows], method)
