"""The most influential rows, without holding all influences."""

from itertools import pairwise

import numpy as np
import pytest
import sklearn

from skinfluence.design import make_design
from skinfluence.gradients import GradientRows
from skinfluence.largest import largest_products
from skinfluence.linear_model import LogisticRegression, Ridge
from tests.fits import NEWTON, data
from tests.memory import peak

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


def whole_numbers(n, q, kind):
    """Return rows and queries whose products are exact, most of them many times there."""
    rng = np.random.default_rng(0)
    X = rng.integers(-2, 3, (n, 6)).astype(np.float64)
    if kind == "rising":  # every block has better ones than all before
        X *= np.arange(1, n + 1)[:, None]
    gradient = rng.integers(1, 3, (n, 2)).astype(np.float64)
    V = rng.integers(-2, 3, (q, 2, 7)).astype(np.float64)
    return GradientRows(make_design(X, True), gradient), V


@pytest.mark.parametrize("kind", ["random", "rising"])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("k", [1, 10, 700])
def test_equals_across_blocks_are_the_first_of_them(k, order, kind):
    rows, V = whole_numbers(2_500, 30, kind)
    products = rows.dot(V)
    expected = np.argsort(ORDERS[order](products), axis=1, kind="stable")[:, :k]
    values, indices = largest_products(rows, V, k, order)
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_array_equal(values, np.take_along_axis(products, expected, axis=1))


def test_fewer_rows_than_asked_for_are_all_of_them():
    rows, V = whole_numbers(5, 3, "random")
    values, indices = largest_products(rows, V, 8, "harmful")
    assert values.shape == indices.shape == (3, 5)


def test_nans_come_last():
    rows, V = whole_numbers(1_500, 4, "random")
    rows.raw_gradient[[3, 600, 1_400]] = np.nan
    values, indices = largest_products(rows, V, 1_500, "absolute")
    assert np.isfinite(values[:, :-3]).all()
    np.testing.assert_array_equal(indices[:, -3:], [[3, 600, 1_400]] * 4)
    assert np.isfinite(largest_products(rows, V, 1_400, "absolute")[0]).all()


@pytest.mark.parametrize("n_jobs", [1, 2, 3])
@pytest.mark.parametrize("wide", [False, True])
def test_neither_threads_nor_blocks_change_them(n_jobs, wide):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((900, 1_000 if wide else 8))
    solver = "woodbury" if wide else "cholesky"
    reg = Ridge(alpha=10.0).fit(X, X[:, 0] + rng.standard_normal(len(X)))
    y = reg.predict(X) + 1.0
    influence = reg.influence_loss(X[:50], y[:50])
    expected = np.argsort(-np.abs(influence), axis=1)[:, :5]
    for working_memory in (1, 64):
        with sklearn.config_context(working_memory=working_memory):
            values, indices = reg.influential_samples(
                X[:50], y[:50], 5, n_jobs=n_jobs, hessian_solver=solver
            )
        np.testing.assert_array_equal(indices, expected)
        np.testing.assert_allclose(
            values, np.take_along_axis(influence, expected, axis=1), rtol=1e-9
        )


def test_memory_does_not_grow_with_the_rows():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40_000, 10))
    y = (X[:, 0] + rng.standard_normal(len(X)) > 0).astype(int)
    used = []
    for n in (20_000, 40_000):
        clf = LogisticRegression(**NEWTON).fit(X[:n], y[:n])
        clf.self_influence()
        with sklearn.config_context(working_memory=8):
            used.append(peak(clf.influential_samples, X[:1_000], y[:1_000])[0])
    assert max(used) < 8 * 2**20  # all influences would take 305 MiB
    assert used[1] < 1.1 * used[0] + 2**20


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
