"""Searches for a small set of rows that takes a target past its threshold.

Both searches change rows one way, such as removal: `changes` computes the optimum after a set
of rows has changed, and the goal predicts the effect of each row.
"""

import numpy as np

__all__ = ["SEARCHES", "search_rows"]

SEARCHES = ("greedy", "linear")

# If the effect of a row is less than this fraction of the remaining gap, it is rounding error.
_NEGLIGIBLE = 1e-12


def search_rows(changes, goal, search, max_samples):
    """Return the result and the size of the set that the linear ranking finds, or None.

    Parameters
    ----------
    changes : Removals
        Refits after changes of rows.
    goal : Goal
        The target.
    search : {"greedy", "linear"}
        Search method. "greedy" never returns a larger set than "linear".
    max_samples : int
        Largest set to consider.
    """
    result = _linear_search(changes, goal, max_samples)
    n_linear = len(result.rows) if result.flipped else None
    if search == "greedy":
        limit = max_samples if n_linear is None else n_linear - 1
        greedy = _greedy_search(changes, goal, limit)
        if greedy.flipped or n_linear is None:
            result = greedy
    return result, n_linear


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


def _linear_search(changes, goal, max_samples):
    """Return the shortest prefix of the linear ranking that is enough, by bisection."""
    full = changes.full
    pull = goal.direction * goal.first_order(full, changes)
    order = np.argsort(-pull, kind="stable")
    order = order[pull[order] > 0][:max_samples]
    path = {0: goal.before}

    def flips(k):
        base = changes.refit(order[:k], full)
        if base is not None:
            path[k] = goal.value(base)
        return base is not None and goal.flipped(base)

    def outcome(k, flipped):
        return _Search(order[:k], flipped, path.items())

    largest = len(order)
    if largest == 0:
        return outcome(0, False)
    predicted = int(np.searchsorted(np.cumsum(pull[order]), goal.gap(full))) + 1
    too_few, k = 0, min(predicted, largest)
    while not flips(k):
        if k == largest:
            return outcome(max(path), False)
        too_few, k = k, min(largest, k + max(1, k // 4))
    while k - too_few > 1:
        middle = (too_few + k) // 2
        if flips(middle):
            k = middle
        else:
            too_few = middle
    return outcome(k, True)


def _greedy_search(changes, goal, max_samples):
    """Change rows one by one, always the row with the largest predicted effect."""
    base, rows, path = changes.full, [], [(0, goal.before)]
    least = _NEGLIGIBLE * goal.gap(base)
    while len(rows) < max_samples:
        gain = goal.direction * goal.one_step(base, changes)
        gain[rows] = -np.inf
        following = None
        for row in np.argsort(-np.where(np.isnan(gain), -np.inf, gain), kind="stable"):
            if not gain[row] > least:
                return _Search(rows, False, path)
            following = changes.refit([*rows, row], base)
            if following is not None:
                break
        if following is None:
            return _Search(rows, False, path)
        base, rows = following, [*rows, row]
        path.append((len(rows), goal.value(base)))
        if goal.flipped(base):
            return _Search(rows, True, path)
    return _Search(rows, False, path)
