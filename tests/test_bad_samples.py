"""Every method that takes samples has the right answer for bad ones, or an error by name.

`SAMPLES` says what is done to X and what becomes of the call, see `tests.bad_input`.
"""

import pickle
import re
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from skinfluence import InfluenceWarning
from skinfluence.linear_model import LogisticRegression
from tests.bad_input import (
    AS,
    ESTIMATORS,
    LABELLED,
    SAME,
    UNLABELLED,
    XQ,
    YQ,
    Q,
    W,
    X,
    Y,
    cells,
    changed,
    check,
    excluded,
    fitted,
    frozen,
    labels_of,
    own,
    put,
    strided,
)
from tests.fits import NEWTON


def pickled_copy(estimator):
    return pickle.loads(pickle.dumps(estimator))


def with_duplicates(X):
    """Return the same matrix with every entry in two halves."""
    half = sparse.coo_array(X / 2)
    indices = [np.concatenate([part, part]) for part in (half.row, half.col)]
    return sparse.coo_array((np.tile(half.data, 2), indices), shape=X.shape)


def unsorted(X):
    csr = sparse.csr_array(X)
    for start, stop in zip(csr.indptr[:-1], csr.indptr[1:], strict=True):
        csr.indices[start:stop] = csr.indices[start:stop][::-1]
        csr.data[start:stop] = csr.data[start:stop][::-1]
    csr.has_sorted_indices = False
    return csr


def converted(dtype):
    """Return numbers in a type, and the same converted back to float64."""

    def make(X):
        limits = np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else None
        if limits is None:
            return X.astype(dtype)
        out = np.round(X).clip(max(limits.min, -3), 3).astype(dtype)
        out[0, 0], out[1, 1] = limits.min, limits.max
        return out

    return make, AS(lambda X: make(X).astype(np.float64))


def scaled(factor):
    return (lambda X: (factor * X).tolist()), AS(lambda X: factor * X)


SAMPLES = {
    # change of X                                            result
    "nan": (put(np.nan), "NaN"),
    "infinite": (put(np.inf), "infinity"),
    "minus infinite": (put(-np.inf), "infinity"),
    "sparse nan": (lambda X: sparse.csr_array(put(np.nan)(X)), "NaN"),
    "sparse infinite": (lambda X: sparse.csr_array(put(np.inf)(X)), "infinity"),
    "none": (put(None, object), "NaN|NoneType|float"),
    "pandas NA": (lambda X: pd.DataFrame(put(pd.NA, object)(X)), "NA|NaN"),
    "NA of a nullable type": (lambda X: pd.DataFrame(X).convert_dtypes().mask(X > 1), "NaN"),
    "no rows": (lambda X: X[:0], "0 sample"),
    "no features": (lambda X: X[:, :0], "0 feature"),
    "one dimension": (lambda X: X[0], "2D array"),
    "three dimensions": (lambda X: X[None], "dim"),
    "a number": (lambda X: 1.0, "2D array"),
    "nothing": (lambda X: None, "2D array|NoneType|is None|without X"),
    "too few features": (lambda X: X[:, :4], "4 features"),
    "too many features": (lambda X: np.hstack([X, X]), "26 features"),
    "complex": (lambda X: X + 1j, "Complex"),
    "text": (lambda X: np.full(X.shape, "x"), "could not convert"),
    "a word among numbers": (put("x", object), "could not convert"),
    "dates": (lambda X: X.astype("M8[D]"), AS(lambda X: X.astype("M8[D]").astype("f8"))),
    "ragged": (lambda X: [list(X[0]), [1.0]], "inhomogeneous|sequence"),
    "numpy matrix": (np.matrix, "matrix"),
    "objects": (lambda X: X.astype(object), SAME),
    "numbers as text": (lambda X: X.astype(str), AS(lambda X: X.astype(str).astype(float))),
    "lists": (lambda X: X.tolist(), SAME),
    "tuples": (lambda X: tuple(map(tuple, X)), SAME),
    "read-only": (frozen, SAME),
    "Fortran order": (np.asfortranarray, SAME),
    "strided": (strided, SAME),
    "backwards": (lambda X: X[::-1, ::-1].copy()[::-1, ::-1], SAME),
    "big-endian": (lambda X: X.astype(">f8"), SAME),
    "frame": (pd.DataFrame, SAME),
    "nullable frame": (lambda X: pd.DataFrame(X).convert_dtypes(), SAME),
    "float16": converted(np.float16),
    "float32": converted(np.float32),
    "longdouble": (lambda X: X.astype(np.longdouble), SAME),
    "bool": (lambda X: X > 0, AS(lambda X: (X > 0).astype(float))),
    "int8": converted(np.int8),
    "uint8": converted(np.uint8),
    "int64": (lambda X: (4 * X).astype(np.int64), AS(lambda X: (4 * X).astype(int) * 1.0)),
    "csr_matrix": (sparse.csr_matrix, SAME),
    "csr_array": (sparse.csr_array, SAME),
    "csc_array": (sparse.csc_array, SAME),
    "coo_array": (sparse.coo_array, SAME),
    "lil_array": (sparse.lil_array, SAME),
    "dok_matrix": (sparse.dok_matrix, SAME),
    "bsr_array": (sparse.bsr_array, SAME),
    "unsorted csr": (unsorted, SAME),
    "coo with duplicates": (with_duplicates, SAME),
    "tiny": scaled(1e-150),
    "small": scaled(1e-30),
    "large": scaled(10.0),
    "constant columns": (lambda X: np.ones_like(X).tolist(), AS(np.ones_like)),
}


@pytest.mark.parametrize(("name", "method", "kind"), cells(ESTIMATORS, LABELLED, SAMPLES))
def test_samples(name, method, kind):
    make, outcome = SAMPLES[kind]
    y = labels_of(name)

    def call(estimator, X):
        rows = y if not hasattr(X, "__len__") or sparse.issparse(X) else y[: len(X)]
        return LABELLED[method](estimator, X, rows)

    check(name, call, XQ, make, outcome)


@pytest.mark.parametrize(("name", "method", "kind"), cells(ESTIMATORS, UNLABELLED, SAMPLES))
def test_samples_without_labels(name, method, kind):
    make, outcome = SAMPLES[kind]
    check(name, UNLABELLED[method], XQ, make, outcome)


@pytest.mark.parametrize(
    ("name", "method", "factor"), cells(ESTIMATORS, LABELLED, [1e30, 1e70, 1e150, 1e300])
)
def test_huge_samples_give_numbers_or_an_error(name, method, factor):
    estimator = own(name)
    before = joblib.hash(estimator)
    found = error = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = LABELLED[method](estimator, factor * XQ, labels_of(name))
        except (ValueError, np.linalg.LinAlgError) as raised:
            error = raised
    if error is not None:
        named = "overflow|finite|singular|optimum|curvature|positive"
        assert re.search(named, str(error))
        assert joblib.hash(estimator) == before or method == "set_training_data"
        return
    told = any(issubclass(w.category, InfluenceWarning | RuntimeWarning) for w in caught)
    assert np.all(np.isfinite(found)) or told


@pytest.mark.parametrize(("name", "method"), [(n, m) for n in ESTIMATORS for m in LABELLED])
def test_one_sample(name, method):
    if not hasattr(fitted(name), method) or excluded(name, method):
        pytest.skip("no such method")
    y = labels_of(name)
    if method in ("set_training_data", "add_samples"):
        changed(getattr(own(name), method)(XQ[:1], y[:1]))
        return
    one = LABELLED[method](own(name), XQ[:1], y[:1])
    all_of_them = LABELLED[method](own(name), XQ, y)
    np.testing.assert_allclose(one[0], all_of_them[0], rtol=1e-9, atol=1e-12)


def test_names_of_features():
    frame = pd.DataFrame(X, columns=[f"feature {j}" for j in range(X.shape[1])])
    clf = LogisticRegression(C=0.5, **NEWTON).fit(frame, Y, W)
    part = frame.iloc[5 : 5 + Q]
    for call in LABELLED.values():
        expected = call(own("softmax"), XQ, YQ)
        np.testing.assert_allclose(call(pickled_copy(clf), part, YQ), expected, rtol=1e-9)
        before = joblib.hash(clf)
        for wrong in (part.rename(columns={"feature 3": "other"}), part[part.columns[::-1]]):
            with pytest.raises(ValueError, match="feature names"):
                call(clf, wrong, YQ)
        assert joblib.hash(clf) == before
