"""Isotonic calibrators say how far influence is from removal if their blocks change.

The oracle are scikit-learn's own refits with weight 0 for one sample.
"""

import re
import warnings

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_classification
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from skinfluence import from_fitted
from skinfluence.exceptions import InfluenceWarning


def difference(model, X, y, moved):
    """Return how far first-order changes of probabilities are from refits for some rows."""
    n, before, error, size = len(y), model.predict_proba(X)[:, 1], 0.0, 0.0
    for row in np.linspace(0, n - 1, 10).astype(int):
        weight = np.arange(n) != row
        fitted = clone(model).fit(X, y, sample_weight=weight.astype(float))
        change = fitted.predict_proba(X)[:, 1] - before
        error += np.sum((-moved[:, row] / n - change) ** 2)
        size += np.sum(change**2)
    return np.sqrt(error / size)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_message_has_the_distance_of_influence_from_removal(seed):
    X, y = make_classification(90, 4, flip_y=0.2, random_state=seed)
    logistic = LogisticRegression(tol=1e-10, max_iter=1000)
    model = CalibratedClassifierCV(logistic, method="isotonic", cv=2).fit(X, y)
    with pytest.warns(InfluenceWarning, match="10 samples tried") as caught:
        moved = from_fitted(model, X, y).influence_prediction(X)[:, :, 1]
    messages = [str(one.message) for one in caught if "keep their" in str(one.message)]
    said = float(re.search(r"off by (\d+)%", messages[0]).group(1)) / 100
    assert said == pytest.approx(difference(model, X, y, moved), rel=0.25)


def test_blocks_that_stay_do_not_warn():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 4, (800, 1)).astype(float)
    y = (rng.random(800) < 0.1 + 0.2 * X[:, 0]).astype(int)
    frozen = FrozenEstimator(LogisticRegression().fit(X, y))
    model = CalibratedClassifierCV(frozen, method="isotonic", cv=2, ensemble=False).fit(X, y)
    ours = from_fitted(model, X, y)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*keep their blocks")
        moved = ours.influence_prediction(X)[:, :, 1]
    assert difference(model, X, y, moved) < 0.02


def test_many_queries_in_little_memory_warn_once():
    X, y = make_classification(90, 4, flip_y=0.2, random_state=0)
    model = CalibratedClassifierCV(LogisticRegression(), method="isotonic", cv=2).fit(X, y)
    ours = from_fitted(model, X, y)
    for _ in range(2):
        with pytest.warns(InfluenceWarning) as caught, config_context(working_memory=0.05):
            ours.influence_prediction(X[:40])
        messages = [str(one.message) for one in caught]
        assert sum("keep their blocks" in message for message in messages) == 1
