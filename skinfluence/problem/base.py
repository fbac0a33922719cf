"""A fitted estimator in mathematical form: objective, parameters, factor.

`ProblemBase` reads an estimator, and factorises the Hessian at its parameters: a `State`.
`samples` checks the samples that methods take. `kinds` warns about points far from the
optimum. `fitting` writes the training data.
The chapter modules compute the public methods' results.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, is_classifier
from sklearn.utils.validation import check_is_fitted

from skinfluence import distributed, existence, l1_support, removal
from skinfluence.exceptions import (
    SingularHessianError,
    TrainingDataMissingError,
    UnsupportedEstimatorError,
    warn,
)
from skinfluence.kinks import kink_change
from skinfluence.namespaces import to_host
from skinfluence.objective import curvature_change, gradient_shift
from skinfluence.optimum import find_optimum, newton_correction
from skinfluence.problem.fitted import FittedObjective
from skinfluence.problem.kinds import Doubts, kind_of, lost_params
from skinfluence.problem.samples import SampleChecks
from skinfluence.solvers import get_solver

# If the rows' gradients change by more than this relative amount, some rows' influence values
# are wrong by more than a few per cent, because a norm over all rows hides small gradients.
GRADIENT_SHIFT_LIMIT = 0.007
# The limit for the largest change in a row's log curvature.
CURVATURE_CHANGE_LIMIT = 0.1
# The limit for the share of the curvature that rows gain or lose at kinks.
KINK_CHANGE_LIMIT = 0.05
# Up to this share of the limits influence is evaluated at the fit, beyond after a Newton step.
# In a default fit of scaled breast cancer, with a shift of 0.004 and a change of 0.08, single
# rows' influence values are wrong by up to 9 %, and after the step by 0.1 %.
_AT_FIT = 0.1
# Rows from which the difference between one-sided derivatives is estimated.
_SOME_ROWS = 256


@dataclass(frozen=True, eq=False)
class State:
    """A fitted objective at one point, with its factorised Hessian.

    Parameters
    ----------
    fitted : FittedObjective
        The fitted objective.
    params : bytes
        The parameters at the point.
    solver : HessianSolver
        The solver that factorised H.
    point : Point
        The objective at the parameters.
    factor : Factor
        H^-1 there.
    """

    fitted: FittedObjective
    params: bytes
    solver: Any
    point: Any
    factor: Any

    @property
    def layout(self):
        """The parameters' shapes."""
        return self.point.objective.formulation.layout

    @cached_property
    def correction(self):
        """The Newton step N = -H^-1 G."""
        return newton_correction(self.point, self.factor)

    @cached_property
    def gradient_shift(self):
        """Relative change in the rows' gradients after one Newton step, to a few digits."""
        return gradient_shift(self.point, self._rough_correction)

    @cached_property
    def curvature_change(self):
        """Bound on the change in a row's log curvature after one Newton step."""
        return curvature_change(self.point, self._rough_correction)

    @cached_property
    def kink_change(self):
        """Share of the curvature that rows gain or lose at kinks over one Newton step."""
        if not self.point.objective.formulation.loss.has_kinks:
            return 0.0
        return kink_change(self.point, self.factor, self._rough_correction)

    @property
    def is_near(self):
        """Whether influence here agrees with the optimum's to a few per cent."""
        return (
            self.gradient_shift <= GRADIENT_SHIFT_LIMIT
            and self.curvature_change <= CURVATURE_CHANGE_LIMIT
            and self.kink_change <= KINK_CHANGE_LIMIT
        )

    @property
    def distance(self):
        """A sentence that tells how far the point is from the optimum."""
        if self.gradient_shift > GRADIENT_SHIFT_LIMIT:
            return (
                "one Newton step would change the rows' gradients by "
                f"{self.gradient_shift:.3g} of their size (gradient_shift), and influence "
                "values are wrong by about as much, those of rows with small gradients by more"
            )
        if self.curvature_change <= CURVATURE_CHANGE_LIMIT:
            return (
                "over one Newton step some rows would cross a kink of the loss and change the "
                f"curvature along some direction by {self.kink_change:.3g} of its size, and "
                "influence values are wrong by up to about as much"
            )
        return (
            "one Newton step would change the curvature of some rows by a factor of up to "
            f"exp({self.curvature_change:.3g}), and their influence values are wrong by about "
            "as much"
        )

    @cached_property
    def recession(self):
        """The `Recession` if the objective has no minimum, None if it has one.

        A short Newton step proves that it has one, unless H is close to singular.
        """
        objective = self.point.objective
        if objective.n_opposed:
            return None
        step = self._rough_correction if self.factor.doubt is None else None
        return existence.find_recession(objective, self.point.theta, step)

    @cached_property
    def kink(self):
        """The mask of parameters at the edge of 0 and how far one-sided derivatives differ.

        None without such parameters. In one of a row's derivatives d, with the gradient g,
        the parameters stay at 0, in the other they are free. The difference is relative, in
        the norm of the Hessian, where d'Hd = g'd.
        """
        theta = self.point.theta
        other = l1_support.other_side(self.point.objective, theta)
        if other is None:
            return None
        n = self.point.objective.n_rows
        sample = np.unique(np.linspace(0, n - 1, min(n, _SOME_ROWS)).astype(np.intp))

        def size(point, factor):
            gradients = point.rows.take(sample).toarray()
            return float(np.sum(gradients * factor.solve(gradients)))

        point = other.at(theta)
        present = self.point.objective.formulation.l1_support
        edge = other.formulation.l1_support.free & ~present.free
        try:
            free = size(point, self.solver.factorise(point))
        except SingularHessianError:
            return edge, np.inf
        fixed = size(self.point, self.factor)
        return edge, np.sqrt(max(free / fixed - 1.0, 0.0)) if fixed > 0 else np.inf

    @cached_property
    def _rough_correction(self):
        """The Newton step to a few digits, or the exact step if it is already computed."""
        correction = vars(self).get("correction")
        if correction is None:
            correction = -self.factor.rough_solve(self.point.gradient[None])[0]
        return correction

    @cached_property
    def optimum(self):
        """The nearby optimum with all rows, from which removal starts."""
        return find_optimum(self.point, self.factor, self.solver)

    @cached_property
    def of_influence(self):
        """The state at which influence is evaluated: this one, or after a Newton step.

        Usual tolerances leave a fit near its optimum, but not at it, and influence values of
        rows with small gradients a few per cent off. Fits that are not near stay as they are,
        and methods warn.
        """
        shift, change = self.gradient_shift, self.curvature_change
        close = shift <= _AT_FIT * GRADIENT_SHIFT_LIMIT
        close &= change <= _AT_FIT * CURVATURE_CHANGE_LIMIT
        if close or not self.is_near or self.recession is not None:
            return self
        point = self.point.objective.at(self.point.theta + self._rough_correction)
        try:
            moved = replace(self, point=point, factor=self.solver.factorise(point))
        except SingularHessianError:
            return self
        return moved if moved.gradient_shift < shift else self


def parent_class(cls):
    """Return the scikit-learn class to which a class adds influence."""
    return next(
        parent
        for parent in cls.__mro__
        if issubclass(parent, BaseEstimator) and not hasattr(parent, "influence_loss")
    )


class ProblemBase(SampleChecks, Doubts):
    """A fitted estimator with its objective, parameters and factor.

    It is a view: it stores nothing itself, and caches results in the estimator.

    Parameters
    ----------
    estimator : estimator
        The fitted estimator.
    """

    #: Whether results include the effect of fitting the earlier steps, see `whole`.
    is_whole = False
    #: Whether the estimator holds several models and has no parameters of its own.
    has_parts = False
    #: Whether it belongs to a composite, whose rows and classes have other names.
    is_member = False
    #: The same problem if feature scales depend on the samples, None if no scale does.
    scaled: Any = None
    #: Directions that the rows of a refit leave undetermined, (r, K, D); None without any.
    open: Any = None
    #: The stages whose fit may jump if rows leave, each with a function from the rows of this
    #: fit to those of the stage, see `jumps`.
    jumping: Any = ()

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
    def fitted_model(self):
        """The fitted object as users have it: the estimator."""
        return self.estimator

    @property
    def has_objective(self):
        """Whether the fit minimised an objective, for Newton steps and refits from a start."""
        return self.estimator._has_objective and not self.estimator._has_moving_target

    @property
    def sample_weight(self):
        """The training samples' weights, (n,)."""
        return self.objective.sample_weight

    @property
    def gamma_moves(self):
        """Whether the kernel's gamma depends on the training samples."""
        fitted = getattr(self.estimator, "_influence_problem", None)
        return fitted is not None and self.parameters.gamma_moves(fitted.params)

    @property
    def counts_samples(self):
        """Whether samples without weight count for class weights or for the kernel."""
        fitted = getattr(self.estimator, "_influence_problem", None)
        form = None if fitted is None else fitted.formulation
        counted = getattr(form, "balanced_by", None) == "count"
        return counted or (self.gamma_moves and not self.parameters.gamma_by_weight)

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
                f"This {self.name} has no record of its fit: call fit, or "
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
        objective = self.objective
        if objective.is_distributed:
            return distributed.in_memory(objective.samples.y)[0]
        return self.decode(objective.target)

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
        y = self.formulation.target.decode(to_host(target))
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
        check_is_fitted(self.estimator)
        return self.parameters.theta(self.estimator, self.formulation.layout)

    @theta.setter
    def theta(self, theta):
        self.write(theta, self.parameters.ndims(self.estimator, self.layout))

    def predict_rows(self, design):
        """Return raw predictions (m, K), NaN if they depend on undetermined parameters."""
        raw = design.predict(self.theta)
        if self.open is not None:
            raw[removal.depends(self.open, design)] = np.nan
        return raw

    @property
    def determined_params(self):
        """Parameters of a refit, (p,), NaN if its rows do not determine them."""
        params = np.array(self.params)
        if self.open is not None:
            params[lost_params(self.layout, self.open)] = np.nan
        return params

    @property
    def n_scores(self):
        """Number of raw predictions per sample, K."""
        return len(self.theta)

    def write(self, theta, ndims):
        """Write parameters (K, D); `ndims` gives the number of axes of (coef, intercept)."""
        layout = self.formulation.layout
        self.parameters.write(self.estimator, theta, layout, ndims, self.fitted.objective)

    def param_names(self):
        check_is_fitted(self.estimator)
        return self.parameters.names(self.estimator, self.layout)

    def label(self, label):
        """Return the user's label of a class; a member of a composite may have a code."""
        given = self.estimator._given_names.classes
        return label if given is None else given[label]

    @property
    def cached_state(self):
        """The last `State` that was computed, None if there is none."""
        return getattr(self.estimator, "_influence_state", None)

    @property
    def parent_class(self):
        """The scikit-learn class to whose `fit` the estimator adds influence."""
        return parent_class(type(self.estimator))

    def settle(self, objective, theta):
        """Return (objective, theta) at the optimum in all parameters.

        `theta` is the optimum in the free parameters. With an l1 penalty, other parameters
        may be free at the optimum in all parameters.
        """
        return kind_of(self, objective.formulation).settle(objective, theta)

    # ---------------------------------------------------------------- the factorised point

    def evaluate(self, objective):
        """Return the objective at the fitted parameters, or at the nearby optimum."""
        return kind_of(self, objective.formulation).evaluate(objective)

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

    def influence_state(self, hessian_solver, n_solves=None, *, quiet=False):
        """Return the state at which influence is evaluated, see `State.of_influence`.

        It warns if the fit is far from its optimum, unless `quiet`.
        """
        state = self.state(hessian_solver, n_solves, quiet=quiet)
        if not quiet:
            self.warn_of_mixing(state)
            self.warn_of_misfit(state)
            self.warn_of_counts(state.point.objective)
        return state.of_influence

    def prediction_state(self, hessian_solver, n_solves=None):
        """Return `influence_state` for scalars that depend on predictions."""
        return self.influence_state(hessian_solver, n_solves)
