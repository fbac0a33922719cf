"""Gaussian process regression of scikit-learn with influence.

regressor.py    GaussianProcessRegressor, and the same process at a fixed kernel
normalised.py   results for targets that `fit` centres and scales
removal.py      removal, other weights and updates for these
"""

from skinfluence.gaussian_process.regressor import GaussianProcessRegressor

__all__ = ["GaussianProcessRegressor"]
