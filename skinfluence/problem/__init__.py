"""Each fitted object has a problem, to which the public methods delegate.

fitted.py        the objective that a fit minimised, as `fit` stores it
base.py          an estimator's parameters, and its factorised state
samples.py       checked training data, queries and groups of rows
requests.py      the options that methods share, as one argument
kinds.py         smooth objectives, those on an l1 support, and those with kinks; warnings
fitting.py       builds the objective from a fitted estimator and data
repeated_fit.py  repeats a fit, to decide whether data are those of a model
refits.py        refits the model
ranking.py       the most influential samples
lazy.py          rows in dask arrays
jumps.py         the error of first order behind steps whose fit jumps
closed_form.py   models whose parameters are a closed form of the rows
influence.py, convergence.py, removal.py, reweighting.py, metrics.py, updates.py,
diagnostics.py   the public methods' results, one file for each chapter
"""

from skinfluence.problem.base import ProblemBase, State, parent_class
from skinfluence.problem.convergence import ConvergenceAnswers
from skinfluence.problem.diagnostics import DiagnosticsAnswers
from skinfluence.problem.fitted import FittedObjective
from skinfluence.problem.fitting import FittingAnswers
from skinfluence.problem.influence import InfluenceAnswers
from skinfluence.problem.metrics import MetricAnswers, PredictionsWithout
from skinfluence.problem.refits import TOL, RefitAnswers
from skinfluence.problem.removal import RemovalAnswers
from skinfluence.problem.reweighting import ReweightAnswers
from skinfluence.problem.updates import UpdateAnswers

__all__ = ["TOL", "FittedObjective", "Problem", "State", "parent_class"]


class Problem(
    InfluenceAnswers,
    ConvergenceAnswers,
    RemovalAnswers,
    ReweightAnswers,
    MetricAnswers,
    PredictionsWithout,
    UpdateAnswers,
    DiagnosticsAnswers,
    RefitAnswers,
    FittingAnswers,
    ProblemBase,
):
    """A fitted estimator's problem; its methods have the public methods' names."""

    def of(self, estimator):
        """Return the problem for another estimator, on features as its `fit` takes them."""
        return Problem(estimator)
