"""Bad labels, targets and weights: the right answer, or an error by name.

`LABELS`, `NEW_LABELS`, `TARGETS` and `WEIGHTS` say what is done and what becomes of the call,
see `tests.bad_input`.
"""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from skinfluence.linear_model import LogisticRegression
from tests.bad_input import (
    AS,
    CLASSIFIERS,
    ESTIMATORS,
    LABELLED,
    REALQ,
    SAME,
    WEIGHTED,
    XQ,
    YQ,
    N,
    W,
    X,
    Y,
    cells,
    check,
    frozen,
)

# Labels and targets.


def with_label(value):
    def make(y):
        bad = np.array(y, dtype=object)
        bad[1] = value
        return bad

    return make


LABELS = {
    # change of y                                            result
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


# Messages about new labels of the training samples, if they differ.
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
    # change of w                                            result
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


def test_negative_weights_are_scikit_learns_to_fit_and_ours_to_refuse():
    weights = W.copy()
    weights[0] = -0.01
    clf = LogisticRegression().fit(X, Y, weights)
    assert clf.predict(X).shape == Y.shape
    with pytest.raises(ValueError, match="not negative"):
        clf.influence_params()
