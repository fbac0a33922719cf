"""Dask arrays of samples, their chunks, and the tasks that run on them."""

from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
from sklearn import config_context, get_config
from sklearn.utils import check_array

from skinfluence.blocks import batches, one_blas_thread
from skinfluence.checks import import_pandas
from skinfluence.design import make_design
from skinfluence.namespaces import is_dask
from skinfluence.objective import Objective
from skinfluence.solvers import Factor
from skinfluence.targets import check_target

# Number of chunks whose sums are added in one task.
_FAN_IN = 8


def is_distributed(*points):
    """Return whether any of these is a point of an objective on rows in dask arrays."""
    objectives = (getattr(point, "objective", None) for point in points)
    return any(getattr(objective, "is_distributed", False) for objective in objectives)


def import_dask():
    """Return dask with dask.array, or raise an error that says how to install it."""
    try:
        import dask
        import dask.array
    except ImportError as error:
        raise ImportError(
            "Dask arrays need the optional extra: pip install 'skinfluence[dask]'."
        ) from error
    return dask


def map_rows(function, X, n_columns=None):
    """Apply `function` to each chunk of rows in X and return the dask array.

    Parameters
    ----------
    function : callable
        Takes an array and returns one with as many rows.
    X : dask array of shape (n,) or (n, d)
        Rows.
    n_columns : int or None, default=None
        Number of columns in the result; None for as many as in X.
    """
    if _is_frame(X):
        # Partitions stay frames, because a function may select columns by name.
        parts = X.to_delayed()
        lengths = in_memory(*(make_task(len, part) for part in parts))
        trailing = (len(X.columns) if n_columns is None else n_columns,)
        return join_rows([make_task(function, part) for part in parts], lengths, trailing)
    X = _one_chunk_of_columns("X", X)
    chunks = X.chunks if n_columns is None else (X.chunks[0], (n_columns,))
    meta = np.empty((0,) * len(chunks))
    return X.map_blocks(function, chunks=chunks, meta=meta)


def constant_target(X, value):
    """Return the same target for all queries in a dask array, whose losses are not used.

    `value` is one target, a number or label or an array (K,).
    """
    da = import_dask().array
    X, value = _one_chunk_of_columns("X", X), np.asarray(value)
    shape, chunks = (X.shape[0], *value.shape), (X.chunks[0], *value.shape)
    return da.broadcast_to(da.from_array(value, chunks=-1), shape, chunks=chunks)


def example_row(X):
    """Return one row of zeros, with the column names of a dask dataframe."""
    if not _is_frame(X):
        return np.zeros((1, X.shape[1]))
    pandas = import_pandas("a dask dataframe")
    return pandas.DataFrame(np.zeros((1, len(X.columns))), columns=list(X.columns))


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
    y : dask array of shape (n,) or (n, m)
        Targets, in the same chunks of rows.
    sample_weight : dask array of shape (n,) or None, default=None
        Weights, in the same chunks of rows; None for ones.
    absent : ndarray or None, default=None
        Indices of rows whose weight is 0 instead.
    """

    X: object
    y: object
    sample_weight: object = None
    absent: object = None

    @classmethod
    def of(cls, X, y, sample_weight=None):
        """Return samples from dask arrays or dataframes.

        y and sample_weight may be in memory. The lengths of a dataframe's partitions are
        computed.
        """
        X = _one_chunk_of_columns("X", X)
        if X.ndim != 2:
            raise ValueError(f"X has {X.ndim} dimension(s), but must have 2: (n, d).")
        if X.shape[0] == 0:
            raise ValueError("X has 0 rows, but at least one is required.")
        check_target(y)
        if sample_weight is not None and np.ndim(sample_weight) == 0:
            sample_weight = np.full(X.shape[0], sample_weight)
        return cls(X, _aligned("y", y, X), _aligned("sample_weight", sample_weight, X))

    def __getstate__(self):
        # Cached values follow from the fields, so a pickle omits them.
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def lengths(self):
        """Number of rows in each chunk that is not empty."""
        return [length for length in self.X.chunks[0] if length]

    @property
    def starts(self):
        """Index of the first row in each chunk that is not empty."""
        return np.cumsum([0, *self.lengths[:-1]]).tolist()

    def without(self, rows):
        """Return these samples with weight 0 for some rows."""
        absent = rows if self.absent is None else np.union1d(self.absent, rows)
        return replace(self, absent=np.asarray(absent))

    def places(self, rows):
        """Return the places of rows in each chunk, -1 for rows of other chunks.

        `rows` is an array of indices, in which -1 stands for none.
        """
        pairs = zip(self.starts, self.lengths, strict=True)
        return [np.where((rows >= i) & (rows < i + m), rows - i, -1) for i, m in pairs]

    def places_of(self, members):
        """Return, for each chunk, a list of the places of each group's rows in it."""
        by_group = [self.places(np.asarray(rows)) for rows in members]
        return [
            [places[places >= 0] for places in of_chunk]
            for of_chunk in zip(*by_group, strict=True)
        ]

    def chunks_of(self, X):
        """Return other features of the same rows, delayed for each chunk."""
        chunks = X.to_delayed() if _is_frame(X) else _one_chunk_of_columns("X", X).to_delayed()
        lengths = self.X.chunks[0]
        return [c for c, m in zip(np.ravel(chunks), lengths, strict=True) if m]

    def labels_and_weights(self, rows):
        """Return the targets and the weights of some rows in memory, without their X."""
        weight = self.sample_weight
        y, weight = in_memory(self.y[rows], 1.0 if weight is None else weight[rows])
        return y, np.broadcast_to(weight, len(rows))

    def weights(self):
        """Return all weights in memory, (n,)."""
        if self.sample_weight is None:
            return np.ones(self.X.shape[0])
        return in_memory(self.sample_weight)[0]

    @cached_property
    def _chunks(self):
        """Delayed (X, y, sample_weight) for each chunk that is not empty."""
        arrays = [self.X, self.y, self.sample_weight]
        count = self.X.numblocks[0]
        columns = [[None] * count if a is None else a.to_delayed().ravel() for a in arrays]
        lengths = self.X.chunks[0]
        return [
            c for c, length in zip(zip(*columns, strict=True), lengths, strict=True) if length
        ]

    def cut(self, largest):
        """Return these samples with at most `largest` rows in a chunk."""
        if max(self.lengths) <= largest:
            return self
        parts = (batches(length, largest) for length in self.lengths)
        rows = tuple(part.stop - part.start for chunk in parts for part in chunk)
        arrays = (self.X, self.y, self.sample_weight)
        cut = (a if a is None else a.rechunk({0: rows}) for a in arrays)
        return Samples(*cut, absent=self.absent)

    def map(self, formulation, function, *arguments, own=None):
        """Return delayed function(objective, *arguments) for each chunk's objective.

        With `own`, a list with an argument for each chunk, this is the first argument.
        """
        shared = [share(argument) for argument in (formulation, *arguments)]
        absent = [None] * len(self._chunks)
        if self.absent is not None:
            absent = [places[places >= 0] for places in self.places(self.absent)]
        each = [()] * len(absent) if own is None else [(argument,) for argument in own]
        return [
            make_task(_on_chunk, function, *chunk, gone, mine, *shared)
            for chunk, gone, mine in zip(self._chunks, absent, each, strict=True)
        ]


# Building tasks.


def make_task(function, *arguments):
    """Return the call as a task that uses the caller's `working_memory`."""
    memory = get_config()["working_memory"]
    return import_dask().delayed(_run)(memory, function, *arguments)


def share(argument):
    """Return an argument as one graph node, for many tasks to share."""
    if callable(argument):
        return argument
    if isinstance(argument, Factor):
        argument = argument.without_rows()
    return import_dask().delayed(argument, traverse=False)


def reduce_tasks(function, tasks, *arguments):
    """Return one task that reduces many by function(list, *arguments), in a tree."""
    while len(tasks) > 1:
        starts = range(0, len(tasks), _FAN_IN)
        tasks = [make_task(function, tasks[i : i + _FAN_IN], *arguments) for i in starts]
    return tasks[0]


def join_rows(tasks, lengths, trailing=(), dtype=np.float64):
    """Return the dask array (n, *trailing) with the tasks as its chunks."""
    da = import_dask().array
    parts = zip(tasks, lengths, strict=True)
    return da.concatenate([da.from_delayed(t, (m, *trailing), dtype=dtype) for t, m in parts])


def join_columns(tasks, lengths, count, dtype=np.float64):
    """Return the dask array (count, n) with the tasks (count, m) as its chunks."""
    da = import_dask().array
    parts = zip(tasks, lengths, strict=True)
    columns = [da.from_delayed(t, (count, m), dtype=dtype) for t, m in parts]
    return da.concatenate(columns, axis=1)


# Checks of the arguments that users pass.


def _one_chunk_of_columns(name, array):
    """Return a dask array whose chunks contain whole rows, or raise an error."""
    da = import_dask().array
    if _is_frame(array):
        array = array.to_dask_array(lengths=True)
    if not isinstance(array, da.Array):
        kind = f"{type(array).__module__.split('.')[0]} {type(array).__name__}"
        raise ValueError(
            f"{name} is a {kind}, but must be a dask array or dataframe, because other "
            "samples are dask collections: pass one, or call compute() on the others."
        )
    if any(np.isnan(size) for size in array.shape):
        raise ValueError(
            f"The chunk sizes of {name} are unknown: call {name}.compute_chunk_sizes()."
        )
    return array.rechunk({1: -1}) if array.ndim == 2 and array.numblocks[1] > 1 else array


def _is_frame(array):
    """Return whether an argument is a dask dataframe or series."""
    return is_dask(array) and hasattr(array, "to_dask_array")


def _aligned(name, array, X):
    """Return an array as a dask array in X's row chunks; None for None."""
    if array is None:
        return None
    if not is_dask(array):
        array = import_dask().array.from_array(np.asarray(array), chunks=-1)
    array = _one_chunk_of_columns(name, array)
    if array.ndim == 0 or array.shape[0] != X.shape[0]:
        raise ValueError(f"{name} has shape {array.shape}, but X has {X.shape[0]} rows.")
    return array.rechunk({0: X.chunks[0]})


# Functions that run in tasks.


def _run(working_memory, function, *arguments):
    # The scheduler runs chunks in parallel, so BLAS threads would compete with each other.
    with config_context(working_memory=working_memory), one_blas_thread():
        return function(*arguments)


def _on_chunk(function, X, y, sample_weight, absent, own, formulation, *arguments):
    X = check_array(X, accept_sparse="csr", input_name="X")
    design = make_design(X, formulation.layout.fit_intercept)
    target, weight = formulation.target.encode(y), _weight(sample_weight, X)
    if absent is not None:
        weight = weight.copy()
        weight[absent] = 0.0
    return function(Objective(formulation, design, target, weight), *own, *arguments)


def _weight(sample_weight, X):
    """Return the weights in a chunk. They may all be zero, if other chunks have weight."""
    if sample_weight is None:
        return np.ones(X.shape[0])
    weight = check_array(
        sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight"
    )
    if weight.ndim != 1:
        raise ValueError(f"sample_weight has {weight.ndim} dimensions, but must have 1.")
    return weight
