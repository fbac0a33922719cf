"""Case diagnostics against statsmodels, against refits and against their definitions."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.preprocessing import scale

from skinfluence import InfluenceWarning
from skinfluence.diagnostics import leverages
from skinfluence.kernel_ridge import KernelRidge
from skinfluence.linear_model import (
    ElasticNet,
    GammaRegressor,
    HuberRegressor,
    Lars,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    RidgeCV,
    TweedieRegressor,
)
from skinfluence.losses import LogisticLoss, SoftmaxLoss
from skinfluence.pipeline import problem_of
from tests.cases import (
    COUNTING,
    DESCENT,
    LINEAR,
    NEWTON,
    data,
    each_linear_case,
    frozen,
    relative_error,
)

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
TIGHT = 1e-8
GROUPS = np.arange(442) % 37
MEMBERS = [np.flatnonzero(group == GROUPS) for group in range(37)]


def with_ones(X):
    return np.column_stack([X, np.ones(len(X))])


def logit_data():
    X, y = load_breast_cancer(return_X_y=True)
    return scale(X)[:, :4], y


@pytest.fixture(scope="module", params=["plain", "weighted"])
def least_squares(request):
    """Return (Ridge without penalty, OLS of the rows times the root of their weight)."""
    X, y = load_diabetes(return_X_y=True)
    w = np.ones(len(y))
    if request.param == "weighted":
        w = np.random.default_rng(0).uniform(0.2, 2.0, len(y))
    root = np.sqrt(w)
    ols = sm.OLS(root * y, root[:, None] * with_ones(X)).fit()
    return Ridge(alpha=0.0, solver="cholesky").fit(X, y, w), ols


def test_least_squares_diagnostics_are_those_of_statsmodels(least_squares):
    reg, ols = least_squares
    reference, summary = ols.get_influence(), reg.influence_summary()
    assert relative_error(summary.leverage, reference.hat_matrix_diag) < TIGHT
    assert relative_error(summary.cooks_distance, reference.cooks_distance[0]) < TIGHT
    assert relative_error(summary.dffits, reference.dffits[0]) < TIGHT
    external = reference.resid_studentized_external
    assert relative_error(summary.studentized_residual, external) < TIGHT
    internal = reference.resid_studentized_internal
    assert relative_error(summary.standardized_residual, internal) < TIGHT
    assert relative_error(summary.covratio, reference.cov_ratio) < TIGHT
    assert relative_error(reg.dfbetas(), reference.dfbetas) < TIGHT


def test_groups_of_least_squares_are_those_of_refits_by_statsmodels(least_squares):
    reg, ols = least_squares
    y, X, (n, p) = ols.model.endog, ols.model.exog, ols.model.exog.shape
    X0, y0 = load_diabetes(return_X_y=True)
    precision, rows = [], []
    for group in np.unique(GROUPS):
        out = group == GROUPS
        refit = sm.OLS(y[~out], X[~out]).fit()
        assert refit.df_resid == n - out.sum() - p
        d = refit.params - ols.params
        distance = np.sum((X @ d) ** 2)
        loss = np.mean((y0[out] - with_ones(X0[out]) @ refit.params) ** 2)
        rows.append(
            [out.sum(), distance / p / ols.scale, np.sqrt(distance / refit.scale), loss]
        )
        scale = np.sqrt(refit.scale * np.diag(ols.normalized_cov_params))
        precision.append(-d / scale)
    summary = reg.influence_summary(groups=GROUPS)
    assert list(summary) == ["size", "cooks_distance", "dffits", "leave_out_loss"]
    for found, expected in zip(summary.values(), np.transpose(rows), strict=True):
        assert relative_error(found, expected) < TIGHT
    for groups in (GROUPS, MEMBERS):
        assert relative_error(reg.dfbetas(groups), np.array(precision)) < TIGHT


def test_least_squares_covariances_are_those_of_statsmodels(least_squares):
    reg, ols = least_squares
    assert relative_error(reg.params_covariance("hessian"), ols.cov_params()) < TIGHT
    for kind, name in [("infinitesimal_jackknife", "HC0"), ("jackknife", "HC3")]:
        expected = ols.get_robustcov_results(name).cov_params()
        assert relative_error(reg.params_covariance(kind), expected) < TIGHT
    clustered = ols.get_robustcov_results("cluster", groups=GROUPS, use_correction=False)
    for groups in (GROUPS, MEMBERS):
        found = reg.params_covariance(groups=groups)
        assert relative_error(found, clustered.cov_params()) < TIGHT


def test_jackknife_of_groups_leaves_them_out_together(least_squares):
    reg, ols = least_squares
    y, X = ols.model.endog, ols.model.exog
    refits = [sm.OLS(np.delete(y, m), np.delete(X, m, axis=0)).fit() for m in MEMBERS]
    change = np.array([refit.params for refit in refits]) - ols.params
    for groups in (GROUPS, MEMBERS):
        found = reg.params_covariance("jackknife", groups)
        assert relative_error(found, change.T @ change) < TIGHT


def reference_models():
    X, y = logit_data()
    clf = LogisticRegression(C=np.inf, **NEWTON).fit(X, y)
    newton = {"disp": 0, "method": "newton", "tol": 1e-14}
    yield clf, sm.Logit(y, with_ones(X)), newton
    tight = {"tol": 1e-15, "tol_criterion": "params", "maxiter": 200}
    yield clf, sm.GLM(y, with_ones(X), family=sm.families.Binomial()), tight
    X, y, _ = data("counts")
    reg = PoissonRegressor(alpha=0.0, **NEWTON).fit(X, y)
    yield reg, sm.GLM(y, with_ones(X), family=sm.families.Poisson()), tight


@pytest.mark.parametrize("which", range(3), ids=["Logit", "GLM-binomial", "GLM-poisson"])
def test_unpenalised_likelihoods_agree_with_statsmodels(which):
    ours, model, options = list(reference_models())[which]
    fit = model.fit(**options)
    reference, summary = fit.get_influence(), ours.influence_summary()
    assert relative_error(summary.leverage, reference.hat_matrix_diag) < TIGHT
    assert relative_error(summary.cooks_distance, reference.cooks_distance[0]) < TIGHT
    # The dispersion is known, so internal and external are the same.
    assert relative_error(summary.studentized_residual, reference.resid_studentized) < TIGHT
    assert relative_error(ours.dfbetas(), reference.dfbetas) < TIGHT
    if isinstance(model, sm.GLM):
        assert relative_error(summary.dffits, reference.d_linpred_scaled) < TIGHT
    assert relative_error(ours.params_covariance("hessian"), fit.cov_params()) < TIGHT
    robust = model.fit(**options, cov_type="HC0")
    assert relative_error(ours.params_covariance(), robust.cov_params()) < TIGHT
    groups = np.arange(len(model.endog)) % 23
    clusters = {"groups": groups, "use_correction": False}
    clustered = model.fit(**options, cov_type="cluster", cov_kwds=clusters)
    found = ours.params_covariance(groups=groups)
    assert relative_error(found, clustered.cov_params()) < TIGHT


@pytest.fixture(scope="module", params=["gamma", "tweedie"])
def log_link(request):
    """Return (ours, statsmodels' model, its fit): the log link is not the canonical one."""
    X, y, _ = data("amounts")
    log = sm.families.links.Log()
    if request.param == "gamma":
        reg, family = GammaRegressor(alpha=0.0, **NEWTON), sm.families.Gamma(log)
    else:
        reg = TweedieRegressor(power=1.5, alpha=0.0, **NEWTON)
        family = sm.families.Tweedie(log, var_power=1.5)
    model = sm.GLM(y, with_ones(X), family=family)
    return reg.fit(X, y), model, model.fit(tol=1e-15, maxiter=200)


def test_a_log_link_has_the_leverages_and_covariances_of_statsmodels(log_link):
    reg, model, fit = log_link
    summary = reg.influence_summary()
    assert relative_error(summary.leverage, fit.get_influence().hat_matrix_diag) < TIGHT
    # By Newton's method statsmodels takes the observed information, as the Hessian is.
    newton = {"method": "newton", "tol": 1e-15, "maxiter": 200}
    observed = model.fit(**newton)
    assert relative_error(reg.params_covariance("hessian"), observed.cov_params()) < TIGHT
    robust = model.fit(**newton, cov_type="HC0")
    assert relative_error(reg.params_covariance(), robust.cov_params()) < TIGHT


def test_cooks_distance_with_a_log_link_is_nearer_deletion_than_that_of_statsmodels(log_link):
    reg, model, fit = log_link
    y, X, tight = model.endog, model.exog, {"tol": 1e-15, "maxiter": 200}
    some = range(0, len(y), 4)
    refits = [
        sm.GLM(np.delete(y, i), np.delete(X, i, axis=0), family=model.family).fit(**tight)
        for i in some
    ]
    d = np.array([refit.params for refit in refits]) - fit.params
    ours = reg.influence_summary().cooks_distance[some]
    theirs = fit.get_influence().cooks_distance[0][some]
    observed = np.linalg.inv(model.fit(method="newton", **tight).cov_params())
    expected = np.linalg.inv(fit.cov_params())
    by_observed, by_expected = (
        np.einsum("ij,jk,ik->i", d, H, d) / d.shape[1] for H in (observed, expected)
    )
    # Whichever of the two deletion is measured by.
    assert 5 * relative_error(ours, by_observed) < relative_error(theirs, by_observed)
    assert relative_error(ours, by_expected) < relative_error(theirs, by_expected)


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
        # An own share of the penalty moves the fit too: r is what it adds to the decrement.
        squares = w[row] * residual[row] ** 2 + summary.newton_decrement[row] ** 2
        found = summary.studentized_residual[row] ** 2
        np.testing.assert_allclose(found, squares / deleted, rtol=1e-6)
    moves = summary.dffits != 0
    assert moves.all()
    dfbetas = reg.dfbetas()
    np.testing.assert_array_equal((dfbetas != 0).all(axis=0), support)
    assert np.isfinite(dfbetas).all()


def test_the_covariance_of_a_solution_of_least_norm_is_that_of_its_formula():
    X, y, w = data("dependent")
    reg = LinearRegression().fit(X, y, w)
    centred = X - np.average(X, axis=0, weights=w)
    inverse = np.linalg.pinv((centred.T * w) @ centred, rcond=1e-10, hermitian=True)
    residual = y - reg.predict(X)
    s2 = w @ residual**2 / (len(y) - 11)
    found = reg.params_covariance("hessian")
    assert relative_error(found[:-1, :-1], s2 * inverse) < TIGHT
    mean = np.average(X, axis=0, weights=w)
    intercept = s2 * (mean @ inverse @ mean + 1 / w.sum())
    np.testing.assert_allclose(found[-1, -1], intercept, rtol=TIGHT)


@pytest.mark.parametrize("case", **each_linear_case)
def test_measures_meet_their_definitions(case):
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
    some = np.unique([*case.rows, *range(0, len(y), 6)])
    d = removed[some]
    # The measures are those of one Newton step, on the support.
    if not form.loss.constant_curvature or form.l1_support is not None:
        d = [fitted.newton_step(-share[i], X[[i]], y[[i]])[0] for i in some]
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
            summary.cooks_distance[some], distance / total, rtol=1e-5, atol=1e-12
        )
        np.testing.assert_allclose(summary.dffits[some] ** 2, distance, rtol=1e-5, atol=1e-12)
        se = np.sqrt(np.diag(fitted.params_covariance("hessian")))
        moves = se > 0
        dfbetas = fitted.dfbetas()
        np.testing.assert_allclose(
            dfbetas[some][:, moves], -d[:, moves] / se[moves], rtol=1e-6, atol=1e-9
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
        gap = layout.to_public(reduced.gradient) @ d[some == row][0]
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


SQUARED_ERROR = [
    c
    for c in LINEAR
    if isinstance(c.estimator, Ridge | RidgeCV | LinearRegression | Lars)
    and not getattr(c.estimator, "positive", False)
]


@pytest.mark.parametrize("case", SQUARED_ERROR, ids=lambda case: case.name)
def test_deleted_dispersion_is_that_of_the_refit(case):
    # By hand from scikit-learn's refits, target by target.
    fitted = case.fit()
    X, y, w = case.data()
    dense = X.toarray() if hasattr(X, "toarray") else X
    rows = with_ones(dense) if fitted.fit_intercept else dense
    targets = y.reshape(len(y), -1)
    estimator = frozen(case, fitted)
    alphas = getattr(fitted, "alpha_", getattr(fitted, "alpha", 0.0))
    alphas = np.broadcast_to(alphas, targets.shape[1:])
    squares, distances, cook, p = np.zeros((2, 4)), np.zeros(2), np.zeros(2), 0.0
    for k, alpha in enumerate(alphas):
        ridge = np.full(rows.shape[1], alpha)
        ridge[dense.shape[1] :] = 0.0
        bend = (rows.T * w) @ rows + np.diag(ridge)
        inverse = np.linalg.pinv(bend, rcond=1e-10, hermitian=True)
        leverage = w * np.einsum("ij,jk,ik->i", rows, inverse, rows)
        p += leverage.sum()
        theta = inverse @ (rows.T * w) @ targets[:, k]
        residual = targets[:, k] - rows @ theta
        s2 = w @ residual**2 / (len(y) - leverage.sum())
        for at, row in enumerate(case.rows):
            kept = np.delete(np.arange(len(y)), row)
            refit = clone(estimator).fit(X[kept], y[kept], sample_weight=w[kept])
            coef = np.reshape(refit.coef_, (len(alphas), -1))[k]
            if fitted.fit_intercept:
                coef = np.append(coef, np.ravel(refit.intercept_)[k])
            deleted = targets[kept, k] - rows[kept] @ coef
            deleted_s2 = w[kept] @ deleted**2 / (len(y) - 1 - leverage.sum())
            r2 = w[row] * residual[row] ** 2 / (1 - leverage[row])
            distance = (coef - theta) @ bend @ (coef - theta)
            squares[at, 0] += r2 / deleted_s2
            distances[at] += distance / deleted_s2
            cook[at] += distance / s2
    rows = list(case.rows)
    summary = fitted.influence_summary()
    tolerance = 1e-8 if "csr" not in case.name else 1e-6  # refits by conjugate gradients
    np.testing.assert_allclose(
        summary.studentized_residual[rows] ** 2, squares[:, 0], rtol=tolerance
    )
    np.testing.assert_allclose(summary.dffits[rows] ** 2, distances, rtol=tolerance)
    np.testing.assert_allclose(summary.cooks_distance[rows], cook / p, rtol=tolerance)


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


def test_residuals_have_the_sign_of_what_was_observed():
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
