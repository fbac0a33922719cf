"""A pipeline at other sample weights: every step before the model is fitted again with them.

A weight counts how often a sample occurs, in every step. Weights that are multiples of those
of the fit repeat rows, and scikit-learn's own `fit_transform` sees them. Other weights are
passed to the steps, all of which must take them.
"""

from dataclasses import replace
from functools import partial

import numpy as np

from skinfluence import removal
from skinfluence.checks import check_option, prepare_out
from skinfluence.exceptions import UnsupportedEstimatorError, warn
from skinfluence.namespaces import to_host
from skinfluence.problem.reweighting import check_weights
from skinfluence.whole.data import take_rows, whole_numbers
from skinfluence.whole.refits import FirstOrder, warn_of_lost_features

__all__ = ["WholeReweighting"]


class WholeReweighting:
    """Methods for other sample weights with the signatures that estimators have."""

    def reweight_params(
        self,
        sample_weight,
        *,
        method="newton",
        hessian_solver="auto",
        n_jobs=None,
        verbose=0,
        dtype=None,
        out=None,
    ):
        if self.parameters.is_dual:
            raise UnsupportedEstimatorError(
                f"reweight_params of a pipeline that ends in {self.name}: its parameters are "
                "coefficients of the samples of each fit, in features that move. Use "
                "reweight_predict or reweight_loss."
            )
        values = self.check_multiples(sample_weight, method)
        out = prepare_out(out, (len(values), len(self.params)), dtype, self.like)
        if method == "influence":
            moved = self.influence_params(hessian_solver=hessian_solver, n_jobs=n_jobs)
            out[...] = self.params + self._shares(values) @ moved
            return out
        options = {"n_jobs": n_jobs, "verbose": verbose}
        scaled = self.scaled_at(values)
        if scaled is not None:
            scaled.reweight_params(
                values, method=method, hessian_solver=hessian_solver, out=out, **options
            )
            objective = scaled.objective
            layout = objective.formulation.layout
            for row, weight in zip(out, values, strict=True):
                scales = objective.scales.at(objective.design, weight)
                theta = scales.to_refit(layout.from_public(row[None].astype(np.float64))[0])
                row[...] = layout.to_public(theta[None])[0]
            return out

        lacking = {}

        def write(vector, refit):
            out[vector] = self.matched(refit)
            if np.isnan(out[vector]).any():
                lacking[vector] = self.lost_features(refit)

        self.each_weighted(values, method, write, missing=out, **options)
        if lacking:
            lost = {f"At row {v} of sample_weight": lacking[v] for v in sorted(lacking)}
            warn_of_lost_features(lost, self.parameters.layout(self.estimator).n_outputs)
        return out

    def reweight_loss(
        self,
        X,
        y,
        sample_weight,
        *,
        method="newton",
        hessian_solver="auto",
        n_jobs=None,
        verbose=0,
        dtype=None,
        out=None,
    ):
        values = self.check_multiples(sample_weight, method)
        options = {"n_jobs": n_jobs, "verbose": verbose}
        scaled = None if method == "influence" else self.scaled_at(values)
        if scaled is not None:
            return scaled.reweight_loss(
                self.transform(X),
                y,
                values,
                method=method,
                hessian_solver=hessian_solver,
                dtype=dtype,
                out=out,
                **options,
            )
        plain = self.sample_loss(X, y)
        out = prepare_out(out, (len(plain), len(values)), dtype, self.like)
        if method == "influence":
            form = self.formulation
            target = form.target.encode(to_host(y))
            raw = self.raw_reweighted(X, values, method, hessian_solver)
            for vector, one in enumerate(raw):
                out[:, vector] = form.loss.loss(target, one)
            return out

        def write(vector, refit):
            out[:, vector] = refit.loss(X, y)

        self.each_weighted(values, method, write, missing=out.T, **options)
        return out

    def reweight_predict(
        self,
        X,
        sample_weight,
        *,
        method="newton",
        response_method="predict",
        hessian_solver="auto",
        n_jobs=None,
        verbose=0,
    ):
        self.check_left_out_response(response_method)
        values = self.check_multiples(sample_weight, method)
        raw = self.raw_reweighted(X, values, method, hessian_solver, n_jobs, verbose)
        return self.respond_reweighted(raw, response_method)

    def raw_reweighted(self, X, values, method, hessian_solver="auto", n_jobs=None, verbose=0):
        """Return raw predictions for samples at each vector of weights, (m, q, K)."""
        if method == "influence":
            raw, share = self.raw_predictions(X), self._shares(values)
            moved = [
                self.raw_influence(take_rows(X, [q]), hessian_solver) for q in range(len(raw))
            ]
            return to_host(raw + np.tensordot(share, np.stack(moved), (1, 1)))
        scaled = self.scaled_at(values)
        if scaled is not None:
            return scaled.raw_reweighted(
                self.transform(X), values, method, hessian_solver, n_jobs, verbose
            )
        raw = np.full((len(values), len(self.raw_predictions(X)), self.n_scores), np.nan)

        def write(vector, refit):
            raw[vector] = to_host(refit.raw_predictions(X))

        self.each_weighted(values, method, write, n_jobs=n_jobs, verbose=verbose)
        return raw

    def models_at_weights(self, values, method, *, n_jobs=None, **options):
        """Return the pipeline at each vector of weights, see `Problem.models_at_weights`."""
        values = self.check_multiples(values, method)
        if method == "influence":
            solver = options.get("hessian_solver", "auto")
            return [
                FirstOrder(self, partial(self._first_order_at, values[[vector]], solver))
                for vector in range(len(values))
            ]
        models = [None] * len(values)

        def write(vector, refit):
            models[vector] = self.as_pipeline(refit)

        self.each_weighted(values, method, write, n_jobs=n_jobs)
        return models

    def _first_order_at(self, values, hessian_solver, X):
        """Return raw predictions (q, K) at one vector of weights, to first order."""
        return self.raw_reweighted(X, values, "influence", hessian_solver)[0]

    def scaled_at(self, values):
        """Return `scaled` for vectors of weights, or None if they need fits of the steps.

        See `scaled_without`.
        """
        if self.scaled is None:
            return None
        design, scales = self.scaled.objective.design, self.scaled.objective.scales
        return None if any(scales.cancels(design, w) for w in values) else self.scaled

    def check_multiples(self, sample_weight, method):
        """Return vectors of weights (m, n) after checks that steps can be fitted at them."""
        check_option("method", method, removal.METHODS)
        values = check_weights(sample_weight, self.data.n_rows)
        absent = np.flatnonzero(to_host(self.objective.sample_weight) == 0)
        if absent.size:
            raise UnsupportedEstimatorError(
                f"Sample {absent[0]} has weight 0 in the fit, and the steps before the model "
                "may have seen it: its weight is no multiple of that. Fit without the samples "
                "whose weight is 0."
            )
        return values

    def _shares(self, values):
        """Return (w - w_fit)/S, which multiplies influence, (m, n)."""
        objective = self.objective
        return (values - objective.sample_weight) / objective.weight_sum

    def each_weighted(self, values, method, write, *, n_jobs=None, verbose=0, missing=None):
        """Call ``write(vector, refit)`` with the `Refit` at each vector of weights.

        Vectors without a refit get NaN rows in `missing`, and a warning names them.
        """
        self.check_refits()

        def find(vector):
            return self.at_weights(values[vector], method)

        vectors, fatal = range(len(values)), UnsupportedEstimatorError
        failed, undetermined = self.write_refits(
            find, vectors, write, missing, n_jobs, verbose, fatal
        )
        if failed:
            first = min(failed)
            warn(
                f"At {len(failed)} of {len(values)} row(s) of sample_weight there is no "
                "model; their results are NaN: "
                f"{', '.join(f'row {v}' for v in sorted(failed)[:5])}. "
                f"At row {first}: {failed[first]}."
            )
        if undetermined:
            first = min(undetermined)
            warn(
                f"{len(undetermined)} of {len(values)} row(s) of sample_weight leave "
                f"parameters without a value. At row {first}: {undetermined[first]}"
            )

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
