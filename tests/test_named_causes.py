"""Refusals name the cause where it is: the class, the place, the label that the user gave.

What they name is compared with the fitted object, and what they advise with a refit.
"""

import re
import warnings

import numpy as np
import pytest
from sklearn import calibration, cluster, ensemble, linear_model, naive_bayes, neighbors
from sklearn import pipeline as sk_pipeline
from sklearn.base import clone
from sklearn.preprocessing import StandardScaler
from sklearn.random_projection import GaussianRandomProjection
from sklearn.tree import DecisionTreeClassifier

from skinfluence import (
    InfluenceWarning,
    SingularHessianError,
    UnsupportedEstimatorError,
    from_fitted,
)
from skinfluence.ensemble import StackingClassifier, VotingClassifier
from skinfluence.linear_model import LogisticRegression
from skinfluence.model_selection import leave_one_out_scorer
from skinfluence.multiclass import OneVsRestClassifier
from skinfluence.naive_bayes import GaussianNB
from skinfluence.pipeline import make_pipeline
from skinfluence.svm import SVC, LinearSVC
from tests.advice import T, X, Y

CLF = LogisticRegression(tol=1e-8)
PLAIN = linear_model.LogisticRegression(tol=1e-8)
SOFT = VotingClassifier([("a", CLF)], voting="soft")
RARE = np.where(np.arange(60) == 5, "rare", np.where(Y == 1, "a", "b"))


@pytest.mark.parametrize("scoring", ["one", "several"])
@pytest.mark.parametrize(
    "model",
    [CLF, GaussianNB(), make_pipeline(StandardScaler(), CLF), SOFT],
    ids=["objective", "moments", "steps", "composite"],
)
def test_scores_of_training_samples_are_no_metric_of_other_samples(model, scoring):
    model, scorer = clone(model).fit(X, Y), leave_one_out_scorer("accuracy")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(TypeError, match=r"the X and y that it is given: pass 'accuracy'"):
            model.leave_out_metric(X, Y, scoring=scorer if scoring == "one" else {"a": scorer})
    assert model.leave_out_metric(X, Y, scoring="accuracy", groups=[[0]]).shape == (1,)


@pytest.mark.parametrize(
    "around",
    [
        lambda tree: calibration.CalibratedClassifierCV(
            ensemble.BaggingClassifier(tree, 2, random_state=0), cv=2
        ),
        lambda tree: calibration.CalibratedClassifierCV(tree, cv=2, ensemble=False),
        lambda tree: ensemble.StackingClassifier([("a", PLAIN)], tree, cv=2),
        lambda tree: ensemble.StackingClassifier([("a", PLAIN), ("b", tree)], cv=2),
    ],
)
def test_the_path_leads_to_the_class_without_influence(around):
    obj = around(DecisionTreeClassifier(random_state=0)).fit(X, Y)
    with pytest.raises(UnsupportedEstimatorError, match="DecisionTreeClassifier") as error:
        from_fitted(obj, X, Y)
    path = str(error.value).partition(" is a ")[0]
    assert isinstance(eval(path), DecisionTreeClassifier)


def test_a_random_part_of_a_step_is_named():
    def fitted(random_state):
        part = GaussianRandomProjection(2, random_state=random_state)
        pipe = sk_pipeline.make_pipeline(sk_pipeline.make_union(part), linear_model.Ridge())
        return from_fitted(pipe.fit(X, T), X, T)

    named = r"refit of GaussianRandomProjection in FeatureUnion is random: set random_state"
    with pytest.raises(UnsupportedEstimatorError, match=named):
        fitted(None).leave_out_loss(X, T, [[0]])
    assert np.isfinite(fitted(0).leave_out_loss(X, T, [[0]])).all()


@pytest.mark.parametrize(
    "step", [cluster.FeatureAgglomeration(2), neighbors.KNeighborsTransformer(n_neighbors=3)]
)
def test_a_step_alone_is_told_to_go_before_a_model(step):
    with pytest.raises(
        UnsupportedEstimatorError, match=f"{type(step).__name__} has .* before"
    ):
        from_fitted(clone(step).fit(X))
    model = linear_model.Ridge(tol=1e-10)  # of sparse rows of neighbours
    pipe = sk_pipeline.make_pipeline(step, model).fit(X, T)
    found = from_fitted(pipe, X, T).leave_out_loss(X[:3], T[:3], [[1]])[:, 0]
    kept = np.arange(60) != 1
    refit = clone(pipe).fit(X[kept], T[kept])
    np.testing.assert_allclose(found, (refit.predict(X[:3]) - T[:3]) ** 2)


@pytest.mark.parametrize(
    "model",
    [SVC(), SOFT, OneVsRestClassifier(CLF), make_pipeline(StandardScaler(), SOFT)],
    ids=["kernel", "composite", "one class of several", "composite behind a step"],
)
def test_the_last_sample_of_a_class_is_named_by_its_label(model):
    model = clone(model).fit(X, RARE)
    before = model.predict(X)
    with pytest.raises(ValueError, match=r"last samples of class 'rare': .* Keep at least"):
        model.remove_samples([5, 6])
    np.testing.assert_array_equal(model.predict(X), before)


@pytest.mark.parametrize(
    "model", [GaussianNB(), CLF, SOFT], ids=["moments", "softmax", "votes"]
)
def test_a_response_that_is_advised_exists(model):
    model = clone(model).fit(X, RARE)
    for call in (
        lambda **other: model.leave_out_predict(**other),
        lambda **other: model.reweight_predict(X, 1.0 * (np.arange(60) != 5), **other),
    ):
        with (
            pytest.warns(InfluenceWarning),
            pytest.raises(ValueError, match="no model") as error,
        ):
            call()
        (advised,) = re.findall(r"response_method='(\w+)'", str(error.value))
        with pytest.warns(InfluenceWarning):
            assert np.isnan(call(response_method=advised)).any()
    with pytest.warns(InfluenceWarning), pytest.raises(ValueError, match="leave_out_predict"):
        model.leave_out_score()


def test_a_fold_without_a_class_is_named():
    halves = [(np.arange(0, 60, 2), np.arange(1, 60, 2))]
    halves += [(test, train) for train, test in halves]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of scikit-learn, the same
        stack = StackingClassifier([("a", CLF)], clone(CLF), cv=halves).fit(X, RARE)
    with pytest.raises(UnsupportedEstimatorError, match="no training sample of class 'rare'"):
        stack.influence_loss(X, RARE)


def test_a_category_that_leaves_a_composite_of_categorical_models():
    categories = (X > 0).astype(int)
    categories[7] = 2

    def without(min_categories):
        nb = naive_bayes.CategoricalNB(min_categories=min_categories)
        votes = ensemble.VotingClassifier([("a", nb)], voting="soft").fit(categories, Y)
        ours = from_fitted(votes, categories, Y)
        return ours.leave_out_loss(categories[7:9], Y[7:9], [[7], [1]])

    with pytest.warns(
        InfluenceWarning, match=r"NaN: row 7\..* min_categories of CategoricalNB"
    ):
        assert np.isnan(without(None)).any(axis=0).tolist() == [True, False]
    kept = np.arange(60) != 7
    refit = naive_bayes.CategoricalNB(min_categories=3).fit(categories[kept], Y[kept])
    expected = -np.log(refit.predict_proba(categories[7:9])[[0, 1], Y[7:9]])
    np.testing.assert_allclose(without(3)[:, 0], expected)


def test_classifiers_that_say_the_same_of_all_samples_have_no_sigmoid():
    def calibrated(method):
        same = calibration.CalibratedClassifierCV(
            naive_bayes.BernoulliNB(), cv=2, method=method
        )
        return from_fitted(same.fit(X**2 + 1, Y), X**2 + 1, Y)

    with pytest.raises(
        SingularHessianError, match=r"input 0\.\d* for all.* method='isotonic'"
    ):
        calibrated("sigmoid").influence_loss(X[:2], Y[:2])
    assert np.isfinite(calibrated("isotonic").influence_loss(X[:2], Y[:2])).all()


def test_votes_of_probabilities_that_a_member_lacks():
    def votes(voting, member):
        return VotingClassifier([("a", CLF), ("b", member)], voting=voting).fit(X, Y)

    svm = LinearSVC(tol=1e-8)
    with pytest.raises(UnsupportedEstimatorError, match=r"estimators_\[1\], a LinearSVC, has"):
        votes("soft", svm).influence_loss(X, Y)
    votes("hard", svm).influence_loss(X, Y)
    votes("soft", calibration.CalibratedClassifierCV(svm, cv=2)).influence_loss(X, Y)
