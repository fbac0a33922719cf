"""Optima of the objectives that scikit-learn documents, written without this package.

An oracle for `benchmarks.stress`. Objectives are summed in extended precision, in
coordinates of centred features of unit size, so that no unit of a feature and no solver of
scikit-learn limits how near the optimum is. Each class has

- ``solve(weight, start=None)``: the parameters at the optimum for those sample weights;
- ``influence(theta, i)``: d theta/d w_i at the optimum, for the weights last solved for;
- ``loss(theta, X, y)`` and ``loss_gradient(theta, X, y)``: the plain loss of queries.
"""

import numpy as np
from sklearn.base import clone

__all__ = ["LOSSES", "Huber", "Kernel", "NoOptimumError", "Refits", "Smooth", "Sparse"]

LONG = np.longdouble


class NoOptimumError(Exception):
    """The optimum was not reached, or is not unique: nothing to compare with."""


# Losses of one row: (value, gradient, curvature) in eta (n, K), (n,), (n, K), (n, K, K).


def _square(y, eta, factor):
    r = eta - y
    curvature = np.broadcast_to(
        2 * factor * np.eye(eta.shape[1], dtype=LONG), (len(y), *2 * eta.shape[1:])
    )
    return factor * (r**2).sum(axis=1), 2 * factor * r, curvature


def squared(y, eta):
    return _square(y, eta, LONG(1))


def half_squared(y, eta):
    return _square(y, eta, LONG(0.5))


def logistic(y, eta):
    m = y * eta
    p = np.exp(-np.logaddexp(LONG(0), m))  # 1/(1 + e^m)
    return (
        np.logaddexp(LONG(0), -m)[:, 0],
        -y * p,
        (p * np.exp(-np.logaddexp(LONG(0), -m)))[:, :, None],
    )


def softmax(y, eta):
    one = np.eye(eta.shape[1], dtype=LONG)
    codes = y[:, 0].astype(int)
    margins = eta - eta[np.arange(len(eta)), codes][:, None]
    others = np.where(one[codes] == 1, -np.inf, margins)
    top = others.max(axis=1)
    tail = top + np.log(np.exp(others - top[:, None]).sum(axis=1))
    p = np.exp(margins - np.logaddexp(LONG(0), tail)[:, None])
    rest = np.exp(tail - np.logaddexp(LONG(0), tail))  # 1 - p_y without cancellation
    gradient = np.where(one[codes] == 1, -rest[:, None], p)
    complement = np.where(one[codes] == 1, rest[:, None], 1 - p)
    curvature = -p[:, :, None] * p[:, None, :]
    index = np.arange(eta.shape[1])
    curvature[:, index, index] = p * complement
    return np.logaddexp(LONG(0), tail), gradient, curvature


def squared_hinge(y, eta):
    short = np.maximum(0, 1 - y * eta)
    return (short**2)[:, 0], -2 * y * short, np.where(short > 0, LONG(2), LONG(0))[:, :, None]


def squared_tube(epsilon):
    def loss(y, eta):
        r = eta - y
        out = np.sign(r) * np.maximum(0, np.abs(r) - epsilon)
        return (out**2)[:, 0], 2 * out, np.where(out != 0, LONG(2), LONG(0))[:, :, None]

    return loss


def tweedie(power):
    """Half the Tweedie deviance, log link; power 1 Poisson, 2 Gamma."""

    def loss(y, eta):
        with np.errstate(over="ignore", invalid="ignore"):
            mu = np.exp(eta)
            if power == 1:
                log = np.log(np.where(y > 0, y, LONG(1)))
                return (y * (log - eta) - y + mu)[:, 0], mu - y, mu[:, :, None]
            if power == 2:
                value = y / mu - 1 - np.log(y) + eta
                return value[:, 0], 1 - y / mu, (y / mu)[:, :, None]
            p = LONG(power)
            a, b = np.exp((1 - p) * eta), np.exp((2 - p) * eta)
            value = y ** (2 - p) / ((1 - p) * (2 - p)) - y * a / (1 - p) + b / (2 - p)
            return value[:, 0], b - y * a, ((2 - p) * b - (1 - p) * y * a)[:, :, None]

    return loss


LOSSES = {
    "squared": squared,
    "half squared": half_squared,
    "logistic": logistic,
    "softmax": softmax,
    "squared hinge": squared_hinge,
}


class _Linear:
    """Coordinates z = (centred features of unit size, 1) and a quadratic penalty."""

    def __init__(self, X, y, weight, *, pen, pen_intercept=0.0, mean=None):
        X = X.astype(LONG)
        self.weight = weight.astype(LONG)
        self.centre = X.mean(axis=0)
        self.size = X.std(axis=0)
        self.size[self.size == 0] = 1
        self.y = y.astype(LONG).reshape(len(X), -1)
        self.Z = self._coordinates(X)
        d = X.shape[1]
        P = np.zeros((d + 1, d + 1), LONG)
        P[np.arange(d), np.arange(d)] = LONG(pen) / self.size**2
        b = np.append(-self.centre / self.size, LONG(1))
        self.P = P + LONG(pen_intercept) * np.outer(b, b)
        self.mean = mean  # the penalty is multiplied by the sum of the weights, or by 1

    def _coordinates(self, X):
        Z = (X.astype(LONG) - self.centre) / self.size
        return np.column_stack([Z, np.ones(len(X), LONG)])

    def _factor(self, weight):
        return weight.sum() if self.mean else LONG(1)


class Smooth(_Linear):
    """sum_i w_i c_i l(y_i, eta_i) + factor/2 coef' P coef; theta of shape (D, K)."""

    def __init__(
        self, X, y, weight, loss, *, n_outputs=1, class_weight=None, scale=1.0, **penalty
    ):
        super().__init__(X, y, weight, **penalty)
        self.raw, self.K, self.scale = loss, n_outputs, LONG(scale)

    def start(self):
        return np.zeros((self.Z.shape[1], self.K), LONG)

    def value(self, theta, weight):
        rows = self.raw(self.y, self.Z @ theta)[0]
        total = (
            self.scale * weight @ rows
            + self._factor(weight) / 2 * (theta * (self.P @ theta)).sum()
        )
        return total if np.isfinite(total) else LONG(np.inf)

    def gradient(self, theta, weight):
        g = self.raw(self.y, self.Z @ theta)[1]
        return (
            self.scale * self.Z.T @ (weight[:, None] * g)
            + self._factor(weight) * self.P @ theta
        )

    def hessian(self, theta, weight):
        h = self.scale * weight[:, None, None] * self.raw(self.y, self.Z @ theta)[2]
        D, K = theta.shape
        H = np.einsum("ni,nkl,nj->ikjl", self.Z, h, self.Z)
        H += self._factor(weight) * np.einsum("ij,kl->ikjl", self.P, np.eye(K, dtype=LONG))
        return H.reshape(D * K, D * K)

    def gauge(self):
        """Return directions along which nothing changes, (m, D, K)."""
        if self.raw is not softmax:
            return np.zeros((0, self.Z.shape[1], self.K))
        null = np.zeros((1, self.Z.shape[1], self.K))
        null[0, -1] = 1
        return null

    def step(self, theta, weight, right):
        """Return H^-1 right, refined in extended precision."""
        H = self.hessian(theta, weight)
        for null in self.gauge():
            H = H + H.diagonal().max() * np.outer(null.ravel(), null.ravel())
        return _solve(H, right.ravel()).reshape(right.shape)

    def admissible(self, theta):
        return True

    def solve(self, weight=None, start=None):
        weight = self.weight if weight is None else weight.astype(LONG)
        theta = self.start() if start is None else start.copy()
        value, small = self.value(theta, weight), 0
        for _ in range(500):
            gradient = self.gradient(theta, weight)
            step = -self.step(theta, weight, gradient)
            slope = (gradient * step).sum()
            if not np.isfinite(slope) or slope > 0:
                break
            if -slope <= LONG(1e-30) * abs(value) or small >= 2:
                self.at, self.weights = theta, weight
                return theta
            t, moved = LONG(1), False
            for _ in range(60):
                trial = theta + t * step
                new = self.value(trial, weight) if self.admissible(trial) else np.inf
                if new <= value + LONG(1e-4) * t * slope + LONG(1e-18) * abs(value):
                    moved = True
                    break
                t /= 2
            if not moved:
                small = 2 if -slope <= LONG(1e-20) * abs(value) else small
                if small < 2:
                    break
                continue
            small += -slope <= LONG(1e-24) * abs(value)
            theta, value = trial, new
        raise NoOptimumError("Newton's method did not arrive")

    def row_gradient(self, theta, i):
        g = self.raw(self.y[i : i + 1], self.Z[i : i + 1] @ theta)[1]
        row = self.scale * np.outer(self.Z[i], g[0])
        return row + self.P @ theta if self.mean else row

    def influence(self, theta, i):
        return -self.step(theta, self.weights, self.row_gradient(theta, i))

    def loss(self, theta, X, y):
        return self.raw(y.astype(LONG).reshape(len(X), -1), self._coordinates(X) @ theta)[0]

    def loss_along(self, theta, direction, X, y):
        """Return the derivative of the queries' losses along a direction."""
        Z = self._coordinates(X)
        g = self.raw(y.astype(LONG).reshape(len(X), -1), Z @ theta)[1]
        return (g * (Z @ direction)).sum(axis=1)


def _solve(H, right):
    """Return H^-1 right in extended precision: float64 factors, residuals refined."""
    d = 1 / np.sqrt(np.where(H.diagonal() > 0, H.diagonal(), 1))
    scaled, b = d[:, None] * H * d, d * right
    values, vectors = np.linalg.eigh(scaled.astype(float))
    values = np.maximum(values, 1e-17 * values[-1])
    x = np.zeros_like(b)
    for _ in range(6):
        residual = (b - scaled @ x).astype(float)
        x = x + vectors @ ((vectors.T @ residual) / values)
    return d * x


class Huber(Smooth):
    """sum_i w_i (sigma + H((y - eta)/sigma) sigma) + alpha coef'coef; theta (D + 1, 1)."""

    def __init__(self, X, y, weight, epsilon, *, pen):
        super().__init__(X, y, weight, None, pen=pen)
        self.epsilon = LONG(epsilon)

    def start(self):
        theta = np.zeros((self.Z.shape[1] + 1, 1), LONG)
        theta[-2], theta[-1] = np.median(self.y), max(self.y.std(), LONG(1e-3))
        return theta

    def admissible(self, theta):
        return theta[-1, 0] > 0

    def _rows(self, theta, Z, y):
        """Return loss, u = r/sigma and whether inside."""
        sigma = theta[-1, 0]
        u = (y[:, 0] - (Z @ theta[:-1])[:, 0]) / sigma
        inside = np.abs(u) < self.epsilon
        H = np.where(inside, u**2, 2 * self.epsilon * np.abs(u) - self.epsilon**2)
        return sigma + H * sigma, u, inside

    def value(self, theta, weight):
        coef = theta[:-1]
        return (
            weight @ self._rows(theta, self.Z, self.y)[0] + (coef * (self.P @ coef)).sum() / 2
        )

    def _row_gradients(self, theta, Z, y):
        _, u, inside = self._rows(theta, Z, y)
        in_eta = np.where(inside, -2 * u, -2 * self.epsilon * np.sign(u))
        in_sigma = 1 - np.where(inside, u**2, self.epsilon**2)
        return np.column_stack([in_eta[:, None] * Z, in_sigma])

    def gradient(self, theta, weight):
        g = weight @ self._row_gradients(theta, self.Z, self.y)
        g[:-1] += (self.P @ theta[:-1])[:, 0]
        return g[:, None]

    def hessian(self, theta, weight):
        _, u, inside = self._rows(theta, self.Z, self.y)
        d = np.column_stack([self.Z, u])
        H = 2 / theta[-1, 0] * (d * (weight * inside)[:, None]).T @ d
        H[:-1, :-1] += self.P
        return H

    def gauge(self):
        return ()

    def row_gradient(self, theta, i):
        return self._row_gradients(theta, self.Z[i : i + 1], self.y[i : i + 1])[0][:, None]

    def loss(self, theta, X, y):
        return self._rows(theta, self._coordinates(X), y.astype(LONG).reshape(-1, 1))[0]

    def loss_along(self, theta, direction, X, y):
        y = y.astype(LONG).reshape(-1, 1)
        return self._row_gradients(theta, self._coordinates(X), y) @ direction[:, 0]


class Sparse(_Linear):
    """S (1/(2S) sum_i w_i r_i^2 + l1 |coef|_1 + l2/2 coef'coef); theta (D,)."""

    def __init__(self, X, y, weight, *, l1, l2):
        super().__init__(X, y, weight, pen=l2, mean=True)
        self.l1 = np.append(LONG(l1) / self.size, 0)

    def solve(self, weight=None, start=None):
        w = self.weight if weight is None else weight.astype(LONG)
        H = (self.Z * w[:, None]).T @ self.Z + w.sum() * self.P
        b, cut = self.Z.T @ (w * self.y[:, 0]), w.sum() * self.l1
        theta = np.zeros(len(b), LONG) if start is None else start.copy()
        for sweep in range(3000):
            for j in range(len(b)):
                r = b[j] - H[j] @ theta + H[j, j] * theta[j]
                theta[j] = np.sign(r) * max(abs(r) - cut[j], 0) / H[j, j]
            if sweep % 10 == 9:
                found = self._on_support(H, b, cut, theta)
                if found is not None:
                    self.H, self.weights = H, w
                    return found
        raise NoOptimumError("no support was found")

    def _on_support(self, H, b, cut, theta):
        free = (theta != 0) | (cut == 0)
        sign = np.sign(theta)
        found = np.zeros_like(theta)
        found[free] = _solve(H[np.ix_(free, free)], (b - cut * sign)[free])
        right = np.abs((b - H @ found)[~free]) <= cut[~free]
        same = (np.sign(found) == sign)[free & (cut > 0)]
        return found if right.all() and same.all() else None

    def influence(self, theta, i):
        free = (theta != 0) | (self.l1 == 0)
        r = self.y[i, 0] - self.Z[i] @ theta
        g = -self.Z[i] * r + self.P @ theta + self.l1 * np.sign(theta)
        direction = np.zeros_like(theta)
        direction[free] = -_solve(self.H[np.ix_(free, free)], g[free])
        return direction

    def loss(self, theta, X, y):
        return (y - self._coordinates(X) @ theta) ** 2 / 2

    def loss_along(self, theta, direction, X, y):
        Z = self._coordinates(X)
        return -(y - Z @ theta) * (Z @ direction)


class Kernel:
    """KernelRidge: sum_i w_i (y_i - f_i)^2 + alpha a'K a; theta = a (n,)."""

    def __init__(self, X, y, weight, kernel, *, alpha):
        self.X, self.y, self.weight = X, y.astype(LONG), weight.astype(LONG)
        self.kernel, self.alpha = kernel, LONG(alpha)
        self.K = kernel(X, X).astype(LONG)

    def _system(self, w):
        root = np.sqrt(w)
        return root[:, None] * self.K * root + self.alpha * np.eye(len(w), dtype=LONG), root

    def solve(self, weight=None, start=None):
        self.weights = w = self.weight if weight is None else weight.astype(LONG)
        A, root = self._system(w)
        a = root * _solve(A, root * self.y)
        residual = self.y - self.K @ a - self.alpha * a / np.where(w > 0, w, 1)
        if np.abs(residual[w > 0]).max() > 1e-9 * np.abs(self.y).max():
            raise NoOptimumError("singular to working precision")
        return a

    def influence(self, theta, i):
        # alpha a + W K a = W y: alpha da + W K da = e_i (y_i - f_i)
        A, root = self._system(self.weights)
        right = np.zeros(len(root), LONG)
        right[i] = (self.y[i] - self.K[i] @ theta) / root[i]
        return root * _solve(A, right)

    def loss(self, theta, X, y):
        return (y - self.kernel(X, self.X) @ theta) ** 2

    def loss_along(self, theta, direction, X, y):
        k = self.kernel(X, self.X)
        return -2 * (y - k @ theta) * (k @ direction)


class Refits:
    """Closed forms that scikit-learn solves itself: its own refits, and their differences."""

    def __init__(self, estimator, X, y, weight):
        self.estimator, self.X, self.y, self.weight = estimator, X, y, weight

    def solve(self, weight=None, start=None):
        self.weights = w = self.weight if weight is None else weight
        kept = w > 0
        return clone(self.estimator).fit(self.X[kept], self.y[kept], sample_weight=w[kept])

    def influence(self, theta, i):
        weights, step = self.weights, 1e-4 * self.weights[i]
        found = []
        for sign in (1, -1):
            moved = weights.copy()
            moved[i] += sign * step
            found.append(self.solve(moved))
        self.weights = weights
        return found[0], found[1], 2 * step

    def loss(self, theta, X, y):
        return (y - theta.predict(X)) ** 2

    def loss_along(self, theta, direction, X, y):
        up, down, width = direction
        change = (up.predict(X) - down.predict(X)) / width
        one_sided = (up.predict(X) - theta.predict(X)) / (width / 2)
        if (
            np.abs(change - one_sided).max()
            > 1e-2 * np.abs(change).max() + 1e-6 * np.abs(y).max()
        ):
            raise NoOptimumError("the rank changes with the weights")
        return -2 * (y - theta.predict(X)) * change
