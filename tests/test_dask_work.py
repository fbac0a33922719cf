"""The work on dask arrays takes the memory of a chunk and runs where dask runs it.

Chunks of results are bounded, a killed worker changes no number, and joblib's dask backend
gives the numbers of threads.
"""

import os
import signal
import threading

import numpy as np
import pytest
import sklearn
from joblib import parallel_config

from skinfluence import from_fitted
from skinfluence.blocks import run_blocks
from skinfluence.linear_model import LogisticRegression
from skinfluence.pipeline import problem_of
from tests.dask_rows import ROWS, arrays, assert_close, in_chunks, logistic
from tests.fits import NEWTON, data
from tests.memory import peak

dask = pytest.importorskip("dask", reason="dask is not installed")
da = pytest.importorskip("dask.array", reason="dask[array] is not installed")
pytestmark = pytest.mark.usefixtures("scheduler")


def test_the_result_has_the_chunks_of_the_data_and_bounded_ones_in_memory():
    X, y, w = data("wine")
    chunks = from_fitted(logistic().polish(), *arrays(X, y, w))
    rows = problem_of(chunks).fitted.objective.samples.X.chunks[0]
    found = chunks.influence_loss(da.from_array(X, chunks=60), da.from_array(y, chunks=60))
    assert found.chunks == ((60, 60, 58), rows)
    row = 8 * (ROWS + 6 * 42)  # a row of the result, 42 parameters
    for q in ((X, y), (in_chunks(X), in_chunks(y))):
        with dask.config.set({"array.chunk-size": 10 * row}):
            found = chunks.influence_loss(*q, dtype=np.float32)
            indices = chunks.influential_samples(*q, 5)[1]
        assert found.chunks[1] == rows
        assert 1 < max(found.chunks[0]) <= 10
        assert found.dtype == np.float32 == found.compute().dtype
        np.testing.assert_array_equal(indices, chunks.influential_samples(X, y, 5)[1])


def test_memory_is_that_of_a_chunk():
    rows, d, chunk = 20_000, 200, 1_000
    X = da.map_blocks(
        _random_block,
        dtype=float,
        chunks=((chunk,) * (rows // chunk), (d,)),
        meta=np.empty((0, 0)),
    )
    y = (X[:, 0] + 2 * X[:, 1] * X[:, 2] > 0.3).astype(int)
    small, labels = X[:5_000].compute(), y[:5_000].compute() > 0
    clf = LogisticRegression().fit(small, labels)
    query = small[:20], labels[:20]
    from_fitted(clf, X[:chunk], y[:chunk] > 0).polish()  # imports
    with sklearn.config_context(working_memory=4):
        memory, _ = peak(
            lambda: from_fitted(clf, X, y > 0).polish().influential_samples(*query)
        )
    # Two chunks, as the random generator and y make copies, the temporaries, the graph.
    assert memory <= (2 * 8 * chunk * d) + (4 + 2) * 2**20
    assert memory <= 0.3 * 8 * rows * d


def _random_block(block_info=None):
    (first, last), (_, d) = block_info[None]["array-location"]
    return np.random.default_rng(first).standard_normal((last - first, d))


# On processes.


def _file_block(path, armed, block_info=None):
    """Return some rows of a file; the first reader of the third chunk dies if armed."""
    first, last = block_info[None]["array-location"][0]
    if block_info[None]["chunk-location"][0] == 2 and os.path.exists(armed):
        os.remove(armed)
        os.kill(os.getpid(), signal.SIGKILL)
    return np.array(np.load(path, mmap_mode="r")[first:last])


@pytest.mark.slow
def test_a_killed_worker_changes_no_number(tmp_path):
    distributed = pytest.importorskip("distributed", reason="distributed is not installed")
    n, d, chunk = 8_000, 20, 1_000
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d))
    y = (X[:, 0] + rng.logistic(size=n) > 0).astype(int)
    path, armed = str(tmp_path / "X.npy"), str(tmp_path / "armed")
    np.save(path, X)
    chunks = ((chunk,) * (n // chunk), (d,))
    meta = np.empty((0, 0))
    dX = da.map_blocks(_file_block, path, armed, chunks=chunks, dtype=float, meta=meta)
    sample = LogisticRegression().fit(X[:2_000], y[:2_000])
    memory = from_fitted(sample, X, y).polish()
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, memory_limit="1GiB", dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster),
        dask.config.set(scheduler="distributed"),
    ):
        given = from_fitted(sample, dX, y)
        for step in (given.polish, lambda: given.influential_samples(X[:50], y[:50])):
            open(armed, "w").close()
            result = step()
            assert not os.path.exists(armed)
        assert_close(given.params_, memory.params_)
        values, indices = memory.influential_samples(X[:50], y[:50])
        assert_close(result[0], values)
        np.testing.assert_array_equal(result[1], indices)


@pytest.fixture(scope="module")
def two_threads():
    """Return a cluster of two threads in this process."""
    distributed = pytest.importorskip("distributed", reason="distributed is not installed")
    with distributed.Client(
        processes=False, n_workers=2, threads_per_worker=1, dashboard_address=":0"
    ) as client:
        yield client


def test_exact_removal_on_a_dask_backend_of_joblib(two_threads):
    X, y, w = data("cancer")
    fitted = LogisticRegression(**NEWTON).fit(X, y, w)
    # Where single precision ends the iteration the last digits depend on the stack.
    expected = fitted.leave_out_params(method="exact") - fitted.params_
    with parallel_config(backend="dask"):
        for n_jobs in (None, 3):
            found = fitted.leave_out_params(method="exact", n_jobs=n_jobs) - fitted.params_
            error = np.linalg.norm(found - expected, axis=1)
            assert (error <= 1e-8 * np.linalg.norm(expected, axis=1)).all()


def test_on_a_dask_backend_blocks_run_on_threads_of_this_process(two_threads):
    # Of two blocks that wait for each other none ends unless both run, in shared memory.
    barrier = threading.Barrier(2, timeout=20)
    with parallel_config(backend="dask"):
        run_blocks(lambda block: barrier.wait(), [0, 1])
