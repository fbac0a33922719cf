"""Row blocks that fit into memory, and running them side by side.

Every long computation is a loop over blocks of rows. A block is sized so that its
temporaries stay within a share of `sklearn.get_config()["working_memory"]` (MiB), divided
among the blocks that run at the same time.
"""

import threading
from contextlib import contextmanager

from joblib import Parallel, delayed, effective_n_jobs
from sklearn import config_context, get_config
from sklearn.utils import gen_batches
from threadpoolctl import ThreadpoolController

__all__ = [
    "IN_CACHE",
    "blas_is_limited",
    "memory_budget",
    "one_blas_thread",
    "row_blocks",
    "run_blocks",
]

#: Bytes that stay in a core's cache from one pass to the next.
IN_CACHE = 2**18

# Temporaries above this size only evict each other from cache: on two cores GEMM and SYRK
# reach full speed from about 1 MiB on, and page faults show from about 64 MiB.
_LARGEST_BLOCK = 32 * 2**20

# A computation may hold two levels of blocks (queries, then training rows) and the copy
# that a BLAS or LAPACK wrapper makes; a quarter each keeps the sum below the whole.
_SHARE = 0.25


def memory_budget(working_memory=None):
    """Return the bytes that temporaries may take together."""
    if working_memory is None:
        working_memory = get_config()["working_memory"]
    return working_memory * 2**20


def row_blocks(n_rows, row_bytes, *, n_jobs=None, working_memory=None, largest=None):
    """Return slices that cover `n_rows` rows.

    Parameters
    ----------
    n_rows : int
        Number of rows to cover.
    row_bytes : int
        Bytes of temporaries that one row needs.
    n_jobs : int or None, default=None
        How many blocks run at the same time, as joblib reads it. With more than one
        job there are at least as many blocks, where there are rows enough.
    working_memory : float or None, default=None
        MiB for all temporaries together; None takes scikit-learn's setting.
    largest : int or None, default=None
        Bytes above which a block does not grow even if memory allows.

    Returns
    -------
    list of slice
        Consecutive slices.
    """
    jobs = effective_n_jobs(n_jobs)
    budget = _SHARE * memory_budget(working_memory) / (jobs * _Worker.siblings)
    budget = min(budget, _LARGEST_BLOCK if largest is None else largest)
    size = max(1, int(budget // max(1, row_bytes)))
    if jobs > 1:
        size = min(size, -(-n_rows // jobs))
    return list(gen_batches(n_rows, size)) if n_rows else []


def run_blocks(function, blocks, *, n_jobs=None, verbose=0, reduce=None):
    """Return `[function(block) for block in blocks]`, over joblib threads.

    With one job the blocks run in turn and BLAS uses its own threads; with more, each
    thread has one BLAS thread: two BLAS threads in each of two busy workers were measured
    ten times slower than this.

    With `verbose` joblib writes its messages, the more the larger it is: about the square root
    of the number of blocks at 1.

    With `reduce`, a callable, each result goes into it instead, one at a time and in the
    order of the blocks: sums have the same bits on repetition, and no result waits for the
    last one in memory.
    """
    jobs = effective_n_jobs(n_jobs)
    if jobs == 1 or len(blocks) < 2:
        return _in_turn(function, blocks, verbose, reduce)
    turns = None if reduce is None else _Turns(reduce)

    config = get_config()  # the caller's working_memory, which threads do not inherit

    def work(place, block):
        _Worker.siblings = jobs
        try:
            with config_context(**config):
                if turns is None:
                    return function(block)
                with turns.whole():
                    return turns.take(place, function(block))
        finally:
            _Worker.siblings = 1

    # Blocks write into shared results, so threads it is, whatever backend is configured; as
    # many as that one would run, which joblib forgets when it falls back on threads.
    # scikit-learn's Parallel hands on the filters of warnings too, which are the process's:
    # where several threads do so at once some find them empty, and they may stay so.
    with one_blas_thread():
        return Parallel(n_jobs=jobs, require="sharedmem", verbose=verbose)(
            delayed(work)(place, block) for place, block in enumerate(blocks)
        )


def _in_turn(function, blocks, verbose, reduce):
    """Run the blocks one after the other."""

    def work(block):
        result = function(block)
        return result if reduce is None else reduce(result)

    if not verbose:
        return [work(block) for block in blocks]
    # With one job joblib calls the function here, in this thread, and writes its messages.
    return Parallel(n_jobs=1, require="sharedmem", verbose=verbose)(
        delayed(work)(block) for block in blocks
    )


class _Turns:
    """Lets threads that began in order end in order.

    Parameters
    ----------
    reduce : callable
        What each calls with its result when all before it have.
    """

    def __init__(self, reduce):
        self.reduce = reduce
        self.changed = threading.Condition()
        self.next, self.broken = 0, False

    @contextmanager
    def whole(self):
        """Let nobody wait for a thread that fails."""
        try:
            yield
        except BaseException:
            with self.changed:
                self.broken = True
                self.changed.notify_all()
            raise

    def take(self, place, result):
        """Call `reduce` when it is the turn of this place; not after a failure."""
        with self.changed:
            self.changed.wait_for(lambda: self.next == place or self.broken)
            if not self.broken:
                self.reduce(result)
                self.next += 1
                self.changed.notify_all()


class _Siblings(threading.local):
    """How many blocks run beside this thread's, so that inner blocks share memory."""

    siblings = 1
    limits = 0  # that this thread has set on BLAS


_Worker = _Siblings()


class _Limit:
    """BLAS thread limit shared by all callers in this process.

    The limit is process-wide. Two overlapping `threadpool_limits` would each restore what
    they found, and the later one finds the limit of the earlier: BLAS would stay at one
    thread for ever. So the first caller sets it and the last one takes it back.
    """

    lock = threading.Lock()
    holders = 0
    limits = None
    controller = None  # finding the libraries takes 0.3 ms, a limit 0.1 us


def blas_is_limited():
    """Return whether what this thread does has one BLAS thread, beside others that have one.

    A limit that another thread has set does not count: results must not depend on it.
    """
    return _Worker.siblings > 1 or _Worker.limits > 0


@contextmanager
def one_blas_thread():
    """Limit every BLAS to one thread inside, for all threads of the process."""
    with _Limit.lock:
        if _Limit.holders == 0:
            if _Limit.controller is None:
                _Limit.controller = ThreadpoolController()
            _Limit.limits = _Limit.controller.limit(limits=1, user_api="blas")
        _Limit.holders += 1
    _Worker.limits += 1
    try:
        yield
    finally:
        _Worker.limits -= 1
        with _Limit.lock:
            _Limit.holders -= 1
            if _Limit.holders == 0:
                _Limit.limits.restore_original_limits()
                _Limit.limits = None
