"""The objective that a fit minimised, which `fit` stores.

Everything else is computed on demand from this objective and the current parameters.
"""

from dataclasses import dataclass, replace

from skinfluence.layout import ParameterLayout
from skinfluence.objective import Formulation, Objective


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
