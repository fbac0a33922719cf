"""Models from means, variances and counts: influence and removal in closed form.

base.py          a model as functions of sums over the rows of each class
gaussian.py, discriminant.py, counts.py
                 the models: statistics, parameters, scores, and their derivatives
covariance.py    shrunk covariances and inverses, with their derivatives
data.py          the training rows and their sums, with and without some rows
problem.py       results for the public methods
estimator.py     mixins for our versions of scikit-learn's classes
"""

from skinfluence.moments.base import MomentFormulation, MomentModel
from skinfluence.moments.problem import MomentMixin, MomentProblem, MomentQuery
