"""The options of a grid search hold for estimators around others, too.

The oracles are leave-one-out refits by scikit-learn, and its own errors.
"""

import warnings

import numpy as np
import pytest
import sklearn
from sklearn import ensemble, pipeline
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.metrics import get_scorer, log_loss
from sklearn.model_selection import GridSearchCV, LeaveOneOut, cross_val_predict
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import StandardScaler

from skinfluence import from_fitted
from skinfluence.model_selection import LeaveOneOutSearchCV, leave_one_out_scorer
from tests.searches import all_rows
from tests.small_models import LOGISTIC, RIDGE, numbers, own, small, three_classes

GRID = {"pca__n_components": [1, 2]}


def piped(template):
    """Return a pipeline that ends in our estimator, and one that ends in scikit-learn's."""
    return (pipeline.make_pipeline(PCA(), last) for last in (own(template), template))


def test_several_metrics_of_composites_are_those_of_refits():
    X, y = small(three_classes, 12)
    ours, plain = piped(OneVsRestClassifier(LOGISTIC))
    names = ["accuracy", "neg_log_loss"]
    for scoring in (names, {name: get_scorer(name) for name in names}):
        search = LeaveOneOutSearchCV(
            ours, GRID, scoring=scoring, method="exact", refit="neg_log_loss"
        ).fit(X, y)
    for k, accuracy, loss in zip(
        GRID["pca__n_components"],
        search.cv_results_["mean_test_accuracy"],
        search.cv_results_["mean_test_neg_log_loss"],
        strict=True,
    ):
        refit = clone(plain).set_params(pca__n_components=k)
        proba = cross_val_predict(refit, X, y, cv=LeaveOneOut(), method="predict_proba")
        assert accuracy == pytest.approx(np.mean(proba.argmax(axis=1) == y))
        assert loss == pytest.approx(-log_loss(y, proba), rel=1e-6)


def test_a_callable_chooses_among_composites():
    X, y = small(numbers, 12)
    ours, _ = piped(TransformedTargetRegressor(RIDGE, transformer=StandardScaler()))
    search = LeaveOneOutSearchCV(
        ours,
        GRID,
        scoring="r2",
        refit=lambda results: int(results["mean_test_score"].argmin()),
    ).fit(X, y)
    assert search.best_index_ == search.cv_results_["mean_test_score"].argmin()
    assert search.best_estimator_[0].n_components == search.best_params_["pca__n_components"]


def test_a_member_that_fails_gives_its_candidate_the_error_score():
    X, y = small(numbers, 12)
    ours, _ = piped(ensemble.VotingRegressor([("a", RIDGE)]))
    grid = {"votingregressor__a__alpha": [-1.0, 0.5]}
    search = LeaveOneOutSearchCV(ours, grid, scoring="r2", error_score=-7.0)
    theirs = GridSearchCV(
        ours, grid, scoring=leave_one_out_scorer("r2"), cv=all_rows(y), error_score=-7.0
    )
    for one in (search, theirs):
        with pytest.warns(Warning, match="1 fits failed out of a total of 2"):
            one.fit(X, y)
        scores = one.cv_results_["mean_test_score"]
        assert scores[0] == -7.0
        best = from_fitted(one.best_estimator_, X, y)
        assert scores[1] == pytest.approx(best.leave_out_score(scoring="r2"))
        with pytest.raises(ValueError, match="'alpha'"):
            one.set_params(error_score="raise").fit(X, y)


def test_routing_brings_weights_to_members_and_groups_to_the_scorer():
    X, y = small(numbers, 12)
    w, groups = np.random.default_rng(0).uniform(0.5, 2.0, 12), np.arange(12) // 2
    with sklearn.config_context(enable_metadata_routing=True), warnings.catch_warnings():
        warnings.simplefilter("error")
        member = clone(RIDGE).set_fit_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=True)
        ours, plain = piped(ensemble.VotingRegressor([("a", member)]))
        ours, plain = (
            pipeline.Pipeline([("scaler", scaler), *pipe.steps]) for pipe in (ours, plain)
        )
        scorer = leave_one_out_scorer("r2", method="exact").set_score_request(
            groups=True, sample_weight=False
        )
        theirs = GridSearchCV(ours, GRID, scoring=scorer, cv=all_rows(y))
        theirs.fit(X, y, sample_weight=w, groups=groups)
        metric = get_scorer("r2").set_score_request(sample_weight=False)
        search = LeaveOneOutSearchCV(ours, GRID, scoring=metric, method="exact")
        search.fit(X, y, groups=groups, sample_weight=w)
        left_out = np.empty(12)
        best = clone(plain).set_params(**search.best_params_)
        for group in range(6):
            kept = groups != group
            refit = clone(best).fit(X[kept], y[kept], sample_weight=w[kept])
            left_out[~kept] = refit.predict(X[~kept])
    expected = 1 - np.sum((y - left_out) ** 2) / np.sum((y - y.mean()) ** 2)
    assert search.best_score_ == pytest.approx(expected)
    assert theirs.best_score_ == pytest.approx(expected)
