"""Least squares by least angle regression, without a penalty and with an l1 penalty.

scikit-learn follows the solution path from a large penalty down to the chosen one. The path's
end is the optimum for `LinearRegression` or `Lasso`, and these classes refit the model.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn import linear_model

from skinfluence._typing import MatrixLike
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.linear_model.lasso import TIGHT_DESCENT, mean_squares
from skinfluence.linear_model.ridge import least_squares
from skinfluence.methods import InfluenceEstimatorMixin
from skinfluence.parameters import Coefficients

# If a path's last penalty is below this share of the first one, it counts as none.
_END = 1e-10


class _PathCoefficients(Coefficients):
    """Coefficients at a knot: one that leaves the path there is 0 up to rounding."""

    def read(self, model, layout):
        coef, intercept = super().read(model, layout)
        return np.where(np.abs(coef) > np.finfo(coef.dtype).eps, coef, 0.0), intercept


class LeastAngleMixin(InfluenceEstimatorMixin):
    """All chapters for a model that another scikit-learn class refits."""

    def fit(self, X: MatrixLike, y: ArrayLike, Xy: ArrayLike | None = None) -> Self:
        """Fit the model as scikit-learn does, and store the training data.

        The arrays are kept by reference. Nothing is factorised until a method needs it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Target values.
        Xy : array-like of shape (n_features,) or (n_features, n_targets), default=None
            X'y, if it is known.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        return self._fit_and_remember(X, y, Xy=Xy)


class Lars(LeastAngleMixin, linear_model.Lars):
    """Least angle regression of scikit-learn with influence functions.

    Parameters, attributes and fit are those of :class:`sklearn.linear_model.Lars`. If the
    path runs to its end, the model is the least squares solution. The objective, with
    sample weights w, which `fit` takes as 1, and targets k::

        F = sum_i w_i sum_k (y_ik - eta_ik)^2

    with free intercepts. :class:`sklearn.linear_model.LinearRegression` refits the model.
    A path that ends earlier, because ``n_nonzero_coefs`` is less than the number of features,
    minimises no objective: such a model fits and predicts, but has no influence here. The
    same is true for ``jitter``.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.linear_model import Lars
    >>> X, y = load_diabetes(return_X_y=True)
    >>> reg = Lars().fit(X, y)
    >>> reg.influence_loss(X[:2], y[:2]).shape
    (2, 442)
    """

    _plain = linear_model.LinearRegression

    def _formulate(self, y, sample_weight):
        _check_unmoved_target(self)
        paths = [self.alphas_] if np.ndim(self.alphas_[0]) == 0 else self.alphas_
        if any(path[-1] > _END * path[0] for path in paths):
            raise UnsupportedEstimatorError(
                f"Lars(n_nonzero_coefs={self.n_nonzero_coefs!r}) ended its path before least "
                f"squares, and minimises no objective there: use "
                f"n_nonzero_coefs={self._layout().n_features}, or LassoLars."
            )
        return least_squares(self, 0.0)

    def _tight_params(self, params):
        return {"fit_intercept": params["fit_intercept"]}


class LassoPathMixin(InfluenceEstimatorMixin):
    """Influence methods for the end of a path at one alpha, which `Lasso` refits."""

    _plain = linear_model.Lasso

    def _formulate(self, y, sample_weight):
        _check_unmoved_target(self)
        if self.positive:
            name = type(self).__name__
            instead = "LassoCV" if name.endswith("CV") else "Lasso"
            raise UnsupportedEstimatorError(
                f"{name}(positive=True) has a path that leaves the optimum, and no influence "
                f"function here: use positive=False, or {instead}(positive=True)."
            )
        alpha = self.alpha_ if hasattr(self, "alpha_") else self.alpha
        return mean_squares(self, alpha, 1.0)

    def _tight_params(self, params):
        alpha = params.get("alpha", getattr(self, "alpha_", None))
        return {"alpha": alpha, "fit_intercept": params["fit_intercept"], **TIGHT_DESCENT}


class LassoLars(LassoPathMixin, LeastAngleMixin, linear_model.LassoLars):
    """Lasso by least angle regression, with influence functions.

    Parameters, attributes and fit are those of :class:`sklearn.linear_model.LassoLars`. The
    objective is that of `Lasso`, with sample weights 1, because `fit` takes none.
    Influence is the derivative on the support; in "exact" removal,
    :class:`sklearn.linear_model.Lasso` refits the groups that change it, and a warning reports
    their number. If ``max_iter`` ended the path before ``alpha``, the model is no optimum, and
    methods warn. ``positive=True`` and ``jitter`` fit and predict, but have no influence here.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.linear_model import LassoLars
    >>> X, y = load_diabetes(return_X_y=True)
    >>> reg = LassoLars(alpha=0.5).fit(X, y)
    >>> moves = (reg.influence_params() != 0).any(axis=0)[:10]
    >>> bool((moves == (reg.coef_ != 0)).all())
    True
    """


class LassoLarsCV(LassoPathMixin, linear_model.LassoLarsCV):
    """Lasso by least angle regression with a search for alpha, with influence functions.

    Parameters, attributes and fit are those of :class:`sklearn.linear_model.LassoLarsCV`. The
    objective is that of `LassoLars` at ``alpha_``, which is frozen. ``positive=True``
    fits and predicts, but has no influence here.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.linear_model import LassoLarsCV
    >>> X, y = load_diabetes(return_X_y=True)
    >>> reg = LassoLarsCV(cv=3).fit(X, y)
    >>> reg.influence_loss(X[:2], y[:2]).shape
    (2, 442)
    """

    def fit(  # type: ignore[override]  # scikit-learn takes no weights
        self, X: MatrixLike, y: ArrayLike, **params: Any
    ) -> Self:
        """Fit the model as scikit-learn does, and store the training data.

        The arrays are kept by reference. Nothing is factorised until a method needs it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,)
            Target values.
        **params : dict
            Passed on to the splitter.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        return self._fit_and_remember(X, y, **params)


class LassoLarsIC(LassoPathMixin, linear_model.LassoLarsIC):
    """Lasso by least angle regression with an information criterion, with influence functions.

    Parameters, attributes and fit are those of :class:`sklearn.linear_model.LassoLarsIC`. The
    objective is that of `LassoLars` at ``alpha_``, which is frozen. So is the estimate of
    the noise, which only chooses it.

    The criterion chooses a knot of the path, where a coefficient enters or leaves. This
    coefficient is 0, and its gradient is at the bound of the penalty. Influence and removal by
    one Newton step keep it at 0. For one sign of a change in weight this is the derivative;
    for the other the coefficient moves, and a warning says how much the two derivatives
    differ. "exact" removal is the refit. ``positive=True`` fits and predicts, but has no
    influence here.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.linear_model import LassoLarsIC
    >>> X, y = load_diabetes(return_X_y=True)
    >>> reg = LassoLarsIC(criterion="bic").fit(X, y)
    >>> reg.leave_out_params([[0], [1, 2]], method="exact").shape
    (2, 11)
    """

    _parameters = _PathCoefficients()

    def fit(  # type: ignore[override]  # scikit-learn takes no Xy here
        self, X: MatrixLike, y: ArrayLike, copy_X: bool | None = None
    ) -> Self:
        """Fit the model as scikit-learn does, and store the training data.

        The arrays are kept by reference. Nothing is factorised until a method needs it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,)
            Target values.
        copy_X : bool, default=None
            None for the constructor's parameter. False is the same as True here, because the
            estimator keeps X.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        return self._fit_and_remember(X, y, copy_X=None if copy_X is None else True)


def _check_unmoved_target(estimator):
    """Raise if scikit-learn has fitted the model to targets with noise."""
    if getattr(estimator, "jitter", None) is not None:
        raise UnsupportedEstimatorError(
            f"{type(estimator).__name__}(jitter={estimator.jitter!r}) is fitted to targets "
            "with noise, which are not known: use jitter=None, and add the noise to y."
        )
