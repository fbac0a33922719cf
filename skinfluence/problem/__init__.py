"""Whoever is fitted has a problem: the object that public methods ask.

fitted.py       the objective that a fit minimised; a factorised point of it
base.py         an estimator's parameters, samples, factor, and doubts about them
fitting.py      from a fitted estimator and data to its objective
refits.py       refits of the model
influence.py, convergence.py, removal.py, updates.py, diagnostics.py
                the answers of the public methods, one file for each chapter
"""

from skinfluence.problem.base import ProblemBase
from skinfluence.problem.convergence import ConvergenceAnswers
from skinfluence.problem.diagnostics import DiagnosticsAnswers
from skinfluence.problem.fitted import FittedObjective, State
from skinfluence.problem.fitting import FittingAnswers
from skinfluence.problem.influence import InfluenceAnswers
from skinfluence.problem.refits import RefitAnswers
from skinfluence.problem.removal import RemovalAnswers
from skinfluence.problem.updates import UpdateAnswers

__all__ = ["FittedObjective", "Problem", "State"]


class Problem(
    InfluenceAnswers,
    ConvergenceAnswers,
    RemovalAnswers,
    UpdateAnswers,
    DiagnosticsAnswers,
    RefitAnswers,
    FittingAnswers,
    ProblemBase,
):
    """A fitted estimator's problem, which answers by the names of the public methods."""

    def of(self, estimator):
        """Return the problem of another estimator, on features as its `fit` takes them."""
        return Problem(estimator)
