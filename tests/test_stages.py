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
from sklearn.preprocessing import StandardScaler

from skinfluence.stages import STAGES, make_stage
from skinfluence.stages.base import dense


class Case(NamedTuple):
    """A transformer and the data that it is tried on."""

    name: str
    transformer: object
    data: object


def numeric():
    X, y = load_diabetes(return_X_y=True)
    return 10 * X[:40, :5] + np.arange(5), y[:40]


def missing():
    X, y = numeric()
    X[np.random.default_rng(0).random(X.shape) < 0.1] = np.nan
    return X, y


def sparse_rows():
    X, y = numeric()
    return sparse.csr_array(np.where(X > X.mean(axis=0), X, 0.0)), y


CASES = [
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
    """Return the derivative of value(X, y) in the multiplicity of a row."""
    estimates = []
    for copies in (32, 64):
        above, below = (value(*repeated(X, y, row, copies, change)) for change in (1, -1))
        estimates.append(copies * (above - below) / 2)
    return (4 * estimates[1] - estimates[0]) / 3


@pytest.mark.parametrize(**each_case)
def test_statistics_move_with_the_multiplicity_of_a_row(case):
    stage, X, y = fitted(case)
    output = stage.transformer.transform(X)
    B = cotangent_for(output)
    found = stage.row_influence(stage.pull_statistics(stage.X, B))

    def value(X_again, y_again):
        return product(B, clone(case.transformer).fit(X_again, y_again).transform(X))

    scale = np.abs(found).max()
    for row in ROWS:
        assert abs(found[row] - derivative(value, X, y, row)) <= 1e-5 * scale


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
    step, scale = 1e-6, np.abs(direct + through_fit).max()
    for i, j in zip(*np.nonzero(np.nan_to_num(values)), strict=True):
        if (i + j) % 7:
            continue
        moved = []
        for sign in (1, -1):
            changed = X.copy()
            changed[i, j] += sign * step
            again = clone(case.transformer).fit(changed, y)
            moved.append(
                [product(B, t.transform(changed)) for t in (stage.transformer, again)]
            )
        frozen, whole = (np.array(moved[0]) - np.array(moved[1])) / (2 * step)
        assert abs(direct[i, j] - frozen) <= 1e-6 * scale
        assert abs(direct[i, j] + through_fit[i, j] - whole) <= 1e-6 * scale


def test_every_stage_has_a_case():
    assert {type(case.transformer) for case in CASES} >= set(STAGES)
