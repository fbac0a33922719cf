"""Influence of linear models with a piecewise linear loss through steps that learn.

scikit-learn's fits at slightly different weights, or with slightly different features, are the
oracle. Margin vectors stay on their kinks and follow the features.
"""

import numpy as np
import pytest
from sklearn import svm
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from skinfluence import from_fitted
from skinfluence.methods import get_problem
from skinfluence.whole import whole_problem

EXACT = {"tol": 1e-11, "max_iter": 20_000}


def two_classes():
    X, y = load_breast_cancer(return_X_y=True)
    return X[100:180, :5], y[100:180], svm.LinearSVC(loss="hinge", C=0.1, **EXACT)


def classes():
    X, y = load_wine(return_X_y=True)
    return X[::2, :4], y[::2], svm.LinearSVC(loss="hinge", C=0.1, **EXACT)


def numbers():
    X, y = load_diabetes(return_X_y=True)
    model = svm.LinearSVR(C=0.05, epsilon=0.5, **EXACT)
    return 10 * X[:80, [0, 2, 3, 8]] + 2, y[:80] / 50, model


STEPS = {
    "scaler": [StandardScaler()],
    "scaler-polynomial": [StandardScaler(), PolynomialFeatures(2, include_bias=False)],
}


def raw(pipe, X):
    respond = getattr(pipe, "decision_function", pipe.predict)
    return respond(X)


def derivative(value, steps):
    """Return d value(t) / dt at 0 by central differences, None if those do not agree.

    Some of liblinear's fits end far from the optimum, and some steps move a row off its kink.
    """
    found = [(value(step) - value(-step)) / (2 * step) for step in steps]
    size = max(np.abs(found[-1]).max(), np.finfo(np.float64).tiny)
    for first, second in ((0, 1), (0, 2), (1, 2)):
        if np.abs(found[first] - found[second]).max() <= 1e-5 * size:
            return found[second]
    return None


@pytest.mark.filterwarnings("ignore")  # liblinear's iterations
@pytest.mark.parametrize(
    ("data", "steps"),
    [
        (two_classes, "scaler"),
        (classes, "scaler"),
        (classes, "scaler-polynomial"),
        (numbers, "scaler"),
    ],
)
def test_influence_is_the_derivative_in_weights_of_all_steps(data, steps):
    X, y, model = data()
    plain = make_pipeline(*STEPS[steps], model).fit(X, y)
    pipe = from_fitted(plain, X, y)
    found = pipe.influence_prediction(X[:6])
    loss = pipe.influence_loss(X[:6], y[:6])
    point = get_problem(pipe[-1]).state("auto").point
    n, tried = len(y), 0

    def at(weight):
        given = {
            f"{name}__sample_weight": weight for name, _ in plain.steps if name[0] in "sl"
        }
        return raw(plain.fit(X, y, **given), X[:6])

    for row in (int(point.margins()[0][0]), 5, 33, 62, 70):
        unit = np.arange(n) == row
        expected = derivative(lambda t, unit=unit: at(1.0 + t * unit), (1e-2, 1e-3, 1e-4))
        if expected is not None:
            tried += 1
            error = np.abs(found[:, row] - n * expected).max()
            assert error <= 1e-5 * np.abs(found).max()
    assert tried >= 2
    # The loss of queries off the kinks changes as their predictions do.
    off = ~np.isinf(point.curvature()[:6]).any(axis=1)
    slopes = whole_problem(pipe).check_query(X[:6], y[:6]).raw_gradient
    wide = found if found.ndim == 3 else found[:, :, None]
    expected = np.einsum("qnk,qk->qn", wide, slopes)
    size = np.abs(found).max()
    np.testing.assert_allclose(loss[off], expected[off], rtol=1e-7, atol=1e-9 * size)


@pytest.mark.filterwarnings("ignore")
def test_perturbation_moves_a_margin_vector_in_raw_features():
    X, y, model = classes()
    plain = make_pipeline(StandardScaler(), model).fit(X, y)
    pipe = from_fitted(plain, X, y)
    point = get_problem(pipe[-1]).state("auto").point
    query = np.flatnonzero(~np.isinf(point.curvature()).any(axis=1))[:3]
    row = int(point.margins()[1][0])
    found, tried = pipe.influence_perturbation(X[query], y[query], index=row), 0
    for j in range(X.shape[1]):
        unit = (np.arange(len(y)) == row)[:, None] * (np.arange(X.shape[1]) == j)

        def loss(t, unit=unit):
            other = X + t * unit
            fitted = from_fitted(plain.fit(other, y), other, y)
            return fitted.sample_loss(X[query], y[query])

        expected = derivative(loss, X[:, j].std() * np.array([1e-3, 1e-4, 1e-5]))
        if expected is not None:
            tried += 1
            size = np.abs(found[:, j]).max()
            np.testing.assert_allclose(
                found[:, j], len(y) * expected, rtol=1e-4, atol=1e-4 * size
            )
    assert tried >= 2


@pytest.mark.filterwarnings("ignore")
def test_members_of_a_composite_behind_steps():
    X, y, model = two_classes()
    pipe = from_fitted(
        make_pipeline(StandardScaler(), CalibratedClassifierCV(model, cv=2)).fit(X, y), X, y
    )
    change = -pipe.influence_loss(X, y)[:, [0, 33]] / len(y)
    exact = pipe.leave_out_loss(X, y, [[0], [33]], method="exact")
    actual = exact - pipe.sample_loss(X, y)[:, None]
    assert np.all(np.sum(change * actual, axis=0) > 0.9 * np.sum(change**2, axis=0))
