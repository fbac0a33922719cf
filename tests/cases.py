"""Data and estimators that the tests run over; a new estimator is a line in `CASES`.

Every case is fitted as tightly as scikit-learn's solver allows: influence is compared with
differences of such fits.
"""

from dataclasses import dataclass, field
from functools import cache

import numpy as np
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_linnerud,
    load_wine,
)
from sklearn.preprocessing import scale

from skinfluence.linear_model import LogisticRegression, PoissonRegressor, Ridge


@cache
def data(name):
    """Return (X, y, sample_weight), rows few enough for many refits."""
    rng = np.random.default_rng(0)
    if name == "cancer":
        X, y = load_breast_cancer(return_X_y=True)
        X, y = scale(X)[:200, :10], np.array(["benign", "malignant"])[y[:200]]
    elif name == "digits":
        X, y = load_digits(return_X_y=True)
        keep = np.flatnonzero(y < 7)[:250]
        X, y = X[keep] / 16, y[keep]
    elif name == "wine":
        X, y = load_wine(return_X_y=True)
        X = scale(X)
    elif name == "diabetes":
        X, y = load_diabetes(return_X_y=True)
        X, y = X[:150] * 20, y[:150] / 77
    elif name == "counts":
        X, _ = load_diabetes(return_X_y=True)
        X = X[:150] * 20
        y = rng.poisson(np.exp(0.4 * X[:, 2] + 0.3)).astype(float)
    elif name == "linnerud":
        X, y = load_linnerud(return_X_y=True)
        X, y = scale(X), scale(y)
    return X, y, rng.uniform(0.2, 2.0, len(y))


@dataclass(frozen=True)
class Case:
    """An estimator, its data, and how tight its own solver fits it.

    Parameters
    ----------
    name : str
        Test id.
    estimator : object
        Unfitted, with its tightest settings.
    dataset : str
        Name for `data`.
    weighted : bool
        Whether it is fitted with the data's random sample weights.
    gradient : float
        Largest entry of the gradient of the mean objective that its fit reaches.
    """

    name: str
    estimator: object
    dataset: str
    weighted: bool = True
    gradient: float = 1e-13
    container: object = field(default=np.asarray)

    def data(self):
        X, y, w = data(self.dataset)
        return self.container(X), y, (w if self.weighted else np.ones(len(y)))

    def fit(self, sample_weight=None):
        X, y, w = self.data()
        w = w if sample_weight is None else sample_weight
        return clone(self.estimator).fit(X, y, sample_weight=w)


NEWTON = {"solver": "newton-cholesky", "tol": 1e-14, "max_iter": 500}

CASES = [
    Case("binary", LogisticRegression(**NEWTON), "cancer"),
    Case("binary-unweighted", LogisticRegression(C=10, **NEWTON), "cancer", False),
    Case("binary-no-intercept", LogisticRegression(fit_intercept=False, **NEWTON), "cancer"),
    Case("binary-unpenalised", LogisticRegression(C=np.inf, **NEWTON), "cancer"),
    Case("binary-balanced", LogisticRegression(class_weight="balanced", **NEWTON), "cancer"),
    Case(
        "binary-class-weight",
        LogisticRegression(class_weight={"benign": 3.0, "malignant": 0.5}, **NEWTON),
        "cancer",
    ),
    Case(
        "liblinear",
        LogisticRegression(
            solver="liblinear", intercept_scaling=3, tol=1e-12, max_iter=10_000
        ),
        "cancer",
        gradient=1e-5,
    ),
    Case("softmax", LogisticRegression(C=0.3, **NEWTON), "digits"),
    Case("softmax-3", LogisticRegression(**NEWTON), "wine", False),
    Case(
        "softmax-balanced",
        LogisticRegression(class_weight="balanced", C=0.3, **NEWTON),
        "digits",
    ),
    Case(
        "softmax-class-weight",
        LogisticRegression(class_weight={0: 2.0, 2: 0.3}, **NEWTON),
        "wine",
    ),
    Case("softmax-no-intercept", LogisticRegression(fit_intercept=False, **NEWTON), "wine"),
    Case("binary-csr", LogisticRegression(**NEWTON), "cancer", container=sparse.csr_array),
    Case("softmax-csr", LogisticRegression(**NEWTON), "wine", container=sparse.csr_matrix),
    Case("ridge", Ridge(alpha=0.7, solver="cholesky"), "diabetes"),
    Case("ridge-unweighted", Ridge(alpha=0.7, solver="svd"), "diabetes", False),
    Case("ridge-no-intercept", Ridge(fit_intercept=False, solver="svd"), "diabetes"),
    Case("ridge-targets", Ridge(alpha=0.5, solver="cholesky"), "linnerud"),
    Case(
        "ridge-alphas", Ridge(alpha=np.array([0.1, 1.0, 7.0]), solver="cholesky"), "linnerud"
    ),
    Case(
        "ridge-csr",
        Ridge(solver="sparse_cg", tol=1e-14),
        "diabetes",
        container=sparse.csr_array,
        gradient=1e-10,
    ),
    Case("poisson", PoissonRegressor(alpha=0.1, **NEWTON), "counts"),
    Case("poisson-unweighted", PoissonRegressor(alpha=1.0, **NEWTON), "counts", False),
    Case(
        "poisson-no-intercept",
        PoissonRegressor(alpha=0.01, fit_intercept=False, **NEWTON),
        "counts",
    ),
    Case(
        "poisson-csr",
        PoissonRegressor(alpha=0.1, **NEWTON),
        "counts",
        container=sparse.csr_array,
    ),
]


def frozen(case, fitted):
    """Return the case's unfitted estimator with class weights as the numbers of a fit."""
    estimator = clone(case.estimator)
    if getattr(estimator, "class_weight", None) is not None:
        weight = fitted._influence_problem.formulation.class_weight[:, 0]
        estimator.set_params(class_weight=dict(zip(fitted.classes_, weight, strict=True)))
    return estimator


def refit_without(estimator, case, rows):
    """Return scikit-learn's own refit without some rows."""
    X, y, w = case.data()
    kept = np.delete(np.arange(len(y)), rows)
    return clone(estimator).fit(X[kept], y[kept], sample_weight=w[kept])


each_case = {"argvalues": CASES, "ids": [case.name for case in CASES]}


def relative_error(found, expected):
    """Return the largest difference relative to the largest expected entry."""
    return np.max(np.abs(found - expected)) / np.max(np.abs(expected))
