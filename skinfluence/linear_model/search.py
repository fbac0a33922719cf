"""Base class for estimators that choose a hyperparameter in `fit`."""

from __future__ import annotations

from typing import Any, Self

from numpy.typing import ArrayLike

from skinfluence._typing import MatrixLike
from skinfluence.methods import InfluenceEstimatorMixin


class SearchInfluenceMixin(InfluenceEstimatorMixin):
    """Influence methods for a model whose `fit` searches for hyperparameters.

    The chosen hyperparameters are frozen. Influence and removal describe the model with these
    values and do not search again. A subclass defines `_plain`, the scikit-learn class
    without the search, which does the refits, and `_tight_params`, which returns the chosen
    values too.
    """

    _plain: type

    def fit(
        self,
        X: MatrixLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        **params: Any,
    ) -> Self:
        """Fit the model as scikit-learn does, and store the training data.

        The estimator keeps references to the arrays. It factorises the Hessian only if a
        method needs it.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Target values.
        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights; None for ones.
        **params : dict
            Passed to the splitter and the scorer, if scikit-learn accepts them.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        return self._fit_and_remember(X, y, sample_weight=sample_weight, **params)
