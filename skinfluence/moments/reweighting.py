"""A moment model at other sample weights: its formulas on the sums with these weights."""

from dataclasses import replace

import numpy as np
from sklearn.utils.validation import has_fit_parameter

from skinfluence.blocks import run_blocks
from skinfluence.exceptions import warn
from skinfluence.problem.requests import NEW

__all__ = ["MomentReweighting"]


class MomentReweighting:
    """Methods for other sample weights; "newton" and "exact" are the fit itself."""

    def reweight_params(self, request, output=NEW):
        request = self.resolve_weights(request)
        out = output.prepare((len(request.sample_weight), len(self.params)))
        self.each_at_weights(request, out.__setitem__)
        return out

    def reweight_loss(self, X, y, request, output=NEW):
        request = self.resolve_weights(request)
        rows, codes = self.check_samples(self.formulation, X, y)
        out = output.prepare((len(codes), len(request.sample_weight)))

        def write(vector, theta):
            out[:, vector] = self.formulation.loss.loss(codes, self._raw(theta, rows))

        self.each_at_weights(request, write)
        return out

    def raw_reweighted(self, X, request):
        """Return scores for samples at each vector of weights, (m, q, K)."""
        rows = self.check_rows(self.formulation, X)
        raw = np.empty((len(request.sample_weight), rows.shape[0], self.n_scores))

        def write(vector, theta):
            raw[vector] = self._raw(theta, rows)

        self.each_at_weights(request, write)
        return raw

    def models_at_weights(self, request):
        """Return the fitted model at each vector of weights, None if a class is lost."""
        data = self.objective
        y, models = self.formulation.target.decode(data.target), []
        for weight in self.resolve_weights(request).sample_weight:
            refit = self.refit_near(data.X, y, weight, request.method)
            models.append(None if refit is None else self.as_model(refit.estimator))
        return models

    def each_at_weights(self, request, write):
        """Call ``write(vector, theta)`` with the parameters (p,) at each vector of weights.

        The parameters are NaN if there is no model; a warning names these vectors.
        """
        values, method = request.sample_weight, request.method
        data = self.data_of_fit if method == "influence" else self.checked_data
        model, fitted = data.model, self.params
        (N, M), C = data.sums, data.centres
        lost, y = [], self.formulation.target.decode(data.target)
        takes_weights = has_fit_parameter(self.estimator, "sample_weight")

        def work(vector):
            moved = replace(data, sample_weight=values[vector])
            if method == "influence":
                vars(moved)["centres"] = C
            theta = np.full(len(fitted), np.nan)
            if not moved.counts.all():
                lost.append(vector)
            elif method == "influence":
                new_N, new_M = moved.sums
                for at, V in self._param_blocks():
                    gN, gM = model.pull(N, M, C, V)
                    change = gN @ (new_N - N) + np.einsum("mbs,bs->m", gM, new_M - M)
                    theta[at] = fitted[at] + change
            else:
                with np.errstate(divide="ignore", invalid="ignore"):
                    theta = model.params(*moved.sums, moved.centres, moved.counts)
                if takes_weights and np.isnan(theta).any() and not np.isnan(fitted).any():
                    # A category whose samples have weight 0 still counts in such a fit.
                    refit = self._fitted_on(data.X, y, values[vector])
                    theta = self._same_size(model.read(refit))
                if np.isnan(theta).all():
                    lost.append(vector)
            write(vector, theta)

        vectors = range(len(values))
        run_blocks(work, vectors, n_jobs=request.n_jobs, verbose=request.verbose)
        if lost:
            named = ", ".join(f"row {vector}" for vector in sorted(lost)[:5])
            warn(
                f"At {len(lost)} of {len(values)} row(s) of sample_weight there is no model, "
                "because a class has no weight or its covariance is singular; their results "
                f"are NaN: {named}."
            )
