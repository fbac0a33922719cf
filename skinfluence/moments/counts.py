"""Event counts in each class: the discrete naive Bayes models.

The terms are the counts themselves. The parameters are `feature_log_prob_`, class by class,
and `class_log_prior_`.
"""

from numbers import Real
from typing import ClassVar

import numpy as np
from scipy import sparse

from skinfluence.moments.base import LinearScores, Prior, joined

# scikit-learn raises a smaller smoothing to this value unless force_alpha is True.
_SMALLEST_ALPHA = 1e-10
# Smoothed counts without some rows that are below this share of the count with them have lost
# their digits in the difference.
_CANCELS = 1e-9
# Sums of integers below this bound are exact.
_EXACT = 2.0**53


class _Counts(LinearScores):
    """Common to the four models: prior, terms, and scores that are linear in the terms."""

    centred = False
    blocks: ClassVar = {"feature_log_prob": "kj", "class_log_prior": "k"}

    def __init__(self, estimator):
        super().__init__(estimator)
        alpha = estimator.alpha
        alpha = float(alpha) if isinstance(alpha, Real) else np.asarray(alpha, np.float64)
        if not estimator.force_alpha:
            alpha = np.maximum(alpha, _SMALLEST_ALPHA)
        self.alpha = alpha
        given = estimator.class_prior
        if given is None and not estimator.fit_prior:
            given = np.full(self.n_classes, 1.0 / self.n_classes)
        self.prior = Prior(given)

    def terms(self, D):
        return D

    def pull_terms(self, gM, D):
        return gM

    def params(self, N, M, C, rows):
        with np.errstate(divide="ignore", invalid="ignore"):
            blocks = self.log_prob(N, M, rows), np.log(self.prior.of(N))
        return joined(blocks, N.shape[:-1])

    def pull(self, N, M, C, V):
        g, g_prior = self.split(V)
        gN, gM = self.pull_log_prob(N, M, g)
        return gN + self.prior.pull(N, g_prior / self.prior.of(N)), gM

    def cancels(self, M, removed):
        """Return which counts M (K, s) have lost their digits without others, (G, K, s) bool.

        Differences of integers are exact.
        """
        if np.array_equal(M, np.round(M)) and M.max(initial=0.0) < _EXACT:
            return np.zeros(removed.shape, dtype=bool)
        small = self.logged(M - removed) < _CANCELS * self.counted(M)
        return small & (self.counted(removed) > 0)

    def logged(self, M):
        """Return the smoothed counts of which logarithms are taken, (..., K, s)."""
        return M + self.alpha

    def counted(self, M):
        """Return the sums M of the rows that `logged` counts, or more, (..., K, s)."""
        return M

    def log_prob(self, N, M, rows):
        """Return `feature_log_prob_`, (..., K, s)."""
        raise NotImplementedError

    def pull_log_prob(self, N, M, g):
        """Return (gN, gM) for its gradients g (m, K, s)."""
        raise NotImplementedError

    def read(self, estimator):
        log_prob = estimator.feature_log_prob_
        parts = log_prob if isinstance(log_prob, list) else [log_prob]
        return joined([np.concatenate(parts, axis=1), estimator.class_log_prior_])


class MultinomialMoments(_Counts):
    """MultinomialNB: logarithm of smoothed counts divided by their sum.

    With F_kj = M_kj + alpha, feature_log_prob_kj = log F_kj - log sum_j F_kj. For categories,
    the sum is over one feature's columns.
    """

    def __init__(self, estimator):
        super().__init__(estimator)
        self.starts = np.array([0])

    def smoothed(self, M, rows):
        """Return F, (..., K, s)."""
        return M + self.alpha

    def _total(self, F):
        total = np.add.reduceat(F, self.starts, axis=-1)
        widths = np.diff(np.append(self.starts, F.shape[-1]))
        return np.repeat(total, widths, axis=-1)

    def log_prob(self, N, M, rows):
        F = self.smoothed(M, rows)
        missing = np.isnan(F)
        total = self._total(np.where(missing, 0.0, F))
        return np.log(F) - np.log(total)

    def pull_log_prob(self, N, M, g):
        F = M + self.alpha
        total = self._total(F)
        ratio = np.divide(g, F, out=np.zeros_like(g), where=F > 0)
        return np.zeros((len(g), len(N))), ratio - self._total(g) / total


class CategoricalMoments(MultinomialMoments):
    """CategoricalNB: a multinomial model for each feature, with its category counts.

    A feature has a column for each integer up to its largest category. A refit only has
    columns up to the largest remaining category, and at least `min_categories`. Entries for
    other columns are NaN.
    """

    smooth_in_rows = False

    def __init__(self, estimator):
        super().__init__(estimator)
        self.widths = np.asarray(estimator.n_categories_)
        self.lengths["j"] = int(self.widths.sum())
        self.starts = np.concatenate([[0], np.cumsum(self.widths)[:-1]])
        fewest = 0 if estimator.min_categories is None else estimator.min_categories
        self.fewest = np.broadcast_to(fewest, self.widths.shape)

    def prepare(self, X):
        X = np.asarray(X)
        unknown = np.argwhere((X < 0) | (self.widths <= X))
        if len(unknown):
            row, j = unknown[0]
            raise ValueError(
                f"X holds {X[row, j]} in feature {j}, whose categories in fit were 0 to "
                f"{self.widths[j] - 1}."
            )
        columns = (X.astype(np.intp) + self.starts).ravel()
        m, d = X.shape
        shape = (m, self.lengths["j"])
        return sparse.csr_array((np.ones(m * d), columns, np.arange(0, m * d + 1, d)), shape)

    def smoothed(self, M, rows):
        F = M + self.alpha
        seen = M.sum(axis=-2) > 1e-9
        for start, width, fewest in zip(self.starts, self.widths, self.fewest, strict=True):
            column = np.arange(width)
            last = np.where(seen[..., start : start + width], column, -1).max(axis=-1)
            missing = column > np.maximum(last, fewest - 1)[..., None]
            F[..., start : start + width] = np.where(
                missing[..., None, :], np.nan, F[..., start : start + width]
            )
        return F

    def names(self, classes, features):
        pairs = zip(features, self.widths, strict=True)
        columns = [f"{feature}={c}" for feature, width in pairs for c in range(width)]
        return super().names(classes, columns)


class ComplementMoments(_Counts):
    """ComplementNB: counts in all other classes, A_kj = sum_l M_lj + alpha - M_kj.

    With L = log A - log sum_j A, feature_log_prob_ is -L, or L/sum_j L with `norm`. The prior
    matters only if there is a single class.
    """

    def __init__(self, estimator):
        super().__init__(estimator)
        self.norm = estimator.norm
        self.has_prior = self.n_classes == 1

    def logged(self, M):
        return M.sum(axis=-2, keepdims=True) + self.alpha - M

    def counted(self, M):
        return M.sum(axis=-2, keepdims=True)

    def _logged(self, M):
        A = self.logged(M)
        return A, np.log(A) - np.log(A.sum(axis=-1, keepdims=True))

    def log_prob(self, N, M, rows):
        _, L = self._logged(M)
        return L / L.sum(axis=-1, keepdims=True) if self.norm else -L

    def pull_log_prob(self, N, M, g):
        A, L = self._logged(M)
        if self.norm:
            total = L.sum(axis=-1, keepdims=True)
            gL = g / total - np.sum(g * L, axis=-1, keepdims=True) / total**2
        else:
            gL = -g
        gA = gL / A - gL.sum(axis=-1, keepdims=True) / A.sum(axis=-1, keepdims=True)
        return np.zeros((len(g), len(N))), gA.sum(axis=1, keepdims=True) - gA


class BernoulliMoments(_Counts):
    """BernoulliNB: the number of samples that have a feature, from binarized X.

    feature_log_prob_kj = log(M_kj + alpha) - log(N_k + 2 alpha), and class k has the score
    log pi_k + sum_j [x_j log p_kj + (1 - x_j) log(1 - p_kj)].
    """

    def __init__(self, estimator):
        super().__init__(estimator)
        self.threshold = estimator.binarize
        self.smooth_in_rows = self.threshold is None

    def prepare(self, X):
        if self.threshold is None:
            return X
        if sparse.issparse(X):
            X = X.tocsr().astype(np.float64)
            X.data = (X.data > self.threshold).astype(np.float64)
            return X
        return (self.threshold < X).astype(np.float64)

    def log_prob(self, N, M, rows):
        return np.log(M + self.alpha) - np.log(N + 2.0 * self.alpha)[..., None]

    def pull_log_prob(self, N, M, g):
        F = M + self.alpha
        gM = np.divide(g, F, out=np.zeros_like(g), where=F > 0)
        return -g.sum(axis=-1) / (N + 2.0 * self.alpha), gM

    def _without(self, log_prob):
        """Return log(1 - p) and the odds p/(1 - p)."""
        return np.log1p(-np.exp(log_prob)), np.exp(log_prob) / -np.expm1(log_prob)

    def raw(self, theta, X):
        log_prob, log_prior = self.split(theta)
        without, _ = self._without(log_prob)
        return np.asarray(X @ (log_prob - without).T) + log_prior + without.sum(axis=1)

    def pull_raw(self, theta, X, U):
        _, odds = self._without(self.split(theta)[0])
        X = X.toarray() if sparse.issparse(X) else X
        return joined([U[:, :, None] * (X[:, None] * (1.0 + odds) - odds), U], [len(X)])

    def pull_input(self, theta, X, U):
        log_prob, _ = self.split(theta)
        return U @ (log_prob - self._without(log_prob)[0])
