"""Parameters of a model that were set after its fit: answers stay those of the fit.

Their oracle is the same fit whose parameters were left alone.
"""

import copy

import numpy as np
import pytest
from sklearn import linear_model, naive_bayes, svm
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import from_fitted

LOGISTIC = linear_model.LogisticRegression(solver="newton-cholesky", tol=1e-10)
CASES = {
    "penalty": (LOGISTIC, {"C": 100.0}),
    "intercept": (LOGISTIC, {"fit_intercept": False}),
    "class weights": (LOGISTIC, {"class_weight": "balanced"}),
    "penalty that counts rows": (linear_model.PoissonRegressor(tol=1e-8), {"alpha": 9.0}),
    "squared hinge": (svm.LinearSVC(random_state=0), {"C": 30.0}),
    "kernel": (svm.SVC(), {"C": 30.0}),
    "variances": (naive_bayes.GaussianNB(), {"var_smoothing": 0.1}),
}


@pytest.mark.parametrize(("model", "new"), CASES.values(), ids=CASES)
def test_removal_and_updates_behind_steps_have_the_parameters_of_the_fit(model, new):
    X, y = load_breast_cancer(return_X_y=True)
    X, y = X[:40, :3], y[:40]
    pipe = make_pipeline(SimpleImputer(), StandardScaler(), model).fit(X, y)
    kept = from_fitted(pipe, X, y)
    changed = copy.deepcopy(kept)
    changed[-1].set_params(**new)
    for method in ("newton", "exact"):
        answers = [
            pipe.leave_out_loss(X[:5], y[:5], [[0], [3, 7]], method=method)
            for pipe in (kept, changed)
        ]
        np.testing.assert_allclose(answers[1], answers[0], rtol=1e-9)
    updated = [pipe.remove_samples([0, 5]).predict(X) for pipe in (kept, changed)]
    np.testing.assert_array_equal(updated[1], updated[0])


def test_calibrators_are_those_of_the_fit():
    X, y = load_breast_cancer(return_X_y=True)
    X, y = X[:60, :2] / 10, y[:60]
    kept = from_fitted(CalibratedClassifierCV(LOGISTIC).fit(X, y), X, y)
    changed = copy.deepcopy(kept).set_params(method="isotonic")
    for ask, more in (("influence_loss", []), ("leave_out_loss", [[[0], [3]]])):
        answers = [getattr(one, ask)(X[:3], y[:3], *more) for one in (kept, changed)]
        np.testing.assert_allclose(answers[1], answers[0], rtol=1e-9)
