"""Fits at a knot of the Lasso's path, where a coefficient is about to enter or leave.

Its derivatives for more and for less weight on a sample differ. Influence is one of them, and
a warning says how far the other one is. The oracle is scikit-learn's own weighted Lasso at
the frozen alpha.
"""

import re
import warnings

import numpy as np
import pytest
from sklearn import linear_model as plain
from sklearn.base import clone

from skinfluence import InfluenceWarning, UnsupportedEstimatorError, from_fitted
from skinfluence.linear_model import Lasso, LassoLarsIC
from skinfluence.pipeline import problem_of
from tests.cases import KNOTS
from tests.fits import DESCENT, data, relative_error

X, Y = (part[:60] for part in data("diabetes")[:2])
STEP = 1e-4


def refit(alpha, w):
    """Return (coef, intercept) of scikit-learn's Lasso with weights."""
    reg = plain.Lasso(alpha, **DESCENT).fit(X, Y, sample_weight=w)
    return np.append(reg.coef_, reg.intercept_)


def one_sided(fitted, row):
    """Return n times the derivatives in the weight of a row, for more and for less of it."""
    ones = np.ones(len(Y))
    of = np.arange(len(Y)) == row
    moved = (refit(fitted.alpha_, ones + sign * STEP * of) for sign in (1, -1))
    return [
        sign * len(Y) * (one - refit(fitted.alpha_, ones)) / STEP
        for sign, one in zip((1, -1), moved, strict=True)
    ]


@pytest.mark.parametrize("case", KNOTS, ids=lambda case: case.name)
def test_influence_is_a_one_sided_derivative_and_the_warning_tells_the_other(case):
    fitted = clone(case.estimator).fit(X, Y)
    assert 0 < np.count_nonzero(fitted.coef_) < X.shape[1]
    with pytest.warns(InfluenceWarning, match="more weight and for less weight") as caught:
        influence = fitted.influence_params()
    told = float(re.search(r"by ([\d.]+) of their size", str(caught[0].message))[1])
    free, fixed = [], []
    for row, found in enumerate(influence):
        sides = one_sided(fitted, row)
        errors = [relative_error(found, side) for side in sides]
        assert min(errors) < 1e-2
        assert max(errors) > min(errors)
        fixed.append(sides[int(np.argmin(errors))])
        free.append(sides[int(np.argmax(errors))])
    centred = np.column_stack([X, np.ones(len(X))])
    other = np.sum(((np.array(free) - fixed) @ centred.T) ** 2)
    assert told == pytest.approx(np.sqrt(other / np.sum((fixed @ centred.T) ** 2)), rel=0.05)


def test_exact_removal_is_the_refit_on_either_side():
    fitted = LassoLarsIC("bic").fit(X, Y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        params = fitted.leave_out_params(method="exact")
    refits = []
    for row, found in enumerate(params):
        refits.append(refit(fitted.alpha_, (np.arange(len(Y)) != row).astype(float)))
        assert relative_error(found, refits[-1]) < 1e-8
    entered = (np.array(refits)[:, :-1] != 0).sum(axis=1) > np.count_nonzero(fitted.coef_)
    assert 0.2 < entered.mean() < 0.8
    with pytest.warns(InfluenceWarning, match="method='exact'"):
        fitted.leave_out_predict()


def test_any_fit_at_a_knot_warns_and_others_do_not():
    alpha = LassoLarsIC("bic").fit(X, Y).alpha_
    with pytest.warns(InfluenceWarning, match="exactly at the bound"):
        Lasso(alpha, **DESCENT).fit(X, Y).self_influence()
    for beside in (1.001 * alpha, 0.999 * alpha):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            Lasso(beside, **DESCENT).fit(X, Y).self_influence()


def test_a_coefficient_that_has_left_up_to_rounding_is_zero():
    fitted = LassoLarsIC("bic").fit(X, Y)
    zero = np.flatnonzero(fitted.coef_ == 0)[0]
    fitted.coef_[zero] = 1e-18
    with pytest.warns(InfluenceWarning, match="exactly at the bound") as caught:
        moved = fitted.influence_params()
    assert len(caught) == 1
    assert not moved[:, zero].any()


def test_fitted_models_are_converted_and_unsupported_settings_refused():
    given = X.copy()
    reg = plain.LassoLarsIC("bic").fit(X, Y)
    ours = from_fitted(reg, X, Y)
    same = LassoLarsIC("bic").fit(given, Y, copy_X=False)
    np.testing.assert_array_equal(given, X)
    for method in (ours, same):
        with pytest.warns(InfluenceWarning, match="exactly at the bound"):
            method.influence_loss(X[:2], Y[:2])
    with pytest.warns(InfluenceWarning, match="not those that this"):
        from_fitted(reg, X, Y[::-1])
    with pytest.raises(UnsupportedEstimatorError, match=r"Lasso\(positive=True\)"):
        from_fitted(plain.LassoLarsIC(positive=True).fit(X, Y), X, Y)
    # The end of the path is least squares, which is no knot.
    full = LassoLarsIC(noise_variance=1e-8).fit(X, Y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = full.leave_out_params()[0]
    expected = plain.LinearRegression().fit(X[1:], Y[1:])
    np.testing.assert_allclose(found[:-1], expected.coef_, rtol=1e-6)


@pytest.mark.parametrize("difference", [1e-4, 0.3])
def test_one_sided_derivatives_that_hardly_differ_need_no_warning(difference):
    fitted = LassoLarsIC("bic").fit(X, Y)
    problem = problem_of(fitted)
    state = problem.state("auto")
    edge, _ = state.kink
    vars(state)["kink"] = edge, difference
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        problem.warn_of_misfit(state)
    assert len(caught) == (difference > 0.1)
