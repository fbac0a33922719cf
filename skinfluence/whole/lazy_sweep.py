"""Influence through steps whose statistics are sums over rows in dask arrays.

This is the sweep of `whole.sweep`. Each chunk of rows has stages of its own, with the
statistics of all rows. The cotangents on statistics are sums over the chunks, from one pass
for each step that learns. Then a row's contribution depends on the row alone.
"""

from functools import partial

import numpy as np

from skinfluence import distributed
from skinfluence.exceptions import UnsupportedEstimatorError, warn
from skinfluence.stages.chain import add
from skinfluence.stages.registry import make_chain
from skinfluence.steps import steps_of, through
from skinfluence.whole.data import take_rows
from skinfluence.whole.influence import WholeInfluence
from skinfluence.whole.problem import PipelineProblem
from skinfluence.whole.sweep import Sample, Sweep, sample_of

__all__ = ["OnDaskArrays", "SweptProblem", "check_training"]


class OnDaskArrays(PipelineProblem):
    """A problem for a whole fit on rows in dask arrays."""

    is_whole = True

    def influence_state(self, hessian_solver, n_solves=None):
        count = self.objective.n_rows - self.objective.n_weighted
        if count:
            warn(
                f"{count} training sample(s) with a weight of 0 have no influence, because "
                "the steps before the model take them without weight: their entries are NaN. "
                "The methods that remove samples (leave_out_*) take them into account."
            )
        return super().influence_state(hessian_solver, n_solves)


class SweptProblem(OnDaskArrays):
    """Influence of rows in dask arrays through all steps of a pipeline.

    Parameters
    ----------
    pipe : Pipeline
        The fitted pipeline, with its training data.
    start : int
        Number of the first step whose statistics move.
    """

    #: The methods that it answers.
    METHODS = (
        "influence_functional",
        "influence_loss",
        "influence_params",
        "influence_prediction",
    )

    def __init__(self, pipe, start):
        super().__init__(pipe)
        steps = [step for _, step in steps_of(pipe)]
        steps = [step for step in steps if step not in (None, "passthrough")]
        self.earlier, self.steps = steps[:start], steps[start:]

    def before(self, X):
        """Return samples as they reach the first step whose statistics move."""
        return through(self.earlier, X, self.steps[0])

    def influence_params(self, X=None, y=None, *, hessian_solver="auto", **options):
        check_training(X)
        result = super().influence_params(hessian_solver=hessian_solver, **options)
        V = self.layout.from_public(np.eye(self.layout.size))
        return result + self.through_steps(V, [None] * len(V), hessian_solver).T

    def influence_loss(self, X, y, *, average=False, hessian_solver="auto", **options):
        self.refuse_dask("influence_loss of queries", X, y, training=False)
        options |= {"average": average, "hessian_solver": hessian_solver}
        result = super().influence_loss(X, y, **options)
        query = self.check_query(X, y)
        if not average:
            samples = WholeInfluence.one_by_one(X, query)
            return result + self.through_steps(query.toarray(), samples, hessian_solver)
        m = len(query)
        samples = [Sample(X, query.design, query.raw_gradient / m)]
        V = query.sum()[None] / m
        return result + self.through_steps(V, samples, hessian_solver)[0]

    def influence_prediction(
        self, X, *, response_method="auto", hessian_solver="auto", **options
    ):
        self.refuse_dask("influence_prediction of queries", X, training=False)
        options |= {"response_method": response_method, "hessian_solver": hessian_solver}
        result = super().influence_prediction(X, **options)
        design = self.check_X(self.formulation, X)
        point = self.state(hessian_solver, quiet=True).point
        jacobian, _ = self.response_jacobian(
            self.response_method(response_method), design, point
        )
        K, V, samples = len(point.theta), [], []
        for q in range(design.n_rows):
            block = slice(q, q + 1)
            J = np.eye(K) if jacobian is None else jacobian(block)[0]  # (R, K)
            part, raw = design.take(block), take_rows(X, [q])
            V.append(J[:, :, None] * part.rows()[0])
            samples += [Sample(raw, part, line[None]) for line in J]
        added = self.through_steps(np.concatenate(V), samples, hessian_solver)
        added = added.reshape(design.n_rows, -1, self.n_rows)
        return result + (added[:, 0] if result.ndim == 2 else added.transpose(0, 2, 1))

    def influence_functional(self, gradient, *, hessian_solver="auto", **options):
        result = super().influence_functional(
            gradient, hessian_solver=hessian_solver, **options
        )
        V = self.layout.from_public(np.atleast_2d(self.check_functional(gradient)))
        sample = sample_of(gradient, self.params)
        samples = [None] * len(V) if sample is None else [sample]
        added = self.through_steps(V, samples, hessian_solver)
        return result + (added if result.ndim == 2 else added[0])

    def through_steps(self, V, samples, hessian_solver):
        """Return S/w_i times the steps' contribution for m scalars, a dask array (m, n).

        See `Sweep.derivative`.
        """
        state = self.state(hessian_solver, quiet=True)
        point, objective = state.point, state.point.objective
        chunks = objective.samples.chunks_of(self.before(self.data.X))
        run = partial(_run, objective, chunks)
        sums = run(_sums, self.steps)
        for step, total in zip(self.steps, sums, strict=True):
            if total is None:
                raise UnsupportedEstimatorError(
                    f"The derivative of the fit of {type(step).__name__} is no function of "
                    "sums over the rows, so dask arrays do not have it. Freeze the step with "
                    "sklearn.frozen.FrozenEstimator, or call compute() on a part of the rows."
                )
        cs = run(_pull, self.steps, point.theta, state.factor.solve_transposed(V))
        for j, sample in enumerate(samples):
            if sample is not None:
                B = Sweep(point, None, None).sample_cotangent(sample)
                chain = _chain(self.steps, self.before(sample.X))
                cs[j] = add(cs[j], chain.pull_statistics(chain.given, B))
        for number in reversed(range(len(self.steps) - 1)):
            found = run(_pull_fits, self.steps, sums, cs, number)
            for c, one in zip(cs, found, strict=True):
                c[number] = add(c[number], one)
        tasks = objective.map(
            _row_influences, self.steps, sums, cs, objective.weight_sum, own=chunks
        )
        lengths = objective.samples.lengths
        return distributed.join_rows(tasks, lengths, (len(V),)).T


def check_training(X):
    """Raise if `influence_params` gets other samples than those of the fit."""
    if X is not None:
        raise UnsupportedEstimatorError(
            "influence_params of samples that are not training samples does not take dask "
            "arrays in a pipeline: call compute() on a part of the rows and give that to "
            "set_training_data."
        )


def _run(objective, own, function, *arguments):
    """Return the sum over the chunks of nested lists of arrays."""
    tasks = objective.map(function, *arguments, own=own)
    return distributed.reduce_tasks(_added, tasks).compute()


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


def _row_influences(objective, X, steps, sums, cs, weight_sum):
    stages = _chain(steps, X, sums).stages
    out = np.zeros((objective.n_rows, len(cs)))
    for total, c in zip(out.T, cs, strict=True):
        for stage, of_stage in zip(stages, c, strict=True):
            if of_stage is not None:
                total += stage.row_influence(of_stage)
    return out * (weight_sum / objective.unit_weight)[:, None]
