"""The public methods, one mixin for each chapter.

A method is its signature, its docstring and one call of the problem of whoever is fitted: an
estimator or a pipeline. An estimator inherits `InfluenceEstimatorMixin` before its class of
scikit-learn.
"""

from skinfluence.methods.convergence import ConvergenceMixin
from skinfluence.methods.diagnostics import DiagnosticsMixin
from skinfluence.methods.fitting import FittedMixin, ParameterMixin
from skinfluence.methods.gradients import GradientMixin
from skinfluence.methods.influence import InfluenceMixin
from skinfluence.methods.removal import RemovalMixin
from skinfluence.methods.updates import UpdateMixin

__all__ = [
    "ConvergenceMixin",
    "DiagnosticsMixin",
    "FittedMixin",
    "GradientMixin",
    "InfluenceEstimatorMixin",
    "InfluenceMethods",
    "InfluenceMixin",
    "ParameterMixin",
    "RemovalMixin",
    "UpdateMixin",
]


class InfluenceMethods(
    GradientMixin,
    InfluenceMixin,
    ConvergenceMixin,
    RemovalMixin,
    UpdateMixin,
    DiagnosticsMixin,
    ParameterMixin,
):
    """All chapters, for whoever has a problem."""


class InfluenceEstimatorMixin(InfluenceMethods, FittedMixin):
    """All chapters for an estimator; stands before a class of scikit-learn."""
