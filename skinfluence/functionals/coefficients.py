"""Single parameters as functionals."""

from numbers import Integral

import numpy as np

from skinfluence._typing import Estimator
from skinfluence.functionals.base import Functional
from skinfluence.steps import final_estimator, param_names


def coefficient(estimator: Estimator, param: str | int) -> Functional:
    """Return a functional for one parameter.

    Parameters
    ----------
    estimator : object
        Fitted skinfluence estimator, or a pipeline that ends in one.
    param : str or int
        Name from `param_names()`, or index in `params_`.

    Returns
    -------
    functional : Functional
        The parameter ``params[j]``, in its own units.

    Raises
    ------
    ValueError
        If no parameter has this name or index.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.functionals import coefficient
    >>> from skinfluence.linear_model import Ridge
    >>> reg = Ridge().fit(*load_diabetes(return_X_y=True, as_frame=True))
    >>> bmi = coefficient(reg, "coef[bmi]")
    >>> round(bmi.value(reg.params_), 1)
    306.4
    """
    final_estimator(estimator)
    names = param_names(estimator)
    if isinstance(param, Integral) and not isinstance(param, bool):
        if not 0 <= param < len(names):
            raise ValueError(
                f"param={param} is outside the {len(names)} parameters, 0 to {len(names) - 1}."
            )
        return _Coefficient(int(param), len(names))
    if not isinstance(param, str):
        raise ValueError(
            f"A {type(param).__name__} selects no parameter: pass a name from param_names(), "
            "an index, or a functional of skinfluence.functionals to functions that take one."
        )
    if param not in names:
        raise ValueError(
            f"param={param!r} is not a parameter of this model: use an index or one of "
            f"{', '.join(names[:5])}{', ...' if len(names) > 5 else ''}."
        )
    return _Coefficient(names.index(param), len(names))


class _Coefficient(Functional):
    """The functional that returns one parameter.

    Parameters
    ----------
    position : int
        Index in `params_`.
    size : int
        Number of parameters.
    """

    def __init__(self, position, size):
        self.position, self.size = position, size

    def value(self, params):
        return float(params[self.position])

    def gradient(self, params):
        gradient = np.zeros(len(params))
        gradient[self.position] = 1.0
        return gradient

    def linear_parts(self):
        return self.gradient(np.zeros(self.size))[None]
