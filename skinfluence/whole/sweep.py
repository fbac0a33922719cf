"""Influence through the stages before a model, by one backward sweep for each scalar.

Let the scalar Q depend on the whole fit, with gradient q in the parameters and cotangent B_q
on the rows at which Q is evaluated. With v = H^-1 q, a training row i has

    dQ/dm_i = - v' grad L(z_i)                                  as in a single estimator
              + c . ds/dm_i                                     through the stages

The cotangent c on the statistics sums two contributions: Q's rows with B_q, and the training
rows with

    B_k = - [ s_k l''_k (x~_k'v) theta + s_k l'_k v ].

The influence is S/w_i times this derivative, so -(w_i/S) I is the first-order removal.
"""

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from skinfluence.exceptions import UnsupportedEstimatorError, warn
from skinfluence.namespaces import to_host
from skinfluence.stages.base import Factors, dense, on_rows
from skinfluence.stages.chain import add

# Largest share of the result by which derivatives for larger and smaller values may differ.
_KINK = 1e-3


def make_sweep(problem, hessian_solver, whole):
    """Return the sweep at a model's current parameters.

    Parameters
    ----------
    problem : Problem
        The model's problem.
    hessian_solver : str or HessianSolver
        How to apply H^-1.
    whole : object
        The fit around it, see `Sweep`.
    """
    state = problem.influence_state(hessian_solver, quiet=True)
    objective = state.point.objective
    if objective.design.has_metric:
        problem.parameters.check_perturbable(objective)  # the kernel needs a derivative
        return KernelSweep(state.point, state.factor, whole)
    if objective.formulation.loss.is_piecewise_linear:
        return ActiveSetSweep(state.point, state.factor, whole)
    return Sweep(state.point, state.factor, whole)


class Sample(NamedTuple):
    """Rows at which a scalar is evaluated.

    Parameters
    ----------
    X : {array-like, sparse matrix, DataFrame} of shape (m, .)
        Raw rows.
    design : Design
        The same rows as features for the model.
    raw_gradient : ndarray of shape (m, K)
        The scalar's gradient in their raw predictions.
    """

    X: Any
    design: Any
    raw_gradient: np.ndarray


def sample_of(functional, params):
    """Return the `Sample` on which a functional of predictions is evaluated, else None."""
    if not hasattr(functional, "sample_gradient"):
        return None
    return Sample(*functional.sample_gradient(params))


def response_samples(X, design, J):
    """Return gradients of one row's responses in the parameters, and a `Sample` for each.

    X and `design` hold the row, and J (R, K) is the derivative of its R responses in its raw
    predictions. The gradients have shape (R, K, D).
    """
    return J[:, :, None] * design.rows()[0], [Sample(X, design, line[None]) for line in J]


class Sweep:
    """The stages' contribution to the influence for the model behind them.

    Parameters
    ----------
    point, factor : Point, Factor
        The model's objective at its parameters, and H^-1.
    whole : object or None
        The fit around the model: `chain`, the stages or other inputs before it; `gamma_moves`
        and `parameters`; `of_rows`, from the model's rows to the fit's. None if only
        cotangents are asked for, on rows that store all entries with one.
    """

    def __init__(self, point, factor, whole):
        self.point = point
        self.factor = factor
        self.whole = whole
        self._of_params = self._of_gamma = None

    @property
    def chain(self):
        """The stages before the model."""
        return self.whole.chain

    @property
    def scale(self):
        """S/w_i, (n,); NaN for rows without weight."""
        return self.weight_sum / self.point.objective.unit_weight

    @property
    def weight_sum(self):
        """The weights' sum S, which is the scale for rows with weight 1."""
        return self.point.objective.weight_sum

    def coordinates(self, V):
        """Return the vectors (m, K, D) of which `factors` is a linear function."""
        return self.factor.solve_transposed(V)

    def factors(self, solved):
        """Return B_k on all training rows for each v in solved (m, K, D), as `Factors`."""
        point, design = self.point, self.point.objective.design
        d = design.n_features
        bend = [point.curvature_product(design.predict(v)) for v in solved]
        pull = point.objective.sample_weight[:, None] * point.rows.raw_gradient
        bend = -np.stack(bend)
        return Factors(self.rows, bend, point.theta[:, :d], -pull, solved[:, :, :d])

    @cached_property
    def rows(self):
        """The model's training rows, with all entries stored that have a cotangent."""
        return self._complete(self.point.objective.design.X)

    def _complete(self, rows, X=None):
        return rows if self.whole is None else self.chain.complete(rows, X)

    def sample_cotangent(self, sample):
        """Return B_q on a `Sample`'s rows, (m, d)."""
        d = self.point.objective.design.n_features
        rows = self._complete(sample.design.X, sample.X)
        return on_rows(rows, sample.raw_gradient, self.point.theta[:, :d])

    def extra(self, V, samples, rows=None):
        """Return S/w_i times the stages' contribution for m scalars, (m, n)."""
        scale = self.scale if rows is None else self.weight_sum
        return self.derivative(V, samples, rows) * scale

    def derivative(self, V, samples, rows=None):
        """Return the stages' contribution to dQ/dm_i for m scalars Q, (m, n).

        Parameters
        ----------
        V : ndarray of shape (m, K, D)
            Gradients in the parameters.
        samples : list of Sample or None
            The rows at which each scalar is evaluated.
        rows : Rows or None, default=None
            Rows i from the chain's `added`; None for the training rows.
        """
        m, (K, D) = len(V), self.point.theta.shape
        known = self.chain.is_costly or m > K * D or self._of_params is not None
        known = known and rows is None
        if known:
            # The result is linear: with many scalars, sweep once for each coordinate.
            if self._of_params is None:
                basis = np.eye(K * D).reshape(-1, K, D)
                cs = self.chain.pull_training_factors(self.factors(basis))
                self._of_params = self.chain.row_influences(cs)
            cs = [None] * m
        else:
            cs = self.chain.pull_training_factors(self.factors(self.coordinates(V)))
        cs = self.with_samples(cs, samples)
        total = self.row_influences(cs, rows)
        if known:
            total += self.coordinates(V).reshape(m, -1) @ self._of_params
        return total

    def row_influences(self, cs, rows=None):
        """Return the contribution of rows for cotangents on the statistics, (m, n).

        Only steps have others than the training rows, and not the inputs of a member.
        """
        if rows is None:
            return self.chain.row_influences(cs)
        return self.chain.row_influences(cs, rows)

    def with_samples(self, cs, samples):
        """Return cotangents on the statistics, with the samples' own contribution added."""
        cs = list(cs)
        for j, sample in enumerate(samples):
            if sample is not None:
                B = self.sample_cotangent(sample)
                cs[j] = add(cs[j], self.chain.pull_statistics(sample.X, B))
        return cs

    def to_inputs(self, V, samples, index):
        """Return d(scalar)/d(raw training row `index`) for m scalars, (m, d_raw).

        The row affects all stages' statistics and the model.
        """
        found = []
        upper, lower, number = self.chain.sides(index)
        cotangents = self.training_cotangents(V, samples)
        for B, sample in zip(cotangents, samples, strict=True):
            c = self.chain.pull_training_statistics(B)
            on_sample = self.sample_cotangent(sample)
            c = add(c, self.chain.pull_statistics(sample.X, on_sample))
            pulled = self.chain.pull_training_input(B)
            if pulled is None:
                raise UnsupportedEstimatorError(
                    "influence_perturbation in the raw features: these are no numbers, and "
                    "have no derivative. Explain the last step alone: "
                    "from_fitted(pipe[-1], pipe[:-1].transform(X), y)."
                )
            fits = [upper.pull_fit(c)]
            fits.append(fits[0] if lower is upper else lower.pull_fit(c))
            rows = [pulled if fit is None else pulled + fit for fit in fits]
            found.append([dense(row[[index]])[0] for row in rows])
        above, below = (np.stack(rows) for rows in zip(*found, strict=True))
        mean = (above + below) / 2
        gap, largest = (np.abs(to_host(d)).max(initial=0.0) for d in (above - below, mean))
        if number or gap > _KINK * largest:
            size = f"by {gap / largest:.2g} of the largest one" if gap and largest else "there"
            warn(
                f"Training sample {index} shares a value with others at an order statistic "
                "(extreme, median, quantile) of the steps: the derivatives for a larger and "
                f"for a smaller value differ {size}, and the result is their mean."
            )
        return mean

    def training_cotangents(self, V, samples):
        """Generate B_k on all training rows for each scalar."""
        yield from self.factors(self.coordinates(V))


class ActiveSetSweep(Sweep):
    """The sweep for linear models with a piecewise linear loss.

    All rows have dual coefficients beta = -s l'. The margin vectors M have x~_M'v = 0 with
    multipliers rho. Then

        Lam v = q - sum_M rho_j x~_j,     B_k = - [ rho_k theta - beta_k v ].
    """

    def coordinates(self, V):
        # The multipliers depend on q, and not on v alone.
        return np.asarray(V, dtype=np.float64)

    def factors(self, V):
        objective, d = self.point.objective, self.point.objective.design.n_features
        solved = self.factor.solve_transposed(V)
        bend = np.zeros((len(V), objective.n_rows, len(self.point.theta)))
        rest = V - objective.penalty * solved
        for k, margin in enumerate(self.point.margins()):
            rows = objective.design.take(margin).rows()
            bend[:, margin, k] = np.linalg.lstsq(rows.T, rest[:, k].T)[0].T
        return Factors(
            self.rows,
            -bend,
            self.point.theta[:, :d],
            self.point.dual_coefficients,
            solved[:, :, :d],
        )


class KernelSweep(Sweep):
    """The sweep for kernel models, which depend on rows through K(x, .).

    With the raw prediction f, the function z = H^-1 grad Q and rho_j = h_j z(x_j),

        B_q = g_q grad f(x_q),     B_k = - [ rho_k grad f(x_k) + s_k l'_k grad z(x_k) ],
        dQ/d gamma = sum_q g_q df(x_q)/d gamma - sum_j rho_j df(x_j)/d gamma.

    If gamma is "scale", it is 1/(d var(X)) and changes with the model's training rows.
    """

    def sample_cotangent(self, sample):
        basis, n = self._basis
        gradients = [
            g @ (self.point.theta[:, :n] @ basis.kernel.gradient(x, basis.X))
            for x, g in zip(self._each(sample.design.X), sample.raw_gradient, strict=True)
        ]
        return np.array(gradients)

    def derivative(self, V, samples, rows=None):
        cotangents = self.training_cotangents(V, samples)
        cs = [self.chain.pull_training_statistics(B) for B in cotangents]
        total = self.row_influences(self.with_samples(cs, samples), rows)
        slopes = self._gamma_slopes(V, samples)
        if slopes.any():
            total = total + self.whole.of_rows(slopes[:, None] * self._gamma_in_weight())
        return total

    def training_cotangents(self, V, samples):
        point, objective = self.point, self.point.objective
        (basis, n), kernel = self._basis, self._basis[0].kernel
        penalty = objective.penalty[:, 0]
        rho = self.factor.multipliers(V)  # (m, K, n)
        weight = objective.sample_weight
        pull = weight[:, None] * point.rows.raw_gradient
        held = np.isinf(point.curvature()).any(axis=1)
        # A row held at a kink contributes through its dual coefficient.
        pull[held] = -(penalty[:, None] * point.theta[:, :n]).T[held]
        on_rows = samples[0] is not None  # else the scalars depend on the parameters alone
        if on_rows:
            queries = [dense(sample.design.X) for sample in samples]
            starts = np.cumsum([0, *(len(rows) for rows in queries[:-1])])
            queries = np.concatenate(queries)
            g = np.concatenate([sample.raw_gradient for sample in samples])
        B = np.empty((len(V), objective.n_rows, basis.X.shape[1]))
        for k, x in enumerate(self._each(basis.X)):
            to_rows = kernel.gradient(x, basis.X)
            of_z = -(rho @ to_rows)  # (m, K, d)
            if on_rows:
                to_queries = g[:, :, None] * kernel.gradient(x, queries)[:, None]
                of_z += np.add.reduceat(to_queries, starts)
            of_z /= penalty[:, None]
            of_f = point.theta[:, :n] @ to_rows
            B[:, k] = -(rho[:, :, k] @ of_f + np.einsum("k,mkd->md", pull[k], of_z))
        slopes = self._gamma_slopes(V, samples)
        for one, slope in zip(B, slopes, strict=True):
            yield one + slope * self._gamma_in_rows() if slope else one

    def _gamma_slopes(self, V, samples):
        """Return each scalar's dQ/d gamma; zeros if gamma does not depend on the rows."""
        (basis, n), theta = self._basis, self.point.theta
        if not self.whole.gamma_moves:
            return np.zeros(len(V))
        rho = self.factor.multipliers(V)
        if self._of_gamma is None:
            self._of_gamma = basis.kernel.gamma_gradient(basis.X, basis.X) @ theta[:, :n].T
        slopes = -np.einsum("mkn,nk->m", rho, self._of_gamma)
        for j, sample in enumerate(samples):
            if sample is None:
                continue
            of_f = basis.kernel.gamma_gradient(sample.design.X, basis.X) @ theta[:, :n].T
            slopes[j] += np.sum(sample.raw_gradient * of_f)
        return slopes

    def _gamma_in_weight(self):
        """Return d gamma / d m_i, (n,)."""
        return self._gamma_weight * self._gamma_in_unit()

    def _gamma_in_unit(self):
        """Return d gamma / d u_i for the weight u_i in the variance, (n,)."""
        (X, gamma), (mean, variance) = self._features, self._moments
        if variance == 0 or not self.whole.gamma_moves:
            return np.zeros(len(X))
        moved = ((X - mean) ** 2).mean(axis=1) - variance
        return -gamma * moved / (variance * self._gamma_weight.sum())

    def _gamma_in_rows(self):
        """Return d gamma / d x_i, (n, d)."""
        (X, gamma), (mean, variance) = self._features, self._moments
        if variance == 0 or not self.whole.gamma_moves:
            return np.zeros(X.shape)
        u = self._gamma_weight
        return -gamma * 2 * u[:, None] * (X - mean) / (variance * X.shape[1] * u.sum())

    @property
    def _features(self):
        """The kernel's rows as a dense array, and gamma."""
        kernel = self._basis[0].kernel
        return dense(self._basis[0].X), kernel.params["gamma"]

    @property
    def _moments(self):
        """Mean and variance over all entries of X."""
        X, u = self._features[0], self._gamma_weight
        mean = np.average(X.mean(axis=1), weights=u)
        return mean, np.average(((X - mean) ** 2).mean(axis=1), weights=u)

    @property
    def _gamma_weight(self):
        """Weights u in the variance of X: the sample weights or ones, (n,)."""
        weight = self.point.objective.sample_weight
        return weight if self.whole.parameters.gamma_by_weight else np.ones(len(weight))

    @property
    def _basis(self):
        """The basis, and its number of functions."""
        design = self.point.objective.design
        return design.basis, design.n_features

    @staticmethod
    def _each(X):
        """Generate rows (1, d)."""
        for i in range(X.shape[0]):
            yield X[[i]]


class GammaSweep(KernelSweep):
    """The sweep of a kernel model alone, in which only gamma depends on the samples."""

    def extra(self, V, samples, rows=None):
        S = self.point.objective.weight_sum
        scale = S if self.whole.parameters.gamma_by_weight else self.scale
        return self._gamma_slopes(V, samples)[:, None] * (scale * self._gamma_in_unit())

    def along_row(self, V, samples, index):
        """Return S/w_i d(scalar)/d(row `index`) through gamma for m scalars, (m, d)."""
        slopes, moved = self._gamma_slopes(V, samples), self._gamma_in_rows()[index]
        return self.scale[index] * slopes[:, None] * moved
