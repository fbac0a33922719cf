"""Classifiers with a threshold: every answer against refits of scikit-learn."""

import copy
import pickle

import numpy as np
import pytest
from sklearn import config_context, ensemble, linear_model
from sklearn import model_selection as plain_selection
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import (
    FixedThresholdClassifier,
    StratifiedShuffleSplit,
    TunedThresholdClassifierCV,
    cross_val_predict,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from skinfluence import InfluenceWarning, UnsupportedEstimatorError, from_fitted, pipeline
from skinfluence import model_selection as ours_selection
from skinfluence.inspection import rank_label_errors

X, Y = load_breast_cancer(return_X_y=True)
X, Y = X[:80, :4], Y[:80]
LOGISTIC = linear_model.LogisticRegression(solver="newton-cholesky", tol=1e-13, max_iter=200)
SCALED = make_pipeline(StandardScaler(), LOGISTIC)
CASES = {
    "probability": FixedThresholdClassifier(SCALED, threshold=0.9),
    "decision value": FixedThresholdClassifier(
        SCALED, threshold=2.0, response_method="decision_function"
    ),
    "other label": FixedThresholdClassifier(SCALED, threshold=0.7, pos_label=0),
    "vote": FixedThresholdClassifier(
        ensemble.VotingClassifier([("a", LOGISTIC), ("b", SCALED)], voting="soft"),
        threshold=0.8,
    ),
    "hinge": FixedThresholdClassifier(
        make_pipeline(StandardScaler(), LinearSVC(tol=1e-10, max_iter=10**6, random_state=0)),
        threshold=0.5,
    ),
    "tuned": TunedThresholdClassifierCV(SCALED, cv=2, scoring="f1", thresholds=20),
    "behind a step": make_pipeline(
        StandardScaler(), FixedThresholdClassifier(LOGISTIC, threshold=0.9)
    ),
}


def at_its_threshold(fit):
    """Return an unfitted classifier with the threshold that a fit has tuned."""
    if not hasattr(fit, "best_threshold_"):
        return clone(fit)
    method = "predict_proba"
    return FixedThresholdClassifier(
        clone(fit.estimator), threshold=fit.best_threshold_, response_method=method
    )


@pytest.fixture(params=CASES, scope="module")
def case(request):
    plain = clone(CASES[request.param]).fit(X, Y)
    return plain, from_fitted(plain, X, Y), at_its_threshold(plain)


def test_labels_are_those_at_the_threshold_with_every_sample_and_without(case):
    plain, ours, template = case
    default = plain[-1].estimator_ if hasattr(plain, "steps") else plain.estimator_
    rows = plain[:-1].transform(X) if hasattr(plain, "steps") else X
    assert np.any(plain.predict(X) != default.predict(rows))
    np.testing.assert_array_equal(ours.predict(X), plain.predict(X))
    for response in ("predict", "predict_proba", "decision_function"):
        if not hasattr(plain, response):
            assert not hasattr(ours, response)
            continue
        found = ours.leave_out_predict(cv=5, method="exact", response_method=response)
        expected = cross_val_predict(template, X, Y, cv=5, method=response)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    found = ours.leave_out_score(cv=5, method="exact", scoring="f1")
    pooled = plain_selection.cross_val_predict(template, X, Y, cv=5)
    hits = np.sum((pooled == 1) & (Y == 1))
    assert found == pytest.approx(2 * hits / (np.sum(pooled == 1) + np.sum(Y == 1)))
    groups = np.arange(len(Y)) % 4
    found = ours.leave_out_metric(X, Y, groups=groups, method="exact")
    refits = [clone(template).fit(X[groups != g], Y[groups != g]) for g in range(4)]
    np.testing.assert_allclose(found, [refit.score(X, Y) for refit in refits])


def test_influence_and_losses_are_those_of_the_classifier_inside(case):
    plain, ours, template = case
    if hasattr(plain, "steps"):
        inside = make_pipeline(plain[0], plain[-1].estimator_)
    else:
        inside = plain.estimator_
    inside = from_fitted(inside, X, Y)
    queries = X[:4], Y[:4]
    np.testing.assert_allclose(ours.sample_loss(*queries), inside.sample_loss(*queries))
    np.testing.assert_allclose(
        ours.influence_loss(*queries), inside.influence_loss(*queries), rtol=1e-7, atol=1e-9
    )
    np.testing.assert_allclose(
        ours.influence_prediction(X[:4]), inside.influence_prediction(X[:4]), atol=1e-9
    )
    removed = copy.copy(ours).remove_samples([3, 7])
    refit = clone(template).fit(np.delete(X, [3, 7], 0), np.delete(Y, [3, 7]))
    np.testing.assert_array_equal(removed.predict(X), refit.predict(X))
    counts = np.random.default_rng(0).integers(0, 3, len(Y))
    rows = np.repeat(np.arange(len(Y)), counts)
    refit = clone(template).fit(X[rows], Y[rows])
    found = ours.reweight_predict(X, counts, method="exact")[0]
    np.testing.assert_array_equal(found, refit.predict(X))
    again = pickle.loads(pickle.dumps(ours))
    np.testing.assert_allclose(again.influence_loss(*queries), ours.influence_loss(*queries))
    assert len(rank_label_errors(ours)) == len(Y)


def test_fits_of_ours_and_weights():
    clf = ours_selection.FixedThresholdClassifier(SCALED, threshold=0.9).fit(X, Y)
    expected = from_fitted(clone(CASES["probability"]).fit(X, Y), X, Y)
    np.testing.assert_allclose(clf.self_influence(), expected.self_influence())
    tuned = ours_selection.TunedThresholdClassifierCV(SCALED, cv=2, scoring="f1").fit(X, Y)
    score = tuned.leave_out_score(cv=5, method="exact")
    folds = cross_val_score(at_its_threshold(tuned), X, Y, cv=5)
    assert score == pytest.approx(folds.mean())
    pipe = pipeline.make_pipeline(StandardScaler(), clone(CASES["probability"])).fit(X, Y)
    with pytest.raises(AttributeError):
        pipe.influence_loss(X, Y)  # scikit-learn's own class is last
    w = np.random.default_rng(0).uniform(0.5, 2.0, len(Y))
    with config_context(enable_metadata_routing=True):
        model = clone(LOGISTIC).set_fit_request(sample_weight=True)
        plain = FixedThresholdClassifier(model, threshold=0.9).fit(X, Y, sample_weight=w)
        ours = from_fitted(plain, X, Y, w)
        step = 1e-4 * (np.arange(len(Y)) == 5)
        ahead, back = (
            clone(plain).fit(X, Y, sample_weight=w + s).decision_function(X[:3])
            for s in (step, -step)
        )
    found = ours.influence_prediction(X[:3])[:, 5]
    np.testing.assert_allclose(found, w.sum() * (ahead - back) / 2e-4, rtol=1e-5)


def test_groups_without_a_model_have_no_labels():
    ours = from_fitted(clone(CASES["probability"]).fit(X, Y), X, Y)
    with (
        pytest.warns(InfluenceWarning, match="class"),
        pytest.raises(ValueError, match="no predicted class"),
    ):
        ours.leave_out_predict(Y)
    with pytest.warns(InfluenceWarning, match="class"):
        assert np.isnan(ours.leave_out_predict(Y, response_method="predict_proba")).all()


def test_methods_of_one_vector_of_parameters_name_the_classifier_inside():
    ours = from_fitted(clone(CASES["probability"]).fit(X, Y), X, Y)
    with pytest.raises(AttributeError) as error:
        ours.dfbetas()
    assert "Ask its classifier, estimator_" in str(error.value.__cause__)
    assert ours.estimator_.dfbetas().shape == (len(Y), 5)


def test_frozen_classifiers_are_explained_on_their_own_samples_and_stay_elsewhere():
    clf = clone(SCALED).fit(X, Y)
    frozen = FixedThresholdClassifier(FrozenEstimator(clf), threshold=0.9)
    expected = from_fitted(clf, X, Y).influence_loss(X[:2], Y[:2])
    prefit = TunedThresholdClassifierCV(clf, cv="prefit", refit=False).fit(X, Y)
    for plain in (frozen, clone(frozen).fit(X, Y), prefit):
        ours = from_fitted(plain, X, Y)
        np.testing.assert_allclose(ours.influence_loss(X[:2], Y[:2]), expected)
        np.testing.assert_array_equal(ours.predict(X), plain.predict(X))
    for own in (
        ours_selection.FixedThresholdClassifier(FrozenEstimator(clf)),
        ours_selection.TunedThresholdClassifierCV(clf, cv="prefit", refit=False),
    ):
        with pytest.raises(UnsupportedEstimatorError, match="has not fitted its classifier"):
            own.fit(X, Y).influence_loss(X, Y)
    tuned = TunedThresholdClassifierCV(FrozenEstimator(clf), cv=2)
    members = [("fixed", frozen), ("tuned", tuned), ("free", SCALED)]
    vote = ensemble.VotingClassifier(members, voting="soft").fit(X, Y)
    moved = from_fitted(vote, X, Y).influence_prediction(X[:2])
    share = from_fitted(vote.estimators_[2], X, Y).influence_prediction(
        X[:2], response_method="predict_proba"
    )
    np.testing.assert_allclose(moved, share / 3, atol=1e-12)
    refit = clone(vote).fit(X[1:], Y[1:])
    removed = from_fitted(vote, X, Y).remove_samples([0])
    np.testing.assert_allclose(removed.predict_proba(X), refit.predict_proba(X), rtol=1e-7)
    behind = make_pipeline(FrozenEstimator(StandardScaler().fit(X)), clone(frozen))
    members = [("a", behind), ("b", LOGISTIC)]
    vote = ensemble.VotingClassifier(members, voting="soft")
    pipe = make_pipeline(StandardScaler(), vote).fit(X, Y)
    loss = from_fitted(pipe, X, Y).leave_out_loss(X[:1], Y[:1], [[2]], method="exact")
    refit = clone(pipe).fit(np.delete(X, 2, 0), np.delete(Y, 2))
    expected = -np.log(refit.predict_proba(X[:1])[0, Y[0]])
    np.testing.assert_allclose(loss[0, 0], expected, rtol=1e-7)
    members = [("a", make_pipeline(StandardScaler(), clone(frozen))), ("b", LOGISTIC)]
    vote = ensemble.VotingClassifier(members, voting="soft").fit(X, Y)
    with pytest.raises(UnsupportedEstimatorError, match=r"estimators_\[0\] ends in a Frozen"):
        from_fitted(vote, X, Y)


def test_a_classifier_of_a_part_of_the_samples_is_refused_by_name():
    cv = StratifiedShuffleSplit(1, random_state=0)
    plain = TunedThresholdClassifierCV(SCALED, cv=cv, refit=False).fit(X, Y)
    with pytest.raises(UnsupportedEstimatorError, match="Use refit=True"):
        from_fitted(plain, X, Y)
    train, _ = next(cv.split(X, Y))
    inside = from_fitted(plain.estimator_, X[train], Y[train])
    assert inside.influence_loss(X[:1], Y[:1]).shape == (1, len(train))
    with pytest.warns(InfluenceWarning, match="not those"):
        from_fitted(clone(CASES["probability"]).fit(X, Y), X, Y[::-1])
