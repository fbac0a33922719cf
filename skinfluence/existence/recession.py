"""Whether an objective may lack a minimum, along which direction, and without which rows."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from skinfluence.blocks import row_blocks
from skinfluence.existence.cones import MOVES, OutputCone, SoftmaxCone, search, unpenalised

__all__ = [
    "Recession",
    "RemovalCheck",
    "find_recession",
    "may_lack_minimum",
    "may_recede",
    "moving_rows",
    "recession_direction",
]

# Share of the shortest Newton step that a step known to a few digits is held against.
_SHARE = 0.9


@dataclass(frozen=True, eq=False)
class Recession:
    """Directions along which an objective falls for ever.

    Parameters
    ----------
    direction : ndarray of shape (K, D)
        One of them, with as many rows on the way as possible; its largest entry is 1.
    lost : ndarray of shape (K, D)
        Parameters, bool, without a value: the rows that `direction` does not move leave them
        open, and the others have theirs at infinity.
    """

    direction: np.ndarray
    lost: np.ndarray


def recession_direction(objective, theta=None):
    """Return a direction (K, D) of the parameters along which F falls for ever, or None.

    Parameters
    ----------
    objective : Objective
        F. Rows of weight zero do not count.
    theta : ndarray of shape (K, D) or None, default=None
        Parameters that may be such a direction themselves, as those of a fit to separated
        classes are: that saves linear programs. Whether there is one does not depend on them.

    Returns
    -------
    direction : ndarray of shape (K, D) or None
        Its largest entry is 1. None if F has a minimum, and if its rows are distributed, so
        that they cannot be asked. For losses that are not convex None only means that no
        direction was found.
    """
    found = find_recession(objective, theta)
    return None if found is None else found.direction


def may_lack_minimum(objective, correction, rows=None):
    """Return whether a Newton step is so long that F may have no minimum.

    Parameters
    ----------
    objective : Objective
        F.
    correction : ndarray of shape (K, D)
        N = -H^-1 G at any point, to a few digits.
    rows : ndarray of shape (n, K) or None, default=None
        Its raw predictions x~_i'N where known.

    Returns
    -------
    bool
        False proves that there is no direction that `recession_direction` could find.
    """
    if not may_recede(objective):
        return False
    moved = objective.design.predict(correction) if rows is None else rows
    moved = moved[objective.sample_weight > 0]
    size = np.ptp(moved, axis=1) if objective.coupled else np.abs(moved)
    loss = objective.formulation.loss
    return not np.all(size < _SHARE * loss.shortest_step())


def find_recession(objective, theta=None):
    """Return the `Recession` of an objective, None if it has a minimum.

    Arguments are those of `recession_direction`.

    The largest set of rows that a direction can move is found in rounds: rows that move in one
    no longer hold back the direction of the next, because a long way along the first makes up
    for them.
    """
    if not may_recede(objective):
        return None
    falls = objective.formulation.loss.falls_forever(objective.target, len(objective.penalty))
    if objective.coupled:
        found = [search(SoftmaxCone(objective, falls), theta)]
    else:
        outputs = np.flatnonzero(unpenalised(objective).any(axis=1))
        found = [search(OutputCone(objective, falls, k), theta) for k in outputs]
    found = [one for one in found if one is not None]
    if not found:
        return None
    direction = sum(one[0] for one in found)
    lost = np.any([one[1] for one in found], axis=0)
    return Recession(direction / np.abs(direction).max(), lost)


def moving_rows(objective, direction):
    """Return which rows with a weight a direction (K, D) moves, (n,) bool."""
    moved = objective.design.predict(direction)
    size = np.ptp(moved, axis=1) if objective.coupled else np.abs(moved).max(axis=1)
    known = objective.design.magnitude(direction).max(axis=1)
    return (size > MOVES * known) & (objective.sample_weight > 0)


def may_recede(objective):
    """Return whether loss and penalties leave the question open."""
    if objective.is_distributed:
        return False
    falls = objective.formulation.loss.falls_forever
    some = objective.target[:1], len(objective.penalty)
    return falls(*some) is not None and bool(unpenalised(objective).any())


class RemovalCheck:
    """Finds the groups of rows without which F has no minimum.

    They are those that held back a direction, as the only sample that overlaps. The steps away
    from an optimum of all rows are then long, as `may_lack_minimum` says of the first one.

    Parameters
    ----------
    objective : Objective
        F with all rows.
    """

    def __init__(self, objective):
        self.objective = objective
        self.is_needed = may_recede(objective)
        if not self.is_needed:
            return
        design = objective.design
        d = design.n_features
        self.mean = np.zeros(d)
        self.reach = np.ones(design.n_columns)
        if design.has_metric:
            self.reach[:] = np.inf  # every group is looked at
            return
        mean = design.centre(objective.sample_weight)
        self.mean = self.mean if mean is None else mean
        largest = np.zeros(d)
        for rows in row_blocks(design.n_rows, 24 * design.n_columns):
            X = design.X[rows].astype(np.float64)
            if mean is None:
                size = abs(X).max(axis=0)
                size = size.toarray().ravel() if sparse.issparse(size) else size
            else:
                size = np.abs(X - mean).max(axis=0)
            largest = np.maximum(largest, size)
        self.reach[:d] = largest

    def directions(self, theta, rows, moved):
        """Return {j: direction} of groups whose removal leaves no minimum.

        Parameters
        ----------
        theta : ndarray of shape (K, D)
            Parameters with all rows.
        rows : ndarray of shape (b, a)
            Rows of each group, padded by -1.
        moved : ndarray of shape (b, K, D)
            Parameters without them.
        """
        if not self.is_needed:
            return {}
        change, d = moved - theta, self.objective.design.n_features
        with np.errstate(invalid="ignore"):
            size = np.abs(change)
            if self.objective.design.fit_intercept:
                size[..., -1] = np.abs(change[..., -1] + change[..., :d] @ self.mean)
            bound = np.where(size > 0, size * self.reach, 0.0).sum(axis=2).max(axis=1)
        bound *= 2.0 if self.objective.coupled else 1.0
        step = _SHARE * self.objective.formulation.loss.shortest_step()
        found = {}
        for j in np.flatnonzero(~(bound < step)):
            reduced = self.objective.without(rows[j][rows[j] >= 0])
            lost = not np.isfinite(moved[j]).all()
            if lost or may_lack_minimum(reduced, change[j]):
                direction = recession_direction(reduced, None if lost else moved[j])
                if direction is not None:
                    found[int(j)] = direction
        return found
