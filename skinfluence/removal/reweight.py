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
from skinfluence.removal.identified import determines
from skinfluence.removal.leave_out import Findings, leave_out, needs_every_class
from skinfluence.removal.refit import refit_objective
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

    def removals(self, vectors, largest):
        """Return {vector: rows} for those that only remove rows, up to `largest` each."""
        if not self.removes or self.objective.balance is not None:
            # A removed row no longer counts for class weights, a row with weight 0 may.
            return {}
        found = {}
        for vector in vectors:
            new = self.values[vector]
            changed = np.flatnonzero(new != self.old)
            if len(changed) <= largest and not new[changed].any():
                found[int(vector)] = changed
        return found

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
    loop = _Loop(base, weights, emit, {"n_jobs": n_jobs, "verbose": verbose})
    lost = np.unique([vector for vector, _ in weights.lost]).astype(np.intp)
    if len(lost):
        emit(lost, np.full((len(lost), *base.theta.shape), np.nan))
    vectors = np.setdiff1d(np.arange(len(weights)), lost)
    vectors = np.setdiff1d(vectors, loop.remove(vectors, method))
    loop.move(vectors, method)
    return loop.findings.outcome(weights.lost)


class _Loop:
    """Moves the optimum to vectors of weights, see `reweight`."""

    def __init__(self, base, weights, emit, options):
        self.base, self.weights, self.emit, self.options = base, weights, emit, options
        self.findings = Findings(base, len(weights))
        self.starts_at_optimum = base.open is None and base.has_optimum

    def remove(self, vectors, method):
        """Remove the rows of those vectors that do nothing else, and return these vectors."""
        if not self.starts_at_optimum:
            return np.empty(0, dtype=np.intp)
        members = self.weights.removals(vectors, self.base.theta.shape[1])
        vectors = np.array(list(members), dtype=np.intp)
        if len(vectors):
            outcome = leave_out(
                self.base,
                Groups(self.weights.values.shape[1], list(members.values())),
                method,
                lambda groups, _rows, theta: self.emit(vectors[groups], theta),
                recover=True,
                **self.options,
            )
            self.findings.include(outcome, vectors)
        return vectors

    def move(self, vectors, method):
        """Compute the parameters at other vectors, block by block."""
        if method != "influence":
            self.base.prepare_reweighting()
        objective, (K, D) = self.base.point.objective, self.base.theta.shape
        order = K * D if objective.coupled else D
        row_bytes = 8 * (objective.n_rows * (4 * K + 2) + 4 * K * D * min(order, 600))
        blocks = row_blocks(len(vectors), row_bytes, n_jobs=self.options["n_jobs"])

        def work(block):
            self.emit(vectors[block], self._theta(vectors[block], method))

        run_blocks(work, blocks, **self.options)

    def _theta(self, vectors, method):
        """Return the parameters at vectors (b,), (b, K, D); NaN without a result."""
        if method == "influence":
            return _first_order(self.base, self.weights, vectors)
        objectives = [self.weights.at(vector) for vector in vectors]
        theta = np.full((len(vectors), *self.base.theta.shape), np.nan)
        converged = np.zeros(len(vectors), dtype=bool)
        if self.starts_at_optimum:
            theta, converged = self.base.reweight(objectives, method)
            before = self.base.point.objective
            converged &= [determines(objective, before) for objective in objectives]
            places = np.flatnonzero(converged)
            self.findings.note_flat(vectors[places], [id(objectives[j]) for j in places])
        for j in np.flatnonzero(~(converged & finite(theta))):
            theta[j] = self._recover(vectors[j], objectives[j])
        if self.base.point.objective.design.has_metric:
            absent = self.weights.values[vectors] == 0
            for parameters, members in zip(theta, absent, strict=True):
                parameters[:, np.flatnonzero(members)] = 0.0  # exactly
        return theta

    def _recover(self, vector, objective):
        """Return what F determines at a vector without a unique optimum, (K, D) or NaN."""
        found = self.findings.recover(vector, objective)
        theta, solved = np.nan, False
        if found is None and not self.starts_at_optimum:
            theta, solved = refit_objective(self.base, objective)
        elif found is not None and found.theta is not None:
            theta, solved = found.theta, True
        self.findings.solved[vector] = solved
        return theta


def _first_order(base, weights, vectors):
    """Return the parameters at some vectors of weights to first order, (b, K, D)."""
    if not base.has_optimum:
        return np.full((len(vectors), *base.theta.shape), np.nan)
    extra = weights.values[vectors].sum(axis=1) - weights.objective.weight_sum
    if base.centred is None:
        return first_order(base, weights.slopes(vectors), extra)
    theta = first_order(base.centred, weights.slopes(vectors), extra)
    return base.point.objective.from_centred(theta)
