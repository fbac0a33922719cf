"""Fits whose random numbers are not known: their own data do not warn, and others do."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_wine
from sklearn.linear_model import SGDClassifier

from skinfluence import InfluenceWarning, from_fitted


@pytest.mark.parametrize(("loss", "seed"), [("log_loss", 4), ("squared_hinge", 0)])
def test_descent_on_features_without_a_scale(loss, seed):
    X, y = load_wine(return_X_y=True)
    clf = SGDClassifier(loss=loss, random_state=np.random.RandomState(seed)).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error", InfluenceWarning)
        from_fitted(clf, X, y)
    with pytest.warns(InfluenceWarning, match="may not be those"):
        from_fitted(clf, X, y[np.random.default_rng(seed).permutation(len(y))])
