"""Iterate a stack of groups, or of vectors of weights, while the steps contract."""

import numpy as np

from skinfluence.kinks import largest_share
from skinfluence.namespaces import to_host
from skinfluence.optimum import Secants
from skinfluence.removal.stack import LOST, finite

# A step has to reduce the decrement by this factor to count as a contraction.
_CONTRACTION = 0.5
_MAX_ITER = 40
# Steps that contract more need no update of the inverse Hessian by secants.
_SWIFT = 0.02
# With secants a step may make the decrement larger, by up to this factor, if the one before
# contracted: it went too far, and its secant leads back.
_FARTHER = 2.0


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

    def iterate(
        self,
        active,
        gradients_of,
        tol,
        floor,
        contraction=_CONTRACTION,
        least=0,
        with_secants=False,
    ):
        """Take steps for the active groups while they contract; return the converged groups.

        A decrement d after a decrement c shows a contraction by d/c, so the next step leaves
        d^2/c. If the curvature jumps this does not hold, and d itself must be small, in the
        metric of a Hessian that holds there. A decrement below the floor that no longer falls
        is rounding. Both count only after `least` contractions.

        With secants, steps that contract slowly update the inverse Hessian of their group, see
        `_SecantSteps`.
        """
        objective = self.stack.base.point.objective
        jumps = objective.formulation.loss.has_kinks
        part = self.stack.take(active)
        steps = _Steps(part)
        if with_secants and not jumps:
            steps = _SecantSteps(part, self.theta[active] - self.stack.base.theta)
        for _ in range(_MAX_ITER):
            if not len(active):
                break
            residual = gradients_of(part, self.theta[active])
            step, slope, decrement, ratio = steps.after(residual, self.last[active])
            # If a step points uphill, rounding has changed the sign of H - H_A or the residual
            # is only rounding. A step would amplify it along directions in which H is flat.
            rounding = self.stack.rounding[active]
            downhill = (slope <= 0) & (decrement > rounding)
            contracts = (ratio <= contraction) & downhill
            slowest = np.maximum(self.slowest[active], steps.slowest)
            ahead = decrement if jumps else decrement * steps.next_ratio(ratio, slowest)
            done = contracts & (ahead <= tol * self.first[active])
            done |= ~contracts & (decrement <= np.maximum(floor[active], rounding))
            done &= self.taken[active] >= least
            accepted = steps.accept(ratio, contracts, downhill & ~done)
            self.ratio[active] = ratio
            moved = active[accepted]
            self.theta[moved] += step[accepted]
            arrived = self.theta[moved]
            part.take(accepted).release(arrived)
            self.theta[moved], self.step[moved] = arrived, step[accepted]
            self.last[moved] = decrement[accepted]
            # After a step that did not contract, two others have to.
            self.taken[moved] = np.where(contracts[accepted], self.taken[moved] + 1, least - 1)
            self.slowest[moved] = slowest[accepted]
            goes_on = accepted & ~done
            if jumps and done.any():
                there = active[done]
                length = self.first[there] / (1.0 - self.slowest[there])
                done[done] = _holds(part.take(done), self.theta[there], length)
            self.converged[active[done]] = True
            active, part = active[goes_on], part.take(goes_on)
            steps.take(goes_on, part)
        return np.flatnonzero(self.converged)


class _Steps:
    """Steps of a stack with its inverse Hessian at the base point.

    Attributes
    ----------
    slowest : ndarray of shape (b,)
        Largest ratio that `after` has seen in its last call.
    """

    def __init__(self, stack):
        self.stack = stack

    def after(self, residual, last):
        """Return the steps for gradients (b, K, D), slopes, decrements, ratios to `last`."""
        found = self.step(self.stack.inverse_times, residual, last)
        self.slowest = found[3]
        return found

    def step(self, inverse, residual, last):
        """Return the same with the function that maps V to H^-1 V."""
        step = -inverse(residual)
        with np.errstate(invalid="ignore"):
            slope = to_host(np.einsum("bkd,bkd->b", residual, self.stack.readings(step)))
            decrement = np.sqrt(np.abs(slope))
        ratio = np.divide(decrement, last, out=np.zeros_like(last), where=last > 0)
        return step, slope, decrement, ratio

    def next_ratio(self, ratio, slowest):
        """Return how much the next step is taken to contract, given the last and slowest."""
        return ratio

    def accept(self, ratio, contracts, may):
        """Return which steps are taken: those that contract, and some that `may` be."""
        return contracts

    def take(self, chosen, stack):
        """Go on with some of the groups and their stack."""
        self.stack = stack


class _SecantSteps(_Steps):
    """Steps whose inverse Hessian learns from steps that contract slowly.

    A secant may take away the slow part of the error in one step, and only that, so the next
    step is taken to contract as the slowest one.

    Parameters
    ----------
    stack : Stack
        The groups.
    first : ndarray of shape (b, K, D)
        The steps from the base point that led to the present parameters.
    """

    def __init__(self, stack, first):
        super().__init__(stack)
        self.secants = Secants(stack.inverse_times, stack.readings)
        self.before, self.gradient = first, None
        self.farther = np.zeros(len(stack), dtype=bool)

    def after(self, residual, last):
        found = self.step(self.secants.solve, residual, last)
        self.slowest = found[3]
        slow = ~(self.slowest <= _SWIFT)
        if slow.any():
            known = self.stack.first_gradients if self.gradient is None else self.gradient
            # A step of 0 updates nothing: no group depends on others.
            before = np.where(slow[:, None, None], self.before, 0.0)
            self.secants.add(before, residual - known)
            found = self.step(self.secants.solve, residual, last)
            self.slowest = np.maximum(self.slowest, found[3])
        self.before, self.gradient = found[0], residual
        return found

    def next_ratio(self, ratio, slowest):
        return slowest

    def accept(self, ratio, contracts, may):
        accepted = contracts | (may & (ratio <= _FARTHER) & ~self.farther)
        self.farther = ~contracts
        return accepted

    def take(self, chosen, stack):
        super().take(chosen, stack)
        self.secants = self.secants.take(chosen, stack.inverse_times)
        self.before, self.gradient = self.before[chosen], self.gradient[chosen]
        self.farther = self.farther[chosen]


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
