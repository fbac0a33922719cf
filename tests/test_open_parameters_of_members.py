"""Members that a removal leaves open predict as a refit does: by the optimum of least norm.

A feature is not 0 for one sample alone. Without it, refits that start at 0 keep the
coefficient at 0, and the sample's own prediction must not come from it.
"""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.preprocessing import StandardScaler

from skinfluence import InfluenceWarning
from skinfluence.ensemble import BaggingRegressor, StackingRegressor, VotingRegressor
from skinfluence.linear_model import PoissonRegressor, Ridge
from skinfluence.pipeline import make_pipeline

RNG = np.random.default_rng(0)
HAS = np.arange(12) == 5
X = np.column_stack([RNG.normal(size=(12, 2)), HAS])
Y = np.exp((X @ [1.0, -2.0, 0.0] + RNG.normal(size=12)) / 3)
FREE = PoissonRegressor(alpha=0, solver="newton-cholesky", tol=1e-10)
CENTRED = make_pipeline(StandardScaler(with_std=False), FREE)
WHOLE = [(np.arange(12), np.arange(12))]

MODELS = {
    "votes": VotingRegressor([("a", FREE)]),
    "votes of pipelines": VotingRegressor([("a", CENTRED)]),
    "votes behind a step": make_pipeline(
        StandardScaler(with_std=False), VotingRegressor([("a", FREE)])
    ),
    "pipelines behind a step": make_pipeline(
        StandardScaler(with_std=False), VotingRegressor([("a", CENTRED)])
    ),
    "a bag": BaggingRegressor(FREE, 1, bootstrap=False, random_state=0),
    "a stack": StackingRegressor([("a", CENTRED)], Ridge(), cv=WHOLE),
}


@pytest.mark.parametrize("name", MODELS)
def test_predictions_without_a_sample_are_those_of_the_refit(name):
    model, rows = clone(MODELS[name]).fit(X, Y), X[3:7]
    if name == "a stack":
        refit = clone(CENTRED).fit(X[~HAS, :2], Y[~HAS])
        final = Ridge().fit(refit.predict(X[~HAS, :2])[:, None], Y[~HAS])
        expected = final.predict(refit.predict(rows[:, :2])[:, None])
    else:
        expected = clone(FREE).fit(X[~HAS, :2], Y[~HAS]).predict(rows[:, :2])
    with pytest.warns(InfluenceWarning, match=r"coef\[.*those of the optimum of least norm"):
        found = model.leave_out_loss(rows, Y[3:7], [[5]])[:, 0]
    np.testing.assert_allclose(found, (expected - Y[3:7]) ** 2, rtol=1e-5)
    if name not in ("a stack", "a bag"):
        with pytest.warns(InfluenceWarning, match="optimum of least norm"):
            found = model.reweight_predict(rows, 1.0 * ~HAS)[0]
        np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("model", [FREE, CENTRED, *list(MODELS.values())[:2]])
def test_removal_in_place_refuses_what_stays_open(model):
    model = clone(model).fit(X, Y)
    before = model.predict(X)
    with pytest.raises(ValueError, match=r"not determine 1 .* coef\[x2\].* left as it is"):
        model.remove_samples([5])
    np.testing.assert_array_equal(model.predict(X), before)
    assert model.remove_samples([4]).predict(X).shape == (12,)
