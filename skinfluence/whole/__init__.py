"""Influence and removal of everything that a pipeline's fit did, see `sweep`."""

from skinfluence.whole.data import TrainingData, take_rows
from skinfluence.whole.problem import (
    PipelineProblem,
    WholeProblem,
    give_data,
    training_data,
)

__all__ = [
    "PipelineProblem",
    "TrainingData",
    "WholeProblem",
    "give_data",
    "take_rows",
    "training_data",
]
