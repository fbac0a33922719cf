"""Leave-one-out scores in searches of scikit-learn, against independent fits and refits."""

import pickle
import warnings
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import sklearn
from scipy.stats import uniform
from sklearn import pipeline
from sklearn.base import clone, is_classifier
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.decomposition import PCA
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LinearRegression
from sklearn.metrics import get_scorer, log_loss, make_scorer
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    LeaveOneOut,
    RandomizedSearchCV,
    cross_val_predict,
)
from sklearn.preprocessing import FunctionTransformer, StandardScaler, label_binarize
from sklearn.utils import resample
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.fixes import parse_version

from skinfluence import InfluenceWarning, from_fitted
from skinfluence.linear_model import (
    HuberRegressor,
    Lasso,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    SGDRegressor,
)
from skinfluence.model_selection import LeaveOneOutSearchCV, leave_one_out_scorer
from skinfluence.pipeline import make_pipeline
from tests.cases import CASES, HINGES, NEWTON, data, frozen


def loosened(case):
    """Return the case with a tolerance that needs no hundreds of iterations."""
    estimator = clone(case.estimator)
    if getattr(estimator, "solver", None) == "newton-cholesky":
        estimator.set_params(tol=1e-8)
    return replace(case, estimator=estimator)


# One case of each class.
FIRST = {type(case.estimator).__name__: loosened(case) for case in reversed(CASES + HINGES)}
each_class = pytest.mark.parametrize("case", FIRST.values(), ids=FIRST)


def small(case):
    X, y, _ = data(case.dataset)
    return X[::8], y[::8]


def all_rows(y):
    return [(np.arange(len(y)), np.arange(len(y)))]


def response(estimator, X):
    return estimator.decision_function(X) if is_classifier(estimator) else estimator.predict(X)


def squared_error(y, response):
    if not np.issubdtype(np.asarray(y).dtype, np.floating):
        y = label_binarize(y, classes=np.unique(y), neg_label=-1).reshape(response.shape)
    return -np.mean((y - response) ** 2)


def score(estimator, X, y):
    """Score that changes with every prediction, not only with labels."""
    return squared_error(y, response(estimator, X))


def pipe_and_grid(case):
    """Return a pipeline whose candidates have different numbers of features."""
    if case.dataset == "linnerud" or len(case.name) % 2:
        return make_pipeline(PCA(), clone(case.estimator)), {"pca__n_components": [2, 3]}
    pipe = pipeline.make_pipeline(SelectKBest(), clone(case.estimator))
    return pipe, {"selectkbest__k": [2, 3]}


def left_out_responses(case, fitted, X, y):
    """Return the response of a real refit of the pipeline without each sample."""
    name = fitted.steps[-1][0]
    last = frozen(case, fitted[-1])
    tight = pipeline.Pipeline([*fitted.steps[:-1], (name, last)])
    found = []
    for i in range(len(y)):
        rest = np.arange(len(y)) != i
        refit = clone(tight).fit(X[rest], y[rest])
        if case.polished:
            refit[-1].polish(tol=1e-13)
        found.append(response(refit, X[[i]])[0])
    return np.array(found)


@pytest.mark.slow
@each_class
@pytest.mark.filterwarnings("ignore")
def test_candidates_with_other_features_get_the_scores_of_refits(case):
    X, y = small(case)
    pipe, grid = pipe_and_grid(case)
    search = LeaveOneOutSearchCV(pipe, grid, scoring=score, method="exact").fit(X, y)
    for params, found in zip(
        search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
    ):
        fitted = clone(pipe).set_params(**params).fit(X, y)
        responses = left_out_responses(case, fitted, X, y)
        np.testing.assert_allclose(found, squared_error(y, responses), rtol=1e-4)


def halving(pipe, grid, n, **options):
    return HalvingGridSearchCV(
        pipe, grid, factor=2, min_resources=n, random_state=0, **options
    )


def randomised(pipe, grid, n, **options):
    return RandomizedSearchCV(pipe, grid, n_iter=2, random_state=0, **options)


def exhaustive(pipe, grid, n, **options):
    return GridSearchCV(pipe, grid, **options)


# A class has our search and one of scikit-learn's: these know the scorer and not the class.
SEARCHES = [halving, randomised, exhaustive]


@pytest.mark.parametrize(
    ("case", "make_search"),
    [
        pytest.param(case, SEARCHES[i % 3], id=f"{name}-{SEARCHES[i % 3].__name__}")
        for i, (name, case) in enumerate(FIRST.items())
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_every_search_compares_what_independent_fits_score(case, make_search):
    X, y = small(case)
    pipe, grid = pipe_and_grid(case)
    options = {"scoring": leave_one_out_scorer(score), "cv": all_rows(y)}
    (name, values), half = *grid.items(), len(y) // 2

    def expected(params, rows):
        fitted = clone(pipe).set_params(**params).fit(X[rows], y[rows])
        return from_fitted(fitted, X[rows], y[rows]).leave_out_score(scoring=score)

    alone = [expected({name: value}, slice(None)) for value in values]
    search = LeaveOneOutSearchCV(pipe, grid, scoring=score).fit(X, y)
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], alone)
    theirs = make_search(pipe, grid, half, **options).fit(X, y)
    results = theirs.cv_results_
    for one in (search, theirs):
        assert one.best_params_[name] in values
        assert response(one.best_estimator_, X).shape[0] == len(y)
    assert search.best_params_[name] == values[int(np.argmax(alone))]
    if make_search is not halving:
        order = [values.index(params[name]) for params in results["params"]]
        np.testing.assert_allclose(results["mean_test_score"], np.take(alone, order))
        assert theirs.best_params_ == search.best_params_
        return
    assert results["n_resources"].tolist() == [half, half, 2 * half]
    for n, params, found in zip(
        results["n_resources"], results["params"], results["mean_test_score"], strict=True
    ):
        n = int(n / len(y) * len(y))
        rows = resample(np.arange(len(y)), replace=False, random_state=0, n_samples=n)
        np.testing.assert_allclose(found, expected(params, rows), rtol=1e-6)


@pytest.mark.parametrize("estimator", [HuberRegressor(max_iter=5000), SGDRegressor()], ids=str)
@pytest.mark.filterwarnings("ignore")
def test_estimators_that_keep_more_than_coefficients(estimator):
    X, y = load_diabetes(return_X_y=True)
    y = y / 77
    estimator.set_params(**({"random_state": 0} if "random_state" in vars(estimator) else {}))
    search = LeaveOneOutSearchCV(estimator, {"alpha": [1e-4, 1e-2]}).fit(X, y)
    for params, found in zip(
        search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
    ):
        fitted = clone(estimator).set_params(**params).fit(X, y)
        np.testing.assert_allclose(found, fitted.leave_out_score())
        assert 0.2 < found < 0.6


def multiply(X, w):
    return X * w[: X.shape[1]]


def test_long_arrays_are_compared_by_value():
    X, y = load_diabetes(return_X_y=True)
    X, y = X[:150], y[:150]
    one, other = np.ones(2000), np.ones(2000)
    other[5:9] = 1e-6
    pipe = make_pipeline(FunctionTransformer(multiply, kw_args={"w": one}), Ridge(alpha=0.1))
    found = []
    for weights in ([one, other], [other]):
        grid = {"functiontransformer__kw_args": [{"w": w} for w in weights]}
        results = LeaveOneOutSearchCV(pipe, grid, scoring="r2").fit(X, y).cv_results_
        found.append(results["mean_test_score"])
    for w, score in zip([one, other, other], np.concatenate(found), strict=True):
        left_out = cross_val_predict(Ridge(alpha=0.1), multiply(X, w), y, cv=LeaveOneOut())
        expected = 1 - np.sum((y - left_out) ** 2) / np.sum((y - y.mean()) ** 2)
        np.testing.assert_allclose(score, expected)


@pytest.mark.filterwarnings("ignore")
def test_components_and_classes_of_whole_data():
    X, y = (a[::8] for a in load_breast_cancer(return_X_y=True))
    pipe = make_pipeline(PCA(), LogisticRegression(max_iter=5000))
    search = LeaveOneOutSearchCV(pipe, {"pca__n_components": [2, 5]}, scoring="neg_log_loss")
    scores = search.fit(X, y).cv_results_["mean_test_score"]
    for params, found in zip(search.cv_results_["params"], scores, strict=True):
        fitted = clone(pipe).set_params(**params, logisticregression__tol=1e-8).fit(X, y)
        exact = fitted.leave_out_score(scoring="neg_log_loss", method="exact")
        np.testing.assert_allclose(found, exact, rtol=0.02)

    X, y = (a[::9] for a in load_diabetes(return_X_y=True))
    pipe, expected = make_pipeline(StandardScaler(), PCA(), Lasso()), {}
    for k in (2, 5):
        plain = pipeline.Pipeline(clone(pipe).set_params(pca__n_components=k).steps)
        left_out = cross_val_predict(plain, X, y, cv=LeaveOneOut())
        expected[k] = 1 - np.sum((y - left_out) ** 2) / np.sum((y - y.mean()) ** 2)
    for n_components in ([2, 5], [5, 2]):
        grid = {"pca__n_components": n_components}
        scores = LeaveOneOutSearchCV(pipe, grid).fit(X, y).cv_results_["mean_test_score"]
        np.testing.assert_allclose(scores, [expected[k] for k in n_components], rtol=1e-4)


def test_pipelines_within_pipelines():
    X, y, _ = cancer()
    X, y = X[:24], y[:24]
    grid = {"pipeline__pca__n_components": [2, 4]}
    for outer, inner in product((make_pipeline, pipeline.make_pipeline), repeat=2):
        nested = outer(StandardScaler(), inner(PCA(), LogisticRegression(**NEWTON)))
        search = GridSearchCV(
            nested, grid, scoring=leave_one_out_scorer("neg_log_loss"), cv=all_rows(y)
        ).fit(X, y)
        ours = LeaveOneOutSearchCV(nested, grid, scoring="neg_log_loss").fit(X, y)
        for k, theirs, found in zip(
            [2, 4],
            search.cv_results_["mean_test_score"],
            ours.cv_results_["mean_test_score"],
            strict=True,
        ):
            fitted = clone(nested).set_params(pipeline__pca__n_components=k).fit(X, y)
            whole = from_fitted(fitted, X, y)
            expected = whole.leave_out_score(scoring="neg_log_loss")
            np.testing.assert_allclose([theirs, found], expected)


def cancer():
    X, y, w = data("cancer")
    return X[:60], y[:60], w[:60]


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
    X, y, _ = data("diabetes")
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


def test_what_the_scorer_refuses():
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
