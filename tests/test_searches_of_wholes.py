"""Searches by leave-one-out over moment models and composites score as independent fits do.

The candidates have different numbers of features. Each class has one of three searches.
"""

import numpy as np
import pytest
from sklearn import pipeline
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_selection import SelectKBest
from sklearn.model_selection import (
    HalvingGridSearchCV,
    LeaveOneOut,
    RandomizedSearchCV,
    cross_val_predict,
)

from skinfluence import from_fitted
from skinfluence.fitted import composites
from skinfluence.model_selection import LeaveOneOutSearchCV, leave_one_out_scorer
from tests.composites import CASES
from tests.fits import sklearn_parent
from tests.moments import MOMENTS, data
from tests.searches import all_rows

#: Composites with fast refits. The tests of removal cover folds and draws.
COMPOSITES = [
    "rest, two classes",
    "one, two classes",
    "hard",
    "mean",
    "outputs",
    "scaled targets",
    "outputs of pipelines",
]
MODELS = {
    type(case.estimator).__name__: case
    for case in reversed(MOMENTS)
    if case.name in ("iris", "digits")
}
SEARCHES = [LeaveOneOutSearchCV, RandomizedSearchCV, HalvingGridSearchCV]


def search_with(kind, pipe, grid, y, scoring):
    """Return a search that scores every candidate on all rows."""
    if kind is LeaveOneOutSearchCV:
        return kind(pipe, grid, scoring=scoring)
    options = {"scoring": leave_one_out_scorer(scoring), "cv": all_rows(y)}
    if kind is RandomizedSearchCV:
        options |= {"n_iter": 2, "random_state": 0}
    if kind is HalvingGridSearchCV:
        options |= {"min_resources": len(y), "factor": 2, "random_state": 0}
    return kind(pipe, grid, **options)


def assert_scores(kind, model, plain, grid, X, y, scoring):
    """Assert that a search scores each candidate as an independent fit scores itself."""
    (name, values) = next(iter(grid.items()))
    expected = []
    for value in values:
        fitted = clone(plain).set_params(**{name: value}).fit(X, y)
        expected.append(from_fitted(fitted, X, y).leave_out_score(scoring=scoring))
    search = search_with(kind, model, grid, y, scoring).fit(X, y)
    results = search.cv_results_
    order = [values.index(params[name]) for params in results["params"]]
    found = results["mean_test_score"]
    np.testing.assert_allclose(found, np.take(expected, order), rtol=1e-7)
    assert search.best_params_[name] == values[int(np.argmax(expected))]
    return expected


@pytest.mark.parametrize(
    ("name", "kind"), [(name, SEARCHES[i % 3]) for i, name in enumerate(COMPOSITES)]
)
def test_composites(name, kind):
    template, read = CASES[name]
    X, y = (a[:15] for a in read())
    ours = composites()[type(template)](**template.get_params(deep=False))
    plain, model = (pipeline.make_pipeline(PCA(), clone(last)) for last in (template, ours))
    assert_scores(kind, model, plain, {"pca__n_components": [1, 3]}, X, y, None)


@pytest.mark.parametrize(
    ("name", "kind"), [(name, SEARCHES[i % 3]) for i, name in enumerate(MODELS)]
)
@pytest.mark.filterwarnings("ignore:Features .* are constant")
@pytest.mark.filterwarnings("ignore:(invalid value|divide by zero) encountered")
def test_moment_models(name, kind):
    case = MODELS[name]
    X, y = (a[:: len(a) // 18] for a in data(case.name))
    parent = sklearn_parent(case.estimator)(**case.estimator.get_params())
    plain, model = (
        pipeline.make_pipeline(SelectKBest(), last) for last in (parent, clone(case.estimator))
    )
    grid = {"selectkbest__k": [1, 3]}
    expected = assert_scores(kind, model, plain, grid, X, y, "accuracy")
    for k, score in zip((1, 3), expected, strict=True):
        refit = clone(plain).set_params(selectkbest__k=k)
        left_out = cross_val_predict(refit, X, y, cv=LeaveOneOut())
        assert score == pytest.approx(np.mean(left_out == y))
