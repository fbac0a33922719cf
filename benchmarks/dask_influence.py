"""Rows in a file larger than the memory of the workers that read it."""

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


def _measure(*parts):
    """Return the table of measurements, each a function of a client and a `File`."""
    if dask is None:
        raise MissingError("the extra dask is not installed")
    table = Table(
        f"{N_CHUNKS * CHUNK:,} x {N_FEATURES} rows in a file "
        f"({8 * N_CHUNKS * CHUNK * N_FEATURES / GIB:.2f} GiB), {WORKERS} worker processes of "
        f"{WORKER_MEMORY / GIB:.0f} GiB; each step once",
        ["step", "s", "peak of a worker (MiB)", "relative difference"],
        notes=[
            "Peak: largest resident memory of a worker process since it started. Difference:",
            "of the subset to the same rows as NumPy arrays; of the run in which a worker is",
            "killed, to the one in which none is.",
        ],
    )
    with tempfile.TemporaryDirectory() as folder:
        file = _write(Path(folder) / "rows.f64")
        with (
            LocalCluster(
                n_workers=WORKERS,
                threads_per_worker=1,
                memory_limit=WORKER_MEMORY,
                dashboard_address=None,
                silence_logs=logging.CRITICAL,  # a worker will be killed on purpose
                local_directory=folder,
            ) as cluster,
            Client(cluster) as client,
        ):
            for part in parts:
                table.rows += part(client, file)
    return table


@dataclass(frozen=True)
class File:
    """Rows in a file, with labels and queries in memory.

    Parameters
    ----------
    path : str
        Features, float64, row by row.
    labels : ndarray
        Labels of all rows.
    query, query_labels : ndarray
        Queries.
    """

    path: str
    labels: np.ndarray
    query: np.ndarray
    query_labels: np.ndarray

    def chunked(self, n_chunks=N_CHUNKS):
        """Return the first chunks as dask arrays."""
        rows = (CHUNK,) * n_chunks
        X = da.map_blocks(
            _read,
            self.path,
            chunks=(rows, (N_FEATURES,)),
            dtype=np.float64,
            meta=np.empty((0, 0)),
        )
        return X, da.from_array(self.labels[: n_chunks * CHUNK], chunks=CHUNK)

    def in_memory(self, n_chunks):
        """Return the first chunks as NumPy arrays."""
        X = np.concatenate([_read_rows(self.path, i) for i in range(n_chunks)])
        return X, self.labels[: len(X)]

    def sample(self):
        """Return a model fitted on the first rows."""
        X, y = self.in_memory(1)
        return LogisticRegression().fit(X[:10_000], y[:10_000])


def _write(path):
    """Return a `File` of a logistic model, written chunk by chunk."""
    rng = np.random.default_rng(0)
    coef = rng.standard_normal(N_FEATURES) / np.sqrt(N_FEATURES)

    def draw(n):
        X = rng.standard_normal((n, N_FEATURES))
        return X, (X @ coef + rng.logistic(size=n) > 0).astype(np.int8)

    labels = []
    with path.open("wb") as out:
        for _ in range(N_CHUNKS):
            X, y = draw(CHUNK)
            X.tofile(out)
            labels.append(y)
    return File(str(path), np.concatenate(labels), *draw(N_QUERIES))


def _read_rows(path, chunk):
    """Return one chunk of rows of the file, a copy."""
    shape = (CHUNK, N_FEATURES)
    offset = 8 * chunk * CHUNK * N_FEATURES
    return np.array(np.memmap(path, dtype=np.float64, mode="r", offset=offset, shape=shape))


def _read(path, block_info=None):
    """Return a chunk; the first to read the middle one dies where it is told to."""
    chunk = block_info[None]["chunk-location"][0]
    order = _order_to_die(path)
    if chunk == N_CHUNKS // 2 and order.exists():
        order.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    return _read_rows(path, chunk)


def _order_to_die(path):
    """Return the file that is there while the next worker is to be killed."""
    return Path(path).with_suffix(".die")


def _subset(client, file):
    """Return rows that compare some chunks with arrays in memory."""
    model = file.sample()
    memory = from_fitted(model, *file.in_memory(SUBSET)).polish()
    queries = file.query[:FEW_QUERIES], file.query_labels[:FEW_QUERIES]
    expected = memory.influence_loss(*queries)
    start = time.perf_counter()
    chunks = from_fitted(model, *file.chunked(SUBSET)).polish()
    found = chunks.influence_loss(*queries).compute()
    seconds = time.perf_counter() - start
    name = f"{SUBSET} chunks: polish, influence_loss of {FEW_QUERIES} queries"
    return [_row(name, seconds, client, _difference(found, expected))]


def _everything(client, file):
    """Return rows about all chunks, without and with a worker killed."""
    start = time.perf_counter()
    fitted = from_fitted(file.sample(), *file.chunked())
    rows = [_row("from_fitted: one pass of checks", time.perf_counter() - start, client)]

    start = time.perf_counter()
    fitted.polish()
    name = f"polish: {fitted.n_newton_iter_} Newton steps"
    rows.append(_row(name, time.perf_counter() - start, client))

    start = time.perf_counter()
    fitted.influential_samples(file.query, file.query_labels)
    name = f"influential_samples of {N_QUERIES} queries"
    rows.append(_row(name, time.perf_counter() - start, client))

    again = from_fitted(file.sample(), *file.chunked())
    _order_to_die(file.path).touch()
    start = time.perf_counter()
    again.polish()
    seconds = time.perf_counter() - start
    assert not _order_to_die(file.path).exists()
    client.wait_for_workers(WORKERS)
    difference = _difference(again.params_, fitted.params_)
    rows.append(_row("polish, a worker killed in a pass", seconds, client, difference))
    return rows


def _subset_removal(client, file):
    """Return rows that compare some chunks with arrays in memory."""
    model = file.sample()
    memory = from_fitted(model, *file.in_memory(SUBSET)).polish()
    chunks = from_fitted(model, *file.chunked(SUBSET)).polish()
    queries = file.query[:FEW_QUERIES], file.query_labels[:FEW_QUERIES]
    calls = {
        "influence_summary": lambda model: model.influence_summary().leave_out_loss,
        f"leave_out_loss of {FEW_QUERIES} queries": lambda model: model.leave_out_loss(
            *queries
        ),
        "rank_label_errors": lambda model: rank_label_errors(model, return_scores=True)[1],
    }
    rows = []
    for name, call in calls.items():
        start = time.perf_counter()
        found = np.asarray(call(chunks))
        seconds = time.perf_counter() - start
        difference = _difference(found, call(memory))
        rows.append(_row(f"{SUBSET} chunks: {name}", seconds, client, difference))
    return rows


def _every_removal(client, file):
    """Return rows about all chunks, the last with a worker killed."""
    fitted = from_fitted(file.sample(), *file.chunked()).polish()
    queries = file.query[:FEW_QUERIES], file.query_labels[:FEW_QUERIES]
    start = time.perf_counter()
    summary = fitted.influence_summary()
    distance = summary.cooks_distance.compute()
    rows = [_row("influence_summary, one column", time.perf_counter() - start, client)]

    start = time.perf_counter()
    fitted.leave_out_loss(*queries).max(axis=1).compute()
    name = f"leave_out_loss of {FEW_QUERIES} queries, its maxima"
    rows.append(_row(name, time.perf_counter() - start, client))

    start = time.perf_counter()
    rank_label_errors(fitted)
    rows.append(_row("rank_label_errors", time.perf_counter() - start, client))

    _order_to_die(file.path).touch()
    start = time.perf_counter()
    again = summary.cooks_distance.compute()
    seconds = time.perf_counter() - start
    assert not _order_to_die(file.path).exists()
    client.wait_for_workers(WORKERS)
    difference = _difference(again, distance)
    rows.append(_row("the column again, a worker killed", seconds, client, difference))
    return rows


def _row(name, seconds, client, difference=None):
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
