"""Encoders of categories. Which categories exist is a discrete choice, without derivative."""

from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

from skinfluence.stages.base import NotNumbers

__all__ = ["STAGES"]

STAGES = {OneHotEncoder: NotNumbers, OrdinalEncoder: NotNumbers}
