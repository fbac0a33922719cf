"""Searches for sets, labels and weights end at the optimum over all parameters.

With an l1 penalty parameters become zero or change their signs on the way. The oracle is
scikit-learn's fit on the changed samples.
"""

import numpy as np
import pytest
from sklearn.base import clone

from skinfluence.functionals import mean_prediction
from skinfluence.inspection import (
    most_influential_relabels,
    most_influential_set,
    reweigh_samples,
)
from skinfluence.linear_model import Lasso, LogisticRegression

L1 = {"l1_ratio": 1.0, "solver": "liblinear", "tol": 1e-12, "max_iter": 100_000}
MODELS = [
    LogisticRegression(C=0.3, random_state=0, **L1),
    Lasso(0.15, tol=1e-12, max_iter=100_000),
]


def problems(model):
    for seed in range(3):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(44, 4))
        y = X @ [0.9, -0.5, 0.3, 0.0] + rng.logistic(size=44)
        y = (y > 0).astype(int) if hasattr(model, "C") else y
        fitted = clone(model).fit(X, y)
        target = mean_prediction(fitted, X[:8])
        before = target.value(fitted.params_)
        for threshold in (before + 0.08, before - 0.08):
            yield X, y, fitted, target, threshold


@pytest.mark.parametrize(
    ("model", "search"),
    [(m, s) for m in MODELS for s in ("set", "weights")] + [(MODELS[0], "relabels")],
    ids=str,
)
def test_the_end_is_the_fit_on_the_changed_samples(model, search):
    supports = set()
    for X, y, fitted, target, threshold in problems(model):
        weight, labels = np.ones(44), y.copy()
        if search == "set":
            found = most_influential_set(fitted, target, threshold=threshold, max_samples=8)
            weight[found.indices] = 0
        elif search == "relabels":
            found = most_influential_relabels(
                fitted, target, threshold=threshold, max_samples=8
            )
            labels[found.indices] = found.y_new
        else:
            found = reweigh_samples(fitted, target, threshold=threshold, max_ratio=9)
            weight = found.sample_weight
        kept = weight > 0
        refit = clone(model).fit(X[kept], labels[kept], sample_weight=weight[kept])
        np.testing.assert_allclose(found.params, refit.params_, atol=1e-6)
        supports.add((fitted.coef_ != 0).tobytes() == (refit.coef_ != 0).tobytes())
    assert supports == {True, False}
