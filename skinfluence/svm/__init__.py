"""Support vector machines with influence functions.

Classes from scikit-learn keep their names, parameters and `fit` method.

    linear.py         LinearSVC, LinearSVR: fitted by liblinear, with a penalised intercept
    kernel.py         SVC, SVR: fitted by libsvm, with an intercept that is not penalised
    smooth.py         SmoothHingeLinearSVC, SmoothHingeSVC: a smooth approximation to the hinge
    smooth_models.py  their `fit`, without influence methods
    shared.py         formulations that these classes share
"""

from skinfluence.svm.kernel import SVC, SVR
from skinfluence.svm.linear import LinearSVC, LinearSVR
from skinfluence.svm.smooth import SmoothHingeLinearSVC, SmoothHingeSVC

__all__ = ["SVC", "SVR", "LinearSVC", "LinearSVR", "SmoothHingeLinearSVC", "SmoothHingeSVC"]
