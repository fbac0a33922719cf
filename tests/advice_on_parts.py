"""Messages about composites, moment models and steps before a model, and their remedies."""

import numpy as np
from sklearn.base import clone
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.kernel_approximation import Nystroem
from sklearn.model_selection import KFold
from sklearn.preprocessing import (
    FunctionTransformer,
    QuantileTransformer,
    StandardScaler,
)

from skinfluence import from_fitted
from skinfluence.calibration import CalibratedClassifierCV
from skinfluence.compose import TransformedTargetRegressor
from skinfluence.discriminant_analysis import LinearDiscriminantAnalysis
from skinfluence.ensemble import StackingClassifier, VotingClassifier
from skinfluence.gaussian_process import GaussianProcessRegressor
from skinfluence.kernel_ridge import KernelRidge
from skinfluence.linear_model import HuberRegressor, Ridge
from skinfluence.model_selection import TunedThresholdClassifierCV
from skinfluence.multioutput import ClassifierChain, MultiOutputRegressor
from skinfluence.naive_bayes import GaussianNB
from skinfluence.neighbors import NearestCentroid
from skinfluence.pipeline import make_pipeline
from skinfluence.svm import LinearSVC
from tests.advice import COUNTS, LABELS, T, X, Y, logistic, row

LOGISTIC, TWO_LABELS = logistic(), np.column_stack([Y, T > 0.5]).astype(int)
WEIGHTS = np.arange(60) % 3 + 1.0
SVM = LinearSVC(tol=1e-8)


def calibrated(cv, **params):
    return CalibratedClassifierCV(clone(LOGISTIC), cv=cv, **params).fit(X, Y)


def stack(**params):
    return StackingClassifier([("a", clone(LOGISTIC))], **params).fit(X, Y)


def votes(voting):
    return VotingClassifier([("a", clone(LOGISTIC))], voting=voting).fit(X, Y)


def chain(member):
    return ClassifierChain(clone(member), cv=3, chain_method="decision_function").fit(
        X, TWO_LABELS
    )


def behind(*steps, model=None, y=Y):
    return make_pipeline(*steps, clone(LOGISTIC) if model is None else model).fit(X, y)


def scaled_targets(regressor, y=COUNTS + 1):
    return TransformedTargetRegressor(regressor, transformer=StandardScaler()).fit(X, y)


def threshold(refit):
    cv = [(np.arange(40), np.arange(40, 60))]
    return TunedThresholdClassifierCV(clone(LOGISTIC), cv=cv, refit=refit).fit(X, Y)


def process(**params):
    return GaussianProcessRegressor(**params).fit(X[:20], T[:20])


def last_step(pipe):
    return from_fitted(pipe[-1], pipe[:-1].transform(X), T)


ADVICE_ON_PARTS = [
    # Composites.
    row(
        "random folds of a calibration",
        lambda: calibrated(KFold(3, shuffle=True)).influence_loss(X, Y),
        r"pass cv with an integer random_state, or without a shuffle",
        lambda: calibrated(KFold(3, shuffle=True, random_state=0)).influence_loss(X, Y),
        lambda: calibrated(KFold(3)).influence_loss(X, Y),
    ),
    row(
        "a temperature for labels that are no positions",
        lambda: (
            CalibratedClassifierCV(clone(LOGISTIC), method="temperature")
            .fit(X, Y + 3)
            .influence_loss(X, Y + 3)
        ),
        r"Use labels 0 to 1 or text, .*or use another method",
        lambda: calibrated(3, method="temperature").influence_loss(X, Y),
        lambda: calibrated(3, method="sigmoid").influence_loss(X, Y),
    ),
    row(
        "a stack of class labels",
        lambda: stack(stack_method="predict").influence_loss(X, Y),
        r"Use stack_method='predict_proba' or 'decision_function'",
        lambda: stack(stack_method="predict_proba").influence_loss(X, Y),
        lambda: stack(stack_method="decision_function").influence_loss(X, Y),
    ),
    row(
        "first-order removal from a stack in place",
        lambda: stack().remove_samples([0], method="influence"),
        r"use method='newton' or 'exact'",
        lambda: stack().remove_samples([0], method="exact"),
        lambda: stack().remove_samples([0], method="newton"),
    ),
    row(
        "votes",
        lambda: votes("hard").influence_prediction(X),
        r"use influence_loss\.",
        lambda: votes("hard").influence_loss(X, Y),
    ),
    row(
        "a chain without probabilities",
        lambda: chain(SVM).influence_loss(X, TWO_LABELS),
        r"Use influence_prediction or leave_out_predict",
        lambda: chain(SVM).influence_prediction(X),
        lambda: chain(SVM).leave_out_predict(LABELS),
    ),
    row(
        "several outputs without targets",
        lambda: MultiOutputRegressor(Ridge()).fit(X, np.c_[T, COUNTS]).influential_samples(X),
        r"Pass y for the influence on the loss, or use influence_prediction",
        lambda: (
            MultiOutputRegressor(Ridge())
            .fit(X, np.c_[T, COUNTS])
            .influential_samples(X, np.c_[T, COUNTS])
        ),
        lambda: MultiOutputRegressor(Ridge()).fit(X, np.c_[T, COUNTS]).influence_prediction(X),
    ),
    row(
        "no class without a group",
        lambda: votes("soft").leave_out_predict(Y),
        r"Use groups that leave members of every class",
        lambda: votes("soft").leave_out_predict(LABELS),
    ),
    row(
        "scaled targets of a model without a squared loss",
        lambda: scaled_targets(HuberRegressor(tol=1e-8)).influence_prediction(X),
        r"single regressors with a squared loss.*Use one of these, or the methods that remove",
        lambda: scaled_targets(Ridge()).influence_prediction(X),
        lambda: scaled_targets(HuberRegressor(tol=1e-8)).leave_out_predict(LABELS),
    ),
    row(
        "several scaled targets",
        lambda: scaled_targets(Ridge(), np.c_[T, COUNTS]).influence_prediction(X),
        r"Use one target, or the methods that remove samples",
        lambda: scaled_targets(Ridge(), T).influence_prediction(X),
        lambda: scaled_targets(Ridge(), np.c_[T, COUNTS]).leave_out_predict(LABELS),
    ),
    row(
        "a threshold without a refit",
        lambda: threshold(refit=False).influence_loss(X, Y),
        r"Use refit=True, or pass estimator_ and the samples of this part to",
        lambda: threshold(refit=True).influence_loss(X, Y),
        lambda: from_fitted(threshold(refit=False).estimator_, X[:40], Y[:40]).influence_loss(
            X, Y
        ),
    ),
    # Moment models.
    row(
        "medians",
        lambda: NearestCentroid(metric="manhattan").fit(X, Y).influence_prediction(X),
        r"Use metric='euclidean'",
        lambda: NearestCentroid(metric="euclidean").fit(X, Y).influence_prediction(X),
    ),
    row(
        "shrunken centroids",
        lambda: NearestCentroid(shrink_threshold=0.1).fit(X, Y).influence_prediction(X),
        r"Use shrink_threshold=None, or LinearDiscriminantAnalysis with shrinkage",
        lambda: NearestCentroid(shrink_threshold=None).fit(X, Y).influence_prediction(X),
        lambda: (
            LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1)
            .fit(X, Y)
            .influence_prediction(X)
        ),
    ),
    row(
        "first-order removal from a moment model in place",
        lambda: GaussianNB().fit(X, Y).remove_samples([0], method="influence"),
        r"use method='exact' or 'newton'",
        lambda: GaussianNB().fit(X, Y).remove_samples([0], method="exact"),
        lambda: GaussianNB().fit(X, Y).remove_samples([0], method="newton"),
    ),
    row(
        "the Hessian of a moment model",
        lambda: GaussianNB().fit(X, Y).solve_hessian(np.eye(14)),
        r"Use influence_params, influence_functional or leave_out_params",
        lambda: GaussianNB().fit(X, Y).influence_params(),
        lambda: (
            GaussianNB().fit(X, Y).influence_functional(GaussianNB().fit(X, Y).params_ ** 0)
        ),
        lambda: GaussianNB().fit(X, Y).leave_out_params(),
    ),
    row(
        "covariances of a moment model",
        lambda: GaussianNB().fit(X, Y).params_covariance("hessian"),
        r"Use 'infinitesimal_jackknife' or 'jackknife'",
        lambda: GaussianNB().fit(X, Y).params_covariance("infinitesimal_jackknife"),
        lambda: GaussianNB().fit(X, Y).params_covariance("jackknife"),
    ),
    row(
        "other weights of a model that has none",
        lambda: behind(StandardScaler(), model=LinearDiscriminantAnalysis()).reweight_loss(
            X, Y, WEIGHTS / 2
        ),
        r"use whole numbers, which repeat samples",
        lambda: behind(StandardScaler(), model=LinearDiscriminantAnalysis()).reweight_loss(
            X, Y, WEIGHTS
        ),
    ),
    # Gaussian processes.
    row(
        "the derivative of the kernel of a process",
        lambda: process(alpha=0.1).influence_perturbation(X[:2], T[:2], index=0),
        r"use KernelRidge with kernel='rbf'.*leave_out_\*\) do not need it",
        lambda: (
            KernelRidge(kernel="rbf").fit(X, T).influence_perturbation(X[:2], T[:2], index=0)
        ),
        lambda: process(alpha=0.1).leave_out_loss(X[:2], T[:2]),
    ),
    row(
        "a process without noise",
        lambda: process(alpha=0).influence_loss(X[:2], T[:2]),
        r"use alpha=1e-10 or more",
        lambda: process(alpha=1e-3).influence_loss(X[:2], T[:2]),
    ),
    # Steps before a model.
    row(
        "a step whose derivative is not known",
        lambda: behind(FactorAnalysis(2, svd_method="lapack")).influence_loss(X, Y),
        r"leave_out_\*.*do not need it\. To keep the step fixed, wrap it in.*FrozenEstimator",
        lambda: behind(FactorAnalysis(2, svd_method="lapack")).leave_out_params(LABELS),
        lambda: behind(
            FrozenEstimator(FactorAnalysis(2, svd_method="lapack").fit(X))
        ).influence_loss(X, Y),
    ),
    row(
        "an imputer of a function",
        lambda: behind(SimpleImputer(strategy=np.max)).influence_loss(X, Y),
        r"Use strategy='mean' or 'median', or a method that removes samples",
        lambda: behind(SimpleImputer(strategy="mean")).influence_loss(X, Y),
        lambda: behind(SimpleImputer(strategy="median")).influence_loss(X, Y),
        lambda: behind(SimpleImputer(strategy=np.max)).leave_out_params(LABELS),
    ),
    row(
        "quantiles of drawn rows",
        lambda: behind(
            QuantileTransformer(n_quantiles=9, subsample=50, random_state=0)
        ).influence_loss(X, Y),
        r"Use subsample=None",
        lambda: behind(QuantileTransformer(n_quantiles=9, subsample=None)).influence_loss(
            X, Y
        ),
    ),
    row(
        "a random step",
        lambda: behind(Nystroem(n_components=5, random_state=None)).leave_out_params(LABELS),
        r"set random_state to a number.*or freeze the fitted step with",
        lambda: behind(Nystroem(n_components=5, random_state=0)).leave_out_params(LABELS),
        lambda: behind(
            FrozenEstimator(Nystroem(n_components=5, random_state=0).fit(X))
        ).leave_out_params(LABELS),
    ),
    row(
        "a function of all rows",
        lambda: behind(FunctionTransformer(lambda X: X - X.mean(axis=0))).leave_out_loss(X, Y),
        r"Use a transformer whose fit learns what the function needs, such as StandardScaler",
        lambda: behind(StandardScaler()).leave_out_loss(X, Y),
    ),
    row(
        "the bound of a pipeline",
        lambda: behind(PCA(2), model=Ridge(fit_intercept=False), y=T).leave_out_params(
            return_bound=True
        ),
        r"Leave it out, or explain the last step alone: from_fitted\(pipe\[-1\], ",
        lambda: behind(PCA(2), model=Ridge(fit_intercept=False), y=T).leave_out_params(),
        lambda: last_step(
            behind(PCA(2), model=Ridge(fit_intercept=False), y=T)
        ).leave_out_params(return_bound=True),
    ),
    row(
        "first-order removal from a pipeline in place",
        lambda: behind(StandardScaler()).remove_samples([0], method="influence"),
        r"use method='exact' or 'newton'",
        lambda: behind(StandardScaler()).remove_samples([0], method="exact"),
        lambda: behind(StandardScaler()).remove_samples([0], method="newton"),
    ),
    row(
        "the last of a class in a pipeline",
        lambda: behind(StandardScaler()).remove_samples(np.flatnonzero(Y)),
        r"the last samples of class 1: .* Keep at least one of them",
        lambda: behind(StandardScaler()).remove_samples(np.flatnonzero(Y)[1:]),
    ),
]
