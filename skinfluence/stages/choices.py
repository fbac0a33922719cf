"""The choice that a step makes without some rows.

A selector keeps the columns with the best statistics, and a scaler to a range depends on the
extreme values. Without most rows, the same columns are kept and the same values are extreme.
Here the statistics without a group are computed from sums over all rows less sums over the
group. Rounding makes them differ from those of a refit, so a choice is known only if it is the
same with all statistics moved against it by more than rounding.
"""

import copy

import numpy as np
from scipy import sparse, special, stats
from sklearn import feature_selection as sk
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler

from skinfluence.namespaces import to_host
from skinfluence.stages.base import column_sums, plain

# Statistics move by this share of their size, and by this multiple of the rounding in sums
# over n rows, before a choice counts as known.
_SHARE = 1e-9
_ROUNDING = 100.0


def make_choice(transformer, X, y, *, is_moved):
    """Return the choice that a fitted transformer made, None if none is known here.

    Parameters
    ----------
    transformer : estimator
        Fitted transformer.
    X : {ndarray, sparse matrix, DataFrame} of shape (n, d)
        Its training rows.
    y : array-like of shape (n,)
        Training targets.
    is_moved : bool
        Whether a refit shifts and scales the columns differently.

    Returns
    -------
    Choice or None
        ``made_without(groups)`` returns the columns that refits without groups keep.
    """
    kind = _KINDS.get(type(transformer))
    if kind is Scores:
        kind = _SCORES.get(transformer.score_func)
    if kind is None or (is_moved and not kind.ignores_scales):
        return None
    X = sparse.csr_array(X) if sparse.issparse(X) else plain(X)
    y = np.asarray(to_host(y))
    if X.dtype.kind not in "iufb" or y.ndim != 1 or not kind.takes(X):
        return None
    return kind(transformer, X, y)


class Choice:
    """A choice by a transformer, see `make_choice`."""

    #: Whether the choice is the same for columns that are shifted and scaled.
    ignores_scales = False
    #: Mask of the columns that the fitted transformer keeps.
    kept: np.ndarray

    def __init__(self, transformer, X, y):
        self.transformer = transformer
        self.n_rows = X.shape[0]
        single = X.dtype == np.float32
        self.rounding = _ROUNDING * np.finfo(np.float32 if single else np.float64).eps
        self.X = X.astype(np.float64)

    def shift(self):
        """Subtract the columns' means from dense rows, sum the columns, return the means."""
        mean = np.asarray(self.X.mean(axis=0)).ravel()
        if not sparse.issparse(self.X):
            self.X -= mean
        self.squares, self.total = column_sums(_squares(self.X)), column_sums(self.X)
        return mean

    @staticmethod
    def takes(X):
        """Return whether the choice is known for such rows."""
        return sparse.issparse(X) or bool(np.isfinite(X).all())

    def group_bytes(self, n_left_out):
        """Return the bytes of one group's rows and statistics, and of temporaries."""
        return (64 + 24 * n_left_out) * self.X.shape[1]

    def made_without(self, groups):
        """Return the columns that refits without groups of rows keep.

        Parameters
        ----------
        groups : list of ndarray of int
            Rows that are left out, of each group.

        Returns
        -------
        list of (ndarray of shape (d,) or None)
            A bool mask for each group. None if rounding leaves it in doubt, or if the choice
            is of another kind.
        """
        raise NotImplementedError

    def stays_without(self, rows):
        """Return whether a refit without some rows makes the same choice."""
        return np.array_equal(self.made_without([rows])[0], self.kept)


class LeftOut:
    """Sums over the rows that groups leave out.

    Parameters
    ----------
    groups : list of ndarray of int
        Rows of each group, b of them.

    Attributes
    ----------
    rows : ndarray of shape (m,)
        The rows of all groups.
    counts : ndarray of shape (b,)
        Number of rows in each group.
    """

    def __init__(self, groups):
        self.rows = np.concatenate(groups)
        self.counts = np.array([len(rows) for rows in groups])

    def sums(self, values, codes=None, n_classes=1):
        """Return the sums of values (m, ...) in each group, (b, ...).

        With class codes (m,) the sums are those of each class, (b, n_classes, ...).
        """
        b, m = len(self.counts), len(self.rows)
        line = np.repeat(np.arange(b), self.counts)
        if codes is not None:
            line = n_classes * line + codes
        shape = (b * n_classes, m)
        sums = _dense(sparse.csr_array((np.ones(m), (line, np.arange(m))), shape) @ values)
        return sums if codes is None else sums.reshape(b, n_classes, *values.shape[1:])


class Scores(Choice):
    """Columns chosen by a score of each, and by its p-value."""

    def __init__(self, transformer, X, y):
        super().__init__(transformer, X, y)
        self.kept = transformer.get_support()

    def made_without(self, groups):
        left = LeftOut(groups)
        with np.errstate(all="ignore"):
            scores, error, exist = self.scores_without(left)
            return [
                self._kept_at(scores[g], error[g], left.counts[g]) if exist[g] else None
                for g in range(len(groups))
            ]

    def _kept_at(self, scores, error, n_left_out):
        """Return the columns kept at scores that are known up to an error, None in doubt."""
        # The present choice, or else the one that is found in its place.
        kept = self.kept
        for _ in range(2):
            against = np.where(kept, scores - error, scores + error)
            trial = copy.copy(self.transformer)
            trial.scores_, trial.pvalues_ = against, self.p_values(against, n_left_out)
            before, kept = kept, trial.get_support()
            if np.array_equal(before, kept):
                return kept
        return None

    def scores_without(self, left):
        """Return scores without groups, bounds on their errors, and whether they exist.

        Parameters
        ----------
        left : LeftOut
            The groups, b of them.

        Returns
        -------
        scores, error : ndarray of shape (b, d)
        exist : ndarray of shape (b,)
            bool.
        """
        raise NotImplementedError

    def p_values(self, scores, n_left_out):
        """Return the p-values of scores (d,), None if the score has none."""
        raise NotImplementedError


class ClassSums:
    """Numbers of rows and sums of the columns in each class, (K,) and (K, d).

    Parameters
    ----------
    X : {ndarray, sparse array} of shape (n, d)
        Rows.
    y : ndarray of shape (n,)
        Their classes.
    """

    def __init__(self, X, y):
        classes, self.codes = np.unique(y, return_inverse=True)
        everyone = LeftOut([np.arange(len(y))])
        self.X, self.n_classes = X, len(classes)
        self.counts = np.bincount(self.codes)
        self.sums = everyone.sums(X, self.codes, self.n_classes)[0]
        self.total = self.sums.sum(axis=0)

    def without(self, left):
        """Return (numbers, sums) without groups, (b, K) and (b, K, d)."""
        codes, ones = self.codes[left.rows], np.ones(len(left.rows))
        counts = self.counts - left.sums(ones, codes, self.n_classes)
        return counts, self.sums - left.sums(self.X[left.rows], codes, self.n_classes)


class OfMoments(Scores):
    """Scores from means and variances of the columns, which are shifted by their means."""

    ignores_scales = True

    def __init__(self, transformer, X, y):
        super().__init__(transformer, X, y)
        n, mean = self.n_rows, self.shift()
        self.spread = self.squares - self.total**2 / n
        with np.errstate(all="ignore"):
            # The share of rounding in a variance from sums of the columns as they are.
            self.error = self.rounding * n * (1.0 + n * mean**2 / self.spread)

    def bounds(self, scores, spread, rest=None, growth=1.0):
        """Return bounds on the errors of scores (b, d).

        Parameters
        ----------
        scores : ndarray of shape (b, d)
            Scores without groups.
        spread : ndarray of shape (b, d)
            The columns' centred sums of squares. If a group has almost all of one, the digits
            of the rest are lost.
        rest : ndarray of shape (b, d) or None, default=None
            The part that the classes or the target do not explain. A score divides by it. If
            it is almost nothing, it is rounding.
        growth : float or ndarray of shape (b, 1), default=1.0
            Ratio of the target's sums of squares with and without the groups.
        """
        error = _SHARE + self.error * np.maximum(self._ratio(spread), growth)
        if rest is not None:
            error += self.error / self.n_rows * self._ratio(rest)
        return error * (1.0 + np.abs(scores))

    def _ratio(self, sums):
        """Return the centred sums of squares of all rows over others, at least 1."""
        return np.where(sums > 0, np.maximum(self.spread / sums, 1.0), np.inf)


class ByClass(OfMoments):
    """`f_classif`: F = mean square between classes / mean square within."""

    def __init__(self, transformer, X, y):
        super().__init__(transformer, X, y)
        self.sums = ClassSums(self.X, y)

    def group_bytes(self, n_left_out):
        return super().group_bytes(n_left_out) + 24 * self.sums.sums.size

    def scores_without(self, left):
        counts, sums = self.sums.without(left)
        n = counts.sum(axis=1)[:, None]
        of_all = sums.sum(axis=1) ** 2 / n
        between = np.sum(sums**2 / counts[:, :, None], axis=1) - of_all
        squares = self.squares - left.sums(_squares(self.X[left.rows]))
        within = squares - of_all - between
        K = self.sums.n_classes
        scores = (between / (K - 1)) / (within / (n - K))
        return scores, self.bounds(scores, within + between, within), counts.all(axis=1)

    def p_values(self, scores, n_left_out):
        K = self.sums.n_classes
        return special.fdtrc(K - 1, self.n_rows - n_left_out - K, scores)


class ByTarget(OfMoments):
    """`f_regression`: F of the correlation with the target."""

    def __init__(self, transformer, X, y):
        super().__init__(transformer, X, y)
        self.y = y.astype(np.float64) - np.mean(y)
        self.product = self.y @ self.X

    def correlations(self, left):
        """Return the correlations without groups, (b, d), and bounds on errors of a score.

        The correlation of a constant column is 0.
        """
        X, y = self.X[left.rows], self.y[left.rows, None]
        n = (self.n_rows - left.counts)[:, None]
        total, of_y = self.total - left.sums(X), self.y.sum() - left.sums(y)
        spread = self.squares - left.sums(_squares(X)) - total**2 / n
        spread_of_y = self.y @ self.y - left.sums(y * y) - of_y**2 / n
        scaled = X.multiply(y) if sparse.issparse(X) else y * X
        product = self.product - left.sums(scaled) - total * of_y / n
        found = product / np.sqrt(spread) / np.sqrt(spread_of_y)
        growth = np.where(spread_of_y > 0, self.y @ self.y / spread_of_y, np.inf)
        return np.nan_to_num(found, nan=0.0), spread, growth

    def scores_without(self, left):
        correlations, spread, growth = self.correlations(left)
        squares = correlations**2
        scores = squares / (1.0 - squares) * (self.n_rows - left.counts - 2)[:, None]
        exist = np.ones(len(scores), dtype=bool)
        rest = spread * (1.0 - squares)
        return scores, self.bounds(scores, spread, rest, growth), exist

    def p_values(self, scores, n_left_out):
        return stats.f.sf(scores, 1, self.n_rows - n_left_out - 2)


class ByCorrelation(ByTarget):
    """`r_regression`: the correlation with the target, which has no p-value."""

    def scores_without(self, left):
        scores, spread, growth = self.correlations(left)
        exist = np.ones(len(scores), dtype=bool)
        return scores, self.bounds(scores, spread, growth=growth), exist

    def p_values(self, scores, n_left_out):
        return None


class ByCounts(Scores):
    """`chi2`: sums of each column in each class against those by the class sizes."""

    def __init__(self, transformer, X, y):
        super().__init__(transformer, X, y)
        self.sums = ClassSums(self.X, y)

    def group_bytes(self, n_left_out):
        return super().group_bytes(n_left_out) + 32 * self.sums.sums.size

    def scores_without(self, left):
        counts, observed = self.sums.without(left)
        total = observed.sum(axis=1)
        expected = (counts / counts.sum(axis=1)[:, None])[:, :, None] * total[:, None]
        scores = np.sum((observed - expected) ** 2 / expected, axis=1)
        # A column of zeros has the score 0/0, and a sum that is rounding has any.
        scores[total < self.rounding * self.sums.total] = np.nan
        error = self.rounding * self.n_rows * (1.0 + self.sums.total)
        exist = counts.all(axis=1) & (self.sums.n_classes > 1)
        return scores, _SHARE * scores + error, exist

    def p_values(self, scores, n_left_out):
        return special.chdtrc(self.sums.n_classes - 1, scores)


class ByVariance(Choice):
    """`VarianceThreshold`: columns whose variance exceeds a threshold."""

    def __init__(self, transformer, X, y):
        super().__init__(transformer, X, y)
        mean = self.shift()
        self.error = self.rounding * (self.squares + self.n_rows * mean**2)
        self.kept = transformer.get_support()

    def made_without(self, groups):
        left = LeftOut(groups)
        X, n = self.X[left.rows], (self.n_rows - left.counts)[:, None]
        squares = self.squares - left.sums(_squares(X))
        variance = squares / n - ((self.total - left.sums(X)) / n) ** 2
        threshold = self.transformer.threshold
        if threshold == 0.0:  # a column that is constant stays constant
            known = np.all(variance[:, self.kept] > self.error[self.kept], axis=1)
            return [self.kept if one else None for one in known]
        known = np.all(np.abs(variance - threshold) > self.error, axis=1)
        kept = variance > threshold
        return [mask if one else None for mask, one in zip(kept, known, strict=True)]


class Extremes(Choice):
    """Scalers to a range: every extreme value occurs in another row, too."""

    def __init__(self, transformer, X, y):
        super().__init__(transformer, X, y)
        lowest, highest = self.X.min(axis=0), self.X.max(axis=0)
        if isinstance(transformer, MaxAbsScaler):
            size = np.maximum(-lowest, highest)
            extremes = [np.abs(self.X) == size]
        else:
            extremes = [lowest == self.X, highest == self.X]
        self.extremes = [to_host(mask) for mask in extremes]
        self.counts = [mask.sum(axis=0) for mask in self.extremes]
        self.kept = np.ones(X.shape[1], dtype=bool)

    @staticmethod
    def takes(X):
        return not sparse.issparse(X) and bool(np.isfinite(X).all())

    def made_without(self, groups):
        left, stay = LeftOut(groups), np.ones(len(groups), dtype=bool)
        for mask, count in zip(self.extremes, self.counts, strict=True):
            stay &= (left.sums(mask[left.rows]) < count).all(axis=1)
        return [self.kept if one else None for one in stay]


def _dense(sums):
    return sums.toarray() if sparse.issparse(sums) else np.asarray(sums)


def _squares(X):
    return X.multiply(X) if sparse.issparse(X) else X * X


_SELECTORS = (
    sk.GenericUnivariateSelect,
    sk.SelectFdr,
    sk.SelectFpr,
    sk.SelectFwe,
    sk.SelectKBest,
    sk.SelectPercentile,
)
_KINDS = dict.fromkeys(_SELECTORS, Scores) | {
    sk.VarianceThreshold: ByVariance,
    MaxAbsScaler: Extremes,
    MinMaxScaler: Extremes,
}
_SCORES = {
    sk.chi2: ByCounts,
    sk.f_classif: ByClass,
    sk.f_regression: ByTarget,
    sk.r_regression: ByCorrelation,
}
