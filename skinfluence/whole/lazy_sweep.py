"""Influence through steps whose statistics are sums over rows in dask arrays.

This is the sweep of `whole.sweep`. Each chunk of rows has stages of its own, with the
statistics of all rows. The cotangents on statistics are sums over the chunks, from one pass
for each step that learns. Then a row's contribution depends on the row alone.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skinfluence import distributed
from skinfluence.blocks import row_blocks
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.problem.requests import NEW, PLAIN
from skinfluence.stages.chain import add
from skinfluence.stages.registry import make_chain
from skinfluence.steps import acting, steps_of, through
from skinfluence.whole.before import warn_of_absent
from skinfluence.whole.data import take_rows
from skinfluence.whole.influence import WholeInfluence
from skinfluence.whole.problem import PipelineProblem
from skinfluence.whole.sweep import Sample, Sweep, response_samples, sample_of


class OnDaskArrays(PipelineProblem):
    """A problem for a whole fit on rows in dask arrays."""

    is_whole = True

    def influence_state(self, hessian_solver, n_solves=None, *, quiet=False):
        if not quiet:
            warn_of_absent(self.objective.n_rows - self.objective.n_weighted)
        return super().influence_state(hessian_solver, n_solves, quiet=quiet)


class LazySteps(OnDaskArrays):
    """A model behind steps whose statistics move.

    Parameters
    ----------
    pipe : Pipeline
        The fitted pipeline, with its training data.
    start : int
        Number of the first step whose statistics move.
    """

    def __init__(self, pipe, start):
        super().__init__(pipe)
        steps = acting(step for _, step in steps_of(pipe))
        self.earlier, self.steps = steps[:start], steps[start:]

    def before(self, X):
        """Return samples as they reach the first step whose statistics move."""
        return through(self.earlier, X, self.steps[0])

    @property
    def rows(self):
        """The delayed training rows in each chunk as they reach that step."""
        return self.objective.samples.chunks_of(self.before(self.data.X))


class SweptProblem(LazySteps):
    """Influence of rows in dask arrays through all steps of a pipeline."""

    #: The methods that it answers.
    METHODS = (
        "influence_functional",
        "influence_loss",
        "influence_params",
        "influence_prediction",
        "influential_samples",
        "self_influence",
    )

    def influence_params(self, X=None, y=None, request=PLAIN, output=NEW):
        check_training(X)
        result = super().influence_params(None, None, request, output)
        V = self.layout.from_public(np.eye(self.layout.size))
        return result + self.through_steps(V, [None] * len(V), request.hessian_solver).T

    def influence_loss(self, X, y, request=PLAIN, output=NEW, *, average=False):
        self.refuse_dask("influence_loss of queries", X, y, training=False)
        result = super().influence_loss(X, y, request, output, average=average)
        query = self.check_query(X, y)
        added = self.added_on_queries(X, query, average, request.hessian_solver)
        return result + (added[0] if average else added)

    def added_on_queries(self, X, query, average, hessian_solver):
        """Return `through_steps` for queries X and their `GradientRows`, or for their mean."""
        if not average:
            samples = WholeInfluence.one_by_one(X, query)
            return self.through_steps(query.toarray(), samples, hessian_solver)
        m = len(query)
        samples = [Sample(X, query.design, query.raw_gradient / m)]
        return self.through_steps(query.sum()[None] / m, samples, hessian_solver)

    def most_influential(self, X, y, k, order, request, *, average):
        self.refuse_dask("influential_samples of queries", X, y, training=False)
        state = self.influence_state(request.hessian_solver)
        query = self.ranked_query(X, y, state.point.theta)
        V = query.sum()[None] / len(query) if average else query.toarray()
        lazy = distributed.influence_functional(state.point, state.factor, V, of_params=False)
        lazy += self.added_on_queries(X, query, average, request.hessian_solver)
        values, indices = distributed.largest_influences(lazy, k, order)
        return (values[0], indices[0]) if average else (values, indices)

    def influence_prediction(self, X, request=PLAIN, output=NEW, *, response_method="auto"):
        self.refuse_dask("influence_prediction of queries", X, training=False)
        result = super().influence_prediction(
            X, request, output, response_method=response_method
        )
        design, hessian_solver = self.check_X(self.formulation, X), request.hessian_solver
        point = self.influence_state(hessian_solver, quiet=True).point
        method, V, samples = self.response_method(response_method), [], []
        for q, J in enumerate(self.response_jacobians(method, design, point)):
            part = design.take(slice(q, q + 1))
            gradients, of_row = response_samples(take_rows(X, [q]), part, J)
            V.append(gradients)
            samples += of_row
        added = self.through_steps(np.concatenate(V), samples, hessian_solver)
        added = added.reshape(design.n_rows, -1, self.n_rows)
        return result + (added[:, 0] if result.ndim == 2 else added.transpose(0, 2, 1))

    def influence_functional(self, gradient, request=PLAIN, output=NEW):
        result = super().influence_functional(gradient, request, output)
        V = self.layout.from_public(np.atleast_2d(self.check_functional(gradient)))
        sample = sample_of(gradient, self.params)
        samples = [None] * len(V) if sample is None else [sample]
        added = self.through_steps(V, samples, request.hessian_solver)
        return result + (added if result.ndim == 2 else added[0])

    def self_influence(self, request=PLAIN):
        result = super().self_influence(request)
        passes = self.passes(request.hessian_solver)
        theta = passes.point.theta
        cs = passes.pull(np.eye(theta.size).reshape(-1, *theta.shape))
        cs += _unit_cotangents(cs[0])  # a sample's loss depends on the statistics, too
        tasks = passes.row_tasks(_self_influences, passes.through_fits(cs))
        return result + distributed.join_rows(tasks, passes.objective.samples.lengths)

    def through_steps(self, V, samples, hessian_solver):
        """Return S/w_i times the steps' contribution for m scalars, a dask array (m, n).

        See `Sweep.derivative`.
        """
        passes = self.passes(hessian_solver)
        cs = passes.pull(V)
        for j, sample in enumerate(samples):
            if sample is not None:
                B = Sweep(passes.point, None, None).sample_cotangent(sample)
                chain = _chain(self.steps, self.before(sample.X))
                cs[j] = add(cs[j], chain.pull_statistics(chain.given, B))
        tasks = passes.row_tasks(_row_influences, passes.through_fits(cs))
        lengths = passes.objective.samples.lengths
        return distributed.join_rows(tasks, lengths, (len(V),)).T

    def passes(self, hessian_solver):
        """Return the `Passes` over the rows as they reach the steps."""
        state = self.influence_state(hessian_solver, quiet=True)
        return Passes.of(state.point, state.factor, self.steps, self.rows)


@dataclass(frozen=True)
class Passes:
    """Passes over the rows in chunks as they reach the first step whose statistics move.

    Parameters
    ----------
    point, factor : DistributedPoint, Factor
        The model behind the steps.
    steps : list of estimator
        The steps.
    rows : list
        The delayed rows in each chunk.
    sums : list of ndarray
        Each stage's `sums` over all rows.
    """

    point: Any
    factor: Any
    steps: list
    rows: list
    sums: list

    @classmethod
    def of(cls, point, factor, steps, rows):
        """Return passes with the sums over all rows, or raise if sums do not suffice."""
        self = cls(point, factor, steps, rows, [])
        sums = self._total(_sums, steps)
        for step, total in zip(steps, sums, strict=True):
            if total is None:
                raise UnsupportedEstimatorError(
                    f"The derivative of the fit of {type(step).__name__} is no function of "
                    "sums over the rows, so dask arrays do not have it. Freeze the step with "
                    "sklearn.frozen.FrozenEstimator, or call compute() on a part of the rows."
                )
        return replace(self, sums=sums)

    @property
    def objective(self):
        """The `DistributedObjective` of the model."""
        return self.point.objective

    def pull(self, V):
        """Return the cotangents on the statistics for gradients V (m, K, D) in parameters."""
        solved = self.factor.solve_transposed(V)
        return self._total(_pull, self.steps, self.point.theta, solved)

    def through_fits(self, cs):
        """Add to cotangents, in place, those through the fits of later steps."""
        for number in reversed(range(len(self.steps) - 1)):
            found = self._total(_pull_fits, self.steps, self.sums, cs, number)
            for c, one in zip(cs, found, strict=True):
                c[number] = add(c[number], one)
        return cs

    def row_tasks(self, function, cs):
        """Return delayed S/w_i times a function of the rows in each chunk."""
        weight_sum, theta = self.objective.weight_sum, self.point.theta
        arguments = function, self.steps, self.sums, cs, theta, weight_sum
        return self.objective.map(_scaled_rows, *arguments, own=self.rows)

    def _total(self, function, *arguments):
        """Return the sum over the chunks of nested lists of arrays."""
        tasks = self.objective.map(function, *arguments, own=self.rows)
        return distributed.reduce_tasks(_added, tasks).compute()


def check_training(X):
    """Raise if `influence_params` gets other samples than those of the fit."""
    if X is not None:
        raise UnsupportedEstimatorError(
            "influence_params of samples that are not training samples does not take dask "
            "arrays in a pipeline: call compute() on a part of the rows and give that to "
            "set_training_data."
        )


def _unit_cotangents(example):
    """Return cotangents like an example that are 1 at one statistic and 0 elsewhere."""
    found = []
    for number, c in enumerate(example):
        parts = c if isinstance(c, tuple) else (() if c is None else (c,))
        for k, part in enumerate(parts):
            for unit in np.eye(len(part)):
                cotangent = [np.zeros(len(other)) for other in parts]
                cotangent[k] = unit
                units = [None] * len(example)
                units[number] = tuple(cotangent) if isinstance(c, tuple) else unit
                found.append(units)
    return found


# Functions that run in tasks.


def _added(parts):
    total = parts[0]
    for part in parts[1:]:
        total = add(total, part)
    return total


def _chain(steps, X, sums=None):
    """Return the chain of steps for a chunk of rows, with the sums over all rows."""
    chain = make_chain(steps, X, None, [None] * len(steps))
    if sums is not None:
        for stage, total in zip(chain.stages, sums, strict=True):
            stage.take_sums(total)
    return chain


def _sums(objective, X, steps):
    return [stage.sums for stage in _chain(steps, X).stages]


def _pull(objective, X, steps, theta, solved):
    chain = _chain(steps, X)
    sweep = Sweep(objective.at(theta), None, None)
    return chain.pull_training_factors(sweep.factors(solved))


def _pull_fits(objective, X, steps, sums, cs, number):
    """Return the cotangents on a stage's statistics through the fits of later stages."""
    stages = _chain(steps, X, sums).stages
    return [_pull_fit(stages, c, number) for c in cs]


def _pull_fit(stages, c, number):
    B = None
    for stage, of_stage in zip(stages[:number:-1], c[:number:-1], strict=True):
        B = None if B is None else stage.pull_training_input(B)
        if of_stage is not None:
            B = add(B, stage.pull_fit(of_stage))
    return None if B is None else stages[number].pull_training_statistics(B)


def _scaled_rows(objective, X, function, steps, sums, cs, theta, weight_sum):
    found = function(objective, X, steps, sums, cs, theta)
    scale = weight_sum / objective.unit_weight
    return (found.T * scale).T


def _row_influences(objective, X, steps, sums, cs, theta):
    """Return the steps' contribution for each row and cotangent, (n, m)."""
    stages = _chain(steps, X, sums).stages
    return np.stack([_row_influence(stages, c) for c in cs], axis=1)


def _row_influence(stages, c):
    total = np.zeros(stages[0].n_rows)
    for stage, of_stage in zip(stages, c, strict=True):
        if of_stage is not None:
            total += stage.row_influence(of_stage)
    return total


def _self_influences(objective, X, steps, sums, cs, theta):
    """Return the steps' contribution for each row's own loss, (n,).

    `cs` are the cotangents for each parameter, then for each statistic.
    """
    out = np.zeros(objective.n_rows)
    for block in row_blocks(objective.n_rows, 2 * 8 * len(cs)):
        rows = np.arange(block.start, block.stop)
        part, X_part = objective.take(rows), take_rows(X, rows)
        chain = _chain(steps, X_part, sums)
        plain = part.formulation.query_gradients(part.design, part.target, theta)
        sample = Sample(X_part, part.design, plain.raw_gradient)
        B = Sweep(part.at(theta), None, None).sample_cotangent(sample)
        by_statistic = [
            _flat(chain.pull_statistics(take_rows(X_part, [i]), B[[i]]))
            for i in range(len(rows))
        ]
        weight = np.hstack([plain.toarray().reshape(len(rows), -1), by_statistic])
        for column, c in zip(weight.T, cs, strict=True):
            out[block] += column * _row_influence(chain.stages, c)
    return out


def _flat(c):
    """Return the numbers in the stages' cotangents, in the order of `_unit_cotangents`."""
    parts = [c if isinstance(c, tuple) else (c,) for c in c if c is not None]
    return np.concatenate([part for of_stage in parts for part in of_stage])
