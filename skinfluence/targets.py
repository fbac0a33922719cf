"""Encoders from the `y` that users pass to the target that a loss takes.

`fit` fixes the encoder, and queries use the same one. It therefore rejects labels that the
model has not seen in any method, and the error names them.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.class_weight import compute_class_weight

from skinfluence.checks import shown


def check_target(y, name="y"):
    """Raise unless the targets are an array or a list."""
    if y is None:
        raise ValueError(f"{name} is required: it is None.")
    if np.ndim(y) == 0:
        raise ValueError(
            f"{name}={shown(y)} is one value, but {name} must be an array with one for each "
            f"sample: pass {name}=[{shown(y)}] for one sample."
        )


@dataclass(frozen=True)
class RealTarget:
    """Real targets: `y` with shape (n,) or (n, K) becomes float64 (n, K).

    Targets below `minimum` are rejected, for example negative counts. If `positive` is True,
    zeros are rejected too.
    """

    n_outputs: int
    minimum: float = -np.inf
    positive: bool = False

    def encode(self, y):
        """Return the target, shape (n, K)."""
        y = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
        target = y.reshape(-1, 1) if y.ndim == 1 else y
        if target.ndim != 2 or target.shape[1] != self.n_outputs:
            raise ValueError(
                f"y has shape {y.shape}, but the model was fitted with "
                f"{self.n_outputs} target(s): pass one column for each."
            )
        if target.size and target.min() < self.minimum:
            raise ValueError(
                f"y holds {target.min()}, but the loss is defined for targets of at least "
                f"{self.minimum:g}."
            )
        if self.positive and target.size and not target.min() > 0:
            raise ValueError(
                f"y holds {target.min()}, but the loss is defined for targets above 0 only."
            )
        return target

    def decode(self, target):
        """Return the targets, shape (n, K)."""
        return target


@dataclass(frozen=True)
class LabelIndicators:
    """Several labels for each sample: an indicator matrix (n, K) becomes -1 and +1."""

    n_labels: int

    def encode(self, y):
        """Return the target, shape (n, K)."""
        y = y.toarray() if issparse(y) else y
        y = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
        if y.ndim != 2 or y.shape[1] != self.n_labels:
            raise ValueError(
                f"y has shape {y.shape}, but the model was fitted with {self.n_labels} labels "
                "for each sample: pass one column of 0 and 1 for each label."
            )
        other = y[(y != 0) & (y != 1)]
        if other.size:
            raise ValueError(
                f"y holds {other[0]:g}, but with several labels for each sample it is an "
                "indicator matrix: pass 1 for the labels that a sample has and 0 for others."
            )
        return 2.0 * y - 1.0

    def decode(self, target):
        """Return the indicator matrix, shape (n, K)."""
        return (target > 0).astype(np.intp)

    def codes(self, y):
        """Raise, because there are no classes of which a sample has one."""
        raise ValueError(
            f"This model has {self.n_labels} labels for each sample, and no classes of which "
            "a sample has one. Use influence_prediction, which has an entry for each label, "
            "or a model for one label."
        )


def balanced_by(class_weight, kind):
    """Return `kind` if the parameter is "balanced", else None; see `Formulation`."""
    return kind if isinstance(class_weight, str) and class_weight == "balanced" else None


def _unique(y):
    """Return the distinct labels as Python objects and each row's index into them."""
    try:
        labels, inverse = np.unique(y, return_inverse=True)
    except TypeError:  # labels with mixed types have no order
        index = {}
        inverse = np.array([index.setdefault(label, len(index)) for label in y.tolist()])
        return list(index), inverse
    return labels.tolist(), inverse


class _Labels:
    """Labels known at fit; subclasses define the encoding from class codes to targets."""

    classes: np.ndarray

    def decode(self, target):
        """Return the labels for encoded rows, shape (n,)."""
        return self.classes[self.class_codes(target)]

    def class_weight(self, given, y, sample_weight):
        """Return the class weights that scikit-learn's fit uses, (n_classes,).

        `given` is the estimator's parameter; if it is None, so is the result.
        """
        if given is None:
            return None
        if not isinstance(given, str):  # numbers do not depend on the rows' labels
            y, sample_weight = self.classes, None
        y = self.decode(self.encode(y))
        if sample_weight is not None:
            sample_weight = np.broadcast_to(sample_weight, y.shape)
        weight = compute_class_weight(
            given, classes=self.classes, y=y, sample_weight=sample_weight
        )
        return np.asarray(weight, dtype=np.float64)

    def codes(self, y):
        """Return the position of each label in `classes`, shape (n,)."""
        # LabelEncoder first casts y to the dtype of the classes. If every class is a single
        # letter, this truncates "abc" to "a" and accepts it, so we do not use it.
        labels, inverse = _unique(column_or_1d(y))
        known = {label: code for code, label in enumerate(self.classes.tolist())}
        unseen = [label for label in labels if label not in known]
        if unseen:
            raise ValueError(
                f"y contains labels that were not seen in fit: {unseen[:5]}. The classes "
                f"seen in fit are {self.classes.tolist()}."
            )
        return np.array([known[label] for label in labels], dtype=np.intp)[inverse]


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

    @staticmethod
    def one_sided(weight):
        """Return class weights (2,) for the single problem, (2, 1)."""
        return weight[:, None]


@dataclass(frozen=True, eq=False)
class ClassCodes(_Labels):
    """Classes as their positions in `classes`, shape (n,)."""

    classes: np.ndarray

    def encode(self, y):
        """Return the target, shape (n,)."""
        return self.codes(y)

    def class_codes(self, target):
        """Return the class code of each encoded row, shape (n,)."""
        return target


@dataclass(frozen=True, eq=False)
class OneVsRestLabels(_Labels):
    """One problem for each class: +1 for its rows, -1 for all others; (n, n_classes)."""

    classes: np.ndarray

    def encode(self, y):
        """Return the target, shape (n, n_classes)."""
        positive = self.codes(y)[:, None] == np.arange(len(self.classes))
        return np.where(positive, 1.0, -1.0)

    def class_codes(self, target):
        """Return the class code of each encoded row, shape (n,)."""
        return target.argmax(axis=1)

    @staticmethod
    def one_sided(weight):
        """Return the class weights for every problem k, (n_classes, n_classes).

        Problem k gives class k its weight and all other classes the weight 1.
        """
        return np.where(np.eye(len(weight), dtype=bool), weight[:, None], 1.0)


@dataclass(frozen=True, eq=False)
class OneVsOneLabels(_Labels):
    """One problem for each pair of classes, (n, n_classes (n_classes - 1) / 2).

    The pairs are ordered (0, 1), (0, 2), ..., (1, 2), ... The target is +1 for rows in the
    first class of the pair, -1 for rows in the second class and 0 for all other rows.
    """

    classes: np.ndarray

    @property
    def pairs(self):
        """Codes of the first and of the second class in each problem, two arrays."""
        return np.triu_indices(len(self.classes), 1)

    def encode(self, y):
        """Return the target, shape (n, n_pairs)."""
        codes = self.codes(y)[:, None]
        first, second = self.pairs
        return np.where(codes == first, 1.0, np.where(codes == second, -1.0, 0.0))

    def class_codes(self, target):
        """Return the class code of each encoded row, shape (n,)."""
        # A row's class wins all of its own pairs, and no other class does.
        first, second = self.pairs
        wins = np.zeros((len(target), len(self.classes)))
        np.add.at(wins.T, first, target.T > 0)
        np.add.at(wins.T, second, target.T < 0)
        return wins.argmax(axis=1)
