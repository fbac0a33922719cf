"""`fit` takes whatever scikit-learn's takes, refuses the same, and gives the same model."""

import os
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy
from scipy import sparse
from sklearn import linear_model
from sklearn.base import clone, is_classifier
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.utils import get_tags
from sklearn.utils.fixes import parse_version
from sklearn.utils.validation import has_fit_parameter

from skinfluence import UnsupportedEstimatorError, from_fitted
from skinfluence.fitted import mirrors
from skinfluence.linear_model import ElasticNet, Lasso, Ridge
from skinfluence.methods import get_problem
from skinfluence.svm import SVC, SVR

MIRRORS = {cls.__name__: (parent, cls) for parent, cls in mirrors().items()}
each_mirror = pytest.mark.parametrize("name", sorted(MIRRORS))


def samples(classifier):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 3))
    y = X @ [1.0, -1.0, 0.5] + 0.1 * rng.normal(size=40)
    return X, (np.where(y > 0, "b", "a") if classifier else np.exp(y))


#: Parameters that keep fits short and the same.
PARAMS = {"alphas": [0.01, 0.1], "Cs": [0.1, 1.0], "cv": 2, "random_state": 0, "max_iter": 50}

#: Losses with influence for classes whose default has none.
SMOOTH = {"SGDClassifier": {"loss": "log_loss"}}


def make(cls):
    """Return an unfitted estimator with short fits."""
    known = cls._get_param_names()
    params = {name: value for name, value in PARAMS.items() if name in known}
    return cls(**params, **SMOOTH.get(cls.__name__, {}))


#: Changes of (X, y, sample_weight); not all of them are errors to every class.
INPUTS = {
    "a list": lambda X, y, w: (X.tolist(), y.tolist(), None),
    "a frame": lambda X, y, w: (pd.DataFrame(X, columns=list("abc")), pd.Series(y), None),
    "numbers as text": lambda X, y, w: (X.astype(str), y, None),
    "objects": lambda X, y, w: (X.astype(object), y.astype(object), None),
    "single precision": lambda X, y, w: (X.astype(np.float32), y, w.astype(np.float32)),
    "bytes": lambda X, y, w: ((X > 0).astype(np.uint8), y, None),
    "csc": lambda X, y, w: (sparse.csc_matrix(X), y, w),
    "coo": lambda X, y, w: (sparse.coo_array(X), y, w),
    "a column of targets": lambda X, y, w: (X, y[:, None], None),
    "a weight": lambda X, y, w: (X, y, 2.0),
    "weights of zero": lambda X, y, w: (X, y, np.where(w > 1, w, 0.0)),
    "no weight at all": lambda X, y, w: (X, y, np.zeros(40)),
    "a negative weight": lambda X, y, w: (X, y, np.r_[-0.01, w[1:]]),
    "a list of weights": lambda X, y, w: (X, y, w.tolist()),
    "NaN": lambda X, y, w: (np.where(X > 1, np.nan, X), y, None),
    "inf": lambda X, y, w: (np.where(X > 1, np.inf, X), y, None),
    "one dimension": lambda X, y, w: (X[:, 0], y, None),
    "three dimensions": lambda X, y, w: (X[None], y, None),
    "complex": lambda X, y, w: (X + 1j, y, None),
    "no rows": lambda X, y, w: (X[:0], y[:0], None),
    "no features": lambda X, y, w: (X[:, :0], y, None),
    "one row": lambda X, y, w: (X[:1], y[:1], None),
    "one class": lambda X, y, w: (X, np.full_like(y, y[0]), None),
    "fewer targets": lambda X, y, w: (X, y[1:], None),
    "fewer weights": lambda X, y, w: (X, y, w[1:]),
    "weights of two axes": lambda X, y, w: (X, y, w[:, None]),
    "targets of NaN": lambda X, y, w: (X, np.full(40, np.nan), None),
    "targets of None": lambda X, y, w: (X, None, None),
    "targets of two axes": lambda X, y, w: (X, np.c_[y, y], None),
    "targets below zero": lambda X, y, w: (X, -np.arange(40.0), None),
    "words": lambda X, y, w: (np.full((40, 3), "word"), y, None),
}


def takes_weights(estimator):
    return has_fit_parameter(estimator, "sample_weight")


def outcome(estimator, X, y, w):
    """Return the parameters and predictions of a fit, or the error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        weights = {"sample_weight": w} if takes_weights(estimator) else {}
        try:
            estimator.fit(X, y, **weights)
            predicted = estimator.predict(samples(False)[0])
        except Exception as error:
            return type(error), str(error).replace(type(estimator).__name__, "")
        attributes = {
            name: value
            for name, value in vars(estimator).items()
            if name.endswith("_") and isinstance(value, np.ndarray | float | int)
        }
        return attributes, predicted


@each_mirror
def test_fits_and_errors_are_those_of_scikit_learn(name):
    parent, cls = MIRRORS[name]
    X, y = samples(is_classifier(parent()))
    w = np.random.default_rng(1).uniform(0.5, 2.0, 40)
    for given, change in INPUTS.items():
        (found, said), (expected, told) = (
            outcome(make(one), *change(X, y, w)) for one in (cls, parent)
        )
        if isinstance(expected, type):
            assert (found, said) == (expected, told), given
            continue
        np.testing.assert_array_equal(said, told, err_msg=given)
        assert found.keys() == expected.keys(), given
        for attribute in expected:
            np.testing.assert_array_equal(
                found[attribute], expected[attribute], err_msg=f"{given}: {attribute}"
            )


@each_mirror
@pytest.mark.parametrize(
    ("step", "error"),
    [("layout", AttributeError), ("formulate", IndexError), ("check_X", MemoryError)],
)
def test_no_fault_of_the_bookkeeping_reaches_fit(name, step, error, monkeypatch):
    parent, cls = MIRRORS[name]
    X, y = samples(is_classifier(parent()))

    def fail(*args, **kwargs):
        raise error("out of order")

    if get_tags(make(parent)).input_tags.positive_only:
        X = np.abs(X)
    problem = get_problem(make(cls))
    place = type(problem.parameters if step == "layout" else problem)
    monkeypatch.setattr(place, step, fail)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = make(cls).fit(X, y)
        fitted.predict(X)
        fitted.score(X, y)
    monkeypatch.undo()
    with pytest.raises(UnsupportedEstimatorError, match=rf"{error.__name__}: out of order"):
        fitted.influence_loss(X, y)


def test_an_interrupt_is_not_a_fault_of_the_bookkeeping(monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(Ridge, "_formulate", interrupt)
    with pytest.raises(KeyboardInterrupt):
        Ridge().fit(*samples(False))


@pytest.mark.parametrize("estimator", [Lasso(alpha=0.05), ElasticNet(alpha=0.05)])
def test_coordinate_descent_without_checks(estimator):
    X, y = samples(False)
    expected = clone(estimator).fit(X, y).influence_loss(X, y)
    fitted = estimator.fit(np.asfortranarray(X), y, check_input=False)
    np.testing.assert_allclose(fitted.influence_loss(X, y), expected, rtol=1e-10)
    assert fitted.leave_out_predict().shape == y.shape
    with pytest.raises(ValueError, match=r"X has 2 features, but .* is expecting 3"):
        fitted.influence_loss(X[:, :2], y)
    assert not hasattr(fitted, "n_features_in_")  # scikit-learn leaves it out


@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csc_array, sparse.coo_array])
@pytest.mark.parametrize("estimator", [SVC(), SVR(epsilon=0.01)])
def test_a_kernel_of_functions_on_sparse_rows(estimator, container):
    X, y = samples(is_classifier(estimator))
    estimator.set_params(kernel=rbf_kernel, tol=1e-8)
    dense, fitted = clone(estimator).fit(X, y), estimator.fit(container(X), y)
    np.testing.assert_allclose(
        fitted.influence_loss(container(X), y), dense.influence_loss(X, y), atol=1e-8
    )
    np.testing.assert_allclose(
        fitted.leave_out_params([[0], [1, 2]], method="exact"),
        dense.leave_out_params([[0], [1, 2]], method="exact"),
        atol=1e-6,
    )


#: Fits on arrays of another library; scipy reads the environment when it is imported.
ARRAY_API = """
import numpy as np, array_api_strict as xp, sklearn, sklearn.linear_model as original
import skinfluence.linear_model as ours
from sklearn.utils.validation import has_fit_parameter
from skinfluence import UnsupportedEstimatorError, from_fitted
X, y = np.random.default_rng(0).normal(size=(30, 4)), np.arange(30) % 2
labels, weight, fits = np.where(y, "a", "b"), np.linspace(0.5, 2.0, 30), 0
with sklearn.config_context(array_api_dispatch=True):
    for name in ours.__all__:
        parent, cls = getattr(original, name), getattr(ours, name)
        classifier = sklearn.base.is_classifier(cls())
        given = xp.asarray(X), labels if classifier else xp.asarray(y + 1.0)
        weighted = has_fit_parameter(cls, "sample_weight")
        more = {"sample_weight": xp.asarray(weight)} if weighted else {}
        try:
            expected = parent().fit(*given, **more)
        except Exception as error:
            try:
                cls().fit(*given, **more)
            except type(error):
                continue
            raise AssertionError(name) from error
        fitted, fits = cls().fit(*given, **more), fits + 1
        assert type(fitted.coef_) is type(expected.coef_), name
        assert np.array_equal(fitted.predict(given[0]), expected.predict(given[0])), name
        fitted.score(*given)
        for ask in (fitted.self_influence, lambda: from_fitted(expected, *given)):
            try:
                ask()
            except UnsupportedEstimatorError as error:
                assert "array_api_strict" in str(error) and "NumPy" in str(error), name
            else:
                assert type(fitted.self_influence()) is type(fitted.coef_), name
        fitted.fit(X, labels if classifier else y + 1.0).self_influence()  # the advice
assert fits
"""


@pytest.mark.skipif(
    parse_version(scipy.__version__) < parse_version("1.14"),
    reason="scikit-learn takes arrays of other libraries with SciPy 1.14 or later",
)
def test_arrays_of_another_library():
    pytest.importorskip("array_api_strict")
    env = os.environ | {"SCIPY_ARRAY_API": "1"}
    command = [sys.executable, "-W", "ignore", "-c", ARRAY_API]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_parameters_in_arrays_of_another_library_are_refused_by_name():
    class Foreign:
        """An array of another library."""

        shape = (1, 3)

    X, y = samples(True)
    clf = linear_model.LogisticRegression().fit(X, y)
    clf.coef_ = Foreign()
    with pytest.raises(UnsupportedEstimatorError, match=r"Foreign .*NumPy arrays"):
        from_fitted(clf, X, y)
