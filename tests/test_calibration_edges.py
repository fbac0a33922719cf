"""Calibrated classifiers whose folds lack a class, and probabilities of which none is left.

The oracle are scikit-learn's refits with the same folds, and its fits with weights that move.
"""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import PredefinedSplit

from skinfluence import from_fitted
from tests.composites import LOGISTIC, classes, differences


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_a_classifier_whose_fold_lacks_a_class_calibrates_the_classes_that_it_has(method):
    X, y = classes(30)
    y = np.where(y == "c", "a", y)
    y[3] = "c"  # the first fold is fitted without it
    folds = np.arange(30) % 3
    template = CalibratedClassifierCV(LOGISTIC, cv=PredefinedSplit(folds), method=method)
    ours = from_fitted(clone(template).fit(X, y), X, y)
    for row in (2, 11):
        kept = np.arange(30) != row
        refit = clone(template).set_params(cv=PredefinedSplit(folds[kept]))
        expected = refit.fit(X[kept], y[kept]).predict_proba(X)
        model = from_fitted(ours, X, y).remove_samples([row])
        np.testing.assert_allclose(model.predict_proba(X), expected, atol=1e-6)


@pytest.mark.parametrize("ensemble", [True, False])
@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.filterwarnings("ignore:.*blocks of the isotonic")
def test_a_sample_for_which_all_isotonic_values_are_zero_has_constant_probabilities(ensemble):
    X, y = classes()
    template = CalibratedClassifierCV(LOGISTIC, cv=3, method="isotonic", ensemble=ensemble)
    ours = from_fitted(clone(template).fit(X, y), X, y)
    queries = X.mean(axis=0) + np.random.default_rng(0).normal(0, 3, (400, 4))
    one = ours.calibrated_classifiers_[0]
    F = one.estimator.decision_function(queries)
    total = sum(c.predict(f) for c, f in zip(one.calibrators, F.T, strict=True))
    queries = queries[total == 0][:2]
    assert len(queries)
    expected = differences(
        template, X, y, np.ones(len(y)), 7, lambda model: model.predict_proba(queries)
    )
    found = ours.influence_prediction(queries, response_method="predict_proba")[:, 7]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
