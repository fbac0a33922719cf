"""Class weights "balanced", which depend on the training rows.

With the weights u that count, and the classes that have any,

    c_k = N / (K N_k),   N_k = sum of u_i over the rows in class k,   N = sum_k N_k

so a row's multiplicity m_i moves them by

    d c_k / d m_i = c_k u_i [1/N - (y_i = k)/N_k].

Some estimators count sample weights, u = w, and others samples, u = 1.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class ClassBalance:
    """Sums over the rows that determine "balanced" class weights.

    Parameters
    ----------
    u : ndarray of shape (n,)
        Weights that count; 0 for removed rows.
    codes : ndarray of shape (n,)
        Class codes of the rows.
    moves : ndarray of shape (n_classes, 1) or (n_classes, K)
        Mask of the entries of the class weights that depend on the rows, bool. The others
        are 1.
    by_weight : bool
        Whether u are the sample weights, rather than ones.
    sums_of_all : tuple or None, default=None
        `sums` over more rows, if u and codes are those of a part; None if they are of all.
    """

    u: np.ndarray
    codes: np.ndarray
    moves: np.ndarray
    by_weight: bool
    sums_of_all: Any = None

    @classmethod
    def of(cls, class_weight, codes, sample_weight, by_weight):
        """Return the sums over rows whose class weights have the shape of `class_weight`."""
        moves = _moves(class_weight)
        u = sample_weight.copy() if by_weight else np.ones(len(codes))
        return cls(u, codes, moves, by_weight)

    @cached_property
    def sums(self):
        """Sum of u in each class, and number of rows with u > 0, both (n_classes,)."""
        if self.sums_of_all is not None:
            return self.sums_of_all
        n = len(self.moves)
        return np.bincount(self.codes, self.u, n), np.bincount(self.codes[self.u > 0], None, n)

    @cached_property
    def class_weight(self):
        """Class weights for the present rows, in the shape of `moves`."""
        return like(self.moves, balanced(*self.sums))

    def growth(self, rows):
        """Return how much the class weights grow without groups of rows, relative to now.

        Parameters
        ----------
        rows : ndarray of shape (b, a)
            Rows in each group, padded by -1.

        Returns
        -------
        ndarray of shape (b, n_classes, 1) or (b, n_classes, K)
            c_k without the group, divided by c_k, minus 1.
        """
        total, count = self.sums
        leaving = self._leaving(rows, self.u)
        remaining = count - self._leaving(rows, (self.u > 0).astype(np.float64))
        after = balanced(np.where(remaining > 0, total - leaving, 0.0), remaining)
        growth = np.where(remaining > 0, after / balanced(total, count) - 1.0, 0.0)
        return growth[:, :, None] * self.moves

    def with_more(self, code, u):
        """Return the class weights if a row in a class gets u more, shaped as `moves`."""
        total, count = self.sums
        total = total.copy()
        total[code] += u
        return like(self.moves, balanced(total, count))

    def of_rows(self, growth, rows):
        """Return growths (b, n_classes, k) for some rows, (m, b, k)."""
        return growth[:, self.codes[rows]].transpose(1, 0, 2)

    def per_weight(self, unit_weight):
        """Return u_i/w_i, (n,), None for ones.

        It is NaN for a row that counts without weight, see `Objective.unit_weight`.
        """
        if self.by_weight or np.all(unit_weight == 1):
            return None
        return np.where(self.u > 0, self.u / unit_weight, 0.0)

    def without(self, rows):
        """Return the balance without some rows."""
        u = self.u.copy()
        u[rows] = 0.0
        return replace(self, u=u)

    def less(self, codes, weight):
        """Return the balance of all rows but some, by their class codes and sample weights.

        For a balance that holds only sums.
        """
        gone = ClassBalance(
            weight if self.by_weight else np.ones(len(codes)), codes, self.moves, True
        )
        total, count = (a - b for a, b in zip(self.sums, gone.sums, strict=True))
        return replace(self, sums_of_all=(np.where(count > 0, total, 0.0), count))

    def take(self, rows):
        """Return the balance of some of the rows."""
        return replace(self, u=self.u[rows], codes=self.codes[rows])

    def append(self, other):
        """Return the balance with another one's rows appended."""
        codes = np.concatenate([self.codes, other.codes])
        return replace(self, u=np.concatenate([self.u, other.u]), codes=codes)

    def _leaving(self, rows, values):
        """Return the sums of values over the rows of each group (b, a), (b, n_classes)."""
        real = rows >= 0
        group, place = np.nonzero(real)
        members = rows[group, place]
        out = np.zeros((len(rows), len(self.moves)))
        np.add.at(out, (group, self.codes[members]), values[members])
        return out


def balanced(total, count):
    """Return c_k, (..., n_classes), 1 for classes without rows.

    Parameters
    ----------
    total : ndarray of shape (..., n_classes)
        N_k.
    count : ndarray of shape (..., n_classes)
        Numbers of rows.
    """
    present = count > 0
    number = present.sum(axis=-1, keepdims=True)
    mean = total.sum(axis=-1, keepdims=True) / np.maximum(number, 1)
    return np.divide(mean, total, out=np.ones(total.shape), where=present & (total > 0))


def like(shape_of, class_weight):
    """Return class weights (n_classes,) in the shape of others, 1 for other classes."""
    return np.where(_moves(shape_of), class_weight[:, None], 1.0)


def shifts(gradients, total):
    """Return d grad F / d m_i through the class weights, divided by u_i, for each class.

    Parameters
    ----------
    gradients : ndarray of shape (n_classes, K, D)
        Gradient of the loss of the rows in each class.
    total : ndarray of shape (n_classes,)
        N_k.
    """
    total = total[:, None, None]
    mean = np.divide(gradients, total, out=np.zeros_like(gradients), where=total > 0)
    return gradients.sum(axis=0) / total.sum() - mean


def _moves(class_weight):
    """Return the mask of the entries that belong to a class, from (n_classes, 1 or K)."""
    n_classes, n_outputs = class_weight.shape
    return np.ones((n_classes, 1), bool) if n_outputs == 1 else np.eye(n_classes, dtype=bool)
