"""Conjugate gradients against what they cannot do without, and where "auto" takes them."""

import ctypes
import itertools
import threading
import time
import warnings
from pathlib import Path

import numpy as np

from benchmarks._data import labelled, measured, mnist_digits
from benchmarks._report import Table
from benchmarks._timing import best_of
from skinfluence.linear_model import LogisticRegression, Ridge
from skinfluence.pipeline import problem_of
from skinfluence.solvers import SOLVERS, ConjugateGradientSolver, select_solver
from skinfluence.solvers.cg import select_preconditioner

__all__ = ["BENCHMARKS"]

MIB = 2**20

# For Newton steps, which need not be exact.
_ROUGH = ConjugateGradientSolver(tol=1e-2)

# Rows, features, classes (1: ridge, 2: logistic) and right-hand sides.
GRID = [
    *itertools.product([(20_000, 200, 10), (20_000, 500, 10), (2_000, 500, 10)], (1, 10, 100)),
    *itertools.product([(10_000, 500, 2), (20_000, 1_000, 1), (500, 2_000, 1)], (1, 100)),
]


def mnist_conjugate_gradients(repeats):
    """One MNIST digit against 55,000 images through conjugate gradients."""
    table = Table(
        "influence_loss of one digit on 55,000 x 784 images, ten classes, C = 1 (s, MiB)",
        ["preconditioner", "60 products", "method", "ratio", "peak"]
        + ["cholesky", "difference"],
        notes=[
            "Preconditioner: the factors that the method starts from. Products: 60 of the",
            'Hessian and a vector. Method: influence_loss(hessian_solver="cg"), which keeps',
            "nothing from call to call here. Ratio: method to preconditioner and products,",
            "target at most 1.5. Peak: of the process in the method beyond what it had",
            "before, target at most 2,048. Cholesky: the method by the whole Hessian, once;",
            "difference: the largest, relative to the largest influence, target at most 1e-6.",
        ],
    )
    X, y, X_test, y_test = mnist_digits()
    model = _optimum(X / 255.0, y)
    table.rows.append(_mnist_row(model, X_test[:1] / 255.0, y_test[:1], repeats))
    return table


def choice_of_solvers(repeats):
    """Cholesky, Woodbury and conjugate gradients by size, and what "auto" takes."""
    table = Table(
        "influence_loss, factorisation included, by solver (ms)",
        ["n", "d", "classes", "queries", *SOLVERS, "auto", "to the best"],
        notes=[
            "Classes 1: ridge; 2: logistic; more: softmax; random features. A dash: Woodbury",
            "where its system is above 5,000. Auto: what the automatic choice is; to the",
            "best: its time relative to that of the fastest solver.",
        ],
    )
    for (n, d, classes), rows in itertools.groupby(GRID, key=lambda case: case[0]):
        model, X, y = _random_model(n, d, classes)
        for _, n_queries in rows:
            row = _choice_row(model, X[:n_queries], y[:n_queries], min(repeats, 2))
            table.rows.append([n, d, classes, n_queries, *row])
    return table


def _mnist_row(model, X_query, y_query, repeats):
    def method(solver="cg"):
        problem_of(model).forget_state()
        return model.influence_loss(X_query, y_query, hessian_solver=solver)

    point = problem_of(model).objective.at(problem_of(model).theta)
    V = problem_of(model).check_query(X_query, y_query).toarray()

    def products():
        for _ in range(60):
            point.hessian_product(V)

    found, peak = _with_peak(method)
    seconds = best_of(
        {
            "preconditioner": lambda: select_preconditioner(point).factorise(point),
            "products": products,
            "method": method,
        },
        min(repeats, 3),
    )
    start = time.perf_counter()
    expected = method("cholesky")
    cholesky = time.perf_counter() - start
    ratio = seconds["method"] / (seconds["preconditioner"] + seconds["products"])
    difference = np.abs(found - expected).max() / np.abs(expected).max()
    times = [f"{seconds[name]:.2f}" for name in ("preconditioner", "products", "method")]
    return [
        *times,
        f"{ratio:.2f}",
        f"{peak / MIB:.0f}",
        f"{cholesky:.1f}",
        f"{difference:.0e}",
    ]


def _choice_row(model, X_query, y_query, repeats):
    objective = problem_of(model).objective
    order = objective.n_rows * (len(objective.penalty) if objective.coupled else 1)

    def method(solver):
        problem_of(model).forget_state()
        model.influence_loss(X_query, y_query, hessian_solver=solver)

    names = [name for name in SOLVERS if name != "woodbury" or order <= 5_000]
    seconds = best_of({name: lambda s=name: method(s) for name in names}, repeats)
    auto = select_solver(objective, len(X_query)).name
    cells = [f"{1e3 * seconds[name]:,.0f}" if name in seconds else "-" for name in SOLVERS]
    return [*cells, auto, f"{seconds[auto] / min(seconds.values()):.2f}"]


def _random_model(n, d, classes):
    if classes == 1:
        X, y = measured(n, d)
        return Ridge(solver="cholesky").fit(X, y), X, y
    X, y = labelled(n, d)
    if classes == 2:
        return _optimum(X, y, share=1), X, y
    rng = np.random.default_rng(0)
    raw = 3 * X @ rng.standard_normal((d, classes)) / np.sqrt(d)
    y = np.argmax(raw + rng.gumbel(size=raw.shape), axis=1)
    return _optimum(X, y, share=1), X, y


def _optimum(X, y, share=10):
    """Return a logistic model at its optimum, from a start on a share of the rows."""
    n = len(y) // share
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the start does not have to converge
        model = LogisticRegression(C=float(share), max_iter=50).fit(X[:n], y[:n])
    model.C = 1.0
    return _at_parameters(model, X, y).polish(tol=1e-5, hessian_solver=_ROUGH)


def _at_parameters(model, X, y):
    """Return a model with the coefficients of another one and training data of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other = LogisticRegression(C=model.C, max_iter=1, tol=1.0).fit(X[:1_000], y[:1_000])
    other.coef_, other.intercept_ = model.coef_, model.intercept_
    return other.set_training_data(X, y)


def _with_peak(function):
    """Return what a function returns, and by how much the process grew at most meanwhile."""
    _trim()
    before, peak, done = _resident(), 0, threading.Event()

    def watch():
        nonlocal peak
        while not done.wait(0.01):
            peak = max(peak, _resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        result = function()
    finally:
        done.set()
        watcher.join()
    return result, max(peak, _resident()) - before


def _resident():
    """Return the bytes of memory that the process has."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return 1024 * int(line.split()[1])
    return 0


def _trim():
    """Give free memory back to the system, so that using it again counts."""
    with_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if with_trim is not None:
        with_trim(0)


#: Benchmarks by the name the command line takes.
BENCHMARKS = {
    "mnist_cg": mnist_conjugate_gradients,
    "solver_choice": choice_of_solvers,
}
