"""The loop over all groups, and one stack of them at one accuracy.

    "influence"   theta* + H^-1 sum_A v_i                                       first order
    "one-step"    theta* - (H - H_A)^-1 (G - sum_A v_i)       one Newton step, unchecked
    "newton"      the same, plus further steps if the first is not accurate
    "exact"       Newton steps to the minimum of F without A

The error of a Newton step is small for most groups, which `step_error` shows from few rows or
none. For the others, and if the loss has kinks, one gradient of F without A decides: the error
is the Newton decrement after the step over the one before it. These groups also take the next
step, and more if the error is large.
"""

import sys
from time import perf_counter

import numpy as np
from joblib import effective_n_jobs

from skinfluence import convergence, existence
from skinfluence.blocks import row_blocks, run_blocks
from skinfluence.exceptions import SingularHessianError
from skinfluence.namespaces import to_host
from skinfluence.removal.exact import refine_stack, refit_stack
from skinfluence.removal.identified import determines
from skinfluence.removal.optimum import refit
from skinfluence.removal.outcome import Findings
from skinfluence.removal.stack import Stack, finite

# Number of groups in the trial that forecasts the cost of exact removal, and the multiple of
# this number from which a trial is worth its time.
_TRIAL, _WORTH_A_TRIAL = 128, 8
#: Accuracies that users can choose.
METHODS = ("influence", "newton", "exact")
#: A Newton step, accurate or not, for measures that are defined by it.
ONE_STEP = "one-step"

#: Largest relative error of an accurate Newton step, and the error to reach if it is larger.
#: Both are in the metric of the Hessian. In the parameters it may be a few times as large.
ACCURATE, _REFINED = 0.005, 1e-3
# The same for squared loss, for which "newton" is exact.
_EXACT = 1e-10


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
        self.check = existence.RemovalCheck(base.point.objective) if recover else None

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
        if method in ("newton", "exact"):
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
        if self.check is not None:
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

        lost = self.check.directions(theta - self.base.theta, reduced, theta)
        converged[list(lost)] = False
        for j in np.flatnonzero(~converged):
            found = self.findings.recover(indices[j], reduced(j))
            if found is not None and found.theta is not None:
                theta[j], converged[j] = found.theta, True
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


def remove(base, rows, method):
    """Return (theta, decrement, converged) for groups of rows (b, a), padded by -1.

    Parameters
    ----------
    base : Base
        The start of removal.
    rows : ndarray of shape (b, a)
        Rows in each group.
    method : {"influence", "one-step", "newton", "exact"}
        Accuracy.

    Returns
    -------
    theta : ndarray of shape (b, K, D)
        Parameters without each group.
    decrement : ndarray of shape (b,)
        Newton decrement before the first step; zeros for "influence" and "exact".
    converged : ndarray of shape (b,)
        Whether "exact" reached an optimum or "newton" an accurate step; True for the others.
    """
    decrement, converged = np.zeros(len(rows)), np.ones(len(rows), dtype=bool)
    large = rows.shape[1] > base.point.objective.design.n_columns
    if method == "influence":
        theta = _first_order(base, rows) if large else Stack(base, rows).influence()
    elif large:
        # For large groups a common factorisation saves nothing, so each has its own Hessian.
        theta, decrement, converged = each_alone(base, rows, method)
    elif method == "exact":
        theta, converged = refit_stack(Stack(base, rows))
    else:
        stack = Stack(base, rows)
        theta, decrement, alone, suspects = first_steps(stack, method)
        theta[alone], decrement[alone], converged[alone] = each_alone(
            base, rows[alone], method
        )
        if len(suspects):
            tol = _tolerances(stack)[1]
            converged[suspects] = refine_stack(stack, theta, decrement, suspects, tol)
    return theta, decrement, converged


def first_steps(stack, method):
    """Return the Newton steps of a stack, which take no pass over the rows that stay.

    Parameters
    ----------
    stack : Stack
        The groups.
    method : {"one-step", "newton"}
        Accuracy.

    Returns
    -------
    theta : ndarray of shape (b, K, D)
        Parameters without each group.
    decrement : ndarray of shape (b,)
        Newton decrement before the step.
    alone : ndarray
        Indices of groups without a result. They own nearly all the curvature along a
        direction, so the update divides by rounding error, and the reduced Hessian is to be
        factorised.
    suspects : ndarray
        Indices of groups whose step may not be accurate; none for "one-step".
    """
    theta, decrement = stack.newton(exact=method == ONE_STEP)
    alone = np.flatnonzero(~finite(theta))
    suspects = np.zeros(0, dtype=np.intp)
    if method != ONE_STEP:
        suspects = np.flatnonzero(_may_be_inaccurate(stack, theta, decrement))
    return theta, decrement, alone, suspects


def _tolerances(stack):
    """Return the largest error of an accurate step, and the error to reach otherwise."""
    if stack.base.point.objective.formulation.loss.constant_curvature:
        return _EXACT, _EXACT  # if only the penalty changes, a step or two are enough
    return ACCURATE, _REFINED


def _may_be_inaccurate(stack, theta, decrement):
    """Return whether one Newton step may not be accurate for each group, (b,) bool."""
    loss = stack.base.point.objective.formulation.loss
    if loss.constant_curvature and (stack.moved_penalty is None or stack.is_corrected):
        return np.zeros(len(stack), dtype=bool)
    bounds = stack.base.step_error
    error = np.zeros(len(stack))
    if stack.scale_ratio is not None:
        # The step uses the penalty for all rows, not the one without the group.
        error += to_host(np.abs(stack.scale_ratio - 1.0).max(axis=1))
    if stack.class_growth is not None:  # likewise, it uses the curvature at the old weights
        error += np.abs(stack.class_growth).max(axis=(1, 2))
    accurate = _tolerances(stack)[0]
    by_leverage = bounds.bound(decrement, 1.0 - 1.0 / stack.update.amplification())
    suspects = ~(error + by_leverage <= accurate) & finite(theta)
    if bounds.rate and suspects.any():
        rows = stack.base.point.objective.among_all(stack.rows[suspects])
        steps = theta[suspects] - stack.base.theta
        found = bounds.estimate(steps, decrement[suspects], rows, enough=accurate)
        suspects[suspects] = ~(error[suspects] + found <= accurate)
    return suspects


def _first_order(base, rows):
    """Return theta* + N + H^-1 sum_A v_i for groups too large for a stack."""
    lines = [line[line >= 0] for line in rows]
    total = first_order_pull(base.point, lines)
    return base.theta + base.correction + base.factor.solve(total)


def first_order_pull(point, lines):
    """Return the derivative of grad F in the multiplicity of each group of rows, (b, K, D).

    It is sum_A v_i, and the parts through "balanced" class weights and column scales.
    """
    objective = point.objective
    rows, w = point.rows, objective.sample_weight
    if point.class_shift is not None:
        rows, w = point.multiplicity_rows, np.ones_like(w)
    total = np.stack([rows.take(line).sum(w[line]) for line in lines])
    if objective.scales is not None:
        for pull, line in zip(total, lines, strict=True):
            moved = objective.scales.first_order(objective.design.take(line).rows())
            pull += moved.sum(axis=0) * objective.penalty * point.theta
    return total


def each_alone(base, rows, method):
    """Return the result of `remove` for groups that each have a separate Hessian."""
    b = len(rows)
    theta = np.full((b, *base.theta.shape), np.nan, like=base.theta)
    decrement, converged = np.zeros(b), np.ones(b, dtype=bool)
    for j, line in enumerate(rows):
        theta[j], decrement[j], converged[j] = _alone(base, line[line >= 0], method)
    return theta, decrement, converged


def _alone(base, rows, method):
    """Return (theta, decrement, converged) for one group."""
    objective = base.point.objective
    if method == "exact":
        theta, converged = refit(base, rows)
        return theta, 0.0, converged and determines(objective.without(rows), objective)
    reduced = objective.without(rows).at(base.theta)
    try:
        factor = base.solver.factorise(reduced)
    except SingularHessianError:
        return np.full_like(base.theta, np.nan), np.inf, method == ONE_STEP
    step = convergence.newton_correction(reduced, factor)
    theta, decrement = base.theta + step, convergence.newton_decrement(reduced, step)
    if method == ONE_STEP or reduced.objective.formulation.loss.constant_curvature:
        return theta, decrement, True
    # If few rows have curvature, a first step over kinks may predict any decrease.
    if not reduced.objective.formulation.loss.has_kinks:
        following = reduced.objective.at(theta)
        remaining = convergence.newton_correction(following, factor)
        remaining = convergence.newton_decrement(following, remaining)
        if np.isfinite(remaining) and remaining <= max(ACCURATE * decrement, base.rounding):
            return theta, decrement, True
    theta, converged = refit(base, rows, theta, first=decrement, tol=_REFINED)
    return theta, decrement, converged
