"""Searches for a small set of rows that takes a target past its threshold.

Both searches change rows one way, such as removal: `changes` computes the optimum after a set
of rows has changed, and the goal predicts the effect of each row.
"""

from itertools import islice

import numpy as np

from skinfluence.checks import check_count
from skinfluence.exceptions import warn

SEARCHES = ("greedy", "linear")

# If the effect of a row is less than this fraction of the remaining gap, it is rounding error.
_NEGLIGIBLE = 1e-12


def check_most(max_samples, n):
    """Return the largest number of n rows to consider, half of them for None."""
    most = max(1, n // 2) if max_samples is None else max_samples
    check_count("max_samples", most, n)
    return most


def search_rows(changes, goal, search, max_samples):
    """Return the result and the size of the set that the linear ranking finds, or None.

    Parameters
    ----------
    changes : Removals
        Refits after changes of rows. If they have cheaper ones `ahead`, "greedy" orders the
        rows with these, and `changes` decides how many rows it takes.
    goal : Goal
        The target.
    search : {"greedy", "linear"}
        Search method. "greedy" never returns a larger set than "linear".
    max_samples : int
        Largest set to consider.
    """
    changes = _Counted(changes)
    result = _linear_search(changes, goal, max_samples)
    n_linear = len(result.rows) if result.flipped else None
    if search == "greedy":
        limit = max_samples if n_linear is None else n_linear - 1
        is_ahead = changes.ahead is not None
        greedy = (_greedy_search_ahead if is_ahead else _greedy_search)(changes, goal, limit)
        if greedy.flipped or n_linear is None:
            result = greedy
    lost = changes.lost + (0 if changes.ahead is None else changes.ahead.lost)
    if lost and not result.flipped and len(result.rows) < max_samples:
        warn(
            f"The search ended at {len(result.rows)} of at most {max_samples} sample(s): "
            f"{lost} other set(s) that it tried leave no model, because the fit has no "
            "optimum or lacks a class. So nothing shows that no set crosses the threshold. A "
            "penalty, also on the intercept, gives every refit an optimum."
        )
    return result, n_linear


class _Counted:
    """Refits after changes of rows, with the number of sets that have none in `lost`."""

    def __init__(self, changes):
        self.changes, self.lost = changes, 0
        self.ahead = None if changes.ahead is None else _Counted(changes.ahead)

    def __getattr__(self, name):
        return getattr(self.changes, name)

    def refit(self, rows, start):
        found = self.changes.refit(rows, start)
        self.lost += found is None
        return found


class _Search:
    """Result of a search.

    Parameters
    ----------
    rows : array-like of int
        The set.
    flipped : bool
        Whether the target has crossed the threshold.
    path : iterable of (int, float)
        Set size and target for each refit.
    """

    def __init__(self, rows, flipped, path):
        self.rows = np.asarray(rows, dtype=np.intp)
        self.flipped = flipped
        self.path = list(path)


class _Prefixes:
    """Sets of the first rows in an order.

    Attributes
    ----------
    order : array-like of int
        The rows; more may be added at its end.
    """

    def __init__(self, changes, goal, order):
        self.changes, self.goal, self.order = changes, goal, order
        self.path = {0: goal.before}

    def shortest(self, k, extend):
        """Return the `_Search` for the smallest prefix that is enough, by bisection.

        The search starts at k rows. ``extend(k)`` returns a larger number of rows, or k
        itself if there are no more.
        """
        too_few = 0
        while not self._flips(k):
            longer = extend(k)
            if longer == k:
                return self.outcome(max(self.path), False)
            too_few, k = k, longer
        while k - too_few > 1:
            middle = (too_few + k) // 2
            if self._flips(middle):
                k = middle
            else:
                too_few = middle
        return self.outcome(k, True)

    def outcome(self, k, flipped):
        return _Search(self.order[:k], flipped, self.path.items())

    def _flips(self, k):
        base = self.changes.refit(self.order[:k], self.changes.full)
        if base is not None:
            self.path[k] = self.goal.value(base)
        return base is not None and self.goal.flipped(base)


def _linear_search(changes, goal, max_samples):
    """Return the shortest prefix of the linear ranking that is enough."""
    full = changes.full
    pull = goal.direction * goal.first_order(full, changes)
    order = np.argsort(-pull, kind="stable")
    order = order[pull[order] > 0][:max_samples]
    prefixes, largest = _Prefixes(changes, goal, order), len(order)
    if largest == 0:
        return prefixes.outcome(0, False)
    predicted = int(np.searchsorted(np.cumsum(pull[order]), goal.gap(full))) + 1
    return prefixes.shortest(
        min(predicted, largest), lambda k: min(largest, k + max(1, k // 4))
    )


def _greedy_search(changes, goal, max_samples):
    """Change rows one by one until that is enough."""
    rows, path = [], [(0, goal.before)]
    for rows, base in _greedy_changes(changes, goal, max_samples):
        path.append((len(rows), goal.value(base)))
        if goal.flipped(base):
            return _Search(rows, True, path)
    return _Search(rows, False, path)


def _greedy_search_ahead(changes, goal, max_samples):
    """Return the shortest prefix of the order that cheaper refits find greedily."""
    following = _greedy_changes(changes.ahead, goal, max_samples)
    prefixes = _Prefixes(changes, goal, [])
    for prefixes.order, base in following:
        if goal.flipped_ahead(base):
            break

    def extend(k):
        for prefixes.order, _ in islice(following, max(1, k // 4)):
            pass
        return len(prefixes.order)

    if not prefixes.order:
        return prefixes.outcome(0, False)
    return prefixes.shortest(len(prefixes.order), extend)


def _greedy_changes(changes, goal, max_samples):
    """Yield (rows, base) after each change of the row with the largest predicted effect."""
    base, rows = changes.full, []
    least = _NEGLIGIBLE * goal.gap(base)
    while len(rows) < max_samples:
        gain = goal.direction * goal.one_step(base, changes)
        gain[rows] = -np.inf
        following = None
        for row in np.argsort(-np.where(np.isnan(gain), -np.inf, gain), kind="stable"):
            if not gain[row] > least:
                return
            following = changes.refit([*rows, row], base)
            if following is not None:
                break
        if following is None:
            return
        base, rows = following, [*rows, row]
        yield rows, base
