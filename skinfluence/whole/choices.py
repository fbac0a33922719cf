"""Removals behind choices of a pipeline's steps that are known without their refits.

If a selector keeps the same columns without a group, the features of the refit are the present
ones, or are the present ones with other scales. Then the model's own removal answers, with all
such groups at once, and nothing is fitted again. If several groups lead to the same other
columns, the model is fitted once to all samples with these columns, and its removal answers.
See `stages.choices` and `stages.columns` for what is known of a choice.
"""

from functools import cached_property
from itertools import chain

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from skinfluence import diagnostics, removal
from skinfluence.blocks import row_blocks, run_blocks
from skinfluence.column_scales import Cancellation
from skinfluence.groups import Groups
from skinfluence.namespaces import to_host
from skinfluence.whole.data import take_rows
from skinfluence.whole.refits import Refit
from skinfluence.whole.unread import attempt

# A model for other columns takes about as long as the refits of this many groups.
_ENOUGH = 3
# So many groups of one row are checked at once, or as many groups as take so many bytes.
_CHECKED, _CACHED = 256, 4 * 2**20


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

    #: For each parameter of a fit with other choices, its position in this one, -1 if it has
    #: none; None if the choices are those of the fit.
    positions = None

    def __init__(self, problem, fixed, choices):
        self.problem = problem
        self.fixed = fixed
        self.choices = choices
        self.cancellation = Cancellation(fixed.objective)

    def write(self, request, read, write):
        """Call ``write(group, read(group, refit))`` for groups with known choices.

        Return the other groups.
        """
        groups = request.groups
        written = np.zeros(len(groups), dtype=bool)
        everyone = np.arange(len(groups))
        alike = {}
        for group, made in enumerate(self.made_without(groups, everyone, request.n_jobs)):
            if made is not None:
                alike.setdefault(made.tobytes(), []).append(group)
        for made, members in alike.items():
            if made == self.kept.tobytes():
                self.write_unchanged(members, request, read, write, written)
            elif len(members) >= _ENOUGH:
                other, _ = attempt(self._otherwise, groups.rows(members[0]))
                if other is not None:
                    stay = other.staying(groups, members, request.n_jobs)
                    other.write_unchanged(stay, request, read, write, written)
        return everyone[~written]

    @property
    def kept(self):
        """Masks of the columns that the fitted steps keep, one after the other."""
        return np.concatenate([choice.kept for choice in self.choices])

    def made_without(self, groups, members, n_jobs):
        """Return `kept` for a fit without each group, None if it is unknown.

        Parameters
        ----------
        groups : Groups
            Groups of samples.
        members : sequence of int
            The groups to look at.
        n_jobs : int or None
            Number of blocks of groups at the same time.
        """

        def check(block):
            rows = [groups.rows(group) for group in members[block]]
            found = [choice.made_without(rows) for choice in self.choices]
            return [
                None if any(one is None for one in masks) else np.concatenate(masks)
                for masks in zip(*found, strict=True)
            ]

        most = max((len(groups.rows(group)) for group in members), default=1)
        one, group_bytes = (
            max(choice.group_bytes(n_rows) for choice in self.choices) for n_rows in (1, most)
        )
        largest = max(_CHECKED * one, _CACHED)
        blocks = row_blocks(len(members), group_bytes, n_jobs=n_jobs, largest=largest)
        return list(chain.from_iterable(run_blocks(check, blocks, n_jobs=n_jobs)))

    def staying(self, groups, members, n_jobs):
        """Return the groups whose removal leaves the choices of this fit as they are."""
        made = self.made_without(groups, members, n_jobs)
        return [
            g for g, one in zip(members, made, strict=True) if np.array_equal(one, self.kept)
        ]

    def write_unchanged(self, alone, request, read, write, written):
        """Write the results of groups whose removal leaves the choices as they are."""
        groups = request.groups
        alone = [g for g in alone if not self.cancellation.without(groups.rows(g))]
        if not alone:
            return
        members = Groups(groups.n_rows, [groups.rows(group) for group in alone])
        queries = _Queries(self.problem)
        method, options = request.method, {"refine": request.refine, "n_jobs": request.n_jobs}

        def emit(indices, _rows, theta):
            for index, one in zip(indices, theta, strict=True):
                group = alone[index]
                if np.isfinite(one).all():
                    rows = groups.rows(group)
                    refit = Unchanged(self, queries, one, rows, method, base.open)
                    write(group, read(group, refit))
                    written[group] = True

        base = self.fixed.start_base(method, "auto")
        removal.leave_out(base, members, method, emit, **options)

    def _otherwise(self, rows):
        """Return the `Choices` of a fit with all samples, but as selected without some.

        None if there is no such fit.
        """
        problem, steps = self.problem, []
        data, X = problem.data, problem.data.X
        others = np.delete(np.arange(data.n_rows), rows)
        for name, step in problem.steps:
            if step not in (None, "passthrough"):
                selects = hasattr(step, "get_support")
                step = clone(step)
                if selects:
                    step.fit(take_rows(X, others), take_rows(data.y, others))
                else:
                    step.fit(X, data.y)
                X = step.transform(X)
            steps.append((name, step))
        if X.shape[1] == 0:
            return None
        weight = to_host(problem.objective.sample_weight)
        refit = problem.refit_behind(Pipeline(steps), X, data, weight, "exact")
        if refit is None or refit.open is not None:
            return None
        pipe = problem.as_pipeline(refit)
        pipe.training_data_ = data
        whole = type(problem)(pipe)
        # A selector fitted to all samples would choose as before.
        whole.refits_are_checked = True
        choices = whole.choices
        if choices is not None:
            choices.positions = problem.positions(refit)
        return choices


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


class KnownRefit(Refit):
    """A pipeline without some samples, of which the parameters are known without a refit.

    Parameters
    ----------
    problem : WholeProblem
        The pipeline's problem.
    theta : ndarray of shape (K, D)
        The model's parameters in the present features.
    rows : ndarray of int
        The samples that are left out.
    method : str
        Accuracy.
    """

    def __init__(self, problem, theta, rows, method):
        self.problem = problem
        self.theta = theta
        self.rows = rows
        self.method = method

    #: Groups without which a parameter is undetermined are fitted again.
    open = None

    @property
    def names(self):
        return self.problem.feature_names

    @cached_property
    def fitted(self):
        """The steps and the model fitted again, for callers that need them."""
        return self.problem.without(self.rows, self.method)

    @property
    def before(self):
        return self.fitted.before

    @property
    def model(self):
        return self.fitted.model


class Unchanged(KnownRefit):
    """A pipeline without some samples, whose steps choose as before.

    Parameters
    ----------
    of : Choices
        The choices.
    queries : _Queries
        Designs of samples.
    open : ndarray of shape (r, K, D) or None
        Directions that the samples of the fit leave undetermined.
    """

    def __init__(self, of, queries, theta, rows, method, open):
        super().__init__(of.problem, theta, rows, method)
        self.of = of
        self.queries = queries
        self.open = open

    @cached_property
    def params(self):
        """Parameters at the current positions, (p,), in the features of the refit."""
        objective, theta = self.of.fixed.objective, self.theta
        if objective.scales is not None:
            scales = objective.scales.without(objective.design.take(self.rows).rows())
            theta = scales.to_refit(theta)
        if self.open is not None:
            theta = np.where(removal.depends(self.open), np.nan, theta)
        params = objective.formulation.layout.to_public(theta[None])[0]
        positions = self.of.positions
        if positions is None:
            return params
        return np.where(positions < 0, np.nan, params[positions])

    def raw_predictions(self, X):
        return self._predictions(self.queries.design(X))

    def raw_predictions_of(self, data, rows):
        return self._predictions(self.of.fixed.objective.design.take(rows))

    def _predictions(self, design):
        """Return raw predictions (m, K), NaN if they depend on undetermined parameters."""
        raw = design.predict(self.theta)
        if self.open is not None:
            raw[removal.depends(self.open, design)] = np.nan
        return raw

    def loss(self, X, y):
        loss = self.of.fixed.formulation.loss
        return loss.loss(self.queries.target(y), self.raw_predictions(X))

    def chi_squares(self):
        point = self.of.fixed.objective.without(self.rows).at(self.theta)
        return diagnostics.chi_squares(point).sum(axis=0)
