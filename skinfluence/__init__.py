"""Which training samples made a model what it is: influence for scikit-learn models."""

from skinfluence._version import __version__
from skinfluence.exceptions import (
    InfluenceWarning,
    SingularHessianError,
    TrainingDataMissingError,
    UnsupportedEstimatorError,
)
from skinfluence.fitted import from_fitted

# These tell `from_fitted` which of their classes belongs to which of scikit-learn's.
from skinfluence import calibration, compose, ensemble, multiclass, multioutput  # noqa: F401  # isort: skip

__all__ = [
    "InfluenceWarning",
    "SingularHessianError",
    "TrainingDataMissingError",
    "UnsupportedEstimatorError",
    "__version__",
    "from_fitted",
]
