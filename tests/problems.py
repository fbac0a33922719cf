"""Random problems for every estimator, small enough to be fitted by the thousand.

A `Problem` is a handful of numbers from which data and estimator follow, so that one that
breaks a promise can be read, shrunk and kept. Penalties go with the square of the scale of
the features: the scale is then a matter of units and not of conditioning, which is drawn by
rank, offset and the strength of the penalty.
"""

import warnings
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from scipy import sparse

from skinfluence.kernel_ridge import KernelRidge
from skinfluence.linear_model import (
    ElasticNet,
    ElasticNetCV,
    GammaRegressor,
    HuberRegressor,
    Lasso,
    LassoCV,
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    RidgeClassifierCV,
    RidgeCV,
    SGDClassifier,
    SGDRegressor,
    TweedieRegressor,
)
from skinfluence.svm import (
    SVC,
    SVR,
    LinearSVC,
    LinearSVR,
    SmoothHingeLinearSVC,
    SmoothHingeSVC,
)
from tests.fits import DESCENT, DUAL, HUBER, SEARCH, SMOOTH

# Enough to be near; every smooth fit is polished.
NEWTON = {"solver": "newton-cholesky", "tol": 1e-8, "max_iter": 50}
KINKS = {"dual": True, "tol": 1e-9, "max_iter": 100_000, "random_state": 0}

SCALES = (1e-6, 1e-3, 1.0, 1e3, 1e6)
WEIGHTS = ("none", "random", "integers", "some zero")
CONTAINERS = {
    "C order": np.ascontiguousarray,
    "Fortran order": np.asfortranarray,
    "strided": lambda X: np.repeat(np.repeat(X, 2, axis=0), 2, axis=1)[::2, ::2],
    "csr_matrix": sparse.csr_matrix,
    "csr_array": sparse.csr_array,
    "csc_array": sparse.csc_array,
}


@dataclass(frozen=True)
class Family:
    """An estimator, its kind of targets, and the promises that it alone makes.

    Parameters
    ----------
    make : callable
        Maps a `Problem` to an unfitted estimator with tight settings.
    target : {"binary", "classes", "real", "targets", "counts", "amounts"}
        What it is fitted to.
    kind : {"smooth", "l1", "kernel", "hinge", "kernel hinge"}
        Whether parameters are coefficients of features or of training rows, and whether the
        objective has an l1 penalty, or kinks that hold rows.
    squared : bool
        Whether the loss is the squared error, which one Newton step minimises.
    mean_form : bool
        Whether the penalty counts the weights of the samples.
    penalised_intercept : bool
        Whether shifting a feature changes the model.
    any_scale : bool
        Whether its solver gets near the optimum whatever the units of the features.
    min_rows : int
        Fewest samples, in units of features; 0 where there may be fewer than features.
    """

    make: object
    target: str
    kind: str = "smooth"
    squared: bool = False
    mean_form: bool = False
    penalised_intercept: bool = False
    any_scale: bool = True
    min_rows: int = 0


def _scaled(cls, **fixed):
    """Return a function that makes an estimator with the penalty `alpha`."""

    def make(problem):
        alpha = problem.strength * problem.scale**2
        return cls(alpha=alpha, fit_intercept=problem.intercept, **fixed)

    return make


def _ridge(cls, solver, **fixed):
    """Return the same for a solver that takes no sparse matrices."""

    def make(problem):
        sparse_solver = {"solver": "sparse_cg", "tol": 1e-12}
        how = sparse_solver if problem.is_sparse else {"solver": solver}
        return _scaled(cls, **fixed, **how)(problem)

    return make


def _inverse(cls, **fixed):
    """Return a function that makes an estimator with the penalty 1/C."""

    def make(problem):
        C = 1 / (problem.strength * problem.scale**2)
        return cls(C=C, fit_intercept=problem.intercept, **fixed)

    return make


def _mean(cls, **fixed):
    """Return a function that makes an estimator whose penalty `alpha` counts samples."""

    def make(problem):
        alpha = problem.strength * problem.scale**2 / problem.n_samples
        return cls(alpha=alpha, fit_intercept=problem.intercept, **fixed)

    return make


def _l1(cls, **fixed):
    """Return a function that makes an estimator whose penalty has a feature's units."""

    def make(problem):
        alpha = 0.1 * problem.strength**0.25 * problem.scale
        return cls(alpha=alpha, fit_intercept=problem.intercept, **fixed)

    return make


def _search(cls, **fixed):
    def make(problem):
        alpha = problem.strength * problem.scale**2
        alphas = [alpha, 10 * alpha]
        return cls(alphas=alphas, fit_intercept=problem.intercept, **fixed)

    return make


def _l1_search(cls, **fixed):
    def make(problem):
        alphas = [0.2 * problem.scale, 0.05 * problem.scale]
        return cls(alphas=alphas, fit_intercept=problem.intercept, cv=2, **fixed)

    return make


def _logistic_search(problem):
    C = 1 / (problem.strength * problem.scale**2)
    search = {**SEARCH, "cv": 2, "fit_intercept": problem.intercept}
    return LogisticRegressionCV(Cs=[C, 10 * C], **search, **NEWTON)


def _l1_logistic(problem):
    return LogisticRegression(
        l1_ratio=1,
        C=5 / problem.scale,
        fit_intercept=problem.intercept,
        solver="liblinear",
        tol=1e-12,
        max_iter=100_000,
        random_state=0,
    )


def _rbf(cls, name, **fixed):
    """Return a function that makes a kernel model; `name` is its penalty parameter."""

    def make(problem):
        gamma = 0.5 / (problem.n_features * problem.scale**2)
        strength = problem.strength if name == "alpha" else 1 / problem.strength
        return cls(**{name: strength}, kernel="rbf", gamma=gamma, **fixed)

    return make


def _linear_kernel(problem):
    alpha = problem.strength * problem.scale**2
    return KernelRidge(alpha=alpha, kernel="linear")


def _least_squares(problem):
    return LinearRegression(fit_intercept=problem.intercept)


def _per_target(problem):
    alpha = problem.strength * problem.scale**2 * np.array([0.3, 1.0, 3.0])
    how = {"solver": "sparse_cg", "tol": 1e-12} if problem.is_sparse else {}
    return Ridge(alpha=alpha, fit_intercept=problem.intercept, **how)


_BALANCED = {"class_weight": "balanced"}
_DESCENT = {"tol": None, "max_iter": 30, "random_state": 0}
_BINARY_LIBLINEAR = {
    "solver": "liblinear",
    "intercept_scaling": 3,
    "tol": 1e-12,
    "max_iter": 10_000,
}
_SQUARED = {"loss": "squared_epsilon_insensitive", "epsilon": 0.1, **DUAL}
_INSENSITIVE = {"loss": "epsilon_insensitive", "epsilon": 0.2, **KINKS}

#: Every estimator, in the settings that differ in their mathematics.
FAMILIES = {
    "ridge": Family(_ridge(Ridge, "cholesky"), "real", squared=True),
    "ridge svd": Family(_ridge(Ridge, "svd"), "targets", squared=True),
    "ridge, a penalty for each target": Family(_per_target, "targets", squared=True),
    "ridge cv": Family(_search(RidgeCV), "real", squared=True),
    "ridge classifier": Family(_ridge(RidgeClassifier, "cholesky"), "binary", squared=True),
    "ridge classifier, classes": Family(
        _ridge(RidgeClassifier, "svd", **_BALANCED), "classes", squared=True
    ),
    "ridge classifier cv": Family(_search(RidgeClassifierCV), "classes", squared=True),
    "least squares": Family(_least_squares, "real", squared=True),
    "least squares, targets": Family(_least_squares, "targets", squared=True),
    "logistic": Family(_inverse(LogisticRegression, **NEWTON), "binary"),
    "logistic balanced": Family(_inverse(LogisticRegression, **_BALANCED, **NEWTON), "binary"),
    "logistic liblinear": Family(
        _inverse(LogisticRegression, **_BINARY_LIBLINEAR), "binary", penalised_intercept=True
    ),
    "logistic cv": Family(_logistic_search, "binary"),
    "softmax": Family(_inverse(LogisticRegression, **NEWTON), "classes"),
    "softmax balanced": Family(_inverse(LogisticRegression, **_BALANCED, **NEWTON), "classes"),
    "poisson": Family(_mean(PoissonRegressor, **NEWTON), "counts", mean_form=True),
    "gamma": Family(_mean(GammaRegressor, **NEWTON), "amounts", mean_form=True),
    "tweedie": Family(_mean(TweedieRegressor, power=1.5, **NEWTON), "counts", mean_form=True),
    "tweedie normal": Family(_mean(TweedieRegressor, **NEWTON), "real", mean_form=True),
    "huber": Family(_scaled(HuberRegressor, **HUBER), "real", any_scale=False, min_rows=2),
    "sgd log": Family(
        _mean(SGDClassifier, loss="log_loss", **_DESCENT), "binary", any_scale=False
    ),
    "sgd squared hinge": Family(
        _mean(SGDClassifier, loss="squared_hinge", **_BALANCED, **_DESCENT),
        "classes",
        any_scale=False,
    ),
    "sgd squared": Family(_mean(SGDRegressor, **_DESCENT), "real", any_scale=False),
    "sgd huber": Family(
        _mean(SGDRegressor, loss="huber", epsilon=5.0, **_DESCENT), "real", any_scale=False
    ),
    "squared hinge": Family(
        _inverse(LinearSVC, **DUAL), "binary", penalised_intercept=True, any_scale=False
    ),
    "squared hinge, classes": Family(
        _inverse(LinearSVC, **_BALANCED, **DUAL),
        "classes",
        penalised_intercept=True,
        any_scale=False,
    ),
    "squared epsilon": Family(
        _inverse(LinearSVR, **_SQUARED), "real", penalised_intercept=True, any_scale=False
    ),
    "smooth hinge": Family(
        _inverse(SmoothHingeLinearSVC, temperature=0.3, **SMOOTH),
        "binary",
        penalised_intercept=True,
    ),
    "smooth hinge, classes": Family(
        _inverse(SmoothHingeLinearSVC, temperature=1.0, **_BALANCED, **SMOOTH),
        "classes",
        penalised_intercept=True,
    ),
    "lasso": Family(_l1(Lasso, **DESCENT), "real", "l1", squared=True, mean_form=True),
    "elastic net": Family(
        _l1(ElasticNet, **DESCENT), "targets", "l1", squared=True, mean_form=True
    ),
    "lasso cv": Family(
        _l1_search(LassoCV, **DESCENT), "real", "l1", squared=True, mean_form=True
    ),
    "elastic net cv": Family(
        _l1_search(ElasticNetCV, **DESCENT), "real", "l1", squared=True, mean_form=True
    ),
    "l1 logistic": Family(_l1_logistic, "binary", "l1", penalised_intercept=True),
    "kernel ridge": Family(_rbf(KernelRidge, "alpha"), "targets", "kernel", squared=True),
    "kernel ridge, linear": Family(_linear_kernel, "real", "kernel", squared=True),
    "smooth svc": Family(
        _rbf(SmoothHingeSVC, "C", temperature=0.3, **SMOOTH), "binary", "kernel"
    ),
    "smooth svc, classes": Family(
        _rbf(SmoothHingeSVC, "C", temperature=0.3, **_BALANCED, **SMOOTH), "classes", "kernel"
    ),
    "svc": Family(_rbf(SVC, "C", tol=1e-10), "binary", "kernel hinge"),
    "svc, classes": Family(_rbf(SVC, "C", tol=1e-10), "classes", "kernel hinge"),
    "svr": Family(_rbf(SVR, "C", epsilon=0.2, tol=1e-10), "real", "kernel hinge"),
    "linear svc": Family(
        _inverse(LinearSVC, loss="hinge", **KINKS),
        "binary",
        "hinge",
        penalised_intercept=True,
        any_scale=False,
    ),
    "linear svr": Family(
        _inverse(LinearSVR, **_INSENSITIVE),
        "real",
        "hinge",
        penalised_intercept=True,
        any_scale=False,
    ),
}


@dataclass(frozen=True)
class Problem:
    """Data and an estimator, from a handful of numbers.

    Parameters
    ----------
    family : str
        A key of `FAMILIES`.
    n_samples, n_features : int
        Shape of X; there may be fewer samples than features.
    rank : int
        Rank of X less its mean.
    scale : float
        Standard deviation of the features.
    offset : float
        Their mean, in units of it.
    weights : str
        One of `WEIGHTS`.
    intercept : bool
        Whether one is fitted.
    strength : float
        Strength of the penalty, for features of standard deviation 1.
    container : str
        A key of `CONTAINERS`.
    seed : int
        Of the random numbers.
    """

    family: str = "ridge"
    n_samples: int = 12
    n_features: int = 2
    rank: int = 2
    scale: float = 1.0
    offset: float = 0.0
    weights: str = "none"
    intercept: bool = True
    strength: float = 1.0
    container: str = "C order"
    seed: int = 0
    kind: str = field(init=False, repr=False, compare=False, default="")

    def __post_init__(self):
        object.__setattr__(self, "kind", FAMILIES[self.family].kind)

    @property
    def traits(self):
        return FAMILIES[self.family]

    @property
    def has_coef(self):
        """Whether parameters are coefficients of features."""
        return "kernel" not in self.kind

    @property
    def is_sparse(self):
        """Whether X is a sparse matrix."""
        return sparse.issparse(CONTAINERS[self.container](np.zeros((1, 1))))

    @property
    def is_smooth(self):
        """Whether the objective has a gradient everywhere."""
        return "hinge" not in self.kind

    def but(self, **changes):
        """Return this problem with some numbers changed."""
        return replace(self, **changes)

    @cached_property
    def samples(self):
        """X as a dense array, y and the weights."""
        return self.draw(self.n_samples, self.seed)

    @property
    def X(self):
        return CONTAINERS[self.container](self.samples[0].copy())

    @property
    def y(self):
        return self.samples[1].copy()

    @property
    def w(self):
        """Weights, ones where there are none."""
        return self.samples[2].copy()

    def queries(self, n=4):
        """Return (X, y) of samples that were not trained on."""
        X, y, _ = self.draw(n, self.seed + 1)
        return X, y

    def draw(self, n, seed):
        """Return n samples of this kind: X, y and the weights."""
        structure = np.random.default_rng(self.seed)
        mixing = structure.standard_normal((self.rank, self.n_features))
        mixing /= np.sqrt(self.rank)
        beta = structure.standard_normal((self.rank, 3)) / np.sqrt(self.rank)
        rng = np.random.default_rng((seed, n))
        Z = rng.standard_normal((n, self.rank))
        X = self.scale * (Z @ mixing + self.offset)
        eta = Z @ beta + 0.5 * rng.standard_normal((n, 3))
        y = _targets(self.traits.target, eta, rng)
        return X, y, self._draw_weights(n, y, rng)

    def _draw_weights(self, n, y, rng):
        if self.weights == "random":
            return rng.uniform(0.2, 2.0, n)
        w = np.ones(n)
        if self.weights == "integers":
            return rng.integers(1, 4, n).astype(float)
        if self.weights == "some zero":
            w = rng.uniform(0.2, 2.0, n)
            # The first rows hold three of every class.
            w[min(9, n) :: 3] = 0.0
        return w

    def unfitted(self):
        return self.traits.make(self)

    def fit(self, estimator=None, X=None, y=None, w=None):
        """Return a fit at its optimum."""
        X, y = (self.X, self.y) if X is None else (X, y)
        w = self.w if w is None else w
        estimator = self.unfitted() if estimator is None else estimator
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            estimator.fit(X, y, sample_weight=w)
            if self.is_smooth:
                estimator.polish(tol=1e-13)
        return estimator


def _targets(kind, eta, rng):
    """Return targets; the first rows of labels hold every class."""
    if kind == "binary":
        y = (eta[:, 0] > 0).astype(int)
        y[:6] = np.arange(len(y[:6])) % 2
        return np.array(["no", "yes"])[y]
    if kind == "classes":
        y = eta.argmax(axis=1)
        y[:9] = np.arange(len(y[:9])) % 3
        return y + 1
    if kind == "real":
        return 3 * eta[:, 0] + 2
    if kind == "targets":
        return eta * np.array([1.0, 5.0, 0.2])
    mean = np.exp(0.5 * eta[:, 0] + 0.5)
    if kind == "counts":
        return rng.poisson(mean).astype(float)
    return rng.gamma(4.0, mean / 4)


def random_problem(rng, families=tuple(FAMILIES)):
    """Return a problem of any kind."""
    name = str(rng.choice(families))
    return consistent_problem(
        family=name,
        n_samples=int(rng.integers(12, 41)),
        n_features=int(rng.integers(1, 16)),
        rank=int(rng.integers(1, 16)),
        scale=float(rng.choice(SCALES)),
        offset=float(rng.choice((0.0, 1.0, 30.0))),
        weights=str(rng.choice(WEIGHTS)),
        intercept=bool(rng.integers(2)),
        strength=float(10.0 ** rng.integers(-3, 3)),
        container=str(rng.choice(list(CONTAINERS))),
        seed=int(rng.integers(2**31)),
    )


def consistent_problem(**numbers):
    """Return a problem from numbers, those out of bounds moved to them."""
    traits, d = FAMILIES[numbers["family"]], numbers["n_features"]
    numbers["rank"] = min(numbers["rank"], d)
    if not traits.any_scale:
        numbers["scale"] = 1.0
    numbers["n_samples"] = max(numbers["n_samples"], traits.min_rows * (d + 2))
    return Problem(**numbers)
