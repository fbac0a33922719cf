"""scikit-learn's linear models with influence functions.

Each class has the name, parameters and `fit` method of its scikit-learn class. It adds the
influence methods and states the objective that `fit` minimises.

    search.py          base class for estimators that choose a hyperparameter in `fit`
    logistic.py        logistic regression
    ridge.py           least squares with a squared penalty or none, for targets and labels
    lasso.py           least squares with an l1 penalty
    least_angle.py     the same by least angle regression
    bayes.py           ridge regression with precisions by evidence
    glm.py             generalised linear models
    huber.py           robust regression with a fitted scale
    sgd.py             smooth losses, fitted by stochastic gradient descent
"""

from skinfluence.linear_model.bayes import ARDRegression, BayesianRidge
from skinfluence.linear_model.glm import GammaRegressor, PoissonRegressor, TweedieRegressor
from skinfluence.linear_model.huber import HuberRegressor
from skinfluence.linear_model.lasso import ElasticNet, ElasticNetCV, Lasso, LassoCV
from skinfluence.linear_model.least_angle import Lars, LassoLars, LassoLarsCV, LassoLarsIC
from skinfluence.linear_model.logistic import LogisticRegression, LogisticRegressionCV
from skinfluence.linear_model.ridge import (
    LinearRegression,
    Ridge,
    RidgeClassifier,
    RidgeClassifierCV,
    RidgeCV,
)
from skinfluence.linear_model.sgd import SGDClassifier, SGDRegressor

__all__ = [
    "ARDRegression",
    "BayesianRidge",
    "ElasticNet",
    "ElasticNetCV",
    "GammaRegressor",
    "HuberRegressor",
    "Lars",
    "Lasso",
    "LassoCV",
    "LassoLars",
    "LassoLarsCV",
    "LassoLarsIC",
    "LinearRegression",
    "LogisticRegression",
    "LogisticRegressionCV",
    "PoissonRegressor",
    "Ridge",
    "RidgeCV",
    "RidgeClassifier",
    "RidgeClassifierCV",
    "SGDClassifier",
    "SGDRegressor",
    "TweedieRegressor",
]
