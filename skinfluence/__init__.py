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
    from skinfluence import discriminant_analysis as discriminant_analysis
    from skinfluence import ensemble as ensemble
    from skinfluence import functionals as functionals
    from skinfluence import gaussian_process as gaussian_process
    from skinfluence import inspection as inspection
    from skinfluence import kernel_ridge as kernel_ridge
    from skinfluence import linear_model as linear_model
    from skinfluence import model_selection as model_selection
    from skinfluence import multiclass as multiclass
    from skinfluence import multioutput as multioutput
    from skinfluence import naive_bayes as naive_bayes
    from skinfluence import neighbors as neighbors
    from skinfluence import pipeline as pipeline
    from skinfluence import solvers as solvers
    from skinfluence import svm as svm
    from skinfluence.fitted import from_fitted
else:
    # `skinfluence.inspection` works after `import skinfluence`, which stays fast because
    # these modules are imported at their first use.
    _LAZY = (
        "calibration",
        "compose",
        "discriminant_analysis",
        "ensemble",
        "from_fitted",
        "functionals",
        "gaussian_process",
        "inspection",
        "kernel_ridge",
        "linear_model",
        "model_selection",
        "multiclass",
        "multioutput",
        "naive_bayes",
        "neighbors",
        "pipeline",
        "solvers",
        "svm",
    )

    def __getattr__(name):
        if name == "from_fitted":
            return import_module(f"{__name__}.fitted").from_fitted
        if name in _LAZY:
            return import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__():
        return sorted({*globals(), *_LAZY})
