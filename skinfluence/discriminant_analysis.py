"""Linear and quadratic discriminant analysis of scikit-learn with influence."""

from sklearn import discriminant_analysis

from skinfluence.methods import UnweightedMixin
from skinfluence.moments import MomentMixin
from skinfluence.moments.discriminant import LinearMoments, QuadraticMoments

__all__ = ["LinearDiscriminantAnalysis", "QuadraticDiscriminantAnalysis"]


class LinearDiscriminantAnalysis(
    UnweightedMixin, MomentMixin, discriminant_analysis.LinearDiscriminantAnalysis
):
    """Linear discriminant analysis of scikit-learn with influence functions.

    Parameters, attributes and fit are those of
    :class:`sklearn.discriminant_analysis.LinearDiscriminantAnalysis`. The objective is the
    likelihood, whose maximum has a closed form. With the class means mu_k, the class
    covariances S_k, probabilities pi_k and the (pseudo-)inverse P of the within-class
    covariance::

        coef_k      = P (mu_k - m)
        intercept_k = log pi_k - (mu_k - m)'P (mu_k - m)/2 - m'coef_k

    For the solver "svd", m is sum_k pi_k mu_k and the covariance is sum_k n_k S_k / n (before
    scikit-learn 1.9 over n - K). For "lsqr" and "eigen", m is 0 and the covariance is
    sum_k pi_k S_k with shrunk S_k; the Ledoit-Wolf shrinkage from "auto" changes, too. Two
    classes have the difference between their coefficients.

    `params_` contains `coef_` and `intercept_`. The loss is the log loss for `predict_proba`.
    There are no sample weights: influence is the derivative in a sample's multiplicity.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skinfluence.discriminant_analysis import LinearDiscriminantAnalysis
    >>> X, y = load_iris(return_X_y=True)
    >>> lda = LinearDiscriminantAnalysis().fit(X, y)
    >>> lda.influence_params().shape
    (150, 15)
    >>> bool((lda.leave_out_predict(cv=5) == y).mean() > 0.95)
    True
    """

    _moments = LinearMoments


class QuadraticDiscriminantAnalysis(
    UnweightedMixin, MomentMixin, discriminant_analysis.QuadraticDiscriminantAnalysis
):
    """Quadratic discriminant analysis of scikit-learn with influence functions.

    Parameters, attributes and fit are those of
    :class:`sklearn.discriminant_analysis.QuadraticDiscriminantAnalysis`. The objective is the
    likelihood, whose maximum has a closed form: the class means mu_k, covariances S_k
    and shares pi_k, with::

        (1 - reg_param) S_k + reg_param I            solver "svd"
        S_k shrunk, by a number or Ledoit-Wolf       solver "eigen"

    instead of S_k, which "svd" divides by n_k - 1 before scikit-learn 1.9. `params_` contains
    the means, these covariances as full matrices, and the priors, each class by class.
    The loss is the log loss for `predict_proba`. There are no sample weights: influence is the
    derivative in a sample's multiplicity.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skinfluence.discriminant_analysis import QuadraticDiscriminantAnalysis
    >>> X, y = load_iris(return_X_y=True)
    >>> qda = QuadraticDiscriminantAnalysis(reg_param=0.1).fit(X, y)
    >>> qda.influence_loss(X[:2], y[:2]).shape
    (2, 150)
    """

    _moments = QuadraticMoments
