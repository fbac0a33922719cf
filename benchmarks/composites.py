"""Estimators around others: wrong labels found through them and through the plain model."""

import numpy as np
from sklearn import calibration, linear_model
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedKFold

from benchmarks._report import Table
from benchmarks.diagnostics import flip, frequent_words
from skinfluence.calibration import CalibratedClassifierCV
from skinfluence.inspection import rank_label_errors
from skinfluence.linear_model import LogisticRegression
from skinfluence.multiclass import OneVsRestClassifier

__all__ = ["BENCHMARKS"]

_SHARE = 0.05
_N_SEEDS = 3


def composite_label_errors(repeats):
    """Precision of flipped labels found through composites and the plain model."""
    table = Table(
        f"Flipped labels among the k most suspicious samples, mean over {_N_SEEDS} seeds",
        ["data", "model", "k = half", "k = all", "average"],
        notes=[
            "Precision: share of flipped labels among the first k of rank_label_errors, k is",
            f"half of the number of flipped labels, or all of it. {100 * _SHARE:.0f} % of the",
            "labels are flipped. average: average precision over all k.",
            "digits: every third image, pixels / 16, C = 0.1. SMS spam:",
            "every fourth message, tf-idf of the 300 most frequent words, C = 1.",
            "calibrated: CalibratedClassifierCV(cv=3). by refits: the same scores from",
            "scikit-learn's fits without each sample, with the folds as drawn.",
        ],
    )
    for name, X, y, C in list(_problems()):  # missing data are missed at once
        for model, score in _MODELS.items():
            runs = [_precisions(score, C, X, y, seed) for seed in range(_N_SEEDS)]
            cells = [f"{value:.3f}" for value in np.mean(runs, axis=0)]
            table.rows.append([name, model, *cells])
    return table


def _problems():
    X, y = load_digits(return_X_y=True)
    yield "digits", X[::3] / 16, y[::3], 0.1
    X, y = frequent_words()
    yield "SMS spam", X[::4], y[::4], 1.0


_LOGISTIC = {"tol": 1e-6, "max_iter": 1000}


def _ranked(around):
    """Return a function of (C, X, y) for scores by rank_label_errors."""

    def score(C, X, y):
        model = around(LogisticRegression(C=C, **_LOGISTIC)).fit(X, y)
        return rank_label_errors(model, return_scores=True)[1]

    return score


def _by_refits(C, X, y):
    """Return the scores through sigmoids from scikit-learn's fits without each sample."""
    model = linear_model.LogisticRegression(C=C, **_LOGISTIC)
    folds, scores = list(StratifiedKFold(3).split(X, y)), np.empty(len(y))
    for row, label in enumerate(y):
        kept = np.arange(len(y)) != row
        rest = [[part[part != row] - (part[part != row] > row) for part in f] for f in folds]
        refit = calibration.CalibratedClassifierCV(model, cv=rest).fit(X[kept], y[kept])
        if len(refit.classes_) == 2:
            log_proba = np.log(refit.predict_proba(X[[row]])[0])
        else:  # the members' losses
            members = [one.estimator for one in refit.calibrated_classifiers_]
            log_proba = sum(m.predict_log_proba(X[[row]])[0] for m in members)
        given = refit.classes_ == label
        scores[row] = log_proba[~given].max() - log_proba[given][0]
    return scores


_MODELS = {
    "logistic": _ranked(lambda model: model),
    "one-vs-rest": _ranked(OneVsRestClassifier),
    "calibrated": _ranked(lambda model: CalibratedClassifierCV(model, cv=3)),
    "calibrated, by refits": _by_refits,
    "calibrated by temperature": _ranked(
        lambda model: CalibratedClassifierCV(model, cv=3, method="temperature")
    ),
}


def _precisions(score, C, X, y, seed):
    """Return the precision at both k, and the average precision."""
    labels, changed = flip(y, _SHARE, seed)
    ranked, k = np.argsort(-score(C, X, labels), kind="stable"), len(changed)
    is_changed = np.isin(ranked, changed)
    average = average_precision_score(is_changed, -np.arange(len(y)))
    return [is_changed[: k // 2].mean(), is_changed[:k].mean(), average]


BENCHMARKS = {"composite_label_errors": composite_label_errors}
