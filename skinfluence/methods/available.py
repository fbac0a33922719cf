"""Decide which methods an object has; the others are hidden, each with a reason."""

from collections.abc import Callable
from functools import partial, wraps
from typing import Any, TypeVar, cast

import numpy as np
from sklearn.utils.metaestimators import available_if

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.namespaces import as_given, is_foreign, place_of

__all__ = ["HasProblem", "available", "require", "why_not", "why_not_composite"]

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
    *_OF_COEFFICIENTS,
    *_OF_CURVATURE,
    "influence_perturbation",
    "split_params",
)


# Methods whose arguments may be the first arrays of another library.
_ARRAYS_WELCOME = frozenset(("set_training_data",))
_PLAIN = (np.ndarray, str, int, float, type(None))


class HasProblem:
    """An estimator or a pipeline, whose methods delegate to a problem."""

    def _problem(self, method: str | None = None) -> Any:
        """Return the problem for a method; None selects the last step's problem."""
        raise NotImplementedError

    def _space(self) -> Any:
        """Return the library and device of the training rows; None for NumPy."""
        return None

    def _check_has(self, name: str) -> None:
        """Raise AttributeError with the reason if the object cannot have a method."""
        raise NotImplementedError


def available(method: Method) -> Method:
    """Hide a method from objects that cannot have it.

    The object decides in `_check_has(name)`, which raises AttributeError with the reason.
    """
    decorate: Callable[[Method], Method] = available_if(partial(_check, method.__name__))
    return decorate(_where_the_rows_are(method))


def _where_the_rows_are(method: Method) -> Method:
    """Return a method that returns arrays of the training rows' library.

    It refuses arrays of other libraries.
    """
    name = method.__name__

    @wraps(method)
    def call(self, *args, **kwargs):
        space = self._space()
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


def _check(name, obj):
    obj._check_has(name)
    return True


def why_not(estimator, name):
    """Return why an estimator lacks a method, or None if it has the method."""
    owner = type(estimator)
    if name in _OF_OBJECTIVES and not estimator._has_objective:
        instead = "influence_params, influence_functional or leave_out_params"
        if name == "influence_summary":
            instead = "self_influence, and leave_out_predict for predictions"
        return (
            f"{owner.__name__} has no {name}: its parameters are means, variances or counts "
            f"in closed form, and no optimum of an objective with a Hessian. Use {instead}."
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
            remedy = "smooth() for a smooth model at the same parameters"
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


def require(estimator, name):
    """Raise with the reason if an estimator lacks a method that a function needs."""
    reason = why_not(estimator, name)
    if reason is not None:
        raise UnsupportedEstimatorError(reason)


def why_not_composite(composite, name):
    """Return why an estimator around others lacks a method."""
    return (
        f"{type(composite).__name__} has no {name}, because it has several models and no "
        "vector of parameters of its own. Ask one of the models that it holds, or use "
        "influence_loss, influence_prediction or the leave_out methods."
    )
