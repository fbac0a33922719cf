"""Reasons why estimators from scikit-learn have no influence here, and alternatives.

The page on supported models and the errors for these estimators use these tables.
"""

from sklearn.base import is_classifier

_GROUPS = "norms of groups are curved on their support, so fixed signs do not make them linear"
_NU = "nu bounds sums over the rows, so the multipliers of all rows depend on each other"
_ORDER = "it makes a single pass, and the result depends on the order of the samples"

#: Estimators with a convex objective that have no class in this package. Each name maps to
#: the objective, the reason, and an alternative.
UNSUPPORTED = {
    "GaussianProcessClassifier": (
        "Laplace approximation, kernel parameters by evidence",
        "the fit also estimates the kernel",
        "LogisticRegression",
    ),
    "IsotonicRegression": (
        "w (y - f)^2 with f monotone",
        "it is a projection without parameters",
        None,
    ),
    "MultiTaskElasticNet": (
        "squared error and the norm of each feature's coefficients",
        _GROUPS,
        "ElasticNet",
    ),
    "MultiTaskElasticNetCV": ("as MultiTaskElasticNet", _GROUPS, "ElasticNet"),
    "MultiTaskLasso": ("as MultiTaskElasticNet", _GROUPS, "Lasso"),
    "MultiTaskLassoCV": ("as MultiTaskElasticNet", _GROUPS, "Lasso"),
    "NuSVC": ("hinge with a free margin width, and the RKHS norm", _NU, "SVC"),
    "NuSVR": ("tube with a free width, and the RKHS norm", _NU, "SVR"),
    "OneClassSVM": (
        "hinge with a free offset, and the RKHS norm",
        "it has no targets, and nu makes the multipliers of all rows depend on each other",
        None,
    ),
    "PassiveAggressiveClassifier": ("none: a single pass of updates", _ORDER, "SGDClassifier"),
    "PassiveAggressiveRegressor": ("none: a single pass of updates", _ORDER, "SGDRegressor"),
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

#: All other classifiers and regressors, by kind.
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
        "CCA LarsCV OrthogonalMatchingPursuit OrthogonalMatchingPursuitCV PLSCanonical "
        "PLSRegression RANSACRegressor TheilSenRegressor"
    ),
    "neural networks": "MLPClassifier MLPRegressor",
    "estimators around others": ("OutputCodeClassifier SelfTrainingClassifier"),
}

#: Transformers whose fit has no known derivative. Removal fits them again.
REFITTED = (
    "BernoulliRBM Birch BisectingKMeans DictionaryLearning FactorAnalysis FastICA "
    "FeatureAgglomeration IncrementalPCA Isomap IterativeImputer KMeans KNNImputer "
    "KNeighborsTransformer KernelCenterer KernelPCA LatentDirichletAllocation "
    "LocallyLinearEmbedding MiniBatchDictionaryLearning MiniBatchKMeans MiniBatchNMF "
    "MiniBatchSparsePCA NMF NeighborhoodComponentsAnalysis Nystroem PLSSVD "
    "PolynomialCountSketch RadiusNeighborsTransformer RandomTreesEmbedding "
    "SkewedChi2Sampler SparseCoder SparsePCA"
)

#: Estimators that predict no target and are no step before a model, by kind.
NO_TARGET = {
    "clusters": (
        "AffinityPropagation AgglomerativeClustering DBSCAN HDBSCAN MeanShift OPTICS "
        "SpectralBiclustering SpectralClustering SpectralCoclustering"
    ),
    "outliers": "EllipticEnvelope IsolationForest LocalOutlierFactor SGDOneClassSVM",
    "densities and covariances": (
        "BayesianGaussianMixture EmpiricalCovariance GaussianMixture GraphicalLasso "
        "GraphicalLassoCV KernelDensity LedoitWolf MinCovDet OAS ShrunkCovariance"
    ),
    "embeddings of the training samples alone": "ClassicalMDS MDS SpectralEmbedding TSNE",
    "graphs of neighbours": "NearestNeighbors",
    "transformers of labels, or of the number of samples": (
        "LabelBinarizer LabelEncoder MultiLabelBinarizer PatchExtractor"
    ),
}


def why(obj):
    """Return the reason why an object has no influence here, and an alternative.

    Parameters
    ----------
    obj : object
        An estimator from scikit-learn, or any other object.

    Returns
    -------
    str or None
        One or two sentences; None if this module does not list its class.
    """
    is_refitted = type(obj).__name__ in REFITTED.split()
    for cls in () if is_refitted else type(obj).__mro__:
        name = cls.__name__
        if name in UNSUPPORTED:
            _, reason, instead = UNSUPPORTED[name]
            remedy = (
                "There is no alternative here: refit it without the samples in question."
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
        for kind, names in NO_TARGET.items():
            if name in names.split():
                return (
                    f"{name} has no influence here, because it predicts no target ({kind}). "
                    "There is no alternative here: fit it again without the samples in "
                    "question."
                )
    is_step = is_refitted or not hasattr(obj, "predict")
    if hasattr(obj, "transform") and is_step and not hasattr(obj, "steps"):
        return (
            f"{type(obj).__name__} has no influence here, because it predicts no target. Put "
            "it into a pipeline before a model."
        )
    return None
