"""Newton steps from a fit to the optimum near it, where every removal starts.

A fit that stopped early is some way from its optimum. Then one Newton step without a row need
not end near the optimum without it, so every removal starts at the optimum:

    theta <- theta - H^-1 grad F(theta)      with the factor at the fitted point, while each
                                             step leaves at most a quarter of the last one
    damped Newton                            from there if the steps do not contract

The fitted point is kept if it is much closer to the optimum than one row's effect. `polish`
takes damped Newton steps until rounding hides any lower value of F.
"""

from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import Bounds, brentq, minimize

from skinfluence.exceptions import SingularHessianError
from skinfluence.namespaces import to_host
from skinfluence.objective import curvature_change, gradient_shift

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
# A fitted point is kept if its distance to the optimum is at most this share of a median row's
# effect, and if no row's curvature changes by more than this share on the way.
_NEAR = 1e-2
# Newton decrement to reach, relative to sqrt(F).
_TOL = 1e-9
# Steps with an old factor continue while they contract by this factor.
_CONTRACTION = 0.25
_MAX_CHORDS = 12
# Steps that contract more need no update of the factor.
_SWIFT = 0.02
# Rounding error of F, relative to F.
_FLAT = 64 * np.finfo(np.float64).eps
# Number of rows from which a median row's effect is estimated.
_ENOUGH_ROWS = 256


def newton_correction(point, factor):
    """Return N = -H^-1 G, shape (K, D)."""
    return -factor.solve(point.gradient[None])[0]


def newton_decrement(point, correction):
    """Return sqrt(G' H^-1 G) from N."""
    readings = point.objective.design.readings(correction)
    return float(np.sqrt(np.maximum(0.0, -np.sum(point.gradient * readings))))  # NaN stays NaN


@dataclass(frozen=True, eq=False)
class Optimum:
    """The optimum near a fitted point.

    Parameters
    ----------
    point : Point
        The objective at the optimum.
    factor : Factor
        H^-1 at the optimum.
    converged : bool
        Whether it is an optimum, because an objective may have no minimum.
    decrement : float
        Newton decrement at the point.
    """

    point: object
    factor: object
    converged: bool = True
    decrement: float = 0.0


def find_optimum(point, factor, solver):
    """Return the `Optimum` near a point.

    Parameters
    ----------
    point : Point
        The objective at the fitted parameters.
    factor : Factor
        H^-1 at the point.
    solver : HessianSolver
        Factorises H at other points.

    Returns
    -------
    Optimum
        The given point itself if it is near enough to the optimum.

    Raises
    ------
    SingularHessianError
        If H has no inverse at the optimum.
    """
    correction = newton_correction(point, factor)
    if _is_near(point, factor, correction):
        return Optimum(point, factor)
    objective = point.objective
    if objective.offset is not None:  # features far from 0, which `polish` centres
        return optimum_from(objective, point.theta, solver)
    point, _, decrement = follow(point, factor, correction, _TOL)
    if decrement > _TOL * np.sqrt(abs(point.value)):
        return optimum_from(objective, point.theta, solver)
    return Optimum(point, solver.factorise(point), True, decrement)


def optimum_from(objective, theta, solver):
    """Return the `Optimum` that damped Newton steps from theta (K, D) reach."""
    polished = polish(objective, theta, solver, tol=_TOL, max_iter=100)
    point = objective.at(polished.theta)
    return Optimum(point, solver.factorise(point), polished.converged, polished.decrement)


def refine_optimum(optimum, solver):
    """Return an `Optimum` that is accurate to rounding, from one nearby."""
    objective, theta = optimum.point.objective, optimum.point.theta
    polished = polish(objective, theta, solver, tol=1e-11, max_iter=100)
    if polished.n_iter == 0 and polished.converged:
        return optimum
    point = objective.at(polished.theta)
    return Optimum(point, solver.factorise(point), polished.converged, polished.decrement)


def _is_near(point, factor, correction):
    """Return whether removal predicts the same from a point as from the optimum near it."""
    loss = point.objective.formulation.loss
    decrement = newton_decrement(point, correction)
    # For squared loss one Newton step reaches the optimum, but a long step loses digits.
    share = 1.0 if loss.constant_curvature else _NEAR
    if not decrement <= share * _effect_of_a_row(point, factor):
        return False
    if loss.constant_curvature:
        return True
    if loss.curvature_rate is None:
        return gradient_shift(point, correction) <= _NEAR
    return curvature_change(point, correction) <= _NEAR


def _effect_of_a_row(point, factor):
    """Return the median ||H^-1 v_i||_H over a sample of rows with v_i != 0."""
    squares = point.collect(_squared_effects, factor)
    squares = squares[squares > 0]
    return float(np.sqrt(np.median(squares))) if len(squares) else 0.0


def _squared_effects(point, factor):
    """Return ||H^-1 v_i||_H^2 for a sample of rows."""
    # The sample is drawn by size, because the order of the rows must not matter.
    size = np.abs(point.rows.raw_gradient).sum(axis=1) * point.objective.sample_weight
    order = np.argsort(size, kind="stable")
    rows = order[:: 1 + len(order) // _ENOUGH_ROWS]
    V = point.rows.take(rows).toarray()
    V *= point.objective.sample_weight[rows, None, None]
    return factor.quadratic(V)


def _falls(point, following):
    """Return whether F does not rise, apart from its rounding error."""
    highest = point.value + _FLAT * abs(point.value)
    return np.isfinite(following.value) and following.value <= highest


class Secants:
    """H^-1 of nearby objectives, updated so that it maps changes of gradients to steps (BFGS).

    If rows of the Hessian left or changed a little, few steps show the difference.

    Parameters
    ----------
    inverse : callable
        Maps V (b, K, D) to H^-1 V without the steps.
    readings : callable
        Returns `Design.readings`.
    """

    def __init__(self, inverse, readings=np.asarray):
        self.inverse = inverse
        self.readings = readings
        self.pairs = []

    def add(self, step, change):
        """Take steps (b, K, D), and the changes of the gradients over them."""
        readings = self.readings(step)
        curvature = np.sum(change * readings, axis=(1, 2), keepdims=True)
        # A step along which the gradient does not grow says nothing.
        curvature = np.where(curvature > 0, curvature, np.inf)
        self.pairs.append((step, readings, change, curvature))

    def solve(self, V):
        """Return H^-1 V for one vector for each objective, (b, K, D)."""
        shares = []
        for _, readings, change, curvature in reversed(self.pairs):
            shares.append(np.sum(V * readings, axis=(1, 2), keepdims=True) / curvature)
            V = V - shares[-1] * change
        solved = self.inverse(V)
        for step, _, change, curvature in self.pairs:
            products = change * self.readings(solved)
            share = np.sum(products, axis=(1, 2), keepdims=True) / curvature
            solved = solved + (shares.pop() - share) * step
        return solved

    def take(self, places, inverse=None):
        """Return the secants of some of the objectives, with their own `inverse` if given."""
        part = Secants(inverse or self.inverse, self.readings)
        part.pairs = [tuple(one[places] for one in pair) for pair in self.pairs]
        return part


def follow(point, factor, correction, tol):
    """Return (point, next step, decrement) after contracting quasi-Newton steps.

    Parameters
    ----------
    point : Point
        Start of the steps.
    factor : Factor
        H^-1, at the start or nearby.
    correction : ndarray of shape (K, D)
        The first step.
    tol : float
        Decrement to reach, relative to sqrt(F).
    """
    decrement = newton_decrement(point, correction)
    secants = Secants(factor.solve, point.objective.design.readings)
    convex = point.objective.formulation.loss.convex
    start = point
    for _ in range(_MAX_CHORDS):
        # F changes little, so its value at the start tells when its present one is needed.
        if decrement <= tol * np.sqrt(abs(start.value)):
            if decrement <= tol * np.sqrt(abs(point.value)):
                break
            start = point
        following = point.objective.at(point.theta + correction)
        # Steps that contract lead to a zero of the gradient, the minimum of a convex F.
        if not (convex or _falls(point, following)):
            break
        ahead = newton_correction(following, secants)
        remaining = newton_decrement(following, ahead)
        if not remaining <= _SWIFT * decrement:
            change = following.gradient - point.gradient
            secants.add(correction[None], change[None])
            ahead = newton_correction(following, secants)
            remaining = newton_decrement(following, ahead)
        if not remaining <= _CONTRACTION * decrement:
            break
        point, correction, decrement = following, ahead, remaining
    return point, correction, decrement


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
