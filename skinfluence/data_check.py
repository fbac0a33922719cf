"""Whether training data can be those that a model was fitted on.

A fit that met its solver's stopping rule has a small gradient of its objective at its own
training data; `stopping.bound` tells how small. A fit that stopped early may have any, but a
solver that descends from parameters of zero has a lower objective there than where it began.
Data that break either rule are not those of the fit, and a few likely mistakes are then tried:
undoing one of them has to bring the gradient below its bound.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import brentq, minimize, minimize_scalar

from skinfluence.objective import weigh
from skinfluence.stopping import Sizes, bound

__all__ = ["Mismatch", "check_data"]

# Rows by which X and y are tried out of step.
_SHIFTS = (1, -1)
# Iterations before which a fit need not be better than a constant.
_FEW = 5
# Beyond the targets by so much no constant prediction is looked for.
_FAR = 20.0
# Times the objective of a constant, beyond which descent has diverged on any data.
_DIVERGED = 1e6
# Factors within which another scale is looked for.
_LARGEST_SCALE = 1e6


@dataclass(frozen=True)
class Mismatch:
    """Why data cannot be those of a fit.

    Parameters
    ----------
    share : float
        Gradient of F in the parameter that breaks its bound most, as a share of the largest
        that gradients of these sizes could add up to, 0 to 1.
    excess : float or None
        The same gradient over the largest that the solver's stopping rule leaves; None for a
        fit that stopped early.
    rise : float or None
        F at the fit over F of a model that it has to be better than, for a fit that stopped
        early: at parameters of zero, or the best constant for solvers without such a rule.
    may_have_failed : bool
        Whether the solver may end at any gradient, worse than a constant prediction too.
    parameter : tuple of int
        Output and column of that parameter.
    guess : str
        Which mistake it looks like.
    """

    share: float
    excess: float | None
    rise: float | None
    may_have_failed: bool
    parameter: tuple[int, int]
    guess: str


def check_data(objective, theta, fit):
    """Return why the data of an objective are not those of a fit, None if they may be.

    Parameters
    ----------
    objective : Objective
        The objective F with the data, of a loss that is differentiable.
    theta : ndarray of shape (K, D)
        The fitted parameters.
    fit : Fit
        How the fit ended.

    Notes
    -----
    One gradient and the sizes of its terms, in four passes over the rows; a few more for
    each mistake that is tried, if the check has failed.
    """
    with np.errstate(all="ignore"):
        sizes = Sizes(objective, theta)
        excess, rise = _excess(sizes, fit), None
        if fit.stopped_early:
            rise = _rise(sizes, fit)
            if not 1 + 1e-6 < rise < (_DIVERGED if fit.has_no_rule else np.inf):
                return None
        elif not excess.max(initial=0.0) > 1:
            return None
        share = _over(sizes.excess, sizes.largest)
        worst = share if fit.stopped_early else excess
        at = np.unravel_index(np.argmax(worst), worst.shape)
        return Mismatch(
            share=float(share[at]),
            excess=None if fit.stopped_early else float(excess[at]),
            rise=rise,
            may_have_failed=fit.has_no_rule,
            parameter=(int(at[0]), int(at[1])),
            guess=_guess(sizes, fit),
        )


def _excess(sizes, fit):
    """Return |G| over its bound, (K, D)."""
    return _over(sizes.excess, bound(fit, sizes))


def _over(gradient, limit):
    limit = np.broadcast_to(limit, gradient.shape)
    return np.where(gradient > 0, gradient / limit, 0.0)  # no gradient has any bound


def _rise(sizes, fit):
    """Return F at the fit over F of a model that it has to be better than, 0 without one.

    That is where a solver began that only descends, or for solvers without a rule the best
    constant prediction.
    """
    if fit.has_no_rule and fit.n_iter is not None and fit.n_iter < _FEW:
        return 0.0
    if fit.has_no_rule:
        reference = _constant(sizes.objective, fit)
    elif fit.descends:
        reference = np.zeros(sizes.theta.shape)
    else:
        return 0.0
    return float(sizes.point.value / sizes.objective.value(reference))


def _constant(objective, fit):
    """Return the parameters (K, D) of the best prediction without features."""
    theta = np.zeros(objective.penalty.shape)
    loss, target, s = objective.formulation.loss, objective.target, objective.row_weight
    if fit.name == "HuberRegressor":
        y = target[:, 0]
        spread = np.std(y) if np.ptp(y) else 1.0

        def robust(b_and_log):
            b = b_and_log[0] if fit.params["fit_intercept"] else 0.0
            raw = np.broadcast_to([b, np.exp(b_and_log[1])], (len(y), 2))
            return float(weigh(s[:, 0], loss.loss(target, raw)).sum())

        best = minimize(robust, [np.median(y), np.log(spread)], method="Nelder-Mead").x
        theta[:, -1] = best[0] if fit.params["fit_intercept"] else 0.0, np.exp(best[1])
    elif objective.design.fit_intercept:
        for k in range(len(theta)):
            own, column = target[:, [k]], s[:, min(k, s.shape[1] - 1)]

            def value(b, own=own, column=column):
                raw = np.full((len(own), 1), b)
                return float(weigh(column, loss.loss(own, raw)).sum())

            # With a label that has no weight the best logit is infinite.
            bounds = own.min() - _FAR, own.max() + _FAR
            theta[k, -1] = minimize_scalar(value, bounds=bounds, method="bounded").x
    return theta


def _guess(sizes, fit):
    """Return which mistake explains the gradient."""
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
    """Generate likely mistakes and the objective without them."""
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
    """Whether the gradient of another objective is below the bound."""
    gradient = Sizes(objective, theta).excess
    return _is_small(gradient, sizes, fit)


def _is_small(gradient, sizes, fit):
    """Whether a gradient is below the bound, or near enough that it explains the larger one.

    The bound is that of the data given; without a mistake it may be lower. Early stops leave
    some gradient: then it has to be a tenth of what it was.
    """
    if fit.stopped_early:
        return np.linalg.norm(gradient) <= 0.1 * np.linalg.norm(sizes.excess)
    small = _over(gradient, bound(fit, sizes)).max(initial=0.0) <= 1
    return bool(small and gradient.max(initial=0.0) <= 0.1 * sizes.excess.max(initial=0.0))


def _rescaled(sizes):
    """Generate scales of X, of y and of the weights, with |G| once they are undone."""
    objective, theta = sizes.objective, sizes.theta
    support = objective.formulation.l1_support
    if objective.design.has_metric or objective.formulation.loss.is_piecewise_linear:
        return
    if support is not None and not support.free.all():
        free = support.free
    else:
        free = np.ones(theta.shape, dtype=bool)
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
        # Gradients are linear in y, of Huber's loss nearly.
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
    """Return the factor c of X after which the fit is stationary in its own length, or None.

    With X = c X_fit the slope of the loss along the coefficients, at 1/c of their length, is
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
    """Whether a factor is another scale, and not what other rows of one feature come to."""
    least = 1.05 if sizes.objective.design.n_features > 1 else 1.9
    return bool(np.isfinite(factor) and factor > 0 and abs(np.log(factor)) > np.log(least))


def _only_coefficients(sizes):
    """Whether free intercepts are at their optimum and coefficients are not."""
    objective = sizes.objective
    if objective.design.has_metric or not objective.design.fit_intercept:
        return False
    if np.any(objective.penalty[:, -1] != 0) or not np.any(sizes.theta[:, :-1]):
        return False
    share = _over(sizes.excess, sizes.largest)
    return bool(share[:, -1].max() <= 0.01 * share[:, :-1].max())
