"""Moment models, their data and fits, and differences of fits of many copies.

Influence is the derivative in how often a sample occurs. A fit of m copies of the data and of
one copy more of a sample is a fit whose sample occurs 1 + 1/m times.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.base import clone
from sklearn.datasets import (
    load_breast_cancer,
    load_digits,
    load_iris,
    load_wine,
)
from sklearn.preprocessing import scale
from sklearn.utils.validation import has_fit_parameter

from skinfluence._compat import UNBIASED_SCATTER
from skinfluence.discriminant_analysis import (
    LinearDiscriminantAnalysis,
    QuadraticDiscriminantAnalysis,
)
from skinfluence.naive_bayes import (
    BernoulliNB,
    CategoricalNB,
    ComplementNB,
    GaussianNB,
    MultinomialNB,
)
from skinfluence.neighbors import NearestCentroid


@dataclass(frozen=True)
class MomentCase:
    """A moment model and the name of its data."""

    estimator: object
    name: str


_LDA, _QDA = LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis

MOMENTS = [
    MomentCase(estimator, name)
    for name, estimator in [
        ("iris", GaussianNB()),
        ("wine", GaussianNB(var_smoothing=0.1)),
        ("cancer", GaussianNB(priors=[0.2, 0.8], var_smoothing=0.0)),
        ("digits", MultinomialNB()),
        ("digits", MultinomialNB(alpha=0.1, fit_prior=False)),
        ("digits", ComplementNB()),
        ("digits", ComplementNB(alpha=0.5, norm=True)),
        ("digits", BernoulliNB(binarize=8)),
        ("digits", BernoulliNB(alpha=0.2, binarize=8, class_prior=[0.1, 0.2, 0.3, 0.4])),
        ("digits", CategoricalNB(min_categories=17)),
        ("digits", CategoricalNB()),
        ("iris", _LDA()),
        ("cancer", _LDA()),
        ("digits", _LDA()),
        ("wine", _LDA(priors=[0.2, 0.3, 0.5])),
        ("iris", _LDA(solver="lsqr")),
        ("wine", _LDA(priors=[0.2, 0.3, 0.5], shrinkage=0.3, solver="lsqr")),
        ("digits", _LDA(shrinkage="auto", solver="lsqr")),
        ("cancer", _LDA(shrinkage="auto", solver="eigen")),
        ("wine", _LDA(priors=[0.2, 0.3, 0.5], shrinkage="auto", solver="lsqr")),
        ("iris", _LDA(shrinkage=0.2, solver="eigen")),
        ("iris", _QDA()),
        ("cancer", _QDA(priors=[0.3, 0.7], reg_param=0.3)),
        ("iris", _QDA(shrinkage="auto", solver="eigen")),
        ("cancer", _QDA(shrinkage=0.3, solver="eigen")),
        ("iris", NearestCentroid()),
        ("wine", NearestCentroid(priors="empirical")),
        ("cancer", NearestCentroid(priors=[0.2, 0.8])),
    ]
]


def data(name):
    if name == "digits":
        X, y = load_digits(n_class=4, return_X_y=True)
        X, y = X[::6], y[::6]
        return X[:, X.max(axis=0) > 0], y
    if name == "counts":
        X, y = data("digits")
        return X[:, np.sum(X > 0, axis=0) > 20], y
    load = {"iris": load_iris, "wine": load_wine, "cancer": load_breast_cancer}[name]
    X, y = load(return_X_y=True)
    return (X if name == "iris" else scale(X))[::3], y[::3]


def weights(estimator, y):
    if not has_fit_parameter(estimator, "sample_weight"):
        return None
    return np.random.default_rng(0).uniform(0.5, 2.0, len(y))


def fitted(estimator, X, y, w):
    ours = clone(estimator)
    return ours.fit(X, y) if w is None else ours.fit(X, y, sample_weight=w)


def without(estimator, X, y, w, rows):
    kept = np.delete(np.arange(len(y)), rows)
    return fitted(estimator, X[kept], y[kept], None if w is None else w[kept])


def difference(numbers, n, i):
    """Return n times d numbers / d m_i, extrapolated; numbers(counts, m) of a fit."""
    found = []
    for m in (4, 16, 64):
        more, fewer = np.full(n, m), np.full(n, m)
        more[i] += 1
        fewer[i] -= 1
        found.append((numbers(more, m) - numbers(fewer, m)) * m / 2)
    first, second = (
        found[1] + (found[1] - found[0]) / 15,
        found[2] + (found[2] - found[1]) / 15,
    )
    return second + (second - first) / 255


def is_unbiased(estimator):
    return UNBIASED_SCATTER and getattr(estimator, "solver", None) == "svd"
