"""Walking over all groups: stacks of a size that fits, threads, what did not converge."""

from dataclasses import dataclass

import numpy as np

from skinfluence import existence
from skinfluence.blocks import row_blocks, run_blocks

__all__ = ["Outcome", "groups_without_optimum", "leave_out"]


@dataclass(frozen=True)
class Outcome:
    """What a walk over the groups could not do.

    Parameters
    ----------
    without_optimum : list of (group, class)
        Groups whose removal leaves no sample of a class that a free intercept fits.
    unsolved : ndarray
        Other groups without a finite, converged result; all if there is no optimum at all.
    undetermined : dict of int to ndarray of shape (r, K, D)
        Directions of the parameters that nothing determines without a group. The result is
        one of many, and only numbers that are the same in all of them mean something.
    separated : dict of int to ndarray of shape (K, D)
        Groups without which the others are separated, and the direction along which their
        objective falls forever.
    """

    without_optimum: list
    unsolved: np.ndarray
    undetermined: dict
    separated: dict


def leave_out(
    base,
    groups,
    method,
    emit,
    *,
    refine=None,
    recover=False,
    n_jobs=None,
    verbose=0,
    reduce=None,
):
    """Compute the parameters without each group, stack by stack.

    Parameters
    ----------
    base : Base or ActiveSetBase
        Where to start.
    groups : Groups
        Which rows leave together.
    method : {"influence", "one-step", "newton", "exact"}
        Accuracy.
    emit : callable
        Called as ``emit(indices, rows, theta)`` with group indices (b,), their rows
        (b, a) padded by -1 and their parameters (b, K, D); from several threads, once
        for a group, twice for a refined one.
    refine : float or None, default=None
        Share of the groups, those of the largest Newton decrement, that are computed
        exactly after all.
    recover : bool, default=False
        Whether groups that leave some parameters undetermined have a result at all.
    n_jobs : int or None, default=None
        Number of joblib threads.
    verbose : int, default=0
        Messages of joblib about progress; more of them for larger values.
    reduce : callable or None, default=None
        Called with what `emit` returned, one stack at a time and in their order.

    Returns
    -------
    Outcome
        Groups that were set to NaN, and those with undetermined parameters.
    """
    empty = groups_without_optimum(base.point.objective, groups)
    impossible = np.zeros(len(groups), dtype=bool)
    impossible[[group for group, _ in empty]] = True
    if not base.has_optimum:
        impossible[:] = True
    decrements = np.zeros(len(groups))
    solved = np.ones(len(groups), dtype=bool)
    undetermined, separated = {}, {}
    check = existence.RemovalCheck(base.point.objective) if recover else None

    def run(chosen, method):
        if method in ("newton", "exact"):
            base.prepare(method)

        def work(indices):
            rows = groups.padded(indices)
            theta, decrement, converged = base.remove(rows, method)
            converged = converged & np.isfinite(theta).all(axis=(1, 2))
            if check is not None:
                converged[list(check.directions(base.theta, rows, theta))] = False
            for j in np.flatnonzero(~converged) if recover else ():
                found = base.recover(rows[j][rows[j] >= 0])
                if found is None:
                    continue
                if found.recession is not None:
                    separated[int(indices[j])] = found.recession
                if found.theta is not None:
                    theta[j], undetermined[int(indices[j])] = found.theta, found.directions
                    converged[j] = True
            solved[indices] = converged
            decrements[indices] = np.where(np.isfinite(decrement), decrement, np.inf)
            theta[~converged] = np.nan
            if base.point.objective.design.has_metric and method != "influence":
                for line, one in zip(rows, theta, strict=True):
                    one[:, line[line >= 0]] = 0.0  # to the last bit
            return emit(indices, rows, theta)

        stacks = _stacks(base, groups, chosen, n_jobs)
        run_blocks(work, stacks, n_jobs=n_jobs, verbose=verbose, reduce=reduce)

    for group in np.flatnonzero(impossible)[:, None]:
        found = emit(group, groups.padded(group), np.full((1, *base.theta.shape), np.nan))
        if reduce is not None:
            reduce(found)
    possible = np.flatnonzero(~impossible)
    named = {group for group, _ in empty}
    solved[impossible] = [group in named for group in np.flatnonzero(impossible)]
    run(possible, method)
    if refine is not None:
        order = np.argsort(-decrements[possible], kind="stable")
        run(np.sort(possible[order[: int(np.ceil(refine * len(possible)))]]), "exact")
    return Outcome(empty, np.flatnonzero(~solved), undetermined, separated)


def _stacks(base, groups, chosen, n_jobs):
    """Return index arrays of groups of similar size, as many at a time as memory allows."""
    K, D = base.theta.shape
    sizes = groups.sizes()[chosen]
    order = chosen[np.argsort(sizes, kind="stable")]
    sizes = np.sort(sizes)
    outputs = K if base.point.objective.coupled else 1
    stacks, start = [], 0
    while start < len(order):
        # Groups of up to twice the smallest one's size share a stack, padded; single rows
        # are never padded.
        limit = 2 * sizes[start] if sizes[start] > 1 else 1
        stop = int(np.searchsorted(sizes, limit, side="right"))
        a = max(1, int(sizes[stop - 1]))
        if a > D:
            stacks += [order[i : i + 1] for i in range(start, stop)]
        else:
            # x, Z, the copies a solve makes, C, M and I + M C, and a few of theta's size.
            row_bytes = 8 * (K * D * (4 * a * outputs + 12) + 4 * (a * outputs) ** 2)
            blocks = row_blocks(stop - start, row_bytes, n_jobs=n_jobs)
            stacks += [order[start + b.start : start + b.stop] for b in blocks]
        start = stop
    return stacks


def groups_without_optimum(objective, groups):
    """Return (group, class) where the last rows of a class leave and F has no minimum.

    The free intercept of a class without rows runs off to minus infinity, unless the loss
    grows on both sides of the label, as the squared error does.
    """
    if objective.formulation.loss.constant_curvature:
        return []
    encoder = objective.formulation.target
    free = objective.design.fit_intercept and not objective.penalty[:, -1].all()
    if not free or not hasattr(encoder, "class_codes"):
        return []
    codes, labels = encoder.class_codes(objective.target), encoder.classes.tolist()
    present = objective.sample_weight > 0
    count = np.bincount(codes[present], minlength=len(encoder.classes))
    found = {}
    for code in np.flatnonzero((count > 0) & (count <= groups.sizes().max(initial=0))):
        members = present & (codes == code)
        if groups.members is None:
            last = np.flatnonzero(members)
        else:
            last = [
                g
                for g, rows in enumerate(groups.members)
                if members[rows].sum() == count[code]
            ]
        for group in last:
            found.setdefault(int(group), labels[code])
    return sorted(found.items())
