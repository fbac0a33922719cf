"""Every public method on every kind of bad input: the right answer, or an error by name.

Three registries. `METHODS` has a valid call of every method. `SAMPLES`, `LABELS`, `TARGETS`,
`WEIGHTS`, `INDICES`, `VECTORS` and `ARGUMENTS` say for each kind of input what is done to it
and what becomes of the call:

    SAME          the answer for the input as it was
    AS(clean)     the answer for this clean input
    "..."         an error with this in its message, and the estimator as it was before
"""

import pickle
import random
import re
import warnings
from dataclasses import dataclass
from functools import cache
from itertools import combinations, product

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import VarianceThreshold

from skinfluence import InfluenceWarning
from skinfluence.kernel_ridge import KernelRidge
from skinfluence.linear_model import LogisticRegression, Ridge
from skinfluence.methods import get_problem
from skinfluence.pipeline import make_pipeline
from skinfluence.svm import SVC
from tests.cases import METHODS, NEWTON, data

X, CODES, W = data("wine")
X, W = X[::4], W[::4]
Y = np.array(["barbera", "grignolino", "nebbiolo"])[CODES[::4]]
REAL = X[:, 0] + 0.5 * X[:, 1] ** 2
N, Q = len(X), 6
XQ, YQ, REALQ = X[5 : 5 + Q], Y[5 : 5 + Q], REAL[5 : 5 + Q]

ESTIMATORS = {
    "softmax": lambda: LogisticRegression(C=0.5, **NEWTON).fit(X, Y, W),
    "pipeline": lambda: make_pipeline(VarianceThreshold(), LogisticRegression(**NEWTON)).fit(
        X, Y
    ),
    "svc": lambda: SVC(gamma=0.05, tol=1e-10).fit(X, Y),
    "ridge": lambda: Ridge(solver="cholesky").fit(X, REAL, W),
    "kernel ridge": lambda: KernelRidge(kernel="rbf", gamma=0.05).fit(X, REAL),
}
CLASSIFIERS = ("softmax", "pipeline", "svc")


@cache
def fitted(name):
    return ESTIMATORS[name]()


@cache
def fitted_hash(name):
    return joblib.hash(own(name))


@cache
def pickled(name):
    return pickle.dumps(fitted(name))


def own(name):
    """Return an estimator that a call may change."""
    return pickle.loads(pickled(name))


def pickled_copy(estimator):
    return pickle.loads(pickle.dumps(estimator))


def labels_of(name):
    return YQ if name in CLASSIFIERS else REALQ


# Methods: a valid call of each, by what it takes.


def listed(blocks):
    return np.concatenate(list(blocks))


def changed(estimator):
    """Return what a method that changes the estimator has made of it."""
    return np.concatenate([estimator.influence_loss(XQ[:2], own_labels(estimator)).ravel()])


def own_labels(estimator):
    return YQ[:2] if hasattr(estimator, "classes_") else REALQ[:2]


def summary(estimator, groups=None):
    return np.array(list(estimator.influence_summary(groups=groups).values()))


# X and y
LABELLED = {
    "sample_loss": lambda e, X, y: e.sample_loss(X, y),
    "loss_gradient": lambda e, X, y: e.loss_gradient(X, y),
    "influence_params": lambda e, X, y: e.influence_params(X, y),
    "influence_loss": lambda e, X, y: e.influence_loss(X, y),
    "influence_loss_chunked": lambda e, X, y: listed(e.influence_loss_chunked(X, y)),
    "influence_perturbation": lambda e, X, y: e.influence_perturbation(X, y, index=3),
    "influence_relabel": lambda e, X, y: e.influence_relabel(X, y, y_new=training(e)[::-1]),
    "influential_samples": lambda e, X, y: e.influential_samples(X, y, 3)[0],
    "newton_step": lambda e, X, y: e.newton_step(0.01, X, y),
    "leave_out_loss": lambda e, X, y: e.leave_out_loss(X, y, [[0], [1, 2]]),
    "reweight_loss": lambda e, X, y: e.reweight_loss(X, y, np.ones(get_problem(e).n_rows)),
    "set_training_data": lambda e, X, y: changed(e.set_training_data(X, y)),
    "add_samples": lambda e, X, y: changed(e.add_samples(X, y)),
}
# X alone
UNLABELLED = {
    "influence_prediction": lambda e, X: e.influence_prediction(X),
    "influential_samples": lambda e, X: e.influential_samples(X, n_influential=3)[0],
    "reweight_predict": lambda e, X: e.reweight_predict(X, np.ones(get_problem(e).n_rows)),
}
# weights of training samples
WEIGHTED = {
    "set_training_data": lambda e, w: changed(e.set_training_data(X, training(e), w)),
    "add_samples": lambda e, w: changed(e.add_samples(X, training(e), w)),
}
# indices of training samples
INDEXED = {
    "leave_out_params": lambda e, i: e.leave_out_params([i]),
    "leave_out_loss": lambda e, i: e.leave_out_loss(XQ[:2], own_labels(e), [i]),
    "leave_out_check": lambda e, i: e.leave_out_check(1, [i]).predicted,
    "remove_samples": lambda e, i: changed(e.remove_samples(i)),
}
# labels of groups of training samples
GROUPED = {
    "leave_out_params": lambda e, g: e.leave_out_params(g),
    "leave_out_loss": lambda e, g: e.leave_out_loss(XQ[:2], own_labels(e), g),
    "leave_out_predict": lambda e, g: e.leave_out_predict(g),
    "leave_out_score": lambda e, g: np.array([e.leave_out_score(g)]),
    "leave_out_metric": lambda e, g: e.leave_out_metric(XQ[:2], own_labels(e), groups=g),
    "params_covariance": lambda e, g: e.params_covariance(groups=g),
    "influence_summary": lambda e, g: summary(e, g),
    "dfbetas": lambda e, g: e.dfbetas(g),
}
# vectors of parameters
VECTORED = {
    "solve_hessian": lambda e, V: e.solve_hessian(V),
    "influence_functional": lambda e, V: e.influence_functional(V),
    "split_params": lambda e, V: e.split_params(V)[0],
}
# nothing
BARE = {
    "self_influence": lambda e: e.self_influence(),
    "influence_summary": lambda e: summary(e),
    "dfbetas": lambda e: e.dfbetas(),
    "reweight_params": lambda e: e.reweight_params(np.ones(get_problem(e).n_rows)),
    "newton_correction": lambda e: e.newton_correction(),
    "convergence_report": lambda e: e.convergence_report().correction,
    "polish": lambda e: changed(e.polish()),
    "drop_training_data": lambda e: e.drop_training_data().params_,
    "param_names": lambda e: np.array(e.param_names()),
}
KINDS = (LABELLED, UNLABELLED, WEIGHTED, INDEXED, GROUPED, VECTORED, BARE)


def training(estimator):
    return Y if hasattr(estimator, "classes_") else REAL


def test_every_method_is_called():
    assert {name for kind in KINDS for name in kind} == {*METHODS, "param_names"}


@dataclass(frozen=True)
class AS:
    """The answer for other input, clean."""

    clean: object


SAME = AS(lambda a: a)


def check(name, call, clean, make, outcome):
    """Assert the outcome of a call on an input made from a clean one."""
    estimator = own(name)
    if isinstance(outcome, AS):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            expected = call(own(name), outcome.clean(clean))
            found = call(estimator, make(clean))
        if expected.dtype.kind == "U":
            np.testing.assert_array_equal(found, expected)
            return
        assert np.all(np.isfinite(expected))
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        warnings.simplefilter("ignore", UserWarning)
        with pytest.raises((ValueError, TypeError), match=outcome):
            call(estimator, make(clean))
    assert joblib.hash(estimator) == fitted_hash(name)


def cells(estimators, methods, table):
    """Return cells of a matrix that hold each estimator, method and kind with each other.

    Not all cells: each two of the three meet in one of them.
    """
    every = [
        cell
        for cell in product(estimators, methods, table)
        if hasattr(fitted(cell[0]), cell[1])
        and not excluded(*cell[:2])
        # Without labels it is about predictions.
        and cell[1:] != ("influential_samples", "nothing")
    ]
    random.Random(0).shuffle(every)
    met, kept = set(), []
    for cell in every:
        pairs = set(combinations(enumerate(cell), 2))
        if pairs - met:
            met |= pairs
            kept.append(cell)
    return [pytest.param(*cell, id="-".join(map(str, cell))) for cell in sorted(kept)]


def excluded(name, method):
    # Parameters of kernel models are about training samples, and so are those samples.
    of_kernels = {"influence_params", "newton_step", "set_training_data"}
    return name in ("svc", "kernel ridge") and method in of_kernels


# Samples.


def put(value, dtype=None):
    def make(X):
        bad = np.array(X, dtype=dtype)
        bad[2, 3] = value
        return bad

    return make


def frozen(a):
    a = np.array(a)
    a.setflags(write=False)
    return a


def strided(a):
    return np.repeat(np.repeat(a, 2, axis=0), 2, axis=1)[::2, ::2]


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
    """Return what numbers are in a type, and what they are after it."""

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
    # what is done to X                                      what becomes of it
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


# Labels and targets.


def with_label(value):
    def make(y):
        bad = np.array(y, dtype=object)
        bad[1] = value
        return bad

    return make


LABELS = {
    # what is done to y                                      what becomes of it
    "unseen": (with_label("zebra"), "zebra"),
    "starts like a class": (with_label("bar"), "'bar'"),
    "with a space": (with_label("barbera "), "'barbera '"),
    "number": (with_label(3), "3"),
    "nan": (with_label(np.nan), "nan"),
    "none": (with_label(None), "None"),
    "pandas NA": (lambda y: pd.Series(with_label(pd.NA)(y)), "nan|<NA>"),
    "missing category": (
        lambda y: pd.Series(y, dtype="category").where(np.arange(len(y)) > 1),
        "nan",
    ),
    "codes": (lambda y: np.arange(len(y)) % 3, r"classes seen in fit are \['barbera'"),
    "bytes": (lambda y: y.astype("S"), "b'"),
    "complex": (lambda y: np.full(len(y), 1j), "Complex"),
    "one too few": (lambda y: y[:-1], "inconsistent numbers of samples"),
    "one too many": (lambda y: np.append(y, y[:1]), "inconsistent numbers of samples"),
    "none at all": (lambda y: y[:0], "inconsistent numbers of samples"),
    "nothing": (lambda y: None, "y is required|without X"),
    "one label": (lambda y: "barbera", "y.*='barbera' is one value"),
    "two columns": (lambda y: np.column_stack([y, y]), r"\(6, 2\)"),
    "ragged": (lambda y: [["a"], ["a", "b"]] * 3, "inhomogeneous|sequence|shape"),
    "list": (lambda y: y.tolist(), SAME),
    "objects": (lambda y: y.astype(object), SAME),
    "series": (pd.Series, SAME),
    "series with another index": (lambda y: pd.Series(y, index=np.arange(len(y))[::-1]), SAME),
    "categories": (lambda y: pd.Series(y, dtype="category"), SAME),
    "string dtype": (lambda y: pd.Series(y, dtype="string"), SAME),
    "column": (lambda y: y[:, None], SAME),
    "read-only": (frozen, SAME),
    "strided": (lambda y: np.repeat(y, 2)[::2], SAME),
}
# The same for new labels of the training samples, where it reads otherwise.
NEW_LABELS = {
    "one too few": f"y_new holds {N - 1}",
    "one too many": f"y_new holds {N + 1}",
    "none at all": "y_new holds 0",
    "nothing": "y_new|shape",
    "two columns": rf"\({N}, 2\)",
    "ragged": "inhomogeneous|y_new",
}
TARGETS = {
    "nan": (lambda y: np.append(y[:-1], np.nan), "NaN"),
    "infinite": (lambda y: np.append(y[:-1], np.inf), "infinity"),
    "none": (with_label(None), "NaN|NoneType|float"),
    "pandas NA": (lambda y: pd.Series(with_label(pd.NA)(y)), "NA|NaN"),
    "text": (with_label("x"), "could not convert"),
    "complex": (lambda y: y + 1j, "Complex"),
    "dates": (lambda y: y.astype("M8[D]"), AS(lambda y: y.astype("M8[D]").astype("f8"))),
    "one too few": (lambda y: y[:-1], "inconsistent numbers of samples"),
    "none at all": (lambda y: y[:0], "0 sample|inconsistent"),
    "nothing": (lambda y: None, "y is required|without X"),
    "one number": (lambda y: 1.0, "y.*=1.0 is one value"),
    "two columns": (lambda y: np.column_stack([y, y]), r"\(6, 2\).*1 target"),
    "sparse": (lambda y: sparse.csr_array(y[:, None]), "parse"),
    "list": (lambda y: y.tolist(), SAME),
    "objects": (lambda y: y.astype(object), SAME),
    "column": (lambda y: y[:, None], SAME),
    "series": (lambda y: pd.Series(y, index=np.arange(len(y))[::-1]), SAME),
    "nullable": (lambda y: pd.Series(y).convert_dtypes(), SAME),
    "read-only": (frozen, SAME),
    "strided": (lambda y: np.repeat(y, 2)[::2], SAME),
    "float32": (lambda y: y.astype("f4"), AS(lambda y: y.astype("f4").astype("f8"))),
    "int8": (
        lambda y: np.array([-128, 127, 0, 1, 2, 3], "i1"),
        AS(lambda y: np.array([-128.0, 127, 0, 1, 2, 3])),
    ),
    "uint8": (
        lambda y: np.array([255, 0, 0, 1, 2, 3], "u1"),
        AS(lambda y: np.array([255.0, 0, 0, 1, 2, 3])),
    ),
    "int64": (lambda y: np.full(6, 2**62), AS(lambda y: np.full(6, 2.0**62))),
    "bool": (lambda y: y > 0, AS(lambda y: (y > 0).astype(float))),
    "tiny": (lambda y: (1e-150 * y).tolist(), AS(lambda y: 1e-150 * y)),
    "huge": (lambda y: (1e140 * y).tolist(), AS(lambda y: 1e140 * y)),
}


@pytest.mark.parametrize(("name", "method", "kind"), cells(CLASSIFIERS, LABELLED, LABELS))
def test_labels(name, method, kind):
    make, outcome = LABELS[kind]
    check(name, lambda e, y: LABELLED[method](e, XQ, y), YQ, make, outcome)


@pytest.mark.parametrize(
    ("name", "method", "kind"), cells(("ridge", "kernel ridge"), LABELLED, TARGETS)
)
def test_targets(name, method, kind):
    make, outcome = TARGETS[kind]
    check(name, lambda e, y: LABELLED[method](e, XQ, y), REALQ, make, outcome)


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_new_labels(name, kind):
    make, outcome = LABELS[kind]
    outcome = NEW_LABELS.get(kind, outcome)
    check(name, lambda e, y: e.influence_relabel(XQ, YQ, y_new=y), Y[::-1], make, outcome)


# Weights.

WEIGHTS = {
    # what is done to w                                      what becomes of it
    "one negative": (lambda w: np.append(w[:-1], -0.25), "-0.25"),
    "all negative": (lambda w: -w, r"-\d"),
    "nan": (lambda w: np.append(w[:-1], np.nan), "NaN"),
    "infinite": (lambda w: np.append(w[:-1], np.inf), "infinity"),
    "all zero": (np.zeros_like, "zero"),
    "one too few": (lambda w: w[:-1], r"\(44,\)"),
    "none at all": (lambda w: w[:0], "0 sample|shape"),
    "two columns": (lambda w: np.column_stack([w, w]), "1D"),
    "text": (lambda w: ["x"] * len(w), "could not convert"),
    "complex": (lambda w: w + 1j, "Complex"),
    "none among them": (with_label(None), "NaN|NoneType|float"),
    "pandas NA": (lambda w: pd.Series(with_label(pd.NA)(w)), "NA|NaN"),
    "nothing": (lambda w: None, AS(np.ones_like)),
    "one number": (lambda w: 2.5, AS(lambda w: np.full(len(w), 2.5))),
    "list": (lambda w: w.tolist(), SAME),
    "series": (lambda w: pd.Series(w, index=np.arange(len(w))[::-1]), SAME),
    "objects": (lambda w: w.astype(object), SAME),
    "read-only": (frozen, SAME),
    "strided": (lambda w: np.repeat(w, 2)[::2], SAME),
    "float32": (lambda w: w.astype("f4"), AS(lambda w: w.astype("f4").astype("f8"))),
    "bool": (lambda w: w > 0.5, AS(lambda w: (w > 0.5).astype(float))),
    "int8": (lambda w: np.full(len(w), 127, "i1"), AS(lambda w: np.full(len(w), 127.0))),
    "uint8": (lambda w: np.full(len(w), 200, "u1"), AS(lambda w: np.full(len(w), 200.0))),
    "some zero": (
        lambda w: np.where(w > 1, w, 0).tolist(),
        AS(lambda w: np.where(w > 1, w, 0)),
    ),
    "tiny": (lambda w: (1e-150 * w).tolist(), AS(lambda w: 1e-150 * w)),
    "large": (lambda w: (1e6 * w).tolist(), AS(lambda w: 1e6 * w)),
}


@pytest.mark.parametrize(("name", "method", "kind"), cells(ESTIMATORS, WEIGHTED, WEIGHTS))
def test_weights(name, method, kind):
    make, outcome = WEIGHTS[kind]
    check(name, WEIGHTED[method], W, make, outcome)


# Indices of training samples and labels of groups.

INDICES = {
    # what the indices are                                   what becomes of them
    "beyond the last": ([0, N], f"{N}.*0 to {N - 1}"),
    "negative": ([-1], "-1"),
    "least int64": ([np.iinfo(np.int64).min], "-9223372036854775808"),
    "beyond int64": ([2**64], "18446744073709551616|object|integer"),
    "largest uint64": (np.array([2**64 - 1], np.uint64), "18446744073709551615"),
    "repeated": ([3, 4, 3], "3 more than once"),
    "a mask": (np.arange(N) == 3, "bool"),
    "floats": ([3.0, 4.0], "float64"),
    "nan": ([np.nan], "float64"),
    "text": (["3"], "<U1"),
    "none": ([None], "object"),
    "pandas NA": (pd.array([3, None], dtype="Int64"), "object|NA|float"),
    "complex": ([1j], "complex"),
    "two dimensions": ([[3, 4]], r"\(1, 2\)|1-d|dimension"),
    "a set": ({3, 4}, "object|set|1-d|dimension|label"),
    "every sample": (np.arange(N), "every training sample|every"),
    "int8": (np.array([3, 4], np.int8), AS(lambda _: [3, 4])),
    "uint64": (np.array([3, 4], np.uint64), AS(lambda _: [3, 4])),
    "read-only": (frozen([3, 4]), AS(lambda _: [3, 4])),
    "strided": (np.array([3, 0, 4, 0])[::2], AS(lambda _: [3, 4])),
    "tuple": ((3, 4), AS(lambda _: [3, 4])),
    "range": (range(3, 5), AS(lambda _: [3, 4])),
    "index": (pd.Index([3, 4]), AS(lambda _: [3, 4])),
    "series": (pd.Series([3, 4], index=[7, 9]), AS(lambda _: [3, 4])),
    "unordered": ([4, 3], AS(lambda _: [3, 4])),
}
GROUPS = {
    # what the labels are                                    what becomes of them
    "one too few": (np.arange(N - 1) % 3, f"{N - 1} labels"),
    "none at all": ([], "0 labels"),
    "two dimensions": (np.zeros((N, 2)), rf"\({N}, 2\)|1-d"),
    "one number": (3, r"groups=3 is not one-dim"),
    "all the same": (["all"] * N, "every training sample|one group"),
    "mixed types": (np.array([1, "a"] * (N // 2) + [1] * (N % 2), object), "int, str"),
    "none among them": (
        np.array([None, 1] * (N // 2) + [1] * (N % 2), object),
        "NoneType, int",
    ),
    "nan": (np.where(np.arange(N) % 3, 1.0, np.nan), "NaN|nan"),
    "text": (np.array(["a", "b", "c"])[np.arange(N) % 3], AS(lambda _: np.arange(N) % 3)),
    "floats": ((np.arange(N) % 3) / 2, AS(lambda _: np.arange(N) % 3)),
    "bool": (np.arange(N) % 3 == 1, r"flatnonzero\(mask\).*mask.astype\(int\)"),
    "int8": ((np.arange(N) % 3 - 128).astype(np.int8), AS(lambda _: np.arange(N) % 3)),
    "list": ((np.arange(N) % 3).tolist(), AS(lambda _: np.arange(N) % 3)),
    "tuple": (tuple(np.arange(N) % 3), AS(lambda _: np.arange(N) % 3)),
    "column": ((np.arange(N) % 3)[:, None], rf"\({N}, 1\)|1-d"),
    "series": (
        pd.Series(np.arange(N) % 3, index=range(N)[::-1]),
        AS(lambda _: np.arange(N) % 3),
    ),
    "categories": (
        pd.Series(np.arange(N) % 3, dtype="category"),
        AS(lambda _: np.arange(N) % 3),
    ),
    "read-only": (frozen(np.arange(N) % 3), AS(lambda _: np.arange(N) % 3)),
}


@pytest.mark.parametrize(("name", "method", "kind"), cells(ESTIMATORS, INDEXED, INDICES))
def test_indices(name, method, kind):
    indices, outcome = INDICES[kind]
    check(name, INDEXED[method], None, lambda _: indices, outcome)


@pytest.mark.parametrize("kind", INDICES)
@pytest.mark.parametrize("name", ["softmax", "pipeline", "ridge", "kernel ridge"])
def test_index_of_a_perturbation(name, kind):
    index, outcome = INDICES[kind]
    if isinstance(outcome, AS) or kind in ("repeated", "every sample"):
        outcome = "one training sample|more than once"
    call = lambda e, i: e.influence_perturbation(XQ, labels_of(name), index=i)  # noqa: E731
    check(name, call, None, lambda _: index, outcome)


@pytest.mark.parametrize(("name", "method", "kind"), cells(ESTIMATORS, GROUPED, GROUPS))
def test_groups(name, method, kind):
    labels, outcome = GROUPS[kind]
    if method == "params_covariance" and kind == "all the same":
        outcome = AS(lambda _: [0] * N)  # one cluster is no removal
    check(name, GROUPED[method], None, lambda _: labels, outcome)


# Vectors of parameters.

VECTORS = {
    # what is done to them                                   what becomes of them
    "nan": (put(np.nan), "NaN"),
    "infinite": (put(np.inf), "infinity"),
    "none": (put(None, object), "NaN|NoneType|float"),
    "text": (put("x", object), "could not convert"),
    "complex": (lambda V: V + 1j, "Complex|complex"),
    "too short": (lambda V: V[:, :-1], "parameters|shape"),
    "too long": (lambda V: np.hstack([V, V]), "parameters|shape"),
    "a number": (lambda V: 1.0, r"\(\)|2D|1 dimension"),
    "sparse": (sparse.csr_array, "parse|shape"),
    "list": (lambda V: V.tolist(), SAME),
    "objects": (lambda V: V.astype(object), SAME),
    "Fortran order": (np.asfortranarray, SAME),
    "strided": (strided, SAME),
    "read-only": (frozen, SAME),
    "float32": (lambda V: V.astype("f4"), AS(lambda V: V.astype("f4").astype("f8"))),
    "int8": (lambda V: (9 * V).astype("i1"), AS(lambda V: (9 * V).astype("i1").astype("f8"))),
    "bool": (lambda V: V > 0, AS(lambda V: (V > 0).astype("f8"))),
    "frame": (pd.DataFrame, SAME),
    "tiny": (lambda V: (1e-150 * V).tolist(), AS(lambda V: 1e-150 * V)),
    "huge": (lambda V: (1e150 * V).tolist(), AS(lambda V: 1e150 * V)),
}


@pytest.mark.parametrize(("name", "method", "kind"), cells(ESTIMATORS, VECTORED, VECTORS))
def test_vectors(name, method, kind):
    p = len(fitted(name).params_)
    make, outcome = VECTORS[kind]
    if method == "split_params" and kind in ("nan", "infinite", "none"):
        # Numbers come back in other shapes, those of models that there are not as NaN.
        np.testing.assert_array_equal(own(name).split_params(np.full(p, np.nan))[0], np.nan)
        return
    V = np.random.default_rng(0).standard_normal((4, p))
    check(name, VECTORED[method], V, make, outcome)


# Everything else.


@pytest.mark.parametrize("estimator", [LogisticRegression(), Ridge(), KernelRidge(), SVC()])
def test_unfitted(estimator):
    for kind, arguments in ((LABELLED, (XQ, YQ)), (UNLABELLED, (XQ,)), (BARE, ())):
        for name, call in kind.items():
            if hasattr(estimator, name):
                with pytest.raises(NotFittedError):
                    call(estimator, *arguments)
    for kind, argument in ((INDEXED, [0]), (GROUPED, [0] * N), (VECTORED, [[1.0]])):
        for name, call in kind.items():
            if hasattr(estimator, name):
                with pytest.raises(NotFittedError):
                    call(estimator, argument)
    assert not hasattr(estimator, "params_")


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


ARGUMENTS = {
    "width of V": (lambda e: e.solve_hessian([[1.0, 2.0]]), r"\(1, 2\).*42 parameters"),
    "nan in V": (lambda e: e.solve_hessian(np.full((1, 42), np.nan)), "V contains NaN"),
    "width of gradient": (lambda e: e.influence_functional([1.0]), r"\(1,\).*\(42,\)"),
    "axes of gradient": (
        lambda e: e.influence_functional(np.ones((1, 1, 42))),
        r"\(1, 1, 42\)",
    ),
    "a scalar gradient": (lambda e: e.influence_functional(1.0), r"\(\)"),
    "y without X": (lambda e: e.influence_params(y=Y), "y was given without X"),
    "step, y without X": (lambda e: e.newton_step(0.1, y=Y), "y was given without X"),
    "epsilon": (lambda e: e.newton_step(np.nan), "epsilon=nan"),
    "text epsilon": (lambda e: e.newton_step("a"), "epsilon='a'"),
    "dtype": (lambda e: e.influence_params(dtype=np.int64), "float32 or float64"),
    "shape of out": (lambda e: e.influence_params(out=np.empty((2, 2))), r"\(45, 42\)"),
    "type of out": (lambda e: e.influence_params(out=[1]), "array or memmap"),
    "dtype of out": (
        lambda e: e.influence_params(out=np.empty((45, 42), dtype=int)),
        "float32 or float64",
    ),
    "read-only out": (
        lambda e: e.influence_params(out=np.broadcast_to(0.0, (45, 42))),
        "out is read-only.*'r\\+'",
    ),
    "out against dtype": (
        lambda e: e.influence_params(out=np.empty((45, 42)), dtype=np.float32),
        "float64.*float32",
    ),
    "class labels": (
        lambda e: e.influence_prediction(X, response_method="predict"),
        "'decision_function' or 'predict_proba'",
    ),
    "unknown response": (
        lambda e: e.influence_prediction(X, response_method="score"),
        "response_method='score'",
    ),
    "method": (lambda e: e.leave_out_params(method="best"), "method='best'"),
    "refine": (lambda e: e.leave_out_params(refine=1.5), "refine=1.5"),
    "refine of exact": (
        lambda e: e.leave_out_params(refine=0.1, method="exact"),
        "refine=0.1",
    ),
    "hessian_solver": (lambda e: e.self_influence(hessian_solver="qr"), "'qr'"),
    "number for a solver": (lambda e: e.self_influence(hessian_solver=3), "3"),
    "order": (lambda e: e.influential_samples(XQ, YQ, 3, order="best"), "order='best'"),
    "too many": (lambda e: e.influential_samples(XQ, YQ, N + 1), f"{N + 1}.*1 to {N}"),
    "none of them": (lambda e: e.influential_samples(XQ, YQ, 0), "n_influential=0"),
    "True of them": (lambda e: e.influential_samples(XQ, YQ, True), "n_influential=True"),
    "half of them": (lambda e: e.influential_samples(XQ, YQ, 2.5), "n_influential=2.5"),
    "n_checks": (lambda e: e.leave_out_check(0), "n_checks=0"),
    "tol": (lambda e: e.polish(tol=-1.0), "tol=-1"),
    "nan tol": (lambda e: e.polish(tol=np.nan), "tol=nan"),
    "max_iter": (lambda e: e.polish(max_iter=0), "max_iter=0"),
    "kind": (lambda e: e.params_covariance("HC9"), "kind='HC9'"),
    "cv": (lambda e: e.leave_out_predict(cv=1), "n_splits|cv"),
    "cv of a word": (lambda e: e.leave_out_predict(cv="five"), "cv|five"),
    "scoring": (lambda e: e.leave_out_score(scoring="best"), "best"),
    "response": (lambda e: e.leave_out_predict(response_method="score"), "score"),
    "complex epsilon": (lambda e: e.newton_step(1j), "epsilon=1j"),
    "working_memory": (
        lambda e: listed(e.influence_loss_chunked(XQ, YQ, working_memory=-1)),
        "working_memory",
    ),
    "split": (lambda e: e.split_params([1.0]), r"\(1,\).*42 parameters"),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments(name):
    call, match = ARGUMENTS[name]
    estimator = own("softmax")
    before = joblib.hash(estimator)
    with pytest.raises((TypeError, ValueError), match=match):
        call(estimator)
    assert joblib.hash(estimator) == before


def test_a_regressor_has_no_probabilities():
    reg = Ridge().fit(X, REAL)
    with pytest.raises(ValueError, match="Ridge has no predict_proba"):
        reg.influence_prediction(X, response_method="predict_proba")


def test_negative_weights_are_scikit_learns_to_fit_and_ours_to_refuse():
    weights = W.copy()
    weights[0] = -0.01
    clf = LogisticRegression().fit(X, Y, weights)
    assert clf.predict(X).shape == Y.shape
    with pytest.raises(ValueError, match="not negative"):
        clf.influence_params()
