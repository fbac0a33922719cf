"""The transformers that a step of a pipeline is made of."""

from sklearn.compose import ColumnTransformer
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import FeatureUnion, Pipeline

__all__ = ["parts_of"]


def parts_of(transformer):
    """Generate the transformers that one is made of, itself if it is made of none.

    What is frozen, passed through or dropped has none.
    """
    if transformer is None or isinstance(transformer, str | FrozenEstimator):
        return
    if isinstance(transformer, Pipeline):
        parts = [step for _, step in transformer.steps]
    elif isinstance(transformer, FeatureUnion):
        parts = [part for _, part in transformer.transformer_list]
    elif isinstance(transformer, ColumnTransformer):
        fitted = getattr(transformer, "transformers_", transformer.transformers)
        parts = [part for _, part, _ in fitted]
    else:
        yield transformer
        return
    for part in parts:
        yield from parts_of(part)
