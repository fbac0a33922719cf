"""Conventional bounds for case diagnostics, and the outlier test of statsmodels."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from sklearn.datasets import load_diabetes
from sklearn.preprocessing import StandardScaler

from skinfluence import UnsupportedEstimatorError
from skinfluence.inspection import (
    ConvergenceDisplay,
    LeverageDisplay,
    influence_cutoffs,
    outlier_test,
)
from skinfluence.linear_model import LinearRegression, LogisticRegression, Ridge
from skinfluence.naive_bayes import GaussianNB
from skinfluence.pipeline import make_pipeline
from skinfluence.svm import SVC, SVR
from tests.fits import NEWTON, data


@pytest.fixture(scope="module")
def patients():
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    y = y.copy()
    y[7] = 430.0
    return X.set_axis([f"patient {i}" for i in range(len(y))]), y


def test_outliers_are_those_of_statsmodels(patients):
    X, y = patients
    expected = sm.OLS(y.to_numpy(), sm.add_constant(X.to_numpy())).fit().outlier_test()
    reg = make_pipeline(StandardScaler(), LinearRegression()).fit(X, y)
    found = outlier_test(reg, as_frame=True)
    assert list(found.columns) == ["statistic", "p_value", "bonferroni"]
    np.testing.assert_allclose(found, expected, rtol=1e-8)
    pd.testing.assert_index_equal(found.index, X.index)
    assert found.index[found.bonferroni < 0.05].tolist() == ["patient 7"]
    # A sample without weight does not count.
    w = np.append(np.ones(len(y)), 0.0)
    padded = LinearRegression().fit(np.vstack([X, X[:1]]), np.append(y, y.iloc[0]), w)
    np.testing.assert_allclose(outlier_test(padded).p_value[:-1], found.p_value, rtol=1e-8)


def test_bounds_are_those_of_the_textbook(patients):
    X, y = patients
    ridge = Ridge(alpha=0.1).fit(X, y)
    p, n = ridge.influence_summary().leverage.sum(), len(y)
    expected = {
        "leverage": 2 * p / n,
        "leverage_high": 3 * p / n,
        "cooks_distance": 4 / n,
        "dffits": 2 * np.sqrt(p / n),
        "dfbetas": 2 / np.sqrt(n),
        "covratio": (1 - 3 * p / n, 1 + 3 * p / n),
        "n_samples": n,
        "n_params": p,
    }
    found = influence_cutoffs(ridge)
    assert list(found) == list(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value)
    plain = influence_cutoffs(LinearRegression().fit(X, y))
    assert plain.n_params == pytest.approx(11)
    assert influence_cutoffs(LogisticRegression(**NEWTON).fit(*data("wine")[:2])).n_params > 1


def test_residuals_without_a_t_distribution_are_refused(patients):
    X, y, _ = data("wine")
    with pytest.raises(ValueError, match="LogisticRegression: its residuals have no t"):
        outlier_test(LogisticRegression(**NEWTON).fit(X, y))
    X, y, _ = data("linnerud")
    with pytest.raises(ValueError, match=r"Ridge with 3 targets.*one target at a time"):
        outlier_test(Ridge().fit(X, y))


def test_the_display_draws_them(patients):
    X, y = patients
    reg = LinearRegression().fit(X, y)
    cutoffs, test = influence_cutoffs(reg), outlier_test(reg)
    display = LeverageDisplay.from_estimator(reg)
    dotted = [line for line in display.ax_.lines if line.get_linestyle() == ":"]
    upright = sorted(line.get_xdata()[0] for line in dotted if np.ptp(line.get_xdata()) == 0)
    np.testing.assert_allclose(upright, [cutoffs.leverage, cutoffs.leverage_high])
    (level,) = [line.get_ydata()[0] for line in dotted if np.ptp(line.get_ydata()) == 0]
    # The bound separates the samples that the test rejects.
    rejected = test.bonferroni < 0.05
    assert np.abs(test.statistic[~rejected]).max() < level < test.statistic[rejected].min()
    assert "dotted: leverage 2p/n and 3p/n, outlier test" in display.ax_.get_title()
    plain = LeverageDisplay.from_estimator(reg, cutoffs=False)
    assert not [line for line in plain.ax_.lines if line.get_linestyle() == ":"]


@pytest.mark.parametrize("model", [SVC(), SVR(), GaussianNB()])
def test_models_without_leverages_are_refused_with_the_reason(model):
    X, y = load_diabetes(return_X_y=True)
    pipe = make_pipeline(StandardScaler(), model).fit(X[:50], y[:50] > 100)
    displays = [ConvergenceDisplay.from_estimator, LeverageDisplay.from_estimator]
    for function in (influence_cutoffs, outlier_test, *displays):
        with pytest.raises(UnsupportedEstimatorError, match=r"has no \w+: its .* Use "):
            function(pipe)
