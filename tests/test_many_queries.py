"""Influence on many queries is the same as on each of them.

Products with many queries are computed in another order: each row's gradient is written out
first, with the effects of the row on class weights and on the scales of the features.
"""

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression, PoissonRegressor, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import from_fitted

X, TARGET = load_iris(return_X_y=True)
TWO = (TARGET == 2).astype(int)
WEIGHT = np.random.default_rng(0).uniform(0.5, 2.0, len(X))
TIGHT = {"tol": 1e-10, "max_iter": 10_000}
MODELS = {
    "logistic": (LogisticRegression(**TIGHT), TWO),
    "softmax": (LogisticRegression(**TIGHT), TARGET),
    "balanced": (LogisticRegression(class_weight="balanced", **TIGHT), TWO),
    "balanced softmax": (LogisticRegression(class_weight="balanced", **TIGHT), TARGET),
    "balanced ridge": (RidgeClassifier(class_weight="balanced"), TARGET),
    "mean form": (PoissonRegressor(alpha=0.1, **TIGHT), TARGET),
}


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["ones", "weights"])
@pytest.mark.parametrize("is_scaled", [True, False], ids=["scaler", "alone"])
@pytest.mark.parametrize("name", MODELS)
def test_influence_on_many_queries_is_that_on_each(name, is_scaled, weight):
    model, y = MODELS[name]
    if is_scaled:
        fitted = make_pipeline(StandardScaler(), model)
        given = {f"{type(model).__name__.lower()}__sample_weight": weight}
    else:
        fitted, given = model, {"sample_weight": weight}
    fitted = from_fitted(fitted.fit(X, y, **given), X, y, sample_weight=weight)
    queries = range(0, len(X), 10)
    each = np.vstack([fitted.influence_loss(X[[q]], y[[q]]) for q in queries])
    many = fitted.influence_loss(X, y)[queries]
    np.testing.assert_allclose(many, each, rtol=0, atol=1e-11 * np.abs(each).max())
