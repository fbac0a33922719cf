"""Time of removals through steps that are fitted again, against refits by scikit-learn."""

import time

import numpy as np
from joblib import Parallel, delayed, parallel_config
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_digits, make_classification, make_regression
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectKBest
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.validation import check_is_fitted, validate_data

from benchmarks._data import messages
from benchmarks._report import Table
from benchmarks._timing import best_of
from skinfluence import from_fitted

__all__ = ["BENCHMARKS"]

_N_ROWS = 1000
_CORES = 2


class Winsorizer(TransformerMixin, BaseEstimator):
    """A transformer that no library knows: values beyond two quantiles become these."""

    def __init__(self, share=0.02):
        self.share = share

    def fit(self, X, y=None):
        X = validate_data(self, X)
        self.low_, self.high_ = np.quantile(X, [self.share, 1 - self.share], axis=0)
        return self

    def transform(self, X):
        check_is_fitted(self)
        return np.clip(validate_data(self, X, reset=False), self.low_, self.high_)


def _tabular():
    return make_classification(
        _N_ROWS, 20, n_informative=10, n_redundant=0, random_state=0, flip_y=0.1
    )


def _regression():
    return make_regression(_N_ROWS, 20, noise=10.0, random_state=0)


def _mixed():
    """Return 18 numbers and 2 categories, and the targets."""
    X, y = _tabular()
    X[:, 18:] = np.floor(3 * np.abs(X[:, 18:]))
    return X, y


def _digits():
    X, y = load_digits(return_X_y=True)
    return X[:_N_ROWS] / 16.0, y[:_N_ROWS]


def _texts():
    texts, labels = messages()
    return texts[:_N_ROWS], labels[:_N_ROWS]


_CASES = [
    ("1,000 x 20", "best 5, logistic", _tabular, [SelectKBest(k=5)], LogisticRegression()),
    ("1,000 x 20", "best 10, logistic", _tabular, [SelectKBest(k=10)], LogisticRegression()),
    ("1,000 x 20", "unknown, logistic", _tabular, [Winsorizer()], LogisticRegression()),
    ("1,000 x 20", "unknown, ridge", _regression, [Winsorizer()], Ridge()),
    (
        "1,000 x 20",
        "columns, logistic",
        _mixed,
        [
            make_column_transformer(
                (OneHotEncoder(handle_unknown="ignore"), [18, 19]), remainder=StandardScaler()
            )
        ],
        LogisticRegression(),
    ),
    (
        "1,000 x 20",
        "scaler, PCA(10), logistic",
        _tabular,
        [StandardScaler(), PCA(10)],
        LogisticRegression(),
    ),
    ("digits, 1,000 x 64", "unknown, softmax", _digits, [Winsorizer()], LogisticRegression()),
    ("SMS spam, 1,000", "tf-idf, logistic", _texts, [TfidfVectorizer()], LogisticRegression()),
]


def whole_cost(repeats):
    """Exact leave-one-out through steps that are fitted again, against refits."""
    table = Table(
        f"Pipelines without each of {_N_ROWS:,} rows (ms a row)",
        [
            "data",
            "pipeline",
            "steps",
            "refit",
            "exact",
            "ratio",
            "refit, 2 cores",
            "exact, 2 cores",
            "ratio, 2 cores",
        ],
        notes=[
            "steps: fit_transform of the steps without the row, which both sides need; refit:",
            "fit of the pipeline by scikit-learn with its defaults; exact: leave_out_params",
            "with method='exact', accurate to rounding; processor times on one core.",
            "2 cores: wall time in two processes, which were started before. unknown: a",
            "transformer with fit and transform, defined in the benchmark, that clips each",
            "column at two quantiles. best: SelectKBest; 430 rows change the choice of",
            "10 features, whose scores are close, and none the choice of 5. columns: a",
            "ColumnTransformer of a OneHotEncoder and a StandardScaler.",
        ],
    )
    groups = [[row] for row in range(_N_ROWS)]
    loaded = [load() for _, _, load, *_ in _CASES]  # missing data are missed at once
    for (data, name, _, steps, model), (X, y) in zip(_CASES, loaded, strict=True):
        plain = make_pipeline(*map(clone, steps), model).fit(X, y)
        explained = from_fitted(plain, X, y)
        before = plain[:-1]

        def exact(explained=explained):
            explained.leave_out_params(groups, method="exact")

        def refit(plain=plain, X=X, y=y):
            _refits(plain, X, y, range(_N_ROWS))

        def fit_steps(before=before, X=X, y=y):
            for row in range(_N_ROWS):
                clone(before).fit_transform(np.delete(X, row, axis=0), np.delete(y, row))

        def exact_apart(explained=explained):
            with parallel_config(backend="loky", n_jobs=_CORES):
                explained.leave_out_params(groups, method="exact")

        def refit_apart(plain=plain, X=X, y=y):
            parts = np.array_split(np.arange(_N_ROWS), 4 * _CORES)
            Parallel(_CORES)(delayed(_refits)(plain, X, y, part) for part in parts)

        exact_apart()  # starts the processes
        one_core = {"steps": fit_steps, "refit": refit, "exact": exact}
        two_cores = {"refit": refit_apart, "exact": exact_apart}
        cpu = best_of(one_core, repeats, time.process_time).values()
        wall = best_of(two_cores, repeats).values()
        cells = [1e3 * seconds / _N_ROWS for seconds in (*cpu, *wall)]
        shown = [f"{cell:.2f}" for cell in cells]
        one, two = cells[1] / cells[2], cells[3] / cells[4]
        table.rows.append([data, name, *shown[:3], f"{one:.1f}", *shown[3:], f"{two:.1f}"])
    return table


def _refits(plain, X, y, rows):
    """Fit a pipeline without each row."""
    for row in rows:
        clone(plain).fit(np.delete(X, row, axis=0), np.delete(y, row))


def scaler_cost(repeats):
    """Influence and exact removal through a scaler, against the same scaler frozen."""
    table = Table(
        "Pipelines of a StandardScaler and logistic regression, 10,000 x 100 (ms)",
        ["method", "frozen", "whole fit", "ratio"],
        notes=[
            "influence_loss: 1,000 queries; the others: method='exact', all rows. frozen: the",
            "scaler is in a FrozenEstimator. Processor times, after from_fitted.",
        ],
    )
    X, y = make_classification(10_000, 100, n_informative=30, random_state=0)
    fixed = FrozenEstimator(StandardScaler().fit(X))
    plain = {
        name: make_pipeline(step, LogisticRegression()).fit(X, y)
        for name, step in (("frozen", fixed), ("whole fit", StandardScaler()))
    }
    methods = {
        "influence_loss": lambda pipe: pipe.influence_loss(X[:1000], y[:1000]),
        "leave_out_score": lambda pipe: pipe.leave_out_score(method="exact"),
        "leave_out_params": lambda pipe: pipe.leave_out_params(method="exact"),
    }
    for name, method in methods.items():
        seconds = dict.fromkeys(plain, np.inf)
        for _ in range(repeats):
            for kind, fitted in plain.items():
                pipe = from_fitted(fitted, X, y)  # nothing is known from the call before
                start = time.process_time()
                method(pipe)
                seconds[kind] = min(seconds[kind], time.process_time() - start)
        frozen, whole = seconds.values()
        table.rows.append(
            [name, f"{1e3 * frozen:.0f}", f"{1e3 * whole:.0f}", f"{whole / frozen:.2f}"]
        )
    return table


BENCHMARKS = {"whole_cost": whole_cost, "scaler_cost": scaler_cost}
