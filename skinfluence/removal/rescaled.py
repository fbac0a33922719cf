"""The optima without groups of rows, if the other rows are scaled differently as well.

Without group j the features of row i are r_ij (f_i * s_j), where f_i (d,) does not depend on
the other rows. Tf-idf weights are of this form: f_i are term frequencies, s_j inverse document
frequencies without the group, and 1/r_ij the norms of the rows. All groups in a stack take
their steps together, from the optimum with all rows, with its Hessian less the group's rows:

    theta_j <- theta_j - (H - H_A)^-1 grad F_j(theta_j)

The gradients take two products with f for the whole stack. If few rows leave, the scales
hardly change, and the error falls by a large factor in each step.
"""

from dataclasses import dataclass, replace

import numpy as np

from skinfluence.removal.run import Run
from skinfluence.removal.stack import Stack, step_from

# Decrement to reach, relative to the first step.
_TOL = {"newton": 1e-5, "exact": 1e-11}


@dataclass(frozen=True, eq=False)
class Rescaled:
    """Rows f_i with b pairs of scales for their features and for the rows.

    Parameters
    ----------
    features : csr array of shape (n, d)
        f.
    by_column : ndarray of shape (b, d)
        s.
    by_row : ndarray of shape (n, b)
        r.
    """

    features: object
    by_column: np.ndarray
    by_row: np.ndarray

    def take(self, groups):
        """Return the rows with some of the pairs of scales."""
        columns, rows = self.by_column[groups], self.by_row[:, groups]
        return replace(self, by_column=columns, by_row=rows)

    def predict(self, coef):
        """Return the products of the rows with coef (b, K, d), shape (n, b, K)."""
        b, K, d = coef.shape
        flat = (coef * self.by_column[:, None]).reshape(b * K, d)
        return (self.features @ flat.T).reshape(-1, b, K) * self.by_row[:, :, None]

    def adjoint(self, weights):
        """Return the sums of the rows with weights (n, b, K), shape (b, K, d)."""
        n, b, K = weights.shape
        flat = (weights * self.by_row[:, :, None]).reshape(n, b * K)
        return (self.features.T @ flat).T.reshape(b, K, -1) * self.by_column[:, None]


def move_rescaled(base, rows, rescaled, method):
    """Return (theta, converged) without groups of rows, (b, K, D) and (b,).

    Parameters
    ----------
    base : Base
        The optimum with all rows, of a smooth loss and a quadratic penalty.
    rows : ndarray of shape (b, a)
        Rows in each group, padded by -1.
    rescaled : Rescaled
        All rows, with scales for each group.
    method : {"newton", "exact"}
        Accuracy.
    """
    stack = _RescaledStack(base, rows, rescaled)
    run = Run(stack)
    run.iterate(run.started, _RescaledStack.gradients, _TOL[method], stack.rounding)
    return run.theta, run.converged


class _RescaledStack(Stack):
    """Groups of rows that leave, with other scales for the rows that stay."""

    def __init__(self, base, rows, rescaled):
        super().__init__(base, rows)
        self.rescaled = rescaled

    def take(self, groups):
        part = super().take(groups)
        part.rescaled = self.rescaled.take(groups)
        return part

    def newton(self, *, exact=False):
        return step_from(self, np.repeat(self.base.theta[None], len(self), axis=0))

    def gradients(self, theta):
        objective = self.base.point.objective
        d = objective.design.n_features
        raw = self.rescaled.predict(theta[:, :, :d])
        raw += theta[None, :, :, d:].sum(axis=-1)  # the intercept, if there is one
        weights = objective.formulation.loss.gradient(objective.target, raw)
        weights *= objective.row_weight[:, None]
        group, place = np.nonzero(self.real)
        weights[self.rows[group, place], group] = 0.0
        out = self.remaining_penalty * theta
        out[:, :, :d] += self.rescaled.adjoint(weights)
        out[:, :, d:] += weights.sum(axis=0)[:, :, None]
        return objective.freeze(out)
