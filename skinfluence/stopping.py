"""How large a gradient scikit-learn's solvers leave, by their own stopping rules.

A solver that stopped before `max_iter` met its rule, and the rule bounds the gradient G of
the objective F at the fitted parameters, entry by entry. The bounds here are in sum form and
generous: they tell a fit from data that are not its own, which leave gradients far above them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from skinfluence.objective import Objective, weigh

__all__ = ["Fit", "Sizes", "bound"]

_DEVIANCES = ("GammaRegressor", "PoissonRegressor", "TweedieRegressor")

# Share of F that a solver may miss unnoticed: lbfgs ends if a step gains less than 64 eps.
_FLAT = 1e-9
# Roundings of the rows' gradients that add up in a solver, and the singular values that
# least squares takes for zero, relative to the largest.
_ROUNDINGS, _DIRECT = 1e4, 1e-6
# An epoch of stochastic averaged gradients may move parameters little long before the
# optimum: 130 times the gradient that such a step speaks of was found, or 0.02 of the largest.
_STOCHASTIC, _STOCHASTIC_SHARE = 400.0, 0.04


# What lbfgs may still gain, in gains of its last step.
_LEFT = 10.0


@dataclass(frozen=True)
class Fit:
    """What a fitted estimator tells about the end of its fit.

    Parameters
    ----------
    name : str
        Name of scikit-learn's class.
    params : mapping
        Constructor parameters at the time of fit.
    solver : str or None
        The solver that ran, if the class has several.
    n_iter : float or None
        Iterations of the longest of its runs; None if it does not tell.
    gap : float or None
        The duality gap that it reached, per unit of weight.
    eps : float
        Machine epsilon of the type that the parameters have.
    """

    name: str
    params: Mapping[str, Any]
    solver: str | None
    n_iter: float | None
    gap: float | None
    eps: float

    @classmethod
    def of(cls, estimator, name, params, dtype):
        """Return the record of a fitted estimator, of data of some type."""
        n_iter, gap = (
            getattr(estimator, "n_iter_", None),
            getattr(estimator, "dual_gap_", None),
        )
        parameters = getattr(estimator, "coef_", getattr(estimator, "dual_coef_", None))
        dtypes = [getattr(parameters, "dtype", None), dtype]
        eps = [np.finfo(one).eps for one in dtypes if one is not None and one.kind == "f"]
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

        Stochastic descent stops by the loss of an epoch, and Huber's solver as soon as a step
        gains less than 2e-9 of F, after which half of the largest possible gradient was found.
        """
        return self.name in ("HuberRegressor", "SGDClassifier", "SGDRegressor")

    @property
    def beats_constant(self):
        """Whether the fit is better than the best constant prediction.

        So was every fit of Huber's solver that ended by itself, but for 2 % of F. Stochastic
        descent may be far worse on features that are not scaled.
        """
        return self.name == "HuberRegressor" and self.n_iter < self.params["max_iter"]

    @property
    def stopped_early(self):
        """Whether the solver may have run out of iterations, or has no rule for gradients."""
        if self.has_no_rule:
            return True
        if self.name in ("ARDRegression", "BayesianRidge"):
            return False  # the coefficients are exact, whatever the precisions
        largest = self.params.get("max_iter")
        if largest is None or largest < 0:
            return False
        if self.name == "LogisticRegressionCV":
            largest = largest / 2  # the iterations are those of the folds, not of the last fit
        if self.name.startswith("SmoothHinge") and self.n_iter == 0:
            return True  # at the parameters of a hinge, not fitted
        if self.n_iter == 1 and (self.name in _DEVIANCES or self.solver in ("sag", "saga")):
            # On features of very different scale the first line search failed, or the first
            # epoch moved nothing.
            return True
        if self.n_iter is None and self.solver in ("sparse_cg", "lbfgs", None):
            return self.solver is not None
        return self.n_iter is not None and self.n_iter >= largest

    @property
    def descends(self):
        """Whether every iteration lowers F, from parameters of 0 on."""
        if self.params.get("warm_start"):
            return False
        if self.name in ("HuberRegressor", *_DEVIANCES):
            return True
        return self.solver in ("lbfgs", "lsqr", "newton-cg", "newton-cholesky", "sparse_cg")


class Sizes:
    """Sizes of an objective at a point that bounds of its gradient are made of.

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
        """|G|; for entries held at 0 by how much it exceeds what holds them, (K, D)."""
        objective = self.objective
        gradient = np.abs(self.point.gradient)
        support = objective.formulation.l1_support
        if support is None:
            return gradient
        held = support.penalised & ~support.free
        if held.any():
            pull = support.pull(objective.gradients(self.theta[None])[0])
            limit = support.total(objective.weight_sum)
            gradient[held] = np.maximum(0.0, pull - limit)[held]
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
        """Bound of |G| by the sizes of the rows' gradients and the penalty, (K, D)."""
        rows = np.sqrt(self.objective.n_rows * self.squares(self.pulls))
        return rows + np.abs(self.objective.penalty_gradient(self.theta))

    @cached_property
    def rounding(self):
        """Bound of |G| by the sizes of the numbers it is computed from, in units of eps."""
        objective, point = self.objective, self.point
        magnitude = objective.design.magnitude(self.theta)
        changes = np.abs(point.curvature_product(magnitude))
        rows = np.sqrt(objective.n_rows * self.squares(changes))
        return rows + self.largest

    @cached_property
    def slopes(self):
        """By how much G changes if raw predictions change by 1, at most, (K, D)."""
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
    """Return the largest |G| that the end of a fit leaves, (K, D) or broadcastable.

    Parameters
    ----------
    fit : Fit
        How the fit ended.
    sizes : Sizes
        The objective at the fitted parameters.
    """
    # Errors of solvers are relative to all parameters: features of a small scale have them
    # in proportion to the largest one.
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
    # max |G| / sum of the weights, class weights included.
    return 1.01 * tol * sizes.objective.row_weight.sum()


def _deviance(fit, sizes):
    return 1.01 * fit.params["tol"] * sizes.objective.weight_sum


def _stochastic(fit, sizes, smoothness):
    """Return the gradient after which an epoch moves parameters by less than tol of them."""
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
        left = _LEFT * fit.params["tol"] * abs(sizes.point.value)
        flat = np.sqrt(2 * sizes.hessian_diagonal * left)
        return _direct(fit, sizes) + 2.02 * fit.params["tol"] + flat
    if fit.solver not in ("sparse_cg", "lsqr"):
        return _direct(fit, sizes)
    # A residual of the normal equations relative to ||X|| ||y||.
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
    """Return the bound of the trust region method, or of descent in dual coefficients."""
    tol, y = fit.params["tol"], sizes.objective.target
    dual = fit.params.get("dual")
    relative = 1.01 * tol * sizes.start.sum()
    if dual is False:
        return relative
    # Descent in dual coefficients leaves predictions that are off by tol; that of
    # regression by tol relative to the targets.
    size = 1.0
    if fit.name == "LinearSVR":
        size = 5 * max(1.0, float(np.mean(np.abs(y))))
    off = 2 * tol * size * sizes.slopes
    return off if dual is True else np.maximum(off, relative)


def _coordinate_descent(fit, sizes):
    """Return the bound by the duality gap: F - min F is at least G_d^2 / (2 H_dd)."""
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
