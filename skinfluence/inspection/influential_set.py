"""The few training samples that a result hangs on."""

from abc import ABC, abstractmethod
from numbers import Real
from typing import Literal

import numpy as np
from scipy import stats
from sklearn.utils import Bunch

from skinfluence import diagnostics
from skinfluence._typing import Estimator
from skinfluence.checks import check_count, check_option
from skinfluence.exceptions import warn
from skinfluence.functionals import Functional, coefficient
from skinfluence.inspection.removals import make_removals
from skinfluence.pipeline import problem_of
from skinfluence.solvers import HessianSolver
from skinfluence.stages import learns_from_rows

__all__ = ["most_influential_set"]

SEARCHES = ("greedy", "linear")

# Share of the way to go below which the effect of a row is rounding.
_NEGLIGIBLE = 1e-12


def most_influential_set(
    estimator: Estimator,
    target: str | int | Functional,
    *,
    threshold: float = 0.0,
    significance: float | None = None,
    search: Literal["greedy", "linear"] = "greedy",
    max_samples: int | None = None,
    hessian_solver: str | HessianSolver = "auto",
    n_jobs: int | None = None,
) -> Bunch:
    """Find a small set of training samples whose removal changes a conclusion.

    The conclusion is the side of `threshold` on which a number stands: the sign of a
    coefficient, a predicted class, whether a gap between groups is below what is allowed;
    or, with `significance`, whether a coefficient differs significantly from zero.

    Finding the smallest set takes trying all of them. Two searches give an upper bound:

    - "linear" ranks the samples once, by first-order influence on the target, and removes
      the first k; k by bisection.
    - "greedy" removes the sample with the largest effect on the target, by one Newton step
      without it, refits, scores the others again, and so on. It never returns more samples
      than "linear", which it runs first.

    A hinge or an epsilon-insensitive loss has no Newton step. There both searches take for
    the effect of a sample that of its removal if all others keep their places on the active
    set, and a refit is the end of the path of optima to the model without the samples.

    Every number reported comes from the refitted model without the samples, to rounding,
    with class weights and hyperparameters frozen. In a pipeline whose only step before the
    model is a `StandardScaler`, the scaler is fitted again, too; other steps are taken as
    fitted, with a warning.

    Parameters
    ----------
    estimator : object
        Fitted estimator of skinfluence, or a pipeline that ends in one.
    target : str, int or Functional
        A parameter by its name in `param_names()` or its position in `params_`, or a number
        from `skinfluence.functionals`: `margin` for the predicted class of a sample.
    threshold : float, default=0.0
        The value that the target has to pass, to whichever side it is not on.
    significance : float, default=None
        Level of a two-sided test of ``params[j] = 0``, such as 0.05. The target is then
        the ratio of the parameter to its standard error, from
        ``params_covariance("hessian")``, and the threshold the quantile of the normal
        distribution, for squared error of Student's with ``n - p`` degrees of freedom.
    search : {"greedy", "linear"}, default="greedy"
        How to search.
    max_samples : int, default=None
        Largest set to consider; by default half of the training samples.
    hessian_solver : str or HessianSolver, default="auto"
        How to apply H^-1.
    n_jobs : int, default=None
        Number of joblib threads for scoring.

    Returns
    -------
    result : Bunch
        What was found, as attributes:

        indices : ndarray of shape (k,)
            Training samples, in the order of their removal.
        target_before, target_after : float
            The target at the optimum of all samples and of all but these.
        threshold : float
            What it had to pass; with `significance` the critical value after the removal,
            with the sign of the side that the target was on.
        flipped : bool
            Whether `target_after` is on the other side than `target_before`. If not, no set
            of up to `max_samples` was found, and `indices` is as far as the search came.
        params : ndarray of shape (p,)
            Parameters of the model refitted without the samples.
        path : ndarray of shape (m, 2)
            Every refit on the way: number of samples removed and target, in that order.
        n_linear : int or None
            How many samples the linear ranking needs; None if it found no flip.

    References
    ----------
    Broderick, Giordano & Meager, "An Automatic Finite-Sample Robustness Metric", 2020, for
    the linear ranking; Kuschnig, Zens & Crespo Cuaresma, "Hidden in Plain Sight:
    Influential Sets in Linear Regression", 2021, for the adaptive search.

    Examples
    --------
    How many of 442 patients make the effect of age negative?

    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.inspection import most_influential_set
    >>> from skinfluence.linear_model import Ridge
    >>> X, y = load_diabetes(return_X_y=True, as_frame=True)
    >>> reg = Ridge(alpha=0.0).fit(X, y)
    >>> result = most_influential_set(reg, "coef[age]")
    >>> round(result.target_before, 1), round(result.target_after, 1), result.flipped
    (-10.0, 7.7, True)
    >>> result.indices
    array([102])

    Fitted without them:

    >>> others = X.index.delete(result.indices)
    >>> round(float(Ridge(alpha=0.0).fit(X.loc[others], y[others]).coef_[0]), 1)
    7.7
    """
    check_option("search", search, SEARCHES)
    problem_of(estimator).refuse_dask("most_influential_set")
    problem = problem_of(estimator, "leave_out_params", "most_influential_set")
    if problem.scaled is not None:
        problem = problem.scaled  # whose penalty moves with the scales
    elif problem.is_whole:
        learned = [type(step).__name__ for _, step in problem.steps if learns_from_rows(step)]
        warn(
            "most_influential_set takes the steps before the model as they were fitted: "
            f"{', '.join(learned)}. Confirm the set with remove_samples on a copy, which fits "
            "them again."
        )
    n = problem.objective.n_rows
    if max_samples is None:
        max_samples = max(1, n // 2)
    check_count("max_samples", max_samples, n)
    removals = make_removals(problem, hessian_solver, n_jobs)
    goal = _make_goal(estimator, target, threshold, significance, removals)
    result = _linear_search(removals, goal, max_samples)
    n_linear = len(result.rows) if result.flipped else None
    if search == "greedy":
        limit = max_samples if n_linear is None else n_linear - 1
        greedy = _greedy_search(removals, goal, limit)
        if greedy.flipped or n_linear is None:
            result = greedy
    # Once more from the fit of all samples: what is reported does not hang on the path.
    confirmed = removals.refit(result.rows, removals.full)
    layout = removals.full.point.objective.formulation.layout
    params = layout.to_public(_refit_theta(confirmed))
    return Bunch(
        indices=result.rows,
        target_before=goal.before,
        target_after=goal.value(confirmed),
        threshold=goal.critical(confirmed),
        flipped=goal.flipped(confirmed),
        params=params,
        path=np.array(sorted(result.path)),
        n_linear=n_linear,
    )


def _refit_theta(base):
    """Return the parameters (K, D) as the refit has them, on its own scales."""
    scales = base.point.objective.scales
    return base.theta if scales is None else scales.to_refit(base.theta)


class _Goal(ABC):
    """A number to be moved past a threshold.

    Attributes
    ----------
    before : float
        The number at the optimum of all rows.
    direction : {-1.0, 1.0}
        Where it has to go.
    """

    @abstractmethod
    def value(self, base):
        """Return the number at an optimum."""

    @abstractmethod
    def critical(self, base):
        """Return the threshold."""

    @abstractmethod
    def first_order(self, base, removals):
        """Return the change of the number without each row, additive, (n,)."""

    @abstractmethod
    def one_step(self, base, removals):
        """Return the change of the number without each row after a Newton step, (n,)."""

    def flipped(self, base):
        """Whether the number is on the other side than before."""
        passed = self.direction * (self.value(base) - self.critical(base))
        return bool(passed > 0)

    def gap(self, base):
        """Return how far the number still has to go, at least 0."""
        return max(0.0, self.direction * (self.critical(base) - self.value(base)))


class _FunctionalGoal(_Goal):
    """A functional of the parameters."""

    def __init__(self, functional, threshold, full):
        self.functional, self.threshold = functional, threshold
        self.before = self.value(full)
        self.direction = -1.0 if self.before > threshold else 1.0

    def value(self, base):
        on_predictions = hasattr(self.functional, "sample_gradient")
        theta = base.theta if on_predictions else _refit_theta(base)
        return self.functional.value(_layout(base).to_public(theta))

    def critical(self, base):
        return float(self.threshold)

    def first_order(self, base, removals):
        return removals.first_order(base, self._gradient(base))

    def one_step(self, base, removals):
        return removals.change(base, self._gradient(base))

    def _gradient(self, base):
        layout = _layout(base)
        gradient = self.functional.gradient(layout.to_public(base.theta))
        return layout.from_public(np.asarray(gradient, dtype=np.float64))


class _SignificanceGoal(_Goal):
    """A parameter in units of its standard error."""

    def __init__(self, position, level, full):
        self.level = level
        one = np.zeros(_layout(full).size)
        one[position] = 1.0
        self.V = _layout(full).from_public(one)
        self.output = int(np.flatnonzero(self.V.any(axis=1))[0])
        self.before = self.value(full)
        self.side = 1.0 if self.before >= 0 else -1.0
        significant = abs(self.before) > abs(self.critical(full))
        self.direction = -self.side if significant else self.side

    def value(self, base):
        return float(np.sum(self.V * base.theta) / self._error(base))

    def critical(self, base):
        objective = base.point.objective
        if not objective.formulation.loss.has_dispersion:
            return self.side * stats.norm.isf(self.level / 2)
        leverage = diagnostics.leverages(base.point, base.plain_factor)
        left = diagnostics.degrees_of_freedom(base.point, leverage)[self.output]
        return self.side * stats.t.isf(self.level / 2, left)

    def flipped(self, base):
        # A coefficient that was significant may also end up on the other side of zero.
        significant = abs(self.value(base)) > abs(self.critical(base))
        return bool(significant == (self.direction == self.side))

    def first_order(self, base, removals):
        # The parameter moves, and the two factors of its standard error do, too.
        error, z = self._error(base), self.value(base)
        moved = removals.first_order(base, self.V) / error
        return moved - 0.5 * z * (
            self._relative_variance(base, 0.0) + self._relative_dispersion(base)
        )

    def one_step(self, base, removals):
        point = base.point
        leverage = diagnostics.leverages(point, base.plain_factor, n_jobs=removals.n_jobs)
        measures = diagnostics.RemovalMeasures(base, leverage)
        param = np.empty(point.objective.n_rows)

        def emit(indices, theta):
            measures.add(indices, theta)
            param[indices] = np.tensordot(theta, self.V, 2)

        removals.without_one_more(base, emit)
        grown = 1.0 + self._relative_variance(base, leverage)
        phi = measures.deleted_dispersion[:, self.output] / measures.dispersion[self.output]
        with np.errstate(invalid="ignore", divide="ignore"):
            after = param / (self._error(base) * np.sqrt(grown * phi))
        return after - self.value(base)

    def _error(self, base):
        """Return the standard error of the parameter."""
        variance = base.plain_factor.quadratic(self.V[None])[0]
        if base.point.objective.formulation.loss.has_dispersion:
            leverage = diagnostics.leverages(base.point, base.plain_factor)
            variance *= diagnostics.dispersion(base.point, leverage)[self.output]
        return np.sqrt(variance)

    def _relative_dispersion(self, base):
        """Return by what share phi grows without each row, to first order, (n,).

        (1 - chi-square_i / phi) / (n - p).
        """
        point = base.point
        present = point.objective.sample_weight > 0
        if not point.objective.formulation.loss.has_dispersion:
            return np.zeros(len(present))
        leverage = diagnostics.leverages(point, base.plain_factor)
        phi = diagnostics.dispersion(point, leverage)[self.output]
        left = diagnostics.degrees_of_freedom(point, leverage)[self.output]
        chi_square = diagnostics.chi_squares(point)[:, self.output]
        return present * (1.0 - chi_square / phi) / left

    def _relative_variance(self, base, leverage):
        """Return by what share (H^-1)_jj grows without each row, curvatures held, (n,).

        r' W r / (1 - h) with r = x~_i H^-1 e_j; the share of h in a coupled loss is left
        out, which is of second order.
        """
        point = base.point
        solved = base.plain_factor.solve(self.V[None])[0]
        r = point.objective.design.predict(solved)
        squares = r * point.curvature_product(r)
        if not point.objective.coupled:
            squares = squares / np.maximum(1.0 - leverage, np.finfo(float).eps)
        return squares.sum(axis=1) / np.sum(self.V * solved)


class _Search:
    """Outcome of a search.

    Parameters
    ----------
    rows : array-like of int
        The set.
    flipped : bool
        Whether it is enough.
    path : iterable of (int, float)
        Refits on the way: size of the set, target.
    """

    def __init__(self, rows, flipped, path):
        self.rows = np.asarray(rows, dtype=np.intp)
        self.flipped = flipped
        self.path = list(path)


def _linear_search(removals, goal, max_samples):
    """Return the shortest prefix of the linear ranking that flips, by bisection."""
    full = removals.full
    pull = goal.direction * goal.first_order(full, removals)
    order = np.argsort(-pull, kind="stable")
    order = order[pull[order] > 0][:max_samples]
    path = {0: goal.before}

    def flips(k):
        base = removals.refit(order[:k], full)
        if base is not None:
            path[k] = goal.value(base)
        return base is not None and goal.flipped(base)

    def outcome(k, flipped):
        return _Search(order[:k], flipped, path.items())

    largest = len(order)
    if largest == 0:
        return outcome(0, False)
    predicted = int(np.searchsorted(np.cumsum(pull[order]), goal.gap(full))) + 1
    too_few, k = 0, min(predicted, largest)
    while not flips(k):
        if k == largest:
            return outcome(max(path), False)
        too_few, k = k, min(largest, k + max(1, k // 4))
    while k - too_few > 1:
        middle = (too_few + k) // 2
        if flips(middle):
            k = middle
        else:
            too_few = middle
    return outcome(k, True)


def _greedy_search(removals, goal, max_samples):
    """Return rows removed one by one, each the best after the ones before."""
    base, rows, path = removals.full, [], [(0, goal.before)]
    least = _NEGLIGIBLE * goal.gap(base)
    while len(rows) < max_samples:
        gain = goal.direction * goal.one_step(base, removals)
        gain[rows] = -np.inf
        following = None
        for row in np.argsort(-np.where(np.isnan(gain), -np.inf, gain), kind="stable"):
            if not gain[row] > least:
                return _Search(rows, False, path)
            following = removals.refit([*rows, row], base)
            if following is not None:
                break
        if following is None:
            return _Search(rows, False, path)
        base, rows = following, [*rows, row]
        path.append((len(rows), goal.value(base)))
        if goal.flipped(base):
            return _Search(rows, True, path)
    return _Search(rows, False, path)


def _make_goal(estimator, target, threshold, significance, removals):
    """Return what is to be moved, or say what is wrong with the request."""
    full = removals.full
    if not isinstance(threshold, Real) or not np.isfinite(threshold):
        raise ValueError(f"threshold={threshold!r} must be a finite number.")
    if isinstance(target, Functional):
        if significance is not None:
            raise ValueError(
                "significance is of a parameter: pass its name or position as target."
            )
        return _FunctionalGoal(target, threshold, full)
    functional = coefficient(estimator, target)
    if significance is None:
        return _FunctionalGoal(functional, threshold, full)
    if not isinstance(significance, Real) or not 0 < significance < 1:
        raise ValueError(f"significance={significance!r} must be a level between 0 and 1.")
    if threshold != 0.0:
        raise ValueError("significance brings its own threshold: leave out threshold.")
    removals.check_significance()
    return _SignificanceGoal(functional.position, significance, full)


def _layout(base):
    return base.point.objective.formulation.layout
