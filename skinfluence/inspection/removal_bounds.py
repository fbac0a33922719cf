"""Lower bounds for the number of rows whose removal can change a linear function.

The bounds are for a function c'theta of an optimum theta, and hold for every set S of at most
k rows. At the optimum with Hessian H and row weights h_i = s_i l''_i let

    P     hat matrix, P_ij = sqrt(h_i h_j) x~_i'H^-1 x~_j
    e_i   working residual, -s_i l'_i / sqrt(h_i)
    a_i   sqrt(h_i) x~_i'H^-1 c

Squared error. One Newton step reaches the optimum without S:

    c'(theta - theta_-S) = a_S'(I - P_SS)^-1 e_S

Dividing rows and columns by sqrt(1 - P_ii) gives a~, e~ and I - O_SS, where O has a diagonal
of zeros. With O (I - O)^-1 O = (I - O)^-1 - I - O,

    a_S'(I - P_SS)^-1 e_S = a~_S'e~_S + a~_S'O_SS e~_S + (O_SS a~_S)'(I - O_SS)^-1 O_SS e~_S
                         <= T_k + Z_k(a~) Z_k(e~) / (1 - rho_k)

    T_k      sum of the k largest t_i = a~_i e~_i + the k - 1 largest
             O_ij (a~_i e~_j + a~_j e~_i) / 2 over j
    Z_k(v)   root of the sum of the k largest z_i^2, with z_i the sum of the k - 1 largest
             O_ij v_j over j, or of the largest -O_ij v_j if that is more; or rho_k times the
             norm of the k largest |v_i| if that is less
    rho_k    at least the largest eigenvalue of any O_SS: the largest value over i of the
             sum of the k - 1 largest |O_ij| d_j / d_i over j, for any d > 0 (Collatz and
             Wielandt); a few power iterations find a good d

For single rows the bound is exact. If rho_k is 1 or more, S may leave theta undetermined and
there is no bound. Sums include positive values only, so that all bounds increase with k.

Other losses. If |l'''| <= M l'' along every line, the mean Hessian between theta and theta_-S
lies between phi H_-S and H_-S (exp(R) - 1)/R. With v = theta_-S - theta and the gradient g_S
of the rows S,

    nu^2 >= g_S'H_-S^-1 g_S         m^2 >= x~_i'H_-S^-1 x~_i for all other rows i
    R = -log(1 - M m nu)            phi = (1 - exp(-R)) / R
    |c'v - c'H_-S^-1 g_S| <= (1/phi - 1) nu sqrt(c'H_-S^-1 c)

and c'H_-S^-1 g_S is bounded as above. All three quadratic forms have bounds of the same kind.
The row with the largest m decides about R. `curving` counts each row by its own curvature, and
the smaller bound is used.

Sums over pairs of rows need n^2 products. They are computed in blocks, for several k at once.
Before that, |O_ij| <= u_i u_j with u_i^2 = P_ii / (1 - P_ii) rules out the smallest k.

References: Broderick, Giordano & Meager, 2020, for the first-order sum; Rubinstein & Hopkins,
"Robustness Auditing for Linear Regression: To Singularity and Beyond", 2024, for sums of the
largest products over pairs; Bach, "Self-concordant analysis for logistic regression", 2010.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np

from skinfluence import diagnostics
from skinfluence.blocks import row_blocks, run_blocks
from skinfluence.inspection.curving import longest_step, remainder

# Number of set sizes for which one pass over the pairs computes bounds.
_SIZES = 8
# Power iterations for the weights d, each of them a pass over the pairs.
_POWER_STEPS = 4
# Relative margin for rounding, beside eps / rcond of the Hessian. Products of pairs are in
# single precision, at less than half the time; all of their sums are of positive terms.
_MARGIN = 2e-6
# If a leverage is this close to 1, there is no bound.
_FULL_LEVERAGE = 1e-6


class Changes(NamedTuple):
    """Bounds for a function c'theta without at most k rows, for each k (n_sizes,).

    Attributes
    ----------
    fall : ndarray
        The largest fall of the function.
    variance : ndarray
        The largest c'H_-S^-1 c, at the optimum for all rows.
    decrement : ndarray
        The largest e_S'(I - P_SS)^-1 e_S.
    curving : ndarray
        The largest factor exp(R) by which a curvature changes.
    """

    fall: np.ndarray
    variance: np.ndarray
    decrement: np.ndarray
    curving: np.ndarray


class RemovalBound:
    """Bounds for changes of linear functions without at most k rows.

    Parameters
    ----------
    base : Base
        The optimum for all rows.
    most : int
        Largest k.
    is_paired : bool
        Whether to compute the products of all pairs of rows, or to use leverages only.
    n_jobs : int or None
        Number of joblib threads.
    """

    def __init__(self, base, most, is_paired, n_jobs):
        self.base, self.most, self.is_paired, self.n_jobs = base, most, is_paired, n_jobs
        self.point, self.factor = base.point, base.plain_factor
        objective = self.point.objective
        self.n = objective.n_rows
        self.rate = objective.formulation.loss.curvature_rate
        self.margin = _MARGIN + 10 * np.finfo(float).eps / self.factor.rcond
        self.outputs = {}

    def least(self, V, enough_for, most):
        """Return the least k for which k rows may be enough.

        Parameters
        ----------
        V : ndarray of shape (K, D)
            Gradient of a function, which is linear in the parameters.
        enough_for : callable
            Takes sizes k, an int array, and `Changes` of the function without at most k
            rows. Returns whether they may be enough, a boolean array.
        most : int
            Largest k to consider; the result is at most ``most + 1``.
        """
        function = self._function(V)
        if any(output.is_full for output, _, _ in function):
            return 1
        below, least = self._narrow(self._rank_one_sums, function, enough_for, 0, most)
        if self.is_paired and least > 1:
            least = self._narrow(self._pair_sums, function, enough_for, below, most)[1]
        return least

    def _narrow(self, row_sums, function, enough_for, below, most):
        """Return the largest k that is impossible, and the smallest that is not.

        Parameters
        ----------
        row_sums : callable
            `_rank_one_sums` or `_pair_sums`.
        function, enough_for, most
            See `least`.
        below : int
            A size that is known to be impossible.
        """
        enough = most + 1
        while enough - below > 1:
            if enough == most + 1:  # no upper end yet
                steps = 2 ** np.arange(_SIZES) * max(1, below // 4)
                sizes = np.unique(np.minimum(below + steps, most))
            else:
                sizes = np.linspace(below, enough, _SIZES + 2).astype(int)
                sizes = np.unique(sizes[(sizes > below) & (sizes < enough)])
                sizes = sizes if len(sizes) else np.array([below + 1])
            changes = self._changes(function, sizes, row_sums(function, sizes))
            too_few = ~enough_for(sizes, changes)
            n_below = len(sizes) if too_few.all() else int(np.argmin(too_few))
            if n_below:
                below = int(sizes[n_below - 1])
            if n_below < len(sizes):
                enough = int(sizes[n_below])
        return below, enough

    def _function(self, V):
        """Return the outputs in which a function has parts, with its values a (n,)."""
        solved = self.factor.solve(V[None])[0]
        design = self.point.objective.design
        effect = design.predict(solved)
        norms = np.sum(V * solved, axis=1)
        parts = []
        for k in np.flatnonzero(V.any(axis=1)):
            output = self._output(k)
            parts.append((output, output.root * effect[:, k] / output.rest, norms[k]))
        return parts

    def _output(self, k):
        if k not in self.outputs:
            self.outputs[k] = _Output(self, k)
        return self.outputs[k]

    @cached_property
    def leverage(self):
        """P_ii for each output, (n, K)."""
        return diagnostics.leverages(self.point, self.factor, n_jobs=self.n_jobs)

    def _changes(self, function, sizes, sums):
        """Return the `Changes` of a function without at most k rows, for each k.

        `sums` are those of `_pair_sums`, or bounds for them.
        """
        total = sums.pop("pair")
        rest = variance = decrement = np.zeros(len(sizes))
        largest = np.ones(len(sizes))
        for place, (output, a, norm) in enumerate(function):
            e = output.e
            total += (a * e)[:, None]
            bounds = {name: value for (p, name), value in sums.items() if p == place}
            with np.errstate(divide="ignore", invalid="ignore"):
                rho = bounds["rho"].max(axis=0) * (1.0 + self.margin)
                inverse = np.where(rho < 1.0, 1.0 / (1.0 - rho), np.inf)
                z_a = np.minimum(_norms(bounds["a"], sizes), rho * _norms(a, sizes))
                z_e = np.minimum(_norms(bounds["e"], sizes), rho * _norms(e, sizes))
                rest = rest + z_a * z_e * inverse
                # Rounding of products that cancel.
                rest = rest + self.margin * rho * _norms(a, sizes) * _norms(e, sizes)
                a2 = _totals((a**2)[:, None] + bounds["aa"], sizes) + z_a**2 * inverse
                e2 = _totals((e**2)[:, None] + bounds["ee"], sizes) + z_e**2 * inverse
                variance, decrement = variance + norm + a2, decrement + e2
                if self.rate:
                    own_share = (e**2 * output.leverage)[:, None]  # e_S'e_S does not count
                    nu2 = _totals(own_share + bounds["ee"], sizes) + z_e**2 * inverse
                    m2 = (output.spread[:, None] + bounds["q"] * inverse).max(axis=0)
                    growth, curving = self._curving(np.sqrt(m2 * nu2))
                    curved = growth * np.sqrt(nu2 * (norm + a2))
                    more = bounds["q"] * inverse
                    by_row = self._curving_by_row(output, a, more, nu2, a2)
                    rest = rest + np.fmin(curved, by_row[0])
                    largest = np.maximum(largest, np.fmin(curving, by_row[1]))
        fall = _totals(total, sizes) + rest
        found = [fall, variance, decrement, largest]
        return Changes(*(np.where(np.isnan(v), np.inf, v) * (1 + self.margin) for v in found))

    def _curving(self, step):
        """Return 1/phi - 1 and exp(R) for m nu."""
        step = self.rate * step
        longest = -np.log1p(-np.minimum(step, 1.0))
        phi = np.where(step > 0, step / longest, 1.0)
        growth = np.where(step < 1.0, 1.0 / phi - 1.0, np.inf)
        return growth, np.exp(longest)

    def _curving_by_row(self, output, a, more, nu2, a2):
        """Return bounds on c'v - c'H_-S^-1 g_S and on exp(R), see `curving`, (n_sizes,) each.

        Parameters
        ----------
        output : _Output
            The output.
        a : ndarray of shape (n,)
            a~.
        more : ndarray of shape (n, n_sizes)
            Bounds on the growth of x~_i'H^-1 x~_i without S.
        nu2, a2 : ndarray of shape (n_sizes,)
            Bounds on g_S'H_-S^-1 g_S and a_S'(I - P_SS)^-1 a_S.
        """
        h = output.root**2
        found = np.full((2, len(nu2)), np.inf)
        for j in np.flatnonzero(np.isfinite(more).all(axis=0) & np.isfinite(nu2)):
            q = output.spread + more[:, j]
            p = output.leverage + h * more[:, j]
            effect = np.abs(a) * output.rest + np.sqrt(h * more[:, j] * a2[j])
            r = longest_step(self.rate, np.sqrt(nu2[j]), q, p)
            if np.isfinite(r):
                found[0, j] = remainder(self.rate, r, q, effect)
                with np.errstate(over="ignore"):
                    found[1, j] = np.exp(self.rate * r * np.sqrt(q.max()))
        return found

    def _pair_sums(self, function, sizes):
        """Return the sums over pairs with each row, a dict of arrays (n, len(sizes)).

        The key "pair" is for the products of a~ and e~ summed over the outputs. Others have
        the place of an output before the name.
        """
        # In single precision products must not be too small.
        unit_a = max(np.abs(a).max() for _, a, _ in function) or 1.0
        unit_e = max(np.abs(output.e).max() for output, _, _ in function) or 1.0
        units = {"a": unit_a, "e": unit_e, "pair": unit_a * unit_e}
        units |= {"aa": unit_a**2, "ee": unit_e**2}
        scaled = [
            (
                output,
                _single(a / unit_a),
                _single(output.e / unit_e),
                _single(output.weights),  # computed before threads start
            )
            for output, a, _ in function
        ]

        def block_sums(block):
            pair, found = np.float32(0.0), {}
            for place, (output, a, e, d) in enumerate(scaled):
                O, Q = output.products(block)
                O = _single(O)
                with_a, with_e = O * a, O * e
                found[place, "a"] = _largest_of_both_signs(with_a, sizes - 1)
                found[place, "e"] = _largest_of_both_signs(with_e, sizes - 1)
                own_a, own_e = a[block, None], e[block, None]
                found[place, "aa"] = _largest_sums(own_a * with_a, sizes - 1)
                found[place, "ee"] = _largest_sums(own_e * with_e, sizes - 1)
                with_a *= own_e / 2
                with_e *= own_a / 2
                pair = pair + with_a + with_e
                np.abs(O, out=O)
                O *= d
                found[place, "rho"] = _largest_sums(O, sizes - 1) / d[block, None]
                if self.rate:
                    found[place, "q"] = _largest_sums(Q**2, sizes)
            found["pair"] = _largest_sums(pair, sizes - 1)
            return found

        parts = run_blocks(block_sums, self.blocks(8), n_jobs=self.n_jobs)
        sums = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        for name in sums:
            sums[name] *= units.get(name if name == "pair" else name[1], 1.0)
        return sums

    def blocks(self, width):
        """Return blocks of rows for `width` arrays (b, n) at a time."""
        row_bytes = 8 * (width * self.n + 6 * self.point.theta.size)
        return row_blocks(self.n, row_bytes, n_jobs=self.n_jobs)

    def _rank_one_sums(self, function, sizes):
        """Return bounds for `_pair_sums` from |O_ij| <= u_i u_j."""
        sums = {"pair": 0.0}
        for place, (output, a, _) in enumerate(function):
            u, e = output.u, output.e
            others_a = _largest_sums(np.abs(a * u)[None], sizes - 1)
            others_e = _largest_sums(np.abs(e * u)[None], sizes - 1)
            sums[place, "rho"] = _largest_sums((u**2)[None], sizes - 1)
            sums[place, "a"] = u[:, None] * others_a
            sums[place, "e"] = u[:, None] * others_e
            sums[place, "aa"] = np.abs(a * u)[:, None] * others_a
            sums[place, "ee"] = np.abs(e * u)[:, None] * others_e
            sums[place, "q"] = output.spread[:, None] * _largest_sums((u**2)[None], sizes)
            crossed = np.abs(a * u)[:, None] * others_e + np.abs(e * u)[:, None] * others_a
            sums["pair"] = sums["pair"] + 0.5 * crossed
        return sums


class _Output:
    """The scaled rows of one output.

    Attributes
    ----------
    root, rest : ndarray of shape (n,)
        sqrt(h_i) and sqrt(1 - P_ii).
    e : ndarray of shape (n,)
        e~.
    u : ndarray of shape (n,)
        sqrt(P_ii / (1 - P_ii)).
    spread : ndarray of shape (n,)
        x~_i'H^-1 x~_i, 0 for rows without weight.
    is_full : bool
        Whether one row alone may determine a parameter.
    """

    def __init__(self, bound, k):
        self.bound, self.k = bound, k
        point = bound.point
        objective = point.objective
        weight = objective.sample_weight
        h = point.curvature()[:, k]
        g = weight * point.rows.raw_gradient[:, k]
        self.root = np.sqrt(h)
        self.leverage = np.clip(bound.leverage[:, k], 0.0, 1.0)
        self.is_full = bool(
            np.any(self.leverage > 1.0 - _FULL_LEVERAGE) or np.any((h == 0) & (g != 0))
        )
        self.rest = np.sqrt(np.maximum(1.0 - self.leverage, _FULL_LEVERAGE))
        self.u = np.sqrt(self.leverage) / self.rest
        self.e = np.divide(-g, self.root, out=np.zeros(bound.n), where=h > 0) / self.rest
        self.spread = np.zeros(bound.n)
        if bound.rate:
            present = weight > 0
            self.spread[present] = np.divide(
                self.leverage, h, out=np.full(bound.n, np.inf), where=h > 0
            )[present]
        self.present = weight > 0

    def products(self, block):
        """Return O_ij and sqrt(h_j) x~_i'H^-1 x~_j / sqrt(1 - P_jj) for a block, (b, n).

        Both are 0 for i = j.
        """
        bound = self.bound
        design = bound.point.objective.design
        x = design.take(block).rows()
        V = np.zeros((len(x), *bound.point.theta.shape))
        V[:, self.k] = x
        solved = bound.factor.solve(V)[:, self.k]
        Q = np.ascontiguousarray(design.predict(solved).T)
        Q *= self.root / self.rest
        Q *= self.present[block, None]
        Q[np.arange(len(x)), np.arange(block.start, block.stop)] = 0.0
        return Q * (self.root[block] / self.rest[block])[:, None], Q

    @cached_property
    def weights(self):
        """Weights d > 0 that make the bound on the eigenvalues of O_SS small, (n,).

        The map T d, with entries the sum of the k - 1 largest |O_ij| d_j over j, is monotone,
        and the bound max (T d)_i / d_i falls to its eigenvalue in a power iteration. The
        iteration takes the largest k for which there may be a bound.
        """
        size = 2 * np.searchsorted(np.cumsum(np.sort(self.u**2)[::-1]), 1.0) + 2
        size = np.array([min(size, self.bound.most, self.bound.n) - 1])
        d = np.where(self.u > 0, self.u, 1.0)
        if size[0] < 1:
            return d
        d /= d.max()
        blocks = self.bound.blocks(4)
        for _ in range(_POWER_STEPS):

            def block_map(block, d=d):
                O = np.abs(_single(self.products(block)[0]))
                O *= _single(d)
                return _largest_sums(O, size)[:, 0]

            parts = run_blocks(block_map, blocks, n_jobs=self.bound.n_jobs)
            d = np.sqrt(np.maximum(np.concatenate(parts), 1e-3 * d) * d)
        return np.maximum(d / d.max(), 1e-6)


def _single(values):
    return values.astype(np.float32)


def _largest_sums(values, counts):
    """Return the sums of the largest positive values in each row (b, n), (b, len(counts))."""
    n = values.shape[1]
    counts = np.minimum(counts, n)
    most = int(counts[-1])
    if most == 0:
        return np.zeros((len(values), len(counts)))
    values = np.negative(values)
    if most < n:
        values.partition(most - 1, axis=1)
    values = np.sort(values[:, :most], axis=1)
    sums = np.zeros((len(values), most + 1))
    np.cumsum(np.maximum(-values, 0.0), axis=1, out=sums[:, 1:], dtype=np.float64)
    return sums[:, counts]


def _largest_of_both_signs(values, counts):
    return np.maximum(_largest_sums(values, counts), _largest_sums(-values, counts))


def _totals(values, sizes):
    """Return the sum of the k largest positive values (n, len(sizes)) for each size k."""
    columns = (_largest_sums(values[None, :, j], [k])[0, 0] for j, k in enumerate(sizes))
    return np.array(list(columns))


def _norms(values, sizes):
    """Return the norm of the k largest values (n,) or (n, len(sizes)) for each size k."""
    squares = values.reshape(len(values), -1) ** 2
    return np.sqrt(_totals(np.broadcast_to(squares, (len(values), len(sizes))), sizes))
