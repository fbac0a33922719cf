"""Models at other sample weights, and values of samples, against scikit-learn's own fits."""

import warnings
from importlib.metadata import version
from importlib.util import find_spec
from time import perf_counter

import numpy as np
from scipy.stats import spearmanr
from sklearn import linear_model as reference
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import get_scorer
from sklearn.preprocessing import scale

from benchmarks._data import labelled
from benchmarks._report import Table
from benchmarks._timing import best_of
from skinfluence.inspection import data_values
from skinfluence.linear_model import LogisticRegression, Ridge
from skinfluence.methods import get_problem

__all__ = ["BENCHMARKS"]

_SIZES = {"1,000 x 20": (1_000, 20, 200), "10,000 x 100": (10_000, 100, 40)}
# Fits by scikit-learn, which are timed one by one.
_FITS = 20


def weights(repeats):
    """Bootstrap weights: time for a vector of weights, and error, against fits."""
    table = Table(
        "Models at bootstrap weights against scikit-learn's fits, ms for each vector",
        ["problem", "model", "method", "ms", "largest error"],
        notes=[
            "Error: |parameters - tight fit| / |tight fit - parameters at weights of 1|.",
            "fit: scikit-learn with its default tolerance, from scratch; one call for all",
            "vectors otherwise, the start of it included.",
        ],
    )
    rng = np.random.default_rng(0)
    for size, (n, d, m) in _SIZES.items():
        X, y = labelled(n, d)
        counts = rng.multinomial(n, np.full(n, 1 / n), size=m).astype(float)
        target = X @ rng.standard_normal(d) + rng.standard_normal(n)
        models = [
            (LogisticRegression, {"max_iter": 1000}, y, {"tol": 1e-12, **_NEWTON}),
            (Ridge, {}, target, {}),
        ]
        for ours, options, y_, tight in models:
            fitted = ours(**options).fit(X, y_)
            plain = getattr(reference, ours.__name__)(**options)
            _weight_rows(table, size, fitted, plain, tight, X, y_, counts, repeats)
    return table


_NEWTON = {"solver": "newton-cholesky", "max_iter": 1000}


def _weight_rows(table, size, fitted, plain, tight, X, y, counts, repeats):
    def refits():
        return [plain.fit(X, y, sample_weight=w).coef_ for w in counts[:_FITS]]

    def moved(method):
        get_problem(fitted).forget_state()
        return fitted.reweight_params(counts, method=method)

    candidates = {"fit": refits}
    for method in ("influence", "newton", "exact"):
        candidates[method] = lambda method=method: moved(method)
    seconds = best_of(candidates, repeats)
    best = type(plain)(**plain.get_params() | tight)
    exact = []
    for w in counts[:_FITS]:
        best.fit(X, y, sample_weight=w)
        exact.append(np.append(best.coef_.ravel(), best.intercept_))
    exact = np.array(exact)
    change = np.linalg.norm(exact - fitted.params_, axis=1)
    for method, time in seconds.items():
        if method == "fit":
            found = []
            for w in counts[:_FITS]:
                plain.fit(X, y, sample_weight=w)
                found.append(np.append(plain.coef_.ravel(), plain.intercept_))
        else:
            found = moved(method)[:_FITS]
        error = np.linalg.norm(np.array(found) - exact, axis=1) / change
        each = 1e3 * time / (_FITS if method == "fit" else len(counts))
        table.rows.append(
            [size, type(plain).__name__, method, f"{each:.2f}", f"{error.max():.0e}"]
        )


def values(repeats):
    """Values of samples from coalitions: time for each, and ranks, against retraining."""
    table = Table(
        "Banzhaf values of 300 samples from 400 coalitions, breast cancer (standardised)",
        ["utility", "models", "ms for each", "Spearman r"],
        notes=[
            "Models: of data_values, and scikit-learn's LogisticRegression, fitted on the",
            "same coalitions. Times include the score. r: ranks against the latter's values.",
        ],
    )
    peer = find_spec("pydvl") is not None
    table.notes.append(
        "pyDVL: MSRBanzhafValuation on the same coalitions."
        if peer
        else "pyDVL is not installed."
    )
    X, y = load_breast_cancer(return_X_y=True)
    X, n, m = scale(X), 300, 400
    clf = LogisticRegression(max_iter=1000).fit(X[:n], y[:n])
    members = np.random.RandomState(0).random_sample((m, n)) < 0.5
    for utility in ("accuracy", "neg_log_loss", "roc_auc"):
        scorer = get_scorer(utility)
        plain = reference.LogisticRegression(max_iter=1000)
        start = perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scores = np.array(
                [scorer(plain.fit(X[:n][S], y[:n][S]), X[n:], y[n:]) for S in members]
            )
        each = 1e3 * (perf_counter() - start) / m
        retrained = [scores[S].mean() - scores[~S].mean() for S in members.T]
        rows = []
        for method in ("newton", "exact"):
            start = perf_counter()
            found = data_values(
                clf,
                X[n:],
                y[n:],
                utility=utility,
                n_coalitions=m,
                method=method,
                random_state=0,
            )
            time = 1e3 * (perf_counter() - start) / found.n_coalitions
            r = spearmanr(found.sample_values, retrained).statistic
            rows.append([utility, method, f"{time:.2f}", f"{r:.4f}"])
        rows.append([utility, "retrained", f"{each:.2f}", "1"])
        if peer:
            train, test = (X[:n], y[:n]), (X[n:], y[n:])
            found, seconds = _pydvl(plain, train, test, utility, members)
            r = spearmanr(found, retrained).statistic
            name = f"pyDVL {version('pydvl')}"
            rows.append([utility, name, f"{1e3 * seconds / m:.2f}", f"{r:.4f}"])
        table.rows += rows
    return table


def _pydvl(estimator, train, test, utility, members):
    """Return pyDVL's Banzhaf values from given coalitions, and the seconds for them."""
    from pydvl.valuation import (
        MaxUpdates,
        ModelUtility,
        MSRBanzhafValuation,
        MSRSampler,
        SupervisedScorer,
    )
    from pydvl.valuation.dataset import Dataset
    from pydvl.valuation.types import Sample

    class Given(MSRSampler):
        def generate(self, indices):
            return (Sample(None, indices[S]) for S in members)

    scorer = SupervisedScorer(utility, Dataset(*test), default=0.0)
    valuation = MSRBanzhafValuation(
        ModelUtility(estimator, scorer), is_done=MaxUpdates(members.size)
    )
    valuation.sampler = Given()
    start = perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        valuation.fit(Dataset(*train))
    seconds = perf_counter() - start
    return valuation.result.sort(key="index").values, seconds


BENCHMARKS = {"reweight": weights, "data_values": values}
