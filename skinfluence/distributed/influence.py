"""Influence, if training rows or queries are in dask arrays."""

from dataclasses import replace
from functools import partial

import numpy as np

from skinfluence import influence
from skinfluence.blocks import row_blocks
from skinfluence.column_scales import column_sums
from skinfluence.distributed.samples import (
    import_dask,
    is_distributed,
    join_columns,
    join_rows,
    make_task,
    map_rows,
    reduce_tasks,
    share,
)
from skinfluence.gradients import GradientRows
from skinfluence.largest import keep_largest, largest_products


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
    width = max(_lengths(point))
    solutions = _solutions(point, factor, query, average, width, _query_gradients)
    result = _products(point, solutions, dtype)
    return result[0] if average else result


def influence_functional(point, factor, V, *, of_params=True, dtype=np.float64):
    """Return the influence of every training row on scalars, as a dask array.

    Parameters
    ----------
    point, factor : DistributedPoint, Factor
        The fitted model.
    V : ndarray of shape (m, K, D)
        The scalars' gradients.
    of_params : bool, default=True
        Whether the scalars depend on the refit's parameters, which belong to the features on
        its own scales. Otherwise they depend on predictions.
    dtype : numpy dtype, default=numpy.float64
        Data type of the result.

    Returns
    -------
    dask array of shape (m, n)
        The influences.
    """
    S, (_, penalty_effect) = point.objective.weight_sum, point.effects
    counts = _chunks_of_queries(point, len(V), max(_lengths(point)))
    stops = np.cumsum(counts).tolist()
    parts = [(m, V[stop - m : stop]) for m, stop in zip(counts, stops, strict=True)]
    solutions = [(m, share(_scaled_solution(part, factor, S))) for m, part in parts]
    result = _products(point, solutions, dtype)
    if of_params and penalty_effect is not None:
        shared = [(m, share(part)) for m, part in parts]
        result += _blocks(point, shared, dtype, _dot_by_refit, S, penalty_effect)
    return result


def influence_prediction(point, factor, query, jacobian, n_responses, *, dtype=np.float64):
    """Return the influence of every training row on responses, as a dask array.

    Parameters
    ----------
    point, factor : Point or DistributedPoint, Factor
        The fitted model.
    query : Design or DistributedPoint
        Query rows in memory, or a point with the query samples at the fitted parameters.
    jacobian : callable or None
        Maps raw predictions (m, K) to d response / d raw prediction, (m, R, K); None for the
        raw prediction itself.
    n_responses : int
        Number of responses, R.
    dtype : numpy dtype, default=numpy.float64
        Data type of the result.

    Returns
    -------
    dask array of shape (q, n, R)
        The influences.
    """
    da = import_dask().array
    width, theta = max(_lengths(point)), point.theta
    responses = []
    for r in range(n_responses):
        if is_distributed(query):
            solutions = _mapped(point, factor, query, width, _solved_response, jacobian, r)
        else:
            rows = _response_rows(query, theta, jacobian, r)
            solutions = _solutions(point, factor, rows, False, width, None)
        responses.append(_products(point, solutions, dtype))
    return da.stack(responses, axis=-1)


def influence_params(point, factor, rows, *, dtype=np.float64):
    """Return I_up,params of rows in dask arrays, as a dask array (m, p).

    Parameters
    ----------
    point, factor : Point or DistributedPoint, Factor
        The fitted model.
    rows : DistributedPoint
        A point with the rows at the fitted parameters.
    dtype : numpy dtype, default=numpy.float64
        Data type of the result.
    """
    layout = point.objective.formulation.layout
    function = _params_of_training if rows is point else _params_of_given
    arguments = factor, point.objective.weight_sum, layout, dtype, *point.effects
    tasks = rows.map(function, *arguments)
    return join_rows(tasks, rows.objective.samples.lengths, (layout.size,), dtype)


def loss_gradient(query, layout, *, dtype=np.float64):
    """Return the gradient of each query's loss as a dask array, (q, p)."""
    tasks = query.map(_loss_gradient, layout, dtype)
    return join_rows(tasks, query.objective.samples.lengths, (layout.size,), dtype)


def solve_hessian(factor, V, layout, *, dtype=np.float64):
    """Return H^-1 times each row of V (k, p), a dask array."""
    solve = partial(_solutions_of, factor.without_rows(), layout, dtype)
    return map_rows(solve, V).astype(dtype)


def _products(point, solutions, dtype):
    """Return the products of solutions with every training row, as a dask array."""
    return _blocks(point, solutions, dtype, _dot, *point.effects)


def _blocks(point, parts, dtype, function, *arguments):
    """Return function(point, part, dtype, *arguments) of each part, as a dask array."""
    lengths = _lengths(point)
    rows = [
        join_columns(_map(point, function, part, dtype, *arguments), lengths, count, dtype)
        for count, part in parts
    ]
    return import_dask().array.concatenate(rows)


def most_influential(
    point, factor, query, n_influential, order, *, average=False, gradient=None
):
    """Return the training rows with the largest influence on each query.

    Every chunk keeps its own largest values, and these are merged in a tree. The result is in
    memory, see `influence.most_influential`. If `gradient` maps raw predictions (m, K) to the
    gradients of predictions in them, queries in dask arrays stand for their predictions in
    place of their losses.
    """
    gradients = _query_gradients
    if gradient is not None:
        gradients = partial(_prediction_gradients, gradient)
    dask = import_dask()
    starts = np.cumsum([0, *_lengths(point)[:-1]]).tolist()
    best = []
    width = 2 * n_influential
    for _, solved in _solutions(point, factor, query, average, width, gradients):
        tasks = _map(point, _largest, solved, n_influential, order, *point.effects)
        tasks = [
            make_task(_renumbered, t, start) for t, start in zip(tasks, starts, strict=True)
        ]
        best.append(reduce_tasks(_best, tasks, n_influential, order))
    values, indices = zip(*dask.compute(*best), strict=True)
    values, indices = np.concatenate(values), np.concatenate(indices)
    return (values[0], indices[0]) if average else (values, indices)


def largest_influences(values, n_influential, order):
    """Return `most_influential` from influences in a dask array (q, n)."""
    starts = np.cumsum([0, *values.chunks[1][:-1]]).tolist()
    best = []
    for parts in values.to_delayed():
        pairs = zip(parts, starts, strict=True)
        tasks = [make_task(_best_columns, part, i, n_influential, order) for part, i in pairs]
        best.append(reduce_tasks(_best, tasks, n_influential, order))
    values, indices = zip(*import_dask().compute(*best), strict=True)
    return np.concatenate(values), np.concatenate(indices)


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
    if is_distributed(query):
        return _mapped(point, factor, query, width, _solved_gradients, gradients)
    counts = _chunks_of_queries(point, count, width)
    stops = np.cumsum(counts).tolist()
    return [
        (m, share(_scaled_solution(query.take(slice(stop - m, stop)).toarray(), factor, S)))
        for m, stop in zip(counts, stops, strict=True)
    ]


def _mapped(point, factor, query, width, function, *arguments):
    """Return (number of queries, solutions) for each chunk of queries in dask arrays."""
    largest = max(_chunks_of_queries(point, _n_queries(query), width))
    samples = query.objective.samples.cut(largest)
    query = replace(query.objective, samples=samples).at(query.theta)
    tasks = query.map(function, factor, point.objective.weight_sum, *arguments)
    return list(zip(samples.lengths, tasks, strict=True))


def _chunks_of_queries(point, count, width):
    """Return numbers of queries so that `width` numbers for each fit in a chunk."""
    width += 6 * point.theta.size
    chunks = import_dask().array.core.normalize_chunks(
        ("auto", (width,)), (count, width), dtype=np.float64
    )
    return chunks[0]


def _n_queries(query):
    return query.objective.n_rows if is_distributed(query) else len(query)


# Functions that run in tasks.


def _solutions_of(factor, layout, dtype, V):
    out = np.empty(V.shape, dtype)
    return influence.write_solutions(factor, V, layout, out)


def _query_gradients(point):
    objective = point.objective
    return objective.formulation.query_gradients(
        objective.design, objective.target, point.theta
    )


def _prediction_gradients(gradient, point):
    return GradientRows(point.objective.design, gradient(point.raw_prediction))


def _sum_gradients(point, gradients):
    return gradients(point).sum()


def _solved_gradients(point, factor, weight_sum, gradients):
    return _scaled_solution(gradients(point).toarray(), factor, weight_sum)


def _response_rows(design, theta, jacobian, r):
    """Return the gradients of each row's response r, as `GradientRows`."""
    raw = design.predict(theta)
    if jacobian is None:
        return GradientRows(design, np.broadcast_to(np.eye(raw.shape[1])[r], raw.shape))
    return GradientRows(design, jacobian(raw)[:, r])


def _solved_response(point, factor, weight_sum, jacobian, r):
    rows = _response_rows(point.objective.design, point.theta, jacobian, r)
    return _scaled_solution(rows.toarray(), factor, weight_sum)


def _loss_gradient(point, layout, dtype):
    return layout.to_public(_query_gradients(point).toarray()).astype(dtype)


def _params_of_training(point, factor, weight_sum, layout, dtype, *effects):
    rows = point.weight_rows_with(*effects)
    out = _params(rows, factor, weight_sum, layout, dtype)
    for block, moved in _moved_by_refit(point, weight_sum, effects[1]):
        out[block] += layout.to_public(moved)
    return out


def _moved_by_refit(point, weight_sum, penalty_effect):
    """Yield (slice of rows, S/w_i times `ColumnScales.refit_first_order`), if scales move."""
    if penalty_effect is None:
        return
    objective, scales = point.objective, penalty_effect.scales
    for block in row_blocks(objective.n_rows, 3 * point.theta.nbytes):
        sums = column_sums(objective.design.take(block).rows()[:, None])
        moved = scales.refit_first_order(sums, point.theta)
        moved *= (weight_sum / objective.unit_weight[block])[:, None, None]
        yield block, moved


def _params_of_given(point, factor, weight_sum, layout, dtype, class_effects, _):
    objective = point.objective
    form, target = objective.formulation, objective.target
    rows = form.weight_gradients(objective.design, target, point.theta, class_effects)
    return _params(rows, factor, weight_sum, layout, dtype)


def _params(rows, factor, weight_sum, layout, dtype):
    out = np.empty((len(rows), layout.size), dtype)
    return influence.write_params(rows, factor, weight_sum, layout, out)


def _scaled_solution(V, factor, weight_sum):
    solved = factor.solve_transposed(V)
    solved *= -weight_sum
    return solved


def _dot(point, solved, dtype, *effects):
    out = np.empty((len(solved), len(point.rows)), dtype=dtype)
    return point.weight_rows_with(*effects).dot(solved, out=out)


def _dot_by_refit(point, V, dtype, weight_sum, penalty_effect):
    out = np.empty((len(V), point.objective.n_rows), dtype=dtype)
    for block, moved in _moved_by_refit(point, weight_sum, penalty_effect):
        out[:, block] = np.tensordot(V, moved, ([1, 2], [1, 2]))
    return out


def _largest(point, solved, n_influential, order, *effects):
    rows = point.weight_rows_with(*effects)
    return largest_products(rows, solved, n_influential, order)


def _best_columns(values, start, n_influential, order):
    columns = np.broadcast_to(start + np.arange(values.shape[1]), values.shape)
    return keep_largest(values, columns, n_influential, order)


def _renumbered(best, start):
    values, indices = best
    return values, indices + start


def _best(candidates, n_influential, order):
    values, indices = zip(*candidates, strict=True)
    return keep_largest(np.hstack(values), np.hstack(indices), n_influential, order)
