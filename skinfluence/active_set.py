"""Optima of piecewise linear losses, which are determined by their margin vectors.

If a loss has kinks, like the hinge at a margin of 1, some predictions lie exactly on a kink at
the optimum. Write the optimum in dual coefficients beta_i = -s_i g_i, where g_i is a slope or
subgradient of the loss,

    theta = Lam^-1 sum_i beta_i x~_i,     sum_i beta_i = 0 for a free intercept b

Off the kinks, g_i is the slope of the piece that contains the prediction, so beta_i is known.
The margin vectors M are the other rows. Their predictions are the kinks kappa, so

    [X_M Lam^-1 X_M'  1] [beta_M]   [kappa - X_M theta_rest]
    [1'               0] [b     ] = [-sum beta_rest        ]

If the partition is right, this is the optimum to rounding. Small changes in other rows'
weights do not move the predictions of margin vectors. So a margin vector has infinite
curvature and no gradient, and the formulas for influence apply unchanged.

A path connects two optima (`active_path`). While weights s and kinks kappa move linearly to
their new values, predictions and dual coefficients move linearly too, until a row reaches the
end of its piece or of its kink's range of slopes. Then the row changes its place, and the path
continues. Removal moves weights to zero. A fit that stopped early is the optimum for kinks
slightly off the true ones, and the path leads to the true kinks.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skinfluence.active_path import OutputProblem
from skinfluence.gradients import GradientRows
from skinfluence.objective import Point

# Distances to a kink at which a row counts as a margin vector if the fit has no dual
# coefficients, in the order in which they are tried. liblinear's tolerance is about this size,
# and an additional row this close may make the partition impossible. Only the path depends on
# the distance.
_NEAR = (1e-3, 1e-4, 1e-5, 1e-6, 1e-2)


@dataclass(frozen=True)
class Partition:
    """The place of each row's prediction.

    Parameters
    ----------
    kink : ndarray of shape (n, K)
        Index of the kink on which it lies, counted from the left; -1 if it lies on none.
    slope : ndarray of shape (n, K)
        Slope of the loss if the prediction lies on no kink; otherwise 0.
    """

    kink: np.ndarray
    slope: np.ndarray

    @property
    def held(self):
        """Whether the row is a margin vector, (n, K) bool."""
        return self.kink >= 0


class ActiveSetPoint(Point):
    """An objective with a piecewise linear loss, at an optimum given by its partition.

    Parameters
    ----------
    objective : Objective
        The objective F.
    theta : ndarray of shape (K, D)
        The optimum.
    partition : Partition
        The places of the rows.
    misfit : float
        Largest change in a training prediction from the fit to this optimum. It is inf if no
        optimum was found; then the partition is the fit's.
    """

    def __init__(self, objective, theta, partition, misfit):
        self.objective = objective
        self.theta = theta
        self.partition = partition
        self.misfit = misfit
        self.raw_prediction = objective.design.predict(theta)
        gradient = partition.slope
        if objective.loss_weight is not None:
            gradient = gradient * objective.loss_weight
        self.rows = GradientRows(objective.design, gradient)

    @cached_property
    def gradient(self):
        """G = 0, because the margin vectors balance the other rows."""
        return np.zeros(self.theta.shape)

    def curvature(self, rows=slice(None)):
        on_kink = self.partition.held[rows] & (self.objective.row_weight[rows] > 0)
        return np.where(on_kink, np.inf, 0.0)

    def curvature_diagonal(self):
        return self.curvature()

    def why_flat(self):
        """Return why no row determines the intercept, with the width of its interval."""
        widths = []
        for k in range(len(self.theta)):
            problem = OutputProblem.of(self.objective, k)
            widths.append(problem.from_optimum(self, k).width)
        loss = self.objective.formulation.loss
        return (
            "no row is a margin vector, and every intercept in an interval of width "
            f"{max(widths):.3g} is optimal. scikit-learn takes its middle, and so do the "
            f"methods that remove samples (leave_out_*). {loss.why_flat}"
        )

    def margins(self):
        """Return the margin vectors of each output, a list of indices."""
        on_kink = np.isinf(self.curvature())
        return [np.flatnonzero(mask) for mask in on_kink.T]

    @cached_property
    def dual_coefficients(self):
        """The dual coefficients beta = -s g of all rows at this optimum, (n, K)."""
        columns = []
        for k in range(len(self.theta)):
            start = OutputProblem.of(self.objective, k).from_optimum(self, k).state
            columns.append(
                np.full(self.objective.n_rows, np.nan) if start is None else start.beta
            )
        return np.column_stack(columns)


def evaluate(objective, theta):
    """Return the `ActiveSetPoint` at the optimum near a fit."""
    optimum, kinks, slopes, arrived = [], [], [], True
    for k in range(len(theta)):
        problem = OutputProblem.of(objective, k)
        # Dual coefficients determine the margin vectors directly.
        for near in _NEAR[:1] if objective.design.has_metric else _NEAR:
            path = problem.from_fit(theta[k], near)
            start = path.kink.copy(), path.slope.copy()
            if arrived and path.walk():
                optimum.append(path.theta)
                start = path.kink, path.slope
                break
            if near == _NEAR[0]:
                first = start
        else:
            arrived, start = False, first
        kinks.append(start[0])
        slopes.append(start[1])
    partition = Partition(np.column_stack(kinks), np.column_stack(slopes))
    if not arrived:
        return ActiveSetPoint(objective, theta, partition, np.inf)
    optimum = np.array(optimum)
    moved = objective.design.predict(optimum) - objective.design.predict(theta)
    return ActiveSetPoint(objective, optimum, partition, float(np.abs(moved).max()))


def follow(point, objective, outputs):
    """Return (theta, arrived) for the optimum at other weights.

    Parameters
    ----------
    point : ActiveSetPoint
        The optimum at the weights in its own objective.
    objective : Objective
        The same objective at other weights.
    outputs : iterable of int
        Outputs that the change in weights affects.

    Returns
    -------
    theta : ndarray of shape (K, D)
        The optimum; NaN in outputs for which the path failed.
    arrived : bool
        Whether all paths succeeded.
    width : float
        Width of the widest interval of optimal intercepts, 0 if each is unique.
    """
    theta, width = point.theta.copy(), 0.0
    for k in outputs:
        path = OutputProblem.of(objective, k).from_optimum(point, k)
        theta[k] = path.theta if path.walk() else np.nan
        width = max(width, path.width)
    return theta, bool(np.isfinite(theta).all()), width


def first_step(point, objective, outputs):
    """Return (theta, misplaced, width), with theta at the end of the path if no row changed
    its place.

    `misplaced` is the number of rows that would have to, and `width` as in `follow`.
    """
    theta, misplaced, width = point.theta.copy(), 0, 0.0
    for k in outputs:
        path = OutputProblem.of(objective, k).from_optimum(point, k)
        # The path has no start if no optimum was found near the fit.
        end = None if path.state is None else path.end()
        theta[k] = np.nan if end is None else end.theta
        count = 0 if end is None else int(np.sum(path.broken(end)))
        misplaced += count
        if end is not None and not count:
            path.arrive(end)
            theta[k], width = path.theta, max(width, path.width)
    return theta, misplaced, width
