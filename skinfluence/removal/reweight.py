"""The loop over vectors of sample weights. Removal is the special case of weights 0.

A vector that only sets a few weights of the fit to 0 is a group, and `leave_out` removes it.
The others go in stacks from the optimum at the weights of the fit to their own, see
`weighted` and, for losses with kinks, `active_set`.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from skinfluence.blocks import row_blocks, run_blocks
from skinfluence.groups import Groups
from skinfluence.namespaces import to_host
from skinfluence.removal.identified import null_space
from skinfluence.removal.leave_out import Outcome, leave_out, needs_every_class
from skinfluence.removal.optimum import refit_objective
from skinfluence.removal.stack import finite
from skinfluence.removal.weighted import first_order


@dataclass(frozen=True, eq=False)
class Weights:
    """Vectors of sample weights for an objective.

    They are on the host; `at` moves one to the rows.

    Parameters
    ----------
    objective : Objective
        F at the weights of the fit.
    values : ndarray of shape (m, n)
        New weights.
    balanced : bool, default=False
        Whether the class weights are c_k = S / (n_classes S_k), with the sums S and S_k of
        all sample weights and of those in class k, and so move with them.
    removes : bool, default=True
        Whether a weight of 0 is the removal of a row. It is not for class weights that count
        rows, because a row without weight still counts.
    """

    objective: Any
    values: np.ndarray
    balanced: bool = False
    removes: bool = True

    def __len__(self):
        return len(self.values)

    def at(self, vector):
        """Return F at one vector of weights."""
        weight = self.values[vector]
        class_weight = self._class_weight(weight)
        weight = np.asarray(weight, like=self.objective.design.like)
        return self.objective.reweighted(weight, class_weight)

    @cached_property
    def old(self):
        """The sample weights of the fit, (n,)."""
        return to_host(self.objective.sample_weight)

    @cached_property
    def codes(self):
        """Each row's class, (n,); only for models of classes."""
        objective = self.objective
        return to_host(objective.formulation.target.class_codes(objective.target))

    def _class_weight(self, weight):
        """Return the class weights at sample weights (n,), None if they do not move."""
        if not self.balanced:
            return None
        encoder, fitted = self.objective.formulation.target, self.objective.formulation
        sums = np.bincount(self.codes, weight, len(fitted.class_weight))
        with np.errstate(divide="ignore"):
            c = sums.sum() / (len(sums) * sums)
        return c[:, None] if fitted.class_weight.shape[1] == 1 else encoder.one_sided(c)

    @cached_property
    def lost(self):
        """(vector, class) pairs for vectors without a finite fit, because a class is lost."""
        objective, encoder = self.objective, self.objective.formulation.target
        if not self.balanced and not needs_every_class(objective):
            return []
        codes, labels = self.codes, encoder.classes.tolist()
        present = self.old > 0
        there = np.unique(codes[present])
        kept = [(self.values[:, codes == code] > 0).any(axis=1) for code in there]
        return sorted(
            (int(vector), labels[code])
            for code, held in zip(there, kept, strict=True)
            for vector in np.flatnonzero(~held)
        )

    def removals(self, largest):
        """Return (vectors, members): those that only remove rows, and which.

        They remove up to `largest` rows each.
        """
        if not self.removes or self.objective.balance is not None:
            # A removed row no longer counts for class weights, a row with weight 0 may.
            return np.empty(0, dtype=np.intp), []
        vectors, members = [], []
        for vector, new in enumerate(self.values):
            changed = np.flatnonzero(new != self.old)
            if len(changed) <= largest and not new[changed].any():
                vectors.append(vector)
                members.append(changed)
        return np.array(vectors, dtype=np.intp), members

    def slopes(self, vectors):
        """Return the relative change in row weights s to first order, (n, b, 1 or K).

        It is per unit of sample weight. A class weight c(w) adds w dc/c.
        """
        old = self.old
        change = (self.values[vectors] - old).T[:, :, None]
        if not self.balanced:
            return change
        n_classes, K = self.objective.formulation.class_weight.shape
        sums = np.bincount(self.codes, old, n_classes)
        out = np.repeat(change, K, axis=2)
        for b, vector in enumerate(vectors):
            moved = np.bincount(self.codes, self.values[vector] - old, n_classes)
            share = moved.sum() / sums.sum() - moved / sums  # dc_k / c_k
            share = share[:, None] if K == 1 else np.diag(share)
            out[:, b] += old[:, None] * share[self.codes]
        return out


def reweight(base, weights, method, emit, *, n_jobs=None, verbose=0):
    """Compute the parameters at each vector of weights, stack by stack.

    Parameters
    ----------
    base : Base or ActiveSetBase
        The optimum at the weights of the fit.
    weights : Weights
        The vectors.
    method : {"influence", "newton", "exact"}
        Accuracy.
    emit : callable
        Called once for each vector as ``emit(vectors, theta)`` with indices (b,) and
        parameters (b, K, D), NaN without a result. Threads may call it.
    n_jobs : int or None, default=None
        Number of joblib threads.
    verbose : int, default=0
        Verbosity of joblib's progress messages.

    Returns
    -------
    Outcome
        Vectors without a result, and vectors that leave some parameters undetermined.
    """
    K, D = base.theta.shape
    solved = np.ones(len(weights), dtype=bool)
    undetermined, separated = {}, {}
    lost = weights.lost
    if lost:
        vectors = np.unique([vector for vector, _ in lost])
        emit(vectors, np.full((len(vectors), K, D), np.nan))
    open_left = np.setdiff1d(np.arange(len(weights)), [vector for vector, _ in lost])
    whole = base.open is None and base.has_optimum
    vectors, members = weights.removals(D) if whole else (np.empty(0, dtype=np.intp), [])
    kept = np.isin(vectors, open_left)
    vectors, members = (
        vectors[kept],
        [rows for rows, k in zip(members, kept, strict=True) if k],
    )
    if len(vectors):
        found = leave_out(
            base,
            Groups(weights.values.shape[1], members),
            method,
            lambda groups, _rows, theta: emit(vectors[groups], theta),
            recover=True,
            n_jobs=n_jobs,
            verbose=verbose,
        )
        solved[vectors[found.unsolved]] = False
        undetermined.update((int(vectors[g]), V) for g, V in found.undetermined.items())
        separated.update((int(vectors[g]), V) for g, V in found.separated.items())
    rest = np.setdiff1d(open_left, vectors)

    def work(block):
        chosen = rest[block]
        if method == "influence":
            emit(chosen, _first_order(base, weights, chosen))
            return
        objectives = [weights.at(vector) for vector in chosen]
        theta, converged = np.full((len(chosen), K, D), np.nan), np.zeros(len(chosen), bool)
        if whole:
            theta, converged = base.reweight(objectives, method)
            converged &= [_determines(objective, base) for objective in objectives]
            flat = getattr(base, "flat", {})
            for j in np.flatnonzero(converged) if flat else ():
                directions = flat.get(id(objectives[j]))
                if directions is not None:
                    undetermined[int(chosen[j])] = directions
        for j in np.flatnonzero(~(converged & finite(theta))):
            vector = int(chosen[j])
            found = base.recover(objectives[j])
            theta[j], solved[vector] = np.nan, False
            if found is None and not whole:
                theta[j], solved[vector] = refit_objective(base, objectives[j])
            elif found is not None and found.recession is not None:
                separated[vector] = found.recession
            if found is not None and found.theta is not None:
                theta[j], undetermined[vector] = found.theta, found.directions
                solved[vector] = True
        if base.point.objective.design.has_metric:
            for vector, parameters in zip(chosen, theta, strict=True):
                parameters[:, np.flatnonzero(weights.values[vector] == 0)] = 0.0  # exactly
        emit(chosen, theta)

    if method != "influence":
        base.prepare_reweighting()
    objective = base.point.objective
    order = K * D if objective.coupled else D
    row_bytes = 8 * (objective.n_rows * (4 * K + 2) + 4 * K * D * min(order, 600))
    blocks = row_blocks(len(rest), row_bytes, n_jobs=n_jobs)
    run_blocks(work, blocks, n_jobs=n_jobs, verbose=verbose)
    return Outcome(lost, np.flatnonzero(~solved), undetermined, separated)


def _first_order(base, weights, vectors):
    """Return the parameters at some vectors of weights to first order, (b, K, D)."""
    if not base.has_optimum:
        return np.full((len(vectors), *base.theta.shape), np.nan)
    extra = weights.values[vectors].sum(axis=1) - weights.objective.weight_sum
    if base.centred is None:
        return first_order(base, weights.slopes(vectors), extra)
    theta = first_order(base.centred, weights.slopes(vectors), extra)
    return base.point.objective.from_centred(theta)


def _determines(objective, base):
    """Return whether the rows with a weight determine every parameter.

    Newton steps with the Hessian of all rows do not show it if they do not.
    """
    before, form = base.point.objective, objective.formulation
    coefficients = slice(0, objective.design.n_features)
    open_to_data = (objective.free & (objective.penalty == 0))[:, coefficients]
    if form.minimum_norm is not None or not open_to_data.any():
        return True
    if not np.any((objective.sample_weight == 0) & (before.sample_weight > 0)):
        return True
    return not len(null_space(objective.on_host())[0])
