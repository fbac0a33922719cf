"""pandas' NA in nullable columns is a missing value for every stage, as it is for `fit`.

The oracle is the same pipeline on the same rows with NaN.
"""

import numpy as np
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PowerTransformer

from skinfluence import from_fitted

pd = pytest.importorskip("pandas")


def rows():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=14), rng.integers(0, 4, 14), rng.random(14) < 0.3])
    X[[3, 5, 7], [0, 1, 2]] = np.nan
    plain = pd.DataFrame(X, columns=["size", "count", "member"])
    types = {"size": "Float64", "count": "Int64", "member": "boolean"}
    return plain, plain.astype(types), rng.normal(size=14)


@pytest.mark.parametrize(
    "steps",
    [
        [SimpleImputer()],
        [SimpleImputer(missing_values=pd.NA, add_indicator=True)],
        [SimpleImputer(strategy="median", missing_values=pd.NA)],
        [SimpleImputer(strategy="most_frequent", missing_values=pd.NA)],
        [PowerTransformer(), SimpleImputer()],
    ],
    ids=lambda steps: " ".join(map(str, steps)),
)
def test_pandas_na_is_missing(steps):
    plain, nullable, y = rows()
    answers = []
    for X in (plain, nullable):
        pipe = make_pipeline(*steps, Ridge())
        if X is plain:
            for step in pipe[:-1]:
                if isinstance(step, SimpleImputer):
                    step.set_params(missing_values=np.nan)
        fitted = from_fitted(pipe.fit(X, y), X, y)
        answers.append((fitted.influence_prediction(X[:3]), fitted.leave_out_predict()))
    for found, expected in zip(answers[1], answers[0], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
