"""The fitted state of kernel models: parameters are dual coefficients.

`params_` holds one coefficient for every training row and problem, zero off the support, then
the intercepts. Results about predictions and losses are in function space and need nothing
else; only `influence_params` and `newton_step` speak of coefficients, and therefore of
training samples alone.
"""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array, issparse

from skinfluence import influence
from skinfluence._typing import MatrixLike
from skinfluence.blocks import row_blocks
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.kernels import Basis, KernelDesign, KernelQueries
from skinfluence.layout import ParameterLayout
from skinfluence.mixins.problem import ProblemMixin

__all__ = ["KernelProblemMixin", "NotOfKinks"]

# How far rows may be from those of the fit, relative to the largest value. The two ways in
# which transformers compute the same values were seen to differ by up to 8e-13 in double and
# 4e-5 in single precision (KernelPCA, PCA).
_ROUNDING = {np.dtype(np.float64): 1e-11, np.dtype(np.float32): 1e-4}


class Absent:
    """Stands for a method that a class does not have, and says why when asked for it."""

    def __set_name__(self, owner, name):
        self.name = name

    def __get__(self, instance, owner=None):
        raise AttributeError(self._reason(owner))


class _NotInDualCoefficients(Absent):
    """A method whose answer would be one about dual coefficients."""

    def _reason(self, owner):
        others = ("influence_summary", "influence_functional", "leave_out_params")
        held = [name for name in others if hasattr(owner, name)]
        return (
            f"{self.name} is a matter of coefficients of features. In dual coefficients "
            "the Hessian is singular to rounding wherever the kernel matrix is: use "
            f"{', '.join(held[:-1])} or {held[-1]}."
        )


class NotOfKinks(Absent):
    """A method that needs a curvature where the loss has none."""

    def _reason(self, owner):
        remedy = "skinfluence.kernel_ridge.KernelRidge, whose loss is smooth"
        if hasattr(owner, "smooth"):
            remedy = "smooth() for a smooth model at the same parameters"
        return (
            f"{owner.__name__} has no {self.name}: its loss has no curvature but in its "
            f"kinks, and no Newton step. Use {remedy}."
        )


class KernelProblemMixin(ProblemMixin):
    """Keeps the fitted problem of a kernel model.

    Beside `_formulate`, an estimator adds

        _kernel(X)                   the `Kernel` of its fit on X
        _problems()                  number of problems K, whether they have intercepts
        _n_training_rows()           n
        _kept_rows()                 (index, rows): the training rows it holds, or None
        _read_dual(estimator, n)     dual coefficients (K, n) and intercepts of a fit
        _write_dual(coef, intercept, objective)
    """

    _coef_name = "dual_coef"
    _fitted_kernel: Any = None

    def _forget_fit(self):
        super()._forget_fit()
        self._fitted_kernel = None

    solve_hessian = _NotInDualCoefficients()
    dfbetas = _NotInDualCoefficients()
    params_covariance = _NotInDualCoefficients()

    def _layout(self):
        n_outputs, intercept = self._problems()
        return ParameterLayout(n_outputs, self._n_training_rows(), intercept)

    def _read_params(self, estimator):
        return self._read_dual(estimator, self._get_layout().n_features)

    def _refitted_params(self, refit, rows):
        part, intercept = self._read_dual(refit, len(rows))
        coef = np.zeros((*part.shape[:-1], self._get_layout().n_features))
        coef[..., rows] = part
        if not self._get_layout().fit_intercept:
            return coef.ravel()
        return np.concatenate([coef.ravel(), np.ravel(intercept)])

    def _write_params(self, coef, intercept):
        objective = self._get_objective()
        self._write_dual(coef, intercept, objective)
        if self._fitted_kernel.is_precomputed:
            self.n_features_in_ = objective.n_rows
            self.__dict__.pop("feature_names_in_", None)  # they named columns that are gone

    def _column_names(self, n_features):
        return [str(i) for i in range(n_features)]

    def _output_names(self, n_outputs):
        classes = getattr(self, "classes_", None)
        if n_outputs == 1 or classes is None:
            return super()._output_names(n_outputs)
        first, second = np.triu_indices(len(classes), 1)
        pairs = zip(classes[first], classes[second], strict=True)
        return [f"{one} vs {other}" for one, other in pairs]

    def _make_design(self, formulation, X, training):
        if training:
            if self._fitted_kernel is None:
                self._fitted_kernel = self._kernel(X)
            # A fit of our own has computed K already.
            basis = self.__dict__.pop("_fitted_basis", None)
            if basis is None or not basis.is_of(X):
                basis = Basis(self._fitted_kernel, X)
            return KernelDesign(basis, formulation.layout.fit_intercept)
        basis = self._get_objective().design.basis
        if basis.kernel.is_precomputed and X.shape[1] != len(basis):
            raise ValueError(
                f"X has {X.shape[1]} columns, but with kernel='precomputed' it must hold "
                f"K between the samples and the {len(basis)} training samples."
            )
        return KernelQueries(basis, X, formulation.layout.fit_intercept)

    def _given_rows(self, state, X, y):
        if X is not None:
            raise ValueError(
                "The parameters of a kernel model are coefficients of its training samples, "
                "and any other sample would bring one of its own: leave out X and y, or use "
                "influence_loss, influence_prediction or influence_functional."
            )
        return super()._given_rows(state, X, y)

    def _take_rows(self, objective, theta, rows):
        intercept = theta[:, objective.design.n_features :]
        theta = np.concatenate([theta[:, rows], intercept], axis=1)
        return objective.restrict(rows), theta

    def _append_rows(self, objective, theta, more):
        n, m = objective.n_rows, more.n_rows
        theta = np.insert(theta, [n] * m, 0.0, axis=1)
        return objective.append(more).restrict(slice(None)), theta

    def _check_perturbable(self):
        kernel = self._get_objective().design.basis.kernel
        if not kernel.has_gradient:
            raise UnsupportedEstimatorError(
                "influence_perturbation needs the derivative of the kernel, which is not "
                f"known for kernel={kernel.metric!r}: use 'linear', 'rbf', 'poly' or "
                "'sigmoid'."
            )

    def _perturbation(self, state, query, index):
        return influence.kernel_perturbation(state.point, state.factor, query, index)

    def _rows_of_X(self, objective, rows):
        return objective.design.basis.take(rows).X

    def set_training_data(
        self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Give the fitted model the data it was fitted on, after `drop_training_data`.

        A kernel model is made of its training samples, so they must be the same rows; targets
        and weights may differ.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The training data of the fit, kept by reference; K between them where the
            kernel is precomputed.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Target values. Labels must be among those seen in `fit`.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples; None for ones.

        Returns
        -------
        self : object
            The estimator.
        """
        return super().set_training_data(X, y, sample_weight)

    def _check_takes_dask(self, formulation):
        raise UnsupportedEstimatorError(
            f"{type(self).__name__} takes no dask arrays: a kernel model needs the kernel "
            "between all of its training rows. Call compute() on a part of the rows and pass "
            "that, or use a linear model."
        )

    def _check_training_data(self, objective):
        n = objective.formulation.layout.n_features
        if objective.n_rows != n:
            raise ValueError(
                f"X has {objective.n_rows} rows, but the model was fitted on {n}: a kernel "
                "model takes the rows of its fit only."
            )
        own = self._kept_rows()
        if own is not None:
            _take_over(objective.design.basis, *own)


def _take_over(basis, index, rows):
    """Give the rows of a basis the values that the model holds of them.

    A pipeline is fitted on `fit_transform` of its transformers, whose values differ from
    those of `transform` by rounding. Raises where they differ by more.
    """
    given = basis.X[index]
    precision = _ROUNDING.get(given.dtype, _ROUNDING[np.dtype(np.float64)])
    size = max(rows.max(), -rows.min()) if 0 not in rows.shape else 0.0
    off, count = 0.0, 0
    for block in row_blocks(rows.shape[0], 16 * rows.shape[1]):
        change = abs(_minus(given[block], rows[block]))
        values = change.data if issparse(change) else change
        off = max(off, values.max(initial=0.0))
        count += int(np.sum(~(values <= precision * size)))
    if count:
        raise ValueError(
            f"X differs in {count} value(s) from the rows the model was fitted on, by up to "
            f"{off:.3g} where these go up to {size:.3g}: a kernel model takes the rows of its "
            "fit only. Pass those, or fit again for other data; in a pipeline a transformer "
            "may give other values in fit_transform than in transform, and "
            "skinfluence.pipeline.Pipeline keeps those that were fitted."
        )
    if off == 0.0:
        return
    if isinstance(index, slice):
        basis.X = rows.tocsr() if issparse(rows) else rows
    elif issparse(basis.X):
        place = csr_array(
            (np.ones(len(index)), (index, np.arange(len(index)))),
            shape=(basis.X.shape[0], len(index)),
        )
        basis.X = type(basis.X)(basis.X + place @ _minus(rows, given))
    else:
        basis.X = np.array(basis.X)
        basis.X[index] = rows.toarray() if issparse(rows) else rows


def _minus(a, b):
    """Return a - b in double precision, sparse where one of them is."""
    if issparse(a) or issparse(b):
        return csr_array(a, dtype=np.float64) - csr_array(b, dtype=np.float64)
    return np.subtract(a, b, dtype=np.float64)
