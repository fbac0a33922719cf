"""What holds for every estimator on every problem, tried on random ones.

Each test draws problems of all `FAMILIES` that it is about: dense and sparse features of
any units, rank and memory layout, more features than samples, weights of any kind, with
and without intercept. A violation is printed as the `Problem` it was shrunk to.
"""

import re
import warnings
from contextlib import suppress

import numpy as np
import pytest
import sklearn
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.utils.validation import has_fit_parameter

from skinfluence import InfluenceWarning, SingularHessianError, from_fitted
from skinfluence.fitted import MIRROR_MODULES
from skinfluence.linear_model import BayesianRidge
from skinfluence.moments import MomentMixin
from skinfluence.pipeline import problem_of
from skinfluence.problem.requests import Removal
from skinfluence.removal import ONE_STEP
from skinfluence.solvers import WoodburySolver
from tests.problems import CONTAINERS, FAMILIES, SCALES, WEIGHTS, Problem, consistent_problem

EPS = np.finfo(np.float64).eps
METHODS = ("influence", "newton", "exact")


def families(condition=lambda traits: True):
    return [name for name, traits in FAMILIES.items() if condition(traits)]


@st.composite
def problems(draw, names=tuple(FAMILIES)):
    """Draw a problem of some families; it shrinks to few samples of simple features.

    Without an intercept the offset of the features, and everywhere the penalty, set the
    condition of the Hessian: up to 1e7 or so, which leaves the digits that are asked for.
    Features under an l1 penalty are independent, for a support of dependent ones has no
    derivative; and least squares have samples left over, for influence on a perfect fit is
    rounding. Both are told, see `test_degenerate`. Without an intercept features under an l1
    penalty are not far from 0, for coordinate descent would take a hundred thousand sweeps.
    """
    problem = _drawn(draw, names)
    if problem.kind == "l1":
        problem = problem.but(rank=problem.n_features)
        if not problem.intercept:
            problem = problem.but(offset=min(problem.offset, 1.0))
    if "least squares" in problem.family:
        rows = max(problem.n_samples, problem.n_features + 4)
        problem = problem.but(n_samples=rows + rows // 2)  # a third may have no weight
    return problem


def _drawn(draw, names):
    return consistent_problem(
        family=draw(st.sampled_from(list(names))),
        n_samples=draw(st.integers(12, 40)),
        n_features=draw(st.integers(1, 15)),
        rank=draw(st.integers(1, 15)),
        scale=draw(st.sampled_from(sorted(SCALES, key=lambda s: abs(np.log10(s))))),
        offset=draw(st.sampled_from((0.0, 1.0, 10.0))),
        weights=draw(st.sampled_from(WEIGHTS)),
        intercept=draw(st.booleans()),
        strength=draw(st.sampled_from((1.0, 10.0, 100.0, 0.1, 0.01))),
        container=draw(st.sampled_from(list(CONTAINERS))),
        seed=draw(st.integers(0, 2**31 - 1)),
    )


ALL = families()
SMOOTH = families(lambda t: "hinge" not in t.kind)
WITH_COEF = families(lambda t: "kernel" not in t.kind)
SMOOTH_WITH_COEF = families(lambda t: t.kind in ("smooth", "l1"))
PLAIN = families(lambda t: t.kind == "smooth")
SQUARED = families(lambda t: t.squared)


def assert_close(found, expected, tolerance, scale=None, name=None):
    """Assert a largest difference relative to the largest entry, NaN and inf in place."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(found[~finite], expected[~finite])
    found, expected = found[finite], expected[finite]
    difference = np.abs(found - expected).max(initial=0.0)
    largest = np.abs(expected).max(initial=0.0)
    largest = max(largest, 0.0 if scale is None else scale)
    assert tolerance == np.inf or difference <= tolerance * largest, name


def digits(tolerance, fitted, *solvers, eps=EPS):
    """Return the tolerance, or 10 eps / rcond where H says itself that it is larger.

    With the rounding `eps` of what H is made of. Any of some solvers may say so, "auto"
    without. None is left where held rows hold all
    others, or no optimum is found that held rows belong to: a warning tells.
    """
    largest = tolerance
    for solver in solvers or ("auto",):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            state = problem_of(fitted).state(solver)
        if state.factor.rcond == 0 or getattr(state.point, "misfit", 0.0) == np.inf:
            with pytest.warns(InfluenceWarning):
                fitted.self_influence()
            return np.inf
        largest = max(largest, 10 * eps / state.factor.rcond)
    return largest


def fit(problem, derivatives=True, X=None):
    """Return the fit of a problem, if it has an optimum, and that derivatives where asked.

    Huber's scale goes to 0 where there are few rows for each feature; and a kernel machine
    with all dual coefficients at their bounds has a constant that is anywhere in an
    interval. Either is told. Of other features X than those of the problem, where given.
    """
    fitted = problem.fit(X=X, y=problem.y)
    if problem.family == "huber" and fitted.scale_ < 1e-5 * np.abs(problem.y).max():
        words = "flat along .* scale|close to singular|not at its optimum"
        assert told(fitted, problem, words)
        assume(False)
    if derivatives and problem.kind == "kernel hinge":
        dual, _ = fitted.split_params(fitted.params_)
        bound = fitted.C * problem.w
        inside = (np.abs(dual) > 1e-9 * bound) & (np.abs(dual) < (1 - 1e-9) * bound)
        if not inside.reshape(-1, problem.n_samples).any(axis=1).all():
            assert told(fitted, problem, "no row is a margin vector")
            assume(False)
    return fitted


def told(fitted, problem, what):
    """Return whether influence is refused or comes with a warning, in these words."""
    with warnings.catch_warnings(record=True) as words:
        warnings.simplefilter("always")
        try:
            fitted.influence_loss(*problem.queries())
        except SingularHessianError as error:
            return re.search(what, str(error))
    return any(re.search(what, str(word.message)) for word in words)


def rows_of(X, rows):
    return X.tocsr()[rows] if sparse.issparse(X) else X[rows]


def change(params, fitted):
    """Return changes of the parameters, of kernel models of what the rows read of them."""
    layout = problem_of(fitted).objective.formulation.layout
    moved = layout.from_public(params) - problem_of(fitted).theta
    readings = problem_of(fitted).objective.design.readings(moved)
    return readings.reshape(*np.shape(params)[:-1], -1)


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
    # Influence of a hinge is what held rows leave of larger terms.
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
    """In raw predictions, for exact removal ends by what is left in these."""
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


# Weights.


@given(problem=problems(families(lambda t: t.kind != "kernel hinge")), row=st.integers(0, 11))
def test_weight_two_is_a_duplicated_row(problem, row):
    """All but libsvm's models, where either of two equal rows may be the one that is held."""
    problem = problem.but(weights="none", container="C order")
    fitted, (X, y) = fit(problem), problem.queries()
    # Some estimators balance numbers of samples, not weights.
    assume(problem_of(fitted).formulation.balanced_by != "count")
    w = problem.w
    w[row] = 2.0
    order = np.append(np.arange(problem.n_samples), row)
    if problem.has_coef:
        weighted = from_fitted(fitted, problem.X, problem.y, w)
        doubled = from_fitted(fitted, problem.X[order], problem.y[order])
    else:
        weighted = problem.fit(w=w)
        doubled = problem.fit(X=problem.X[order], y=problem.y[order], w=np.ones(len(order)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = weighted.influence_loss(X, y)
        tolerance = digits(1e-8, weighted)
        assert_close(doubled.influence_loss(X, y), expected[:, order], tolerance)
        if problem.is_smooth:
            size = np.abs(expected).max()
            kwargs = {"method": "exact"}
            expected = weighted.leave_out_loss(X, y, [[row]], **kwargs)
            found = doubled.leave_out_loss(X, y, [[row, len(order) - 1]], **kwargs)
            assert_close(found, expected, 1e-7, scale=size)


@given(problem=problems(families(lambda t: t.mean_form)), factor=st.sampled_from((1e-3, 7.0)))
def test_the_unit_of_weights_does_not_matter_in_mean_form(problem, factor):
    fitted, (X, y) = fit(problem), problem.queries()
    other = from_fitted(fitted, problem.X, problem.y, factor * problem.w)
    influence = fitted.influence_loss(X, y)
    assert_close(other.influence_loss(X, y), influence, digits(1e-9, fitted))


@given(problem=problems())
def test_the_samples_stay_as_they_are(problem):
    X, y, w = problem.X, problem.y, problem.w
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = problem.fit(X=X, y=y, w=w)
        with suppress(SingularHessianError):  # a refusal changes nothing, either
            answers(fitted, problem)
        with suppress(ValueError):
            fitted.remove_samples([10]) if problem.is_smooth else None
    assert abs(X - problem.X).max() == 0
    np.testing.assert_array_equal(y, problem.y)
    np.testing.assert_array_equal(w, problem.w)


# How the work is done and the data are held.


def answers(fitted, problem, **keywords):
    X, y = problem.queries()
    found = {
        "influence_loss": fitted.influence_loss(X, y, **keywords),
        "self_influence": fitted.self_influence(**keywords),
        "leave_out_loss": fitted.leave_out_loss(X, y, **keywords),
        "leave_out_params": change(fitted.leave_out_params(**keywords), fitted),
    }
    if problem.is_smooth:
        found["newton_step"] = fitted.newton_step(0.01, **keywords)
        for name, measure in fitted.influence_summary(**keywords).items():
            found[f"summary: {name}"] = measure
    return found


def assert_same_answers(found, expected, tolerance):
    for name in expected:
        largest = np.nanmax(np.abs(expected[name]), initial=0.0)
        assert_close(
            found[name], expected[name], tolerance, scale=max(largest, 1e-12), name=name
        )


@pytest.mark.filterwarnings("ignore::skinfluence.InfluenceWarning")
@given(problem=problems())
def test_jobs_and_blocks(problem):
    fitted = fit(problem)
    expected = answers(fitted, problem)
    tolerance = digits(1e-7, fitted)
    assert_same_answers(answers(fitted, problem, n_jobs=2), expected, tolerance)
    with sklearn.config_context(working_memory=0.01):
        solver = problem_of(fitted).cached_state.solver
        found = answers(fitted, problem, hessian_solver=solver)
    assert_same_answers(found, expected, tolerance)


@pytest.mark.filterwarnings("ignore::skinfluence.InfluenceWarning")
@given(problem=problems(SMOOTH), solver=st.sampled_from(("cholesky", "woodbury", "cg")))
def test_solver(problem, solver):
    fitted = fit(problem)
    expected = answers(fitted, problem)
    loss, objective = problem_of(fitted).formulation.loss, problem_of(fitted).objective
    if solver != "woodbury" and (not problem.has_coef or not loss.convex):
        return
    coef = solver == "woodbury" and problem.has_coef
    if coef and not WoodburySolver.is_applicable(objective):
        return
    found = answers(fitted, problem, hessian_solver=solver)
    assert_same_answers(found, expected, digits(1e-6, fitted, "auto", solver))


@pytest.mark.filterwarnings("ignore::skinfluence.InfluenceWarning")
@given(
    problem=problems(families(lambda t: t.kind != "kernel hinge")),
    container=st.sampled_from(list(CONTAINERS)),
    dtype=st.sampled_from((np.float64, np.float32, np.int32)),
)
def test_container(problem, container, dtype):
    """All but libsvm's models, which keep their rows in the container of the fit."""
    if dtype is np.int32 and problem.scale < 1e3:
        dtype = np.float32
    X = problem.samples[0].astype(dtype)
    fitted = fit(problem, X=CONTAINERS[problem.container](X.astype(np.float64)))
    same = from_fitted(fitted, CONTAINERS[container](X), problem.y, problem.w)
    # scikit-learn computes kernels of single precision in single precision. And features
    # that depend on each other do so only to that precision once they are rounded to it: rows
    # differ by this along directions that count as undetermined in least squares.
    dependent = "least squares" in problem.family and problem.rank < problem.n_features
    single = (not problem.has_coef or dependent) and dtype is np.float32
    eps = np.finfo(np.float32).eps if single else EPS
    tolerance = max(digits(1e-7, model, eps=eps) for model in (fitted, same))
    assert_same_answers(answers(same, problem), answers(fitted, problem), tolerance)


@pytest.mark.filterwarnings("ignore::skinfluence.InfluenceWarning")
@given(problem=problems(WITH_COEF))
def test_row_order(problem):
    fitted = fit(problem)
    order = np.random.default_rng(problem.seed).permutation(problem.n_samples)
    X = rows_of(problem.X, order)
    shuffled = from_fitted(fitted, X, problem.y[order], problem.w[order])
    expected = answers(fitted, problem)
    for name, array in expected.items():
        by_columns = name in ("influence_loss", "leave_out_loss")
        expected[name] = array[:, order] if by_columns else array[order]
    assert_same_answers(answers(shuffled, problem), expected, digits(1e-7, fitted))
