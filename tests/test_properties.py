"""What holds for every estimator on every problem, tried on random ones: the numbers.

Sums over the training samples, one array in several readings, derivatives against refits, and
removal. A violation is printed as the problem that violates it.
"""

import warnings

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.utils.validation import has_fit_parameter

from skinfluence import from_fitted
from skinfluence.fitted import MIRROR_MODULES
from skinfluence.linear_model import BayesianRidge
from skinfluence.moments import MomentMixin
from skinfluence.pipeline import problem_of
from skinfluence.problem.requests import Removal
from skinfluence.removal import ONE_STEP
from tests.drawn import SMOOTH, assert_close, change, digits, families, fit, problems, rows_of
from tests.problems import FAMILIES, Problem

METHODS = ("influence", "newton", "exact")


SMOOTH_WITH_COEF = families(lambda t: t.kind in ("smooth", "l1"))


PLAIN = families(lambda t: t.kind == "smooth")


SQUARED = families(lambda t: t.squared)


def change_of_predictions(params, fitted):
    """Return changes of the raw predictions of the training samples, shape (m, n K)."""
    objective = problem_of(fitted).objective
    moved = objective.formulation.layout.from_public(params) - problem_of(fitted).theta
    raw = objective.design.predict(moved)
    return np.moveaxis(raw, 0, 1).reshape(len(params), -1)


def test_every_exported_estimator_has_a_family():
    exported = {getattr(module, name) for module in MIRROR_MODULES for name in module.__all__}
    drawn = {type(Problem(family=name).unfitted()) for name in FAMILIES}
    # Random problems have weights and given penalties.
    drawn |= {cls for cls in exported if not has_fit_parameter(cls, "sample_weight")}
    drawn |= {BayesianRidge}
    estimators = {cls for cls in exported if isinstance(cls, type)}
    assert {cls for cls in estimators if not issubclass(cls, MomentMixin)} <= drawn


# Sums over the training samples.


@given(problem=problems(SMOOTH_WITH_COEF))
def test_influence_sums_to_the_pull_of_the_penalty(problem):
    """sum_i (w_i/S) I_up,params(z_i) = H^-1 Lam theta at an optimum, 0 in mean form."""
    fitted, w = fit(problem), problem.w
    contributions = (w / w.sum())[:, None] * fitted.influence_params()
    objective = problem_of(fitted).objective
    pull = objective.penalty_gradient(problem_of(fitted).theta)
    form = objective.formulation
    if form.penalty_share is not None:
        pull = pull - w.sum() * form.share_gradient(problem_of(fitted).theta)
    expected = fitted.solve_hessian(form.layout.to_public(pull)[None])[0]
    size = np.abs(contributions).max()
    assert_close(contributions.sum(axis=0), expected, 1e-7, scale=size)


@given(problem=problems(PLAIN))
def test_leverages_sum_to_the_effective_number_of_parameters(problem):
    """sum_i h_i = rank(H) - tr(H^+ Lam)."""
    fitted = fit(problem)
    objective = problem_of(fitted).objective
    p = len(fitted.params_)
    inverse = fitted.solve_hessian(np.eye(p))
    penalty = objective.formulation.layout.to_public(objective.penalty)
    rank = p - objective.gauge.sum()
    if objective.dependence is not None:
        rank -= len(objective.dependence[0]) * objective.penalty.shape[0]
    leverage = fitted.influence_summary().leverage
    assert leverage.min() > -1e-9
    np.testing.assert_allclose(leverage.sum(), rank - inverse.diagonal() @ penalty, atol=1e-6)


# One array in several readings.


@given(problem=problems())
def test_influence_on_losses_is_that_on_parameters_times_gradients(problem):
    fitted, (X, y) = fit(problem), problem.queries()
    influence = fitted.influence_loss(X, y)
    # v_q'H^-1 v_j is rounded by the lengths of both, not by the angle between them.
    size = max(np.abs(influence).max(), np.abs(fitted.self_influence()).max())
    # Influence of a hinge is the small rest of larger terms that margin vectors cancel.
    wide = digits(1e-8, fitted)
    narrow = wide if problem.kind == "kernel hinge" else digits(1e-9, fitted)
    if problem.has_coef:
        expected = fitted.loss_gradient(X, y) @ fitted.influence_params().T
        assert_close(influence, expected, wide, scale=size)
    functional = fitted.influence_functional(fitted.loss_gradient(X, y))
    assert_close(functional, influence, wide, scale=size)
    mean = fitted.influence_loss(X, y, average=True)
    assert_close(mean, influence.mean(axis=0), narrow, scale=size)
    chunks = fitted.influence_loss_chunked(X, y, working_memory=1e-4)
    assert_close(np.concatenate(list(chunks)), influence, narrow, scale=size)
    values, indices = fitted.influential_samples(X, y, 5, order="helpful")
    assert_close(values, np.sort(influence, axis=1)[:, :5], narrow, scale=size)
    found = np.take_along_axis(influence, indices, axis=1)
    assert_close(found, values, narrow, scale=size)


@given(problem=problems())
def test_self_influence_is_the_diagonal(problem):
    fitted = fit(problem)
    influence = fitted.influence_loss(problem.X, problem.y)
    tolerance = digits(1e-8, fitted)
    assert_close(fitted.self_influence(), influence.diagonal(), tolerance)
    # More weight for a row is less for the others of its class if these are balanced.
    moves = getattr(fitted, "class_weight", None) == "balanced"
    if not (problem.traits.mean_form or moves) and tolerance < np.inf:
        assert fitted.self_influence().max() <= tolerance * np.abs(influence).max()


@given(problem=problems(families(lambda t: t.target in ("binary", "classes"))))
def test_relabelling_is_a_difference_of_two_influences(problem):
    fitted, (X, y) = fit(problem), problem.queries()
    new = np.roll(problem.y, 1)
    found = fitted.influence_relabel(X, y, y_new=new)
    same = fitted.influence_relabel(X, y, y_new=problem.y)
    # Samples that count for "balanced" class weights are not in proportion to their weights.
    counts = problem_of(fitted).formulation.balanced_by == "count"
    lost = counts & (problem.w == 0)
    np.testing.assert_array_equal(same, np.where(lost, np.nan, np.zeros_like(same)))
    # A loss gradient is at the fitted parameters, influence at the optimum of the active set.
    point = problem_of(fitted).state("auto").point
    far = getattr(point, "misfit", 0.0) > 1e-8 * np.abs(point.raw_prediction).max()
    if problem.has_coef and not far and not (counts and np.any(problem.w != 1)):
        before = fitted.influence_params()
        after = fitted.influence_params(problem.X, new)
        gradient = fitted.loss_gradient(X, y)
        size = np.abs(gradient @ before.T).max()
        expected = gradient @ (after - before).T
        assert_close(found, expected, digits(1e-8, fitted), scale=size)


# Derivatives against the refits they are derivatives of.


@given(problem=problems(SMOOTH), row=st.integers(0, 11))
def test_influence_is_the_derivative_of_the_optimum(problem, row):
    """By central differences of optima with the weight of a row moved."""
    fitted, (X, y) = fit(problem), problem.queries()
    assume(
        problem_of(fitted).formulation.balanced_by != "count"
    )  # a weight is no multiplicity
    w = problem.w
    if w[row] == 0:
        return
    step = 1e-4 * w[row]
    losses = []
    for sign in (1, -1):
        moved = w.copy()
        moved[row] += sign * step
        other = from_fitted(fitted, problem.X, problem.y, moved).polish(tol=1e-13)
        losses.append(other.sample_loss(X, y))
    expected = w.sum() * (losses[0] - losses[1]) / (2 * step)
    influence = fitted.influence_loss(X, y)
    assert_close(influence[:, row], expected, 1e-4, scale=1e-3 * np.abs(influence).max())


# Removal.


@given(problem=problems(), method=st.sampled_from(METHODS), row=st.integers(0, 11))
def test_a_group_of_one_is_the_row(problem, method, row):
    """In raw predictions, because exact removal ends by their remaining change."""
    fitted = fit(problem, derivatives=method == "influence")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = change_of_predictions(fitted.leave_out_params(method=method), fitted)
        group = change_of_predictions(fitted.leave_out_params([[row]], method=method), fitted)
    size = np.nanmax(np.abs(rows))
    assert_close(group[0], rows[row], 1e-7, scale=size)


@given(problem=problems(SQUARED), rows=st.sets(st.integers(0, 11), min_size=1, max_size=5))
def test_newton_is_exact_for_squared_loss(problem, rows):
    fitted, rows = fit(problem), sorted(rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        newton = change(fitted.leave_out_params([rows]), fitted)
        exact = change(fitted.leave_out_params([rows], method="exact"), fitted)
    if problem.kind != "l1":
        assert_close(newton, exact, 1e-7, scale=np.abs(fitted.params_).max())


@given(problem=problems(SMOOTH_WITH_COEF), row=st.integers(0, 11))
def test_newton_step_with_the_weight_of_a_row_taken_is_its_removal(problem, row):
    fitted, w = fit(problem), problem.w
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        step = fitted.newton_step(-w[row] / w.sum())[row]
        base, request = problem_of(fitted).start_removal(Removal())
        rows = request.groups.padded(np.arange(len(request.groups)))
        # As it comes: leave_out_params refines a step that is not accurate.
        removed = base.remove(rows, ONE_STEP)[0]
    removed = base.point.objective.formulation.layout.to_public(removed) - fitted.params_
    size = np.nanmax(np.abs(removed))
    if np.isfinite(step).all() and np.isfinite(removed[row]).all():
        assert_close(step, removed[row], digits(1e-7, fitted), scale=size)


@given(problem=problems(), row=st.integers(0, 11))
def test_removing_a_sample_in_place_is_leaving_it_out(problem, row):
    fitted = fit(problem, derivatives=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = fitted.leave_out_params([[row]], method="exact")[0]
        if np.isnan(expected).any():
            return
        loss = fitted.leave_out_loss(*problem.queries(), [[row]], method="exact")[:, 0]
        removed = fitted.remove_samples([row])
    if problem.has_coef:
        assert_close(removed.params_, expected, 1e-8)
    assert problem_of(removed).objective.n_rows == problem.n_samples - 1
    assert_close(removed.sample_loss(*problem.queries()), loss, 1e-7, scale=1e-6)


@given(problem=problems(SMOOTH), row=st.integers(0, 11))
def test_a_sample_added_again_brings_the_model_back(problem, row):
    fitted = fit(problem)
    before = fitted.sample_loss(*problem.queries())
    if problem.w[row] == 0:
        return
    try:
        fitted.remove_samples([row])
    except ValueError as error:
        # Huber's scale may have to go to 0; of the other losses each has an optimum.
        if problem.family != "huber" or "that Newton's method can reach" not in str(error):
            raise
        return
    X = rows_of(problem.X, [row])
    fitted.add_samples(X, problem.y[[row]], problem.w[[row]])
    assert_close(fitted.sample_loss(*problem.queries()), before, 1e-6, scale=1e-6)
