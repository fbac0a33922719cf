"""More rows than fit into the memory of the workers that draw them."""

import logging
import os
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks._report import MissingError, Table
from skinfluence import from_fitted
from skinfluence.inspection import rank_label_errors
from skinfluence.linear_model import LogisticRegression

try:
    import dask
    import dask.array as da
    from distributed import Client, LocalCluster
except ImportError:
    dask = None

__all__ = ["BENCHMARKS"]

GIB, MIB = 2**30, 2**20

# 82 chunks of 50 MiB, 4 GiB of rows together.
N_CHUNKS, CHUNK, N_FEATURES = 82, 2**16, 100
# Chunks that fit into memory, for the comparison with arrays.
SUBSET = 4
WORKERS, WORKER_MEMORY = 2, GIB
N_QUERIES, FEW_QUERIES = 100, 20


def larger_than_memory(repeats):
    """Fit on a sample, polish and explain on 4 GiB of rows with two workers of 1 GiB each."""
    return _measure(_subset, _everything)


def models_without_rows(repeats):
    """Leave out, measure and rank each of 4 GiB of rows with two workers of 1 GiB each."""
    return _measure(_subset_removal, _every_removal)


def _measure(*parts, size=CHUNK, memory=WORKER_MEMORY):
    """Return the table of measurements, each a function of a client and the `Rows`.

    `size` is the number of rows in a chunk, and `memory` that of a worker, in bytes.
    """
    if dask is None:
        raise MissingError("the extra dask is not installed")
    table = Table(
        f"{N_CHUNKS * size:,} x {N_FEATURES} rows "
        f"({8 * N_CHUNKS * size * N_FEATURES / GIB:.2f} GiB), {WORKERS} worker processes of "
        f"{memory / MIB:.0f} MiB that draw them chunk by chunk; each step once",
        ["step", "s", "peak of a worker (MiB)", "relative difference"],
        notes=[
            "Peak: largest resident memory of a worker process since it started. Difference:",
            "of the subset to the same rows as NumPy arrays; of the run in which a worker is",
            "killed, to the one in which none is.",
        ],
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalCluster(
            n_workers=WORKERS,
            threads_per_worker=1,
            memory_limit=memory,
            dashboard_address=None,
            silence_logs=logging.CRITICAL,  # a worker will be killed on purpose
            local_directory=folder,
        ) as cluster,
        Client(cluster) as client,
    ):
        rows = Rows.drawn(folder, size)
        for part in parts:
            table.rows += part(client, rows)
    return table


@dataclass(frozen=True)
class Rows:
    """Rows of a logistic model that workers draw chunk by chunk, with labels in memory.

    Parameters
    ----------
    order : Path
        A file that is there while the worker that draws the middle chunk next is to die.
    size : int
        Number of rows in a chunk.
    labels : ndarray
        Labels of all rows.
    """

    order: Path
    size: int
    labels: np.ndarray

    @classmethod
    def drawn(cls, folder, size):
        """Return the rows, whose labels take one pass on the workers."""
        rows = cls(Path(folder) / "die", size, None)
        labels = rows._features().map_blocks(_labels, drop_axis=1, dtype=np.int8)
        return cls(rows.order, size, labels.compute())

    def _features(self, n_chunks=N_CHUNKS):
        return da.map_blocks(
            _draw,
            str(self.order),
            self.size,
            chunks=((self.size,) * n_chunks, (N_FEATURES,)),
            dtype=np.float64,
            meta=np.empty((0, 0)),
        )

    def chunked(self, n_chunks=N_CHUNKS):
        """Return the first chunks as dask arrays."""
        labels = da.from_array(self.labels[: n_chunks * self.size], chunks=self.size)
        return self._features(n_chunks), labels

    def in_memory(self, n_chunks):
        """Return the first chunks as NumPy arrays."""
        X = np.concatenate([_chunk(i, self.size) for i in range(n_chunks)])
        return X, self.labels[: len(X)]

    def queries(self, n_queries):
        """Return queries from a chunk that no training row is from."""
        X = _chunk(N_CHUNKS, self.size)
        return X[:n_queries], _labels(X)[:n_queries]

    def sample(self):
        """Return a model fitted on the first rows."""
        X, y = self.in_memory(1)
        return LogisticRegression().fit(X[:10_000], y[:10_000])


def _chunk(number, size):
    """Return a chunk of rows."""
    return np.random.default_rng(number).standard_normal((size, N_FEATURES))


def _labels(X):
    """Return the labels of a chunk of rows."""
    rng = np.random.default_rng(X[0].view(np.uint64))
    coef = np.random.default_rng(N_CHUNKS + 1).standard_normal(N_FEATURES)
    return (X @ coef / np.sqrt(N_FEATURES) + rng.logistic(size=len(X)) > 0).astype(np.int8)


def _draw(order, size, block_info=None):
    """Return a chunk; the first to draw the middle one dies if the order is there."""
    number = block_info[None]["chunk-location"][0]
    if number == N_CHUNKS // 2 and os.path.exists(order):
        os.remove(order)
        os.kill(os.getpid(), signal.SIGKILL)
    return _chunk(number, size)


def _subset(client, rows):
    """Return lines that compare some chunks with arrays in memory."""
    model = rows.sample()
    memory = from_fitted(model, *rows.in_memory(SUBSET)).polish()
    queries = rows.queries(FEW_QUERIES)
    expected = memory.influence_loss(*queries)
    chunks, seconds = _timed(lambda: from_fitted(model, *rows.chunked(SUBSET)).polish())
    found, more = _timed(lambda: chunks.influence_loss(*queries).compute())
    name = f"{SUBSET} chunks: polish, influence_loss of {FEW_QUERIES} queries"
    return [_line(name, seconds + more, client, _difference(found, expected))]


def _everything(client, rows):
    """Return lines about all chunks, without and with a worker killed."""
    fitted, seconds = _timed(lambda: from_fitted(rows.sample(), *rows.chunked()))
    lines = [_line("from_fitted: one pass of checks", seconds, client)]

    _, seconds = _timed(fitted.polish)
    lines.append(_line(f"polish: {fitted.n_newton_iter_} Newton steps", seconds, client))

    queries = rows.queries(N_QUERIES)
    _, seconds = _timed(lambda: fitted.influential_samples(*queries))
    lines.append(_line(f"influential_samples of {N_QUERIES} queries", seconds, client))

    again = from_fitted(rows.sample(), *rows.chunked())
    _, seconds = _killed(again.polish, client, rows)
    difference = _difference(again.params_, fitted.params_)
    lines.append(_line("polish, a worker killed in a pass", seconds, client, difference))
    return lines


def _subset_removal(client, rows):
    """Return lines that compare some chunks with arrays in memory."""
    model = rows.sample()
    memory = from_fitted(model, *rows.in_memory(SUBSET)).polish()
    chunks = from_fitted(model, *rows.chunked(SUBSET)).polish()
    queries = rows.queries(FEW_QUERIES)
    calls = {
        "influence_summary": lambda model: model.influence_summary().leave_out_loss,
        f"leave_out_loss of {FEW_QUERIES} queries": lambda model: model.leave_out_loss(
            *queries
        ),
        "rank_label_errors": lambda model: rank_label_errors(model, return_scores=True)[1],
    }
    lines = []
    for name, call in calls.items():
        found, seconds = _timed(lambda call=call: np.asarray(call(chunks)))
        difference = _difference(found, call(memory))
        lines.append(_line(f"{SUBSET} chunks: {name}", seconds, client, difference))
    return lines


def _every_removal(client, rows):
    """Return lines about all chunks, with a worker killed in each step but the first."""
    fitted = from_fitted(rows.sample(), *rows.chunked()).polish()
    queries = rows.queries(FEW_QUERIES)
    calls = {
        f"leave_out_loss of {FEW_QUERIES} queries, its maxima": lambda: (
            fitted.leave_out_loss(*queries).max(axis=1).compute()
        ),
        "influence_summary, one column": lambda: (
            fitted.influence_summary().cooks_distance.compute()
        ),
        "rank_label_errors": lambda: rank_label_errors(fitted),
    }
    (first, call), *_ = calls.items()
    undisturbed, seconds = _timed(call)
    lines = [_line(first, seconds, client)]
    for name, call in calls.items():
        found, seconds = _killed(call, client, rows)
        difference = _difference(found, undisturbed) if name == first else None
        lines.append(_line(f"{name}, a worker killed", seconds, client, difference))
    return lines


def _timed(call):
    """Return the result of a call, and its seconds."""
    start = time.perf_counter()
    return call(), time.perf_counter() - start


def _killed(call, client, rows):
    """Return `_timed` of a call in which a worker is killed, and started anew."""
    rows.order.touch()
    result = _timed(call)
    assert not rows.order.exists()
    client.wait_for_workers(WORKERS)
    return result


def _line(name, seconds, client, difference=None):
    peak = max(client.run(_peak_resident).values()) / MIB
    return [name, seconds, peak, "" if difference is None else f"{difference:.1e}"]


def _peak_resident():
    """Return the largest resident memory of this process so far, in bytes."""
    import resource  # not on Windows, where the other benchmarks run

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _difference(found, expected):
    return np.abs(found - expected).max() / np.abs(expected).max()


#: Benchmarks by the name the command line takes.
BENCHMARKS = {"dask_influence": larger_than_memory, "dask_removal": models_without_rows}
