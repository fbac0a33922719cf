"""Data and estimators that the tests run over; a new estimator is a line in `CASES`.

Every case is fitted as tightly as scikit-learn's solver allows: influence is compared with
differences of such fits.
"""

import copy
import inspect
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import sklearn
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_linnerud,
    load_wine,
)
from sklearn.gaussian_process import kernels
from sklearn.preprocessing import scale
from sklearn.utils.fixes import parse_version
from sklearn.utils.validation import has_fit_parameter

from skinfluence.discriminant_analysis import (
    LinearDiscriminantAnalysis,
    QuadraticDiscriminantAnalysis,
)
from skinfluence.gaussian_process import GaussianProcessRegressor
from skinfluence.kernel_ridge import KernelRidge
from skinfluence.linear_model import (
    ARDRegression,
    BayesianRidge,
    ElasticNet,
    ElasticNetCV,
    GammaRegressor,
    HuberRegressor,
    Lars,
    Lasso,
    LassoCV,
    LassoLars,
    LassoLarsCV,
    LassoLarsIC,
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    RidgeClassifierCV,
    RidgeCV,
    SGDClassifier,
    SGDRegressor,
    TweedieRegressor,
)
from skinfluence.methods import InfluenceMethods
from skinfluence.naive_bayes import (
    BernoulliNB,
    CategoricalNB,
    ComplementNB,
    GaussianNB,
    MultinomialNB,
)
from skinfluence.neighbors import NearestCentroid
from skinfluence.pipeline import problem_of
from skinfluence.svm import (
    SVC,
    SVR,
    LinearSVC,
    LinearSVR,
    SmoothHingeLinearSVC,
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
    refit : float
        Relative error of the parameters that its own refits reach.
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
    refit: float = 1e-7
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
    Case(
        "logistic-cv", LogisticRegressionCV(Cs=[0.03, 0.1, 100], **SEARCH, **NEWTON), "cancer"
    ),
    Case(
        "logistic-cv-softmax",
        LogisticRegressionCV(Cs=[1e-3, 0.1, 1], class_weight="balanced", **(SEARCH | NEWTON)),
        "wine",
    ),
    Case(
        "logistic-cv-liblinear",
        LogisticRegressionCV(
            Cs=[0.1, 1],
            solver="liblinear",
            tol=1e-12,
            max_iter=10_000,
            intercept_scaling=3,
            **SEARCH,
        ),
        "cancer",
        gradient=1e-5,
        refit=1e-6,
        influence=1e-4,  # what it stops at, over a step of 1e-4
    ),
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
    Case("ridge-cv", RidgeCV(alphas=[0.1, 0.7, 7.0]), "diabetes", gradient=RIDGE_CV),
    Case("ridge-cv-folds", RidgeCV(alphas=[0.1, 0.7, 7.0], cv=3), "linnerud", False),
    Case(
        "positive-ridge", Ridge(alpha=0.7, positive=True, tol=1e-12), "diabetes", polished=True
    ),
    Case(
        "positive-ridge-targets",
        Ridge(alpha=0.7, positive=True, tol=1e-12, fit_intercept=False),
        "linnerud",
        False,
        polished=True,
    ),
    Case(
        "positive-ridge-classifier",
        RidgeClassifier(positive=True, class_weight="balanced", tol=1e-12),
        "wine",
        polished=True,
    ),
    Case("positive-least-squares", LinearRegression(positive=True), "diabetes"),
    Case("least-squares", LinearRegression(), "diabetes"),
    Case("least-squares-targets", LinearRegression(fit_intercept=False), "linnerud"),
    Case("least-squares-dependent", LinearRegression(), "dependent"),
    Case(
        "least-squares-csr",
        LinearRegression(tol=1e-14),
        "dependent",
        False,
        container=sparse.csr_array,
        gradient=1e-10,
    ),
    Case("ridge-classifier", RidgeClassifier(solver="cholesky"), "cancer"),
    Case(
        "ridge-classifier-balanced",
        RidgeClassifier(class_weight="balanced", solver="svd"),
        "wine",
    ),
    Case(
        "ridge-classifier-csr",
        RidgeClassifier(
            class_weight={0: 2.0, 2: 0.3}, solver="sparse_cg", tol=1e-14, fit_intercept=False
        ),
        "wine",
        container=sparse.csr_array,
        gradient=1e-10,
    ),
    Case(
        "ridge-classifier-cv",
        RidgeClassifierCV(alphas=[0.1, 0.7, 7.0], class_weight="balanced"),
        "wine",
        gradient=RIDGE_CV,
    ),
    Case("ridge-classifier-labels", RidgeClassifier(solver="cholesky"), "labels"),
    Case(
        "ridge-classifier-labels-cv",
        RidgeClassifierCV(alphas=[0.1, 0.7, 7.0]),
        "labels",
        False,
        gradient=RIDGE_CV,
    ),
    Case("ridge-bayesian", BayesianRidge(), "diabetes"),
    Case("ridge-bayesian-no-intercept", BayesianRidge(fit_intercept=False), "diabetes", False),
    Case("ridge-ard", ARDRegression(threshold_lambda=1e2), "diabetes", False),
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
    Case("gamma", GammaRegressor(alpha=0.1, **NEWTON), "amounts"),
    Case(
        "gamma-csr",
        GammaRegressor(alpha=0.01, **NEWTON),
        "amounts",
        False,
        container=sparse.csr_array,
    ),
    Case("tweedie", TweedieRegressor(alpha=0.1, **NEWTON), "diabetes"),
    Case("tweedie-1.5", TweedieRegressor(power=1.5, alpha=0.1, **NEWTON), "counts"),
    Case(
        "tweedie-identity",
        TweedieRegressor(power=1, link="identity", alpha=0.1, **NEWTON),
        "amounts",
    ),
    Case("tweedie-3", TweedieRegressor(power=3, alpha=0.1, **NEWTON), "amounts"),
    Case(
        "tweedie-normal-log",
        TweedieRegressor(power=0, link="log", alpha=0.1, **NEWTON),
        "amounts",
    ),
    Case(
        "tweedie-gamma-identity",
        TweedieRegressor(power=2, link="identity", alpha=0.1, **NEWTON),
        "amounts",
        False,
    ),
    Case("lasso", Lasso(alpha=0.05, **DESCENT), "diabetes"),
    Case(
        "lasso-csr",
        Lasso(alpha=0.15, **DESCENT),
        "diabetes",
        False,
        container=sparse.csc_array,
        gradient=1e-12,
    ),
    Case("elastic-net", ElasticNet(alpha=0.2, **DESCENT), "diabetes"),
    Case(
        "elastic-net-targets",
        ElasticNet(alpha=0.2, l1_ratio=0.7, fit_intercept=False, **DESCENT),
        "linnerud",
    ),
    Case("lasso-positive", Lasso(alpha=0.05, positive=True, **DESCENT), "diabetes"),
    Case(
        "elastic-net-positive-targets",
        ElasticNet(alpha=0.2, positive=True, **DESCENT),
        "linnerud",
        False,
    ),
    Case("lasso-cv", LassoCV(alphas=[0.01, 0.05, 0.5], cv=3, **DESCENT), "diabetes"),
    Case(
        "lasso-cv-positive",
        LassoCV(alphas=[0.01, 0.05, 0.5], cv=3, positive=True, **DESCENT),
        "diabetes",
    ),
    Case(
        "elastic-net-cv",
        ElasticNetCV(alphas=[0.02, 0.2], l1_ratio=0.4, cv=3, **DESCENT),
        "diabetes",
    ),
    Case("least-squares-lars", Lars(), "diabetes", False),
    Case("least-squares-lars-targets", Lars(fit_intercept=False), "linnerud", False),
    Case("lasso-lars", LassoLars(alpha=0.05), "diabetes", False),
    Case("lasso-lars-targets", LassoLars(alpha=0.2, fit_path=False), "linnerud", False),
    Case("lasso-lars-cv", LassoLarsCV(cv=3), "diabetes", False),
    Case("l1-logistic", LogisticRegression(l1_ratio=0.5, C=0.1, **SAGA), "cancer"),
    Case(
        "l1-liblinear",
        LogisticRegression(
            l1_ratio=1,
            C=0.1,
            solver="liblinear",
            tol=1e-12,
            max_iter=100_000,
            intercept_scaling=3,
            random_state=0,
        ),
        "cancer",
        gradient=1e-12,
    ),
    Case(
        "l1-softmax",
        LogisticRegression(l1_ratio=1, C=0.2, class_weight="balanced", **SAGA),
        "wine",
    ),
    Case(
        "l1-logistic-cv",
        LogisticRegressionCV(Cs=[0.1, 0.3], **SEARCH | SAGA | {"l1_ratios": (0.5,)}),
        "cancer",
        False,
    ),
    Case("huber", HuberRegressor(alpha=0.1, **HUBER), "diabetes", polished=True),
    Case(
        "huber-unweighted-csr",
        HuberRegressor(epsilon=2.0, **HUBER),
        "diabetes",
        False,
        container=sparse.csr_array,
        polished=True,
    ),
    Case(
        "huber-no-intercept",
        HuberRegressor(fit_intercept=False, **HUBER),
        "diabetes",
        polished=True,
    ),
    Case("sgd-log", SGDClassifier(loss="log_loss", **SGD), "cancer", polished=True),
    Case(
        "sgd-log-balanced",
        SGDClassifier(loss="log_loss", class_weight="balanced", average=True, **SGD),
        "wine",
        container=sparse.csr_array,
        polished=True,
    ),
    Case(
        "sgd-modified-huber",
        SGDClassifier(loss="modified_huber", fit_intercept=False, **SGD),
        "cancer",
        polished=True,
        rows=(5, 22),
    ),
    Case(
        "sgd-squared-hinge",
        SGDClassifier(loss="squared_hinge", class_weight={0: 2.0, 2: 0.3}, **SGD),
        "wine",
        polished=True,
        rows=(25, 38),
    ),
    Case("sgd-squared", SGDRegressor(**SGD), "diabetes", polished=True),
    Case(
        "sgd-squared-unpenalised",
        SGDRegressor(penalty=None, **SGD),
        "diabetes",
        False,
        polished=True,
    ),
    Case(
        "sgd-huber",
        SGDRegressor(loss="huber", epsilon=0.5, **SGD),
        "diabetes",
        polished=True,
    ),
    Case(
        "sgd-epsilon",
        SGDRegressor(loss="squared_epsilon_insensitive", epsilon=0.2, **SGD),
        "diabetes",
        polished=True,
        rows=(3, 6),
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
        rows=(25, 61),
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
        "kernel-ridge-process",
        GaussianProcessRegressor(2.0 * kernels.RBF(2.0) + kernels.WhiteKernel(0.5)),
        "diabetes",
        False,
        kernel=True,
        gradient=1e-12,
    ),
    Case(
        "kernel-ridge-process-targets",
        GaussianProcessRegressor(kernels.Matern(3.0), alpha=0.3, optimizer=None),
        "linnerud",
        False,
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
        rows=(11, 25),
    ),
]

# Losses with kinks that hold rows in place have no Newton step, and tests of their own.
HINGES = [
    Case("svc", SVC(C=2.0, **LIBSVM), "cancer"),
    Case("svc-unweighted", SVC(C=0.5, **LIBSVM), "cancer", False),
    Case("svc-csr", SVC(C=2.0, **LIBSVM), "cancer", container=sparse.csr_array),
    Case("svc-linear", SVC(C=0.3, kernel="linear", tol=1e-10), "cancer"),
    Case("svc-classes", SVC(C=0.5, **LIBSVM), "wine"),
    Case(
        "svc-ovo-class-weight",
        SVC(class_weight={0: 2.0, 2: 0.3}, decision_function_shape="ovo", **LIBSVM),
        "wine",
    ),
    Case("svr", SVR(C=2.0, epsilon=0.2, **LIBSVM), "diabetes"),
    Case("svr-narrow", SVR(C=0.3, epsilon=0.0, **LIBSVM), "diabetes", False),
    Case("linear-svc", LinearSVC(loss="hinge", intercept_scaling=2, **LIBLINEAR), "cancer"),
    Case(
        "linear-svc-classes",
        LinearSVC(loss="hinge", C=0.1, class_weight={0: 2.0}, **LIBLINEAR),
        "wine",
    ),
    Case(
        "linear-svr",
        LinearSVR(loss="epsilon_insensitive", epsilon=0.3, C=0.3, **LIBLINEAR),
        "diabetes",
        container=sparse.csr_array,
    ),
]


# A coefficient is at the edge of 0, and derivatives are one-sided: `test_knots`.
KNOTS = [
    Case("lasso-lars-ic", LassoLarsIC(), "diabetes", False),
    Case("lasso-lars-ic-bic", LassoLarsIC("bic"), "diabetes", False),
]

# Their mean target moves with the samples: no objective, and `test_normalised_process`.
NORMALISED = [
    Case(
        f"process-{dataset}",
        GaussianProcessRegressor(
            kernels.RBF(3.0) + kernels.WhiteKernel(0.5), normalize_y=True
        ),
        dataset,
        False,
    )
    for dataset in ("diabetes", "linnerud")
]


def frozen(case, fitted):
    """Return the case's unfitted estimator with what a search chose as numbers."""
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


@dataclass(frozen=True)
class MomentCase:
    """A moment model and the name of its data, see `test_moments`."""

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
each_case = {"argvalues": CASES, "ids": [case.name for case in CASES]}
LINEAR = [case for case in CASES if not case.kernel]
each_linear_case = {"argvalues": LINEAR, "ids": [case.name for case in LINEAR]}


def relative_error(found, expected):
    """Return the largest difference relative to the largest expected entry."""
    return np.max(np.abs(found - expected)) / np.max(np.abs(expected))
