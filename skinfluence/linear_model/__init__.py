"""Linear models of scikit-learn with influence.

Same names, same parameters, same `fit`: each class adds methods and says which objective
its `fit` minimises.

    logistic.py        logistic regression
    ridge.py           least squares with a squared penalty
    glm.py             generalised linear models
"""

from skinfluence.linear_model.glm import PoissonRegressor
from skinfluence.linear_model.logistic import LogisticRegression
from skinfluence.linear_model.ridge import Ridge

__all__ = ["LogisticRegression", "PoissonRegressor", "Ridge"]
