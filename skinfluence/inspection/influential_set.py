"""Search for the few training samples that determine a conclusion."""

from __future__ import annotations

from typing import Literal

import numpy as np
from sklearn.utils import Bunch

from skinfluence._typing import Estimator, GroupsLike
from skinfluence.checks import check_number, check_option
from skinfluence.exceptions import warn
from skinfluence.functionals import Functional, coefficient
from skinfluence.inspection.conditions import has_bound, least_removals
from skinfluence.inspection.goals import FunctionalGoal, SignificanceGoal
from skinfluence.inspection.removals import make_removals
from skinfluence.inspection.robust_goal import COVARIANCES, RobustGoal, cluster_codes
from skinfluence.inspection.searches import SEARCHES, check_most, search_rows
from skinfluence.inspection.whole_removals import WholeRemovals, whole_goal, why_no_refit
from skinfluence.pipeline import problem_of
from skinfluence.results import Result
from skinfluence.solvers import ConjugateGradientSolver, HessianSolver
from skinfluence.stages import learning_steps

_BOUNDS = ("auto", "pairs", "leverages")
# With "auto", the bound takes at most seconds: limits on the number of rows in pairs, and on
# the numbers of multiplications for pairs and for leverages.
_MOST_PAIRED = 4096
_MOST_FOR_PAIRS = 2e9
_MOST_FOR_LEVERAGES = 2e10


def most_influential_set(
    estimator: Estimator,
    target: str | int | Functional,
    *,
    threshold: float = 0.0,
    significance: float | None = None,
    covariance: Literal["hessian", "HC0", "HC1", "HC2", "HC3", "cluster"] = "hessian",
    groups: GroupsLike = None,
    opposite_sign: bool = False,
    search: Literal["greedy", "linear"] = "greedy",
    max_samples: int | None = None,
    bound: Literal["auto", "pairs", "leverages"] | None = "auto",
    hessian_solver: str | HessianSolver = "auto",
    n_jobs: int | None = None,
) -> Bunch:
    """Find a small set of training samples whose removal changes a conclusion.

    The conclusion depends on the side of `threshold` on which a number lies. Examples are
    the sign of a coefficient, a predicted class, and whether the gap between two groups
    exceeds a limit. With `significance`, the conclusion is whether a coefficient differs
    significantly from zero.

    An exact search for the smallest set would have to try all sets. The two searches here
    give an upper bound on its size. For some targets there is also a proved lower bound,
    `n_at_least`, so that the size of the smallest set is known up to a range. The searches:

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
    Hyperparameters stay as fitted; "balanced" class weights are those without the samples.
    The refit of a pipeline fits every step again, and ``gamma="scale"`` moves with the
    samples. There the searches order the samples by the last step with its present features,
    plus the first-order effect of the other steps on the target if it has no `significance`.
    Refits of the whole pipeline then decide how many samples it takes. If a step cannot be
    fitted again because it is random, the steps stay as they were fitted. In scikit-learn's
    own `Pipeline` they stay as well, because it does not store its samples. In both cases the
    numbers are those of the last step and may not hold for the pipeline; a warning says so.

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
        the ratio of the parameter to its standard error, and the conclusion is whether it
        is significant. The threshold is the quantile of the normal distribution or, for
        squared error, of Student's t distribution with ``n - p`` degrees of freedom, or
        ``G - 1`` with G clusters.
    covariance : {"hessian", "HC0", "HC1", "HC2", "HC3", "cluster"}, default="hessian"
        Standard error for `significance`: from ``params_covariance("hessian")``, robust to
        unequal variances, or clustered in `groups`. "HC0" is that of
        ``params_covariance("infinitesimal_jackknife")``. "HC1" multiplies its square by
        ``n / (n - p)``. "HC2" and "HC3" divide the share of each sample by 1 - h and
        (1 - h)^2 with its leverage h. "cluster" sums within the groups first and multiplies
        by ``G/(G - 1) (n - 1)/(n - p)``. Every refit computes it again.
    groups : array-like of shape (n,) or list of index arrays, default=None
        Group of each sample, for "cluster". The search still removes single samples.
    opposite_sign : bool, default=False
        Whether the parameter has to become significant with the opposite sign, so that both
        its sign and its significance contradict the conclusion. Only with `significance`.
    search : {"greedy", "linear"}, default="greedy"
        Search method.
    max_samples : int, default=None
        Largest set to consider; by default half of the training samples.
    bound : {"auto", "pairs", "leverages"} or None, default="auto"
        How to compute the lower bound `n_at_least`. "pairs" uses the products of all pairs of
        samples, in O(n^2 p) operations on blocks of rows. "leverages" replaces them by upper
        bounds, in O(n p^2); its result is smaller. "auto" chooses a bound that takes seconds:
        "pairs" up to 4096 samples if p is not large, else "leverages", and no bound for very
        many parameters or if `hessian_solver` iterates. None leaves the bound out.
    hessian_solver : str or HessianSolver, default="auto"
        Solver for the Hessian H; results do not depend on it.
    n_jobs : int, default=None
        Number of joblib threads for scoring and for the lower bound.

    Returns
    -------
    result : Bunch
        Results, with these attributes:

        indices : ndarray of shape (k,)
            Indices of the training samples, in the order of their removal.
        target_before, target_after : float
            The target at the optimum for all samples, and for all samples except these; NaN
            if the refit of a pipeline does not have the parameter.
        threshold : float
            The value that the target had to cross. With `significance` it is the critical
            value after the removal, with the sign of `target_before`.
        flipped : bool
            Whether `target_before` and `target_after` lie on different sides of the
            threshold. If false, the search found no set with at most `max_samples` samples,
            and `indices` is the set at which it stopped.
        params : ndarray of shape (p,)
            Parameters of the model refitted without the samples. Those of features that the
            refit of a pipeline does not have are NaN.
        path : ndarray of shape (m, 2)
            Number of removed samples and target for each refit during the search.
        n_linear : int or None
            Number of samples that the linear ranking needs; None if it found no such set.
        n_at_least : int or None
            No set of fewer samples flips the conclusion. If it equals the size of `indices`,
            no smaller set exists. If no set was found, it is at most ``max_samples + 1``.
            None if there is no proof; see Notes.

    Raises
    ------
    UnsupportedEstimatorError
        If `significance` is given and the parameter has no standard error.
    ValueError
        If no optimum of the training objective was found, or if an argument is not valid.

    See Also
    --------
    most_influential_relabels : Changes labels instead of removing samples.
    reweigh_samples : Changes weights to move a number to a value.

    Notes
    -----
    The lower bound exists for targets that are linear in the parameters: parameters, mean
    predictions of regressors and their gaps, and `margin`. With covariance="hessian" it
    exists for `significance` in least squares without penalty and in likelihoods. With
    another covariance and `opposite_sign`, it is that of the sign. The model needs a
    squared, a logistic or a smooth hinge loss and one penalty that does not depend on the
    samples. Outputs must not share a softmax, class weights must not be "balanced", and no
    step before the model may learn from the samples, because the bound is that of a model on
    fixed features.

    For squared error the target changes without the samples S by
    ``a_S' (I - P_SS)^-1 e_S``, with the hat matrix P, the residuals e and the effects a of
    single residuals on the target. The bound sums the largest terms over samples and pairs
    of samples, and bounds the remainder by the largest eigenvalue that a block ``P_SS`` of
    this size may have. Other losses add a term for the change in their curvature, which is
    at most ``exp(|d|)`` for a change d in the raw prediction. The bound is close for a few
    samples, and loose for many and for samples with high leverage. It allows for rounding.

    References
    ----------
    Broderick, Giordano & Meager, "An Automatic Finite-Sample Robustness Metric", 2020, for
    the linear ranking; Kuschnig, Zens & Crespo Cuaresma, "Hidden in Plain Sight:
    Influential Sets in Linear Regression", 2021, for the adaptive search; Rubinstein &
    Hopkins, "Robustness Auditing for Linear Regression: To Singularity and Beyond", 2024, for
    bounds from the largest products over pairs; Bach, "Self-concordant analysis for logistic
    regression", 2010, for changes in curvature.

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
    if bound is not None:
        check_option("bound", bound, _BOUNDS)
    problem_of(estimator).refuse_dask("most_influential_set")
    problem = problem_of(estimator, "leave_out_params", "most_influential_set")
    is_balanced = problem.fitted.params.get("class_weight") == "balanced"
    is_fixed = not problem.is_whole and not is_balanced
    is_whole = False
    if problem.scaled is not None:
        problem = problem.scaled  # its penalty changes with the scales
    elif problem.is_whole:
        is_whole = _has_refits(problem)
    max_samples = check_most(max_samples, problem.objective.n_rows)
    removals = make_removals(problem, hessian_solver, n_jobs)
    test = {
        "significance": significance,
        "covariance": covariance,
        "groups": groups,
        "opposite_sign": opposite_sign,
    }
    goal = _make_goal(estimator, target, threshold, test, problem, removals)
    if is_whole:
        removals = WholeRemovals(removals, hessian_solver)
        goal = whole_goal(goal, removals)
    result, n_linear = search_rows(removals, goal, search, max_samples)
    n_at_least = None
    if is_fixed:
        n_at_least = _n_at_least(removals, goal, result, max_samples, bound)
    # Refit from the optimum for all samples, so that results do not depend on the path.
    confirmed = removals.refit(result.rows, removals.full)
    return Result(
        indices=result.rows,
        target_before=goal.before,
        target_after=goal.value(confirmed),
        threshold=goal.critical(confirmed),
        flipped=goal.flipped(confirmed),
        params=removals.params(confirmed),
        path=np.array(sorted(result.path)),
        n_linear=n_linear,
        n_at_least=n_at_least,
    )


def _has_refits(problem):
    """Return whether the whole fit can be repeated; warn with the reason if not."""
    reason = why_no_refit(problem)
    if reason is not None:
        warn(
            "most_influential_set keeps these as they were fitted: "
            f"{', '.join(learning_steps(problem.steps))}. So target_after and flipped are "
            f"those of the last step, and may not hold for the pipeline. The reason: {reason}"
        )
    return reason is None


def _n_at_least(removals, goal, result, max_samples, bound):
    """Return a proved lower bound on the size of a set that flips the target, or None."""
    full = removals.full
    condition = goal.condition(full) if has_bound(full.point.objective) else None
    if bound == "auto":
        bound = _affordable_bound(removals)
    if condition is None or bound is None:
        return None
    # The set that was found is a bound, too.
    most = len(result.rows) - 1 if result.flipped else max_samples
    is_paired = bound == "pairs"
    return least_removals(full, condition, most, is_paired=is_paired, n_jobs=removals.n_jobs)


def _affordable_bound(removals):
    """Return the value of `bound` that "auto" selects."""
    design = removals.objective.design
    n, d = design.n_rows, design.n_columns
    if isinstance(removals.solver, ConjugateGradientSolver):
        return None  # every row is a solve by iterations
    if n <= _MOST_PAIRED and n * d * (n + d) <= _MOST_FOR_PAIRS:
        return "pairs"
    return "leverages" if n * d * min(n, d) <= _MOST_FOR_LEVERAGES else None


def _make_goal(estimator, target, threshold, test, problem, removals):
    """Return the goal for a target; raise an error if the arguments are not valid.

    The dict `test` has the arguments for a test of significance.
    """
    full, level, covariance = removals.full, test["significance"], test["covariance"]
    check_number("threshold", threshold)
    check_option("covariance", covariance, ("hessian", *COVARIANCES))
    if (test["groups"] is not None) != (covariance == "cluster"):
        raise ValueError(
            f"covariance={covariance!r} and groups do not fit together: groups need "
            "covariance='cluster', which needs groups."
        )
    if level is None:
        if covariance != "hessian" or test["opposite_sign"]:
            raise ValueError(
                "covariance, groups and opposite_sign belong to a test: pass its level as "
                "significance."
            )
    elif isinstance(target, Functional):
        raise ValueError("significance needs a parameter as target: pass its name or index.")
    if isinstance(target, Functional):
        return FunctionalGoal(target, threshold, full)
    functional = coefficient(estimator, target)
    if level is None:
        return FunctionalGoal(functional, threshold, full)
    check_number("significance", level, "a level between 0 and 1", least=0, most=1)
    if threshold != 0.0:
        raise ValueError(
            "significance determines the threshold: leave threshold at its default 0.0."
        )
    removals.check_significance()
    arguments = functional.position, level, bool(test["opposite_sign"]), full
    if covariance == "hessian":
        return SignificanceGoal(*arguments)
    cluster = None
    if covariance == "cluster":
        cluster = cluster_codes(problem, full, test["groups"])
    return RobustGoal(*arguments, covariance, cluster)
