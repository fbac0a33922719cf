"""Newton steps for a fit that is not at its optimum (appendix B, equation 11).

At fitted parameters theta~ with G = grad F(theta~) != 0, a Newton step is

    N         = -H^-1 G                                                       for F itself
    N_eps,z   = -[H/S + eps hess L(z)]^-1 [G/S + eps grad L(z)]     after upweighting z

`polish` repeats the first one with damping until rounding hides any lower value of F.
"""

from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import Bounds, brentq, minimize

from skinfluence.blocks import row_blocks, run_blocks
from skinfluence.exceptions import SingularHessianError
from skinfluence.namespaces import to_host
from skinfluence.solvers.update import GroupUpdate

# Armijo's constant: a step is accepted if F falls by at least this share of the decrease that
# its gradient predicts.
_SUFFICIENT_DECREASE = 1e-4
# A full step is accepted unless the slope of F at its end exceeds this share of the descent at
# its start.
_OVERSHOOT = 0.1
# If the decrement exceeds this times sqrt(F), it predicts a decrease larger than F itself.
_ABSURD = 1e4
# A scale below this share of the targets' standard deviation falls to 0.
_FALLEN = 1e-5


def newton_correction(point, factor):
    """Return N = -H^-1 G, shape (K, D)."""
    return -factor.solve(point.gradient[None])[0]


def newton_decrement(point, correction):
    """Return sqrt(G' H^-1 G) from N."""
    readings = point.objective.design.readings(correction)
    return float(np.sqrt(np.maximum(0.0, -np.sum(point.gradient * readings))))  # NaN stays NaN


def convergence_ratio(point, factor, correction, *, n_jobs=None):
    """Return ||N||_H over the median ||H^-1 v_i||_H of the rows with v_i != 0.

    This is the distance to the optimum in units of one row's removal. Above 1, leave-one-out
    changes are smaller than the fit's own error.
    """
    norms = np.asarray(to_host(point.per_row(_squares_of_removal, factor, n_jobs)))
    norms = np.sqrt(norms[norms > 0])
    decrement = newton_decrement(point, correction)
    if len(norms) == 0:
        return 0.0 if decrement == 0 else np.inf
    return float(decrement / np.median(norms))


def _squares_of_removal(point, factor, n_jobs):
    """Return ||H^-1 v_i||_H^2 for every row, shape (n,)."""
    w = point.objective.sample_weight

    def block_squares(block):
        V = point.rows.take(block).toarray()
        V *= w[block, None, None]
        return factor.quadratic(V)

    blocks = row_blocks(len(w), 5 * point.rows.row_bytes, n_jobs=n_jobs)
    return np.concatenate(run_blocks(block_squares, blocks, n_jobs=n_jobs))


def newton_step(point, factor, epsilon, rows, target, out, *, n_jobs=None):
    """Fill out (m, p) with the full equation (11) for each sample.

    This is (H + x~_z' C x~_z)^-1 (G + t grad L(z)), with t = eps S and C the curvature of
    t L(z) in the raw prediction. Each sample updates one factorisation. In mean form hess L(z)
    also contains the penalty share, which is the same for every z, so `factor` must then be a
    factor of H + t share.

    Parameters
    ----------
    point : Point
        Training objective at the fitted parameters.
    factor : Factor
        Factor of H; in mean form, of H + t share.
    epsilon : float
        Weight added to z in the mean objective.
    rows : GradientRows
        grad L(z) for the samples.
    target : ndarray
        Encoded targets.
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
            # If more weight is removed than a row has, the objective may have a saddle point.
            # The step to it is not a Newton step.
            step[~update.is_definite()] = np.nan
        out[block] = form.layout.to_public(-step)

    blocks = row_blocks(len(rows), (3 * K + 6) * rows.row_bytes, n_jobs=n_jobs)
    run_blocks(fill, blocks, n_jobs=n_jobs)
    return out


def balanced_newton_step(
    point, solver, epsilon, design, target, out, *, own=False, n_jobs=None
):
    """Fill out with `newton_step` for an objective whose class weights are "balanced".

    More weight on a sample changes them, so samples share a Hessian if they share a class and
    the weight that counts.

    Parameters
    ----------
    solver : HessianSolver
        Factorises H at the class weights with each of these samples.
    design, target : Design and ndarray
        The samples.
    own : bool, default=False
        Whether they are the training samples.
    point, epsilon, out, n_jobs
        See `newton_step`.
    """
    objective = point.objective
    form, balance = objective.formulation, objective.balance
    codes = to_host(form.target.class_codes(target))
    factor = balance.per_weight(objective.unit_weight) if own else None
    more = epsilon * objective.weight_sum * (np.ones(len(codes)) if factor is None else factor)
    keys, group = np.unique(np.stack([codes, to_host(more)]), axis=1, return_inverse=True)
    for g, (code, u) in enumerate(keys.T):
        members = np.flatnonzero(group.ravel() == g)
        if np.isnan(u):  # a row that counts without weight, see `per_weight`
            out[members] = np.nan
            continue
        moved = replace(form, class_weight=balance.with_more(int(code), u))
        ahead = replace(objective, formulation=moved).at(point.theta)
        part = design.take(members)
        rows = moved.weight_gradients(part, target[members], point.theta)
        steps = np.empty((len(members), form.layout.size), like=design.like)
        solved = solver.factorise(ahead)
        newton_step(ahead, solved, epsilon, rows, target[members], steps, n_jobs=n_jobs)
        out[members] = steps
    return out


@dataclass(frozen=True)
class Polished:
    """Result of `polish`.

    Parameters
    ----------
    theta : ndarray of shape (K, D)
        The best parameters found.
    n_iter : int
        Number of Newton steps.
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
    """Return the optimum of F by damped Newton steps from theta.

    The iteration stops if the Newton decrement is at most tol sqrt(F). It also stops if a full
    step does not lower the decrement while F is flat to rounding, because then float64 allows
    no better optimum.

    Features far from 0 are centred, and the intercept absorbs the shift. Otherwise raw
    predictions and gradients would be rounding.
    """
    if objective.is_distributed or objective.offset is None:
        return _polish_twice(objective, theta, solver, tol, max_iter)
    start = objective.to_centred(theta)
    try:
        polished = _polish_twice(objective.centred(), start, solver, tol, max_iter)
    except SingularHessianError as error:
        if error.direction is not None:
            error.direction = objective.from_centred(error.direction)
        raise
    # A point that needed no step stays exactly as it is.
    theta = objective.from_centred(polished.theta) if polished.n_iter else theta
    correction = objective.from_centred(polished.correction)
    return replace(polished, theta=theta, correction=correction)


def _polish_twice(objective, theta, solver, tol, max_iter):
    """Return `_polish`, from another start if the first leads to an edge of the domain.

    Where few rows have curvature, Newton steps may shrink a scale to rounding although F is
    lower elsewhere. No later step returns from there.
    """
    output = objective.formulation.loss.positive_output
    if output is None or objective.is_distributed:
        return _polish(objective, theta, solver, tol, max_iter)
    lost = None
    try:
        polished = _polish(objective, theta, solver, tol, max_iter)
        if polished.converged or polished.n_iter >= max_iter:
            return polished
    except SingularHessianError as error:
        polished, lost = None, error
    start = _by_gradients(objective, theta, output)
    if start[output].max() > _FALLEN * np.std(to_host(objective.target)):
        with suppress(SingularHessianError):
            again = _polish(objective, start, solver, tol, max_iter)
            if again.converged:
                return again
    if lost is not None:
        raise lost
    return polished


def _by_gradients(objective, theta, output):
    """Return parameters at which a quasi-Newton method without a Hessian stops."""
    free = objective.free
    unit = np.sqrt(objective.at(theta).hessian_diagonal()[free])
    unit = 1.0 / np.where(unit > 0, unit, 1.0)

    def value(x):
        moved = theta.copy()
        moved[free] = x * unit
        point = objective.at(moved)
        return point.value, point.gradient[free] * unit

    least = np.full(theta.shape, -np.inf)
    least[output] = 10 * np.finfo(np.float64).eps
    found = minimize(
        value,
        theta[free] / unit,
        method="L-BFGS-B",
        jac=True,
        bounds=Bounds(least[free] / unit, np.inf),
        options={"maxiter": 200, "ftol": 1e-14, "gtol": 1e-8},
    )
    theta = theta.copy()
    theta[free] = found.x * unit
    return theta


def _polish(objective, theta, solver, tol, max_iter):
    """Return `polish` in the given features."""
    point = objective.at(theta)
    correction, decrement, singular = _newton(point, solver)
    for n_iter in range(max_iter + 1):
        scale = np.sqrt(abs(point.value))
        if decrement <= tol * scale:
            if singular is not None:
                raise singular
            # The last correction is already computed and squares the error once more. A point
            # that needed no step stays as it is, so polishing twice changes nothing.
            theta = point.theta + correction if n_iter else point.theta
            return Polished(theta, n_iter, decrement, True, correction)
        if n_iter == max_iter:
            break
        following = _line_search(point, correction, decrement)
        if following is None:
            at_rounding = decrement**2 <= 1e3 * _rounding(point)
            if at_rounding and singular is not None:
                raise singular  # F is flat to rounding along an unknown direction
            if decrement > _ABSURD * scale:
                following = _from_flat_land(point, solver)
            if following is None:
                return Polished(point.theta, n_iter, decrement, at_rounding, correction)
        ahead = _newton(following, solver)
        if ahead[1] >= decrement and decrement <= 1e-6 * scale:
            if singular is not None:
                raise singular
            return Polished(point.theta, n_iter, decrement, True, correction)
        point, (correction, decrement, singular) = following, ahead
    if singular is not None:
        raise singular
    # If F is 0, as for a perfect fit, steps within rounding never end.
    at_rounding = decrement**2 <= 1e3 * _rounding(point)
    return Polished(point.theta, max_iter, decrement, at_rounding, correction)


def _newton(point, solver):
    """Return (N, decrement, error) at a point.

    If the Hessian is singular, for example far out on a flat logistic loss, a multiple of the
    identity is added until it is regular. The step then still points downhill. The error is to
    be raised if the iteration ends at such a point.
    """
    try:
        correction = newton_correction(point, solver.factorise(point))
        return correction, newton_decrement(point, correction), None
    except SingularHessianError as error:
        if not np.all(np.isfinite(point.gradient)):
            raise  # there is no descent direction
        for correction in _shifted_corrections(point, solver):
            return correction, newton_decrement(point, correction), error
        raise


def _from_flat_land(point, solver):
    """Return the point after a shifted step that lowers F enough, or None.

    The Hessian is invertible only through a few unsaturated rows, so its Newton step
    overshoots.
    """
    for correction in _shifted_corrections(point, solver):
        following = _line_search(point, correction, newton_decrement(point, correction))
        if following is not None:
            return following
    return None


def _shifted_corrections(point, solver):
    """Yield -(H + shift)^-1 G for increasing multiples of the identity."""
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
    """Return the rounding error of F.

    It is eps |F| plus the second-order effect of eps |x~|'|theta|, the rounding error of eta.
    The second term alone remains if every row is fitted perfectly and F is 0.
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
    """Return 1, or the approximate minimum of F along the correction if 1 is far beyond it.

    If curvature appears and disappears, as for a sharp hinge, full steps may lower F only a
    little and jump between the sides of the kinks many times.
    """
    slope_at = point.slope_along(correction)
    length = 1.0
    while not np.isfinite(slope_at(length)) and length > 1e-10:
        length /= 2
    if not np.isfinite(slope_at(length)):
        return length  # the line search by values also ends here
    if slope_at(length) <= _OVERSHOOT * abs(slope) or slope_at(0.0) >= 0:
        return length
    return brentq(slope_at, 0.0, length, xtol=1e-12, rtol=1e-2)
