"""The part of an objective that has an optimum, if the whole objective has none.

Without some rows, features can lose their only samples. Then predictions do not change along
directions V in parameter space,

    x~_i'V = 0 for every row that has a weight,   Lam V = 0,

and the optima form an affine subspace. Parameters, predictions and losses that are the same at
all these optima are still determined. To compute them, as many parameters as there are
directions are fixed at their values, and the others are optimised.

If classes are separated, F falls forever along a direction, see `existence`. In the limit the
rows that move along it have no loss left. The other rows determine the rest, and the direction
is then one of the above.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import linalg

from skinfluence import existence, l1_support
from skinfluence.blocks import row_blocks
from skinfluence.exceptions import SingularHessianError
from skinfluence.optimum import polish

# Size, relative to the largest, below which a column of a triangular factor counts as zero.
_RANK_TOL = 1e-9
# Size, relative to the largest, below which an entry in a direction counts as zero.
_ENTRY_TOL = 1e-7
# Distance from the bound of an l1 penalty, as a share of it, at which a parameter is taken to
# be at the edge of 0 by a solver or by Newton steps.
EDGE = 1e-3
# Largest number of columns for which a null space is computed, because it takes O(D^3).
_LARGEST = 2000


@dataclass(frozen=True, eq=False)
class Identified:
    """The parameters that an objective determines.

    Parameters
    ----------
    recession : ndarray of shape (K, D) or None
        A direction along which F falls forever; None if F is flat along `directions`.
    objective : Objective or None, default=None
        Restricted to the rows that determine it, with the undetermined parameters fixed.
    theta : ndarray of shape (K, D) or None, default=None
        One of its optima; None if none was found.
    directions : ndarray of shape (r, K, D) or None, default=None
        Directions along which the determined numbers do not change.
    """

    recession: np.ndarray | None
    objective: Any = None
    theta: np.ndarray | None = None
    directions: np.ndarray | None = None


def identified(objective, theta, solver):
    """Return the `Identified` part of an objective, None if there is an optimum or no part."""
    recession = existence.find_recession(objective, theta)
    return identified_beside(objective, theta, solver, recession)


def identified_beside(objective, theta, solver, recession):
    """Return `identified`, given the directions along which the objective falls forever.

    Parameters
    ----------
    objective : Objective
        F. If its loss is coupled and F falls forever, no part is identified, because all
        outputs share the same rows.
    theta : ndarray of shape (K, D)
        Start of the iterations.
    solver : HessianSolver
        Factorises H.
    recession : Recession or None
        The directions, None if there are none.
    """
    falls = None if recession is None else recession.direction
    nothing = None if falls is None else Identified(falls)
    if falls is not None:
        if objective.coupled:
            return nothing
        objective = objective.without(existence.moving_rows(objective, falls))
        if not objective.sample_weight.any():
            return nothing
    found = determined(objective)
    if found is None:
        return nothing
    part, directions = found
    try:
        polished = polish(part, theta, solver, tol=1e-11, max_iter=100)
    except SingularHessianError:
        return nothing
    if not polished.converged:
        return nothing
    return Identified(falls, part, polished.theta, directions)


def null_space(objective):
    """Return the directions along which nothing determines the parameters, and pivots.

    Parameters
    ----------
    objective : Objective
        F; rows with weight zero do not count.

    Returns
    -------
    directions : ndarray of shape (r, K, D)
        A basis. Empty if every parameter is determined, or if there are too many columns to
        compute it.
    fixed : ndarray of shape (K, D)
        True for as many parameters as there are directions; they determine the others.
    """
    K, D = objective.penalty.shape
    movable = objective.free & (objective.penalty == 0)
    fixed, found, known = np.zeros((K, D), dtype=bool), [], {}
    for k in range(K):
        columns = np.flatnonzero(movable[k])
        key = columns.tobytes()
        if key not in known:
            known[key] = _null_columns(objective, columns)
        basis, pivots = known[key]
        fixed[k, pivots] = True
        directions = np.zeros((len(basis), K, D))
        directions[:, k] = basis
        found.append(directions)
    return np.concatenate(found), fixed


def determines(objective, before):
    """Return whether the rows with a weight determine every parameter, as those before did.

    Hessians do not show it, because their smallest eigenvalue is then rounding, which may be
    positive.
    """
    form = objective.formulation
    coefficients = slice(0, objective.design.n_features)
    open_to_data = (objective.free & (objective.penalty == 0))[:, coefficients]
    if form.minimum_norm is not None or not open_to_data.any():
        return True
    if not np.any((objective.sample_weight == 0) & (before.sample_weight > 0)):
        return True
    return not len(null_space(objective.on_host())[0])


def determined(objective):
    """Return (part, directions) for an objective that its rows do not determine, else None.

    The part is F with as many parameters held at their values as there are directions along
    which F is flat.
    """
    directions, fixed = null_space(objective.on_host())
    return (hold(objective, fixed), directions) if len(directions) else None


def flat_directions(objective, theta):
    """Return the directions along which an optimum theta (K, D) is one of many, else None.

    If predictions are the same along a direction, the loss has no gradient along it. At the
    optimum the gradient of the penalty offsets that of the loss, so F is flat along directions
    in the parameters that are not 0 or at the edge of it, unless a quadratic penalty bends
    it. Parameters at the edge move to one side only.
    """
    found = determined(l1_support.at_edge_of(objective, theta, EDGE))
    return None if found is None else found[1]


def hold(objective, held):
    """Return the objective with the parameters `held` (K, D) fixed at their values."""
    form = objective.formulation
    return replace(objective, formulation=replace(form, l1_support=form.support.holding(held)))


def depends(directions, x=None):
    """Return whether numbers change along any of the directions.

    Parameters
    ----------
    directions : ndarray of shape (r, K, D)
        From `null_space`.
    x : Design or None, default=None
        Rows whose predictions are tested; None to test the parameters themselves.

    Returns
    -------
    ndarray of bool
        Shape (K, D) for parameters, (m,) for rows.
    """
    if x is None:
        size = np.abs(directions)
        largest = size.max(axis=(1, 2), keepdims=True, initial=np.finfo(float).tiny)
        return (size > _ENTRY_TOL * largest).any(axis=0)
    moved = np.abs(x.predict(directions))  # (m, r, K)
    known = np.max([x.magnitude(direction) for direction in directions], axis=0)
    return (moved > _ENTRY_TOL * known[:, None]).any(axis=(1, 2))


def _null_columns(objective, columns):
    """Return (basis, pivots) of the null space of the rows in some columns, (r, D)."""
    D, n = objective.penalty.shape[1], len(columns)
    empty = np.empty((0, D)), np.empty(0, dtype=np.intp)
    if not n or n > _LARGEST or objective.design.has_metric:
        return empty
    design = objective.design
    present = np.flatnonzero(objective.sample_weight > 0)
    if not len(present):
        return empty
    # Features far from 0 are nearly parallel to the intercept, so they are centred.
    centred = design.fit_intercept and columns[-1] == D - 1
    blocks = row_blocks(len(present), 8 * 4 * D)
    total, squares = np.zeros(n), np.zeros(n)
    for block in blocks:
        total += design.take(present[block]).rows()[:, columns].sum(axis=0)
    mean = total / len(present) if centred else np.zeros(n)
    if centred:
        mean[-1] = 0.0
    triangle = np.empty((0, n))
    for block in blocks:
        x = design.take(present[block]).rows()[:, columns] - mean
        squares += np.sum(x * x, axis=0)
        triangle = linalg.qr(np.concatenate([triangle, x]), mode="r")[0][:n]
    size = np.sqrt(squares)
    # After centring, columns are accurate to eps times the mean; smaller columns are zero.
    known = np.sqrt(len(present)) * np.abs(mean) * np.finfo(np.float64).eps
    scale = np.where(size > 64 * known, size, np.inf)
    R, order = linalg.qr(triangle / scale, mode="r", pivoting=True)
    diagonal = np.zeros(n)
    diagonal[: min(R.shape)] = np.abs(np.diagonal(R))
    rank = int(np.sum(diagonal > _RANK_TOL * max(1.0, diagonal[0])))
    if rank == n:
        return empty
    tail = linalg.solve_triangular(R[:rank, :rank], R[:rank, rank:]) if rank else R[:0, rank:]
    basis = np.zeros((n - rank, n))
    basis[:, order[:rank]] = -tail.T
    basis[:, order[rank:]] = np.eye(n - rank)
    basis[np.abs(basis) < _ENTRY_TOL] = 0.0
    basis /= np.where(np.isfinite(scale), scale, 1.0)
    if centred:
        shift = basis @ mean
        shift[np.abs(shift) <= _ENTRY_TOL * (np.abs(basis) @ np.abs(mean))] = 0.0  # rounding
        basis[:, -1] -= shift
    wide = np.zeros((len(basis), D))
    wide[:, columns] = basis
    return wide, columns[order[rank:]]
