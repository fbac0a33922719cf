"""Models without single rows, or without groups of rows, if the rows are in chunks.

A Newton step without one row takes that row, H^-1 and sums over all rows. So the steps of a
chunk's rows are a task of their own, and the results are lazy. Before that, one pass finds the
rows for which a step is not accurate. Their models, and those without groups of rows, are
computed by the caller, a stack at a time: it gathers the rows that leave, and each further
step takes one pass over the chunks for the whole stack.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from skinfluence.blocks import row_blocks
from skinfluence.column_scales import CANCELS, MOST, column_sums
from skinfluence.distributed.parts import Shared
from skinfluence.distributed.samples import (
    import_dask,
    in_memory,
    is_distributed,
    join_columns,
    join_rows,
    share,
)
from skinfluence.removal import Base, losses_into
from skinfluence.removal.accuracies import ONE_STEP, first_order_pull, first_steps, remove
from skinfluence.removal.leave_out import stack_bytes
from skinfluence.removal.stack import Stack


class DistributedBase(Base):
    """The start of removal for rows in chunks, see `Base`."""

    #: The remainders' polynomials are for rows in memory, so exact removals take passes.
    series = None

    def remove(self, rows, method):
        """Return (theta, decrement, converged) for groups of rows (b, a), padded by -1."""
        objective = self.point.objective
        if rows.shape[1] > objective.design.n_columns:
            if method != "influence":  # each has its own Hessian, a sum over the chunks
                return remove(self, rows, method)
            places = objective.samples.places(rows)
            shared = self.shared(method)
            pull = objective.total(_pulls, shared, own=places)
            theta = self.theta + self.correction + self.factor.solve(pull)
            return theta, np.zeros(len(rows)), np.ones(len(rows), dtype=bool)
        members = np.unique(rows[rows >= 0])
        part = self.shared(method).base_of(
            objective.take(members), whole=objective, places=members
        )
        local = np.where(rows >= 0, np.searchsorted(members, rows), -1)
        return remove(part, local, method)

    def recover(self, objective):
        """Return None: which part is determined is known of rows in memory only."""

    def shared(self, method):
        """Return the `Shared` values for the rows of a chunk, which take passes once."""
        known = vars(self).setdefault("_shared", {})
        if method not in known:
            known[method] = Shared.of(self, self._needs(method))
        return known[method]

    def _needs(self, method):
        """Return the names of the values of all rows that a method uses."""
        if method == "influence":
            return ()
        if method == "exact":
            return "rounding", "hessian", "class_hessians", "second_moments", "series"
        objective = self.point.objective
        if objective.balance is None and objective.scales is None:
            return "rounding", "step_error"
        return "rounding", "step_error", "hessian", "class_hessians"

    def find_unfinished(self, method, with_decrements):
        """Return the rows whose models take passes over all rows, and the decrements.

        The Newton decrements of all rows are those before the first step, (n,); empty unless
        `with_decrements`.
        """
        objective = self.point.objective
        own, shared = objective.samples.starts, self.shared(method)
        tasks = objective.map(_unfinished, shared, method, with_decrements, own=own)
        found, decrements = zip(*in_memory(*tasks), strict=True)
        starts = objective.samples.starts
        rows = [part + start for part, start in zip(found, starts, strict=True)]
        return np.concatenate(rows), np.concatenate(decrements)

    def takes_passes(self, method):
        """Return whether each row's model takes passes over all rows."""
        if method == "exact":
            return True
        objective = self.point.objective
        quadratic = objective.formulation.loss.constant_curvature
        if objective.scales is not None and quadratic and self.hessian is None:
            return True
        moves = objective.balance is not None and (quadratic or method == ONE_STEP)
        return moves and self.class_hessians is None


@dataclass(frozen=True, eq=False)
class RowRemoval:
    """The models without each single row.

    Parameters
    ----------
    base : DistributedBase
        The start of removal.
    method : {"influence", "one-step", "newton", "exact"}
        Accuracy.
    rows : ndarray, default=()
        Rows, in ascending order, whose parameters the caller has computed.
    theta : ndarray of shape (len(rows), K, D) or None, default=None
        These parameters.
    """

    base: Any
    method: str
    rows: Any = ()
    theta: np.ndarray | None = None

    @classmethod
    def of(cls, base, method, refine, solve):
        """Return the removal of each row.

        Parameters
        ----------
        base : DistributedBase
            The start of removal.
        method : {"influence", "newton", "exact"}
            Accuracy.
        refine : float or None
            Share of the rows to compute exactly.
        solve : callable
            Maps rows and a method to parameters (m, K, D), by passes over the chunks.
        """
        if method == "influence":
            return cls(base, method)
        base.prepare(method)
        n = base.point.objective.n_rows
        if base.takes_passes(method):
            rows = np.arange(n)
            return cls(base, method, rows, solve(rows, method))
        rows, decrement = base.find_unfinished(method, refine is not None)
        theta = solve(rows, method) if len(rows) else None
        if refine is None:
            return cls(base, method, rows, theta)
        largest = np.sort(np.argsort(-decrement, kind="stable")[: int(np.ceil(refine * n))])
        exact = solve(largest, "exact")
        rest = ~np.isin(rows, largest)
        every = np.concatenate([rows[rest], largest])
        if theta is not None:
            exact = np.concatenate([theta[rest], exact])
        order = np.argsort(every)
        return cls(base, method, every[order], exact[order])

    @property
    def lengths(self):
        """Number of rows in each chunk."""
        return self.base.point.objective.samples.lengths

    @cached_property
    def own(self):
        """For each chunk its start, known rows in it, and their parameters."""
        samples = self.base.point.objective.samples
        found = []
        for start, length in zip(samples.starts, samples.lengths, strict=True):
            first, last = np.searchsorted(self.rows, [start, start + length])
            theta = None if self.theta is None else self.theta[first:last]
            found.append((start, np.asarray(self.rows[first:last]) - start, theta))
        return found

    def map(self, function, *arguments, own=None):
        """Return delayed function(base, known, method, *own, *arguments) for each chunk.

        `own` is a list with an argument for each chunk, or None.
        """
        shared, objective = self.base.shared(self.method), self.base.point.objective
        each = [(known,) for known in self.own]
        if own is not None:
            each = [(*known, mine) for known, mine in zip(each, own, strict=True)]
        return objective.map(_with_base, function, shared, self.method, *arguments, own=each)

    def params(self, dtype):
        """Return the parameters without each row, (n, p), as a dask array."""
        layout = self.base.point.objective.formulation.layout
        tasks = self.map(_params_without, layout, dtype)
        return join_rows(tasks, self.lengths, (layout.size,), dtype)

    def raw(self):
        """Return each row's raw prediction without it, (n, K), as a dask array."""
        return join_rows(self.map(_raw_without), self.lengths, self.base.theta.shape[:1])

    def scores(self, metric, design):
        """Return the scores of the models without each row, a list of dask arrays (n,).

        `metric` has `names` and a `table` of scores, into which models for a design are added.
        """
        tasks = self.map(_scores_without, metric, design)
        return list(join_columns(tasks, self.lengths, len(metric.names)))

    def losses(self, query, dtype):
        """Return the losses of queries without each row, (q, n), as a dask array.

        `query` is (design, target), or a distributed point.
        """
        parts = [
            join_columns(self.map(_losses_without, rows, dtype), self.lengths, count, dtype)
            for count, rows in _query_parts(query, max(self.lengths))
        ]
        return import_dask().array.concatenate(parts)


def losses_without(query, theta, dtype):
    """Return the losses of queries in dask arrays for models theta (G, K, D), (q, G)."""
    tasks = query.map(_losses_of, theta, dtype)
    return join_rows(tasks, query.objective.samples.lengths, (len(theta),), dtype)


def raw_without(point, owner, theta):
    """Return each row's raw prediction without its group, (n, K), as a dask array.

    Parameters
    ----------
    point : DistributedPoint
        The rows.
    owner : ndarray of shape (n,)
        Each row's group.
    theta : ndarray of shape (G, K, D)
        Parameters without each group.
    """
    samples = point.objective.samples
    own = [owner[i : i + m] for i, m in zip(samples.starts, samples.lengths, strict=True)]
    tasks = point.objective.map(_raw_without_groups, theta, own=own)
    return join_rows(tasks, samples.lengths, theta.shape[1:2])


def values_of_rows(objective, function, left_out, theta, *arguments):
    """Return a number for each row of a distributed objective, (n,), as a dask array.

    Parameters
    ----------
    objective : DistributedObjective
        The rows.
    function : callable
        Maps the objective of a chunk, raw predictions (m, K) and arguments to (m,).
    left_out : dask array of shape (n, K) or None
        Raw predictions; NaN, or None, for those at theta.
    theta : ndarray of shape (K, D)
        Parameters.
    """
    lengths = objective.samples.lengths
    raw_of_chunks = (
        [None] * len(lengths) if left_out is None else left_out.to_delayed().ravel()
    )
    tasks = objective.map(_value_of_rows, function, theta, *arguments, own=raw_of_chunks)
    return join_rows(tasks, lengths)


def _query_parts(query, width):
    """Return (number, (design, target)) for parts of the queries, shared by tasks.

    The parts are so small that `width` numbers for each query fit into a chunk.
    """
    count = query.objective.n_rows if is_distributed(query) else len(query[1])
    sizes = import_dask().array.core.normalize_chunks(
        ("auto", (width,)), (count, width), dtype=np.float64
    )[0]
    if is_distributed(query):
        samples = query.objective.samples.cut(max(sizes))
        tasks = samples.map(query.objective.formulation, _rows_of)
        return list(zip(samples.lengths, tasks, strict=True))
    design, target = query
    stops = np.cumsum(sizes).tolist()
    parts = [slice(stop - m, stop) for m, stop in zip(sizes, stops, strict=True)]
    shared = [share((design.take(part), target[part])) for part in parts]
    return list(zip(sizes, shared, strict=True))


# Functions that run in tasks.


def _row_stacks(base):
    """Return slices of a chunk's rows whose removals fit into memory together."""
    K, D = base.theta.shape
    objective = base.point.objective
    outputs = K if objective.coupled else 1
    return row_blocks(objective.n_rows, stack_bytes(1, K, D, outputs))


def _with_base(objective, own, function, shared, method, *arguments):
    (start, *known), *mine = own
    base = shared.base_of(objective, places=start + np.arange(objective.n_rows))
    return function(base, known, method, *mine, *arguments)


def models_without(base, known, method):
    """Yield (slice of rows, parameters without each of them) for the rows of a chunk."""
    rows_known, found = known
    all_known = found is not None and len(rows_known) == base.point.objective.n_rows
    for block in _row_stacks(base):
        if all_known:
            yield block, found[block]
            continue
        stack = Stack(base, np.arange(block.start, block.stop)[:, None])
        if method == "influence":
            theta = stack.influence()
        else:
            theta, _ = stack.newton(exact=method == ONE_STEP)
        first, last = np.searchsorted(rows_known, [block.start, block.stop])
        if first < last:
            theta[rows_known[first:last] - block.start] = found[first:last]
        yield block, theta


def _params_without(base, known, method, layout, dtype):
    out = np.empty((base.point.objective.n_rows, layout.size), dtype)
    for block, theta in models_without(base, known, method):
        out[block] = layout.to_public(refitted(base, block, theta, method))
    return out


def refitted(base, block, theta, method):
    """Return parameters without each row of a block as those of refitted scales."""
    objective = base.point.objective
    if objective.scales is None:
        return theta
    x = objective.design.take(block).rows()
    if method == "influence":
        return theta - objective.scales.refit_first_order(column_sums(x[:, None]), base.theta)
    return objective.scales.to_refit(theta, x[:, None], np.ones(len(x)))


def _raw_without(base, known, method):
    design = base.point.objective.design
    out = np.empty((design.n_rows, len(base.theta)))
    for block, theta in models_without(base, known, method):
        out[block] = design.take(block).predict_each(theta)
    return out


def _losses_without(base, known, method, query, dtype):
    design, target = query
    objective = base.point.objective
    out = np.empty((design.n_rows, objective.n_rows), dtype)
    for block, theta in models_without(base, known, method):
        losses_into(out, block, objective.formulation.loss, design, target, theta)
    return out


def _scores_without(base, known, method, metric, design):
    scores = metric.table(base.point.objective.n_rows)
    for block, theta in models_without(base, known, method):
        indices = np.arange(block.start, block.stop)
        scores.add_params(indices, metric.problem, design, theta)
    return np.stack([scores.columns[name] for name in metric.names])


def _value_of_rows(objective, left_out, function, theta, *arguments):
    raw = objective.design.predict(theta)
    if left_out is not None:
        raw = np.where(np.isnan(left_out), raw, left_out)
    return function(objective, raw, *arguments)


def _losses_of(point, theta, dtype):
    objective = point.objective
    out = np.empty((objective.n_rows, len(theta)), dtype)
    whole, loss = slice(0, len(theta)), objective.formulation.loss
    losses_into(out, whole, loss, objective.design, objective.target, theta)
    return out


def _raw_without_groups(objective, owner, theta):
    out = np.empty((objective.n_rows, theta.shape[1]))
    for block in row_blocks(objective.n_rows, 3 * theta[:1].nbytes):
        out[block] = objective.design.take(block).predict_each(theta[owner[block]])
    return out


def _rows_of(objective):
    return objective.design, objective.target


def _pulls(objective, places, shared):
    lines = [line[line >= 0] for line in places]
    return first_order_pull(shared.base_of(objective).point, lines)


def _unfinished(objective, start, shared, method, with_decrements):
    base = shared.base_of(objective, places=start + np.arange(objective.n_rows))
    found, decrements = [np.zeros(0, dtype=np.intp)], [np.zeros(0)]
    for block in _row_stacks(base):
        stack = Stack(base, np.arange(block.start, block.stop)[:, None])
        _, decrement, alone, suspects = first_steps(stack, method)
        if with_decrements:
            decrements.append(np.where(np.isfinite(decrement), decrement, np.inf))
        found.append(np.sort(np.concatenate([alone, suspects])) + block.start)
    return np.concatenate(found), np.concatenate(decrements)


def group_sums(objective, members):
    """Return the `column_sums` of each list of rows, (G, 3, D), from one pass."""
    places = objective.samples.places_of(members)
    return objective.total(_group_sums, own=places)


def cancelling_groups(objective, groups):
    """Return the numbers of the `Groups` whose removal leaves no correct digits in the scales.

    Such a group has almost all of a column's variance, and the other rows have some. One pass
    looks for such groups. Two more decide if there may be any.
    """
    scales, numbers = objective.scales, np.arange(len(groups))
    if groups.members is None:  # few single rows have enough of the variance
        own, most = objective.samples.starts, MOST - 1.0 / objective.n_rows
        numbers = np.concatenate(in_memory(*objective.map(_dominant, scales, most, own=own)))
    members = [groups.rows(number) for number in numbers]
    if not members:
        return numbers
    columns = [
        np.flatnonzero(scales.less(sums).ratio_to_all() < CANCELS)
        for sums in group_sums(objective, members)
    ]
    doubtful = np.flatnonzero([len(part) for part in columns])
    if not len(doubtful):
        return doubtful
    members, columns = [members[j] for j in doubtful], [columns[j] for j in doubtful]
    own = objective.samples.places_of(members)
    low, high = zip(*in_memory(*objective.map(_ranges, columns, own=own)), strict=True)
    vary = [
        np.any(np.min(least, axis=0) < np.max(most, axis=0))
        for least, most in zip(zip(*low, strict=True), zip(*high, strict=True), strict=True)
    ]
    return numbers[doubtful[vary]]


# Functions that run in tasks.


def _group_sums(objective, places):
    design = objective.design
    out = np.zeros((len(places), 3, design.n_columns))
    for sums, rows in zip(out, places, strict=True):
        if len(rows):
            sums += column_sums(design.take(rows).rows())
    return out


def _dominant(objective, start, scales, most):
    shares = scales.largest_shares(objective.design)
    return start + np.flatnonzero(shares > most)


def _ranges(objective, places, columns):
    """Return the least and largest values of the other rows in each group's columns."""
    low, high = [], []
    for gone, own in zip(places, columns, strict=True):
        others = np.delete(np.arange(objective.n_rows), gone)
        x = objective.design.take(others).rows()[:, own]
        low.append(x.min(axis=0, initial=np.inf))
        high.append(x.max(axis=0, initial=-np.inf))
    return low, high
