"""The public methods, one mixin for each chapter.

Each method has a signature, a docstring, and one call to the fitted object's problem. The
fitted object is an estimator or a pipeline. An estimator inherits `InfluenceEstimatorMixin`
before its scikit-learn class.
"""

from skinfluence.methods.convergence import ConvergenceMixin
from skinfluence.methods.diagnostics import DiagnosticsMixin
from skinfluence.methods.fitting import FittedMixin, ParameterMixin, UnweightedMixin
from skinfluence.methods.gradients import GradientMixin
from skinfluence.methods.influence import InfluenceMixin
from skinfluence.methods.metrics import MetricMixin
from skinfluence.methods.ranking import RankingMixin
from skinfluence.methods.removal import RemovalMixin
from skinfluence.methods.reweighting import ReweightMixin
from skinfluence.methods.updates import UpdateMixin

__all__ = [
    "ConvergenceMixin",
    "DiagnosticsMixin",
    "FittedMixin",
    "GradientMixin",
    "InfluenceEstimatorMixin",
    "InfluenceMethods",
    "InfluenceMixin",
    "MetricMixin",
    "ParameterMixin",
    "RankingMixin",
    "RemovalMixin",
    "ReweightMixin",
    "UnweightedMixin",
    "UpdateMixin",
]


class InfluenceMethods(
    GradientMixin,
    InfluenceMixin,
    RankingMixin,
    ConvergenceMixin,
    RemovalMixin,
    ReweightMixin,
    MetricMixin,
    UpdateMixin,
    DiagnosticsMixin,
    ParameterMixin,
):
    """All chapters, for any object that has a problem."""


class InfluenceEstimatorMixin(InfluenceMethods, FittedMixin):
    """All chapters for an estimator; inherit it before a scikit-learn class."""
