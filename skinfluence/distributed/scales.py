"""Column scales without groups of rows, if the rows are in chunks."""

import numpy as np

from skinfluence.column_scales import CANCELS, MOST, column_sums
from skinfluence.distributed.samples import in_memory

__all__ = ["cancelling_groups", "group_sums"]


def group_sums(objective, members):
    """Return the `column_sums` of each list of rows, (G, 3, D), from one pass."""
    places = objective.samples.places_of(members)
    return objective.total(_group_sums, own=places)


def cancelling_groups(objective, groups):
    """Return the numbers of the `Groups` whose removal leaves no correct digits in the scales.

    Such a group has almost all of a column's variance, and the other rows have some. One pass
    looks for such groups. Two more decide if there may be any.
    """
    scales, numbers = objective.scales, np.arange(len(groups))
    if groups.members is None:  # few single rows have enough of the variance
        own, most = objective.samples.starts, MOST - 1.0 / objective.n_rows
        numbers = np.concatenate(in_memory(*objective.map(_dominant, scales, most, own=own)))
    members = [groups.rows(number) for number in numbers]
    if not members:
        return numbers
    columns = [
        np.flatnonzero(scales.less(sums).ratio_to_all() < CANCELS)
        for sums in group_sums(objective, members)
    ]
    doubtful = np.flatnonzero([len(part) for part in columns])
    if not len(doubtful):
        return doubtful
    members, columns = [members[j] for j in doubtful], [columns[j] for j in doubtful]
    own = objective.samples.places_of(members)
    low, high = zip(*in_memory(*objective.map(_ranges, columns, own=own)), strict=True)
    vary = [
        np.any(np.min(least, axis=0) < np.max(most, axis=0))
        for least, most in zip(zip(*low, strict=True), zip(*high, strict=True), strict=True)
    ]
    return numbers[doubtful[vary]]


# Functions that run in tasks.


def _group_sums(objective, places):
    design = objective.design
    out = np.zeros((len(places), 3, design.n_columns))
    for sums, rows in zip(out, places, strict=True):
        if len(rows):
            sums += column_sums(design.take(rows).rows())
    return out


def _dominant(objective, start, scales, most):
    shares = scales.largest_shares(objective.design)
    return start + np.flatnonzero(shares > most)


def _ranges(objective, places, columns):
    """Return the least and largest values of the other rows in each group's columns."""
    low, high = [], []
    for gone, own in zip(places, columns, strict=True):
        others = np.delete(np.arange(objective.n_rows), gone)
        x = objective.design.take(others).rows()[:, own]
        low.append(x.min(axis=0, initial=np.inf))
        high.append(x.max(axis=0, initial=-np.inf))
    return low, high
