"""Chapter C at any sample weights: the model of another `fit` on the same rows."""

import numpy as np

from skinfluence import removal
from skinfluence.blocks import row_blocks
from skinfluence.checks import instead_of_labels
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.groups import Cases
from skinfluence.namespaces import to_host
from skinfluence.problem.directions import lost_params
from skinfluence.problem.jumps import warn_of_jumps
from skinfluence.problem.requests import NEW


class ReweightAnswers:
    """The model at other sample weights, see `methods.reweighting`."""

    def reweight_params(self, request, output=NEW):
        self.refuse_dask("reweight_params", request.sample_weight)
        request = self.resolve_weights(request)
        out = output.prepare((len(request.sample_weight), self.layout.size), self.like)
        layout = self.formulation.layout

        def emit(vectors, theta):
            out[vectors] = layout.to_public(theta)

        for vector, directions in self.reweigh(request, emit):
            out[vector, lost_params(layout, directions)] = np.nan
        return out

    def reweight_loss(self, X, y, request, output=NEW):
        self.refuse_dask("reweight_loss", X, y, request.sample_weight)
        request = self.resolve_weights(request)
        formulation = self.formulation
        design, target = self.check_samples(formulation, X, y)
        out = output.prepare((design.n_rows, len(request.sample_weight)), self.like)

        def emit(vectors, theta):
            removal.losses_into(out, vectors, formulation.loss, design, target, theta)

        for vector, directions in self.reweigh(request, emit):
            out[removal.depends(directions, design), vector] = np.nan
        return out

    def reweight_predict(self, X, request, *, response_method="predict"):
        self.refuse_dask("reweight_predict", X, request.sample_weight)
        self.check_left_out_response(response_method)
        request = self.resolve_weights(request)
        warn_of_jumps(self, request)
        raw = self.raw_reweighted(X, request)
        m, q, K = raw.shape
        if response_method == "predict" and self.is_classifier:
            missing = np.flatnonzero(np.isnan(raw).any(axis=(1, 2)))
            if missing.size:
                raise ValueError(
                    f"There is no model at row {missing[0]} of sample_weight, so it predicts "
                    "no class. Give weight to every class, or use "
                    f"{instead_of_labels(self.estimator)}, which is NaN there."
                )
        found = getattr(self.pooled(raw.reshape(m * q, K)), response_method)(None)
        return found.reshape(m, q, *found.shape[1:])

    def resolve_weights(self, request):
        """Check a request and return it with its weights as an array (m, n)."""
        return request.resolve(self.n_rows)

    def raw_reweighted(self, X, request):
        """Return raw predictions for samples at each vector of weights, (m, q, K)."""
        design = self.check_X(self.formulation, X)
        m = len(request.sample_weight)
        raw = np.empty((m, design.n_rows, self.n_scores), like=self.like)

        def emit(vectors, theta):
            for block in row_blocks(len(theta), 8 * 3 * raw[0].size):
                raw[vectors[block]] = design.predict(theta[block]).transpose(1, 0, 2)

        for vector, directions in self.reweigh(request, emit):
            raw[vector, removal.depends(directions, design)] = np.nan
        return to_host(raw)  # for scikit-learn's responses

    def models_at_weights(self, request):
        """Return the fitted model at each vector of weights, None if there is none."""
        found = self.reweight_params(request)
        values = self.resolve_weights(request).sample_weight
        pairs = zip(found, values, strict=True)
        return [self.model_with(params, w, request.method) for params, w in pairs]

    def reweigh(self, request, emit):
        """Move to each vector of weights; return (vector, directions) without a value.

        See `removal.reweight` for `emit`.
        """
        self.check_reweightable()
        values, method = request.sample_weight, request.method
        base = self.start_base(method, request.hessian_solver)
        whole = base.open is None and base.has_optimum
        objective = base.point.objective if whole else self.objective
        fixed = self.fitted.params.get("class_weight") != "balanced"
        by_weight = not fixed and self.balances_by_weight
        weights = removal.Weights(objective, values, by_weight, removes=fixed)
        outcome = removal.reweight(
            base, weights, method, emit, n_jobs=request.n_jobs, verbose=request.verbose
        )
        self.warn_of_cases(Cases.of_weights(values, weights.at), outcome, base, method)
        if method == "influence" and base.open is not None:
            return [(vector, base.open) for vector in range(len(values))]
        return list(outcome.undetermined.items())

    def check_reweightable(self):
        """Raise if something that the fit chose moves with the weights and is not known."""
        reason = self.parameters.weights_move(self.estimator, self.fitted.params)
        if reason is not None:
            raise UnsupportedEstimatorError(reason)

    @property
    def balances_by_weight(self):
        """Whether "balanced" class weights are computed from weights, not from counts."""
        return self.formulation.balanced_by == "weight"
