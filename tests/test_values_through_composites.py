"""Values through estimators around others are scores of fits on coalitions.

A row that is not in a coalition counts for no gamma="scale" and no balanced class weights. The
oracle is scikit-learn's refit without a sample.
"""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.ensemble import VotingRegressor
from sklearn.linear_model import Ridge
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC, SVR

from skinfluence import from_fitted
from skinfluence.inspection import data_values

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 3)) * [1, 2, 0.5]
Y = X @ [1, -0.5, 0.3] + RNG.normal(size=24)
LABELS, NEW = np.digitize(Y, [-0.3, 0.9]), X[:5] + 0.1
SCALE, BALANCED = SVC(tol=1e-10), SVC(tol=1e-10, gamma=0.3, class_weight="balanced")
AROUND = {
    "mean": (VotingRegressor([("a", SVR(tol=1e-10)), ("b", Ridge())]), Y),
    "rest": (OneVsRestClassifier(SCALE), LABELS),
    "rest, balanced": (OneVsRestClassifier(BALANCED), LABELS),
    "behind a step": (
        make_pipeline(FunctionTransformer(), OneVsRestClassifier(BALANCED)),
        LABELS,
    ),
}


def response(model, X, y=None):
    """Return the mean response, 0 for a dummy estimator."""
    if "Dummy" in type(model).__name__:
        return 0.0
    respond = getattr(model, "decision_function", model.predict)
    return float(np.mean(np.reshape(respond(X), (len(X), -1))[:, -1]))


@pytest.mark.parametrize("name", AROUND)
def test_coalitions_decide_gamma_and_class_weights_of_members(name):
    template, y = AROUND[name]
    plain = clone(template).fit(X, y)
    model, options = from_fitted(plain, X, y), {"utility": response, "method": "exact"}
    found = data_values(model, NEW, y[:5], kind="loo", **options)
    for row in (0, 7):
        kept = np.delete(np.arange(len(X)), row)
        refit = clone(template).fit(X[kept], y[kept])
        change = response(plain, NEW) - response(refit, NEW)
        assert found.sample_values[row] == pytest.approx(change, rel=1e-4, abs=1e-6)
