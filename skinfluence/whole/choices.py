"""Removals that leave the choices of a pipeline's steps as they are.

If a selector keeps the same columns without a group, the features of the refit are the present
ones, or are the present ones with other scales. Then the model's own removal answers, with all
such groups at once, and nothing is fitted again. See `stages.choices` for the test.
"""

from functools import cached_property

import numpy as np

from skinfluence import diagnostics, removal
from skinfluence.blocks import run_blocks
from skinfluence.column_scales import Cancellation
from skinfluence.groups import Groups
from skinfluence.namespaces import to_host
from skinfluence.whole.refits import Refit

__all__ = ["Choices"]


class Choices:
    """The choices that steps made.

    Parameters
    ----------
    problem : WholeProblem
        The pipeline's problem.
    fixed : Problem
        The model's problem if the choices stay.
    choices : list of Choice
        The choice of each step.
    """

    def __init__(self, problem, fixed, choices):
        self.problem = problem
        self.fixed = fixed
        self.choices = choices
        self.cancellation = Cancellation(fixed.objective)

    def write(self, request, read, write):
        """Call ``write(group, read(group, refit))`` for groups that change no choice.

        Return the other groups.
        """
        groups, method, n_jobs = request.groups, request.method, request.n_jobs
        everyone = np.arange(len(groups))

        def stays(group):
            rows = groups.rows(group)
            if self.cancellation.without(rows):
                return False
            return all(choice.stays_without(rows) for choice in self.choices)

        alone = np.flatnonzero(run_blocks(stays, everyone, n_jobs=n_jobs))
        if not alone.size:
            return everyone
        members = Groups(groups.n_rows, [groups.rows(group) for group in alone])
        queries = _Queries(self.problem)
        written = np.zeros(len(groups), dtype=bool)

        def emit(indices, _rows, theta):
            for index, one in zip(indices, theta, strict=True):
                group = alone[index]
                if np.isfinite(one).all():
                    rows = groups.rows(group)
                    refit = Unchanged(self, queries, one, rows, method)
                    write(group, read(group, refit))
                    written[group] = True

        base = self.fixed.start_base(method, "auto")
        removal.leave_out(base, members, method, emit, refine=request.refine, n_jobs=n_jobs)
        return np.flatnonzero(~written)


class _Queries:
    """Samples behind the present steps, transformed and checked once for all groups."""

    def __init__(self, problem):
        self.problem = problem
        self._design = self._target = (None, None)

    def design(self, X):
        """Return the design of raw samples."""
        held, design = self._design
        if held is not X:
            design = self.problem.check_X(self.problem.formulation, X)
            self._design = (X, design)
        return design

    def target(self, y):
        """Return encoded targets."""
        held, target = self._target
        if held is not y:
            target = self.problem.formulation.target.encode(to_host(y))
            self._target = (y, target)
        return target


class Unchanged(Refit):
    """A pipeline without some samples, whose steps choose as before.

    Parameters
    ----------
    of : Choices
        The choices.
    queries : _Queries
        Designs of samples.
    theta : ndarray of shape (K, D)
        The model's parameters in the present features.
    rows : ndarray of int
        The samples that are left out.
    method : str
        Accuracy.
    """

    def __init__(self, of, queries, theta, rows, method):
        self.of = of
        self.queries = queries
        self.theta = theta
        self.rows = rows
        self.method = method

    #: Groups without which a parameter is undetermined are fitted again.
    open = None

    @cached_property
    def fitted(self):
        """The steps and the model fitted again, for callers that need them."""
        return self.of.problem.without(self.rows, self.method)

    @property
    def before(self):
        return self.fitted.before

    @property
    def model(self):
        return self.fitted.model

    @property
    def params(self):
        """Parameters (p,) in the features of the refit."""
        objective, theta = self.of.fixed.objective, self.theta
        if objective.scales is not None:
            scales = objective.scales.without(objective.design.take(self.rows).rows())
            theta = scales.to_refit(theta)
        return objective.formulation.layout.to_public(theta[None])[0]

    def raw_predictions(self, X):
        return self.queries.design(X).predict(self.theta)

    def raw_predictions_of(self, data, rows):
        return self.of.fixed.objective.design.take(rows).predict(self.theta)

    def loss(self, X, y):
        loss = self.of.fixed.formulation.loss
        return loss.loss(self.queries.target(y), self.raw_predictions(X))

    def chi_squares(self):
        point = self.of.fixed.objective.without(self.rows).at(self.theta)
        return diagnostics.chi_squares(point).sum(axis=0)
