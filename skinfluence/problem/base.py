"""A fitted estimator in mathematical form: objective, parameters, factor.

`ProblemBase` reads and writes an estimator, checks samples, and warns about doubtful points.
The chapter modules compute the public methods' results.
"""

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import sklearn
from scipy import sparse
from sklearn.base import is_classifier
from sklearn.utils import check_array
from sklearn.utils.validation import (
    check_consistent_length,
    check_is_fitted,
    validate_data,
)

from skinfluence import active_set, distributed, l1_support
from skinfluence._compat import check_sample_weight
from skinfluence.exceptions import (
    TrainingDataMissingError,
    UnsupportedEstimatorError,
    warn,
)
from skinfluence.gradients import GradientRows
from skinfluence.groups import resolve_groups
from skinfluence.objective import Objective
from skinfluence.problem.doubts import Doubts
from skinfluence.problem.fitted import State
from skinfluence.solvers import get_solver

__all__ = ["ProblemBase", "check_not_negative"]


class ProblemBase(Doubts):
    """A fitted estimator with its objective, parameters and factor.

    It is a view: it stores nothing itself, and caches results in the estimator.

    Parameters
    ----------
    estimator : estimator
        The fitted estimator.
    """

    #: Whether results include the effect of fitting the earlier steps, see `whole`.
    is_whole = False
    #: The same problem if feature scales depend on the samples, None if no scale does.
    scaled: Any = None

    def __init__(self, estimator):
        self.estimator = estimator
        self.parameters = estimator._parameters
        self.responses = estimator._responses

    def transform(self, X):
        """Return samples as the estimator's `fit` takes them."""
        return X

    # ---------------------------------------------------------------- the fit

    @property
    def name(self):
        """Name of the estimator's class."""
        return type(self.estimator).__name__

    @property
    def has_objective(self):
        """Whether the fit minimised an objective, for Newton steps and refits from a start."""
        return self.estimator._has_objective

    @property
    def is_classifier(self):
        """Whether the estimator is a classifier."""
        return is_classifier(self.estimator)

    @property
    def fitted(self):
        """The `FittedObjective`; raises if there is none."""
        fitted = getattr(self.estimator, "_influence_problem", None)
        if fitted is None:
            check_is_fitted(self.estimator)
            raise TrainingDataMissingError(
                f"This {self.name} does not know what it was fitted on: call fit, or "
                "skinfluence.from_fitted(estimator, X, y)."
            )
        return fitted

    @fitted.setter
    def fitted(self, fitted):
        self.estimator._influence_problem = fitted

    @property
    def layout(self):
        """The fitted parameters' shapes."""
        layout = self.fitted.layout
        return self.formulation.layout if layout is None else layout

    @property
    def formulation(self):
        """The objective without data; raises with the reason if there is none."""
        fitted = self.fitted
        if fitted.refusal is not None:
            raise UnsupportedEstimatorError(fitted.refusal)
        if fitted.formulation is None:
            raise TrainingDataMissingError(
                f"The objective of this {self.name} depends on its training data, which it "
                "does not hold. Call set_training_data(X, y, sample_weight) to give them."
            )
        return fitted.formulation

    @property
    def objective(self):
        """The objective with the training data; raises if they are missing."""
        check_is_fitted(self.estimator)
        formulation = self.formulation
        fitted = self.fitted
        if fitted.data_refusal is not None:
            raise UnsupportedEstimatorError(fitted.data_refusal)
        if formulation is None or fitted.objective is None:
            raise TrainingDataMissingError(
                f"This {self.name} does not hold its training data. Call "
                "set_training_data(X, y, sample_weight) to give them."
            )
        return fitted.objective

    @property
    def training_target(self):
        """The training targets as they were given to `fit`."""
        return self.decode(self.objective.target)

    @property
    def n_rows(self):
        """The number of training samples."""
        return self.objective.n_rows

    @property
    def index(self):
        """The training samples' names, None without names."""
        return self.objective.index

    def decode(self, target):
        """Return encoded targets as they were given to `fit`."""
        y = self.formulation.target.decode(target)
        return y[:, 0] if y.ndim == 2 and self.has_flat_target else y

    @property
    def has_flat_target(self):
        """Whether the fit saw one target, as a vector."""
        return self.parameters.has_flat_target(self.estimator, self.layout)

    # ---------------------------------------------------------------- parameters

    @property
    def params(self):
        """Parameters as one vector, laid out as `params_`, (p,)."""
        check_is_fitted(self.estimator)
        return self.parameters.vector(self.estimator, self.layout)

    @property
    def theta(self):
        """Parameters in mathematical form, (K, D)."""
        return self.formulation.layout.from_public(self.params)

    @theta.setter
    def theta(self, theta):
        self.write(theta, self.parameters.ndims(self.estimator, self.layout))

    @theta.setter
    def theta(self, theta):
        self.write(theta, self.parameters.ndims(self.estimator, self.layout))

    @property
    def n_scores(self):
        """Number of raw predictions per sample, K."""
        return len(self.theta)

    def write(self, theta, ndims):
        """Write parameters (K, D); `ndims` gives the number of axes of (coef, intercept)."""
        layout = self.formulation.layout
        self.parameters.write(self.estimator, theta, layout, ndims, self.fitted.objective)

    def check_params(self, params):
        """Return parameter vectors (..., p) as an array of numbers."""
        params = check_array(
            params,
            ensure_2d=False,
            allow_nd=True,
            ensure_all_finite=False,
            input_name="params",
        )
        if params.ndim == 0 or params.shape[-1] != self.layout.size:
            raise ValueError(
                f"params has shape {params.shape}, but the last axis must hold the "
                f"{self.layout.size} parameters of the model."
            )
        return params

    def split_params(self, params):
        return self.parameters.split(self.estimator, self.check_params(params), self.layout)

    def param_names(self):
        check_is_fitted(self.estimator)
        return self.parameters.names(self.estimator, self.layout)

    @property
    def cached_state(self):
        """The last `State` that was computed, None if there is none."""
        return getattr(self.estimator, "_influence_state", None)

    def forget_state(self):
        """Drop results for other parameters or training data."""
        self.estimator._influence_state = None
        for name in ("n_newton_iter_", "newton_decrement_"):
            self.estimator.__dict__.pop(name, None)

    def replace_objective(self, objective, theta=None):
        """Store other training data, and the parameters updated for them."""
        ndims = self.parameters.ndims(self.estimator, self.layout)
        fitted = replace(self.fitted, objective=objective, data_refusal=None)
        if objective is not None:
            form = objective.formulation
            fitted = replace(fitted, formulation=form, layout=form.layout)
        self.fitted = fitted
        if theta is not None:
            self.write(theta, ndims)
        self.forget_state()

    def on(self, objective):
        """Return the problem for a copy of the estimator with other training data."""
        other = self.of(copy.copy(self.estimator))
        other.replace_objective(objective)
        return other

    def name_rows(self, index):
        """Store names for the training rows if the fitted X had none."""
        if index is None:
            return
        fitted = getattr(self.estimator, "_influence_problem", None)
        objective = None if fitted is None else fitted.objective
        if getattr(objective, "index", index) is None and len(index) == objective.n_rows:
            self.fitted = replace(fitted, objective=replace(objective, index=index))

    @property
    def parent_class(self):
        """The scikit-learn class to whose `fit` the estimator adds influence."""
        return type(self.estimator)._parent_class()

    def settle(self, objective, theta):
        """Return (objective, theta) at the optimum in all parameters.

        `theta` is the optimum in the free parameters. With an l1 penalty, other parameters
        may be free at the optimum in all parameters.
        """
        return l1_support.settle(objective, theta, self.refit_on)

    # ---------------------------------------------------------------- samples

    def make_objective(self, formulation, X, y, sample_weight):
        """Return the objective for training data after checking their values."""
        if distributed.is_dask(X, y, sample_weight):
            samples = self.dask_samples(formulation, X, y, sample_weight)
            objective, smallest = distributed.make_objective(formulation, samples)
        else:
            design, target = self.check_samples(formulation, X, y, training=True)
            weights = check_sample_weight(sample_weight, design.X, dtype=np.float64)
            smallest = weights.min()
            # X is kept by reference. Targets and weights are small, so we copy them.
            index = X.index if hasattr(X, "iloc") else None  # a DataFrame's
            objective = Objective(formulation, design, target.copy(), weights.copy(), index)
        check_not_negative(smallest)
        c = formulation.class_weight
        if c is not None and not (np.all(np.isfinite(c)) and c.min() >= 0):
            weights = dict(
                zip(formulation.target.classes.tolist(), c[:, 0].tolist(), strict=True)
            )
            raise UnsupportedEstimatorError(
                f"class_weight comes to {weights}: influence is defined for finite class "
                "weights that are not negative. Give weights as numbers, or drop the class "
                "whose samples all have weight zero."
            )
        self.parameters.remember(self.estimator, objective)
        return objective

    def groups_for(self, groups, cv=None):
        """Return the `Groups` of training rows that the arguments select."""
        return resolve_groups(
            groups,
            cv,
            X=self.objective.design.X,
            y=self.training_target,
            classifier=self.is_classifier,
        )

    def check_X(self, formulation, X, training=False):
        """Return the design for samples that scikit-learn's own checks accept."""
        X = self.validate_X(self.transform(X))
        return self.parameters.make_design(self, formulation, X, training)

    def validate_X(self, X):
        """Return checked samples as an array or a sparse matrix."""
        estimator = self.estimator
        if self.parameters.reads_raw_samples(estimator):
            return X.tocsr() if sparse.issparse(X) else np.asarray(X)
        kind = np.asarray(X).dtype.kind if isinstance(X, list | np.ndarray) else ""
        # Convert arrays from other libraries to NumPy.
        with sklearn.config_context(array_api_dispatch=False):
            X = validate_data(
                estimator,
                X,
                reset=False,
                accept_sparse="csr",
                # Convert text and dates to numbers, as scikit-learn's fit does.
                dtype=np.float64 if kind and kind in "SUMm" else "numeric",
            )
        if not hasattr(estimator, "n_features_in_"):  # after fit(check_input=False)
            expected = self.parameters.layout(estimator).n_features
            if X.shape[1] != expected:
                raise ValueError(
                    f"X has {X.shape[1]} features, but {self.name} is expecting {expected} "
                    "features as input."
                )
        return X

    def check_samples(self, formulation, X, y, training=False):
        """Return (design, target) for labelled samples."""
        design = self.check_X(formulation, X, training)
        if y is None:
            raise ValueError("y is required: it is None.")
        target = formulation.target.encode(y)
        check_consistent_length(design.X, target)
        return design, target

    def dask_samples(self, formulation, X, y, sample_weight=None):
        """Return labelled samples in dask arrays, whose chunks are checked when read."""
        self.parameters.check_takes_dask(self.estimator, formulation)
        samples = distributed.Samples.of(self.transform(X), y, sample_weight)
        self.validate_X(np.zeros((1, samples.X.shape[1])))  # the number of features
        return samples

    def dask_queries(self, formulation, X, y):
        """Return query samples in dask arrays at the fitted parameters."""
        samples = self.dask_samples(formulation, X, y)
        return distributed.make_queries(formulation, samples, self.theta)

    def check_query(self, X, y):
        """Return plain loss gradients for query samples, as `GradientRows`.

        For dask arrays, return a `DistributedPoint`, which contains the gradients.
        """
        check_is_fitted(self.estimator)
        formulation = self.formulation
        if distributed.is_dask(X, y):
            return self.dask_queries(formulation, X, y)
        design, target = self.check_samples(formulation, X, y)
        gradients = formulation.query_gradients(design, target, self.theta)
        unknown = np.flatnonzero(~np.isfinite(gradients.raw_gradient).all(axis=1))
        if len(unknown):
            warn(
                f"The loss of {len(unknown)} of {len(target)} sample(s), such as row "
                f"{unknown[0]}, has no finite gradient at the model's prediction, and results "
                "for them are not finite. Leave them out, or use influence_prediction."
            )
        return gradients

    def given_rows(self, state, X, y):
        """Return (design, target, grad L) for samples, or training data if X is None."""
        objective = state.point.objective
        self.parameters.check_takes_samples(X)
        if X is None:
            if y is not None:
                raise ValueError("y was given without X: pass both, or neither.")
            return objective.design, objective.target, state.point.rows
        formulation = objective.formulation
        design, target = self.check_samples(formulation, X, y)
        return design, target, formulation.weight_gradients(design, target, state.point.theta)

    def pull_sum(self, design, raw_gradient, params):
        """Return a scalar's gradient in the parameters, (p,), from that in raw predictions.

        Parameters
        ----------
        design : Design
            Rows, from `check_X`.
        raw_gradient : ndarray of shape (m, K)
            The gradient in the rows' raw predictions.
        params : ndarray of shape (p,)
            Parameters.
        """
        rows = GradientRows(design, raw_gradient)
        return self.formulation.layout.to_public(rows.sum())

    def refuse_dask(self, method, *arguments, training=True):
        """Raise if a method gets dask arrays that it does not support.

        If `training`, also raise if the training data are dask arrays.
        """
        fitted = getattr(self.estimator, "_influence_problem", None)
        objective = fitted.objective if training and fitted is not None else None
        is_distributed = objective is not None and objective.is_distributed
        if is_distributed or distributed.is_dask(*arguments):
            remedy = "give that to set_training_data" if is_distributed else "pass that"
            raise UnsupportedEstimatorError(
                f"{method} does not take dask arrays: call compute() on a part of the rows "
                f"and {remedy}. The page on large data lists the methods that take them."
            )

    # ---------------------------------------------------------------- the factorised point

    def evaluate(self, objective):
        """Return the objective at the fitted parameters, or at the nearby optimum."""
        if objective.formulation.loss.is_piecewise_linear:
            return active_set.evaluate(objective, self.theta)
        return objective.at(self.theta)

    def state(self, hessian_solver, n_solves=None, *, quiet=False):
        """Return the `State` at the current parameters, factorised at most once.

        It warns if there is no optimum or if the Hessian is close to singular, unless `quiet`.

        The cache key consists of the fitted objective, the parameters' bytes and the solver.
        A state is replaced but never changed, so copies and threads may share it.

        Parameters
        ----------
        hessian_solver : str or HessianSolver
            How to apply H^-1.
        n_solves : int or None, default=None
            Number of right-hand sides, None for many, see `select_solver`.
        quiet : bool, default=False
            Whether to leave out the warnings.
        """
        objective = self.objective
        key = self.params.tobytes()
        # For few right-hand sides we use the factor for many if it already exists.
        solvers = [get_solver(hessian_solver, objective)]
        solvers.append(get_solver(hessian_solver, objective, n_solves))
        solver = solvers[-1]
        state = self.cached_state
        if (
            state is None
            or state.fitted is not self.fitted
            or state.params != key
            or state.solver not in solvers
            or not state.point.is_current()
        ):
            point = self.evaluate(objective)
            with self.naming_directions():
                factor = solver.factorise(point)
            state = State(self.fitted, key, solver, point, factor)
            self.estimator._influence_state = state
        if quiet:
            return state
        if state.recession is not None:
            warn(self.describe_direction(state.recession.direction))
        elif state.factor.doubt is not None:
            warn(state.factor.doubt)
        return state

    def influence_state(self, hessian_solver, n_solves=None):
        """Return the state, with a warning if the point is far from the optimum."""
        state = self.state(hessian_solver, n_solves)
        self.warn_of_mixing(state)
        self.warn_of_misfit(state)
        return state


def check_not_negative(smallest):
    """Raise if the smallest sample weight is negative."""
    if smallest < 0:
        raise UnsupportedEstimatorError(
            f"sample_weight holds {smallest}: influence is defined for weights that are not "
            "negative. Use weights of at least 0."
        )
