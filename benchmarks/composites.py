"""Estimators around others: wrong labels found through them and through the plain model."""

import numpy as np
from sklearn.datasets import load_digits

from benchmarks._report import Table
from benchmarks.diagnostics import flip, frequent_words
from skinfluence.calibration import CalibratedClassifierCV
from skinfluence.inspection import rank_label_errors
from skinfluence.linear_model import LogisticRegression
from skinfluence.multiclass import OneVsRestClassifier

__all__ = ["BENCHMARKS"]

_SHARE = 0.05
_N_SEEDS = 2


def composite_label_errors(repeats):
    """Precision of flipped labels found through composites and the plain model."""
    table = Table(
        f"Flipped labels among the k most suspicious samples, mean over {_N_SEEDS} seeds",
        ["data", "model", "k = half", "k = all"],
        notes=[
            "Precision: share of flipped labels among the first k of rank_label_errors, k is",
            f"half of the number of flipped labels, or all of it. {100 * _SHARE:.0f} % of the",
            "labels are flipped. digits: every third image, pixels / 16, C = 0.1. SMS spam:",
            "every fourth message, tf-idf of the 300 most frequent words, C = 1.",
            "calibrated: CalibratedClassifierCV(cv=3).",
        ],
    )
    for name, X, y, C in list(_problems()):  # missing data are missed at once
        for model, make in _MODELS.items():
            runs = [_precisions(make(C), X, y, seed) for seed in range(_N_SEEDS)]
            cells = [f"{value:.3f}" for value in np.mean(runs, axis=0)]
            table.rows.append([name, model, *cells])
    return table


def _problems():
    X, y = load_digits(return_X_y=True)
    yield "digits", X[::3] / 16, y[::3], 0.1
    X, y = frequent_words()
    yield "SMS spam", X[::4], y[::4], 1.0


def _logistic(C):
    return LogisticRegression(C=C, tol=1e-6, max_iter=1000)


_MODELS = {
    "logistic": _logistic,
    "one-vs-rest": lambda C: OneVsRestClassifier(_logistic(C)),
    "calibrated": lambda C: CalibratedClassifierCV(_logistic(C), cv=3),
    "calibrated by temperature": lambda C: CalibratedClassifierCV(
        _logistic(C), cv=3, method="temperature"
    ),
}


def _precisions(clf, X, y, seed):
    """Return the precision at both k."""
    labels, changed = flip(y, _SHARE, seed)
    ranked, k = rank_label_errors(clf.fit(X, labels)), len(changed)
    return [np.isin(ranked[:size], changed).mean() for size in (k // 2, k)]


BENCHMARKS = {"composite_label_errors": composite_label_errors}
