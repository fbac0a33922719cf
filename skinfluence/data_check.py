"""Check whether training data can be those on which a model was fitted.

If a fit met its solver's stopping rule, the gradient of its objective is small on its own
training data; `stopping.bound` returns the bound. If it stopped early, the gradient may be
large. But if its solver descends from zero parameters, the objective must be lower than at the
start. Data that break either rule do not belong to the fit. Then a few likely mistakes are
tried: a mistake is the explanation if undoing it brings the gradient below its bound.

Data that meet both rules may still be others, because many rules are loose. `coincidence`
tells how likely other data would leave a gradient as small.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import brentq, minimize
from scipy.stats import chi2

from skinfluence.objective import weigh
from skinfluence.stopping import Sizes, bound

# Numbers of rows by which X and y may be out of step.
_SHIFTS = (1, -1)
# A fit with fewer iterations need not be better than a constant.
_FEW = 5
# Share of F by which Huber's solver may be worse than a constant.
_SLACK = 0.05
# Largest factor between scales that is tried.
_LARGEST_SCALE = 1e6
# Share of its bound by which a dual coefficient may differ by rounding, and how many times its
# tolerance libsvm may leave in a margin.
_ROUNDED, _TOLERANCES = 1e-6, 3.0


@dataclass(frozen=True)
class Mismatch:
    """The reason why data cannot be those of a fit.

    Parameters
    ----------
    share : float
        Gradient of F in the parameter that violates its bound most, as a share of the largest
        possible sum of gradients with these sizes, 0 to 1.
    excess : float or None
        The same gradient divided by its bound from the solver's stopping rule; None if the fit
        stopped early.
    rise : float or None
        For a fit that stopped early, F divided by its value in a model that the fit must
        improve on: the one with zero parameters or, for `HuberRegressor`, the best constant.
    may_have_failed : bool
        Whether the solver itself may have failed, which Huber's can.
    parameter : tuple of int
        Output and column of that parameter.
    guess : str
        The most likely mistake.
    """

    share: float
    excess: float | None
    rise: float | None
    may_have_failed: bool
    parameter: tuple[int, int]
    guess: str


def sizes_at(objective, theta):
    """Return the `Sizes` of an objective with a differentiable loss, at parameters (K, D).

    Least-norm coefficients are one choice among optima, which does not affect the gradient.
    """
    form = replace(objective.formulation, minimum_norm=None)
    with np.errstate(all="ignore"):
        return Sizes(replace(objective, formulation=form), theta)


def check_data(sizes, fit):
    """Return why the data in an objective cannot be those of a fit, None if they may be.

    Parameters
    ----------
    sizes : Sizes
        From `sizes_at`, with the data and the fitted parameters.
    fit : Fit
        Record of the fit.

    Notes
    -----
    The check takes one gradient and the sizes of its terms, in four passes over the rows. If
    it fails, each mistake that is tried takes a few more.
    """
    with np.errstate(all="ignore"):
        excess, rise = _excess(sizes, fit), None
        if fit.stopped_early:
            rise = _rise(sizes, fit)
            if not rise > (1 + _SLACK if fit.beats_constant else 1 + 1e-6):
                return None
        elif not excess.max(initial=0.0) > 1:
            return None
        share = _over(sizes.excess, sizes.largest)
        worst = share if fit.stopped_early else excess
        entry = np.unravel_index(np.argmax(worst), worst.shape)
        return Mismatch(
            share=float(share[entry]),
            excess=None if fit.stopped_early else float(excess[entry]),
            rise=rise,
            may_have_failed=fit.beats_constant,
            parameter=(int(entry[0]), int(entry[1])),
            guess=_guess(sizes, fit),
        )


def contradicted(objective, theta, tol):
    """Return the rows whose margins contradict their dual coefficients, ascending.

    At the optimum of a kernel model with a piecewise linear loss, minus the dual coefficient
    of row i is a subgradient of s_i l at its prediction. libsvm stops if this is true for a
    prediction within tol.

    Parameters
    ----------
    objective : Objective
        The objective with the data.
    theta : ndarray of shape (K, n + 1)
        The fitted dual coefficients and intercepts.
    tol : float
        The solver's tolerance.
    """
    loss, target, s = objective.formulation.loss, objective.target, objective.row_weight
    raw, s = objective.design.predict(theta), s.reshape(objective.n_rows, -1)
    near = _TOLERANCES * tol + _ROUNDED * np.abs(raw).max(initial=0.0)
    slope = -theta[:, : objective.n_rows].T
    below = slope < s * (loss.gradient(target, raw - near) - _ROUNDED)
    above = slope > s * (loss.gradient(target, raw + near) + _ROUNDED)
    return np.flatnonzero((below | above).any(axis=1))


def order_of_margins(objective, theta, tol):
    """Return the order of y that explains all dual coefficients, in words, else None."""
    for words, other in _candidates(objective):
        if not contradicted(other, theta, tol).size:
            return words
    return None


def coincidence(sizes):
    """Return the probability that other data leave a gradient as small as these.

    For other rows of the same kind, each entry of the gradient G = sum_i v_i would be about
    normal with variance sum_i v_i^2. Because entries are correlated, their squares count as
    half as many independent ones.

    Parameters
    ----------
    sizes : Sizes
        From `sizes_at`, with the data and the fitted parameters.
    """
    with np.errstate(all="ignore"):
        gradient, variance = _beside_the_intercept(sizes)
        counted = variance > 0
        counted &= sizes.objective.free  # a coefficient at zero stays there for many data
        z_squared = gradient[counted] ** 2 / variance[counted]
        if not z_squared.size:
            return 1.0
        n_independent = max(1.0, z_squared.size / 2)
        return float(chi2.cdf(n_independent * z_squared.mean(), n_independent))


def _beside_the_intercept(sizes):
    """Return the gradient G and sum_i v_i^2, (K, D) each, as if features were centred.

    Otherwise, if a feature's mean is far from 0, its entries are copies of the intercept's,
    and other data whose residuals have the same mean leave both small.
    """
    design, pulls = sizes.objective.design, sizes.pulls
    gradient, variance = sizes.point.gradient.copy(), sizes.squares(pulls)
    if design.has_metric or not design.fit_intercept:
        return gradient, variance
    last = variance[:, -1:]
    mean = np.where(last > 0, design.adjoint(pulls**2)[:, :-1] / last, 0.0)
    gradient[:, :-1] -= mean * gradient[:, -1:]
    variance[:, :-1] -= mean**2 * last
    return gradient, variance


def _excess(sizes, fit):
    """Return |G| divided by its bound, (K, D)."""
    return _over(sizes.excess, bound(fit, sizes))


def _over(gradient, limit):
    limit = np.broadcast_to(limit, gradient.shape)
    return np.where(gradient > 0, gradient / limit, 0.0)  # zero is within any bound


def _rise(sizes, fit):
    """Return F at the fit divided by F of a model that must be worse, 0 if there is none.

    This model is the start of a solver that only descends. For solvers without a rule it is
    the best constant prediction.
    """
    if fit.beats_constant:
        reference = _constant(sizes.objective)
    elif fit.descends:
        reference = np.zeros(sizes.theta.shape)
        if fit.name == "HuberRegressor":
            reference[1, -1] = 1.0
    else:
        return 0.0
    value, worst = sizes.point.value, sizes.objective.value(reference)
    if worst == 0:  # it is perfect, as for means that are all 1
        return (
            0.0 if value <= np.finfo(np.float64).eps * sizes.objective.weight_sum else np.inf
        )
    return float(value / worst)


def _constant(objective):
    """Return Huber's parameters (2, D) for the best prediction without features."""
    theta = np.zeros(objective.penalty.shape)
    loss, target, w = objective.formulation.loss, objective.target, objective.sample_weight
    y = target[:, 0]
    moves = float(objective.formulation.layout.has_intercept)
    spread = np.std(y) if np.ptp(y) else 1.0

    def value(b_and_log):
        raw = np.broadcast_to([moves * b_and_log[0], np.exp(b_and_log[1])], (len(y), 2))
        return float(weigh(w, loss.loss(target, raw)).sum())

    b, log_scale = minimize(value, [np.median(y), np.log(spread)], method="Nelder-Mead").x
    theta[:, -1] = moves * b, np.exp(log_scale)
    return theta


def _guess(sizes, fit):
    """Return the mistake that explains the gradient."""
    for words, objective in _candidates(sizes.objective):
        if _fits(objective, sizes.theta, fit, sizes):
            return words
    for words, gradient in _rescaled(sizes):
        if gradient is not None and _is_small(gradient, sizes, fit):
            return words
    if _only_coefficients(sizes):
        return (
            "another order of the rows of X or y: targets and predictions have the same mean, "
            "but no other moment in common"
        )
    objective, flat = sizes.objective, sizes.theta.copy()
    flat[:, : objective.design.n_features] = 0.0
    if sizes.point.value > objective.value(flat):
        return (
            "another order of the rows of X or y, another scale or other data: the model is "
            "worse than its intercept alone"
        )
    return "other rows of the same kind, or sample_weight left out or changed"


def _candidates(objective):
    """Yield likely mistakes and the objective without them."""
    target, weight = objective.target, objective.sample_weight
    weighted = bool(np.ptp(weight))
    if weighted:
        uniform = replace(objective, sample_weight=np.ones_like(weight))
        yield "sample_weight given to a fit that had none", uniform
    steps = np.arange(objective.n_rows)
    orders = [("y in the reverse order of X", steps[::-1])]
    orders += [(f"X and y out of step by {abs(k)} row(s)", np.roll(steps, k)) for k in _SHIFTS]
    for words, order in orders:
        words = f"another order: {words}"
        yield words, replace(objective, target=target[order])
        if weighted:
            both = replace(objective, target=target[order], sample_weight=weight[order])
            yield words, both


def _fits(objective, theta, fit, sizes):
    """Return whether another objective's gradient is below the bound."""
    gradient = Sizes(objective, theta).excess
    return _is_small(gradient, sizes, fit)


def _is_small(gradient, sizes, fit):
    """Return whether a gradient is below the bound, or so small that it explains the larger
    one.

    The bound comes from the given data; without a mistake it may be lower. After an early stop
    some gradient is normal, so it must fall to a tenth.
    """
    if fit.stopped_early:
        return np.linalg.norm(gradient) <= 0.1 * np.linalg.norm(sizes.excess)
    small = _over(gradient, bound(fit, sizes)).max(initial=0.0) <= 1
    return bool(small and gradient.max(initial=0.0) <= 0.1 * sizes.excess.max(initial=0.0))


def _rescaled(sizes):
    """Yield factors for X, y and the weights, with |G| after undoing them."""
    objective, theta = sizes.objective, sizes.theta
    if objective.design.has_metric:
        return
    free = objective.free
    penalty = objective.penalty_gradient(theta)
    data = sizes.point.gradient - penalty * free
    c = _scale_of_features(sizes, penalty * free)
    if c is not None and _is_scale(c, sizes):
        scale = np.ones(theta.shape)
        scale[:, : objective.design.n_features] = 1 / c
        moved = objective.at(theta * scale)
        pull = moved.gradient - objective.penalty_gradient(moved.theta) * free
        yield (
            f"another scale: X is about {c:.2g} times the X of the fit",
            np.abs((pull * scale + penalty) * free),
        )
    if hasattr(objective.formulation.target, "n_outputs"):  # real targets
        # The gradient is linear in y, for Huber's loss approximately.
        at_zero = replace(objective, target=np.zeros_like(objective.target))
        none = at_zero.at(theta).gradient
        slope = sizes.point.gradient - none
        t = -np.sum(none * slope) / np.sum(slope * slope)
        if _is_scale(t, sizes):
            undone = replace(objective, target=t * objective.target).at(theta).gradient
            yield (
                f"another scale: y is about {1 / t:.2g} times the y of the fit",
                np.abs(undone),
            )
    t = -np.sum(data * penalty * free) / np.sum(data * data)
    if _is_scale(t, sizes):
        yield (
            f"another scale: sample_weight is about {1 / t:.2g} times that of the fit",
            np.abs(data + penalty * free / t),
        )


def _scale_of_features(sizes, penalty):
    """Return the factor c for X after which the fit is stationary along its length, or None.

    With X = c X_fit, the loss's slope along the coefficients, at 1/c of their length, is
    s d/ds loss(s theta) = -theta' penalty.
    """
    objective, theta = sizes.objective, sizes.theta
    d = objective.design.n_features
    direction = np.zeros(theta.shape)
    direction[:, :d] = theta[:, :d]
    step = objective.design.predict(direction)
    base = sizes.point.raw_prediction - step
    loss, target, s = objective.formulation.loss, objective.target, objective.row_weight
    pull = float(np.sum(penalty * direction))

    def slope(log_scale):
        scale = np.exp(log_scale)
        gradient = weigh(s, loss.gradient(target, base + scale * step))
        return scale * float(np.sum(gradient * step)) + pull

    grid = np.linspace(-np.log(_LARGEST_SCALE), np.log(_LARGEST_SCALE), 49)
    values = np.array([slope(x) for x in grid])
    changes = np.flatnonzero((values[:-1] < 0) & (values[1:] >= 0))
    if not len(changes):
        return None
    k = changes[np.argmin(np.abs(grid[changes]))]
    return float(np.exp(-brentq(slope, grid[k], grid[k + 1], xtol=1e-13, rtol=1e-13)))


def _is_scale(factor, sizes):
    """Return whether a factor is a change of scale and not the effect of other rows."""
    least = 1.05 if sizes.objective.design.n_features > 1 else 1.9
    return bool(np.isfinite(factor) and factor > 0 and abs(np.log(factor)) > np.log(least))


def _only_coefficients(sizes):
    """Return whether free intercepts are at their optimum and coefficients are not."""
    objective = sizes.objective
    if objective.design.has_metric or not objective.design.fit_intercept:
        return False
    if np.any(objective.penalty[:, -1] != 0) or not np.any(sizes.theta[:, :-1]):
        return False
    share = _over(sizes.excess, sizes.largest)
    return bool(share[:, -1].max() <= 0.01 * share[:, :-1].max())
