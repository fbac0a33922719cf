"""Search for the few training samples that determine a conclusion."""

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

# If the effect of a row is less than this fraction of the remaining gap, it is rounding error.
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

    The conclusion depends on the side of `threshold` on which a number lies. Examples are
    the sign of a coefficient, a predicted class, and whether the gap between two groups
    exceeds a limit. With `significance`, the conclusion is whether a coefficient differs
    significantly from zero.

    An exact search for the smallest set would have to try all sets. The two searches here
    give an upper bound on its size:

    - "linear" ranks the samples once, by their first-order influence on the target. It
      removes the first k samples and finds k by bisection.
    - "greedy" predicts the effect of each removal by one Newton step and removes the sample
      with the largest effect. It then refits, predicts again, and so on. It runs "linear"
      first and never returns a larger set.

    The hinge and the epsilon-insensitive loss have no Newton step. For these losses both
    searches predict the effect of a removal by assuming that all other samples keep their
    positions on the active set. A refit then follows the path of optima to the model without
    the samples.

    All reported numbers come from a refit without the samples and are exact up to rounding.
    Hyperparameters stay as fitted; "balanced" class weights are those without the samples. If
    a `StandardScaler` is the only step before the model in a pipeline, the scaler is fitted
    again, too. Other steps and ``gamma="scale"`` stay as they were fitted, and a warning says
    so.

    Parameters
    ----------
    estimator : object
        Fitted skinfluence estimator, or a pipeline that ends in one.
    target : str, int or Functional
        A parameter, as its name in `param_names()` or its index in `params_`, or a
        functional from `skinfluence.functionals`, such as `margin` for the predicted class
        of a sample.
    threshold : float, default=0.0
        Value that the target has to cross.
    significance : float, default=None
        Level for a two-sided test that ``params[j] = 0``, such as 0.05. The target is then
        the ratio of the parameter to its standard error from
        ``params_covariance("hessian")``. The threshold is the quantile of the normal
        distribution or, for squared error, of Student's t distribution with ``n - p``
        degrees of freedom.
    search : {"greedy", "linear"}, default="greedy"
        Search method.
    max_samples : int, default=None
        Largest set to consider; by default half of the training samples.
    hessian_solver : str or HessianSolver, default="auto"
        Solver for the Hessian H; results do not depend on it.
    n_jobs : int, default=None
        Number of joblib threads for scoring.

    Returns
    -------
    result : Bunch
        Results, with these attributes:

        indices : ndarray of shape (k,)
            Indices of the training samples, in the order of their removal.
        target_before, target_after : float
            The target at the optimum for all samples, and for all samples except these.
        threshold : float
            The value that the target had to cross. With `significance` it is the critical
            value after the removal, with the sign of `target_before`.
        flipped : bool
            Whether `target_before` and `target_after` lie on different sides of the
            threshold. If false, the search found no set with at most `max_samples` samples,
            and `indices` is the set at which it stopped.
        params : ndarray of shape (p,)
            Parameters of the model refitted without the samples.
        path : ndarray of shape (m, 2)
            Number of removed samples and target for each refit during the search.
        n_linear : int or None
            Number of samples that the linear ranking needs; None if it found no such set.

    Raises
    ------
    UnsupportedEstimatorError
        If `significance` is given and the parameter has no standard error.
    ValueError
        If no optimum of the training objective was found, or if an argument is not valid.

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

    A fit without these samples gives the same value:

    >>> others = X.index.delete(result.indices)
    >>> round(float(Ridge(alpha=0.0).fit(X.loc[others], y[others]).coef_[0]), 1)
    7.7
    """
    check_option("search", search, SEARCHES)
    problem_of(estimator).refuse_dask("most_influential_set")
    problem = problem_of(estimator, "leave_out_params", "most_influential_set")
    if problem.scaled is not None:
        problem = problem.scaled  # its penalty changes with the scales
    elif problem.is_whole:
        learned = [type(step).__name__ for _, step in problem.steps if learns_from_rows(step)]
        learned += ["gamma='scale' of the kernel"] if problem.gamma_moves else []
        warn(
            "most_influential_set keeps as fitted everything before the model that depends on "
            f"the samples: {', '.join(learned)}. To confirm the set, call remove_samples on a "
            "copy, which fits it again."
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
    # Refit from the optimum for all samples, so that results do not depend on the path.
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
    """Return the parameters (K, D) of the refit, on the scales that it fitted."""
    scales = base.point.objective.scales
    return base.theta if scales is None else scales.to_refit(base.theta)


class _Goal(ABC):
    """A target that has to cross a threshold.

    Attributes
    ----------
    before : float
        Target at the optimum for all rows.
    direction : {-1.0, 1.0}
        Sign of the change that is needed.
    """

    @abstractmethod
    def value(self, base):
        """Return the target at an optimum."""

    @abstractmethod
    def critical(self, base):
        """Return the threshold at an optimum."""

    @abstractmethod
    def first_order(self, base, removals):
        """Return the first-order change in the target without each row, (n,)."""

    @abstractmethod
    def one_step(self, base, removals):
        """Return the change in the target by one Newton step without each row, (n,)."""

    def flipped(self, base):
        """Return whether the target has crossed the threshold."""
        passed = self.direction * (self.value(base) - self.critical(base))
        return bool(passed > 0)

    def gap(self, base):
        """Return the remaining distance to the threshold, at least 0."""
        return max(0.0, self.direction * (self.critical(base) - self.value(base)))


class _FunctionalGoal(_Goal):
    """The value of a functional."""

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
    """A parameter divided by its standard error."""

    def __init__(self, position, level, full):
        self.level = level
        indicator = np.zeros(_layout(full).size)
        indicator[position] = 1.0
        self.V = _layout(full).from_public(indicator)
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
        dof = diagnostics.degrees_of_freedom(base.point, leverage)[self.output]
        return self.side * stats.t.isf(self.level / 2, dof)

    def flipped(self, base):
        # The sign may change as well: a coefficient that is significant on either side of
        # zero counts as significant.
        significant = abs(self.value(base)) > abs(self.critical(base))
        return bool(significant == (self.direction == self.side))

    def first_order(self, base, removals):
        # The parameter changes, and so do both factors of its standard error.
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
        """Return the first-order relative growth of phi without each row, (n,).

        It is (1 - chi-square_i / phi) / (n - p).
        """
        point = base.point
        present = point.objective.sample_weight > 0
        if not point.objective.formulation.loss.has_dispersion:
            return np.zeros(len(present))
        leverage = diagnostics.leverages(point, base.plain_factor)
        phi = diagnostics.dispersion(point, leverage)[self.output]
        dof = diagnostics.degrees_of_freedom(point, leverage)[self.output]
        chi_square = diagnostics.chi_squares(point)[:, self.output]
        return present * (1.0 - chi_square / phi) / dof

    def _relative_variance(self, base, leverage):
        """Return the relative growth of (H^-1)_jj without each row, (n,).

        It is r' W r / (1 - h) with r = x~_i H^-1 e_j, if the curvatures W do not change. A
        coupled loss leaves out the factor 1 / (1 - h), which is a second-order effect.
        """
        point = base.point
        solved = base.plain_factor.solve(self.V[None])[0]
        r = point.objective.design.predict(solved)
        squares = r * point.curvature_product(r)
        if not point.objective.coupled:
            squares = squares / np.maximum(1.0 - leverage, np.finfo(float).eps)
        return squares.sum(axis=1) / np.sum(self.V * solved)


class _Search:
    """Result of a search.

    Parameters
    ----------
    rows : array-like of int
        The set.
    flipped : bool
        Whether the target has crossed the threshold without the set.
    path : iterable of (int, float)
        Set size and target for each refit.
    """

    def __init__(self, rows, flipped, path):
        self.rows = np.asarray(rows, dtype=np.intp)
        self.flipped = flipped
        self.path = list(path)


def _linear_search(removals, goal, max_samples):
    """Return the shortest prefix of the linear ranking that is enough, by bisection."""
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
    """Remove rows one by one, always the row with the largest predicted effect."""
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
    """Return the goal for a target; raise an error if the arguments are not valid."""
    full = removals.full
    if not isinstance(threshold, Real) or not np.isfinite(threshold):
        raise ValueError(f"threshold={threshold!r} must be a finite number.")
    if isinstance(target, Functional):
        if significance is not None:
            raise ValueError(
                "significance needs a parameter as target: pass its name or index."
            )
        return _FunctionalGoal(target, threshold, full)
    functional = coefficient(estimator, target)
    if significance is None:
        return _FunctionalGoal(functional, threshold, full)
    if not isinstance(significance, Real) or not 0 < significance < 1:
        raise ValueError(f"significance={significance!r} must be a level between 0 and 1.")
    if threshold != 0.0:
        raise ValueError(
            "significance determines the threshold: leave threshold at its default 0.0."
        )
    removals.check_significance()
    return _SignificanceGoal(functional.position, significance, full)


def _layout(base):
    return base.point.objective.formulation.layout
