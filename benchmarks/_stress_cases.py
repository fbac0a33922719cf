"""Random fits far from comfort: data, estimator, early stops, an oracle of the optimum."""

import copy
from dataclasses import dataclass, field

import numpy as np
from sklearn.base import clone
from sklearn.gaussian_process.kernels import RBF
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import (
    ElasticNet,
    GammaRegressor,
    HuberRegressor,
    Lasso,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
    SGDRegressor,
    TweedieRegressor,
)
from sklearn.svm import SVC, SVR, LinearSVC, LinearSVR

from benchmarks import _optima
from benchmarks._support_vectors import Vectors

__all__ = ["FAMILIES", "MISALIGNED", "Case", "draw", "given", "oracle_of_given"]

_QUERIES = 4
# Share of the largest prediction or target by which predictions of equal fits differ.
_ROUNDED = 1e-12


@dataclass
class Case:
    """One random fit: data, estimator, stress and the oracle of its optimum."""

    seed: int
    family: str
    settings: dict
    X: np.ndarray = field(repr=False)
    y: np.ndarray = field(repr=False)
    weight: np.ndarray | None = field(repr=False)
    queries: tuple = field(repr=False)
    estimator: object
    oracle: object = field(repr=False)
    tolerance: str
    data: str

    @property
    def oracle_weight(self):
        """The weights that `fit` was given, ones if none."""
        return np.ones(len(self.X)) if self.weight is None else self.weight


class _Draw:
    """Random numbers, data and settings of one case."""

    def __init__(self, seed, family):
        self.rng = rng = np.random.default_rng([seed, 20261124])
        self.seed, self.family = seed, family
        self.n, self.d = int(rng.integers(20, 81)), int(rng.integers(1, 7))
        Z = rng.normal(size=(self.n + _QUERIES, self.d))
        if rng.random() < 0.3:  # a few rows of high leverage
            Z *= np.sqrt(3 / rng.chisquare(3, len(Z)))[:, None]
        self.kind = str(rng.choice(["separable", "quasi", "noisy", "noisy"]))
        if self.kind == "quasi" or rng.random() < 0.15:
            Z[:, 0] = rng.random(len(Z)) < 0.2
            Z[:2, 0] = 1, 0
        self.Z = Z
        self.signal = Z @ rng.normal(size=self.d) + 0.5 * rng.normal()
        scale = {
            "one": np.ones(self.d),
            "common": np.full(self.d, 10 ** rng.uniform(-3, 6)),
            "own": 10 ** rng.uniform(-3, 6, self.d),
        }
        self.units = str(rng.choice(list(scale)))
        shift = rng.normal(size=self.d) * (
            10 ** rng.uniform(0, 3) if rng.random() < 0.4 else 0
        )
        self.shift = float(np.abs(shift).max())
        self.unit = scale[self.units]
        self.X = (Z + shift) * self.unit
        self.C = float(10 ** rng.uniform(-6, 6))
        self.tolerance = str(rng.choice(["tight", "default", "early"], p=[0.25, 0.375, 0.375]))
        self.weight = rng.uniform(0.2, 3, self.n) if rng.random() < 0.5 else None

    @property
    def w(self):
        return np.ones(self.n) if self.weight is None else self.weight

    def stop(self, max_iter, tol, tight, most=3_000):
        """Return tol and max_iter: scikit-learn's defaults, tight, or an early stop."""
        if self.tolerance == "tight":
            return {"tol": tight, "max_iter": most}
        if self.tolerance == "default":
            return {}
        loose = 10 ** self.rng.uniform(np.log10(tol), -1)
        return {
            "tol": float(max(loose, tol)),
            "max_iter": int(np.exp(self.rng.uniform(0, np.log(max_iter)))),
        }

    def labels(self, n_classes=2):
        """Return class codes of training rows and queries."""
        rng, signal = self.rng, self.signal
        if n_classes == 2:
            noise = 0 if self.kind == "separable" else rng.logistic(size=len(signal))
            raw = 2 * signal + noise
            y = (raw > np.median(raw[: self.n])).astype(int)
        else:
            raw = self.Z @ rng.normal(size=(self.d, n_classes)) * 2
            raw = raw - raw[: self.n].mean(axis=0)
            y = (raw + (self.kind != "separable") * rng.gumbel(size=raw.shape)).argmax(axis=1)
        if self.kind == "quasi":
            y[self.Z[:, 0] == 1] = 1
        for k in range(n_classes):  # three members of each class at least
            y[3 * k : 3 * k + 3] = k if (y[: self.n] == k).sum() < 3 else y[3 * k : 3 * k + 3]
        return y

    def real(self):
        """Return real targets: hardly any noise, outliers, or plain noise."""
        rng, size = self.rng, 10 ** self.rng.uniform(-1, 2)
        noise = rng.normal(size=len(self.signal))
        if self.kind == "separable":
            noise *= 1e-3
        if self.kind == "quasi":
            noise = rng.standard_t(2, size=len(noise))
        return size * (self.signal + noise) + size * rng.choice([0, 0, 10])

    def means(self):
        """Return positive means."""
        return np.exp(np.clip(self.signal / np.sqrt(self.d), -3, 3) + self.rng.uniform(-1, 2))


def _logistic(solver, liblinear=False):
    def make(case):
        y = case.labels()
        tight = {"lbfgs": 1e-12, "saga": 1e-10, "liblinear": 1e-12}.get(solver, 1e-12)
        how = case.stop(100, 1e-4, tight, 200 if solver.startswith("newton") else 3_000)
        if solver in ("saga", "liblinear"):
            how["random_state"] = 0
        estimator = LogisticRegression(C=case.C, solver=solver, **how)
        penalty = {"pen": 1 / case.C, "pen_intercept": 1 / case.C if liblinear else 0.0}
        return y, estimator, _smooth(case, 2.0 * y - 1, "logistic", **penalty)

    return make


def _multinomial(case):
    y = case.labels(3)
    solver = str(case.rng.choice(["lbfgs", "newton-cholesky", "newton-cg", "saga"]))
    how = case.stop(100, 1e-4, 1e-12, 200 if solver.startswith("newton") else 3_000)
    estimator = LogisticRegression(C=case.C, solver=solver, random_state=0, **how)
    return y, estimator, _smooth(case, y, "softmax", n_outputs=3, pen=1 / case.C)


def _ridge(case):
    y = case.real()
    solver = str(case.rng.choice(["auto", "svd", "lsqr", "sparse_cg", "sag", "saga"]))
    how = {"random_state": 0} | case.stop(1000, 1e-4, 1e-12)
    estimator = Ridge(alpha=1 / case.C, solver=solver, **how)
    return y, estimator, _smooth(case, y, "squared", pen=2 / case.C)


def _least_squares(case):
    y, estimator = case.real(), LinearRegression()
    return y, estimator, _optima.Refits(estimator, case.X[: case.n], y[: case.n], case.w)


def _ridge_classifier(case):
    n_classes = int(case.rng.choice([2, 3]))
    y = case.labels(n_classes)
    signs = 2.0 * (y[:, None] == np.arange(n_classes)) - 1
    signs = signs[:, 1:] if n_classes == 2 else signs
    solver = str(case.rng.choice(["auto", "lsqr", "saga"]))
    how = {"random_state": 0} | case.stop(1000, 1e-4, 1e-12)
    estimator = RidgeClassifier(alpha=1 / case.C, solver=solver, **how)
    return (
        y,
        estimator,
        _smooth(case, signs, "squared", n_outputs=signs.shape[1], pen=2 / case.C),
    )


def _glm(cls, power):
    def make(case):
        mu = case.means()
        rng = case.rng
        if power == 1:
            y = rng.poisson(mu).astype(float)
        else:
            y = mu * rng.gamma(2.0, 0.5, size=len(mu))
            if power < 2:
                y[rng.random(len(y)) < 0.1] = 0.0
        solver = str(rng.choice(["lbfgs", "newton-cholesky"]))
        how = case.stop(100, 1e-4, 1e-12, 200 if solver.startswith("newton") else 3_000)
        named = {"power": power} if cls is TweedieRegressor else {}
        estimator = cls(alpha=1 / case.C, solver=solver, **named, **how)
        return (
            y,
            estimator,
            _smooth(case, y, _optima.tweedie(power), pen=1 / case.C, mean=True),
        )

    return make


def _huber(case):
    y = case.real()
    if case.kind == "noisy":
        y[::9] += 8 * y.std()
    how = case.stop(100, 1e-5, 1e-10)
    estimator = HuberRegressor(alpha=1 / case.C, epsilon=1.35, **how)
    oracle = _optima.Huber(case.X[: case.n], y[: case.n], case.w, 1.35, pen=2 / case.C)
    return y, estimator, oracle


def _linear_svc(case):
    y = case.labels()
    dual = [True, False][int(case.rng.integers(2))]
    how = {"random_state": 0} | case.stop(1000, 1e-4, 1e-10)
    estimator = LinearSVC(C=case.C, dual=dual, **how)
    penalty = {"pen": 1.0, "pen_intercept": 1.0}
    return y, estimator, _smooth(case, 2.0 * y - 1, "squared hinge", scale=case.C, **penalty)


def _linear_svr(case):
    y = case.real()
    epsilon = float(0.1 * y.std())
    how = {"random_state": 0} | case.stop(1000, 1e-4, 1e-10)
    kind = {"loss": "squared_epsilon_insensitive", "dual": True}
    estimator = LinearSVR(C=case.C, epsilon=epsilon, **kind, **how)
    penalty = {"pen": 1.0, "pen_intercept": 1.0}
    return (
        y,
        estimator,
        _smooth(case, y, _optima.squared_tube(epsilon), scale=case.C, **penalty),
    )


def _sgd(cls):
    def make(case):
        classifier = cls is SGDClassifier
        y = case.labels() if classifier else case.real()
        target = 2.0 * y - 1 if classifier else y
        loss = "logistic" if classifier else "half squared"
        how = {"random_state": 0} | case.stop(1000, 1e-3, 1e-8)
        if how.get("max_iter", 0) > 1000:
            how |= {"max_iter": 2000, "learning_rate": "invscaling", "eta0": 0.01}
        named = {"loss": "log_loss"} if classifier else {}
        estimator = cls(alpha=1 / case.C, **named, **how)
        return y, estimator, _smooth(case, target, loss, pen=case.n / case.C)

    return make


def _lasso(cls):
    def make(case):
        y = case.real()
        share = 1.0 if cls is Lasso else float(case.rng.uniform(0.1, 0.9))
        # Above this every coefficient is 0.
        alpha = 1 / case.C
        named = {} if cls is Lasso else {"l1_ratio": share}
        estimator = cls(alpha=alpha, **named, **case.stop(1000, 1e-4, 1e-12))
        penalty = {"l1": alpha * share, "l2": alpha * (1 - share)}
        return y, estimator, _optima.Sparse(case.X[: case.n], y[: case.n], case.w, **penalty)

    return make


def _kernel(case):
    """Return scikit-learn's arguments of a kernel, and the kernel."""
    if case.rng.random() < 0.5:
        gamma = float(1 / (case.d * case.X.var()))
        return {"kernel": "rbf", "gamma": gamma}, RBF(np.sqrt(0.5 / gamma))
    return {"kernel": "linear"}, lambda A, B: A @ B.T


def _kernel_ridge(case):
    y = case.real()
    how, kernel = _kernel(case)
    estimator = KernelRidge(alpha=1 / case.C, **how)
    arrays = case.X[: case.n], y[: case.n], case.w
    return y, estimator, _optima.Kernel(*arrays, kernel, alpha=1 / case.C)


def _svc(case):
    y = case.labels()
    how, kernel = _kernel(case)
    estimator = SVC(C=case.C, **how, **_libsvm_stop(case))
    y = 2 * y - 1
    return (
        y,
        estimator,
        Vectors(case.X[: case.n], y[: case.n], case.w, kernel, C=case.C),
    )


def _svr(case):
    y = case.real()
    epsilon = float(0.1 * y.std())
    how, kernel = _kernel(case)
    estimator = SVR(C=case.C, epsilon=epsilon, **how, **_libsvm_stop(case))
    arrays = case.X[: case.n], y[: case.n], case.w
    return y, estimator, Vectors(*arrays, kernel, C=case.C, epsilon=epsilon)


def _libsvm_stop(case):
    how = case.stop(1000, 1e-3, 1e-8)
    return (
        {"max_iter": 200_000} | how
        if case.tolerance != "tight"
        else how | {"max_iter": 200_000}
    )


def _smooth(case, y, loss, **kwargs):
    loss = _optima.LOSSES.get(loss, loss)
    oracle = _optima.Smooth(case.X[: case.n], y[: case.n], case.w, loss, **kwargs)
    oracle.query_target = y[case.n :]
    return oracle


#: What makes (y, estimator, oracle) of a `_Draw`.
FAMILIES = {
    "LogisticRegression lbfgs": _logistic("lbfgs"),
    "LogisticRegression newton-cholesky": _logistic("newton-cholesky"),
    "LogisticRegression liblinear": _logistic("liblinear", liblinear=True),
    "LogisticRegression saga": _logistic("saga"),
    "LogisticRegression multinomial": _multinomial,
    "Ridge": _ridge,
    "LinearRegression": _least_squares,
    "RidgeClassifier": _ridge_classifier,
    "PoissonRegressor": _glm(PoissonRegressor, 1),
    "GammaRegressor": _glm(GammaRegressor, 2),
    "TweedieRegressor": _glm(TweedieRegressor, 1.5),
    "HuberRegressor": _huber,
    "LinearSVC": _linear_svc,
    "LinearSVR": _linear_svr,
    "SGDClassifier": _sgd(SGDClassifier),
    "SGDRegressor": _sgd(SGDRegressor),
    "Lasso": _lasso(Lasso),
    "ElasticNet": _lasso(ElasticNet),
    "KernelRidge": _kernel_ridge,
    "SVC": _svc,
    "SVR": _svr,
}

#: What `from_fitted` is given in place of the training data.
MISALIGNED = (
    "rows of X shuffled",
    "rows of X reversed",
    "X in other units",
    "weights left out",
    "y permuted",
    "other rows",
)


def draw(seed):
    """Return the `Case` of a seed; the estimators take turns."""
    family = list(FAMILIES)[seed % len(FAMILIES)]
    drawn = _Draw(seed, family)
    y, estimator, oracle = FAMILIES[family](drawn)
    n = drawn.n
    queries = drawn.X[n:], getattr(oracle, "query_target", y[n:]), y[n:]
    data = "aligned"
    if drawn.rng.random() < 0.25:
        data = str(drawn.rng.choice(MISALIGNED))
        if data == "weights left out" and drawn.weight is None:
            data = "y permuted"
    settings = {
        "n": n,
        "d": drawn.d,
        "kind": drawn.kind,
        "units": drawn.units,
        "shift": round(drawn.shift, 3),
        "C": drawn.C,
        "weights": drawn.weight is not None,
    }
    return Case(
        seed,
        family,
        settings,
        drawn.X[:n],
        y[:n],
        drawn.weight,
        queries,
        estimator,
        oracle,
        drawn.tolerance,
        data,
    )


def given(case):
    """Return what `from_fitted` is given: the training data, or others."""
    rng = np.random.default_rng([case.seed, 1])
    X, y, weight = case.X, case.y, case.weight
    if case.data == "rows of X shuffled":
        X = rng.permutation(X)
    elif case.data == "rows of X reversed":
        X = X[::-1]
    elif case.data == "X in other units":
        X = (X - X.mean(axis=0)) / X.std(axis=0) if rng.random() < 0.5 else 10 * X
    elif case.data == "weights left out":
        weight = None
    elif case.data == "y permuted":
        y = y[_order(case)]
    elif case.data == "other rows":
        rows = rng.integers(0, len(y), len(y))  # a bootstrap sample
        X, y = X[rows], y[rows]
        weight = None if weight is None else weight[rows]
    return X, y, weight


def oracle_of_given(case):
    """Return the oracle of the data that were given, if their fit is the case's own fit.

    Nothing can tell two orders of y apart that have the same fit, for example if an l1 penalty
    keeps all coefficients at 0. Otherwise return the oracle of the case's own data.
    """
    if case.data != "y permuted" or not _has_the_same_fit(case):
        return case.oracle
    oracle = copy.copy(case.oracle)
    oracle.y = oracle.y[_order(case)]
    return oracle


def _order(case):
    """Return the order of a permuted y."""
    return np.random.default_rng([case.seed, 1]).permutation(len(case.y))


def _has_the_same_fit(case):
    """Return whether the data that were given have the fit of the case, up to rounding."""
    X, y, weight = given(case)
    name = "decision_function" if hasattr(case.estimator, "classes_") else "predict"
    try:
        fits = case.estimator, clone(case.estimator).fit(X, y, sample_weight=weight)
    except ValueError:  # its solver fails
        return False
    found, again = (getattr(fit, name)(case.X) for fit in fits)
    size = max(np.abs(found).max(), np.abs(case.y).max())
    return np.abs(found - again).max() <= _ROUNDED * size
