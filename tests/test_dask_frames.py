"""A dask dataframe is taken where a dask array is."""

import numpy as np
import pytest
from sklearn import linear_model
from sklearn.compose import make_column_transformer
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import from_fitted
from skinfluence.linear_model import LogisticRegression
from tests.fits import NEWTON, data, relative_error

dask = pytest.importorskip("dask", reason="dask is not installed")
dd = pytest.importorskip(
    "dask.dataframe", reason="dask[dataframe] is not installed", exc_type=ImportError
)
pd = pytest.importorskip("pandas", reason="pandas is not installed")
pytestmark = pytest.mark.usefixtures("scheduler")


def wine():
    X, y, w = data("wine")
    X = pd.DataFrame(X, columns=[f"feature {i}" for i in range(X.shape[1])])
    return X, pd.Series(y), pd.Series(w)


def frames(*tables):
    return [dd.from_pandas(table, npartitions=3) for table in tables]


def assert_close(found, expected):
    assert relative_error(np.asarray(found), np.asarray(expected)) <= 1e-10


def test_every_side_may_be_a_frame():
    X, y, w = wine()
    fitted = LogisticRegression(**NEWTON).fit(X, y, w)
    dX, dy, dw = frames(X, y, w)
    lazy = from_fitted(fitted, dX, dy, dw)
    assert_close(lazy.influence_loss(dX, dy), fitted.influence_loss(X, y))
    assert_close(lazy.influence_prediction(dX), fitted.influence_prediction(X))
    assert_close(lazy.leave_out_loss(dX, dy), fitted.leave_out_loss(X, y))
    values, _ = lazy.influential_samples(dX, n_influential=3)
    assert_close(values, fitted.influential_samples(X, n_influential=3)[0])
    assert_close(fitted.sample_loss(dX, dy), fitted.sample_loss(X, y))


def test_partitions_of_unknown_and_zero_length():
    X, y, _ = wine()
    chosen = (X["feature 0"] > 0) | (np.arange(len(X)) > 100)
    table = X.assign(label=y)
    fitted = LogisticRegression(**NEWTON).fit(X[chosen], y[chosen])
    (lazy,) = frames(table)
    lazy = lazy[(lazy["feature 0"] > 0) | (lazy.index > 100)]  # a filter
    found = from_fitted(fitted, lazy.drop(columns="label"), lazy["label"])
    assert_close(found.self_influence(), fitted.self_influence())


def test_transformers_select_columns_by_name():
    X, y, _ = wine()
    scaled = make_column_transformer((StandardScaler(), ["feature 3", "feature 1"]))
    steps = FrozenEstimator(scaled.fit(X)), linear_model.LogisticRegression(**NEWTON)
    pipe = make_pipeline(*steps).fit(X, y)
    expected, found = from_fitted(pipe, X, y), from_fitted(pipe, *frames(X, y))
    assert_close(found.influence_loss(*frames(X, y)), expected.influence_loss(X, y))


def test_columns_in_another_order_are_named():
    X, y, _ = wine()
    fitted = LogisticRegression(**NEWTON).fit(X, y)
    with pytest.raises(ValueError, match="feature names should match"):
        from_fitted(fitted, *frames(X[X.columns[::-1]], y))
