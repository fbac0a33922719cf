"""A million rows: the most influential of them, and how the time grows."""

from itertools import pairwise

import numpy as np

from benchmarks._data import labelled
from benchmarks._report import Table
from benchmarks._timing import best_of, peak_memory
from skinfluence.linear_model import LogisticRegression
from skinfluence.pipeline import problem_of

__all__ = ["BENCHMARKS"]

GIB = 2**30

N_ROWS, N_FEATURES = 1_000_000, 100
N_QUERIES, N_INFLUENTIAL = 10_000, 10
# Rows of a block, and queries, of which influences are formed at a time.
COLUMNS, QUERIES = 512, 2048
# Of the rows, for the growth with their number, and of its queries.
SIZES = (125_000, 250_000, 500_000, 1_000_000)
FEW_QUERIES, A_FEW = 100, 10


def streaming_million(repeats):
    """influential_samples of 10,000 queries among a million rows, against its GEMM."""
    X, y = labelled(N_ROWS, N_FEATURES)
    queries = labelled(N_QUERIES, N_FEATURES, seed=1)
    model = _sampled().set_training_data(X, y).polish()

    def search(n_jobs):
        problem_of(model).forget_state()
        return model.influential_samples(*queries, N_INFLUENTIAL, n_jobs=n_jobs)

    candidates = {"GEMM": _blocked_gemm(X, queries[0])}
    candidates |= {f"n_jobs={m}": lambda m=m: search(m) for m in (None, 2)}
    seconds = best_of(candidates, 1)
    peak = peak_memory(lambda: search(2)) / GIB
    return Table(
        f"influential_samples, {N_ROWS:,} x {N_FEATURES} rows, {N_QUERIES:,} queries, "
        f"n_influential={N_INFLUENTIAL}, factorisation included; each once (s)",
        ["what", "s", "ratio"],
        [[name, f"{s:.1f}", f"{s / seconds['GEMM']:.2f}"] for name, s in seconds.items()],
        [
            f"GEMM: all influences once, in blocks of {QUERIES:,} x {COLUMNS:,} into one",
            "buffer, on all BLAS threads, nothing selected. Peak",
            f"with n_jobs=2: {peak:.2f} GiB beyond the data.",
        ],
    )


def growth_in_rows(repeats):
    """Time of methods that a million rows are asked for, as the rows double."""
    X, y = labelled(SIZES[-1], N_FEATURES)
    queries = labelled(FEW_QUERIES, N_FEATURES, seed=1)
    a_few = tuple(part[:A_FEW] for part in queries)
    model = _sampled()
    methods = {
        "polish": lambda: model.polish(),
        "influence_loss, average": lambda: model.influence_loss(*queries, average=True),
        "influential_samples": lambda: model.influential_samples(*queries, N_INFLUENTIAL),
        "self_influence": lambda: model.self_influence(),
        f"leave_out_loss, {A_FEW} queries": lambda: model.leave_out_loss(*a_few),
    }

    def anew(method):
        def call():
            problem_of(model).forget_state()
            return method()

        return call

    calls = {name: anew(method) for name, method in methods.items()}
    seconds = {name: [] for name in methods}
    for n in SIZES:
        model.set_training_data(X[:n], y[:n]).polish()
        for name, value in best_of(calls, min(repeats, 2)).items():
            seconds[name].append(value)
    return Table(
        f"Time at n x {N_FEATURES} rows (s), {FEW_QUERIES} queries, factorisation included",
        ["method", *(f"{n:,}" for n in SIZES), "largest factor of a doubling"],
        [
            [name, *(f"{t:.2f}" for t in times), f"{_largest_factor(times):.2f}"]
            for name, times in seconds.items()
        ],
        ["polish: at the optimum, the checks alone."],
    )


def _largest_factor(times):
    return max(later / earlier for earlier, later in pairwise(times))


def _sampled():
    """Return a model fitted on the first rows, to be given the others."""
    X, y = labelled(20_000, N_FEATURES)
    return LogisticRegression(solver="newton-cholesky", tol=1e-8).fit(X, y)


def _blocked_gemm(X, X_query):
    """Return a function that forms as many products as there are influences, in blocks."""
    buffer = np.empty((QUERIES, COLUMNS))

    def gemm():
        for at in range(0, len(X), COLUMNS):
            rows = X[at : at + COLUMNS].T
            for start in range(0, len(X_query), QUERIES):
                some = X_query[start : start + QUERIES]
                np.matmul(some, rows, out=buffer[: len(some), : rows.shape[1]])

    return gemm


#: Benchmarks by the name the command line takes.
BENCHMARKS = {"streaming_million": streaming_million, "growth_in_rows": growth_in_rows}
