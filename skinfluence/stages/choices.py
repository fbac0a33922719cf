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
        ``made_without(rows)`` returns the columns that a refit without rows keeps.
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

    def made_without(self, rows):
        """Return the mask of the columns that a refit without some rows keeps.

        None if rounding leaves it in doubt, or if the choice is of another kind.
        """
        raise NotImplementedError

    def stays_without(self, rows):
        """Return whether a refit without some rows makes the same choice."""
        return np.array_equal(self.made_without(rows), self.kept)


class Scores(Choice):
    """Columns chosen by a score of each, and by its p-value."""

    def __init__(self, transformer, X, y):
        super().__init__(transformer, X, y)
        self.kept = transformer.get_support()

    def made_without(self, rows):
        with np.errstate(all="ignore"):
            found = self.scores_without(rows)
            if found is None:
                return None
            scores, error = found
            # The present choice, or else the one that is found in its place.
            kept = self.kept
            for _ in range(2):
                against = np.where(kept, scores - error, scores + error)
                trial = copy.copy(self.transformer)
                trial.scores_, trial.pvalues_ = against, self.p_values(against, len(rows))
                before, kept = kept, trial.get_support()
                if np.array_equal(before, kept):
                    return kept
        return None

    def scores_without(self, rows):
        """Return (scores, bounds on their errors) without rows; None if there are none."""
        raise NotImplementedError

    def p_values(self, scores, n_left_out):
        """Return the p-values of scores, None if the score has none."""
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
        classes, codes = np.unique(y, return_inverse=True)
        shape = len(y), len(classes)
        self.members = sparse.csr_array((np.ones(len(y)), (np.arange(len(y)), codes)), shape)
        self.X, self.counts = X, column_sums(self.members)
        self.sums = _dense(self.members.T @ X)
        self.total = self.sums.sum(axis=0)

    def without(self, rows):
        """Return (numbers, sums) without some rows."""
        members = self.members[rows]
        counts = self.counts - column_sums(members)
        return counts, self.sums - _dense(members.T @ self.X[rows])


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

    def bounds(self, scores, spread):
        """Return bounds on the errors of scores, from the columns' centred sums of squares.

        If a group has almost all of a column's variance, the digits of the rest are lost.
        """
        growth = np.where(spread > 0, np.maximum(self.spread / spread, 1.0), np.inf)
        return (_SHARE + self.error * growth) * (1.0 + np.abs(scores))


class ByClass(OfMoments):
    """`f_classif`: F = mean square between classes / mean square within."""

    def __init__(self, transformer, X, y):
        super().__init__(transformer, X, y)
        self.sums = ClassSums(self.X, y)

    def scores_without(self, rows):
        counts, sums = self.sums.without(rows)
        if not counts.all():
            return None
        n = counts.sum()
        of_all = sums.sum(axis=0) ** 2 / n
        between = np.sum(sums**2 / counts[:, None], axis=0) - of_all
        within = self.squares - column_sums(_squares(self.X[rows])) - of_all - between
        free = len(counts) - 1, n - len(counts)
        scores = (between / free[0]) / (within / free[1])
        return scores, self.bounds(scores, within + between)

    def p_values(self, scores, n_left_out):
        K = len(self.sums.counts)
        return special.fdtrc(K - 1, self.n_rows - n_left_out - K, scores)


class ByTarget(OfMoments):
    """`f_regression`: F of the correlation with the target."""

    def __init__(self, transformer, X, y):
        super().__init__(transformer, X, y)
        self.y = y.astype(np.float64) - np.mean(y)
        self.product = self.y @ self.X

    def correlations(self, rows):
        """Return the correlations and centred sums of squares without rows.

        The correlation of a constant column is 0.
        """
        X, y, n = self.X[rows], self.y[rows], self.n_rows - len(rows)
        total, left = self.total - column_sums(X), np.delete(self.y, rows)
        spread = self.squares - column_sums(_squares(X)) - total**2 / n
        product = self.product - y @ X - total * left.mean()
        found = product / np.sqrt(spread) / np.linalg.norm(left - left.mean())
        return np.nan_to_num(found, nan=0.0), spread

    def scores_without(self, rows):
        correlations, spread = self.correlations(rows)
        squares = correlations**2
        scores = squares / (1.0 - squares) * (self.n_rows - len(rows) - 2)
        return scores, self.bounds(scores, spread)

    def p_values(self, scores, n_left_out):
        return stats.f.sf(scores, 1, self.n_rows - n_left_out - 2)


class ByCorrelation(ByTarget):
    """`r_regression`: the correlation with the target, which has no p-value."""

    def scores_without(self, rows):
        scores, spread = self.correlations(rows)
        return scores, self.bounds(scores, spread)

    def p_values(self, scores, n_left_out):
        return None


class ByCounts(Scores):
    """`chi2`: sums of each column in each class against those by the class sizes."""

    def __init__(self, transformer, X, y):
        super().__init__(transformer, X, y)
        self.sums = ClassSums(self.X, y)

    def scores_without(self, rows):
        counts, observed = self.sums.without(rows)
        if not counts.all() or len(counts) < 2:
            return None
        total = observed.sum(axis=0)
        expected = (counts / counts.sum())[:, None] * total
        scores = np.sum((observed - expected) ** 2 / expected, axis=0)
        # A column of zeros has the score 0/0, and a sum that is rounding has any.
        scores[total < self.rounding * self.sums.total] = np.nan
        error = self.rounding * self.n_rows * (1.0 + self.sums.total)
        return scores, _SHARE * scores + error

    def p_values(self, scores, n_left_out):
        return special.chdtrc(len(self.sums.counts) - 1, scores)


class ByVariance(Choice):
    """`VarianceThreshold`: columns whose variance exceeds a threshold."""

    def __init__(self, transformer, X, y):
        super().__init__(transformer, X, y)
        mean = self.shift()
        self.error = self.rounding * (self.squares + self.n_rows * mean**2)
        self.kept = transformer.get_support()

    def made_without(self, rows):
        X, n = self.X[rows], self.n_rows - len(rows)
        squares = self.squares - column_sums(_squares(X))
        variance = squares / n - ((self.total - column_sums(X)) / n) ** 2
        threshold = self.transformer.threshold
        if threshold == 0.0:  # a column that is constant stays constant
            known = np.all(variance[self.kept] > self.error[self.kept])
            return self.kept if known else None
        known = np.all(np.abs(variance - threshold) > self.error)
        return variance > threshold if known else None


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

    def made_without(self, rows):
        parts = zip(self.extremes, self.counts, strict=True)
        stay = all((mask[rows].sum(axis=0) < count).all() for mask, count in parts)
        return self.kept if stay else None


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
