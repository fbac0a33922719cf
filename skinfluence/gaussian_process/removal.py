"""Removal from a Gaussian process with ``normalize_y=True``, in closed form.

Let M^-1 = P, let b be the dual coefficients for all rows, c = P 1, and m' the mean target
without the rows A. The coefficients without them are

    a' = b' - (m' - m) c',   b' = b - P_A P_AA^-1 b_A,   c' = c - P_A P_AA^-1 c_A.
"""

import numpy as np
from scipy.linalg import cho_solve, cholesky

from skinfluence.blocks import row_blocks, run_blocks
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.groups import check_indices
from skinfluence.problem.requests import Removal


class NormalisedRemoval:
    """Leave-one-out and group removal, other weights, and updates in place."""

    def remove_groups(self, base, request, emit, **options):
        """Call ``emit(indices, rows, theta)`` for blocks of groups, see `Problem`."""
        groups, n_jobs, n, theta = request.groups, request.n_jobs, self.n_rows, self.theta
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
                found[j] = self.theta_without(rows, part, theta, ones, request.method)
            emit(indices, groups.padded(indices), found)

        blocks = row_blocks(len(groups), width, n_jobs=n_jobs)
        run_blocks(work, blocks, n_jobs=n_jobs, verbose=request.verbose)

    def theta_without(self, rows, P, theta, ones, method):
        """Return theta (K, n + 1) without some rows; P has their columns of M^-1."""
        coef, deviation, n = theta[:, :-1], self.deviations[rows], self.n_rows
        out = np.empty(theta.shape)
        if method == "influence":
            shift = -deviation.sum(axis=0) / n
            out[:, :-1] = coef - (P @ self.residuals[rows]).T - np.outer(shift, ones)
        else:
            shift = -deviation.sum(axis=0) / (n - len(rows))
            sides = np.column_stack([coef[:, rows].T, ones[rows]])
            moved = (P @ np.linalg.solve(P[rows], sides)).T
            out[:, :-1] = coef - moved[:-1] - np.outer(shift, ones - moved[-1])
            out[:, rows] = 0.0
        out[:, -1] = theta[:, -1] + shift
        return out

    def reweigh(self, request, emit):
        """Call ``emit(vectors, theta)`` at each vector of weights, see `Problem.reweigh`.

        Row i then has the noise v / w_i, and m is the weighted mean.
        """
        values = request.sample_weight
        y, theta, n = self.objective.target, self.theta, self.n_rows
        K, ones = self.objective.design.basis.matrix, self.solve(np.ones(n))

        def work(vector):
            w, found = values[vector], np.zeros(theta.shape)
            if request.method == "influence":
                shift = (w - 1.0) @ self.deviations / n
                moved = self.solve((w - 1.0)[:, None] * self.residuals)
                found[:, :-1] = theta[:, :-1] + moved.T - np.outer(shift, ones)
                found[:, -1] = theta[:, -1] + shift
            else:
                kept = np.flatnonzero(w)
                M = K[np.ix_(kept, kept)] + np.diag(self.noise / w[kept])
                mean = w @ y / w.sum()
                factor = cholesky(M, lower=True, check_finite=False)
                found[:, kept] = cho_solve((factor, True), y[kept] - mean).T
                found[:, -1] = mean
            emit(np.array([vector]), found[None])

        vectors = range(len(values))
        run_blocks(work, vectors, n_jobs=request.n_jobs, verbose=request.verbose)
        return []

    # ---------------------------------------------------------------- updates

    def remove_samples(self, indices, *, method="exact", hessian_solver="auto"):
        rows = check_indices(indices, self.n_rows)
        self.resolve(Removal([rows], method=method))
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
