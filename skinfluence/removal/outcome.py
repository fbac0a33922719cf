"""Groups of rows, or vectors of weights, that have no result, or one of many."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Outcome:
    """Groups for which a removal failed or is not unique; or vectors of weights.

    Parameters
    ----------
    without_optimum : list of (group, class)
        Groups whose removal leaves no sample in a class that a free intercept fits.
    unsolved : ndarray
        Other groups without a finite, converged result; all if there is no optimum at all.
    undetermined : dict of int to ndarray of shape (r, K, D)
        Parameter directions that nothing determines without a group. The result is one of
        many, and only numbers that are the same in all of them are meaningful.
    separated : dict of int to ndarray of shape (K, D)
        Maps each group to a direction. If the group is removed, the other rows are separated,
        and their objective falls forever in this direction.
    """

    without_optimum: list
    unsolved: np.ndarray
    undetermined: dict
    separated: dict


class Findings:
    """The parts of an `Outcome`, collected stack by stack.

    Each case, a group or a vector of weights, is in one stack, so that threads may collect at
    the same time.

    Parameters
    ----------
    base : Base or ActiveSetBase
        The start of removal.
    n_cases : int
        Number of groups or vectors.

    Attributes
    ----------
    solved : ndarray of shape (n_cases,)
        Whether each case has a result.
    undetermined, separated : dict
        See `Outcome`.
    """

    def __init__(self, base, n_cases):
        self.base = base
        self.solved = np.ones(n_cases, dtype=bool)
        self.undetermined, self.separated = {}, {}

    def recover(self, case, objective):
        """Return the `Identified` part of a case's objective, and note its directions."""
        found = self.base.recover(objective)
        if found is not None and found.recession is not None:
            self.separated[int(case)] = found.recession
        if found is not None and found.theta is not None:
            self.undetermined[int(case)] = found.directions
        return found

    def note_flat(self, cases, keys):
        """Note along which directions the optima of cases are one of many.

        Each case has the key under which the base may have found them.
        """
        for case, key in zip(cases, keys, strict=True):
            if key in self.base.flat:
                self.undetermined[int(case)] = self.base.flat[key]

    def include(self, outcome, cases):
        """Add the outcome of some cases (c,)."""
        self.solved[cases[outcome.unsolved]] = False
        for case, directions in outcome.undetermined.items():
            self.undetermined[int(cases[case])] = directions
        for case, direction in outcome.separated.items():
            self.separated[int(cases[case])] = direction

    def outcome(self, without_optimum):
        """Return the `Outcome`, given the cases in which a class has no sample left."""
        unsolved = np.flatnonzero(~self.solved)
        return Outcome(without_optimum, unsolved, self.undetermined, self.separated)
