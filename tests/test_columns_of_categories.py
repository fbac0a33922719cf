"""Scalers and encoders in a ColumnTransformer: removal is the refit, and few refits are made.

A category without rows and its column are lost in the refit. All other removals take the same
features, scaled otherwise.
"""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline as plain_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from skinfluence.linear_model import LogisticRegression, Ridge
from skinfluence.pipeline import make_pipeline
from skinfluence.whole.problem import whole_problem
from tests.fits import NEWTON

RNG = np.random.default_rng(0)
X = pd.DataFrame(
    {
        "age": RNG.normal(50, 10, 80),
        "dose": RNG.normal(size=80),
        "site": RNG.choice(["a", "b", "c"], 80),
        "ward": RNG.choice(["p", "q", None], 80),
    }
)
X.loc[7, "site"] = "lone"
X.loc[[8, 9], "ward"] = "pair"
REAL = (X.age - 50) / 10 + (X.site == "b") + RNG.normal(size=80)
#: The last row of a category, two of one, one of two, and others.
GROUPS = [[0], [7], [8, 9], [8], list(range(10, 40))]
LOST = [1, 2]

NUMBERS, NAMES = ["age", "dose"], ["site", "ward"]
ENCODER = OneHotEncoder(handle_unknown="ignore")
COLUMNS = {
    "scaled": make_column_transformer((StandardScaler(), NUMBERS), (ENCODER, NAMES)),
    "not centred": make_column_transformer(
        (ENCODER, NAMES), (StandardScaler(with_mean=False), NUMBERS)
    ),
    "as they are": make_column_transformer((ENCODER, NAMES), remainder="passthrough"),
    "sparse": make_column_transformer(
        (ENCODER, NAMES), (StandardScaler(with_mean=False), NUMBERS), sparse_threshold=1.0
    ),
    "filled": make_column_transformer(
        (plain_pipeline(FunctionTransformer(), StandardScaler()), NUMBERS),
        (plain_pipeline(SimpleImputer(strategy="constant", fill_value="?"), ENCODER), NAMES),
    ),
    "dropped": make_column_transformer((StandardScaler(), ["age"]), (ENCODER, ["site"])),
}
MODELS = {
    "logistic": (LogisticRegression(**NEWTON), REAL > 0.5),
    "ridge": (Ridge(), REAL),
}


@pytest.mark.filterwarnings("ignore:Without")
@pytest.mark.filterwarnings("ignore:Found unknown categories")
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("columns", COLUMNS)
def test_exact_removal_is_the_refit(columns, model):
    estimator, y = MODELS[model]
    pipe = make_pipeline(clone(COLUMNS[columns]), clone(estimator)).fit(X, y)
    choices = whole_problem(pipe).choices
    assert [g for g, rows in enumerate(GROUPS) if choices.choices[0].stays_without(rows)] == [
        g for g in range(5) if g not in (LOST if columns != "dropped" else [1])
    ]
    loss = pipe.leave_out_loss(X, y, GROUPS, method="exact")
    params = pipe.leave_out_params(GROUPS, method="exact")
    before = pipe.sample_loss(X, y)
    for g, rows in enumerate(GROUPS):
        kept = np.setdiff1d(np.arange(80), rows)
        refit = clone(pipe).fit(X.iloc[kept], y[kept])
        change = np.abs(refit.sample_loss(X, y) - before).max()
        np.testing.assert_allclose(
            loss[:, g], refit.sample_loss(X, y), rtol=0, atol=1e-6 * change
        )
        if choices.choices[0].stays_without(rows):
            np.testing.assert_allclose(params[g], refit.params_, rtol=1e-7, atol=1e-9)


def test_a_selector_may_follow():
    estimator, y = MODELS["ridge"]
    columns = clone(COLUMNS["as they are"])
    pipe = make_pipeline(columns, SelectKBest(k=4), clone(estimator)).fit(X, y > 0.5)
    assert len(whole_problem(pipe).choices.choices) == 2
    loss = pipe.leave_out_loss(X, y, [[0], [7]], method="exact")
    for g, rows in enumerate([[0], [7]]):
        kept = np.setdiff1d(np.arange(80), rows)
        refit = clone(pipe).fit(X.iloc[kept], (y > 0.5)[kept])
        np.testing.assert_allclose(loss[:, g], refit.sample_loss(X, y), rtol=1e-9)


def test_columns_that_a_function_selects_are_selected_again():
    def names(frame):
        return ["site", "ward"] if len(frame) > 60 else ["site"]

    columns = make_column_transformer((StandardScaler(), NUMBERS), (ENCODER, names))
    pipe = make_pipeline(columns, Ridge()).fit(X, REAL)
    loss = pipe.leave_out_loss(X, REAL, [GROUPS[4]], method="exact")[:, 0]
    kept = np.setdiff1d(np.arange(80), GROUPS[4])
    refit = clone(pipe).fit(X.iloc[kept], REAL[kept])
    np.testing.assert_allclose(loss, refit.sample_loss(X, REAL), rtol=1e-7)


@pytest.mark.parametrize("keep", [False, True])
def test_a_column_that_loses_its_only_value_is_dropped_or_kept_as_in_the_refit(keep):
    numbers = X[NUMBERS].assign(rare=np.where(np.arange(80) == 3, 2.0, np.nan))
    fill = SimpleImputer(strategy="constant", fill_value=0.0, keep_empty_features=keep)
    scaler = StandardScaler(with_mean=False)
    columns = make_column_transformer((fill, ["rare"]), (scaler, NUMBERS))
    pipe = make_pipeline(columns, Ridge(fit_intercept=False)).fit(numbers, REAL)
    assert (whole_problem(pipe).choices is not None) == keep
    loss = pipe.leave_out_loss(numbers, REAL, [[3]], method="exact")[:, 0]
    kept = np.arange(80) != 3
    refit = clone(pipe).fit(numbers[kept], REAL[kept])
    np.testing.assert_allclose(loss, refit.sample_loss(numbers, REAL), rtol=1e-7)


@pytest.mark.parametrize(
    "encoder",
    [OneHotEncoder(drop="first"), OneHotEncoder(min_frequency=3, handle_unknown="ignore")],
    ids=str,
)
def test_encoders_that_choose_are_fitted_again(encoder):
    columns = make_column_transformer((encoder, ["ward"]), (StandardScaler(), NUMBERS))
    pipe = make_pipeline(columns, Ridge()).fit(X, REAL)
    assert whole_problem(pipe).choices is None
