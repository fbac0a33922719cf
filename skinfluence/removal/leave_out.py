"""Walking over all groups: stacks of a size that fits, threads, what did not converge."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skinfluence import convergence
from skinfluence.blocks import memory_budget, row_blocks, run_blocks
from skinfluence.exceptions import SingularHessianError
from skinfluence.gradients import GradientRows
from skinfluence.rank import least_norm
from skinfluence.removal.exact import refit, refit_stack
from skinfluence.removal.stack import Stack
from skinfluence.solvers.pencil import PencilFactor

__all__ = ["METHODS", "Base", "Outcome", "leave_out"]

METHODS = ("influence", "newton", "exact")


@dataclass(frozen=True, eq=False)
class Base:
    """Where removal starts: a point, its Hessian and the solver that made it.

    Parameters
    ----------
    point : Point
        The training objective at the fitted parameters, for "exact" at its optimum.
    factor : Factor
        H^-1 at the point; a `PencilFactor` for objectives of mean form.
    plain_factor : Factor
        H^-1 as the solver made it.
    correction : ndarray of shape (K, D)
        N = -H^-1 G.
    solver : HessianSolver
        For groups that need a Hessian of their own.
    """

    point: object
    factor: object
    plain_factor: object
    correction: np.ndarray
    solver: object

    @classmethod
    def at(cls, point, factor, solver):
        """Return the base at a point with a factor of its Hessian."""
        correction = convergence.newton_correction(point, factor)
        objective = point.objective
        # Where features are far from 0, `centred` has the pencil.
        plain = objective.formulation.penalty_share is None or objective.offset is not None
        return cls(
            point=point,
            factor=factor if plain else PencilFactor(point),
            plain_factor=factor,
            correction=correction,
            solver=solver,
        )

    @property
    def theta(self):
        """Parameters of the point, (K, D)."""
        return self.point.theta

    @cached_property
    def hessian(self):
        """Blocks of H with the outputs they serve, filled; None where it does not pay."""
        if self.point.objective.design.has_metric:
            return None
        K, D = self.theta.shape
        order = K * D if self.point.objective.coupled else D
        # A step times H and the moments take 4 order^2, and save half of the 4 n D that a
        # gradient takes: 600 removals of 600 x 2,500 took 2.9 s with and 0.36 without.
        if 2 * order > self.point.objective.n_rows:
            return None
        # Beside the factor and its inverse: H, its mirror image, and the second moments.
        if 8 * (4 * order**2 + 2 * D**2) > memory_budget():
            return None
        blocks = []
        for outputs, block in self.point.hessian_blocks():
            filled = np.triu(block)
            filled += np.triu(block, 1).T
            blocks.append((outputs, filled))
        return blocks

    def remove(self, rows, method):
        """Return (theta, decrement, converged) of groups of rows (b, a), padded by -1."""
        objective = self.point.objective
        if self.centred is not None:
            theta, decrement, converged = self.centred.remove(rows, method)
            return objective.from_centred(theta), decrement, converged
        spectrum = None if method == "influence" else objective.spectrum
        if spectrum is None:
            return _remove(self, rows, method)
        own = spectrum.may_change(objective.design, objective.sample_weight, rows)
        theta = np.empty((len(rows), *self.theta.shape))
        decrement, converged = np.zeros(len(rows)), np.ones(len(rows), dtype=bool)
        if not own.all():
            rest = ~own
            theta[rest], decrement[rest], converged[rest] = _remove(self, rows[rest], method)
        for j in np.flatnonzero(own):
            reduced = objective.without(rows[j][rows[j] >= 0])
            weight, tol = reduced.sample_weight, spectrum.tol
            theta[j] = least_norm(objective.design, objective.target, weight, tol)
        return theta, decrement, converged

    @cached_property
    def centred(self):
        """This base in the features less their offset, see `Objective.offset`, or None."""
        objective = self.point.objective
        if objective.offset is None:
            return None
        point = objective.centred().at(objective.to_centred(self.theta))
        return Base.at(point, self.solver.factorise(point), self.solver)

    def optimum(self):
        """Return the optimum of all rows, (K, D)."""
        return convergence.polish(
            self.point.objective, self.theta, self.solver, tol=1e-11, max_iter=100
        ).theta

    def prepare(self):
        """Compute what "exact" shares, once, before several threads want it."""
        if self.centred is not None:
            self.centred.prepare()
            return
        _ = self.rounding
        if self.hessian is not None:
            _ = self.second_moments

    @cached_property
    def second_moments(self):
        """Root mean squares of the columns, (D,), and mean of x~ x~', (D, D)."""
        design = self.point.objective.design
        gram = design.gram(np.full((design.n_rows, 1), 1.0 / design.n_rows))[0]
        return np.sqrt(gram.diagonal()), gram

    def hessian_times(self, steps):
        """Return H d for steps (b, K, D)."""
        if self.point.objective.coupled:
            return (steps.reshape(len(steps), -1) @ self.hessian[0][1]).reshape(steps.shape)
        out = np.empty_like(steps)
        for outputs, block in self.hessian:
            out[:, outputs] = steps[:, outputs] @ block
        return out

    @cached_property
    def rounding(self):
        """Newton decrement that rounding of the gradient alone can cause.

        eta_j is known to eps |x~_j|'|theta|, so row j's gradient to e_j = eps (|g_j| + h_j
        |x~_j|'|theta|). The errors are independent, and the squares of ||e_j x~_j||_{H^-1}
        add.
        """
        point = self.point
        g = np.abs(point.objective.sample_weight[:, None] * point.rows.raw_gradient)
        moved = np.abs(point.curvature_product(point.magnitude))
        error = GradientRows(point.objective.design, g + moved)
        squares = sum(
            self.plain_factor.quadratic(error.take(rows).toarray()).sum()
            for rows in row_blocks(len(error), 5 * error.row_bytes)
        )
        return 4 * np.finfo(np.float64).eps * float(np.sqrt(squares))


@dataclass(frozen=True)
class Outcome:
    """What a walk over the groups could not do.

    Parameters
    ----------
    without_optimum : list of (group, class)
        Groups whose removal leaves no sample of a class that a free intercept fits.
    unsolved : ndarray
        Other groups without a finite, converged result.
    """

    without_optimum: list
    unsolved: np.ndarray


def leave_out(base, groups, method, emit, *, refine=None, n_jobs=None, verbose=0, reduce=None):
    """Compute the parameters without each group, stack by stack.

    Parameters
    ----------
    base : Base or ActiveSetBase
        Where to start.
    groups : Groups
        Which rows leave together.
    method : {"influence", "newton", "exact"}
        Accuracy.
    emit : callable
        Called as ``emit(indices, rows, theta)`` with group indices (b,), their rows
        (b, a) padded by -1 and their parameters (b, K, D); from several threads, once
        for a group, twice for a refined one.
    refine : float or None, default=None
        Share of the groups, those of the largest Newton decrement, that are computed
        exactly after all.
    n_jobs : int or None, default=None
        Number of joblib threads.
    verbose : int, default=0
        Progress as joblib reports it.
    reduce : callable or None, default=None
        Called with what `emit` returned, one stack at a time and in their order.

    Returns
    -------
    Outcome
        What has been set to NaN.
    """
    empty = groups_without_optimum(base.point.objective, groups)
    impossible = np.zeros(len(groups), dtype=bool)
    impossible[[group for group, _ in empty]] = True
    decrements = np.zeros(len(groups))
    solved = np.ones(len(groups), dtype=bool)

    def run(chosen, method):
        if method == "exact":
            base.prepare()

        def work(indices):
            rows = groups.padded(indices)
            theta, decrement, converged = base.remove(rows, method)
            converged = converged & np.isfinite(theta).all(axis=(1, 2))
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
        emit(group, groups.padded(group), np.full((1, *base.theta.shape), np.nan))
    possible = np.flatnonzero(~impossible)
    run(possible, method)
    if refine is not None:
        order = np.argsort(-decrements[possible], kind="stable")
        run(np.sort(possible[order[: int(np.ceil(refine * len(possible)))]]), "exact")
    return Outcome(empty, np.flatnonzero(~solved))


def _remove(base, rows, method):
    """Return (theta, decrement, converged) of one stack of rows (b, a)."""
    b, a = rows.shape
    decrement, converged = np.zeros(b), np.ones(b, dtype=bool)
    large = a > base.point.objective.design.n_columns
    if method == "influence":
        theta = _first_order(base, rows) if large else Stack(base, rows).influence()
    elif method == "newton" and not large:
        stack = Stack(base, rows)
        theta, decrement = stack.newton()
        # Rows that take nearly all of a direction's curvature leave a difference of roundings
        # to divide by; the Hessian without them knows better.
        alone = np.flatnonzero(~np.isfinite(theta).all(axis=(1, 2)))
        theta[alone], decrement[alone] = _newton_alone(base, rows[alone])
    elif method == "newton":
        theta, decrement = _newton_alone(base, rows)
    elif not large:
        theta, converged = refit_stack(Stack(base, rows))
    else:
        # Nothing is gained from a common factorisation: each has a Hessian of its own.
        refits = [refit(base, line[line >= 0]) for line in rows]
        theta = np.array([theta for theta, _ in refits])
        converged = np.array([converged for _, converged in refits])
    return theta, decrement, converged


def _first_order(base, rows):
    """Return theta~ + N + H^-1 sum_A v_i for groups too large to write out."""
    w, gradients = base.point.objective.sample_weight, base.point.rows
    total = [gradients.take(line[line >= 0]).sum(w[line[line >= 0]]) for line in rows]
    return base.theta + base.correction + base.factor.solve(np.array(total))


def _newton_alone(base, rows):
    """Return (theta, decrement) of groups, each with a Hessian of its own.

    For groups of more rows than columns it is the smaller system.
    """
    theta = np.full((len(rows), *base.theta.shape), np.nan)
    decrement = np.zeros(len(rows))
    for j, line in enumerate(rows):
        reduced = base.point.objective.without(line[line >= 0]).at(base.theta)
        try:
            factor = base.solver.factorise(reduced)
        except SingularHessianError:
            continue
        step = convergence.newton_correction(reduced, factor)
        theta[j] = base.theta + step
        decrement[j] = convergence.newton_decrement(reduced, step)
    return theta, decrement


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
