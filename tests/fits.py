"""Data, settings of solvers and fits that the tests share, and how numbers are compared.

Every case is fitted as tightly as scikit-learn's solver allows: influence is compared with
differences of such fits.
"""

import copy
import inspect
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import sklearn
from sklearn.base import clone
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_linnerud,
    load_wine,
)
from sklearn.preprocessing import scale
from sklearn.utils.fixes import parse_version
from sklearn.utils.validation import has_fit_parameter

from skinfluence.linear_model import (
    RidgeClassifier,
    RidgeClassifierCV,
    SGDClassifier,
)
from skinfluence.methods import InfluenceMethods
from skinfluence.pipeline import problem_of
from skinfluence.svm import (
    SVC,
    SmoothHingeSVC,
)


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
    elif name == "labels":
        X, y = load_wine(return_X_y=True)
        X = scale(X)
        y = np.column_stack([y == 0, X[:, 0] > 0.5, y > 0]).astype(int)
    elif name == "diabetes":
        X, y = load_diabetes(return_X_y=True)
        X, y = X[:150] * 20, y[:150] / 77
    elif name == "counts":
        X, _ = load_diabetes(return_X_y=True)
        X = X[:150] * 20
        y = rng.poisson(np.exp(0.4 * X[:, 2] + 0.3)).astype(float)
    elif name == "amounts":
        X, _ = load_diabetes(return_X_y=True)
        X = X[:150] * 20
        y = rng.gamma(8.0, (3 + 0.4 * X[:, 2]) / 8)
    elif name == "dependent":
        X, y = load_diabetes(return_X_y=True)
        X, y = X[:150] * 20, y[:150] / 77
        X = np.column_stack([X, X[:, 0] + 2 * X[:, 1] + 5, np.full(150, 3.0)])
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
    influence : float
        Relative error of influence against differences of weighted refits.
    rows : tuple of int
        Training rows at which that is tested; each has a gradient.
    kernel : bool
        Whether the parameters are coefficients of the training rows.
    polished : bool
        Whether fits are polished, because their own solver stops far from the optimum. The
        penalty then counts samples, and rows leave by getting weight zero.
    """

    name: str
    estimator: object
    dataset: str
    weighted: bool = True
    gradient: float = 1e-13
    container: object = field(default=np.asarray)
    influence: float = 1e-5
    rows: tuple = (3, 11)
    kernel: bool = False
    polished: bool = False

    def data(self):
        X, y, w = data(self.dataset)
        return self.container(X), y, (w if self.weighted else np.ones(len(y)))

    def fit(self, sample_weight=None):
        """Return a fit; with the case's own weights a copy of one that is kept."""
        if sample_weight is None:
            return copy.deepcopy(_fitted(self))
        return self.fit_to(clone(self.estimator), sample_weight)

    def fit_to(self, estimator, sample_weight):
        X, y, _ = self.data()
        fitted = fit(estimator, X, y, sample_weight)
        return fitted.polish(tol=1e-13) if self.polished else fitted


def fit(estimator, X, y, sample_weight):
    """Return an estimator fitted with weights; all of them are 1 if its `fit` takes none."""
    if has_fit_parameter(estimator, "sample_weight"):
        return estimator.fit(X, y, sample_weight=sample_weight)
    assert np.all(sample_weight == 1)
    return estimator.fit(X, y)


def held(fitted):
    """Return a copy of a fitted estimator whose `fit` keeps the values that its own chose.

    Another class of scikit-learn refits it, which takes weights.
    """

    class Held(type(fitted)):
        def fit(self, X, y, sample_weight=None):
            w = np.ones(len(y)) if sample_weight is None else sample_weight
            vars(self).update(vars(problem_of(self).refit_by_solver(X, y, w).estimator))
            return self

        def __sklearn_clone__(self):
            return copy.copy(self)

    found = copy.copy(fitted)
    found.__class__ = Held
    return found


@cache
def _fitted(case):
    return case.fit_to(clone(case.estimator), case.data()[2])


NEWTON = {"solver": "newton-cholesky", "tol": 1e-14, "max_iter": 500}

# Before 1.9 RidgeCV takes X'c with c of X X' + alpha I also where X is long, which is large
# beside what it comes to: 3e-13 were found there, 5e-15 since, from the features' own SVD.
RIDGE_CV = 1e-13 if parse_version(sklearn.__version__) >= parse_version("1.9") else 1e-12

SEARCH = {
    "l1_ratios": (0,),
    "scoring": "neg_log_loss",
    "use_legacy_attributes": False,
    "cv": 3,
}

# As scikit-learn 1.8 needs it where penalties are not searched for, or fits not pooled.
LEGACY = SEARCH | {"use_legacy_attributes": True}

SMOOTH = {"tol": 1e-13, "max_iter": 1000}

DUAL = {"dual": True, "tol": 1e-10, "max_iter": 1_000_000, "random_state": 0}

SAGA = {"solver": "saga", "tol": 1e-13, "max_iter": 200_000, "random_state": 0}

DESCENT = {"tol": 1e-14, "max_iter": 1_000_000}

SGD = {"alpha": 0.01, "tol": None, "max_iter": 30, "random_state": 0}

HUBER = {"tol": 1e-9, "max_iter": 10_000}

RBF = {"kernel": "rbf", "gamma": 0.1}

LIBSVM = {"gamma": 0.1, "tol": 1e-10}

# At 1e-12 the dual descent of a hinge may go round for good, short of the optimum.
LIBLINEAR = {"dual": True, "tol": 1e-11, "max_iter": 10_000_000, "random_state": 0}

SQUARED = {"loss": "squared_epsilon_insensitive", **DUAL}


def frozen(case, fitted):
    """Return the case's unfitted estimator at the values that a search chose."""
    if not has_fit_parameter(case.estimator, "sample_weight") or hasattr(fitted, "lambda_"):
        return held(fitted)
    estimator = clone(case.estimator)
    if hasattr(fitted, "alpha_"):
        estimator.set_params(alphas=[fitted.alpha_])
    if hasattr(fitted, "C_"):
        estimator.set_params(Cs=[fitted.C_], l1_ratios=(fitted.l1_ratio_,))
    return estimator


#: Classes whose "balanced" class weights count samples instead of adding their weights.
COUNTING = (RidgeClassifier, RidgeClassifierCV, SGDClassifier, SmoothHingeSVC, SVC)


def rebalanced(estimator, y, w, multiplicity=1.0):
    """Return an unfitted estimator with "balanced" class weights as numbers, by hand.

    They are those of rows with weights w of which each occurs `multiplicity` times; rows that
    do not occur have none.
    """
    if getattr(estimator, "class_weight", None) != "balanced":
        return estimator
    size = np.ones(len(y)) if isinstance(estimator, COUNTING) else w
    classes, codes = np.unique(y, return_inverse=True)
    sums = np.bincount(codes, size * multiplicity)
    present = sums > 0
    weight = np.ones(len(classes))
    weight[present] = sums.sum() / (present.sum() * sums[present])
    named = dict(zip(classes.tolist(), weight.tolist(), strict=True))
    return clone(estimator).set_params(class_weight=named)


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
    if case.polished:
        present = np.ones(len(y))
        present[rows] = 0.0
        estimator = rebalanced(estimator, y, w, present)
        return case.fit_to(clone(estimator), w * present).params_
    kept = np.delete(np.arange(len(y)), rows)
    refit = fit(clone(estimator), X[kept], y[kept], w[kept])
    if not case.kernel:
        return refit.params_
    layout = problem_of(refit).layout
    coef = np.zeros((layout.n_outputs, len(y)))
    n_coef = layout.n_outputs * len(kept)
    coef[:, kept] = refit.params_[:n_coef].reshape(layout.n_outputs, -1)
    return np.concatenate([coef.ravel(), refit.params_[n_coef:]])


#: The public methods of estimators and pipelines, with their arguments that are samples.
METHODS = {
    name: ["X"] if "X" in inspect.signature(method).parameters else []
    for name, method in inspect.getmembers(InfluenceMethods, inspect.isfunction)
    if not name.startswith("_") and name != "param_names"
}


def relative_error(found, expected):
    """Return the largest difference relative to the largest expected entry."""
    return np.max(np.abs(found - expected)) / np.max(np.abs(expected))
