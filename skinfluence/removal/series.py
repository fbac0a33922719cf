"""Remainders of the gradient as polynomials in the step, for many rows and few features.

For one output the part of grad F beyond first order in a step d is

    sum_i s_i [l'''_i (x~_i'd)^2 / 2 + l''''_i (x~_i'd)^3 / 6] x~_i + O(d^4).

Both sums are polynomials in d. Their coefficients are sums over the rows, which are computed
once. A step then costs as much as there are coefficients, about D^4/6, and not n D. So exact
leave-one-out takes n D^4 operations instead of n^2 D.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import factorial
from sklearn.preprocessing import PolynomialFeatures

from skinfluence.blocks import row_blocks

# Number of rows whose remainders are compared: those of largest leverage, and random ones.
_LARGEST, _RANDOM = 128, 384


@dataclass(frozen=True, eq=False)
class RemainderSeries:
    """The gradient's remainder to third order in a step, and an estimate of its error.

    Parameters
    ----------
    base : Base
        The start of removal; its objective has one output.
    third, fourth : ndarray of shape (n, 1)
        Derivatives of each row's loss in the raw prediction.
    """

    base: Any
    third: np.ndarray
    fourth: np.ndarray

    @cached_property
    def weighted(self):
        """s_i l'''_i / 2 and s_i l''''_i / 6, (n,) each."""
        s = self.base.point.objective.row_weight
        return (s * self.third)[:, 0] / 2.0, (s * self.fourth)[:, 0] / 6.0

    @cached_property
    def size(self):
        """Root mean squares of the columns, which make all terms comparable, (D,)."""
        return np.maximum(self.base.second_moments[0], np.finfo(np.float32).tiny)

    @cached_property
    def terms(self):
        """The monomials of degree 2 and 3."""
        terms = PolynomialFeatures((2, 3), include_bias=False)
        return terms.fit(np.zeros((1, self.base.point.objective.design.n_columns)))

    @cached_property
    def coefficients(self):
        """Coefficients of the monomials for each parameter, (n_terms, D)."""
        objective, D = self.base.point.objective, len(self.size)
        powers = self.terms.powers_
        degree = powers.sum(axis=1)
        cubic = degree == 3
        out = np.zeros((len(powers), D))
        third, fourth = self.weighted
        for rows in self._blocks(objective.n_rows):
            x = self._scaled(rows)
            monomials = self.terms.transform(x)
            w = np.where(cubic, fourth[rows, None], third[rows, None]).astype(np.float32)
            monomials *= w
            out += monomials.T @ x
        # (x'd)^k has each monomial as often as its factors can be ordered.
        out *= (factorial(degree) / factorial(powers).prod(axis=1))[:, None]
        return out.astype(np.float32)

    def remainders(self, steps, absent):
        """Return the remainders for steps, without rows that are absent.

        Parameters
        ----------
        steps : ndarray of shape (b, 1, D)
            Steps d from the base point.
        absent : ndarray of shape (b, a)
            Rows that do not contribute, padded by -1.

        Returns
        -------
        ndarray of shape (b, 1, D)
            The remainder for each step.
        """
        out = np.empty(steps.shape)
        scaled = steps[:, 0] * self.size
        # The terms of two degrees must both be far from the smallest float32.
        length = np.abs(scaled).max(axis=1, initial=0.0)
        length[length == 0] = 1.0
        cubic = self.terms.powers_.sum(axis=1) == 3
        for block in self._blocks(len(steps)):
            monomials = self.terms.transform(
                (scaled[block] / length[block, None]).astype(np.float32)
            )
            monomials[:, cubic] *= length[block, None].astype(np.float32)
            out[block, 0] = (monomials @ self.coefficients) * length[block, None] ** 2
        out[:, 0] *= self.size
        third, fourth = self.weighted
        objective = self.base.point.objective
        b, a = absent.shape
        rows = np.where(absent >= 0, absent, 0)
        x = objective.design.take(rows.ravel()).rows().reshape(b, a, -1)
        moved = np.matmul(x, steps[:, 0, :, None])[..., 0]
        rest = moved**2 * (third[rows] + fourth[rows] * moved) * (absent >= 0)
        out[:, 0] -= np.matmul(rest[:, None], x)[:, 0]
        return out

    def error(self, steps, absent):
        """Return estimates of the decrement that the error of `remainders` causes, (b,).

        The decrement of r = sum_i s_i h_i^(1/2) z_i x~_i is at most |z|. The sum over the rows
        is estimated by the rows of largest leverage and random other ones.
        """
        rows, share = self.sample
        objective = self.base.point.objective
        loss, part = objective.formulation.loss, objective.design.take(rows)
        target, raw = objective.target[rows], self.base.point.raw_prediction[rows]
        delta = part.predict(steps)  # (m, b, 1)
        exact = loss.remainder(target, raw, delta)
        exact -= delta**2 * (self.third[rows] / 2)[:, None]
        exact -= delta**3 * (self.fourth[rows] / 6)[:, None]
        s = objective.row_weight[rows]
        curvature = np.maximum(loss.curvature(target, raw), np.finfo(np.float64).tiny)
        z_squared = (s / curvature * share[:, None])[:, None] * exact**2
        gone = (rows[:, None, None] == absent[None]).any(axis=2)
        z_squared[gone] = 0.0
        return np.sqrt(z_squared.sum(axis=(0, 2)))

    @cached_property
    def sample(self):
        """Rows, and the number of rows that each of them represents."""
        objective = self.base.point.objective
        n = objective.n_rows
        if n <= _LARGEST + _RANDOM:
            return np.arange(n), np.ones(n)
        leverage = np.empty(n)
        for rows in row_blocks(n, 8 * 4 * len(self.size)):
            x = objective.design.take(rows).rows()
            leverage[rows] = self.base.plain_factor.quadratic(x[:, None])
        largest = np.argpartition(leverage, n - _LARGEST)[n - _LARGEST :]
        others = np.setdiff1d(np.arange(n), largest, assume_unique=True)
        random = np.random.default_rng(0).choice(others, _RANDOM, replace=False)
        share = np.repeat([1.0, len(others) / _RANDOM], [_LARGEST, _RANDOM])
        return np.concatenate([largest, random]), share

    def _blocks(self, n):
        """Return slices of rows whose monomials fit in memory."""
        return row_blocks(n, 4 * 3 * self.terms.n_output_features_)

    def _scaled(self, rows):
        """Return rows of X in units of the columns, in single precision."""
        x = self.base.point.objective.design.take(rows).rows() / self.size
        return x.astype(np.float32)
