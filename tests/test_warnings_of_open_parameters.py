"""Losses that do not depend on undetermined parameters come without a warning of these.

The oracle is scikit-learn's refit, whose predictions are the same at every optimum.
"""

import warnings

import numpy as np
import pytest
from sklearn import linear_model as sk

from skinfluence import InfluenceWarning
from skinfluence.linear_model import LogisticRegression

RNG = np.random.default_rng(0)
DUMMIES = np.eye(3)[np.arange(40) % 3]
X = np.column_stack([DUMMIES, RNG.normal(size=40)])
Y = X @ [0.5, -0.3, 0.2, 1.0] + RNG.normal(size=40)
TIGHT = {"C": np.inf, "solver": "lbfgs", "tol": 1e-10, "max_iter": 1000}


def test_losses_on_full_dummies_are_those_of_refits_without_a_warning():
    y = (Y > 0).astype(int)
    clf = LogisticRegression(**TIGHT).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        losses = clf.leave_out_loss(X[:5], y[:5], method="exact")
    kept = np.arange(40) != 7
    refit = sk.LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10)
    refit.fit(X[kept][:, 1:], y[kept])
    expected = -refit.predict_log_proba(X[:5, 1:])[np.arange(5), y[:5]]
    np.testing.assert_allclose(losses[:, 7], expected, rtol=1e-6)
    with pytest.warns(InfluenceWarning, match="do not determine"):
        clf.leave_out_params([[7]])
    with pytest.warns(InfluenceWarning, match="do not determine"):
        lost = clf.leave_out_loss(X[:1] + [1, 0, 0, 0], y[:1])  # two dummies at once
    assert np.isnan(lost).all()
