"""Removal without refitting equals scikit-learn's own refit without the rows.

"exact" for every estimator and any group, "newton" for squared loss; what "newton" and
"influence" mean otherwise is written out densely.
"""

import copy
import warnings

import numpy as np
import pytest
import sklearn
from scipy import sparse
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import scale

from skinfluence import InfluenceWarning, gradients
from skinfluence.linear_model import LogisticRegression, PoissonRegressor, Ridge
from skinfluence.pipeline import problem_of
from skinfluence.removal import accuracies
from skinfluence.removal.stack import Stack
from skinfluence.solvers.woodbury import WoodburyFactor
from tests.cases import CASES, each_case
from tests.fits import NEWTON, data, frozen, params_without, relative_error
from tests.memory import peak
from tests.problems import Problem

METHODS = ["influence", "newton", "exact"]
FAST = [case for case in CASES if case.dataset != "digits"]
RIDGES = [
    case for case in CASES if case.name.startswith(("ridge", "kernel-ridge", "least-squares"))
]


def some_groups(n, largest=0.2, seed=0):
    """Return overlapping groups of one row to a fifth of all, more rows than parameters."""
    rng = np.random.default_rng(seed)
    sizes = [1, 2, 5, int(0.1 * n), int(largest * n)]
    return [rng.permutation(n)[:size] for size in sizes]


@pytest.mark.parametrize("case", **each_case)
def test_exact_is_the_refit_without_each_row(case):
    fitted = case.fit()
    estimator = frozen(case, fitted)
    params = fitted.leave_out_params(method="exact")
    for row in (0, 12):
        refit = params_without(estimator, case, row)
        assert relative_error(params[row], refit) < 1e-7
    # A group of one is the row.
    groups = fitted.leave_out_params([[4], [9], [0]], method="exact")
    np.testing.assert_allclose(groups, params[[4, 9, 0]], rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize(
    "case", [c for c in CASES if c.dataset != "digits"], ids=lambda c: c.name
)
def test_exact_is_the_refit_without_each_group(case):
    fitted = case.fit()
    estimator = frozen(case, fitted)
    X, _, _ = case.data()
    groups = some_groups(X.shape[0])
    params = fitted.leave_out_params(groups, method="exact")
    for found, rows in zip(params, groups, strict=True):
        refit = params_without(estimator, case, rows)
        assert relative_error(found, refit) < 1e-7


@pytest.mark.parametrize("case", RIDGES, ids=lambda c: c.name)
def test_newton_is_exact_for_squared_loss(case):
    fitted = case.fit()
    estimator = frozen(case, fitted)
    X, _, _ = case.data()
    params = fitted.leave_out_params()
    for row in range(0, X.shape[0], 7):
        refit = params_without(estimator, case, row)
        np.testing.assert_allclose(params[row], refit, rtol=1e-9, atol=1e-10)
    groups = some_groups(X.shape[0])
    for found, rows in zip(fitted.leave_out_params(groups), groups, strict=True):
        refit = params_without(estimator, case, rows)
        np.testing.assert_allclose(found, refit, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("case", [c for c in RIDGES if not c.kernel], ids=lambda c: c.name)
def test_the_error_of_influence_on_squared_loss_is_the_leverage(case):
    if case.dataset == "linnerud":
        pytest.skip("one leverage for each target")
    fitted = case.fit()
    if problem_of(fitted).formulation.balanced_by is not None:
        pytest.skip("the class weights of all rows change")
    exact = fitted.leave_out_params() - fitted.params_
    first_order = fitted.leave_out_params(method="influence") - fitted.params_
    s = 2 * problem_of(fitted).objective.row_weight[:, 0]
    layout = problem_of(fitted).fitted.formulation.layout
    x = problem_of(fitted).objective.design.rows()
    public = layout.to_public(np.repeat(x[:, None], layout.n_outputs, axis=1))
    leverage = s * np.einsum(
        "id,id->i",
        x,
        layout.from_public(fitted.solve_hessian(public))[:, 0],
    )
    found = np.linalg.norm(first_order - exact, axis=1) / np.linalg.norm(exact, axis=1)
    np.testing.assert_allclose(found, leverage, rtol=1e-6)


@pytest.mark.parametrize("dataset", ["cancer", "wine", "counts"])
def test_newton_and_influence_are_their_formulas(dataset):
    """Wherever the fit stopped: both start at the optimum of all rows."""
    X, y, w = data(dataset)
    kind, params = LogisticRegression, {}
    if dataset == "counts":
        kind, params = PoissonRegressor, {"alpha": 0.1}
    optimum = kind(**params, **NEWTON).fit(X, y, w)
    stopped = kind(**params, max_iter=3)
    with pytest.warns(UserWarning, match="converge"):
        stopped.fit(X, y, w)
    groups = [[3], [5, 9], [1, 2, 30]]
    newton = stopped.leave_out_params(groups)
    exact = stopped.leave_out_params(groups, method="exact")
    first_order = stopped.leave_out_params(groups, method="influence")
    influence = optimum.influence_params()
    for g, rows in enumerate(groups):
        reduced = type(optimum)(**optimum.get_params())
        reduced.__setstate__(optimum.__getstate__())
        # The same parameters on the other rows: its Newton correction is the step.
        kept = np.delete(np.arange(len(y)), rows)
        reduced.set_training_data(X[kept], y[kept], w[kept])
        step = optimum.params_ + reduced.newton_correction()
        if not np.allclose(newton[g], step, rtol=1e-9, atol=1e-10):  # it was refined
            change = np.linalg.norm(exact[g] - optimum.params_)
            assert np.linalg.norm(newton[g] - exact[g]) < 5e-3 * change
            assert relative_error(newton[g], exact[g]) < relative_error(step, exact[g])
        pull = -(w[rows] / w.sum()) @ influence[rows]
        np.testing.assert_allclose(
            first_order[g], optimum.params_ + pull, rtol=1e-8, atol=1e-10
        )


@pytest.mark.parametrize("method", ["influence", "newton"])
@pytest.mark.parametrize("case", **each_case)
def test_a_group_of_one_is_the_row(case, method):
    fitted = case.fit()
    rows = fitted.leave_out_params(method=method)
    groups = fitted.leave_out_params([[4], [9], [0]], method=method)
    np.testing.assert_allclose(groups, rows[[4, 9, 0]], rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["binary", "softmax-3", "ridge-alphas", "poisson"])
def test_results_do_not_depend_on_blocks_or_jobs(name, method):
    case = next(case for case in CASES if case.name == name)
    fitted = case.fit()
    n = case.data()[0].shape[0]
    groups = [*some_groups(n), []]
    expected = fitted.leave_out_params(groups, method=method)
    # Leaving nobody out gives the converged fit.
    np.testing.assert_allclose(expected[-1], fitted.params_, rtol=1e-8, atol=1e-10)
    found = fitted.leave_out_params(groups, method=method, n_jobs=2)
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)
    with sklearn.config_context(working_memory=0.1):
        found = fitted.leave_out_params(groups, method=method, hessian_solver="cholesky")
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)
    found = fitted.leave_out_params(groups, method=method, hessian_solver="cg")
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["binary", "softmax-3", "poisson", "squared-hinge-classes"])
def test_results_do_not_depend_on_the_cache(name, method, monkeypatch):
    # Chunks of 64 rows, so that groups have their rows in several.
    case = next(case for case in CASES if case.name == name)
    fitted = case.fit()
    groups = some_groups(case.data()[0].shape[0])
    expected = fitted.leave_out_params(groups, method=method)
    monkeypatch.setattr(gradients, "_CACHED", 1)
    found = fitted.leave_out_params(groups, method=method)
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", ["binary", "softmax-3", "ridge", "poisson", "tweedie-3"])
def test_rows_of_ordinary_data_share_one_hessian(name, monkeypatch):
    # Of 150 to 200 rows none needs a Hessian of its own, and a row takes the gradient in
    # double precision about once; otherwise every step takes it.
    fitted = next(case for case in CASES if case.name == name).fit()
    alone, doubles = [], []
    gradients = Stack.gradients

    def refit_apart(base, groups, start, *_):
        alone.extend(groups)
        return start, np.ones(len(groups), dtype=bool)

    monkeypatch.setattr(accuracies, "refit_apart", refit_apart)
    monkeypatch.setattr(
        Stack,
        "gradients",
        lambda stack, theta: [gradients(stack, theta), doubles.extend(theta)][0],
    )
    params = fitted.leave_out_params(method="exact")
    assert np.isfinite(params).all()
    assert not alone
    assert len(doubles) < 1.25 * len(params)


@pytest.mark.parametrize("C", [1.0, 1000.0])
def test_exact_from_a_fit_of_five_iterations_nearly_separable(C):
    X, y = load_breast_cancer(return_X_y=True)
    X, y = scale(X)[:200], y[:200]
    with pytest.warns(UserWarning, match="converge"):
        fitted = LogisticRegression(C=C, max_iter=5).fit(X, y)
    before = fitted.params_
    params = fitted.leave_out_params(method="exact")
    np.testing.assert_array_equal(fitted.params_, before)
    size = np.linalg.norm(params - np.median(params, axis=0), axis=1)
    for row in [*np.argsort(-size)[:8], 0, 50, 100, 150]:
        refit = LogisticRegression(C=C, **NEWTON).fit(np.delete(X, row, 0), np.delete(y, row))
        assert relative_error(params[row], refit.params_) < 1e-7


def test_exact_at_a_leverage_of_nearly_one():
    X, y, _ = data("cancer")
    X = np.column_stack([X, np.zeros(len(X))])
    X[3, -1] = 30.0  # the only row that says anything about the last coefficient
    fitted = LogisticRegression(C=100.0, **NEWTON).fit(X, y)
    params = fitted.leave_out_params(method="exact")
    refit = LogisticRegression(C=100.0, **NEWTON).fit(np.delete(X, 3, 0), np.delete(y, 3))
    assert relative_error(params[3], refit.params_) < 1e-7
    assert abs(params[3, -2]) < 1e-12
    assert abs(fitted.coef_[0, -1]) > 0.05


@pytest.mark.parametrize("refine", [0.01, 0.1, 1.0])
def test_refine_makes_the_largest_decrements_exact(refine):
    X, y, w = data("cancer")
    fitted = LogisticRegression(**NEWTON).fit(X, y, w)
    newton = fitted.leave_out_params()
    exact = fitted.leave_out_params(method="exact")
    refined = fitted.leave_out_params(refine=refine)
    changed = np.flatnonzero(np.abs(refined - newton).max(axis=1) > 0)
    # Where Newton's step is exact already, nothing changes.
    assert 0.95 * np.ceil(refine * len(y)) <= len(changed) <= np.ceil(refine * len(y))
    np.testing.assert_allclose(refined[changed], exact[changed], rtol=1e-7, atol=1e-9)
    rest = np.setdiff1d(np.arange(len(y)), changed)
    if len(rest):
        # The decrement ranks by what a removal moves, which is what may go wrong. "newton" has
        # refined the steps that did, so the first order shows it.
        error = np.linalg.norm(fitted.leave_out_params(method="influence") - exact, axis=1)
        assert np.median(error[changed]) > np.median(error)
        assert error[rest].max() <= error.max()


@pytest.mark.parametrize("weights", [(1e-6, 1.0), (1.0, 1e-6)])
def test_refine_ranks_groups_of_more_rows_than_columns(weights):
    X, y, _ = data("counts")
    groups = [np.arange(30), np.arange(30, 60)]
    w = np.ones(len(y))
    for rows, weight in zip(groups, weights, strict=True):
        w[rows] = weight
    fitted = PoissonRegressor(alpha=0.1, **NEWTON).fit(X, y, w)
    heavy = int(np.argmax(weights))
    refined = fitted.leave_out_params(groups, refine=0.5)
    newton = fitted.leave_out_params(groups)
    exact = fitted.leave_out_params(groups, method="exact")
    np.testing.assert_array_equal(refined[1 - heavy], newton[1 - heavy])
    np.testing.assert_array_equal(refined[heavy], exact[heavy])
    assert np.any(newton[heavy] != exact[heavy])


@pytest.mark.parametrize("name", ["binary", "softmax-3", "poisson", "ridge-alphas"])
def test_first_order_removal_is_additive_wherever_the_fit_stopped(name):
    case = next(case for case in CASES if case.name == name)
    fitted = case.fit()
    fitted.coef_ = 0.9 * fitted.coef_
    half = np.arange(0, case.data()[0].shape[0], 2)
    groups = [[], half[:2], half]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InfluenceWarning)
        none, few, many = fitted.leave_out_params(groups, method="influence")
        changes = fitted.leave_out_params(method="influence") - none
    # Whatever the fit, removal of nothing is the optimum.
    np.testing.assert_allclose(none, case.fit().polish().params_, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(few - none, changes[half[:2]].sum(axis=0), rtol=1e-7)
    np.testing.assert_allclose(many - none, changes[half].sum(axis=0), rtol=1e-7)


def test_labels_name_groups_in_sorted_order():
    X, y, w = data("diabetes")
    reg = Ridge(alpha=0.3, solver="cholesky").fit(X, y, w)
    hospital = np.random.default_rng(0).choice(["north", "east", "south"], len(y))
    params = reg.leave_out_params(hospital)
    for found, name in zip(params, ["east", "north", "south"], strict=True):
        kept = hospital != name
        refit = Ridge(alpha=0.3, solver="cholesky").fit(X[kept], y[kept], w[kept])
        np.testing.assert_allclose(found, refit.params_, rtol=1e-9, atol=1e-10)


def test_missing_labels_among_text_are_named():
    X, y, _ = data("wine")
    labels = np.array(["a", "b", None] * len(y), dtype=object)[: len(y)]
    with pytest.raises(ValueError, match="Name missing labels"):
        LogisticRegression().fit(X, y).leave_out_params(labels)


def test_rows_of_weight_zero_change_nothing():
    X, y, w = data("wine")
    w = w.copy()
    w[[3, 50]] = 0.0
    fitted = LogisticRegression(**NEWTON).fit(X, y, w)
    for method in METHODS:
        params = fitted.leave_out_params(method=method)
        np.testing.assert_allclose(params[3], fitted.params_, rtol=1e-9, atol=1e-11)
        assert np.all(np.isfinite(params))


@pytest.mark.parametrize("method", METHODS)
def test_the_last_member_of_a_class_is_nan_and_named(method):
    X, y, _ = data("wine")
    keep = np.concatenate([np.flatnonzero(y < 2), [170]])
    X, y = X[keep], np.array(["one", "two", "three"])[y[keep]]
    fitted = LogisticRegression(**NEWTON).fit(X, y)
    last = len(y) - 1
    with pytest.warns(InfluenceWarning, match=f"row {last} .class 'three'") as caught:
        params = fitted.leave_out_params(method=method)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert np.all(np.isnan(params[last]))
    assert np.all(np.isfinite(params[:last]))
    # A penalised intercept, or none, has an optimum.
    fitted = LogisticRegression(fit_intercept=False, **NEWTON).fit(X, y)
    assert np.all(np.isfinite(fitted.leave_out_params(method=method)))


@pytest.mark.parametrize("method", METHODS)
def test_a_group_with_a_whole_class_is_nan_and_named(method):
    X, y, _ = data("wine")
    fitted = LogisticRegression(**NEWTON).fit(X, y)
    with pytest.warns(InfluenceWarning, match=r"group 1 \(class 1\)") as caught:
        params = fitted.leave_out_params([[0, 1], np.flatnonzero(y == 1)], method=method)
    assert len(caught) == 1
    assert np.isnan(params).all(axis=1).tolist() == [False, True]


@pytest.mark.parametrize("method", METHODS)
def test_everything_is_refused_by_name(method):
    X, y, w = data("wine")
    fitted = LogisticRegression(**NEWTON).fit(X, y, w)
    with pytest.raises(ValueError, match="group 'all' contains every training sample"):
        fitted.leave_out_params(["all"] * len(y), method=method)
    w = w.copy()
    w[10:] = 0
    reg = Ridge(alpha=1.0).fit(X, y, w)
    with pytest.raises(ValueError, match="group 0 contains every"):
        reg.leave_out_params([np.arange(10)], method=method)


@pytest.mark.parametrize("method", ["newton", "exact"])
def test_a_coefficient_that_a_removal_leaves_undetermined_is_nan_and_named(method):
    X, y, _ = data("diabetes")
    X = np.column_stack([X, np.zeros(len(X))])
    X[6, -1] = 1.0
    reg = Ridge(alpha=0.0, solver="svd").fit(X, y)
    with pytest.warns(InfluenceWarning, match="row 6"):
        params = reg.leave_out_params(method=method)
    assert np.argwhere(np.isnan(params)).tolist() == [[6, X.shape[1] - 1]]
    rest = np.delete(np.arange(len(y)), 6)
    refit = Ridge(alpha=0.0, solver="svd").fit(X[rest, :-1], y[rest])
    np.testing.assert_allclose(np.delete(params[6], X.shape[1] - 1), refit.params_, rtol=1e-9)


def test_unpenalised_poisson_and_logit_equal_the_refit():
    for fitted in (
        PoissonRegressor(alpha=0.0, **NEWTON).fit(*data("counts")),
        LogisticRegression(C=np.inf, **NEWTON).fit(*data("cancer")),
    ):
        check = fitted.leave_out_check(8, method="exact", random_state=0)
        assert check.max_relative_error < 1e-6


@pytest.mark.parametrize("shift", [2000.0, 1e5])
def test_exact_of_uncentred_features_is_that_of_centred_ones(shift):
    # Only the intercept is free of the penalty, so shifting a feature changes nothing else.
    X, y, w = data("cancer")
    expected = LogisticRegression(**NEWTON).fit(X, y, w).leave_out_params(method="exact")
    X = X.copy()
    X[:, 0] += shift
    fitted = LogisticRegression(**NEWTON).fit(X, y, w)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", InfluenceWarning)
        found = fitted.leave_out_params(method="exact")
    # What rounding of so far a feature keeps from converging is NaN and named, the rest
    # is right to the digits that X has left.
    solved = np.isfinite(found).all(axis=1)
    assert len(caught) == (not solved.all())
    assert solved.mean() > 0.9
    assert relative_error(found[solved, :-1], expected[solved, :-1]) < 1e-12 * shift


@pytest.mark.parametrize("method", ["newton", "exact"])
@pytest.mark.parametrize("alpha", [1e-6, 1e-3, 1.0])
@pytest.mark.parametrize(("offset", "intercept"), [(0, False), (1, False), (30, True)])
def test_wide_data_under_a_weak_penalty(method, alpha, offset, intercept):
    """Leverages up to 1 - 1e-9, of rows that have nearly the same direction."""
    rng = np.random.default_rng(1)
    X = rng.standard_normal((12, 15)) + offset
    y = X @ rng.standard_normal(15) + rng.standard_normal(12)
    groups = [[0], [1, 5], [2, 3, 11]]
    fitted = Ridge(alpha=alpha, fit_intercept=intercept).fit(X, y)
    expected = [
        Ridge(alpha=alpha, fit_intercept=intercept, solver="svd")
        .fit(np.delete(X, rows, 0), np.delete(y, rows))
        .params_
        for rows in groups
    ]
    found = fitted.leave_out_params(groups, method=method)
    np.testing.assert_allclose(found, expected, atol=1e-8 * np.abs(expected).max())


def test_refine_does_not_revive_a_group_without_optimum():
    X, y, _ = data("wine")
    fitted = LogisticRegression(**NEWTON).fit(X, y)
    groups = [np.flatnonzero(y == 2), [0, 1]]
    with pytest.warns(InfluenceWarning) as caught:
        params = fitted.leave_out_params(groups, refine=1.0)
    assert len(caught) == 1
    assert np.isnan(params).all(axis=1).tolist() == [True, False]


def test_rows_that_cross_one_margin_are_iterated_to_the_end():
    from skinfluence.svm import LinearSVC

    rng = np.random.default_rng(10)
    X = rng.standard_normal((500, 3))
    y = (X[:, 0] + 0.7 * rng.standard_normal(500) > 0).astype(int)
    fitted = LinearSVC(dual=True, tol=1e-10, max_iter=1_000_000).fit(X, y).polish()
    params = fitted.leave_out_params(method="exact")
    for row in range(0, 500, 9):
        without = copy.copy(fitted).remove_samples([row], method="newton").polish()
        assert relative_error(params[row], without.params_) < 1e-9


def test_exact_of_a_wide_sparse_model_needs_no_square_of_its_width():
    rng = np.random.default_rng(0)
    X = sparse.random_array((60, 3000), density=0.01, format="csr", random_state=rng)
    fitted = LogisticRegression(tol=1e-8).fit(X, rng.integers(0, 2, 60))
    for solver in ("woodbury", "cg"):
        with sklearn.config_context(working_memory=16):
            memory, _ = peak(
                fitted.leave_out_params, [[0], [1]], method="exact", hessian_solver=solver
            )
        assert memory < 16 * 2**20


def test_rounding_that_turns_a_step_uphill_is_found_out(monkeypatch):
    """A row of leverage 1 - 1e-10 under a weak penalty, whatever the factor says of itself."""
    problem = Problem(
        "smooth hinge, classes",
        n_samples=14,
        n_features=15,
        rank=9,
        scale=1e-6,
        offset=30.0,
        weights="random",
        strength=1e-3,
        container="csc_array",
        seed=919209695,
    )
    fitted, kept = problem.fit(), np.delete(np.arange(problem.n_samples), 11)
    refit = problem.fit(X=problem.X.tocsr()[kept], y=problem.y[kept], w=problem.w[kept])
    monkeypatch.setattr(WoodburyFactor, "rcond", property(lambda self: 1.0, lambda *_: None))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InfluenceWarning)
        params = fitted.leave_out_params([[11]], method="exact")[0]
    predict = problem_of(fitted).objective.design.predict
    found, expected = (
        predict(problem_of(fitted).layout.from_public(p)) for p in (params, refit.params_)
    )
    assert relative_error(found, expected) < 1e-7
