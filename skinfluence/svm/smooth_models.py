"""Smooth hinge models without influence methods, which scikit-learn does not have.

They are to `SmoothHingeLinearSVC` and `SmoothHingeSVC` as scikit-learn's classes are to the
others: the estimator that a refit fits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from skinfluence._compat import LinearClassifierMixin, check_sample_weight
from skinfluence._typing import Floats, MatrixLike
from skinfluence.checks import check_count, check_number
from skinfluence.design import make_design
from skinfluence.exceptions import warn
from skinfluence.kernels import Basis, KernelDesign, KernelQueries
from skinfluence.losses import SmoothHingeLoss
from skinfluence.objective import Objective
from skinfluence.responses import PairResponses
from skinfluence.svm.anneal import anneal
from skinfluence.svm.shared import (
    linear_classification,
    one_vs_one_classification,
    resolve_kernel,
)

__all__ = ["SmoothHingeKernelModel", "SmoothHingeLinearModel"]


class SmoothHingeModel(BaseEstimator, ABC):
    """Base class with the `fit` method of smooth hinge models, without influence methods."""

    def fit(self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        self._check_params()
        X, y = validate_data(self, X, y, accept_sparse="csr", dtype="numeric")
        check_classification_targets(y)
        weight = check_sample_weight(
            sample_weight, X, dtype=np.float64, ensure_non_negative=True
        )
        self.classes_ = np.unique(y)
        if len(self.classes_) < 2:
            raise ValueError(
                "A classifier needs samples of at least 2 classes, but y holds only one "
                f"class: {self.classes_.tolist()[0]!r}."
            )
        design = self._training_design(X, weight)
        formulation = self._formulation(design, y, weight)
        objective = Objective(formulation, design, formulation.target.encode(y), weight)
        optimum = anneal(objective, self.tol, self.max_iter)
        self.n_iter_ = optimum.n_iter
        self._set_fitted(optimum.theta, formulation.layout, X)
        if not optimum.converged:
            warn(
                f"{type(self).__name__} stopped after {optimum.n_iter} Newton steps at a "
                f"Newton decrement of {optimum.decrement:.3g}. Raise max_iter, scale the "
                "features, or choose a higher temperature.",
                ConvergenceWarning,
            )
        return self

    @abstractmethod
    def _training_design(self, X, sample_weight):
        """Return the design for validated training rows."""

    @abstractmethod
    def _formulation(self, design, y, sample_weight):
        """Return the formulation of the objective."""

    @abstractmethod
    def _set_fitted(self, theta, layout, X):
        """Store the parameters in fitted attributes."""

    def _check_params(self):
        for name in ("C", "temperature", "tol"):
            check_number(name, getattr(self, name), "a positive number", least=0)
        check_count("max_iter", self.max_iter)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


class SmoothHingeLinearModel(LinearClassifierMixin, SmoothHingeModel):
    """The linear estimator without influence methods."""

    def __init__(
        self,
        C: float = 1.0,
        temperature: float = 0.1,
        *,
        fit_intercept: bool = True,
        intercept_scaling: float = 1.0,
        class_weight: Mapping[Any, float] | str | None = None,
        tol: float = 1e-8,
        max_iter: int = 100,
    ) -> None:
        self.C = C
        self.temperature = temperature
        self.fit_intercept = fit_intercept
        self.intercept_scaling = intercept_scaling
        self.class_weight = class_weight
        self.tol = tol
        self.max_iter = max_iter

    def _check_params(self):
        super()._check_params()
        check_number("intercept_scaling", self.intercept_scaling, "a positive number", least=0)

    def _training_design(self, X, sample_weight):
        return make_design(X, self.fit_intercept)

    def _formulation(self, design, y, sample_weight):
        loss = SmoothHingeLoss(self.temperature)
        return linear_classification(self, loss, y, sample_weight)

    def _set_fitted(self, theta, layout, X):
        d = layout.n_features
        self.coef_ = theta[:, :d].copy()
        self.intercept_ = np.zeros(layout.n_outputs)
        if layout.fit_intercept:
            self.intercept_ = theta[:, d].copy()


class SmoothHingeKernelModel(ClassifierMixin, SmoothHingeModel):
    """The kernel estimator without influence methods."""

    _responses = PairResponses()

    def __init__(
        self,
        C: float = 1.0,
        temperature: float = 0.1,
        *,
        kernel: str | Callable[..., Any] = "rbf",
        gamma: float | str = "scale",
        degree: int = 3,
        coef0: float = 0.0,
        class_weight: Mapping[Any, float] | str | None = None,
        tol: float = 1e-8,
        max_iter: int = 100,
    ) -> None:
        self.C = C
        self.temperature = temperature
        self.kernel = kernel
        self.gamma = gamma
        self.degree = degree
        self.coef0 = coef0
        self.class_weight = class_weight
        self.tol = tol
        self.max_iter = max_iter

    def decision_function(self, X: MatrixLike) -> Floats:
        """Return the decision values of samples.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (m, n_features)
            Samples. If the kernel is precomputed, the matrix K between these samples and the
            training samples, of shape (m, n_samples).

        Returns
        -------
        decision : ndarray of shape (m,) or (m, n_classes)
            With two classes, a positive value selects the second. With more classes, the
            votes from all pairs plus scaled confidences that break ties, as in
            :class:`sklearn.svm.SVC`.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skinfluence.svm import SmoothHingeSVC
        >>> X, y = load_iris(return_X_y=True)
        >>> SmoothHingeSVC().fit(X, y).decision_function(X[:4]).shape
        (4, 3)
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, accept_sparse="csr", dtype="numeric")
        queries = KernelQueries(Basis(self._fitted_kernel, self.X_fit_), X, True)
        theta = np.column_stack([self.dual_coef_, self.intercept_])
        raw = queries.predict(theta)
        decide = self._responses.transform(self)
        return raw[:, 0] if decide is None else decide(raw)

    def predict(self, X: MatrixLike) -> NDArray[Any]:
        """Return the predicted class of each sample.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (m, n_features)
            Samples. If the kernel is precomputed, the matrix K between these samples and the
            training samples, of shape (m, n_samples).

        Returns
        -------
        label : ndarray of shape (m,)
            Class labels.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skinfluence.svm import SmoothHingeSVC
        >>> X, y = load_iris(return_X_y=True)
        >>> SmoothHingeSVC().fit(X, y).predict(X[::50])
        array([0, 1, 2])
        """
        decision = self.decision_function(X)
        code = (decision > 0).astype(int) if decision.ndim == 1 else decision.argmax(axis=1)
        return self.classes_[code]

    def _check_params(self):
        super()._check_params()
        if self.kernel == "precomputed" or callable(self.kernel):
            return
        expected = "an integer, 0 or larger"
        check_number("degree", self.degree, expected, kind=Integral, least=0, closed="left")
        if not isinstance(self.gamma, str):
            check_number("gamma", self.gamma, "a positive number", least=0, closed="left")

    def _training_design(self, X, sample_weight):
        self._fitted_kernel = resolve_kernel(self, X, sample_weight)
        if self._fitted_kernel.is_precomputed and X.shape[0] != X.shape[1]:
            raise ValueError(
                f"X has shape {X.shape}, but with kernel='precomputed' it must be the square "
                "matrix of K between the training samples."
            )
        self._fitted_basis = Basis(self._fitted_kernel, X)
        return KernelDesign(self._fitted_basis, True)

    def _formulation(self, design, y, sample_weight):
        loss = SmoothHingeLoss(self.temperature)
        return one_vs_one_classification(self, loss, y, design.n_rows)

    def _set_fitted(self, theta, layout, X):
        self.dual_coef_ = theta[:, :-1].copy()
        self.intercept_ = theta[:, -1].copy()
        self.X_fit_ = X

    def __getstate__(self):
        state = super().__getstate__().copy()
        state.pop("_fitted_basis", None)  # contains K, which predictions do not need
        return state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.pairwise = self.kernel == "precomputed"
        return tags
