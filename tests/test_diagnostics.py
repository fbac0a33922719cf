"""Case diagnostics meet their definitions at refits, for rows and for groups.

What leaves no model or no degrees of freedom is named.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes

from skinfluence import InfluenceWarning
from skinfluence.diagnostics import leverages
from skinfluence.kernel_ridge import KernelRidge
from skinfluence.linear_model import (
    ElasticNet,
    GammaRegressor,
    HuberRegressor,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
)
from skinfluence.losses import LogisticLoss, SoftmaxLoss
from skinfluence.pipeline import problem_of
from tests.cases import one_linear_case_of_each
from tests.fits import COUNTING, DESCENT, NEWTON, data, relative_error

COLUMNS = [
    "leverage",
    "self_influence",
    "cooks_distance",
    "dffits",
    "covratio",
    "studentized_residual",
    "standardized_residual",
    "leave_out_loss",
    "newton_decrement",
]


def test_dispersion_of_an_l1_penalty_is_that_of_the_refit():
    # On the support: its coefficients count, and the penalty falls with its signs.
    X, y, w = data("diabetes")
    reg = ElasticNet(alpha=0.2, **DESCENT).fit(X, y, w)
    summary, n = reg.influence_summary(), len(y)
    residual = y - reg.predict(X)
    support = np.append(reg.coef_ != 0, True)
    assert 2 < support.sum() < 11
    for row in (0, 3, 11):
        kept = np.delete(np.arange(n), row)
        refit = ElasticNet(alpha=0.2, **DESCENT).fit(X[kept], y[kept], w[kept])
        assert np.array_equal(np.append(refit.coef_ != 0, True), support)
        deleted = w[kept] @ (y[kept] - refit.predict(X[kept])) ** 2
        deleted /= n - 1 - summary.leverage.sum()
        # A row's share of the penalty also moves the fit: r is its part of the decrement.
        squares = w[row] * residual[row] ** 2 + summary.newton_decrement[row] ** 2
        found = summary.studentized_residual[row] ** 2
        np.testing.assert_allclose(found, squares / deleted, rtol=1e-6)
    moves = summary.dffits != 0
    assert moves.all()
    dfbetas = reg.dfbetas()
    np.testing.assert_array_equal((dfbetas != 0).all(axis=0), support)
    assert np.isfinite(dfbetas).all()


@pytest.mark.parametrize("case", **one_linear_case_of_each)
def test_measures_meet_their_definitions(case):
    if case.name == "l1-softmax":  # many rows cross the support at its penalty: 340 refits
        case = replace(case, estimator=clone(case.estimator).set_params(C=0.05))
    X, y, w = case.data()
    # If class weights count samples, taking a sample's weight is not taking the sample.
    counts = isinstance(case.estimator, COUNTING) and case.estimator.class_weight == "balanced"
    fitted = case.fit(np.ones_like(w) if counts else None).polish()
    summary = fitted.influence_summary()
    state = problem_of(fitted).state("auto")
    form, objective = state.point.objective.formulation, state.point.objective
    layout = form.layout
    identity = layout.from_public(np.eye(layout.size))
    H = layout.to_public(state.point.hessian_product(identity))
    weights = objective.sample_weight
    share = weights / weights.sum()
    removed = fitted.leave_out_params() - fitted.params_
    tried = np.unique([*case.rows, *range(0, len(y), 6)])
    d = removed[tried]
    # The measures are those of one Newton step, on the support.
    if not form.loss.constant_curvature or form.l1_support is not None:
        d = [fitted.newton_step(-share[i], X[[i]], y[[i]])[0] for i in tried]
        d = np.array(d)

    penalty = layout.to_public(objective.penalty)
    pinned = 0 if objective.pin is None else len(objective.pin) * layout.n_outputs
    rank = objective.free.sum() - objective.gauge.sum() - pinned
    total = rank - np.sum(np.diag(fitted.solve_hessian(np.eye(layout.size))) * penalty)
    np.testing.assert_allclose(summary.leverage.sum(), total, rtol=1e-9)
    # A row whose loss bends down pulls the fit away from itself.
    assert np.all(summary.leverage >= 0) or not form.loss.convex

    if not form.loss.has_dispersion:
        distance = np.einsum("ip,pq,iq->i", d, H, d)
        np.testing.assert_allclose(
            summary.cooks_distance[tried], distance / total, rtol=1e-5, atol=1e-12
        )
        np.testing.assert_allclose(summary.dffits[tried] ** 2, distance, rtol=1e-5, atol=1e-12)
        se = np.sqrt(np.diag(fitted.params_covariance("hessian")))
        moves = se > 0
        dfbetas = fitted.dfbetas()
        np.testing.assert_allclose(
            dfbetas[tried][:, moves], -d[:, moves] / se[moves], rtol=1e-6, atol=1e-9
        )
        assert not dfbetas[:, ~moves].any()
    on_itself = fitted.leave_out_loss(X, y).diagonal()
    np.testing.assert_allclose(summary.leave_out_loss, on_itself, rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(summary.self_influence, fitted.self_influence())

    inverse, identity_p = fitted.solve_hessian(np.eye(layout.size)), np.eye(layout.size)
    for row in case.rows:
        reduced = objective.without([row]).at(state.point.theta)
        if layout.n_outputs == 1 or not form.loss.has_dispersion:
            # The Hessian keeps "balanced" class weights, see the documentation.
            without = replace(objective, balance=None).without([row]).at(state.point.theta)
            row_hessian = H - layout.to_public(without.hessian_product(identity))
            expected = 1.0 / np.linalg.det(identity_p - inverse @ row_hessian)
            if form.loss.has_dispersion:
                ratio = summary.standardized_residual[row] / summary.studentized_residual[row]
                expected *= ratio ** (2 * summary.leverage.sum())
            np.testing.assert_allclose(summary.covratio[row], expected, rtol=1e-6)
        gap = layout.to_public(reduced.gradient) @ d[tried == row][0]
        np.testing.assert_allclose(summary.newton_decrement[row] ** 2, -gap, rtol=1e-5)
    change = weights[:, None] / weights.sum() * fitted.influence_params()
    np.testing.assert_allclose(
        fitted.params_covariance(), change.T @ change, rtol=1e-6, atol=1e-12
    )
    np.testing.assert_allclose(
        fitted.params_covariance("jackknife"), removed.T @ removed, rtol=1e-5, atol=1e-12
    )


GROUPED = {
    "softmax": (LogisticRegression(**NEWTON), "wine"),
    "poisson": (PoissonRegressor(alpha=0.1, **NEWTON), "counts"),
    "gamma": (GammaRegressor(alpha=0.05, **NEWTON), "amounts"),
    "elastic net": (ElasticNet(alpha=0.2, **DESCENT), "diabetes"),
    "huber": (HuberRegressor(tol=1e-10, max_iter=1000), "diabetes"),
    "kernel": (KernelRidge(alpha=0.5, kernel="rbf", gamma=0.05), "diabetes"),
    "targets": (Ridge(alpha=2.0, solver="cholesky"), "linnerud"),
}


@pytest.mark.parametrize("name", GROUPED)
def test_measures_of_groups_meet_their_definitions_at_refits(name):
    estimator, dataset = GROUPED[name]
    X, y, w = data(dataset)
    fitted = clone(estimator).fit(X, y, w)
    groups = np.arange(len(y)) % 7
    summary = fitted.influence_summary(groups=groups)
    total = fitted.influence_summary().leverage.sum()
    state = problem_of(fitted).state("auto")
    form = state.point.objective.formulation
    full = state.point.theta
    names = np.unique(groups)
    expected = np.empty((3, len(names)))
    for group in names:
        kept = groups != group
        refit = clone(estimator).fit(X[kept], y[kept], w[kept])
        raw = problem_of(refit).raw_predictions(X)
        target = state.point.objective.target
        expected[2, group] = form.loss.loss(target[~kept], raw[~kept]).mean()
        if name == "kernel":
            theta = np.zeros(full.shape)
            theta[:, np.flatnonzero(kept)] = refit.dual_coef_
        else:
            theta = problem_of(refit).theta
        # An l1 penalty may free other coefficients, which the Hessian of the fit leaves out.
        d, moved = theta - full, raw - state.point.raw_prediction
        distance = np.sum(moved * state.point.curvature_product(moved), axis=0)
        penalty = state.point.objective.penalty_product(d)
        distance += np.sum(penalty * state.point.objective.design.readings(d), axis=-1)
        phi = deleted = np.ones(len(distance))
        if form.loss.has_dispersion:
            counts = len(y) - state_leverage(fitted)
            chi2 = w[:, None] * form.loss.chi_square(target, state.point.raw_prediction)
            without = w[kept, None] * form.loss.chi_square(target[kept], raw[kept])
            phi = chi2.sum(axis=0) / counts
            deleted = without.sum(axis=0) / (counts - np.sum(~kept))
        expected[0, group] = np.sum(distance / phi) / total
        expected[1, group] = np.sqrt(np.sum(distance / deleted))
    tolerance = 1e-5 if form.loss.constant_curvature else 0.02
    np.testing.assert_array_equal(summary.size, np.bincount(groups))
    np.testing.assert_allclose(summary.cooks_distance, expected[0], rtol=tolerance)
    np.testing.assert_allclose(summary.dffits, expected[1], rtol=tolerance)
    np.testing.assert_allclose(summary.leave_out_loss, expected[2], rtol=tolerance)


def state_leverage(fitted):
    """Return the effective number of parameters for each output, (K,)."""
    state = problem_of(fitted).state("auto")
    return leverages(state.point, state.factor).sum(axis=0)


def test_softmax_of_two_outputs_is_the_binary_model():
    # Row by row the two are the same model, in other parameters.
    eta = np.linspace(-30.0, 30.0, 13)[:, None]
    for label in (0, 1):
        signed, code = np.full((13, 1), 2.0 * label - 1), np.full(13, label)
        two = np.hstack([np.zeros_like(eta), eta])
        np.testing.assert_allclose(
            SoftmaxLoss().chi_square(code, two).sum(axis=1),
            LogisticLoss().chi_square(signed, eta)[:, 0],
            rtol=1e-10,
        )


def test_residuals_have_the_sign_of_observed_less_expected():
    X, y, w = data("counts")
    reg = PoissonRegressor(alpha=0.1, **NEWTON).fit(X, y, w)
    summary = reg.influence_summary()
    above = y > reg.predict(X)
    np.testing.assert_array_equal(summary.studentized_residual > 0, above)
    np.testing.assert_array_equal(summary.dffits > 0, above)


def test_rows_of_weight_zero_do_not_count():
    X, y, w = data("diabetes")
    padded = np.append(w, [0.0, 0.0])
    more = Ridge(solver="cholesky").fit(
        np.vstack([X, X[:2] + 1]), np.append(y, [3, 4]), padded
    )
    less = Ridge(solver="cholesky").fit(X, y, w)
    found, expected = more.influence_summary(), less.influence_summary()
    for name in COLUMNS:
        np.testing.assert_allclose(found[name][:-2], expected[name], rtol=1e-8, atol=1e-12)
    assert np.all(found.leverage[-2:] == 0)
    assert np.all(found.cooks_distance[-2:] == 0)
    np.testing.assert_allclose(found.covratio[-2:], 1.0)


@pytest.mark.parametrize("hessian_solver", ["cholesky", "woodbury", "cg"])
def test_the_solver_does_not_matter(hessian_solver):
    X, y, w = data("wine")
    clf = LogisticRegression(fit_intercept=False, **NEWTON).fit(X, y, w)
    expected = clf.influence_summary()
    found = clf.influence_summary(hessian_solver=hessian_solver, n_jobs=2)
    for name in COLUMNS:
        assert relative_error(found[name], expected[name]) < 1e-6


def test_a_frame_keeps_the_index():
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    X = X.set_axis([f"patient {i}" for i in range(len(y))])
    reg = Ridge(alpha=0.1).fit(X, y)
    table = reg.influence_summary(as_frame=True)
    assert list(table.columns) == COLUMNS
    pd.testing.assert_index_equal(table.index, X.index)
    bunch = reg.influence_summary()
    assert list(bunch) == COLUMNS
    for name in COLUMNS:
        np.testing.assert_array_equal(table[name], bunch[name])
    reg.remove_samples([0, 2])
    pd.testing.assert_index_equal(
        reg.influence_summary(as_frame=True).index, X.index[[1, *range(3, 442)]]
    )
    reg.add_samples(X.iloc[[0]], y.iloc[[0]])
    assert reg.influence_summary(as_frame=True).index[-1] == "patient 0"
    reg = Ridge(alpha=0.1).fit(X.to_numpy(), y)
    assert isinstance(reg.influence_summary(as_frame=True).index, pd.RangeIndex)


def test_a_row_that_no_model_can_do_without_is_named():
    X, y, _ = data("diabetes")
    X = np.column_stack([X, np.arange(len(y)) == 5])
    reg = Ridge(alpha=0.0, solver="cholesky").fit(X, y)
    with pytest.warns(InfluenceWarning, match="row 5"):
        summary = reg.influence_summary()
    np.testing.assert_allclose(summary.leverage[5], 1.0)
    assert np.flatnonzero(np.isnan(summary.cooks_distance)).tolist() == [5]
    with pytest.warns(InfluenceWarning, match="row 5"):
        assert np.isnan(reg.params_covariance("jackknife")).all()


def test_a_group_that_no_model_can_do_without_is_named():
    X, y, _ = data("wine")
    clf = LogisticRegression(**NEWTON).fit(X, y)
    groups = np.array(["first", "second", "third"])[y]
    for ask in (
        lambda: clf.influence_summary(groups=groups).dffits,
        lambda: clf.dfbetas(groups),
    ):
        with pytest.warns(InfluenceWarning, match="group 'first'"):
            assert np.isnan(ask()).all()


def test_a_frame_of_groups_has_their_labels():
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    reg = Ridge(alpha=0.1).fit(X, y)
    sex = np.where(X.sex > 0, "male", "female")
    table = reg.influence_summary(groups=sex, as_frame=True)
    assert table.index.tolist() == ["female", "male"]
    assert table["size"].to_dict() == {"female": (sex == "female").sum(), "male": 207}
    one = reg.influence_summary(groups=[np.flatnonzero(sex == "male")], as_frame=True)
    np.testing.assert_allclose(one.to_numpy()[0], table.loc["male"])


def test_a_fit_that_leaves_no_degrees_of_freedom_is_named():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((30, 80)), rng.standard_normal(30)
    reg = Ridge(alpha=1.0).fit(X, y)
    with pytest.warns(InfluenceWarning, match=r"leaves 0\.\d+ degrees of freedom"):
        summary = reg.influence_summary()
    assert np.isnan(summary.studentized_residual).all()
    assert np.isfinite(summary.cooks_distance).all()
    with pytest.warns(InfluenceWarning, match="degrees of freedom"):
        assert np.isnan(reg.dfbetas()).all()
    assert np.isfinite(reg.params_covariance("hessian")).all()
    reg = Ridge(alpha=0.0).fit(X[:12, :11], y[:12])
    with pytest.warns(InfluenceWarning, match="degrees of freedom"):
        assert np.isnan(reg.params_covariance("hessian")).all()


def test_groups_must_partition_the_samples():
    X, y, _ = data("diabetes")
    reg = Ridge().fit(X, y)
    for kind in ("infinitesimal_jackknife", "jackknife"):
        with pytest.raises(ValueError, match="exactly one group"):
            reg.params_covariance(kind, [[0, 1], [1, 2]])
    with pytest.raises(ValueError, match="no groups"):
        reg.params_covariance("hessian", np.arange(len(y)))
    with pytest.raises(ValueError, match="kind='HC3' is not known"):
        reg.params_covariance("HC3")


def test_a_scale_has_no_residual():
    X, y, _ = data("diabetes")
    reg = HuberRegressor(alpha=0.1, max_iter=10_000, tol=1e-8).fit(X, y).polish()
    summary = reg.influence_summary()
    residual = y - reg.predict(X)
    inside = ~reg.outliers_
    assert inside.any()
    np.testing.assert_array_equal(np.sign(summary.studentized_residual), np.sign(residual))
    np.testing.assert_array_equal(np.isinf(summary.studentized_residual), reg.outliers_)
    # Without the row's own pull on the fit: Pearson's residual by the curvature 2/sigma.
    pearson = 2 * residual[inside] ** 2 / reg.scale_
    expected = np.sqrt(pearson + summary.newton_decrement[inside] ** 2)
    np.testing.assert_allclose(np.abs(summary.studentized_residual[inside]), expected)
