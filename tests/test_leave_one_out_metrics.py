"""A search by leave-one-out scores any metric, over any candidates, on the same predictions.

The oracles are fits of each candidate and their leave-one-out predictions. What fails gets
the error score, as in scikit-learn.
"""

import pickle

import numpy as np
import pytest
from scipy.stats import uniform
from sklearn import pipeline
from sklearn.base import clone
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LinearRegression
from sklearn.metrics import get_scorer, log_loss
from sklearn.model_selection import (
    GridSearchCV,
    LeaveOneOut,
    RandomizedSearchCV,
    cross_val_predict,
)
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from skinfluence import InfluenceWarning
from skinfluence.linear_model import (
    Lasso,
    LogisticRegression,
    Ridge,
)
from skinfluence.model_selection import LeaveOneOutSearchCV, leave_one_out_scorer
from skinfluence.pipeline import make_pipeline
from tests.fits import NEWTON, data
from tests.searches import all_rows, cancer


def test_several_metrics_are_scored_on_the_same_predictions():
    X, y, w = cancer()
    grid = {"C": [0.1, 1.0, 10.0]}
    names = ["accuracy", "neg_log_loss", "roc_auc"]
    clf = LogisticRegression(**NEWTON)
    for scoring in (names, {name: get_scorer(name) for name in names}):
        search = LeaveOneOutSearchCV(clf, grid, scoring=scoring, refit="neg_log_loss")
        search.fit(X, y, sample_weight=w)
        assert search.multimetric_
        for name in names:
            for C, found in zip(
                grid["C"], search.cv_results_[f"mean_test_{name}"], strict=True
            ):
                fitted = LogisticRegression(C=C, **NEWTON).fit(X, y, w)
                expected = fitted.leave_out_score(scoring=name, sample_weight=w)
                np.testing.assert_allclose(found, expected)
        ranks = search.cv_results_["rank_test_neg_log_loss"]
        assert search.best_index_ == ranks.argmin()
        assert search.best_score_ == search.cv_results_["mean_test_neg_log_loss"].max()
        # Other samples are scored as they are, by the metric that decided.
        expected = get_scorer("neg_log_loss")(search.best_estimator_, X, y)
        assert search.score(X, y) == expected
        assert set(search.scorer_) == set(names)
    plain = GridSearchCV(
        clf, grid, scoring=leave_one_out_scorer(names), refit="accuracy", cv=all_rows(y)
    ).fit(X, y, sample_weight=w)
    for name in names:
        key = f"split0_test_{name}"
        np.testing.assert_allclose(plain.cv_results_[key], search.cv_results_[key])
    both = {"left out": leave_one_out_scorer("accuracy"), "fit": "accuracy"}
    mixed = GridSearchCV(clf, grid, scoring=both, refit="left out", cv=all_rows(y))
    mixed.fit(X, y, sample_weight=w)
    np.testing.assert_allclose(
        mixed.cv_results_["mean_test_left out"], plain.cv_results_["mean_test_accuracy"]
    )
    np.testing.assert_allclose(
        mixed.cv_results_["mean_test_fit"][mixed.best_index_],
        mixed.best_estimator_.score(X, y, w),
    )


def test_several_metrics_need_one_that_decides():
    X, y, _ = cancer()
    search = LeaveOneOutSearchCV(
        LogisticRegression(), {"C": [1.0]}, scoring=["accuracy", "f1_macro"]
    )
    with pytest.raises(ValueError, match="refit=True is not one of the metrics"):
        search.fit(X, y)
    assert not hasattr(search, "cv_results_")
    search.set_params(refit=False).fit(X, y)
    assert not hasattr(search, "best_estimator_")


def test_a_callable_refit_chooses():
    X, y, _ = cancer()
    grid = {"C": [0.01, 0.1, 1.0, 10.0]}
    seen = {}

    def simplest_within(results):
        seen.update(results)
        good = results["mean_test_score"] > results["mean_test_score"].max() - 0.1
        return int(np.flatnonzero(good)[0])

    search = LeaveOneOutSearchCV(
        LogisticRegression(**NEWTON),
        grid,
        scoring="neg_log_loss",
        refit=simplest_within,
        return_train_score=True,
    ).fit(X, y)
    scores = search.cv_results_["mean_test_score"]
    assert search.best_index_ == np.flatnonzero(scores > scores.max() - 0.1)[0]
    assert search.best_index_ != scores.argmax()
    assert search.best_params_ == {"C": grid["C"][search.best_index_]}
    assert search.refit is simplest_within
    for C, found in zip(grid["C"], seen["split0_train_score"], strict=True):
        fitted = LogisticRegression(C=C, **NEWTON).fit(X, y)
        np.testing.assert_allclose(found, -log_loss(y, fitted.predict_proba(X)))
    assert np.all(seen["mean_train_score"] > scores)


@pytest.mark.parametrize("scoring", [None, "r2", ["r2", "neg_mean_absolute_error"]], ids=str)
def test_a_candidate_that_fails_gets_the_error_score(scoring):
    X, y, _ = data("diabetes")
    grid = {"alpha": [-1.0, 0.5]}
    refit = "r2" if isinstance(scoring, list) else True
    metric = "r2" if isinstance(scoring, list) else "score"
    search = LeaveOneOutSearchCV(Ridge(), grid, scoring=scoring, refit=refit)
    with pytest.warns(Warning, match="1 fits failed out of a total of 2"):
        search.fit(X, y)
    scores = search.cv_results_[f"mean_test_{metric}"]
    assert np.isnan(scores[0])
    np.testing.assert_allclose(
        scores[1], Ridge(alpha=0.5).fit(X, y).leave_out_score(scoring="r2")
    )
    assert search.best_params_ == {"alpha": 0.5}
    with pytest.raises(ValueError, match="'alpha'"):
        search.set_params(error_score="raise").fit(X, y)
    assert search.best_params_ == {"alpha": 0.5}  # as before the failed call


def test_a_metric_that_fails_leaves_the_others():
    X, y, _ = data("diabetes")

    def refuses(estimator, X, y):
        raise RuntimeError("no such metric today")

    search = LeaveOneOutSearchCV(
        Ridge(), {"alpha": [0.5]}, scoring={"fit": "r2", "none": refuses}, refit="fit"
    )
    with pytest.warns(
        InfluenceWarning, match=r"(?s)Scoring none failed.*no such metric today"
    ):
        search.fit(X, y)
    assert np.isnan(search.cv_results_["mean_test_none"][0])
    expected = Ridge(alpha=0.5).fit(X, y).leave_out_score(scoring="r2")
    np.testing.assert_allclose(search.best_score_, expected)
    with pytest.raises(RuntimeError, match="no such metric today"):
        search.set_params(error_score="raise").fit(X, y)


def test_jobs_run_over_candidates(capfd):
    X, y, _ = cancer()
    pipe = make_pipeline(StandardScaler(), LogisticRegression(**NEWTON))
    grid = {"logisticregression__C": [0.1, 1.0, 10.0]}
    options = {"scoring": ["neg_log_loss", "accuracy"], "refit": "accuracy"}
    groups = np.arange(60) % 16
    alone = LeaveOneOutSearchCV(pipe, grid, **options).fit(X, y, groups=groups)
    search = LeaveOneOutSearchCV(
        pipe, grid, **options, n_jobs=2, pre_dispatch=2, verbose=3
    ).fit(X, y, groups=groups)
    assert "Fitting 1 folds for each of 3 candidates" in capfd.readouterr().out
    for name in ("mean_test_neg_log_loss", "mean_test_accuracy"):
        np.testing.assert_allclose(search.cv_results_[name], alone.cv_results_[name])
    plain = GridSearchCV(
        pipe,
        grid,
        scoring=leave_one_out_scorer("neg_log_loss"),
        cv=all_rows(y),
        n_jobs=2,
    ).fit(X, y)
    expected = LeaveOneOutSearchCV(pipe, grid, scoring="neg_log_loss").fit(X, y)
    np.testing.assert_allclose(
        plain.cv_results_["mean_test_score"], expected.cv_results_["mean_test_score"]
    )


def test_continuous_distributions():
    X, y = (a[:40] for a in data("diabetes")[:2])
    search = RandomizedSearchCV(
        Ridge(),
        {"alpha": uniform(0.1, 5)},
        n_iter=4,
        random_state=0,
        cv=all_rows(y),
        scoring=leave_one_out_scorer("neg_mean_squared_error"),
    ).fit(X, y)
    for params, found in zip(
        search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
    ):
        left_out = cross_val_predict(Ridge(**params), X, y, cv=LeaveOneOut())
        np.testing.assert_allclose(found, -np.mean((y - left_out) ** 2))


# Conventions


@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_checks():
    grid = {"alpha": [0.1, 1.0]}
    known = {"check_supervised_y_2d": "no warning is passed on, by GridSearchCV neither"}
    check_estimator(
        LeaveOneOutSearchCV(Ridge(), grid, error_score="raise"),
        expected_failed_checks=known,
        on_skip=None,
    )
    known["check_dtype_object"] = "GridSearchCV names fits that all failed in a ValueError"
    search = LeaveOneOutSearchCV(Ridge(), grid)
    for one in (search, GridSearchCV(Ridge(), grid, cv=search.cv)):
        check_estimator(one, expected_failed_checks=known, on_skip=None)


def test_it_is_a_grid_search():
    search = LeaveOneOutSearchCV(Ridge(), {"alpha": [0.1, 1.0]}, method="exact")
    assert isinstance(search, GridSearchCV)
    theirs = set(GridSearchCV(Ridge(), {}).get_params(deep=False))
    assert set(search.get_params(deep=False)) == theirs - {"cv"} | {"method", "refine"}
    assert clone(search).get_params(deep=False)["method"] == "exact"
    assert repr(search) == (
        "LeaveOneOutSearchCV(estimator=Ridge(), method='exact',\n"
        "                    param_grid={'alpha': [0.1, 1.0]})"
    )
    with pytest.raises(ValueError, match="Invalid parameter 'cv'"):
        search.set_params(cv=5)
    X, y, _ = data("diabetes")
    search.fit(X, y)
    assert search.refit_time_ > 0
    assert search.n_splits_ == 1
    assert not search.multimetric_
    copied = pickle.loads(pickle.dumps(search))
    np.testing.assert_array_equal(copied.predict(X), search.predict(X))
    assert copied.score(X, y) == search.best_estimator_.score(X, y)


def test_a_grid_with_a_class_without_influence_is_refused_before_any_fit():
    X, y, _ = data("diabetes")
    pipe = pipeline.Pipeline([("model", Ridge())])
    grid = {"model": [Ridge(), LinearRegression()]}
    with pytest.raises(TypeError, match="LinearRegression has no influence methods"):
        LeaveOneOutSearchCV(pipe, grid).fit(X, y)
    grid = {"model": [Ridge(), Lasso(alpha=0.1)]}
    search = LeaveOneOutSearchCV(pipe, grid).fit(X, y)
    expected = [model.fit(X, y).leave_out_score() for model in grid["model"]]
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], expected)
