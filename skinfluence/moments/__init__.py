"""Models of means, variances and counts: influence and removal in closed form.

base.py          a model as functions of sums over the rows of each class
gaussian.py, discriminant.py, counts.py
                 the models: statistics, parameters, scores, and the derivatives of these
covariance.py    shrunk covariances and inverses, with their derivatives
data.py          the training rows and their sums, with and without some of the rows
problem.py       the answers of the public methods
estimator.py     what the mirrors of scikit-learn's classes have in common
"""

from skinfluence.moments.base import MomentFormulation, MomentModel
from skinfluence.moments.estimator import MomentMixin, WeightedMomentMixin
from skinfluence.moments.problem import MomentProblem, MomentQuery

__all__ = [
    "MomentFormulation",
    "MomentMixin",
    "MomentModel",
    "MomentProblem",
    "MomentQuery",
    "WeightedMomentMixin",
]
