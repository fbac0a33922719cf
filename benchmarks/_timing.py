"""Time and peak memory of functions without arguments."""

import time
import tracemalloc

__all__ = ["best_of", "peak_memory"]

# BLAS threads spin for a while after their work, OpenBLAS's for about 100 ms, and take a
# core from the next candidate if it uses another library's threads: a GEMM of NumPy right
# after LAPACK of SciPy took twice its time. After this pause (seconds) they are asleep.
_SETTLE = 0.2


def best_of(candidates, repeats, clock=time.perf_counter):
    """Return the shortest time of each candidate, in seconds; wall time by default.

    Every round runs every candidate once, so that a drift of the machine (frequency,
    neighbours) hits all alike. What a candidate returns is released outside its time:
    the pages of a fresh result are part of it, giving them back is not.

    Parameters
    ----------
    candidates : dict of str to callable
        Functions without arguments.
    repeats : int
        Number of rounds.
    clock : callable
        Returns the time.

    Returns
    -------
    seconds : dict of str to float
        Best of the rounds by candidate.
    """
    best = dict.fromkeys(candidates, float("inf"))
    for _ in range(repeats):
        for name, function in candidates.items():
            best[name] = min(best[name], _time_of(function, clock))
    return best


def peak_memory(function):
    """Return the bytes that `function` held at its peak beyond those held before.

    Counts what Python and NumPy allocate, results included, from all threads; buffers
    inside a BLAS are not seen. Tracing slows Python down, so time is measured apart.
    """
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        result = function()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    del result
    return peak - before


def _time_of(function, clock):
    time.sleep(_SETTLE)
    start = clock()
    result = function()
    seconds = clock() - start
    del result
    return seconds
