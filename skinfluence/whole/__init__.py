"""Influence and removal of everything that a pipeline's fit did, see `sweep`."""

from skinfluence.whole.data import TrainingData
from skinfluence.whole.fit import WholeFit

__all__ = ["TrainingData", "WholeFit"]
