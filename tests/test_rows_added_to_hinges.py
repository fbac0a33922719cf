"""Samples added to a model with kinks lead to the fit on all samples, from every fit.

The oracle is a fit on all samples with a small tolerance.
"""

import numpy as np
import pytest
from sklearn.base import clone, is_classifier

from skinfluence.svm import SVC, SVR, LinearSVC, LinearSVR

TIGHT = {"tol": 1e-11, "max_iter": 1_000_000}
MODELS = [
    LinearSVC(C=0.5, loss="hinge", random_state=0, **TIGHT),
    LinearSVC(C=0.5, loss="hinge", class_weight="balanced", random_state=0, **TIGHT),
    LinearSVR(C=0.5, epsilon=0.3, random_state=0, **TIGHT),
    SVC(C=0.5, class_weight="balanced", tol=1e-9),
    SVR(C=0.5, tol=1e-9),
]


@pytest.mark.parametrize("model", MODELS, ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_added_samples_lead_to_the_fit_on_all(model, weighted):
    for seed in range(4):
        rng = np.random.default_rng(seed)
        X = np.where(rng.random((40, 4)) < 0.3, 0.0, 2 * rng.normal(size=(40, 4)))
        y = X @ [0.5, -0.4, 0.3, 0.1] + rng.logistic(size=40)
        if is_classifier(model):
            y = np.where(y > 0, "yes", "no")
        weight = rng.uniform(0.2, 2, 40) if weighted else np.ones(40)
        old, new = slice(None, 36), slice(36, None)
        grown = clone(model)
        if "gamma" in grown.get_params():
            grown.set_params(gamma=0.1)
        full = clone(grown).fit(X, y, sample_weight=weight)
        grown.fit(X[old], y[old], sample_weight=weight[old])
        grown.add_samples(X[new], y[new], sample_weight=weight[new])
        response = "decision_function" if hasattr(model, "decision_function") else "predict"
        found, expected = getattr(grown, response)(X), getattr(full, response)(X)
        np.testing.assert_allclose(found, expected, atol=1e-6)
