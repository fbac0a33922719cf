"""Optima of support vector machines with the hinge, beside those of `_optima`."""

import warnings

import numpy as np
from scipy.linalg import lstsq
from sklearn.svm import SVC, SVR

from benchmarks._optima import NoOptimumError

__all__ = ["Vectors"]


class Vectors:
    """SVC and SVR: libsvm's solution, its active set solved again and checked.

    theta = (beta of all rows, intercept), f = K beta + intercept.
    """

    def __init__(self, X, y, weight, kernel, *, C, epsilon=None):
        self.X, self.y, self.weight, self.kernel = X, y.astype(float), weight, kernel
        self.K, self.C, self.epsilon = kernel(X, X), C, epsilon

    def solve(self, weight=None, start=None):
        w = self.weight if weight is None else weight
        kept = np.flatnonzero(w > 0)
        K, y, bound = self.K[np.ix_(kept, kept)], self.y[kept], self.C * w[kept]
        unit = max(np.abs(K).max(), 1e-300)
        how = {"kernel": "precomputed", "tol": 1e-7, "max_iter": 30_000, "shrinking": False}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if self.epsilon is None:
                libsvm = SVC(C=self.C * unit, **how).fit(K / unit, y, w[kept])
            else:
                libsvm = SVR(C=self.C * unit, epsilon=self.epsilon, **how).fit(
                    K / unit, y, w[kept]
                )
        beta = np.zeros(len(kept))
        beta[libsvm.support_] = libsvm.dual_coef_[0] / unit
        theta = np.zeros(len(w) + 1)
        theta[kept], theta[-1], sets = self._polish(K, y, bound, beta, libsvm.intercept_[0])
        self.sets = np.zeros(len(w), int)
        self.sets[kept] = sets
        self.weights = w
        return theta

    def _kinks(self, y, side):
        """Return the value of f at the kink on which a row lies, by the sign of beta."""
        return y if self.epsilon is None else y - side * self.epsilon

    def _polish(self, K, y, bound, beta, intercept):
        """Return (beta, intercept, sets); sets: 0 free of force, 1 on a margin, 2 bound."""
        sign = np.sign(beta)
        sets = np.where(
            np.abs(beta) <= 1e-8 * bound, 0, np.where(np.abs(beta) >= (1 - 1e-8) * bound, 2, 1)
        )
        for _ in range(60):
            margin = np.flatnonzero(sets == 1)
            if not len(margin):
                raise NoOptimumError("no row on a margin: the intercept is an interval")
            beta = np.where(sets == 2, sign * bound, 0.0)
            m = len(margin)
            system = np.zeros((m + 1, m + 1))
            system[:m, :m], system[:m, m], system[m, :m] = K[np.ix_(margin, margin)], 1, 1
            right = np.append(self._kinks(y, sign)[margin] - K[margin] @ beta, -beta.sum())
            unit = np.append(1 / np.sqrt(np.maximum(K[margin, margin], 1e-300)), 1.0)
            # scale rows and columns; the border keeps its own unit
            unit[-1] = np.median(1 / unit[:-1])
            scaled = unit[:, None] * system * unit
            solution, _, rank, _ = lstsq(scaled, unit * right, cond=1e-14)
            if rank < m + 1:
                raise NoOptimumError("dependent rows on the margins")
            for _ in range(3):
                solution += lstsq(scaled, unit * right - scaled @ solution, cond=1e-14)[0]
            solution *= unit
            beta[margin], intercept = solution[:m], solution[m]
            f = K @ beta + intercept
            tol_f = 1e-9 * max(np.abs(f).max(), np.abs(y).max())
            low = (sets == 1) & (beta * sign < -1e-12 * bound)
            high = (sets == 1) & (beta * sign > bound * (1 + 1e-12))
            if self.epsilon is None:
                short = 1 - y * f
                inside, beyond = (sets == 0) & (short > tol_f), (sets == 2) & (short < -tol_f)
                side = np.sign(y)
            else:
                r = y - f
                inside = (sets == 0) & (np.abs(r) > self.epsilon + tol_f)
                beyond = (sets == 2) & (sign * r < self.epsilon - tol_f)
                side = np.sign(r)
            if not (low | high | inside | beyond).any():
                return beta, intercept, sets
            sets = np.where(low, 0, np.where(high, 2, np.where(inside | beyond, 1, sets)))
            sign = np.where(inside, side, sign)
        raise NoOptimumError("libsvm stopped far from the optimum")

    def influence(self, theta, i):
        direction = np.zeros_like(theta)
        if self.sets[i] != 2:
            return direction
        margin = np.flatnonzero(self.sets == 1)
        move = self.C * np.sign(theta[i])
        m = len(margin)
        system = np.zeros((m + 1, m + 1))
        system[:m, :m], system[:m, m], system[m, :m] = self.K[np.ix_(margin, margin)], 1, 1
        right = -move * np.append(self.K[margin, i], 1.0)
        unit = np.append(1 / np.sqrt(np.maximum(self.K[margin, margin], 1e-300)), 1.0)
        unit[-1] = np.median(1 / unit[:-1])
        solution = unit * lstsq(unit[:, None] * system * unit, unit * right, cond=1e-14)[0]
        direction[margin], direction[-1] = solution[:m], solution[m]
        direction[i] = move
        return direction

    def loss(self, theta, X, y):
        f = self.kernel(X, self.X) @ theta[:-1] + theta[-1]
        if self.epsilon is None:
            return np.maximum(0, 1 - y * f)
        return np.maximum(0, np.abs(y - f) - self.epsilon)

    def loss_along(self, theta, direction, X, y):
        k = self.kernel(X, self.X)
        f, df = k @ theta[:-1] + theta[-1], k @ direction[:-1] + direction[-1]
        if self.epsilon is None:
            return np.where(1 - y * f > 0, -y * df, 0.0)
        r = y - f
        return np.where(np.abs(r) > self.epsilon, -np.sign(r) * df, 0.0)
