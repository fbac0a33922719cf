"""H^-1 from a system of the order of the rows: for models wider than long, and kernels.

If every coefficient has a penalty Lam, H = Lam + X' W X has an inverse that needs nothing of
order d x d. Let P = W^-1 + X Lam^-1 X', of order n. For a right-hand side v in coefficients,

    y = Lam^-1 v,   rho = P^-1 X y,   H^-1 v = y - Lam^-1 X' rho.

An intercept without penalty has no Lam^-1. Let q = P^-1 1 and S = 1'q, the Schur complement
of the coefficients in H. Then

    b = (v_b - 1'rho) / S,   x = y - Lam^-1 X' (rho + q b).

No term is a difference of large numbers: 1'P^-1 1 equals 1'W1 - 1'WX (..)^-1 X'W1. A penalised
intercept is a column like the others.

Rows without curvature are left out of P. Margin vectors, whose predictions a kink fixes, have
infinite curvature, so W^-1 = 0. They need no other treatment.

Products with training rows need no coefficients: rho = W X H^-1 v contains each row's
prediction from the solution. If v = g x is the gradient of another row, X y above is
g X Lam^-1 x. So v_q' H^-1 v_j for q queries and all rows costs products between rows and the
solves, 2 n^2 q, and no array has a column for each feature.

Features enter only through products, so kernels K(x_i, x_j) can replace X Lam^-1 X'. For
kernels, gradients, parameters and readings are three different things, see `kernels.py`.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from skinfluence.blocks import row_blocks
from skinfluence.exceptions import SingularHessianError
from skinfluence.objective import Point
from skinfluence.solvers.base import (
    DOUBTFUL,
    Factor,
    HessianSolver,
    digits_left,
    is_penalised,
    why_not_finite,
)
from skinfluence.solvers.row_systems import CoupledSystem, RowSystem

# Number of rows that suffices to tell whether the margin vectors determine all others.
_ENOUGH_ROWS = 256


@dataclass(frozen=True)
class WoodburySolver(HessianSolver):
    """Cholesky factorisation of order n: n^2 d + n^3 / 3 once, 4 n d for a solution.

    For sparse rows, d in n^2 d counts the features that many rows have, see `SparseDesign`.
    Every coefficient needs a penalty; an intercept may be free.

    Parameters
    ----------
    cutoff : float, default=1e-18
        Rows are left out if they add no more than this to H, relative to the penalty along
        them. Up to the default, no digit of a solution changes. Above it, the factor belongs
        to a smaller system, as a preconditioner for `ConjugateGradientSolver`.
    """

    cutoff: float = 1e-18
    name: ClassVar[str] = "woodbury"
    by_rows: ClassVar[bool] = True
    needs_convex: ClassVar[bool] = True

    def factorise(self, point: Point) -> Factor:
        return WoodburyFactor(point, self.cutoff)


class WoodburyFactor(Factor):
    """Cholesky factors of P, one for each group of outputs that share it.

    Parameters
    ----------
    point : Point
        The point whose Hessian is applied.
    cutoff : float
        Rows that add no more than this to H, relative to the penalty, are left out.
    """

    def __init__(self, point, cutoff):
        super().__init__(point)
        objective = point.objective
        if not is_penalised(objective):
            raise ValueError(
                "hessian_solver='woodbury' needs a penalty on every coefficient and no l1 "
                "penalty: use 'cholesky' or 'cg'."
            )
        design, K = objective.design, len(objective.penalty)
        self.free_intercept = design.fit_intercept and not objective.penalty[:, -1].any()
        self.inverse = np.divide(  # 1 / Lam, 0 for a free intercept
            1.0,
            objective.penalty,
            out=np.zeros_like(objective.penalty),
            where=objective.penalty > 0,
        )
        W = point.curvature()
        if objective.coupled:
            systems = [CoupledSystem(np.arange(K), W, design, self.inverse[0])]
        else:
            systems = [
                RowSystem(outputs, W[:, outputs[0]], design, self.inverse[outputs[0]], cutoff)
                for outputs in self._alike(W)
            ]
        self.systems = systems
        self.rcond = 1.0 / max((1.0, *(system.size for system in systems)))
        if self.rcond < DOUBTFUL:
            self.doubt = (
                "The Hessian is close to singular relative to the rows' curvature "
                f"(reciprocal condition number {self.rcond:.1e}): about "
                f"{digits_left(self.rcond)} digits of the result are right. "
                "Strengthen the penalty or centre the features."
            )
        if self.free_intercept:
            self.intercepts = [self._eliminate(system) for system in systems]
        if np.isinf(W).any():
            self.rcond = min(self.rcond, self._freedom())
            if self.rcond < DOUBTFUL:
                self.doubt = (
                    "The margin vectors almost determine the model: only a fraction "
                    f"{self.rcond:.1e} of any other sample's effect remains, with about "
                    f"{digits_left(self.rcond)} correct digits. If the remainder is rounding, "
                    "influence is 0: no sample moves the model until one leaves its kink. "
                    "Exact removal follows such changes."
                )

    def _freedom(self):
        """Return the largest share of a row's effect that the margin vectors leave.

        H^-1 x~ = Lam^-1 (x~ - sum_i rho_i x~_i), and the share relates the square of the
        difference to the squared sum of the terms' lengths. It is a reciprocal condition
        number. The rows tested have a gradient, or would have one with another label if none
        has. If there are many, a sample suffices, because one row that moves shows that the
        margin vectors do not determine everything.
        """
        point, design = self.point, self.point.objective.design
        gradient = point.rows.raw_gradient
        weighty = np.broadcast_to(point.objective.row_weight > 0, gradient.shape)
        pulls = weighty & (gradient != 0)
        if not pulls.any():
            pulls = weighty
        rows = np.flatnonzero(pulls.any(axis=1))
        if not len(rows):
            return 1.0
        rows = rows[:: 1 + len(rows) // _ENOUGH_ROWS]
        part = design.take(rows)
        V = part.outer(np.ones((len(rows), len(self.inverse))))
        effects = np.einsum("mkd,mkd->mk", V, design.readings(self.solve(V)))
        terms = np.empty(effects.shape)
        for i, system in enumerate(self.systems):
            for k in system.outputs:
                raw = self._raw(system.part.predict, [k], V * self.inverse)
                rho, _ = self._answer(i, raw, V[:, [k], -1])
                lengths, margin_lengths = (
                    np.sqrt(d.squared_norms(self.inverse[k])) for d in (part, system.part)
                )
                terms[:, k] = lengths + np.abs(rho[:, :, 0]) @ margin_lengths
        share = np.divide(effects, terms**2, out=np.zeros_like(effects), where=terms > 0)
        return float(np.clip(share[pulls[rows]].max(), 0.0, 1.0))

    def solve(self, V):
        return self._solve(V, transposed=False)

    def solve_transposed(self, V):
        return self._solve(V, transposed=True)

    def has_products(self, queries, rows):
        objective = self.point.objective
        return (
            not objective.coupled
            and not objective.design.has_metric
            and rows.design is objective.design
            and queries.shift is None
        )

    def products(self, queries, rows, out=None):
        if not self.has_products(queries, rows):
            return super().products(queries, rows, out)
        design = self.point.objective.design
        out = np.empty((len(queries), len(rows))) if out is None else out
        scale = None
        for i, system in enumerate(self.systems):
            outputs = system.outputs
            if not np.array_equal(scale, self.inverse[outputs[0]]):
                scale = self.inverse[outputs[0]]
                inner = design.products_with(queries.design, scale)
            values = self._values(i, inner)
            ours, theirs = (v.raw_gradient[:, outputs] for v in (queries, rows))
            if len(outputs) == 1:
                values *= ours
                values *= theirs.T
            else:
                values *= ours @ theirs.T
            if i == 0:
                out[...] = values
            else:
                out += values
        if rows.shift is not None:
            common = queries.design.predict(self.solve(rows.shift[None])[0])
            out += np.sum(queries.raw_gradient * common, axis=1, keepdims=True)
        for part in rows.row_shifts:
            part.add_products(self, queries, out)
        return out

    def query_bytes(self, queries, rows):
        if not self.has_products(queries, rows):
            return super().query_bytes(queries, rows)
        solved = super().query_bytes(queries, rows) if rows.row_shifts else 0
        return 5 * 8 * len(rows) + solved

    def removal(self, rows):
        """Return Z = H^-1 X_A' and I - M W for groups of rows, without cancellation.

        For the rows in P, with Q = P^-1 minus q q' / S for a free intercept,

            Z W = Lam^-1 X' Q,   b W = q / S,   I - M W = W^-1 Q.
        """
        if any(np.isinf(system.h).any() for system in self.systems):
            return None
        (b, a), (K, D) = rows.shape, self.point.theta.shape
        Z, remaining = np.zeros((b, a, K, D)), np.empty((b, K, a, a))
        for i, system in enumerate(self.systems):
            Z[:, :, system.outputs], inner = self._removal(i, rows)
            remaining[:, system.outputs] = inner[:, None]
        return Z, remaining

    def _removal(self, i, rows):
        """Return Z for the outputs of one system, (b, a, k, D), and I - M W, (b, a, a)."""
        system, outputs = self.systems[i], self.systems[i].outputs
        positions = system.find(rows)
        group, place = np.nonzero(positions >= 0)
        columns = np.zeros((len(group), system.n_rows, 1))
        columns[np.arange(len(group)), positions[group, place]] = 1.0
        Q = system.apply(columns)[:, :, 0]
        inner = np.broadcast_to(np.eye(rows.shape[1]), (*rows.shape, rows.shape[1])).copy()
        inner[group, :, place] = np.where(
            positions[group] >= 0, np.take_along_axis(Q, positions[group], axis=1), 0.0
        )
        h = np.full(rows.shape, np.nan)
        h[group, place] = system.h[positions[group, place]]
        if self.free_intercept:
            q, S = self.intercepts[i][0][0, :, 0], self.intercepts[i][1][0, 0]
            q_rows = np.zeros(rows.shape)
            q_rows[group, place] = q[positions[group, place]]
            # The share of the intercept's curvature that remains: nothing, or rounding.
            removed = np.sum(
                q_rows * np.linalg.solve(inner, q_rows[:, :, None])[:, :, 0], axis=1
            )
            inner -= q_rows[:, :, None] * q_rows[:, None, :] / S
            inner[1.0 - removed / S <= DOUBTFUL] = 0.0
            q_rows = q_rows[group, place, None] / S
            Q -= q_rows * q
        z = system.part.adjoint(np.ascontiguousarray(Q.T)[:, :, None]) * self.inverse[outputs]
        if self.free_intercept:
            z[:, :, -1] = q_rows
        Z = np.zeros((*rows.shape, *z.shape[1:]))
        Z[group, place] = z / h[group, place, None, None]
        group, place = np.nonzero((positions < 0) & (rows >= 0))
        if len(group):
            x = self.point.objective.design.take(rows[group, place]).rows()
            V = np.broadcast_to(x[:, None], (len(x), *self.point.theta.shape))
            Z[group, place] = self.solve(V)[:, outputs]
        return Z, inner / h[:, :, None]

    def _values(self, i, inner):
        """Return x~_j' H^-1 x~_q for an output that belongs to a system, (q, n).

        `inner` is x~_j' Lam^-1 x~_q.
        """
        system, design = self.systems[i], self.point.objective.design
        raw = np.ascontiguousarray(inner[:, system.rows])
        rho, b = self._answer(i, raw[:, :, None], np.ones((len(raw), 1)))
        rho = rho[:, :, 0]
        if not len(system.weak):
            rho /= system.h
            return rho
        values = np.empty(inner.shape)
        strong = system.strong
        values[:, system.rows[strong]] = rho[:, strong] / system.h[strong]
        weak = design.take(system.weak)
        scale = self.inverse[system.outputs[0]]
        for block in row_blocks(len(inner), 40 * design.n_columns):
            change = system.part.adjoint(rho[block].T) * scale
            values[block, system.weak] = inner[block, system.weak] - weak.predict(change).T
        if b is not None:
            values[:, system.weak] += b
        return values

    def _alike(self, W):
        """Return the outputs in groups with equal curvature and penalty."""
        objective = self.point.objective
        loss, K = objective.formulation.loss, W.shape[1]
        if not loss.constant_curvature or objective.row_weight.shape[1] > 1:
            return [np.array([k]) for k in range(K)]
        _, group = np.unique(objective.penalty, axis=0, return_inverse=True)
        return [np.flatnonzero(group.ravel() == g) for g in range(group.max() + 1)]

    def _eliminate(self, system):
        """Return q = P^-1 1 and the Schur complement S for one system."""
        k = system.n_coupled
        ones = np.broadcast_to(np.eye(k)[:, None], (k, system.n_rows, k))
        q = system.apply(ones)
        schur = q.sum(axis=1)
        if k > 1:  # pin the common shift of all intercepts, along which a softmax is flat
            schur += schur.diagonal().mean() / k
        if not np.all(np.isfinite(schur)):
            raise SingularHessianError(why_not_finite(self.point))
        if np.linalg.cond(schur) > 1e14:
            direction = np.zeros(self.point.theta.shape)
            direction[system.outputs, -1] = 1.0
            reason = self.point.why_flat()
            raise SingularHessianError(
                f"The rows have no curvature left that determines the intercept: {reason}",
                direction,
            )
        return q, schur

    def multipliers(self, V):
        """Return rho for functionals V (m, K, D), for each training row, (m, K, n).

        rho_i = W_i x~_i' H^-1 v, even if a kink makes W_i infinite.
        """
        V = self.point.objective.remove_gauge(np.array(V, dtype=np.float64))
        out = np.zeros((*V.shape[:2], self.point.objective.n_rows))
        for i, system in enumerate(self.systems):
            for outputs in system.shared():
                raw = self._raw(system.part.read, outputs, V * self.inverse)
                rho, _ = self._answer(i, raw, V[:, outputs, -1])
                out[np.ix_(range(len(V)), outputs, system.rows)] = rho.transpose(0, 2, 1)
        return out

    @staticmethod
    def _raw(read, outputs, scaled):
        """Return the rows' products with V Lam^-1 in the given outputs, (m, n, k)."""
        return read(scaled[:, outputs]).transpose(1, 0, 2)

    def _answer(self, i, raw, last):
        """Return (rho, b) of a system for X y (m, n, k) and v_b (m, k)."""
        system = self.systems[i]
        rho = system.apply(raw)
        if not self.free_intercept:
            return rho, None
        q, schur = self.intercepts[i]
        b = np.linalg.solve(schur, (last - rho.sum(axis=1)).T).T
        rho += np.tensordot(b, q, axes=1)
        return rho, b - system.lift * last

    def _solve(self, V, transposed):
        """Return H^-1 V for gradients V; if transposed, the readings for functionals V."""
        objective = self.point.objective
        out = objective.remove_gauge(np.array(V, dtype=np.float64))
        last = out[:, :, -1].copy()
        out *= self.inverse
        for i, system in enumerate(self.systems):
            for outputs in system.shared():
                read = system.part.read if transposed else system.part.predict
                rho, b = self._answer(i, self._raw(read, outputs, out), last[:, outputs])
                weights = np.ascontiguousarray(rho.transpose(1, 0, 2))
                change = system.part.adjoint(weights) * self.inverse[outputs]
                y = out[:, outputs]
                if transposed and objective.design.has_metric:
                    self._read_into(y, system, rho[:, :, 0], b, change)
                else:
                    y -= change
                if b is not None:
                    y[:, :, -1] = b
                out[:, outputs] = y
        return objective.remove_gauge(out)

    def _read_into(self, y, system, rho, b, change):
        """Turn y = v / lambda into the readings y - K change in place.

        rho_i = h_i z_i gives the value z_i without a product if row i has enough curvature.
        The other rows need a product, and rows without curvature have no rho. The product is
        with all of K, because selecting rows would copy them.
        """
        if len(system.weak):
            values = self.point.objective.design.predict(change[:, 0])
            y[:, 0, system.weak] -= values[system.weak].T
        known = rho[:, system.strong] / system.h[system.strong]
        y[:, 0, system.rows[system.strong]] = known if b is None else known - b
