"""Whether an objective lacks a minimum, also without some rows, and along which direction."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from skinfluence.blocks import row_blocks
from skinfluence.existence.cones import MOVES, OutputCone, SoftmaxCone, search
from skinfluence.namespaces import to_host

# Share of the shortest possible Newton step. It allows for a step known to only a few digits.
_SHARE = 0.9


@dataclass(frozen=True, eq=False)
class Recession:
    """Directions along which an objective falls forever.

    Parameters
    ----------
    direction : ndarray of shape (K, D)
        The direction that moves as many rows as possible; its largest entry is 1.
    lost : ndarray of shape (K, D)
        Parameters without a value, bool. The rows that `direction` does not move leave them
        undetermined, or they are at infinity.
    """

    direction: np.ndarray
    lost: np.ndarray


def recession_direction(objective, theta=None, step=None):
    """Return a direction (K, D) in parameter space along which F falls forever, or None.

    Parameters
    ----------
    objective : Objective
        F. Rows with weight zero do not count.
    theta : ndarray of shape (K, D) or None, default=None
        Parameters that may be such a direction themselves, like those after a fit to separated
        classes, which saves linear programs. They do not decide whether there is a direction.
    step : ndarray of shape (K, D) or None, default=None
        A Newton step at any point, to a few digits. If it is short, F has a minimum, see
        `may_lack_minimum`, and no linear program is needed.

    Returns
    -------
    direction : ndarray of shape (K, D) or None
        Its largest entry is 1. None if F has a minimum, or if its rows are distributed and
        cannot be read. For losses that are not convex, None only means that no direction was
        found.
    """
    found = find_recession(objective, theta, step)
    return None if found is None else found.direction


def may_lack_minimum(objective, correction):
    """Return whether a Newton step is so long that F may have no minimum.

    Parameters
    ----------
    objective : Objective
        F.
    correction : ndarray of shape (K, D)
        N = -H^-1 G at any point, to a few digits.

    Returns
    -------
    bool
        False proves that F has a minimum.
    """
    if objective.is_distributed:
        movable = bool(objective.unpenalised.any())
        return movable and bool(objective.largest(may_lack_minimum, correction))
    if np.isinf(objective.n_opposed):
        return False
    moved = objective.design.predict(correction)
    moved = moved[objective.sample_weight > 0]
    size = np.ptp(moved, axis=1) if objective.coupled else np.abs(moved)
    loss = objective.formulation.loss
    return not np.all(size < _SHARE * loss.shortest_step())


def find_recession(objective, theta=None, step=None):
    """Return the `Recession` of an objective, None if it has a minimum.

    See `recession_direction` for the arguments.

    The largest set of rows that a direction can move is found in rounds. Rows that move in one
    round no longer restrict the direction in the next, because a long step along the first
    direction compensates for them.
    """
    if objective.n_opposed:
        return None
    if step is not None and not may_lack_minimum(objective, step):
        return None
    # The linear programs are solved with NumPy.
    objective, theta = objective.on_host(), to_host(theta)
    falls = objective.formulation.loss.falls_forever(objective.target, len(objective.penalty))
    if objective.coupled:
        found = [search(SoftmaxCone(objective, falls), theta)]
    else:
        outputs = np.flatnonzero(objective.unpenalised.any(axis=1))
        found = [search(OutputCone(objective, falls, k), theta) for k in outputs]
    found = [result for result in found if result is not None]
    if not found:
        return None
    direction = sum(result[0] for result in found)
    lost = np.any([result[1] for result in found], axis=0)
    return Recession(direction / np.abs(direction).max(), lost)


def moving_rows(objective, direction):
    """Return which rows with a weight a direction (K, D) moves, (n,) bool."""
    moved = objective.design.predict(direction)
    size = np.ptp(moved, axis=1) if objective.coupled else np.abs(moved).max(axis=1)
    known = objective.design.magnitude(direction).max(axis=1)
    return (size > MOVES * known) & (objective.sample_weight > 0)


class RemovalCheck:
    """Finds the groups of rows whose removal leaves F without a minimum.

    Such a group is all that restricts a direction, like a single sample at which the classes
    overlap. Then Newton steps from the optimum with all rows are long, and `may_lack_minimum`
    detects this in the first one.

    Parameters
    ----------
    objective : Objective
        F with all rows.
    """

    def __init__(self, objective):
        self.objective = objective
        if np.isinf(objective.n_opposed):
            return
        design = objective.design
        d = design.n_features
        self.mean = np.zeros(d)
        self.reach = np.ones(design.n_columns)
        if design.has_metric:
            self.reach[:] = np.inf  # test every group
            return
        mean = design.centre(objective.sample_weight)
        self.mean = self.mean if mean is None else to_host(mean)
        largest = np.zeros(d)
        for rows in row_blocks(design.n_rows, 24 * design.n_columns):
            X = design.X[rows].astype(np.float64)
            if mean is None:
                size = abs(X).max(axis=0)
                size = size.toarray().ravel() if sparse.issparse(size) else size
            else:
                size = np.abs(X - mean).max(axis=0)
            largest = np.maximum(largest, to_host(size))
        self.reach[:d] = largest

    def directions(self, change, changed, moved):
        """Return {j: direction} for the changed objectives that have no minimum.

        Parameters
        ----------
        change : ndarray of shape (b, K, D)
            Newton steps of the changed objectives.
        changed : callable
            Maps j to the changed objective.
        moved : ndarray of shape (b, K, D)
            Parameters after the steps.
        """
        if np.isinf(self.objective.n_opposed):
            return {}
        d = self.objective.design.n_features
        with np.errstate(invalid="ignore"):
            size = np.abs(change)
            if self.objective.design.fit_intercept:
                size[..., -1] = np.abs(change[..., -1] + change[..., :d] @ self.mean)
            bound = np.where(size > 0, size * self.reach, 0.0).sum(axis=2).max(axis=1)
        bound *= 2.0 if self.objective.coupled else 1.0
        step = _SHARE * self.objective.formulation.loss.shortest_step()
        present = self.objective.sample_weight > 0
        found = {}
        for j in np.flatnonzero(~(bound < step)):
            reduced = changed(j)
            if np.sum(present & (reduced.sample_weight <= 0)) < self.objective.n_opposed:
                continue
            known = (moved[j], change[j]) if np.isfinite(moved[j]).all() else ()
            direction = recession_direction(reduced, *known)
            if direction is not None:
                found[int(j)] = direction
        return found
