"""Matrix products in place equal NumPy's, whatever the memory looks like and who runs them."""

from itertools import product

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skinfluence.blocks import add_gram, fill_lower, multiply, one_blas_thread
from skinfluence.losses import SoftmaxLoss

LAYOUTS = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "strided": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
}
SHAPES = [(5, 3, 4), (5, 3, 1), (1, 3, 4), (1, 1, 1), (0, 3, 4), (5, 0, 4), (5, 3, 0)]


@pytest.fixture(params=["all threads", "one thread"], autouse=True)
def threads(request):
    """SciPy's BLAS with its threads, and NumPy's where there is one."""
    if request.param == "all threads":
        yield
    else:
        with one_blas_thread():
            yield


@pytest.mark.parametrize("shape", SHAPES)
def test_product(shape):
    m, k, n = shape
    rng = np.random.default_rng(0)
    for left, right, add in product(LAYOUTS, LAYOUTS, [False, True]):
        a, b = rng.standard_normal((m, k)), rng.standard_normal((k, n))
        out = rng.standard_normal((m, n))
        expected = a @ b + add * out
        assert multiply(LAYOUTS[left](a), LAYOUTS[right](b), out, add=add) is out
        how = f"{left} by {right}, {add=}"
        assert_allclose(out, expected, rtol=1e-13, atol=1e-14, err_msg=how)


@pytest.mark.parametrize("dtypes", ["ddd", "fff", "ddf", "dfd"])
def test_product_of_types(dtypes):
    rng = np.random.default_rng(0)
    a, b = (
        rng.standard_normal(s).astype(t)
        for s, t in zip([(6, 4), (4, 5)], dtypes[:2], strict=True)
    )
    out = np.full((6, 5), np.nan, dtype=dtypes[2])
    multiply(a, b, out)
    assert_allclose(out, a.astype(float) @ b.astype(float), rtol=1e-5, atol=1e-6)


def test_product_into_columns_of_something_larger():
    rng = np.random.default_rng(0)
    a, b, out = rng.standard_normal((6, 4)), rng.standard_normal((4, 5)), np.zeros((6, 9))
    multiply(a, b, out[:, 2:7])
    multiply(a, b, out[:, 2:7], add=True)
    assert_allclose(out[:, 2:7], 2 * a @ b, rtol=1e-13)
    assert not out[:, [0, 1, 7, 8]].any()


def unaligned(shape):
    """Return an array off the boundaries of its numbers, as behind the header of a file."""
    return np.zeros(8 * np.prod(shape) + 4, np.uint8)[4:].view(np.float64).reshape(shape)


@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_product_into_memory_that_is_not_aligned(shape, add):
    m, k, n = shape
    rng = np.random.default_rng(0)
    a, b, out = rng.standard_normal((m, k)), rng.standard_normal((k, n)), unaligned((m, n))
    out[...] = 1.0
    assert not (out.size and out.flags.aligned)
    multiply(a, b, out, add=add)
    assert_allclose(out, a @ b + add, rtol=1e-13, atol=1e-14)


def test_product_into_read_only_memory_is_refused():
    out = np.zeros((5, 5))
    out.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        multiply(np.ones((5, 3)), np.ones((3, 5)), out)
    assert not out.any()


@pytest.mark.parametrize("layout", ["C", "F"])
@pytest.mark.parametrize("order", [1, 3, 130, 300])
def test_gram_is_added_to_and_filled(order, layout):
    rng = np.random.default_rng(0)
    rows, start = rng.standard_normal((7, order)), rng.standard_normal((order, order))
    start += start.T
    out = start.copy()
    add_gram(LAYOUTS[layout](rows), out)
    assert_allclose(fill_lower(out), start + rows.T @ rows, rtol=1e-12, atol=1e-12)


def test_curvature_of_a_softmax_is_a_product_off_the_diagonal():
    raw = np.random.default_rng(0).standard_normal((6, 4))
    W, r = SoftmaxLoss().curvature(None, raw), SoftmaxLoss().curvature_factor(None, raw)
    off = ~np.eye(4, dtype=bool)
    assert_allclose(W[:, off], -(r[:, :, None] * r[:, None])[:, off], rtol=1e-14)
