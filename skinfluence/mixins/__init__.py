"""Names of earlier places, for pickles and for code that imports from here."""

from skinfluence.methods import InfluenceEstimatorMixin

__all__ = ["InfluenceEstimatorMixin"]
