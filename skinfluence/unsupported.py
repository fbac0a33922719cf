"""Why estimators of scikit-learn have no influence here, and what to use instead.

The page of supported models and the errors for these estimators are made from it.
"""

from sklearn.base import is_classifier

__all__ = ["NOT_CONVEX", "UNSUPPORTED", "why"]

_GROUPS = "norms of groups are curved on their support, where no fixed signs make them linear"
_NU = "nu bounds sums over the rows, which tie the multipliers of all rows together"
_ORDER = "the result of its one pass of updates depends on the order of the samples"
_PATH = "the path is not converged to"
_PRECISIONS = "precisions are parameters too"

#: Estimators whose fit minimises a convex objective, but which have no class here: the
#: objective, why there is none, and what to use instead.
UNSUPPORTED = {
    "ARDRegression": ("evidence of a Gaussian prior", _PRECISIONS, "Ridge"),
    "BayesianRidge": ("evidence of a Gaussian prior", _PRECISIONS, "Ridge"),
    "GaussianProcessClassifier": (
        "Laplace approximation, kernel parameters by evidence",
        "the kernel is fitted too",
        "LogisticRegression",
    ),
    "GaussianProcessRegressor": (
        "squared error and RKHS norm, kernel parameters by evidence",
        "the kernel is fitted too",
        "KernelRidge",
    ),
    "IsotonicRegression": (
        "w (y - f)^2 with f monotone",
        "it is a projection without parameters",
        None,
    ),
    "LassoLars": ("as Lasso, by least angles", _PATH, "Lasso"),
    "LassoLarsCV": ("as Lasso, by least angles", _PATH, "Lasso"),
    "LassoLarsIC": ("as Lasso, by least angles", _PATH, "Lasso"),
    "MultiTaskElasticNet": (
        "squared error and the norm of each feature's coefficients",
        _GROUPS,
        "ElasticNet",
    ),
    "MultiTaskElasticNetCV": ("as MultiTaskElasticNet", _GROUPS, "ElasticNet"),
    "MultiTaskLasso": ("as MultiTaskElasticNet", _GROUPS, "Lasso"),
    "MultiTaskLassoCV": ("as MultiTaskElasticNet", _GROUPS, "Lasso"),
    "NuSVC": ("hinge at a margin of free width, and the RKHS norm", _NU, "SVC"),
    "NuSVR": ("tube of free width, and the RKHS norm", _NU, "SVR"),
    "OneClassSVM": (
        "hinge at an offset of its own, and the RKHS norm",
        "it has no targets, and nu ties the multipliers of all rows together",
        None,
    ),
    "PassiveAggressiveClassifier": ("none: one pass of updates", _ORDER, "SGDClassifier"),
    "PassiveAggressiveRegressor": ("none: one pass of updates", _ORDER, "SGDRegressor"),
    "Perceptron": (
        "perceptron loss",
        "its loss is not smooth",
        "SGDClassifier(loss='squared_hinge')",
    ),
    "QuantileRegressor": (
        "pinball loss and alpha |coef|_1",
        "it is a linear programme",
        "LinearSVR(epsilon=0)",
    ),
}

#: Everything else that classifies or regresses, by what it is.
NOT_CONVEX = {
    "trees and their ensembles": (
        "AdaBoostClassifier AdaBoostRegressor DecisionTreeClassifier DecisionTreeRegressor "
        "ExtraTreeClassifier ExtraTreeRegressor ExtraTreesClassifier ExtraTreesRegressor "
        "GradientBoostingClassifier GradientBoostingRegressor HistGradientBoostingClassifier "
        "HistGradientBoostingRegressor RandomForestClassifier RandomForestRegressor"
    ),
    "neighbours and graphs": (
        "KNeighborsClassifier KNeighborsRegressor LabelPropagation LabelSpreading "
        "RadiusNeighborsClassifier RadiusNeighborsRegressor"
    ),
    "moments and counts": "DummyClassifier DummyRegressor",
    "searches among features, samples or directions": (
        "CCA Lars LarsCV OrthogonalMatchingPursuit OrthogonalMatchingPursuitCV PLSCanonical "
        "PLSRegression RANSACRegressor TheilSenRegressor"
    ),
    "neural networks": "MLPClassifier MLPRegressor",
    "estimators around others": (
        "BaggingClassifier BaggingRegressor CalibratedClassifierCV ClassifierChain "
        "FixedThresholdClassifier MultiOutputClassifier MultiOutputRegressor "
        "OneVsOneClassifier OneVsRestClassifier OutputCodeClassifier RegressorChain "
        "SelfTrainingClassifier StackingClassifier StackingRegressor "
        "TransformedTargetRegressor TunedThresholdClassifierCV VotingClassifier "
        "VotingRegressor"
    ),
}


def why(obj):
    """Return why an object of scikit-learn has no influence and what to use instead.

    Parameters
    ----------
    obj : object
        An estimator, or anything else.

    Returns
    -------
    str or None
        One or two sentences; None where this module does not list its class.
    """
    for cls in type(obj).__mro__:
        name = cls.__name__
        if name in UNSUPPORTED:
            _, reason, instead = UNSUPPORTED[name]
            remedy = (
                "Nothing here takes its place: refit it without the samples in question."
                if instead is None
                else f"Use {instead} instead."
            )
            return f"{name} has no influence here, because {reason}. {remedy}"
        for kind, names in NOT_CONVEX.items():
            if name in names.split() and kind != "estimators around others":
                labels = is_classifier(obj)
                instead = "LogisticRegression or SVC" if labels else "Ridge or KernelRidge"
                return (
                    f"{name} has no influence here, because it minimises no convex objective "
                    f"({kind}). Use {instead} instead."
                )
    return None
