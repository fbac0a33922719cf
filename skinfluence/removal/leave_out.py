"""The loop over all groups, in stacks that fit into memory, and what it finds.

Some groups have no result, or one of many. `Findings` collects them for the `Outcome`, stack
by stack.
"""

import sys
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from joblib import effective_n_jobs

from skinfluence.blocks import run_blocks
from skinfluence.namespaces import to_host
from skinfluence.removal.stack import finite

# Number of groups in the trial that forecasts the cost of exact removal, and the multiple of
# this number from which a trial is worth its time.
_TRIAL, _WORTH_A_TRIAL = 128, 8


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
    options = {"n_jobs": n_jobs, "verbose": verbose, "reduce": reduce}
    loop = _Loop(base, groups, emit, recover, options)
    without_optimum = groups_without_optimum(base.point.objective, groups)
    possible = loop.skip([group for group, _ in without_optimum])
    loop.run(possible, method)
    if refine is not None:
        order = np.argsort(-loop.decrements[possible], kind="stable")
        loop.run(np.sort(possible[order[: int(np.ceil(refine * len(possible)))]]), "exact")
    return loop.findings.outcome(without_optimum)


class _Loop:
    """Removes groups stack by stack, see `leave_out`."""

    def __init__(self, base, groups, emit, recover, options):
        self.base, self.groups, self.emit, self.options = base, groups, emit, options
        self.findings = Findings(base, len(groups))
        self.decrements = np.zeros(len(groups))
        # A group that is too small to leave F without a minimum needs no check.
        large = groups.sizes().max(initial=0) >= base.point.objective.n_opposed
        self.check = base.existence if recover and large else None
        self.recover = recover

    def skip(self, without_optimum):
        """Set groups without an optimum to NaN, and return the others.

        If all rows together have none, no group has one. Groups in the list are no failures.
        """
        skipped = np.full(len(self.groups), not self.base.has_optimum)
        self.findings.solved[skipped] = False
        skipped[without_optimum] = self.findings.solved[without_optimum] = True
        nothing, reduce = np.full((1, *self.base.theta.shape), np.nan), self.options["reduce"]
        for group in np.flatnonzero(skipped)[:, None]:
            emitted = self.emit(group, self.groups.padded(group), nothing.copy())
            if reduce is not None:
                reduce(emitted)
        return np.flatnonzero(~skipped)

    def run(self, chosen, method):
        """Remove groups (c,) at one accuracy."""
        if method not in ("influence", "one-step"):
            self.base.prepare(method)
        n_jobs = self.options["n_jobs"]
        stacks = stacks_of(self.base, self.groups, chosen, n_jobs)
        if self.options["verbose"] and method == "exact" and len(chosen):
            print(_forecast(self.base, self.groups, stacks, n_jobs), file=sys.stderr)
        run_blocks(
            lambda indices: self.emit(indices, *self.remove(indices, method)),
            stacks,
            **self.options,
        )

    def remove(self, indices, method):
        """Return rows (b, a) and parameters (b, K, D) of one stack, NaN without a result."""
        rows = self.groups.padded(indices)
        theta, decrement, converged = self.base.remove(rows, method)
        converged = converged & finite(theta)
        if self.recover:
            self._recover(indices, rows, theta, converged)
        self.findings.solved[indices] = converged
        self.decrements[indices] = np.where(np.isfinite(decrement), decrement, np.inf)
        theta[~converged] = np.nan
        if self.base.point.objective.design.has_metric and method != "influence":
            for members, parameters in zip(rows, theta, strict=True):
                parameters[:, members[members >= 0]] = 0.0  # exactly
        return rows, theta

    def _recover(self, indices, rows, theta, converged):
        """Write what stays determined if a group leaves no unique optimum into theta."""

        def reduced(j):
            return self.base.point.objective.without(rows[j][rows[j] >= 0])

        if self.check is not None:
            lost = self.check.directions(theta - self.base.theta, reduced, theta)
            converged[list(lost)] = False
        for j in np.flatnonzero(~converged):
            found = self.findings.recover(indices[j], reduced(j))
            if found is not None and found.theta is not None:
                theta[j], converged[j] = found.theta, True
        if self.base.flat:
            keys = [members.tobytes() for members in rows[converged]]
            self.findings.note_flat(indices[converged], keys)


def _forecast(base, groups, stacks, n_jobs):
    """Return a sentence about the cost of exact removal, from a trial with a few groups.

    A trial is made if it costs little of the whole, and if the base keeps no account of
    removals.
    """
    count = sum(map(len, stacks))
    told = (
        f"method='exact': {count} removals from {groups.n_rows} rows in {len(stacks)} stacks"
    )
    if count < _WORTH_A_TRIAL * _TRIAL or base.refitted is not None:
        return f"{told}."
    largest = max(stacks, key=len)
    rows = groups.padded(largest[:: -(-len(largest) // _TRIAL)])
    start = perf_counter()
    base.remove(rows, "exact")
    seconds = (perf_counter() - start) * count / len(rows) / effective_n_jobs(n_jobs)
    return f"{told}, about {seconds:.2g} s by a trial with {len(rows)} of them."


def stacks_of(base, groups, chosen, n_jobs):
    """Return index arrays of groups that take their steps together."""
    K, D = base.theta.shape
    outputs = K if base.point.objective.coupled else 1

    def group_bytes(a):
        return stack_bytes(a, K, D, outputs)

    return groups.stacks(chosen, group_bytes, largest=D, n_jobs=n_jobs)


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
    """Return (group, class) if a class loses its last rows, so that a refit lacks it."""
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
