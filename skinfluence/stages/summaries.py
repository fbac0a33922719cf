"""Fits of transformers from summaries of chunks of rows, without all rows in one place.

A summary has what `fit` reads from some rows: moments, extremes or counts of each column.
Summaries of several chunks are joined, and the joined one gives the fitted transformer.
"""

import copy

import numpy as np
from scipy import sparse
from sklearn.base import clone
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, StandardScaler
from sklearn.utils.sparsefuncs import mean_variance_axis

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.stages.base import numbers


def has_summary(step):
    """Return whether a fitted step may be fitted again from summaries."""
    return type(step) in _KINDS and getattr(step, "strategy", "mean") == "mean"


def summarise(step, X):
    """Return the summary of some rows for a step, a tuple of arrays (d,)."""
    return _KINDS[type(step)].of(step, X)


def join(step, summaries):
    """Return the summary of all rows in several summaries."""
    return _KINDS[type(step)].join(summaries)


def fit_from(step, summary):
    """Return a copy of a step fitted on the rows of a summary.

    None if it returns other features than the step.
    """
    return _KINDS[type(step)].fit(step, summary)


class _Moments:
    """Number of observed values in each column, their mean, and their squared distances."""

    @staticmethod
    def of(step, X):
        X = numbers(X)
        if sparse.issparse(X):
            mean, variance = mean_variance_axis(X, axis=0)
            return np.full(X.shape[1], float(X.shape[0])), mean, X.shape[0] * variance
        observed = ~np.isnan(X)
        count = observed.sum(axis=0).astype(np.float64)
        mean = np.where(observed, X, 0.0).sum(axis=0) / np.maximum(count, 1.0)
        apart = np.where(observed, X - mean, 0.0)
        return count, mean, np.sum(apart**2, axis=0)

    @staticmethod
    def join(summaries):
        counts, means, squares = (np.stack(part) for part in zip(*summaries, strict=True))
        count = counts.sum(axis=0)
        mean = (counts * means).sum(axis=0) / np.maximum(count, 1.0)
        return count, mean, (squares + counts * (means - mean) ** 2).sum(axis=0)

    @staticmethod
    def fit(step, summary):
        count, mean, squares = summary
        variance, step = squares / np.maximum(count, 1.0), copy.copy(step)
        if step.mean_ is not None:
            step.mean_ = mean
        if step.scale_ is not None:
            # scikit-learn's bound for the rounding error of a constant column's variance.
            eps = np.finfo(np.float64).eps
            constant = variance <= count * eps * variance + (count * mean * eps) ** 2
            step.var_, step.scale_ = variance, np.where(constant, 1.0, np.sqrt(variance))
        return step


class _ImputerMeans(_Moments):
    """The same for SimpleImputer, and the number of missing values."""

    @staticmethod
    def of(step, X):
        if sparse.issparse(X):
            raise UnsupportedEstimatorError(
                "Removal through SimpleImputer does not take sparse chunks of dask arrays: "
                "call toarray() in them, or freeze it with sklearn.frozen.FrozenEstimator."
            )
        X, value = numbers(X), step.missing_values
        is_nan = isinstance(value, float) and np.isnan(value)
        missing = np.isnan(X) if is_nan else value == X
        count, mean, _ = _Moments.of(step, np.where(missing, np.nan, X))
        return count, mean, missing.sum(axis=0).astype(np.float64)

    @staticmethod
    def join(summaries):
        count, mean, _ = _Moments.join(summaries)
        return count, mean, np.sum([missing for _, _, missing in summaries], axis=0)

    @staticmethod
    def fit(step, summary):
        (count, mean, missing), step = summary, copy.copy(step)
        empty = 0.0 if step.keep_empty_features else np.nan
        statistics, present = np.where(count > 0, mean, empty), step.statistics_
        step.statistics_ = statistics
        indicator = step.indicator_
        same = np.array_equal(np.isnan(statistics), np.isnan(present))
        if indicator is not None and indicator.features == "missing-only":
            same = same and np.array_equal(np.flatnonzero(missing), indicator.features_)
        return step if same else None


class _Extremes:
    """Rows with the extremes of each column. A scaler has the same fit on them."""

    @staticmethod
    def of(step, X):
        scaler = clone(step).fit(X)
        if isinstance(step, MaxAbsScaler):
            return (scaler.max_abs_,)
        return scaler.data_min_, scaler.data_max_

    @staticmethod
    def join(summaries):
        low, *high = (np.stack(part) for part in zip(*summaries, strict=True))
        if not high:
            return (np.nanmax(low, axis=0),)
        return np.nanmin(low, axis=0), np.nanmax(high[0], axis=0)

    @staticmethod
    def fit(step, summary):
        again = copy.copy(step)  # with the names of its features
        vars(again).update(vars(clone(step).fit(np.stack(summary))))
        return again


class _DocumentFrequencies:
    """Number of rows, and number of rows with each word."""

    @staticmethod
    def of(step, X):
        X = sparse.csr_array(X)
        return np.array([X.shape[0]]), np.bincount(X.indices, minlength=X.shape[1])

    @staticmethod
    def join(summaries):
        return tuple(np.sum(part, axis=0) for part in zip(*summaries, strict=True))

    @staticmethod
    def fit(step, summary):
        if not step.use_idf:
            return step
        (count, frequency), step = summary, copy.copy(step)
        smooth = float(step.smooth_idf)
        step.idf_ = np.log((count + smooth) / (frequency + smooth)) + 1.0
        return step


_KINDS = {
    MaxAbsScaler: _Extremes,
    MinMaxScaler: _Extremes,
    SimpleImputer: _ImputerMeans,
    StandardScaler: _Moments,
    TfidfTransformer: _DocumentFrequencies,
}
