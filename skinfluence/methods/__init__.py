"""The public methods, one mixin for each chapter.

Each method has a signature, a docstring, and one call to the fitted object's problem. The
fitted object is an estimator or a pipeline. An estimator inherits `InfluenceEstimatorMixin`
before its scikit-learn class.
"""

from skinfluence.methods.available import get_problem
from skinfluence.methods.fitting import (
    InfluenceEstimatorMixin,
    InfluenceMethods,
    UnweightedMixin,
)

__all__ = [
    "InfluenceEstimatorMixin",
    "InfluenceMethods",
    "UnweightedMixin",
    "get_problem",
]
