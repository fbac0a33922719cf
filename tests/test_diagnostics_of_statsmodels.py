"""Leverage, covariances and distances are those of statsmodels where it has them.

Where it has not, the oracles are formulas, and distances of refits.
"""

import numpy as np
import pytest
import statsmodels.api as sm
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.preprocessing import scale

from skinfluence.linear_model import (
    GammaRegressor,
    Lars,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    RidgeCV,
    TweedieRegressor,
)
from tests.cases import LINEAR
from tests.fits import NEWTON, data, frozen, relative_error

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
