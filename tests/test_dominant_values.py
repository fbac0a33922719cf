"""Removal of a row with almost all of a feature's variance, such as a missing value's code.

Sums without this row are differences in which the digits of all other rows cancel.
"""

import numpy as np
import pytest
from sklearn import discriminant_analysis, linear_model, naive_bayes, neighbors, svm
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.feature_selection import SelectKBest, VarianceThreshold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import from_fitted

X, y = load_iris(return_X_y=True)
X, y = X[50::2], y[50::2]
ROW = 4
LINEAR = discriminant_analysis.LinearDiscriminantAnalysis
MODELS = {
    "gaussian-nb": naive_bayes.GaussianNB(),
    "lda": LINEAR(),
    "lda-auto": LINEAR(solver="eigen", shrinkage="auto"),
    "qda": discriminant_analysis.QuadraticDiscriminantAnalysis(reg_param=0.01),
    "nearest-centroid": neighbors.NearestCentroid(),
    "scaler-logistic": make_pipeline(
        StandardScaler(), linear_model.LogisticRegression(tol=1e-10, max_iter=1000)
    ),
    "scaler-svc": make_pipeline(StandardScaler(), svm.LinearSVC(dual=False, tol=1e-12)),
    "scaler-ridge": make_pipeline(StandardScaler(with_mean=False), linear_model.Ridge()),
    "scaler-select-logistic": make_pipeline(
        StandardScaler(),
        SelectKBest(k=4),
        linear_model.LogisticRegression(tol=1e-10, max_iter=1000),
    ),
    "select-scaler-logistic": make_pipeline(
        SelectKBest(k=4),
        StandardScaler(),
        linear_model.LogisticRegression(tol=1e-10, max_iter=1000),
    ),
}
COUNTS = ["MultinomialNB", "ComplementNB", "BernoulliNB", "GaussianNB"]


@pytest.mark.parametrize("size", [1e5, 1e8, 1e10])
@pytest.mark.parametrize("name", MODELS)
def test_removal_of_a_dominant_value_is_the_refit(name, size):
    given = X.copy()
    given[ROW, 1] = size
    model = clone(MODELS[name]).fit(given, y)
    response = "predict" if name == "scaler-ridge" else "decision_function"
    response = "predict_proba" if name == "gaussian-nb" else response
    kept = np.delete(np.arange(len(y)), [ROW, ROW + 1])
    refit = clone(model).fit(given[kept], y[kept])
    expected = getattr(refit, response)(given[kept])
    found = from_fitted(model, given, y)
    groups = np.arange(len(y))
    groups[ROW + 1] = ROW  # its prediction without both, next to rows by themselves
    without = found.leave_out_predict(groups, method="newton", response_method=response)
    assert without[ROW + 1] == pytest.approx(
        getattr(refit, response)(given[[ROW + 1]])[0], rel=1e-3, abs=1e-5
    )
    if name in ("nearest-centroid", "gaussian-nb"):  # no weights; smoothing ignores them
        return
    weight = np.isin(np.arange(len(y)), kept).astype(np.float64)
    moved = found.reweight_predict(given[kept], weight[None], response_method=response)
    np.testing.assert_allclose(moved[0], expected, rtol=1e-3, atol=1e-5)


@pytest.mark.filterwarnings("ignore:An ill-conditioned matrix")
@pytest.mark.parametrize("seed", range(3))
def test_refits_of_pipelines_judge_their_steps_by_their_own_curvature(seed):
    """With the curvature of all rows, every step along the code's feature looks small."""
    rng = np.random.default_rng(seed)
    given = rng.normal(size=(60, 5))
    target = given @ [1.0, 0.1, 0.0, 0.0, 0.1] + rng.normal(size=60)
    given[7, 1] = 1e12
    kept = np.arange(60) != 7
    selection = VarianceThreshold(np.sort(given[kept].var(axis=0))[1] * 0.99)
    model = make_pipeline(selection, linear_model.Ridge()).fit(given, target)
    refit = clone(model).fit(given[kept], target[kept])
    found = from_fitted(model, given, target)
    without = found.leave_out_loss(given[:5], target[:5], [[7]])[:, 0]
    expected = (target[:5] - refit.predict(given[:5])) ** 2
    np.testing.assert_allclose(without, expected, rtol=1e-5)


@pytest.mark.parametrize("heavy", [False, True], ids=["count", "weight"])
@pytest.mark.parametrize("name", COUNTS)
def test_counts_without_a_dominant_one_are_the_refits(name, heavy):
    given, weight = X.copy(), np.full(len(y), 0.7)
    (weight if heavy else given[:, 1])[ROW] = 1e17
    given[:, 2] = np.where(np.arange(len(y)) == ROW, given[:, 2], 0.0)  # ROW alone has one
    model = getattr(naive_bayes, name)().fit(given, y, weight)
    kept = np.arange(len(y)) != ROW
    refit = clone(model).fit(given[kept], y[kept], weight[kept])
    found = from_fitted(model, given, y, weight).leave_out_loss(given[kept], y[kept])[:, ROW]
    log_proba = refit.predict_log_proba(given[kept])
    expected = -log_proba[np.arange(kept.sum()), np.searchsorted(refit.classes_, y[kept])]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
