"""Messages about configurations, training data, fits and Hessians, and their remedies."""

import numpy as np
from sklearn.pipeline import make_pipeline as sk_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight

from skinfluence import from_fitted
from skinfluence.inspection import rank_label_errors
from skinfluence.kernel_ridge import KernelRidge
from skinfluence.linear_model import (
    ElasticNet,
    Lars,
    Lasso,
    LassoLars,
    LinearRegression,
    LogisticRegression,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
    SGDRegressor,
)
from skinfluence.pipeline import make_pipeline
from skinfluence.svm import SVC, SVR, LinearSVC, LinearSVR, SmoothHingeLinearSVC
from tests.advice import (
    NOISE,
    THREE,
    TWICE,
    T,
    X,
    Y,
    balanced,
    cv_search,
    early,
    function_kernel,
    grid,
    hinge,
    identity,
    infinite,
    plain,
    row,
    weightless,
    without,
)

ADVICE_ON_MODELS = [
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
        "SVC in a pipeline",
        lambda: make_pipeline(StandardScaler(), SVC()).fit(X, Y).influence_summary(),
        r"Use smooth\(\), of a pipeline's step pipe\[-1\]\.smooth\(\)",
        lambda: (
            make_pipeline(StandardScaler(), SVC())
            .fit(X, Y)[-1]
            .smooth()
            .polish()
            .influence_summary()
        ),
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
]
