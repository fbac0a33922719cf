"""Removal from models that kinks hold: the active set is followed, not a curvature.

    "influence"   first order in the weights: rows held by a kink have no influence
    "one-step"    the optimum of the remaining rows if every one stays on its piece or kink
    "newton"      the same, and the path of optima if a row does not stay
    "exact"       the path of optima as the weights of the leaving rows go to zero, with
                  every row changing its place where the path says so

Each optimum is that of its partition to rounding. Where a path does not get through, as with
repeated rows, scikit-learn refits, and it is counted.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from skinfluence import active_set
from skinfluence.removal.methods import ONE_STEP

__all__ = ["ActiveSetBase"]


@dataclass(frozen=True, eq=False)
class ActiveSetBase:
    """Where removal starts: an optimum with its partition.

    Parameters
    ----------
    point : ActiveSetPoint
        The optimum of all rows.
    solver : HessianSolver
        What "influence" factorises H with.
    refit : callable
        Maps indices of rows to the parameters (K, D) of scikit-learn's refit without them.
    refitted : list
        Filled with the rows of every group that was left to it.
    """

    point: active_set.ActiveSetPoint
    solver: object
    refit: object
    refitted: list = field(default_factory=list)

    #: Directions that all rows leave undetermined: none, as every kink model has a penalty.
    open = None
    has_optimum = True

    #: The step from the point to the optimum, which the point is.
    correction = 0.0

    @property
    def theta(self):
        """Parameters of the point, (K, D)."""
        return self.point.theta

    @cached_property
    def factor(self):
        """H^-1 at the point."""
        return self.solver.factorise(self.point)

    def optimum(self):
        """Return the optimum of all rows, (K, D)."""
        return self.point.theta

    def prepare(self, method):
        """Nothing is shared beyond the point."""

    def recover(self, rows):
        """Return None: scikit-learn refits where no optimum is found."""

    def open_directions(self, outcome, n_groups):
        """Return no group: a penalty determines every parameter."""
        return ()

    def remove(self, rows, method):
        """Return (theta, decrement, converged) of groups of rows (b, a), padded by -1.

        The decrement of a group is how many rows do not fit the places they had.
        """
        lines = [line[line >= 0] for line in rows]
        if method == "influence":
            theta = self.theta + self.factor.solve(self._pull(lines))
            return theta, np.zeros(len(rows)), np.ones(len(rows), dtype=bool)
        removed = [self._remove_one(line, method) for line in lines]
        theta = np.array([theta for theta, _ in removed])
        misplaced = np.array([count for _, count in removed], dtype=np.float64)
        return theta, misplaced, np.isfinite(theta).all(axis=(1, 2))

    def _pull(self, lines):
        """Return sum_A v_i of each group, (b, K, D)."""
        w, gradients = self.point.objective.sample_weight, self.point.rows
        return np.array([gradients.take(line).sum(w[line]) for line in lines])

    def _remove_one(self, rows, method):
        """Return (theta, number of misplaced rows) without some rows."""
        point = self.point
        reduced = point.objective.without(rows)
        # Where no leaving row supports an output, nothing changes for it.
        supports = point.partition.held[rows] | (point.rows.raw_gradient[rows] != 0)
        supports &= point.objective.row_weight[rows] > 0
        outputs = np.flatnonzero(supports.any(axis=0))
        if not np.isfinite(point.misfit) and method == "exact":
            self.refitted.append(rows)
            return self.refit(rows), 0
        misplaced = 0
        if method != "exact":
            theta, misplaced = active_set.first_step(point, reduced, outputs)
            if method == ONE_STEP or not misplaced or not np.isfinite(theta).all():
                return theta, misplaced
        theta, arrived = active_set.follow(point, reduced, outputs)
        if not arrived and method == "exact":
            self.refitted.append(rows)
            theta = self.refit(rows)
        elif not arrived:
            theta = np.full(theta.shape, np.nan)  # scikit-learn's refit may take long
        return theta, misplaced
