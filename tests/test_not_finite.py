"""Where a Hessian is not finite, the message names the cause, and its advice helps."""

import numpy as np
import pytest

from skinfluence import InfluenceWarning, SingularHessianError
from skinfluence.linear_model import LogisticRegression, PoissonRegressor, TweedieRegressor

METHODS = {
    "polish": lambda model: model.polish(),
    "self_influence": lambda model: model.self_influence(),
    "influence_params": lambda model: model.influence_params(),
    "leave_out_params": lambda model: model.leave_out_params(),
    "leave_out_exact": lambda model: model.leave_out_params(method="exact"),
    "convergence_report": lambda model: model.convergence_report(),
    "newton_correction": lambda model: model.newton_correction(),
    "influence_summary": lambda model: model.influence_summary(),
}
each_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    X = rng.random((30, 2)) + 1
    return X, X @ [1.0, 0.5] + 0.1 * rng.random(30)


@each_method
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_prediction_of_zero_under_the_identity_link(rows, method):
    X, y = rows
    reg = TweedieRegressor(power=1.5, link="identity", alpha=0, fit_intercept=False)
    reg.fit(X, y)  # starts at a prediction of 0, and stays there
    assert not reg.coef_.any()
    with pytest.raises(SingularHessianError, match=r"30 of 30 predictions .*, such as 0 for"):
        method(reg)
    method(reg.set_params(link="log").fit(X, y))
    method(reg.set_params(link="identity", fit_intercept=True).fit(X, y))


@each_method
def test_a_negative_prediction_under_the_identity_link(rows, method):
    X, y = rows
    reg = TweedieRegressor(power=1.5, link="identity", alpha=0.1).fit(X, y)
    reg.coef_ = np.array([-5.0, 3.0])
    with pytest.raises(SingularHessianError, match=r"such as -\d.*identity"):
        method(reg)


@each_method
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_parameter_that_is_no_number(rows, method, bad):
    X, y = rows
    clf = LogisticRegression().fit(X, y > np.median(y))
    clf.coef_ = np.array([[bad, 1.0]])
    with pytest.raises(SingularHessianError, match=f"a fitted parameter is {bad}"):
        method(clf)


@each_method
def test_a_prediction_that_overflows_the_loss(rows, method):
    X, y = rows
    reg = PoissonRegressor().fit(X, y)
    reg.intercept_ = 800.0
    with pytest.raises(SingularHessianError, match=r"row 0 overflows at its prediction of 8"):
        method(reg)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("solver", ["cholesky", "woodbury"])
def test_features_whose_squares_overflow(rows, solver):
    X, y = rows
    X, y = X * 1e160, y > np.median(y)
    with pytest.raises(SingularHessianError, match=r"rescale the features"):
        LogisticRegression().fit(X, y).self_influence(hessian_solver=solver)


def test_queries_outside_the_domain_are_named(rows):
    X, y = rows
    reg = TweedieRegressor(power=1.5, link="identity", solver="newton-cholesky").fit(X, y)
    queries = X.copy()
    queries[4] *= -50
    with pytest.warns(InfluenceWarning, match=r"1 of 30 sample\(s\), such as row 4"):
        influence = reg.influence_loss(queries, y)
    assert np.isnan(influence[4]).all()
    assert np.isfinite(np.delete(influence, 4, axis=0)).all()
    assert np.isfinite(reg.influence_prediction(queries)).all()
