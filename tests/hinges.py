"""Hinges of scikit-learn that tests run over, their parents' tight refits and decisions."""

import numpy as np
from scipy import sparse
from sklearn import svm as sklearn_svm
from sklearn.base import is_classifier
from sklearn.metrics.pairwise import rbf_kernel

from skinfluence.pipeline import problem_of
from skinfluence.svm import (
    SVC,
    SVR,
    LinearSVC,
    LinearSVR,
)
from tests.fits import LIBLINEAR, LIBSVM, Case

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


def by_hand(A, B):
    return rbf_kernel(A, B, gamma=0.1)


def in_eighths(X):
    return np.round(8 * X) / 8


def single_by_hand(A, B):
    return by_hand(A, B).astype(np.float32).astype(float)


# libsvm keeps kernel values in single precision, so its fit is that of a rounded kernel: these
# cases have kernels whose values it keeps without rounding.
_TIGHT = {"tol": 1e-12}
SINGLE = [
    Case("svc-linear", SVC(C=0.3, kernel="linear", **_TIGHT), "cancer", container=in_eighths),
    Case(
        "svc-poly",
        SVC(C=0.5, kernel="poly", degree=2, gamma=2**-6, coef0=1.0, **_TIGHT),
        "wine",
        container=np.round,
    ),
    Case("svc-function", SVC(C=2.0, kernel=single_by_hand, **_TIGHT), "cancer"),
    Case(
        "svr-linear", SVR(C=0.3, kernel="linear", **_TIGHT), "diabetes", container=in_eighths
    ),
    Case("svr-function", SVR(C=2.0, kernel=single_by_hand, **_TIGHT), "diabetes"),
]


CASES = [*HINGES, Case("svc-callable", SVC(C=2.0, kernel=by_hand, tol=1e-10), "cancer")]


CASE = {case.name: case for case in CASES}


def decisions(estimator, X):
    return estimator.decision_function(X) if is_classifier(estimator) else estimator.predict(X)


def tight_parent(fitted):
    """Return scikit-learn's own estimator at the frozen values of a fit."""
    max_iter = -1 if is_libsvm(fitted) else 10_000_000
    return problem_of(fitted).unfitted_parent().set_params(tol=1e-10, max_iter=max_iter)


def is_libsvm(fitted):
    return isinstance(fitted, sklearn_svm.SVC | sklearn_svm.SVR)


def rows_by_place(fitted):
    """Return the rows on the bound of a problem, held by a kink of one, and neither."""
    point = problem_of(fitted).state("auto").point
    bound = ((point.partition.slope != 0) & ~point.partition.held).any(axis=1)
    on_kink = point.partition.held.any(axis=1) & ~bound
    return np.flatnonzero(bound), np.flatnonzero(on_kink), np.flatnonzero(~bound & ~on_kink)
