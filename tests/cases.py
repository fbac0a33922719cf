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

from skinfluence.kernel_ridge import KernelRidge
from skinfluence.linear_model import LogisticRegression, PoissonRegressor, Ridge
from skinfluence.svm import LinearSVC, LinearSVR, SmoothHingeLinearSVC, SmoothHingeSVC


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
    refit : float
        Relative error of the parameters that its own refits reach.
    influence : float
        Relative error of influence against differences of weighted refits.
    rows : tuple of int
        Training rows at which that is tested; each has a gradient.
    kernel : bool
        Whether the parameters are coefficients of the training rows.
    """

    name: str
    estimator: object
    dataset: str
    weighted: bool = True
    gradient: float = 1e-13
    container: object = field(default=np.asarray)
    refit: float = 1e-7
    influence: float = 1e-5
    rows: tuple = (3, 11)
    kernel: bool = False

    def data(self):
        X, y, w = data(self.dataset)
        return self.container(X), y, (w if self.weighted else np.ones(len(y)))

    def fit(self, sample_weight=None):
        X, y, w = self.data()
        w = w if sample_weight is None else sample_weight
        return clone(self.estimator).fit(X, y, sample_weight=w)


NEWTON = {"solver": "newton-cholesky", "tol": 1e-14, "max_iter": 500}
SMOOTH = {"tol": 1e-13, "max_iter": 1000}
DUAL = {"dual": True, "tol": 1e-10, "max_iter": 1_000_000, "random_state": 0}
RBF = {"kernel": "rbf", "gamma": 0.1}
SQUARED = {"loss": "squared_epsilon_insensitive", **DUAL}

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
        refit=1e-6,  # liblinear itself stops at 1e-8 or so of the optimum
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
    Case("smooth-hinge-1", SmoothHingeLinearSVC(temperature=1.0, **SMOOTH), "cancer"),
    Case("smooth-hinge-0.1", SmoothHingeLinearSVC(**SMOOTH), "cancer", rows=(5, 22)),
    Case(
        "smooth-hinge-0.01",
        SmoothHingeLinearSVC(temperature=0.01, **SMOOTH),
        "cancer",
        False,
        rows=(5, 22),
        influence=1e-4,
    ),
    Case(
        "smooth-hinge-no-intercept",
        SmoothHingeLinearSVC(C=0.3, fit_intercept=False, **SMOOTH),
        "cancer",
        rows=(5, 22),
    ),
    Case(
        "smooth-hinge-classes",
        SmoothHingeLinearSVC(class_weight={0: 2.0, 2: 0.3}, intercept_scaling=3, **SMOOTH),
        "wine",
        rows=(3, 25),
    ),
    Case(
        "smooth-hinge-balanced",
        SmoothHingeLinearSVC(class_weight="balanced", temperature=0.3, **SMOOTH),
        "wine",
        container=sparse.csr_array,
    ),
    Case(
        "squared-hinge",
        LinearSVC(intercept_scaling=3, **DUAL),
        "cancer",
        gradient=1e-10,
        rows=(5, 22),
        influence=1e-3,
    ),
    Case(
        "squared-hinge-balanced",
        LinearSVC(class_weight="balanced", fit_intercept=False, **DUAL),
        "cancer",
        container=sparse.csr_matrix,
        gradient=1e-10,
        rows=(5, 22),
        influence=1e-3,
    ),
    Case(
        "squared-hinge-classes",
        LinearSVC(class_weight={0: 2.0, 2: 0.3}, **DUAL),
        "wine",
        gradient=1e-10,
        rows=(3, 25),
        influence=1e-3,
    ),
    Case(
        "epsilon-insensitive",
        LinearSVR(epsilon=0.3, **SQUARED),
        "diabetes",
        gradient=1e-10,
        rows=(3, 6),
        influence=1e-3,
    ),
    Case(
        "epsilon-insensitive-csr",
        LinearSVR(C=0.1, intercept_scaling=2, **SQUARED),
        "diabetes",
        False,
        container=sparse.csr_array,
        gradient=1e-10,
    ),
    Case("kernel-ridge", KernelRidge(alpha=0.3, **RBF), "diabetes", kernel=True),
    Case(
        "kernel-ridge-targets",
        KernelRidge(alpha=[0.1, 1.0, 0.3], kernel="poly", degree=2),
        "linnerud",
        kernel=True,
    ),
    Case(
        "kernel-ridge-csr",
        KernelRidge(kernel="sigmoid", gamma=0.01, coef0=0.1),
        "diabetes",
        False,
        container=sparse.csr_array,
        kernel=True,
    ),
    Case(
        "smooth-svc-1", SmoothHingeSVC(temperature=1.0, **RBF, **SMOOTH), "cancer", kernel=True
    ),
    Case("smooth-svc-0.1", SmoothHingeSVC(C=3.0, **RBF, **SMOOTH), "cancer", kernel=True),
    Case(
        "smooth-svc-0.01",
        SmoothHingeSVC(temperature=0.01, class_weight="balanced", **RBF, **SMOOTH),
        "cancer",
        False,
        kernel=True,
        influence=1e-4,
    ),
    Case(
        "smooth-svc-classes",
        SmoothHingeSVC(class_weight={0: 2.0, 2: 0.3}, **RBF, **SMOOTH),
        "wine",
        kernel=True,
    ),
    Case(
        "smooth-svc-linear-csr",
        SmoothHingeSVC(kernel="linear", temperature=0.3, **SMOOTH),
        "wine",
        container=sparse.csr_array,
        kernel=True,
    ),
]


def frozen(case, fitted):
    """Return the case's unfitted estimator with class weights as the numbers of a fit."""
    estimator = clone(case.estimator)
    if getattr(estimator, "class_weight", None) is not None:
        tight = fitted._tight_params(fitted.get_params())
        estimator.set_params(class_weight=tight["class_weight"])
    return estimator


def sklearn_parent(estimator):
    """Return the class of scikit-learn that a class or an instance mirrors, or None."""
    cls = estimator if isinstance(estimator, type) else type(estimator)
    parents = [c for c in getattr(cls, "__mro__", ()) if c.__module__.startswith("sklearn.")]
    return next((c for c in parents if hasattr(c, "fit")), None)


def params_without(estimator, case, rows):
    """Return the parameters of scikit-learn's own refit without some rows.

    Those of a kernel model with zeros at the rows that it has not seen.
    """
    X, y, w = case.data()
    kept = np.delete(np.arange(len(y)), rows)
    refit = clone(estimator).fit(X[kept], y[kept], sample_weight=w[kept])
    if not case.kernel:
        return refit.params_
    layout = refit._get_layout()
    coef = np.zeros((layout.n_outputs, len(y)))
    n_coef = layout.n_outputs * len(kept)
    coef[:, kept] = refit.params_[:n_coef].reshape(layout.n_outputs, -1)
    return np.concatenate([coef.ravel(), refit.params_[n_coef:]])


each_case = {"argvalues": CASES, "ids": [case.name for case in CASES]}
LINEAR = [case for case in CASES if not case.kernel]
each_linear_case = {"argvalues": LINEAR, "ids": [case.name for case in LINEAR]}


def relative_error(found, expected):
    """Return the largest difference relative to the largest expected entry."""
    return np.max(np.abs(found - expected)) / np.max(np.abs(expected))
