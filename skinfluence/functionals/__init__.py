"""Functions of the fitted parameters, with gradients.

A functional f maps the parameter vector to one number and has a gradient. Passed to
`influence_functional`, it shows which training samples raise or lower that number:

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

All functionals except `coefficient` depend on the raw predictions for some given samples.
These samples are fixed, and only the model changes. Class labels have no derivative, so a
rate uses smooth labels: a logistic function (or softmax) is applied to the raw prediction
divided by a temperature. At temperature 1 the result is the `predict_proba` method of a
logistic regression. As the temperature approaches 0, the rate approaches the share of
samples that get the class.

If a support vector classifier decides between pairs of classes, its raw predictions are
replaced by one decision value for each class, as with ``decision_function_shape="ovr"``: the
votes plus scaled confidences that break ties. Only the confidences contribute to the
gradient, because votes are piecewise constant.
"""

from skinfluence.functionals.base import Functional, coefficient
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
