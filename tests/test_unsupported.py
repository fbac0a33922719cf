"""Errors for estimators without influence carry their row of the page of supported models."""

import numpy as np
import pytest
from sklearn.base import is_classifier
from sklearn.utils import all_estimators

import skinfluence
from skinfluence import UnsupportedEstimatorError, inspection, model_selection
from skinfluence.fitted import PARTS, from_fitted
from skinfluence.unsupported import NOT_CONVEX, UNSUPPORTED, why

KNOWN = dict(all_estimators())
ALONE = [
    name
    for kind, names in NOT_CONVEX.items()
    for name in names.split()
    if kind != "estimators around others"
]


@pytest.mark.parametrize("name", [*UNSUPPORTED, *ALONE])
def test_the_error_is_the_row_of_the_page(name):
    class Fitted(KNOWN[name]):
        """Counts as fitted, as its subclasses and itself do."""

        def __sklearn_is_fitted__(self):
            return True

    with pytest.raises(UnsupportedEstimatorError) as error:
        from_fitted(Fitted())
    message = str(error.value)
    assert name in message
    if name in UNSUPPORTED:
        _, reason, instead = UNSUPPORTED[name]
        assert reason in message
        assert (instead or "refit it without the samples") in message
    else:
        assert ("LogisticRegression" if is_classifier(Fitted()) else "Ridge") in message


def test_every_estimator_around_others_is_answered():
    assert set(NOT_CONVEX["estimators around others"].split()) <= set(PARTS)


def test_functions_and_pipelines_say_the_same():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 3))
    y = (X[:, 0] > 0).astype(int)
    svc = KNOWN["NuSVC"]().fit(X, y)
    pipe = skinfluence.pipeline.make_pipeline(svc).fit(X, y)
    reason = why(svc)
    for call in (
        lambda: inspection.rank_label_errors(svc, strategy="self_influence"),
        lambda: inspection.LeverageDisplay.from_estimator(pipe),
        lambda: model_selection.jackknife_plus_interval(svc, X),
    ):
        with pytest.raises(UnsupportedEstimatorError) as error:
            call()
        assert reason in str(error.value)
    with pytest.raises(AttributeError) as error:
        pipe.influence_loss(X, y)
    assert reason in str(error.value.__cause__)
    # The advice, as far as it goes: the class named, on the same data.
    skinfluence.svm.SVC().fit(X, y).influence_loss(X, y)


@pytest.mark.parametrize("name", ["KMeans", "StandardScaler", "GaussianMixture"])
def test_estimators_without_a_target_say_so(name):
    fitted = KNOWN[name]().fit(np.arange(20.0).reshape(10, 2))
    with pytest.raises(UnsupportedEstimatorError, match=f"{name}.*predicts no target"):
        from_fitted(fitted)
