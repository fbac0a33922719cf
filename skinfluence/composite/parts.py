"""One composite's member, with its training rows and weights."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV

from skinfluence.methods import InfluenceEstimatorMixin, get_problem
from skinfluence.steps import innermost


def is_frozen(member: Any) -> bool:
    """Whether a member ends in a `FrozenEstimator`, or fitted a threshold around one."""
    last = innermost(member)
    if isinstance(last, FixedThresholdClassifier | TunedThresholdClassifierCV):
        last = last.estimator_
    return isinstance(last, FrozenEstimator)


def can_move(member: Any) -> bool:
    """Whether a member depends on its training rows; constant and frozen members do not."""
    return not (type(member).__name__ == "_ConstantPredictor" or is_frozen(member))


@dataclass(frozen=True, eq=False)
class Part:
    """A fitted member and its training rows in the composite.

    Parameters
    ----------
    member : object
        Fitted estimator, pipeline or composite from this package; another object if its
        predictions are constant.
    rows : ndarray of shape (m,)
        The composite's training rows, in the member's order. A row may occur several times.
    counts : ndarray of shape (m,)
        Multiplicities that the composite assigned to the rows.
    reached : bool
        Whether the composite's sample weights reach the member.
    stops : bool, default=False
        Whether they reach the steps of a pipeline, but not its model.
    """

    member: Any
    rows: np.ndarray
    counts: np.ndarray
    reached: bool
    stops: bool = False

    @property
    def is_constant(self):
        """Whether the member depends on no training row."""
        return not can_move(self.member)

    @property
    def counts_samples(self):
        """Whether rows that were not drawn count for the member, see `ProblemBase`."""
        is_alone = isinstance(self.member, InfluenceEstimatorMixin) and not self.is_constant
        return is_alone and get_problem(self.member).counts_samples

    def leaves(self, local):
        """Return whether the member depends on any of its rows."""
        return bool(self.counts[local].any() or (self.counts_samples and len(local)))

    def weight(self, sample_weight):
        """Return the member's fit weights (m,) for the composite's weights (n,)."""
        return sample_weight[self.rows] * self.counts if self.reached else self.counts

    def to_composite(self, influence, sample_weight):
        """Convert influence on the member to the composite's rows.

        The member's influence is S_m/w_mk times the derivative in its row k's multiplicity,
        with the weights in its model. The composite's influence is S/w_i times the derivative
        in row i's multiplicity. If weights do not reach the model, a row with weight 0 has no
        such influence.

        Parameters
        ----------
        influence : ndarray of shape (q, m, ...)
            Influence from the member's rows.
        sample_weight : ndarray of shape (n,)
            The composite's weights.

        Returns
        -------
        ndarray of shape (q, n, ...)
        """
        by_weight = self.reached and not self.stops
        S, weight = sample_weight.sum(), replace(self, reached=by_weight).weight(sample_weight)
        given, seen = sample_weight[self.rows], weight > 0
        if by_weight:
            factor = self.counts * (S / weight.sum())
        else:
            factor = np.zeros(len(weight))
            with np.errstate(divide="ignore"):
                factor[seen] = weight[seen] / weight.sum() * (S / given[seen])
            factor[seen & (given == 0)] = np.nan
        if self.counts_samples:  # the member's influence of other rows is that of weight 1
            with np.errstate(divide="ignore"):
                factor[~seen] = np.where(given > 0, S / (weight.sum() * given), np.nan)[~seen]
        factor = factor.reshape(-1, *[1] * (influence.ndim - 2))
        n = len(sample_weight)
        if np.array_equal(self.rows, np.arange(n)):
            return factor * influence
        out = np.zeros((len(influence), n, *influence.shape[2:]))
        np.add.at(out, (slice(None), self.rows), factor * influence)
        return out

    def local(self, groups):
        """Return the member's rows that belong to each group among the composite's rows."""
        rows = self.rows
        if np.array_equal(rows, np.arange(len(rows))):
            return [group[group < len(rows)] for group in groups]
        order = np.argsort(rows, kind="stable")
        ordered = rows[order]
        found = []
        for group in groups:
            left = np.searchsorted(ordered, group, "left")
            right = np.searchsorted(ordered, group, "right")
            spans = [order[a:b] for a, b in zip(left, right, strict=True)]
            found.append(np.sort(np.concatenate(spans)) if spans else np.empty(0, np.intp))
        return found

    def place(self, inner):
        """Return ``rows -> inner(local rows)`` for a function of the member's rows."""
        return lambda rows: inner(self.local([np.asarray(rows)])[0])

    def without(self, member, local, kept):
        """Return the part for a member that has lost rows, with the other n rows renumbered.

        Parameters
        ----------
        member : object
            The member without its rows `local`.
        local : ndarray of int
            The removed rows.
        kept : ndarray of bool, shape (n,)
            The composite's remaining rows.
        """
        stay = np.delete(np.arange(len(self.rows)), local)
        place = np.cumsum(kept) - 1
        return replace(
            self, member=member, rows=place[self.rows[stay]], counts=self.counts[stay]
        )
