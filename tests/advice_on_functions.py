"""Messages of functionals, rankings, intervals, searches and displays, and their remedies."""

import numpy as np
from sklearn.model_selection import GridSearchCV

from skinfluence.ensemble import VotingClassifier
from skinfluence.functionals import demographic_parity, equal_opportunity, margin, probability
from skinfluence.inspection import (
    InfluenceDisplay,
    LeaveOutDisplay,
    SearchDisplay,
    data_values,
    most_influential_set,
)
from skinfluence.linear_model import LinearRegression, LogisticRegression, Ridge
from skinfluence.model_selection import (
    LeaveOneOutSearchCV,
    jackknife_plus_interval,
    jackknife_plus_set,
    leave_one_out_scorer,
)
from skinfluence.svm import SVC
from tests.advice import (
    COUNTS,
    LABELS,
    THREE,
    T,
    X,
    Y,
    logistic,
    ridge,
    row,
)

CS = {"C": [0.1, 1.0]}


def votes(voting):
    return VotingClassifier([("a", LogisticRegression(tol=1e-8))], voting=voting).fit(X, Y)


def pairs(shape):
    return SVC(decision_function_shape=shape, tol=1e-8).fit(X, THREE)


def values(**options):
    return data_values(logistic(), X, Y, random_state=0, **options)


CLUSTERS = np.arange(60) % 12


def least():
    return LinearRegression().fit(X, T)


ADVICE_ON_FUNCTIONS = [
    # Functionals.
    row(
        "one sample of several",
        lambda: margin(logistic(), X),
        r"pass X\[\[i\]\]",
        lambda: margin(logistic(), X[[3]]),
    ),
    row(
        "which label",
        lambda: probability(LogisticRegression(tol=1e-8).fit(X, THREE), X[[3]]),
        r"pass one of \[0, 1, 2\]",
        *(
            lambda label=label: probability(
                LogisticRegression(tol=1e-8).fit(X, THREE), X[[3]], label=label
            )
            for label in (0, 1, 2)
        ),
    ),
    row(
        "three groups of people",
        lambda: demographic_parity(logistic(), X, THREE),
        r"pass two distinct values",
        lambda: demographic_parity(logistic(), X, THREE > 0),
    ),
    row(
        "a label that a group lacks",
        lambda: equal_opportunity(logistic(), X, Y, Y),
        r"pass samples with this label for both groups",
        lambda: equal_opportunity(logistic(), X, Y, LABELS > 0),
    ),
    row(
        "a parameter that is not there",
        lambda: most_influential_set(ridge(), "slope"),
        r"use an index or one of coef\[x0\]",
        lambda: most_influential_set(ridge(), 0),
        lambda: most_influential_set(ridge(), "coef[x0]"),
    ),
    # Sets.
    row(
        "groups without clusters",
        lambda: most_influential_set(least(), 0, significance=0.05, groups=LABELS),
        r"groups need covariance='cluster'",
        lambda: most_influential_set(
            least(), 0, significance=0.05, groups=CLUSTERS, covariance="cluster"
        ),
    ),
    row(
        "a covariance without a test",
        lambda: most_influential_set(least(), 0, covariance="HC1"),
        r"pass its level as significance",
        lambda: most_influential_set(least(), 0, covariance="HC1", significance=0.05),
    ),
    row(
        "a threshold of a test",
        lambda: most_influential_set(least(), 0, threshold=0.5, significance=0.05),
        r"leave threshold at its default 0.0",
        lambda: most_influential_set(least(), 0, significance=0.05),
    ),
    # Data values.
    row(
        "a utility to first order",
        lambda: values(kind="influence", utility="accuracy"),
        r"Leave out utility, or use kind='loo'",
        lambda: values(kind="influence"),
        lambda: values(kind="loo", utility="accuracy"),
    ),
    row(
        "too few coalitions",
        lambda: values(n_coalitions=2),
        r"Give at least 50",
        lambda: values(n_coalitions=50),
    ),
    row(
        "too few permutations",
        lambda: values(kind="shapley", n_coalitions=100),
        r"must be at least 2 n = 120.*Give more, or use kind='banzhaf'",
        lambda: values(kind="shapley", n_coalitions=120),
        lambda: values(kind="banzhaf", n_coalitions=100),
    ),
    # Intervals and sets of labels.
    row(
        "an interval of a classifier",
        lambda: jackknife_plus_interval(logistic(), X),
        r"Use jackknife_plus_set for a classifier",
        lambda: jackknife_plus_set(logistic(), X),
    ),
    row(
        "a set of a regressor",
        lambda: jackknife_plus_set(ridge(), X),
        r"Use jackknife_plus_interval for a regressor",
        lambda: jackknife_plus_interval(ridge(), X),
    ),
    row(
        "a set of votes",
        lambda: jackknife_plus_set(votes("hard"), X),
        r"Use voting='soft' for a VotingClassifier",
        lambda: jackknife_plus_set(votes("soft"), X),
    ),
    row(
        "a set of pairs of classes",
        lambda: jackknife_plus_set(pairs("ovo"), X),
        r"use decision_function_shape='ovr'",
        lambda: jackknife_plus_set(pairs("ovr"), X),
    ),
    row(
        "influential samples of pairs of classes",
        lambda: pairs("ovo").influential_samples(X[:2]),
        r"Use decision_function_shape='ovr', or influence_prediction",
        lambda: pairs("ovr").influential_samples(X[:2]),
        lambda: pairs("ovo").influence_prediction(X[:2]),
    ),
    row(
        "influential samples of several targets",
        lambda: Ridge().fit(X, np.c_[T, COUNTS]).influential_samples(X[:2]),
        r"Pass y for the influence on the loss, or use influence_prediction",
        lambda: (
            Ridge().fit(X, np.c_[T, COUNTS]).influential_samples(X[:2], np.c_[T, COUNTS][:2])
        ),
        lambda: Ridge().fit(X, np.c_[T, COUNTS]).influence_prediction(X[:2]),
    ),
    # Searches.
    row(
        "a scorer twice",
        lambda: leave_one_out_scorer(leave_one_out_scorer("accuracy")),
        r"is leave-one-out already: pass 'accuracy'",
        lambda: leave_one_out_scorer("accuracy"),
    ),
    row(
        "several metrics for one score",
        lambda: logistic().leave_out_score(scoring=["accuracy", "roc_auc"]),
        r"call it once for each metric",
        lambda: logistic().leave_out_score(scoring="accuracy"),
        lambda: logistic().leave_out_score(scoring="roc_auc"),
    ),
    row(
        "which metric selects",
        lambda: LeaveOneOutSearchCV(
            logistic(), CS, scoring=["accuracy", "roc_auc"], refit="f1"
        ).fit(X, Y),
        r"pass the name of the metric to select by, a callable, or False",
        *(
            lambda refit=refit: LeaveOneOutSearchCV(
                logistic(), CS, scoring=["accuracy", "roc_auc"], refit=refit
            ).fit(X, Y)
            for refit in ("roc_auc", lambda results: 0, False)
        ),
    ),
    # Displays.
    row(
        "a display of several queries",
        lambda: InfluenceDisplay.from_estimator(logistic(), X[:2], Y[:2]),
        r"pass X\[\[i\]\] and y\[\[i\]\]",
        lambda: InfluenceDisplay.from_estimator(logistic(), X[[1]], Y[[1]]),
    ),
    row(
        "a display of what is no search",
        lambda: SearchDisplay.from_estimator(logistic()),
        r"pass a fitted LeaveOneOutSearchCV or GridSearchCV",
        lambda: SearchDisplay.from_estimator(LeaveOneOutSearchCV(logistic(), CS).fit(X, Y)),
        lambda: SearchDisplay.from_estimator(GridSearchCV(logistic(), CS).fit(X, Y)),
    ),
    row(
        "a display without a model",
        lambda: LeaveOutDisplay.from_estimator(logistic(), groups=Y),
        r"Use groups that leave samples of every class",
        lambda: LeaveOutDisplay.from_estimator(logistic(), groups=LABELS, n_checks=2),
    ),
]
