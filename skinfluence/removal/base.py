"""The start of removal: a factor of the Hessian at the optimum for all rows.

`Base` holds the values that all groups share. `optimum` finds the point.
"""

import copy
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from scipy.special import comb

from skinfluence import existence
from skinfluence._compat import rank_cutoff
from skinfluence.blocks import memory_budget, row_blocks
from skinfluence.exceptions import SingularHessianError
from skinfluence.gradients import GradientRows
from skinfluence.kinks import Kinks
from skinfluence.namespaces import to_host
from skinfluence.optimum import newton_correction, polish
from skinfluence.rank import least_norm
from skinfluence.removal.accuracies import remove
from skinfluence.removal.identified import hold, identified, identified_beside
from skinfluence.removal.series import RemainderSeries
from skinfluence.removal.step_error import StepError
from skinfluence.removal.weighted import move_to_weights
from skinfluence.solvers.cholesky import PencilFactor

# Number of draws of the signs of rounding errors.
_DRAWS = 8
# The series saves time from this many rows, and from this many for each coefficient.
# Leave-one-out of 10,000 x 10 data took 0.68 s with it and 0.76 s with passes over the rows,
# of 20,000 x 20 1.6 s and 3.5 s, of 50,000 x 50, with two rows for each coefficient, 19 s and
# 30 s.
_ROWS, _ROWS_PER_TERM = 5_000, 2


@dataclass(frozen=True, eq=False)
class Base:
    """The start of removal: a point, its Hessian and the solver for it.

    Parameters
    ----------
    point : Point
        The training objective at its optimum.
    factor : Factor
        H^-1 at the point; a `PencilFactor` for objectives in mean form.
    plain_factor : Factor
        H^-1 as the solver returned it.
    correction : ndarray of shape (K, D)
        N = -H^-1 G, which is small relative to one row's effect.
    solver : HessianSolver
        For groups that need a Hessian of their own.
    open : ndarray of shape (r, K, D) or None, default=None
        Parameter directions that all rows together leave undetermined.
    has_optimum : bool, default=True
        Whether the point is an optimum, of F or a part of it.
    refitted : list or None, default=None
        Collects the objectives on which scikit-learn refitted the model; None if Newton steps
        always suffice.
    flat : dict
        Collects the directions along which an optimum is one of many. The keys are the rows
        that leave, as bytes, or the ids of objectives.
    """

    point: object
    factor: object
    plain_factor: object
    correction: np.ndarray
    solver: object
    open: np.ndarray | None = None
    has_optimum: bool = True
    refitted: list | None = None
    flat: dict = field(default_factory=dict)

    @classmethod
    def at(cls, point, factor, solver, **known):
        """Return the base at a point, given a factor of its Hessian."""
        correction = newton_correction(point, factor)
        objective = point.objective
        # If features are far from 0, `centred` uses the pencil instead.
        plain = objective.formulation.penalty_share is None or objective.offset is not None
        return cls(
            point=point,
            factor=factor if plain else PencilFactor(point),
            plain_factor=factor,
            correction=correction,
            solver=solver,
            **known,
        )

    @property
    def theta(self):
        """Parameters at the point, (K, D)."""
        return self.point.theta

    @cached_property
    def hessian(self):
        """Full blocks of H with their outputs; None if they cost more than they save."""
        if self.point.objective.design.has_metric:
            return None
        K, D = self.theta.shape
        order = K * D if self.point.objective.coupled else D
        # A step times H and the moments take 4 order^2 operations and save half of the 4 n D
        # for a gradient. 600 removals from 600 x 2,500 data took 2.9 s with the blocks, 0.36 s
        # without.
        objective = self.point.objective
        if 2 * order > objective.n_rows and not objective.is_distributed:
            return None
        # Memory for H, its mirror image and second moments, beside the factor and its inverse.
        if 8 * (4 * order**2 + 2 * D**2) > memory_budget():
            return None
        blocks = []
        for outputs, block in self.point.hessian_blocks():
            filled = np.triu(block)
            filled += np.triu(block, 1).T
            blocks.append((outputs, filled))
        return blocks

    @cached_property
    def class_hessians(self):
        """Blocks of H for the rows in each class, if "balanced" class weights change them.

        A list of arrays, see `Point.curvature_grams`; None if they cost more than they save.
        """
        objective = self.point.objective
        if objective.balance is None or self.hessian is None:
            return None
        n_classes, (_, block) = len(objective.balance.moves), self.hessian[0]
        if 8 * n_classes * len(self.theta) * block.size > memory_budget():
            return None
        grams = self.point.total(_class_grams)
        return list(np.triu(grams) + np.triu(grams, 1).swapaxes(-1, -2))

    def has_factors_of_classes(self, count):
        """Return whether there may be so many of `factor_at`."""
        objective = self.point.objective
        design, (K, D) = objective.design, self.theta.shape
        if objective.balance.sums_of_all is not None or objective.is_distributed:
            return False  # the rows at hand are a part
        if design.has_metric or objective.formulation.penalty_share is not None:
            return False
        order = K * D if objective.coupled else D
        size = K * D * order
        return design.like is None and 8 * count * size <= memory_budget()

    def factor_at(self, growth):
        """Return H^-1 after class weights grow by `growth`, None if H is singular."""
        key, known = growth.tobytes(), self._factors_of_classes
        if key not in known:
            objective = self.point.objective
            weight = objective.formulation.class_weight * (1.0 + growth)
            moved = objective.reweighted(objective.sample_weight, weight)
            try:
                known[key] = self.solver.factorise(moved.at(self.theta))
            except SingularHessianError:
                known[key] = None
        return known[key]

    @cached_property
    def _factors_of_classes(self):
        return {}

    def class_hessian_times(self, steps, growth):
        """Return sum_k g_k H_k d for steps (b, K, D) and growths (b, n_classes, 1 or K)."""
        out = np.zeros_like(steps)
        for k, blocks in enumerate(self.class_hessians):
            if self.point.objective.coupled:
                moved = (steps.reshape(len(steps), -1) @ blocks[0]).reshape(steps.shape)
            else:
                moved = np.matmul(steps.transpose(1, 0, 2), blocks).transpose(1, 0, 2)
            out += growth[:, k, :, None] * moved
        return self.point.objective.freeze(out)

    def remove(self, rows, method):
        """Return (theta, decrement, converged) for groups of rows (b, a), padded by -1."""
        objective = self.point.objective
        if self.centred is not None:
            theta, decrement, converged = self.centred.remove(rows, method)
            return objective.from_centred(theta), decrement, converged
        spectrum = None if method == "influence" else objective.spectrum
        if spectrum is None:
            return remove(self, rows, method)
        design = objective.design
        changed = spectrum.may_change(design, objective.sample_weight, rows)
        theta = np.empty((len(rows), *self.theta.shape))
        decrement, converged = np.zeros(len(rows)), np.ones(len(rows), dtype=bool)
        if not changed.all():
            rest = ~changed
            found = remove(self, rows[rest], method)
            theta[rest], decrement[rest], converged[rest] = found
        for j in np.flatnonzero(changed):
            leaving = rows[j][rows[j] >= 0]
            weight = objective.without(leaving).sample_weight
            n_left = design.n_rows - len(leaving)
            tol = rank_cutoff(objective.formulation.minimum_norm, n_left, design.n_features)
            theta[j] = least_norm(design, objective.target, weight, tol)
        return theta, decrement, converged

    @cached_property
    def centred(self):
        """This base for features minus their offset, see `Objective.offset`, or None."""
        objective = self.point.objective
        if objective.offset is None:
            return None
        point = objective.centred().at(objective.to_centred(self.theta))
        return Base.at(point, self.solver.factorise(point), self.solver)

    def reweight(self, objectives, method):
        """Return (theta, converged) at other weights.

        Parameters
        ----------
        objectives : list of Objective
            F at each vector of weights, b in number.
        method : {"newton", "exact"}
            Accuracy.

        Returns
        -------
        theta : ndarray of shape (b, K, D)
            Parameters.
        converged : ndarray of shape (b,)
            Whether they are accurate.
        """
        if self.centred is not None:
            design = self.centred.point.objective.design
            moved = [replace(objective, design=design) for objective in objectives]
            theta, converged = self.centred.reweight(moved, method)
            return self.point.objective.from_centred(theta), converged
        theta, step, converged = move_to_weights(self, objectives, method)
        lost = self.existence.directions(step, objectives.__getitem__, theta)
        converged[list(lost)] = False
        return theta, converged

    @cached_property
    def existence(self):
        """The check whether changed objectives have a minimum."""
        return existence.RemovalCheck(self.point.objective)

    def prepare_reweighting(self):
        """Compute the quantities that all vectors of weights share, before threads start."""
        if self.centred is not None:
            self.centred.prepare_reweighting()
            return
        _ = self.rounding, self.existence

    @cached_property
    def step_error(self):
        """Errors of Newton steps from this base."""
        return StepError(self.point, self.plain_factor)

    def recover(self, objective):
        """Return the part of a changed objective that is determined, see `identified`."""
        found = identified(objective.on_host(), to_host(self.theta), self.solver)
        if found is None or found.theta is None or self.open is None:
            return found
        return replace(found, directions=np.concatenate([self.open, found.directions]))

    def open_directions(self, outcome, n_groups):
        """Yield (group, directions) for groups that leave parameters undetermined."""
        for group in range(n_groups) if self.open is not None else outcome.undetermined:
            yield group, outcome.undetermined.get(group, self.open)

    def optimum(self):
        """Return the optimum for all rows, (K, D)."""
        return polish(
            self.point.objective, self.theta, self.solver, tol=1e-11, max_iter=100
        ).theta

    def prepare(self, method):
        """Compute the quantities that all groups share, before threads start."""
        if self.centred is not None:
            self.centred.prepare(method)
            return
        quadratic = self.point.objective.formulation.loss.constant_curvature
        if method == "exact" or not quadratic:
            _ = self.class_hessians
        if method != "exact":
            if self.step_error.rate:
                _ = self.step_error.witnesses, self.step_error.counts_all
            return
        _ = self.rounding
        if self.hessian is not None:
            _ = self.second_moments
            if self.series is not None:
                _ = self.series.coefficients, self.series.sample

    @cached_property
    def second_moments(self):
        """Root mean squares of the columns, (D,), and the mean of x~ x~', (D, D)."""
        gram = self.point.total(_second_moments, self.point.objective.n_rows)
        return np.sqrt(gram.diagonal()), gram

    @cached_property
    def series(self):
        """The `RemainderSeries`, None if passes over the rows are cheaper."""
        objective, K = self.point.objective, len(self.theta)
        design, loss = objective.design, objective.formulation.loss
        if K > 1 or not design.is_dense or design.has_metric:
            return None
        if design.like is not None:  # monomials are NumPy's, and passes are fast on a device
            return None
        D, n = design.n_columns, objective.n_rows
        n_terms = comb(D + 1, 2) + comb(D + 2, 3)
        memory = 8 * n_terms * (2 * D + 64)
        if n < max(_ROWS, _ROWS_PER_TERM * n_terms) or memory > memory_budget():
            return None
        found = loss.higher_derivatives(objective.target, self.point.raw_prediction)
        return None if found is None else RemainderSeries(self, *found)

    def hessian_product(self, V):
        """Return H V for V (m, K, D), by a pass over the rows if there are no blocks of H."""
        return self.point.hessian_product(V) if self.hessian is None else self.hessian_times(V)

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
        """Newton decrement that rounding in the gradient alone can cause.

        eta_j is accurate to eps |x~_j|'|theta|, so row j's gradient is accurate to
        e_j = eps (|g_j| + h_j |x~_j|'|theta|). The errors are independent, so the squares of
        ||e_j x~_j||_{H^-1} add. The sum over the rows is rounded in each column by itself, and
        so also along directions in which no row varies and H is small.
        """
        found = self.point.total(_squared_errors, self.plain_factor)
        of_rows = found[0]
        if len(found) > 1:
            objective, shape = self.point.objective, self.theta.shape
            size = np.sqrt(found[1:].reshape(shape))
            signs = np.random.default_rng(0).choice((-1.0, 1.0), (_DRAWS, *shape))
            errors = objective.freeze(np.asarray(signs * size, like=self.theta))
            of_rows += float(self.plain_factor.quadratic(errors).mean())
        return 4 * np.finfo(np.float64).eps * float(np.sqrt(of_rows))

    @cached_property
    def kinks(self):
        """Which rows steps from this base may take over a kink of the loss."""
        return Kinks(self.point, self.step_error.reach)

    def without_rows(self, *names):
        """Return this base without its rows and with values of all rows, see `with_rows`.

        Parameters
        ----------
        names : str
            Cached properties to keep.
        """
        light = self.plain_factor.without_rows()
        factor = light if self.factor is self.plain_factor else self.factor.without_rows()
        part = replace(self, point=None, factor=factor, plain_factor=light)
        vars(part).update({name: getattr(self, name) for name in names})
        if "step_error" in names:
            vars(part)["step_error"] = self.step_error.without_rows()
        return part

    def with_rows(self, point):
        """Return this base for a point that holds some of the rows.

        Parameters
        ----------
        point : Point
            Its gradient, penalty and class weights are those of all rows.
        """
        part = copy.copy(self)
        vars(part)["point"] = point
        return part


def _class_grams(point):
    """Return the blocks of H for the rows in each class, (n_classes, ...)."""
    objective = point.objective
    codes = objective.class_sums.codes
    return np.stack(
        [
            objective.take(np.flatnonzero(codes == k)).at(point.theta).curvature_grams()
            for k in range(len(objective.class_sums.moves))
        ]
    )


def _second_moments(point, n_rows):
    """Return the sum of x~ x~' over the rows, divided by n_rows, (D, D)."""
    design = point.objective.design
    return design.gram(np.full((design.n_rows, 1), 1.0 / n_rows, like=design.like))[0]


def _squared_errors(point, factor):
    """Return the squares of the errors in `Base.rounding`.

    First sum_j ||e_j x~_j||^2 in the metric of H^-1. Then sum_j (g_j x~_jd)^2 for every entry
    of the gradient, (K D,); not for a kernel, whose gradient is one number for each row.
    """
    design = point.objective.design
    g = np.abs(point.objective.sample_weight[:, None] * point.rows.raw_gradient)
    moved = np.abs(point.curvature_product(point.magnitude))
    error = GradientRows(design, g + moved)
    blocks = row_blocks(len(error), 5 * error.row_bytes)
    of_rows = np.sum([factor.quadratic(error.take(rows).toarray()).sum() for rows in blocks])
    if design.has_metric:
        return np.array([of_rows])
    return np.append(of_rows, to_host(design.squared_adjoint(g**2)))


def base_of_part(objective, theta, solver, recession):
    """Return the `Base` for the part of an objective that has a single optimum.

    None if F does not fall forever, and no part is known.

    Parameters
    ----------
    objective : Objective
        F, which has no minimum, or many.
    theta : ndarray of shape (K, D)
        Start of the iterations.
    solver : HessianSolver
        Factorises H.
    recession : Recession or None
        Directions along which F falls forever, None if there are none.
    """
    if recession is None and objective.is_distributed:
        return None
    objective, theta = objective.on_host(), to_host(theta)
    found = identified_beside(objective, theta, solver, recession)
    if found is not None and found.theta is not None:
        point = found.objective.at(found.theta)
        return Base.at(point, solver.factorise(point), solver, open=found.directions)
    if recession is None:
        return None
    point = hold(objective, np.ones(theta.shape, dtype=bool)).at(theta)
    return Base.at(point, solver.factorise(point), solver, has_optimum=False)


def losses_into(out, indices, loss, design, target, theta):
    """Write the losses of query rows for models theta (b, K, D) into out[:, indices]."""
    b, K, _ = theta.shape
    for rows in row_blocks(design.n_rows, 8 * 6 * b * K):
        raw = design.take(rows).predict(theta)
        out[rows, indices] = loss.loss(target[rows], raw)


def error_bound(base, rows, theta):
    """Return ``||grad F_-A(theta)|| / min diag Lam`` >= ``||theta - theta_-A||``, shape (b,).

    ``F_-A`` is strongly convex with the smallest penalty as modulus, which bounds the distance
    to the optimum. Lam is the penalty after removal.
    """
    objective = base.point.objective
    bound = np.empty(len(rows))
    for j, line in enumerate(rows):
        reduced = objective.without(line[line >= 0])
        gradient = reduced.gradients(theta[j : j + 1])
        bound[j] = np.linalg.norm(gradient) / reduced.penalty.min()
    return bound
