"""Calibrated classifiers: folds that lack a class, and folds by features or groups.

A sample may also get the value zero from the calibrator of each class.

The oracle are scikit-learn's refits with the same folds, and its fits with weights that move.
"""

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaggingClassifier
from sklearn.model_selection import GroupKFold, PredefinedSplit, StratifiedKFold

from skinfluence import from_fitted
from skinfluence.exceptions import UnsupportedEstimatorError
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


class ByFirstFeature:
    """Folds by the ranks of the first feature."""

    def split(self, X, y=None, groups=None):
        fold = np.argsort(np.argsort(np.asarray(X)[:, 0])) % 3
        for k in range(3):
            yield np.flatnonzero(fold != k), np.flatnonzero(fold == k)

    def get_n_splits(self, X=None, y=None, groups=None):
        return 3


@pytest.mark.parametrize("ensemble", [True, False])
def test_folds_may_depend_on_the_features(ensemble):
    X, y = classes()
    template = CalibratedClassifierCV(LOGISTIC, cv=ByFirstFeature(), ensemble=ensemble)
    ours = from_fitted(clone(template).fit(X, y), X, y)
    kept = np.arange(len(y)) != 7
    place = np.cumsum(kept) - 1
    folds = [[place[part[kept[part]]] for part in fold] for fold in template.cv.split(X)]
    refit = clone(template).set_params(cv=folds).fit(X[kept], y[kept])
    found = ours.leave_out_loss(X, y, [[7]], method="exact")[:, 0]
    expected = -np.log(
        refit.predict_proba(X)[np.arange(len(y)), np.searchsorted(ours.classes_, y)]
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


def test_folds_that_need_groups_are_passed_as_a_list():
    X, y = classes()
    groups = np.arange(len(y)) % 5
    with config_context(enable_metadata_routing=True):
        template = CalibratedClassifierCV(clone(LOGISTIC), cv=GroupKFold(3))
        plain = clone(template).fit(X, y, groups=groups)
        with pytest.raises(UnsupportedEstimatorError, match=r"list\(splitter.split"):
            from_fitted(plain, X, y)
    template.set_params(cv=list(GroupKFold(3).split(X, y, groups)))
    same = template.fit(X, y)
    np.testing.assert_allclose(same.predict_proba(X), plain.predict_proba(X))
    assert from_fitted(same, X, y).influence_loss(X[:2], y[:2]).shape == (2, len(y))


def test_counts_of_drawn_rows_are_weights_of_calibrators():
    X, y = classes(30)
    template = BaggingClassifier(CalibratedClassifierCV(LOGISTIC, cv=2), 2, random_state=0)
    ours = from_fitted(template.fit(X, y), X, y)
    codes, kept = np.searchsorted(ours.classes_, y), np.arange(30) != 4
    place, expected = np.cumsum(kept) - 1, 0.0
    folds = StratifiedKFold(2).split(X, codes)
    folds = [[place[part[kept[part]]] for part in fold] for fold in folds]
    for rows in ours.estimators_samples_:
        counts = np.bincount(rows, minlength=30)
        refit = CalibratedClassifierCV(LOGISTIC, cv=folds)
        refit.fit(X[kept], codes[kept], sample_weight=1.0 * counts[kept])
        expected = expected + refit.predict_proba(X) / 2
    check = ours.leave_out_check(1, [[4]], method="exact")
    assert check.max_relative_error < 1e-6
    found = ours.remove_samples([4]).predict_proba(X)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)
