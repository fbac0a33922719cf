"""Estimators around others: parts, how their responses combine, and the public answers.

parts.py        one fitted member with the rows and weights of its fit
losses.py       losses of a composite's own responses, with derivatives
problem.py      from a fitted composite and its data to its parts
influence.py, removal.py
                the answers of the public methods, one file for each chapter
mixin.py        the methods of a composite, and its `fit`
"""

from skinfluence.composite.losses import log_loss, marginal_log_loss, squared_error
from skinfluence.composite.mixin import CompositeMixin, remembering
from skinfluence.composite.problem import CompositeProblem

__all__ = [
    "CompositeMixin",
    "CompositeProblem",
    "log_loss",
    "marginal_log_loss",
    "remembering",
    "squared_error",
]
