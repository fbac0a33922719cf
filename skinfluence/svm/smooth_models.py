"""Smooth hinge models without influence methods, which scikit-learn does not have.

A refit of `SmoothHingeLinearSVC` or `SmoothHingeSVC` fits one of these models, as a refit of
any other class fits scikit-learn's. Newton's method goes there at falling temperatures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
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
from skinfluence.optimum import polish
from skinfluence.responses import PairResponses
from skinfluence.solvers import ConjugateGradientSolver, WoodburySolver, get_solver
from skinfluence.svm.shared import (
    linear_classification,
    one_vs_one_classification,
    resolve_kernel,
)

# Factor between the temperatures in successive stages. Each stage starts from a first-order
# prediction and then needs two to four Newton steps.
_COOLING = 0.2
# Tolerance for all stages except the last, see `polish`.
_STAGE_TOL = 1e-3
# A kernel model with at least _MANY rows starts from a subsample, which contains at least _FEW
# rows from each class (or all, if there are fewer). Its first temperature is at most about
# _COLD.
_MANY, _FEW, _COLD = 1000, 50, 0.1
# Tolerance for Newton steps in these models, and curvature relative to the penalty above
# which a row enters the preconditioner.
_INEXACT, _CUTOFF = 1e-2, 1.0


def anneal(objective, tol, max_iter):
    """Return the optimum for the temperature in the objective, as `Polished`.

    From zero, Newton's method converges if the temperature is near 1, the scale of margins.
    At a low temperature it does not, because nearly all rows are on flat pieces of the loss
    and have no curvature. For this reason the temperature falls in stages. Each stage starts
    from a first-order prediction of its optimum, d theta / d t = -H^-1 d G / d t. The
    prediction keeps (1 - y eta)/t almost constant for the rows near the kink, and their
    gradients depend on this ratio.

    A kernel model with many rows starts from the model for a quarter of them, which is
    fitted in the same way. It starts at a temperature at which most rows are on flat pieces.
    Conjugate gradients solve for each Newton step, with a preconditioner from the other
    rows.
    """
    t = objective.formulation.loss.temperature
    stages = max(0, int(np.ceil(np.log(t) / np.log(_COOLING) - 1e-9)))
    theta, n_iter = np.zeros(objective.formulation.layout.shape), 0
    solver = get_solver("auto", objective)
    if objective.design.has_metric and objective.n_rows >= _MANY:
        stages = max(0, int(np.ceil(np.log(t / _COLD) / np.log(_COOLING) - 1e-9)))
        rows, part = _sample(objective)
        coarse = anneal(_at_temperature(part, t / _COOLING**stages), _STAGE_TOL, max_iter)
        n_iter = coarse.n_iter
        theta[:, rows], theta[:, -1] = coarse.theta[:, :-1], coarse.theta[:, -1]
        solver = ConjugateGradientSolver(_INEXACT, None, WoodburySolver(_CUTOFF))
    for stage in range(stages, -1, -1):
        warm = _at_temperature(objective, t / _COOLING**stage)
        polished = polish(
            warm,
            theta,
            solver,
            tol=_STAGE_TOL if stage else tol,
            max_iter=max_iter - n_iter,
        )
        n_iter += polished.n_iter
        if stage and n_iter >= max_iter:
            return replace(polished, n_iter=n_iter, converged=False)
        if stage:
            theta = _follow(warm.at(polished.theta), solver, _COOLING)
    return replace(polished, n_iter=n_iter)


def _sample(objective):
    """Return a random quarter of the rows and the objective for them, as (rows, objective).

    The function draws from each class separately and keeps at least _FEW rows. The weights
    in each class are scaled to the same sum as before.
    """
    codes = objective.formulation.target.class_codes(objective.target)
    order = np.random.default_rng(0).permutation(objective.n_rows)
    chosen = []
    for code in np.unique(codes):
        members = order[codes[order] == code]
        chosen.append(members[: max(_FEW, len(members) // 4)])
    rows = np.sort(np.concatenate(chosen))
    part = objective.restrict(rows)
    weight = part.sample_weight.copy()
    for members in chosen:
        in_class = np.isin(rows, members)
        total = objective.sample_weight[codes == codes[members[0]]].sum()
        if weight[in_class].any():
            weight[in_class] *= total / weight[in_class].sum()
    return rows, replace(part, sample_weight=weight)


def _at_temperature(objective, t):
    formulation = objective.formulation
    loss = replace(formulation.loss, temperature=t)
    return replace(objective, formulation=replace(formulation, loss=loss))


def _follow(point, solver, cooling):
    """Predict the optimum at `cooling` times the temperature, to first order."""
    objective = point.objective
    loss = objective.formulation.loss
    slope = loss.temperature_slope(objective.target, point.raw_prediction)
    gradient_slope = objective.design.adjoint(objective.row_weight * slope)
    theta_slope = -solver.factorise(point).solve(gradient_slope[None])[0]
    return point.theta + (cooling - 1.0) * loss.temperature * theta_slope


class SmoothHingeModel(BaseEstimator):
    """Base class of smooth hinge models, without influence methods."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def check_fit(model, X, y, sample_weight):
    """Check a model's parameters and training data; return (X, y, sample_weight)."""
    for name in ("C", "temperature", "tol"):
        check_number(name, getattr(model, name), "a positive number", least=0)
    check_count("max_iter", model.max_iter)
    X, y = validate_data(model, X, y, accept_sparse="csr", dtype="numeric")
    check_classification_targets(y)
    weight = check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    model.classes_ = np.unique(y)
    if len(model.classes_) < 2:
        raise ValueError(
            "A classifier needs samples of at least 2 classes, but y holds only one "
            f"class: {model.classes_.tolist()[0]!r}."
        )
    return X, y, weight


def minimise(model, formulation, design, y, sample_weight):
    """Return the parameters (K, D) that minimise an objective, and set `n_iter_`."""
    objective = Objective(formulation, design, formulation.target.encode(y), sample_weight)
    optimum = anneal(objective, model.tol, model.max_iter)
    model.n_iter_ = optimum.n_iter
    if not optimum.converged:
        warn(
            f"{type(model).__name__} stopped after {optimum.n_iter} Newton steps at a "
            f"Newton decrement of {optimum.decrement:.3g}. Raise max_iter, scale the "
            "features, or choose a higher temperature.",
            ConvergenceWarning,
        )
    return optimum.theta


def store_linear(model, theta, X):
    """Set the fitted attributes of a linear model to parameters (K, D)."""
    d = theta.shape[1] - int(model.fit_intercept)
    model.coef_ = theta[:, :d].copy()
    model.intercept_ = theta[:, d].copy() if model.fit_intercept else np.zeros(len(theta))


def store_dual(model, theta, X):
    """Set the fitted attributes of a kernel model to parameters (K, n + 1) for rows X."""
    model.dual_coef_ = theta[:, :-1].copy()
    model.intercept_ = theta[:, -1].copy()
    model.X_fit_ = X


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

    def fit(self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        check_number("intercept_scaling", self.intercept_scaling, "a positive number", least=0)
        X, y, weight = check_fit(self, X, y, sample_weight)
        form = linear_classification(self, SmoothHingeLoss(self.temperature), y, weight)
        theta = minimise(self, form, make_design(X, self.fit_intercept), y, weight)
        store_linear(self, theta, X)
        return self


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

    def fit(self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        if not (self.kernel == "precomputed" or callable(self.kernel)):
            expected = "an integer, 0 or larger"
            check_number(
                "degree", self.degree, expected, kind=Integral, least=0, closed="left"
            )
            if not isinstance(self.gamma, str):
                check_number("gamma", self.gamma, "a positive number", least=0, closed="left")
        X, y, weight = check_fit(self, X, y, sample_weight)
        self._fitted_kernel = resolve_kernel(self, X, weight)
        if self._fitted_kernel.is_precomputed and X.shape[0] != X.shape[1]:
            raise ValueError(
                f"X has shape {X.shape}, but with kernel='precomputed' it must be the square "
                "matrix of K between the training samples."
            )
        self._fitted_basis = Basis(self._fitted_kernel, X)
        design = KernelDesign(self._fitted_basis, True)
        loss = SmoothHingeLoss(self.temperature)
        form = one_vs_one_classification(self, loss, y, design.n_rows)
        theta = minimise(self, form, design, y, weight)
        store_dual(self, theta, X)
        return self

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

    def __getstate__(self):
        state = super().__getstate__().copy()
        state.pop("_fitted_basis", None)  # contains K, which predictions do not need
        return state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.pairwise = self.kernel == "precomputed"
        return tags
