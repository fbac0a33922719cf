"""Influence, if training rows or queries are in dask arrays."""

from dataclasses import replace

import numpy as np

from skinfluence import influence
from skinfluence.distributed.objective import is_distributed
from skinfluence.distributed.samples import import_dask, make_task, reduce_tasks, share
from skinfluence.gradients import GradientRows

__all__ = ["influence_loss", "most_influential"]


def influence_loss(point, factor, query, *, average=False, dtype=np.float64):
    """Return I_up,loss for every training row and every query as a dask array.

    Either side may be in memory. The result has the chunks of the dask arrays. Query chunks
    are split if result chunks would exceed dask's configured size.

    Parameters
    ----------
    point, factor : Point or DistributedPoint, Factor
        The fitted model.
    query : GradientRows or DistributedPoint
        Query gradients, or a point with the query samples at the fitted parameters.
    average : bool, default=False
        Whether to use the mean loss over the queries.
    dtype : numpy dtype, default=numpy.float64
        Data type of the result.

    Returns
    -------
    dask array of shape (q, n), or (n,) with `average`
        The influences.
    """
    da = import_dask().array
    lengths = _lengths(point)
    rows = []
    width = max(lengths)
    for count, solved in _solutions(point, factor, query, average, width, _query_gradients):
        tasks = _map(point, _dot, solved, dtype)
        rows.append(
            [
                da.from_delayed(task, (count, length), dtype=dtype)
                for task, length in zip(tasks, lengths, strict=True)
            ]
        )
    result = da.block(rows)
    return result[0] if average else result


def most_influential(
    point, factor, query, n_influential, order, *, average=False, of_predictions=False
):
    """Return the training rows with the largest influence on each query.

    Every chunk keeps its own largest values, and these are merged in a tree. The result is in
    memory, see `influence.most_influential`. If `of_predictions`, queries in dask arrays stand
    for their predictions in place of their losses.
    """
    gradients = _prediction_gradients if of_predictions else _query_gradients
    dask = import_dask()
    starts = np.cumsum([0, *_lengths(point)[:-1]]).tolist()
    best = []
    width = 2 * n_influential
    for _, solved in _solutions(point, factor, query, average, width, gradients):
        tasks = _map(point, _largest, solved, n_influential, order)
        tasks = [
            make_task(_renumbered, t, start) for t, start in zip(tasks, starts, strict=True)
        ]
        best.append(reduce_tasks(_best, tasks, n_influential, order))
    values, indices = zip(*dask.compute(*best), strict=True)
    values, indices = np.concatenate(values), np.concatenate(indices)
    return (values[0], indices[0]) if average else (values, indices)


def _map(point, function, *arguments):
    """Return `point.map`, or one task if the point is in memory."""
    if is_distributed(point):
        return point.map(function, *arguments)
    return [make_task(function, share(point), *map(share, arguments))]


def _lengths(point):
    """Return the numbers of rows in the chunks that `_map` uses."""
    return point.objective.samples.lengths if is_distributed(point) else [len(point.rows)]


def _solutions(point, factor, query, average, width, gradients):
    """Return (number of queries, -S H^-1 times their gradients, shared) for each chunk.

    Query chunks are split if `width` numbers for each query, its gradient and the temporary
    arrays of a solve would exceed dask's own chunk size.
    """
    S, count = point.objective.weight_sum, _n_queries(query)
    if average:
        total = (
            query.total(_sum_gradients, gradients) if is_distributed(query) else query.sum()
        )
        return [(1, share(_scaled_solution(total[None] / count, factor, S)))]
    width += 6 * point.theta.size
    chunks = import_dask().array.core.normalize_chunks(
        ("auto", (width,)), (count, width), dtype=np.float64
    )
    if is_distributed(query):
        samples = query.objective.samples.cut(max(chunks[0]))
        query = replace(query.objective, samples=samples).at(query.theta)
        tasks = query.map(_solved_gradients, factor, S, gradients)
        return list(zip(samples.lengths, tasks, strict=True))
    stops = np.cumsum(chunks[0]).tolist()
    return [
        (m, share(_scaled_solution(query.take(slice(stop - m, stop)).toarray(), factor, S)))
        for m, stop in zip(chunks[0], stops, strict=True)
    ]


def _n_queries(query):
    return query.objective.n_rows if is_distributed(query) else len(query)


# Functions that run in tasks.


def _query_gradients(point):
    objective = point.objective
    return objective.formulation.query_gradients(
        objective.design, objective.target, point.theta
    )


def _prediction_gradients(point):
    """Return gradients of predictions; of several classes, of the predicted class's score."""
    objective, raw = point.objective, point.raw_prediction
    form = objective.formulation
    if hasattr(form.target, "class_codes"):
        gradient = np.eye(raw.shape[1])[raw.argmax(axis=1)]
    else:
        jacobian = form.loss.response_jacobian(raw)
        gradient = np.ones(raw.shape) if jacobian is None else jacobian[:, 0]
    return GradientRows(objective.design, gradient)


def _sum_gradients(point, gradients):
    return gradients(point).sum()


def _solved_gradients(point, factor, weight_sum, gradients):
    return _scaled_solution(gradients(point).toarray(), factor, weight_sum)


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
