"""Errors and warnings of skinfluence, each a full sentence with a remedy."""

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

# Packages whose code stands between the line that a user wrote and a warning.
_BETWEEN = {"skinfluence", "sklearn", "joblib", "pickle"}


class UnsupportedEstimatorError(ValueError):
    """A configuration that has no influence function of the kind offered here.

    The message names the parameter that rules influence out and an alternative.
    `fit`, `predict` and `score` never raise it; the influence methods do.
    """


class SingularHessianError(np.linalg.LinAlgError):
    """The Hessian of the objective has no inverse where one is needed.

    Parameters
    ----------
    message : str
        What happened and what to do about it.
    direction : ndarray or None, default=None
        A parameter direction along which the objective is flat.

    Attributes
    ----------
    direction : ndarray or None
        The null direction, of shape (n_outputs, n_columns) as raised by a solver
        and of shape (p,), laid out as `params_`, as raised by an estimator.
    """

    def __init__(self, message: str, direction: Floats | None = None) -> None:
        super().__init__(message)
        self.direction = direction


class TrainingDataMissingError(ValueError):
    """The training data are needed and the estimator does not hold them.

    `set_training_data` brings them back.
    """


class InfluenceWarning(UserWarning):
    """A number may not be what it seems; the message carries by how much."""


def warn(message, category=InfluenceWarning):
    """Warn at the line that called the package, however deep the call has gone.

    Parameters
    ----------
    message : str
        What is doubtful, by how much, and what to do about it.
    category : type of Warning, default=InfluenceWarning
        Its class.
    """
    frame, level = sys._getframe(1), 2
    while frame is not None and _root(frame) in _BETWEEN:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def _root(frame):
    """Return the top package of a frame's code."""
    return frame.f_globals.get("__name__", "").partition(".")[0]
