"""Errors and warnings, each a full sentence with a remedy."""

from __future__ import annotations

import sys
import warnings

import numpy as np

from skinfluence._typing import Floats

__all__ = [
    "InfluenceWarning",
    "SingularHessianError",
    "TrainingDataMissingError",
    "UnsupportedEstimatorError",
    "warn",
]

# Packages whose frames may lie between the user's line and a warning.
_BETWEEN = {"skinfluence", "sklearn", "joblib", "pickle", "functools"}


class UnsupportedEstimatorError(ValueError):
    """The configuration has no influence function that this package supports.

    The message names the parameter that rules influence out and an alternative.
    The influence methods raise this error; `fit`, `predict` and `score` never do.
    """


class SingularHessianError(np.linalg.LinAlgError):
    """The Hessian of the objective is singular, but its inverse is needed.

    Parameters
    ----------
    message : str
        The cause and the remedy.
    direction : ndarray or None, default=None
        A parameter direction along which the objective is flat.

    Attributes
    ----------
    direction : ndarray or None
        The null direction. Solvers raise it with shape (n_outputs, n_columns), estimators
        with shape (p,), laid out as `params_`.
    """

    def __init__(self, message: str, direction: Floats | None = None) -> None:
        super().__init__(message)
        self.direction = direction


class TrainingDataMissingError(ValueError):
    """The estimator needs its training data, but does not have them.

    Call `set_training_data` to set them again.
    """


class InfluenceWarning(UserWarning):
    """The result may be inaccurate. The message says by how much."""


def warn(message, category=InfluenceWarning):
    """Warn at the line that called the package, at any call depth.

    Parameters
    ----------
    message : str
        The doubtful result, the size of its error, and a remedy.
    category : type of Warning, default=InfluenceWarning
        Its class.
    """
    frame, level = sys._getframe(1), 2
    while frame is not None and _root(frame) in _BETWEEN:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def _root(frame):
    """Return the top-level package of a frame's code."""
    return frame.f_globals.get("__name__", "").partition(".")[0]
