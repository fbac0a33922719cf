"""Least angle regression with repeated columns, whose path may miss the optimum.

The oracle is Lasso at the same alpha, whose loss is unique, and the data as given to `fit`.
"""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Lasso, LassoLars, LassoLarsIC

from skinfluence import InfluenceWarning, from_fitted


def repeated():
    X, y = load_diabetes(return_X_y=True)
    return np.column_stack([X[:100], X[:100, :2]]), y[:100]


def fitted(model, X, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it drops columns
        return model.fit(X, y)


@pytest.mark.parametrize("model", [LassoLars(alpha=0.1), LassoLarsIC()])
def test_data_of_a_path_that_missed_the_optimum_are_its_own(model):
    X, y = repeated()
    fitted(model, X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error", InfluenceWarning)
        from_fitted(model, X, y)
    with pytest.warns(InfluenceWarning, match="are not those that this LassoLars"):
        from_fitted(model, X, y[::-1])


def test_the_remedies_reach_the_optimum():
    X, y = repeated()
    path = fitted(LassoLars(alpha=0.1), X, y)
    lasso = Lasso(alpha=0.1, tol=1e-12, max_iter=10**5).fit(X, y)
    assert path.score(X, y) < lasso.score(X, y) - 0.005
    ours = from_fitted(path, X, y)
    with pytest.warns(InfluenceWarning, match=r"Call polish\(\) or fit Lasso"):
        ours.influence_loss(X[:1], y[:1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InfluenceWarning)  # of columns at the bound
        np.testing.assert_allclose(ours.polish().predict(X), lasso.predict(X), rtol=1e-6)
