"""Support vector machines with influence: scikit-learn's, and smooth ones.

Same names, same parameters, same `fit` where the class is scikit-learn's.

    linear.py   LinearSVC, LinearSVR: liblinear's, with a penalised intercept
    kernel.py   SVC, SVR: libsvm's, with a free intercept
    smooth.py   SmoothHingeLinearSVC, SmoothHingeSVC: the hinge rounded off
    anneal.py   how the smooth ones are fitted
    shared.py   the formulations that these classes have in common
"""

from skinfluence.svm.kernel import SVC, SVR
from skinfluence.svm.linear import LinearSVC, LinearSVR
from skinfluence.svm.smooth import SmoothHingeLinearSVC, SmoothHingeSVC

__all__ = ["SVC", "SVR", "LinearSVC", "LinearSVR", "SmoothHingeLinearSVC", "SmoothHingeSVC"]
