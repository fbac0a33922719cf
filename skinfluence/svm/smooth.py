"""Support vector machines with a smooth hinge, which scikit-learn does not have."""

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
from skinfluence.methods import InfluenceEstimatorMixin
from skinfluence.objective import Objective
from skinfluence.parameters import DualCoefficients
from skinfluence.responses import PairResponses
from skinfluence.svm.anneal import anneal
from skinfluence.svm.shared import (
    linear_classification,
    one_vs_one_classification,
    resolve_kernel,
)
from skinfluence.whole import gamma_problem

__all__ = ["SmoothHingeLinearSVC", "SmoothHingeSVC"]

# Parameters for refits, with the smallest tolerance that rounding allows.
_TIGHT = {"tol": 1e-11, "max_iter": 1000}


class _SmoothHingeModel(BaseEstimator, ABC):
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


class _SmoothHingeLinearModel(LinearClassifierMixin, _SmoothHingeModel):
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


class SmoothHingeLinearSVC(InfluenceEstimatorMixin, _SmoothHingeLinearModel):
    """Linear support vector classifier with a smooth hinge, and influence functions.

    `fit` minimises this objective, with temperature t, sample weights w, class weights c
    ("balanced" ones move with the samples) and labels y = +-1 in problem k::

        F = sum_ik C w_i c_ik t log(1 + exp((1 - y_ik eta_ik)/t))
            + 1/2 |coef|^2 + 1/2 |intercept / intercept_scaling|^2

    As t approaches 0, this becomes the objective for ``LinearSVC(loss="hinge")``. If t > 0,
    all derivatives exist. Two classes are one problem, and c_i is the weight for the class of
    row i. With more classes there is one problem for each class, and c_ik is the weight for
    class k if row i belongs to class k, else 1, as in :class:`sklearn.svm.LinearSVC`.

    `fit` uses a damped Newton method. It starts with zeros at temperature 1 and follows the
    optimum as the temperature falls to t.

    Parameters
    ----------
    C : float, default=1.0
        Weight of the loss relative to the penalty.
    temperature : float, default=0.1
        Width t of the smooth hinge, in units of the margin.
    fit_intercept : bool, default=True
        Whether to fit an intercept.
    intercept_scaling : float, default=1.0
        Scale for the intercept in the penalty. A larger value penalises the intercept less.
    class_weight : dict or "balanced", default=None
        Weight for each class; None for ones. "balanced" weights are inversely proportional
        to the sum of sample weights in each class.
    tol : float, default=1e-8
        Stop if the Newton decrement, relative to the square root of the objective, is
        smaller.
    max_iter : int, default=100
        Largest number of Newton steps over all temperatures.

    Attributes
    ----------
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        Coefficients.
    intercept_ : ndarray of shape (1,) or (n_classes,)
        Intercepts; zeros if `fit_intercept=False`.
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    n_iter_ : int
        Number of Newton steps over all temperatures.
    n_features_in_ : int
        Number of features seen during `fit`.
    feature_names_in_ : ndarray of shape (n_features,)
        Feature names, if X had names that are all strings.

    See Also
    --------
    LinearSVC : The hinge and the squared hinge, fitted by liblinear.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from skinfluence.svm import SmoothHingeLinearSVC
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> clf = SmoothHingeLinearSVC(temperature=0.1).fit(scale(X), y)
    >>> round(clf.score(scale(X), y), 2)
    0.99
    >>> clf.influence_loss(scale(X)[:3], y[:3]).shape
    (3, 569)
    """

    def _formulate(self, y, sample_weight):
        return self._formulation(None, y, sample_weight)

    def _tight_params(self, params):
        form = self._problem().fitted.formulation
        return _TIGHT | {"class_weight": form.frozen_class_weight()}


class _SmoothHingeKernelModel(ClassifierMixin, _SmoothHingeModel):
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


class _SmoothCoefficients(DualCoefficients):
    """Dual coefficients in `dual_coef_`, with one row for each pair of classes."""

    gamma_by_weight = True

    def forget(self, model):
        """Keep the kernel, which `fit` itself sets."""

    def kernel(self, model, X):
        return model._fitted_kernel

    def problems(self, model):
        return len(model.dual_coef_), True

    def n_training_rows(self, model):
        return model.dual_coef_.shape[1]

    def kept_rows(self, model):
        return slice(None), model.X_fit_

    def read_dual(self, model, n):
        return model.dual_coef_, model.intercept_

    def write_dual(self, model, coef, intercept, objective):
        model.dual_coef_, model.intercept_ = coef, intercept
        model.X_fit_ = objective.design.basis.X


class SmoothHingeSVC(InfluenceEstimatorMixin, _SmoothHingeKernelModel):
    """Kernel support vector classifier with a smooth hinge, and influence functions.

    For each pair of classes, `fit` minimises this objective over the rows in both classes,
    with temperature t, sample weights w, class weights c ("balanced" weights depend on the
    number of samples) and labels y = +-1::

        F = sum_i C w_i c_i t log(1 + exp((1 - y_i f(x_i))/t)) + 1/2 |f - b|^2_K
        f = sum_j a_j K(., x_j) + b

    The intercept b is not penalised. "balanced" class weights and ``gamma="scale"`` move with
    the samples. As t approaches 0, this becomes the objective for
    :class:`sklearn.svm.SVC`. If t > 0, all derivatives exist.

    `fit` uses a damped Newton method on functions. It starts with zeros at temperature 1 and
    follows the optimum as the temperature falls to t.

    Parameters
    ----------
    C : float, default=1.0
        Weight of the loss relative to the penalty.
    temperature : float, default=0.1
        Width t of the smooth hinge, in units of the margin.
    kernel : {"linear", "rbf", "poly", "sigmoid", "precomputed"} or callable, default="rbf"
        Kernel. A function takes two matrices and returns K between their rows. The kernel
        must be positive semidefinite; "sigmoid" may not be.
    gamma : {"scale", "auto"} or float, default="scale"
        Coefficient in "rbf", "poly" and "sigmoid". "auto" means 1 / n_features. "scale"
        means 1 / (n_features * X.var()). This variance uses the sample weights, so weight 2
        is equivalent to a repeated row.
    degree : int, default=3
        Degree for "poly".
    coef0 : float, default=0.0
        Constant in "poly" and "sigmoid".
    class_weight : dict or "balanced", default=None
        Weight for each class; None for ones. "balanced" weights are inversely proportional
        to the number of samples in each class.
    tol : float, default=1e-8
        Stop if the Newton decrement, relative to the square root of the objective, is
        smaller.
    max_iter : int, default=100
        Largest number of Newton steps over all temperatures.

    Attributes
    ----------
    dual_coef_ : ndarray of shape (n_pairs, n_samples)
        Coefficients a, with one row for each pair of classes in the order (0, 1), (0, 2),
        ..., (1, 2), ... If there are two classes, coefficients are positive for the second;
        with more classes they are positive for the first class in a pair, as in libsvm.
    intercept_ : ndarray of shape (n_pairs,)
        Intercepts b.
    X_fit_ : {ndarray, sparse matrix} of shape (n_samples, n_features)
        Training samples, which predictions need.
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    n_iter_ : int
        Number of Newton steps over all temperatures.
    n_features_in_ : int
        Number of features seen during `fit`.
    feature_names_in_ : ndarray of shape (n_features,)
        Feature names, if X had names that are all strings.

    See Also
    --------
    SVC : The hinge itself, fitted by libsvm.
    SmoothHingeLinearSVC : The linear model with a penalised intercept.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from skinfluence.svm import SmoothHingeSVC
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> clf = SmoothHingeSVC(temperature=0.1).fit(scale(X), y)
    >>> round(clf.score(scale(X), y), 2)
    0.99
    >>> clf.influence_loss(scale(X)[:3], y[:3]).shape
    (3, 569)
    """

    _parameters = _SmoothCoefficients()
    _responses = PairResponses()
    _fitted_kernel = None

    def _problem(self, method=None):
        return gamma_problem(self, method)

    def _formulate(self, y, sample_weight):
        loss = SmoothHingeLoss(self.temperature)
        return one_vs_one_classification(self, loss, y, self.dual_coef_.shape[1])

    def _weights_move(self, params):
        if params["gamma"] != "scale" or "gamma" not in self._fitted_kernel.params:
            return None
        gamma = self._fitted_kernel.params["gamma"]
        return (
            "gamma='scale' of SmoothHingeSVC depends on the sample weights, and the kernel "
            f"with it: fit with gamma={gamma:.6g}, its present value."
        )

    def _tight_params(self, params):
        kernel, form = self._fitted_kernel, self._problem().fitted.formulation
        frozen = {"class_weight": form.frozen_class_weight()}
        return _TIGHT | frozen | kernel.params
