"""What one-vs-one problems decide together."""

from dataclasses import dataclass

import numpy as np

from skinfluence._compat import one_vs_one_decision

__all__ = ["PairDecision"]


@dataclass(frozen=True)
class PairDecision:
    """Votes of all pairs of classes, with their confidences to break ties.

    A class gets a vote from each of its pairs that it wins, and a share c/(3 (|c| + 1)) of
    its summed confidences c, which is less than half a vote, as scikit-learn has it.

    Parameters
    ----------
    n_classes : int
        Number of classes.
    """

    n_classes: int

    def __call__(self, raw):
        """Return the decision values (m, n_classes) of raw predictions (m, n_pairs)."""
        # Positive is the first class of a pair here, the second one there.
        return one_vs_one_decision(raw < 0, -raw, self.n_classes)

    def votes(self, raw):
        """Return how many pairs each class wins, (m, n_classes)."""
        wins = (raw > 0).astype(np.float64)
        return wins @ (self._signs > 0) + (1.0 - wins) @ (self._signs < 0)

    def jacobian(self, raw):
        """Return the derivative of the decision values, (m, n_classes, n_pairs).

        Votes are constant almost everywhere; what moves is the share of the confidences.
        """
        slope = 1.0 / (3.0 * (np.abs(raw @ self._signs) + 1.0) ** 2)
        return slope[:, :, None] * self._signs.T

    @property
    def _signs(self):
        """+1 where a class is first in a pair, -1 where second, (n_pairs, n_classes)."""
        first, second = np.triu_indices(self.n_classes, 1)
        signs = np.zeros((len(first), self.n_classes))
        signs[np.arange(len(first)), first] = 1.0
        signs[np.arange(len(first)), second] = -1.0
        return signs
