"""The leave-one-out scorer is an object of scikit-learn that scores the training samples.

Metadata routing brings groups and weights to it; samples that it does not use are told.
"""

import pickle
import warnings

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LinearRegression
from sklearn.metrics import get_scorer, make_scorer
from sklearn.model_selection import (
    GridSearchCV,
    LeaveOneOut,
    cross_val_predict,
)
from sklearn.preprocessing import StandardScaler
from sklearn.utils.fixes import parse_version

from skinfluence import InfluenceWarning
from skinfluence.linear_model import (
    LogisticRegression,
    PoissonRegressor,
    Ridge,
)
from skinfluence.model_selection import LeaveOneOutSearchCV, leave_one_out_scorer
from skinfluence.pipeline import make_pipeline
from tests.fits import NEWTON, data
from tests.searches import all_rows, cancer

# The scorer by itself


def test_the_scorer_scores_the_training_samples():
    X, y, w = data("counts")
    reg = PoissonRegressor(alpha=0.1, **NEWTON).fit(X, y)
    scorer = leave_one_out_scorer()
    np.testing.assert_allclose(scorer(reg, X, y), reg.leave_out_score())
    np.testing.assert_allclose(
        scorer(reg, X, y, sample_weight=w), reg.leave_out_score(sample_weight=w)
    )
    groups = np.arange(len(y)) % 10
    scorer = leave_one_out_scorer("neg_mean_absolute_error", method="exact")
    np.testing.assert_allclose(
        scorer(reg, X, y, groups=groups),
        reg.leave_out_score(groups, scoring="neg_mean_absolute_error", method="exact"),
    )
    refined = leave_one_out_scorer(
        "neg_mean_poisson_deviance", refine=0.2, hessian_solver="cholesky", n_jobs=2
    )
    np.testing.assert_allclose(
        refined(reg, X, y),
        reg.leave_out_score(scoring="neg_mean_poisson_deviance", refine=0.2),
    )


def test_the_scorer_says_that_other_samples_are_not_used():
    X, y, w = data("diabetes")
    reg, scorer = Ridge().fit(X[:100], y[:100]), leave_one_out_scorer()
    with pytest.warns(InfluenceWarning, match="that of the 100 training samples; the 50 "):
        assert scorer(reg, X[100:], y[100:]) == reg.leave_out_score()
    with pytest.warns(InfluenceWarning, match="To train on all samples"):
        search = GridSearchCV(Ridge(), {"alpha": [1.0]}, scoring=scorer, cv=3).fit(X, y)
    kept = np.arange(50, 150)
    assert search.cv_results_["split0_test_score"][0] == pytest.approx(
        Ridge().fit(X[kept], y[kept]).leave_out_score()
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scorer(reg, X[:100], y[:100])
    for rows in (np.arange(100)[::-1], np.arange(50)):
        for metadata in ({"sample_weight": w[rows]}, {"groups": rows % 5}):
            (name,) = metadata
            with pytest.raises(ValueError, match=f"{name} must belong to the 100 training"):
                scorer(reg, X[rows], y[rows], **metadata)


def test_the_scorer_is_an_object_of_scikit_learn():
    X, y, _ = data("diabetes")
    scorer = leave_one_out_scorer("r2", refine=0.1)
    assert repr(scorer) == (
        "leave_one_out_scorer('r2', method='newton', refine=0.1, hessian_solver='auto')"
    )
    reg = Ridge().fit(X, y)
    for copied in (clone(scorer, safe=False), pickle.loads(pickle.dumps(scorer))):
        assert copied(reg, X, y) == scorer(reg, X, y)
    search = clone(GridSearchCV(Ridge(), {"alpha": [1.0]}, scoring=scorer, cv=all_rows(y)))
    assert search.fit(X, y).best_score_ == scorer(reg, X, y)


def test_the_scorer_refuses_bad_arguments():
    X, y, _ = data("diabetes")
    with pytest.raises(ValueError, match="method='loo' is not known"):
        leave_one_out_scorer(method="loo")
    with pytest.raises(ValueError, match="refine=2 must be a share"):
        leave_one_out_scorer(refine=2)
    with pytest.raises(ValueError, match="goes with method='newton'"):
        leave_one_out_scorer(refine=0.5, method="exact")
    with pytest.raises(ValueError, match="'r3'"):
        leave_one_out_scorer("r3")
    with pytest.raises(TypeError, match="leave-one-out already: pass 'r2'"):
        leave_one_out_scorer(leave_one_out_scorer("r2"))
    with pytest.raises(TypeError, match="LinearRegression has no influence methods"):
        leave_one_out_scorer()(LinearRegression().fit(X, y), X, y)
    with pytest.raises(RuntimeError, match="enable_metadata_routing"):
        leave_one_out_scorer().set_score_request(groups=True)


# Metadata routing


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def test_routing_brings_groups_and_weights_to_the_scorer(routing):
    X, y, w = cancer()
    groups = np.arange(60) % 16
    clf = LogisticRegression(**NEWTON).set_fit_request(sample_weight=False)
    fitted = clone(clf).fit(X, y)
    pipe = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), clone(clf))
    metadata = {"groups": groups, "sample_weight": w}
    for scoring in (None, "neg_log_loss"):
        scorer = leave_one_out_scorer(scoring)
        requested = scorer.set_score_request(groups=True, sample_weight=True)
        assert requested is scorer
        search = GridSearchCV(clf, {"C": [1.0]}, scoring=scorer, cv=all_rows(y))
        search = clone(search).fit(X, y, **metadata)
        expected = fitted.leave_out_score(groups, scoring=scoring, sample_weight=w)
        np.testing.assert_allclose(search.best_score_, expected)
        steps = GridSearchCV(pipe, {"logisticregression__C": [1.0]}, scoring=scorer)
        steps.set_params(cv=all_rows(y)).fit(X, y, **metadata)
        whole = steps.best_estimator_
        expected = whole.leave_out_score(groups, scoring=scoring, sample_weight=w)
        np.testing.assert_allclose(steps.best_score_, expected)
    renamed = leave_one_out_scorer().set_score_request(groups="site", sample_weight=False)
    search = GridSearchCV(clf, {"C": [1.0]}, scoring=renamed, cv=all_rows(y))
    search.fit(X, y, site=groups)
    np.testing.assert_allclose(search.best_score_, fitted.leave_out_score(groups))
    with pytest.raises(TypeError, match="cannot request sample_weight"):
        leave_one_out_scorer(["accuracy"]).set_score_request(sample_weight=True)


def test_routing_with_several_metrics(routing):
    X, y, w = cancer()
    clf = LogisticRegression(**NEWTON).set_fit_request(sample_weight=True)
    weighted = get_scorer("neg_log_loss").set_score_request(sample_weight=True)
    unset, without = get_scorer("accuracy"), get_scorer("accuracy")
    without.set_score_request(sample_weight=False)
    search = LeaveOneOutSearchCV(
        clf, {"C": [1.0]}, scoring={"loss": weighted, "accuracy": without}, refit="loss"
    ).fit(X, y, sample_weight=w)
    fitted = LogisticRegression(**NEWTON).fit(X, y, w)
    expected = fitted.leave_out_score(scoring="neg_log_loss", sample_weight=w)
    np.testing.assert_allclose(search.best_score_, expected)
    found = search.cv_results_["mean_test_accuracy"][0]
    np.testing.assert_allclose(found, fitted.leave_out_score(scoring="accuracy"))
    if parse_version(sklearn.__version__) < parse_version("1.9"):
        return  # its scorers request nothing before they are told
    search.set_params(scoring={"loss": weighted, "accuracy": unset})
    with pytest.raises(UnsetMetadataPassedError, match="set_score_request"):
        search.fit(X, y, sample_weight=w)


def quantile_error(y, predicted, quantile=0.5):
    error = y - predicted
    return np.mean(np.maximum(quantile * error, (quantile - 1) * error))


def test_routing_brings_other_metadata_to_the_scoring(routing):
    X, y, _ = data("diabetes")
    scorer = make_scorer(quantile_error, greater_is_better=False)
    scorer.set_score_request(quantile=True)
    search = LeaveOneOutSearchCV(Ridge(), {"alpha": [1.0]}, scoring=scorer)
    search.fit(X, y, quantile=0.9)
    left_out = cross_val_predict(Ridge(), X, y, cv=LeaveOneOut())
    np.testing.assert_allclose(search.best_score_, -quantile_error(y, left_out, 0.9))
