"""Sample weights that a fit gives to some of its parts, but not to others.

The oracle are scikit-learn's fits of the whole with the same routing.
"""

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.ensemble import VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skinfluence.linear_model
import skinfluence.pipeline
from skinfluence import UnsupportedEstimatorError, from_fitted
from tests.fits import NEWTON


@pytest.fixture
def routing():
    with config_context(enable_metadata_routing=True):
        yield


def problem():
    rng = np.random.default_rng(0)
    X = 2.0 + rng.normal(size=(40, 3))
    y = (X @ [1.0, -1.0, 0.5] + rng.normal(size=40) > 1.0).astype(int)
    return X, y, rng.uniform(0.3, 3.0, 40)


def scaler(asks):
    return StandardScaler().set_fit_request(sample_weight=asks)


def logistic(asks, C=1.0):
    return LogisticRegression(C=C, **NEWTON).set_fit_request(sample_weight=asks)


def proba(model, X):
    return model.predict_proba(X)[:, 1]


@pytest.mark.parametrize(("of_scaler", "of_model"), [(True, False), (False, True)])
def test_other_weights_are_refused_if_they_reach_some_parts_only(routing, of_scaler, of_model):
    X, y, weight = problem()
    pipe = make_pipeline(scaler(of_scaler), logistic(of_model))
    ours = from_fitted(clone(pipe).fit(X, y, sample_weight=weight), X, y, weight)
    with pytest.raises(UnsupportedEstimatorError, match="two meanings") as refusal:
        ours.reweight_predict(X, weight)
    names = ["standardscaler", "logisticregression"][:: 1 if of_scaler else -1]
    assert "weights to {}, but not to {},".format(*names) in str(refusal.value)
    for call in (ours.reweight_params, lambda w: ours.reweight_loss(X, y, w)):
        with pytest.raises(UnsupportedEstimatorError, match="two meanings"):
            call(weight)
    # The remedies: removal, and weights for every part.
    kept = np.arange(40) != 3
    without = clone(pipe).fit(X[kept], y[kept], sample_weight=weight[kept])
    found = ours.leave_out_params([[3]], method="exact")[0]
    np.testing.assert_allclose(found[:3], without[-1].coef_[0], rtol=1e-7)
    both = make_pipeline(scaler(True), logistic(True))
    ours = from_fitted(clone(both).fit(X, y, sample_weight=weight), X, y, weight)
    refit = clone(both).fit(X, y, sample_weight=weight**2)
    found = ours.reweight_params(weight**2, method="exact")[0]
    np.testing.assert_allclose(found[:3], refit[-1].coef_[0], rtol=1e-7)


def test_members_that_take_no_weights_are_named(routing):
    X, y, weight = problem()
    vote = VotingClassifier([("a", logistic(True)), ("b", logistic(False))], voting="soft")
    for model, prefix in ((vote, ""), (make_pipeline(vote), "votingclassifier__")):
        ours = from_fitted(clone(model).fit(X, y, sample_weight=weight), X, y, weight)
        with pytest.raises(UnsupportedEstimatorError, match=f"but not to {prefix}b, so"):
            ours.reweight_loss(X, y, weight)


def test_weights_of_a_step_alone_by_its_name():
    X, y, weight = problem()
    last = skinfluence.linear_model.LogisticRegression(**NEWTON)
    pipe = skinfluence.pipeline.make_pipeline(StandardScaler(), last)
    ours = clone(pipe).fit(X, y, standardscaler__sample_weight=weight)
    with pytest.raises(UnsupportedEstimatorError, match="standardscaler, but not to logistic"):
        ours.reweight_params(weight)
    both = {f"{name}__sample_weight": weight for name, _ in pipe.steps}
    ours = clone(pipe).fit(X, y, **both)
    found = ours.reweight_params(weight, method="exact")[0]
    np.testing.assert_allclose(found, ours.params_, rtol=1e-7)


def test_influence_of_members_whose_weights_stop_before_the_model(routing):
    X, y, weight = problem()

    def template(C):
        member = make_pipeline(scaler(True), logistic(False, C))
        return VotingClassifier([("a", member), ("b", logistic(True, C))], voting="soft")

    ours = from_fitted(template(1.0).fit(X, y, sample_weight=weight), X, y, weight)
    found = ours.influence_prediction(X, response_method="predict_proba")[:, 3, 1]
    copies = np.repeat(np.arange(40), 200)

    def copied(rows):
        # A copy has the weight of 1/200 sample.
        return proba(template(1 / 200).fit(X[rows], y[rows], sample_weight=weight[rows]), X)

    slope = copied(np.append(copies, 3)) - copied(np.delete(copies, 3 * 200))
    expected = weight.sum() / weight[3] * slope * 100
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_removal_after_routing_is_switched_off(routing):
    X, y, weight = problem()
    member = make_pipeline(scaler(True), logistic(False))
    pipe = make_pipeline(scaler(True), OneVsRestClassifier(member))
    ours = from_fitted(clone(pipe).fit(X, y, sample_weight=weight), X, y, weight)
    kept = np.arange(40) != 3
    without = clone(pipe).fit(X[kept], y[kept], sample_weight=weight[kept])
    with config_context(enable_metadata_routing=False):
        loss = ours.leave_out_loss(X, y, [[3]], method="exact")[:, 0]
    p = proba(without, X)
    np.testing.assert_allclose(loss, -np.log(np.where(y == 1, p, 1 - p)), rtol=1e-7)
