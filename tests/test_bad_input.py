"""Bad input gets an error that names the value, and leaves the estimator as it was."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from skinfluence.linear_model import LogisticRegression, Ridge
from tests.cases import NEWTON, data

X, Y, W = data("wine")
LABELS = np.array(["a", "b", "c"])[Y]


@pytest.fixture
def fitted():
    return LogisticRegression(**NEWTON).fit(X, LABELS)


def with_nan():
    bad = X.copy()
    bad[2, 3] = np.nan
    return bad


QUERIES = {
    "nan": (lambda: (with_nan(), LABELS), "NaN"),
    "infinite": (lambda: (np.where(X > 2, np.inf, X), LABELS), "infinity"),
    "too few features": (lambda: (X[:, :4], LABELS), "4 features"),
    "one dimension": (lambda: (X[0], LABELS[:1]), "2D array"),
    "empty": (lambda: (X[:0], LABELS[:0]), "0 sample"),
    "unseen label": (lambda: (X[:2], ["a", "zebra"]), "zebra"),
    "number for a label": (lambda: (X[:2], [0, 1]), r"classes seen in fit are \['a'"),
    "nan label": (lambda: (X[:1], [np.nan]), "nan"),
    "fewer labels": (lambda: (X, LABELS[:-1]), "inconsistent numbers of samples"),
    "no labels": (lambda: (X, None), "y is required"),
    "two columns of labels": (lambda: (X[:2], [["a", "b"], ["a", "b"]]), r"\(2, 2\)"),
    "complex": (lambda: (X * 1j, LABELS), "Complex"),
    "label that starts like a class": (lambda: (X[:1], ["ab"]), "'ab'"),
    "labels of mixed types": (lambda: (X[:2], np.array(["a", 3], dtype=object)), "3"),
    "text": (lambda: ([["x"] * X.shape[1]], LABELS[:1]), "could not convert"),
}
METHODS = [
    "sample_loss",
    "loss_gradient",
    "influence_params",
    "influence_loss",
    "influential_samples",
    "influence_loss_chunked",
    "set_training_data",
]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", QUERIES)
def test_samples(fitted, name, method):
    make, match = QUERIES[name]
    before = {key: id(value) for key, value in vars(fitted).items()}
    with pytest.raises(ValueError, match=match):
        getattr(fitted, method)(*make())
    after = {key: id(value) for key, value in vars(fitted).items()}
    after.pop("_influence_state"), before.pop("_influence_state")
    assert after == before
    assert fitted.influence_params().shape == (178, 42)


@pytest.mark.parametrize(
    ("y", "match"),
    [
        ([[1.0, 2.0]], r"\(1, 2\).*3 target"),
        ([1.0], r"\(1,\).*3 target"),
        ([[1.0, np.nan, 2.0]], "NaN"),
        ([["a", "b", "c"]], "could not convert"),
    ],
)
def test_targets(y, match):
    A, B, _ = data("linnerud")
    reg = Ridge().fit(A, B)
    with pytest.raises(ValueError, match=match):
        reg.sample_loss(A[:1], y)


@pytest.mark.parametrize(
    ("weights", "match"),
    [
        (-W, r"sample_weight holds -\d"),
        (W[:-1], r"sample_weight.shape == \(177,\)"),
        (np.full(len(W), np.nan), "NaN"),
    ],
)
def test_weights(fitted, weights, match):
    with pytest.raises(ValueError, match=match):
        fitted.set_training_data(X, LABELS, weights)
    assert fitted.influence_params().shape == (178, 42)


METHODS_WITHOUT_SAMPLES = [
    "influence_params",
    "self_influence",
    "newton_correction",
    "convergence_report",
    "polish",
    "drop_training_data",
    "param_names",
]


@pytest.mark.parametrize("estimator", [LogisticRegression(), Ridge()])
def test_unfitted(estimator):
    for method in METHODS:
        with pytest.raises(NotFittedError):
            getattr(estimator, method)(X, Y)
    for method in METHODS_WITHOUT_SAMPLES:
        with pytest.raises(NotFittedError):
            getattr(estimator, method)()
    with pytest.raises(NotFittedError):
        estimator.newton_step(0.1)
    with pytest.raises(NotFittedError):
        estimator.solve_hessian([[1.0]])
    with pytest.raises(NotFittedError):
        estimator.split_params([1.0])
    assert not hasattr(estimator, "params_")


CALLS = {
    "width of V": (lambda e: e.solve_hessian([[1.0, 2.0]]), "2 columns.*42 parameters"),
    "nan in V": (lambda e: e.solve_hessian(np.full((1, 42), np.nan)), "V contains NaN"),
    "width of gradient": (lambda e: e.influence_functional([1.0]), r"\(1,\).*\(42,\)"),
    "axes of gradient": (
        lambda e: e.influence_functional(np.ones((1, 1, 42))),
        r"\(1, 1, 42\)",
    ),
    "a scalar gradient": (lambda e: e.influence_functional(1.0), r"\(\)"),
    "y without X": (lambda e: e.influence_params(y=LABELS), "y was given without X"),
    "step, y without X": (lambda e: e.newton_step(0.1, y=LABELS), "y was given without X"),
    "epsilon": (lambda e: e.newton_step(np.nan), "epsilon=nan"),
    "text epsilon": (lambda e: e.newton_step("a"), "epsilon='a'"),
    "dtype": (lambda e: e.influence_params(dtype=np.int64), "float32 or float64"),
    "shape of out": (lambda e: e.influence_params(out=np.empty((2, 2))), r"\(178, 42\)"),
    "type of out": (lambda e: e.influence_params(out=[1]), "array or memmap"),
    "dtype of out": (
        lambda e: e.influence_params(out=np.empty((178, 42), dtype=int)),
        "float32 or float64",
    ),
    "out against dtype": (
        lambda e: e.influence_params(out=np.empty((178, 42)), dtype=np.float32),
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
    "split": (lambda e: e.split_params([1.0]), r"\(1,\).*42 parameters"),
}


@pytest.mark.parametrize("name", CALLS)
def test_arguments(fitted, name):
    call, match = CALLS[name]
    with pytest.raises(ValueError, match=match):
        call(fitted)


def test_a_regressor_has_no_probabilities():
    reg = Ridge().fit(X, Y)
    with pytest.raises(ValueError, match="Ridge has no predict_proba"):
        reg.influence_prediction(X, response_method="predict_proba")


def test_negative_weights_are_scikit_learns_to_fit_and_ours_to_refuse():
    weights = W.copy()
    weights[0] = -0.01
    clf = LogisticRegression().fit(X, Y, weights)
    assert clf.predict(X).shape == Y.shape
    with pytest.raises(ValueError, match="not negative"):
        clf.influence_params()
