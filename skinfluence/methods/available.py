"""Decide which methods an object has; the others are hidden, each with a reason."""

from collections.abc import Callable
from functools import partial, singledispatch, wraps
from typing import Any, TypeVar, cast

import numpy as np
from sklearn.utils.metaestimators import available_if

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.namespaces import as_given, is_foreign, place_of
from skinfluence.problem import Problem

Method = TypeVar("Method", bound=Callable[..., Any])

# Methods whose result would describe single dual coefficients.
_OF_COEFFICIENTS = ("dfbetas", "params_covariance", "solve_hessian")
# Methods that need a curvature, which a piecewise linear loss lacks.
_OF_CURVATURE = (
    "convergence_report",
    "influence_summary",
    "newton_correction",
    "newton_step",
    "polish",
)
# Methods that need an objective's optimum, its Hessian, or feature coefficients.
_OF_OBJECTIVES = (
    *(name for name in _OF_CURVATURE if name != "influence_summary"),
    "influence_perturbation",
    "solve_hessian",
    "split_params",
)
# Methods whose arguments may be the first arrays of another library.
_ARRAYS_WELCOME = frozenset(("set_training_data",))
_PLAIN = (np.ndarray, str, int, float, type(None))


@singledispatch
def get_problem(obj: Any, method: str | None = None) -> Any:
    """Return the problem that answers a public method of a fitted object.

    It is an estimator's own problem. `get_problem.register` is called next to each class whose
    objects have another problem.

    Parameters
    ----------
    obj : object
        The fitted object: an estimator, a pipeline or a composite from this package.
    method : str or None, default=None
        The method's name; None for the problem of a pipeline's last step alone.
    """
    _check_estimator(obj)
    return Problem(obj)


@singledispatch
def get_space(obj: Any) -> Any:
    """Return the library and device of an object's training rows; None for NumPy."""
    return get_problem(obj).space if hasattr(obj, "_parameters") else None


@singledispatch
def why_not(estimator: Any, name: str) -> str | None:
    """Return why an object's kind lacks a public method, or None if it has the method.

    `why_not.register` is called next to each class that has other reasons than an estimator.
    """
    _check_estimator(estimator)
    owner = type(estimator)
    if name in _OF_OBJECTIVES and not estimator._has_objective:
        return (
            f"{owner.__name__} has no {name}: its parameters are means, variances or counts "
            "in closed form, and no optimum of an objective with a Hessian. Use "
            "influence_params, influence_functional or leave_out_params."
        )
    if name in _OF_CURVATURE and estimator._has_moving_target:
        return (
            f"{owner.__name__}(normalize_y=True) has no {name}: `fit` computes the mean of y "
            "before it minimises an objective, and its parameters are in closed form. Use the "
            "influence and leave_out methods, or normalize_y=False on targets in standard "
            "units."
        )
    if name in _OF_CURVATURE and not estimator._has_curvature:
        remedy = "skinfluence.kernel_ridge.KernelRidge, whose loss is smooth"
        if hasattr(owner, "smooth"):
            remedy = (
                "smooth(), of a pipeline's step pipe[-1].smooth(), for a smooth model at the "
                "same parameters"
            )
        return (
            f"{owner.__name__} has no {name}: its loss has no curvature outside its kinks, "
            f"and no Newton step. Use {remedy}."
        )
    if name in _OF_COEFFICIENTS and estimator._parameters.is_dual:
        others = ["influence_functional", "leave_out_params"]
        if estimator._has_curvature:
            others.insert(0, "influence_summary")
        return (
            f"{owner.__name__} has no {name}, which describes coefficients of features. In "
            "dual coefficients the Hessian is singular to rounding if the kernel matrix is: "
            f"use {', '.join(others[:-1])} or {others[-1]}."
        )
    return None


def available(method: Method) -> Method:
    """Hide a method from objects that cannot have it; `why_not` gives the reason."""
    decorate: Callable[[Method], Method] = available_if(partial(_check, method.__name__))
    return decorate(_where_the_rows_are(method))


def _where_the_rows_are(method: Method) -> Method:
    """Return a method that returns arrays of the training rows' library.

    It refuses arrays of other libraries.
    """
    name = method.__name__

    @wraps(method)
    def call(self, *args, **kwargs):
        space = get_space(self)
        if space is None:
            if name not in _ARRAYS_WELCOME:
                for value in (*args, *kwargs.values()):
                    if not isinstance(value, _PLAIN) and is_foreign(value):
                        raise UnsupportedEstimatorError(
                            f"{type(self).__name__}.{name} got arrays of "
                            f"{place_of(value).name}, and it was fitted on NumPy arrays: "
                            "convert X to NumPy, or fit on arrays of that library."
                        )
            return method(self, *args, **kwargs)
        return as_given(method(self, *args, **kwargs), space)

    return cast(Method, call)


def _check_estimator(obj):
    if not hasattr(obj, "_parameters"):
        raise TypeError(f"{type(obj).__name__} has no influence methods.")


def _check(name, obj):
    reason = why_not(obj, name)
    if reason is not None:
        raise AttributeError(reason)
    return True


def require(estimator, name):
    """Raise with the reason if an estimator lacks a method that a function needs."""
    reason = why_not(estimator, name)
    if reason is not None:
        raise UnsupportedEstimatorError(reason)
