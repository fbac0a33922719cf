"""A pipeline's influence and removal are those of its whole fit, every step included.

Removal equals scikit-learn's fit of the pipeline without the rows. Influence equals the
derivative in the multiplicity of a row: m copies of all rows, with one copy of a row more or
less, extrapolated to m without end.
"""

from typing import NamedTuple

import numpy as np
import pytest
from sklearn import linear_model, pipeline
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.kernel_approximation import Nystroem
from sklearn.preprocessing import (
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    SplineTransformer,
    StandardScaler,
)

import skinfluence.linear_model
from skinfluence.pipeline import Pipeline


class Case(NamedTuple):
    """Transformers before a model, and how exact their influence can be tested."""

    name: str
    steps: list
    missing: bool = False
    influence: float | None = 1e-3


CASES = [
    Case("scaler", [StandardScaler()]),
    Case("scaler-without-mean", [StandardScaler(with_mean=False)]),
    Case("min-max", [MinMaxScaler()]),
    Case("max-abs", [MaxAbsScaler()]),
    Case("robust", [RobustScaler()]),
    Case("imputer-scaler", [SimpleImputer(add_indicator=True), StandardScaler()], True),
    Case("median-scaler", [SimpleImputer(strategy="median"), StandardScaler()], True),
    Case("scaler-pca", [StandardScaler(), PCA(4)]),
    Case("scaler-pca-scaler", [StandardScaler(), PCA(4, whiten=True), StandardScaler()]),
    Case("scaler-svd", [StandardScaler(), TruncatedSVD(4, algorithm="arpack")]),
    Case("power", [PowerTransformer()]),
    Case("scaler-polynomial", [StandardScaler(), PolynomialFeatures(2, include_bias=False)]),
    Case("scaler-normalizer", [StandardScaler(), Normalizer()]),
    Case("splines", [SplineTransformer(n_knots=4, knots="uniform")]),
    Case("bins", [KBinsDiscretizer(4, encode="onehot-dense", quantile_method="linear")]),
    Case("quantiles", [QuantileTransformer(n_quantiles=11)], influence=None),
    Case("selection-scaler", [SelectKBest(k=4), StandardScaler()]),
    Case(
        "unknown", [StandardScaler(), Nystroem(n_components=10, random_state=0)], False, None
    ),
    Case(
        "four-steps",
        [SimpleImputer(), StandardScaler(), PolynomialFeatures(2), StandardScaler()],
        True,
    ),
]
each_case = {"argnames": "case", "argvalues": CASES, "ids": [case.name for case in CASES]}

TIGHT = {"tol": 1e-12, "max_iter": 100_000}
MODELS = {
    "LogisticRegression": {"C": 0.5, "solver": "newton-cholesky", **TIGHT},
    "Ridge": {"alpha": 1.0, "solver": "cholesky"},
    "PoissonRegressor": {"alpha": 0.1, "solver": "newton-cholesky", **TIGHT},
    "Lasso": {"alpha": 0.5, **TIGHT},
}
GROUPS = [[3], [11, 17], list(range(20, 50)), [5]]


def data(model, missing=False):
    """Return 121 samples of six features for a model.

    With an odd number of observed values in each column, because a median between two rows
    has no derivative in how often they occur.
    """
    if model == "LogisticRegression":
        X, y = load_breast_cancer(return_X_y=True)
        X, y = X[100:221, :6], y[100:221]
    else:
        X, y = load_diabetes(return_X_y=True)
        X, y = X[:121, [0, 2, 3, 4, 6, 9]] * 10 + 2, y[:121]
        y = np.round(y / 50) if model == "PoissonRegressor" else y
    if missing:
        X = X.copy()
        rng = np.random.default_rng(0)
        for column in X.T:
            column[rng.choice(len(X), 10, replace=False)] = np.nan
    return X, y


def fit(case, model, X, y, of=skinfluence.linear_model):
    """Return a pipeline of ours, or of scikit-learn's classes, fitted."""
    steps = [(f"step{i}", clone(step)) for i, step in enumerate(case.steps)]
    final = getattr(of, model)(**MODELS[model])
    kind = Pipeline if of is skinfluence.linear_model else pipeline.Pipeline
    return kind([*steps, ("model", final)]).fit(X, y)


def prediction(pipe, X):
    """Return a smooth response of scikit-learn's pipeline."""
    if hasattr(pipe, "decision_function"):
        return pipe.decision_function(X)
    return pipe.predict(X)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(**each_case)
def test_exact_removal_is_the_refit_of_the_pipeline(case, model):
    X, y = data(model, case.missing)
    pipe = fit(case, model, X, y)
    response = "decision_function" if model == "LogisticRegression" else "predict"
    exact, newton = (
        pipe.leave_out_loss(X[:7], y[:7], GROUPS, method=method)
        for method in ("exact", "newton")
    )
    before = pipe.sample_loss(X[:7], y[:7])
    rest = np.setdiff1d(np.arange(len(y)), np.concatenate(GROUPS))
    groups = [*GROUPS, rest]
    left_out = pipe.leave_out_predict(groups, method="exact", response_method=response)
    for g, rows in enumerate(GROUPS):
        X_without, y_without = np.delete(X, rows, axis=0), np.delete(y, rows)
        theirs = fit(case, model, X_without, y_without, linear_model)
        ours = fit(case, model, X_without, y_without)
        change = prediction(theirs, X[rows]) - prediction(pipe, X[rows])
        error = np.abs(left_out[rows] - prediction(theirs, X[rows])).max()
        assert error <= 1e-6 * np.abs(change).max()
        loss = ours.sample_loss(X[:7], y[:7])
        scale = np.abs(loss - before).max()
        assert np.abs(exact[:, g] - loss).max() <= 1e-6 * scale
        assert np.abs(newton[:, g] - loss).max() <= 0.05 * scale


def multiplied(case, model, X, y, row, copies, change):
    """Return scikit-learn's pipeline on copies of all rows and one copy of a row more or less.

    With the penalty in proportion, as if each copy weighed 1/copies.
    """
    index = np.tile(np.arange(len(y)), copies)
    index = np.append(index, row) if change > 0 else np.delete(index, row)
    params = dict(MODELS[model])
    if model == "LogisticRegression":
        params["C"] = params["C"] / copies
    if model == "Ridge":
        params["alpha"] = params["alpha"] * copies
    steps = [(f"step{i}", clone(step)) for i, step in enumerate(case.steps)]
    final = getattr(linear_model, model)(**params)
    return pipeline.Pipeline([*steps, ("model", final)]).fit(X[index], y[index])


def derivative(case, model, X, y, row, read):
    """Return n d read / d(multiplicity of a row), extrapolated from two numbers of copies."""
    estimates = []
    for copies in (8, 16):
        above, below = (
            read(multiplied(case, model, X, y, row, copies, change)) for change in (1, -1)
        )
        estimates.append(len(y) * copies * (above - below) / 2)
    return (4 * estimates[1] - estimates[0]) / 3


@pytest.mark.parametrize("model", ["LogisticRegression", "Ridge", "PoissonRegressor"])
@pytest.mark.parametrize(**each_case)
def test_influence_is_the_derivative_in_the_multiplicity_of_a_row(case, model):
    X, y = data(model, case.missing)
    pipe = fit(case, model, X, y)
    if case.influence is None:
        pytest.skip("the oracle of copies does not apply, see the stages' own tests")
    found = pipe.influence_prediction(X[:4])
    losses = pipe.influence_loss(X[:4], y[:4])
    scale = np.abs(found).max(axis=1)
    for row in (2, 40, 77):
        expected = derivative(case, model, X, y, row, lambda p: prediction(p, X[:4]))
        assert np.all(np.abs(found[:, row] - expected) <= case.influence * scale)
    slope = losses / np.where(found == 0, np.inf, found)
    # The loss of a query moves with its prediction alone.
    spread = np.ptp(slope, axis=1)
    assert np.all(spread <= 1e-6 * np.abs(slope).max(axis=1))


@pytest.mark.parametrize("model", ["LogisticRegression", "Ridge"])
@pytest.mark.parametrize(**each_case)
def test_methods_agree(case, model):
    X, y = data(model, case.missing)
    pipe = fit(case, model, X, y)
    if case.name == "unknown":
        pytest.skip("has no influence")
    whole = pipe.influence_loss(X, y)
    np.testing.assert_allclose(pipe.self_influence(), whole.diagonal(), rtol=1e-7, atol=1e-9)
    chunks = np.concatenate(list(pipe.influence_loss_chunked(X, y)))
    np.testing.assert_allclose(chunks, whole, rtol=1e-8, atol=1e-10)
    average = pipe.influence_loss(X, y, average=True)
    size = np.abs(whole).max()
    np.testing.assert_allclose(average, whole.mean(axis=0), rtol=1e-7, atol=1e-10 * size)
    values, indices = pipe.influential_samples(X[:3], y[:3], 5)
    np.testing.assert_array_equal(
        indices, np.argsort(-np.abs(whole[:3]), kind="stable")[:, :5]
    )
    np.testing.assert_allclose(values, np.take_along_axis(whole[:3], indices, 1), rtol=1e-7)
    # First-order removal is the influence.
    params = pipe.leave_out_params([[3]], method="influence")
    moved = pipe.params_ - pipe.influence_params()[3] / len(y)
    np.testing.assert_allclose(params[0], moved, rtol=1e-6, atol=1e-8)
