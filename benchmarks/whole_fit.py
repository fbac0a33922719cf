"""Pipelines: removal and influence of the whole fit, and of its last step, against refits."""

from functools import partial
from typing import NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.model_selection import LeaveOneOut, cross_val_score, train_test_split
from sklearn.preprocessing import PowerTransformer, RobustScaler, StandardScaler

from benchmarks._data import messages
from benchmarks._report import Table
from skinfluence import from_fitted
from skinfluence.linear_model import LogisticRegression, Ridge
from skinfluence.pipeline import make_pipeline

__all__ = ["BENCHMARKS"]

_N_ROWS = 60
_TIGHT = {"tol": 1e-12, "max_iter": 10_000, "solver": "newton-cholesky"}
# Changes below this share of the largest one are rounding, and have no sign.
_ROUNDING = 1e-9
# Targets +-t with the squared error that tells the prediction, of its size.
_TARGET = 100.0
_N_TEST = 100
_WAYS = ("last step exact", "influence", "newton", "exact")


class _Case(NamedTuple):
    """A pipeline, and the data set that it is fitted on."""

    name: str
    data: str
    steps: list
    model: object


def _logistic(C):
    return LogisticRegression(C=C, **_TIGHT)


# newton-cholesky would factorise a matrix as wide as the vocabulary; lbfgs stops early.
_WIDE_LOGISTIC = LogisticRegression(solver="newton-cg", tol=1e-13, max_iter=10_000)
_RIDGE = Ridge(solver="cholesky")
_CASES = [
    _Case("scaler, logistic C=0.01", "breast cancer", [StandardScaler()], _logistic(0.01)),
    _Case("scaler, logistic C=1", "breast cancer", [StandardScaler()], _logistic(1.0)),
    _Case("scaler, logistic C=100", "breast cancer", [StandardScaler()], _logistic(100.0)),
    _Case("robust scaler, logistic", "breast cancer", [RobustScaler()], _logistic(1.0)),
    _Case(
        "scaler, PCA(5), logistic", "breast cancer", [StandardScaler(), PCA(5)], _logistic(1.0)
    ),
    _Case("scaler, PCA(5), ridge", "diabetes", [StandardScaler(), PCA(5)], _RIDGE),
    _Case("power, ridge", "diabetes", [PowerTransformer()], _RIDGE),
    _Case(
        "imputer, scaler, ridge",
        "diabetes, 10 % missing",
        [SimpleImputer(), StandardScaler()],
        _RIDGE,
    ),
    _Case("scaler, PCA(20), logistic", "digits", [StandardScaler(), PCA(20)], _logistic(0.1)),
    _Case("tf-idf, logistic", "SMS spam", [TfidfVectorizer()], _WIDE_LOGISTIC),
]


def whole_fit(repeats):
    """Removal of rows from whole pipelines and from their last step, against refits."""
    table = Table(
        f"Relative error of the change of the predictions without one of {_N_ROWS} rows",
        ["data", "pipeline", "way", "median", "90 %", "worst", "wrong sign %"],
        notes=[
            "Error: |predicted - refit| / |refit - full fit| in the 2-norm over the raw",
            "predictions of the test samples (decision function; ridge: prediction); refit:",
            "the whole pipeline fitted again by scikit-learn's algorithm without the row.",
            f"{_N_ROWS} random training rows; 90 %: quantile over them. wrong sign: share of",
            "changes of a test sample's loss whose sign is not that of the refit. last step",
            "exact: from_fitted(pipe[-1], pipe[:-1].transform(X), y) by method exact; the",
            "others: the pipeline by each method.",
        ],
    )
    data = {case.data: _load(case.data) for case in _CASES}  # missing data are missed at once
    for case in _CASES:
        for way, error, wrong in _errors(case, *data[case.data]):
            quantiles = (np.median(error), np.quantile(error, 0.9), error.max())
            cells = [f"{value:.0e}" if value < 0.01 else f"{value:.2f}" for value in quantiles]
            table.rows.append([case.data, case.name, way, *cells, f"{100 * wrong:.1f}"])
    return table


_LOADERS = {
    "breast cancer": partial(load_breast_cancer, return_X_y=True),
    "diabetes": partial(load_diabetes, return_X_y=True),
    "diabetes, 10 % missing": partial(load_diabetes, return_X_y=True),
    "digits": partial(load_digits, return_X_y=True),
    "SMS spam": messages,
}


def _load(name):
    """Return (X_train, X_test, y_train, y_test) of a data set."""
    X, y = _LOADERS[name]()
    if name.endswith("missing"):
        rng = np.random.default_rng(0)
        X[rng.random(X.shape) < 0.1] = np.nan
    return train_test_split(X, y, test_size=_N_TEST, random_state=0)


def _errors(case, X, X_test, y, y_test):
    """Return (way, relative errors of the rows, share of wrong signs) for each way."""
    pipe = make_pipeline(*map(clone, case.steps), clone(case.model)).fit(X, y)
    rows = np.random.default_rng(0).choice(len(y), _N_ROWS, replace=False)
    asked = _Asked(X_test, y_test, getattr(pipe[-1], "classes_", None))
    raw, loss = asked.raw_of(pipe), pipe.sample_loss(X_test, y_test)
    actual, actual_loss = np.empty((_N_ROWS, raw.size)), np.empty((_N_ROWS, len(loss)))
    for i, row in enumerate(rows):
        refit = clone(pipe).fit(np.delete(X, row, axis=0), np.delete(y, row))
        actual[i] = (asked.raw_of(refit) - raw).ravel()
        actual_loss[i] = refit.sample_loss(X_test, y_test) - loss
    before = pipe[:-1]
    last = from_fitted(pipe[-1], before.transform(X), y)
    for way in _WAYS:
        if way == "influence":
            moved = np.moveaxis(pipe.influence_prediction(X_test), 1, 0)[rows]
            change = -_centred(moved.reshape(_N_ROWS, len(y_test), -1)) / len(y)
            change_loss = -pipe.influence_loss(X_test, y_test)[:, rows].T / len(y)
        elif way == "last step exact":
            there, there_loss = asked.without(last, rows, "exact", before.transform)
        else:
            there, there_loss = asked.without(pipe, rows, way)
        if way != "influence":
            change, change_loss = there - raw, there_loss - loss
        difference = np.linalg.norm(change.reshape(_N_ROWS, -1) - actual, axis=1)
        error = difference / np.linalg.norm(actual, axis=1)
        signed = np.abs(actual_loss) > _ROUNDING * np.abs(actual_loss).max()
        wrong = np.mean(np.sign(change_loss[signed]) != np.sign(actual_loss[signed]))
        yield way, error, wrong


class _Asked:
    """Test samples with every target that tells the raw prediction from losses.

    Parameters of a refit belong to its own features, so that the raw predictions are found
    from the losses of several targets: log loss of each class, or squared error of two.
    """

    def __init__(self, X, y, classes):
        self.y, self.classes = y, classes
        self.X = X
        self.targets = [-_TARGET, _TARGET] if classes is None else classes

    def raw_of(self, pipe):
        """Return the raw predictions of a pipeline, (m, K)."""
        if self.classes is None:
            return pipe.predict(self.X)[:, None]
        return _centred(pipe.decision_function(self.X).reshape(len(self.y), -1))

    def without(self, explained, rows, method, transform=np.asarray):
        """Return raw predictions (g, m, K) and losses (g, m) without each of some rows."""
        m, K = len(self.y), len(self.targets)
        X, y = transform(self.X)[np.tile(np.arange(m), K)], np.repeat(self.targets, m)
        losses = explained.leave_out_loss(X, y, [[row] for row in rows], method=method)
        losses = losses.T.reshape(len(rows), K, m)
        if self.classes is None:
            raw = (losses[:, 0] - losses[:, 1]) / (4 * _TARGET)
            return raw[..., None], (self.y - raw) ** 2
        own = losses[:, np.searchsorted(self.classes, self.y), np.arange(m)]
        if K == 2:
            return (losses[:, 0] - losses[:, 1])[..., None], own
        return _centred(-np.moveaxis(losses, 1, 2)), own


def _centred(raw):
    """Return raw predictions of several classes less their mean, which changes no answer."""
    return raw - raw.mean(axis=-1, keepdims=True) if raw.shape[-1] > 1 else raw


def whole_fit_selection(repeats):
    """Leave-one-out accuracy behind a selection of features on noise, against refits."""
    table = Table(
        "Leave-one-out accuracy, 60 samples of noise with 2,000 features",
        ["seed", "last step", "whole pipeline", "refits"],
        notes=[
            "SelectKBest(k=20), StandardScaler, LogisticRegression; the labels are random, so",
            "the expected accuracy on new samples is 1/2. last step: leave_out_score() of",
            "from_fitted(pipe[-1], pipe[:-1].transform(X), y);",
            "whole pipeline: pipe.leave_out_score(method='exact'); refits: the mean of",
            "cross_val_score(pipe, cv=LeaveOneOut()).",
        ],
    )
    for seed in range(5):
        rng = np.random.default_rng(seed)
        X, y = rng.normal(size=(60, 2000)), rng.permutation(np.repeat([0, 1], 30))
        pipe = make_pipeline(SelectKBest(k=20), StandardScaler(), _logistic(1.0)).fit(X, y)
        last = from_fitted(pipe[-1], pipe[:-1].transform(X), y)
        scores = (
            last.leave_out_score(),
            pipe.leave_out_score(method="exact"),
            cross_val_score(pipe, X, y, cv=LeaveOneOut()).mean(),
        )
        table.rows.append([seed, *(f"{score:.3f}" for score in scores)])
    return table


BENCHMARKS = {"whole_fit": whole_fit, "whole_fit_selection": whole_fit_selection}
