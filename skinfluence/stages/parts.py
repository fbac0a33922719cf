"""The transformers inside a pipeline step."""

from sklearn.compose import ColumnTransformer
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import FeatureUnion, Pipeline

__all__ = ["parts_of"]


def parts_of(transformer):
    """Yield the transformers inside a transformer, or itself if it contains none.

    Frozen transformers, "passthrough" and "drop" are left out.
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
