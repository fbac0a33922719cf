"""Composites at other sample weights: each member moves to its own share of them."""

from dataclasses import replace
from functools import partial

import numpy as np

from skinfluence.checks import instead_of_labels
from skinfluence.composite.first_order import FirstOrderComposite, MovedAnswers
from skinfluence.composite.influence import as_rows
from skinfluence.composite.removal import bytes_of
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.groups import Cases
from skinfluence.methods import get_problem
from skinfluence.problem.jumps import warn_of_jumps
from skinfluence.problem.requests import NEW


class CompositeReweighting:
    """Methods for other sample weights with the signatures that estimators have."""

    #: Whether sample weights change the members alone, whose rows and features are fixed.
    takes_weights = False

    def reweight_loss(self, X, y, request, output=NEW):
        request = self.resolve_weights(request)
        self.refuse_divided_weights()
        warn_of_jumps(self, request)
        each, m = partial(self.each_weighted, request), len(request.sample_weight)
        return self.losses(X, y, each, m, output)

    def reweight_predict(self, X, request, *, response_method="predict"):
        self.check_left_out_response(response_method)
        request, X = self.resolve_weights(request), as_rows(X)
        self.refuse_divided_weights()
        warn_of_jumps(self, request)
        found, known = [], self.response(X, response_method)

        def read(_, model):
            return getattr(model, response_method)(X)

        missing = []
        for vector, value in self.each_weighted(request, read):
            if value is None:
                missing.append(vector)
            found.append(_unknown(known) if value is None else value)
        if missing and response_method == "predict" and self.is_classifier:
            other = instead_of_labels(self.estimator)
            remedy = "" if other is None else f", or use {other}, which is NaN there"
            raise ValueError(
                f"There is no model at row {missing[0]} of sample_weight that takes these "
                "samples, so it predicts no class. A warning says why. Give weight to every "
                f"class and category{remedy}."
            )
        if isinstance(known, list):  # one for each output
            return [np.array(part) for part in zip(*found, strict=True)]
        return np.array(found)

    def resolve_weights(self, request):
        """Check a request and return it with its weights as an array (m, n)."""
        request = request.resolve(self.n_rows)
        if not self.moves_by_members:
            self.refuse_absent()
        self.warn_of_choice()
        return request

    def refuse_absent(self):
        """Raise if a sample has weight 0 in the fit."""
        absent = np.flatnonzero(self.sample_weight == 0)
        if absent.size:
            raise UnsupportedEstimatorError(
                f"Sample {absent[0]} has weight 0 in the fit, and a part of {self.name} may "
                "have seen it: its weight is no multiple of that. Fit without the samples "
                "whose weight is 0."
            )

    @property
    def moves_by_members(self):
        """Whether each member moves to its weights on its own rows and features."""
        return self.takes_weights and all(
            part.reached or part.is_constant for part in self.parts
        )

    @property
    def weighted_bytes(self):
        """Memory in bytes for the composite at other weights, with the rows that it holds."""
        rows = 0 if self.moves_by_members else bytes_of(self.data.X) * len(self.parts)
        return self.model_bytes + rows

    def models_at_weights(self, request):
        """Return the composite at each vector of weights, None if there is none."""
        if not self.moves_by_members:
            return self.refits_at_weights(request)
        columns, values = [], request.sample_weight
        for part in self.parts:
            models = [part.member] * len(values)
            if part.reached and not part.is_constant:
                weights = np.array([part.weight(weight) for weight in values])
                possible = np.flatnonzero(weights.any(axis=1))
                models = [None] * len(values)
                problem = get_problem(part.member, "reweight_loss")
                problem.is_member = True
                found = problem.models_at_weights(request.at(weights[possible]))
                for vector, model in zip(possible, found, strict=True):
                    models[vector] = model
            columns.append(models)
        return [
            None
            if any(m is None for m in members)
            else self.with_members(list(members), self.data, None, request.method)
            for members in zip(*columns, strict=True)
        ]

    def refits_at_weights(self, request):
        """Return the composite at each vector of weights, if all parts are fitted again."""
        self.refuse_absent()
        values = request.sample_weight
        if request.method == "influence":
            changes = (values - self.sample_weight) / self.sample_weight.sum()
            moved = MovedAnswers(self, request.hessian_solver)
            return [FirstOrderComposite(self, change, moved) for change in changes]
        refit = partial(self.refit_at, method=request.method)
        return self.refits(refit, values, n_jobs=request.n_jobs, verbose=request.verbose)

    def refit_at(self, weight, method):
        """Return the composite at sample weights (n,), None if there is no such fit.

        A weight over that of the fit is the number of times that a sample occurs. Folds and
        draws stay, with all copies of a sample at its place.
        """
        kept = weight > 0
        data = replace(
            self.data.take(np.flatnonzero(kept)),
            params={"sample_weight": weight[kept]},
            counts=(weight / self.sample_weight)[kept],
        )
        return self.refit(data, *self.rest(kept), method, kept=kept)

    def each_weighted(self, request, read):
        """Generate (vector, read(vector, model)) at each weight vector, see `in_blocks`."""
        values = request.sample_weight

        def models_of(part):
            return self.models_at_weights(request.at(values[part]))

        vector_bytes = self.weighted_bytes + 16 * values.shape[1]
        every = np.arange(len(values))
        cases = Cases.of_weights(values)
        yield from self.in_blocks(cases, every, vector_bytes, models_of, read)


def _unknown(response):
    """Return NaN in the shape of a response."""
    if isinstance(response, list):
        return [_unknown(part) for part in response]
    return np.full(np.shape(response), np.nan)
