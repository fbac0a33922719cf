"""Hinge models without margin vectors, whose intercepts fill an interval.

The oracle are scikit-learn's refits, which take the middle of the interval.
"""

import re
import warnings

import numpy as np
import pytest
from sklearn import svm
from sklearn.base import clone

from skinfluence import InfluenceWarning, SingularHessianError, from_fitted
from skinfluence.svm import SVC
from tests.fits import data


def inside():
    """Return samples of two classes, all within the margin at a small C."""
    X, y, _ = data("cancer")
    rows = np.r_[np.flatnonzero(y == "benign")[:20], np.flatnonzero(y == "malignant")[:20]]
    return X[rows, :4], y[rows]


@pytest.mark.parametrize("method", ["newton", "exact"])
def test_removal_catches_the_intercept(method):
    X, y = inside()
    clf = SVC(C=1e-3, kernel="linear", tol=1e-10).fit(X, y)
    kept = np.arange(40) != 4
    refit = clone(clf).fit(X[kept], y[kept])
    found = clf.leave_out_params([[4]], method=method)[0]
    dual = np.zeros(40)
    dual[np.flatnonzero(kept)[refit.support_]] = refit.dual_coef_[0]
    np.testing.assert_allclose(found[:40] @ X, dual @ X, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found[-1], refit.intercept_[0], atol=1e-6)


def test_influence_and_removal_tell_the_width_of_the_interval():
    X, y = inside()
    clf = svm.SVC(C=1e-4, kernel="linear", tol=1e-10).fit(X, y)
    ours = from_fitted(clf, X, y)
    with pytest.raises(SingularHessianError, match="no row is a margin vector") as error:
        ours.influence_prediction(X)
    # Every row keeps its side of the margin: y f <= 1, with f the decision value.
    sign, f = np.where(y == clf.classes_[1], 1, -1), clf.decision_function(X)
    above, below = (1 - f)[sign > 0].min(), (1 + f)[sign < 0].min()
    width = float(re.search(r"interval of width (\S+) is", str(error.value)).group(1))
    assert width == pytest.approx(above + below, rel=0.01)
    pair = [0, 20]  # one row of each class: the others are still balanced
    refit = clone(clf).fit(np.delete(X, pair, axis=0), np.delete(y, pair))
    with pytest.warns(InfluenceWarning, match="1 of 1 .* interval is optimal, of width up to"):
        loss = ours.leave_out_loss(X, y, [pair], refine=1.0)[:, 0]
    expected = np.maximum(0.0, 1 - sign * refit.decision_function(X))
    np.testing.assert_allclose(loss, expected, atol=1e-6)


@pytest.mark.parametrize("row", [0, 1, 2])
def test_a_margin_vector_at_its_bound_determines_no_intercept(row):
    rng = np.random.default_rng(0)
    X, t = np.sort(rng.normal(size=(9, 1)), axis=0), rng.normal(size=9)
    reg = svm.SVR(kernel="linear", C=0.01, epsilon=0.05, tol=1e-10).fit(X, t)
    refit = clone(reg).fit(np.delete(X, row, 0), np.delete(t, row))
    assert np.all(abs(refit.dual_coef_) == 0.01)
    ours = from_fitted(reg, X, t)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InfluenceWarning)
        found = ours.leave_out_loss(X, t, [[row]])[:, 0]
    expected = np.maximum(0.0, abs(t - refit.predict(X)) - 0.05)
    np.testing.assert_allclose(found, expected, atol=1e-7)
