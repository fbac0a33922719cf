"""Messages about solvers, dask, removal and arguments of a call, and their remedies."""

import numpy as np
from sklearn.model_selection import KFold, ShuffleSplit

from skinfluence.kernel_ridge import KernelRidge
from skinfluence.linear_model import (
    HuberRegressor,
    Lasso,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    SGDRegressor,
)
from skinfluence.model_selection import jackknife_plus_interval
from skinfluence.svm import SVC, LinearSVC
from tests.advice import (
    COUNTS,
    DT,
    DX,
    DY,
    LABELS,
    T,
    X,
    Y,
    dask,
    decision,
    hinge,
    identity,
    logistic,
    ridge,
    row,
)

ADVICE_ON_CALLS = [
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
