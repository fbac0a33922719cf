"""Generalised linear models: which targets they take, and where H is not definite."""

import numpy as np
import pytest
from sklearn.base import clone

from skinfluence import SingularHessianError
from skinfluence.linear_model import GammaRegressor, PoissonRegressor, TweedieRegressor
from skinfluence.pipeline import problem_of
from tests.fits import NEWTON, data


@pytest.mark.parametrize(
    ("estimator", "bad", "said"),
    [
        (GammaRegressor(), 0.0, "above 0"),
        (TweedieRegressor(power=3), 0.0, "above 0"),
        (TweedieRegressor(power=1.5), -1.0, "at least 0"),
    ],
    ids=repr,
)
def test_targets_outside_the_range_are_refused(estimator, bad, said):
    X, y, _ = data("amounts")
    fitted = estimator.fit(X, y)
    with pytest.raises(ValueError, match=rf"y holds {bad}.*{said}"):
        fitted.influence_loss(X[:1], [bad])


def test_the_normal_power_takes_any_target():
    X, y, _ = data("diabetes")
    loss = TweedieRegressor().fit(X, y).sample_loss(X[:1], [-3.0])
    assert loss > 0


def test_a_hessian_that_is_not_positive_definite_is_refused():
    X, y, w = data("amounts")
    reg = TweedieRegressor(power=3, alpha=0.1, **NEWTON).fit(X, y, w)
    objective = problem_of(reg).objective
    curvature = objective.at(problem_of(reg).theta).curvature()
    assert (curvature < 0).any()  # of some rows, but not of their sum
    assert np.isfinite(reg.influence_params()).all()
    with pytest.raises(SingularHessianError, match="not positive definite"):
        reg.set_training_data(X, y / 10, w).influence_params()


def test_polish_goes_to_the_minimum_of_an_objective_that_is_not_convex():
    X, y, w = data("amounts")
    tight = TweedieRegressor(power=2, link="identity", alpha=0.1, **NEWTON).fit(X, y, w)
    loose = TweedieRegressor(power=2, link="identity", alpha=0.1, tol=0.1).fit(X, y, w)
    assert np.abs(loose.params_ - tight.params_).max() > 1e-3
    np.testing.assert_allclose(loose.polish().params_, tight.params_, rtol=1e-7, atol=1e-9)


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_a_row_without_weight_may_overflow():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 2))
    y = rng.poisson(np.exp(0.5 * X[:, 0])).astype(float)
    far, one = np.vstack([X, [2000.0, 0.0]]), np.append(y, 1.0)
    without = PoissonRegressor(alpha=1e-3, **NEWTON).fit(X, y)
    assert far[-1] @ without.coef_ > 710  # exp of it is infinite
    removed = clone(without).fit(far, one).leave_out_params([[60]], method="exact")
    np.testing.assert_allclose(removed[0], without.params_, rtol=1e-7, atol=1e-9)
    influence = without.influence_loss(X[:3], y[:3])
    without.set_training_data(far, one, np.append(np.ones(60), 0.0))
    again = without.influence_loss(X[:3], y[:3])
    np.testing.assert_allclose(again[:, :60], influence, rtol=1e-9, atol=1e-12)
    assert without.convergence_report().converged
