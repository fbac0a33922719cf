"""A penalty that changes with the scales of a StandardScaler before the model.

Let x~ be the features that the fitted scaler returns. A refit of scaler and model without
some rows is again a linear model u in x~, with

    F(u) = sum_i w_i l(x~_i'u + b) + 1/2 sum_j lambda_j r_j^2 u_j^2,   r_j = sigma'_j / sigma_j

because its coefficients are r_j u_j and a free intercept compensates the means. So the change
in the scaler enters only through r^2, the variance of x~ without the rows divided by the
variance with them.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from skinfluence.blocks import row_blocks

__all__ = ["Cancellation", "ColumnScales"]

# If the variance without some rows is below this fraction of the variance with them, it is
# treated as zero: the refit then does not scale the column, and its coefficient is 0.
_CONSTANT = 1e-13
# Below this fraction, differences of sums have lost too many digits.
_CANCELS = 1e-6
# Rows whose shares of the variance add up to less leave enough for its digits.
_MOST = 0.99


@dataclass(frozen=True, eq=False)
class ColumnScales:
    """Sums over the rows on which a scaler is fitted, in scaled features.

    Parameters
    ----------
    count : float
        Number of rows.
    total, squares : ndarray of shape (D,)
        Sums of x~ and of x~^2. Columns after the features, such as the intercept, are ones,
        and their scale is fixed.
    variance : ndarray of shape (D,)
        Variances with all rows, the denominator in ratios; 0 for columns with a fixed scale.
    with_mean : bool
        Whether the scaler subtracts the means.
    n_features : int
        Number of features, d.
    """

    count: float
    total: np.ndarray
    squares: np.ndarray
    variance: np.ndarray
    with_mean: bool
    n_features: int

    @classmethod
    def of(cls, design, moves, with_mean):
        """Return the scales for all rows in a design.

        Parameters
        ----------
        design : Design
            The scaled features.
        moves : ndarray of shape (d,)
            Mask of the features whose scale changes, bool.
        with_mean : bool
            Whether the scaler subtracts the means.
        """
        ones = np.ones((design.n_rows, 1))
        total, squares = design.adjoint(ones)[0], design.squared_adjoint(ones)[0]
        n = design.n_rows
        variance = squares / n - (total / n) ** 2
        variance[: len(moves)][~moves] = 0.0
        variance[len(moves) :] = 0.0
        return cls(float(n), total, squares, variance, with_mean, design.n_features)

    def without(self, x):
        """Return the scales without rows x (a, D)."""
        return replace(
            self,
            count=self.count - len(x),
            total=self.total - x.sum(axis=0),
            squares=self.squares - (x * x).sum(axis=0),
        )

    def at(self, design, weight):
        """Return the scales at weights (n,) of the rows."""
        sums = weight[:, None]
        return replace(
            self,
            count=float(weight.sum()),
            total=design.adjoint(sums)[0],
            squares=design.squared_adjoint(sums)[0],
        )

    def largest_shares(self, design):
        """Return each row's largest share of the sum of squares in a column, (n,)."""
        shares, moves = np.zeros(design.n_rows), self.variance > 0
        mean, spread = (self.total / self.count)[moves], (self.count * self.variance)[moves]
        for rows in self._blocks(design, np.arange(design.n_rows)):
            x = design.take(rows).rows()[:, moves]
            shares[rows] = np.max((x - mean) ** 2 / spread, axis=1, initial=0.0)
        return shares

    def cancels(self, design, weight):
        """Return whether the variances at weights (n,) have lost their digits.

        This happens if the other rows have almost all of a column's variance, such as a code
        for missing values. Columns without any variance are constant as in a refit.
        """
        now = self.at(design, weight)
        variance = now.squares / now.count - (now.total / now.count) ** 2
        columns = (self.variance > 0) & (variance < _CANCELS * self.variance)
        if not columns.any():
            return False
        low, high = np.inf, -np.inf
        for rows in self._blocks(design, np.flatnonzero(weight)):
            x = design.take(rows).rows()[:, columns]
            low, high = np.minimum(low, x.min(axis=0)), np.maximum(high, x.max(axis=0))
        return bool(np.any(low < high))

    @staticmethod
    def _blocks(design, rows):
        """Return row indices in blocks that fit into memory."""
        return [rows[block] for block in row_blocks(len(rows), 24 * design.n_columns)]

    def ratio(self, x=None, counts=0):
        """Return r^2 for the present rows, (D,), or without groups of rows, (b, D).

        Parameters
        ----------
        x : ndarray of shape (b, a, D) or None, default=None
            Rows that leave, padded with zeros.
        counts : ndarray of shape (b,) or 0, default=0
            Number of rows that leave.
        """
        total, squares, count = self.total, self.squares, self.count
        if x is not None:
            total = total - x.sum(axis=1)
            squares = squares - np.einsum("bad,bad->bd", x, x)
            count = (count - counts)[:, None]
        variance = squares / count - (total / count) ** 2
        moves = (self.variance > 0) & (variance > _CONSTANT * self.variance)
        return np.divide(variance, self.variance, out=np.ones_like(variance), where=moves)

    def to_refit(self, theta):
        """Convert theta (K, D) to the parameters after refitting scaler and model.

        Coefficients are u_j r_j, and the intercept increases by u_j times the mean of x~_j.
        """
        theta = np.array(theta)
        d = self.n_features
        if self.with_mean:
            theta[:, -1] += theta[:, :d] @ (self.total / self.count)[:d]
        theta[:, :d] *= np.sqrt(self.ratio()[:d])
        return theta

    def first_order(self, x):
        """Return the derivative of r^2 in the multiplicity of rows x (m, D), (m, D)."""
        mean = self.total / self.count
        slope = ((x - mean) ** 2 - self.variance) / self.count
        where = np.broadcast_to(self.variance > 0, slope.shape)
        return np.divide(slope, self.variance, out=np.zeros_like(slope), where=where)


class Cancellation:
    """The groups of rows without which the scales lose their digits.

    Such a group has almost all of a column's variance, and subtraction leaves rounding error.

    Parameters
    ----------
    objective : Objective
        The training objective, with `scales` or without.
    """

    def __init__(self, objective):
        self.scales, self.design = objective.scales, objective.design

    @cached_property
    def shares(self):
        """Each row's largest share of the sum of squares in a scaled column, (n,)."""
        return self.scales.largest_shares(self.design)

    def without(self, rows):
        """Return whether the scales without some rows have lost their digits."""
        if self.scales is None:
            return False
        n = self.design.n_rows
        if self.shares[rows].sum() * n < _MOST * (n - len(rows)):
            return False
        weight = np.ones(n)
        weight[rows] = 0.0
        return self.scales.cancels(self.design, weight)

    def without_any(self, groups):
        """Return whether this is so for any of the `Groups`."""
        chosen = range(len(groups))
        if groups.members is None:  # few single rows have enough of the variance
            chosen = np.flatnonzero(self.shares > _MOST - 1.0 / self.design.n_rows)
        return any(self.without(groups.rows(group)) for group in chosen)
