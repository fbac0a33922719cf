"""Hessians of coupled losses without the penalty, and what makes them regular."""

from itertools import combinations, combinations_with_replacement

import numpy as np

from skinfluence.blocks import add_gram, batches, memory_budget, row_blocks
from skinfluence.gradients import weigh

# All blocks of a softmax Hessian are formed together for up to this many columns: on two
# cores a SYRK reaches 34 GFLOP/s at order 65, 89 at order 500 and 115 at order 1,000.
_NARROW = 200


def coupled_gram(point, shift):
    """Return H of order K D without the penalty.

    Block (k, l) is X~' diag(W_kl) X~. If the loss is shift invariant, W_kl sums to 0 over l
    in each row, and so do the blocks. The diagonal blocks then follow from the others. This
    sum loses no digits, because its terms share one sign.
    """
    K, D = point.theta.shape
    if not point.objective.formulation.loss.shift_invariant:
        return _gram_by_pairs(point, combinations_with_replacement(range(K), 2), shift)
    if D <= _NARROW:
        flat = _gram_at_once(point, shift)
    else:
        flat = _gram_by_pairs(point, combinations(range(K), 2), shift)
    hessian = flat.reshape(K, D, K, D)
    for k in range(K):
        hessian[k, :, k] = 0.0
    for k, l in combinations(range(K), 2):
        hessian[k, :, k] -= hessian[k, :, l]
        hessian[l, :, l] -= hessian[k, :, l]
    return flat


def _gram_at_once(point, shift):
    """Return the off-diagonal blocks for W_kl = -r_k r_l, from rows r (x) x~.

    One SYRK of order K D takes twice the operations of a SYRK for each pair of outputs. For
    small D it does four times as many operations per second.
    """
    K, D = point.theta.shape
    objective = point.objective
    loss, like = objective.formulation.loss, objective.design.like
    hessian = np.zeros((K * D, K * D), like=like)
    for rows in row_blocks(objective.n_rows, 16 * K * D):
        r = loss.curvature_factor(objective.target[rows], point.raw_prediction[rows])
        r = r * np.sqrt(objective.row_weight[rows])
        outer = objective.design.take(rows).outer(r, shift)
        add_gram(outer.reshape(-1, K * D), hessian)
    return np.negative(hessian, out=hessian)


def _gram_by_pairs(point, pairs, shift):
    """Return the blocks for some pairs of outputs."""
    K, D = point.theta.shape
    objective = point.objective
    hessian = np.zeros((K, D, K, D), like=objective.design.like)
    first, second = np.array(list(pairs)).reshape(-1, 2).T
    at_once = max(1, int(memory_budget() // (32 * D * D)))
    for rows in row_blocks(objective.n_rows, 24 * K * K, largest=np.inf):
        part, W = objective.design.take(rows), point.curvature(rows)[:, first, second]
        for batch in batches(W.shape[1], at_once):
            grams = part.signed_gram(W[:, batch], shift)
            for k, l, gram in zip(first[batch], second[batch], grams, strict=True):
                hessian[k, :, l] += gram
    return hessian.reshape(K * D, K * D)


def stacked_coupled_grams(objective, weights, theta, shift):
    """Return H without the penalty for many weights (n, b, 1) and parameters (b, K, D).

    The result has shape (b, 1, K D, K D). See `coupled_gram` for the diagonal blocks.
    """
    b, K, D = theta.shape
    loss, like = objective.formulation.loss, objective.design.like
    pairs = combinations if loss.shift_invariant else combinations_with_replacement
    first, second = np.array(list(pairs(range(K), 2))).T
    sums = np.zeros((b, len(first), D, D), like=like)
    for rows in row_blocks(objective.n_rows, 8 * b * (2 * len(first) + K) + 24 * K * K):
        part, target = objective.design.take(rows), objective.target[rows]
        raw, W = part.predict(theta), np.empty((part.n_rows, b, len(first)), like=like)
        for j in range(b):
            W[:, j] = loss.curvature(target, raw[:, j])[:, first, second]
        sums += part.stacked_grams(weigh(*np.broadcast_arrays(weights[rows], W)), shift)
    hessian = np.zeros((b, K, D, K, D), like=like)
    for pair, (k, l) in enumerate(zip(first, second, strict=True)):
        hessian[:, k, :, l] = hessian[:, l, :, k] = sums[:, pair]
    if loss.shift_invariant:
        total = hessian.sum(axis=3)
        for k in range(K):
            hessian[:, k, :, k] = -total[:, k]
    return hessian.reshape(b, 1, K * D, K * D)


def pin(block, gauge, n_outputs):
    """Add tau 1 1' / K along each gauge column, which makes a softmax Hessian regular.

    H u = 0 for u = 1 (x) e_j, so (H + pin)^-1 v = H^+ v for every v orthogonal to u. Because
    tau is the mean diagonal entry, the condition number does not suffer.
    """
    D = len(gauge)
    for j in np.flatnonzero(gauge):
        entries = np.arange(n_outputs) * D + j
        tau = block[entries, entries].mean()
        block[np.ix_(entries, entries)] += (tau if tau > 0 else 1.0) / n_outputs
