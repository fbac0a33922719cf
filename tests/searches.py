"""Samples and scores that tests of searches by leave-one-out share."""

import numpy as np
from sklearn.experimental import enable_halving_search_cv  # noqa: F401

from tests.fits import data


def all_rows(y):
    return [(np.arange(len(y)), np.arange(len(y)))]


def cancer():
    X, y, w = data("cancer")
    return X[:60], y[:60], w[:60]
