"""Bad indices, groups, vectors and other arguments: the right answer, or an error by name.

`INDICES`, `GROUPS`, `VECTORS` and `ARGUMENTS` say what is given and what becomes of the call,
see `tests.bad_input`.
"""

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.exceptions import NotFittedError

from skinfluence.kernel_ridge import KernelRidge
from skinfluence.linear_model import LogisticRegression, Ridge
from skinfluence.svm import SVC
from tests.bad_input import (
    AS,
    BARE,
    ESTIMATORS,
    GROUPED,
    INDEXED,
    KINDS,
    LABELLED,
    REAL,
    SAME,
    UNLABELLED,
    VECTORED,
    XQ,
    YQ,
    N,
    X,
    Y,
    cells,
    check,
    fitted,
    frozen,
    labels_of,
    listed,
    own,
    put,
    strided,
)
from tests.fits import METHODS


def test_every_method_is_called():
    assert {name for kind in KINDS for name in kind} == {*METHODS, "param_names"}


# Indices of training samples and labels of groups.

INDICES = {
    # indices                                                result
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
    # labels                                                 result
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
    # change                                                 result
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
