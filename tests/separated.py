"""Classes that a dummy variable separates, with their results and messages."""

import warnings

import numpy as np

from skinfluence import existence
from skinfluence.pipeline import problem_of
from tests.fits import NEWTON

FREE = {"C": np.inf, **NEWTON}


def quietly(estimator, *data, **weights):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return estimator.fit(*data, **weights)


def dummy(overlaps=0):
    """Return data in which a dummy has one label, but for some rows, and its rows."""
    rng = np.random.default_rng(0)
    x = (rng.random(200) < 0.15).astype(float)
    z = rng.normal(size=200)
    y = (z + rng.logistic(size=200) > 0).astype(int)
    y[x == 1] = 1
    rows = np.flatnonzero(x)
    y[rows[:overlaps]] = 0
    return np.column_stack([x, z]), y, rows


def find(estimator, theta=None):
    return existence.find_recession(problem_of(estimator).objective, theta)


def told(function, *arguments, **keywords):
    """Return a call's result and the messages of its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = function(*arguments, **keywords)
    return found, [str(w.message) for w in caught]
