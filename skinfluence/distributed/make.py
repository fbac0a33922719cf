"""Distributed objectives and queries from samples in dask arrays."""

from dataclasses import replace

import numpy as np

from skinfluence.distributed.objective import DistributedObjective
from skinfluence.distributed.samples import import_dask


def make_objective(formulation, samples):
    """Return the objective for dask arrays and their smallest weight, from one pass.

    The pass checks every chunk.
    """
    found = import_dask().compute(*samples.map(formulation, _weights))
    totals, ranges, balances = zip(*found, strict=True)
    (total, n_weighted, _), smallest = np.sum(totals, axis=0), np.min(totals, axis=0)[2]
    if total == 0:
        raise ValueError("sample_weight contains only zeros: at least one must be positive.")
    balance = balances[0]
    if balance is not None:
        sums = tuple(np.sum([balance.sums for balance in balances], axis=0))
        balance = replace(balance, sums_of_all=sums)
        formulation = replace(formulation, class_weight=balance.class_weight)
    low, high = np.min(ranges, axis=0)[0], np.max(ranges, axis=0)[1]
    spread = _spread(low, high, formulation.class_weight)
    objective = DistributedObjective(
        formulation,
        samples,
        n_rows=samples.X.shape[0],
        weight_sum=float(total),
        n_weighted=int(n_weighted),
        weight_spread=spread,
        balance=balance,
    )
    return objective, float(smallest)


def _spread(low, high, class_weight):
    """Return the ratio of the largest to the smallest positive row weight.

    `low` and `high` are those of the sample weights in each class, infinite and 0 without any.
    """
    factor = np.ones((1, 1)) if class_weight is None else class_weight
    low, high = low[:, None] * np.where(factor > 0, factor, np.nan), high[:, None] * factor
    low = low[np.isfinite(low)]
    return float(high.max() / low.min()) if low.size else 1.0


def make_queries(formulation, samples, theta):
    """Return query samples at theta. Chunks are checked when they are read."""
    n = samples.X.shape[0]
    return DistributedObjective(formulation, samples, n, float(n)).at(theta)


def sample_loss(point):
    """Return the plain loss of each sample as a dask array, (m,)."""
    return point.per_row(_plain_loss)


# Functions that run in tasks.


def _weights(objective):
    """Return (sum, number, minimum), the ranges in classes, and the sums for class weights."""
    form, w, balance = objective.formulation, objective.sample_weight, objective.class_sums
    codes, n = np.zeros(len(w), dtype=np.intp), 1
    if form.class_weight is not None:
        codes, n = form.target.class_codes(objective.target), len(form.class_weight)
    low, high = np.full(n, np.inf), np.zeros(n)
    np.minimum.at(low, codes[w > 0], w[w > 0])
    np.maximum.at(high, codes, w)
    if balance is not None:  # without the rows
        balance = replace(balance.take(slice(0, 0)), sums_of_all=balance.sums)
    return (objective.weight_sum, np.sum(w > 0), w.min()), (low, high), balance


def _plain_loss(point):
    objective = point.objective
    return objective.formulation.loss.loss(objective.target, point.raw_prediction)
