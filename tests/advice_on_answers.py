"""Messages of composites, moment models, processes and inspection, and their remedies."""

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.covariance import LedoitWolf
from sklearn.frozen import FrozenEstimator
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.model_selection import KFold, TimeSeriesSplit
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skinfluence import from_fitted
from skinfluence.calibration import CalibratedClassifierCV
from skinfluence.discriminant_analysis import LinearDiscriminantAnalysis
from skinfluence.ensemble import (
    BaggingRegressor,
    StackingClassifier,
    VotingClassifier,
    VotingRegressor,
)
from skinfluence.functionals import margin
from skinfluence.gaussian_process import GaussianProcessRegressor
from skinfluence.inspection import (
    LeverageDisplay,
    SearchDisplay,
    data_values,
    most_influential_set,
    rank_label_errors,
)
from skinfluence.kernel_ridge import KernelRidge
from skinfluence.linear_model import (
    LogisticRegression,
    Ridge,
    TweedieRegressor,
)
from skinfluence.model_selection import (
    FixedThresholdClassifier,
    LeaveOneOutSearchCV,
    leave_one_out_scorer,
)
from skinfluence.multioutput import ClassifierChain
from skinfluence.naive_bayes import CategoricalNB, GaussianNB
from skinfluence.pipeline import make_pipeline
from tests.advice import COUNTS, LABELS, THREE, T, X, Y, grid, hinge, logistic, ridge, row

LOGISTIC, ONES, FRAME = logistic(), np.ones(60), pd.DataFrame(X)
TWO_LABELS = np.column_stack([Y, T > 0.5]).astype(int)
TWO = np.c_[T, COUNTS]
HALVES = [(np.arange(30), np.arange(30, 60)), (np.arange(30, 60), np.arange(30))]
MASK = np.arange(60) < 5
NO_ONES = np.r_[np.flatnonzero(Y == 0), -1][:-1]
RARE = np.where(np.arange(60) == 5, 2, Y)
FIRST = np.where(np.arange(60) == 0, 3, LABELS)


def soft(y=Y):
    return VotingClassifier([("a", clone(LOGISTIC))], voting="soft").fit(X, y)


def behind(model, y):
    return make_pipeline(StandardScaler(), clone(model)).fit(X, y)


def mean(y=T):
    return VotingRegressor([("a", Ridge())]).fit(X, y)


def stack(cv=2):
    return StackingClassifier([("a", clone(LOGISTIC))], clone(LOGISTIC), cv=cv).fit(X, Y)


def calibrated(cv):
    return CalibratedClassifierCV(clone(LOGISTIC), cv=cv).fit(X, Y)


def bag(**params):
    return BaggingRegressor(Ridge(), 2, **{"random_state": 0, **params}).fit(X, T)


def lonely(**params):
    """Return regressors of categories, of which one sample has its own."""
    X = np.where(np.arange(60)[:, None] == 0, "lonely", np.where(Y == 1, "a", "b")[:, None])
    return VotingRegressor([("a", make_pipeline(OneHotEncoder(**params), Ridge()))]).fit(X, T)


def process(**params):
    return GaussianProcessRegressor(**{"alpha": 0.1, **params}).fit(X[:20], T[:20])


def search(scoring=None, **params):
    grid = LeaveOneOutSearchCV(logistic(), {"C": [0.1, 1.0]}, scoring=scoring, refit=False)
    return grid.set_params(**params).fit(X, Y)


def nb(**params):
    return CategoricalNB(**params).fit(np.digitize(X, [0]), Y)


def tweedie(power, method="newton", bound=True):
    model = TweedieRegressor(power=power, link="log", fit_intercept=False, tol=1e-9)
    fitted = model.fit(X, COUNTS + 1.0)
    if not bound:
        return fitted.leave_out_params([[0]], method=method)
    return fitted.leave_out_params([[0]], return_bound=True)


ADVICE_ON_ANSWERS = [
    # Composites.
    row(
        "a vector of parameters of a composite",
        lambda: soft().dfbetas(),
        r"Ask one of its models, such as estimators_\[0\], or use influence_loss",
        lambda: soft().estimators_[0].dfbetas(),
        lambda: soft().influence_loss(X, Y),
    ),
    row(
        "scores of training samples as a metric",
        lambda: soft().leave_out_metric(X, Y, scoring=leave_one_out_scorer("accuracy")),
        r"pass 'accuracy'\. .* use leave_out_score",
        lambda: soft().leave_out_metric(X, Y, scoring="accuracy", groups=LABELS),
        lambda: soft().leave_out_score(LABELS),
    ),
    row(
        "a score without a prediction",
        lambda: lonely().leave_out_score(FIRST),
        r"the scoring takes no NaN: \[0\].*Use leave_out_predict, where they are NaN",
        lambda: lonely().leave_out_predict(FIRST),
    ),
    row(
        "a category that a composite without a sample lacks",
        lambda: lonely().leave_out_predict(FIRST),
        r"handle_unknown='ignore' of OneHotEncoder takes them",
        lambda: lonely(handle_unknown="ignore").leave_out_predict(FIRST),
    ),
    row(
        "labels without a class of a composite",
        lambda: soft(RARE).leave_out_score(),
        r"groups that leave members of every class and category, or "
        r"leave_out_predict\(response_method='predict_proba'\)",
        lambda: soft().leave_out_score(LABELS),
        lambda: soft(RARE).leave_out_predict(response_method="predict_proba"),
    ),
    row(
        "the last of a class in a composite",
        lambda: soft().remove_samples(np.flatnonzero(Y)),
        r"last samples of class 1: .* Keep at least one of them",
        lambda: soft().remove_samples(np.flatnonzero(Y)[1:]),
    ),
    row(
        "a response that a composite lacks",
        lambda: soft().leave_out_predict(response_method="decision_function"),
        r"use 'predict' or 'predict_proba'",
        lambda: soft().leave_out_predict(LABELS, response_method="predict"),
        lambda: soft().leave_out_predict(LABELS, response_method="predict_proba"),
    ),
    row(
        "probabilities to first order",
        lambda: behind(soft(), RARE).leave_out_loss(X, RARE, [[5]], method="influence"),
        r"Use method='newton' or 'exact'",
        lambda: behind(soft(), RARE).leave_out_loss(X, RARE, [[0]]),
        lambda: behind(soft(), RARE).leave_out_loss(X, RARE, [[0]], method="exact"),
    ),
    row(
        "drawn rows of a warm start",
        lambda: (
            bag(random_state=None, warm_start=True)
            .set_params(n_estimators=3)
            .fit(X, T)
            .influence_prediction(X)
        ),
        r"Fit without warm_start, or with such a random_state",
        lambda: bag(random_state=None).influence_prediction(X),
        lambda: (
            bag(warm_start=True).set_params(n_estimators=3).fit(X, T).influence_prediction(X)
        ),
    ),
    row(
        "more rows for drawn ones",
        lambda: bag(random_state=None).add_samples(X[:1], T[:1]),
        r"known for an integer random_state, and without oob_score and warm_start",
        lambda: bag().add_samples(X[:1], T[:1]),
    ),
    row(
        "other rows than drawn ones",
        lambda: from_fitted(bag(), X[1:], T[1:]),
        r"pass the samples of the fit",
        lambda: from_fitted(bag(), X, T),
    ),
    row(
        "more rows for listed folds",
        lambda: stack(HALVES).add_samples(X[:1], Y[:1]),
        r"Fit it again, with cv as a number or a splitter",
        lambda: stack(2).add_samples(X[:1], Y[:1]),
        lambda: stack(KFold(2)).add_samples(X[:1], Y[:1]),
    ),
    row(
        "folds that are used up",
        lambda: calibrated(iter(HALVES)).influence_loss(X, Y),
        r"pass cv as a number, a splitter or a list of folds, and fit again",
        lambda: calibrated(HALVES).influence_loss(X, Y),
        lambda: calibrated(2).influence_loss(X, Y),
    ),
    row(
        "labels that are several of a composite",
        lambda: rank_label_errors(
            ClassifierChain(clone(LOGISTIC)).fit(X, TWO_LABELS), strategy="relabel"
        ),
        r"use 'leave_out_loss'",
        lambda: rank_label_errors(
            ClassifierChain(clone(LOGISTIC)).fit(X, TWO_LABELS), strategy="leave_out_loss"
        ),
    ),
    row(
        "a label that a composite has not seen",
        lambda: soft().influence_loss(X[:1], [7]),
        r"the labels are \[0, 1\]",
        lambda: soft().influence_loss(X[:1], [1]),
    ),
    row(
        "columns of targets of a composite",
        lambda: mean().influence_loss(X, TWO),
        r"pass one column for each target",
        lambda: mean().influence_loss(X, TWO[:, 0]),
    ),
    row(
        "a threshold on a classifier that was fitted before",
        lambda: (
            FixedThresholdClassifier(FrozenEstimator(logistic()))
            .fit(X, Y)
            .influence_loss(X, Y)
        ),
        r"Pass the classifier and the samples that it was fitted on to .*from_fitted",
        lambda: from_fitted(logistic(), X, Y).influence_loss(X, Y),
    ),
    # Moment models.
    row(
        "leverages of a moment model",
        lambda: LeverageDisplay.from_estimator(GaussianNB().fit(X, Y)),
        r"Use influence_summary, self_influence or dfbetas",
        lambda: GaussianNB().fit(X, Y).influence_summary(),
        lambda: GaussianNB().fit(X, Y).self_influence(),
        lambda: GaussianNB().fit(X, Y).dfbetas(),
    ),
    row(
        "a covariance estimator of one's own",
        lambda: (
            LinearDiscriminantAnalysis("lsqr", covariance_estimator=LedoitWolf())
            .fit(X, Y)
            .influence_prediction(X)
        ),
        r"Use shrinkage='auto' or a number",
        *(
            lambda shrinkage=shrinkage: (
                LinearDiscriminantAnalysis("lsqr", shrinkage).fit(X, Y).influence_prediction(X)
            )
            for shrinkage in ("auto", 0.1)
        ),
    ),
    row(
        "directions that are dropped",
        lambda: LinearDiscriminantAnalysis(tol=0.9).fit(X, THREE).influence_prediction(X),
        r"Use solver='lsqr' with shrinkage, or a smaller tol",
        lambda: LinearDiscriminantAnalysis("lsqr", 0.1).fit(X, THREE).influence_prediction(X),
        lambda: LinearDiscriminantAnalysis().fit(X, THREE).influence_prediction(X),
    ),
    row(
        "weights of a model that takes none",
        lambda: LinearDiscriminantAnalysis().fit(X, Y).add_samples(X[:1], Y[:1], [2.0]),
        r"leave out sample_weight, or repeat samples",
        lambda: LinearDiscriminantAnalysis().fit(X, Y).add_samples(X[:1], Y[:1]),
        lambda: LinearDiscriminantAnalysis().fit(X, Y).add_samples(X[[0, 0]], Y[[0, 0]]),
    ),
    row(
        "other samples than those of a moment model",
        lambda: from_fitted(GaussianNB().fit(X, Y), X[::-1], Y),
        r"Pass the data of the fit",
        lambda: from_fitted(GaussianNB().fit(X, Y), X, Y),
    ),
    row(
        "a search for sets of a moment model",
        lambda: most_influential_set(GaussianNB().fit(X, Y), margin(logistic(), X[[3]])),
        r"Use leave_out_params\(groups\)",
        lambda: GaussianNB().fit(X, Y).leave_out_params(LABELS),
    ),
    row(
        "labels of a moment model without a class",
        lambda: GaussianNB().fit(X, RARE).leave_out_score(),
        r"or leave_out_predict\(response_method='predict_proba'\)",
        lambda: GaussianNB().fit(X, RARE).leave_out_predict(response_method="predict_proba"),
    ),
    row(
        "the last of a class of a moment model",
        lambda: GaussianNB().fit(X, RARE).remove_samples([5]),
        r"Keep at least one of them",
        lambda: GaussianNB().fit(X, Y).remove_samples([5]),
    ),
    # Gaussian processes.
    row(
        "noise that differs",
        lambda: process(alpha=0.1 + np.arange(20) / 10).influence_loss(X[:2], T[:2]),
        r"use alpha=1e-10 and a WhiteKernel",
        lambda: process(alpha=1e-10, kernel=RBF() + WhiteKernel(0.1)).influence_loss(
            X[:2], T[:2]
        ),
    ),
    row(
        "the optimum of a process in standard units",
        lambda: process(normalize_y=True).polish(),
        r"Use the influence and leave_out methods, or normalize_y=False",
        lambda: process(normalize_y=True).influence_loss(X[:2], T[:2]),
        lambda: process(normalize_y=True).leave_out_loss(X[:2], T[:2]),
        lambda: process(normalize_y=False).polish(),
    ),
    row(
        "weights of a process in standard units",
        lambda: process(normalize_y=True).set_training_data(X[:20], T[:20], np.arange(20.0)),
        r"leave out sample_weight, or repeat samples",
        lambda: process(normalize_y=True).set_training_data(X[:20], T[:20]),
    ),
    row(
        "first-order removal from a process in standard units in place",
        lambda: process(normalize_y=True).remove_samples([0], method="influence"),
        r"use method='exact' or 'newton'",
        lambda: process(normalize_y=True).remove_samples([0], method="exact"),
        lambda: process(normalize_y=True).remove_samples([0], method="newton"),
    ),
    row(
        "the bound of a closed form",
        lambda: process(normalize_y=True).leave_out_params(return_bound=True),
        r"is the refit, and needs no bound\. Leave it out",
        lambda: process(normalize_y=True).leave_out_params(),
    ),
    row(
        "other samples than those of a process",
        lambda: from_fitted(process(normalize_y=True), X[:20], T[20:40]),
        r"Pass the data of the fit",
        lambda: from_fitted(process(normalize_y=True), X[:20], T[:20]),
    ),
    row(
        "a process behind a step",
        lambda: make_pipeline(StandardScaler(), process()).fit(X, T).influence_loss(X, T),
        r"use KernelRidge with kernel='rbf'.*leave_out_\*\) do not need it",
        lambda: (
            make_pipeline(StandardScaler(), KernelRidge(kernel="rbf"))
            .fit(X, T)
            .influence_loss(X, T)
        ),
        lambda: (
            make_pipeline(StandardScaler(), process()).fit(X, T).leave_out_loss(X, T, [[0]])
        ),
    ),
    # Groups and removal.
    row(
        "a mask as groups",
        lambda: ridge().leave_out_params(MASK),
        r"Pass groups=\[np\.flatnonzero\(mask\)\].* or groups=mask\.astype\(int\)|groups=",
        lambda: ridge().leave_out_params([np.flatnonzero(MASK)]),
        lambda: ridge().leave_out_params(MASK.astype(int)),
    ),
    row(
        "a slice as a group",
        lambda: ridge().leave_out_params([slice(0, 5)]),
        r"np\.arange\(60\)\[slice\(0, 5, None\)\]",
        lambda: ridge().leave_out_params([np.arange(60)[slice(0, 5, None)]]),
    ),
    row(
        "one group without brackets",
        lambda: ridge().leave_out_params([3, [5]]),
        r"for one group write \[\[3, 5\]\], and for a sample alone \[\[3\]\]",
        lambda: ridge().leave_out_params([[3, 5]]),
        lambda: ridge().leave_out_params([[3]]),
    ),
    row(
        "a sample without a label of a group",
        lambda: ridge().leave_out_params(np.r_[np.nan, LABELS[1:]]),
        r"give every sample a label\. .*a label that no other sample has",
        lambda: ridge().leave_out_params(np.r_[7.0, LABELS[1:]]),
    ),
    row(
        "labels of several types",
        lambda: ridge().leave_out_params(np.array(["a", *LABELS[1:]], dtype=object)),
        r"a label of the same type",
        lambda: ridge().leave_out_params(np.array(["a", *LABELS[1:].astype(str)])),
    ),
    row(
        "groups in another order",
        lambda: (
            Ridge().fit(FRAME, T).leave_out_params(pd.Series(LABELS, index=FRAME.index[::-1]))
        ),
        r"Pass groups\.loc\[X\.index\].*or groups\.to_numpy\(\)",
        lambda: (
            Ridge()
            .fit(FRAME, T)
            .leave_out_params(pd.Series(LABELS, index=FRAME.index[::-1]).loc[FRAME.index])
        ),
        lambda: Ridge().fit(FRAME, T).leave_out_params(LABELS),
    ),
    row(
        "folds of the past",
        lambda: ridge().leave_out_params(cv=TimeSeriesSplit(3)),
        r"Use a splitter such as KFold",
        lambda: ridge().leave_out_params(cv=KFold(3)),
    ),
    row(
        "the bound of a loss that is not convex",
        lambda: tweedie(3),
        r"Use method='exact', which needs no bound",
        lambda: tweedie(3, "exact", bound=False),
        lambda: tweedie(1.5),
    ),
    # Inspection.
    row(
        "a search for sets of a model with kinks by its standard errors",
        lambda: most_influential_set(hinge(), 0, significance=0.05),
        r"Use ",
        lambda: most_influential_set(logistic(), 0, significance=0.05),
    ),
    row(
        "the standard error of a dual coefficient",
        lambda: most_influential_set(KernelRidge().fit(X, T), 0, significance=0.05),
        r"Use a functional as target, or a linear model",
        lambda: most_influential_set(ridge(), 0, significance=0.05),
    ),
    row(
        "the significance of a functional",
        lambda: most_influential_set(
            logistic(), margin(logistic(), X[[3]]), significance=0.05
        ),
        r"pass its name or index",
        lambda: most_influential_set(logistic(), "coef[x0]", significance=0.05),
        lambda: most_influential_set(logistic(), 0, significance=0.05),
    ),
    row(
        "a leverage of softmax",
        lambda: most_influential_set(
            LogisticRegression(tol=1e-8).fit(X, THREE), 0, significance=0.05, covariance="HC3"
        ),
        r"use 'HC0', 'HC1' or 'cluster'",
        lambda: most_influential_set(
            LogisticRegression(tol=1e-8).fit(X, THREE), 0, significance=0.05, covariance="HC0"
        ),
    ),
    row(
        "labels of a regressor to correct",
        lambda: data_values(ridge(), X, T, utility=["r2", "neg_mean_squared_error"]),
        r"a value is a change in one of them: pass one",
        lambda: data_values(ridge(), X, T, kind="loo", utility="r2"),
    ),
    row(
        "which parameter a display shows",
        lambda: SearchDisplay.from_estimator(grid(refit=True), param="C"),
        r"use one of \['alpha'\]",
        lambda: SearchDisplay.from_estimator(grid(refit=True), param="alpha"),
    ),
    row(
        "which metric a display shows",
        lambda: SearchDisplay.from_estimator(search(["accuracy", "roc_auc"])),
        r"pass metric, one of \['accuracy', 'roc_auc'\]",
        lambda: SearchDisplay.from_estimator(
            search(["accuracy", "roc_auc"]), metric="roc_auc"
        ),
    ),
]
