"""Dask arrays of samples, their chunks, and the tasks that run on them."""

import sys
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
from sklearn import config_context, get_config
from sklearn.utils import check_array, gen_batches

from skinfluence.blocks import one_blas_thread
from skinfluence.design import make_design
from skinfluence.objective import Objective
from skinfluence.solvers import Factor

__all__ = [
    "Samples",
    "import_dask",
    "in_memory",
    "is_dask",
    "join_rows",
    "map_rows",
    "share",
    "make_task",
    "reduce_tasks",
]

# Chunks whose sums are added in one task.
_FAN_IN = 8


def is_dask(*arguments):
    """Whether any of the arguments is a dask collection; never imports dask."""
    dask = sys.modules.get("dask")  # nobody holds a collection of a package not imported
    return dask is not None and any(map(dask.is_dask_collection, arguments))


def import_dask():
    """Return dask with dask.array, or say where to get it."""
    try:
        import dask
        import dask.array
    except ImportError as error:
        raise ImportError(
            "Dask arrays need the optional extra: pip install 'skinfluence[dask]'."
        ) from error
    return dask


def map_rows(function, X, n_columns=None):
    """Return the dask array of `function` of each chunk of rows of X.

    Parameters
    ----------
    function : callable
        Takes and returns an array of as many rows.
    X : dask array of shape (n,) or (n, d)
        Rows.
    n_columns : int or None, default=None
        Columns of the result; None for as many as X has.
    """
    X = _one_chunk_of_columns("X", X)
    chunks = X.chunks if n_columns is None else (X.chunks[0], (n_columns,))
    meta = np.empty((0,) * len(chunks))
    return X.map_blocks(function, chunks=chunks, meta=meta)


def in_memory(*arrays):
    """Return dask arrays as NumPy arrays, and anything else as it is."""
    return import_dask().compute(*arrays)


@dataclass(frozen=True, eq=False)
class Samples:
    """Labelled rows in chunks.

    Parameters
    ----------
    X : dask array of shape (n, d)
        Features, all columns in one chunk.
    y : dask array of shape (n,) or (n, K)
        Targets, in the same chunks of rows.
    sample_weight : dask array of shape (n,) or None
        Weights, in the same chunks of rows; None for ones.
    """

    X: object
    y: object
    sample_weight: object = None

    @classmethod
    def of(cls, X, y, sample_weight=None):
        """Return samples of dask arrays; y and sample_weight may be in memory."""
        X = _one_chunk_of_columns("X", X)
        if X.ndim != 2:
            raise ValueError(f"X has {X.ndim} dimension(s), but must have 2: (n, d).")
        if X.shape[0] == 0:
            raise ValueError("X has 0 rows, but at least one is required.")
        if y is None:
            raise ValueError("y is required: it is None.")
        if sample_weight is not None and np.ndim(sample_weight) == 0:
            sample_weight = np.full(X.shape[0], sample_weight)
        return cls(X, _aligned("y", y, X), _aligned("sample_weight", sample_weight, X))

    def __getstate__(self):
        # What is cached follows from the fields and has no place in a pickle.
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def lengths(self):
        """Number of rows of each chunk that has any."""
        return [length for length in self.X.chunks[0] if length]

    @cached_property
    def _chunks(self):
        """Delayed (X, y, sample_weight) of each chunk that has rows."""
        arrays = [self.X, self.y, self.sample_weight]
        count = self.X.numblocks[0]
        columns = [[None] * count if a is None else a.to_delayed().ravel() for a in arrays]
        lengths = self.X.chunks[0]
        return [
            c for c, length in zip(zip(*columns, strict=True), lengths, strict=True) if length
        ]

    def cut(self, largest):
        """Return these samples with no more than `largest` rows in a chunk."""
        if max(self.lengths) <= largest:
            return self
        parts = (gen_batches(length, largest) for length in self.lengths)
        rows = tuple(part.stop - part.start for some in parts for part in some)
        arrays = (self.X, self.y, self.sample_weight)
        return Samples(*(a if a is None else a.rechunk({0: rows}) for a in arrays))

    def map(self, formulation, function, *arguments):
        """Return delayed function(objective, *arguments) for the objective of each chunk."""
        shared = [share(argument) for argument in (formulation, *arguments)]
        return [make_task(_on_chunk, function, *chunk, *shared) for chunk in self._chunks]


# Building tasks.


def make_task(function, *arguments):
    """Return the call as a task, with the caller's setting of `working_memory`."""
    memory = get_config()["working_memory"]
    return import_dask().delayed(_run)(memory, function, *arguments)


def share(argument):
    """Return an argument that many tasks have in common as one node of the graph."""
    if callable(argument):
        return argument
    if isinstance(argument, Factor):
        argument = argument.without_rows()
    return import_dask().delayed(argument, traverse=False)


def reduce_tasks(function, tasks, *arguments):
    """Return one task that reduces many: function(list, *arguments), in a tree."""
    while len(tasks) > 1:
        starts = range(0, len(tasks), _FAN_IN)
        tasks = [make_task(function, tasks[i : i + _FAN_IN], *arguments) for i in starts]
    return tasks[0]


def join_rows(tasks, lengths):
    """Return the dask array (n,) whose chunks are the tasks."""
    da = import_dask().array
    parts = zip(tasks, lengths, strict=True)
    return da.concatenate([da.from_delayed(t, (m,), dtype=np.float64) for t, m in parts])


# Checks of what users pass.


def _one_chunk_of_columns(name, array):
    """Return a dask array whose chunks are of whole rows, or say what is wrong."""
    da = import_dask().array
    if not isinstance(array, da.Array):
        kind = f"{type(array).__module__.split('.')[0]} {type(array).__name__}"
        raise ValueError(
            f"{name} is a {kind}, but must be a dask array where other samples are dask "
            "collections: pass a dask array, of a dask dataframe its "
            "to_dask_array(lengths=True), or call compute() on the others."
        )
    if any(np.isnan(size) for size in array.shape):
        raise ValueError(
            f"The sizes of the chunks of {name} are unknown: call "
            f"{name}.compute_chunk_sizes()."
        )
    return array.rechunk({1: -1}) if array.ndim == 2 and array.numblocks[1] > 1 else array


def _aligned(name, array, X):
    """Return an array in X's chunks of rows as a dask array; None for None."""
    if array is None:
        return None
    if not is_dask(array):
        array = import_dask().array.from_array(np.asarray(array), chunks=-1)
    array = _one_chunk_of_columns(name, array)
    if array.ndim == 0 or array.shape[0] != X.shape[0]:
        raise ValueError(f"{name} has shape {array.shape}, but X has {X.shape[0]} rows.")
    return array.rechunk({0: X.chunks[0]})


# What runs in tasks.


def _run(working_memory, function, *arguments):
    # The scheduler runs chunks side by side: BLAS threads of their own would only be in the
    # way of each other.
    with config_context(working_memory=working_memory), one_blas_thread():
        return function(*arguments)


def _on_chunk(function, X, y, sample_weight, formulation, *arguments):
    X = check_array(X, accept_sparse="csr", input_name="X")
    design = make_design(X, formulation.layout.fit_intercept)
    target = formulation.target.encode(y)
    return function(
        Objective(formulation, design, target, _weight(sample_weight, X)), *arguments
    )


def _weight(sample_weight, X):
    """Return the weights of a chunk; those of one chunk may all be zero, not so of all."""
    if sample_weight is None:
        return np.ones(X.shape[0])
    weight = check_array(
        sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight"
    )
    if weight.ndim != 1:
        raise ValueError(f"sample_weight has {weight.ndim} dimensions, but must have 1.")
    return weight
