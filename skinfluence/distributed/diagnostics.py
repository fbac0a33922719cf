"""Measures of single rows in chunks, and the covariance of the parameters."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skinfluence import diagnostics, influence
from skinfluence.class_balance import ClassBalance
from skinfluence.distributed.parts import PartPoint
from skinfluence.distributed.removal import RowRemoval, models_without, refitted
from skinfluence.distributed.samples import in_memory, join_columns, join_rows
from skinfluence.groups import Groups
from skinfluence.removal.accuracies import ONE_STEP


def sandwich(base):
    """Return `influence.sandwich` for independent rows, (p, p), from one pass."""
    return base.point.objective.total(_sandwich, base.shared("influence"))


def dispersion_sums(point, factor):
    """Return the `DispersionSums` over all rows, from one pass."""
    K, (n, *sums) = point.theta.shape[0], point.total(_dispersion_sums, factor)
    leverage, chi_square, *of_classes = np.reshape(sums, (-1, K))
    return diagnostics.DispersionSums(
        int(n), leverage, chi_square, np.reshape(of_classes, (-1, K))
    )


def fill_group_measures(measures, members, theta):
    """Fill `GroupMeasures` from one pass and return the changes of the parameters.

    Parameters
    ----------
    measures : GroupMeasures
        For a `DistributedBase`.
    members : list of ndarray
        Rows of each group.
    theta : ndarray of shape (G, K, D)
        Parameters without each group.
    """
    objective, d = measures.base.point.objective, theta - measures.theta
    growth = counted = None
    sizes = np.array([len(rows) for rows in members])
    if objective.balance is not None or objective.samples.sample_weight is not None:
        growth, counted = _growth_and_counts(objective, members)
    places = objective.samples.places_of(members)
    sums = objective.total(_sums_of_groups, measures.base.theta, theta, d, growth, own=places)
    counted = sizes if counted is None else counted
    measures.fill(np.arange(len(members)), d, sums, counted, sizes)
    return d


def _growth_and_counts(objective, members):
    """Return the growth of class weights, or None, and numbers of rows with a weight."""
    rows = np.unique(np.concatenate(members))
    y, weight = objective.samples.labels_and_weights(rows)
    local = Groups(len(rows), [np.searchsorted(rows, group) for group in members])
    padded = local.padded(np.arange(len(members)))
    counted = np.sum((padded >= 0) & (weight[padded] > 0), axis=1)
    if objective.balance is None:
        return None, counted
    form, balance = objective.formulation, objective.balance
    codes = form.target.class_codes(form.target.encode(y))
    part = ClassBalance.of(form.class_weight, codes, weight, balance.by_weight)
    return replace(part, sums_of_all=balance.sums).growth(padded), counted


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
        Rows whose removal takes passes over the chunks, in ascending order.
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

        The first array has the rows whose removal takes passes over the chunks. For those in
        the second one a Newton step may be inaccurate. Without one of the third, the
        dispersion is 0.
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
        better = RowRemoval(self.base, ONE_STEP, doubtful, refined).own
        tasks = self.removal.map(_columns, self.sums, own=better)
        names = diagnostics.ROW_COLUMNS
        columns = join_columns(tasks, self.removal.lengths, len(names))
        return dict(zip(names, columns, strict=True))

    def dfbetas(self, scale, layout, dtype):
        """Return `dfbetas`, (n, p), as a dask array."""
        tasks = self.removal.map(_dfbetas, self.sums, scale, layout, dtype)
        return join_rows(tasks, self.removal.lengths, (layout.size,), dtype)


@dataclass(frozen=True, eq=False)
class RefitMeasures:
    """Measures of single rows in chunks, if column scales move without them.

    See ``whole.diagnostics`` for the differences from `RowMeasures`. With a quadratic loss the
    chi-squares of the remaining rows are a quadratic function of the parameters without the
    row.

    Parameters
    ----------
    removal : RowRemoval
        The models without each row, at their own scales.
    own : RowMeasures
        Measures of the last step alone.
    sums : DispersionSums
        Sums over all rows at the start of removal.
    """

    removal: RowRemoval
    own: RowMeasures
    sums: Any

    def _map(self, function, *arguments):
        own = self.own.removal.own
        return self.removal.map(function, self.own.sums, self.sums, *arguments, own=own)

    def columns(self):
        """Return the columns of `influence_summary` that differ, a dict of dask arrays."""
        tasks, lengths = self._map(_refit_columns), self.removal.lengths
        columns = join_columns(tasks, lengths, len(_OF_REFITS))
        return dict(zip(_OF_REFITS, columns, strict=True))

    def dfbetas(self, scale, layout, dtype):
        """Return `dfbetas`, (n, p), as a dask array; `scale` is the diagonal of H^-1."""
        tasks = self._map(_refit_dfbetas, scale, layout, dtype)
        return join_rows(tasks, self.removal.lengths, (layout.size,), dtype)


_OF_REFITS = ("cooks_distance", "dffits", "studentized_residual", "leave_out_loss")


# Functions that run in tasks.


def _sandwich(objective, shared):
    base = shared.base_of(objective)
    return influence.sandwich(base.point, base.plain_factor, Groups(objective.n_rows))


def _dispersion_sums(point, factor):
    sums = diagnostics.DispersionSums.of(point, diagnostics.leverages(point, factor))
    parts = [sums.leverage, sums.chi_square, sums.of_classes.ravel()]
    return np.concatenate([[sums.n_weighted], *parts])


def _sums_of_groups(objective, places, start, theta, d, growth):
    groups = Groups(objective.n_rows, places)
    rows = groups.padded(np.arange(len(places)))
    return diagnostics.sums_of_groups(objective.at(start), rows, theta, d, growth)


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


def _at_fixed_scales(base):
    """Return the base of a chunk's rows for the last step alone."""
    point = base.point
    part = replace(point.objective, scales=None)
    return base.with_rows(PartPoint(part, point.theta, point.gradient, point.class_gradients))


def _curved(base, d):
    """Return d'H d without the penalty for changes (b, K, D), (b, K)."""
    product = base.hessian_times(d) - base.point.objective.penalty * d
    return np.sum(d * product, axis=-1)


def _deleted_dispersion(base, rows, theta, sums):
    """Return phi without each row of a block, at its parameters theta (b, K, D), (b, K)."""
    objective, loss = base.point.objective, base.point.objective.formulation.loss
    if not loss.has_dispersion:
        return np.ones(theta.shape[:2])
    d, slope = theta - base.theta, base.point.gradient - objective.penalty * base.theta
    raw = objective.design.take(rows).predict_each(theta)
    leaving = loss.chi_square(objective.target[rows], raw)
    others = sums.chi_square + 2 * np.sum(slope * d, axis=-1) + _curved(base, d)
    others -= objective.row_weight[rows] * leaving
    counted = (objective.sample_weight[rows] > 0)[:, None]
    return diagnostics.ratio(np.maximum(others, 0.0), sums.degrees(counted))


def _refit_columns(base, known, method, own_known, own_sums, sums):
    _, *own_known = own_known
    last = _measures(_at_fixed_scales(base), own_known, ONE_STEP, own_sums)
    objective = base.point.objective
    form, design = objective.formulation, objective.design
    distance, moved, deleted = np.empty((3, design.n_rows, len(base.theta)))
    loss = np.empty(design.n_rows)
    for block, theta in models_without(base, known, method):
        d, part = theta - base.theta - base.correction, design.take(block)
        distance[block] = _curved(base, d)
        moved[block] = part.predict_each(d)
        deleted[block] = _deleted_dispersion(base, block, theta, sums)
        raw = part.predict_each(theta)
        lost = np.isnan(raw).any(axis=1)
        loss[block] = np.where(lost, np.nan, form.loss.loss(objective.target[block], raw))
    phi = np.ones(len(base.theta))
    if form.loss.has_dispersion:
        phi = diagnostics.ratio(sums.chi_square, sums.degrees())
    cooks_distance = diagnostics.per_parameter(
        diagnostics.ratio(distance, phi), own_sums.leverage
    )
    dffits = diagnostics.ratio(distance, deleted).sum(axis=1)
    dffits = np.sqrt(np.maximum(0.0, dffits))
    if form.layout.n_predictions == 1:
        dffits = np.copysign(dffits, -moved[:, 0])
    return np.stack([cooks_distance, dffits, last.residual(deleted), loss])


def _refit_dfbetas(base, known, method, _, own_sums, sums, scale, layout, dtype):
    out = np.empty((base.point.objective.n_rows, layout.size), dtype)
    full = base.theta + base.correction
    for block, theta in models_without(base, known, method):
        phi = _deleted_dispersion(base, block, theta, sums)
        moves = layout.to_public(full - refitted(base, block, theta, method))
        out[block] = diagnostics.moves_in_errors(moves, scale, phi, layout)
    return out
