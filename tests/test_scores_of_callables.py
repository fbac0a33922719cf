"""Values are scores of fits on coalitions, and callables that score may ask for any samples.

The oracle is scikit-learn's refit without a sample.
"""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import GammaRegressor as Plain
from sklearn.metrics import d2_tweedie_score

from skinfluence.ensemble import VotingRegressor
from skinfluence.inspection import data_values
from skinfluence.linear_model import (
    GammaRegressor,
    LogisticRegression,
    Ridge,
    RidgeClassifier,
)
from skinfluence.svm import SVC

TIGHT = {"solver": "newton-cholesky", "tol": 1e-10}


def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 3))
    return X, np.exp(X[:, 0] + 0.3 * rng.normal(size=40))


X, Y = data()
FIT, NEW = slice(0, 30), slice(30, None)
MODELS = [Ridge(), GammaRegressor(alpha=0.1, **TIGHT), LogisticRegression(**TIGHT)]


def first_row(estimator, X_new, y_new):
    """Return a number that needs a prediction for a sample that is not in X_new."""
    name = "predict_proba" if hasattr(estimator, "predict_proba") else "predict"
    return float(np.ravel(getattr(estimator, name)(X[:1]))[-1])


@pytest.mark.parametrize("model", MODELS, ids=str)
@pytest.mark.parametrize("utility", [first_row, lambda e, X, y: e.score(X, y), None])
def test_values_are_those_of_refits(model, utility):
    y = Y > 1 if hasattr(model, "classes_") or "Logistic" in str(model) else Y
    fitted = clone(model).fit(X[FIT], y[FIT])
    found = data_values(fitted, X[NEW], y[NEW], kind="loo", utility=utility, method="exact")
    score = utility or (lambda e, X, y: e.score(X, y))
    before = score(fitted, X[NEW], y[NEW])
    assert found.utility_all == pytest.approx(before, rel=1e-8)
    for row in (0, 7):
        rows = np.delete(np.arange(30), row)
        without = score(clone(model).fit(X[rows], y[rows]), X[NEW], y[NEW])
        assert found.sample_values[row] == pytest.approx(before - without, abs=1e-7)


def test_the_score_of_no_samples_is_the_models_own():
    fitted = GammaRegressor(alpha=0.1, **TIGHT).fit(X[FIT], Y[FIT])
    found = data_values(fitted, X[NEW], Y[NEW], kind="loo")
    mean = np.full(10, Y[FIT].mean())
    assert found.utility_none == pytest.approx(d2_tweedie_score(Y[NEW], mean, power=2))
    assert found.utility_all == pytest.approx(fitted.score(X[NEW], Y[NEW]))


def test_a_pooled_score_is_the_models_own_and_has_no_other_samples():
    fitted = GammaRegressor(alpha=0.1, **TIGHT).fit(X, Y)
    pooled = [
        Plain(alpha=0.1, **TIGHT).fit(np.delete(X, i, 0), np.delete(Y, i)).predict(X[[i]])[0]
        for i in range(40)
    ]
    expected = d2_tweedie_score(Y, pooled, power=2)
    for scoring in (None, lambda e, X, y: e.score(X, y)):
        found = fitted.leave_out_score(scoring=scoring, method="exact")
        assert found == pytest.approx(expected, rel=1e-6)
    around = VotingRegressor([("one", clone(fitted))]).fit(X, Y)
    for model in (fitted, around):
        with pytest.raises(ValueError, match="asks for responses for 1 samples"):
            model.leave_out_score(scoring=lambda e, X, y: e.predict(X[3:4])[0])
    found = fitted.leave_out_score(scoring=lambda e, X, y: e.predict(X)[3], method="exact")
    assert found == pytest.approx(pooled[3], rel=1e-6)


def shift(estimator, X, y):
    """Return the mean decision value, 0 for a dummy estimator."""
    decide = getattr(estimator, "decision_function", None)
    return 0.0 if decide is None else float(np.mean(decide(X)))


COUNTED = [
    SVC(tol=1e-10, C=0.5),
    SVC(tol=1e-10, gamma=0.3, class_weight="balanced"),
    RidgeClassifier(class_weight="balanced"),
    LogisticRegression(class_weight="balanced", **TIGHT),
]


@pytest.mark.parametrize("model", COUNTED, ids=str)
def test_coalitions_decide_gamma_and_balanced_class_weights(model):
    y = Y > 0.6
    fitted = clone(model).fit(X[FIT], y[FIT])
    found = data_values(fitted, X[NEW], y[NEW], kind="loo", utility=shift, method="exact")
    for row in (0, 7):
        rows = np.delete(np.arange(30), row)
        refit = clone(model).fit(X[rows], y[rows])
        change = shift(fitted, X[NEW], y[NEW]) - shift(refit, X[NEW], y[NEW])
        assert found.sample_values[row] == pytest.approx(change, rel=1e-4, abs=1e-6)
    found = data_values(fitted, X[NEW], y[NEW], n_coalitions=40, random_state=0)
    assert found.utility_all == pytest.approx(fitted.score(X[NEW], y[NEW]))
