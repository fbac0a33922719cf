"""Stages that consist of other stages, one after another or side by side.

A chain of stages is itself a stage. Its cotangent on the statistics is a list with one entry
per stage. Each stage is fitted on the output of the stages before it, so its statistics depend
on theirs. For this reason `row_influence` makes another backward pass, from the last stage l
to the first:

    total  += c_l . ds_l/dm_i                        direct effect
    B       = d(c_l . s_l)/dx                        on the training rows of stage l
    c_(l-1) += (dt_(l-1)/ds_(l-1))' B,   B <- (dt_(l-1)/dx)' B + d(c_(l-1) . s_(l-1))/dx
"""

import copy
from functools import cached_property
from itertools import pairwise

import numpy as np
from scipy import sparse

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.stages.base import Rows, Stage, Stateless, dense, numbers


def named_like(frame, rows):
    """Return rows with the names from `frame`, if it is a DataFrame."""
    if hasattr(frame, "iloc"):
        return type(frame)(rows, columns=frame.columns, index=frame.index)
    if hasattr(frame, "columns"):  # polars
        return type(frame)(rows, schema=frame.columns)
    return rows


def add(first, second):
    """Return the sum of two cotangents with the same structure. None means zero."""
    if first is None or second is None:
        return second if first is None else first
    if isinstance(first, list | tuple):
        return type(first)(add(a, b) for a, b in zip(first, second, strict=True))
    return first + second


def stored(rows):
    """Return rows as a csr array; of dense rows, zeros are stored, too."""
    if sparse.issparse(rows):
        return sparse.csr_array(rows, dtype=np.float64)
    n, d = rows.shape
    columns = np.tile(np.arange(d), n)
    return sparse.csr_array((dense(rows).ravel(), columns, np.arange(n + 1) * d), (n, d))


class Identity(Stateless):
    """A step that returns its input."""

    takes_numbers = False

    def __init__(self, X):
        super().__init__(None, X)

    def apply(self, X):
        return X

    def pull_input(self, X, B):
        return B


class Frozen(Stateless):
    """A frozen transformer, which `fit` does not change.

    Parameters
    ----------
    transformer : estimator
        Fitted transformer.
    X : {ndarray, sparse matrix, DataFrame} of shape (n, d)
        Training rows.
    make : callable
        Returns a stage for the same transformer, which has the derivative in the rows.
    """

    takes_numbers = False

    def __init__(self, transformer, X, make):
        super().__init__(transformer, X)
        self._make = make

    @cached_property
    def _stage(self):
        return self._make()

    def pull_input(self, X, B):
        try:
            stage = self._stage
        except UnsupportedEstimatorError:
            raise UnsupportedEstimatorError(
                f"The derivative of {self.transformer!r} is not known. This step is frozen, "
                "but its input changes with other steps. Make it the first step, or freeze "
                "the steps before it."
            ) from None
        return stage.pull_input(stage.rows(X), B)


class Chain(Stage):
    """Stages one after another.

    Parameters
    ----------
    stages : list of Stage
        Stages in the order in which they are applied; at least one.
    """

    takes_numbers = False

    def __init__(self, stages):
        super().__init__(None, stages[0].given)
        self.stages = stages
        self.has_influence = any(stage.has_influence for stage in stages)
        self.is_cross_fitted = any(stage.is_cross_fitted for stage in stages)

    def training_output(self):
        return self.stages[-1].training_output()

    def complete(self, rows, X=None):
        if not sparse.issparse(rows):
            return rows
        if X is None:
            return self.stages[-1].complete(self.training_output())
        *_, (last, inputs) = self._each(X)
        return numbers(last.complete(last.apply(inputs), inputs))

    def _each(self, X):
        """Yield each stage with its input rows."""
        yield self.stages[0], X
        for before, stage in pairwise(self.stages):
            X = before.complete(before.apply(X), X)
            yield stage, X

    def _inputs(self, X):
        """Return the input rows of each stage, in the form that it takes."""
        return [stage.rows(rows) for stage, rows in self._each(X)]

    def apply(self, X):
        for stage in self.stages:
            X = stage.apply(X)
        return X

    def pull_statistics(self, X, B):
        c = [None] * len(self.stages)
        inputs = self._inputs(X)
        for number in reversed(range(len(self.stages))):
            stage, rows = self.stages[number], inputs[number]
            c[number] = stage.pull_statistics(rows, B)
            B = stage.pull_input(rows, B) if self._goes_on(number) else None
            if B is None:  # the input is not numbers, or earlier stages learn nothing
                break
        return c

    def pull_training_statistics(self, B):
        c = [None] * len(self.stages)
        for number in reversed(range(len(self.stages))):
            c[number] = self.stages[number].pull_training_statistics(B)
            goes_on = self._goes_on(number)
            B = self.stages[number].pull_training_input(B) if goes_on else None
            if B is None:
                break
        return c

    def _goes_on(self, number):
        """Return whether an earlier stage has statistics that change."""
        return any(stage.has_influence for stage in self.stages[:number])

    def pull_training_factors(self, factors):
        if self._goes_on(len(self.stages) - 1):
            return super().pull_training_factors(factors)
        # Only the last stage learns, and it can process all cotangents together.
        earlier = [None] * (len(self.stages) - 1)
        return [[*earlier, c] for c in self.stages[-1].pull_training_factors(factors)]

    def added(self, X):
        parts = [stage.added(rows) for stage, rows in self._each(X)]
        return Rows(parts, parts[0].weight)

    def outside(self, X):
        return np.any([stage.outside(rows) for stage, rows in self._each(X)], axis=0)

    def jumping(self):
        return [one for stage in self.stages for one in stage.jumping()]

    def sides(self, row):
        *ends, numbers = zip(*(stage.sides(row) for stage in self.stages), strict=True)
        if ends[0] == ends[1]:
            return self, self, 0
        above, below = copy.copy(self), copy.copy(self)
        above.stages, below.stages = map(list, ends)
        return above, below, max(numbers)

    def row_influences(self, cs, rows=None):
        if self._goes_on(len(self.stages) - 1):
            return super().row_influences(cs, rows)
        last = [None if c is None else c[-1] for c in cs]
        return self.stages[-1].row_influences(last, None if rows is None else rows.X[-1])

    def pull_input(self, X, B):
        for stage, rows in zip(reversed(self.stages), reversed(self._inputs(X)), strict=True):
            if B is not None:
                B = stage.pull_input(rows, B)
        return B

    def pull_training_input(self, B):
        for stage in reversed(self.stages):
            if B is not None:
                B = stage.pull_training_input(B)
        return B

    def row_influence(self, c, rows=None):
        total, _ = self._walk(c, to_input=False, rows=rows)
        return total

    def pull_fit(self, c):
        _, B = self._walk(c, to_input=True)
        return B

    def _walk(self, c, *, to_input, rows=None):
        """Return the row influence (n,), and the cotangent on training rows or None."""
        total, B = self.zeros(rows), None
        for number in reversed(range(len(self.stages))):
            stage, on_statistics = self.stages[number], c[number]
            if B is not None:
                on_statistics = add(on_statistics, stage.pull_training_statistics(B))
            if on_statistics is not None:
                part = None if rows is None else rows.X[number]
                total += stage.row_influence(on_statistics, part)
            if not number and not to_input:
                break
            B = None if B is None else stage.pull_training_input(B)
            if on_statistics is not None:
                B = add(B, stage.pull_fit(on_statistics))
        return total, B


class Columns(Stage):
    """Stages side by side, each with its own input columns and output columns.

    Parameters
    ----------
    transformer : ColumnTransformer or FeatureUnion
        Fitted transformer.
    parts : list of (Stage, columns, slice)
        Each stage with its input columns (None for all) and its output columns.
    X : {ndarray, sparse matrix, DataFrame} of shape (n, d)
        Training rows.
    select : callable
        ``select(X, columns)`` returns the columns of X.
    join : callable
        Joins the outputs of all parts side by side, without names.
    """

    takes_numbers = False

    def __init__(self, transformer, parts, X, select, join):
        super().__init__(transformer, X)
        self.parts = parts
        self.has_influence = any(stage.has_influence for stage, _, _ in parts)
        self.is_cross_fitted = any(stage.is_cross_fitted for stage, _, _ in parts)
        self.select = select
        self.join = join

    @cached_property
    def are_dense(self):
        """Whether each part's own output is dense."""
        row = self.given[:1]
        found = (stage.apply(self.select(row, columns)) for stage, columns, _ in self.parts)
        return [not sparse.issparse(rows) for rows in found]

    def complete(self, rows, X=None):
        if not sparse.issparse(rows) or not any(self.are_dense):
            return rows
        parts = []
        for stage, columns, _ in self.parts:
            if X is None:
                part = stage.complete(stage.training_output())
            else:
                inputs = self.select(X, columns)
                part = stage.complete(stage.apply(inputs), inputs)
            parts.append(stored(part))
        return sparse.hstack(parts, format="csr")

    def training_output(self):
        plain = self.apply(self.given)
        if not self.is_cross_fitted:
            return plain
        joined = self.join([stage.training_output() for stage, _, _ in self.parts])
        return named_like(plain, joined)

    def _split(self, B):
        """Yield each part's stage and input columns, and the cotangent on its output."""
        for (stage, columns, output), is_dense in zip(self.parts, self.are_dense, strict=True):
            part = B[:, output]
            yield stage, columns, part.toarray() if is_dense and sparse.issparse(B) else part

    def pull_statistics(self, X, B):
        return [
            stage.pull_statistics(stage.rows(self.select(X, columns)), part)
            for stage, columns, part in self._split(B)
        ]

    def pull_training_statistics(self, B):
        return [stage.pull_training_statistics(part) for stage, _, part in self._split(B)]

    def pull_input(self, X, B):
        pulled = [
            stage.pull_input(stage.rows(self.select(X, columns)), part)
            for stage, columns, part in self._split(B)
        ]
        return self._scatter(pulled, X.shape)

    def pull_training_input(self, B):
        pulled = [stage.pull_training_input(part) for stage, _, part in self._split(B)]
        return self._scatter(pulled, self.X.shape)

    def added(self, X):
        parts = [stage.added(self.select(X, columns)) for stage, columns, _ in self.parts]
        return Rows(parts, super().added(X).weight)

    def outside(self, X):
        found = super().outside(X)
        for stage, columns, _ in self.parts:
            found |= stage.outside(self.select(X, columns))
        return found

    def jumping(self):
        return [one for stage, _, _ in self.parts for one in stage.jumping()]

    def sides(self, row):
        *ends, numbers = zip(*(stage.sides(row) for stage, _, _ in self.parts), strict=True)
        if ends[0] == ends[1]:
            return self, self, 0
        found = []
        for end in ends:
            found.append(copy.copy(self))
            found[-1].parts = [
                (stage, *rest) for stage, (_, *rest) in zip(end, self.parts, strict=True)
            ]
        return *found, sum(numbers)

    def row_influence(self, c, rows=None):
        total = self.zeros(rows)
        of_parts = [None] * len(self.parts) if rows is None else rows.X
        for (stage, _, _), part, own in zip(self.parts, c, of_parts, strict=True):
            if part is not None:
                total += stage.row_influence(part, own)
        return total

    def pull_fit(self, c):
        pulled = [
            None if part is None else stage.pull_fit(part)
            for (stage, _, _), part in zip(self.parts, c, strict=True)
        ]
        return self._scatter(pulled, self.X.shape)

    def _scatter(self, pulled, shape):
        """Add the cotangents of the parts at their input columns; None if all are None."""
        total = None
        for (_, columns, _), B in zip(self.parts, pulled, strict=True):
            if B is None:
                continue
            if columns is None:
                total = B if total is None else total + B
                continue
            B = B.toarray() if sparse.issparse(B) else B
            spread = np.zeros(shape)
            spread[:, columns] = B
            total = spread if total is None else total + spread
        return total
