"""A moment model at other sample weights: its formulas on the sums with these weights."""

from dataclasses import replace

import numpy as np
from sklearn.utils.validation import has_fit_parameter

from skinfluence.blocks import run_blocks
from skinfluence.checks import check_option, prepare_out
from skinfluence.exceptions import warn
from skinfluence.problem.reweighting import check_weights
from skinfluence.removal import METHODS

__all__ = ["MomentReweighting"]


class MomentReweighting:
    """Methods for other sample weights; "newton" and "exact" are the fit itself."""

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
        values = check_weights(sample_weight, self.n_rows)
        out = prepare_out(out, (len(values), len(self.params)), dtype)
        self.each_weighted(values, method, out.__setitem__, n_jobs, verbose)
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
        values = check_weights(sample_weight, self.n_rows)
        rows, codes = self.check_samples(self.formulation, X, y)
        out = prepare_out(out, (len(codes), len(values)), dtype)

        def write(vector, theta):
            out[:, vector] = self.formulation.loss.loss(codes, self._raw(theta, rows))

        self.each_weighted(values, method, write, n_jobs, verbose)
        return out

    def raw_reweighted(self, X, values, method, hessian_solver="auto", n_jobs=None, verbose=0):
        """Return scores for samples at each vector of weights, (m, q, K)."""
        rows = self.check_rows(self.formulation, X)
        raw = np.empty((len(values), rows.shape[0], self.n_scores))

        def write(vector, theta):
            raw[vector] = self._raw(theta, rows)

        self.each_weighted(values, method, write, n_jobs, verbose)
        return raw

    def models_at_weights(self, values, method, **options):
        """Return the fitted model at each vector of weights, None if a class is lost."""
        data = self.objective
        y, models = self.formulation.target.decode(data.target), []
        for weight in check_weights(values, self.n_rows):
            refit = self.refit_near(data.X, y, weight, method)
            models.append(None if refit is None else self.as_model(refit.estimator))
        return models

    def each_weighted(self, values, method, write, n_jobs, verbose):
        """Call ``write(vector, theta)`` with the parameters (p,) at each vector of weights.

        The parameters are NaN if there is no model; a warning names these vectors.
        """
        check_option("method", method, METHODS)
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

        run_blocks(work, range(len(values)), n_jobs=n_jobs, verbose=verbose)
        if lost:
            named = ", ".join(f"row {vector}" for vector in sorted(lost)[:5])
            warn(
                f"At {len(lost)} of {len(values)} row(s) of sample_weight there is no model, "
                "because a class has no weight or its covariance is singular; their results "
                f"are NaN: {named}."
            )
