"""Bounds on the gradients that scikit-learn's solvers leave, from their stopping rules.

If a solver stopped before `max_iter`, it met its rule. The rule bounds each entry in the
gradient G of the objective F at the fitted parameters. The bounds here are in sum form and
generous. They detect data that do not belong to a fit, because their gradients are far larger.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from skinfluence.namespaces import to_host
from skinfluence.objective import Objective, weigh

_DEVIANCES = ("GammaRegressor", "PoissonRegressor", "TweedieRegressor")

# Share of F that a solver may fail to gain: lbfgs ends if a step gains less than 64 eps.
_FLAT = 1e-9
# Number of roundings in the rows' gradients that add up in a solver, and the relative size
# below which least squares treats singular values as zero.
_ROUNDINGS, _DIRECT = 1e4, 1e-6
# An epoch of stochastic averaged gradients may change parameters little long before the
# optimum. Gradients up to 130 times the size that such a step suggests were found, or 0.02 of
# the largest.
_STOCHASTIC, _STOCHASTIC_SHARE = 400.0, 0.04


# Largest decrease that lbfgs may still reach, in units of its last step's.
_LEFT = 10.0


@dataclass(frozen=True)
class Fit:
    """A record of how a fitted estimator ended its fit.

    Parameters
    ----------
    name : str
        Name of scikit-learn's class.
    params : mapping
        Constructor parameters at the time of the fit.
    solver : str or None
        The solver that ran, if the class has several.
    n_iter : float or None
        Iterations in the longest run; None if the estimator does not store them.
    gap : float or None
        Duality gap at the end, per unit weight.
    eps : float
        Machine epsilon for the data type of the parameters.
    """

    name: str
    params: Mapping[str, Any]
    solver: str | None
    n_iter: float | None
    gap: float | None
    eps: float

    @classmethod
    def of(cls, estimator, name, params, dtype):
        """Return the record for a fitted estimator and its data type."""
        n_iter, gap = (
            to_host(getattr(estimator, "n_iter_", None)),
            getattr(estimator, "dual_gap_", None),
        )
        parameters = getattr(estimator, "coef_", getattr(estimator, "dual_coef_", None))
        dtypes = [getattr(to_host(parameters), "dtype", None), dtype]
        eps = [
            np.finfo(candidate).eps
            for candidate in dtypes
            if candidate is not None and candidate.kind == "f"
        ]
        return cls(
            name=name,
            params=params,
            solver=getattr(estimator, "solver_", params.get("solver")),
            n_iter=None if n_iter is None else float(np.max(n_iter)),
            gap=None if gap is None else float(np.sum(gap)),
            eps=float(max([np.finfo(np.float64).eps, *eps])),
        )

    @property
    def has_no_rule(self):
        """Whether the solver may end at any gradient.

        Stochastic descent stops by the loss over an epoch. Huber's solver stops as soon as a
        step gains less than 2e-9 of F; half of the largest possible gradient was found then.
        """
        return self.name in ("HuberRegressor", "SGDClassifier", "SGDRegressor")

    @property
    def beats_constant(self):
        """Whether the fit must be better than the best constant prediction.

        This was true, up to 2 % of F, for every fit that Huber's solver ended before
        `max_iter`. Stochastic descent may be far worse if features are not scaled.
        """
        return self.name == "HuberRegressor" and self.n_iter < self.params["max_iter"]

    @property
    def stopped_early(self):
        """Whether the solver may have run out of iterations, or has no gradient rule."""
        if self.has_no_rule:
            return True
        if self.name in ("ARDRegression", "BayesianRidge"):
            return False  # the coefficients are exact, whatever the precisions
        largest = self.params.get("max_iter")
        if largest is None or largest < 0:
            return False
        if self.name == "LogisticRegressionCV":
            largest = largest / 2  # n_iter_ comes from the folds, not from the last fit
        if self.name.startswith("SmoothHinge") and self.n_iter == 0:
            return True  # these are the parameters of a hinge and were not fitted
        if self.n_iter == 1 and (self.name in _DEVIANCES or self.solver in ("sag", "saga")):
            # If features have very different scales, the first line search may fail, or the
            # first epoch may change nothing.
            return True
        if self.n_iter is None and self.solver in ("sparse_cg", "lbfgs", None):
            return self.solver is not None
        return self.n_iter is not None and self.n_iter >= largest

    @property
    def descends(self):
        """Whether every iteration lowers F, starting from zero parameters."""
        if self.params.get("warm_start"):
            return False
        if self.name in ("HuberRegressor", *_DEVIANCES):
            return True
        return self.solver in ("lbfgs", "lsqr", "newton-cg", "newton-cholesky", "sparse_cg")


class Sizes:
    """Sizes from which bounds on an objective's gradient are computed, at one point.

    Parameters
    ----------
    objective : Objective
        The objective F.
    theta : ndarray of shape (K, D)
        The fitted parameters.
    """

    def __init__(self, objective: Objective, theta: np.ndarray) -> None:
        self.objective = objective
        self.point = objective.at(theta)
        self.theta = theta

    @cached_property
    def excess(self):
        """|G|, reduced by the penalty or bound for parameters that it keeps at 0, (K, D)."""
        objective = self.objective
        gradient = np.abs(self.point.gradient)
        support = objective.formulation.support
        at_zero = support.penalised & ~support.free
        if at_zero.any():
            pull = support.pull(objective.gradients(self.theta[None])[0])
            limit = support.total(objective.weight_sum)
            gradient[at_zero] = np.maximum(0.0, pull - limit)[at_zero]
        return gradient

    def squares(self, values):
        """Return sum_i values_im^2 x~_i^2, (n, M) -> (M, D)."""
        design = self.objective.design
        if design.has_metric:  # rows are unit vectors
            return design.adjoint(values**2)
        return design.squared_adjoint(values**2)

    @cached_property
    def pulls(self):
        """s_i g_i, (n, K)."""
        return weigh(self.objective.sample_weight[:, None], self.point.rows.raw_gradient)

    @cached_property
    def largest(self):
        """Bound on |G| from the sizes of the rows' gradients and the penalty, (K, D)."""
        rows = np.sqrt(self.objective.n_rows * self.squares(self.pulls))
        return rows + np.abs(self.objective.penalty_gradient(self.theta))

    @cached_property
    def rounding(self):
        """Bound on |G| from the sizes of the numbers in its computation, in units of eps."""
        objective, point = self.objective, self.point
        magnitude = objective.design.magnitude(self.theta)
        changes = np.abs(point.curvature_product(magnitude))
        rows = np.sqrt(objective.n_rows * self.squares(changes))
        return rows + self.largest

    @cached_property
    def slopes(self):
        """Largest change in G if raw predictions change by 1, (K, D)."""
        curvature = np.abs(self.point.curvature_diagonal())
        return np.sqrt(self.objective.n_rows * self.squares(curvature))

    @cached_property
    def hessian_diagonal(self):
        """Diagonal of H, with entries of no curvature at 0, (K, D)."""
        if self.objective.design.has_metric:
            return np.zeros(self.theta.shape)
        return np.maximum(0.0, self.point.hessian_diagonal())

    @cached_property
    def start(self):
        """|grad F(0)|, (K, D)."""
        start = self.objective.at(np.zeros(self.theta.shape))
        return np.abs(start.gradient)


def bound(fit, sizes):
    """Return the largest |G| that the end of a fit may leave, (K, D) or broadcastable.

    Parameters
    ----------
    fit : Fit
        Record of the fit.
    sizes : Sizes
        The objective at the fitted parameters.
    """
    # Solver errors are relative to all parameters. So if a feature's scale is small, its error
    # is proportional to the largest one.
    by_rounding = (_ROUNDINGS * fit.eps * sizes.rounding).max(initial=0.0)
    flat = np.sqrt(2 * sizes.hessian_diagonal * _FLAT * abs(sizes.point.value))
    if sizes.objective.design.has_metric:
        flat = 1e-4 * sizes.largest.max(initial=0.0)
    rule = _RULES.get(fit.name, _nothing)(fit, sizes)
    return rule + np.maximum(flat, by_rounding)


def _nothing(fit, sizes):
    return 0.0


def _direct(fit, sizes):
    return _DIRECT * sizes.largest.max(initial=0.0)


def _logistic(fit, sizes):
    tol = fit.params["tol"]
    if fit.solver == "liblinear":
        return _liblinear(fit, sizes)
    if fit.solver in ("sag", "saga"):
        return _stochastic(fit, sizes, smoothness=0.5)
    # max |G| / sum of the weights, including class weights.
    return 1.01 * tol * sizes.objective.row_weight.sum()


def _deviance(fit, sizes):
    return 1.01 * fit.params["tol"] * sizes.objective.weight_sum


def _stochastic(fit, sizes, smoothness):
    """Return the gradient at which an epoch changes parameters by less than tol."""
    objective, tol = sizes.objective, fit.params["tol"]
    norms = objective.design.squared_norms(np.ones(objective.design.n_columns))
    steep = smoothness * float(np.max(norms)) * objective.row_weight.max(initial=0.0)
    slow = 1.0 if objective.design.is_dense else 10.0  # intercepts move less on sparse data
    step = slow * _STOCHASTIC * tol * np.abs(sizes.theta).max(initial=0.0) * steep
    return np.maximum(step, _STOCHASTIC_SHARE * sizes.largest)


def _ridge(fit, sizes):
    if fit.solver in ("sag", "saga"):
        return _direct(fit, sizes) + _stochastic(fit, sizes, smoothness=2.0)
    if fit.solver == "lbfgs":
        # For positive coefficients: it ends at a gradient of F/2 below tol, or if a step gains
        # less than this share of F, after which several times as much may be left.
        remaining = _LEFT * fit.params["tol"] * abs(sizes.point.value)
        flat = np.sqrt(2 * sizes.hessian_diagonal * remaining)
        return _direct(fit, sizes) + 2.02 * fit.params["tol"] + flat
    if fit.solver not in ("sparse_cg", "lsqr"):
        return _direct(fit, sizes)
    # The rule bounds the residual of the normal equations relative to ||X|| ||y||.
    objective = sizes.objective
    at_zero = objective.at(np.zeros(sizes.theta.shape))
    pull = np.linalg.norm(
        at_zero.rows.raw_gradient * np.sqrt(objective.sample_weight)[:, None]
    )
    weights = np.sqrt(objective.row_weight[:, :1])
    return 2 * fit.params["tol"] * np.sqrt(sizes.squares(weights).sum()) * pull


def _least_squares(fit, sizes):
    if sizes.objective.design.is_dense:
        return _direct(fit, sizes)
    return _direct(fit, sizes) + _ridge(_with_solver(fit, "lsqr"), sizes)


def _with_solver(fit, solver):
    return Fit(fit.name, fit.params, solver, fit.n_iter, fit.gap, fit.eps)


def _liblinear(fit, sizes):
    """Return the bound for the trust region method or for dual coordinate descent."""
    tol, y = fit.params["tol"], sizes.objective.target
    dual = fit.params.get("dual")
    relative = 1.01 * tol * sizes.start.sum()
    if dual is False:
        return relative
    # Dual coordinate descent leaves errors up to tol in predictions; for regression, tol
    # relative to the targets.
    size = 1.0
    if fit.name == "LinearSVR":
        size = 5 * max(1.0, float(np.mean(np.abs(y))))
    off = 2 * tol * size * sizes.slopes
    return off if dual is True else np.maximum(off, relative)


def _coordinate_descent(fit, sizes):
    """Return the bound from the duality gap: F - min F is at least G_d^2 / (2 H_dd)."""
    gap = 1.1 * max(fit.gap or 0.0, 0.0) * sizes.objective.weight_sum
    return np.sqrt(2 * sizes.hessian_diagonal * gap) + _direct(fit, sizes)


_RULES = {
    "ARDRegression": _direct,
    "BayesianRidge": _direct,
    "ElasticNet": _coordinate_descent,
    "ElasticNetCV": _coordinate_descent,
    "GammaRegressor": _deviance,
    "GaussianProcessRegressor": _direct,
    "KernelRidge": _direct,
    "Lars": _direct,
    "Lasso": _coordinate_descent,
    "LassoCV": _coordinate_descent,
    "LassoLars": _direct,
    "LassoLarsCV": _direct,
    "LassoLarsIC": _direct,
    "LinearRegression": _least_squares,
    "LinearSVC": _liblinear,
    "LinearSVR": _liblinear,
    "LogisticRegression": _logistic,
    "LogisticRegressionCV": _logistic,
    "PoissonRegressor": _deviance,
    "Ridge": _ridge,
    "RidgeCV": _direct,
    "RidgeClassifier": _ridge,
    "RidgeClassifierCV": _direct,
    "TweedieRegressor": _deviance,
}
