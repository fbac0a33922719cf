"""Decide which methods an object has; the others are hidden, each with a reason."""

from collections.abc import Callable
from functools import partial, singledispatch, wraps
from typing import Any, TypeVar, cast

import numpy as np
from sklearn.utils.metaestimators import available_if

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.namespaces import as_given, is_foreign, place_of

Method = TypeVar("Method", bound=Callable[..., Any])

# Methods whose arguments may be the first arrays of another library.
_ARRAYS_WELCOME = frozenset(("set_training_data",))
_PLAIN = (np.ndarray, str, int, float, type(None))


@singledispatch
def get_problem(obj: Any, method: str | None = None) -> Any:
    """Return the problem that answers a public method of a fitted object.

    `get_problem.register` is called next to each class whose objects have another problem.

    Parameters
    ----------
    obj : object
        The fitted object: an estimator, a pipeline or a composite from this package.
    method : str or None, default=None
        The method's name; None for the problem of a pipeline's last step alone.
    """
    raise TypeError(f"{type(obj).__name__} has no influence methods.")


@singledispatch
def get_space(obj: Any) -> Any:
    """Return the library and device of an object's training rows; None for NumPy."""
    return None


@singledispatch
def why_not(obj: Any, name: str) -> str | None:
    """Return why an object cannot have a public method, or None if it has the method."""
    raise TypeError(f"{type(obj).__name__} has no influence methods.")


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
