"""Memory-mapped data go straight through: no method makes a full copy of them."""

import numpy as np
import pytest
import sklearn

from skinfluence import from_fitted
from skinfluence.linear_model import LogisticRegression
from tests.fits import relative_error
from tests.memory import peak

MEMORY = 6  # MiB, for `working_memory`; the smaller file has 11.4
ROWS, FEATURES = 10_000, 300


@pytest.fixture(scope="module", params=[np.float64, np.float32], ids=lambda t: t.__name__)
def mapped(request, tmp_path_factory):
    """Return a model of a sample, a memmap of all rows, and their labels."""
    path = tmp_path_factory.mktemp("memmap") / "rows.npy"
    rng = np.random.default_rng(0)
    X = np.lib.format.open_memmap(path, "w+", request.param, (ROWS, FEATURES))
    X[:] = rng.random(X.shape)
    X.flush()
    y = (X[:, 0] + rng.standard_normal(ROWS) > 0.5).astype(int)
    sample = LogisticRegression(C=1e-2).fit(np.array(X[:1500]), y[:1500])
    return sample, np.load(path, mmap_mode="r"), y


CALLS = {
    "polish": lambda e, X, y: e.polish().params_,
    "report": lambda e, X, y: e.convergence_report().correction,
    "influential_samples": lambda e, X, y: e.influential_samples(X[:200], y[:200], 3)[0],
    "average": lambda e, X, y: e.influence_loss(X, y, average=True),
    "self_influence": lambda e, X, y: e.self_influence(),
    "sample_loss": lambda e, X, y: e.sample_loss(X, y),
}


@pytest.mark.filterwarnings("ignore:The fit is not at its optimum")
@pytest.mark.filterwarnings("ignore:X, y and sample_weight are not those")
@pytest.mark.parametrize("name", CALLS)
def test_no_copy_is_made(mapped, name):
    sample, X, y = mapped
    with sklearn.config_context(working_memory=MEMORY):
        setting_up, fitted = peak(from_fitted, sample, X, y)
        used, result = peak(CALLS[name], fitted, X, y)
    assert used <= result.nbytes + MEMORY * 2**20
    assert setting_up <= MEMORY * 2**20  # labels, weights, and a check of a block at a time
    assert min(X.nbytes - result.nbytes, X.nbytes / 1.9) > MEMORY * 2**20


def test_a_result_may_go_into_a_file(mapped, tmp_path):
    sample, X, y = mapped
    fitted = from_fitted(sample, X, y).polish()
    out = np.lib.format.open_memmap(tmp_path / "out.npy", "w+", np.float64, (200, ROWS))
    with sklearn.config_context(working_memory=MEMORY):
        used, result = peak(fitted.influence_loss, X[:200], y[:200], out=out)
    assert result is out
    assert used <= MEMORY * 2**20 < out.nbytes / 2
    out.flush()
    expected = fitted.influence_loss(X[:200], y[:200])
    assert relative_error(np.load(tmp_path / "out.npy"), expected) <= 1e-12


def test_numbers_are_those_of_arrays(mapped):
    sample, X, y = mapped
    fitted = from_fitted(sample, X, y).polish()
    copied = np.array(X, dtype=np.float64)
    values, indices = (
        from_fitted(sample, copied, y).polish().influential_samples(copied[:50], y[:50])
    )
    found, at = fitted.influential_samples(X[:50], y[:50])
    np.testing.assert_array_equal(at, indices)
    np.testing.assert_allclose(found, values, rtol=1e-10)
