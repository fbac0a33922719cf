"""Which training samples made a model what it is: influence for scikit-learn models."""

from skinfluence._version import __version__
from skinfluence.exceptions import (
    InfluenceWarning,
    SingularHessianError,
    TrainingDataMissingError,
    UnsupportedEstimatorError,
)
from skinfluence.fitted import from_fitted

__all__ = [
    "InfluenceWarning",
    "SingularHessianError",
    "TrainingDataMissingError",
    "UnsupportedEstimatorError",
    "__version__",
    "from_fitted",
]
