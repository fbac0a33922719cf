"""Rows that cross kinks of the loss, where its curvature jumps.

A decrement tells the distance to the optimum only if the Hessian holds there. Rows that cross
a kink lose or gain all their curvature, and few rows may own nearly all of it along some
direction. With v_j v_j' the curvature that row j loses, the largest share of H that the rows
own along any direction is the largest eigenvalue of

    H^-1 sum_j v_j v_j'    or of    [v_i' H^-1 v_j]_ij,    whichever is smaller.        (1)

Short steps need no look at the rows. By Cauchy-Schwarz in the metric of H, a step d moves the
raw prediction of row j by at most r_j ||d||, with the reach r_j^2 = tr x~_j H^-1 x~_j'. So the
row crosses no kink at a distance k_j if ||d|| < k_j / r_j, and the sum of W_j r_j^2 over the
other rows bounds (1). If the loss is quadratic between kinks, these are also the only rows
whose gradients are not linear in the step.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from skinfluence.gradients import weigh
from skinfluence.namespaces import to_host

# Number of rows, or of parameters, up to which the share is an eigenvalue. More rows come in
# parts, and the sum of their shares is a bound.
_MOST = 500
# Number of steps whose rows near kinks are looked at together.
_TOGETHER = 64


def kink_change(point, factor, correction):
    """Return the largest share of the curvature along a direction that changes over a step."""
    objective = point.objective
    ends, shares = (point.theta[None], point.theta[None] + correction), []
    for before, after in (ends, ends[::-1]):
        _, row, root = objective.fallen(before, after)
        design, places = objective.design_of(row)
        shares.append(largest_share(objective, design.take(places), root, factor.solve))
    lost, gained = shares
    return max(lost, gained / (1.0 + gained))


def largest_share(objective, design, root, solve):
    """Return the largest share of the curvature that rows own along any direction, see (1).

    Parameters
    ----------
    objective : Objective or DistributedObjective
        Tells which outputs share a Hessian.
    design : Design
        The rows.
    root : ndarray of shape (m, K)
        Roots of their curvature, see `Objective.fallen`.
    solve : callable
        Maps V (m, K, D) to H^-1 V.
    """
    (m, K), B = root.shape, objective.penalty.size // (1 if objective.coupled else len(root.T))
    if not m:
        return 0.0
    if min(m, B) > _MOST:
        parts = [slice(i, i + _MOST) for i in range(0, m, _MOST)]
        return sum(largest_share(objective, design.take(p), root[p], solve) for p in parts)
    V = (root[:, :, None] * to_host(design.rows())[:, None]).reshape(m, -1, B)
    V = V.transpose(1, 0, 2)
    if m > B:  # B rows have the same sum of squares
        V = np.linalg.qr(V, mode="r")
    rows = V.transpose(1, 0, 2).reshape(V.shape[1], K, -1)
    solved = objective.design.readings(solve(np.asarray(rows, like=objective.design.like)))
    solved = to_host(solved).reshape(-1, len(V), B).transpose(1, 2, 0)
    return float(np.linalg.eigvalsh(V @ solved).max())


@dataclass(frozen=True, eq=False)
class Kinks:
    """The rows that steps from a point may take over a kink.

    Parameters
    ----------
    point : Point
        The objective at the start of the steps.
    reach : ndarray of shape (n,)
        r_j^2 of each row.
    """

    point: Any
    reach: np.ndarray

    @cached_property
    def _nearest(self):
        """Rows by the step ||d|| that each needs, these steps, and the bounds on shares."""
        objective = self.point.objective
        loss, curvature = objective.formulation.loss, to_host(self.point.curvature_diagonal())
        distance = loss.kink_distance(objective.target, self.point.raw_prediction)
        curvature = curvature.sum(axis=1) if objective.coupled else curvature.max(axis=1)
        rows = np.flatnonzero(self.reach > 0)
        room = to_host(distance).min(axis=1)[rows] / np.sqrt(self.reach[rows])
        order = np.argsort(room, kind="stable")
        rows, room = rows[order], room[order]
        share = np.cumsum(curvature[rows] * self.reach[rows])
        return rows, room, np.concatenate([[0.0], share])

    def share(self, length):
        """Return a bound on (1) for the rows that steps may take over a kink, (b,).

        `length` (b,) are bounds on ||d||.
        """
        _, room, share = self._nearest
        return share[np.searchsorted(room, length, side="right")]

    def batches(self, length):
        """Yield (steps, rows): some of the steps and the rows they may take over a kink."""
        rows, room, _ = self._nearest
        order = np.argsort(length, kind="stable")
        for first in range(0, len(order), _TOGETHER):
            steps = order[first : first + _TOGETHER]
            yield steps, rows[: np.searchsorted(room, length[steps[-1]], side="right")]

    def remainders(self, steps, length, absent):
        """Return grad F(theta + d) - G - H d for steps d (b, K, D), see `Point.remainders`.

        Between kinks a loss that is not coupled has the same curvature, so only the rows that
        cross one have a remainder.
        """
        objective, out = self.point.objective, np.zeros_like(steps)
        for chosen, rows in self.batches(length):
            part, raw = objective.take(rows), self.point.raw_prediction[rows]
            delta = part.design.predict(steps[chosen])
            rest = objective.formulation.loss.remainder(part.target, raw, delta)
            weigh(part.row_weight[:, None], rest, out=rest)
            rest[(rows[:, None, None] == absent[chosen]).any(axis=2)] = 0.0
            out[chosen] = part.design.adjoint(rest)
        return out
