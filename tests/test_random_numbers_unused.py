"""Steps that could draw random numbers, but draw none, beside a step with folds of its own."""

import warnings

import numpy as np
from sklearn import linear_model, pipeline
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.preprocessing import TargetEncoder

from skinfluence import from_fitted
from tests.discrete_stage_cases import SEEDED


def test_values_from_fit_transform_are_known_beside_steps_that_draw_nothing():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.integers(4, size=90), rng.normal(size=(90, 4))])
    y = np.where(X[:, 0] + X[:, 1] + rng.normal(size=90) > 1.5, "yes", "no")
    columns = make_column_transformer((TargetEncoder(**SEEDED), [0]), (PCA(2), [1, 2, 3, 4]))
    model = linear_model.LogisticRegression(solver="newton-cholesky", tol=1e-10)
    plain = pipeline.make_pipeline(columns, model).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted = from_fitted(plain, X, y)
        found = fitted.reweight_predict(
            X[:9], np.arange(90) != 5, method="exact", response_method="decision_function"
        )
    refit = clone(plain).fit(np.delete(X, 5, 0), np.delete(y, 5))
    change = refit.decision_function(X[:9]) - plain.decision_function(X[:9])
    change_found = np.ravel(found) - plain.decision_function(X[:9])
    assert np.allclose(change_found, change, rtol=0, atol=1e-6 * np.abs(change).max())
