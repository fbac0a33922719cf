"""The only module that touches names scikit-learn does not document.

Each of them is listed here with the reason, so that a new scikit-learn release is
checked in one place.
"""

from inspect import signature

# Predictions of a linear classifier with scikit-learn's own checks and messages; every
# public class that has them brings a `fit` of its own.
import numpy as np
import sklearn
from scipy.sparse import csr_matrix
from sklearn.linear_model._base import LinearClassifierMixin

# Versions in scikit-learn's own order; the packaging library need not be installed.
from sklearn.utils.fixes import parse_version

# How scikit-learn makes one decision value a class out of those of all pairs.
from sklearn.utils.multiclass import _ovr_decision_function as one_vs_one_decision

# Broadcasts a scalar weight, checks length and finiteness, with scikit-learn's own
# messages; there is no public spelling of it.
from sklearn.utils.validation import _check_sample_weight

#: Whether LinearRegression's `tol` says which directions of dense features count as none.
TOL_DECIDES_RANK = parse_version(sklearn.__version__) >= parse_version("1.9")
#: Whether discriminant analysis by "svd" has unbiased covariances, over n - K or n_k - 1.
UNBIASED_SCATTER = parse_version(sklearn.__version__) < parse_version("1.9")

__all__ = [
    "TOL_DECIDES_RANK",
    "UNBIASED_SCATTER",
    "LinearClassifierMixin",
    "WeightedScorer",
    "check_sample_weight",
    "fitted_gamma",
    "one_vs_one_decision",
    "rank_cutoff",
    "rank_unit",
    "scores_with_weights",
    "write_libsvm",
]


def check_sample_weight(sample_weight, X, **kwargs):
    """Return scikit-learn's checked weights; before 1.9 it takes those that are all zero."""
    weight = _check_sample_weight(sample_weight, X, **kwargs)
    if not weight.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return weight


def scores_with_weights(scorer):
    """Return whether a scorer takes sample_weight, which only the scorer knows."""
    if hasattr(scorer, "_accept_sample_weight"):
        return scorer._accept_sample_weight()
    return "sample_weight" in signature(scorer).parameters


def rank_unit(estimator):
    """Return what a fitted LinearRegression says about directions, for `rank_cutoff`."""
    if TOL_DECIDES_RANK:
        return float(estimator.tol)
    return float(np.finfo(np.asarray(estimator.coef_).dtype).eps)


def rank_cutoff(unit, n_rows, n_features):
    """Return the singular value, relative to the first, up to which a direction is none.

    Before 1.9 LinearRegression computes it from the shape of dense features and their
    precision, which its coefficients have too.
    """
    return unit if TOL_DECIDES_RANK else unit * max(n_rows, n_features)


def fitted_gamma(estimator):
    """Return gamma as a fitted SVC or SVR uses it, None before 'scale' is a number.

    It is computed from the rows of `fit`, which the estimator may not have been given since.
    """
    return getattr(estimator, "_gamma", None)


class WeightedScorer:
    """A scorer that takes sample_weight; a search of several metrics asks each scorer."""

    def _accept_sample_weight(self):
        return True


def write_libsvm(estimator, coef, intercept, X, codes, kernel):
    """Put other dual coefficients into a fitted SVC or SVR.

    libsvm's attributes, public and private, are a model that its prediction code reads;
    scikit-learn has no public way to change one.

    Parameters
    ----------
    estimator : SVC or SVR
        The fitted estimator.
    coef : ndarray of shape (n_problems, n)
        Dual coefficients of all training rows.
    intercept : ndarray of shape (n_problems,)
        Intercepts.
    X : ndarray or sparse matrix of shape (n, n_features)
        The training rows.
    codes : ndarray of shape (n,) or None
        Class codes of the rows; None for regression.
    kernel : str or callable
        The kernel of the fit.
    """
    support = np.flatnonzero(coef.any(axis=0))
    n_classes = 0 if codes is None else len(estimator.classes_)
    if codes is not None:
        support = support[np.argsort(codes[support], kind="stable")]
    if n_classes <= 2:
        dual = coef[:, support]
    else:
        dual = np.zeros((n_classes - 1, len(support)))
        own = codes[support]
        for k, (i, j) in enumerate(zip(*np.triu_indices(n_classes, 1), strict=True)):
            dual[j - 1, own == i] = coef[k, support[own == i]]
            dual[i, own == j] = coef[k, support[own == j]]
    sign = -1.0 if n_classes == 2 else 1.0  # libsvm's first class is scikit-learn's second
    estimator.support_ = support.astype(np.int32)
    if kernel == "precomputed" or callable(kernel):
        estimator.support_vectors_ = np.empty((0, 0))
    elif estimator._sparse:
        estimator.support_vectors_ = csr_matrix(X[support], dtype=np.float64)
    else:
        estimator.support_vectors_ = np.array(X[support], dtype=np.float64, order="C")
    as_fitted = _full_csr if estimator._sparse else np.ascontiguousarray
    estimator.dual_coef_, estimator._dual_coef_ = as_fitted(dual), as_fitted(sign * dual)
    estimator.intercept_, estimator._intercept_ = intercept.copy(), sign * intercept
    if n_classes:
        counts = np.bincount(codes[support], minlength=n_classes)
        estimator._n_support = counts.astype(np.int32)
    else:
        estimator._n_support = np.array([len(support), len(support)], dtype=np.int32)
    estimator.shape_fit_ = (X.shape[0], *estimator.shape_fit_[1:])
    if kernel == "precomputed":
        estimator.shape_fit_ = X.shape
    if callable(kernel):
        estimator._BaseLibSVM__Xfit = X


def _full_csr(dense):
    """Return a CSR matrix that stores every entry, zeros too, as libsvm reads it."""
    k, n = dense.shape
    columns, ends = np.tile(np.arange(n), k), np.arange(k + 1) * n
    return csr_matrix((dense.ravel(), columns, ends), shape=(k, n))
