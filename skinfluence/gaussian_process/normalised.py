"""The problem for a Gaussian process with ``normalize_y=True``.

`fit` subtracts the mean m of the targets and divides by their standard deviation. At a fixed
kernel the scale cancels, and the prediction on the scale of y is

    f(x) = m + sum_j a_j K(x, x_j),        M a = y - m 1,        M = K + v I.

So m is a statistic, and a minimises the objective for centred targets. Row i's influence, n
times the derivative in its multiplicity, has the residual r_i = v a_i and the deviation
e_i = y_i - m:

    I_i(a) = n r_i M^-1 e_i - e_i M^-1 1,        I_i(m) = e_i.

Without the rows A, with M^-1 = P, b the solution for all rows, and the mean m',

    a' = b' - (m' - m) c',   b' = b - P_A P_AA^-1 b_A,   c' = c - P_A P_AA^-1 c_A,   c = P 1.
"""

import numpy as np
from scipy.linalg import cho_solve, cholesky
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skinfluence import removal
from skinfluence.blocks import row_blocks, run_blocks
from skinfluence.checks import (
    check_count,
    check_option,
    check_refine,
    check_working_memory,
    prepare_out,
)
from skinfluence.exceptions import UnsupportedEstimatorError, warn
from skinfluence.groups import check_indices
from skinfluence.problem import Problem
from skinfluence.problem.ranking import RankedBlocks
from skinfluence.problem.refit_checks import choose_checks, compare_changes

__all__ = ["NormalisedProblem"]

# Largest violation of the fit's equations: relative to the targets, and to the terms' sizes.
_SAME, _ROUNDING = 1e-6, 1e-12


class NormalisedProblem(RankedBlocks, Problem):
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

    def query_blocks(self, n_queries, n_jobs=None, working_memory=None):
        """Return query blocks whose arrays (m, n) fit into memory."""
        row_bytes = 8 * 4 * self.n_rows
        return row_blocks(n_queries, row_bytes, n_jobs=n_jobs, working_memory=working_memory)

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

    def influence_params(
        self, X=None, y=None, *, hessian_solver="auto", n_jobs=None, dtype=None, out=None
    ):
        self.objective  # noqa: B018  # raises without training data
        self.parameters.check_takes_samples(X)
        if y is not None:
            raise ValueError("y was given without X: pass both, or neither.")
        n, r, e = self.n_rows, self.residuals, self.deviations
        out = prepare_out(out, (n, len(self.params)), dtype)
        ones = self.solve(np.ones(n))

        def work(block):
            P = self.columns(np.arange(block.start, block.stop)).T
            theta = np.empty((len(P), r.shape[1], n + 1))
            theta[:, :, :-1] = n * r[block, :, None] * P[:, None] - e[block, :, None] * ones
            theta[:, :, -1] = e[block]
            out[block] = self.layout.to_public(theta)

        run_blocks(work, self.query_blocks(n, n_jobs), n_jobs=n_jobs)
        return out

    def influence_loss(
        self,
        X,
        y,
        *,
        average=False,
        hessian_solver="auto",
        n_jobs=None,
        dtype=None,
        out=None,
        verbose=0,
    ):
        query, n = self.training_query(X, y), self.n_rows
        if average:
            out = prepare_out(out, (n,), dtype)
            out[:] = self.on_functionals(query.sum()[None] / len(query))[0]
            return out
        out = prepare_out(out, (len(query), n), dtype)

        def work(block):
            out[block] = self.influence_of(query.take(block))

        blocks = self.query_blocks(len(query), n_jobs)
        run_blocks(work, blocks, n_jobs=n_jobs, verbose=verbose)
        return out

    def training_query(self, X, y):
        """Return loss gradients for query rows; raises without training data."""
        self.objective  # noqa: B018  # raises if they are missing
        return self.check_query(X, y)

    def influence_loss_chunked(
        self, X, y, *, reduce_func=None, working_memory=None, hessian_solver="auto"
    ):
        check_working_memory(working_memory)
        query = self.training_query(X, y)

        def generate():
            for block in self.query_blocks(len(query), working_memory=working_memory):
                chunk = self.influence_of(query.take(block))
                yield chunk if reduce_func is None else reduce_func(chunk, block.start)

        return generate()

    def influence_prediction(
        self,
        X,
        *,
        response_method="auto",
        hessian_solver="auto",
        n_jobs=None,
        dtype=None,
        out=None,
    ):
        self.response_method(response_method)
        objective, r, e = self.objective, self.residuals, self.deviations
        design, K = self.check_X(objective.formulation, X), r.shape[1]
        trailing = () if self.response_is_flat() else (K,)
        out = prepare_out(out, (design.n_rows, self.n_rows, *trailing), dtype)
        wide = out if trailing else out[:, :, None]

        def work(block):
            Z, rest = self.smoother(design.take(block))
            for k in range(K):
                wide[block, :, k] = self.n_rows * Z * r[:, k] + rest * e[:, k]

        run_blocks(work, self.query_blocks(design.n_rows, n_jobs), n_jobs=n_jobs)
        return out

    def influence_relabel(
        self,
        X,
        y,
        *,
        y_new,
        hessian_solver="auto",
        n_jobs=None,
        dtype=None,
        out=None,
        verbose=0,
    ):
        query, n = self.training_query(X, y), self.n_rows
        change = self.check_new_target(y_new) - self.objective.target
        out = prepare_out(out, (len(query), n), dtype)

        def work(block):
            out[block] = self.influence_of(query.take(block), change, change)

        blocks = self.query_blocks(len(query), n_jobs)
        run_blocks(work, blocks, n_jobs=n_jobs, verbose=verbose)
        return out

    def influence_functional(
        self, gradient, *, hessian_solver="auto", n_jobs=None, dtype=None, out=None
    ):
        self.objective  # noqa: B018  # raises without training data
        V = self.check_functional(gradient)
        out = prepare_out(out, (*V.shape[:-1], self.n_rows), dtype)
        wide, theta = np.atleast_2d(out), self.layout.from_public(np.atleast_2d(V))

        def work(block):
            wide[block] = self.on_functionals(theta[block])

        run_blocks(work, self.query_blocks(len(theta), n_jobs), n_jobs=n_jobs)
        return out

    def on_functionals(self, V):
        """Return the influence (m, n) on scalars with gradients V (m, K, n + 1) in theta."""
        out = np.zeros((len(V), self.n_rows))
        for k, (r, e) in enumerate(zip(self.residuals.T, self.deviations.T, strict=True)):
            Z = self.solve(V[:, k, :-1].T).T
            rest = V[:, k, -1:] - Z.sum(axis=1, keepdims=True)
            out += self.n_rows * Z * r + rest * e
        return out

    def self_influence(self, *, hessian_solver="auto", n_jobs=None):
        design, out = self.objective.design, np.empty(self.n_rows)
        gradient = -2.0 * self.residuals

        def work(block):
            own = np.arange(block.start, block.stop)
            Z, rest = self.smoother(design.take(own))
            found = self.spread(Z, rest, gradient[block], self.residuals, self.deviations)
            out[block] = found[np.arange(len(own)), own]

        run_blocks(work, self.query_blocks(self.n_rows, n_jobs), n_jobs=n_jobs)
        return out

    # ---------------------------------------------------------------- removal

    def start_removal(self, groups, cv, method, refine=None):
        """Check one call's arguments and return its `Groups`."""
        check_option("method", method, removal.METHODS)
        check_refine(refine, method)
        groups = self.groups_for(groups, cv)
        groups.check_leaves_weight(self.objective.sample_weight)
        return groups

    def each_without(self, groups, method, write, n_jobs, verbose):
        """Call ``write(indices, members, theta)`` for blocks, theta is (g, K, n + 1)."""
        n, theta = self.n_rows, self.theta
        ones = self.solve(np.ones(n))
        sizes = np.asarray([len(groups.rows(g)) for g in range(len(groups))])
        width = 8 * n * (3 * int(sizes.max(initial=1)) + 3 * len(theta))

        def work(block):
            indices = np.arange(block.start, block.stop)
            members = [groups.rows(g) for g in indices]
            P = self.columns(np.concatenate(members).astype(np.intp))
            ends = np.cumsum([0, *map(len, members)])
            found = np.empty((len(members), *theta.shape))
            for j, rows in enumerate(members):
                part = P[:, ends[j] : ends[j + 1]]
                found[j] = self.theta_without(rows, part, theta, ones, method)
            write(indices, members, found)

        blocks = row_blocks(len(groups), width, n_jobs=n_jobs)
        run_blocks(work, blocks, n_jobs=n_jobs, verbose=verbose)

    def theta_without(self, rows, P, theta, ones, method):
        """Return theta (K, n + 1) without some rows; P has their columns of M^-1."""
        coef, deviation, n = theta[:, :-1], self.deviations[rows], self.n_rows
        out = np.empty(theta.shape)
        if method == "influence":
            shift = -deviation.sum(axis=0) / n
            out[:, :-1] = coef - (P @ self.residuals[rows]).T - np.outer(shift, ones)
        else:
            shift = -deviation.sum(axis=0) / (n - len(rows))
            both = np.column_stack([coef[:, rows].T, ones[rows]])
            moved = (P @ np.linalg.solve(P[rows], both)).T
            out[:, :-1] = coef - moved[:-1] - np.outer(shift, ones - moved[-1])
            out[:, rows] = 0.0
        out[:, -1] = theta[:, -1] + shift
        return out

    def leave_out_params(
        self,
        groups=None,
        *,
        cv=None,
        method="newton",
        refine=None,
        return_bound=False,
        hessian_solver="auto",
        n_jobs=None,
        verbose=0,
        dtype=None,
        out=None,
    ):
        if return_bound:
            raise UnsupportedEstimatorError(
                f"return_bound of {self.name}: method='newton' is the refit, and needs no "
                "bound. Leave it out."
            )
        groups = self.start_removal(groups, cv, method, refine)
        out = prepare_out(out, (len(groups), len(self.params)), dtype)

        def write(indices, members, theta):
            out[indices] = self.layout.to_public(theta)

        self.each_without(groups, method, write, n_jobs, verbose)
        return out

    def leave_out_loss(
        self,
        X,
        y,
        groups=None,
        *,
        cv=None,
        method="newton",
        refine=None,
        hessian_solver="auto",
        n_jobs=None,
        verbose=0,
        dtype=None,
        out=None,
    ):
        formulation = self.objective.formulation
        design, target = self.check_samples(formulation, X, y)
        groups = self.start_removal(groups, cv, method, refine)
        out = prepare_out(out, (design.n_rows, len(groups)), dtype)

        def write(indices, members, theta):
            removal.losses_into(out, indices, formulation.loss, design, target, theta)

        self.each_without(groups, method, write, n_jobs, verbose)
        return out

    def raw_without(
        self,
        groups=None,
        cv=None,
        method="newton",
        refine=None,
        hessian_solver="auto",
        n_jobs=None,
        verbose=0,
    ):
        groups = self.start_removal(groups, cv, method, refine)
        groups.partition()
        design = self.objective.design
        raw = np.empty((self.n_rows, self.n_scores))

        def write(indices, members, theta):
            for rows, one in zip(members, theta, strict=True):
                raw[rows] = design.take(rows).predict(one)

        self.each_without(groups, method, write, n_jobs, verbose)
        return raw

    def leave_out_check(
        self,
        n_checks=20,
        groups=None,
        *,
        cv=None,
        method="newton",
        refine=None,
        random_state=None,
        hessian_solver="auto",
        n_jobs=None,
    ):
        random_state = check_random_state(random_state)
        groups = self.start_removal(groups, cv, method, refine)
        check_count("n_checks", n_checks, len(groups), of="groups")
        predicted = np.empty((len(groups), len(self.params)))

        def write(indices, members, theta):
            predicted[indices] = self.layout.to_public(theta) - self.params

        self.each_without(groups, method, write, n_jobs, 0)
        indices = choose_checks(predicted, n_checks, random_state)
        actual = np.array([self.refit_without(groups.rows(g)) for g in indices])

        def read(params):
            """Return K a and the mean."""
            readings = self.objective.design.readings(self.layout.from_public(params))
            return readings.reshape(*params.shape[:-1], -1)

        return compare_changes(
            predicted[indices], actual - self.params, indices, self.params, read
        )

    # ---------------------------------------------------------------- updates

    def remove_samples(self, indices, *, method="exact", hessian_solver="auto"):
        rows = check_indices(indices, self.n_rows)
        self.start_removal([rows], None, method)
        if method == "influence":
            raise UnsupportedEstimatorError(
                f"remove_samples of {self.name}(normalize_y=True) has no first-order form, "
                "because the fit is in closed form: use method='exact' or 'newton'."
            )
        kept = np.delete(np.arange(self.n_rows), rows)
        objective, _ = self.parameters.take_rows(self.objective, self.theta, kept)
        self.replace_objective(objective, self.fit_to(objective))

    def add_samples(self, X, y, sample_weight=None, *, hessian_solver="auto"):
        objective = self.objective
        more = self.make_objective(objective.formulation, X, y, sample_weight)
        objective, _ = self.parameters.append_rows(objective, self.theta, more)
        self.replace_objective(objective, self.fit_to(objective))
