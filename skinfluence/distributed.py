"""Rows in dask arrays: the same formulas chunk by chunk, on the user's scheduler.

F, its gradient and its Hessian are sums over rows. Each chunk of rows becomes an ordinary
`Objective` inside a task; what it adds is computed there by the code that computes it for
arrays, sums are taken in a tree, and only sums reach the caller, who factorises the Hessian.
Nothing of the size of the data is held in one place: a task holds one chunk, its raw
predictions and temporaries within `working_memory`.

    Samples                checked dask arrays with equal chunks of rows
    DistributedObjective   what an `Objective` is to rows in memory
    DistributedPoint       what a `Point` is

The last two have those attributes of their models that Newton's method and a dense
factorisation read, and two ways to ask more of all rows: `total` and `per_row`.

The functions that run in tasks stand at module level, where every worker can import them.
"""

import sys
from dataclasses import dataclass, fields, replace
from functools import cache, cached_property

import numpy as np
from sklearn import config_context, get_config
from sklearn.utils import check_array, gen_batches

from skinfluence import influence
from skinfluence._compat import rank_cutoff
from skinfluence.blocks import one_blas_thread
from skinfluence.design import DenseDesign, make_design
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.objective import (
    Formulation,
    Objective,
    Point,
    hessian_blocks,
)
from skinfluence.rank import null_directions
from skinfluence.solvers import Factor

__all__ = [
    "DistributedObjective",
    "DistributedPoint",
    "Samples",
    "in_memory",
    "influence_loss",
    "is_dask",
    "is_distributed",
    "make_objective",
    "make_queries",
    "map_rows",
    "most_influential",
    "sample_loss",
]

# Chunks whose sums are added in one task.
_FAN_IN = 8


def is_dask(*arguments):
    """Whether any of the arguments is a dask collection; never imports dask."""
    dask = sys.modules.get("dask")  # nobody holds a collection of a package not imported
    return dask is not None and any(map(dask.is_dask_collection, arguments))


def is_distributed(*points):
    """Whether the rows of any of these are in dask arrays."""
    return any(isinstance(point, DistributedPoint) for point in points)


def _import_dask():
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
        shared = [_shared(argument) for argument in (formulation, *arguments)]
        return [_task(_on_chunk, function, *chunk, *shared) for chunk in self._chunks]


@dataclass(frozen=True, eq=False)
class DistributedObjective:
    """A formulation with training data in dask arrays.

    Parameters
    ----------
    formulation : Formulation
        What is minimised.
    samples : Samples or None
        The rows; None where only what follows from the other fields is needed.
    n_rows : int
        Number of rows, n.
    weight_sum : float
        S, the sum of the sample weights.
    """

    #: Whether solvers can have nothing but sums over the rows.
    is_distributed = True

    formulation: Formulation
    samples: Samples
    n_rows: int
    weight_sum: float

    def __getstate__(self):
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def _head(self):
        """The objective of no rows with the penalty of all of them."""
        form, layout = _of_a_part(self.formulation), self.formulation.layout
        if form.penalty_share is not None:
            penalty = form.penalty + self.weight_sum * form.penalty_share
            form = replace(form, penalty=penalty)
        design = DenseDesign(np.empty((0, layout.n_features)), layout.fit_intercept)
        return Objective(form, design, target=None, sample_weight=np.empty(0))

    @property
    def design(self):
        """The design of no rows, for what does not depend on them."""
        return self._head.design

    @property
    def penalty(self):
        """Diagonal of Lam at the present weights, shape (K, D)."""
        return self._head.penalty

    @property
    def coupled(self):
        """Whether the Hessian mixes outputs."""
        return self._head.coupled

    @property
    def gauge(self):
        """Columns along which one shift of all outputs leaves F as it is, (D,) bool."""
        return self._head.gauge

    @property
    def free(self):
        """Parameters that move, (K, D) bool."""
        return self._head.free

    @property
    def pin(self):
        """None: dependent features are refused, see `DistributedPoint.hessian_blocks`."""
        return None

    def freeze(self, V):
        """Set V (..., K, D) to zero, in place, where parameters do not move."""
        return self._head.freeze(V)

    def remove_gauge(self, V):
        """Project V (..., K, D) in place off the gauge directions and return it."""
        return self._head.remove_gauge(V)

    def with_extra_penalty(self, shift):
        """Return this objective with a penalty added to every parameter."""
        form = self.formulation
        return replace(self, formulation=replace(form, penalty=form.penalty + shift))

    def at(self, theta):
        """Return this objective evaluated at theta (K, D).

        Asked for the same theta twice in a row, the same point: its sums are known.
        """
        theta = np.array(theta, dtype=np.float64)
        last = vars(self).get("_last")
        if last is None or not np.array_equal(last.theta, theta):
            last = vars(self)["_last"] = DistributedPoint(self, theta)
        return last


class DistributedPoint:
    """A distributed objective at theta; every pass over the rows waits until it is needed.

    Parameters
    ----------
    objective : DistributedObjective
        The objective F.
    theta : ndarray of shape (K, D)
        Where.
    """

    def __init__(self, objective, theta):
        self.objective = objective
        self.theta = theta

    def map(self, function, *arguments):
        """Return delayed function(point, *arguments) for the point of each chunk.

        The points of the chunks add up to this one but for the part of the penalty that
        does not depend on the weights, which they leave out.
        """
        objective = self.objective
        form = objective.formulation
        form = replace(_of_a_part(form), penalty=np.zeros_like(form.penalty))
        return objective.samples.map(form, _at_point, function, self.theta, *arguments)

    def total(self, function, *arguments):
        """Return the sum of function(point, *arguments), an array, over the chunks."""
        return _tree(_sum, self.map(function, *arguments)).compute()

    def per_row(self, function, *arguments):
        """Return function(point, *arguments), (n,), as a dask array."""
        return _joined(self.map(function, *arguments), self.objective.samples.lengths)

    @cached_property
    def _sums(self):
        """F, G and the centre of the rows without the penalty, from one pass."""
        value, weight, *rest = self.total(_first_order)
        d = self.objective.design.n_features
        centre = np.array(rest[:d]) / weight if weight > 0 else None
        return value, np.reshape(rest[d:], self.theta.shape), centre

    @property
    def value(self):
        """F(theta)."""
        fixed = self.objective.formulation.penalty
        return self._sums[0] + 0.5 * float(np.sum(fixed * self.theta**2))

    @property
    def gradient(self):
        """G = grad F, shape (K, D)."""
        return self._sums[1] + self.objective.formulation.penalty * self.theta

    def centre(self):
        """Return the mean of the features with the rows as they count in H, or None."""
        return self._sums[2]

    def hessian_blocks(self, shift=None):
        """Return the diagonal blocks of H and which outputs each one serves."""
        grams = self.total(Point.curvature_grams, shift)
        if self._has_null_directions(grams[0]):
            raise UnsupportedEstimatorError(
                "The features depend on each other, and a solution of least norm needs its "
                "rows in memory, not in dask arrays: drop features, use Ridge, or call "
                "compute() on a part of the rows and pass that."
            )
        return hessian_blocks(self.objective, grams)

    def _has_null_directions(self, gram):
        """Return whether a solution of least norm is one of many."""
        unit, design = self.objective.formulation.minimum_norm, self.objective.design
        if unit is None:
            return False
        tol = rank_cutoff(unit, self.objective.n_rows, design.n_features)
        # With squared errors alone, H is the second moments of the rows times a number.
        return len(null_directions(gram, design, tol)[0]) > 0

    def hessian_diagonal(self):
        """Return the diagonal of H, shape (K, D)."""
        return self.total(Point.hessian_diagonal) + self.objective.formulation.penalty

    def slope_along(self, direction):
        """Return the function of t that is the slope of F at theta + t `direction`.

        Each value is a pass over the rows, that of the point itself if it is needed too.
        """

        @cache
        def slope_at(t):
            ahead = self.objective.at(self.theta + t * direction) if t else self
            return float(np.sum(ahead.gradient * direction))

        return slope_at

    def is_current(self):
        """Whether the rows are still those of the evaluation: dask arrays do not change."""
        return True

    def without_rows(self):
        """Return this point for solves alone, small enough to be sent around."""
        return replace(self.objective, samples=None).at(self.theta)


def make_objective(formulation, samples):
    """Return the objective of dask arrays and their smallest weight, from one pass.

    The pass checks every chunk.
    """
    weights = _import_dask().compute(*samples.map(formulation, _weights))
    total, smallest = np.sum(weights, axis=0)[0], np.min(weights, axis=0)[1]
    if total == 0:
        raise ValueError("sample_weight holds nothing but zeros: at least one must be more.")
    objective = DistributedObjective(formulation, samples, samples.X.shape[0], float(total))
    return objective, float(smallest)


def make_queries(formulation, samples, theta):
    """Return query samples at theta; their chunks are checked when they are read."""
    n = samples.X.shape[0]
    return DistributedObjective(formulation, samples, n, float(n)).at(theta)


def in_memory(*arrays):
    """Return dask arrays as NumPy arrays, and anything else as it is."""
    return _import_dask().compute(*arrays)


def sample_loss(point):
    """Return the plain loss of each sample as a dask array, (m,)."""
    return point.per_row(_plain_loss)


def influence_loss(point, factor, query, *, average=False, dtype=np.float64):
    """Return I_up,loss of every training row on every query as a dask array.

    Either side may be in memory. Chunks are those of the dask arrays, those of the queries
    cut where chunks of the result would be larger than dask is configured for.

    Parameters
    ----------
    point, factor : Point or DistributedPoint, Factor
        The fitted problem.
    query : GradientRows or DistributedPoint
        Queries: their gradients, or their dask arrays at the fitted parameters.
    average : bool, default=False
        Whether the mean loss of the queries is meant.
    dtype : numpy dtype, default=numpy.float64
        Type of the result.

    Returns
    -------
    dask array of shape (q, n), or (n,) with `average`
        The influences.
    """
    da = _import_dask().array
    lengths = _lengths(point)
    rows = []
    for count, solved in _solutions(point, factor, query, average, max(lengths)):
        tasks = _map(point, _dot, solved, dtype)
        rows.append(
            [
                da.from_delayed(task, (count, length), dtype=dtype)
                for task, length in zip(tasks, lengths, strict=True)
            ]
        )
    result = da.block(rows)
    return result[0] if average else result


def most_influential(point, factor, query, n_influential, order, *, average=False):
    """Return the training rows with the largest influence on each query.

    Every chunk keeps its own best, and the best of chunks are merged in a tree. See
    `influence.most_influential` for the result, which is in memory.
    """
    dask = _import_dask()
    starts = np.cumsum([0, *_lengths(point)[:-1]]).tolist()
    best = []
    for _, solved in _solutions(point, factor, query, average, 2 * n_influential):
        tasks = _map(point, _largest, solved, n_influential, order)
        tasks = [_task(_renumbered, t, start) for t, start in zip(tasks, starts, strict=True)]
        best.append(_tree(_best, tasks, n_influential, order))
    values, indices = zip(*dask.compute(*best), strict=True)
    values, indices = np.concatenate(values), np.concatenate(indices)
    return (values[0], indices[0]) if average else (values, indices)


def _of_a_part(formulation):
    """Return a formulation for some of the rows, without what only all of them say."""
    return replace(formulation, minimum_norm=None)


# Building tasks.


def _task(function, *arguments):
    """Return the call as a task, with the caller's setting of `working_memory`."""
    memory = get_config()["working_memory"]
    return _import_dask().delayed(_run)(memory, function, *arguments)


def _shared(argument):
    """Return an argument that many tasks have in common as one node of the graph."""
    if callable(argument):
        return argument
    if isinstance(argument, Factor):
        argument = argument.without_rows()
    return _import_dask().delayed(argument, traverse=False)


def _tree(function, tasks, *arguments):
    """Return one task that reduces many: function(list, *arguments), in a tree."""
    while len(tasks) > 1:
        starts = range(0, len(tasks), _FAN_IN)
        tasks = [_task(function, tasks[i : i + _FAN_IN], *arguments) for i in starts]
    return tasks[0]


def _joined(tasks, lengths):
    """Return the dask array (n,) whose chunks are the tasks."""
    da = _import_dask().array
    parts = zip(tasks, lengths, strict=True)
    return da.concatenate([da.from_delayed(t, (m,), dtype=np.float64) for t, m in parts])


def _map(point, function, *arguments):
    """Return `point.map`; a point in memory is one chunk."""
    if is_distributed(point):
        return point.map(function, *arguments)
    return [_task(function, _shared(point), *map(_shared, arguments))]


def _lengths(point):
    """Return the numbers of rows of the chunks of `_map`."""
    return point.objective.samples.lengths if is_distributed(point) else [len(point.rows)]


def _solutions(point, factor, query, average, width):
    """Return (number of queries, -S H^-1 times their gradients, shared) chunk by chunk.

    Chunks are those of the queries, cut where `width` numbers for each query, its gradient
    and what a solve makes of it would be larger than dask's own chunks.
    """
    S, count = point.objective.weight_sum, _n_queries(query)
    if average:
        total = query.total(_sum_gradients) if is_distributed(query) else query.sum()
        return [(1, _shared(_scaled_solution(total[None] / count, factor, S)))]
    width += 6 * point.theta.size
    chunks = _import_dask().array.core.normalize_chunks(
        ("auto", (width,)), (count, width), dtype=np.float64
    )
    if is_distributed(query):
        samples = query.objective.samples.cut(max(chunks[0]))
        query = replace(query.objective, samples=samples).at(query.theta)
        tasks = query.map(_solved_gradients, factor, S)
        return list(zip(samples.lengths, tasks, strict=True))
    stops = np.cumsum(chunks[0]).tolist()
    return [
        (m, _shared(_scaled_solution(query.take(slice(stop - m, stop)).toarray(), factor, S)))
        for m, stop in zip(chunks[0], stops, strict=True)
    ]


def _n_queries(query):
    return query.objective.n_rows if is_distributed(query) else len(query)


# Checks of what users pass.


def _one_chunk_of_columns(name, array):
    """Return a dask array whose chunks are of whole rows, or say what is wrong."""
    da = _import_dask().array
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
        array = _import_dask().array.from_array(np.asarray(array), chunks=-1)
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


def _at_point(objective, function, theta, *arguments):
    # A step may go too far out for a loss: who takes it looks at the numbers.
    with np.errstate(over="ignore", invalid="ignore"):
        return function(objective.at(theta), *arguments)


def _sum(arrays):
    total = np.array(arrays[0])
    for array in arrays[1:]:
        total += array
    return total


def _weights(objective):
    return objective.weight_sum, objective.sample_weight.min()


def _first_order(point):
    """Return F, then the weight and weighted sum of the features, then G, in one vector.

    The weight is 0 where the design is not to be centred.
    """
    design = point.objective.design
    w = point.curvature_diagonal().sum(axis=1)
    centre, weight = design.centre(w) if design.is_dense else None, w.sum()
    if centre is None:
        centre, weight = np.zeros(design.n_features), 0.0
    return np.concatenate([[point.value, weight], weight * centre, point.gradient.ravel()])


def _query_gradients(point):
    objective = point.objective
    return objective.formulation.query_gradients(
        objective.design, objective.target, point.theta
    )


def _plain_loss(point):
    objective = point.objective
    return objective.formulation.loss.loss(objective.target, point.raw_prediction)


def _sum_gradients(point):
    return _query_gradients(point).sum()


def _solved_gradients(point, factor, weight_sum):
    return _scaled_solution(_query_gradients(point).toarray(), factor, weight_sum)


def _scaled_solution(V, factor, weight_sum):
    solved = factor.solve_transposed(V)
    solved *= -weight_sum
    return solved


def _dot(point, solved, dtype):
    out = np.empty((len(solved), len(point.rows)), dtype=dtype)
    return point.rows.dot(solved, out=out)


def _largest(point, solved, n_influential, order):
    return influence.largest_products(point.rows, solved, n_influential, order)


def _renumbered(best, start):
    values, indices = best
    return values, indices + start


def _best(candidates, n_influential, order):
    values, indices = zip(*candidates, strict=True)
    return influence.keep_largest(np.hstack(values), np.hstack(indices), n_influential, order)
