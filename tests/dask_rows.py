"""Rows in dask arrays, and how answers for them are compared with those of arrays."""

import numpy as np
import pytest

from skinfluence.linear_model import LogisticRegression
from tests.fits import data, relative_error

da = pytest.importorskip("dask.array", reason="dask[array] is not installed")


def refusal(case):
    """Return why a linear case takes no rows in dask arrays, or None if it takes them."""
    if case.dataset == "dependent":
        return "The features depend on each other"
    if case.name.startswith("huber"):
        return "HuberRegressor takes no dask arrays: its scale"
    if case.name.startswith(("lasso", "elastic-net", "l1-", "positive-", "ridge-ard")):
        name = type(case.estimator).__name__
        return f"{name} keeps coefficients at 0 and takes no dask arrays"
    return None


def ids(cases):
    return {"argvalues": cases, "ids": [case.name for case in cases]}


ROWS = 67  # rows of a chunk; no divisor of the sizes of the data


def chunked(case, columns=4):
    """Return the data of a case as dask arrays, with several chunks along each axis."""
    X, y, w = data(case.dataset)
    X = da.from_array(X, chunks=(ROWS, columns)).rechunk({1: -1})
    X = X.map_blocks(case.container)
    w = da.from_array(w, chunks=60) if case.weighted else None
    return X, da.from_array(y, chunks=(80, *y.shape[1:])), w


def logistic(**params):
    X, y, w = data("wine")
    return LogisticRegression(**{"tol": 1e-3, **params}).fit(X, y, w)


def arrays(*given):
    return tuple(da.from_array(array, chunks=ROWS) for array in given)


def assert_close(found, expected, tolerance=1e-10):
    assert np.shape(found) == np.shape(expected)
    assert relative_error(np.asarray(found), expected) <= tolerance


def evaluate(array):
    """Return a lazy result in memory; fail if it is no dask array."""
    assert isinstance(array, da.Array)
    return array.compute()


def in_chunks(array):
    return da.from_array(array, chunks=60)


X_WINE, Y_WINE, W_WINE = data("wine")
