"""Vectorizers of text without some rows, from the word counts of all rows.

Most of the time for a fit goes into splitting text into words. The counts of a row do not
depend on the other rows, so a fit without some rows needs only which words remain, and the
document frequencies. scikit-learn computes these from the counts.
"""

from functools import cached_property

import numpy as np
from sklearn.base import clone
from sklearn.feature_extraction.text import (
    CountVectorizer,
    TfidfTransformer,
    TfidfVectorizer,
)

__all__ = ["Words", "keeps_all_words"]


def keeps_all_words(vectorizer):
    """Return whether every word in the training rows has a feature."""
    limits = vectorizer.min_df, vectorizer.max_df, vectorizer.max_features
    return limits == (1, 1.0, None) and isinstance(vectorizer.max_df, float)


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
