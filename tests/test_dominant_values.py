"""Removal of a row with almost all of a feature's variance, such as a missing value's code.

Sums without this row are differences in which the digits of all other rows cancel.
"""

import numpy as np
import pytest
from sklearn import discriminant_analysis, linear_model, naive_bayes, neighbors, svm
from sklearn.base import clone
from sklearn.datasets import load_iris
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
}


@pytest.mark.parametrize("size", [1e5, 1e8])
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
    left = found.leave_out_predict(groups, method="newton", response_method=response)
    assert left[ROW + 1] == pytest.approx(
        getattr(refit, response)(given[[ROW + 1]])[0], rel=1e-3, abs=1e-5
    )
    if name in ("nearest-centroid", "gaussian-nb"):  # no weights; smoothing ignores them
        return
    weight = np.isin(np.arange(len(y)), kept).astype(np.float64)
    moved = found.reweight_predict(given[kept], weight[None], response_method=response)
    np.testing.assert_allclose(moved[0], expected, rtol=1e-3, atol=1e-5)
