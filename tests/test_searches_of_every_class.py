"""Every search scores every class by leave-one-out, over candidates of other features.

The oracle is a refit of the preprocessing and the model without each sample, with the draws,
folds and choices of the whole fit.
"""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn import pipeline
from sklearn.base import clone, is_classifier
from sklearn.decomposition import PCA
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_selection import SelectKBest, f_classif, f_regression
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    HalvingGridSearchCV,
    KFold,
    RandomizedSearchCV,
)
from sklearn.utils import resample

from skinfluence import from_fitted
from skinfluence.fitted import composites
from skinfluence.model_selection import LeaveOneOutSearchCV, leave_one_out_scorer
from skinfluence.pipeline import make_pipeline
from tests.composites import on_folds, responses
from tests.fits import frozen, sklearn_parent
from tests.searches import all_rows
from tests.small_models import MODELS, counted_features, public_classes, small

POLISHED = ("HuberRegressor", "SGDClassifier", "SGDRegressor")
#: Their draws and folds are rows by their places, and a halving search shuffles the rows.
PLACED = (
    *("BaggingClassifier", "BaggingRegressor", "CalibratedClassifierCV"),
    *("StackingClassifier", "StackingRegressor", "TunedThresholdClassifierCV"),
)
CHOOSING = (
    *("ARDRegression", "BayesianRidge", "LassoLarsCV", "LassoLarsIC"),
    *("ElasticNetCV", "LassoCV", "LogisticRegressionCV", "RidgeCV", "RidgeClassifierCV"),
)


def test_every_public_class_is_here():
    assert set(MODELS) == public_classes()


def fingerprint(estimator, X, y=None):
    """Return a number that every response to every sample changes, in any order of these."""
    found = [value.reshape(len(X), -1) for value in responses(estimator, X).values()]
    return projected(X, np.column_stack(found))


def projected(X, values):
    return float(np.sum(values * np.cos(9 * X[:, :1] + np.arange(values.shape[1]))))


def pipe_and_grid(name):
    """Return a pipeline, and one of two steps whose candidates have 1 and 2 features."""
    model, data = MODELS[name]
    if data is counted_features or (np.ndim(small(data)[1]) == 1 and len(name) % 2):
        by = f_classif if is_classifier(model) else f_regression
        return make_pipeline(SelectKBest(by), clone(model)), {"selectkbest__k": [1, 2]}
    return pipeline.make_pipeline(PCA(), clone(model)), {"pca__n_components": [1, 2]}


def bag_without(fitted, X, y, rest):
    """Return a fitted pipeline whose bag has the members of its draws less the other rows."""
    steps = clone(fitted[:-1]).fit(X[rest], y[rest])
    Z, bag = steps.transform(X), copy.copy(fitted[-1])
    draws = zip(bag.estimators_, bag.estimators_samples_, strict=True)
    kept = [(member, rows[np.isin(rows, rest)]) for member, rows in draws]
    bag.estimators_ = [clone(member).fit(Z[rows], y[rows]) for member, rows in kept]
    return pipeline.Pipeline([*steps.steps, ("bag", bag)])


def refit(name, fitted, X, y, rest):
    """Return scikit-learn's fit of a pipeline on other rows."""
    *steps, (label, last) = fitted.steps
    if name.startswith("Bagging"):
        return bag_without(fitted, X, y, rest)
    if name in CHOOSING:
        last = frozen(SimpleNamespace(estimator=MODELS[name][0]), last)
    elif name == "TunedThresholdClassifierCV":
        last = FixedThresholdClassifier(
            last.estimator, threshold=last.best_threshold_, response_method="predict_proba"
        )
    elif name not in POLISHED and sklearn_parent(last) is not None:
        last = sklearn_parent(last)(**last.get_params(deep=False))
    template = pipeline.Pipeline([*steps, (label, last)])
    if isinstance(getattr(last, "cv", None), KFold) and type(last) in composites():
        template = on_folds(template, list(last.cv.split(X)), rest)
    found = clone(template).fit(X[rest], y[rest])
    if name in POLISHED:
        found[-1].polish(tol=1e-13)
    return found


def left_out(name, fitted, X, y):
    """Return the responses of refits without each sample, one row for each."""
    rows = np.arange(len(y))
    found = []
    for i in rows:
        one = responses(refit(name, fitted, X, y, rows[rows != i]), X[[i]])
        found.append(np.concatenate([value.ravel() for value in one.values()]))
    return np.array(found)


def scores_by_candidate(search, key, X, y):
    """Return the scores of a fitted search by the values of its candidates."""
    results = search.fit(X, y).cv_results_
    values = [params[key] for params in results["params"]]
    return dict(zip(values, results["mean_test_score"], strict=True))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.filterwarnings("ignore")
def test_every_search_has_the_scores_of_refits(name):
    X, y = small(MODELS[name][1])
    pipe, grid = pipe_and_grid(name)
    (key, values) = next(iter(grid.items()))
    fits = {value: clone(pipe).set_params(**{key: value}).fit(X, y) for value in values}
    expected = {k: projected(X, left_out(name, fit, X, y)) for k, fit in fits.items()}
    exact = {"scoring": leave_one_out_scorer(fingerprint, method="exact"), "cv": all_rows(y)}

    def assert_scores(search, expected):
        found = scores_by_candidate(search.set_params(error_score="raise"), key, X, y)
        assert set(found) == set(expected)
        for value, score in found.items():
            assert score == pytest.approx(expected[value], rel=1e-5, abs=1e-5)

    ours = LeaveOneOutSearchCV(pipe, grid, scoring=fingerprint, method="exact")
    assert_scores(ours, expected)
    best = fits[max(expected, key=expected.get)]
    assert fingerprint(ours.best_estimator_, X) == fingerprint(best, X)
    exact["refit"] = False
    few, many = values
    assert_scores(GridSearchCV(pipe, {key: [few]}, **exact), {few: expected[few]})
    halving = {"factor": 2, "min_resources": len(y), "random_state": 0}
    if name in PLACED:
        moved = resample(np.arange(len(y)), replace=False, random_state=0)
        again = {k: clone(fit).fit(X[moved], y[moved]) for k, fit in fits.items()}
        expected = {k: exact["scoring"](fit, X[moved], y[moved]) for k, fit in again.items()}
    assert_scores(HalvingGridSearchCV(pipe, grid, **halving, **exact), expected)
    newton = leave_one_out_scorer(fingerprint)
    draws = RandomizedSearchCV(pipe, {key: [many]}, n_iter=1, scoring=newton, cv=all_rows(y))
    alone = from_fitted(fits[many], X, y).leave_out_score(scoring=fingerprint)
    assert_scores(draws, {many: alone})
