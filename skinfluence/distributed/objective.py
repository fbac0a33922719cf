"""An objective for rows in dask arrays: its sums are computed chunk by chunk."""

from dataclasses import dataclass, fields, replace
from functools import cache, cached_property

import numpy as np

from skinfluence._compat import rank_cutoff
from skinfluence.class_balance import balanced, like, shifts
from skinfluence.design import DenseDesign
from skinfluence.distributed.samples import Samples, import_dask, join_rows, reduce_tasks
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.objective import Formulation, Objective, Point, hessian_blocks
from skinfluence.rank import null_directions

__all__ = [
    "DistributedObjective",
    "DistributedPoint",
    "is_distributed",
    "make_objective",
    "make_queries",
    "sample_loss",
]


def is_distributed(*points):
    """Return whether any of the points has its rows in dask arrays."""
    return any(isinstance(point, DistributedPoint) for point in points)


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
    class_total : ndarray of shape (n_classes,) or None, default=None
        The sums N_k that determine "balanced" class weights, see `class_balance`.
    """

    #: Whether solvers can access only sums over the rows.
    is_distributed = True

    formulation: Formulation
    samples: Samples
    n_rows: int
    weight_sum: float
    class_total: np.ndarray | None = None

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

    @property
    def design(self):
        """A design without rows, for attributes that do not depend on them."""
        return self._head.design

    @property
    def penalty(self):
        """Diagonal of Lam at the current weights, shape (K, D)."""
        return self._head.penalty

    @property
    def coupled(self):
        """Whether the Hessian mixes outputs."""
        return self._head.coupled

    @property
    def gauge(self):
        """Columns along which a common shift of all outputs leaves F unchanged, (D,) bool."""
        return self._head.gauge

    @property
    def free(self):
        """Parameters that are free to move, (K, D) bool."""
        return self._head.free

    @property
    def pin(self):
        """None, because dependent features raise an error in `hessian_blocks` of the point."""
        return None

    def freeze(self, V):
        """Set V (..., K, D) to zero, in place, for parameters that are fixed."""
        return self._head.freeze(V)

    def remove_gauge(self, V):
        """Project V (..., K, D) off the gauge directions, in place, and return it."""
        return self._head.remove_gauge(V)

    def with_extra_penalty(self, shift):
        """Return this objective with a penalty added to every parameter."""
        form = self.formulation
        return replace(self, formulation=replace(form, penalty=form.penalty + shift))

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

    def __init__(self, objective, theta):
        self.objective = objective
        self.theta = theta

    def map(self, function, *arguments):
        """Return delayed function(point, *arguments) for the point of each chunk.

        The points of the chunks add up to this one, except for the constant part of the
        penalty, which they omit because it does not depend on the weights.
        """
        objective = self.objective
        form = objective.formulation
        form = replace(_of_a_part(form), penalty=np.zeros_like(form.penalty))
        return objective.samples.map(form, _at_point, function, self.theta, *arguments)

    def total(self, function, *arguments):
        """Return the sum over the chunks of function(point, *arguments), an array."""
        return reduce_tasks(_sum, self.map(function, *arguments)).compute()

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
    def class_effects(self):
        """Derivative of grad F through class weights, as in `Point.class_effects`."""
        total = self.objective.class_total
        return None if total is None else shifts(self.total(_class_gradients), total)

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


def make_objective(formulation, samples):
    """Return the objective for dask arrays and their smallest weight, from one pass.

    The pass checks every chunk.
    """
    found = import_dask().compute(*samples.map(formulation, _weights))
    weights, sums = zip(*found, strict=True)
    total, smallest = np.sum(weights, axis=0)[0], np.min(weights, axis=0)[1]
    if total == 0:
        raise ValueError("sample_weight contains only zeros: at least one must be positive.")
    n, class_total = samples.X.shape[0], None
    if formulation.balanced_by is not None:
        class_total, count = np.sum(sums, axis=0)
        weight = like(formulation.class_weight, balanced(class_total, count))
        formulation = replace(formulation, class_weight=weight)
    objective = DistributedObjective(formulation, samples, n, float(total), class_total)
    return objective, float(smallest)


def make_queries(formulation, samples, theta):
    """Return query samples at theta. Chunks are checked when they are read."""
    n = samples.X.shape[0]
    return DistributedObjective(formulation, samples, n, float(n)).at(theta)


def sample_loss(point):
    """Return the plain loss of each sample as a dask array, (m,)."""
    return point.per_row(_plain_loss)


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


def _weights(objective):
    balance = objective.class_sums
    sums = None if balance is None else balance.sums
    return (objective.weight_sum, objective.sample_weight.min()), sums


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


def _plain_loss(point):
    objective = point.objective
    return objective.formulation.loss.loss(objective.target, point.raw_prediction)
