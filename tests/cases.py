"""Estimators that the tests run over, see `tests.fits`; a new one is a line in `CASES`."""

import numpy as np
from scipy import sparse
from sklearn.gaussian_process import kernels

from skinfluence.gaussian_process import GaussianProcessRegressor
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
from tests.fits import DESCENT, HUBER, NEWTON, RIDGE_CV, SAGA, SEARCH, SGD, Case
from tests.kernel_cases import KERNEL_CASES

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
            solver="liblinear",
            dual=True,  # the primal stops at 1e-8 or so of the optimum
            intercept_scaling=3,
            tol=1e-12,
            max_iter=10_000,
            random_state=0,
        ),
        "cancer",
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
            Cs=[0.03, 0.3],  # at C = 1 its fit is as far as 3e-7 from the optimum
            solver="liblinear",
            tol=1e-12,
            max_iter=10_000,
            intercept_scaling=3,
            **SEARCH,
        ),
        "cancer",
        gradient=1e-5,
        influence=1e-4,  # its stopping bound, divided by a step of 1e-4
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
    *KERNEL_CASES,
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


def one_of_each(cases):
    """Return the first case of every class, loss, l1 penalty, data and kind of container."""
    found = {}
    for case in cases:
        params = case.estimator.get_params(deep=False)
        loss = [str(params.get(name)) for name in ("loss", "power", "link", "positive")]
        key = (type(case.estimator), *loss, bool(params.get("l1_ratio")), case.dataset)
        found.setdefault((*key, case.container is np.asarray), case)
    return list(found.values())


each_case = {"argvalues": CASES, "ids": [case.name for case in CASES]}

LINEAR = [case for case in CASES if not case.kernel]

each_linear_case = {"argvalues": LINEAR, "ids": [case.name for case in LINEAR]}

LINEAR_OF_EACH = one_of_each(LINEAR)

#: For tests that take long for a case, and whose promise does not depend on solvers.
one_linear_case_of_each = {
    "argvalues": LINEAR_OF_EACH,
    "ids": [case.name for case in LINEAR_OF_EACH],
}
