"""Iterate a stack of groups, or of vectors of weights, while the steps contract."""

import numpy as np

from skinfluence.blocks import row_blocks
from skinfluence.namespaces import to_host
from skinfluence.removal.stack import finite

__all__ = ["Run"]

# A step has to reduce the decrement by this factor to count as a contraction.
_CONTRACTION = 0.5
_MAX_ITER = 40
# Rows that lose more than this share of the curvature in some direction change the Hessian.
_LOST = 0.25
# Largest number of columns for which an eigenvalue tells the share.
_LARGEST = 500


class Run:
    """The state of an iteration over a stack; every array has one entry for each group.

    Parameters
    ----------
    stack : Stack or WeightedStack
        The groups, or the vectors of weights.
    theta, first : ndarray or None, default=None
        Starting parameters and the decrement of the step before; None for one Newton step.

    Attributes
    ----------
    theta : ndarray of shape (b, K, D)
        Current parameters of each group.
    first, last : ndarray of shape (b,)
        Decrements of the first and the most recent step.
    ratio : ndarray of shape (b,)
        Decrement at the current parameters over the one before; NaN before `iterate`.
    slowest : ndarray of shape (b,)
        Largest ratio between two consecutive decrements that led to a step.
    step : ndarray of shape (b, K, D)
        The last step that was taken.
    taken : ndarray of shape (b,)
        Number of steps that contracted.
    converged : ndarray of shape (b,)
        Whether each group has converged.
    started : ndarray
        Indices of the groups whose Newton step is finite.
    """

    def __init__(self, stack, theta=None, first=None):
        self.stack = stack
        self.theta, self.first = stack.newton() if theta is None else (theta, first)
        self.last, self.slowest = self.first.copy(), np.zeros(len(stack))
        self.ratio, self.step = np.full(len(stack), np.nan), np.zeros_like(self.theta)
        self.taken = np.zeros(len(stack), dtype=np.intp)
        self.converged = np.zeros(len(stack), dtype=bool)
        self.started = np.flatnonzero(finite(self.theta) & np.isfinite(self.first))

    def iterate(self, active, gradients_of, tol, floor, contraction=_CONTRACTION, least=0):
        """Take steps for the active groups while they contract; return the converged groups.

        A decrement d after a decrement c shows a contraction by d/c, so the next step leaves
        d^2/c. If the curvature jumps this does not hold, and d itself must be small, in the
        metric of a Hessian that holds there. A decrement below the floor that no longer falls
        is rounding. Both count only after `least` contractions.
        """
        objective = self.stack.base.point.objective
        jumps = objective.formulation.loss.has_kinks
        part = self.stack.take(active)
        for _ in range(_MAX_ITER):
            if not len(active):
                break
            rounding = self.stack.rounding[active]
            residual = gradients_of(part, self.theta[active])
            step = -part.update.correct(part.solve(residual))
            with np.errstate(invalid="ignore"):
                slope = to_host(np.einsum("bkd,bkd->b", residual, part.readings(step)))
                decrement = np.sqrt(np.abs(slope))
            last = self.last[active]
            ratio = np.divide(decrement, last, out=np.zeros_like(last), where=last > 0)
            # If a step points uphill, rounding has changed the sign of H - H_A or the residual
            # is only rounding. A step would amplify it along directions in which H is flat.
            contracts = (ratio <= contraction) & (slope <= 0) & (decrement > rounding)
            self.ratio[active] = ratio
            slowest = np.maximum(self.slowest[active], ratio)
            ahead = decrement if jumps else decrement * ratio
            done = contracts & (ahead <= tol * self.first[active])
            done |= ~contracts & (decrement <= np.maximum(floor[active], rounding))
            done &= self.taken[active] >= least
            moved = active[contracts]
            self.theta[moved] += step[contracts]
            arrived = self.theta[moved]
            part.take(contracts).release(arrived)
            self.theta[moved], self.step[moved] = arrived, step[contracts]
            self.last[moved] = decrement[contracts]
            self.taken[moved] += 1
            self.slowest[moved] = slowest[contracts]
            goes_on = contracts & ~done
            if jumps and done.any():
                done[done] = _holds(part.take(done), self.theta[active[done]])
            self.converged[active[done]] = True
            active = active[goes_on]
            part = part.take(goes_on)
        return np.flatnonzero(self.converged)


def _holds(stack, theta):
    """Return for which groups the Hessian still holds at theta (b, K, D), (b,) bool.

    Rows that cross a kink may own nearly all the curvature along some direction. A small
    decrement then says nothing about the distance to the optimum in that direction. The sum
    of their leverages bounds the share of the curvature that is lost in any direction. If the
    bound is too large, the share itself decides.
    """
    group, curvature, x = stack.fallen(theta)
    lost = np.zeros(len(stack))
    _, K, D = theta.shape
    for rows in row_blocks(len(group), 8 * 8 * K * D):
        for k in np.flatnonzero(curvature[rows].any(axis=0)):
            solved = _solve(stack.take(group[rows]), x[rows], k)
            leverage = curvature[rows, k] * np.sum(x[rows] * solved, axis=1)
            np.add.at(lost, group[rows], leverage)
    for g in np.flatnonzero(lost > _LOST) if D <= _LARGEST else ():
        rows = np.flatnonzero(group == g)
        lost[g] = max(_share(stack, g, curvature[rows, k], x[rows], k) for k in range(K))
    return lost <= _LOST


def _share(stack, group, curvature, x, k):
    """Return the largest share of a group's curvature that rows own along any direction.

    It is the largest eigenvalue of H^-1 sum_j c_j x_j x_j' in output k.
    """
    gram = (x * curvature[:, None]).T @ x
    product = _solve(stack.take(np.full(len(gram), group)), gram, k)
    return float(np.linalg.eigvals(product).real.max())


def _solve(stack, x, k):
    """Return output k of H^-1 x for rows x (b, D), one for each group of a stack."""
    theta = stack.base.theta
    V = np.zeros((len(x), *theta.shape), like=theta)
    V[:, k] = np.asarray(x, like=theta)
    return to_host(stack.readings(stack.update.correct(stack.solve(V)))[:, k])
