"""What an error or a warning tells its reader to do can be done, and helps.

A row of `ADVICE` is a situation, a pattern of the message that has the remedy in it, and a
function that follows the remedy. `follow` fails if the situation's message comes again.
"""

import re
import warnings
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
import pytest
import sklearn
from sklearn import linear_model as sk_linear
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, KFold, ShuffleSplit
from sklearn.pipeline import make_pipeline as sk_pipeline
from sklearn.preprocessing import StandardScaler, scale
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.fixes import parse_version

from skinfluence import from_fitted
from skinfluence.inspection import rank_label_errors
from skinfluence.kernel_ridge import KernelRidge
from skinfluence.linear_model import (
    ElasticNet,
    HuberRegressor,
    Lars,
    Lasso,
    LassoLars,
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
    SGDRegressor,
    TweedieRegressor,
)
from skinfluence.model_selection import jackknife_plus_interval
from skinfluence.pipeline import make_pipeline
from skinfluence.svm import SVC, SVR, LinearSVC, LinearSVR, SmoothHingeLinearSVC


def _rows():
    rng = np.random.default_rng(0)
    X = scale(rng.normal(size=(60, 3)))
    t = X @ [1.0, -1.0, 0.5] + rng.normal(size=60)
    return X, t


X, T = _rows()
Y = (T > 0).astype(int)
THREE = np.digitize(T, [-1, 1])
NOISE = np.random.default_rng(1).uniform(0.0, 0.1, 60)
COUNTS = np.round(np.exp(T / 3))
TWICE = np.column_stack([X, X[:, 0]])
FAR = X * [1e4, 1.0, 1e-3] + [1e4, 0, 0]
DX, DY, DT = (da.from_array(a, chunks=(20, *a.shape[1:])) for a in (X, Y, T))
LABELS = np.repeat([0, 1, 2], 20)


def dask(estimator, y=DY):
    return estimator.fit(X, np.asarray(y)).set_training_data(DX, y)


def without(estimator):
    return estimator.drop_training_data()


@dataclass(frozen=True)
class Row:
    """One message and its remedy.

    Parameters
    ----------
    name : str
        Test id.
    meet : callable
        Raises the error, or warns.
    message : str
        Pattern of the message, remedy included.
    follow : tuple of callables
        Each follows one remedy of the message, in its order.
    """

    name: str
    meet: Any
    message: str
    follow: tuple


def row(name, meet, message, *follow):
    return Row(name, meet, message, follow)


ADVICE = [
    # Configurations without influence.
    row(
        "LassoLars(positive)",
        lambda: LassoLars(alpha=0.1, positive=True).fit(X, T).self_influence(),
        r"use positive=False, or Lasso\(positive=True\)",
        lambda: LassoLars(alpha=0.1, positive=False).fit(X, T).self_influence(),
        lambda: Lasso(alpha=0.1, positive=True).fit(X, T).self_influence(),
    ),
    row(
        "Lars(n_nonzero_coefs)",
        lambda: Lars(n_nonzero_coefs=2).fit(X, T).self_influence(),
        r"use n_nonzero_coefs=3, or LassoLars",
        lambda: Lars(n_nonzero_coefs=3).fit(X, T).self_influence(),
        lambda: LassoLars(alpha=0.1).fit(X, T).self_influence(),
    ),
    row(
        "LassoLars(jitter)",
        lambda: LassoLars(jitter=0.1).fit(X, T).self_influence(),
        r"use jitter=None, and add the noise to y",
        lambda: LassoLars(alpha=0.1).fit(X, T + NOISE).self_influence(),
    ),
    row(
        "several labels",
        lambda: (
            RidgeClassifier(class_weight="balanced").fit(X, np.c_[Y, 1 - Y]).self_influence()
        ),
        r"use class_weight=None, and pass .*compute_sample_weight\('balanced', y\)",
        lambda: (
            RidgeClassifier()
            .fit(X, np.c_[Y, 1 - Y], compute_sample_weight("balanced", np.c_[Y, 1 - Y]))
            .self_influence()
        ),
    ),
    row(
        "LogisticRegressionCV(refit=False)",
        lambda: cv_search(refit=False).self_influence(),
        r"use refit=True",
        lambda: cv_search(refit=True).self_influence(),
    ),
    row(
        "SGD hinge",
        lambda: SGDClassifier(loss="hinge").fit(X, Y).polish(),
        r"use loss='squared_hinge', or SmoothHingeLinearSVC",
        lambda: SGDClassifier(loss="squared_hinge").fit(X, Y).polish(),
        lambda: SmoothHingeLinearSVC().fit(X, Y).polish(),
    ),
    row(
        "SGD epsilon",
        lambda: SGDRegressor(loss="epsilon_insensitive").fit(X, T).polish(),
        r"use loss='squared_epsilon_insensitive'",
        lambda: SGDRegressor(loss="squared_epsilon_insensitive").fit(X, T).polish(),
    ),
    row(
        "SGDClassifier l1",
        lambda: SGDClassifier(loss="log_loss", penalty="l1").fit(X, Y).polish(),
        r"use penalty='l2', or LogisticRegression with l1_ratio",
        lambda: SGDClassifier(loss="log_loss", penalty="l2").fit(X, Y).polish(),
        lambda: LogisticRegression(l1_ratio=1, solver="liblinear").fit(X, Y).polish(),
    ),
    row(
        "SGDRegressor l1",
        lambda: SGDRegressor(penalty="elasticnet").fit(X, T).polish(),
        r"use penalty='l2', or ElasticNet",
        lambda: SGDRegressor(penalty="l2").fit(X, T).polish(),
        lambda: ElasticNet(alpha=0.01).fit(X, T).polish(),
    ),
    row(
        "SGD early stopping",
        lambda: SGDRegressor(early_stopping=True).fit(X, T).polish(),
        r"use early_stopping=False",
        lambda: SGDRegressor(early_stopping=False).fit(X, T).polish(),
    ),
    row(
        "crammer_singer",
        lambda: LinearSVC(multi_class="crammer_singer").fit(X, THREE).self_influence(),
        r"use multi_class='ovr'",
        lambda: LinearSVC(multi_class="ovr", tol=1e-8).fit(X, THREE).self_influence(),
    ),
    row(
        "LinearSVC l1",
        lambda: LinearSVC(penalty="l1", dual=False).fit(X, Y).self_influence(),
        r"use penalty='l2'",
        lambda: LinearSVC(penalty="l2", dual=False, tol=1e-8).fit(X, Y).self_influence(),
    ),
    row(
        "KernelRidge(alpha=0)",
        lambda: KernelRidge(alpha=0, kernel="rbf").fit(X, T).self_influence(),
        r"use a positive alpha",
        lambda: KernelRidge(alpha=0.1, kernel="rbf").fit(X, T).self_influence(),
    ),
    # Losses without curvature.
    row(
        "LinearSVC hinge",
        lambda: hinge().polish(),
        r"use loss='squared_hinge', or smooth\(\)",
        lambda: LinearSVC(loss="squared_hinge").fit(X, Y).polish(),
        lambda: hinge().smooth().polish(),
    ),
    row(
        "LinearSVR",
        lambda: LinearSVR(max_iter=100_000).fit(X, T).polish(),
        r"use loss='squared_epsilon_insensitive'",
        lambda: LinearSVR(loss="squared_epsilon_insensitive").fit(X, T).polish(),
    ),
    row(
        "SVC",
        lambda: SVC().fit(X, Y).polish(),
        r"Use smooth\(\)",
        lambda: SVC().fit(X, Y).smooth().polish(),
    ),
    row(
        "SVR",
        lambda: SVR().fit(X, T).polish(),
        r"Use skinfluence\.kernel_ridge\.KernelRidge",
        lambda: KernelRidge(kernel="rbf").fit(X, T).polish(),
    ),
    row(
        "smooth of a smooth model",
        lambda: LinearSVC().fit(X, Y).smooth(),
        r"call its methods, or fit with loss='hinge'",
        lambda: LinearSVC(tol=1e-8).fit(X, Y).self_influence(),
        lambda: hinge().smooth(),
    ),
    # Dual coefficients.
    row(
        "dfbetas of a kernel model",
        lambda: KernelRidge(kernel="rbf").fit(X, T).dfbetas(),
        r"use influence_summary, influence_functional or leave_out_params",
        lambda: KernelRidge(kernel="rbf").fit(X, T).influence_summary(),
        lambda: KernelRidge(kernel="rbf").fit(X, T).influence_functional(np.ones(60)),
        lambda: KernelRidge(kernel="rbf").fit(X, T).leave_out_params(),
    ),
    row(
        "dfbetas of SVC",
        lambda: SVC().fit(X, Y).dfbetas(),
        r"use influence_functional or leave_out_params",
        lambda: SVC().fit(X, Y).influence_functional(np.ones(61)),
        lambda: SVC().fit(X, Y).leave_out_params([[0]]),
    ),
    row(
        "samples of a kernel model",
        lambda: KernelRidge(kernel="rbf").fit(X, T).influence_params(X, T),
        r"leave out X and y, or use influence_loss, influence_prediction or "
        r"influence_functional",
        lambda: KernelRidge(kernel="rbf").fit(X, T).influence_params(),
        lambda: KernelRidge(kernel="rbf").fit(X, T).influence_loss(X, T),
        lambda: KernelRidge(kernel="rbf").fit(X, T).influence_prediction(X),
    ),
    row(
        "perturbation of a function",
        lambda: function_kernel().influence_perturbation(X, T, index=0),
        r"use 'linear', 'rbf', 'poly' or 'sigmoid'",
        *(
            lambda kernel=kernel: (
                KernelRidge(kernel=kernel, coef0=0.1, gamma=0.01)
                .fit(X, T)
                .influence_perturbation(X, T, index=0)
            )
            for kernel in ("linear", "rbf", "poly", "sigmoid")
        ),
    ),
    row(
        "more rows of a precomputed kernel",
        lambda: SVC(kernel="precomputed").fit(X @ X.T, Y).add_samples(X @ X.T, Y),
        r"Fit again on the larger K",
        lambda: SVC(kernel="precomputed").fit(np.r_[X, X] @ np.r_[X, X].T, np.r_[Y, Y]),
    ),
    row(
        "other rows of a kernel model",
        lambda: KernelRidge().fit(X, T).set_training_data(X + 1, T),
        r"Pass those, or fit again for other data",
        lambda: KernelRidge().fit(X, T).set_training_data(X, T).self_influence(),
        lambda: KernelRidge().fit(X + 1, T).self_influence(),
    ),
    # Training data.
    row(
        "dropped data",
        lambda: without(Ridge().fit(X, T)).self_influence(),
        r"Call set_training_data\(X, y, sample_weight\)",
        lambda: without(Ridge().fit(X, T)).set_training_data(X, T, None).self_influence(),
    ),
    row(
        "partial_fit",
        lambda: SGDRegressor().partial_fit(X, T).self_influence(),
        r"call fit, or skinfluence\.from_fitted\(estimator, X, y\)",
        lambda: SGDRegressor().fit(X, T).polish().self_influence(),
        lambda: from_fitted(SGDRegressor().partial_fit(X, T), X, T).polish().self_influence(),
    ),
    row(
        "balanced weights of unknown data",
        lambda: from_fitted(balanced()).sample_loss(X, Y),
        r"Call set_training_data",
        lambda: from_fitted(balanced()).set_training_data(X, Y).sample_loss(X, Y),
    ),
    row(
        "X alone",
        lambda: from_fitted(balanced(), None, Y),
        r"pass X too, or neither",
        lambda: from_fitted(balanced(), X, Y),
        lambda: from_fitted(balanced()),
    ),
    row(
        "a search without a refit",
        lambda: from_fitted(grid(refit=False), X, T),
        r"fit obj\.estimator with obj\.best_params_ and pass that, or use refit=True",
        lambda: from_fitted(
            grid(refit=False).estimator.set_params(**grid(refit=False).best_params_).fit(X, T)
        ),
        lambda: from_fitted(grid(refit=True), X, T).self_influence(),
    ),
    row(
        "balanced weights of a class without weight",
        lambda: weightless("balanced").self_influence(),
        r"Give weights as numbers, or drop the class",
        lambda: weightless({0: 1.0, 1: 2.0, 2: 1.0}).self_influence(),
        lambda: LogisticRegression().fit(X[THREE > 0], THREE[THREE > 0]).self_influence(),
    ),
    row(
        "negative weights",
        lambda: LogisticRegression().fit(X, Y, np.r_[-0.1, np.ones(59)]).self_influence(),
        r"Use weights of at least 0",
        lambda: LogisticRegression().fit(X, Y, np.r_[0.0, np.ones(59)]).self_influence(),
    ),
    row(
        "scikit-learn's own estimator",
        lambda: rank_label_errors(plain(), strategy="self_influence"),
        r"of skinfluence, alone or as the last step of a pipeline.*"
        r"skinfluence\.from_fitted\(estimator, X, y\)",
        lambda: rank_label_errors(LogisticRegression().fit(X, Y), strategy="self_influence"),
        lambda: rank_label_errors(from_fitted(plain(), X, Y), strategy="self_influence"),
    ),
    row(
        "a pipeline of scikit-learn's own",
        lambda: make_pipeline(StandardScaler(), plain()).self_influence(),
        r"estimator of skinfluence in its place; if.*from_fitted\(pipe, X, y\)",
        lambda: make_pipeline(LogisticRegression()).fit(X, Y).self_influence(),
        lambda: from_fitted(sk_pipeline(plain()).fit(X, Y), X, Y).self_influence(),
    ),
    # Convergence.
    row(
        "far from the optimum",
        lambda: early().self_influence(),
        r"Call polish\(\) or refit with a smaller tol or a larger max_iter",
        lambda: early().polish().self_influence(),
        lambda: LogisticRegression(tol=1e-8, max_iter=10_000).fit(X, Y).self_influence(),
    ),
    row(
        "another support",
        lambda: Lasso(alpha=0.3, max_iter=1, tol=1.0).fit(TWICE, T).self_influence(),
        r"Call polish\(\) or refit with a smaller tol or a larger max_iter",
        lambda: Lasso(alpha=0.3, max_iter=1, tol=1.0).fit(X, T).polish().self_influence(),
        lambda: Lasso(alpha=0.3, tol=1e-10).fit(X, T).self_influence(),
    ),
    row(
        "polish too short",
        lambda: early().polish(max_iter=1),
        r"Raise max_iter",
        lambda: early().polish(max_iter=50),
    ),
    row(
        "SmoothHinge too short",
        lambda: SmoothHingeLinearSVC(max_iter=1).fit(X, Y),
        r"Raise max_iter, scale the features, or choose a higher temperature",
        lambda: SmoothHingeLinearSVC(max_iter=200).fit(X, Y),
    ),
    # Singular and non-finite Hessians.
    row(
        "a feature twice",
        lambda: LogisticRegression(C=np.inf, max_iter=1000).fit(TWICE, Y).self_influence(),
        r"Drop the features concerned or add a penalty",
        lambda: LogisticRegression(C=np.inf, tol=1e-8).fit(X, Y).self_influence(),
        lambda: LogisticRegression(C=1.0, tol=1e-8).fit(TWICE, Y).self_influence(),
    ),
    row(
        "the same with conjugate gradients",
        lambda: infinite().self_influence(hessian_solver="cg"),
        r"drop linearly dependent features or add a penalty",
        lambda: LogisticRegression(C=1.0).fit(TWICE, Y).self_influence(hessian_solver="cg"),
    ),
    row(
        "a prediction of zero",
        lambda: identity(alpha=0, fit_intercept=False).polish(),
        r"Fit with link='log', or with an intercept",
        lambda: identity(alpha=0, fit_intercept=False, link="log").polish(),
        lambda: identity(alpha=0).polish(),
    ),
    row(
        "dependent features and a perturbation",
        lambda: LinearRegression().fit(TWICE, T).influence_perturbation(X, T, index=0),
        r"drop features, or use Ridge|features",
        lambda: LinearRegression().fit(X, T).influence_perturbation(X, T, index=0),
        lambda: Ridge().fit(TWICE, T).influence_perturbation(TWICE, T, index=0),
    ),
    # Solvers.
    row(
        "cg of a loss that is not convex",
        lambda: identity().self_influence(hessian_solver="cg"),
        r"use 'cholesky'",
        lambda: identity().self_influence(hessian_solver="cholesky"),
    ),
    row(
        "woodbury without a penalty",
        lambda: Lasso(alpha=0.1).fit(X, T).self_influence(hessian_solver="woodbury"),
        r"use 'cholesky' or 'cg'",
        lambda: Lasso(alpha=0.1).fit(X, T).self_influence(hessian_solver="cholesky"),
        lambda: Lasso(alpha=0.1).fit(X, T).self_influence(hessian_solver="cg"),
    ),
    row(
        "cholesky of a kernel model",
        lambda: SVC().fit(X, Y).self_influence(hessian_solver="cholesky"),
        r"use 'auto' or 'woodbury'",
        lambda: SVC().fit(X, Y).self_influence(hessian_solver="auto"),
        lambda: SVC().fit(X, Y).self_influence(hessian_solver="woodbury"),
    ),
    row(
        "cg on dask arrays",
        lambda: dask(LogisticRegression(tol=1e-8)).self_influence(hessian_solver="cg"),
        r"use 'auto' or 'cholesky', or compute\(\)",
        lambda: dask(LogisticRegression(tol=1e-8)).self_influence(hessian_solver="auto"),
        lambda: dask(LogisticRegression(tol=1e-8)).self_influence(hessian_solver="cholesky"),
    ),
    # Dask.
    row(
        "what dask arrays are not for",
        lambda: dask(LogisticRegression()).influence_perturbation(DX[:1], DY[:1], index=0),
        r"call compute\(\) on a part of the rows and give that to set_training_data",
        lambda: (
            dask(LogisticRegression())
            .set_training_data(DX[:30].compute(), DY[:30].compute())
            .influence_perturbation(DX[:1].compute(), DY[:1].compute(), index=0)
        ),
    ),
    row(
        "a hinge on dask arrays",
        lambda: dask(hinge()),
        r"Use loss='squared_hinge', or call compute\(\)",
        lambda: dask(LinearSVC(loss="squared_hinge")),
        lambda: hinge().set_training_data(DX[:30].compute(), DY[:30].compute()),
    ),
    row(
        "Huber on dask arrays",
        lambda: dask(HuberRegressor(), DT),
        r"compute\(\) .*, or use SGDRegressor\(loss='huber'\)",
        lambda: HuberRegressor().fit(X, T).set_training_data(DX.compute(), DT.compute()),
        lambda: dask(SGDRegressor(loss="huber"), DT),
    ),
    row(
        "an l1 penalty on dask arrays",
        lambda: dask(Lasso(alpha=0.1), DT),
        r"Use a squared penalty, without bounds, or call compute\(\)",
        lambda: dask(Ridge(), DT),
    ),
    row(
        "a kernel on dask arrays",
        lambda: dask(SVC()),
        r"compute\(\) .* or use a linear model",
        lambda: dask(LogisticRegression()),
    ),
    # Removal.
    row(
        "folds that overlap",
        lambda: ridge().leave_out_predict(cv=ShuffleSplit(3, test_size=0.5)),
        r"a splitter such as KFold|groups or a cv splitter that partition",
        lambda: ridge().leave_out_predict(cv=KFold(3)),
        lambda: ridge().leave_out_predict(LABELS),
    ),
    row(
        "groups that overlap",
        lambda: ridge().leave_out_predict([[0, 1], [1, 2]]),
        r"pass groups or a cv splitter that partition",
        lambda: ridge().leave_out_predict(LABELS),
        lambda: ridge().leave_out_predict(cv=3),
    ),
    row(
        "labels for some rows",
        lambda: ridge().leave_out_params([0, 1, 2]),
        r"Pass ",
        lambda: ridge().leave_out_params(LABELS),
    ),
    row(
        "the bound of a free intercept",
        lambda: ridge().leave_out_params(return_bound=True),
        r"Use fit_intercept=False on centred data\.",
        lambda: Ridge(fit_intercept=False).fit(X, T).leave_out_params(return_bound=True),
    ),
    row(
        "the same of logistic regression",
        lambda: LogisticRegression().fit(X, Y).leave_out_params(return_bound=True),
        r"Use fit_intercept=False on centred data, or solver='liblinear'",
        lambda: logistic(fit_intercept=False).leave_out_params(return_bound=True),
        lambda: logistic(solver="liblinear").leave_out_params(return_bound=True),
    ),
    row(
        "the bound without a penalty",
        lambda: LinearRegression().fit(X, T).leave_out_params(return_bound=True),
        r"Use a penalty and fit_intercept=False",
        lambda: Ridge(fit_intercept=False).fit(X, T).leave_out_params(return_bound=True),
    ),
    row(
        "the bound of l1",
        lambda: Lasso(alpha=0.1).fit(X, T).leave_out_params(return_bound=True),
        r"use method='exact'",
        lambda: Lasso(alpha=0.1, tol=1e-9).fit(X, T).leave_out_params(method="exact"),
    ),
    row(
        "the bound of a kernel model",
        lambda: KernelRidge().fit(X, T).leave_out_params(return_bound=True),
        r"Leave it out; leave_out_check refits",
        lambda: KernelRidge().fit(X, T).leave_out_params(),
        lambda: KernelRidge().fit(X, T).leave_out_check(n_checks=2),
    ),
    row(
        "the bound of a kernel model with a gamma that moves",
        lambda: SVC().fit(X, Y).leave_out_params(return_bound=True),
        r"Leave it out; leave_out_check refits",
        lambda: SVC().fit(X, Y).leave_out_params(),
    ),
    row(
        "the last of a class",
        lambda: logistic().remove_samples(np.flatnonzero(Y)),
        r"Keep at least one of them",
        lambda: logistic().remove_samples(np.flatnonzero(Y)[1:]),
    ),
    row(
        "predictions without a class",
        lambda: logistic().leave_out_predict(Y),
        r"Use groups that leave members of every class, or "
        r"response_method='decision_function'",
        lambda: logistic().leave_out_predict(LABELS),
        lambda: decision(logistic(), Y),
    ),
    # Arguments.
    row(
        "labels have no derivative",
        lambda: logistic().influence_prediction(X, response_method="predict"),
        r"use 'decision_function' or 'predict_proba'",
        lambda: logistic().influence_prediction(X, response_method="decision_function"),
        lambda: logistic().influence_prediction(X, response_method="predict_proba"),
    ),
    row(
        "labels of a classifier without probabilities",
        lambda: RidgeClassifier().fit(X, Y).influence_prediction(X, response_method="predict"),
        r"use 'decision_function'\.",
        lambda: (
            RidgeClassifier()
            .fit(X, Y)
            .influence_prediction(X, response_method="decision_function")
        ),
    ),
    row(
        "a response that is not there",
        lambda: ridge().influence_prediction(X, response_method="predict_proba"),
        r"use 'auto'",
        lambda: ridge().influence_prediction(X, response_method="auto"),
    ),
    row(
        "y alone",
        lambda: ridge().influence_params(None, T),
        r"pass both, or neither",
        lambda: ridge().influence_params(X, T),
        lambda: ridge().influence_params(),
    ),
    row(
        "half precision",
        lambda: ridge().influence_loss(X, T, dtype=np.float16),
        r"use float32 or float64",
        lambda: ridge().influence_loss(X, T, dtype=np.float32),
        lambda: ridge().influence_loss(X, T, dtype=np.float64),
    ),
    row(
        "an unknown solver",
        lambda: ridge().self_influence(hessian_solver="lu"),
        r"use one of 'auto', 'cholesky', 'woodbury', 'cg'",
        *(
            lambda name=name: ridge().self_influence(hessian_solver=name)
            for name in ("auto", "cholesky", "woodbury", "cg")
        ),
    ),
    row(
        "groups of the hessian kind",
        lambda: ridge().params_covariance("hessian", groups=LABELS),
        r"use 'infinitesimal_jackknife' or 'jackknife'",
        lambda: ridge().params_covariance("infinitesimal_jackknife", groups=LABELS),
        lambda: ridge().params_covariance("jackknife", groups=LABELS),
    ),
    row(
        "intervals of several targets",
        lambda: jackknife_plus_interval(Ridge().fit(X, np.c_[T, T]), X),
        r"fit one model for each of several targets",
        lambda: jackknife_plus_interval(ridge(), X),
    ),
    row(
        "several columns of targets",
        lambda: ridge().influence_loss(X, np.c_[T, T]),
        r"pass one column for each",
        lambda: ridge().influence_loss(X, T[:, None]),
    ),
    row(
        "a query outside the domain",
        lambda: identity().influence_loss(-50 * X, COUNTS + 1),
        r"Leave them out, or use influence_prediction",
        lambda: identity().influence_loss(X, COUNTS + 1),
        lambda: identity().influence_prediction(-50 * X),
    ),
    row(
        "a count below zero",
        lambda: PoissonRegressor().fit(X, COUNTS).influence_loss(X, COUNTS - 10),
        r"targets of at least 0",
        lambda: PoissonRegressor().fit(X, COUNTS).influence_loss(X, COUNTS),
    ),
]


def cv_search(refit):
    # scikit-learn 1.8 cannot fit refit=False with the attributes that are not legacy.
    old = parse_version(sklearn.__version__) < parse_version("1.9")
    return LogisticRegressionCV(
        Cs=[0.1],
        cv=2,
        refit=refit,
        l1_ratios=(0,),
        use_legacy_attributes=old and not refit,
        scoring="neg_log_loss",
    ).fit(X, Y)


def weightless(class_weight):
    clf = LogisticRegression(class_weight=class_weight, tol=1e-8)
    return clf.fit(X, THREE, np.where(THREE == 0, 0.0, 1.0))


def hinge():
    return LinearSVC(loss="hinge", max_iter=1_000_000, tol=1e-8).fit(X, Y)


def function_kernel():
    return KernelRidge(kernel=lambda a, b: float(a @ b)).fit(X, T)


def balanced():
    return sk_linear.LogisticRegression(class_weight="balanced", tol=1e-8).fit(X, Y)


def plain():
    return sk_linear.LogisticRegression(tol=1e-8).fit(X, Y)


def grid(refit):
    return GridSearchCV(sk_linear.Ridge(), {"alpha": [0.1, 1.0]}, refit=refit).fit(X, T)


def early():
    return LogisticRegression(max_iter=1).fit(X, Y)


def infinite():
    return LogisticRegression(C=np.inf, max_iter=1000).fit(TWICE, Y)


def identity(alpha=0.1, link="identity", fit_intercept=True):
    return TweedieRegressor(
        power=1.5, link=link, alpha=alpha, fit_intercept=fit_intercept
    ).fit(X, COUNTS + 1)


def ridge():
    return Ridge().fit(X, T)


def logistic(**params):
    return LogisticRegression(tol=1e-8, **params).fit(X, Y)


def decision(clf, groups):
    return clf.leave_out_predict(groups, response_method="decision_function")


def said(call):
    """Return what a call says: its error, else its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            call()
        except (ValueError, TypeError, AttributeError, np.linalg.LinAlgError) as error:
            return f"{error} {error.__cause__ or ''}"
    ours = [str(w.message) for w in caught if "sklearn" not in str(w.filename)]
    return "\n".join(ours)


@pytest.mark.parametrize("advice", ADVICE, ids=lambda advice: advice.name)
def test_advice_can_be_followed_and_helps(advice):
    assert re.search(advice.message, said(advice.meet), flags=re.DOTALL)
    for follow in advice.follow:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            warnings.simplefilter("ignore", ConvergenceWarning)
            result = follow()
        assert result is not None
        assert not re.search(advice.message, "\n".join(str(w.message) for w in caught))
