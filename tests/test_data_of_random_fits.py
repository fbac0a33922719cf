"""Fits whose random numbers are not known: their own data do not warn, and others do."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_wine
from sklearn.linear_model import SGDClassifier

from skinfluence import InfluenceWarning, from_fitted


@pytest.mark.parametrize("loss", ["log_loss", "squared_hinge"])
@pytest.mark.parametrize("seed", [3, 4])
def test_descent_on_features_without_a_scale(loss, seed):
    X, y = load_wine(return_X_y=True)
    state = np.random.get_state()
    np.random.seed(seed)  # the global numbers, from which random_state=None draws
    clf = SGDClassifier(loss=loss).fit(X, y)
    np.random.set_state(state)
    with warnings.catch_warnings():
        warnings.simplefilter("error", InfluenceWarning)
        from_fitted(clf, X, y)
    with pytest.warns(InfluenceWarning, match="may not be those"):
        from_fitted(clf, X, y[np.random.default_rng(seed).permutation(len(y))])
