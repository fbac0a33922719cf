"""Losses of composites that are those of their members.

Labels are compared by the members' losses if probabilities are normalised over classes that
were each fitted against the rest. A stack without probabilities has the loss of its final
estimator. The oracle are scikit-learn's own refits, and fits with weights that move.
"""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaggingClassifier, StackingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import StratifiedKFold
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import from_fitted
from skinfluence.inspection import rank_label_errors
from tests.composites import LOGISTIC, classes, differences, two_classes

ROWS = (5, 19)


def without(template, X, y, row):
    """Return scikit-learn's fit without a row, with folds as drawn from all rows."""
    kept = np.arange(len(y)) != row
    folds = StratifiedKFold(3).split(X, y)
    folds = [
        [part[part != row] - (part[part != row] > row) for part in fold] for fold in folds
    ]
    refit = clone(template)
    name = next((key for key in refit.get_params() if key.split("__")[-1] == "cv"), None)
    if name is not None:
        refit.set_params(**{name: folds})
    return refit.fit(X[kept], y[kept])


def score(losses, label):
    return losses[label] - np.delete(losses, label).min()


def of_rest(model, x):
    """Return the loss of each label, summed over the members of one against the rest."""
    logs = np.array([m.predict_log_proba(x)[0] for m in model.estimators_])
    return -logs[:, 0].sum() + logs[:, 0] - logs[:, 1]


def of_folds(model, x):
    """Return the loss of each label, summed over the calibrated classifiers."""
    found = [one.estimator.predict_log_proba(x)[0] for one in model.calibrated_classifiers_]
    return -np.sum(found, axis=0)


def calibrated(method="sigmoid", **options):
    return CalibratedClassifierCV(LOGISTIC, cv=3, method=method, **options)


COMPARED = {
    "rest": (OneVsRestClassifier(LOGISTIC), of_rest),
    "sigmoids": (calibrated(), of_folds),
    "isotonic": (calibrated("isotonic", ensemble=False), of_folds),
    "sigmoids behind a step": (
        make_pipeline(StandardScaler(), calibrated()),
        lambda pipe, x: of_folds(pipe[-1], pipe[:-1].transform(x)),
    ),
    "final estimator": (
        StackingClassifier([("a", LOGISTIC)], OneVsRestClassifier(LOGISTIC), cv=3),
        lambda stack, x: of_rest(stack.final_estimator_, stack.transform(x)),
    ),
    "temperature": (
        calibrated("temperature"),
        lambda model, x: -np.log(model.predict_proba(x)[0]),
    ),
}


@pytest.mark.parametrize("name", COMPARED)
def test_labels_are_compared_by_the_losses_that_members_minimised(name):
    template, losses = COMPARED[name]
    X, y = classes(21)
    ours = from_fitted(clone(template).fit(X, y), X, y)
    _, found = rank_label_errors(ours, method="exact", return_scores=True)
    codes = np.searchsorted(ours.classes_, y)
    for row in ROWS:
        expected = score(losses(without(template, X, y, row), X[[row]]), codes[row])
        np.testing.assert_allclose(found[row], expected, rtol=1e-5)


def test_members_around_others_compare_labels_by_these():
    X, y = classes(21)
    bag = BaggingClassifier(OneVsRestClassifier(LOGISTIC), 2, random_state=0)
    ours = from_fitted(bag.fit(X, y), X, y)
    _, found = rank_label_errors(ours, return_scores=True)
    model = ours.remove_samples([5], method="newton")
    code = np.searchsorted(ours.classes_, y[5])
    expected = np.sum([of_rest(m, X[[5]]) for m in model.estimators_], axis=0)
    np.testing.assert_allclose(found[5], score(expected, code), rtol=1e-8)


def test_a_frozen_classifier_compares_labels_by_calibrated_probabilities():
    X, y = classes(21)
    frozen = FrozenEstimator(clone(LOGISTIC).fit(X, y))
    template = CalibratedClassifierCV(frozen, cv=3)
    ours = from_fitted(clone(template).fit(X, y), X, y)
    _, found = rank_label_errors(ours, method="exact", return_scores=True)
    losses = -np.log(without(template, X, y, 5).predict_proba(X[[5]])[0])
    np.testing.assert_allclose(
        found[5], score(losses, np.searchsorted(ours.classes_, y[5])), rtol=1e-5
    )


@pytest.mark.parametrize("data", [two_classes, classes])
def test_the_loss_of_a_stack_without_probabilities_is_its_final_estimators(data):
    X, y = data()
    template = StackingClassifier([("a", LOGISTIC)], RidgeClassifier(), cv=3)
    ours = from_fitted(clone(template).fit(X, y), X, y)

    def losses(model):
        value = model.decision_function(X).reshape(len(X), -1)
        own = np.searchsorted(model.classes_, y)[:, None]
        columns = np.arange(value.shape[1]) if value.shape[1] > 1 else [1]
        return ((value - np.where(own == columns, 1, -1)) ** 2).sum(axis=1)

    ratio = ours.sample_loss(X, y) / losses(ours)
    np.testing.assert_allclose(ratio, ratio[0])  # half of it, or all
    expected = differences(template, X, y, np.ones(len(y)), 7, losses)
    found = ours.influence_loss(X, y)[:, 7]
    np.testing.assert_allclose(found, ratio[0] * expected, rtol=1e-4, atol=1e-4)
    left_out = ours.leave_out_loss(X, y, [[7]], method="exact")[:, 0]
    expected = ratio[0] * losses(without(template, X, y, 7))
    np.testing.assert_allclose(left_out, expected, rtol=1e-6, atol=1e-8)
