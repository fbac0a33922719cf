"""What the estimators share that choose a hyperparameter inside `fit`."""

from typing import Any, Self

from numpy.typing import ArrayLike

from skinfluence._typing import MatrixLike
from skinfluence.methods import InfluenceEstimatorMixin

__all__ = ["SearchInfluenceMixin"]


class SearchInfluenceMixin(InfluenceEstimatorMixin):
    """All chapters for a model refitted at the hyperparameters that its search chose.

    These are frozen: influence and removal are those of the model at the choice, and say
    nothing about another one. An estimator adds `_chosen_params()`, and in `_plain` the
    scikit-learn class without the search, which is refitted at them.
    """

    _plain: type

    def fit(
        self,
        X: MatrixLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        **params: Any,
    ) -> Self:
        """Fit the model as scikit-learn does, and remember the training data.

        The arrays are kept by reference. Nothing is factorised before a method needs it.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Target values.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples; None for ones.
        **params : dict
            Passed on to the splitter and the scorer, where scikit-learn takes them.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        return self._fit_and_remember(X, y, sample_weight=sample_weight, **params)
