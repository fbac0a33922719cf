"""The words for directions in which an objective does not determine its parameters.

It may fall forever along a direction, or be flat. Sentences about one name the parameters
that change along it.
"""

import numpy as np

from skinfluence import existence, removal

#: What follows for parameters that samples do not determine.
NO_VALUE = (
    "Results about these parameters are NaN, and so are those about predictions and losses "
    "that depend on them."
)


class Directions:
    """Names the directions without an optimum, and the parameters without a value."""

    def name_terms(self, direction, weight=None):
        """Return a direction's largest entries, from (p,), with parameter names.

        Entries are ranked by size, or by weights (p,) if units differ.
        """
        weight = np.abs(direction) if weight is None else weight
        weight = weight / max(weight.max(initial=0.0), np.finfo(np.float64).tiny)
        names = self.names_in_warnings()
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

    def describe_undetermined(self, directions, consequence=NO_VALUE, of="the refit"):
        """Return sentences telling which parameters the samples of a refit leave open."""
        names = np.array(self.names_in_warnings())[lost_params(self.layout, directions)]
        listed = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
        flat = self.layout.to_public(directions[0])
        flat = self.name_terms(flat / np.abs(flat).max())
        return (
            f"The samples of {of} do not determine {len(names)} parameter(s), {listed}: "
            f"the objective is flat along {flat}.{consequence and ' ' + consequence} Drop "
            "one of the features, or add a penalty."
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


def lost_params(layout, directions, scales=None):
    """Return which entries in `params_` change along any given direction, (p,) bool.

    With `ColumnScales` without some rows, `params_` are those after refitting the scaler. Its
    means differ, so an intercept that compensates a constant column is determined there.
    """
    lost = removal.depends(directions)
    if scales is not None and scales.is_centred.any():
        # A constant column has no scale, so only the intercepts are those of the refit.
        lost[:, -1] = removal.depends(scales.to_refit(directions))[:, -1]
    return layout.to_public(lost[None])[0].astype(bool)
