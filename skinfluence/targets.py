"""How `y` as users pass it becomes the target that a loss reads.

An encoder is fixed at `fit` and used for training data and queries alike, so that a label
which the model has never seen is refused by name, wherever it turns up.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import check_array, column_or_1d

__all__ = ["ClassCodes", "RealTarget", "SignedLabels"]


@dataclass(frozen=True)
class RealTarget:
    """Real targets: `y` of shape (n,) or (n, K) becomes float64 (n, K)."""

    n_outputs: int

    def encode(self, y):
        """Return the target, shape (n, K)."""
        y = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
        target = y.reshape(-1, 1) if y.ndim == 1 else y
        if target.ndim != 2 or target.shape[1] != self.n_outputs:
            raise ValueError(
                f"y has shape {y.shape}, but the model was fitted with "
                f"{self.n_outputs} target(s): pass one column for each."
            )
        return target


class _Labels:
    """Labels known at fit; subclasses say how a class code becomes a target."""

    classes: np.ndarray

    def codes(self, y):
        """Return the position of each label in `classes`, shape (n,)."""
        y = column_or_1d(y, warn=True)
        if y.shape[0] == 0:
            raise ValueError("y is empty: at least one label is required.")
        encoder = LabelEncoder()
        encoder.classes_ = self.classes
        try:
            return encoder.transform(y)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{error} The classes seen in fit are {self.classes.tolist()}."
            ) from error


@dataclass(frozen=True, eq=False)
class SignedLabels(_Labels):
    """Two classes as -1 and +1, shape (n, 1); the second class is positive."""

    classes: np.ndarray

    def encode(self, y):
        """Return the target, shape (n, 1)."""
        return (2.0 * self.codes(y) - 1.0).reshape(-1, 1)

    def class_codes(self, target):
        """Return the class code of each encoded row, shape (n,)."""
        return (target[:, 0] > 0).astype(np.intp)


@dataclass(frozen=True, eq=False)
class ClassCodes(_Labels):
    """Classes as their positions in `classes`, shape (n,)."""

    classes: np.ndarray

    def encode(self, y):
        """Return the target, shape (n,)."""
        return self.codes(y).astype(np.intp)

    def class_codes(self, target):
        """Return the class code of each encoded row, shape (n,)."""
        return target
