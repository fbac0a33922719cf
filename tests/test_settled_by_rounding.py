"""Where rounding or the memory would otherwise decide, results stay the same."""

import numpy as np
import pytest
import sklearn

from skinfluence import InfluenceWarning
from skinfluence.linear_model import LogisticRegression, SGDRegressor
from skinfluence.svm import LinearSVC


@pytest.mark.parametrize("seed", range(4))
def test_a_row_without_weight_leaves_the_model_at_its_optimum(seed):
    """The penalty alone determines eleven of twelve directions, where sums are rounding."""
    rng = np.random.default_rng(seed)
    X = np.outer(rng.standard_normal(12), rng.standard_normal(12))
    y, w = 3 * X[:, 0] + rng.standard_normal(12), rng.uniform(0.2, 2, 12)
    w[9] = 0.0
    sgd = SGDRegressor("huber", alpha=1e-5, epsilon=5, fit_intercept=False, random_state=0)
    sgd.set_params(max_iter=30, tol=None).fit(X, y, sample_weight=w).polish()
    for order in map(rng.permutation, [12] * 10):
        rows = X[order], y[order]
        sgd.set_training_data(*rows, sample_weight=w[order])
        (row,) = np.flatnonzero(order == 9)
        without = sgd.leave_out_loss(X, y, [[row]])
        np.testing.assert_allclose(without[:, 0], sgd.sample_loss(X, y), rtol=1e-9)


def test_the_memory_does_not_decide_how_a_group_is_refitted():
    rng = np.random.default_rng(7)
    X = rng.standard_normal((18, 14))
    y = (X[:, 0] + rng.standard_normal(18) > 0).astype(int)
    model = LogisticRegression(C=5.0, solver="newton-cholesky", tol=1e-10).fit(X, y)
    expected = model.leave_out_params()
    with sklearn.config_context(working_memory=0.01):
        found = model.leave_out_params()
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_a_block_of_rows_may_have_no_weight():
    X, y = np.random.default_rng(0).standard_normal((40, 2)), np.arange(40) % 2
    w = np.where(np.arange(40) < 20, 0.0, 1.0)
    model = LogisticRegression().fit(X, y, sample_weight=w)
    expected = model.leave_out_params()
    with sklearn.config_context(working_memory=0.001):
        model.set_training_data(X, y, sample_weight=w)
        np.testing.assert_allclose(model.leave_out_params(), expected, rtol=1e-9)


def test_other_labels_of_a_model_that_margin_vectors_determine_are_named():
    """No row has a gradient, and two rows on the margin determine two coefficients."""
    X = np.array([[1.0, 0.2], [0.2, 1.0], [2.0, 3.0], [-3.0, -1.0], [-2.0, -5.0]])
    y = np.array([1, 1, 1, 0, 0])
    svc = LinearSVC(C=1e4, loss="hinge", fit_intercept=False, tol=1e-10, random_state=0)
    svc.set_params(max_iter=100_000).fit(X, y)
    assert sorted(svc.decision_function(X) * (2 * y - 1))[2] > 2
    with pytest.warns(InfluenceWarning, match="margin vectors almost determine"):
        svc.influence_relabel(X[:2], y[:2], y_new=1 - y)
