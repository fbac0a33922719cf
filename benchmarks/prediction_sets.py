"""Prediction intervals and sets: the same as MAPIE's, which refits, and their coverage."""

import time
import warnings
from typing import NamedTuple

import numpy as np
from sklearn import linear_model
from sklearn.base import clone, is_classifier
from sklearn.datasets import load_diabetes, load_digits, load_wine
from sklearn.model_selection import KFold, LeaveOneOut, StratifiedKFold, train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from benchmarks._report import MissingError, Table
from skinfluence import from_fitted
from skinfluence.model_selection import jackknife_plus_interval, jackknife_plus_set

__all__ = ["BENCHMARKS"]

_LEVEL = 0.9
_N_SPLITS = 100
_RIDGE = linear_model.Ridge(alpha=0.1, solver="cholesky")
_LOGISTIC = linear_model.LogisticRegression(solver="newton-cholesky", tol=1e-10, max_iter=200)
_SCALED = make_pipeline(StandardScaler(), _LOGISTIC)
_SOFTMAX = linear_model.LogisticRegression(C=0.1, tol=1e-8, max_iter=2000)


class _Case(NamedTuple):
    """A model, its data, and the number of training samples."""

    data: str
    name: str
    model: object
    n: int


_CASES = [
    _Case("diabetes", "ridge", _RIDGE, 240),
    _Case("diabetes", "scaler, ridge", make_pipeline(StandardScaler(), _RIDGE), 240),
    _Case("diabetes", "min-max scaler, ridge", make_pipeline(MinMaxScaler(), _RIDGE), 240),
    _Case("wine, 2 columns", "logistic", _LOGISTIC, 100),
    _Case("wine, 2 columns", "scaler, logistic", _SCALED, 100),
    _Case("wine, 2 columns", "Gaussian naive Bayes", GaussianNB(), 100),
    _Case("digits", "softmax", _SOFTMAX, 200),
]
# Each of 100 splits would refit this pipeline without every row, which takes minutes.
_LONG = {"min-max scaler, ridge"}


def prediction_sets(repeats):
    """Prediction intervals and sets from one fit, and from MAPIE's refits."""
    _mapie()
    table = Table(
        "Prediction intervals and sets at level 0.9, and seconds",
        [
            "data",
            "model",
            "left out",
            "n",
            "newton differs",
            "exact differs",
            "newton s",
            "exact s",
            "MAPIE s",
            "ratio",
        ],
        notes=[
            "differs: intervals, the largest difference of an end from MAPIE's, in standard",
            "deviations of the target; sets, the number of classes that only one of both sets",
            "contains, of all samples. s: seconds for the fit and the answers on the other",
            "samples of the data (at most 300), measured once. ratio: MAPIE's time by that of",
            "method='newton', the default. MAPIE: CrossConformalRegressor(method='plus') and",
            "CrossConformalClassifier with the lac score, agg_scores='crossval'.",
        ],
    )
    for case in _CASES:
        for name, cv in (("rows", LeaveOneOut()), ("10 folds", _folds(case.model))):
            table.rows.append([case.data, case.name, name, str(case.n), *_compare(case, cv)])
    return table


def prediction_coverage(repeats):
    """Coverage and size of prediction intervals and sets over random splits."""
    table = Table(
        f"Coverage of intervals and sets at level 0.9, {_N_SPLITS} random splits",
        ["data", "model", "left out", "n", "coverage", "5 %", "95 %", "size"],
        notes=[
            "coverage: share of the samples outside the training part (at most 300) whose",
            "target is in their interval or set, mean over the splits; 5 % and 95 %:",
            "quantiles over the splits. size: mean width in standard deviations of the",
            "target, or mean number of classes. method='newton'; n training samples, drawn",
            "at random, classes in proportion.",
        ],
    )
    for case in _CASES:
        for name, cv in (("rows", None), ("10 folds", 10)):
            if cv is None and case.name in _LONG:
                continue
            cells = [f"{value:.3f}" for value in _cover(case, cv)]
            table.rows.append([case.data, case.name, name, str(case.n), *cells])
    return table


def _mapie():
    """Return MAPIE's two classes."""
    try:
        from mapie.classification import CrossConformalClassifier
        from mapie.regression import CrossConformalRegressor
    except ImportError:
        raise MissingError("MAPIE is not installed (pip install mapie)") from None
    return CrossConformalRegressor, CrossConformalClassifier


def _folds(model):
    return StratifiedKFold(10) if is_classifier(model) else KFold(10)


def _load(name):
    """Return X and y."""
    if name == "diabetes":
        return load_diabetes(return_X_y=True)
    if name == "digits":
        X, y = load_digits(return_X_y=True)
        return X / 16, y
    X, y = load_wine(return_X_y=True)
    return X[:, [0, 2]], y


def _split(case, seed):
    """Return (X, X_test, y, y_test)."""
    X, y = _load(case.data)
    labels = y if is_classifier(case.model) else None
    X, X_test, y, y_test = train_test_split(
        X, y, train_size=case.n, random_state=seed, stratify=labels
    )
    return X, X_test[:300], y, y_test[:300]


def _ours(case, X, y, X_test, **options):
    """Return the intervals or sets from one fit."""
    fitted = from_fitted(clone(case.model).fit(X, y), X, y)
    answer = jackknife_plus_set if is_classifier(case.model) else jackknife_plus_interval
    return answer(fitted, X_test, confidence_level=_LEVEL, **options)


def _theirs(case, X, y, X_test, cv):
    """Return MAPIE's intervals or sets."""
    regressor, classifier = _mapie()
    options = {"confidence_level": _LEVEL, "cv": cv}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if is_classifier(case.model):
            model = classifier(clone(case.model), conformity_score="lac", **options)
            model.fit_conformalize(X, y)
            return model.predict_set(X_test, agg_scores="crossval")[1][:, :, 0]
        model = regressor(clone(case.model), method="plus", **options)
        return model.fit_conformalize(X, y).predict_interval(X_test)[1][:, :, 0]


def _compare(case, cv):
    """Return the cells of a row: differences and times."""
    X, X_test, y, _ = _split(case, 0)
    expected, theirs = _timed(_theirs, case, X, y, X_test, cv)
    cells, seconds = [], []
    for method in ("newton", "exact"):
        found, took = _timed(_ours, case, X, y, X_test, cv=cv, method=method)
        seconds.append(took)
        if is_classifier(case.model):
            cells.append(f"{np.sum(found != expected)} of {found.size}")
        else:
            cells.append(f"{np.abs(found - expected).max() / y.std():.0e}")
    times = [f"{took:.2f}" for took in (*seconds, theirs)]
    return [*cells, *times, f"{theirs / seconds[0]:.1f}"]


def _timed(function, *arguments, **options):
    start = time.perf_counter()
    result = function(*arguments, **options)
    return result, time.perf_counter() - start


def _cover(case, cv):
    """Return (mean coverage, its quantiles, mean size) over random splits."""
    covered, size = [], []
    for seed in range(_N_SPLITS):
        X, X_test, y, y_test = _split(case, seed)
        found = _ours(case, X, y, X_test, cv=cv)
        if is_classifier(case.model):
            codes = np.searchsorted(np.unique(y), y_test)
            inside, sizes = found[np.arange(len(codes)), codes], found.sum(axis=1)
        else:
            inside = (found[:, 0] <= y_test) & (y_test <= found[:, 1])
            sizes = (found[:, 1] - found[:, 0]) / y.std()
        covered.append(inside.mean())
        size.append(sizes.mean())
    return np.mean(covered), *np.quantile(covered, [0.05, 0.95]), np.mean(size)


BENCHMARKS = {"prediction_sets": prediction_sets, "prediction_coverage": prediction_coverage}
