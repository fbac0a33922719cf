"""Some rows of a distributed objective, in memory, for formulas about rows that leave.

A removal takes a few sums over all rows, which are known, and the rows that leave. A part has
these rows, and the penalty, the class weights and the gradient of all rows. Within a task it
is a chunk. With the caller it holds rows that were gathered from the chunks, and sums over all
rows at new parameters take a pass over the chunks.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skinfluence.objective import Objective, Point


@dataclass(frozen=True, eq=False)
class PartObjective(Objective):
    """Some rows of a distributed objective, with the penalty and class weights of all rows.

    Parameters
    ----------
    total_weight : float, default=0.0
        Sum of all sample weights.
    total_spread : float, default=1.0
        Ratio of the largest to the smallest positive weight of all rows.
    whole : DistributedObjective or None, default=None
        The objective; None within a task.
    places : ndarray of shape (n,) or None, default=None
        Indices of these rows among all rows.
    """

    total_weight: float = 0.0
    total_spread: float = 1.0
    whole: Any = None
    places: Any = None

    has_all_rows = False

    @property
    def weight_sum(self):
        """S of all rows."""
        return self.total_weight

    @property
    def weight_spread(self):
        """Ratio of the largest to the smallest positive weight of all rows."""
        return self.total_spread

    @property
    def offset(self):
        """None: features far from 0 are centred in memory only."""
        return None

    def gradients(self, theta, absent=None, growth=None):
        """Return grad F of all rows at many parameter vectors, in one pass."""
        absent = None if absent is None else self.among_all(absent)
        return self.whole.gradients(theta, absent, growth)

    def fallen(self, before, theta):
        """Return those of all rows that lost curvature, in one pass."""
        return self.whole.fallen(before, theta)

    def design_of(self, rows):
        """Return a design with some of all rows in memory, and their places in it."""
        return self.whole.design_of(rows)

    def without(self, rows):
        """Return the distributed objective without some of these rows."""
        return self.whole.without(self.places[rows])

    def among_all(self, rows):
        """Return the indices among all rows of rows (b, a), padded by -1."""
        return np.where(rows >= 0, self.places[rows], -1)


class PartPoint(Point):
    """A `PartObjective` at theta, with the gradient of all rows.

    Parameters
    ----------
    objective : PartObjective
        The rows.
    theta : ndarray of shape (K, D)
        Parameters.
    gradient : ndarray of shape (K, D)
        grad F of all rows.
    class_gradients : ndarray of shape (n_classes, K, D) or None
        `Point.class_gradients` of all rows.
    """

    def __init__(self, objective, theta, gradient, class_gradients):
        super().__init__(objective, theta)
        self.gradient = gradient
        vars(self)["class_gradients"] = class_gradients

    def remainders(self, steps, absent, growth=None):
        """Return `Point.remainders` of all rows, in one pass."""
        objective = self.objective
        absent = objective.among_all(absent)
        return objective.whole.sum_of_stack("remainders", self.theta, steps, absent, growth)

    def hessian_products(self, steps, absent, growth):
        """Return `Point.hessian_products` of all rows, in one pass."""
        objective = self.objective
        absent = objective.among_all(absent)
        whole = objective.whole
        found = whole.sum_of_stack("hessian_products", self.theta, steps, absent, growth)
        return found + whole.formulation.penalty * steps


@dataclass(frozen=True, eq=False)
class Shared:
    """A base of removal without its rows, and the sums that any part of the rows needs.

    Parameters
    ----------
    base : Base
        From `Base.without_rows`.
    head : DistributedObjective
        The objective without its rows.
    theta, gradient : ndarray of shape (K, D)
        The base's point, and grad F of all rows there.
    class_gradients : ndarray of shape (n_classes, K, D) or None
        `Point.class_gradients` of all rows.
    """

    base: Any
    head: Any
    theta: np.ndarray
    gradient: np.ndarray
    class_gradients: np.ndarray | None

    @classmethod
    def of(cls, base, names):
        """Return the parts of a base for tasks; `names` are values of all rows to keep."""
        point = base.point
        head = replace(point.objective, samples=None)
        light = base.without_rows(*names)
        return cls(light, head, point.theta, point.gradient, point.class_gradients)

    def base_of(self, objective, whole=None, places=None):
        """Return the base for the rows of an objective in memory, see `PartObjective`."""
        form, balance = replace(self.head.formulation, minimum_norm=None), self.head.balance
        if balance is not None:
            balance = replace(objective.class_sums, sums_of_all=balance.sums)
        part = PartObjective(
            form,
            objective.design,
            objective.target,
            objective.sample_weight,
            scales=self.head.scales,
            balance=balance,
            total_weight=self.head.weight_sum,
            total_spread=self.head.weight_spread,
            whole=whole,
            places=places,
        )
        point = PartPoint(part, self.theta, self.gradient, self.class_gradients)
        return self.base.with_rows(point)
