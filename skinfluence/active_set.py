"""Optima of piecewise linear losses: which rows a kink holds, and nothing else.

Where a loss has kinks, as the hinge at a margin of 1, the optimum holds some predictions
exactly there. Write the optimum by its dual coefficients beta_i = -s_i g_i, g_i a slope or
subgradient of the loss,

    theta = Lam^-1 sum_i beta_i x~_i,     sum_i beta_i = 0 for a free intercept b

Off the kinks g_i is the slope of the piece the prediction is on, and beta_i is known. The
held rows M then answer for themselves: their predictions are the kinks kappa, so

    [X_M Lam^-1 X_M'  1] [beta_M]   [kappa - X_M theta_rest]
    [1'               0] [b     ] = [-sum beta_rest        ]

Once the partition is right this is the optimum to rounding; small changes of the weights of
other rows do not move the held predictions, so a held row has infinite curvature and no
gradient of its own, and the formulas for influence apply as they stand.

Two ways lead to the right partition. From a fit that is nearly there, `settle`: a row belongs
to the kink or to the piece on which eta_i + gamma_i g_i falls, gamma_i = s_i x~_i'Lam^-1 x~_i,
which is a semismooth Newton method on eta = prox(eta + gamma g). From an optimum at other
weights, `follow`: as s moves to its new values in a straight line, predictions and dual
coefficients move in straight lines until a row reaches the end of its piece or of its kink's
range of slopes. It changes its place there, and so on; no step is a guess.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import linalg

from skinfluence.gradients import GradientRows
from skinfluence.objective import Point

__all__ = ["ActiveSetPoint", "Partition", "evaluate", "follow", "settle"]

_MAX_STEPS = 60  # of `settle`
_MAX_EVENTS = 2000  # of `follow`
# Distance to a kink at which a fit without dual coefficients is taken to hold a row: the
# tolerance of liblinear is of this size. Only the first guess depends on it.
_NEAR = 1e-3
# How exactly conditions have to hold, relative to the sizes in them.
_SLACK = 1e-9


@dataclass(frozen=True)
class Partition:
    """Where each row's prediction is.

    Parameters
    ----------
    kink : ndarray of shape (n, K)
        Which kink holds it, counted from the left; -1 where none does.
    slope : ndarray of shape (n, K)
        Slope of the loss where no kink holds it; 0 elsewhere.
    """

    kink: np.ndarray
    slope: np.ndarray

    @property
    def held(self):
        """Whether a kink holds the prediction, (n, K) bool."""
        return self.kink >= 0


class ActiveSetPoint(Point):
    """An objective with a piecewise linear loss at an optimum given by its partition.

    Parameters
    ----------
    objective : Objective
        The objective F.
    theta : ndarray of shape (K, D)
        The optimum.
    partition : Partition
        Where the rows are.
    misfit : float
        Largest change of a training prediction from the fit to this optimum; inf where no
        optimum was found, and the partition is that of the fit.
    """

    def __init__(self, objective, theta, partition, misfit):
        self.objective = objective
        self.theta = theta
        self.partition = partition
        self.misfit = misfit
        self.raw_prediction = objective.design.predict(theta)
        gradient = partition.slope.copy()
        if objective.loss_weight is not None:
            gradient = gradient * objective.loss_weight
        self.rows = GradientRows(objective.design, gradient)

    @cached_property
    def gradient(self):
        """G = 0: held rows carry what the others leave."""
        return np.zeros(self.theta.shape)

    def curvature(self, rows=slice(None)):
        held = self.partition.held[rows] & (self.objective.row_weight[rows] > 0)
        return np.where(held, np.inf, 0.0)

    def curvature_diagonal(self):
        return self.curvature()


def evaluate(objective, theta):
    """Return the `ActiveSetPoint` of the optimum that a fit has come close to."""
    start = _fitted_partition(objective, theta)
    optimum, partition, converged = settle(objective, start)
    if not converged.all():
        return ActiveSetPoint(objective, theta, start, np.inf)
    fitted = objective.design.predict(theta)
    misfit = np.abs(objective.design.predict(optimum) - fitted).max()
    return ActiveSetPoint(objective, optimum, partition, float(misfit))


def settle(objective, start, outputs=None, max_steps=_MAX_STEPS):
    """Return (theta, partition, converged) of the optimum, from a guess of its partition.

    Parameters
    ----------
    objective : Objective
        The objective.
    start : Partition
        First guess.
    outputs : sequence of int or None, default=None
        Outputs to solve for; the others are NaN.
    max_steps : int
        After one step theta is the optimum of `start`, whether or not it fits.

    Returns
    -------
    theta : ndarray of shape (K, D)
        The parameters.
    partition : Partition
        Where the rows belong according to them.
    converged : ndarray of shape (K,)
        Which outputs fulfil the optimality conditions.
    """
    return _by_output(
        objective,
        start,
        outputs,
        lambda problem, k, kink, slope: problem.settle(kink, slope, max_steps),
    )


def follow(objective, start, weights, outputs=None):
    """Return (theta, partition, converged) of the optimum, from that at other weights.

    Parameters
    ----------
    objective : Objective
        The objective.
    start : Partition
        The partition of the optimum at the other weights.
    weights : ndarray of shape (n, 1) or (n, K)
        The other weights s_i.
    outputs : sequence of int or None, default=None
        Outputs to solve for; the others are NaN.

    Returns
    -------
    theta, partition, converged
        As of `settle`.
    """
    return _by_output(
        objective,
        start,
        outputs,
        lambda problem, k, kink, slope: problem.follow(
            kink, slope, weights[:, min(k, weights.shape[1] - 1)]
        ),
    )


def _by_output(objective, start, outputs, solve):
    K, D = objective.penalty.shape
    theta = np.full((K, D), np.nan)
    kink, slope = start.kink.copy(), start.slope.copy()
    converged = np.ones(K, dtype=bool)
    for k in range(K) if outputs is None else outputs:
        theta[k], kink[:, k], slope[:, k], converged[k] = solve(
            _Problem.of(objective, k), k, kink[:, k].copy(), slope[:, k].copy()
        )
    return theta, Partition(kink, slope), converged


@dataclass(frozen=True)
class _Problem:
    """One output's problem, in the notation of the module's head."""

    design: object
    inverse: np.ndarray  # 1 / Lam, 0 for a free intercept, (D,)
    s: np.ndarray  # (n,)
    positions: np.ndarray  # of the kinks, ascending, (n, m)
    slopes: np.ndarray  # of the pieces between them, ascending, (n, m + 1)

    @classmethod
    def of(cls, objective, k):
        """Return the problem of output k."""
        positions, slopes = objective.formulation.loss.kinks(objective.target)
        penalty, s = objective.penalty[k], objective.row_weight
        return cls(
            design=objective.design,
            inverse=np.divide(1.0, penalty, out=np.zeros_like(penalty), where=penalty > 0),
            s=s[:, min(k, s.shape[1] - 1)],
            positions=positions[:, k],
            slopes=slopes[:, k],
        )

    @property
    def free_intercept(self):
        return self.design.fit_intercept and self.inverse[-1] == 0

    @cached_property
    def gamma(self):
        """The step of the optimality conditions, that of one coordinate's minimum."""
        return self.s * self.design.squared_norms(self.inverse)

    def settle(self, kink, slope, max_steps):
        """Return (theta, kink, slope, converged), all misplaced rows moving at once."""
        for _ in range(max_steps):
            theta, beta = self._answer(self.s, kink, slope)
            if theta is None:
                break
            to_kink, to_slope = self._locate(self.design.predict(theta), beta)
            moves = (to_kink != kink) | (to_slope != slope)
            kink, slope = to_kink, to_slope
            if not np.any(moves & self._matters(self.s)):
                return theta, kink, slope, True
        if theta is None:
            theta = np.full(len(self.inverse), np.nan)
        return theta, kink, slope, False

    def follow(self, kink, slope, s):
        """Return (theta, kink, slope, converged) from the optimum at weights s."""
        theta, beta = self._answer(s, kink, slope)
        if theta is None:
            return np.full(len(self.inverse), np.nan), kink, slope, False
        eta = self.design.predict(theta)
        for _ in range(_MAX_EVENTS):
            theta, end = self._answer(self.s, kink, slope)
            if theta is None:
                break
            ahead = self.design.predict(theta)
            length, row, to_right = self._first_event(
                kink, slope, (s, beta, eta), (self.s, end, ahead)
            )
            if length is None:
                return theta, kink, slope, True
            s = s + length * (self.s - s)
            beta, eta = beta + length * (end - beta), eta + length * (ahead - eta)
            if kink[row] >= 0:
                slope[row] = self.slopes[row, kink[row] + to_right]
                kink[row] = -1
            else:
                kink[row] = self._piece(slope)[row] - 1 + to_right
                slope[row] = 0.0
        return np.full(len(self.inverse), np.nan), kink, slope, False

    def _first_event(self, kink, slope, now, end):
        """Return how far the straight line is right, which row ends it and on which side.

        (None, None, None) where it is right to its end. Each row has two conditions, on
        its left and on its right: a held row a dual coefficient between those of the
        adjacent slopes, any other a prediction between the kinks of its piece.
        """
        rows, held = np.arange(len(kink)), kink >= 0
        piece = self._piece(slope)
        edge = np.full((len(kink), 1), np.inf)
        edges = np.hstack([-edge, self.positions, edge])
        low, high = edges[rows, piece], edges[rows, piece + 1]
        left, right = self.slopes[rows, kink], self.slopes[rows, kink + 1]

        def conditions(s, beta, eta):
            return np.stack(
                [
                    np.where(held, -beta - s * left, eta - low),
                    np.where(held, beta + s * right, high - eta),
                ]
            )

        before, after = conditions(*now), conditions(*end)
        size = np.where(held, np.maximum(now[0], end[0]), np.maximum(1.0, np.abs(now[2])))
        broken = (after < -_SLACK * size) & self._matters(now[0] + end[0])
        if not broken.any():
            return None, None, None
        with np.errstate(invalid="ignore", divide="ignore"):
            length = np.maximum(before, 0.0) / (np.maximum(before, 0.0) - after)
        length = np.where(broken, length, np.inf)
        side, row = np.unravel_index(np.argmin(length), length.shape)
        return length[side, row], row, side

    def _matters(self, s):
        """Return which rows have a weight and a part in this output's problem."""
        return (s > 0) & (self.slopes[:, 0] < self.slopes[:, -1])

    def _piece(self, slope):
        """Return which piece has each row's slope."""
        return np.argmin(np.abs(self.slopes - slope[:, None]), axis=1)

    def _answer(self, s, kink, slope):
        """Return (theta, beta) of a partition at weights s, or (None, None)."""
        # A row without weight pulls at nothing, wherever its prediction lies.
        held = np.flatnonzero((kink >= 0) & (s > 0))
        beta = -s * slope
        beta[held] = 0.0
        rest = self.design.adjoint(beta) * self.inverse
        balance, b = -beta.sum(), 0.0
        if len(held):
            part = self.design.take(held)
            gap = self.positions[held, kink[held]] - part.predict(rest)
            sides = np.column_stack([gap, np.ones(len(held))])
            solved = _solve_symmetric(part.products(self.inverse), sides)
            beta[held] = solved[:, 0]
            if self.free_intercept:
                b = (solved[:, 0].sum() - balance) / solved[:, 1].sum()
                beta[held] -= b * solved[:, 1]
        elif self.free_intercept:
            if abs(balance) > _SLACK * max(1.0, np.abs(beta).sum()):
                return None, None
            b = self._middle(self.design.predict(rest), s, beta)
        if not np.all(np.isfinite(beta)) or not np.isfinite(b):
            return None, None
        theta = self.design.adjoint(beta) * self.inverse
        if self.free_intercept:
            theta[-1] = b
        return theta, beta

    def _middle(self, raw, s, beta):
        """Return the middle of the intercepts that leave every row on its piece."""
        counts = self._matters(s)
        g = -beta[counts] / s[counts]
        positions = self.positions[counts]
        edge = np.full((len(g), 1), np.inf)
        edges = np.hstack([-edge, positions, edge])
        piece = np.argmin(np.abs(self.slopes[counts] - g[:, None]), axis=1)[:, None]
        low = (np.take_along_axis(edges, piece, axis=1)[:, 0] - raw[counts]).max()
        high = (np.take_along_axis(edges, piece + 1, axis=1)[:, 0] - raw[counts]).min()
        return (low + high) / 2 if low <= high else np.nan

    def _locate(self, eta, beta):
        """Return the (kink, slope) on which eta + gamma g falls."""
        g = np.divide(-beta, self.s, out=np.zeros_like(beta), where=self.s > 0)
        u = (eta + self.gamma * g)[:, None]
        reach = self.gamma[:, None] * self.slopes
        left, right = self.positions + reach[:, :-1], self.positions + reach[:, 1:]
        inside = (left <= u) & (u <= right) & (right > left)
        kink = np.where(inside.any(axis=1), inside.argmax(axis=1), -1)
        piece = (u > right).sum(axis=1)
        slope = np.take_along_axis(self.slopes, piece[:, None], axis=1)[:, 0]
        return kink, np.where(kink >= 0, 0.0, slope)


def _fitted_partition(objective, theta):
    """Return the partition that the parameters of a fit speak of."""
    positions, slopes = objective.formulation.loss.kinks(objective.target)
    eta = objective.design.predict(theta)[:, :, None]
    s = np.broadcast_to(objective.row_weight, eta.shape[:2])
    if objective.design.has_metric:
        # Solvers of the dual set its bounds to the last bit: what lies between is held.
        beta = theta[:, : objective.design.n_features].T * objective.penalty[:, 0]
        g = np.divide(-beta, s, out=np.zeros_like(beta), where=s > 0)[:, :, None]
        slack = 1e-9 * np.abs(slopes).max()
        held = (slopes[:, :, :-1] + slack < g) & (g < slopes[:, :, 1:] - slack)
        piece = np.argmin(np.abs(slopes - g), axis=2)
    else:
        held = np.abs(eta - positions) <= _NEAR
        piece = (eta > positions).sum(axis=2)
    kink = np.where(held.any(axis=2), held.argmax(axis=2), -1)
    slope = np.take_along_axis(slopes, piece[:, :, None], axis=2)[:, :, 0]
    return Partition(kink, np.where(kink >= 0, 0.0, slope))


def _solve_symmetric(P, sides):
    """Return P^-1 sides; the smallest solution where rows repeat."""
    size = 1.0 / np.sqrt(np.where(P.diagonal() > 0, P.diagonal(), 1.0))
    scaled = P * size[:, None] * size
    try:
        factor = linalg.cho_factor(scaled, lower=True, overwrite_a=False)
        solved = linalg.cho_solve(factor, sides * size[:, None])
        if factor[0].diagonal().min() > 1e-7:
            return solved * size[:, None]
    except linalg.LinAlgError:
        pass
    return linalg.lstsq(scaled, sides * size[:, None], cond=1e-12)[0] * size[:, None]
