"""Targets that the removal of rows has to take past a threshold."""

from abc import ABC, abstractmethod
from copy import copy

import numpy as np
from scipy import stats

from skinfluence import diagnostics
from skinfluence.inspection.conditions import Crossing, Significance


def layout_of(base):
    """Return the layout of the parameters at an optimum."""
    return base.point.objective.formulation.layout


def refit_theta(base):
    """Return the parameters (K, D) of the refit, on the scales that it fitted."""
    scales = base.point.objective.scales
    return base.theta if scales is None else scales.to_refit(base.theta)


class Goal(ABC):
    """A target that has to cross a threshold.

    Attributes
    ----------
    before : float
        Target at the optimum for all rows.
    direction : {-1.0, 1.0}
        Sign of the change that is needed.
    """

    @abstractmethod
    def value(self, base):
        """Return the target at an optimum."""

    @abstractmethod
    def critical(self, base):
        """Return the threshold at an optimum."""

    @abstractmethod
    def first_order(self, base, removals):
        """Return the first-order change in the target without each row, (n,)."""

    @abstractmethod
    def one_step(self, base, removals):
        """Return the change in the target by one Newton step without each row, (n,)."""

    def condition(self, base):
        """Return a condition that the target implies, for a lower bound, or None."""
        return None

    def flipped(self, base):
        """Return whether the target has crossed the threshold."""
        passed = self.direction * (self.value(base) - self.critical(base))
        return bool(passed > 0)

    def gap(self, base):
        """Return the remaining distance to the threshold, at least 0."""
        return max(0.0, self.direction * (self.critical(base) - self.value(base)))


class FunctionalGoal(Goal):
    """The value of a functional."""

    def __init__(self, functional, threshold, full):
        self.functional, self.threshold = functional, threshold
        self.before = self.value(full)
        self.direction = -1.0 if self.before > threshold else 1.0

    def value(self, base):
        on_predictions = hasattr(self.functional, "sample_gradient")
        theta = base.theta if on_predictions else refit_theta(base)
        return self.functional.value(layout_of(base).to_public(theta))

    def critical(self, base):
        return float(self.threshold)

    def first_order(self, base, removals):
        return removals.first_order(base, self.gradient(base))

    def one_step(self, base, removals):
        return removals.change(base, self.gradient(base))

    def condition(self, base):
        parts = self.functional.linear_parts()
        if parts is None:
            return None
        parts = layout_of(base).from_public(parts)
        parts = [(float(np.sum(V * base.theta)), V) for V in parts]
        return Crossing(parts, float(self.threshold), self.direction)

    def gradient(self, base):
        """Return the gradient of the functional at an optimum, (K, D)."""
        layout = layout_of(base)
        gradient = self.functional.gradient(layout.to_public(base.theta))
        return layout.from_public(np.asarray(gradient, dtype=np.float64))


class SignificanceGoal(Goal):
    """A parameter divided by its standard error.

    Parameters
    ----------
    position : int
        Index of the parameter in `params_`.
    level : float
        Level of the two-sided test.
    opposite : bool
        Whether the parameter has to become significant with the other sign, rather than to
        lose or to gain significance.
    full : Base
        Optimum for all rows.
    """

    def __init__(self, position, level, opposite, full):
        self.level, self.opposite = level, opposite
        self.take_param(position, full)
        self.before = self.value(full)
        self.side = 1.0 if self.before >= 0 else -1.0
        significant = abs(self.before) > self.critical_size(full)
        self.direction = -self.side if significant or opposite else self.side

    def take_param(self, position, base):
        """Make the parameter at a position in a base the target."""
        self.position = position
        indicator = np.zeros(layout_of(base).size)
        indicator[position] = 1.0
        self.V = layout_of(base).from_public(indicator)
        self.output = int(np.flatnonzero(self.V.any(axis=1))[0])

    def in_refit(self, position, base, kept):
        """Return the goal for the base of another fit, of some of the rows.

        Parameters
        ----------
        position : int
            Index of the parameter in that fit.
        base : Base
            Its optimum.
        kept : ndarray of shape (m,)
            Its rows.
        """
        moved = copy(self)
        moved.take_param(position, base)
        return moved

    def value(self, base):
        return float(np.sum(self.V * base.theta) / self.standard_error(base))

    def critical(self, base):
        return (-self.side if self.opposite else self.side) * self.critical_size(base)

    def critical_size(self, base):
        """Return the critical absolute value."""
        if not base.point.objective.formulation.loss.has_dispersion:
            return stats.norm.isf(self.level / 2)
        return stats.t.isf(self.level / 2, self._dispersion(base)[1])

    def flipped(self, base):
        if self.opposite:
            return super().flipped(base)
        # The sign may change as well: a coefficient that is significant on either side of
        # zero counts as significant.
        significant = abs(self.value(base)) > self.critical_size(base)
        return bool(significant == (self.direction == self.side))

    def first_order(self, base, removals):
        # The parameter changes, and so do both factors of its standard error.
        error, z = self.standard_error(base), self.value(base)
        moved = removals.first_order(base, self.V) / error
        return moved - 0.5 * z * (
            self._relative_variance(base, 0.0) + self._relative_dispersion(base)
        )

    def one_step(self, base, removals):
        point = base.point
        shares = diagnostics.curvature_shares(point, base.plain_factor, n_jobs=removals.n_jobs)
        measures = diagnostics.RemovalMeasures(base, *shares)
        param = np.empty(point.objective.n_rows)

        def emit(indices, theta):
            measures.add(indices, theta)
            param[indices] = np.tensordot(theta, self.V, 2)

        removals.without_one_more(base, emit)
        grown = 1.0 + self._relative_variance(base, shares[0])
        phi = measures.deleted_dispersion[:, self.output] / measures.dispersion[self.output]
        with np.errstate(invalid="ignore", divide="ignore"):
            after = param / (self.standard_error(base) * np.sqrt(grown * phi))
        return after - self.value(base)

    def condition(self, base):
        objective = base.point.objective
        loss = objective.formulation.loss
        is_significant = self.direction != self.side
        dispersion = None
        if loss.has_dispersion:
            if not loss.constant_curvature or objective.penalty[self.output].any():
                return self._sign_change(base)
            total = diagnostics.chi_squares(base.point)[:, self.output].sum()
            dispersion = float(total), float(self._dispersion(base)[1])
        return Significance(
            value=float(np.sum(self.V * base.theta)),
            V=self.V,
            level=self.level,
            change="opposite" if self.opposite else "lost" if is_significant else "gained",
            variance=float(base.plain_factor.quadratic(self.V[None])[0]),
            dispersion=dispersion,
        )

    def _sign_change(self, base):
        """Return the condition that the sign changes, if that is necessary, or None."""
        value = float(np.sum(self.V * base.theta))
        return Crossing([(value, self.V)], 0.0, self.direction) if self.opposite else None

    def standard_error(self, base):
        """Return the standard error of the parameter."""
        variance = base.plain_factor.quadratic(self.V[None])[0]
        if base.point.objective.formulation.loss.has_dispersion:
            variance *= self._dispersion(base)[0]
        return np.sqrt(variance)

    def _dispersion(self, base):
        """Return phi and n - p."""
        leverage = diagnostics.leverages(base.point, base.plain_factor)
        phi = diagnostics.dispersion(base.point, leverage)
        dof = diagnostics.degrees_of_freedom(base.point, leverage)
        return phi[self.output], dof[self.output]

    def _relative_dispersion(self, base):
        """Return the first-order relative growth of phi without each row, (n,).

        It is (1 - chi-square_i / phi) / (n - p).
        """
        point = base.point
        present = point.objective.sample_weight > 0
        if not point.objective.formulation.loss.has_dispersion:
            return np.zeros(len(present))
        phi, dof = self._dispersion(base)
        chi_square = diagnostics.chi_squares(point)[:, self.output]
        return present * (1.0 - chi_square / phi) / dof

    def _relative_variance(self, base, leverage):
        """Return the relative growth of (H^-1)_jj without each row, (n,).

        It is r' W r / (1 - h) with r = x~_i H^-1 e_j, if the curvatures W do not change. A
        coupled loss leaves out the factor 1 / (1 - h), which is a second-order effect.
        """
        point = base.point
        solved = base.plain_factor.solve(self.V[None])[0]
        r = point.objective.design.predict(solved)
        squares = r * point.curvature_product(r)
        if not point.objective.coupled:
            squares = squares / np.maximum(1.0 - leverage, np.finfo(float).eps)
        return squares.sum(axis=1) / np.sum(self.V * solved)
