"""Gaussian process regression of scikit-learn with influence.

regressor.py    GaussianProcessRegressor, and the same process at a fixed kernel
normalised.py   results for targets that `fit` centres and scales
"""

from skinfluence.gaussian_process.regressor import GaussianProcessRegressor

__all__ = ["GaussianProcessRegressor"]
