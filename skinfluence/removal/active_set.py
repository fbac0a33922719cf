"""Removal for piecewise linear losses, which follows the active set instead of a curvature.

    "influence"   first order in the weights; margin vectors have no influence
    "one-step"    the optimum for the remaining rows if each stays on its piece or kink
    "newton"      the same, then the path of optima if a row leaves its place
    "exact"       the path of optima as the weights of the leaving rows go to zero; rows change
                  their places along it

Each optimum is exact for its partition, up to rounding. If a path fails, for example because
rows are repeated, scikit-learn refits the model, and the refit is counted.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from skinfluence import active_set, existence
from skinfluence.removal.accuracies import ONE_STEP, first_order_pull

# Width of an interval of optimal intercepts that matters, relative to the largest prediction.
_WIDE = 0.01


@dataclass(frozen=True, eq=False)
class ActiveSetBase:
    """The start of removal: an optimum with its partition.

    Parameters
    ----------
    point : ActiveSetPoint
        The optimum for all rows.
    solver : HessianSolver
        The solver with which "influence" factorises H.
    refit : callable
        Maps an objective to the parameters (K, D) of scikit-learn's refit on it.
    refitted : list
        Collects the objectives on which scikit-learn refitted the model.
    flat : dict
        Empty, because these optima are unique up to ties of rows and to intercepts.
    widths : dict
        Collects the widths of intervals of optimal intercepts, by a hash of the weights.
    """

    point: active_set.ActiveSetPoint
    solver: object
    refit: object
    refitted: list = field(default_factory=list)
    flat: dict = field(default_factory=dict)
    widths: dict = field(default_factory=dict)

    #: Directions that all rows leave undetermined: none, because these models are penalised.
    open = None
    has_optimum = True

    #: The step from the point to the optimum: none, because the point is the optimum.
    correction = 0.0

    @property
    def theta(self):
        """Parameters at the point, (K, D)."""
        return self.point.theta

    @cached_property
    def factor(self):
        """H^-1 at the point."""
        return self.solver.factorise(self.point)

    @cached_property
    def existence(self):
        """The check whether objectives without some rows have a minimum."""
        return existence.RemovalCheck(self.point.objective)

    def optimum(self):
        """Return the optimum for all rows, (K, D)."""
        return self.point.theta

    #: Features far from 0 need no other base, because no Hessian is formed.
    centred = None

    def prepare(self, method):
        """Do nothing, because groups share only the point."""

    def prepare_reweighting(self):
        """Do nothing, because vectors of weights share only the point."""

    def recover(self, objective):
        """Return None, because scikit-learn refits if no optimum is found."""

    def open_directions(self, outcome, n_groups):
        """Return no group, because a penalty determines every parameter."""
        return ()

    def remove(self, rows, method):
        """Return (theta, decrement, converged) for groups of rows (b, a), padded by -1.

        The decrement is the number of rows that do not fit their former places.
        """
        lines = [line[line >= 0] for line in rows]
        if method == "influence":
            theta = self.theta + self.factor.solve(first_order_pull(self.point, lines))
            return theta, np.zeros(len(rows)), np.ones(len(rows), dtype=bool)
        removed = [self._remove_one(line, method) for line in lines]
        theta = np.array([theta for theta, _ in removed])
        misplaced = np.array([count for _, count in removed], dtype=np.float64)
        return theta, misplaced, np.isfinite(theta).all(axis=(1, 2))

    def reweight(self, objectives, method):
        """Return (theta, converged) at other weights, see `Base.reweight`."""
        outputs = range(len(self.theta))
        moved = [self._move_to(objective, outputs, method)[0] for objective in objectives]
        theta = np.array(moved)
        return theta, np.isfinite(theta).all(axis=(1, 2))

    def _remove_one(self, rows, method):
        """Return (theta, number of misplaced rows) without the given rows."""
        point = self.point
        reduced = point.objective.without(rows)
        # If no leaving row supports an output, the output does not change.
        supports = point.partition.held[rows] | (point.rows.raw_gradient[rows] != 0)
        supports &= point.objective.row_weight[rows] > 0
        # "balanced" class weights change for all rows, so all outputs do.
        supports |= point.objective.balance is not None
        # Without margin vectors any row may bound the interval of the intercept.
        supports |= ~point.partition.held.any(axis=0)
        return self._move_to(reduced, np.flatnonzero(supports.any(axis=0)), method)

    def note(self, objective, width):
        """Remember the width of an interval of optimal intercepts if it matters."""
        if width > _WIDE * np.abs(self.point.raw_prediction).max():
            # A refined group comes twice, but counts once.
            self.widths[hash(objective.sample_weight.tobytes())] = width

    def _move_to(self, objective, outputs, method):
        """Return (theta, number of misplaced rows) at the weights of another objective."""
        point = self.point
        if not np.isfinite(point.misfit) and method == "exact":
            self.refitted.append(objective)
            return self.refit(objective), 0
        misplaced = 0
        if method != "exact":
            theta, misplaced, width = active_set.first_step(point, objective, outputs)
            if method == ONE_STEP or (not misplaced and np.isfinite(theta).all()):
                self.note(objective, width)
                return theta, misplaced
        theta, arrived, width = active_set.follow(point, objective, outputs)
        self.note(objective, width)
        if not arrived and method == "exact":
            self.refitted.append(objective)
            theta = self.refit(objective)
        elif not arrived:
            theta = np.full(theta.shape, np.nan)  # no refit, because it may take long
        return theta, misplaced
