"""Steps of users' own classes: the advice that refusals give is followed."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skinfluence import UnsupportedEstimatorError
from skinfluence.linear_model import Ridge
from skinfluence.pipeline import make_pipeline


class Squares(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return np.hstack([X, X**2])


class Clip(Squares):
    def fit(self, X, y=None):
        self.limit_ = np.quantile(X, 0.9)
        return self

    def transform(self, X):
        return np.minimum(X, self.limit_)


@pytest.mark.parametrize(
    ("step", "advice", "fixed"),
    [
        (Squares(), r"FunctionTransformer\(Squares\(...\).transform\)", None),
        (Clip(), r"FrozenEstimator\(Clip\(...\).fit\(X, y\)\)", FrozenEstimator),
    ],
)
def test_a_step_without_a_derivative_can_be_fixed_as_the_error_says(step, advice, fixed):
    rng = np.random.default_rng(0)
    X, n = rng.normal(size=(400, 3)), 400
    y = X @ [1.0, 0.5, -1.0] + X[:, 0] ** 2 + rng.normal(size=n)
    pipe = make_pipeline(step, StandardScaler(), Ridge()).fit(X, y)
    with pytest.raises(UnsupportedEstimatorError, match=advice):
        pipe.influence_prediction(X[:4])
    step = FunctionTransformer(step.transform) if fixed is None else fixed(step.fit(X, y))
    pipe = make_pipeline(step, StandardScaler(), Ridge()).fit(X, y)
    found = pipe.influence_prediction(X[:4])[:, 7]
    refit = clone(pipe).fit(np.delete(X, 7, 0), np.delete(y, 7))
    change = refit.predict(X[:4]) - pipe.predict(X[:4])
    assert np.allclose(-found / n, change, rtol=0.05, atol=0.02 * np.abs(change).max())
