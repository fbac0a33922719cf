"""Support vector machines and kernel models whose objective is smooth, a part of `CASES`."""

from scipy import sparse
from sklearn.gaussian_process import kernels

from skinfluence.gaussian_process import GaussianProcessRegressor
from skinfluence.kernel_ridge import KernelRidge
from skinfluence.svm import (
    LinearSVC,
    LinearSVR,
    SmoothHingeLinearSVC,
    SmoothHingeSVC,
)
from tests.fits import DUAL, RBF, SMOOTH, SQUARED, Case

KERNEL_CASES = [
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
