"""Parameters that the samples leave open, behind steps that need no refit for a removal.

Losses are compared with scikit-learn's refits.
"""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.linear_model import GammaRegressor, LogisticRegression
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skinfluence import InfluenceWarning, from_fitted
from skinfluence.pipeline import make_pipeline


@pytest.mark.parametrize("model", [LogisticRegression(C=np.inf), GammaRegressor(alpha=0)])
def test_they_are_nan_and_have_the_names_of_the_features(model):
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"ward": np.arange(40) % 3, "sex": np.arange(40) // 2 % 2})
    X["age"] = rng.normal(size=40)
    y = 1 + (X.age + X.sex + rng.logistic(size=40) > 0)
    model = clone(model).set_params(tol=1e-9, max_iter=10_000)
    pipe = make_pipeline(
        make_column_transformer((OneHotEncoder(), ["ward", "sex"]), ("passthrough", ["age"])),
        model,
    )
    fitted = from_fitted(pipe.fit(X, y), X, y)
    said = r"onehotencoder__ward_0\].* flat along .*onehotencoder__"
    with pytest.warns(InfluenceWarning, match=said):
        params = fitted.leave_out_params([[0], [3, 8]], method="exact")
    open_ones = [True] * 5 + [False, True]
    assert np.array_equal(np.isnan(params), [open_ones, open_ones])
    with pytest.warns(InfluenceWarning):
        losses = fitted.leave_out_loss(X[:5], y[:5], [[0], [3, 8]], method="exact")
    for rows, loss in zip(([0], [3, 8]), losses.T, strict=True):
        refit = clone(pipe).fit(X.drop(index=rows), y.drop(rows))
        expected = from_fitted(refit).sample_loss(X[:5], y[:5])
        np.testing.assert_allclose(loss, expected, rtol=1e-4)


def test_behind_a_scaler_they_have_the_names_of_the_features():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(30, 2)), columns=["height", "weight"])
    X["sum"] = X.height + X.weight
    y = (X.height + rng.logistic(size=30) > 0).astype(int)
    pipe = make_pipeline(StandardScaler(), LogisticRegression(C=np.inf, tol=1e-9)).fit(X, y)
    said = r"coef\[height\], coef\[weight\], coef\[sum\]: .* flat along \+1 coef\[sum\]"
    with pytest.warns(InfluenceWarning, match=said):
        from_fitted(pipe, X, y).leave_out_loss(X[:2], y[:2], [[0]])
