"""Bags take sparse rows in every format, for the oracle of dense ones."""

import numpy as np
import pytest
from scipy import sparse

from skinfluence.ensemble import BaggingClassifier
from skinfluence.linear_model import LogisticRegression


@pytest.mark.parametrize("form", [sparse.csr_array, sparse.coo_matrix, sparse.lil_array])
def test_bags_of_sparse_rows_are_those_of_dense_ones(form):
    rng = np.random.default_rng(0)
    X, y = rng.poisson(1.0, size=(30, 5)).astype(float), rng.integers(0, 2, 30)
    answers = []
    for kind in (np.asarray, form):
        member = LogisticRegression(tol=1e-10)
        bag = BaggingClassifier(member, n_estimators=3, max_features=3, random_state=0)
        bag.fit(kind(X), y)
        influence = bag.influence_loss(kind(X[:4]), y[:4])
        bag.add_samples(kind(X[:2]), y[:2])
        answers.append((influence, bag.leave_out_loss(kind(X[:4]), y[:4], [[0], [31, 5]])))
    for found, expected in zip(*answers[::-1], strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)
