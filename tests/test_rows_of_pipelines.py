"""Pipelines append new samples once, and groups of any sizes are those of refits."""

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from skinfluence.linear_model import Ridge
from skinfluence.pipeline import make_pipeline
from skinfluence.whole.data import TrainingData

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(30, 3)), RNG.normal(size=30)


def test_samples_without_names_are_appended_once(monkeypatch):
    columns = make_column_transformer((StandardScaler(), ["a", "b"]), (MinMaxScaler(), ["c"]))
    pipe = make_pipeline(columns, Ridge()).fit(pd.DataFrame(X, columns=list("abc")), Y)
    calls, append = [], TrainingData.append

    def counted(*args):
        calls.append(args)
        return append(*args)

    monkeypatch.setattr(TrainingData, "append", counted)
    pipe.add_samples(X[:2], Y[:2])
    assert len(calls) == 1
    both = pd.DataFrame(np.concatenate([X, X[:2]]), columns=list("abc"))
    refit = make_pipeline(columns, Ridge()).fit(both, np.append(Y, Y[:2]))
    np.testing.assert_allclose(pipe.params_, refit.params_, rtol=1e-10)


@pytest.mark.parametrize("method", ["newton", "exact"])
def test_groups_of_any_sizes_have_the_scales_of_refits(method):
    groups = [np.arange(10), [3], [4, 5, 6], np.arange(20), [7]]
    pipe = make_pipeline(StandardScaler(), Ridge())
    found = pipe.fit(X, Y).leave_out_params(groups, method=method)
    for rows, params in zip(groups, found, strict=True):
        kept = np.setdiff1d(np.arange(30), rows)
        refit = make_pipeline(StandardScaler(), Ridge()).fit(X[kept], Y[kept])
        np.testing.assert_allclose(params, refit.params_, rtol=1e-8, atol=1e-10)
