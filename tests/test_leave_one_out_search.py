"""Leave-one-out scores in searches are those of independent fits and refits."""

from itertools import product

import numpy as np
import pytest
from sklearn import pipeline
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.decomposition import PCA
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    LeaveOneOut,
    cross_val_predict,
)
from sklearn.preprocessing import FunctionTransformer, StandardScaler
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
from tests.searches import all_rows, cancer
from tests.small_models import NEWTON


def test_halving_scores_the_samples_that_it_draws():
    X, y, _ = cancer()
    pipe = make_pipeline(PCA(), LogisticRegression(**NEWTON))
    values, options = [2, 3], {"factor": 2, "min_resources": 30, "random_state": 0}
    search = HalvingGridSearchCV(
        pipe,
        {"pca__n_components": values},
        scoring=leave_one_out_scorer("neg_log_loss"),
        cv=all_rows(y),
        **options,
    ).fit(X, y)
    results = search.cv_results_
    assert results["n_resources"].tolist() == [30, 30, 60]
    for n, params, found in zip(
        results["n_resources"], results["params"], results["mean_test_score"], strict=True
    ):
        rows = resample(np.arange(60), replace=False, random_state=0, n_samples=n)
        fitted = clone(pipe).set_params(**params).fit(X[rows], y[rows])
        expected = fitted.leave_out_score(scoring="neg_log_loss")
        np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("estimator", [HuberRegressor(max_iter=5000), SGDRegressor()], ids=str)
@pytest.mark.filterwarnings("ignore")
def test_estimators_that_keep_more_than_coefficients(estimator):
    X, y = (a[::3] for a in load_diabetes(return_X_y=True))
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
    X, y = X[:40], y[:40]
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
    X, y = (a[10:40] for a in cancer()[:2])
    pipe = make_pipeline(PCA(), LogisticRegression(max_iter=5000))
    search = LeaveOneOutSearchCV(pipe, {"pca__n_components": [2, 5]}, scoring="neg_log_loss")
    scores = search.fit(X, y).cv_results_["mean_test_score"]
    for params, found in zip(search.cv_results_["params"], scores, strict=True):
        fitted = clone(pipe).set_params(**params, logisticregression__tol=1e-8).fit(X, y)
        exact = fitted.leave_out_score(scoring="neg_log_loss", method="exact")
        np.testing.assert_allclose(found, exact, rtol=0.02)

    X, y = (a[::18] for a in load_diabetes(return_X_y=True))
    pipe, expected = make_pipeline(StandardScaler(), PCA(), Lasso()), {}
    for k in (2, 5):
        plain = pipeline.Pipeline(clone(pipe).set_params(pca__n_components=k).steps)
        left_out = cross_val_predict(plain, X, y, cv=LeaveOneOut())
        expected[k] = 1 - np.sum((y - left_out) ** 2) / np.sum((y - y.mean()) ** 2)
    grid = {"pca__n_components": [5, 2]}
    scores = LeaveOneOutSearchCV(pipe, grid).fit(X, y).cv_results_["mean_test_score"]
    np.testing.assert_allclose(scores, [expected[5], expected[2]], rtol=1e-4)


def test_pipelines_within_pipelines():
    X, y, _ = cancer()
    X, y = X[14:26], y[14:26]
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
