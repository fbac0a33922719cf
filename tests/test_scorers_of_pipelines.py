"""Scorers of pipelines get the samples that the user passed, not those behind the steps.

A scorer may weight its errors by a column of X. The oracle are refits without each sample.
"""

import numpy as np
import pytest
from sklearn import pipeline
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.naive_bayes import GaussianNB
from sklearn.preprocessing import MinMaxScaler, Normalizer, StandardScaler

from skinfluence import from_fitted
from skinfluence import linear_model as ours
from skinfluence.model_selection import LeaveOneOutSearchCV, leave_one_out_scorer


def priced(estimator, X, y):
    """Return the mean error, each weighted by the sample's price, a column of X."""
    price = X["price"].to_numpy() if hasattr(X, "columns") else X[:, 0]
    return -np.mean(price * np.abs(y - estimator.predict(X)))


def samples():
    rng = np.random.default_rng(0)
    X = rng.gamma(2.0, 10.0, size=(24, 3))
    return X, (X[:, 1] + rng.normal(0, 5, 24) > 20).astype(int)


@pytest.mark.parametrize(
    ("steps", "model"),
    [
        ([StandardScaler()], Ridge()),
        ([MinMaxScaler(), PCA(2)], Ridge()),
        ([Normalizer()], Ridge()),
        ([StandardScaler()], GaussianNB()),
        ([StandardScaler()], KernelRidge(kernel="rbf", gamma=0.1)),
        ([], Ridge()),
    ],
    ids=lambda value: str(value),
)
def test_a_scorer_reads_the_columns_of_x(steps, model):
    X, y = samples()
    pipe = pipeline.make_pipeline(*steps, model)
    left_out = cross_val_predict(pipe, X, y, cv=LeaveOneOut())
    expected = -np.mean(X[:, 0] * np.abs(y - left_out))
    fitted = from_fitted(clone(pipe).fit(X, y), X, y)
    found = fitted.leave_out_score(scoring=priced, method="exact")
    assert found == pytest.approx(expected)
    scorer = leave_one_out_scorer(priced, method="exact")
    assert scorer(fitted, X, y) == pytest.approx(expected)
    rest = np.arange(24) != 3
    refit = clone(pipe).fit(X[rest], y[rest])
    found = fitted.leave_out_metric(X, y, scoring=priced, groups=[[3]], method="exact")
    assert found[0] == pytest.approx(priced(refit, X, y))


def test_a_scorer_reads_the_columns_of_a_frame():
    pandas = pytest.importorskip("pandas")
    X, y = samples()
    frame = pandas.DataFrame(X, columns=["price", "size", "age"])
    pipe = pipeline.make_pipeline(StandardScaler(), ours.Ridge())
    search = LeaveOneOutSearchCV(pipe, {"ridge__alpha": [1.0]}, scoring=priced, method="exact")
    left_out = cross_val_predict(pipe, X, y, cv=LeaveOneOut())
    expected = -np.mean(X[:, 0] * np.abs(y - left_out))
    assert search.fit(frame, y).best_score_ == pytest.approx(expected)
