"""The public methods, one mixin for each chapter.

A mixin validates, calls the mathematics and shapes the output; it holds no formula. An
estimator inherits `InfluenceEstimatorMixin` before its scikit-learn class.
"""

from skinfluence.mixins.convergence import ConvergenceMixin
from skinfluence.mixins.diagnostics import DiagnosticsMixin
from skinfluence.mixins.influence import InfluenceMixin
from skinfluence.mixins.kernel import KernelProblemMixin, NotOfKinks
from skinfluence.mixins.l1_support import L1SupportMixin
from skinfluence.mixins.problem import ProblemMixin
from skinfluence.mixins.refits import RefitMixin
from skinfluence.mixins.removal import RemovalMixin

__all__ = [
    "ActiveSetEstimatorMixin",
    "ConvergenceMixin",
    "DiagnosticsMixin",
    "InfluenceEstimatorMixin",
    "InfluenceMixin",
    "KernelEstimatorMixin",
    "KernelProblemMixin",
    "L1SupportMixin",
    "ProblemMixin",
    "RefitMixin",
    "RemovalMixin",
]


class InfluenceEstimatorMixin(
    InfluenceMixin,
    ConvergenceMixin,
    RemovalMixin,
    DiagnosticsMixin,
    RefitMixin,
    ProblemMixin,
):
    """All chapters on top of the fitted problem."""


class KernelEstimatorMixin(KernelProblemMixin, InfluenceEstimatorMixin):
    """The same for models of kernels, whose parameters are dual coefficients."""


class ActiveSetEstimatorMixin(KernelProblemMixin, InfluenceMixin, RemovalMixin, RefitMixin):
    """Kernel models with a piecewise linear loss: nothing that needs a Newton step."""

    newton_correction = NotOfKinks()
    newton_step = NotOfKinks()
    convergence_report = NotOfKinks()
    polish = NotOfKinks()
    influence_summary = NotOfKinks()
