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
from scipy import sparse

from skinfluence.blocks import multiply, row_blocks
from skinfluence.namespaces import to_host

# If the variance without some rows is below this fraction of the variance with them, it is
# treated as zero: the refit then does not scale the column, and its coefficient is 0.
_CONSTANT = 1e-13
#: Below this fraction, differences of sums have lost too many digits.
CANCELS = 1e-6
#: If the shares of the removed rows add up to less, the variance keeps its digits.
MOST = 0.99


def column_sums(x):
    """Return the number of rows x (..., a, D) and the sums of x and x^2, (..., 3, D)."""
    return np.stack([np.ones_like(x), x, x * x], axis=-2).sum(axis=-3)


@dataclass(frozen=True, eq=False)
class ColumnScales:
    """Sums over the rows on which a scaler is fitted, in scaled features, on the host.

    Parameters
    ----------
    count : float
        Number of rows.
    total, squares : ndarray of shape (D,)
        Sums of x~ and of x~^2. Columns after the features, such as the intercept, are ones,
        and their scale is fixed.
    variance : ndarray of shape (D,)
        Variances with all rows, the denominator in ratios; 0 for columns with a fixed scale.
    is_centred : ndarray of shape (d,)
        Mask of the features whose means the scaler subtracts, bool.
    n_features : int
        Number of features, d.
    """

    count: float
    total: np.ndarray
    squares: np.ndarray
    variance: np.ndarray
    is_centred: np.ndarray
    n_features: int

    @classmethod
    def of(cls, design, moves, is_centred):
        """Return the scales for all rows in a design.

        Parameters
        ----------
        design : Design
            The scaled features.
        moves : ndarray of shape (d,)
            Mask of the features whose scale changes, bool.
        is_centred : ndarray of shape (d,)
            Mask of the features whose means the scaler subtracts, bool.
        """
        return cls.of_sums(cls.sums(design), moves, is_centred)

    @staticmethod
    def sums(design, weight=None):
        """Return `column_sums` of a design at weights (n,) or at ones, on the host, (3, D)."""
        if weight is None:
            weight = np.ones(design.n_rows, like=design.like)
        column, count = weight[:, None], float(weight.sum())
        total, squares = design.adjoint(column)[0], design.squared_adjoint(column)[0]
        return np.stack([np.full(len(total), count), to_host(total), to_host(squares)])

    @classmethod
    def of_sums(cls, sums, moves, is_centred):
        """Return the scales for all rows, whose `column_sums` are given."""
        count, total, squares = sums
        variance = squares / count - (total / count) ** 2
        variance[: len(moves)][~moves] = 0.0
        variance[len(moves) :] = 0.0
        return cls(float(count[0]), total, squares, variance, is_centred, len(moves))

    def without(self, x):
        """Return the scales without rows x (a, D)."""
        return self.less(to_host(column_sums(x)))

    def less(self, sums):
        """Return the scales without rows whose `column_sums` are given."""
        count, total, squares = sums
        return replace(
            self,
            count=self.count - float(count[0]),
            total=self.total - total,
            squares=self.squares - squares,
        )

    def at(self, design, weight):
        """Return the scales at weights (n,) of the rows."""
        count, total, squares = self.sums(design, weight)
        return replace(self, count=float(count[0]), total=total, squares=squares)

    def largest_shares(self, design):
        """Return each row's largest share of the sum of squares in a column, (n,)."""
        shares, moves = np.zeros(design.n_rows), self.variance > 0
        mean, spread = (self.total / self.count)[moves], (self.count * self.variance)[moves]
        for rows in self._blocks(design, np.arange(design.n_rows)):
            x = design.take(rows).rows()[:, moves]
            shares[rows] = to_host(np.max((x - mean) ** 2 / spread, axis=1, initial=0.0))
        return shares

    def cancels(self, design, weight):
        """Return whether the variances at weights (n,) have lost their digits.

        This happens if the other rows have almost all of a column's variance, such as a code
        for missing values. Columns without any variance are constant as in a refit.
        """
        columns = self.at(design, weight).ratio_to_all() < CANCELS
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
        _, variance = self._moments(x, counts)
        moves = (self.variance > 0) & (variance > _CONSTANT * self.variance)
        return np.divide(variance, self.variance, out=np.ones_like(variance), where=moves)

    def ratio_to_all(self):
        """Return r^2 for the present rows, (D,), infinite for columns with a fixed scale."""
        _, variance = self._moments(None, 0)
        out = np.full_like(variance, np.inf)
        return np.divide(variance, self.variance, out=out, where=self.variance > 0)

    def _moments(self, x, counts):
        """Return means and variances of the present rows, or without groups, see `ratio`."""
        total, squares, count = self.total, self.squares, self.count
        if x is not None:
            total = total - x.sum(axis=1)
            squares = squares - np.einsum("bad,bad->bd", x, x)
            count = (count - counts)[:, None]
        mean = total / count
        return mean, squares / count - mean**2

    def to_refit(self, theta, x=None, counts=0):
        """Convert theta (..., K, D) to the parameters after refitting scaler and model.

        Coefficients are u_j r_j, and the intercept increases by u_j times the mean of x~_j.
        The refit has the present rows, or lacks a group of rows for each theta, see `ratio`.
        """
        theta = theta.copy()
        d = self.n_features
        if self.is_centred.any():
            mean, _ = self._moments(x, counts)
            mean = np.where(self.is_centred, mean[..., :d], 0.0)
            theta[..., -1] += np.matmul(theta[..., :d], mean[..., None])[..., 0]
        theta[..., :d] *= np.sqrt(self.ratio(x, counts)[..., None, :d])
        return theta

    def refit_first_order(self, sums, theta):
        """Return the derivative of `to_refit` in the multiplicity of groups, (m, K, D).

        Parameters
        ----------
        sums : ndarray of shape (m, 3, D)
            The groups' `column_sums`.
        theta : ndarray of shape (K, D)
            Parameters of the present features.
        """
        count, total, squares = sums.swapaxes(0, 1)
        d, mean = self.n_features, self.total / self.count
        slope = squares - 2 * mean * total + count * (mean**2 - self.variance)
        where = np.broadcast_to(self.variance > 0, slope.shape)
        unit = 2 * self.count * self.variance
        moved = np.divide(slope, unit, out=np.zeros_like(slope), where=where)[:, None] * theta
        if self.is_centred.any():
            shift = (total - count * mean)[:, :d] / self.count
            shift = np.where(self.is_centred, shift, 0.0)
            moved[..., -1] = shift @ theta[:, :d].T
        return moved

    def first_order(self, x):
        """Return the derivative of r^2 in the multiplicity of rows x, like x.

        x has the columns of the design, (m, D), or only the features, (m, d). The derivative
        is ((x - mean)^2 - variance) / (count variance).
        """
        columns, unit = slice(x.shape[1]), self.count * self.variance
        slope = x - (self.total / self.count)[columns]
        slope *= slope
        slope -= self.variance[columns]
        slope *= np.divide(1.0, unit, out=np.zeros_like(unit), where=unit > 0)[columns]
        return slope


@dataclass(frozen=True, eq=False)
class PenaltyShift:
    """A vector for each row: f_i (d r^2 / d m_i) Lam theta.

    This is the derivative of grad F in the row's multiplicity through the penalty, for
    `GradientRows`.

    Parameters
    ----------
    scales : ColumnScales
        Scales at all rows.
    pull : ndarray of shape (K, D)
        Lam theta.
    design : Design or None, default=None
        The rows, n of them.
    factor : ndarray of shape (n,) or None, default=None
        f.
    """

    scales: ColumnScales
    pull: np.ndarray
    design: object = None
    factor: np.ndarray | None = None

    def on(self, design, unit_weight):
        """Return the vectors of rows divided by their weights (n,)."""
        return replace(self, design=design, factor=1.0 / unit_weight)

    def take(self, rows):
        """Return the vectors of some rows."""
        return replace(self, design=self.design.take(rows), factor=self.factor[rows])

    def scaled(self, factor):
        """Return the vectors multiplied by a number."""
        return replace(self, pull=factor * self.pull)

    def output(self, k):
        """Return the entries for one output."""
        return replace(self, pull=self.pull[[k]])

    def add_to(self, out):
        """Add the vectors to out (n, K, D)."""
        moved = self._moved()
        for k, pull in enumerate(self.pull):
            out[:, k, : self.scales.n_features] += moved * pull[: self.scales.n_features]

    def _moved(self):
        """Return f_i d r^2 / d m_i for each feature, (n, d)."""
        X = self.design.features(slice(None))
        x = X.toarray() if sparse.issparse(X) else X
        moved = self.scales.first_order(x)
        if (self.factor != 1.0).any():
            moved *= self.factor[:, None]
        return moved

    def add_dot(self, V, out):
        """Add the products with V (q, K, D) to out (q, n)."""
        pulled = np.einsum("qkd,kd->qd", V, self.pull)[:, : self.scales.n_features]
        for rows in row_blocks(self.design.n_rows, 24 * self.scales.n_features):
            multiply(pulled, self.take(rows)._moved().T, out[:, rows], add=True)

    def add_products(self, factor, queries, out):
        """Add q' H^-1 times the vectors for `GradientRows` q to out (q, n)."""
        self.add_dot(factor.solve_transposed(queries.toarray()), out)


def penalty_effect(point):
    """Return the `PenaltyShift` of a point without its rows, if its scales move."""
    objective = point.objective
    return PenaltyShift(objective.scales, objective.penalty * point.theta)


class Cancellation:
    """The groups of rows whose removal leaves no correct digits in the scales.

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
        if self.shares[rows].sum() * n < MOST * (n - len(rows)):
            return False
        weight = np.ones(n)
        weight[rows] = 0.0
        return self.scales.cancels(self.design, weight)

    def without_any(self, groups):
        """Return whether this is so for any of the `Groups`."""
        chosen = range(len(groups))
        if groups.members is None:  # few single rows have enough of the variance
            chosen = np.flatnonzero(self.shares > MOST - 1.0 / self.design.n_rows)
        return any(self.without(groups.rows(group)) for group in chosen)
