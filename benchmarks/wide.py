"""Sparse models with many more features than rows."""

import numpy as np
from scipy import sparse
from scipy.linalg import lapack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_union

from benchmarks._data import messages
from benchmarks._report import Table
from benchmarks._timing import best_of, peak_memory
from skinfluence import from_fitted
from skinfluence.linear_model import LogisticRegression
from skinfluence.pipeline import problem_of

__all__ = ["BENCHMARKS"]

GIB = 2**30

N_QUERIES, N_INFLUENTIAL = 1_000, 10
# Rows of which the answer is taken from dense arrays too, with the features of three or more.
SUBSET = 300


def wide_text(repeats):
    """Influence of all SMS messages on 1,000 of them, words and character n-grams."""
    X, y = _messages()
    n, d = X.shape
    table = Table(
        f"SMS spam, tf-idf of words and character n-grams: {n:,} x {d:,}, {X.nnz:,} entries; "
        f"{N_QUERIES:,} queries (s, GiB)",
        ["what", "s", "ratio", "ratio to quick", "peak"],
        notes=[
            "floor: the first three; quick floor: the same with the products of this package,",
            "in which features of many rows are dense columns. Methods count their",
            "factorisation. Peak: beyond the data, results included.",
        ],
    )
    clf = LogisticRegression(C=10.0, solver="newton-cg", tol=1e-8, max_iter=1_000).fit(X, y)
    queries = X[:N_QUERIES], y[:N_QUERIES]

    def fresh(method, *arguments):
        problem_of(clf).forget_state()
        return getattr(clf, method)(*queries, *arguments)

    methods = {
        "influence_loss": lambda: fresh("influence_loss"),
        f"influential_samples, {N_INFLUENTIAL}": lambda: fresh(
            "influential_samples", N_INFLUENTIAL
        ),
    }
    floor = _floor(clf, X)
    seconds = best_of(floor | methods, min(repeats, 3))
    X_X, quick, *others = floor
    rest = sum(seconds[name] for name in others)
    floors = [seconds[X_X] + rest, seconds[quick] + rest]
    for name in floor:
        table.rows.append([name, f"{seconds[name]:.2f}", "", "", ""])
    table.rows.append(["floor", f"{floors[0]:.2f}", "1.00", "", ""])
    table.rows.append(["quick floor", f"{floors[1]:.2f}", "", "1.00", ""])
    for name, call in methods.items():
        ratios = [f"{seconds[name] / total:.2f}" for total in floors]
        peak = f"{peak_memory(call) / GIB:.2f}"
        table.rows.append([name, f"{seconds[name]:.2f}", *ratios, peak])
    table.notes.append(
        f"Largest difference to dense rows and Hessian on {SUBSET} rows, relative to the "
        f"largest influence: {_difference(X, y):.1e}."
    )
    return table


def _messages():
    """Return (X, y) of the SMS spam collection, CSR."""
    texts, labels = messages()
    features = make_union(
        TfidfVectorizer(), TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5))
    )
    return sparse.csr_array(features.fit_transform(texts)), labels


def _floor(clf, X):
    """Return the steps that take the time of any solution in the space of the rows."""
    design = problem_of(clf).objective.design
    ones = np.ones(design.n_columns)
    P = design.products(ones)
    P[np.arange(len(P)), np.arange(len(P))] += len(P)
    factor, _ = lapack.dpotrf(P.T, lower=1, clean=0)
    sides = np.asfortranarray(P[:, :N_QUERIES])
    return {
        "X X', sparse": lambda: (X @ X.T).toarray(),
        "X X', as here": lambda: design.products(ones),
        "Cholesky": lambda: lapack.dpotrf(P.T, lower=1, clean=0),
        "solves": lambda: lapack.dpotrs(factor, sides, lower=1),
    }


def _difference(X, y):
    """Return how far influences of sparse rows are from those with a dense Hessian."""
    rows = np.linspace(0, len(y) - 1, SUBSET).astype(int)
    X, y = X[rows], y[rows]
    X = X[:, np.bincount(X.indices, minlength=X.shape[1]) >= 3]
    clf = LogisticRegression(C=10.0, solver="newton-cg", tol=1e-8, max_iter=1_000).fit(X, y)
    found = clf.influence_loss(X, y, hessian_solver="woodbury")
    dense = from_fitted(clf, X.toarray(), y)
    expected = dense.influence_loss(X.toarray(), y, hessian_solver="cholesky")
    return np.abs(found - expected).max() / np.abs(expected).max()


#: Benchmarks by the name the command line takes.
BENCHMARKS = {"wide_text": wide_text}
