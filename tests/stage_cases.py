"""Stages of numbers, and the data at which each is differentiated."""

from typing import NamedTuple

import numpy as np
from scipy import sparse
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import (
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    SplineTransformer,
    StandardScaler,
)

from tests.stages import (
    missing,
    numeric,
    sparse_rows,
)


class Case(NamedTuple):
    """A transformer and the data that it is tried on."""

    name: str
    transformer: object
    data: object
    # Which entries are moved, of the rows; None for every seventh.
    entries: object = None
    # Relative to the largest; larger if the fit itself has fewer digits.
    tolerance: float = 1e-5
    input_tolerance: float = 1e-6
    # By how much an entry is moved for a fit.
    step: float = 1e-6
    # Turns statistics fitted to copies into those fitted to multiplicities.
    adjust: object = None


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
    """Return rows with the number -9 for missing values."""
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


def wide():
    """Return more columns than rows."""
    rng = np.random.default_rng(4)
    X = rng.standard_normal((25, 30)) + np.arange(30) / 10
    return X * np.geomspace(8, 0.3, 30), rng.standard_normal(25)


def wide_sparse():
    X, y = wide()
    return sparse.csr_array(np.where(X > 0.6, X, 0.0)), y


def positive():
    X, y = distinct()
    return np.exp(X[:, :3] / 4), y


def positive_missing():
    X, y = distinct_missing()
    return np.exp(X[:, :3] / 4), y


def few(X):
    chosen = np.zeros(X.shape, dtype=bool)
    chosen[::6, ::7] = True
    return chosen


def count_multiplicities(pca, n_rows, copies):
    """Take the variances of n rows over n - 1, where n is the sum of the multiplicities."""
    n = n_rows / copies
    pca.explained_variance_ *= (n_rows - 1) / n_rows * n / (n - 1)


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


whitened = {"adjust": count_multiplicities}


DECOMPOSITION_CASES = [
    Case("pca", PCA(2), numeric),
    Case("pca-all", PCA(), distinct),
    Case("pca-share", PCA(0.8, svd_solver="full"), numeric),
    Case("pca-covariance", PCA(3, svd_solver="covariance_eigh"), numeric),
    Case("pca-arpack", PCA(2, svd_solver="arpack", random_state=0), numeric),
    Case("pca-whiten", PCA(2, whiten=True), numeric, **whitened),
    Case("pca-wide", PCA(3), wide, few),
    Case("pca-wide-whiten", PCA(2, whiten=True), wide, few, **whitened),
    Case("pca-sparse", PCA(2, svd_solver="covariance_eigh"), distinct_sparse),
    Case("pca-wide-sparse", PCA(2, svd_solver="arpack", random_state=0), wide_sparse, few),
    Case("svd-arpack", TruncatedSVD(2, algorithm="arpack", random_state=0), numeric),
    Case("svd-all", TruncatedSVD(4, random_state=0), distinct),
    Case("svd-sparse", TruncatedSVD(2, algorithm="arpack", random_state=0), distinct_sparse),
    Case("svd-wide", TruncatedSVD(3, random_state=0, n_oversamples=30), wide, few),
    Case("svd-wide-sparse", TruncatedSVD(2, algorithm="arpack"), wide_sparse, few),
]


# scikit-learn finds the power to about 1e-8 only, which the differences of fits divide by
# small changes. On training rows, an entry's direct effect and that through the fit nearly
# cancel.
searched = {"entries": few, "tolerance": 1e-4, "input_tolerance": 3e-4, "step": 3e-3}


POWER_CASES = [
    Case("yeo-johnson", PowerTransformer(), distinct, **searched),
    Case("yeo-johnson-raw", PowerTransformer(standardize=False), distinct, **searched),
    Case("yeo-johnson-missing", PowerTransformer(), distinct_missing, **searched),
    Case("box-cox", PowerTransformer(method="box-cox"), positive, **searched),
    Case(
        "box-cox-raw",
        PowerTransformer(method="box-cox", standardize=False),
        positive_missing,
        **searched,
    ),
]


QUANTILE_CASES = [
    Case("quantile", QuantileTransformer(n_quantiles=10), distinct, every),
    Case("quantile-missing", QuantileTransformer(n_quantiles=8), distinct_missing, every),
    Case(
        "quantile-normal",
        QuantileTransformer(n_quantiles=10, output_distribution="normal"),
        distinct,
        not_extreme,
    ),
    *(
        Case(
            f"bins-{strategy}",
            KBinsDiscretizer(3, encode=encode, strategy=strategy, quantile_method="linear"),
            distinct,
            few,
        )
        for strategy, encode in (
            ("uniform", "onehot"),
            ("quantile", "onehot-dense"),
            ("kmeans", "ordinal"),
        )
    ),
    *(
        Case(
            f"spline-{knots}-{beyond}",
            SplineTransformer(5, knots=knots, extrapolation=beyond),
            distinct,
            not_extreme,
        )
        for knots in ("uniform", "quantile")
        for beyond in ("constant", "linear", "continue", "periodic")
    ),
    Case("spline-1", SplineTransformer(4, degree=1, knots="quantile"), distinct, not_extreme),
    Case(
        "spline-0",
        SplineTransformer(4, degree=0, extrapolation="continue"),
        distinct,
        not_extreme,
    ),
    Case(
        "spline-sparse",
        SplineTransformer(4, degree=2, sparse_output=True),
        distinct,
        not_extreme,
    ),
    Case("spline-unbiased", SplineTransformer(4, include_bias=False), distinct, not_extreme),
    Case(
        "spline-given",
        SplineTransformer(knots=np.linspace(-9, 99, 8)[:, None] + np.arange(4)),
        distinct,
    ),
    Case(
        "spline-missing",
        SplineTransformer(4, handle_missing="zeros"),
        distinct_missing,
        not_extreme,
    ),
]


CASES = [
    *ORDER_CASES,
    *IMPUTE_CASES,
    *DECOMPOSITION_CASES,
    *POWER_CASES,
    *QUANTILE_CASES,
    Case("standard", StandardScaler(), numeric),
    Case("standard-without-mean", StandardScaler(with_mean=False), numeric),
    Case("standard-without-std", StandardScaler(with_std=False), numeric),
    Case("standard-missing", StandardScaler(), missing),
    Case("standard-sparse", StandardScaler(with_mean=False), sparse_rows),
]


each_case = {"argvalues": CASES, "argnames": "case", "ids": [case.name for case in CASES]}


def slope(value, X, i, j, step=1e-6):
    """Return the derivative of value(X) in an entry."""
    values = []
    for sign in (1, -1):
        changed = X.copy()
        changed[i, j] += sign * step
        values.append(value(changed))
    return (values[0] - values[1]) / (2 * step)
