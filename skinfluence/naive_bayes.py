"""Naive Bayes classifiers of scikit-learn with influence."""

from __future__ import annotations

from typing import Self

from numpy.typing import ArrayLike
from sklearn import naive_bayes

from skinfluence._typing import MatrixLike
from skinfluence.methods import get_problem
from skinfluence.moments import MomentMixin
from skinfluence.moments.counts import (
    BernoulliMoments,
    CategoricalMoments,
    ComplementMoments,
    MultinomialMoments,
)
from skinfluence.moments.gaussian import GaussianMoments

__all__ = ["BernoulliNB", "CategoricalNB", "ComplementNB", "GaussianNB", "MultinomialNB"]


class NaiveBayesMixin(MomentMixin):
    """Influence methods for a naive Bayes classifier; list before scikit-learn's class."""

    def partial_fit(
        self,
        X: MatrixLike,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Update the statistics by some samples, and drop the stored training data.

        The statistics then belong to more samples than those from `fit`. To have influence,
        call ``from_fitted(estimator, X, y)`` with all of them. `GaussianNB` takes its
        `epsilon_` from the last call's samples alone, unless ``var_smoothing=0``, and then
        its statistics are not those of one fit to all samples.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples; sparse if scikit-learn accepts it.
        y : array-like of shape (n_samples,)
            Labels.
        classes : array-like of shape (n_classes,), default=None
            All labels in all calls; required in the first call.
        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights; None for ones.

        Returns
        -------
        self : object
            The estimator.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from skinfluence import from_fitted
        >>> from skinfluence.naive_bayes import MultinomialNB
        >>> X, y = load_digits(n_class=3, return_X_y=True)
        >>> clf = MultinomialNB().fit(X[:500], y[:500]).partial_fit(X[500:], y[500:])
        >>> from_fitted(clf, X, y).influence_loss(X[:2], y[:2]).shape
        (2, 537)
        """
        super().partial_fit(  # type: ignore[misc]  # scikit-learn's class is listed after
            X, y, classes=classes, sample_weight=sample_weight
        )
        get_problem(self).forget_fit()
        return self


class GaussianNB(NaiveBayesMixin, naive_bayes.GaussianNB):
    """Gaussian naive Bayes of scikit-learn with influence functions.

    Parameters, attributes and fit are those of :class:`sklearn.naive_bayes.GaussianNB`. The
    objective is the likelihood, whose maximum has a closed form. Let N_k be the sum over the
    weights w in a class. Then::

        mu_kj = sum_(i in k) w_i x_ij / N_k
        v_kj  = sum_(i in k) w_i (x_ij - mu_kj)^2 / N_k + epsilon

    and pi_k = N_k / sum_k N_k unless `priors` are given. epsilon is `var_smoothing` times the
    largest feature variance. It counts the samples without their weights. Influence is the
    derivative in a sample's multiplicity, so epsilon changes, too. Samples with weight 0 then
    have no influence, and their entries are NaN. `params_` contains `theta_`, `var_` and
    `class_prior_`. The loss is the log loss for `predict_proba`.

    Examples
    --------
    Which training samples matter for the first flower?

    >>> from sklearn.datasets import load_iris
    >>> from skinfluence.naive_bayes import GaussianNB
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = GaussianNB().fit(X, y)
    >>> clf.influential_samples(X[:1], y[:1], n_influential=3)[1].shape
    (1, 3)
    >>> clf.leave_out_predict(cv=5).shape
    (150,)
    """

    _moments = GaussianMoments


class MultinomialNB(NaiveBayesMixin, naive_bayes.MultinomialNB):
    """Multinomial naive Bayes of scikit-learn with influence functions.

    Parameters, attributes and fit are those of :class:`sklearn.naive_bayes.MultinomialNB`. The
    objective is the likelihood with smoothed counts, whose maximum has a closed form.
    With the counts M_kj = sum_(i in k) w_i x_ij::

        feature_log_prob_kj = log(M_kj + alpha) - log sum_j (M_kj + alpha)

    `params_` contains `feature_log_prob_`, class by class, and `class_log_prior_`. The loss is
    the log loss for `predict_proba`.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skinfluence.naive_bayes import MultinomialNB
    >>> X, y = load_digits(n_class=3, return_X_y=True)
    >>> clf = MultinomialNB().fit(X, y)
    >>> clf.influence_loss(X[:2], y[:2]).shape
    (2, 537)
    """

    _moments = MultinomialMoments
    _row_checks = {"accept_sparse": "csr"}


class ComplementNB(NaiveBayesMixin, naive_bayes.ComplementNB):
    """Complement naive Bayes of scikit-learn with influence functions.

    Parameters, attributes and fit are those of :class:`sklearn.naive_bayes.ComplementNB`. The
    objective is the likelihood with smoothed counts over all other classes, whose maximum has
    a closed form. With the counts A_kj over all classes but k, plus alpha, and
    L_kj = log A_kj - log sum_j A_kj::

        feature_log_prob_kj = -L_kj,  or  L_kj / sum_j L_kj  with norm

    `params_` contains `feature_log_prob_`, class by class, and `class_log_prior_`. The loss is
    the log loss for `predict_proba`.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skinfluence.naive_bayes import ComplementNB
    >>> X, y = load_digits(n_class=3, return_X_y=True)
    >>> clf = ComplementNB().fit(X, y)
    >>> clf.influence_loss(X[:2], y[:2]).shape
    (2, 537)
    """

    _moments = ComplementMoments
    _row_checks = {"accept_sparse": "csr"}


class BernoulliNB(NaiveBayesMixin, naive_bayes.BernoulliNB):
    """Bernoulli naive Bayes of scikit-learn with influence functions.

    Parameters, attributes and fit are those of :class:`sklearn.naive_bayes.BernoulliNB`. The
    objective is the likelihood with smoothed counts, whose maximum has a closed form.
    With the counts M_kj = sum_(i in k) w_i x_ij from binarized samples::

        feature_log_prob_kj = log(M_kj + alpha) - log(N_k + 2 alpha)

    `params_` contains `feature_log_prob_`, class by class, and `class_log_prior_`. The loss is
    the log loss for `predict_proba`.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skinfluence.naive_bayes import BernoulliNB
    >>> X, y = load_digits(n_class=3, return_X_y=True)
    >>> clf = BernoulliNB(binarize=8).fit(X, y)
    >>> clf.influence_loss(X[:2], y[:2]).shape
    (2, 537)
    """

    _moments = BernoulliMoments
    _row_checks = {"accept_sparse": "csr"}


class CategoricalNB(NaiveBayesMixin, naive_bayes.CategoricalNB):
    """Categorical naive Bayes of scikit-learn with influence functions.

    Parameters, attributes and fit are those of :class:`sklearn.naive_bayes.CategoricalNB`. The
    objective is the likelihood with smoothed counts, whose maximum has a closed form.
    Let M_kjc be the weight sum over class k's samples whose feature j is c. Then::

        feature_log_prob_kjc = log(M_kjc + alpha) - log sum_c (M_kjc + alpha)

    `params_` contains them class by class, one feature after the other, then
    `class_log_prior_`. If a removal takes the last sample with a feature's largest category, a
    refit has fewer categories; parameters for the lost ones are NaN. The loss is the log loss
    for `predict_proba`.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skinfluence.naive_bayes import CategoricalNB
    >>> X, y = load_digits(n_class=3, return_X_y=True)
    >>> clf = CategoricalNB(min_categories=17).fit(X, y)
    >>> clf.influence_loss(X[:2], y[:2]).shape
    (2, 537)
    """

    _moments = CategoricalMoments
    _row_checks = {"dtype": "int"}
