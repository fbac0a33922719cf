"""Losses and error bounds for the models without each group, block by block."""

import numpy as np

from skinfluence.blocks import row_blocks

__all__ = ["error_bound", "losses_into"]


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
