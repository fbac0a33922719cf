"""The earlier name for the objective of a fit, for pickles."""

from skinfluence.problem import FittedObjective as FittedProblem

__all__ = ["FittedProblem"]
