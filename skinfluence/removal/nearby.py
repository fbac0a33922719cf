"""The optima of many objectives near one optimum, from one factor.

If a pipeline's steps are fitted again without a group of rows, the objective has other
features. They differ little from those of the fit, so quasi-Newton steps lead from the optimum
for all rows to the new one. The objectives take each step together: their rows stand one after
another for the loss, and their gradients are right-hand sides of one solve. For small data
most of the time would go into calls, not into products.
"""

import numpy as np

from skinfluence.gradients import weigh
from skinfluence.optimum import Secants

# Newton steps of one model contract with the Hessian of another if the two curvatures of each
# parameter differ by no more than this factor.
_ALIKE = 4.0
# Steps continue while they contract by this factor: the first one may fall short if a row had
# a large leverage, but the next ones know its direction.
_CONTRACTION = 0.5
_MAX_STEPS = 16


def optima_near(objectives, optimum, tol):
    """Return (optima, last steps), both (b, K, D); NaN if the steps do not contract.

    Parameters
    ----------
    objectives : list of Objective
        Objectives with the same convex loss and the same parameters, but other rows.
    optimum : Optimum
        The optimum from which the steps start.
    tol : float
        Newton decrement to reach, relative to the square root of F at the start. One more step
        follows.
    """
    point, factor = optimum.point, optimum.factor
    stack, theta = _Stack(objectives), np.repeat(point.theta[None], len(objectives), axis=0)
    optima, steps = np.full_like(theta, np.nan), np.full_like(theta, np.nan)
    raw = stack.raw_predictions(theta)
    gradient, secants = stack.gradients(theta, raw), Secants(factor.solve)
    step = -factor.solve(gradient)
    decrement = _decrements(gradient, step)
    places = np.flatnonzero(are_alike(point.hessian_diagonal(), stack.diagonals(raw)))
    kept, limit = places, tol * np.sqrt(abs(point.value))
    for _ in range(_MAX_STEPS):
        # Objectives that are done leave the stack, and so do those that do not contract.
        theta, gradient, step = theta[kept], gradient[kept], step[kept]
        stack, secants, decrement = stack.take(kept), secants.take(kept), decrement[kept]
        if not len(places):
            break
        following = theta + step
        ahead = stack.gradients(following, stack.raw_predictions(following))
        secants.add(step, ahead - gradient)
        theta, gradient, step = following, ahead, -secants.solve(ahead)
        remaining = _decrements(gradient, step)
        done = remaining <= limit
        optima[places[done]] = (theta + step)[done]
        steps[places[done]] = step[done]
        kept = np.flatnonzero(~done & (remaining <= _CONTRACTION * decrement))
        places, decrement = places[kept], remaining
    return optima, steps


def _decrements(gradient, step):
    """Return the Newton decrements of steps (b, K, D)."""
    return np.sqrt(np.maximum(0.0, -np.sum(gradient * step, axis=(1, 2))))


def are_alike(before, now):
    """Return whether steps with one Hessian contract with others, from their diagonals.

    If rows left that had most of a feature's curvature, steps would be too short, and their
    size would not show it.
    """
    return ((now * _ALIKE >= before) & (before * _ALIKE >= now)).all(axis=(-2, -1))


class _Stack:
    """Objectives with the same loss, whose rows stand one after another.

    Parameters
    ----------
    objectives : list of Objective
        At least one.
    """

    def __init__(self, objectives):
        self.objectives = objectives
        self.stops = np.cumsum([0] + [one.n_rows for one in objectives])
        if not objectives:
            return
        self.loss = objectives[0].formulation.loss
        self.target = np.concatenate([one.target for one in objectives])
        self.weight = np.concatenate([one.row_weight for one in objectives])
        self.penalty = np.stack([one.penalty for one in objectives])

    def take(self, places):
        """Return some of the objectives."""
        if len(places) == len(self.objectives):
            return self
        return _Stack([self.objectives[place] for place in places])

    def each(self):
        """Yield (position, design, rows) for each objective."""
        for place, one in enumerate(self.objectives):
            yield place, one.design, slice(self.stops[place], self.stops[place + 1])

    def raw_predictions(self, theta):
        """Return the raw predictions (N, K) of each objective's rows at its own theta."""
        raw = np.empty((self.stops[-1], theta.shape[1]))
        for place, design, rows in self.each():
            raw[rows] = design.predict(theta[place])
        return raw

    def gradients(self, theta, raw):
        """Return the gradients (b, K, D)."""
        weighted = weigh(self.weight, self.loss.gradient(self.target, raw))
        out = self.penalty * theta
        for place, design, rows in self.each():
            out[place] += design.adjoint(weighted[rows])
        return out

    def diagonals(self, raw):
        """Return the diagonals of the Hessians (b, K, D)."""
        weighted = weigh(self.weight, self.loss.curvature_diagonal(self.target, raw))
        out = self.penalty.copy()
        for place, design, rows in self.each():
            out[place] += design.squared_adjoint(weighted[rows])
        return out
