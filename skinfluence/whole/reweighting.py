"""A pipeline at other sample weights: every step before the model is fitted again with them.

A weight counts how often a sample occurs, in every step. Weights that are multiples of those
of the fit repeat rows, and scikit-learn's own `fit_transform` sees them. Other weights are
passed to the steps, all of which must take them.
"""

import numpy as np
from sklearn import config_context
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, OneHotEncoder, OrdinalEncoder
from sklearn.utils.validation import has_fit_parameter

from skinfluence import removal
from skinfluence.blocks import run_blocks
from skinfluence.checks import check_option, prepare_out
from skinfluence.exceptions import UnsupportedEstimatorError, warn
from skinfluence.problem.reweighting import check_weights
from skinfluence.stages.registry import learns_from_rows
from skinfluence.whole.data import take_rows
from skinfluence.whole.refits import Refit

__all__ = ["WholeReweighting"]

# A multiple of the fit's weight may be off by this much to count as a whole number.
_WHOLE = 1e-9


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
        out = prepare_out(out, (len(values), len(self.params)), dtype)
        if method == "influence":
            moved = self.influence_params(hessian_solver=hessian_solver, n_jobs=n_jobs)
            out[...] = self.params + self._shares(values) @ moved
            return out
        options = {"n_jobs": n_jobs, "verbose": verbose}
        if self.scaled is not None:
            self.scaled.reweight_params(
                values, method=method, hessian_solver=hessian_solver, out=out, **options
            )
            objective = self.scaled.objective
            layout = objective.formulation.layout
            for row, weight in zip(out, values, strict=True):
                scales = objective.scales.at(objective.design, weight)
                theta = scales.to_refit(layout.from_public(row[None].astype(np.float64))[0])
                row[...] = layout.to_public(theta[None])[0]
            return out

        lacking = []

        def write(vector, refit):
            out[vector] = self._matched(refit)
            if np.isnan(out[vector]).any():
                lacking.append(vector)

        self.each_weighted(values, method, write, missing=out, **options)
        if lacking:
            warn(
                f"The fits at {len(lacking)} row(s) of sample_weight have other features; "
                "parameters of features that a fit does not have are NaN: "
                f"{', '.join(f'row {vector}' for vector in sorted(lacking)[:5])}."
            )
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
        if self.scaled is not None and method != "influence":
            return self.scaled.reweight_loss(
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
        out = prepare_out(out, (len(plain), len(values)), dtype)
        if method == "influence":
            form = self.formulation
            target = form.target.encode(y)
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
            return raw + np.tensordot(share, np.array(moved), (1, 1))
        if self.scaled is not None:
            return self.scaled.raw_reweighted(
                self.transform(X), values, method, hessian_solver, n_jobs, verbose
            )
        raw = np.full((len(values), len(self.raw_predictions(X)), self.n_scores), np.nan)

        def write(vector, refit):
            raw[vector] = refit.raw_predictions(X)

        self.each_weighted(values, method, write, n_jobs=n_jobs, verbose=verbose)
        return raw

    def models_at_weights(self, values, method, *, n_jobs=None, **options):
        """Return the pipeline at each vector of weights, see `Problem.models_at_weights`."""
        if method == "influence":
            raise UnsupportedEstimatorError(
                "method='influence' for a pipeline in another estimator: use 'newton'."
            )
        values = self.check_multiples(values, method)
        models = [None] * len(values)

        def write(vector, refit):
            models[vector] = self.as_pipeline(refit)

        self.each_weighted(values, method, write, n_jobs=n_jobs)
        return models

    def check_multiples(self, sample_weight, method):
        """Return vectors of weights (m, n) after checks that steps can be fitted at them."""
        check_option("method", method, removal.METHODS)
        values = check_weights(sample_weight, self.data.n_rows)
        absent = np.flatnonzero(self.objective.sample_weight == 0)
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
        failed = {}

        def work(vector):
            try:
                refit = self.at_weights(values[vector], method)
            except UnsupportedEstimatorError:
                raise
            except ValueError as error:
                failed[vector] = str(error).strip().splitlines()[0]
                refit = None
            else:
                if refit is None:
                    failed[vector] = "a class is lost, or the objective has no optimum"
            if refit is not None:
                write(vector, refit)
            elif missing is not None:
                missing[vector] = np.nan

        run_blocks(work, range(len(values)), n_jobs=n_jobs, verbose=verbose)
        if failed:
            first = min(failed)
            warn(
                f"At {len(failed)} of {len(values)} row(s) of sample_weight there is no "
                "model; their results are NaN: "
                f"{', '.join(f'row {v}' for v in sorted(failed)[:5])}. "
                f"At row {first}: {failed[first]}."
            )

    def at_weights(self, weight, method):
        """Return the `Refit` at sample weights (n,), None if there is no model."""
        fitted = self.objective.sample_weight
        counts = weight / fitted
        whole = np.rint(counts)
        if np.all(np.abs(counts - whole) <= _WHOLE * np.maximum(1.0, whole)):
            rows = np.repeat(np.arange(len(counts)), whole.astype(np.intp))
            return self.refit(self.data.take(rows), fitted[rows], method)
        kept = np.flatnonzero(weight)
        data = self.data.take(kept)
        before, X = self._fit_steps(data, counts[kept])
        if method == "refit":
            return Refit(before, self.refit_by_solver(X, data.y, weight[kept]))
        columns = self._columns(before, X)
        model = self.refit_near(X, data.y, weight[kept], method, columns, self.factor)
        return None if model is None else Refit(before, model)

    def _fit_steps(self, data, counts):
        """Return (transformers, transformed rows) fitted with fractional multiplicities."""
        params = {}
        for (name, step), given in zip(self.steps, self.step_params(data), strict=True):
            if not learns_from_rows(step) or _sees_presence_only(step):
                continue
            if not has_fit_parameter(step, "sample_weight") or set(given) - {"sample_weight"}:
                raise UnsupportedEstimatorError(
                    f"{type(step).__name__} cannot be fitted at weights that are not whole "
                    "multiples of those of the fit, because its fit takes no sample_weight. "
                    "Use whole multiples, which repeat samples, or freeze the step with "
                    "sklearn.frozen.FrozenEstimator."
                )
            own = given.get("sample_weight")
            params[f"{name}__sample_weight"] = counts if own is None else counts * own
        before = clone(Pipeline(self.steps))
        with config_context(enable_metadata_routing=False):
            return before, before.fit_transform(data.X, data.y, **params)


def _sees_presence_only(step):
    """Return whether a step depends on which samples have a weight, and not on how much."""
    if isinstance(step, OneHotEncoder | OrdinalEncoder):
        return step.min_frequency is None and step.max_categories is None
    return isinstance(step, MaxAbsScaler | MinMaxScaler)
