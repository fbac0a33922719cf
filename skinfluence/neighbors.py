"""Nearest centroid classifier of scikit-learn with influence."""

from sklearn import neighbors

from skinfluence.methods import UnweightedMixin
from skinfluence.moments import MomentMixin
from skinfluence.moments.gaussian import CentroidMoments

__all__ = ["NearestCentroid"]


class NearestCentroid(UnweightedMixin, MomentMixin, neighbors.NearestCentroid):
    """Nearest centroid classifier of scikit-learn with influence functions.

    Parameters, attributes and fit are those of :class:`sklearn.neighbors.NearestCentroid`. The
    objective is the sum of squared distances, whose minimum has a closed form: the class means
    c_k. With the features' within-class standard deviations s_j, class k has the decision
    function::

        2 log pi_k - sum_j (x_j - c_kj)^2 / s_j^2

    `params_` contains `centroids_`, `within_class_std_dev_` and `class_prior_`. The loss is
    the log loss for `predict_proba`, which is the decision function's softmax. There are no
    sample weights: influence is the derivative in a sample's multiplicity. The metric must
    be "euclidean", without `shrink_threshold`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skinfluence.neighbors import NearestCentroid
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = NearestCentroid().fit(X, y)
    >>> clf.influence_loss(X[:2], y[:2]).shape
    (2, 150)
    """

    _moments = CentroidMoments
    _row_checks = {"accept_sparse": "csr"}
