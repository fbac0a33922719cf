"""Pipelines over columns, frames and text answer for their whole fit.

The oracle is scikit-learn's refit of the whole pipeline: without rows for removal, with copies
of a row for influence.
"""

import copy
import pickle
import re
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn import linear_model, pipeline
from sklearn.base import clone
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_union
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    StandardScaler,
    TargetEncoder,
)

from skinfluence import (
    InfluenceWarning,
    from_fitted,
)
from skinfluence.ensemble import VotingClassifier
from skinfluence.linear_model import LogisticRegression, PoissonRegressor
from skinfluence.pipeline import make_pipeline
from tests.discrete_stage_cases import needs_splitter
from tests.fits import NEWTON


def take(X, rows):
    """Return rows of an array, a list or a DataFrame."""
    if isinstance(X, list):
        return [X[row] for row in rows]
    return X.iloc[rows] if hasattr(X, "iloc") else X[rows]


def check_whole_fit(pipe, X, y, rtol=1e-6):
    """Check that a fitted pipeline's methods are those of its whole fit, by refits.

    Removal, addition and the influence afterwards, without any warning. The first-order
    removal is the influence.
    """
    steps, rows = [step for _, step in pipe.steps[:-1]], [3, 5]
    kept = np.delete(np.arange(len(y)), rows)
    without = clone(pipe).fit(take(X, kept), y[kept])
    some, of_some = take(X, np.arange(7)), y[:7]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as of feature names
        before = pipe.sample_loss(some, of_some)
        loss = pipe.leave_out_loss(some, of_some, [rows], method="exact")[:, 0]
        influence = pipe.influence_loss(some, of_some)
        params = pipe.leave_out_params([rows], method="influence")[0]
        moved = pipe.params_ - pipe.influence_params()[rows].sum(axis=0) / len(y)
        on_itself = pipe.self_influence()[:7]
        smaller = pickle.loads(pickle.dumps(pipe)).remove_samples(rows)
        again = copy.deepcopy(smaller).add_samples(take(X, rows), y[rows])
        influence_without = smaller.influence_loss(some, of_some)
        added = again.influence_loss(some, of_some)
    expected = without.sample_loss(some, of_some)
    scale = np.abs(expected - before).max()
    np.testing.assert_allclose(loss - before, expected - before, rtol=0, atol=rtol * scale)
    np.testing.assert_allclose(smaller.params_, without.params_, rtol=rtol, atol=1e-9)
    expected = without.influence_loss(some, of_some)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(influence_without, expected, rtol=0, atol=rtol * scale)
    order = np.append(kept, rows)  # the samples that came back are last
    np.testing.assert_allclose(added, influence[:, order], rtol=0, atol=rtol * scale)
    np.testing.assert_allclose(params, moved, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(on_itself, influence[:, :7].diagonal(), rtol=1e-7, atol=1e-9)
    assert [step for _, step in pipe.steps[:-1]] == steps


def check_derivative(pipe, X, y, influence, row=3, folds=False):
    """Check an influence on the losses of the first samples by copies of all samples.

    With the penalty in proportion, as if each copy weighed 1/copies, and one copy of a row
    more or less.
    """
    estimates, few = [], len(influence)
    for copies in (8, 16):
        all_rows = np.tile(np.arange(len(y)), copies)
        values = []
        for rows in (np.append(all_rows, row), np.delete(all_rows, row)):
            again = clone(pipe)
            for name, value in again.get_params().items():
                if name == "logisticregression__C":
                    again.set_params(**{name: value / copies})
                if folds and name.endswith("targetencoder__cv"):
                    in_fold = [np.isin(rows, test) for _, test in value]
                    split = [(np.flatnonzero(~own), np.flatnonzero(own)) for own in in_fold]
                    again.set_params(**{name: split})
            again.fit(take(X, rows), y[rows])
            values.append(again.sample_loss(take(X, np.arange(few)), y[:few]))
        estimates.append(len(y) * copies * (values[0] - values[1]) / 2)
    expected = (4 * estimates[1] - estimates[0]) / 3
    scale = np.abs(influence).max()
    np.testing.assert_allclose(influence[:, row], expected, rtol=0, atol=1e-4 * scale)


def people(frame):
    """Return a table with numbers and categories, and labels."""
    rng = np.random.default_rng(0)
    table = {
        "age": rng.uniform(18, 80, 120),
        "income": rng.lognormal(size=120),
        "city": rng.choice(["Bern", "Genf", "Chur"], 120).tolist(),
    }
    y = (table["age"] / 80 + rng.uniform(size=120) > 1.1).astype(int)
    return frame(table), y


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
@pytest.mark.parametrize("output", ["default", "pandas", "polars"])
def test_column_transformers_and_data_frames(frame, output):
    X, y = people(frame)

    def columns():
        # With names that all outputs share: the default ones are prefixed.
        return make_column_transformer(
            (StandardScaler(), ["age", "income"]),
            (OneHotEncoder(sparse_output=False), ["city"]),
            verbose_feature_names_out=False,
        ).set_output(transform=output)

    ours = make_pipeline(columns(), LogisticRegression(**NEWTON)).fit(X, y)
    check_whole_fit(ours, X, y)
    check_derivative(ours, X, y, ours.influence_loss(X[:5], y[:5]))
    plain = pipeline.make_pipeline(columns(), linear_model.LogisticRegression(**NEWTON))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = from_fitted(plain.fit(X, y), X, y)
        np.testing.assert_array_equal(
            found.influence_loss(X[:5], y[:5]), ours.influence_loss(X[:5], y[:5])
        )
    names = [
        "coef[age]",
        "coef[income]",
        "coef[city_Bern]",
        "coef[city_Chur]",
        "coef[city_Genf]",
        "intercept",
    ]
    assert ours.param_names() == found.param_names() == names
    assert len(names) == len(ours.params_)


@needs_splitter
@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
@pytest.mark.parametrize("output", ["default", "pandas", "polars"])
def test_steps_behind_steps_that_name_their_columns(frame, output):
    X, y = people(frame)
    folds = [(np.flatnonzero(np.arange(120) % 4 != k), np.arange(k, 120, 4)) for k in range(4)]
    columns = make_column_transformer(
        (StandardScaler(), ["age", "income"]), (TargetEncoder(smooth=0.0, cv=folds), ["city"])
    )
    both = make_union(StandardScaler(), PCA(2))
    steps = [columns, both, StandardScaler()]
    pipe = make_pipeline(*steps, LogisticRegression(**NEWTON)).set_output(transform=output)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = pipe.fit(X, y).influence_loss(X[:5], y[:5])
    check_derivative(pipe, X, y, found, folds=True)


def test_rows_that_are_added_may_be_of_another_kind():
    X, y = people(pd.DataFrame)
    columns = make_column_transformer(
        (StandardScaler(), ["age", "income"]), (OneHotEncoder(), ["city"])
    )
    for frame in (pd.DataFrame, pl.DataFrame):
        table = frame(X.to_dict(orient="list"))
        pipe = make_pipeline(columns, LogisticRegression(**NEWTON)).fit(table[:90], y[:90])
        rows = X[90:].to_numpy()
        given = rows.tolist() if frame is pl.DataFrame else rows
        kind = {"schema": table.schema, "orient": "row"} if frame is pl.DataFrame else {}
        pipe.add_samples(frame(given, **kind) if kind else given, y[90:])
        expected = clone(pipe).fit(table, y)
        np.testing.assert_allclose(pipe.params_, expected.params_, rtol=1e-7, atol=1e-10)


def test_text():
    rng = np.random.default_rng(0)
    words = np.array(["good", "bad", "film", "plot", "end"])
    X = [" ".join(rng.choice(words, 6)) for _ in range(80)]
    y = np.array([text.count("good") - text.count("bad") for text in X]).clip(0)
    # Without smoothing copies of all texts leave the weights of words as they are.
    vectorizer = TfidfVectorizer(smooth_idf=False)
    pipe = make_pipeline(vectorizer, PoissonRegressor(**NEWTON)).fit(X, y)
    check_whole_fit(pipe, X, y)
    check_derivative(pipe, X, y, pipe.influence_loss(X[:5], y[:5]))
    assert pipe.param_names() == [*(f"coef[{w}]" for w in sorted(words)), "intercept"]


@pytest.mark.parametrize("make", [list, np.array, pd.Series, pd.Series.to_frame])
def test_text_in_any_container(make):
    rng = np.random.default_rng(0)
    X = [" ".join(rng.choice(["good", "bad", "film", "plot"], 5)) for _ in range(60)]
    y = np.array([text.count("good") for text in X])
    steps = [TfidfVectorizer(), StandardScaler(with_mean=False)]
    if make is pd.Series.to_frame:
        X = pd.Series(X, name="text")
        steps[0] = make_column_transformer((steps[0], "text"))
    pipe = make_pipeline(*steps, PoissonRegressor(**NEWTON)).fit(make(X), y)
    check_whole_fit(pipe, make(X), y)


def test_a_word_that_a_sample_alone_has():
    X = ["good film", "bad film", "good plot", "bad end", "film plot", "good end", "rare film"]
    y = np.array([3, 0, 4, 1, 2, 3, 2])
    pipe = make_pipeline(TfidfVectorizer(), PoissonRegressor(alpha=0.1, **NEWTON)).fit(X, y)
    without = clone(pipe).fit(X[:-1], y[:-1])
    loss = pipe.leave_out_loss(X, y, [[6]], method="exact")[:, 0]
    np.testing.assert_allclose(loss, without.sample_loss(X, y), rtol=1e-8)
    told = "Without row 6 there is no feature rare; its parameter is NaN.$"
    with pytest.warns(InfluenceWarning, match=told):
        params = pipe.leave_out_params([[6]], method="exact")[0]
    names = pipe.param_names()
    assert [names[j] for j in np.flatnonzero(np.isnan(params))] == ["coef[rare]"]
    np.testing.assert_allclose(params[~np.isnan(params)], without.params_, rtol=1e-7)
    assert "coef[rare]" not in pipe.remove_samples([6]).param_names()


def test_columns_by_type():
    X, y = people(pd.DataFrame)
    columns = make_column_transformer(
        (OneHotEncoder(), make_column_selector(dtype_exclude="number")),
        remainder="passthrough",
    )
    pipe = make_pipeline(columns, LogisticRegression()).fit(X, y)
    assert pipe.param_names()[0] == "coef[onehotencoder__city_Bern]"
    # Only categories were learned, and the rest of the samples has all of them.
    last = clone(pipe[-1]).fit(pipe[:-1].transform(X), y)
    np.testing.assert_array_equal(
        pipe.influence_loss(X[:5], y[:5]),
        last.influence_loss(pipe[:-1].transform(X[:5]), y[:5]),
    )
    kept = np.arange(len(y)) != 3
    without = clone(pipe).set_params(logisticregression__tol=1e-10).fit(X[kept], y[kept])
    found = pipe.leave_out_loss(X[:5], y[:5], [[3]], method="exact")[:, 0]
    np.testing.assert_allclose(found, without.sample_loss(X[:5], y[:5]), rtol=1e-6)


@pytest.mark.parametrize("last", [LogisticRegression(), "vote"])
def test_a_function_that_mixes_samples_is_named_with_the_number(last):
    X, y = load_iris(return_X_y=True)
    X = X[:, :2]
    if last == "vote":
        last = VotingClassifier([("a", LogisticRegression())], voting="soft")
    for function, warns in ((lambda X: X - X.mean(axis=0), True), (np.log1p, False)):
        pipe = make_pipeline(FunctionTransformer(function), clone(last)).fit(X, y)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", InfluenceWarning)
            pipe.leave_out_loss(X[:2], y[:2], [[0]])
        found = [
            str(one.message) for one in caught if "FunctionTransformer" in str(one.message)
        ]
        assert len(found) == warns
        assert all(re.search(r"relative difference 0\.\d+\)", one) for one in found)
