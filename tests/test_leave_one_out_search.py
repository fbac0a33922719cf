"""Leave-one-out scores in searches are those of independent fits and refits."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from sklearn import pipeline
from sklearn.base import clone, is_classifier
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.decomposition import PCA
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_selection import SelectKBest
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    LeaveOneOut,
    RandomizedSearchCV,
    cross_val_predict,
)
from sklearn.preprocessing import FunctionTransformer, StandardScaler, label_binarize
from sklearn.utils import resample

from skinfluence import from_fitted
from skinfluence.linear_model import (
    HuberRegressor,
    Lasso,
    LogisticRegression,
    Ridge,
    SGDRegressor,
)
from skinfluence.model_selection import LeaveOneOutSearchCV, leave_one_out_scorer
from skinfluence.pipeline import make_pipeline
from tests.cases import CASES
from tests.fits import NEWTON, data, frozen
from tests.hinges import HINGES
from tests.searches import all_rows, cancer


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
def test_every_search_has_the_scores_of_independent_fits(case, make_search):
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
    ones, other = np.ones(2000), np.ones(2000)
    other[5:9] = 1e-6
    pipe = make_pipeline(FunctionTransformer(multiply, kw_args={"w": ones}), Ridge(alpha=0.1))
    found = []
    for weights in ([ones, other], [other]):
        grid = {"functiontransformer__kw_args": [{"w": w} for w in weights]}
        results = LeaveOneOutSearchCV(pipe, grid, scoring="r2").fit(X, y).cv_results_
        found.append(results["mean_test_score"])
    for w, score in zip([ones, other, other], np.concatenate(found), strict=True):
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
