"""Interrupts, failing workers and full disks leave nothing behind; repetition no new bit."""

import contextlib
import copy
import errno
import itertools
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import joblib
import numpy as np
import pytest
import sklearn
from threadpoolctl import threadpool_info, threadpool_limits

from skinfluence import blocks
from skinfluence.functionals import mean_prediction
from skinfluence.linear_model import LogisticRegression, Ridge
from skinfluence.solvers import CholeskySolver
from skinfluence.svm import SVC
from tests.fits import NEWTON, data

X, Y, W = data("wine")
Q = slice(0, 60)
WEIGHTS = np.random.default_rng(0).uniform(size=(12, len(Y)))

# What reads the estimator and takes n_jobs; each with memory for many blocks of rows.
READERS = {
    "solve_hessian": lambda e, **k: e.solve_hessian(np.eye(42), **k),
    "influence_params": lambda e, **k: e.influence_params(**k),
    "influence_loss": lambda e, **k: e.influence_loss(X[Q], Y[Q], **k),
    "influence_prediction": lambda e, **k: e.influence_prediction(X[Q], **k),
    "influence_relabel": lambda e, **k: e.influence_relabel(X[Q], Y[Q], y_new=Y[::-1], **k),
    "self_influence": lambda e, **k: e.self_influence(**k),
    "influential_samples": lambda e, **k: e.influential_samples(X[Q], Y[Q], 5, **k),
    "newton_step": lambda e, **k: e.newton_step(1e-3, **k),
    "convergence_report": lambda e, **k: e.convergence_report(**k).convergence_ratio,
    "leave_out_params": lambda e, **k: e.leave_out_params(**k),
    "leave_out_params_exact": lambda e, **k: e.leave_out_params(method="exact", **k),
    "leave_out_params_groups": lambda e, **k: e.leave_out_params(np.arange(178) // 7, **k),
    "leave_out_loss": lambda e, **k: e.leave_out_loss(X[Q], Y[Q], refine=0.1, **k),
    "leave_out_predict": lambda e, **k: e.leave_out_predict(
        cv=20, response_method="decision_function", **k
    ),
    "leave_out_metric": lambda e, **k: e.leave_out_metric(
        X[::3], Y[::3], scoring="neg_log_loss", groups=np.arange(178) // 7, **k
    ),
    "leave_out_score": lambda e, **k: e.leave_out_score(scoring="neg_log_loss", **k),
    "reweight_params": lambda e, **k: e.reweight_params(WEIGHTS, **k),
    "reweight_exact": lambda e, **k: e.reweight_params(WEIGHTS, method="exact", **k),
    "reweight_loss": lambda e, **k: e.reweight_loss(X[Q], Y[Q], WEIGHTS, **k),
    "reweight_predict": lambda e, **k: e.reweight_predict(X[Q], WEIGHTS, **k),
    "influence_summary": lambda e, **k: np.hstack(
        [np.c_[column] for column in e.influence_summary(**k).values()]
    ),
    "dfbetas": lambda e, **k: e.dfbetas(**k),
    "covariance": lambda e, **k: e.params_covariance("hessian", **k),
    "sandwich": lambda e, **k: e.params_covariance(**k),
    "jackknife": lambda e, **k: e.params_covariance("jackknife", **k),
}
# The others.
MORE_READERS = {
    "loss": lambda e, n_jobs: e.sample_loss(X, Y),
    "gradient": lambda e, n_jobs: e.loss_gradient(X, Y, n_jobs=n_jobs),
    "mean_prediction": lambda e, n_jobs: e.influence_functional(
        mean_prediction(e, X, label=1)
    ),
    "perturbation": lambda e, n_jobs: e.influence_perturbation(X[Q], Y[Q], index=3),
    "chunked": lambda e, n_jobs: np.vstack(list(e.influence_loss_chunked(X, Y))),
    "cg": lambda e, n_jobs: e.influence_loss(X[Q], Y[Q], hessian_solver="cg"),
    "cholesky": lambda e, n_jobs: e.self_influence(hessian_solver="cholesky"),
    "correction": lambda e, n_jobs: e.newton_correction(),
}


@pytest.fixture
def fitted():
    return LogisticRegression(**NEWTON).fit(X, Y, W)


@pytest.fixture(autouse=True)
def small_blocks():
    with sklearn.config_context(working_memory=0.5):
        yield


class Interrupts:
    """Whether the last interrupt was taken by the main thread, and dropped by Python there."""

    taken, dropped = threading.Event(), threading.Event()

    @classmethod
    def take(cls, *args):
        cls.taken.set()
        raise KeyboardInterrupt

    @classmethod
    def press(cls):
        """Interrupt the main thread, wherever it is.

        Python drops what is raised in a finaliser; who is at the keyboard presses again.
        """
        cls.dropped.set()
        while cls.dropped.is_set():
            cls.taken.clear()
            cls.dropped.clear()
            signal.raise_signal(signal.SIGINT)
            assert cls.taken.wait(60.0)
            cls.dropped.wait(0.05)


@pytest.fixture(autouse=True)
def interruptible(monkeypatch):
    """Take interrupts, which a process started in the background is told to ignore."""
    report = sys.unraisablehook

    def drop(raised):
        if raised.exc_type is KeyboardInterrupt:
            Interrupts.dropped.set()
        else:
            report(raised)

    monkeypatch.setattr(sys, "unraisablehook", drop)
    before = signal.signal(signal.SIGINT, Interrupts.take)
    yield
    signal.signal(signal.SIGINT, before)


def same_bits(found, expected):
    pairs = (
        zip(found, expected, strict=True) if isinstance(found, tuple) else [(found, expected)]
    )
    return all(np.array_equal(a, b, equal_nan=True) for a, b in pairs)


@dataclass(frozen=True)
class Faulty(CholeskySolver):
    """Solve by Cholesky, but meet a fault at one of the calls of the factor."""

    fault: Any = None
    at: int = 0

    def factorise(self, point):
        factor, calls = super().factorise(point), itertools.count()

        def watched(method):
            def call(*args):
                if next(calls) == self.at:
                    self.fault()
                return method(*args)

            return call

        for name in ("solve", "quadratic", "row_products"):
            setattr(factor, name, watched(getattr(factor, name)))
        return factor


class WorkerError(Exception):
    pass


def fail():
    raise WorkerError


FAULTS = {
    "failing worker": (fail, WorkerError),
    "interrupt": (Interrupts.press, KeyboardInterrupt),
}


@contextlib.contextmanager
def nothing_left_behind(folder, monkeypatch):
    """Check that threads, BLAS threads, files and settings are afterwards as before."""
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("JOBLIB_TEMP_FOLDER", str(folder))
    monkeypatch.chdir(folder)

    def settings():
        pools = sorted((pool["filepath"], pool["num_threads"]) for pool in threadpool_info())
        return pools, sklearn.get_config(), blocks._Worker.siblings, np.geterr()

    threads, before = set(threading.enumerate()), settings()
    yield
    for thread in set(threading.enumerate()) - threads:
        thread.join(60.0)  # a pool that is told to stop ends after the block at hand
    assert set(threading.enumerate()) <= threads
    assert settings() == before
    assert blocks._Limit.holders == 0
    assert list(folder.rglob("*")) == []


def state(estimator):
    """Return the attributes of an estimator except those that it computes on demand."""
    attributes = {k: v for k, v in vars(estimator).items() if k != "_influence_state"}
    return {k: v.tobytes() if isinstance(v, np.ndarray) else v for k, v in attributes.items()}


@cache
def answer(name, n_jobs):
    """Return the result of a reader that has the estimator to itself."""
    return READERS[name](LogisticRegression(**NEWTON).fit(X, Y, W), n_jobs=n_jobs)


BACKENDS = ["threading", "loky"]


def faulty_readers():
    """Return each reader with one of the pairs of a fault and a backend, in turn."""
    pairs = itertools.cycle(itertools.product(FAULTS, BACKENDS))
    for name, (kind, backend) in zip(READERS, pairs, strict=False):
        yield pytest.param(name, kind, backend, id=f"{name}-{kind}-{backend}")


@pytest.mark.parametrize(("name", "kind", "backend"), faulty_readers())
def test_a_fault_in_parallel_work(fitted, name, kind, backend, tmp_path, monkeypatch):
    fault, error = FAULTS[kind]
    before = state(fitted)
    expected = answer(name, 3)
    with threadpool_limits(2, "blas"), nothing_left_behind(tmp_path, monkeypatch):
        with pytest.raises(error), joblib.parallel_config(backend):
            READERS[name](fitted, n_jobs=3, hessian_solver=Faulty(fault, 1))
        assert state(fitted) == before
        assert same_bits(READERS[name](fitted, n_jobs=3), expected)


CHANGES = {
    "polish": lambda e, s: e.polish(hessian_solver=s),
    "remove_samples": lambda e, s: e.remove_samples([3, 70, 150], hessian_solver=s),
    "remove_by_newton": lambda e, s: e.remove_samples([9], method="newton", hessian_solver=s),
    "add_samples": lambda e, s: e.add_samples(X[:3], Y[1:4], hessian_solver=s),
}


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_made_whole_or_not_at_all(name, kind):
    fault, error = FAULTS[kind]
    start = LogisticRegression(tol=1e-2).fit(X, Y, W)
    expected = CHANGES[name](copy.deepcopy(start), "cholesky").params_
    for at in range(50):
        fitted = copy.deepcopy(start)
        before = state(fitted)
        try:
            CHANGES[name](fitted, Faulty(fault, at))
        except error:
            assert state(fitted) == before
            np.testing.assert_array_equal(CHANGES[name](fitted, "cholesky").params_, expected)
        else:
            break
    assert 0 < at < 49
    np.testing.assert_array_equal(fitted.params_, expected)


def test_an_interrupted_fit_leaves_the_fit_before():
    def kernel(A, B):
        if len(A) == len(B) == 100:
            raise KeyboardInterrupt
        return A @ B.T

    fitted = SVC(kernel=kernel).fit(X, Y)
    before, expected = state(fitted), fitted.influence_loss(X[Q], Y[Q])
    with pytest.raises(KeyboardInterrupt):
        fitted.fit(X[:100], Y[:100])
    assert state(fitted) == before
    np.testing.assert_array_equal(fitted.influence_loss(X[Q], Y[Q]), expected)


# In turn: the test of threads repeats each with 1 job and with 2.
@pytest.mark.parametrize(
    ("name", "n_jobs"), list(zip(list(READERS)[::2], itertools.cycle([3, 1]), strict=False))
)
def test_repetition_gives_the_same_bits(fitted, name, n_jobs):
    for _ in range(2):
        found = READERS[name](copy.deepcopy(fitted), n_jobs=n_jobs)
        assert same_bits(found, answer(name, n_jobs))


def test_sixteen_threads_read_the_same_bits_as_one(fitted):
    """With one BLAS thread throughout: how many there are may change the last bit.

    Each thread begins elsewhere and reads a tenth of all, so that some read the same at once.
    """
    readers = READERS | MORE_READERS
    interval, config = sys.getswitchinterval(), sklearn.get_config()
    start = threading.Barrier(16)

    def read(first):
        names = (2 * list(readers))[2 * first : 2 * first + len(readers) // 10]
        start.wait()
        with sklearn.config_context(**config):
            return {name: readers[name](fitted, n_jobs=1 + first % 2) for name in names}

    with threadpool_limits(1, "blas"), warnings.catch_warnings():
        warnings.simplefilter("error")
        alone = {
            (name, n): reader(copy.deepcopy(fitted), n_jobs=n)
            for name, reader in readers.items()
            for n in (1, 2)
        }
        try:
            sys.setswitchinterval(1e-5)
            with ThreadPoolExecutor(16) as pool:
                found = list(pool.map(read, range(16)))
        finally:
            sys.setswitchinterval(interval)
    for first, results in enumerate(found):
        for name, result in results.items():
            assert same_bits(result, alone[name, 1 + first % 2]), name


def test_blocks_of_several_threads_keep_the_warning_filters():
    def filters(_):
        time.sleep(1e-3)
        return list(warnings.filters)

    def run(_):
        return blocks.run_blocks(filters, [1, 2, 3], n_jobs=2)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = list(warnings.filters)
        with ThreadPoolExecutor(16) as pool:
            found = list(pool.map(run, range(100)))
        assert found == [[before] * 3] * 100
        assert warnings.filters == before


@pytest.mark.parametrize("n_jobs", [1, 4])
def test_results_are_reduced_in_the_order_of_the_blocks(n_jobs):
    def late(block):
        time.sleep(1e-3 * (block % 3))
        return block

    found = []
    blocks.run_blocks(late, range(50), n_jobs=n_jobs, reduce=found.append)
    assert found == list(range(50))


@pytest.fixture
def wide_out(tmp_path):
    """Return a fit and a memmap for its influence that is larger than the free disk."""
    free = shutil.disk_usage(tmp_path).free
    n = 1_000_000
    x = np.linspace(0, 1, n)[:, None]
    reg = Ridge().fit(x, x[:, 0])
    q = int(free / 8 / n) + 2
    out = np.lib.format.open_memmap(tmp_path / "out.npy", "w+", np.float64, (q, n))
    return reg, x[:q], out


def test_a_file_that_outgrows_the_disk_is_refused(wide_out, tmp_path):
    reg, x, out = wide_out
    free, before = shutil.disk_usage(tmp_path).free, state(reg)
    with pytest.raises(OSError, match=r"No space left.*MiB.*float32.*out\.npy") as caught:
        reg.influence_loss(x, x[:, 0], out=out)
    assert caught.value.errno == errno.ENOSPC
    assert state(reg) == before
    assert os.stat(tmp_path / "out.npy").st_blocks < 100  # and nothing was taken
    assert shutil.disk_usage(tmp_path).free > free / 2


@pytest.mark.parametrize(("code", "refused"), [("EDQUOT", True), ("EOPNOTSUPP", False)])
def test_answers_of_the_file_system_to_a_reservation(
    fitted, tmp_path, monkeypatch, code, refused
):
    """A full quota is an error; a file system that cannot reserve is left to do its best."""

    def reserve(*args):
        raise OSError(getattr(errno, code), os.strerror(getattr(errno, code)))

    out = np.lib.format.open_memmap(tmp_path / "out.npy", "w+", np.float64, (178, 178))
    monkeypatch.setattr(os, "posix_fallocate", reserve)
    if refused:
        with pytest.raises(OSError, match=r"[Qq]uota.*out\.npy"):
            fitted.influence_loss(X, Y, out=out)
    else:
        fitted.influence_loss(X, Y, out=out)
        np.testing.assert_array_equal(out, fitted.influence_loss(X, Y))


@pytest.mark.parametrize("mode", ["r+", "c"])
def test_files_that_are_there_are_filled(fitted, tmp_path, mode):
    expected = fitted.influence_loss(X, Y)
    np.save(tmp_path / "out.npy", np.zeros((180, 178)))
    out = np.load(tmp_path / "out.npy", mmap_mode=mode)
    fitted.influence_loss(X, Y, out=out[1:-1])
    np.testing.assert_array_equal(out[1:-1], expected)
    assert not out[[0, -1]].any()


def test_a_file_with_a_header_of_any_length_is_filled(fitted, tmp_path):
    out = np.memmap(tmp_path / "out", np.float64, "w+", offset=4, shape=(178, 178))
    fitted.influence_loss(X, Y, out=out)
    np.testing.assert_allclose(out, fitted.influence_loss(X, Y), rtol=1e-12)
