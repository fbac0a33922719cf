"""Designs: every container and dtype gives the products of the dense float64 array."""

import numpy as np
import pytest
import sklearn
from scipy import sparse

from skinfluence.design import make_design

CONTAINERS = {
    "dense": np.asarray,
    "fortran": np.asfortranarray,
    "uint8": lambda X: X.astype(np.uint8),
    "float32": lambda X: X.astype(np.float32),
    "csr_matrix": sparse.csr_matrix,
    "csr_array": sparse.csr_array,
    "csr_float32": lambda X: sparse.csr_array(X.astype(np.float32)),
    "view": lambda X: np.repeat(X, 2, axis=0)[::2],
}
each_design = pytest.mark.parametrize("fit_intercept", [True, False])
each_container = pytest.mark.parametrize("container", CONTAINERS)


def example(container, fit_intercept):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 4, (37, 5)).astype(np.float64)
    ones = np.ones((37, int(fit_intercept)))
    return make_design(CONTAINERS[container](X), fit_intercept), np.hstack([X, ones])


@each_container
@each_design
def test_products_equal_those_of_the_dense_rows(container, fit_intercept):
    design, x = example(container, fit_intercept)
    rng = np.random.default_rng(1)
    theta = rng.standard_normal((2, 3, x.shape[1]))
    weights = rng.uniform(0, 1, (37, 2))
    np.testing.assert_allclose(design.rows(), x)
    np.testing.assert_allclose(
        design.predict(theta), np.einsum("nd,qkd->nqk", x, theta), atol=1e-12
    )
    np.testing.assert_allclose(design.adjoint(weights), weights.T @ x, atol=1e-12)
    np.testing.assert_allclose(
        design.outer(weights), np.einsum("nk,nd->nkd", weights, x), atol=1e-12
    )
    np.testing.assert_allclose(
        design.gram(weights), np.einsum("nm,nd,ne->mde", weights, x, x), atol=1e-12
    )
    np.testing.assert_allclose(design.squared_adjoint(weights), weights.T @ x**2, atol=1e-12)


@each_container
def test_taking_rows_is_indexing(container):
    design, x = example(container, True)
    for rows in (slice(3, 9), np.array([5, 5, 0])):
        np.testing.assert_array_equal(design.take(rows).rows(), x[rows])


@each_container
@each_design
def test_blocks_do_not_change_products(container, fit_intercept):
    design, _ = example(container, fit_intercept)
    weights = np.random.default_rng(1).uniform(0, 1, (37, 2))
    whole = design.adjoint(weights), design.gram(weights)
    with sklearn.config_context(working_memory=0.001):
        np.testing.assert_allclose(design.adjoint(weights), whole[0], rtol=1e-13)
        np.testing.assert_allclose(design.gram(weights), whole[1], rtol=1e-13)


def test_a_shifted_gram_is_that_of_shifted_features():
    design, x = example("dense", True)
    weights = np.ones((37, 1))
    shift = design.centre(weights[:, 0])
    np.testing.assert_allclose(shift, x[:, :-1].mean(axis=0))
    shifted = x - np.append(shift, 0.0)
    np.testing.assert_allclose(design.gram(weights, shift)[0], shifted.T @ shifted, atol=1e-12)


def test_dense_float64_data_are_not_copied():
    X = np.zeros((4, 3))
    design = make_design(X, True)
    assert np.shares_memory(design.take(slice(1, 3)).X, X)


@each_container
@each_design
def test_products_of_rows_with_rows(container, fit_intercept):
    design, x = example(container, fit_intercept)
    rng = np.random.default_rng(1)
    scale = rng.uniform(0, 2, x.shape[1])
    np.testing.assert_allclose(design.products(scale), x * scale @ x.T, atol=1e-12)
    others, y = design.take(np.array([4, 4, 0])), x[[4, 4, 0]]
    expected = y * scale @ x.T
    np.testing.assert_allclose(design.products_with(others, scale), expected, atol=1e-12)
    for same in (sparse.csr_array, np.asarray):
        others = make_design(same(y[:, :5]), fit_intercept)
        np.testing.assert_allclose(design.products_with(others, scale), expected, atol=1e-12)


def test_sparse_products_have_rare_and_frequent_features():
    rng = np.random.default_rng(0)
    X = (rng.random((300, 900)) < rng.uniform(0, 0.35, 900) ** 2) * rng.uniform(1, 2, 900)
    design, scale = make_design(sparse.csr_array(X), False), rng.uniform(0, 2, 900)
    counts = design.counts()
    assert counts.max() > 0.05 * 300  # dense columns
    assert np.any((counts > 1) & (counts < 5))  # the others
    np.testing.assert_allclose(design.products(scale), X * scale @ X.T, atol=1e-12)
    np.testing.assert_allclose(
        design.products_with(design.take(slice(5)), scale), X[:5] * scale @ X.T, atol=1e-12
    )
    with sklearn.config_context(working_memory=0.1):
        np.testing.assert_allclose(design.products(scale), X * scale @ X.T, atol=1e-12)


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_the_lowest_integer_has_a_magnitude(container):
    X = np.array([[-128, 3], [127, -2]], np.int8)
    theta = np.array([[1.0, -2.0, 0.5]])
    design = make_design(container(X), fit_intercept=True)
    np.testing.assert_array_equal(design.magnitude(theta), [[134.5], [131.5]])
