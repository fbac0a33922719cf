"""Influence functions that show how each training sample influenced a scikit-learn model."""

from importlib import import_module
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from skinfluence import calibration as calibration
    from skinfluence import compose as compose
    from skinfluence import ensemble as ensemble
    from skinfluence import functionals as functionals
    from skinfluence import inspection as inspection
    from skinfluence import model_selection as model_selection
    from skinfluence import multiclass as multiclass
    from skinfluence import multioutput as multioutput
else:
    # `skinfluence.inspection` works after `import skinfluence`, which stays fast because
    # these modules are imported at their first use.
    _LAZY = (
        "calibration",
        "compose",
        "ensemble",
        "functionals",
        "inspection",
        "model_selection",
        "multiclass",
        "multioutput",
    )

    def __getattr__(name):
        if name in _LAZY:
            return import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__():
        return sorted({*globals(), *_LAZY})
