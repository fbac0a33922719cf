"""How a model stores its parameters and training rows: one class for each way.

An estimator sets the class attribute `_parameters` to an instance. Computations use the
parameters as theta (K, D), see `layout`. These classes read theta from a fitted model's
attributes and write it back. They contain no data, so one instance serves a whole class.

`Coefficients` has one coefficient per feature, in `coef_` and `intercept_`.
`CoefficientsAndScale` adds the scale in Huber's regression. `DualCoefficients` has one
coefficient per training row.
"""

from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array, issparse

from skinfluence import influence
from skinfluence.blocks import row_blocks
from skinfluence.design import make_design
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.kernels import Basis, KernelDesign, KernelQueries
from skinfluence.layout import ParameterLayout, ScaleLayout
from skinfluence.namespaces import from_host, to_host

# Largest difference between given rows and the fit's rows, relative to the largest value.
# `fit_transform` and `transform` compute the same values in two ways. We measured differences
# up to 8e-13 in double and 4e-5 in single precision (KernelPCA, PCA).
_ROUNDING = {np.dtype(np.float64): 1e-11, np.dtype(np.float32): 1e-4}


class GivenNames(NamedTuple):
    """Names that a composite gives to a member, which was fitted on arrays and codes.

    Attributes
    ----------
    features : sequence of str or None
        Names of the features.
    classes : sequence or None
        The user's class for each code.
    """

    features: Any = None
    classes: Any = None


class Coefficients:
    """Feature coefficients and intercepts, in `coef_` and `intercept_`."""

    #: Name for an entry in `params_` that multiplies a feature.
    term = "coef"
    #: Whether each parameter belongs to a training row.
    is_dual = False
    #: Whether gamma="scale" depends on the sample weights.
    gamma_by_weight = False

    def layout(self, model):
        """Return the shapes of a fitted model's parameters."""
        # fit(check_input=False) does not set n_features_in_.
        *outputs, n_features = np.shape(model.coef_)
        return ParameterLayout(*(outputs or [1]), n_features, model.fit_intercept)

    def read(self, model, layout):
        """Return a fitted model's (coef, intercept) in the shapes of its attributes."""
        coef = to_host(model.coef_)
        return (coef.toarray() if issparse(coef) else coef), to_host(model.intercept_)

    def ndims(self, model, layout):
        """Return the number of axes for each of (coef, intercept)."""
        return [np.ndim(part) for part in self.read(model, layout)]

    def has_flat_target(self, model, layout):
        """Return whether the fit saw one target, as a vector."""
        return np.ndim(self.read(model, layout)[0]) == 1

    def vector(self, model, layout):
        """Return a fitted model's parameters as `params_`, (p,)."""
        coef, intercept = self.read(model, layout)
        if not layout.fit_intercept:
            return np.ravel(coef).astype(np.float64)
        return np.concatenate([np.ravel(coef), np.ravel(intercept)]).astype(np.float64)

    def theta(self, model, layout):
        """Return a fitted model's parameters as theta (K, D)."""
        coef, intercept = self.read(model, layout)
        coef = np.array(coef, dtype=np.float64, ndmin=2)
        return np.column_stack([coef, np.ravel(intercept)]) if layout.fit_intercept else coef

    def write(self, model, theta, layout, ndims, objective):
        """Write theta (K, D) into a model's attributes.

        Parameters
        ----------
        model : estimator
            The fitted model.
        theta : ndarray of shape (K, D)
            Parameters.
        layout : ParameterLayout
            Their shapes.
        ndims : list of int
            Number of axes for each of (coef, intercept), see `ndims`.
        objective : Objective
            The objective with the training data, which theta minimises.
        """
        theta = to_host(theta)
        coef = theta[:, : layout.n_features].copy()
        intercept = theta[:, -1].copy() if layout.fit_intercept else np.zeros(len(theta))
        coef = coef if ndims[0] == 2 else coef[0]
        intercept = intercept if ndims[1] == 1 else float(intercept[0])
        like = None if objective is None else objective.design.like
        coef, intercept = from_host(coef, like), from_host(intercept, like)
        self.store(model, coef, intercept, layout, objective)

    def store(self, model, coef, intercept, layout, objective):
        """Store parameters in the same shapes as `read`."""
        model.coef_ = coef
        if layout.fit_intercept:
            model.intercept_ = intercept

    def split(self, model, params, layout):
        """Return parameter vectors (..., p) in the shapes of `coef_` and `intercept_`."""
        lead, n_coef = params.shape[:-1], layout.n_outputs * layout.n_features
        fitted_coef, fitted_intercept = self.read(model, layout)
        coef = params[..., :n_coef].reshape(*lead, *np.shape(fitted_coef))
        shape = (*lead, *np.shape(fitted_intercept))
        if not layout.fit_intercept:
            return coef, np.zeros(shape)
        return coef, params[..., n_coef:].reshape(shape)

    def names(self, model, layout):
        """Return a name for each entry in `params_`, a list of str."""
        outputs = self.output_names(model, layout.n_outputs)
        names = [
            f"{self.term}[{output}, {column}]" if output else f"{self.term}[{column}]"
            for output in outputs
            for column in self.column_names(model, layout.n_features)
        ]
        if layout.fit_intercept:
            names += [f"intercept[{output}]" if output else "intercept" for output in outputs]
        return names

    def column_names(self, model, n_features):
        """Return the feature names."""
        features = getattr(model, "feature_names_in_", model._given_names.features)
        if features is None or len(features) != n_features:
            return [f"x{j}" for j in range(n_features)]
        return features

    def class_names(self, model):
        """Return the names of the classes, None if the model has none."""
        classes, given = getattr(model, "classes_", None), model._given_names.classes
        if classes is None or given is None:
            return to_host(classes)
        return [given[code] for code in classes]

    def output_names(self, model, n_outputs):
        """Return the output names; a single output has an empty name."""
        if n_outputs == 1:
            return [""]
        classes = self.class_names(model)
        if classes is not None and len(classes) == n_outputs:
            return [str(label) for label in classes]
        return [str(k) for k in range(n_outputs)]

    def refitted(self, model, refit, rows, layout):
        """Return a refit's parameters on some training rows, laid out as `params_`."""
        return self.vector(refit, layout)

    def forget(self, model):
        """Drop the attributes that belong to an earlier fit."""

    def remember(self, model, objective):
        """Store facts about the training data that later refits need."""

    def gamma_moves(self, params):
        """Return whether constructor parameters give a gamma that depends on the samples."""
        return False

    def weights_move(self, model, params):
        """Return why a value that `fit` chose moves with the weights in an unknown way."""

    def reads_raw_samples(self, model):
        """Return whether `predict` accepts samples that scikit-learn does not check."""
        return False

    def make_design(self, problem, formulation, X, training):
        """Return the design for checked samples, for training or for queries."""
        return make_design(X, formulation.layout.fit_intercept)

    def rows_of_X(self, objective, rows):
        """Return training rows as `fit` takes them."""
        return objective.design.X[rows]

    def take_rows(self, objective, theta, rows):
        """Return (objective, theta) with only some of the training rows."""
        return objective.take(rows), theta

    def append_rows(self, objective, theta, more):
        """Return (objective, theta) with another objective's rows appended."""
        return objective.append(more), theta

    def check_takes_samples(self, X):
        """Raise if parameter derivatives are not defined for new samples."""

    def check_training_data(self, model, objective):
        """Raise if a fitted model cannot use these training data."""

    def check_takes_dask(self, model, formulation):
        """Raise if a model's rows cannot be in dask arrays."""
        if formulation.loss.is_piecewise_linear:
            raise UnsupportedEstimatorError(
                f"{type(model).__name__}(loss={model.loss!r}) takes no dask arrays: its "
                f"active set needs single rows in memory. Use loss='squared_{model.loss}', or "
                "call compute() on a part of the rows and pass that."
            )
        if formulation.l1_support is not None:
            raise UnsupportedEstimatorError(
                f"{type(model).__name__} keeps coefficients at 0 and takes no dask arrays: "
                "the check whether they stay there needs the rows in memory. Use a squared "
                "penalty, without bounds, or call compute() on a part of the rows and pass "
                "that."
            )

    def check_takes_devices(self, model, formulation, library):
        """Raise if a model's rows cannot be arrays of another library."""
        loss = formulation.loss
        if loss.is_piecewise_linear or formulation.l1_support is not None:
            raise UnsupportedEstimatorError(
                f"{type(model).__name__} takes no arrays of {library}: its active set is "
                "computed with NumPy. Fit it on NumPy arrays, or call "
                "skinfluence.from_fitted(estimator, X, y) with NumPy arrays on a fit on them."
            )

    def check_perturbable(self, objective):
        """Raise if predictions have no derivative in the features."""

    def perturbation(self, name, point, factor, query, index):
        """Return one training row's I_pert,loss on query rows, (q, d)."""
        if np.isinf(point.curvature([index])).any():
            raise UnsupportedEstimatorError(
                f"Training sample {index} is exactly at a kink of the loss, and {name} does "
                "not determine its multiplier: use SVC or SVR with kernel='linear', or a "
                "smooth loss."
            )
        if point.objective.pin is not None:
            raise UnsupportedEstimatorError(
                f"The features of this {name} depend on each other, and moving one sample may "
                "make its solution of least norm jump: drop features, or use Ridge."
            )
        return influence.perturbation(point, factor, query, index)


class CoefficientsAndScale(Coefficients):
    """Coefficients, an intercept and the residual scale, in `scale_`."""

    def layout(self, model):
        return ScaleLayout(2, model.n_features_in_, True, model.fit_intercept)

    def ndims(self, model, layout):
        return []

    def vector(self, model, layout):
        intercept = [model.intercept_] if layout.has_intercept else []
        return np.concatenate([model.coef_, intercept, [model.scale_]])

    def theta(self, model, layout):
        return layout.from_public(self.vector(model, layout))

    def write(self, model, theta, layout, ndims, objective):
        model.coef_ = theta[0, :-1].copy()
        if layout.has_intercept:
            model.intercept_ = float(theta[0, -1])
        model.scale_ = float(theta[1, -1])
        residual = objective.target[:, 0] - objective.design.predict(theta)[:, 0]
        epsilon = objective.formulation.loss.epsilon
        model.outliers_ = np.abs(residual) > epsilon * model.scale_

    def split(self, model, params, layout):
        theta = layout.from_public(params)
        return theta[..., 0, :-1], theta[..., 0, -1]

    def names(self, model, layout):
        names = [f"coef[{name}]" for name in self.column_names(model, layout.n_features)]
        return [*names, *(["intercept"] if layout.has_intercept else []), "scale"]

    def check_takes_dask(self, model, formulation):
        raise UnsupportedEstimatorError(
            f"{type(model).__name__} takes no dask arrays: its scale and its outliers are "
            "found on rows in memory. Call compute() on a part of the rows and pass that, or "
            "use SGDRegressor(loss='huber')."
        )


class DualCoefficients(Coefficients):
    """A kernel model's coefficients, one for each training row and problem, and intercepts.

    `params_` has a coefficient for every training row, zero for rows that are not support
    vectors. Results about predictions and losses are computed in function space and need no
    coefficients. A subclass for a scikit-learn class adds

        kernel(model, X)               the `Kernel` for the fit on X
        problems(model)                number of problems K; whether they have intercepts
        n_training_rows(model)         n
        kept_rows(model)               (index, rows) that the model stores from X, or None
        read_dual(model, n)            dual coefficients (K, n) and intercepts
        write_dual(model, coef, intercept, objective)
    """

    term = "dual_coef"
    is_dual = True

    def gamma_moves(self, params):
        scales = params is not None and params.get("gamma") == "scale"
        return scales and params["kernel"] in ("rbf", "poly", "sigmoid")

    def layout(self, model):
        n_outputs, has_intercept = self.problems(model)
        return ParameterLayout(n_outputs, self.n_training_rows(model), has_intercept)

    def read(self, model, layout):
        return self.read_dual(model, layout.n_features)

    def refitted(self, model, refit, rows, layout):
        part, intercept = self.read_dual(refit, len(rows))
        coef = np.zeros((*part.shape[:-1], layout.n_features))
        coef[..., rows] = part
        if not layout.fit_intercept:
            return coef.ravel()
        return np.concatenate([coef.ravel(), np.ravel(intercept)])

    def store(self, model, coef, intercept, layout, objective):
        self.write_dual(model, coef, intercept, objective)
        if model._fitted_kernel.is_precomputed:
            model.n_features_in_ = objective.n_rows
            model.__dict__.pop("feature_names_in_", None)  # the named columns no longer exist

    def column_names(self, model, n_features):
        return [str(i) for i in range(n_features)]

    def output_names(self, model, n_outputs):
        classes = self.class_names(model)
        if n_outputs == 1 or classes is None:
            return super().output_names(model, n_outputs)
        return [f"{a} vs {b}" for a, b in combinations(classes, 2)]

    def forget(self, model):
        self.keep_kernel(model, None)

    def keep_kernel(self, model, kernel):
        """Store the fit's `Kernel`, or None if it is unknown."""
        model._fitted_kernel = kernel

    def make_design(self, problem, formulation, X, training):
        model, fit_intercept = problem.estimator, formulation.layout.fit_intercept
        if training:
            if model._fitted_kernel is None:
                self.keep_kernel(model, self.kernel(model, X))
            # Our own fit has already computed K.
            basis = model.__dict__.pop("_fitted_basis", None)
            if basis is None or not basis.is_of(X):
                basis = Basis(model._fitted_kernel, X)
            return KernelDesign(basis, fit_intercept)
        basis = problem.objective.design.basis
        if basis.kernel.is_precomputed and X.shape[1] != len(basis):
            raise ValueError(
                f"X has {X.shape[1]} columns, but with kernel='precomputed' it must hold "
                f"K between the samples and the {len(basis)} training samples."
            )
        return KernelQueries(basis, X, fit_intercept)

    def rows_of_X(self, objective, rows):
        return objective.design.basis.take(rows).X

    def take_rows(self, objective, theta, rows):
        intercept = theta[:, objective.design.n_features :]
        theta = np.concatenate([theta[:, rows], intercept], axis=1)
        return objective.restrict(rows), theta

    def append_rows(self, objective, theta, more):
        n, m = objective.n_rows, more.n_rows
        theta = np.insert(theta, [n] * m, 0.0, axis=1)
        return objective.append(more).restrict(slice(None)), theta

    def check_takes_samples(self, X):
        if X is not None:
            raise ValueError(
                "The parameters of a kernel model are coefficients of its training samples, "
                "and another sample would need an additional one: leave out X and y, or use "
                "influence_loss, influence_prediction or influence_functional."
            )

    def check_training_data(self, model, objective):
        n = objective.formulation.layout.n_features
        if objective.n_rows != n:
            raise ValueError(
                f"X has {objective.n_rows} rows, but the model was fitted on {n}: a kernel "
                "model takes the rows of its fit only."
            )
        kept = self.kept_rows(model)
        if kept is not None:
            _take_over(objective.design.basis, *kept)

    def check_takes_dask(self, model, formulation):
        raise UnsupportedEstimatorError(
            f"{type(model).__name__} takes no dask arrays: a kernel model needs the kernel "
            "between all of its training rows. Call compute() on a part of the rows and pass "
            "that, or use a linear model."
        )

    def check_takes_devices(self, model, formulation, library):
        raise UnsupportedEstimatorError(
            f"{type(model).__name__} takes no arrays of {library}: kernels are computed with "
            "NumPy. Fit it on NumPy arrays."
        )

    def check_perturbable(self, objective):
        kernel = objective.design.basis.kernel
        if not kernel.has_gradient:
            raise UnsupportedEstimatorError(
                "influence_perturbation, and influence through steps before the model, need "
                "the derivative of the kernel, which is not known for "
                f"kernel={kernel.metric!r}: use 'linear', 'rbf', 'poly' or 'sigmoid'. The "
                "methods that remove samples (leave_out_*) do not need it."
            )

    def perturbation(self, name, point, factor, query, index):
        return influence.kernel_perturbation(point, factor, query, index)


def _take_over(basis, index, rows):
    """Replace a basis's rows by the values that the model stores.

    A pipeline is fitted on the transformers' `fit_transform`, whose values differ from
    `transform` by rounding errors. Raise if they differ by more.
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
    """Return a - b in double precision; it is sparse if either of them is sparse."""
    if issparse(a) or issparse(b):
        return csr_array(a, dtype=np.float64) - csr_array(b, dtype=np.float64)
    return np.subtract(a, b, dtype=np.float64)
