"""The k largest products of each vector with many rows, while few products are kept."""

import numpy as np

from skinfluence.blocks import batches, row_blocks
from skinfluence.namespaces import is_device, smallest

#: Functions of the influence whose largest values rank first.
ORDERS = {"absolute": np.abs, "helpful": np.negative, "harmful": np.positive}


# The best value along the last axis, ranked as in `ORDERS`, without a copy of the array.
_BEST = {
    "absolute": lambda a: np.maximum(a.max(axis=-1), -a.min(axis=-1)),
    "helpful": lambda a: -a.min(axis=-1),
    "harmful": lambda a: a.max(axis=-1),
}

#: Number of training rows whose products are ranked at once.
COLUMNS = 512
# Bytes of their products with queries.
_TILE = 8 * 2**20
# Arrays as large as a tile that the selection on a device makes, if it sorts the whole tile.
_PASSES = 8
# Columns of a tile there whose best value says whether they are looked at.
_GROUP = 64


def largest_products(rows, V, k, order):
    """Return (products, indices) of the k best <V_q, v_i> for each q, (m, k), in blocks."""
    columns = COLUMNS
    if rows.design.like is None:
        queries = row_blocks(len(V), 8 * columns, largest=_TILE)
    else:  # few passes, because each starts many operations
        queries = [slice(0, len(V))] if len(V) else []
        blocks = row_blocks(len(rows), _PASSES * 8 * max(1, len(V)), largest=np.inf)
        columns = blocks[0].stop if blocks else 1
    best = [Largest(k, order) for _ in queries]
    # All blocks share one buffer, because allocating each would take as long as the selection.
    largest = max((q.stop - q.start for q in queries), default=0)
    buffer = np.empty(columns * largest, like=rows.raw_gradient)
    for block in batches(len(rows), columns):
        part = rows.take(block)
        for query_block, largest in zip(queries, best, strict=True):
            shape = (query_block.stop - query_block.start, len(part))
            out = buffer[: shape[0] * shape[1]].reshape(shape)
            largest.add(part.dot(V[query_block], out=out), block.start)
    return tuple(
        np.concatenate(a) for a in zip(*((b.values, b.index) for b in best), strict=True)
    )


class Largest:
    """The k best columns so far for each row, from columns that arrive in blocks.

    Parameters
    ----------
    k : int
        Number of columns to keep for each row.
    order : {"absolute", "helpful", "harmful"}
        The values that rank first.

    Attributes
    ----------
    values, index : ndarray of shape (m, <= k)
        The best columns and their indices, best first.
    """

    values = index = None

    def __init__(self, k, order):
        self.k, self.order = k, order

    def add(self, part, start):
        """Add a block (m, c) with the columns start, start + 1, ..."""
        if is_device(part):
            self._merge(slice(None), *self._candidates(part, start))
            return
        columns = np.arange(start, start + part.shape[1])
        if self.values is None or self.values.shape[1] < self.k:
            self._merge(slice(None), part, np.broadcast_to(columns, part.shape))
            return
        # The maximum over a block, one vectorised pass, shows for nearly every row that
        # nothing changes: from n columns in random order only 1 + k log(n / k) are ever kept.
        # Ties with the last kept value are dropped; NaNs are kept.
        rank = ORDERS[self.order]
        last = rank(self.values[:, -1])
        rows = np.flatnonzero(~(_BEST[self.order](part) <= last))
        if not len(rows):
            return
        part = part[rows]
        better = ~(rank(part) <= last[rows, None])
        count = better.sum(axis=1)
        line, column = np.nonzero(better)
        place = np.arange(len(line)) - np.repeat(np.cumsum(count) - count, count)
        values = np.full(
            (len(rows), count.max()), np.nan, like=part
        )  # NaN ranks after every number
        index = np.full(values.shape, np.iinfo(np.intp).max, like=part)
        values[line, place], index[line, place] = part[line, column], columns[column]
        self._merge(rows, values, index)

    def _candidates(self, part, start):
        """Return columns of a block on a device that hold its k best: (values, index).

        They are the k groups of columns with the best single values. The best of each group
        takes one pass over the block, while its k best themselves would take many.
        """
        columns = np.arange(part.shape[1], like=part)
        n_groups, rest = divmod(part.shape[1], _GROUP)
        if n_groups > 2 * self.k:
            grouped = part[:, : n_groups * _GROUP].reshape(len(part), n_groups, _GROUP)
            best = _BEST[self.order](grouped)
            if not np.isnan(best).any():  # a NaN hides the best of its group
                groups = np.broadcast_to(columns[:n_groups], best.shape)
                _, groups = keep_largest(best, groups, self.k, "harmful")
                chosen = groups[:, :, None] * _GROUP + columns[:_GROUP]
                last = np.broadcast_to(columns[n_groups * _GROUP :], (len(part), rest))
                chosen = np.hstack([chosen.reshape(len(part), -1), last])
                return np.take_along_axis(part, chosen, axis=1), start + chosen
        return part, np.broadcast_to(start + columns, part.shape)

    def _merge(self, rows, values, index):
        if self.values is None:
            self.values, self.index = keep_largest(values, index, self.k, self.order)
            return
        values = np.hstack([self.values[rows], values])
        index = np.hstack([self.index[rows], index])
        kept = keep_largest(values, index, self.k, self.order)
        if isinstance(rows, slice):
            self.values, self.index = kept
        else:
            self.values[rows], self.index[rows] = kept


def keep_largest(values, index, k, order):
    """Return the k best columns in each row, best first; ties by the smaller index."""
    rank = ORDERS[order]
    key = -rank(values)
    if key.shape[1] > k:
        chosen = smallest(key, k)
        # It breaks ties at random, but the smaller index must stay.
        last = np.take_along_axis(key, chosen, axis=1).max(axis=1, keepdims=True)
        for row in np.flatnonzero((key <= last).sum(axis=1) > k):
            chosen[row] = np.lexsort((index[row], key[row]))[:k]
        values, index = (np.take_along_axis(a, chosen, axis=1) for a in (values, index))
        key = -rank(values)
    by = np.lexsort((index, key), axis=1)
    return tuple(np.take_along_axis(a, by, axis=1) for a in (values, index))
