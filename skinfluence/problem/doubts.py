"""Warnings about a fitted point that is far from the optimum or has none."""

from contextlib import contextmanager

import numpy as np

from skinfluence import existence, removal
from skinfluence._compat import TOL_DECIDES_RANK
from skinfluence.exceptions import SingularHessianError, warn
from skinfluence.problem.kinds import kind_of

__all__ = ["Doubts", "lost_params"]

# Warn if dropped least squares directions mix into kept ones by more than this share.
_MIXED = 0.02
_NAN = (
    "Results about these parameters are NaN, and so are those about predictions and losses "
    "that depend on them."
)


class Doubts:
    """Warns about doubtful points, and names the directions without an optimum."""

    def warn_of_mixing(self, state):
        """Warn if directions that least squares drops have variance that matters."""
        spectrum = getattr(state.point.objective, "spectrum", None)
        if spectrum is not None and spectrum.mixing > _MIXED:
            lower = ", or lower tol" if TOL_DECIDES_RANK else ""
            warn(
                "Least squares drops directions of the features whose singular values are up "
                f"to {spectrum.mixing:.2g} of the smallest one above {spectrum.tol:.2g} times "
                "the largest: first-order results, which keep the directions fixed, may be "
                f"off by about this share. Put the features in similar units{lower}."
            )

    def warn_of_misfit(self, state):
        """Warn if the derivatives are evaluated far from the optimum."""
        kind_of(self, state.point.objective.formulation).warn_of_misfit(state)

    @contextmanager
    def naming_directions(self):
        """Raise a solver's SingularHessianError again with parameter names.

        If the Hessian is singular because there is no optimum, the error says so.
        """
        try:
            yield
        except SingularHessianError as error:
            found = existence.recession_direction(self.objective, self.theta)
            if found is not None:
                public = self.layout.to_public(found)
                raise SingularHessianError(self.describe_direction(found), public) from None
            if error.direction is None:
                raise
            direction = self.layout.to_public(error.direction)
            terms = self.name_terms(direction)
            message = f"{error} The objective is flat along {terms}." if terms else error
            raise SingularHessianError(str(message), direction) from None

    def name_terms(self, direction, weight=None):
        """Return a direction's largest entries, from (p,), with parameter names.

        Entries are ranked by size, or by weights (p,) if units differ.
        """
        weight = np.abs(direction) if weight is None else weight
        weight = weight / max(weight.max(initial=0.0), np.finfo(np.float64).tiny)
        names = self.param_names()
        largest = [i for i in np.argsort(-weight, kind="stable")[:4] if weight[i] > 0.01]
        return ", ".join(f"{direction[i]:+.2g} {names[i]}" for i in largest)

    @property
    def lost_params(self):
        """Return which parameters have no value, (p,) bool; call after `state`.

        Parameters without a value change along directions without an optimum.
        """
        state = self.cached_state
        if state is None or state.recession is None:
            return np.zeros(self.layout.size, dtype=bool)
        return self.layout.to_public(state.recession.lost)

    def describe_undetermined(self, directions, consequence=_NAN):
        """Return sentences telling which parameters the samples of a refit leave open."""
        names = np.array(self.param_names())[lost_params(self.layout, directions)]
        listed = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
        flat = self.layout.to_public(directions[0])
        flat = self.name_terms(flat / np.abs(flat).max())
        return (
            f"The samples of the refit do not determine {len(names)} parameter(s), {listed}: "
            f"the objective is flat along {flat}. {consequence} Drop one of the features, or "
            "add a penalty."
        )

    def describe_direction(self, direction, objective=None):
        """Return a sentence telling that an objective has no minimum.

        Parameters
        ----------
        direction : ndarray of shape (K, D)
            From `existence.recession_direction`.
        objective : Objective or None, default=None
            The objective that decreases along it, None for the fit's own objective.
        """
        consequence = ""
        if objective is None:
            objective = self.objective
            consequence = (
                " The parameters in this direction are only where the solver stopped, and "
                "results about them have no meaning."
            )
        layout, design = self.layout, objective.design
        weight = np.abs(direction)
        if weight[:, : design.n_features].any():  # in units of the features
            present = (objective.sample_weight > 0)[:, None].astype(np.float64)
            weight = weight * np.sqrt(design.squared_adjoint(present)[0])
        terms = self.name_terms(layout.to_public(direction), layout.to_public(weight))
        moving = existence.moving_rows(objective, direction).sum()
        total = np.sum(objective.sample_weight > 0)
        remedy = "Add a penalty, or drop or merge the features in it"
        if not direction[:, : design.n_features].any():
            remedy = "Give weight to samples of other targets, or penalise the intercept"
        return (
            f"There is no optimum: the objective falls forever along {terms}, because the "
            f"loss of {moving} of {total} samples does and that of the others stays "
            f"(separation).{consequence} {remedy}."
        )


def lost_params(layout, directions):
    """Return which entries in `params_` change along any given direction, (p,) bool."""
    return layout.to_public(removal.depends(directions)[None])[0].astype(bool)
