"""The problem for a Gaussian process with ``normalize_y=True``.

`fit` subtracts the mean m of the targets and divides by their standard deviation. At a fixed
kernel the scale cancels, and the prediction on the scale of y is

    f(x) = m + sum_j a_j K(x, x_j),        M a = y - m 1,        M = K + v I.

So m is a statistic, and a minimises the objective for centred targets. Row i's influence, n
times the derivative in its multiplicity, has the residual r_i = v a_i and the deviation
e_i = y_i - m:

    I_i(a) = n r_i M^-1 e_i - e_i M^-1 1,        I_i(m) = e_i.
"""

import numpy as np
from scipy.linalg import cho_solve, cholesky
from sklearn.utils.validation import check_is_fitted

from skinfluence.exceptions import UnsupportedEstimatorError, warn
from skinfluence.gaussian_process.removal import NormalisedRemoval
from skinfluence.problem import Problem
from skinfluence.problem.closed_form import ClosedFormAnswers
from skinfluence.problem.requests import NEW, PLAIN

# Largest violation of the fit's equations: relative to the targets, and to the terms' sizes.
_SAME, _ROUNDING = 1e-6, 1e-12


class NormalisedProblem(NormalisedRemoval, ClosedFormAnswers, Problem):
    """A fitted Gaussian process whose mean target depends on the training rows.

    theta (K, n + 1) has the dual coefficients on the scale of y, and last the mean.
    """

    def of(self, estimator):
        return NormalisedProblem(estimator)

    # ---------------------------------------------------------------- the fit

    def make_objective(self, formulation, X, y, sample_weight):
        objective = super().make_objective(formulation, X, y, sample_weight)
        if not np.all(objective.sample_weight == 1):
            raise UnsupportedEstimatorError(
                f"{self.name}(normalize_y=True) takes the mean of y without sample weights: "
                "leave out sample_weight, or repeat samples."
            )
        return objective

    def warn_of_other_data(self, objective, data, guess):
        theta, y = self.theta, objective.target
        deviation, coef = y - theta[:, -1], theta[:, :-1].T
        residual = deviation - self.products(objective, coef)
        gap = max(np.abs(residual).max(), np.abs(deviation.mean(axis=0)).max())
        size, rounding = (
            np.abs(deviation).max(),
            self.products(objective, np.abs(coef), np.abs),
        )
        if gap <= _SAME * size + _ROUNDING * rounding.max():
            return
        looks = "other rows, or another order" if guess is None else guess
        warn(
            f"X and y are not those that this {self.name} was fitted on: at its parameters "
            f"the equations of the fit are violated by {gap / size:.2g} of the largest "
            f"deviation from the mean of y. It looks like {looks}. Pass the data of the fit; "
            "or, if other data are meant, fit again."
        )

    @staticmethod
    def products(objective, coef, of=lambda K: K):
        """Return M coef for (n, K), with a function of the kernel instead of the kernel."""
        return of(objective.design.basis.matrix) @ coef + objective.penalty[0, 0] / 2 * coef

    def factor_of(self, objective):
        """Return the Cholesky factor L of M, (n, n)."""
        M = objective.design.basis.matrix.copy()
        M[np.diag_indices_from(M)] += objective.penalty[0, 0] / 2
        return cholesky(M, lower=True, overwrite_a=True, check_finite=False)

    def fit_to(self, objective):
        """Return theta (K, n + 1) for training data."""
        y = objective.target
        mean = y.mean(axis=0)
        coef = cho_solve((self.factor_of(objective), True), y - mean)
        return np.vstack([coef, mean]).T

    @property
    def noise(self):
        """The noise variance v."""
        return float(self.formulation.penalty[0, 0]) / 2

    @property
    def residuals(self):
        """r_i = v a_i, (n, K)."""
        return self.noise * self.theta[:, :-1].T

    @property
    def deviations(self):
        """e_i = y_i - m, (n, K)."""
        return self.objective.target - self.theta[:, -1]

    def solve(self, B):
        """Return M^-1 B for (n, m)."""
        check_is_fitted(self.estimator)
        return cho_solve((self.estimator.L_, True), B, check_finite=False)

    def columns(self, rows):
        """Return some of the columns of M^-1, (n, m)."""
        unit = np.zeros((self.n_rows, len(rows)))
        unit[rows, np.arange(len(rows))] = 1.0
        return self.solve(unit)

    @property
    def query_bytes(self):
        """Bytes for the arrays (n,) of one scalar."""
        return 8 * 4 * self.n_rows

    # ---------------------------------------------------------------- influence

    def smoother(self, design):
        """Return Z = K(x, .) M^-1 for rows, (m, n), and 1 - Z 1, (m, 1)."""
        basis = self.objective.design.basis
        Z = self.solve(basis.between(design.X).T).T
        return Z, 1.0 - Z.sum(axis=1, keepdims=True)

    def spread(self, Z, rest, G, residuals, deviations):
        """Return n Z (G.r) + rest (G.e), (m, n), for gradients G (m, K) in predictions."""
        return self.n_rows * Z * (G @ residuals.T) + rest * (G @ deviations.T)

    def influence_of(self, query, residuals=None, deviations=None):
        """Return the influence (m, n) on scalars whose gradients are query rows."""
        residuals = self.residuals if residuals is None else residuals
        deviations = self.deviations if deviations is None else deviations
        Z, rest = self.smoother(query.design)
        return self.spread(Z, rest, query.raw_gradient, residuals, deviations)

    def influence_params(self, X=None, y=None, request=PLAIN, output=NEW):
        self.objective  # noqa: B018  # raises without training data
        self.parameters.check_takes_samples(X)
        if y is not None:
            raise ValueError("y was given without X: pass both, or neither.")
        n, r, e = self.n_rows, self.residuals, self.deviations
        out = output.prepare((n, len(self.params)))
        ones = self.solve(np.ones(n))

        def work(block):
            P = self.columns(np.arange(block.start, block.stop)).T
            theta = np.empty((len(P), r.shape[1], n + 1))
            theta[:, :, :-1] = n * r[block, :, None] * P[:, None] - e[block, :, None] * ones
            theta[:, :, -1] = e[block]
            out[block] = self.layout.to_public(theta)

        self.run(work, n, request)
        return out

    def influence_prediction(self, X, request=PLAIN, output=NEW, *, response_method="auto"):
        self.response_method(response_method)
        objective, r, e = self.objective, self.residuals, self.deviations
        design, K = self.check_X(objective.formulation, X), r.shape[1]
        trailing = () if self.response_is_flat() else (K,)
        out = output.prepare((design.n_rows, self.n_rows, *trailing))
        wide = out if trailing else out[:, :, None]

        def work(block):
            Z, rest = self.smoother(design.take(block))
            for k in range(K):
                wide[block, :, k] = self.n_rows * Z * r[:, k] + rest * e[:, k]

        self.run(work, design.n_rows, request)
        return out

    def influence_of_labels(self, query, target):
        """Return the influence (m, n) of other targets of the training rows."""
        change = target - self.objective.target
        return self.influence_of(query, change, change)

    def influence_on(self, V, n_jobs=None):
        """Return the influence (m, n) on scalars with gradients V (m, K, n + 1) in theta."""
        out = np.zeros((len(V), self.n_rows))
        for k, (r, e) in enumerate(zip(self.residuals.T, self.deviations.T, strict=True)):
            Z = self.solve(V[:, k, :-1].T).T
            rest = V[:, k, -1:] - Z.sum(axis=1, keepdims=True)
            out += self.n_rows * Z * r + rest * e
        return out

    def self_influence(self, request=PLAIN):
        design, out = self.objective.design, np.empty(self.n_rows)
        gradient = -2.0 * self.residuals

        def work(block):
            rows = np.arange(block.start, block.stop)
            Z, rest = self.smoother(design.take(rows))
            found = self.spread(Z, rest, gradient[block], self.residuals, self.deviations)
            out[block] = found[np.arange(len(rows)), rows]

        self.run(work, self.n_rows, request)
        return out
