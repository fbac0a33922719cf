"""Numbers that a fitted model is judged by, with their gradients in the parameters.

A functional f maps the parameter vector to one number and knows its gradient, so
`influence_functional` tells which training samples push it up or down:

>>> from sklearn.datasets import load_breast_cancer
>>> from sklearn.preprocessing import scale
>>> from skinfluence.functionals import auc_surrogate
>>> from skinfluence.linear_model import LogisticRegression
>>> X, y = load_breast_cancer(return_X_y=True)
>>> clf = LogisticRegression(tol=1e-8).fit(scale(X), y)
>>> auc = auc_surrogate(clf, scale(X), y)
>>> round(auc.value(clf.params_), 3)
0.996
>>> clf.influence_functional(auc).shape
(569,)

Everything but a coefficient is a function of the raw predictions of some given samples,
which stay as they are: what moves is the model. Class labels have no derivative; where a
rate is meant, they are smoothed by a logistic function of the raw prediction divided by a
temperature. At temperature 1 that is `predict_proba` of a logistic regression; towards 0 it
tends to the share of samples that are given the class.

Of a support vector classifier that decides between pairs of classes, the raw predictions are
the decision values of each class, with ``decision_function_shape="ovr"``: votes, and a share
of the confidences that breaks their ties. Gradients are those of the confidences, because
votes are constant until one of them jumps.
"""

from skinfluence.functionals.base import Functional
from skinfluence.functionals.coefficients import coefficient
from skinfluence.functionals.fairness import demographic_parity, equal_opportunity
from skinfluence.functionals.predictions import margin, mean_prediction, probability
from skinfluence.functionals.ranking import auc_surrogate

__all__ = [
    "Functional",
    "auc_surrogate",
    "coefficient",
    "demographic_parity",
    "equal_opportunity",
    "margin",
    "mean_prediction",
    "probability",
]
