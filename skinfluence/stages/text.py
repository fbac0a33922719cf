"""Text: word counts, and tf-idf weights that depend on document frequencies.

The vocabulary is discrete and has no derivative. Most of the time for a fit goes into
splitting text into words. The counts of a row do not depend on the other rows, so a fit
without some rows needs only which words remain, and the document frequencies. `Words` computes
these from the counts, as scikit-learn does.
"""

from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy import sparse
from sklearn.base import clone
from sklearn.feature_extraction import DictVectorizer, FeatureHasher
from sklearn.feature_extraction.text import (
    CountVectorizer,
    HashingVectorizer,
    TfidfTransformer,
    TfidfVectorizer,
)

from skinfluence.stages.base import (
    NotNumbers,
    Stage,
    entry_rows,
    numbers,
    values_at,
    with_values,
)


def keeps_all_words(vectorizer):
    """Return whether every word in the training rows has a feature."""
    limits = vectorizer.min_df, vectorizer.max_df, vectorizer.max_features
    return limits == (1, 1.0, None) and isinstance(vectorizer.max_df, float)


def only_loses_words(vectorizer):
    """Return whether a fit without some rows cannot have words that this one left out.

    If fewer rows have a word than the number `min_df`, so do fewer of the others.
    """
    limited = vectorizer.max_df != 1.0 or vectorizer.max_features is not None
    is_share = isinstance(vectorizer.min_df, float), isinstance(vectorizer.max_df, float)
    return is_share == (False, True) and not limited


class Words:
    """A fitted vectorizer with its training rows.

    Parameters
    ----------
    vectorizer : CountVectorizer or TfidfVectorizer
        Fitted vectorizer. It is not changed.
    X : sequence of length n
        Its training rows.
    """

    def __init__(self, vectorizer, X):
        self.vectorizer = vectorizer
        self.X = X

    @classmethod
    def of(cls, transformer, X):
        """Return the words of a step; None unless it keeps all words that occur."""
        if type(transformer) not in (CountVectorizer, TfidfVectorizer):
            return None
        if not keeps_all_words(transformer) or not getattr(transformer, "use_idf", True):
            return None
        return cls(transformer, X)

    @cached_property
    def counts(self):
        """The counts of all words in the training rows, (n, d)."""
        return CountVectorizer.transform(self.vectorizer, self.X)

    @cached_property
    def names(self):
        """The words in the order of their columns, (d,)."""
        return self.vectorizer.get_feature_names_out()

    def take(self, rows):
        """Return (vectorizer, transformed rows) as fitted on some rows; None without words."""
        counts, names = self.counts[rows], self.names
        if not self.vectorizer.fixed_vocabulary_:
            occur = np.flatnonzero(counts.sum(axis=0))
            if not len(occur):
                return None
            if len(occur) < len(names):
                counts, names = counts[:, occur], names[occur]
        other = clone(self.vectorizer)
        other.vocabulary_ = dict(zip(names.tolist(), range(len(names)), strict=True))
        other.fixed_vocabulary_ = self.vectorizer.fixed_vocabulary_
        if not isinstance(other, TfidfVectorizer):
            return other, counts
        options = {
            name: getattr(other, name) for name in ("norm", "smooth_idf", "sublinear_tf")
        }
        weights = TfidfTransformer(**options).fit(counts)
        other.idf_ = weights.idf_
        return other, weights.transform(counts)


class TermWeights:
    """Tf-idf weights without groups of rows, as scales of fixed term frequencies.

    The weight of word j in row i is f_ij idf_j / |f_i * idf|. The term frequency f is the
    number of occurrences, or its logarithm. Only idf depends on the other rows. A word is lost
    if fewer than `min_df` other rows have it. Here it has idf 0, so that it counts in no row
    and no norm. Other words have idf 1 or more.

    Parameters
    ----------
    words : Words
        The words of the fit.
    weights : TfidfTransformer, TfidfVectorizer or None
        The fitted transformer of the counts; None for counts.
    """

    def __init__(self, words, weights):
        self.words = words
        self.vectorizer = words.vectorizer
        self.weights = weights

    @classmethod
    def of(cls, steps, words):
        """Return the term weights of fitted steps, None if the steps do more.

        `words` are the `Words` of the first step.
        """
        kinds = tuple(map(type, steps))
        of_counts = kinds in ((CountVectorizer,), (CountVectorizer, TfidfTransformer))
        if not (of_counts or kinds == (TfidfVectorizer,)) or not only_loses_words(steps[0]):
            return None
        vectorizer, weights = steps[0], steps[-1]
        if weights is vectorizer and of_counts:
            return cls(words, None)
        unknown = vectorizer.fixed_vocabulary_ and weights.use_idf and not weights.smooth_idf
        return None if unknown else cls(words, weights)  # idf may be infinite

    def frequencies_in(self, X):
        """Return the term frequencies f in texts, csr (m, d)."""
        return self._frequencies(CountVectorizer.transform(self.vectorizer, X))

    def _frequencies(self, counts):
        found = sparse.csr_array(counts, dtype=float)
        if self.weights is not None and self.weights.sublinear_tf:
            found.data = 1.0 + np.log(found.data)
        return found

    @cached_property
    def frequencies(self):
        """The term frequencies in the training rows, (n, d)."""
        return self._frequencies(self.words.counts)

    @cached_property
    def n_texts(self):
        """Number of training rows with each word, (d,)."""
        return np.bincount(self.frequencies.indices, minlength=self.frequencies.shape[1])

    @property
    def fewest(self):
        """Number of texts that a word needs, or else it is lost."""
        return 0 if self.vectorizer.fixed_vocabulary_ else self.vectorizer.min_df

    @property
    def n_spare(self):
        """Largest number of rows that may leave without the loss of all words."""
        return self.n_texts.max() - self.fewest if self.fewest else self.frequencies.shape[0]

    def idf_without(self, rows):
        """Return idf without some rows, or ones if there is none; 0 for lost words, (d,)."""
        leaving = self.frequencies[rows].indices
        n_texts = self.n_texts - np.bincount(leaving, minlength=len(self.n_texts))
        idf = np.ones(len(n_texts))
        if self.weights is not None and self.weights.use_idf:
            smooth = float(self.weights.smooth_idf)
            n = self.frequencies.shape[0] - len(rows)
            with np.errstate(divide="ignore"):
                idf = np.log((n + smooth) / (n_texts + smooth)) + 1.0
        return np.where(n_texts < self.fewest, 0.0, idf)

    def row_scales(self, frequencies, idf):
        """Return 1 / |f_i * idf_j| for rows f (m, d) and idf (b, d), shape (m, b)."""
        norm = None if self.weights is None else self.weights.norm
        if norm is None:
            return np.ones((frequencies.shape[0], len(idf)))
        power = 1 if norm == "l1" else 2
        sizes = (abs(frequencies).power(power) @ np.abs(idf.T) ** power) ** (1.0 / power)
        return np.divide(1.0, sizes, out=np.ones_like(sizes), where=sizes > 0)


class _OfWords:
    """A vectorizer of texts, to which new words give features."""

    def outside(self, X):
        outside, vectorizer = super().outside(X), self.transformer
        if not vectorizer.fixed_vocabulary_ and keeps_all_words(vectorizer):
            known, words = vectorizer.vocabulary_.keys(), vectorizer.build_analyzer()
            outside[1] = [not known >= set(words(text)) for text in X]
        return outside


class CountVectorizerStage(_OfWords, NotNumbers):
    """CountVectorizer: word counts."""


class DictVectorizerStage(NotNumbers):
    """DictVectorizer: a feature for each key, or each pair of a key and a text."""

    def outside(self, X):
        outside, known = super().outside(X), self.transformer.vocabulary_.keys()
        fresh = clone(self.transformer)
        outside[1] = [not fresh.fit([row]).vocabulary_.keys() <= known for row in X]
        return outside


class _Terms(NamedTuple):
    """Counts, and the transform at their stored entries.

    Attributes
    ----------
    counts : csr array of shape (m, p)
        Counts.
    rows : ndarray of shape (nnz,)
        Row index of each stored entry.
    frequency : ndarray of shape (nnz,)
        Term frequencies f(x).
    output : ndarray of shape (nnz,)
        Transformed entries t.
    normal : ndarray of shape (nnz,)
        Derivative of |u| in the entries of u; zeros without a norm.
    size : ndarray of shape (m,)
        Row norms |u|, or ones.
    """

    counts: sparse.csr_array
    rows: np.ndarray
    frequency: np.ndarray
    output: np.ndarray
    normal: np.ndarray
    size: np.ndarray


def _counts(transformer, X):
    """Return the counts for some rows, as a csr array."""
    if isinstance(transformer, CountVectorizer):  # TfidfVectorizer inherits from it
        return sparse.csr_array(CountVectorizer.transform(transformer, X), dtype=float)
    return sparse.csr_array(numbers(X))


class TfidfTransformerStage(Stage):
    """TfidfTransformer: t_j = u_j / |u|, u_j = f(x_j) idf_j, with f(x) = x or 1 + log(x).

    The statistics are idf_j = log((a + S) / (a + df_j)) + 1. There are S rows, and df_j rows
    have an entry in column j. If `smooth_idf` is true, a is 1, else 0:

        d idf_j / d m_i = 1 / (a + S) - 1[x_ij > 0] / (a + df_j)

    Small changes in the entries do not change S or df_j. The cotangent on u is

        (B - (B't) t) / |u|_2    or    (B - (B't) sign(u)) / |u|_1

    All computations are on stored entries.
    """

    @cached_property
    def sums(self):  # the number of rows, and df
        counts = self.evaluated(self.X).counts
        df = np.bincount(counts.indices, minlength=counts.shape[1])
        return np.concatenate([[self.n_rows], df])

    @property
    def _inverse_counts(self):
        """1 / (a + df), (p,). If a + df is 0, the value is 1."""
        return 1.0 / np.maximum(self.sums[1:] + float(self.transformer.smooth_idf), 1.0)

    def evaluate(self, X):
        """Return the `_Terms` for some rows."""
        counts = _counts(self.transformer, X)
        rows = entry_rows(counts)
        frequency = counts.data
        if self.transformer.sublinear_tf:
            frequency = 1.0 + np.log(frequency)
        output = frequency
        if self.transformer.use_idf:
            output = frequency * self.transformer.idf_[counts.indices]
        size = np.ones(counts.shape[0])
        if self.transformer.norm == "l2":
            size = np.sqrt(np.bincount(rows, output**2, minlength=len(size)))
        elif self.transformer.norm == "l1":
            size = np.bincount(rows, np.abs(output), minlength=len(size))
        # Rows of zeros are not scaled.
        size[size == 0] = 1.0
        output = output / size[rows]
        normal = {"l2": output, "l1": np.sign(output)}.get(
            self.transformer.norm, np.zeros_like(output)
        )
        return _Terms(counts, rows, frequency, output, normal, size)

    def _pull_to_product(self, terms, B):
        """Return the cotangent on u at the stored entries, (nnz,)."""
        values = values_at(terms.counts, B)
        along = np.bincount(terms.rows, values * terms.output, minlength=len(terms.size))
        return (values - along[terms.rows] * terms.normal) / terms.size[terms.rows]

    def pull_statistics(self, X, B):
        if not self.transformer.use_idf:
            return None
        terms = self.evaluated(X)
        total = self._pull_to_product(terms, B) * terms.frequency
        return np.bincount(terms.counts.indices, total, minlength=terms.counts.shape[1])

    def pull_input(self, X, B):
        terms = self.evaluated(X)
        pulled = self._pull_to_product(terms, B)
        if self.transformer.use_idf:
            pulled = pulled * self.transformer.idf_[terms.counts.indices]
        if self.transformer.sublinear_tf:
            pulled = pulled / terms.counts.data
        pulled = with_values(terms.counts, pulled)
        return pulled if sparse.issparse(self.X) else pulled.toarray()

    def row_influence(self, c, rows=None):
        return self.row_influences([c], rows)[0]

    def pull_fit(self, c):
        return None

    def pull_training_factors(self, factors):
        if not self.transformer.use_idf:
            return [None] * len(factors)
        terms, theta, V = self.evaluated(self.X), factors.theta, factors.V
        share = with_values(terms.counts, terms.frequency / terms.size[terms.rows])
        total = np.zeros((share.shape[1], len(factors)))
        along = np.zeros((share.shape[0], len(factors)))  # B_k't_k
        for k in range(len(theta)):
            bend, pull = factors.bend[:, :, k].T, factors.pull[:, k, None]
            total += theta[k][:, None] * (share.T @ bend) + (share.T @ pull) * V[:, k].T
            along += bend * (factors.rows @ theta[k])[:, None]
            along += pull * (factors.rows @ V[:, k].T)
        total -= with_values(terms.counts, share.data * terms.normal).T @ along
        return list(total.T)

    def row_influences(self, cs, rows=None):
        if rows is None:
            counts = self.evaluated(self.X).counts
        else:
            counts = _counts(self.transformer, rows.X)
        if not self.transformer.use_idf:
            return np.zeros((len(cs), counts.shape[0]))
        pattern = with_values(counts, np.ones(counts.nnz))
        zero = np.zeros(pattern.shape[1])
        C = np.array([zero if c is None else c for c in cs])
        a = float(self.transformer.smooth_idf)
        constant = C.sum(axis=1)[:, None] / (a + self.sums[0])
        return constant - (pattern @ (C * self._inverse_counts).T).T


class TfidfVectorizerStage(_OfWords, TfidfTransformerStage):
    """TfidfVectorizer: word counts, then TfidfTransformer."""

    takes_numbers = False

    def pull_input(self, X, B):
        return None


STAGES = {
    CountVectorizer: CountVectorizerStage,
    DictVectorizer: DictVectorizerStage,
    FeatureHasher: NotNumbers,
    HashingVectorizer: NotNumbers,
    TfidfTransformer: TfidfTransformerStage,
    TfidfVectorizer: TfidfVectorizerStage,
}
