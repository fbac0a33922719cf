"""Every public class with a small model of it: few rows, and settings whose refits are tight.

`MODELS` has an unfitted estimator and the name of its data for each class.
"""

from importlib import import_module

import numpy as np
from sklearn import ensemble, linear_model, multiclass, multioutput
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.gaussian_process import kernels
from sklearn.model_selection import (
    FixedThresholdClassifier,
    KFold,
    LeaveOneOut,
    TunedThresholdClassifierCV,
)
from sklearn.preprocessing import StandardScaler

from skinfluence import discriminant_analysis as discriminants
from skinfluence import gaussian_process, kernel_ridge, naive_bayes, neighbors, svm
from skinfluence import linear_model as ours
from skinfluence.fitted import COMPOSITE_MODULES, MIRROR_MODULES, composites
from tests.fits import DESCENT, HUBER, LIBLINEAR, LIBSVM, SGD, SMOOTH

NEWTON = {"solver": "newton-cholesky", "tol": 1e-10, "max_iter": 200}
LOGISTIC = linear_model.LogisticRegression(**NEWTON)
RIDGE = linear_model.Ridge(alpha=0.3)
OTHER = linear_model.Ridge(alpha=2.0)
GRID = {"alphas": [0.1, 2.0]}
FOLDS = {"cv": KFold(2)}
PATH = {"alphas": [0.02, 0.1], "cv": LeaveOneOut(), **DESCENT}


def numbers(n, rng):
    X = rng.normal(size=(n, 3))
    return X, X @ [1.0, -0.5, 0.3] + rng.normal(0, 0.5, n)


def positive(n, rng):
    X, y = numbers(n, rng)
    return X, np.exp(y / 2)


def several_numbers(n, rng):
    X, y = numbers(n, rng)
    return X, np.column_stack([y, np.sin(y) + X[:, 0]])


def two_classes(n, rng):
    y = np.arange(n) % 2
    return rng.normal(size=(n, 3)) + 0.8 * y[:, None], y


def three_classes(n, rng):
    y = np.arange(n) % 3
    return rng.normal(size=(n, 3)) + y[:, None] * [1.0, -0.5, 0.3], y


def counted_features(n, rng):
    X, y = three_classes(n, rng)
    return np.clip(np.round(X + 2), 0, 4), y


def labels(n, rng):
    X, y = two_classes(n, rng)
    return X, np.column_stack([y, np.arange(n) // 2 % 2])


def small(data, n=9):
    """Return X of three columns, and y."""
    return data(n, np.random.default_rng(3))


def own(template):
    """Return our unfitted estimator around others for one of scikit-learn."""
    return composites()[type(template)](**template.get_params(deep=False))


_SAMPLES = {
    two_classes: [
        ours.LogisticRegression(C=0.5, **NEWTON),
        ours.SGDClassifier(loss="log_loss", **SGD),
        svm.SVC(C=0.5, **LIBSVM),
        svm.LinearSVC(loss="hinge", C=0.1, **LIBLINEAR),
        svm.SmoothHingeLinearSVC(**SMOOTH),
        svm.SmoothHingeSVC(gamma=0.2, **SMOOTH),
        own(ensemble.BaggingClassifier(LOGISTIC, 2, max_samples=0.8, random_state=0)),
        own(FixedThresholdClassifier(LOGISTIC, threshold=0.6)),
        own(TunedThresholdClassifierCV(LOGISTIC, **FOLDS, thresholds=5)),
        own(CalibratedClassifierCV(LOGISTIC, **FOLDS)),
        own(ensemble.StackingClassifier([("a", LOGISTIC)], LOGISTIC, **FOLDS)),
    ],
    three_classes: [
        ours.LogisticRegressionCV(
            Cs=[0.1, 1.0],
            l1_ratios=(0,),
            scoring="neg_log_loss",
            use_legacy_attributes=False,
            **FOLDS,
            **NEWTON,
        ),
        ours.RidgeClassifier(class_weight="balanced", solver="cholesky"),
        ours.RidgeClassifierCV(**GRID),
        naive_bayes.GaussianNB(),
        discriminants.LinearDiscriminantAnalysis(),
        discriminants.QuadraticDiscriminantAnalysis(reg_param=0.1),
        neighbors.NearestCentroid(),
        own(multiclass.OneVsRestClassifier(LOGISTIC)),
        own(multiclass.OneVsOneClassifier(LOGISTIC)),
        own(
            ensemble.VotingClassifier(
                [("a", LOGISTIC), ("b", ours.LogisticRegression(C=0.1, **NEWTON))],
                voting="soft",
            )
        ),
    ],
    counted_features: [
        naive_bayes.BernoulliNB(binarize=2),
        naive_bayes.CategoricalNB(min_categories=5),
        naive_bayes.ComplementNB(),
        naive_bayes.MultinomialNB(),
    ],
    labels: [
        own(multioutput.MultiOutputClassifier(LOGISTIC)),
        own(multioutput.ClassifierChain(LOGISTIC)),
    ],
    numbers: [
        ours.LinearRegression(),
        ours.Ridge(),
        ours.RidgeCV(**GRID),
        ours.Lasso(alpha=0.05, **DESCENT),
        ours.LassoCV(**PATH),
        ours.ElasticNet(alpha=0.05, **DESCENT),
        ours.ElasticNetCV(**PATH),
        ours.Lars(),
        ours.LassoLars(alpha=0.05),
        ours.LassoLarsCV(cv=LeaveOneOut()),
        ours.LassoLarsIC(),
        ours.BayesianRidge(),
        ours.ARDRegression(),
        ours.HuberRegressor(alpha=0.1, **HUBER),
        ours.SGDRegressor(**SGD),
        svm.SVR(epsilon=0.2, **LIBSVM),
        svm.LinearSVR(C=0.3, epsilon=0.1, **LIBLINEAR),
        kernel_ridge.KernelRidge(kernel="rbf", gamma=0.2),
        gaussian_process.GaussianProcessRegressor(
            kernels.RBF(2.0) + kernels.WhiteKernel(0.5), optimizer=None, normalize_y=True
        ),
        own(ensemble.BaggingRegressor(RIDGE, 2, random_state=0)),
        own(ensemble.VotingRegressor([("a", RIDGE), ("b", OTHER)])),
        own(ensemble.StackingRegressor([("a", RIDGE)], OTHER, **FOLDS)),
        own(TransformedTargetRegressor(RIDGE, transformer=StandardScaler())),
    ],
    positive: [
        ours.PoissonRegressor(alpha=0.1, **NEWTON),
        ours.GammaRegressor(alpha=0.1, **NEWTON),
        ours.TweedieRegressor(power=1.5, alpha=0.1, **NEWTON),
    ],
    several_numbers: [
        own(multioutput.MultiOutputRegressor(RIDGE)),
        own(multioutput.RegressorChain(RIDGE)),
    ],
}

MODELS = {
    type(model).__name__: (model, data)
    for data, models in _SAMPLES.items()
    for model in models
}


def public_classes():
    """Return the names of all public estimators, pipelines and searches aside."""
    modules = [import_module(f"skinfluence.{name}") for name in COMPOSITE_MODULES]
    return {name for module in [*MIRROR_MODULES, *modules] for name in module.__all__}
