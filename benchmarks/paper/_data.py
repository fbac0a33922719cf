"""The data of the papers as their published code cuts them, and text in place of theirs."""

from typing import NamedTuple

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer

from benchmarks._data import mnist_digits, shared

__all__ = ["Problem", "few_digits", "messages", "ten_digits", "two_digits"]

# The first 5,000 images of MNIST are put aside for validation, 55,000 are left.
_VALIDATION = 5_000


class Problem(NamedTuple):
    """Rows to train on and rows to ask about.

    Parameters
    ----------
    name : str
        What names it among fits on disk.
    X, y : ndarray of shape (n, d) and (n,)
        Training rows.
    X_test, y_test : ndarray of shape (m, d) and (m,)
        Rows to ask about.
    """

    name: str
    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray

    def query(self, index):
        """Return (X, y) of some test rows, one or many."""
        index = np.atleast_1d(index)
        return self.X_test[index], self.y_test[index]

    def size(self):
        """Return n and d in words."""
        return f"n = {self.X.shape[0]:,}, d = {self.X.shape[1]:,}"


def ten_digits():
    """Return MNIST, 55,000 images, pixels from 0 to 1."""
    X, y, X_test, y_test = mnist_digits(60_000)
    X, y = X[_VALIDATION:], y[_VALIDATION:]
    return Problem("mnist", X / 255.0, y, X_test / 255.0, y_test)


def two_digits(first=1, second=7):
    """Return the images of two digits among those of `ten_digits`."""
    _, X, y, X_test, y_test = ten_digits()
    kept, kept_test = np.isin(y, (first, second)), np.isin(y_test, (first, second))
    name = f"mnist {first} {second}"
    return Problem(name, X[kept], y[kept], X_test[kept_test], y_test[kept_test])


def few_digits(n=5_500):
    """Return some images of `ten_digits`, drawn at random, with means of 2 x 2 pixels.

    With all pixels there are 7,850 parameters, and each large group has a Hessian of its
    own: too much for groups by the hundred.
    """
    _, X, y, X_test, y_test = ten_digits()
    rows = np.random.default_rng(0).permutation(len(y))[:n]
    return Problem(f"mnist {n}", _halved(X[rows]), y[rows], _halved(X_test), y_test)


def _halved(X):
    return X.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(-1, 196)


def messages():
    """Return SMS spam, four fifths to train on: counts of words of five messages or more.

    Spam is 1. Dense, which is faster with so few words.
    """
    lines = shared("sms_spam.tsv").read_text(encoding="utf-8").splitlines()
    labels, texts = zip(*(line.split("\t", 1) for line in lines), strict=True)
    y = (np.array(labels) == "spam").astype(int)
    order = np.random.default_rng(0).permutation(len(y))
    train, test = np.split(order, [int(0.8 * len(y))])
    words = CountVectorizer(min_df=5)
    X = words.fit_transform([texts[i] for i in train]).toarray().astype(float)
    X_test = words.transform([texts[i] for i in test]).toarray().astype(float)
    return Problem("sms", X, y[train], X_test, y[test])
