"""Fixtures that test files share, and how many examples property tests try.

`pytest --hypothesis-profile=deep` tries many more.

The default profile draws the same examples in every run. Estimators without a random_state,
whose fits draw from NumPy's global state, draw the same in every run too.
"""

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

_SHARED = {
    "deadline": None,
    "database": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}
settings.register_profile("quick", max_examples=10, derandomize=True, **_SHARED)
settings.register_profile("deep", max_examples=1000, print_blob=True, **_SHARED)
settings.load_profile("quick")


@pytest.fixture(autouse=True)
def global_random_state():
    np.random.seed(0)  # noqa: NPY002, because scikit-learn draws from it


@pytest.fixture
def scheduler(request):
    """Run dask on the synchronous scheduler unless a test names another one."""
    dask = pytest.importorskip("dask", reason="dask is not installed")
    with dask.config.set(scheduler=getattr(request, "param", "synchronous")):
        yield


@pytest.fixture
def never_whole(monkeypatch):
    """Fail where features or labels are turned into one array behind the user's back.

    Vectors of numbers, such as results with one for each row, may be.
    """
    da = pytest.importorskip("dask.array", reason="dask[array] is not installed")
    load = da.Array.__array__

    def refuse(self, *args, **kwargs):
        if self.ndim == 1 and self.dtype == np.float64:
            return load(self, *args, **kwargs)
        raise AssertionError(f"a dask array of shape {self.shape} was loaded")

    monkeypatch.setattr(da.Array, "__array__", refuse)
