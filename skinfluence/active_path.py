"""The path between two optima of a piecewise linear loss in one output, see `active_set`."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import linalg

_MAX_EVENTS = 2000
# Tolerances for conditions, relative to their sizes, and for predictions of margin vectors.
_SLACK, _HELD = 1e-9, 1e-7


@dataclass(frozen=True)
class State:
    """A state on a path: weights, kink shifts, and the optimum for them."""

    s: np.ndarray  # (n,)
    shift: np.ndarray  # the same for all kinks of a row, (n,)
    beta: np.ndarray  # (n,)
    eta: np.ndarray  # (n,)
    theta: np.ndarray  # (D,)

    def towards(self, end, share):
        """Return the state at a share of the straight way to another one."""
        pairs = zip(vars(self).values(), vars(end).values(), strict=True)
        return State(*(a + share * (b - a) for a, b in pairs))


@dataclass(frozen=True)
class OutputProblem:
    """The problem in one output, in the notation of `active_set`."""

    design: object
    inverse: np.ndarray  # 1 / Lam, 0 for a free intercept, (D,)
    s: np.ndarray  # (n,)
    positions: np.ndarray  # kinks, ascending, (n, m)
    slopes: np.ndarray  # the pieces between them, ascending, (n, m + 1)

    @classmethod
    def of(cls, objective, k):
        """Return the problem for output k."""
        positions, slopes = objective.formulation.loss.kinks(objective.target)
        penalty = objective.penalty[k]
        return cls(
            design=objective.design,
            inverse=np.divide(1.0, penalty, out=np.zeros_like(penalty), where=penalty > 0),
            s=_weights(objective, k),
            positions=positions[:, k],
            slopes=slopes[:, k],
        )

    @property
    def free_intercept(self):
        """Whether there is an intercept without penalty."""
        return self.design.fit_intercept and self.inverse[-1] == 0

    @cached_property
    def edges(self):
        """Kinks with infinity on either side: piece p lies between edges p and p + 1."""
        edge = np.full((len(self.positions), 1), np.inf)
        return np.hstack([-edge, self.positions, edge])

    def from_optimum(self, point, k):
        """Return the path from the same output's optimum at other weights."""
        s = _weights(point.objective, k)
        kink = point.partition.kink[:, k].copy()
        slope = point.partition.slope[:, k].copy()
        start = self.answer(s, np.zeros(len(s)), kink, slope)
        return Path(self, start, kink, slope)

    def from_fit(self, theta, near):
        """Return the path from fitted parameters near the optimum.

        If the fit has no dual coefficients, rows as `near` to a kink count as margin vectors.
        """
        if self.design.has_metric:
            beta = theta[: self.design.n_features] / self.inverse[0]
            b = theta[-1] if self.free_intercept else 0.0
            kink, slope = self._places(beta)
        else:
            # Only predictions are known; margin vectors are the rows close to a kink.
            eta = self.design.predict(theta)
            close = np.abs(eta[:, None] - self.positions) <= near
            kink = np.where(close.any(axis=1), close.argmax(axis=1), -1)
            piece = (eta[:, None] > self.positions).sum(axis=1)
            slope = np.where(kink >= 0, 0.0, self.slopes[np.arange(len(piece)), piece])
            guess = self.answer(self.s, np.zeros(len(eta)), kink, slope)
            if guess is None:
                return Path(self, None, kink, slope)
            beta, b = guess.beta, (guess.theta[-1] if self.free_intercept else 0.0)
            bounds = -self.s[:, None] * self.slopes[:, [-1, 0]]
            beta = np.clip(beta, bounds[:, 0], bounds[:, 1])
            kink, slope = self._places(beta)
        theta = self.design.adjoint(beta) * self.inverse
        if self.free_intercept:
            theta[-1] = b
        eta = self.design.predict(theta)
        # The kinks for which these dual coefficients are optimal.
        rows, piece = np.arange(len(eta)), self._piece(slope)
        on_piece = np.clip(eta, self.edges[rows, piece], self.edges[rows, piece + 1])
        nearest = np.where(kink >= 0, self.positions[rows, kink], on_piece)
        shift = np.where(self.matters(self.s), eta - nearest, 0.0)
        return Path(self, State(self.s, shift, beta, eta, theta), kink, slope)

    def answer(self, s, shift, kink, slope):
        """Return the state for a partition at weights s and shifted kinks, or None.

        None means that there is no such optimum: no margin vector determines the intercept, or
        more rows lie on kinks than possible.
        """
        # A row without weight has no effect, wherever its prediction lies.
        margin = np.flatnonzero((kink >= 0) & (s > 0))
        beta = -s * slope
        beta[margin] = 0.0
        rest = self.design.adjoint(beta) * self.inverse
        balance, b = -beta.sum(), 0.0
        if len(margin):
            part = self.design.take(margin)
            kappa = self.positions[margin, kink[margin]] + shift[margin]
            gap = kappa - part.predict(rest)
            P, lift = part.products(self.inverse), 0.0
            if self.free_intercept:
                # d + 1 margin vectors make P singular; adding the balance makes it regular:
                # (P + lift 1 1') beta_M + (b - lift balance) 1 = gap.
                lift = P.diagonal().mean()
                P += lift
            x, z = _solve_symmetric(P, np.column_stack([gap, np.ones(len(margin))])).T
            if self.free_intercept:
                b = (x.sum() - balance) / z.sum()
                x, b = x - b * z, b + lift * balance
            beta[margin] = x
        elif self.free_intercept:
            if abs(balance) > _SLACK * max(1.0, np.abs(beta).sum()):
                return None
            b = self._middle(self.design.predict(rest) - shift, s, slope)
        if not np.all(np.isfinite(beta)) or not np.isfinite(b):
            return None
        theta = self.design.adjoint(beta) * self.inverse
        if self.free_intercept:
            theta[-1] = b
        eta = self.design.predict(theta)
        largest = max(1, np.abs(eta).max())
        if len(margin) and np.abs(eta[margin] - kappa).max() > _HELD * largest:
            return None
        return State(s, shift, beta, eta, theta)

    def conditions(self, state, kink, slope):
        """Return each row's distance from the left and right end of its place, (2, n).

        For a margin vector the place is the dual coefficients between those for the adjacent
        slopes, for other rows the predictions between the kinks around their piece.
        """
        rows, on_kink, piece = np.arange(len(kink)), kink >= 0, self._piece(slope)
        low, high = self.edges[rows, piece], self.edges[rows, piece + 1]
        left_slope, right_slope = self.slopes[rows, kink], self.slopes[rows, kink + 1]
        s, beta, eta = state.s, state.beta, state.eta - state.shift
        return np.stack(
            [
                np.where(on_kink, -beta - s * left_slope, eta - low),
                np.where(on_kink, beta + s * right_slope, high - eta),
            ]
        )

    def moved(self, kink, slope, row, side):
        """Return the partition after a row has left its place on one side (0 or 1)."""
        kink, slope = kink.copy(), slope.copy()
        if kink[row] >= 0:
            slope[row] = self.slopes[row, kink[row] + side]
            kink[row] = -1
        else:
            kink[row] = self._piece(slope)[row] - 1 + side
            slope[row] = 0.0
        return kink, slope

    def place_weightless(self, kink, slope, eta):
        """Return the partition with weightless rows on the pieces that contain them."""
        piece = (eta[:, None] > self.positions).sum(axis=1)
        piece_slope = self.slopes[np.arange(len(piece)), piece]
        weightless = self.s == 0
        return np.where(weightless, -1, kink), np.where(weightless, piece_slope, slope)

    def matters(self, s):
        """Return which rows have a weight and a loss in this output."""
        return (s > 0) & (self.slopes[:, 0] < self.slopes[:, -1])

    def _places(self, beta):
        """Return (kink, slope) for dual coefficients within their bounds.

        Dual solvers set bound coefficients exactly, so all others belong to margin vectors.
        """
        g = np.divide(-beta, self.s, out=np.zeros_like(beta), where=self.s > 0)[:, None]
        slack = _SLACK * np.abs(self.slopes).max()
        inside = (self.slopes[:, :-1] + slack < g) & (g < self.slopes[:, 1:] - slack)
        kink = np.where(inside.any(axis=1), inside.argmax(axis=1), -1)
        piece = np.argmin(np.abs(self.slopes - g), axis=1)
        return kink, np.where(kink >= 0, 0.0, self.slopes[np.arange(len(piece)), piece])

    def _piece(self, slope):
        """Return the index of the piece with each row's slope."""
        return np.argmin(np.abs(self.slopes - slope[:, None]), axis=1)

    def interval(self, raw, s, slope):
        """Return the ends of the intercepts for which every row stays on its piece."""
        counts = self.matters(s)
        rows, piece = np.flatnonzero(counts), self._piece(slope)[counts]
        low = (self.edges[rows, piece] - raw[counts]).max()
        high = (self.edges[rows, piece + 1] - raw[counts]).min()
        return low, high

    def _middle(self, raw, s, slope):
        """Return the middle of the interval of intercepts, which libsvm takes."""
        low, high = self.interval(raw, s, slope)
        return (low + high) / 2 if low <= high else np.nan


class Path:
    """A path from an optimum at other weights and kinks to the problem's optimum.

    Parameters
    ----------
    problem : OutputProblem
        The problem.
    start : State or None
        The optimum at the start; None if there is none.
    kink, slope : ndarray of shape (n,)
        The partition at the start; after `walk`, at the end.
    """

    def __init__(self, problem, start, kink, slope):
        self.problem = problem
        self.state = start
        self.kink, self.slope = kink, slope

    @property
    def theta(self):
        """Current parameters, (D,)."""
        return self.state.theta

    def end(self):
        """Return the state at the end if no row changes its place, or None."""
        target = np.zeros(len(self.kink))
        return self.problem.answer(self.problem.s, target, self.kink, self.slope)

    def walk(self):
        """Go to the end of the path and return whether it was reached."""
        for _ in range(_MAX_EVENTS):
            if self.state is None:
                return False
            end = self.end()
            if end is None:
                if not self._catch_intercept():
                    return False
                continue
            broken = self.broken(end)
            if not broken.any():
                self.arrive(end)
                return True
            self._to_first(broken, end)
        return False

    def arrive(self, end):
        """Take the state at the end of the path, where no condition is violated.

        If the dual coefficients of all margin vectors are at a bound, these vectors determine
        no intercept. Then the intercept is the middle of its interval.
        """
        self.state, problem = end, self.problem
        self.kink, self.slope = problem.place_weightless(self.kink, self.slope, end.eta)
        held = np.flatnonzero(self.kink >= 0)
        if not (held.size and problem.free_intercept):
            return
        room = problem.conditions(end, self.kink, self.slope)[:, held]
        if np.any(room.min(axis=0) > _SLACK * problem.s[held]):
            return
        side = room.argmin(axis=0)
        kink, slope = self.kink.copy(), self.slope.copy()
        slope[held] = problem.slopes[held, self.kink[held] + side]
        kink[held] = -1
        loose = problem.answer(end.s, end.shift, kink, slope)
        if loose is not None and not self.broken(loose, kink, slope).any():
            self.state, self.kink, self.slope = loose, kink, slope

    @property
    def width(self):
        """Width of the interval of optimal intercepts, 0 if there is a single one."""
        problem, state = self.problem, self.state
        if state is None or not problem.free_intercept or np.any(self.kink >= 0):
            return 0.0
        low, high = problem.interval(state.eta - state.shift, state.s, self.slope)
        return float(high - low)

    def broken(self, end, kink=None, slope=None):
        """Return which conditions would be violated at the end, (2, n) bool."""
        kink, slope = (self.kink, self.slope) if kink is None else (kink, slope)
        after = self.problem.conditions(end, kink, slope)
        weights = np.maximum(self.state.s, end.s)
        size = np.where(kink >= 0, weights, np.maximum(1.0, np.abs(end.eta)))
        return (after < -_SLACK * size) & self.problem.matters(weights)

    def _to_first(self, broken, end):
        """Go to the first violation and move its row."""
        problem = self.problem
        before = np.maximum(problem.conditions(self.state, self.kink, self.slope), 0.0)
        after = problem.conditions(end, self.kink, self.slope)
        share = np.full(before.shape, np.inf)
        share[broken] = before[broken] / (before[broken] - after[broken])
        side, row = np.unravel_index(np.argmin(share), share.shape)
        self.state = self.state.towards(end, share[side, row])
        self.kink, self.slope = problem.moved(self.kink, self.slope, row, side)

    def _catch_intercept(self):
        """If no margin vector determines a free intercept, move it until a row can.

        All predictions move with the intercept until a row meets a kink: upwards if dual
        coefficients must fall for their balance, otherwise downwards.
        """
        problem, state = self.problem, self.state
        ahead = -problem.s * self.slope
        if np.any((self.kink >= 0) & (problem.s > 0)) or not problem.free_intercept:
            return False
        side = int(ahead.sum() > 0)
        room = problem.conditions(state, self.kink, self.slope)[side]
        room = np.where(problem.matters(problem.s), np.maximum(room, 0.0), np.inf)
        row = int(np.argmin(room))
        if not np.isfinite(room[row]):
            return False
        jump = room[row] if side else -room[row]
        theta = state.theta.copy()
        theta[-1] += jump
        self.state = State(state.s, state.shift, state.beta, state.eta + jump, theta)
        self.kink, self.slope = problem.moved(self.kink, self.slope, row, side)
        return True


def _weights(objective, k):
    """Return s_i in output k, (n,); outputs may share one column of weights."""
    s = objective.row_weight
    return s[:, min(k, s.shape[1] - 1)]


def _solve_symmetric(P, sides):
    """Return P^-1 sides; the least-norm solution if rows are repeated."""
    size = 1.0 / np.sqrt(np.where(P.diagonal() > 0, P.diagonal(), 1.0))
    scaled = P * size[:, None] * size
    try:
        factor = linalg.cho_factor(scaled, lower=True, overwrite_a=False)
        if factor[0].diagonal().min() > 1e-7:
            return linalg.cho_solve(factor, sides * size[:, None]) * size[:, None]
    except linalg.LinAlgError:
        pass
    return linalg.lstsq(scaled, sides * size[:, None], cond=1e-12)[0] * size[:, None]
