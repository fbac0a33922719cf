"""Search for the few training labels that determine a conclusion."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import Bunch

from skinfluence import influence
from skinfluence._typing import Estimator
from skinfluence.checks import check_number, check_option
from skinfluence.exceptions import warn
from skinfluence.functionals import Functional, coefficient
from skinfluence.inspection.goals import FunctionalGoal
from skinfluence.inspection.removals import Removals, check_newton, weighted_influence
from skinfluence.inspection.searches import SEARCHES, check_most, search_rows
from skinfluence.inspection.whole_removals import WholeRelabels, whole_goal, why_no_refit
from skinfluence.pipeline import problem_of
from skinfluence.results import Result
from skinfluence.solvers import HessianSolver
from skinfluence.steps import names_of_learners

# Relative margin for rounding in a proof.
_MARGIN = 1e-9


def most_influential_relabels(
    estimator: Estimator,
    target: str | int | Functional,
    *,
    threshold: float = 0.0,
    y_new: ArrayLike | None = None,
    search: Literal["greedy", "linear"] = "greedy",
    max_samples: int | None = None,
    hessian_solver: str | HessianSolver = "auto",
    n_jobs: int | None = None,
) -> Bunch:
    """Find a small set of training labels whose change flips a conclusion.

    The conclusion depends on the side of `threshold` on which a number lies. With the target
    ``functionals.margin(estimator, x)`` it is the prediction for x: the result lists the
    training labels that would have to be wrong for the prediction to be wrong. If they are
    few, it deserves less trust, and these labels are the ones to check.

    If the label of sample i changes from y_i to y', the target f changes to first order by::

        -w_i grad f' H^-1 (grad L(x_i, y') - grad L(x_i, y_i))

    which is the weight of the sample times `influence_relabel`, for the target in place of a
    loss. "linear" ranks the samples once and finds the number to relabel by bisection.
    "greedy" relabels the sample with the largest effect, refits, and ranks again; it runs
    "linear" first and never returns a larger set.

    All reported numbers come from a refit with the new labels. "balanced" class weights are
    those of the new labels; class weights that were given, and hyperparameters, stay. If steps
    of a pipeline learned from the labels, the refit is one of the whole pipeline. The last
    step with its present features then orders the samples, and refits of the pipeline decide
    how many it takes. If such a step is random, the steps stay as they were fitted. Then the
    numbers are those of the last step and may not hold for the pipeline. A warning says so.

    Parameters
    ----------
    estimator : object
        Fitted skinfluence estimator, or a pipeline that ends in one.
    target : str, int or Functional
        A functional from `skinfluence.functionals`, such as `margin`, or a parameter, as its
        name in `param_names()` or its index in `params_`.
    threshold : float, default=0.0
        Value that the target has to cross.
    y_new : array-like of shape (n,), default=None
        The new label that each training sample may get; samples whose label stays are not
        changed. If None, classifiers may give a sample any other class, and take the one with
        the largest effect. Regressors need it.
    search : {"greedy", "linear"}, default="greedy"
        Search method.
    max_samples : int, default=None
        Largest set to consider; by default half of the training samples.
    hessian_solver : str or HessianSolver, default="auto"
        Solver for the Hessian H; results do not depend on it.
    n_jobs : int, default=None
        Number of joblib threads.

    Returns
    -------
    result : Bunch
        Results, with these attributes:

        indices : ndarray of shape (k,)
            Indices of the training samples, in the order of their change.
        y_new : ndarray of shape (k,)
            Their new labels.
        target_before, target_after : float
            The target at the optimum for the labels as they are, and with the new labels.
        flipped : bool
            Whether these lie on different sides of the threshold. If false, the search found
            no set with at most `max_samples` samples.
        params : ndarray of shape (p,)
            Parameters of the model refitted with the new labels. Those of features that the
            refit of a pipeline does not have are NaN.
        path : ndarray of shape (m, 2)
            Number of new labels and target for each refit during the search.
        n_linear : int or None
            Number of samples that the linear ranking needs; None if it found no such set.
        n_at_least : int or None
            No set of fewer samples flips the conclusion. It exists for squared error without
            class weights and targets that are linear in the parameters, because the change
            is then linear in the labels; otherwise None, as with steps that learned from y.

    Raises
    ------
    UnsupportedEstimatorError
        If the loss has no curvature except at kinks, as the hinge.
    ValueError
        If no optimum of the training objective was found, or if an argument is not valid.

    See Also
    --------
    most_influential_set : Removes samples instead of changing their labels.
    rank_label_errors : Labels that the other samples contradict.

    References
    ----------
    Yang, Jain & Wallace, "Relabeling Minimal Training Subset to Flip a Prediction", 2024.

    Examples
    --------
    How many labels determine the least certain prediction for breast cancer?

    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from skinfluence.functionals import margin
    >>> from skinfluence.inspection import most_influential_relabels
    >>> from skinfluence.linear_model import LogisticRegression
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> X = scale(X)
    >>> clf = LogisticRegression(tol=1e-6).fit(X, y)
    >>> x = X[[abs(clf.decision_function(X)).argmin()]]
    >>> result = most_influential_relabels(clf, margin(clf, x))
    >>> len(result.indices), result.flipped
    (1, True)

    A fit with the other label predicts the other class:

    >>> y_changed = y.copy()
    >>> y_changed[result.indices] = result.y_new
    >>> LogisticRegression(tol=1e-6).fit(X, y_changed).predict(x) == clf.predict(x)
    array([False])
    """
    check_option("search", search, SEARCHES)
    problem = problem_of(estimator)
    problem.refuse_dask("most_influential_relabels", y_new)
    problem = problem_of(estimator, "leave_out_params", "most_influential_relabels")
    check_number("threshold", threshold)
    functional = target if isinstance(target, Functional) else coefficient(estimator, target)
    max_samples = check_most(max_samples, problem.objective.n_rows)
    check_newton(problem, "most_influential_relabels goes from optimum to optimum")
    candidates = _candidates(problem, y_new)
    learned = names_of_learners(getattr(problem, "steps", []))
    reason = why_no_refit(problem) if learned else None
    if reason is not None:
        warn(
            "most_influential_relabels keeps the steps that learned from the labels as they "
            f"were fitted: {', '.join(learned)}. So target_after and flipped are those of the "
            f"last step, and may not hold for the pipeline. The reason: {reason}"
        )
    relabels = _Relabels(problem, hessian_solver, n_jobs)
    goal = FunctionalGoal(functional, threshold, relabels.full)
    relabels.choose(candidates, goal)
    n_at_least = None if learned else _n_at_least(relabels, candidates, goal)
    changes = relabels
    if learned and reason is None:
        changes = WholeRelabels(relabels, hessian_solver)
        goal = whole_goal(goal, changes)
    result, n_linear = search_rows(changes, goal, search, max_samples)
    confirmed = changes.refit(result.rows, relabels.full)
    return Result(
        indices=result.rows,
        y_new=problem.decode(relabels.target_new[result.rows]),
        target_before=goal.before,
        target_after=goal.value(confirmed),
        flipped=goal.flipped(confirmed),
        params=changes.params(confirmed),
        path=np.array(sorted(result.path)),
        n_linear=n_linear,
        n_at_least=n_at_least,
    )


def _candidates(problem, y_new):
    """Return the encoded new labels to choose from, a list of targets for all rows."""
    encoder, n = problem.formulation.target, problem.objective.n_rows
    if y_new is not None:
        target = encoder.encode(y_new)
        if len(target) != n:
            raise ValueError(
                f"y_new holds {len(target)} labels, but there are {n} training samples: give "
                "one label for each sample, and the old label if it must not change."
            )
        return [target]
    if not problem.is_classifier:
        raise ValueError(
            f"{problem.name} is a regressor, so there is no other label: pass y_new, the "
            "target that each training sample may get."
        )
    return [encoder.encode(np.full(n, label)) for label in encoder.classes]


class _Relabels(Removals):
    """Exact refits with new labels for sets of rows.

    Attributes
    ----------
    full : Base
        Optimum for the labels as they are.
    target_new : ndarray
        The encoded new label that each row may get.
    """

    def choose(self, candidates, goal):
        """Take for each row the new label with the largest effect towards a goal."""
        V = goal.gradient(self.full)
        effects = [
            goal.direction * self.effects(self.full, V, target) for target in candidates
        ]
        best = np.argmax(effects, axis=0)
        self.target_new = self.objective.target.copy()
        for place, target in enumerate(candidates):
            self.target_new[best == place] = target[best == place]

    def effects(self, base, V, target):
        """Return the first-order change in a scalar for a new label of each row, (n,)."""
        return weighted_influence(base, V, influence.relabel_rows(base.point, target))

    def refit(self, rows, start):
        """Return the base with the new labels of some rows, or None without an optimum."""
        target = self.objective.target.copy()
        target[rows] = self.target_new[rows]
        objective = replace(self.objective, target=target, balance=None).balanced()
        return self.base_at_optimum(objective, start)

    def change(self, base, V):
        return self.effects(base, V, self.target_new)

    first_order = change


def _n_at_least(relabels, candidates, goal):
    """Return a proved lower bound, or None.

    For squared error without class weights the parameters are linear in the labels, so the
    largest change by k labels is the sum of the k largest effects.
    """
    full = relabels.full
    form = full.point.objective.formulation
    condition = goal.condition(full)
    is_linear = form.loss.constant_curvature and form.is_smooth and form.class_weight is None
    if condition is None or not is_linear:
        return None
    counts = []
    for value, V in condition.parts:
        gap = condition.direction * (condition.threshold - value)
        effects = [condition.direction * relabels.effects(full, V, t) for t in candidates]
        largest = np.sort(np.maximum(np.max(effects, axis=0), 0.0))[::-1]
        sums = np.cumsum(largest) * (1.0 + _MARGIN)
        counts.append(1 + int(np.sum(sums < gap)))
    return max(counts) if condition.direction > 0 else min(counts)
