"""Row blocks that fit into memory, their execution in parallel, and products within them.

Every long computation is a loop over row blocks. The block size keeps temporaries within a
fraction of `sklearn.get_config()["working_memory"]` (MiB), divided among the blocks that run
at the same time.

Products are made in place, by the pool of BLAS threads that LAPACK uses. The wheels for NumPy
and SciPy each contain a BLAS, whose threads keep spinning for a while after their work. If
calls alternate between both, one waits for the other: on two cores a GEMM from NumPy right
after a Cholesky factorisation from SciPy took twice its time. Only SciPy has the
factorisations we need, so large products also use SciPy. SciPy's wrappers hold the
interpreter's lock, and NumPy's products release it. If blocks run in parallel, each with one
BLAS thread, products therefore use NumPy.
"""

import threading
from contextlib import contextmanager

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs, wrap_non_picklable_objects
from joblib.parallel import get_active_backend
from scipy.linalg import blas
from scipy.sparse import issparse
from sklearn import config_context, get_config
from threadpoolctl import ThreadpoolController

#: Bytes that stay in a core's cache between two passes.
IN_CACHE = 2**18

# Larger temporaries only evict each other from cache: on two cores GEMM and SYRK reach full
# speed from about 1 MiB on, and page faults become noticeable from about 64 MiB.
_LARGEST_BLOCK = 32 * 2**20

# A computation may use two levels of blocks (queries, then training rows) and a copy made by
# a BLAS or LAPACK wrapper. A quarter for each keeps the sum below the limit.
_SHARE = 0.25

_GEMM = {"d": blas.dgemm, "f": blas.sgemm}
_GEMV = {"d": blas.dgemv, "f": blas.sgemv}

# Columns copied at a time, so that both triangles stay in cache.
_TILE = 128


def memory_budget(working_memory=None):
    """Return the total bytes that temporaries may use."""
    if working_memory is None:
        working_memory = get_config()["working_memory"]
    return working_memory * 2**20


def batches(n, size):
    """Return slices of length `size` that cover n entries; the last one may be shorter.

    scikit-learn's `gen_batches` checks its arguments, which takes longer than a small block.
    """
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def row_blocks(n_rows, row_bytes, *, n_jobs=None, working_memory=None, largest=None):
    """Return slices that cover `n_rows` rows.

    Parameters
    ----------
    n_rows : int
        Number of rows to cover.
    row_bytes : int
        Bytes for one row's temporaries.
    n_jobs : int or None, default=None
        Number of blocks that run at the same time, as joblib interprets it. With more than
        one job there are at least as many blocks as jobs, if there are enough rows.
    working_memory : float or None, default=None
        MiB for all temporaries together; None uses scikit-learn's setting.
    largest : int or None, default=None
        Largest block in bytes, even if memory allows more.

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
    return batches(n_rows, size) if n_rows else []


def run_blocks(function, blocks, *, n_jobs=None, verbose=0, reduce=None, is_pure=False):
    """Return `[function(block) for block in blocks]`, computed in joblib threads.

    With one job the blocks run in sequence and BLAS uses its own threads. With several jobs
    each thread has one BLAS thread, because two BLAS threads in each of two busy workers were
    measured ten times slower.

    If `verbose` is positive, joblib prints messages; more for larger values, and about the
    square root of the number of blocks for 1.

    If `reduce` is a callable, it is called with each result, one at a time and in block
    order. Sums then have the same bits on every run, and results do not accumulate in memory.
    The returned list contains the values from `reduce`.

    If `is_pure` is true, the function changes nothing, and its results can be pickled. It then
    runs in processes if the caller has chosen them with `joblib.parallel_config`.
    """
    jobs = effective_n_jobs(n_jobs)
    if jobs == 1 or len(blocks) < 2:
        return _in_turn(function, blocks, verbose, reduce)
    backend, _ = get_active_backend(prefer="threads")
    if is_pure and not getattr(backend, "supports_sharedmem", False):
        task = delayed(wrap_non_picklable_objects(_Apart(function, get_config(), jobs)))
        kind = "generator" if backend.supports_return_generator else "list"
        parallel = Parallel(n_jobs=jobs, verbose=verbose, return_as=kind)
        results = parallel(task(block) for block in blocks)
        return [result if reduce is None else reduce(result) for result in results]
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

    # Blocks write into shared arrays, so we need threads, whatever backend is configured. We
    # pass n_jobs because joblib forgets the configured number if it falls back to threads.
    # We avoid scikit-learn's Parallel, because it also copies the warning filters. These
    # belong to the process: if several threads copy them at once, some find them empty, and
    # they may stay empty.
    with one_blas_thread():
        return Parallel(n_jobs=jobs, require="sharedmem", verbose=verbose)(
            delayed(work)(place, block) for place, block in enumerate(blocks)
        )


def _in_turn(function, blocks, verbose, reduce):
    """Run the blocks in sequence."""

    def work(block):
        result = function(block)
        return result if reduce is None else reduce(result)

    if not verbose:
        return [work(block) for block in blocks]
    # With one job joblib calls the function in this thread and prints its messages.
    return Parallel(n_jobs=1, require="sharedmem", verbose=verbose)(
        delayed(work)(block) for block in blocks
    )


class _Apart:
    """Run blocks in another process, one of several that share the memory.

    Parameters
    ----------
    function : callable
        Called with each block.
    config : dict
        scikit-learn's configuration.
    jobs : int
        Number of processes.
    """

    def __init__(self, function, config, jobs):
        self.function = function
        self.config = config
        self.jobs = jobs

    def __call__(self, block):
        _Worker.siblings = self.jobs
        try:
            with config_context(**self.config):
                return self.function(block)
        finally:
            _Worker.siblings = 1


class _Turns:
    """Pass the results of threads to a function in the order in which the threads started.

    Parameters
    ----------
    reduce : callable
        Called with each result after all earlier results.
    """

    def __init__(self, reduce):
        self.reduce = reduce
        self.changed = threading.Condition()
        self.next, self.broken = 0, False

    @contextmanager
    def whole(self):
        """Wake all waiting threads if this one fails."""
        try:
            yield
        except BaseException:
            with self.changed:
                self.broken = True
                self.changed.notify_all()
            raise

    def take(self, place, result):
        """Wait for all earlier places and call `reduce`, unless a thread has failed."""
        with self.changed:
            self.changed.wait_for(lambda: self.next == place or self.broken)
            if not self.broken:
                self.reduce(result)
                self.next += 1
                self.changed.notify_all()


class _Siblings(threading.local):
    """Number of blocks that run in parallel with this thread's, for sharing memory."""

    siblings = 1
    limits = 0  # number of BLAS limits that this thread has set


_Worker = _Siblings()


class _Limit:
    """BLAS thread limit shared by all callers in this process.

    The limit applies to the whole process. Each `threadpool_limits` restores the limit that
    it found. If two overlap, the later one finds and restores the earlier one's limit, and
    BLAS would keep one thread forever. So the first caller sets the limit and the last one
    removes it.
    """

    lock = threading.Lock()
    holders = 0
    limits = None
    controller = None  # kept, because finding the libraries takes 0.3 ms and a limit 0.1 us


def _blas_is_limited():
    """Return whether this thread runs with one BLAS thread, in parallel with others.

    A limit set by another thread does not count, because results must not depend on it.
    """
    return _Worker.siblings > 1 or _Worker.limits > 0


@contextmanager
def one_blas_thread():
    """Context in which every BLAS uses one thread, for all threads in the process."""
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


def multiply(a, b, out, *, add=False):
    """Write a @ b into out and return it.

    Parameters
    ----------
    a, b : ndarray or sparse matrix of shape (m, k) and (k, n)
        Factors. They are copied only if they are contiguous in neither order.
    out : ndarray of shape (m, n)
        Filled in place.
    add : bool, default=False
        Add the product to out instead.
    """
    if not out.size:
        return out
    on_device = not isinstance(out, np.ndarray)  # with a BLAS of its own
    if on_device or issparse(a) or issparse(b):
        out[...] = out + a @ b if add else a @ b
        return out
    kind = a.dtype.char
    if not a.size or a.dtype != b.dtype or kind not in _GEMM or _blas_is_limited():
        if add:
            out += a @ b
            return out
        return np.matmul(a, b, out=out)
    if out.dtype != a.dtype or not out.flags.carray:  # BLAS would write into a copy
        product = multiply(a, b, np.empty(out.shape, a.dtype))
        np.add(out, product, out=out) if add else np.copyto(out, product, casting="same_kind")
        return out
    beta = float(add)
    # Fortran sees a C-ordered array as its transpose: out' = b' a'.
    if out.shape[1] == 1:
        matrix, trans = _operand(a)
        gemv = _GEMV[kind]
        gemv(1.0, matrix, b[:, 0], beta=beta, y=out[:, 0], trans=trans, overwrite_y=1)
    elif out.shape[0] == 1:
        matrix, trans = _operand(b.T)
        gemv = _GEMV[kind]
        gemv(1.0, matrix, a[0], beta=beta, y=out[0], trans=trans, overwrite_y=1)
    else:
        first, trans_a = _operand(b.T)
        second, trans_b = _operand(a.T)
        gemm = _GEMM[kind]
        gemm(1.0, first, second, beta, out.T, trans_a=trans_a, trans_b=trans_b, overwrite_c=1)
    return out


def _operand(a):
    """Return a Fortran-ordered matrix and whether it is the transpose of a."""
    return (a.T, 1) if a.flags.c_contiguous else (np.asfortranarray(a), 0)


def add_gram(rows, out):
    """Add rows' rows to the upper triangle of out; entries below it are undefined.

    Parameters
    ----------
    rows : ndarray of shape (m, D)
        Contiguous float64, in either order.
    out : ndarray of shape (D, D)
        C-contiguous float64.
    """
    if not isinstance(out, np.ndarray) or (_blas_is_limited() and len(rows) >= len(out)):
        # NumPy computes A'A from one buffer by SYRK, half the work of a GEMM, and releases the
        # interpreter's lock, but allocates an array as large as out. Few rows add in place.
        out += rows.T @ rows
    elif rows.size:
        matrix, trans = _operand(rows.T)
        blas.dsyrk(1.0, matrix, beta=1.0, c=out.T, trans=trans, lower=1, overwrite_c=1)


def fill_lower(square):
    """Copy the upper triangle of a square array to the lower one, in place."""
    if not isinstance(square, np.ndarray):  # `add_gram` fills both
        return square
    order = len(square)
    for start in range(0, order, _TILE):
        stop = min(start + _TILE, order)
        square[stop:, start:stop] = square[start:stop, stop:].T
        tile = square[start:stop, start:stop]
        tile[...] = np.triu(tile) + np.triu(tile, 1).T
    return square
