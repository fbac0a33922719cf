"""The most influential rows, without holding all influences."""

from itertools import pairwise

import numpy as np
import pytest
import sklearn

from skinfluence.linear_model import LogisticRegression
from tests.cases import NEWTON, data

ORDERS = {"absolute": lambda a: -np.abs(a), "helpful": lambda a: a, "harmful": lambda a: -a}


@pytest.fixture(scope="module")
def fitted():
    X, y, w = data("wine")
    return LogisticRegression(**NEWTON).fit(X, y, w)


@pytest.mark.parametrize("working_memory", [1024, 0.1])
@pytest.mark.parametrize("order", ORDERS)
def test_they_are_the_ends_of_the_sorted_influences(fitted, order, working_memory):
    X, y, _ = data("wine")
    influence = fitted.influence_loss(X[:40], y[:40])
    expected = np.argsort(ORDERS[order](influence), axis=1, kind="stable")[:, :7]
    with sklearn.config_context(working_memory=working_memory):
        values, indices = fitted.influential_samples(
            X[:40], y[:40], 7, order=order, hessian_solver="cholesky"
        )
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_allclose(
        values, np.take_along_axis(influence, indices, axis=1), rtol=1e-9, atol=1e-13
    )


@pytest.mark.parametrize("order", ORDERS)
def test_average(fitted, order):
    X, y, _ = data("wine")
    influence = fitted.influence_loss(X[:40], y[:40], average=True)
    values, indices = fitted.influential_samples(X[:40], y[:40], 5, order=order, average=True)
    np.testing.assert_array_equal(indices, np.argsort(ORDERS[order](influence))[:5])
    np.testing.assert_allclose(values, influence[indices], rtol=1e-9)


def test_indices_alone(fitted):
    X, y, _ = data("wine")
    _, expected = fitted.influential_samples(X[:3], y[:3])
    found = fitted.influential_samples(X[:3], y[:3], return_influence=False)
    np.testing.assert_array_equal(found, expected)
    assert found.shape == (3, 10)


def test_ties_go_to_the_smaller_index():
    X, y, _ = data("wine")
    X, y = np.vstack([X] * 3), np.concatenate([y] * 3)
    clf = LogisticRegression(**NEWTON).fit(X, y)
    n = len(y) // 3
    _, indices = clf.influential_samples(X[:10], y[:10], 4)
    first = indices[:, :3] % n
    np.testing.assert_array_equal(first, first[:, :1].repeat(3, axis=1))


def test_all_rows_may_be_asked_for(fitted):
    X, y, _ = data("wine")
    indices = fitted.influential_samples(X[:2], y[:2], len(y), return_influence=False)
    np.testing.assert_array_equal(np.sort(indices, axis=1)[0], np.arange(len(y)))


def test_chunks_are_the_rows_of_influence_loss(fitted):
    X, y, _ = data("wine")
    expected = fitted.influence_loss(X, y)
    chunks = list(fitted.influence_loss_chunked(X, y, working_memory=0.5))
    assert len(chunks) > 1
    np.testing.assert_allclose(np.vstack(chunks), expected, rtol=1e-10, atol=1e-14)
    starts = list(
        fitted.influence_loss_chunked(
            X, y, working_memory=0.5, reduce_func=lambda chunk, start: (start, len(chunk))
        )
    )
    assert starts[0][0] == 0
    assert all(a + m == b for (a, m), (b, _) in pairwise(starts))


@pytest.mark.parametrize("bad", [0, -1, 10_000, 2.5, "3"])
def test_a_bad_count_is_named(fitted, bad):
    X, y, _ = data("wine")
    with pytest.raises(ValueError, match=f"n_influential={bad!r}"):
        fitted.influential_samples(X, y, bad)


def test_a_bad_order_lists_the_good_ones(fitted):
    X, y, _ = data("wine")
    with pytest.raises(ValueError, match=r"order='best'.*'absolute', 'helpful', 'harmful'"):
        fitted.influential_samples(X, y, order="best")
