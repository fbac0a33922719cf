"""Measures of single rows in chunks, and the covariance of the parameters."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from skinfluence import covariance, diagnostics, influence
from skinfluence.distributed.removal import RowRemoval, models_without
from skinfluence.distributed.samples import import_dask, in_memory, join_rows
from skinfluence.groups import Groups
from skinfluence.removal.methods import ONE_STEP

__all__ = ["RowMeasures", "dispersion_sums", "sandwich"]


def sandwich(base):
    """Return `covariance.sandwich` for independent rows, (p, p), from one pass."""
    return base.point.objective.total(_sandwich, base.shared("influence"))


def dispersion_sums(point, factor):
    """Return the `DispersionSums` over all rows, from one pass."""
    K, (n, *sums) = point.theta.shape[0], point.total(_dispersion_sums, factor)
    leverage, chi_square, *of_classes = np.reshape(sums, (-1, K))
    return diagnostics.DispersionSums(
        int(n), leverage, chi_square, np.reshape(of_classes, (-1, K))
    )


@dataclass(frozen=True, eq=False)
class RowMeasures:
    """`RemovalMeasures` of single rows in chunks.

    Parameters
    ----------
    base : DistributedBase
        The start of removal.
    sums : DispersionSums
        Sums over all rows.
    rows : ndarray, default=()
        Rows, in ascending order, without which a Newton step takes passes over the chunks.
    theta : ndarray of shape (len(rows), K, D) or None, default=None
        Parameters after these steps.
    """

    base: Any
    sums: Any
    rows: Any = ()
    theta: np.ndarray | None = None

    @property
    def removal(self):
        """One Newton step without each row."""
        return RowRemoval(self.base, ONE_STEP, self.rows, self.theta)

    def survey(self):
        """Return three arrays of rows, from one pass.

        The step without a row of the first array takes passes. The step without one of the
        second may not be accurate. Without one of the third the dispersion is 0.
        """
        found = in_memory(*self.removal.map(_survey, self.sums))
        kinds, starts = zip(*found, strict=True), self.base.point.objective.samples.starts
        return tuple(
            np.concatenate([part + start for part, start in zip(kind, starts, strict=True)])
            for kind in kinds
        )

    def columns(self, doubtful, refined):
        """Return the columns of `influence_summary`, a dict of dask arrays (n,).

        Parameters
        ----------
        doubtful : ndarray
            Rows in ascending order.
        refined : ndarray of shape (len(doubtful), K, D) or None
            More accurate parameters without these rows.
        """
        da = import_dask().array
        better = RowRemoval(self.base, ONE_STEP, doubtful, refined).own
        lengths = self.base.point.objective.samples.lengths
        tasks = self.removal.map(_columns, self.sums, own=better)
        names = diagnostics.ROW_COLUMNS
        parts = [
            da.from_delayed(task, (len(names), m), dtype=np.float64)
            for task, m in zip(tasks, lengths, strict=True)
        ]
        return dict(zip(names, da.concatenate(parts, axis=1), strict=True))

    def dfbetas(self, scale, layout, dtype):
        """Return `dfbetas`, (n, p), as a dask array."""
        tasks = self.removal.map(_dfbetas, self.sums, scale, layout, dtype)
        lengths = self.base.point.objective.samples.lengths
        return join_rows(tasks, lengths, (layout.size,), dtype)


# Functions that run in tasks.


def _sandwich(objective, shared):
    base = shared.base_of(objective)
    return covariance.sandwich(base.point, base.plain_factor, Groups(objective.n_rows))


def _dispersion_sums(point, factor):
    sums = diagnostics.DispersionSums.of(point, diagnostics.leverages(point, factor))
    parts = [sums.leverage, sums.chi_square, sums.of_classes.ravel()]
    return np.concatenate([[sums.n_weighted], *parts])


def _measures(base, known, method, sums, write=None):
    """Return the measures of a chunk's rows."""
    shares = diagnostics.curvature_shares(base.point, base.plain_factor)
    measures = diagnostics.RemovalMeasures(base, *shares, sums)
    for block, theta in models_without(base, known, method):
        d = measures.add(np.arange(block.start, block.stop), theta)
        if write is not None:
            write(block, d)
    return measures


def _survey(base, known, method, sums):
    measures = _measures(base, known, method, sums)
    lost = np.isnan(measures.decrement2).any(axis=1)
    perfect = (measures.deleted_dispersion == 0).any(axis=1)
    doubtful = np.union1d(measures.doubtful(), np.flatnonzero(lost))
    return np.flatnonzero(lost), doubtful, np.flatnonzero(perfect)


def _columns(base, known, method, better, sums):
    measures = _measures(base, known, method, sums)
    _, rows, theta = better
    if len(rows):
        measures.refine_loss(rows, theta)
    columns = measures.columns(influence.self_influence(base.point, base.plain_factor))
    return np.stack([columns[name] for name in diagnostics.ROW_COLUMNS])


def _dfbetas(base, known, method, sums, scale, layout, dtype):
    out = np.empty((base.point.objective.n_rows, layout.size))

    def write(block, d):
        out[block] = diagnostics.scaled_moves(d, scale, layout)

    deleted = _measures(base, known, method, sums, write).deleted_dispersion
    return diagnostics.divide_by_deleted(out, deleted, layout).astype(dtype)
