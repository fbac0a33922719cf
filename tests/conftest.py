"""How many examples property tests try: `pytest --hypothesis-profile=deep` tries many more.

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
settings.register_profile("quick", max_examples=15, derandomize=True, **_SHARED)
settings.register_profile("deep", max_examples=1000, print_blob=True, **_SHARED)
settings.load_profile("quick")


@pytest.fixture(autouse=True)
def global_random_state():
    np.random.seed(0)  # noqa: NPY002, because scikit-learn draws from it
