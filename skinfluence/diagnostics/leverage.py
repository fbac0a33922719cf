"""Leverages, the dispersion, the sums on which they depend, and quotients of measures."""

from dataclasses import dataclass

import numpy as np

from skinfluence.blocks import row_blocks, run_blocks
from skinfluence.objective import weigh

_ROUNDING = 1e-10


def scaled_moves(d, scale, layout):
    """Return -d_ij / sqrt((H^-1)_jj) for changes d (b, K, D), (b, p).

    `scale` (p,) is the root of the diagonal of H^-1. A coefficient that the penalty keeps at 0
    does not move and has no standard error; its result is 0.
    """
    moves = -layout.to_public(d)
    return np.divide(moves, scale, out=np.zeros_like(moves), where=scale > 0)


def divide_by_deleted(moves, deleted_dispersion, layout):
    """Return moves (b, p) over sqrt(phi_(i)), from phi_(i) (b, K); NaN without dispersion."""
    deleted = np.sqrt(deleted_dispersion)[:, :, None]
    deleted = np.broadcast_to(deleted, (*deleted.shape[:2], layout.n_columns))
    with np.errstate(divide="ignore", invalid="ignore"):
        unit = layout.to_public(deleted)
        return np.where(unit > 0, moves / unit, np.nan)


def moves_in_errors(moves, scale, deleted_dispersion, layout):
    """Return moves (b, p) over sqrt(phi_(i) (H^-1)_jj), (b, p).

    `scale` (K, D) is the diagonal of H^-1, and phi_(i) has the shape (b, K). A coefficient
    that the penalty keeps at 0 has no standard error; its result is 0.
    """
    error = layout.to_public(np.sqrt(scale * deleted_dispersion[:, :, None]))
    out = np.where(np.isnan(error) | np.isnan(moves), np.nan, 0.0)
    return np.divide(moves, error, out=out, where=error > 0)


def per_parameter(squares, leverage):
    """Return the sums of squares (m, K) over the effective number of parameters, (m,)."""
    total = leverage.sum()
    squares = squares.sum(axis=1)
    return squares / total if total > 0 else np.zeros(len(squares))


def ratio(a, b):
    """Return a / b, NaN if b is not positive."""
    a, b = np.broadcast_arrays(a, b)
    return np.divide(a, b, out=np.full_like(a, np.nan, dtype=np.float64), where=b > 0)


def leverages(point, factor, *, n_jobs=None):
    """Return the leverage of every training row in each output, (n, K).

    This is the diagonal of W_i x~_i H^-1 x~_i'. Summed over the outputs, it is the derivative
    of the fitted values with respect to the data, weighted by curvature. In mean form it
    excludes the row's penalty share, so leverages sum to rank(H) - tr(H^+ Lam).
    """
    return curvature_shares(point, factor, n_jobs=n_jobs)[0]


def curvature_shares(point, factor, *, n_jobs=None):
    """Return `leverages` (n, K) and det(I - W_i x~_i H^-1 x~_i'), (n, K).

    The determinants are those of H without the row's own curvature over H, a factor for each
    output; a coupled loss has one factor for all outputs, (n, 1).
    """
    design = point.objective.design
    K, D = point.theta.shape

    def block_shares(block):
        x, W = design.take(block).rows(), point.curvature(block)
        if point.objective.coupled:
            moved = W @ factor.row_products(x[:, None])
            return moved.diagonal(axis1=1, axis2=2), np.linalg.det(np.eye(K) - moved)[:, None]
        solved = factor.solve(np.broadcast_to(x[:, None], (len(x), K, D)))
        leverage = W * np.einsum("bd,bkd->bk", x, design.readings(solved))
        return leverage, 1.0 - leverage

    outputs = K if point.objective.coupled else 1
    blocks = row_blocks(design.n_rows, 8 * 6 * outputs * K * D, n_jobs=n_jobs)
    parts = zip(*run_blocks(block_shares, blocks, n_jobs=n_jobs), strict=True)
    leverage, remaining = map(np.concatenate, parts)
    return leverage, remaining


def remaining_in_mean_form(base, n_jobs=None):
    """Return det(H - H_i) / det(H) in mean form, where H_i has a share of the penalty, (n, K).

    det(H - t P) det(I - W_i x~_i (H - t P)^-1 x~_i') / det(H), see `PencilFactor`.
    """
    base = base if base.centred is None else base.centred
    point, factor = base.point, base.factor
    K, D = point.theta.shape
    design, weight = point.objective.design, point.objective.sample_weight

    def block_ratios(block):
        x, t = design.take(block).rows(), weight[block]
        solved = factor.solve(np.broadcast_to(x[:, None], (len(x), K, D)), t)
        leverage = point.curvature(block) * np.einsum("bd,bkd->bk", x, solved)
        return (1.0 - leverage) * factor.determinant(t)

    blocks = row_blocks(design.n_rows, 8 * 6 * K * D, n_jobs=n_jobs)
    return np.concatenate(run_blocks(block_ratios, blocks, n_jobs=n_jobs))


def chi_squares(point):
    """Return the weighted chi-square for every training row in each output, (n, K)."""
    objective = point.objective
    loss = objective.formulation.loss
    # It is infinite if the loss has no curvature, but rows with weight zero never count.
    return weigh(objective.row_weight, loss.chi_square(objective.target, point.raw_prediction))


def dispersion(point, leverage):
    """Return phi for each output, (K,); NaN if there are no degrees of freedom."""
    if not point.objective.formulation.loss.has_dispersion:
        return np.ones(point.theta.shape[0])
    return ratio(chi_squares(point).sum(axis=0), degrees_of_freedom(point, leverage))


def degrees_of_freedom(point, leverage, n_deleted=0):
    """Return n - p for each output, (K,), with n the number of rows that have weight.

    It is 0 if the difference is negative or only rounding in the leverages.
    """
    n = np.sum(point.objective.sample_weight > 0)
    return _degrees(n - n_deleted, leverage.sum(axis=0))


def _degrees(n, n_parameters):
    remaining = n - n_parameters
    return np.where(remaining > _ROUNDING * n, remaining, 0.0)


@dataclass(frozen=True, eq=False)
class DispersionSums:
    """Sums over all rows on which the dispersion depends.

    Parameters
    ----------
    n_weighted : int
        Number of rows that have weight.
    leverage : ndarray of shape (K,)
        Effective numbers of parameters.
    chi_square : ndarray of shape (K,)
        Sums of chi-squares; zeros if the loss has no dispersion.
    of_classes : ndarray of shape (n_classes, K)
        The same for the rows in each class, if "balanced" class weights depend on them.
    """

    n_weighted: int
    leverage: np.ndarray
    chi_square: np.ndarray
    of_classes: np.ndarray

    @classmethod
    def of(cls, point, leverage):
        """Return the sums over the rows of a point with leverages (n, K)."""
        objective, K = point.objective, leverage.shape[1]
        balance = objective.class_sums
        chi_square, of_classes = np.zeros(K), np.zeros((0, K))
        if objective.formulation.loss.has_dispersion:
            chi2 = chi_squares(point)
            chi_square = chi2.sum(axis=0)
            if balance is not None:
                members = [balance.codes == k for k in range(len(balance.moves))]
                of_classes = np.stack([chi2[rows].sum(axis=0) for rows in members])
        n_weighted = int(np.sum(objective.sample_weight > 0))
        return cls(n_weighted, leverage.sum(axis=0), chi_square, of_classes)

    def degrees(self, n_deleted=0):
        """Return n - p for each output, see `degrees_of_freedom`."""
        return _degrees(self.n_weighted - n_deleted, self.leverage)


def inverse_diagonal(point, factor, *, n_jobs=None):
    """Return the diagonal of H^-1, (K, D)."""
    K, D = point.theta.shape

    def block_diagonal(block):
        V = np.zeros((block.stop - block.start, K * D), like=point.like)
        V[np.arange(len(V)), np.arange(block.start, block.stop)] = 1.0
        V = point.objective.make_consistent(V.reshape(-1, K, D))
        return factor.quadratic(V)

    blocks = row_blocks(K * D, 8 * 5 * K * D, n_jobs=n_jobs)
    return np.concatenate(run_blocks(block_diagonal, blocks, n_jobs=n_jobs)).reshape(K, D)
