"""The name under which earlier pickles know the objective of a fit."""

from skinfluence.problem import FittedObjective as FittedProblem

__all__ = ["FittedProblem"]
