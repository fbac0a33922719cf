"""`set_params` after a fit changes no answer of an estimator around others.

Answers belong to the fit. Only parameters that `predict` reads and that change no member, such
as the weights of a vote, are read as they are now. The oracle is a fit with these.
"""

import copy

import numpy as np
import pytest
from sklearn import ensemble, multiclass
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.covariance import EmpiricalCovariance
from sklearn.model_selection import FixedThresholdClassifier, KFold
from sklearn.multioutput import ClassifierChain, RegressorChain
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PowerTransformer, StandardScaler

import skinfluence.calibration
from skinfluence import UnsupportedEstimatorError, from_fitted
from skinfluence.discriminant_analysis import LinearDiscriminantAnalysis
from tests.composites import (
    LOGISTIC,
    RIDGE,
    SCALED,
    classes,
    labels,
    numbers,
    several_numbers,
    two_classes,
)

BAG = ensemble.BaggingRegressor(RIDGE, 3, max_samples=0.9, random_state=0)
STACK = ensemble.StackingClassifier([("a", LOGISTIC)], LOGISTIC, cv=3)
CHANGES = {
    "rest": (multiclass.OneVsRestClassifier(LOGISTIC), classes, {"estimator__C": 0.01}),
    "vote": (
        ensemble.VotingClassifier([("a", LOGISTIC), ("b", SCALED)]),
        classes,
        {"a": "drop"},
    ),
    "chain gets folds": (ClassifierChain(LOGISTIC), labels, {"cv": 3}),
    "chain gets other folds": (
        ClassifierChain(LOGISTIC, cv=3, chain_method="predict_proba"),
        labels,
        {"cv": 5, "estimator__C": 0.01},
    ),
    "chain loses folds": (RegressorChain(RIDGE, cv=2), several_numbers, {"cv": None}),
    "bag": (
        BAG,
        numbers,
        {"n_estimators": 5, "max_samples": 0.5, "bootstrap": False, "random_state": 7},
    ),
    "stack": (STACK, two_classes, {"cv": KFold(4), "passthrough": True, "a__C": 0.01}),
    "calibrators": (
        CalibratedClassifierCV(LOGISTIC, cv=2, ensemble=True),
        classes,
        {"method": "temperature", "ensemble": False, "cv": 4},
    ),
    "targets": (
        TransformedTargetRegressor(RIDGE, transformer=StandardScaler()),
        numbers,
        {"transformer": PowerTransformer(), "regressor__alpha": 9.0},
    ),
}


def answers(ours, X, y):
    """Return results, also after rows came or left, as one vector."""
    found = [
        ours.sample_loss(X[:3], y[:3]),
        ours.influence_loss(X[:3], y[:3]),
        ours.leave_out_loss(X[:3], y[:3], [[0], [3, 5]], method="exact"),
    ]
    for change in (
        lambda one: one.add_samples(X[:3], y[:3]),
        lambda one: one.remove_samples([1, 2]),
        lambda one: one.drop_training_data().set_training_data(X, y),
    ):
        found.append(change(copy.deepcopy(ours)).influence_loss(X[:3], y[:3]))
    return np.concatenate([values.ravel() for values in found])


@pytest.mark.parametrize("name", CHANGES)
def test_answers_belong_to_the_fit(name):
    template, data, change = CHANGES[name]
    X, y = (rows[:24] for rows in data())
    ours = from_fitted(clone(template).fit(X, y), X, y)
    other = copy.deepcopy(ours).set_params(**change)
    expected = answers(ours, X, y)
    np.testing.assert_allclose(answers(other, X, y), expected, rtol=1e-9, atol=1e-12)
    other.remove_samples([4])
    assert all(other.get_params()[key] is value for key, value in change.items())


def test_answers_of_a_pipeline_belong_to_the_fit():
    X, y = (rows[:24] for rows in numbers())
    ours = from_fitted(make_pipeline(StandardScaler(), BAG).fit(X, y), X, y)
    other = copy.deepcopy(ours)
    other[-1].set_params(n_estimators=2, estimator__alpha=9.0)
    np.testing.assert_allclose(answers(other, X, y), answers(ours, X, y), rtol=1e-9)


@pytest.mark.parametrize(
    ("template", "change"),
    [
        (
            ensemble.VotingClassifier([("a", LOGISTIC), ("b", SCALED)], voting="soft"),
            {"weights": [3, 1]},
        ),
        (FixedThresholdClassifier(LOGISTIC), {"threshold": 0.9, "pos_label": 0}),
    ],
)
def test_predict_reads_the_present_parameters(template, change):
    X, y = (rows[:24] for rows in two_classes())
    ours = from_fitted(clone(template).fit(X, y), X, y).set_params(**change)
    fresh = from_fitted(clone(template).set_params(**change).fit(X, y), X, y)
    np.testing.assert_allclose(answers(ours, X, y), answers(fresh, X, y), rtol=1e-9)
    np.testing.assert_array_equal(ours.leave_out_predict(cv=3), fresh.leave_out_predict(cv=3))


@pytest.mark.parametrize("ensemble", [True, False])
def test_a_second_fit_with_other_parameters_is_like_a_first(ensemble):
    X, y = (rows[:24] for rows in two_classes())
    first = skinfluence.calibration.CalibratedClassifierCV(LOGISTIC, cv=2, ensemble=ensemble)
    again = clone(first).set_params(ensemble=not ensemble, cv=3).fit(X, y)
    again.set_params(ensemble=ensemble, cv=2).fit(X, y)
    expected = first.fit(X, y).influence_loss(X[:3], y[:3])
    np.testing.assert_allclose(again.influence_loss(X[:3], y[:3]), expected, rtol=1e-9)


def test_an_iterator_of_folds_is_used_up():
    X, y = two_classes()
    plain = clone(STACK).set_params(cv=KFold(3).split(X)).fit(X, y)
    with pytest.raises(UnsupportedEstimatorError, match="fit has used it up"):
        from_fitted(plain, X, y)


def test_formulas_of_means_are_those_of_the_fit():
    X, y = classes()
    clf = LinearDiscriminantAnalysis().fit(X, y)
    expected = clf.influence_loss(X[:2], y[:2])
    clf.set_params(solver="lsqr", covariance_estimator=EmpiricalCovariance())
    np.testing.assert_array_equal(clf.influence_loss(X[:2], y[:2]), expected)
    assert len(clf.param_names()) == len(clf.params_)
