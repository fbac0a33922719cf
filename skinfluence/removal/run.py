"""Iterate a stack of groups, or of vectors of weights, while the steps contract."""

import numpy as np

from skinfluence.kinks import largest_share
from skinfluence.namespaces import to_host
from skinfluence.removal.stack import LOST, finite

# A step has to reduce the decrement by this factor to count as a contraction.
_CONTRACTION = 0.5
_MAX_ITER = 40


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
                there = active[done]
                length = self.first[there] / (1.0 - self.slowest[there])
                done[done] = _holds(part.take(done), self.theta[there], length)
            self.converged[active[done]] = True
            active = active[goes_on]
            part = part.take(goes_on)
        return np.flatnonzero(self.converged)


def _holds(stack, theta, length):
    """Return for which groups the Hessian still holds at theta (b, K, D), (b,) bool.

    If rows that crossed a kink owned much of the curvature along some direction, a small
    decrement says nothing about the distance to the optimum along it, see `kinks`.
    """
    objective = stack.base.point.objective
    group, row, root = stack.fallen(theta, length)
    design, places = objective.design_of(row)
    order = np.argsort(group, kind="stable")
    lost = np.zeros(len(stack))
    for mine in np.split(order, np.flatnonzero(np.diff(group[order])) + 1) if len(row) else ():
        g = group[mine[0]]
        solve, growth = stack.inverse_of(g)
        share = largest_share(objective, design.take(places[mine]), root[mine], solve)
        lost[g] = growth * share
    return lost <= LOST
