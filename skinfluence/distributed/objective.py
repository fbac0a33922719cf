"""An objective for rows in dask arrays: its sums are computed chunk by chunk."""

from dataclasses import dataclass, fields, replace
from functools import cache, cached_property
from operator import attrgetter

import numpy as np

from skinfluence._compat import rank_cutoff
from skinfluence.class_balance import ClassBalance, shifts
from skinfluence.column_scales import ColumnScales, penalty_effect
from skinfluence.design import DenseDesign
from skinfluence.distributed.samples import (
    Samples,
    in_memory,
    join_rows,
    reduce_tasks,
)
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.objective import Formulation, Objective, Point, hessian_blocks
from skinfluence.rank import null_directions


@dataclass(frozen=True, eq=False)
class DistributedObjective:
    """A formulation with training data in dask arrays.

    Parameters
    ----------
    formulation : Formulation
        The objective without its data.
    samples : Samples or None
        The rows; None if only attributes that follow from the other fields are needed.
    n_rows : int
        Number of rows, n.
    weight_sum : float
        S, the sum of the sample weights.
    n_weighted : int
        Number of rows with a positive weight.
    weight_spread : float, default=1.0
        Ratio of the largest to the smallest positive row weight.
    balance : ClassBalance or None, default=None
        The sums that determine "balanced" class weights, without the rows.
    scales : ColumnScales or None, default=None
        Penalty factors that follow a scaler before the model when rows leave. They are 1 here.
    """

    #: Whether solvers can access only sums over the rows.
    is_distributed = True

    def on_host(self):
        """Return this objective, whose chunks are NumPy's."""
        return self

    formulation: Formulation
    samples: Samples
    n_rows: int
    weight_sum: float
    n_weighted: int = 0
    weight_spread: float = 1.0
    balance: ClassBalance | None = None
    scales: ColumnScales | None = None

    #: Least squares with many minima and features far from 0 are solved in memory only.
    offset = spectrum = None
    #: The linear programs of `existence` need the rows in memory.
    n_opposed = np.inf

    def __getstate__(self):
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def _head(self):
        """An objective without rows, with the penalty for all of them."""
        form, layout = _of_a_part(self.formulation), self.formulation.layout
        if form.penalty_share is not None:
            penalty = form.penalty + self.weight_sum * form.penalty_share
            form = replace(form, penalty=penalty)
        design = DenseDesign(np.empty((0, layout.n_features)), layout.fit_intercept)
        return Objective(form, design, target=None, sample_weight=np.empty(0))

    # What does not depend on the rows.
    design = property(attrgetter("_head.design"))
    penalty = property(attrgetter("_head.penalty"))
    coupled = property(attrgetter("_head.coupled"))
    gauge = property(attrgetter("_head.gauge"))
    free = property(attrgetter("_head.free"))
    fixed = property(attrgetter("_head.fixed"))
    unpenalised = property(attrgetter("_head.unpenalised"))
    penalty_product = property(attrgetter("_head.penalty_product"))
    freeze = property(attrgetter("_head.freeze"))
    remove_gauge = property(attrgetter("_head.remove_gauge"))

    @property
    def pin(self):
        """None, because dependent features raise an error in `hessian_blocks` of the point."""
        return None

    def make_consistent(self, V):
        """Return right-hand sides V (..., K, D) as they are, see `pin`."""
        return V

    def with_extra_penalty(self, shift):
        """Return this objective with a penalty added to every parameter."""
        form = self.formulation
        return replace(self, formulation=replace(form, penalty=form.penalty + shift))

    def value(self, theta):
        """Return F(theta)."""
        return self.at(theta).value

    def gradients(self, theta, absent=None, growth=None):
        """Return grad F at many parameter vectors, see `Objective.gradients`."""
        absent = np.full((len(theta), 1), -1) if absent is None else absent
        found = self.sum_of_stack("gradients", None, theta, absent, growth)
        return found + self.formulation.penalty * theta

    def sum_of_stack(self, name, theta, stack, absent, growth):
        """Return the sum over the chunks of a function of many vectors (b, K, D).

        Parameters
        ----------
        name : {"gradients", "remainders", "hessian_products"}
            The method of `Objective`, or of `Point`.
        theta : ndarray of shape (K, D) or None
            Parameters of the point.
        stack : ndarray of shape (b, K, D)
            The vectors.
        absent : ndarray of shape (b, a)
            Rows that do not contribute to each of them, padded by -1.
        growth : ndarray or None
            Growth of the class weights.
        """
        places = self.samples.places(absent)
        return self.total(_of_stack, name, theta, stack, growth, own=places)

    def fallen(self, before, theta):
        """Return the rows that lost curvature, see `Objective.fallen`."""
        found = in_memory(*self.map(_fallen, before, theta, own=self.samples.starts))
        return tuple(np.concatenate(arrays) for arrays in zip(*found, strict=True))

    def design_of(self, rows):
        """Return a design with some rows in memory, and their places in it."""
        members, places = np.unique(rows, return_inverse=True)
        return (self.take(members) if len(members) else self._head).design, places

    def without(self, rows):
        """Return this objective with weight 0 for some rows."""
        samples, balance, form = self.samples, self.balance, self.formulation
        y, weight = samples.labels_and_weights(np.sort(rows))
        weight_sum, n_weighted = self.weight_sum - weight.sum(), np.sum(weight > 0)
        if balance is not None:
            codes = form.target.class_codes(form.target.encode(y))
            balance = balance.less(codes, weight)
            form = replace(form, class_weight=balance.class_weight)
        # A part of the rows may not determine every parameter that all rows determine.
        form = _of_a_part(form)
        if self.scales is not None:
            form = _with_penalty_times(form, self.scales.less(self.column_sums(rows)).ratio())
        return replace(
            self,
            scales=None,
            formulation=form,
            samples=samples.without(rows),
            weight_sum=float(weight_sum),
            n_weighted=int(self.n_weighted - n_weighted),
            balance=balance,
        )

    def with_features(self, X):
        """Return this objective with other features of the same rows, in a dask array."""
        return replace(self, samples=replace(self.samples, X=X))

    def with_scales(self, moves, is_centred):
        """Return this objective with `ColumnScales`, from one pass, see `ColumnScales.of`."""
        sums = self.total(_column_sums, own=[None] * len(self.samples.lengths))
        return replace(self, scales=ColumnScales.of_sums(sums, moves, is_centred))

    def column_sums(self, rows):
        """Return `column_sums` of some rows, (3, D), from a pass over their chunks."""
        by_chunk = [places[places >= 0] for places in self.samples.places(np.asarray(rows))]
        tasks = zip(self.map(_column_sums, own=by_chunk), by_chunk, strict=True)
        return np.sum(in_memory(*(task for task, places in tasks if len(places))), axis=0)

    def map(self, function, *arguments, own=None):
        """Return delayed function(objective, *arguments) for the objective of each chunk.

        These add up to this one, except for the constant part of the penalty, which they omit
        because it does not depend on the weights. See `Samples.map` for `own`.
        """
        form = _of_a_part(self.formulation)
        form = replace(form, penalty=np.zeros_like(form.penalty))
        return self.samples.map(form, function, *arguments, own=own)

    def total(self, function, *arguments, own=None):
        """Return the sum of function(objective, *arguments) over the chunks, an array."""
        return reduce_tasks(_sum, self.map(function, *arguments, own=own)).compute()

    def largest(self, function, *arguments):
        """Return the largest number function(objective, *arguments) over the chunks."""
        return reduce_tasks(max, self.map(function, *arguments)).compute()

    def take(self, rows):
        """Return the `Objective` in memory of some rows, given in ascending order.

        It has the constant penalty of no rows, see `map`.
        """
        by_chunk = [places[places >= 0] for places in self.samples.places(rows)]
        tasks = zip(self.map(_take, own=by_chunk), by_chunk, strict=True)
        first, *rest = in_memory(*(task for task, places in tasks if len(places)))
        for part in rest:
            first = first.append(part)
        return first

    def at(self, theta):
        """Return this objective evaluated at theta (K, D).

        Two calls in a row with the same theta return the same point, which caches its sums.
        """
        theta = np.array(theta, dtype=np.float64)
        last = vars(self).get("_last")
        if last is None or not np.array_equal(last.theta, theta):
            last = vars(self)["_last"] = DistributedPoint(self, theta)
        return last


class DistributedPoint:
    """A distributed objective at theta. It makes a pass over the rows only when needed.

    Parameters
    ----------
    objective : DistributedObjective
        The objective F.
    theta : ndarray of shape (K, D)
        Parameters at which the objective is evaluated.
    """

    #: New arrays beside the rows are NumPy's.
    like = None
    #: Whether the rows are in dask arrays.
    is_distributed = True

    def __init__(self, objective, theta):
        self.objective = objective
        self.theta = theta

    def map(self, function, *arguments):
        """Return delayed function(point, *arguments), see `DistributedObjective.map`."""
        return self.objective.map(_at_point, function, self.theta, *arguments)

    def total(self, function, *arguments):
        """Return the sum over the chunks of function(point, *arguments), an array."""
        return self.objective.total(_at_point, function, self.theta, *arguments)

    def largest(self, function, *arguments):
        """Return the largest number function(point, *arguments) over the chunks."""
        return self.objective.largest(_at_point, function, self.theta, *arguments)

    def collect(self, function, *arguments):
        """Return the arrays function(point, *arguments) of all chunks in one."""
        return np.concatenate(in_memory(*self.map(function, *arguments)))

    def per_row(self, function, *arguments):
        """Return function(point, *arguments), (n,), as a dask array."""
        return join_rows(self.map(function, *arguments), self.objective.samples.lengths)

    @cached_property
    def _sums(self):
        """F, G and the rows' centre, without the constant penalty, from one pass."""
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

    @cached_property
    def class_gradients(self):
        """Gradients of the classes, as in `Point.class_gradients`, or None."""
        return None if self.objective.balance is None else self.total(_class_gradients)

    @cached_property
    def class_effects(self):
        """Derivative of grad F through class weights, as in `Point.class_effects`."""
        balance = self.objective.balance
        return None if balance is None else shifts(self.class_gradients, balance.sums[0])

    @cached_property
    def effects(self):
        """The sums over all rows on which gradients in weights depend, see `Point.effects`."""
        of_scales = None if self.objective.scales is None else penalty_effect(self)
        return self.class_effects, of_scales

    def centre(self):
        """Return the mean of the features, weighted by the rows' curvature, or None."""
        return self._sums[2]

    def hessian_blocks(self, shift=None):
        """Return the diagonal blocks of H with the outputs that each one serves."""
        grams = self.total(Point.curvature_grams, shift)
        if self._has_null_directions(grams[0]):
            raise UnsupportedEstimatorError(
                "The features depend on each other. A least-norm solution then needs its rows "
                "in memory, not in dask arrays: drop features, use Ridge, or call compute() "
                "on a part of the rows and pass that."
            )
        return hessian_blocks(self.objective, grams)

    def _has_null_directions(self, gram):
        """Return whether the least-norm solution is not the only one."""
        unit, design = self.objective.formulation.minimum_norm, self.objective.design
        if unit is None:
            return False
        tol = rank_cutoff(unit, self.objective.n_rows, design.n_features)
        # For the squared error alone, H is the rows' second moments times a number.
        return len(null_directions(gram, design, tol)[0]) > 0

    def hessian_diagonal(self):
        """Return the diagonal of H, shape (K, D)."""
        return self.total(Point.hessian_diagonal) + self.objective.formulation.penalty

    def slope_along(self, direction):
        """Return a function of t: the slope of F at theta + t `direction`.

        Each new value takes a pass over the rows, including t = 0 if the point has none yet.
        """

        @cache
        def slope_at(t):
            ahead = self.objective.at(self.theta + t * direction) if t else self
            return float(np.sum(ahead.gradient * direction))

        return slope_at

    def is_current(self):
        """Return True, because dask arrays do not change."""
        return True

    def without_rows(self):
        """Return this point for solves only, small enough to be sent to workers."""
        return replace(self.objective, samples=None).at(self.theta)


def _with_penalty_times(formulation, ratio):
    """Return a formulation whose penalty is multiplied by a factor (D,)."""
    share = formulation.penalty_share
    share = None if share is None else share * ratio
    return replace(formulation, penalty=formulation.penalty * ratio, penalty_share=share)


def _of_a_part(formulation):
    """Return a formulation for a part of the rows, without settings that need all rows."""
    return replace(formulation, minimum_norm=None)


# Functions that run in tasks.


def _at_point(objective, function, theta, *arguments):
    # A long step may overflow; the line search checks the value.
    with np.errstate(over="ignore", invalid="ignore"):
        return function(objective.at(theta), *arguments)


def _sum(arrays):
    total = np.array(arrays[0])
    for array in arrays[1:]:
        total += array
    return total


def _column_sums(objective, rows):
    design = objective.design if rows is None else objective.design.take(rows)
    return ColumnScales.sums(design)


def _take(objective, rows):
    return objective.take(rows)


def _of_stack(objective, absent, name, theta, stack, growth):
    if growth is not None:
        objective = replace(objective, balance=objective.class_sums)
    with np.errstate(over="ignore", invalid="ignore"):
        if name == "gradients":
            return objective.gradients(stack, absent, growth)
        return getattr(objective.at(theta), name)(stack, absent, growth)


def _fallen(objective, start, before, theta):
    pair, row, root = objective.fallen(before, theta)
    return pair, row + start, root


def _class_gradients(point):
    return point.class_gradients


def _first_order(point):
    """Return F, then the weight and weighted sum of the features, then G, in one vector.

    The weight is 0 if the design is not to be centred.
    """
    design = point.objective.design
    w = point.curvature_diagonal().sum(axis=1)
    centre, weight = design.centre(w) if design.is_dense else None, w.sum()
    if centre is None:
        centre, weight = np.zeros(design.n_features), 0.0
    return np.concatenate([[point.value, weight], weight * centre, point.gradient.ravel()])
