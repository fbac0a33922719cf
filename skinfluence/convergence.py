"""What to do where the fit is not at the optimum (appendix B, equation 11).

At fitted parameters theta~ with G = grad F(theta~) != 0 a Newton step moves by

    N         = -H^-1 G                                                       for F itself
    N_eps,z   = -[H/S + eps hess L(z)]^-1 [G/S + eps grad L(z)]     after upweighting z

`polish` repeats the first one, damped, until F has no lower value that rounding can tell.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import brentq

from skinfluence.blocks import row_blocks, run_blocks
from skinfluence.exceptions import SingularHessianError
from skinfluence.solvers.update import GroupUpdate

__all__ = [
    "Polished",
    "convergence_ratio",
    "curvature_change",
    "gradient_shift",
    "newton_correction",
    "newton_decrement",
    "newton_step",
    "polish",
]

# Armijo's constant: a step is accepted when F falls by at least this share of what its
# gradient promises.
_SUFFICIENT_DECREASE = 1e-4
# A full step is taken as it is unless F rises at its end by this share of how it falls at
# its beginning.
_OVERSHOOT = 0.1
# A decrement of so many times sqrt(F) promises a fall that F does not have in it.
_ABSURD = 1e4
# Rows from which the rounding of a gradient is estimated.
_ENOUGH_ROWS = 256


def newton_correction(point, factor):
    """Return N = -H^-1 G, shape (K, D)."""
    return -factor.solve(point.gradient[None])[0]


def newton_decrement(point, correction):
    """Return sqrt(G' H^-1 G) from N."""
    readings = point.objective.design.readings(correction)
    return float(np.sqrt(np.maximum(0.0, -np.sum(point.gradient * readings))))  # NaN stays


def gradient_shift(point, correction):
    """Return ||(h_i x~_i'N)_i|| / ||(g_i)_i||, how much the rows' gradients still move.

    Both norms are at rounding for a model that fits perfectly; the ratio is then 0.
    """
    moved, size, known = np.sqrt(point.total(_squares_of_shift, correction))
    if moved <= 64 * np.finfo(np.float64).eps * known:
        return 0.0
    return float(moved / size) if size > 0 else np.inf


def curvature_change(point, correction):
    """Return a bound on the relative change of any row's curvature over a step.

    rate max_i |x~_i'N| with the `curvature_rate` of the loss; 0 if the loss has none, or if
    its rows are distributed. The norm in `gradient_shift` is that of all rows together, and
    rows with small gradients hide in it.
    """
    objective = point.objective
    rate = objective.formulation.loss.curvature_rate
    if not rate or objective.is_distributed:
        return 0.0
    moved = objective.design.predict(correction)[objective.sample_weight > 0]
    return float(rate * np.linalg.norm(moved, axis=1).max(initial=0.0))


def _squares_of_shift(point, correction):
    """Return the squared norms of (h_i x~_i'N)_i, of (g_i)_i and of what g_i is known to.

    The raw prediction is known to eps |x~|'|theta|, so g_i to h_i times that; here without
    the eps. That is no more than an order of magnitude, for which some of the rows do.
    """
    objective = point.objective
    moved = point.curvature_product(objective.design.predict(correction))
    weighted = objective.sample_weight[:, None] * point.rows.raw_gradient
    some = slice(None, None, 1 + objective.n_rows // _ENOUGH_ROWS)
    magnitude = objective.design.take(some).magnitude(point.theta)
    known = point.curvature_product(magnitude, some)
    squares = [np.sum(a * a) for a in (moved, weighted, known)]
    return np.array(squares) * [1.0, 1.0, len(moved) / max(1, len(known))]


def convergence_ratio(point, factor, correction, *, n_jobs=None):
    """Return ||N||_H over the median ||H^-1 v_i||_H of the rows with v_i != 0.

    The distance to the optimum in units of one row's removal: above 1, leave-one-out
    changes are smaller than the error of the fit itself.
    """
    norms = np.asarray(point.per_row(_squares_of_removal, factor, n_jobs))
    norms = np.sqrt(norms[norms > 0])
    decrement = newton_decrement(point, correction)
    if len(norms) == 0:
        return 0.0 if decrement == 0 else np.inf
    return float(decrement / np.median(norms))


def _squares_of_removal(point, factor, n_jobs):
    """Return ||H^-1 v_i||_H^2 of every row, shape (n,)."""
    w = point.objective.sample_weight

    def one(block):
        V = point.rows.take(block).toarray()
        V *= w[block, None, None]
        return factor.quadratic(V)

    blocks = row_blocks(len(w), 5 * point.rows.row_bytes, n_jobs=n_jobs)
    return np.concatenate(run_blocks(one, blocks, n_jobs=n_jobs))


def newton_step(point, factor, epsilon, rows, target, out, *, n_jobs=None):
    """Fill out (m, p) with equation (11) in full for each sample.

    (H + x~_z' C x~_z)^-1 (G + t grad L(z)) with t = eps S and C the curvature of t L(z) in
    the raw prediction: an update of one factorisation by each sample. In mean form
    hess L(z) also holds the share of the penalty, the same for every z: `factor` is then
    that of H + t share.

    Parameters
    ----------
    point : Point
        Training objective at the fitted parameters.
    factor : Factor
        Factor of H, in mean form of H + t share.
    epsilon : float
        Weight added to z in the mean objective.
    rows : GradientRows
        grad L(z) of the samples.
    target : ndarray
        Encoded targets of the samples.
    out : ndarray of shape (m, p)
        Filled in place.
    n_jobs : int or None, default=None
        Number of joblib threads.
    """
    K = point.theta.shape[0]
    form = point.objective.formulation
    t = epsilon * point.objective.weight_sum

    def fill(block):
        part = rows.take(block)
        raw = part.design.predict(point.theta)
        C = t * form.weight_curvature(target[block], raw)
        update = GroupUpdate(factor, part.design.rows()[:, None], C[:, None])
        step = update.correct(factor.solve(point.gradient + t * part.toarray()))
        if t < 0:
            # Taking out more weight than a row has bends the objective down: the step to
            # a saddle point is no Newton step.
            step[~update.is_definite()] = np.nan
        out[block] = form.layout.to_public(-step)

    blocks = row_blocks(len(rows), (3 * K + 6) * rows.row_bytes, n_jobs=n_jobs)
    run_blocks(fill, blocks, n_jobs=n_jobs)
    return out


@dataclass(frozen=True)
class Polished:
    """Outcome of `polish`.

    Parameters
    ----------
    theta : ndarray of shape (K, D)
        The best parameters found.
    n_iter : int
        Newton steps taken.
    decrement : float
        Newton decrement at `theta`.
    converged : bool
        Whether the stopping rule was met.
    correction : ndarray of shape (K, D)
        The last Newton step, from `theta` or to it.
    """

    theta: np.ndarray
    n_iter: int
    decrement: float
    converged: bool
    correction: np.ndarray


def polish(objective, theta, solver, *, tol, max_iter):
    """Return the optimum of F by damped Newton from theta.

    Stops when the Newton decrement is at most tol sqrt(F), or when a full step no longer
    lowers it although F is flat to rounding: then the optimum is as close as doubles get.

    Features far from 0 are taken less their means, which the intercept absorbs: raw
    predictions and gradients would be rounding.
    """
    if objective.is_distributed or objective.offset is None:
        return _polish(objective, theta, solver, tol, max_iter)
    start = objective.to_centred(theta)
    try:
        polished = _polish(objective.centred(), start, solver, tol, max_iter)
    except SingularHessianError as error:
        if error.direction is not None:
            error.direction = objective.from_centred(error.direction)
        raise
    # A point that needed no step stays as it is, to the last bit.
    theta = objective.from_centred(polished.theta) if polished.n_iter else theta
    correction = objective.from_centred(polished.correction)
    return replace(polished, theta=theta, correction=correction)


def _polish(objective, theta, solver, tol, max_iter):
    """Return `polish` in the features as they are."""
    point = objective.at(theta)
    correction, decrement, singular = _newton(point, solver)
    for n_iter in range(max_iter + 1):
        scale = np.sqrt(abs(point.value))
        if decrement <= tol * scale:
            if singular is not None:
                raise singular
            # The last correction is already there and squares the error once more. A
            # point that needed no step stays as it is: polishing twice changes nothing.
            theta = point.theta + correction if n_iter else point.theta
            return Polished(theta, n_iter, decrement, True, correction)
        if n_iter == max_iter:
            break
        following = _line_search(point, correction, decrement)
        if following is None:
            at_rounding = decrement**2 <= 1e3 * _rounding(point)
            if at_rounding and singular is not None:
                raise singular  # flat to rounding along a direction that is not known
            if decrement > _ABSURD * scale:
                following = _from_flat_land(point, solver)
            if following is None:
                return Polished(point.theta, n_iter, decrement, at_rounding, correction)
        ahead = _newton(following, solver)
        if ahead[1] >= decrement and decrement <= 1e-6 * scale:
            return Polished(point.theta, n_iter, decrement, True, correction)
        point, (correction, decrement, singular) = following, ahead
    if singular is not None:
        raise singular
    # Where F is 0, as in a perfect fit, steps from rounding to rounding never end.
    at_rounding = decrement**2 <= 1e3 * _rounding(point)
    return Polished(point.theta, max_iter, decrement, at_rounding, correction)


def _newton(point, solver):
    """Return (N, decrement, error) at a point.

    Where the Hessian has no inverse, as far out where a logistic loss is flat, a multiple of
    the identity is added until it has: the step then still points downhill. The error is
    what to raise should such a point be the last.
    """
    try:
        correction = newton_correction(point, solver.factorise(point))
        return correction, newton_decrement(point, correction), None
    except SingularHessianError as error:
        if not np.all(np.isfinite(point.gradient)):
            raise  # nothing points downhill
        for correction in _shifted_corrections(point, solver):
            return correction, newton_decrement(point, correction), error
        raise


def _from_flat_land(point, solver):
    """Return the point after a shifted step that lowers F enough, or None.

    For a Hessian that has an inverse, but of nothing: the curvature of a few rows that are
    not saturated to the last bit promises a minimum where the others are long past theirs.
    """
    for correction in _shifted_corrections(point, solver):
        following = _line_search(point, correction, newton_decrement(point, correction))
        if following is not None:
            return following
    return None


def _shifted_corrections(point, solver):
    """Generate -(H + shift)^-1 G for larger and larger multiples of the identity."""
    shift = 1e-8 * max(1.0, point.hessian_diagonal().max())
    for _ in range(8):
        regular = point.objective.with_extra_penalty(shift).at(point.theta)
        shift *= 100.0
        try:
            factor = solver.factorise(regular)
        except SingularHessianError:
            continue
        yield -factor.solve(point.gradient[None])[0]


def _rounding(point):
    """Return how exactly F is known.

    Beside eps |F| what eps |x~|'|theta|, the rounding of eta, makes of it to second order:
    that is all where every row is fitted perfectly and F is 0.
    """
    eps = np.finfo(np.float64).eps
    return eps * abs(point.value) + float(eps**2 * point.total(_square_of_magnitude))


def _square_of_magnitude(point):
    """Return sum_i m_i' s_i l''_i m_i with m_i = |x~_i|'|theta|."""
    return np.sum(point.magnitude * point.curvature_product(point.magnitude))


def _line_search(point, correction, decrement):
    """Return the point after a step along the correction that lowers F enough, or None."""
    slope = -(decrement**2)
    rounding = 64 * np.finfo(np.float64).eps * abs(point.value)
    length = _longest_good_step(point, correction, slope)
    while length > 1e-10:
        candidate = point.objective.at(point.theta + length * correction)
        bound = point.value + _SUFFICIENT_DECREASE * length * slope + rounding
        if np.isfinite(candidate.value) and candidate.value <= bound:
            return candidate
        length /= 2
    return None


def _longest_good_step(point, correction, slope):
    """Return 1, or about the minimum of F along the correction where 1 is far beyond it.

    Where curvature comes and goes, as for a sharp hinge, full steps may lower F a little and
    jump from one side of the kinks to the other for many steps.
    """
    slope_at = point.slope_along(correction)
    length = 1.0
    while not np.isfinite(slope_at(length)) and length > 1e-10:
        length /= 2
    if not np.isfinite(slope_at(length)):
        return length  # the search by values ends here too
    if slope_at(length) <= _OVERSHOOT * abs(slope) or slope_at(0.0) >= 0:
        return length
    return brentq(slope_at, 0.0, length, xtol=1e-12, rtol=1e-2)
