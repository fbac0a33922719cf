"""Every stage has the derivative of scikit-learn's own fit in the multiplicity of each row.

The oracle needs no sample weights: with m copies of the data, one copy of a row more or less
changes its multiplicity by 1/m. The differences are extrapolated to small changes.
"""

from typing import NamedTuple

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.stages import STAGES, make_stage
from skinfluence.stages.base import dense


class Case(NamedTuple):
    """A transformer and the data that it is tried on."""

    name: str
    transformer: object
    data: object
    # Which entries are moved, of the rows; None for every seventh.
    entries: object = None
    # How much less digits the fit itself leaves than the differences need.
    looser: float = 1.0
    # By how much an entry is moved.
    step: float = 1e-6
    # Changes what was fitted to copies into what was fitted to multiplicities.
    adjust: object = None


def numeric():
    X, y = load_diabetes(return_X_y=True)
    return 10 * X[:40, :5] + np.arange(5), y[:40]


def missing():
    X, y = numeric()
    X[np.random.default_rng(0).random(X.shape) < 0.1] = np.nan
    return X, y


def sparse_rows():
    X, y = numeric()
    return sparse.csr_array(np.where(X.mean(axis=0) < X, X, 0.0)), y


def distinct():
    """Return 41 rows, so that n f is no whole number at the quantiles f that are tried.

    Where it is one, a quantile jumps with the multiplicity of a row, see `OrderStatistics`.
    """
    rng = np.random.default_rng(1)
    X = rng.standard_normal((41, 4)) + np.arange(4)
    X[:, 3] = np.exp(X[:, 3])
    return X, rng.standard_normal(41)


def distinct_missing():
    """Return rows of which 41 are observed in every column."""
    X, _ = distinct()
    for j in range(X.shape[1]):
        X = np.insert(X, 3 * j + 2, np.nan, axis=0)
    rng = np.random.default_rng(2)
    for j in range(X.shape[1]):
        X[:, j] = rng.permutation(X[:, j])
    return X, rng.standard_normal(len(X))


def missing_column():
    X, y = distinct_missing()
    X[:, 1] = np.nan
    return X, y


def coded_missing():
    """Return rows with the number -9 for what is missing."""
    X, y = distinct_missing()
    return np.nan_to_num(X, nan=-9.0), y


def with_mode():
    """Return rows whose columns have a most frequent value by a wide margin."""
    rng = np.random.default_rng(3)
    X = rng.choice([1.0, 2.0, 5.0], p=[0.2, 0.6, 0.2], size=(40, 3))
    X[rng.random(X.shape) < 0.2] = np.nan
    return X, rng.standard_normal(40)


def distinct_sparse():
    X, y = distinct()
    return sparse.csr_array(np.where(X > 0.7, X, 0.0)), y


def sparse_missing():
    X, y = distinct_missing()
    return sparse.csr_array(np.where((X > 1.0) | np.isnan(X), X, 0.0)), y


def every(X):
    return np.ones(X.shape, dtype=bool)


def not_extreme(X):
    return (np.nanmin(X, axis=0) < X) & (np.nanmax(X, axis=0) > X)


def not_coded(X):
    return X != -9.0


ORDER_CASES = [
    Case("minmax", MinMaxScaler(feature_range=(-1, 3)), distinct, every),
    Case("minmax-missing", MinMaxScaler(), distinct_missing, every),
    Case("minmax-clip", MinMaxScaler(clip=True), distinct, not_extreme),
    Case("maxabs", MaxAbsScaler(), distinct, every),
    Case("maxabs-missing", MaxAbsScaler(), distinct_missing, every),
    Case("maxabs-sparse", MaxAbsScaler(), distinct_sparse, every),
    Case("robust", RobustScaler(), distinct, every),
    Case("robust-range", RobustScaler(quantile_range=(11, 87)), distinct, every),
    Case("robust-unit", RobustScaler(unit_variance=True), distinct_missing, every),
    Case("robust-without-centering", RobustScaler(with_centering=False), distinct, every),
    Case("robust-without-scaling", RobustScaler(with_scaling=False), distinct, every),
    Case("robust-sparse", RobustScaler(with_centering=False), distinct_sparse, every),
]
IMPUTE_CASES = [
    Case("impute-mean", SimpleImputer(), missing),
    Case("impute-mean-indicator", SimpleImputer(add_indicator=True), missing, every),
    Case("impute-mean-sparse", SimpleImputer(), sparse_missing, every),
    Case("impute-mean-code", SimpleImputer(missing_values=-9.0), coded_missing, not_coded),
    Case("impute-mean-column", SimpleImputer(add_indicator=True), missing_column),
    Case("impute-empty", SimpleImputer(keep_empty_features=True), missing_column),
    Case("impute-median", SimpleImputer(strategy="median"), distinct_missing, every),
    Case("impute-most-frequent", SimpleImputer(strategy="most_frequent"), with_mode),
    Case("impute-constant", SimpleImputer(strategy="constant"), missing),
    Case("impute-median-sparse", SimpleImputer(strategy="median"), sparse_missing, every),
]
CASES = [
    *ORDER_CASES,
    *IMPUTE_CASES,
    Case("standard", StandardScaler(), numeric),
    Case("standard-without-mean", StandardScaler(with_mean=False), numeric),
    Case("standard-without-std", StandardScaler(with_std=False), numeric),
    Case("standard-missing", StandardScaler(), missing),
    Case("standard-sparse", StandardScaler(with_mean=False), sparse_rows),
]
each_case = {"argvalues": CASES, "argnames": "case", "ids": [case.name for case in CASES]}
ROWS = (0, 7, 23)


def fitted(case):
    X, y = case.data()
    transformer = clone(case.transformer).fit(X, y)
    return make_stage(transformer, X, y), X, y


def cotangent_for(rows, seed=0):
    """Return random numbers, with the pattern of the rows if they are sparse."""
    rng = np.random.default_rng(seed)
    if sparse.issparse(rows):
        B = sparse.csr_array(rows, dtype=np.float64)
        B.data = rng.standard_normal(len(B.data))
        return B
    return rng.standard_normal(rows.shape)


def product(B, rows):
    """Return sum(B * rows)."""
    return float(np.nansum(dense(B) * dense(rows)))


def repeated(X, y, row, copies, change):
    """Return `copies` of all rows, with `change` (1 or -1) copies of one row more."""
    index = np.tile(np.arange(len(y)), copies)
    index = np.append(index, row) if change > 0 else np.delete(index, row)
    rows = X.iloc[index] if hasattr(X, "iloc") else X[index]
    return rows, np.asarray(y)[index]


def derivative(value, X, y, row):
    """Return the derivative of value(X, y, copies) in the multiplicity of a row."""
    estimates = []
    for copies in (32, 64):
        above, below = (
            value(*repeated(X, y, row, copies, change), copies) for change in (1, -1)
        )
        estimates.append(copies * (above - below) / 2)
    return (4 * estimates[1] - estimates[0]) / 3


@pytest.mark.parametrize(**each_case)
def test_statistics_move_with_the_multiplicity_of_a_row(case):
    stage, X, y = fitted(case)
    output = stage.transformer.transform(X)
    B = cotangent_for(output)
    found = stage.row_influence(stage.pull_statistics(stage.X, B))

    def value(X_again, y_again, copies):
        again = clone(case.transformer).fit(X_again, y_again)
        if case.adjust is not None:
            case.adjust(again, X_again.shape[0], copies)
        return product(B, again.transform(X))

    scale = np.abs(found).max()
    for row in ROWS:
        expected = derivative(value, X, y, row)
        assert abs(found[row] - expected) <= 1e-5 * scale * case.looser


@pytest.mark.parametrize(**each_case)
def test_inputs_move_the_output(case):
    """Of the transform as fitted, and of the statistics that are fitted to the rows."""
    stage, X, y = fitted(case)
    output = stage.transformer.transform(X)
    B = cotangent_for(output, 1)
    direct = dense(stage.pull_input(stage.X, B))
    through_fit = stage.pull_fit(stage.pull_statistics(stage.X, B))
    through_fit = np.zeros(direct.shape) if through_fit is None else dense(through_fit)
    values = dense(X)
    step, scale = case.step, np.abs(direct + through_fit).max()
    moved_entries = np.add.outer(*map(np.arange, values.shape)) % 7 == 0
    if case.entries is not None:
        moved_entries = case.entries(values)
    for i, j in zip(*np.nonzero(moved_entries & (np.nan_to_num(values) != 0)), strict=True):
        moved = []
        for sign in (1, -1):
            changed = X.copy()
            changed[i, j] += sign * step
            again = clone(case.transformer).fit(changed, y)
            moved.append(
                [product(B, t.transform(changed)) for t in (stage.transformer, again)]
            )
        frozen, whole = (np.array(moved[0]) - np.array(moved[1])) / (2 * step)
        assert abs(direct[i, j] - frozen) <= 1e-6 * scale * case.looser
        assert abs(direct[i, j] + through_fit[i, j] - whole) <= 1e-6 * scale * case.looser


@pytest.mark.parametrize(**each_case)
def test_queries_move_with_the_fit(case):
    """Of rows that lie partly beyond the training rows."""
    stage, X, y = fitted(case)
    queries = stage.X[:15] * 1.4
    output = stage.transformer.transform(queries)
    B = cotangent_for(output, 2)
    direct = dense(stage.pull_input(queries, B))
    through_fit = stage.pull_fit(stage.pull_statistics(queries, B))
    through_fit = np.zeros(X.shape) if through_fit is None else dense(through_fit)
    values = dense(X)
    step = case.step
    chosen = np.add.outer(*map(np.arange, values.shape)) % 5 == 0
    if case.entries is not None:
        chosen &= case.entries(values)
    for i, j in zip(*np.nonzero(chosen & (np.nan_to_num(values) != 0)), strict=True):
        fits, inputs = [], []
        for sign in (1, -1):
            changed = X.copy()
            changed[i, j] += sign * step
            again = clone(case.transformer).fit(changed, y)
            fits.append(product(B, again.transform(queries)))
            if i < queries.shape[0]:
                changed = queries.copy()
                changed[i, j] += sign * step
                inputs.append(product(B, stage.transformer.transform(changed)))
        found = (fits[0] - fits[1]) / (2 * step)
        scale = np.abs(through_fit).max()
        assert abs(through_fit[i, j] - found) <= 1e-6 * max(scale, 1e-3) * case.looser
        if inputs:
            found = (inputs[0] - inputs[1]) / (2 * step)
            scale = np.abs(direct).max()
            assert abs(direct[i, j] - found) <= 1e-6 * scale * case.looser


def test_imputed_strings_have_no_derivative():
    X = np.array([["a"], ["b"], ["a"], [np.nan]], dtype=object)
    imputer = SimpleImputer(strategy="most_frequent").fit(X)
    stage = make_stage(imputer, X)
    assert not stage.takes_numbers
    assert stage.pull_statistics(X, np.ones((4, 1))) is None
    np.testing.assert_array_equal(stage.row_influence(None), np.zeros(4))
    assert stage.training_output()[3, 0] == "a"


def test_an_imputer_by_a_function_is_refused():
    X, y = missing()
    imputer = SimpleImputer(strategy=np.mean).fit(X)
    with pytest.raises(UnsupportedEstimatorError, match="is a function"):
        make_stage(imputer, X, y)


def test_every_stage_has_a_case():
    assert {type(case.transformer) for case in CASES} >= set(STAGES)
