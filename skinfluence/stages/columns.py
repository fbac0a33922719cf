"""What a ColumnTransformer of scalers and encoders does without some rows.

A StandardScaler in it moves its columns, see `column_scales`. A OneHotEncoder gives the same
columns as long as each category has a row left. Whatever learns nothing stays as it is.
"""

import numpy as np
from scipy import sparse
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skinfluence.stages.base import column_sums, numbers
from skinfluence.stages.registry import learns_from_rows
from skinfluence.stages.scalers import moving_columns


def scaled_columns(transformer):
    """Return which columns of the output a fit on other rows scales and shifts otherwise.

    Parameters
    ----------
    transformer : estimator
        Fitted StandardScaler, or a ColumnTransformer that holds one beside encoders.

    Returns
    -------
    (moves, is_centred) or None
        Masks of shape (d,). None if the steps that learn are others, or none scales.
    """
    if type(transformer) is StandardScaler:
        moves = moving_columns(transformer)
        return moves, np.full(len(moves), bool(transformer.with_mean))
    found = _parts(transformer)
    if found is None:
        return None
    n_columns = max((columns.stop for columns, _ in found), default=0)
    masks = np.zeros((2, n_columns), dtype=bool)
    for columns, part in found:
        if type(part) is StandardScaler:
            masks[:, columns] = (
                moving_columns(part),
                np.full(part.n_features_in_, part.with_mean),
            )
    return tuple(masks) if masks.any() else None


class Categories:
    """A choice: the categories of the encoders in a ColumnTransformer, one column for each.

    Parameters
    ----------
    rows : {ndarray, sparse matrix, DataFrame} of shape (n, d)
        Transformed training rows.
    encoded : ndarray of shape (d,)
        Mask of the columns that encoders return.
    """

    def __init__(self, rows, encoded):
        rows = sparse.csc_array(numbers(rows)) if sparse.issparse(rows) else numbers(rows)
        self.members = sparse.csr_array(rows[:, encoded])
        self.counts = column_sums(self.members)
        self.kept = np.ones(len(encoded), dtype=bool)

    @classmethod
    def of(cls, transformer, X):
        """Return the choice of a fitted transformer on its training rows, None if unknown."""
        found = _parts(transformer)
        if found is None:
            return None
        rows = transformer.transform(X)
        encoded = np.zeros(rows.shape[1], dtype=bool)
        for columns, part in found:
            encoded[columns] = isinstance(part, OneHotEncoder)
        return cls(rows, encoded)

    def made_without(self, rows):
        """Return the mask of the columns, None if a category has no row left."""
        lost = column_sums(self.members[rows]) >= self.counts
        return None if lost.any() else self.kept

    def stays_without(self, rows):
        """Return whether every category has a row left."""
        return self.made_without(rows) is not None


def _parts(transformer):
    """Return (columns, part) for each block of output columns, None if others learn.

    The part is the StandardScaler or the OneHotEncoder that learns in it, or None.
    """
    if type(transformer) is not ColumnTransformer or transformer.transformer_weights:
        return None
    found = []
    for name, part, _ in transformer.transformers_:
        columns = transformer.output_indices_[name]
        steps = [step for _, step in part.steps] if isinstance(part, Pipeline) else [part]
        learning = [step for step in steps if learns_from_rows(step) and not _fills(step)]
        if learning and not (learning == steps[-1:] and _is_known(learning[0])):
            return None
        if columns.stop > columns.start:
            found.append((columns, learning[0] if learning else None))
    return found


def _fills(step):
    """Return whether a step fills in constants, whatever the other rows are."""
    fills = type(step) is SimpleImputer and step.strategy == "constant"
    return fills and not step.add_indicator


def _is_known(step):
    """Return whether a step is a StandardScaler, or a OneHotEncoder of all categories."""
    if type(step) is not OneHotEncoder:
        return type(step) is StandardScaler
    limits = step.drop, step.min_frequency, step.max_categories
    return isinstance(step.categories, str) and all(limit is None for limit in limits)
