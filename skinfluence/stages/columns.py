"""A ColumnTransformer of scalers and encoders that is fitted without some rows.

A refit of a StandardScaler shifts and scales its columns, see `column_scales`. A OneHotEncoder
returns the same columns as long as each category has a row left. Steps that learn nothing stay
as they are.
"""

import numpy as np
from scipy import sparse
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skinfluence.stages.base import column_sums, numbers
from skinfluence.stages.choices import Choice, LeftOut
from skinfluence.stages.registry import learns_from_rows
from skinfluence.stages.scalers import scaled_columns


def known_columns(transformer, X):
    """Return (choice, masks) of a step whose columns without some rows are known.

    Parameters
    ----------
    transformer : estimator
        Fitted transformer.
    X : {ndarray, sparse matrix, DataFrame} of shape (n, d)
        Its training rows.

    Returns
    -------
    choice : Categories or None
        The categories of a ColumnTransformer, None for other steps.
    masks : tuple of ndarray, or None
        See `scaled_columns`, for the columns that the step returns. None if no column is
        scaled or centred.
    """
    if type(transformer) is StandardScaler:
        return None, scaled_columns(transformer)
    parts = _parts(transformer)
    if parts is None:
        return None, None
    rows = transformer.transform(X)
    encoded, moves, is_centred = np.zeros((3, rows.shape[1]), dtype=bool)
    for columns, part in parts:
        encoded[columns] = isinstance(part, OneHotEncoder)
        if isinstance(part, StandardScaler):
            moves[columns], is_centred[columns] = scaled_columns(part)
    is_scaled = moves.any() or is_centred.any()
    return Categories(rows, encoded), (moves, is_centred) if is_scaled else None


class Categories(Choice):
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

    def group_bytes(self, n_left_out):
        return (32 + 24 * n_left_out) * self.members.shape[1]

    def made_without(self, groups):
        """Return the mask for each group, None if a category has no row left."""
        left = LeftOut(groups)
        lost = np.any(left.sums(self.members[left.rows]) >= self.counts, axis=1)
        return [None if one else self.kept for one in lost]


def _parts(transformer):
    """Return (columns, part) for each block of output columns, None if others learn.

    The part is the StandardScaler or the OneHotEncoder that learns in it, or None.
    """
    if type(transformer) is not ColumnTransformer or transformer.transformer_weights:
        return None
    if any(_chooses(columns) for *_, columns in transformer.transformers):
        return None
    found = []
    for name, part, _ in transformer.transformers_:
        columns = transformer.output_indices_[name]
        steps = [step for _, step in part.steps] if isinstance(part, Pipeline) else [part]
        encodes = type(steps[-1]) is OneHotEncoder
        learning = [
            step for step in steps if learns_from_rows(step) and not _fills(step, encodes)
        ]
        if learning and not (learning == steps[-1:] and _is_known(learning[0])):
            return None
        if columns.stop > columns.start:
            found.append((columns, learning[0] if learning else None))
    return found


def _chooses(columns):
    """Return whether a function selects the columns, and may select others without some rows.

    Selection by name and dtype does not depend on the rows.
    """
    return callable(columns) and not isinstance(columns, make_column_selector)


def _fills(step, encodes):
    """Return whether a step fills in constants, whatever the other rows are.

    A column without any value is dropped, unless it is to be kept. If an encoder follows, such
    a column has lost its categories.
    """
    if type(step) is not SimpleImputer or step.strategy != "constant" or step.add_indicator:
        return False
    return encodes or step.keep_empty_features


def _is_known(step):
    """Return whether a step is a StandardScaler, or a OneHotEncoder of all categories."""
    if type(step) is not OneHotEncoder:
        return type(step) is StandardScaler
    limits = step.drop, step.min_frequency, step.max_categories
    return isinstance(step.categories, str) and all(limit is None for limit in limits)
