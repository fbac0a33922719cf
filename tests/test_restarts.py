"""Fits that stop where the Hessian is singular, although it is regular at the optimum.

The oracle are tight refits with scikit-learn.
"""

import warnings

import numpy as np
import pytest
from sklearn import linear_model
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import scale

from skinfluence import from_fitted

X, Y = load_iris(return_X_y=True)
X, Y = scale(X[::5, [0, 1, 3]]), Y[::5]
ALL = np.arange(len(Y))


def fit(rows, **kwargs):
    model = linear_model.LogisticRegression(
        C=2.0, l1_ratio=1, solver="saga", random_state=0, **kwargs
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X[rows], Y[rows])


@pytest.fixture
def stopped():
    """Return a fit in which a feature has coefficients for all classes, as no optimum has."""
    model = fit(ALL, max_iter=5)
    assert model.coef_.all(axis=0).any()
    return from_fitted(model, X, Y)


def test_polish_reaches_the_optimum(stopped):
    tight = fit(ALL, max_iter=100_000, tol=1e-12)
    stopped.polish()
    np.testing.assert_allclose(stopped.coef_, tight.coef_, atol=1e-5)
    np.testing.assert_allclose(
        stopped.predict_proba(X), tight.predict_proba(X), rtol=1e-5, atol=1e-7
    )


@pytest.mark.parametrize("method", ["newton", "exact"])
def test_removal_is_from_the_optimum(stopped, method):
    rows = [3, 17]
    found = stopped.leave_out_loss(X, Y, [[i] for i in rows], method=method)
    for k, i in enumerate(rows):
        tight = fit(np.delete(ALL, i), max_iter=100_000, tol=1e-12)
        losses = -np.log(tight.predict_proba(X)[ALL, Y])
        np.testing.assert_allclose(found[:, k], losses, rtol=5e-3)
