"""Search for the smallest change in sample weights that moves a number to a value."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.optimize import linprog
from sklearn.utils import Bunch

from skinfluence import influence
from skinfluence._typing import Estimator, MatrixLike
from skinfluence.checks import check_count, check_number
from skinfluence.exceptions import warn
from skinfluence.functionals import Functional, coefficient
from skinfluence.inspection.goals import FunctionalGoal
from skinfluence.inspection.removals import Removals, check_newton
from skinfluence.pipeline import problem_of
from skinfluence.results import Result
from skinfluence.solvers import HessianSolver
from skinfluence.stages import learning_steps

# Changes below this share of a weight are rounding of the linear program.
_NEGLIGIBLE = 1e-9
_TINY = np.finfo(float).tiny


def reweigh_samples(
    estimator: Estimator,
    target: str | int | Functional,
    *,
    threshold: float = 0.0,
    X: MatrixLike | None = None,
    y: ArrayLike | None = None,
    max_ratio: float = 2.0,
    tol: float = 0.01,
    max_iter: int = 10,
    hessian_solver: str | HessianSolver = "auto",
) -> Bunch:
    """Find the smallest change in sample weights that moves a number to a value.

    With ``functionals.demographic_parity`` or ``equal_opportunity`` as target, the new weights
    close a gap between two groups. With `X` and `y` they do so without raising the mean loss
    of these samples. The new weights solve a linear program in the first-order effects I_i of
    the weights on the target, ``d target / d w_i``::

        minimise    sum_i |w_i' - w_i|
        subject to  target + sum_i (w_i' - w_i) I_i = threshold
                    0 <= w_i' <= max_ratio w_i
                    sum_i (w_i' - w_i) J_i <= 0     with X and y, J_i = d loss / d w_i

    Its solution changes few weights, most of them all the way. The model is then refitted
    with these weights. If the target of the refit is not within `tol`, the program is solved
    again with the effects at the refit, as long as the refits come nearer. Use other samples
    than those of the fit for `X` and `y`: the loss of the training samples is near its
    minimum, and rises for almost any weights.

    Class weights, also "balanced" ones, and hyperparameters are frozen. Steps of a pipeline
    before the model stay as they were fitted, and a warning says so. All numbers are thus
    those of a fit in which the new weights reach the model alone, as those passed by
    ``pipe.fit(X, y, model__sample_weight=...)`` do. If they also reach the steps before it,
    or if class weights are "balanced", `reached` may not hold.

    Parameters
    ----------
    estimator : object
        Fitted skinfluence estimator, or a pipeline that ends in one.
    target : str, int or Functional
        A functional from `skinfluence.functionals`, such as `demographic_parity`, or a
        parameter, as its name in `param_names()` or its index in `params_`.
    threshold : float, default=0.0
        Value to reach.
    X : {array-like, sparse matrix} of shape (m, n_features), default=None
        Samples whose mean loss must not rise, such as a validation set.
    y : array-like of shape (m,) or (m, n_targets), default=None
        Their targets.
    max_ratio : float, default=2.0
        Largest ratio of a new weight to the old one, at least 1. With 1 weights only fall.
    tol : float, default=0.01
        Largest remaining distance to `threshold`, and largest relative rise of the mean loss;
        the distance is relative to that of the fitted model.
    max_iter : int, default=10
        Largest number of linear programs, with a refit after each.
    hessian_solver : str or HessianSolver, default="auto"
        Solver for the Hessian H; results do not depend on it.

    Returns
    -------
    result : Bunch
        Results, with these attributes:

        sample_weight : ndarray of shape (n,)
            The new weights.
        indices : ndarray of shape (k,)
            Training samples with another weight, the largest change first.
        target_before, target_after : float
            The target at the optimum for the weights as they are, and at the refit with the
            new weights.
        target_predicted : float
            The value that the first-order effects at the model as it is predict for the new
            weights.
        loss_before, loss_after : float or None
            Mean loss of `X` and `y` at the same optima; None without them.
        reached : bool
            Whether the refit is within `tol`. If not, no refit came nearer.
        params : ndarray of shape (p,)
            Parameters of the refit.
        path : ndarray of shape (m, 2)
            Sum of the absolute changes in the weights, and the target, for each refit that
            came nearer; the first row is for the model as it is.

    Raises
    ------
    UnsupportedEstimatorError
        If the loss has no curvature except at kinks, as the hinge.
    ValueError
        If no such weights exist to first order, if no optimum of the training objective was
        found, or if an argument is not valid.

    See Also
    --------
    most_influential_set : Removes samples to move a number across a threshold.

    References
    ----------
    Li & Liu, "Achieving Fairness at No Utility Cost via Data Reweighing with Influence",
    2022.

    Examples
    --------
    The predicted progress of diabetes differs between the sexes. How little must the weights
    of the patients change to halve the gap?

    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.functionals import demographic_parity
    >>> from skinfluence.inspection import reweigh_samples
    >>> from skinfluence.linear_model import Ridge
    >>> X, y = load_diabetes(return_X_y=True)
    >>> reg = Ridge(alpha=0.01).fit(X, y)
    >>> gap = demographic_parity(reg, X, X[:, 1] > 0)
    >>> gap_before = gap.value(reg.params_)
    >>> result = reweigh_samples(reg, gap, threshold=gap_before / 2)
    >>> len(result.indices), result.reached
    (6, True)
    >>> refit = Ridge(alpha=0.01).fit(X, y, sample_weight=result.sample_weight)
    >>> round(gap_before, 2), round(gap.value(refit.params_), 2)
    (6.87, 3.44)
    """
    problem = problem_of(estimator)
    problem.refuse_dask("reweigh_samples", X, y)
    problem = problem_of(estimator, "leave_out_params", "reweigh_samples")
    check_number("threshold", threshold)
    expected = "at least 1, which changes no weight"
    check_number("max_ratio", max_ratio, expected, least=1, closed="left")
    check_number("tol", tol, "positive", least=0)
    check_count("max_iter", max_iter)
    if (X is None) != (y is None):
        raise ValueError("X and y belong together: pass both, or none of them.")
    functional = target if isinstance(target, Functional) else coefficient(estimator, target)
    check_newton(problem, "reweigh_samples goes from optimum to optimum")
    if problem.is_whole:
        warn(
            "reweigh_samples keeps the steps before the model as they were fitted: "
            f"{', '.join(learning_steps(problem.steps))}. If a fit passes the weights to "
            "these steps, too, target_after and reached may not hold for it."
        )
    weights = _Reweighing(problem, hessian_solver, None)
    goal = FunctionalGoal(functional, threshold, weights.full)
    loss = None if X is None else _MeanLoss(problem, X, y)
    return _solve(weights, goal, loss, max_ratio, tol, max_iter)


def _solve(weights, goal, loss, max_ratio, tol, max_iter):
    """Alternate linear programs and refits; return the result."""
    start, base = weights.objective.sample_weight, weights.full
    limit = None if loss is None else loss.value(base)
    path = [(0.0, goal.before)]
    gap = abs(goal.before - goal.threshold)

    def misses(base):
        """Return the distance to the threshold and the rise of the loss, in units of tol."""
        missed = [abs(goal.value(base) - goal.threshold) / max(tol * gap, _TINY)]
        if loss is not None:
            missed.append(max(0.0, loss.value(base) - limit) / max(tol * abs(limit), _TINY))
        return np.array(missed)

    for iteration in range(max_iter):
        if np.all(misses(base) <= 1.0):
            break
        now = base.point.objective.sample_weight
        change = weights.derivative(base, goal.gradient(base))
        equal = goal.threshold - goal.value(base) + change @ (now - start)
        below = None
        if loss is not None:
            rise = weights.derivative(base, loss.gradient(base))
            below = rise, limit - loss.value(base) + rise @ (now - start)
        d = _smallest_change(start, change, equal, below, max_ratio)
        if d is None:
            if iteration == 0:
                raise ValueError(_too_far(start, change, equal, below, max_ratio))
            break
        following = None
        # Further than first order is right, the step is too long.
        for share in (1.0, 0.5, 0.25):
            refit = weights.refit(now + share * (start + d - now), base)
            if refit is not None and misses(refit).sum() < misses(base).sum():
                following = refit
                break
        if following is None:
            break
        base = following
        path.append(
            (np.abs(base.point.objective.sample_weight - start).sum(), goal.value(base))
        )
    sample_weight = base.point.objective.sample_weight
    first = weights.derivative(weights.full, goal.gradient(weights.full))
    predicted = goal.before + first @ (sample_weight - start)
    moved = np.abs(sample_weight - start)
    order = np.argsort(-moved, kind="stable")
    return Result(
        sample_weight=sample_weight,
        indices=order[moved[order] > 0],
        target_before=goal.before,
        target_predicted=float(predicted),
        target_after=goal.value(base),
        loss_before=limit,
        loss_after=None if loss is None else loss.value(base),
        reached=bool(np.all(misses(base) <= 1.0)),
        params=base.point.objective.formulation.layout.to_public(base.theta),
        path=np.array(path),
    )


def _too_far(weight, change, equal, below, max_ratio):
    """Return the message if no weights reach the threshold."""
    side = np.sign(equal) * change
    reach = np.sign(equal) * np.sum(weight * np.maximum((max_ratio - 1.0) * side, -side))
    loss = "" if below is None else ", if the loss of X and y may rise"
    return (
        f"No weights up to max_ratio={max_ratio} times the old ones move the target to the "
        f"threshold to first order. It has to change by {equal:.3g}, and the largest change "
        f"is {reach:.3g}{loss}. Use a larger max_ratio, or a threshold nearer to the target."
    )


def _smallest_change(weight, change, equal, below, max_ratio):
    """Return the smallest d (n,) with change'd = equal, by a linear program.

    d = up - down with both parts at least 0. `below` is (rise, b) for rise'd <= b, or None.
    The result is None if there is no such d.
    """
    unit = max(np.abs(change).max(), _TINY)
    rows, limits = None, None
    if below is not None:
        rise, limit = below
        scale = max(np.abs(rise).max(), _TINY)
        rows, limits = sparse.csr_array(np.r_[rise, -rise][None] / scale), [limit / scale]
    upper = np.r_[(max_ratio - 1.0) * weight, weight]
    found = linprog(
        np.ones(2 * len(weight)),
        A_ub=rows,
        b_ub=limits,
        A_eq=sparse.csr_array(np.r_[change, -change][None] / unit),
        b_eq=[equal / unit],
        bounds=np.c_[np.zeros(len(upper)), upper],
        method="highs",
    )
    if found.x is None:
        return None
    up, down = found.x[: len(weight)], found.x[len(weight) :]
    d = up - down
    d[np.abs(d) <= _NEGLIGIBLE * weight] = 0.0
    return np.maximum(d, -weight)


class _Reweighing(Removals):
    """Exact refits with other sample weights."""

    def derivative(self, base, V):
        """Return the derivative of a scalar with gradient V (K, D) in each weight, (n,)."""
        on = influence.influence_on(base.point, base.plain_factor, V[None])[0]
        return on / base.point.objective.weight_sum

    def refit(self, weight, start):
        """Return the base with other weights (n,), or None without an optimum."""
        return self.base_at_optimum(replace(self.objective, sample_weight=weight), start)


class _MeanLoss:
    """The mean loss of samples as a function of the parameters."""

    def __init__(self, problem, X, y):
        self.formulation = problem.formulation
        self.design, self.target = problem.check_samples(self.formulation, X, y)

    def value(self, base):
        loss = self.formulation.loss
        return float(np.mean(loss.loss(self.target, self.design.predict(base.theta))))

    def gradient(self, base):
        """Return the gradient, (K, D)."""
        rows = self.formulation.query_gradients(self.design, self.target, base.theta)
        return rows.sum() / len(rows)
