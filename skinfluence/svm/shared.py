"""Formulations that several support vector machines share."""

from dataclasses import replace

import numpy as np
from scipy.sparse import issparse

from skinfluence.checks import shown
from skinfluence.kernels import Kernel
from skinfluence.layout import ParameterLayout
from skinfluence.losses import SmoothHingeLoss
from skinfluence.methods import get_problem
from skinfluence.objective import Formulation
from skinfluence.targets import OneVsOneLabels, OneVsRestLabels, SignedLabels, balanced_by

#: Kernel names that scikit-learn's support vector machines accept.
KERNELS = ("linear", "rbf", "poly", "sigmoid", "precomputed")


def linear_classification(estimator, loss, y, sample_weight):
    """Return the formulation for a linear classifier with penalised intercepts."""
    classes = estimator.classes_
    is_multiclass = len(classes) > 2
    encoder = (OneVsRestLabels if is_multiclass else SignedLabels)(classes)
    n_outputs = len(classes) if is_multiclass else 1
    layout = ParameterLayout(n_outputs, estimator.n_features_in_, estimator.fit_intercept)
    weight = encoder.class_weight(estimator.class_weight, y, sample_weight)
    return Formulation(
        loss=loss,
        target=encoder,
        layout=layout,
        penalty=penalty_with_intercept(estimator, layout),
        class_weight=None if weight is None else encoder.one_sided(weight),
        balanced_by=balanced_by(estimator.class_weight, "weight"),
        loss_scale=float(estimator.C),
    )


def penalty_with_intercept(estimator, layout):
    """Return the diagonal of the penalty Hessian, (K, D)."""
    penalty = np.ones(layout.shape)
    if layout.fit_intercept:
        penalty[:, -1] = 1.0 / estimator.intercept_scaling**2
    return penalty


def smoothed(estimator, smooth, temperature, store):
    """Give a smooth model the parameters of a hinge fit, and return it.

    Parameters
    ----------
    estimator : object
        Fitted hinge model.
    smooth : object
        Smooth model that is not fitted. This function also sets its class weights.
    temperature : float
        Width of the smooth hinge.
    store : callable
        ``store(smooth, theta, X)`` sets the fitted attributes; X is None if it is not known.
    """
    problem = get_problem(estimator)
    formulation = replace(problem.formulation, loss=SmoothHingeLoss(temperature))
    weight = "balanced" if formulation.balanced_by else formulation.frozen_class_weight()
    smooth.set_params(class_weight=weight)
    objective = problem.fitted.objective
    if objective is not None:
        objective = replace(objective, formulation=formulation)
    store(smooth, problem.theta, None if objective is None else objective.design.X)
    smooth.n_iter_ = 0
    copied = ("classes_", "n_features_in_", "feature_names_in_", "_fitted_kernel")
    for name in copied:
        if hasattr(estimator, name):
            setattr(smooth, name, getattr(estimator, name))
    get_problem(smooth).fitted = replace(
        problem.fitted,
        formulation=formulation,
        objective=objective,
        params=smooth.get_params(deep=False),
    )
    return smooth


def one_vs_one_classification(estimator, loss, y, n_rows):
    """Return the formulation for a kernel classifier on n rows.

    Each pair of classes has an intercept, which is not penalised.
    """
    classes = estimator.classes_
    encoder = (SignedLabels if len(classes) == 2 else OneVsOneLabels)(classes)
    layout = ParameterLayout(len(classes) * (len(classes) - 1) // 2, n_rows, True)
    # "balanced" weights depend on the number of samples, not on sample weights.
    weight = encoder.class_weight(estimator.class_weight, y, None)
    return Formulation(
        loss=loss,
        target=encoder,
        layout=layout,
        penalty=dual_penalty(layout),
        class_weight=None if weight is None else weight[:, None],
        balanced_by=balanced_by(estimator.class_weight, "count"),
        loss_scale=float(estimator.C),
    )


def dual_penalty(layout):
    """Return the penalty, 1 for dual coefficients and 0 for intercepts, (K, n + 1)."""
    penalty = np.ones(layout.shape)
    penalty[:, -1] = 0.0
    return penalty


def resolve_kernel(estimator, X, sample_weight=None):
    """Return the `Kernel` for a support vector machine fitted on X.

    If sample weights are given, gamma="scale" uses them; scikit-learn's own classes ignore
    them. The function raises ValueError if scikit-learn does not have the kernel.
    """
    kernel = estimator.kernel
    if callable(kernel):
        return Kernel(kernel, of_matrices=True)
    if kernel not in KERNELS:
        raise ValueError(
            f"kernel={kernel!r} is not known: use one of {', '.join(map(repr, KERNELS))}, "
            "or a function of two matrices."
        )
    if kernel in ("linear", "precomputed"):
        return Kernel(kernel)
    gamma = _resolve_gamma(estimator.gamma, X, sample_weight)
    return Kernel(
        kernel, {"gamma": gamma, "degree": estimator.degree, "coef0": estimator.coef0}
    )


def _resolve_gamma(gamma, X, sample_weight):
    """Return gamma as a number, as :class:`sklearn.svm.SVC` defines it."""
    if not isinstance(gamma, str):
        return float(gamma)
    if gamma == "auto":
        return 1.0 / X.shape[1]
    if gamma != "scale":
        raise ValueError(
            f"gamma={shown(gamma)} is not known: use 'scale', 'auto' or a number."
        )
    X = X.astype(np.float64, copy=False)
    if issparse(X):
        rows, squares = X.mean(axis=1), X.multiply(X).mean(axis=1)
        rows, squares = np.ravel(rows), np.ravel(squares)
        mean = np.average(rows, weights=sample_weight)
        variance = np.average(squares, weights=sample_weight) - mean**2
    elif sample_weight is None:
        variance = X.var()
    else:
        mean = np.average(X.mean(axis=1), weights=sample_weight)
        variance = np.average(((X - mean) ** 2).mean(axis=1), weights=sample_weight)
    return 1.0 / (X.shape[1] * variance) if variance != 0 else 1.0
