"""Refits that libsvm would never end: they stop at a limit, and a warning has the number."""

import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning

from skinfluence.svm import SVC, kernel


def test_refits_end_at_a_limit_and_a_warning_says_so(monkeypatch):
    X, y = load_breast_cancer(return_X_y=True)
    X, y = X[:60, :5], y[:60]
    clf = SVC(kernel="linear", C=1e3, max_iter=500)
    with pytest.warns(ConvergenceWarning, match="max_iter=500"):
        clf.fit(X, y)
    assert kernel._TIGHT["max_iter"] > 0  # without a limit the next call does not end
    monkeypatch.setitem(kernel._TIGHT, "max_iter", 2_000)
    with pytest.warns(ConvergenceWarning, match="max_iter=2000"):
        clf.leave_out_check(1, method="exact")
