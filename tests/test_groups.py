"""Groups as users pass them: a bare mask may mean two things, and is refused by name."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from skinfluence.linear_model import Ridge
from tests.cases import data

MASK = np.arange(150) < 30


@pytest.fixture(scope="module")
def reg():
    X, y, _ = data("diabetes")
    return Ridge().fit(X[:150], y[:150])


MASKS = [
    MASK,
    MASK.tolist(),
    tuple(MASK.tolist()),
    MASK.astype(object),
    pd.Series(MASK),
    pd.Series(MASK, dtype="boolean"),
    pl.Series(MASK),
]


@pytest.mark.parametrize("mask", MASKS, ids=lambda mask: f"{type(mask).__name__}")
@pytest.mark.parametrize(
    "method", ["leave_out_params", "params_covariance", "leave_out_predict"]
)
def test_a_bare_mask_is_refused_and_both_spellings_work(reg, mask, method):
    with pytest.raises(ValueError, match="boolean mask of 150 values, 30 of them") as error:
        getattr(reg, method)(groups=mask)
    message = str(error.value)
    spellings = [part.split(" for ")[0] for part in message.split("groups=")[1:]]
    assert len(spellings) == 2
    one, two = (eval(spelled, {"np": np, "mask": mask}) for spelled in spellings)
    params = reg.leave_out_params(one)
    np.testing.assert_array_equal(params, reg.leave_out_params([np.flatnonzero(MASK)]))
    both = reg.leave_out_params(two)
    assert both.shape == (2, 11)
    np.testing.assert_allclose(both[1], params[0], rtol=1e-12)


def test_other_labels_of_two_kinds_stay(reg):
    expected = reg.leave_out_params(MASK.astype(int))
    for labels in [np.where(MASK, "b", "a"), np.where(MASK, "b", "a").astype(object)]:
        np.testing.assert_array_equal(reg.leave_out_params(labels), expected)
    zero_or_one = MASK.astype(int).astype(object)
    np.testing.assert_array_equal(reg.leave_out_params(zero_or_one), expected)
