"""Joint decision for one-vs-one problems."""

from dataclasses import dataclass

import numpy as np

from skinfluence._compat import one_vs_one_decision


@dataclass(frozen=True)
class PairDecision:
    """Votes from all pairs of classes, with confidences to break ties.

    As in scikit-learn, a class gets one vote for each pair that it wins. Its summed
    confidences c add c/(3 (|c| + 1)), which is less than half a vote.

    Parameters
    ----------
    n_classes : int
        Number of classes.
    """

    n_classes: int

    def __call__(self, raw):
        """Return the decision values (m, n_classes) for raw predictions (m, n_pairs)."""
        # The first class in a pair is positive here, the second one in scikit-learn.
        return one_vs_one_decision(raw < 0, -raw, self.n_classes)

    def votes(self, raw):
        """Return the number of pairs that each class wins, (m, n_classes)."""
        wins = (raw > 0).astype(np.float64)
        return wins @ (self._signs > 0) + (1.0 - wins) @ (self._signs < 0)

    def jacobian(self, raw):
        """Return the derivative of the decision values, (m, n_classes, n_pairs).

        Votes are constant almost everywhere, so only the confidences contribute.
        """
        slope = 1.0 / (3.0 * (np.abs(raw @ self._signs) + 1.0) ** 2)
        return slope[:, :, None] * self._signs.T

    @property
    def _signs(self):
        """+1 for the first class in a pair, -1 for the second, (n_pairs, n_classes)."""
        first, second = np.triu_indices(self.n_classes, 1)
        signs = np.zeros((len(first), self.n_classes))
        signs[np.arange(len(first)), first] = 1.0
        signs[np.arange(len(first)), second] = -1.0
        return signs
