"""Composite estimators: parts, how their responses combine, and the public methods.

parts.py        one fitted member with its training rows and weights
losses.py       losses for a composite's own responses, with derivatives
problem.py      from a fitted composite and its data to its parts
influence.py, removal.py, reweighting.py
                the public methods, one file for each chapter
refits.py       fits of the members on other rows, and updates in place
first_order.py  a composite without some rows, with responses to first order
moved.py        how the members' responses move with their features
behind.py       a pipeline that ends in a composite
folds.py, draws.py
                folds and rows that `fit` drew, and what the models of folds feed to others
stacking.py, chains.py, resampled.py
                composites in which models see other models' responses, or chosen rows
mixin.py        a composite's methods, and its `fit`
"""

from skinfluence.composite.losses import log_loss, marginal_log_loss, squared_error
from skinfluence.composite.mixin import CompositeMixin, remembering
from skinfluence.composite.problem import CompositeProblem
