"""What tests of stages share: a few rows, cotangents, and the oracle of copies.

The oracle needs no sample weights: with m copies of the data, one copy of a row more or less
changes its multiplicity by 1/m. The differences are extrapolated to small changes.
"""

import numpy as np
from scipy import sparse
from sklearn.datasets import load_diabetes

from skinfluence.stages.base import dense


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


def check_added(stage, c, X, found):
    """Check that rows equal to training rows, with multiplicity 0, have their influence."""
    added = stage.row_influence(c, stage.added(X))
    np.testing.assert_allclose(added, found, rtol=1e-9, atol=1e-11 * np.abs(found).max())
    assert not stage.outside(X).any()


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
