"""The loop over all groups: stacks that fit into memory, threads, failed groups."""

import sys
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from joblib import effective_n_jobs

from skinfluence import existence
from skinfluence.blocks import row_blocks, run_blocks
from skinfluence.namespaces import to_host
from skinfluence.removal.stack import finite

__all__ = [
    "Outcome",
    "groups_without_class",
    "groups_without_optimum",
    "leave_out",
    "needs_every_class",
    "stack_bytes",
]


# Number of groups in the trial that forecasts the cost of exact removal, and the multiple of
# this number from which a trial is worth its time.
_TRIAL, _WORTH_A_TRIAL = 128, 8


@dataclass(frozen=True)
class Outcome:
    """Groups for which a removal failed or is not unique.

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
        The start of removal.
    groups : Groups
        The rows that leave together.
    method : {"influence", "one-step", "newton", "exact"}
        Accuracy.
    emit : callable
        Called as ``emit(indices, rows, theta)`` with group indices (b,), their rows (b, a)
        padded by -1, and their parameters (b, K, D). Threads may call it. It is called once
        for each group, and twice for a refined one.
    refine : float or None, default=None
        Share of the groups to compute exactly in a second pass, those with the largest Newton
        decrements.
    recover : bool, default=False
        Whether groups that leave some parameters undetermined get a result.
    n_jobs : int or None, default=None
        Number of joblib threads.
    verbose : int, default=0
        Verbosity of joblib's progress messages; larger values give more.
    reduce : callable or None, default=None
        Called with the return value of `emit` for each stack, in order.

    Returns
    -------
    Outcome
        Groups that were set to NaN, and groups with undetermined parameters.
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

    def reduced(line):
        return base.point.objective.without(line[line >= 0])

    def run(chosen, method):
        if method in ("newton", "exact"):
            base.prepare(method)

        def work(indices):
            rows = groups.padded(indices)
            theta, decrement, converged = base.remove(rows, method)
            converged = converged & finite(theta)
            if check is not None:
                lost = check.directions(theta - base.theta, lambda j: reduced(rows[j]), theta)
                converged[list(lost)] = False
            for j in np.flatnonzero(~converged) if recover else ():
                found = base.recover(reduced(rows[j]))
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
                for members, parameters in zip(rows, theta, strict=True):
                    parameters[:, members[members >= 0]] = 0.0  # exactly
            return emit(indices, rows, theta)

        stacks = stacks_of(base, groups, chosen, n_jobs)
        if verbose and method == "exact" and len(chosen):
            print(_forecast(base, groups, stacks, n_jobs), file=sys.stderr)
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


def _forecast(base, groups, stacks, n_jobs):
    """Return a sentence about the cost of exact removal, from a trial with a few groups.

    A trial is made if it costs little of the whole, and if the base keeps no account of
    removals.
    """
    count = sum(map(len, stacks))
    told = (
        f"method='exact': {count} removals from {groups.n_rows} rows in {len(stacks)} stacks"
    )
    counts = hasattr(base, "refitted") or hasattr(base, "changed")
    if count < _WORTH_A_TRIAL * _TRIAL or counts:
        return f"{told}."
    largest = max(stacks, key=len)
    rows = groups.padded(largest[:: -(-len(largest) // _TRIAL)])
    start = perf_counter()
    base.remove(rows, "exact")
    seconds = (perf_counter() - start) * count / len(rows) / effective_n_jobs(n_jobs)
    return f"{told}, about {seconds:.2g} s by a trial with {len(rows)} of them."


def stacks_of(base, groups, chosen, n_jobs):
    """Return index arrays of groups with similar sizes, as many as memory allows."""
    K, D = base.theta.shape
    sizes = groups.sizes()[chosen]
    order = chosen[np.argsort(sizes, kind="stable")]
    sizes = np.sort(sizes)
    outputs = K if base.point.objective.coupled else 1
    stacks, start = [], 0
    while start < len(order):
        # A stack takes groups up to twice as large as its smallest one, padded. Single rows
        # are never padded.
        limit = 2 * sizes[start] if sizes[start] > 1 else 1
        stop = int(np.searchsorted(sizes, limit, side="right"))
        a = max(1, int(sizes[stop - 1]))
        if a > D:
            stacks += [order[i : i + 1] for i in range(start, stop)]
        else:
            blocks = row_blocks(stop - start, stack_bytes(a, K, D, outputs), n_jobs=n_jobs)
            stacks += [order[start + b.start : start + b.stop] for b in blocks]
        start = stop
    return stacks


def stack_bytes(a, K, D, outputs):
    """Return the bytes that a group of a rows takes in a stack.

    These are x, Z, the copies in a solve, C, M and I + M C, and a few as large as theta, for
    `outputs` coupled outputs.
    """
    return 8 * (K * D * (4 * a * outputs + 12) + 4 * (a * outputs) ** 2)


def needs_every_class(objective):
    """Return whether F has no minimum if all rows of a class lose their weights.

    Then the class's free intercept diverges to minus infinity, unless the loss grows on both
    sides of the label, like the squared error.
    """
    if objective.formulation.loss.constant_curvature:
        return False
    free = objective.design.fit_intercept and not objective.penalty[:, -1].all()
    return free and hasattr(objective.formulation.target, "class_codes")


def groups_without_optimum(objective, groups):
    """Return (group, class) if a class loses its last rows, so that F has no minimum."""
    if objective.is_distributed or not needs_every_class(objective):
        return []
    return groups_without_class(objective, groups)


def groups_without_class(objective, groups):
    """Return (group, class) if a class loses its last rows, which a refit would not have."""
    encoder = objective.formulation.target
    if objective.is_distributed or not hasattr(encoder, "class_codes"):
        return []
    codes, labels = to_host(encoder.class_codes(objective.target)), encoder.classes.tolist()
    present = to_host(objective.sample_weight > 0)
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
