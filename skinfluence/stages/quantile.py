"""QuantileTransformer, KBinsDiscretizer and SplineTransformer, which use quantiles."""

import math
from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.interpolate import BSpline
from scipy.stats import norm
from sklearn.preprocessing import KBinsDiscretizer, QuantileTransformer, SplineTransformer

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.stages.base import Stateless, dense
from skinfluence.stages.order import OrderStage, OrderStatistics

# QuantileTransformer clips values within this distance from the ends.
_END = 1e-7
# Interpolation gives tied quantiles values that differ by rounding, at most by this share.
_TIED = 16 * np.finfo(np.float64).eps


class QuantileTransformerStage(OrderStage):
    """QuantileTransformer: t = G(r), r linear between the quantiles q_k of a column.

    Between q_k and q_(k+1) the level r rises from r_k to r_(k+1) with slope s. So

        dr/dx = s,    dr/dq_k = -s (1 - f),    dr/dq_(k+1) = -s f

    with f = (x - q_k)/(q_(k+1) - q_k). Beyond the ends the derivatives are 0. At a quantile
    they are the mean of the derivatives from both sides. G is the identity or the normal
    quantile function. In the second case dG/dr = 1/density(t), or 0 if t is clipped.
    """

    bends_at_quantiles = True

    def __init__(self, transformer, X, y=None, weight=None):
        super().__init__(transformer, X, y, weight)
        if sparse.issparse(self.X):
            raise UnsupportedEstimatorError(
                "The derivative of QuantileTransformer on sparse rows is not known. Use dense "
                "rows, or a method that removes samples (leave_out_*, remove_samples)."
            )
        most = transformer.subsample
        if most is not None and most < self.n_rows:
            raise UnsupportedEstimatorError(
                f"QuantileTransformer has drawn {most} of {self.n_rows} rows at random to "
                "compute its quantiles, so the rows that determine them are not known. Use "
                "subsample=None."
            )

    @cached_property
    def places(self):
        """The rows that determine the quantiles."""
        return OrderStatistics(self.X, self.transformer.references_)

    def _level(self, X):
        """Return the level r of each entry. If quantiles tie, average over both sides."""
        r, level = self.transformer.references_, np.empty(X.shape)
        for j, q in enumerate(self.transformer.quantiles_.T):
            falling = np.interp(-X[:, j], -q[::-1], -r[::-1])
            level[:, j] = 0.5 * (np.interp(X[:, j], q, r) - falling)
        return level

    def _sides(self, X, B):
        """Yield column, rows, interval, slope times cotangent, and f, for both sides."""
        levels, quantiles = self.transformer.references_, self.transformer.quantiles_
        B = np.where(np.isnan(X), 0.0, B)
        if self.transformer.output_distribution == "normal":
            value = norm.ppf(self._level(X))
            low, high = quantiles[0], quantiles[-1]
            inside = (low <= X - _END) & (high >= X + _END)
            inside &= np.abs(value) < norm.ppf(1.0 - _END)
            B = np.where(inside, B, 0.0) / norm.pdf(np.where(inside, value, 0.0))
        for j in range(X.shape[1]):
            q = quantiles[:, j]
            for side in ("left", "right"):
                k = np.searchsorted(q, X[:, j], side=side) - 1
                rows = np.flatnonzero((k >= 0) & (k < len(q) - 1) & ~np.isnan(X[:, j]))
                k = k[rows]
                width = q[k + 1] - q[k]
                # If quantiles tie, the level jumps there and has no slope.
                rise = np.where(width > _TIED * abs(q).max(), levels[k + 1] - levels[k], 0.0)
                rate = 0.5 * B[rows, j] * rise / width
                yield j, rows, k, rate, (X[rows, j] - q[k]) / width

    def pull_statistics(self, X, B):
        c = np.zeros(self.transformer.quantiles_.shape)
        for j, _, k, rate, f in self._sides(X, B):
            c[:, j] -= np.bincount(k, rate * (1.0 - f), minlength=len(c))
            c[:, j] -= np.bincount(k + 1, rate * f, minlength=len(c))
        return c

    def pull_input(self, X, B):
        pulled = np.zeros(X.shape)
        for j, rows, _, rate, _ in self._sides(X, B):
            pulled[rows, j] += rate
        return pulled


class KBinsDiscretizerStage(Stateless):
    """KBinsDiscretizer: t is the bin of x, which is constant except for jumps at bin edges.

    The edges depend on the rows. A small change does not move a row across an edge, so all
    derivatives are 0.
    """

    can_jump = True

    @cached_property
    def places(self):
        """The rows with the extremes."""
        return OrderStatistics(self.X, [0.0, 1.0])

    def jumps_without(self, rows):
        return self.transformer.strategy != "uniform" or self.places.jump_without(rows)

    def outside(self, X):
        outside = super().outside(X)
        if self.transformer.strategy == "uniform":
            low, high = np.transpose([edges[[0, -1]] for edges in self.transformer.bin_edges_])
            outside[0] = ((self.rows(X) < low) | (self.rows(X) > high)).any(axis=1)
        return outside

    def pull_input(self, X, B):
        return np.zeros(X.shape)


class SplineTransformerStage(OrderStage):
    """SplineTransformer: B-splines N_a with degree p and knots tau for each column.

    The base knots are evenly spaced between the smallest and the largest value, or quantiles
    of the column, or constants from the user. All knots are linear functions of the base
    knots. The derivative with respect to a knot is

        dN_a / dtau_j = N+_(a+1) / h_(a+1) - N+_a / h_a,    h_a = tau_(a+p) - tau_a.

    Here N+ are the B-splines over the same knots with tau_j repeated once, and the formula
    only contains terms N+_b with b in j - p .. j. Beyond the ends, each spline continues as
    its Taylor polynomial at the end, with order 0, 1 or p ("constant", "linear",
    "continue").
    """

    def __init__(self, transformer, X, y=None, weight=None):
        super().__init__(transformer, X, y, weight)
        self.degree = transformer.degree
        self.periodic = transformer.extrapolation == "periodic"
        orders = {"constant": 0, "linear": 1, "continue": self.degree}
        #: Order of the Taylor polynomials beyond the ends.
        self.order = min(orders.get(transformer.extrapolation, 0), self.degree)
        self.knots = [spline.t for spline in transformer.bsplines_]
        self.is_given = not isinstance(transformer.knots, str)
        self.is_weighted = weight is not None

    @cached_property
    def places(self):
        """The rows that determine the base knots, or their two extremes; None if given."""
        if self.is_given:
            return None
        K = len(self.knots[0]) - 2 * self.degree
        X = np.where(self.weight[:, None] > 0, self.X, np.nan)
        if self.transformer.knots == "uniform":
            return OrderStatistics(X, [0.0, 1.0])
        places = OrderStatistics(X, np.linspace(0.0, 1.0, K))
        if self.is_weighted:
            # A weighted quantile is a value from a single row.
            for j, knots in enumerate(self.knots):
                base = knots[self.degree : self.degree + K]
                distance = np.abs(X[:, [j]] - base)
                places.low[:, j] = np.nanargmin(distance, axis=0)
            places.share[:] = 0.0
        return places

    @cached_property
    def knots_by_base(self):
        """Matrix (K + 2p, K) that maps base knots to all knots."""
        p = self.degree
        base = np.eye(len(self.knots[0]) - 2 * p)
        if self.periodic:
            period = base[-1] - base[0]
            return np.vstack(
                [base[len(base) - p - 1 : -1] - period, base, base[1 : p + 1] + period]
            )
        steps = np.arange(1, p + 1)[:, None]
        before = base[0] - steps[::-1] * (base[1] - base[0])
        return np.vstack([before, base, base[-1] + steps * (base[-1] - base[-2])])

    def _columns(self, X, B):
        """Yield each column, its values, and the cotangent (m, N) on its splines."""
        B = dense(B)
        n_splines = self.transformer.bsplines_[0].c.shape[1]
        width = n_splines - (not self.transformer.include_bias)
        for j in range(X.shape[1]):
            if self.knots[j][self.degree] == self.knots[j][-self.degree - 1]:
                # For a constant column the knots do not depend continuously on the rows.
                continue
            part = B[:, j * width : (j + 1) * width]
            part = np.pad(part, [(0, 0), (0, n_splines - width)])
            if self.periodic:
                # The last splines repeat the first ones.
                part = np.hstack([part, part[:, : self.degree]])
            observed = ~np.isnan(X[:, j])
            yield (
                j,
                np.where(observed, X[:, j], self.knots[j][self.degree]),
                np.where(observed[:, None], part, 0.0),
            )

    def _pieces(self, j, x, B):
        """Yield pieces of the rows as (points, offsets, rows, end).

        Between the ends, splines are evaluated at the points x, and offsets and end are None.
        Beyond an end, they are evaluated at that end, which is the knot with index `end`, and
        the Taylor polynomial uses the offsets from it.
        """
        t, p = self.knots[j], self.degree
        first, last = t[p], t[-p - 1]
        # The last point belongs to the last interval, not to the next one.
        inner = np.nextafter(last, first)
        if self.periodic:
            x = first + (x - first) % (last - first)
        within = np.flatnonzero((x >= first) & (x <= last))
        yield np.minimum(x[within], inner), None, within, None
        for rows, place, end in (
            (np.flatnonzero(x < first), first, p),
            (np.flatnonzero(x > last), inner, len(t) - p - 1),
        ):
            if len(rows):
                yield np.array([place]), x[rows] - t[end], rows, end

    def _taylor(self, offsets, r):
        """Return offsets^r / r!."""
        return offsets**r / math.factorial(r)

    def pull_statistics(self, X, B):
        if self.is_given or self.degree == 0:
            return None
        c = np.zeros((len(self.knots[0]), X.shape[1]))
        for j, x, part in self._columns(X, B):
            for piece in self._pieces(j, x, part):
                self._add_knots(c[:, j], j, part, piece)
            if self.periodic:
                # x is moved to the first period, whose length depends on its end knots.
                p, t = self.degree, self.knots[j]
                turns = np.floor((x - t[p]) / (t[-p - 1] - t[p]))
                moved = turns @ self._slope(j, x, part)
                c[p, j] += moved
                c[-p - 1, j] -= moved
        c = self.knots_by_base.T @ c
        if self.transformer.knots == "uniform":
            share = np.linspace(0.0, 1.0, len(c))
            c = np.stack([1.0 - share, share]) @ c
        return c

    def _add_knots(self, c, j, B, piece):
        """Add the cotangent on the knots of column j from one piece of the rows."""
        place, offsets, rows, end = piece
        t, p = self.knots[j], self.degree
        B = B[rows]
        differences = -np.diff(B, axis=1, prepend=0.0, append=0.0)
        n = differences.shape[1]
        # If all rows evaluate the splines at the same point, sum over rows first.
        if offsets is not None:
            totals = [self._taylor(offsets, r) @ differences for r in range(self.order + 1)]
        for knot in range(len(t)):
            doubled = np.insert(t, knot, t[knot])
            splines = BSpline(doubled, np.eye(n), p)
            terms = np.arange(max(knot - p, 0), min(knot, n - 1) + 1)
            width = doubled[terms + p + 1] - doubled[terms]
            inverse = np.where(width > 0, 1.0, 0.0) / np.where(width > 0, width, 1.0)
            if offsets is None:
                summed = np.einsum("ij,ij->j", differences, splines(place))
            else:
                summed = sum(total * splines(place, nu=r)[0] for r, total in enumerate(totals))
            c[knot] += summed[terms] @ inverse
        if offsets is not None:
            # The end also changes, and with it the polynomial.
            slope = B @ self._full(j)(place, nu=self.order + 1)[0]
            c[end] += self._taylor(offsets, self.order) @ slope

    def _full(self, j):
        """Return all splines of column j; periodic repeats are separate splines."""
        t, p = self.knots[j], self.degree
        return BSpline(t, np.eye(len(t) - p - 1), p)

    def _slope(self, j, x, B):
        """Return sum_a B_a dN_a/dx for column j, (m,)."""
        slope, splines = np.zeros(len(x)), self._full(j)
        for place, offsets, rows, _ in self._pieces(j, x, B):
            if offsets is None:
                slope[rows] = np.einsum("ij,ij->i", B[rows], splines(place, nu=1))
                continue
            for r in range(self.order):
                derivative = B[rows] @ splines(place, nu=r + 1)[0]
                slope[rows] += self._taylor(offsets, r) * derivative
        return slope

    def pull_input(self, X, B):
        if self.degree == 0:
            return np.zeros(X.shape)
        pulled = np.zeros(X.shape)
        for j, x, part in self._columns(X, B):
            pulled[:, j] = np.where(np.isnan(X[:, j]), 0.0, self._slope(j, x, part))
        return pulled


STAGES = {
    KBinsDiscretizer: KBinsDiscretizerStage,
    QuantileTransformer: QuantileTransformerStage,
    SplineTransformer: SplineTransformerStage,
}
