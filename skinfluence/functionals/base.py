"""Base classes for functionals, checks of their arguments, and single parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import copy
from numbers import Integral

import numpy as np

from skinfluence._typing import Estimator, Floats
from skinfluence.checks import check_number, shown
from skinfluence.pipeline import problem_of
from skinfluence.responses import PairDecision
from skinfluence.steps import final_estimator, param_names
from skinfluence.targets import OneVsOneLabels


class Functional(ABC):
    """A function from the parameters to one number, with its gradient.

    Calling a functional returns its gradient, so it can be passed to `influence_functional`,
    which accepts any callable that returns a gradient. The functions of this module return
    functionals. For a number of your own, subclass and define `value` and `gradient`.

    Examples
    --------
    The squared norm of the parameters:

    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.functionals import Functional
    >>> from skinfluence.linear_model import Ridge
    >>> class SquaredNorm(Functional):
    ...     def value(self, params):
    ...         return float(params @ params)
    ...
    ...     def gradient(self, params):
    ...         return 2 * params
    >>> reg = Ridge().fit(*load_diabetes(return_X_y=True))
    >>> reg.influence_functional(SquaredNorm()).shape
    (442,)
    """

    @abstractmethod
    def value(self, params: Floats) -> float:
        """Return f(params).

        Parameters
        ----------
        params : ndarray of shape (p,)
            Parameters, laid out as `params_`.

        Returns
        -------
        value : float
            Value f(params).
        """

    @abstractmethod
    def gradient(self, params: Floats) -> Floats:
        """Return the gradient of f with respect to the parameters.

        Parameters
        ----------
        params : ndarray of shape (p,)
            Parameters, laid out as `params_`.

        Returns
        -------
        gradient : ndarray of shape (p,)
            Gradient, laid out as `params_`.
        """

    def linear_parts(self) -> Floats | None:
        """Return the gradients of linear functions whose minimum is f.

        Returns
        -------
        parts : ndarray of shape (m, p) or None
            Gradients, laid out as `params_`; one if f is linear in the parameters. None if f
            is not such a minimum, or not known to be.
        """
        return None

    def __call__(self, params: Floats) -> Floats:
        """Return `gradient(params)`."""
        return self.gradient(params)


class PredictionFunctional(Functional):
    """A function of the raw predictions for given samples.

    If the model decides between pairs of classes, the function takes one decision value for
    each class instead.

    Parameters
    ----------
    estimator : object
        Fitted estimator.
    X : array-like
        The samples.
    """

    def __init__(self, estimator, X):
        self.problem = problem = problem_of(estimator)
        formulation = problem.formulation
        self.layout = formulation.layout
        self.samples = X
        self.design = problem.check_scores(X)
        self.decide = None
        if isinstance(formulation.target, OneVsOneLabels):
            self.decide = PairDecision(len(problem.estimator.classes_))

    def value(self, params):
        raw = self._raw(params)
        return float(self.value_of_raw(raw if self.decide is None else self.decide(raw)))

    def gradient(self, params):
        gradient = self._gradient_in_raw(self._raw(params))
        return self.problem.pull_sum(self.design, gradient, params)

    def linear_parts(self):
        raw_parts = None if self.decide is not None else self.parts_of_raw()
        if raw_parts is None:
            return None
        nothing = np.zeros(self.layout.size)
        parts = [self.problem.pull_sum(self.design, part, nothing) for part in raw_parts]
        return np.array(parts)

    def sample_gradient(self, params):
        """Return the raw samples, their design, and df/d(raw predictions), (m, K)."""
        return self.samples, self.design, self._gradient_in_raw(self._raw(params))

    def of_refit(self, refit):
        """Return the functional for the parameters of a pipeline's `Refit`."""
        model = refit.model
        moved = copy(self)
        moved.problem, moved.layout = model, model.formulation.layout
        moved.design = model.check_scores(refit.transform(self.samples))
        return moved

    def _gradient_in_raw(self, raw):
        if self.decide is None:
            return self.gradient_of_raw(raw)
        gradient = self.gradient_of_raw(self.decide(raw))
        return np.einsum("mc,mcp->mp", gradient, self.decide.jacobian(raw))

    def _raw(self, params):
        theta = self.layout.from_public(np.asarray(params, dtype=np.float64))
        return self.design.predict(theta)

    @abstractmethod
    def value_of_raw(self, raw):
        """Return f from raw predictions (m, K)."""

    @abstractmethod
    def gradient_of_raw(self, raw):
        """Return the gradient of f with respect to raw predictions, (m, K)."""

    def parts_of_raw(self):
        """Return `linear_parts` in the raw predictions, each (m, K), or None."""
        return None


def class_code(problem, label):
    """Return the index of a label in `classes_`; None selects the second of two classes."""
    if label is None:
        classes = problem.estimator.classes_
        if len(classes) != 2:
            raise ValueError(f"label is required: pass one of {classes.tolist()}.")
        label = classes[1]
    return int(problem.formulation.target.codes([label])[0])


def check_classifier(estimator, name):
    """Return the problem of a classifier; raise for other estimators."""
    problem = problem_of(estimator)
    if not problem.is_classifier:
        raise ValueError(f"{name} needs a classifier, and {problem.name} is not one.")
    return problem


def check_one_sample(x):
    if np.ndim(x) != 2 or np.shape(x)[0] != 1:
        raise ValueError(
            f"x has shape {np.shape(x)}, but must contain exactly one sample: pass X[[i]]."
        )


def check_temperature(temperature):
    check_number("temperature", temperature, "a positive number", least=0)


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
            f"param={shown(param)} is not a parameter of this model: use an index or one of "
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
