"""The objective that a fit minimised, and its factorised state.

`fit` stores one immutable `FittedObjective`. Everything else is computed on demand from this
objective and the current parameters.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from skinfluence import convergence, existence, l1_support, removal
from skinfluence.exceptions import SingularHessianError
from skinfluence.kinks import kink_change
from skinfluence.layout import ParameterLayout
from skinfluence.objective import Formulation, Objective

# If the rows' gradients change by more than this relative amount, some rows' influence values
# are wrong by more than a few per cent, because a norm over all rows hides small gradients.
GRADIENT_SHIFT_LIMIT = 0.007
# The limit for the largest change in a row's log curvature.
CURVATURE_CHANGE_LIMIT = 0.1
# The limit for the share of the curvature that rows gain or lose at kinks.
KINK_CHANGE_LIMIT = 0.05
# Rows from which the difference between one-sided derivatives is estimated.
_SOME_ROWS = 256


@dataclass(frozen=True, eq=False)
class FittedObjective:
    """The objective that `fit` minimised.

    Parameters
    ----------
    formulation : Formulation or None
        The objective without data; None if the configuration has no influence, and if the
        formulation depends on training data that are not known yet.
    objective : Objective or None
        The same objective with the training data; None after they were dropped.
    refusal : str or None
        Why the configuration has no influence.
    data_refusal : str or None
        Why the fit's training data have no influence; other data may have it.
    layout : ParameterLayout
        The fitted parameters' shapes.
    params : dict or None
        Constructor parameters at fit time, for refits.
    """

    formulation: Formulation | None = None
    objective: Objective | None = None
    refusal: str | None = None
    data_refusal: str | None = None
    layout: ParameterLayout | None = None
    params: dict | None = None

    def with_formulation(self, formulation):
        """Return the same fit with another description of its objective, None for none."""
        layout = None if formulation is None else formulation.layout
        objective = self.objective
        if objective is not None:
            objective = replace(objective, formulation=formulation)
        return replace(self, formulation=formulation, objective=objective, layout=layout)

    def on(self, objective):
        """Return the same fit with other training data."""
        # "balanced" class weights belong to the training data.
        form = objective.formulation
        return replace(self, formulation=form, objective=objective, data_refusal=None)


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
        return convergence.newton_correction(self.point, self.factor)

    @cached_property
    def gradient_shift(self):
        """Relative change in the rows' gradients after one Newton step, to a few digits."""
        return convergence.gradient_shift(self.point, self._rough_correction)

    @cached_property
    def curvature_change(self):
        """Bound on the change in a row's log curvature after one Newton step."""
        return convergence.curvature_change(self.point, self._rough_correction)

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
        objective, doubt = self.point.objective, self.factor.doubt
        if not existence.may_recede(objective):
            return None
        if doubt is None and not existence.may_lack_minimum(objective, self._rough_correction):
            return None
        return existence.find_recession(objective, self.point.theta)

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
        return removal.find_optimum(self.point, self.factor, self.solver)
