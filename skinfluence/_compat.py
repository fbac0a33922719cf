"""The only module that uses names scikit-learn does not document.

Each name is listed with a reason, so that a new scikit-learn release needs checks in one
file only.
"""

from inspect import signature

# Predictions for linear classifiers with scikit-learn's own checks and messages. All public
# classes with these methods also define a `fit`.
import numpy as np
import sklearn
from scipy.sparse import csr_matrix

# Which arrays follow the array API standard, with the library's namespace and device. The
# package array-api-compat need not be installed.
from sklearn.externals import array_api_compat
from sklearn.linear_model._base import LinearClassifierMixin

# Copies an array from its device to NumPy; each library has its own way.
from sklearn.utils._array_api import _convert_to_numpy as convert_to_numpy

# Compares versions as scikit-learn does; the packaging library may not be installed.
from sklearn.utils.fixes import parse_version

# Combines the decision values for all pairs into one decision value per class.
from sklearn.utils.multiclass import _ovr_decision_function as one_vs_one_decision

# Broadcasts a scalar weight and checks length and finiteness, with scikit-learn's own
# messages. There is no public equivalent.
from sklearn.utils.validation import _check_sample_weight

#: Whether LinearRegression's `tol` decides which directions in dense features are null.
TOL_DECIDES_RANK = parse_version(sklearn.__version__) >= parse_version("1.9")
#: Whether discriminant analysis by "svd" has unbiased covariances, over n - K or n_k - 1.
UNBIASED_SCATTER = parse_version(sklearn.__version__) < parse_version("1.9")
#: The attribute with the version of scikit-learn that fitted an estimator from a pickle.
FITTED_BY = "_sklearn_of_fit"

__all__ = [
    "FITTED_BY",
    "TOL_DECIDES_RANK",
    "UNBIASED_SCATTER",
    "LinearClassifierMixin",
    "WeightedScorer",
    "check_sample_weight",
    "convert_to_numpy",
    "drawn_from",
    "draws_by_weight",
    "fitted_gamma",
    "has_several_labels",
    "has_unbiased_scatter",
    "is_array_api_obj",
    "namespace",
    "one_vs_one_decision",
    "place",
    "rank_cutoff",
    "rank_unit",
    "scores_with_weights",
    "target_scale",
    "write_libsvm",
    "write_target_scale",
]


def check_sample_weight(sample_weight, X, **kwargs):
    """Check weights as scikit-learn does; reject all zeros, which it accepts before 1.9."""
    weight = _check_sample_weight(sample_weight, X, **kwargs)
    if not weight.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return weight


def is_array_api_obj(array):
    """Return whether an array follows the array API standard; dask arrays do not count."""
    return array_api_compat.is_array_api_obj(array) and not array_api_compat.is_dask_array(
        array
    )


def namespace(array):
    """Return the namespace of an array's library."""
    return array_api_compat.array_namespace(array)


def place(array):
    """Return the device of an array."""
    return array_api_compat.device(array)


def draws_by_weight(bagging):
    """Return whether a fitted bagging ensemble uses sample weights for its draws alone.

    Older versions of scikit-learn pass them on to the members.
    """
    return hasattr(bagging, "_sample_weight")


def drawn_from(bagging):
    """Return (n, sample_weight) from which a fitted bagging ensemble drew its rows.

    The weights are None if there were none.
    """
    return bagging._n_samples, getattr(bagging, "_sample_weight", None)


def scores_with_weights(scorer):
    """Return whether a scorer takes sample_weight, if necessary from its signature."""
    if hasattr(scorer, "_accept_sample_weight"):
        return scorer._accept_sample_weight()
    return "sample_weight" in signature(scorer).parameters


def has_unbiased_scatter(discriminant):
    """Return `UNBIASED_SCATTER` for the version that fitted a discriminant analysis."""
    version = vars(discriminant).get(FITTED_BY, sklearn.__version__)
    return parse_version(version) < parse_version("1.9")


def rank_unit(estimator):
    """Return the argument `unit` of `rank_cutoff` for a fitted LinearRegression."""
    if TOL_DECIDES_RANK:
        return float(estimator.tol)
    return float(np.finfo(np.asarray(estimator.coef_).dtype).eps)


def rank_cutoff(unit, n_rows, n_features):
    """Return the largest singular value, relative to the first, for a null direction.

    Before 1.9 LinearRegression computes it from the shape and the precision of dense
    features. The coefficients have the same precision.
    """
    return unit if TOL_DECIDES_RANK else unit * max(n_rows, n_features)


def fitted_gamma(estimator):
    """Return the gamma of a fitted SVC or SVR as a number, or None if it is not known.

    `fit` computes 'scale' from the training rows, which may not be available afterwards.
    """
    return getattr(estimator, "_gamma", None)


def has_several_labels(ridge):
    """Return whether a ridge classifier was fitted to an indicator matrix.

    Its `classes_` are then the labels' positions, which classes may also be.
    """
    binarizer = getattr(ridge, "_label_binarizer", None)
    return getattr(binarizer, "y_type_", "").startswith("multilabel")


def target_scale(process):
    """Return the mean and the deviation that a fitted Gaussian process gives its targets."""
    return process._y_train_mean, process._y_train_std


def write_target_scale(process, mean, deviation):
    """Write the mean and the deviation of the targets into a fitted Gaussian process."""
    process._y_train_mean, process._y_train_std = np.asarray(mean), np.asarray(deviation)


class WeightedScorer:
    """A scorer that takes sample_weight; a multi-metric search asks each scorer."""

    def _accept_sample_weight(self):
        return True


def write_libsvm(estimator, coef, intercept, X, codes, kernel, gamma=None):
    """Write new dual coefficients into a fitted SVC or SVR.

    libsvm's prediction code uses both public and private attributes, and scikit-learn has no
    public method to change them.

    Parameters
    ----------
    estimator : SVC or SVR
        The fitted estimator.
    coef : ndarray of shape (n_problems, n)
        Dual coefficients for all training rows.
    intercept : ndarray of shape (n_problems,)
        Intercepts.
    X : ndarray or sparse matrix of shape (n, n_features)
        The training rows.
    codes : ndarray of shape (n,) or None
        The rows' class codes; None for regression.
    kernel : str or callable
        The kernel used in the fit.
    gamma : float or None, default=None
        The kernel's coefficient; None to keep it.
    """
    if gamma is not None:
        estimator._gamma = gamma
    support = np.flatnonzero(coef.any(axis=0))
    n_classes = 0 if codes is None else len(estimator.classes_)
    if codes is not None:
        support = support[np.argsort(codes[support], kind="stable")]
    if n_classes <= 2:
        dual = coef[:, support]
    else:
        dual = np.zeros((n_classes - 1, len(support)))
        label = codes[support]
        for k, (i, j) in enumerate(zip(*np.triu_indices(n_classes, 1), strict=True)):
            dual[j - 1, label == i] = coef[k, support[label == i]]
            dual[i, label == j] = coef[k, support[label == j]]
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
    """Return a CSR matrix that also stores zeros, as libsvm expects."""
    k, n = dense.shape
    columns, ends = np.tile(np.arange(n), k), np.arange(k + 1) * n
    return csr_matrix((dense.ravel(), columns, ends), shape=(k, n))
