"""Parameters of a pipeline's steps that were set after the fit and after a first question."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.preprocessing import SplineTransformer, StandardScaler

from skinfluence import InfluenceWarning
from skinfluence.ensemble import VotingRegressor
from skinfluence.linear_model import Ridge
from skinfluence.pipeline import make_pipeline

VOTE = VotingRegressor([("first", Ridge()), ("second", Ridge(9.0))])


@pytest.mark.parametrize("model", [Ridge(), VOTE], ids=["model", "composite"])
@pytest.mark.parametrize(
    ("step", "new"),
    [
        (SplineTransformer(4), {"splinetransformer__n_knots": 3}),
        (StandardScaler(), {"standardscaler__with_std": False}),
    ],
    ids=["spline", "scaler"],
)
def test_removal_says_so_although_it_was_asked_before(model, step, new):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 2)) * [1.0, 9.0]
    y = np.sin(X[:, 0]) + rng.normal(size=30)
    pipe = make_pipeline(clone(step), clone(model)).fit(X, y)
    before = pipe.leave_out_loss(X[:3], y[:3], [[1], [2, 5]])
    pipe.set_params(**pipe.get_params())  # the same values
    again = pipe.leave_out_loss(X[:3], y[:3], [[1], [2, 5]])
    assert np.array_equal(again, before)
    pipe.set_params(**new)
    with pytest.warns(InfluenceWarning, match="parameters have changed since"):
        pipe.leave_out_loss(X[:3], y[:3], [[1], [2, 5]])
