"""The rows that are removed together: converts user input, and names them in warnings.

`groups` may be None (each row is a group), one label for each row, or a list of index arrays.
With `cv`, the test folds of a splitter are the groups. Every error names the group and the
offending value.
"""

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.model_selection import check_cv
from sklearn.utils import column_or_1d

from skinfluence.blocks import row_blocks
from skinfluence.checks import shown
from skinfluence.exceptions import warn

# Cases that a warning names.
_NAMED = 5


class Groups:
    """Groups of training rows, ready to be padded into rectangular stacks.

    Parameters
    ----------
    n_rows : int
        Number of training rows.
    members : list of ndarray or None
        Row indices for each group; None if each row is a group.
    labels : array-like or None, default=None
        Names of the groups in messages; None for their positions.
    """

    def __init__(self, n_rows, members=None, labels=None):
        self.n_rows = n_rows
        self.members = members
        self.labels = labels

    def __len__(self):
        return self.n_rows if self.members is None else len(self.members)

    def sizes(self):
        """Return the number of rows in each group."""
        if self.members is None:
            return np.ones(self.n_rows, dtype=np.intp)
        return np.array([len(rows) for rows in self.members], dtype=np.intp)

    def rows(self, group):
        """Return the row indices for one group."""
        return np.array([group]) if self.members is None else self.members[group]

    def padded(self, groups):
        """Return row indices (b, a) for b groups; shorter groups are padded with -1."""
        groups = np.asarray(groups)
        if self.members is None:
            return groups[:, None]
        rows = [self.members[group] for group in groups]
        out = np.full((len(rows), max(1, *(len(r) for r in rows))), -1, dtype=np.intp)
        for line, r in zip(out, rows, strict=True):
            line[: len(r)] = r
        return out

    def stacks(self, chosen, group_bytes, *, largest=np.inf, n_jobs=None):
        """Return index arrays of groups with similar sizes, as many as memory allows.

        Parameters
        ----------
        chosen : ndarray
            Indices of groups.
        group_bytes : callable
            Maps a number of rows to the bytes that a group takes, padded to it.
        largest : int, default=inf
            Number of rows up to which groups share a stack.
        n_jobs : int or None, default=None
            Number of threads that work on stacks at the same time.
        """
        sizes = self.sizes()[chosen]
        order = chosen[np.argsort(sizes, kind="stable")]
        sizes = np.sort(sizes)
        stacks, start = [], 0
        while start < len(order):
            # A stack takes groups up to twice as large as its smallest one, padded. Single
            # rows are never padded.
            limit = 2 * sizes[start] if sizes[start] > 1 else 1
            stop = int(np.searchsorted(sizes, limit, side="right"))
            a = max(1, int(sizes[stop - 1]))
            if a > largest:
                stacks += [order[i : i + 1] for i in range(start, stop)]
            else:
                blocks = row_blocks(stop - start, group_bytes(a), n_jobs=n_jobs)
                stacks += [order[start + b.start : start + b.stop] for b in blocks]
            start = stop
        return stacks

    def name(self, group):
        """Return a group's name for messages."""
        if self.members is None:
            return f"row {group}"
        if self.labels is None:
            rows = self.members[group]
            return f"row {rows[0]}" if len(rows) == 1 else f"group {group}"
        return f"group {shown(self.labels[group])}"

    def check_leaves_weight(self, weight):
        """Raise an error if a group contains every row with a weight, for weights (n,)."""
        for group in np.flatnonzero(self.sizes() >= np.sum(weight > 0)):
            if not np.delete(weight, self.rows(group)).any():
                raise ValueError(
                    f"{self.name(group)} contains every training sample with a weight: no "
                    "model is left without it."
                )

    def partition(self):
        """Return each row's group; every row must be in exactly one."""
        if self.members is None:
            return np.arange(self.n_rows)
        counts = np.zeros(self.n_rows, dtype=np.intp)
        owner = np.empty(self.n_rows, dtype=np.intp)
        for group, rows in enumerate(self.members):
            counts[rows] += 1
            owner[rows] = group
        wrong = np.flatnonzero(counts != 1)
        if wrong.size:
            raise ValueError(
                f"Every training sample must be in exactly one group, but sample {wrong[0]} "
                f"is in {counts[wrong[0]]}: pass groups or a cv splitter that partition "
                "the training samples."
            )
        return owner


@dataclass(frozen=True)
class Cases:
    """Groups that leave, or vectors of sample weights, in the words of warnings.

    Parameters
    ----------
    at : str
        "Without" or "At", the first word of a sentence about some of them.
    at_name : str
        The beginning of a sentence about one of them, with its name in the braces.
    kind : str
        Their kind, in the plural.
    count : int
        Their number.
    name : callable
        ``name(case)`` returns the words for one of them.
    objective : callable or None, default=None
        ``objective(case)`` returns the objective without the group, or at the weights.
    """

    at: str
    at_name: str
    kind: str
    count: int
    name: Callable[[Any], str]
    objective: Callable[[Any], Any] | None = None

    @classmethod
    def of_groups(cls, groups, objective=None):
        """Return the cases of `Groups`."""
        return cls("Without", "Without {}", "group(s)", len(groups), groups.name, objective)

    @classmethod
    def of_weights(cls, values, objective=None):
        """Return the cases of vectors of sample weights (m, n)."""
        kind, count = "row(s) of sample_weight", len(values)
        return cls("At", "At {} of sample_weight", kind, count, "row {}".format, objective)

    def at_one(self, case):
        """Return the words that begin a sentence about one case."""
        return self.at_name.format(self.name(case))

    def share(self, found):
        """Return the words that begin a sentence about some of the cases."""
        return f"{self.at} {len(found)} of {self.count} {self.kind}"

    def tell(self, found, problem, consequence="", name=None):
        """Warn of some of the cases, if there are any; `name` may replace their names."""
        if len(found):
            named = ", ".join(map(name or self.name, sorted(found)[:_NAMED]))
            warn(f"{self.share(found)} {problem}: {named}. {consequence}".rstrip())

    def tell_why(self, reasons, problem):
        """Warn of some of the cases, a dict of reasons, and tell the first one's reason."""
        if reasons:
            first = min(reasons)
            self.tell(reasons, problem, f"{self.at_one(first)}: {reasons[first]}")


def resolve_groups(groups, cv, *, X, y, classifier, index):
    """Return the `Groups` for user input.

    Parameters
    ----------
    groups : None, array-like of shape (n,), list of index arrays or Groups
        See the public methods. A `Groups` is returned as it is.
    cv : None, int, splitter or iterable
        If given, the test folds are the groups, and `groups` is passed to its `split`.
    X : array-like or sparse matrix of shape (n, n_features)
        Training data.
    y : array-like of shape (n,) or (n, n_targets)
        Training targets.
    classifier : bool
        Whether an integer `cv` is stratified.
    index : pandas.Index or None
        Names of the training samples.

    Returns
    -------
    Groups
        At least one group.
    """
    n = X.shape[0]
    if isinstance(groups, Groups):
        return groups
    _warn_of_order(groups, index)
    if cv is not None:
        return _from_splitter(groups, cv, X, y, classifier)
    if groups is None:
        return Groups(n)
    groups = list(groups) if isinstance(groups, tuple) else groups
    _refuse_slices(groups, n)
    if isinstance(groups, list) and any(np.ndim(group) for group in groups):
        if not all(np.ndim(group) == 1 for group in groups):
            raise ValueError(
                "groups is a list in which not every entry is a 1-d array of row indices: for "
                "one group write [[3, 5]], and for a sample alone [[3]]."
            )
        members = [
            check_indices(rows, n, f"group {i} of groups") for i, rows in enumerate(groups)
        ]
        return Groups(n, members)
    if np.ndim(groups) != 1:
        given = (
            f"={shown(groups)} is"
            if np.ndim(groups) == 0
            else f" has shape {np.shape(groups)},"
        )
        raise ValueError(
            f"groups{given} not one-dimensional: pass a label for each sample, such as a "
            "column of the training data, or a list of index arrays, such as [[3], [5, 8]]."
        )
    _refuse_mask(groups)
    labels = column_or_1d(groups)
    if len(labels) != n:
        raise ValueError(
            f"groups contains {len(labels)} labels, but there are {n} training samples. "
            "Pass a label for each sample, or a list of index arrays, such as [[3, 5]] for "
            "one group of two samples."
        )
    try:
        names, owner = np.unique(labels, return_inverse=True)
        missing = np.flatnonzero(names != names)
    except TypeError:
        kinds = ", ".join(sorted({type(label).__name__ for label in labels.tolist()}))
        raise ValueError(
            f"groups contains labels of types that cannot be sorted together: {kinds}. Give "
            "every sample a label of the same type. Name missing labels, for example with "
            "fillna('missing') of a pandas Series."
        ) from None
    if missing.size:
        raise ValueError(
            f"groups contains {names[missing[0]]}: give every sample a label. If a sample "
            "belongs to no group, give it a label that no other sample has."
        )
    order = np.argsort(owner, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(owner))[:-1])
    return Groups(n, members, names.tolist())


def _warn_of_order(groups, index):
    """Warn if the samples have the same names as the rows of X, in another order."""
    own = groups.index if hasattr(groups, "iloc") else None
    if own is None or index is None or len(own) != len(index) or own.equals(index):
        return
    if len(own.difference(index, sort=False)) or len(index.difference(own, sort=False)):
        return
    moved = int(np.sum(np.asarray(own) != np.asarray(index)))
    remedy = "Pass groups.loc[X.index] to match names"
    if not own.is_unique:  # `loc` returns all rows of a name
        remedy = "Names are repeated, so they match no order: give each row its own"
    warn(
        f"groups has the index of X in another order: {moved} of {len(own)} labels have "
        "another name than the training sample at their position. Labels are taken by "
        f"position, as in scikit-learn. {remedy}, or groups.to_numpy() if the positions are "
        "right."
    )


def _refuse_slices(groups, n):
    """Raise an error if groups is a slice or has one, which NumPy takes as an object."""
    entries = groups if isinstance(groups, list) else [groups]
    slices = [entry for entry in entries if isinstance(entry, slice)]
    if slices:
        raise ValueError(
            f"groups contains {slices[0]}. Pass the rows that it selects, "
            f"np.arange({n})[{slices[0]}], as a group: a list of index arrays."
        )


def _refuse_mask(groups):
    """Raise an error if labels are a boolean mask, which may mean one group or two."""
    labels = np.asarray(groups)  # pandas' nullable booleans become objects
    if labels.dtype.kind == "O" and len(labels):
        is_mask = all(isinstance(label, bool | np.bool_) for label in labels)
    else:
        is_mask = labels.dtype.kind == "b"
    if is_mask:
        mask = "mask" if hasattr(groups, "astype") else "np.asarray(mask)"
        raise ValueError(
            f"groups is a boolean mask of {len(labels)} values, {int(labels.sum())} of them "
            "True. Pass groups=[np.flatnonzero(mask)] for one group of the marked samples, or "
            f"groups={mask}.astype(int) for two groups, the unmarked samples first."
        )


def check_indices(indices, n_rows, name="indices"):
    """Return row indices as an array, or raise an error that describes the problem."""
    rows = np.asarray(indices)
    if isinstance(indices, Integral) or rows.ndim == 0:
        rows = rows.reshape(1)
    if rows.size == 0:
        return np.empty(0, dtype=np.intp)
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        raise ValueError(
            f"{name} must contain integer row indices in one dimension, not an array of "
            f"{rows.dtype} with shape {rows.shape}{_how_to_get_indices(rows)}."
        )
    outside = rows[(rows < 0) | (rows >= n_rows)]
    if outside.size:
        raise ValueError(
            f"{name} contains {outside[0]}, but the training samples are 0 to {n_rows - 1}."
        )
    values, counts = np.unique(rows, return_counts=True)
    if counts.max() > 1:
        raise ValueError(f"{name} contains {values[counts.argmax()]} more than once.")
    return rows.astype(np.intp)


def _how_to_get_indices(rows):
    """Return a remedy for an array of no integers, empty if none is known."""
    types = {type(row) for row in rows.ravel()}
    if rows.dtype.kind != "O":
        types = {rows.dtype.type}
    if types <= {str, np.str_}:
        return (
            ": pass positions in the training data. Take them from the column `position` "
            "of a result with as_frame=True, or call X.index.get_indexer(names)"
        )
    if types <= {bool, np.bool_}:
        return "; np.flatnonzero turns a mask into indices"
    return ""


def _from_splitter(groups, cv, X, y, classifier):
    n = X.shape[0]
    splitter = check_cv(cv, y, classifier=classifier)
    members = []
    for fold, (train, test) in enumerate(splitter.split(X, y, groups)):
        test = check_indices(test, n, f"test fold {fold}")
        if not np.array_equal(np.setdiff1d(np.arange(n), test), np.sort(train)):
            raise ValueError(
                f"In fold {fold} of {cv!r} the training samples are not all the samples "
                "outside the test fold, so leaving out the test fold is not the same as "
                "fitting on the training fold. Use a splitter such as KFold."
            )
        members.append(test)
    return Groups(n, members)
