"""Searches against scikit-learn's with really refitted folds."""

import warnings

import numpy as np
import pytest
import sklearn
from sklearn import pipeline
from sklearn.base import clone
from sklearn.datasets import load_wine
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.linear_model import LinearRegression
from sklearn.metrics import d2_tweedie_score, get_scorer, log_loss
from sklearn.model_selection import (
    GridSearchCV,
    LeaveOneGroupOut,
    LeaveOneOut,
    ParameterGrid,
    cross_val_predict,
    cross_validate,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler, scale

from skinfluence import InfluenceWarning
from skinfluence.linear_model import (
    GammaRegressor,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    TweedieRegressor,
)
from skinfluence.model_selection import LeaveOneOutSearchCV
from tests.fits import NEWTON, data


def few():
    X, y, _ = data("cancer")
    return X[:80], y[:80]


def test_exact_scores_are_those_of_grid_search():
    X, y = few()
    grid = {"C": [0.01, 0.1, 1.0, 10.0]}
    ours = LeaveOneOutSearchCV(
        LogisticRegression(**NEWTON), grid, scoring="accuracy", method="exact"
    ).fit(X, y)
    theirs = GridSearchCV(
        LogisticRegression(**NEWTON), grid, scoring="accuracy", cv=LeaveOneOut()
    ).fit(X, y)
    np.testing.assert_allclose(
        ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"]
    )
    assert ours.best_params_ == theirs.best_params_
    assert ours.best_score_ == pytest.approx(theirs.best_score_)
    np.testing.assert_allclose(
        ours.best_estimator_.params_, theirs.best_estimator_.params_, rtol=1e-6
    )


def test_newton_scores_are_close_and_those_of_ridge_exact():
    X, y = few()
    grid = {"C": np.logspace(-2, 1, 4)}
    results = {}
    for options in ({"method": "exact"}, {"method": "newton"}, {"refine": 0.2}):
        search = LeaveOneOutSearchCV(
            LogisticRegression(**NEWTON), grid, scoring="neg_log_loss", **options
        )
        results[str(options)] = search.fit(X, y).cv_results_["mean_test_score"]
    exact, newton, refined = results.values()
    assert np.abs(newton - exact).max() < 0.02
    assert np.abs(refined - exact).max() < np.abs(newton - exact).max()

    X, y, _ = data("diabetes")
    X, y = X[:60], y[:60]
    grid = {"alpha": np.logspace(-3, 3, 5)}
    scores = LeaveOneOutSearchCV(Ridge(), grid, scoring="neg_mean_squared_error").fit(X, y)
    for alpha, score in zip(grid["alpha"], scores.cv_results_["mean_test_score"], strict=True):
        left_out = cross_val_predict(Ridge(alpha=alpha), X, y, cv=LeaveOneOut())
        np.testing.assert_allclose(score, -np.mean((y - left_out) ** 2), rtol=1e-9)


@pytest.mark.parametrize("name", ["cancer", "wine"])
def test_newton_chooses_within_a_grid_step_of_exact(name):
    X, y, _ = data(name)
    X, y = X[::2], y[::2]
    grid = {"C": np.logspace(-3, 3, 13)}
    best = [
        LeaveOneOutSearchCV(
            LogisticRegression(**NEWTON | {"tol": 1e-8}),
            grid,
            scoring="neg_log_loss",
            method=method,
        )
        .fit(X, y)
        .best_index_
        for method in ("newton", "exact")
    ]
    assert 0 < best[1] < 12
    assert abs(best[0] - best[1]) <= 1


def test_candidates_without_a_score_come_last():
    X, y, _ = data("diabetes")

    def scorer(estimator, X, y):
        # Strong penalties predict nearly the mean: no score for them.
        return np.nan if np.ptp(estimator.predict(X)) < 0.1 else 1.0

    for alphas, expected in [([1e9, 1.0], 1), ([1.0, 1e9], 0), ([1e9, 1.0, 2.0], 1)]:
        search = LeaveOneOutSearchCV(Ridge(), {"alpha": alphas}, scoring=scorer).fit(X, y)
        assert search.best_index_ == expected
        assert search.best_estimator_.alpha == search.best_params_["alpha"] == 1.0
        assert search.cv_results_["rank_test_score"].max() == 1 + np.sum(np.less(alphas, 9))


def test_results_have_the_shape_of_scikit_learns():
    X, y = few()
    grid = [{"C": [0.1, 1.0]}, {"C": [2.0], "fit_intercept": [True, False]}]
    ours = LeaveOneOutSearchCV(LogisticRegression(**NEWTON), grid).fit(X, y)
    theirs = GridSearchCV(
        LogisticRegression(**NEWTON), grid, cv=[(np.arange(60), np.arange(60, 80))]
    ).fit(X, y)
    assert set(ours.cv_results_) == set(theirs.cv_results_)
    assert ours.cv_results_["params"] == theirs.cv_results_["params"]
    assert ours.cv_results_["params"] == list(ParameterGrid(grid))
    for name, theirs_column in theirs.cv_results_.items():
        column = ours.cv_results_[name]
        assert len(column) == len(theirs_column)
        if name.startswith("param_"):
            np.testing.assert_array_equal(np.ma.getmaskarray(column), theirs_column.mask)
            assert column.tolist() == theirs_column.tolist()
    rank = ours.cv_results_["rank_test_score"]
    assert rank[ours.best_index_] == 1
    assert ours.best_score_ == ours.cv_results_["mean_test_score"].max()


def test_pipelines_refit_their_preprocessing():
    X, y, _ = data("diabetes")
    X, y = X[:60], y[:60]
    pipe = make_pipeline(PolynomialFeatures(), StandardScaler(), Ridge())
    grid = {"ridge__alpha": [1.0, 30.0, 1000.0], "polynomialfeatures__degree": [1, 2]}
    search = LeaveOneOutSearchCV(pipe, grid, scoring="neg_mean_squared_error").fit(X, y)
    for params, score in zip(
        search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
    ):
        candidate = pipeline.Pipeline(clone(pipe).set_params(**params).steps)
        left_out = cross_val_predict(candidate, X, y, cv=LeaveOneOut())
        np.testing.assert_allclose(score, -np.mean((y - left_out) ** 2), rtol=1e-8)
    best = clone(pipe).set_params(**search.best_params_).fit(X, y)
    np.testing.assert_allclose(search.predict(X), best.predict(X))
    assert search.best_estimator_.get_params()["ridge__alpha"] == best[-1].alpha
    assert search.best_estimator_[-1].influence_params().shape[0] == len(y)
    assert search.n_features_in_ == X.shape[1]


def test_the_search_is_an_estimator():
    X, y = few()
    search = LeaveOneOutSearchCV(
        LogisticRegression(**NEWTON), {"C": [0.1, 1.0]}, scoring="f1_macro"
    )
    assert not hasattr(search, "best_estimator_")
    search = clone(search).fit(X, y)
    best = search.best_estimator_
    np.testing.assert_array_equal(search.classes_, best.classes_)
    for name in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        np.testing.assert_array_equal(getattr(search, name)(X), getattr(best, name)(X))
    assert search.score(X, y) == search.scorer_(best, X, y)
    assert not hasattr(LeaveOneOutSearchCV(Ridge(), {}), "predict_proba")
    from sklearn.base import is_classifier, is_regressor

    assert is_classifier(search)
    assert is_regressor(LeaveOneOutSearchCV(Ridge(), {}))
    with pytest.raises(TypeError, match="LinearRegression has no influence methods"):
        LeaveOneOutSearchCV(LinearRegression(), {"fit_intercept": [True]}).fit(X, y)
    with pytest.raises(ValueError, match="method='loo' is not known"):
        LeaveOneOutSearchCV(Ridge(), {"alpha": [1.0]}, method="loo").fit(X, y)


def test_sample_weights_reach_every_fit():
    X, y, w = data("diabetes")
    search = LeaveOneOutSearchCV(Ridge(), {"alpha": [0.1, 1.0]}).fit(X, y, sample_weight=w)
    expected = Ridge(**search.best_params_).fit(X, y, sample_weight=w)
    np.testing.assert_allclose(search.best_estimator_.params_, expected.params_)
    np.testing.assert_allclose(search.best_score_, expected.leave_out_score(sample_weight=w))


def test_sample_weights_count_in_the_scores():
    X, y, w = data("cancer")
    X, y, w = X[:80], y[:80], w[:80]
    grid = {"C": [0.1, 1.0]}
    search = LeaveOneOutSearchCV(
        LogisticRegression(**NEWTON), grid, scoring="neg_log_loss", method="exact"
    ).fit(X, y, sample_weight=w)
    for C, score in zip(grid["C"], search.cv_results_["mean_test_score"], strict=True):
        left_out = cross_val_predict(
            LogisticRegression(C=C, **NEWTON),
            X,
            y,
            cv=LeaveOneOut(),
            method="predict_proba",
            params={"sample_weight": w},
        )
        np.testing.assert_allclose(score, -log_loss(y, left_out, sample_weight=w), rtol=1e-7)
    fitted = search.best_estimator_
    expected = fitted.leave_out_score(sample_weight=w)
    correct = fitted.leave_out_predict() == y
    np.testing.assert_allclose(expected, np.average(correct, weights=w))

    def unweighted(estimator, X, y):
        return estimator.score(X, y)

    search = LeaveOneOutSearchCV(LogisticRegression(**NEWTON), grid, scoring=unweighted)
    with pytest.warns(InfluenceWarning, match="takes no sample_weight"):
        search.fit(X, y, sample_weight=w)
    assert search.best_score_ == search.best_estimator_.leave_out_score()


@pytest.mark.parametrize(
    "regressor", [PoissonRegressor(), GammaRegressor(), TweedieRegressor(power=1.5)]
)
def test_scores_of_deviances_are_weighted(regressor):
    X, y, w = data("amounts")
    fitted = regressor.fit(X, y)
    predicted, power = fitted.leave_out_predict(), {"P": 1, "G": 2, "T": 1.5}
    power = power[type(fitted).__name__[0]]
    np.testing.assert_allclose(
        fitted.leave_out_score(sample_weight=w),
        d2_tweedie_score(y, predicted, power=power, sample_weight=w),
    )


def test_groups_leave_together():
    X, y, _ = data("cancer")
    groups = np.arange(len(y)) % 20
    grid = {"C": [0.01, 0.1, 1.0]}
    options = {"scoring": "neg_log_loss"}
    ours = LeaveOneOutSearchCV(
        LogisticRegression(**NEWTON), grid, method="exact", **options
    ).fit(X, y, groups=groups)
    theirs = GridSearchCV(
        LogisticRegression(**NEWTON), grid, cv=LeaveOneGroupOut(), **options
    ).fit(X, y, groups=groups)
    # Groups of one size: the mean of the folds is the pooled loss.
    np.testing.assert_allclose(
        ours.cv_results_["mean_test_score"],
        theirs.cv_results_["mean_test_score"],
        rtol=1e-6,
    )


def test_metadata_of_pipelines_go_to_the_steps_that_they_name():
    X, y, w = data("cancer")
    search, reference = searches_of_pipelines()
    for names in (["model"], ["scale"], ["scale", "model"]):
        params = {f"{name}__sample_weight": w for name in names}
        search.fit(X, y, **params)
        reference.fit(X, y, **params)
        same_fit(search, reference)
    with pytest.raises(ValueError, match="stepname__parameter"):
        search.fit(X, y, sample_weight=w)
    with pytest.raises(ValueError, match="scaler"):
        search.fit(X, y, scaler__sample_weight=w)


def searches_of_pipelines(scale=None, model=None):
    """Return our search and scikit-learn's, with the metadata requests of the steps."""
    scaler, last = StandardScaler(), LogisticRegression(**NEWTON)
    scoring = get_scorer("accuracy")
    if scale is not None:
        scaler.set_fit_request(sample_weight=scale)
        last.set_fit_request(sample_weight=model)
        scoring.set_score_request(sample_weight=False)
    pipe, grid = Pipeline([("scale", scaler), ("model", last)]), {"model__C": [0.3]}
    return [one(pipe, grid, scoring=scoring) for one in (LeaveOneOutSearchCV, GridSearchCV)]


def same_fit(search, reference):
    for name in ("coef_", "intercept_"):
        ours = getattr(search.best_estimator_[-1], name)
        theirs = getattr(reference.best_estimator_[-1], name)
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    np.testing.assert_allclose(
        search.best_estimator_[0].mean_, reference.best_estimator_[0].mean_
    )


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def test_routed_metadata_go_where_they_are_requested(routing):
    X, y, w = data("cancer")
    for requests in [(True, False), (False, True), (True, True), ("heavy", True)]:
        searches = searches_of_pipelines(*requests)
        params = {"sample_weight": w}
        if "heavy" in requests:
            params["heavy"] = w**2
        for one in searches:
            one.fit(X, y, **params)
        same_fit(*searches)
    alone = LogisticRegression(**NEWTON).set_fit_request(sample_weight="mine")
    one = LeaveOneOutSearchCV(alone, {"C": [0.3]}).fit(X, y, mine=w).best_estimator_
    expected = LogisticRegression(C=0.3, **NEWTON).fit(X, y, w)
    np.testing.assert_allclose(one.params_, expected.params_)


def test_routed_weights_reach_the_scorer_that_requests_them(routing):
    X, y, w = data("cancer")
    last = LogisticRegression(**NEWTON)
    for weigh_fit, weigh_score in [(True, False), (False, True), (True, True)]:
        last.set_fit_request(sample_weight=weigh_fit)
        scoring = get_scorer("neg_log_loss").set_score_request(sample_weight=weigh_score)
        search = LeaveOneOutSearchCV(last, {"C": [1.0]}, scoring=scoring)
        search.fit(X, y, sample_weight=w)
        fitted = LogisticRegression(**NEWTON).fit(X, y, w if weigh_fit else None)
        weight = w if weigh_score else None
        probability = fitted.leave_out_predict(response_method="predict_proba")
        expected = -log_loss(y, probability, sample_weight=weight)
        np.testing.assert_allclose(search.best_score_, expected)
        if weigh_score:
            probability = fitted.predict_proba(X)
            expected = -log_loss(y, probability, sample_weight=weight)
            np.testing.assert_allclose(search.score(X, y, sample_weight=w), expected)


def test_weights_reach_the_own_score_that_requests_them(routing):
    X, y, w = data("cancer")
    last = LogisticRegression(**NEWTON).set_fit_request(sample_weight=False)
    expected = LogisticRegression(**NEWTON).fit(X, y).leave_out_score(sample_weight=w)
    grids = [(last, {"C": [1.0]}), (Pipeline([("model", last)]), {"model__C": [1.0]})]
    for estimator, grid in grids:
        search = LeaveOneOutSearchCV(estimator, grid)
        with pytest.raises(UnsetMetadataPassedError, match="set_score_request"):
            search.fit(X, y, sample_weight=w)
        last.set_score_request(sample_weight=True)
        search.fit(X, y, sample_weight=w)
        np.testing.assert_allclose(search.best_score_, expected)
        last.set_score_request(sample_weight=None)


def test_routing_refuses_metadata_that_nobody_requests(routing):
    X, y, w = data("cancer")
    searches = [
        LeaveOneOutSearchCV(LogisticRegression(), {"C": [1.0]}),
        GridSearchCV(LogisticRegression(), {"C": [1.0]}),
    ]
    for search in searches:
        with pytest.raises(UnsetMetadataPassedError, match="set_fit_request"):
            search.fit(X, y, sample_weight=w)
        with pytest.raises(TypeError, match="height"):
            search.fit(X, y, height=w)


def test_searches_route_inside_searches(routing):
    X, y, w = data("cancer")
    last = LogisticRegression(**NEWTON).set_fit_request(sample_weight=True)
    last.set_score_request(sample_weight=False)
    search = LeaveOneOutSearchCV(last, {"C": [0.1, 1.0]}).set_fit_request(groups=True)
    groups = np.arange(len(y)) % 20
    result = cross_validate(
        search,
        X,
        y,
        cv=2,
        params={"sample_weight": w, "groups": groups},
        return_estimator=True,
        return_indices=True,
    )
    for one, train in zip(result["estimator"], result["indices"]["train"], strict=True):
        alone = clone(search).fit(
            X[train], y[train], sample_weight=w[train], groups=groups[train]
        )
        assert one.best_score_ == alone.best_score_
        np.testing.assert_array_equal(
            one.best_estimator_.params_, alone.best_estimator_.params_
        )


def test_weights_in_score_need_routing():
    X, y = few()
    search = LeaveOneOutSearchCV(LogisticRegression(**NEWTON), {"C": [1.0]}).fit(X, y)
    with pytest.raises(ValueError, match="enable_metadata_routing"):
        search.score(X, y, sample_weight=np.ones(len(y)))


def test_fits_that_stopped_early_are_compared_at_their_optima():
    X, y = load_wine(return_X_y=True)
    X, y = scale(X)[::2], y[::2]
    grid = {"C": np.logspace(-4, 4, 25)}
    chosen = []
    for method in ("newton", "exact"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # lbfgs at its default tol, for large C
            search = LeaveOneOutSearchCV(
                LogisticRegression(), grid, scoring="neg_log_loss", method=method
            )
            chosen.append(search.fit(X, y).best_index_)
    assert abs(chosen[0] - chosen[1]) <= 1
