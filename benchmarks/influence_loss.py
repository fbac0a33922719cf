"""Time and memory of `influence_loss` and of `influential_samples`."""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import blas, lapack
from sklearn import config_context
from sklearn.datasets import load_digits

from benchmarks._data import labelled, measured, shared
from benchmarks._report import Table
from benchmarks._timing import best_of, peak_memory
from skinfluence.linear_model import LogisticRegression, Ridge
from skinfluence.pipeline import problem_of

__all__ = ["BENCHMARKS"]

MIB = 2**20

# All BLAS threads on one block after the other, or two blocks side by side.
JOBS = (None, 2)

SIZES = ("model", "n", "d", "q")
FLOOR = ("scaling", "SYRK", "POTRF", "POTRS", "GEMM")


@dataclass
class Case:
    """A fitted model, queries, and the sizes of its linear algebra.

    Parameters
    ----------
    name : str
        What the table calls it.
    model : estimator
        Fitted on `X`.
    X : ndarray of shape (n, d)
        Training data.
    X_query, y_query : ndarray
        Queries.
    n_grams : int
        Number of weighted Gram matrices of (n, d) that the Hessian consists of.
    n_params : int
        Order of the Hessian.
    """

    name: str
    model: object
    X: np.ndarray
    X_query: np.ndarray
    y_query: np.ndarray
    n_grams: int
    n_params: int

    @property
    def sizes(self):
        """Return (n, d, q)."""
        return (*self.X.shape, len(self.X_query))

    def influence_loss(self, n_jobs=None):
        """Return all influences, the Hessian factorised anew."""
        problem_of(self.model).forget_state()
        return self.model.influence_loss(self.X_query, self.y_query, n_jobs=n_jobs)

    def influential_samples(self, n_influential, n_jobs=None):
        """Return the largest influences, the Hessian factorised anew."""
        problem_of(self.model).forget_state()
        return self.model.influential_samples(
            self.X_query, self.y_query, n_influential, n_jobs=n_jobs
        )


def time_against_floor(repeats):
    """influence_loss with its factorisation, against the BLAS calls it cannot avoid."""
    table = Table(
        "influence_loss, factorisation included, against its BLAS floor (ms)",
        [*SIZES, *FLOOR, "(into out)", "floor", "n_jobs", "method", "ratio"],
        notes=[
            "Scaling of the rows into an array that exists and SYRK of the scaled rows (for",
            "softmax one of each for each pair of outputs), POTRF of the Hessian, POTRS for",
            "the queries, GEMM of solutions and training gradients into a fresh array, as",
            "the method returns one; (into out) is that GEMM into an array that exists, not",
            "part of the floor. Ratio: time of the method over the sum of these calls with",
            "the same threads. It can be below 1: of the blocks of a softmax Hessian those",
            "on the diagonal follow from the others.",
        ],
    )
    for make in (_logistic, _ridge, _logistic_square, _logistic_wide, _softmax):
        table.rows += _rows_against_floor(make(), repeats)
    return table


def mnist_against_floor(repeats):
    """influence_loss on all of MNIST: 7,850 parameters, and its Hessian formed."""
    case = _mnist()
    blocked = _blocked_floor(case)
    n, _, q = case.sizes
    table = Table(
        "influence_loss on MNIST, factorisation included, against its BLAS floor (s)",
        [*SIZES, *FLOOR, "floor", "influence_loss", "ratio", "peak - output (MiB)"],
        notes=[
            "Scaling and SYRK of row blocks for each of the 55 pairs of ten outputs, POTRF",
            "and POTRS of order 7,850, GEMM of the solutions with all images by blocks. No",
            "copy of the images larger than a block is made on either side. Ratio: time of",
            "the method over the sum of these calls, same threads. Peak beyond what was",
            "there before the call, less its result.",
        ],
    )
    candidates = blocked | _factorisation(case) | {"ours": case.influence_loss}
    seconds = best_of(candidates, min(repeats, 2))
    floor = sum(seconds[name] for name in FLOOR)
    beyond = peak_memory(case.influence_loss) / MIB - 8 * q * n / MIB
    left = [case.name, *case.sizes, *(f"{seconds[name]:.2f}" for name in FLOOR)]
    times = [f"{floor:.2f}", f"{seconds['ours']:.2f}", _ratio(seconds["ours"] / floor)]
    table.rows.append([*left, *times, beyond])
    return table


def memory_of_influence_loss(repeats):
    """Peak memory of influence_loss, against its output and working_memory."""
    table = Table(
        "Peak memory of influence_loss, factorisation included (MiB)",
        [*SIZES, "n_jobs", "output", "peak", "peak - output", "working_memory"],
        notes=[
            "Peak beyond what was there before the call. peak - output stays within",
            "working_memory, the setting of scikit-learn.",
        ],
    )
    for case in (_logistic(), _logistic_tall(500)):
        n, d, q = case.sizes
        output = 8 * q * n / MIB
        for n_jobs in JOBS:
            for memory in (64, 1024):
                with config_context(working_memory=memory):
                    peak = _peak_mib(case.influence_loss, n_jobs)
                row = [case.name, n, d, q, str(n_jobs), output, peak, peak - output]
                table.rows.append([*row, memory])
    return table


def streaming_influential_samples(repeats):
    """influential_samples in blocks: time against its GEMM, and peak memory."""
    n_influential = 10
    table = Table(
        f"influential_samples, n_influential={n_influential}, factorisation included "
        "(ms, MiB)",
        [*SIZES, "working_memory", "GEMM", "n_jobs", "method", "ratio", "peak", "array"],
        notes=[
            "GEMM: all influences once, in blocks into one buffer, nothing selected. Peak:",
            "beyond what was there before. Array: all influences, which are never held.",
        ],
    )
    case = _logistic_tall(1_000)
    for memory in (64, 1024):
        with config_context(working_memory=memory):
            table.rows += _rows_streaming(case, n_influential, memory, repeats)
    return table


def _rows_against_floor(case, repeats):
    floor = _blas_floor(case)
    methods = {n_jobs: lambda n=n_jobs: case.influence_loss(n) for n_jobs in JOBS}
    seconds = best_of(floor | methods, repeats)
    ms = {name: 1e3 * value for name, value in seconds.items()}
    total = sum(ms[name] for name in FLOOR)
    left = [case.name, *case.sizes, *(_ms(ms[name]) for name in floor), _ms(total)]
    return [
        [*left, str(n_jobs), _ms(ms[n_jobs]), _ratio(ms[n_jobs] / total)] for n_jobs in JOBS
    ]


def _rows_streaming(case, n_influential, memory, repeats):
    n, _, q = case.sizes
    candidates = {"GEMM": _streaming_gemm(case)}
    for n_jobs in JOBS:
        candidates[n_jobs] = lambda m=n_jobs: case.influential_samples(n_influential, m)
    seconds = best_of(candidates, min(repeats, 3))
    rows = []
    for n_jobs in JOBS:
        ratio = _ratio(seconds[n_jobs] / seconds["GEMM"])
        peak = _peak_mib(case.influential_samples, n_influential, n_jobs)
        left = [case.name, *case.sizes, memory, 1e3 * seconds["GEMM"], str(n_jobs)]
        rows.append([*left, 1e3 * seconds[n_jobs], ratio, peak, 8 * q * n / MIB])
    return rows


def _blas_floor(case):
    """Return the BLAS and LAPACK calls that any implementation makes, by name."""
    n, _, q = case.sizes
    rng = np.random.default_rng(0)
    root = rng.uniform(0.1, 1.0, (n, 1))
    scaled = case.X * root
    V = rng.standard_normal((q, case.n_params))
    gradients = rng.standard_normal((n, case.n_params))
    out = np.empty((q, n))

    def scaling():
        for _ in range(case.n_grams):
            np.multiply(case.X, root, out=scaled)

    def syrk():
        for _ in range(case.n_grams):
            blas.dsyrk(1.0, scaled.T, lower=1)

    return {
        "scaling": scaling,
        "SYRK": syrk,
        **_factorisation(case),
        "GEMM": lambda: V @ gradients.T,
        "into out": lambda: np.matmul(V, gradients.T, out=out),
    }


def _factorisation(case):
    """Return the LAPACK calls on a Hessian of the case's order, by name."""
    p, q = case.n_params, len(case.X_query)
    # Positive definite by its diagonal, and so is its factor, which takes its place: no
    # copy is made, and the time does not depend on the entries.
    hessian = np.full((p, p), 0.5, order="F")
    np.fill_diagonal(hessian, p)
    V = np.random.default_rng(0).standard_normal((q, p))
    return {
        "POTRF": lambda: lapack.dpotrf(hessian, lower=1, clean=0, overwrite_a=1),
        "POTRS": lambda: lapack.dpotrs(hessian, V.T, lower=1),
    }


def _blocked_floor(case, n_rows=5_000):
    """Return scaling, SYRK and GEMM by row blocks: a gradient is an outer product."""
    n, d, q = case.sizes
    K = case.n_params // (d + 1)
    rng = np.random.default_rng(0)
    V = rng.standard_normal((q * K, d))
    scaled, buffer = np.ones((n_rows, d)), np.empty((q * K, n_rows))
    gram = np.zeros((d, d), order="F")
    weights = rng.uniform(0.1, 1.0, (n, 1))
    blocks = [slice(start, start + n_rows) for start in range(0, n, n_rows)]

    def scaling():
        for block in blocks:
            rows = case.X[block]
            for _ in range(case.n_grams):
                np.multiply(rows, weights[block], out=scaled[: len(rows)])

    def syrk():
        for block in blocks:
            rows = scaled[: len(weights[block])]
            for _ in range(case.n_grams):
                blas.dsyrk(1.0, rows.T, beta=1.0, c=gram, overwrite_c=1, lower=1)

    def gemm():
        for block in blocks:
            rows = case.X[block]
            np.matmul(V, rows.T, out=buffer[:, : len(rows)])

    return {"scaling": scaling, "SYRK": syrk, "GEMM": gemm}


def _streaming_gemm(case, n_columns=1_000):
    """Return a function that forms all influences in blocks of columns, in one buffer."""
    n, _, q = case.sizes
    rng = np.random.default_rng(0)
    V = rng.standard_normal((q, case.n_params))
    gradients = rng.standard_normal((n, case.n_params))
    buffer = np.empty((q, n_columns))

    def gemm():
        for start in range(0, n - n % n_columns, n_columns):
            np.matmul(V, gradients[start : start + n_columns].T, out=buffer)

    return gemm


def _peak_mib(function, *arguments):
    function(*arguments)  # what is imported or cached at the first call is not counted
    return peak_memory(lambda: function(*arguments)) / MIB


def _logistic(n=10_000, d=100, q=1_000):
    # Newton reaches the optimum to rounding, where no warning asks for a better fit.
    model = LogisticRegression(solver="newton-cholesky", tol=1e-8)
    X, y = labelled(n, d)
    return _case("logistic", model.fit(X, y), X, labelled(q, d, seed=1))


def _logistic_square():
    return _logistic(5_000, 500, 500)


def _logistic_wide():
    return _logistic(20_000, 1_000, 200)


def _logistic_tall(q):
    return _logistic(100_000, 50, q)


def _ridge(n=10_000, d=100, q=1_000):
    X, y = measured(n, d)
    return _case("ridge", Ridge().fit(X, y), X, measured(q, d, seed=1))


def _softmax(q=200):
    X, y = load_digits(return_X_y=True)
    X = X / 16.0
    model = LogisticRegression(solver="newton-cholesky", tol=1e-8).fit(X, y)
    K = len(model.classes_)
    return _case("softmax digits", model, X, (X[:q], y[:q]), K * (K + 1) // 2)


def _mnist(q=200):
    with np.load(shared("mnist.npz")) as arrays:
        X = arrays["x_train"][:55_000].reshape(-1, 784) / 255.0
        y = arrays["y_train"][:55_000]
        queries = arrays["x_test"][:q].reshape(-1, 784) / 255.0, arrays["y_test"][:q]
    # The penalty of Koh & Liang, 0.01 in units of the mean loss.
    model = LogisticRegression(C=1 / (0.01 * len(X)), tol=1e-4, max_iter=1000).fit(X, y)
    return _case("softmax MNIST", model, X, queries, 55)


def _case(name, model, X, queries, n_grams=1):
    return Case(name, model, X, *queries, n_grams, model.params_.size)


def _ms(value):
    return f"{value:,.2f}"


def _ratio(value):
    return f"{value:.2f}"


#: Benchmarks by the name the command line takes.
BENCHMARKS = {
    "influence_loss": time_against_floor,
    "influence_loss_mnist": mnist_against_floor,
    "influence_loss_memory": memory_of_influence_loss,
    "influential_samples": streaming_influential_samples,
}
