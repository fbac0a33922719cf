"""Columns of dense transformers beside sparse ones have the influence that they have alone.

A ColumnTransformer returns sparse rows if most entries are zero, as behind categories of many
kinds. Influence is the same as with dense rows, also through zeros that sparse rows do not
store, such as imputed and scaled values.
"""

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_selection import SelectKBest
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.preprocessing import (
    Normalizer,
    OneHotEncoder,
    PolynomialFeatures,
    PowerTransformer,
    RobustScaler,
    SplineTransformer,
    StandardScaler,
)

from skinfluence.linear_model import LogisticRegression, Ridge
from skinfluence.multiclass import OneVsRestClassifier
from skinfluence.pipeline import make_pipeline
from skinfluence.svm import LinearSVC

filled = make_pipeline(SimpleImputer(), StandardScaler())
CASES = {
    "imputer": (filled, [], Ridge()),
    "median": (SimpleImputer(strategy="median", add_indicator=True), [], Ridge()),
    "robust": (make_pipeline(SimpleImputer(), RobustScaler()), [], Ridge()),
    "power": (make_pipeline(SimpleImputer(), PowerTransformer()), [], Ridge()),
    "splines": (make_pipeline(SimpleImputer(), SplineTransformer(4)), [], Ridge()),
    "pca": (make_pipeline(SimpleImputer(), PCA(2)), [], Ridge()),
    "svd": (make_pipeline(SimpleImputer(), TruncatedSVD(2, algorithm="arpack")), [], Ridge()),
    "polynomial": (make_pipeline(filled, PolynomialFeatures(2)), [], Ridge()),
    "selection-behind": (filled, [SelectKBest(k=25)], Ridge()),
    "normalizer-behind": (filled, [Normalizer()], Ridge()),
    "zeros-behind": (SimpleImputer(strategy="constant"), [Normalizer()], Ridge()),
    "logistic": (filled, [], LogisticRegression(class_weight="balanced")),
    "hinge": (filled, [], LinearSVC(loss="hinge", C=0.1, tol=1e-12, max_iter=100_000)),
    "one-versus-rest": (filled, [], OneVsRestClassifier(LogisticRegression(tol=1e-10))),
}


@pytest.mark.parametrize("name", CASES)
def test_influence_through_sparse_columns_is_that_through_dense_ones(name):
    transformer, behind, model = CASES[name]
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 5)) + [0.0, 1.0, 2.0, 0.0, 0.0]
    X[:, 3:] = rng.integers(0, 20, (60, 2))
    y = X[:, 0] + np.sin(X[:, 3]) + 0.3 * rng.standard_normal(60)
    y = y if isinstance(model, Ridge) else np.digitize(y, [0.5])
    X[::7, :3] = np.nan
    X[9, 1] = 0.0
    found = []
    for threshold in (0.0, 1.0):
        columns = ColumnTransformer(
            [("numbers", clone(transformer), [0, 1, 2]), ("kinds", OneHotEncoder(), [3, 4])],
            sparse_threshold=threshold,
        )
        pipe = make_pipeline(columns, *map(clone, behind), clone(model)).fit(X, y)
        assert sparse.issparse(pipe[:-1].transform(X)) == (threshold == 1.0)
        if isinstance(model, Ridge | LogisticRegression):
            pipe.polish()
        found.append([pipe.influence_loss(X[:8], y[:8]), pipe.self_influence()])
        if hasattr(pipe, "influence_perturbation"):
            found[-1].append(pipe.influence_perturbation(X[:8], y[:8], index=9))
    for dense_rows, sparse_rows in zip(*found, strict=True):
        largest = np.nanmax(np.abs(dense_rows))
        np.testing.assert_allclose(sparse_rows, dense_rows, rtol=0, atol=1e-6 * largest)


def test_removal_behind_columns_of_booleans():
    rng = np.random.default_rng(0)
    X = np.where(rng.random((30, 4)) < 0.4, np.nan, 1.0)
    y = np.isnan(X) @ np.arange(4.0) + rng.standard_normal(30)
    pipe = make_pipeline(MissingIndicator(features="all"), Ridge()).fit(X, y)
    found = pipe.leave_out_predict([np.arange(5), np.arange(5, 30)], method="exact")
    refit = clone(pipe).fit(X[5:], y[5:])
    np.testing.assert_allclose(found[:5], refit.predict(X[:5]), rtol=1e-9)
