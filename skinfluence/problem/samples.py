"""Checked samples of a problem: training data, queries, groups of rows."""

import numpy as np
import sklearn
from scipy import sparse
from sklearn.utils import check_array
from sklearn.utils.validation import (
    check_consistent_length,
    check_is_fitted,
    validate_data,
)

from skinfluence import distributed
from skinfluence._compat import check_sample_weight
from skinfluence.exceptions import UnsupportedEstimatorError, warn
from skinfluence.gradients import GradientRows
from skinfluence.groups import resolve_groups
from skinfluence.namespaces import (
    device_array,
    is_device,
    is_foreign,
    place_of,
    to_host,
    unsupported,
)
from skinfluence.objective import Objective
from skinfluence.targets import check_target


class SampleChecks:
    """Checks the samples that methods take, for a problem with an estimator."""

    def make_objective(self, formulation, X, y, sample_weight):
        """Return the objective for training data after checking their values."""
        if distributed.is_dask(X, y, sample_weight):
            samples = self.dask_samples(formulation, X, y, sample_weight)
            objective, smallest = distributed.make_objective(formulation, samples)
        else:
            design, target = self.check_samples(formulation, X, y, training=True)
            rows = design.X if design.like is None else np.empty((design.n_rows, 0))
            weights = check_sample_weight(to_host(sample_weight), rows, dtype=np.float64)
            smallest = weights.min()
            # X is kept by reference. Targets and weights are small, so we copy them.
            index = X.index if hasattr(X, "iloc") else None  # a DataFrame's
            weights = np.array(weights, like=design.like)
            objective = Objective(formulation, design, target.copy(), weights, index)
            objective = objective.balanced()
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
        X, y, index = self.rows_for_scikit_learn, None, None
        if self.objective.is_distributed:  # splitters take the number of rows from X
            X = np.broadcast_to(0.0, (self.n_rows, 1))
            if distributed.is_dask(groups):
                (groups,) = distributed.in_memory(groups)
        if cv is not None or not self.objective.is_distributed:
            y = self.training_target
        if not self.objective.is_distributed:
            index = self.index
        return resolve_groups(groups, cv, X=X, y=y, classifier=self.is_classifier, index=index)

    @property
    def rows_for_scikit_learn(self):
        """The training rows as splitters and scorers take them."""
        X = self.objective.design.X
        return X.raw if is_device(X) else X

    def check_X(self, formulation, X, training=False):
        """Return the design for samples that scikit-learn's own checks accept."""
        X = self.transform(X)
        self.check_place(formulation, X, training)
        return self.parameters.make_design(self, formulation, self.validate_X(X), training)

    def check_scores(self, X):
        """Return the design whose raw predictions functionals take, for checked samples."""
        return self.check_X(self.formulation, X)

    def check_place(self, formulation, X, training):
        """Raise unless X is of the library, and on the device, of the model's parameters."""
        space = place_of(X) if is_foreign(X) else None
        coef = vars(self.estimator).get("coef_")
        fitted = place_of(coef) if training else self.space
        if space == fitted:
            if space is not None:
                self.parameters.check_takes_devices(self.estimator, formulation, space.name)
            return
        at_fit = "NumPy" if fitted is None else f"{fitted.name} on {fitted.device}"
        remedy = f"convert X to {at_fit}"
        if fitted is not None:
            remedy += " and set sklearn.set_config(array_api_dispatch=True)"
        given = "NumPy's, or is converted" if space is None else f"{space.name}'s"
        raise UnsupportedEstimatorError(
            f"X is {given}, and this {self.name} was fitted on arrays of {at_fit}: {remedy}, "
            "or fit again."
        )

    @property
    def space(self):
        """The library and device of the training rows; None for NumPy."""
        fitted = getattr(self.estimator, "_influence_problem", None)
        design = getattr(getattr(fitted, "objective", None), "design", None)
        return None if getattr(design, "like", None) is None else design.like.space

    def validate_X(self, X):
        """Return checked samples as an array or a sparse matrix."""
        estimator = self.estimator
        if self.parameters.reads_raw_samples(estimator):
            return X.tocsr() if sparse.issparse(X) else np.asarray(X)
        kind = np.asarray(X).dtype.kind if isinstance(X, list | np.ndarray) else ""
        # Arrays from other libraries are converted to NumPy if scikit-learn converts them.
        foreign = is_foreign(X)
        with sklearn.config_context(array_api_dispatch=foreign):
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
        return device_array(X) if foreign else X

    @property
    def like(self):
        """An array beside which results are made; None for NumPy's."""
        objective = self.objective
        return None if objective.is_distributed else objective.design.like

    def check_samples(self, formulation, X, y, training=False):
        """Return (design, target) for labelled samples."""
        design = self.check_X(formulation, X, training)
        check_target(y)
        target = formulation.target.encode(to_host(y))
        if len(target) != design.n_rows:  # with scikit-learn's message
            check_consistent_length(np.empty(design.n_rows), target)
        return design, np.asarray(target, like=design.like)

    @staticmethod
    def check_values(values, name, **options):
        """Return numbers that scikit-learn's own checks accept, in float64."""
        if is_foreign(values):
            dtype = place_of(values).dtype(np.float64)
            return device_array(check_array(values, dtype=dtype, input_name=name, **options))
        return check_array(values, dtype=np.float64, input_name=name, **options)

    def dask_samples(self, formulation, X, y, sample_weight=None):
        """Return labelled samples in dask arrays, whose chunks are checked when read."""
        self.parameters.check_takes_dask(self.estimator, formulation)
        X = self.transform(X)
        samples = distributed.Samples.of(X, y, sample_weight)
        self.validate_X(distributed.example_row(X))  # the number of features, and their names
        return samples

    def dask_queries(self, formulation, X, y, theta):
        """Return query samples in dask arrays at parameters (K, D)."""
        samples = self.dask_samples(formulation, X, y)
        return distributed.make_queries(formulation, samples, theta)

    def check_query(self, X, y, theta=None, *, hessian_solver="auto"):
        """Return plain loss gradients for query samples, as `GradientRows`.

        They are those at parameters (K, D), by default at those where influence is evaluated:
        a query may lie on one side of a kink there and on the other at the fit. If these are
        not known, `hessian_solver` finds them, so pass that of the call. For dask arrays,
        return a `DistributedPoint`, which contains the gradients.
        """
        check_is_fitted(self.estimator)
        formulation = self.formulation
        theta = self.influence_theta(hessian_solver) if theta is None else theta
        if distributed.is_dask(X, y):
            return self.dask_queries(formulation, X, y, theta)
        design, target = self.check_samples(formulation, X, y)
        gradients = formulation.query_gradients(design, target, theta)
        unknown = np.flatnonzero(~np.isfinite(gradients.raw_gradient).all(axis=1))
        if len(unknown):
            warn(
                f"The loss of {len(unknown)} of {len(target)} sample(s), such as row "
                f"{unknown[0]}, has no finite gradient at the model's prediction, and results "
                "for them are not finite. Leave them out, or use influence_prediction."
            )
        return gradients

    def given_rows(self, state, X, y, *, class_effects=True):
        """Return (design, target, grad L) for samples, or training data if X is None.

        With `class_effects`, the gradients include the part through "balanced" class weights.
        """
        objective = state.point.objective
        self.parameters.check_takes_samples(X)
        if X is None:
            if y is not None:
                raise ValueError("y was given without X: pass both, or neither.")
            rows = state.point.weight_rows if class_effects else state.point.rows
            return objective.design, objective.target, rows
        formulation = objective.formulation
        effects = state.point.class_effects if class_effects else None
        design, target = self.check_samples(formulation, X, y)
        rows = formulation.weight_gradients(design, target, state.point.theta, effects)
        return design, target, rows

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
        # Methods run where the rows are, functions of other modules on NumPy arrays.
        if training and self.space is not None and not hasattr(self, method.split()[0]):
            raise unsupported(method, self.space)


def check_not_negative(smallest):
    """Raise if the smallest sample weight is negative."""
    if smallest < 0:
        raise UnsupportedEstimatorError(
            f"sample_weight holds {smallest}: influence is defined for weights that are not "
            "negative. Use weights of at least 0."
        )
