"""Members of composites have the names of the user's features and classes in messages."""

import re
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from skinfluence import from_fitted

MODEL = LogisticRegression()
SCALED = make_pipeline(StandardScaler(), MODEL)
LABELS = ["ash", "elm", "oak"]
COLUMNS = ["age", "height", "width"]


def trees():
    """Return three separated classes."""
    rng = np.random.default_rng(0)
    codes = np.arange(36) % 3
    X = rng.normal(size=(36, 3))
    X[:, 1] += 20.0 * codes
    return pd.DataFrame(X, columns=COLUMNS), np.array(LABELS)[codes]


COMPOSITES = {
    "voting": VotingClassifier([("a", MODEL)], voting="soft"),
    "of pipelines": VotingClassifier([("a", SCALED)], voting="soft"),
    "bagging": BaggingClassifier(MODEL, n_estimators=1, random_state=0),
    "features": BaggingClassifier(MODEL, n_estimators=1, max_features=2, random_state=2),
    "pipelines": BaggingClassifier(SCALED, n_estimators=1, max_features=2, random_state=2),
    "stacking": StackingClassifier([("a", MODEL)], LogisticRegression(), cv=2),
    "behind": make_pipeline(StandardScaler(), VotingClassifier([("a", MODEL)], voting="soft")),
    "nested": VotingClassifier([("a", CalibratedClassifierCV(MODEL, cv=2))], voting="soft"),
    "twice": BaggingClassifier(
        VotingClassifier([("a", MODEL)], voting="soft"), n_estimators=1, random_state=0
    ),
}


def first_model(composite):
    """Return the first member that has parameters."""
    while not hasattr(composite, "param_names"):
        if hasattr(composite, "steps"):
            composite = composite[-1]
        elif hasattr(composite, "calibrated_classifiers_"):
            composite = composite.calibrated_classifiers_[0].estimator
        else:
            composite = composite.estimators_[0]
    return composite


@pytest.mark.parametrize("name", COMPOSITES)
def test_parameters_of_members_have_the_users_names(name):
    X, y = trees()
    ours = from_fitted(COMPOSITES[name].fit(X, y), X, y)
    if name == "behind":
        ours.sample_loss(X, y)
    columns = COLUMNS
    if "max_features" in ours.get_params() and ours.get_params()["max_features"] == 2:
        columns = [COLUMNS[j] for j in ours.estimators_features_[0]]
        assert columns != COLUMNS[:2]
    expected = [f"coef[{label}, {column}]" for label in LABELS for column in columns]
    assert first_model(ours).param_names()[: len(expected)] == expected


def test_a_direction_without_optimum_has_the_users_names():
    X, y = trees()
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        free = LogisticRegression(C=np.inf, max_iter=200)
        ours = from_fitted(VotingClassifier([("a", free)], voting="soft").fit(X, y), X, y)
        ours.leave_out_loss(X[:2], y[:2], [[0]])
    told = [str(one.message) for one in found if "falls forever along" in str(one.message)]
    named = re.findall(r"coef\[(.+?), (.+?)\]", told[0])
    assert {label for label, _ in named} <= set(LABELS)
    assert "height" in {column for _, column in named}


def test_a_class_that_a_member_lacks_has_the_users_name():
    X, y = trees()
    voting = VotingClassifier([("a", GaussianNB())], voting="soft").fit(X, y)
    ours = from_fitted(voting, X, y)
    (member,) = ours.estimators_
    assert member.param_names()[0] == "theta[ash, age]"
    member = from_fitted(VotingClassifier([("a", SVC())]).fit(X, y), X, y).estimators_[0]
    assert member.param_names()[0].endswith("[ash vs elm, 0]")
    # A fit by the user removes the message of the composite.
    assert member.fit(X, np.arange(36) % 3).param_names()[0].endswith("[0 vs 1, 0]")
