"""The stage of a regressor's targets, t(y; s), with statistics s of the training targets."""

import numpy as np

from skinfluence.stages.chain import add
from skinfluence.stages.registry import make_chain


class TargetStage:
    """A fitted transformer of targets.

    A prediction f on the scale of y solves ``t(f; s) = g`` with the regressor's prediction g,
    so ``t'(f) df = dg - (dt/ds) ds``.

    Parameters
    ----------
    transformer : transformer
        The fitted transformer.
    y : ndarray of shape (n,) or (n, K)
        Training targets.
    """

    def __init__(self, transformer, y):
        columns = as_columns(y).astype(np.float64)
        self.chain = make_chain([transformer], columns, None, [None])
        #: Whether the statistics move with the training targets.
        self.has_influence = self.chain.has_influence

    def jumping(self):
        """Return the stages whose fit may jump, see `Stage.jumping`."""
        return self.chain.jumping()

    def slope(self, f):
        """Return t'(f) for predictions (q, K)."""
        return np.asarray(self.chain.pull_input(f, np.ones(f.shape)))

    def through(self, f, in_targets):
        """Return sum_k (dg/dy'_k) dy'_k - (dt/ds) ds through the statistics.

        Parameters
        ----------
        f : ndarray of shape (q, 1)
            Predictions.
        in_targets : ndarray of shape (q, n)
            The derivatives dg/dy'_k in the changed training targets.

        Returns
        -------
        ndarray of shape (q, n)
            Derivatives in each training row's multiplicity.
        """
        cs = [
            add(
                self.chain.pull_training_statistics(B[:, None]),
                self.chain.pull_statistics(one[None], np.array([[-1.0]])),
            )
            for B, one in zip(in_targets, f, strict=True)
        ]
        return self.chain.row_influences(cs)


def as_columns(y):
    """Return targets with an axis of columns, (n, K)."""
    return np.asarray(y).reshape(len(y), -1)
