"""One member of a composite, with the rows and the weights of its fit."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.frozen import FrozenEstimator

__all__ = ["Part", "can_move"]


def can_move(member: Any) -> bool:
    """Whether a member depends on its training rows, which constant and frozen ones do not."""
    is_constant = type(member).__name__ == "_ConstantPredictor"
    return not (is_constant or isinstance(member, FrozenEstimator))


@dataclass(frozen=True, eq=False)
class Part:
    """A fitted member and the training rows of the composite that it was fitted on.

    Parameters
    ----------
    member : object
        Fitted estimator, pipeline or composite of this package; another object if its
        predictions are constant.
    rows : ndarray of shape (m,)
        The composite's training rows, in the member's order. A row may occur several times.
    counts : ndarray of shape (m,)
        Multiplicities that the composite gave to the rows.
    reached : bool
        Whether sample weights of the composite reach the member.
    """

    member: Any
    rows: np.ndarray
    counts: np.ndarray
    reached: bool

    @property
    def is_constant(self):
        """Whether no training row moves the member."""
        return not can_move(self.member)

    def weight(self, sample_weight):
        """Return the weights (m,) of the member's fit for weights (n,) of the composite."""
        return sample_weight[self.rows] * self.counts if self.reached else self.counts

    def to_composite(self, influence, sample_weight):
        """Return influence on the member as influence of the composite's rows.

        The member's influence is S_m/w_mk times the derivative in the multiplicity of its row
        k, and the composite's S/w_i times the derivative in the multiplicity of row i. If
        weights do not reach the member, a row with a weight of 0 has no such influence.

        Parameters
        ----------
        influence : ndarray of shape (q, m, ...)
            Influence of the member's rows.
        sample_weight : ndarray of shape (n,)
            Weights of the composite.

        Returns
        -------
        ndarray of shape (q, n, ...)
        """
        S, weight = sample_weight.sum(), self.weight(sample_weight)
        if self.reached:
            factor = self.counts * (S / weight.sum())
        else:
            own = sample_weight[self.rows]
            seen = weight > 0
            factor = np.zeros(len(weight))
            with np.errstate(divide="ignore"):
                factor[seen] = weight[seen] / weight.sum() * (S / own[seen])
            factor[seen & (own == 0)] = np.nan
        factor = factor.reshape(-1, *[1] * (influence.ndim - 2))
        n = len(sample_weight)
        if np.array_equal(self.rows, np.arange(n)):
            return factor * influence
        out = np.zeros((len(influence), n, *influence.shape[2:]))
        np.add.at(out, (slice(None), self.rows), factor * influence)
        return out

    def local(self, groups):
        """Return the member's rows that belong to each group of the composite's rows."""
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

    def without(self, member, local, kept):
        """Return the part of a member that has lost rows, the others of n renumbered.

        Parameters
        ----------
        member : object
            The member without its rows `local`.
        local : ndarray of int
            The rows that it lost.
        kept : ndarray of bool, shape (n,)
            Rows of the composite that stay.
        """
        stay = np.delete(np.arange(len(self.rows)), local)
        place = np.cumsum(kept) - 1
        return replace(
            self, member=member, rows=place[self.rows[stay]], counts=self.counts[stay]
        )
