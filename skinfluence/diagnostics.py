"""The influence of single training rows on the fit, in the established measures.

    d_i      theta_(i) - theta_hat, one Newton step without row i; exact for squared error
    u_i      gradient of row i's term in F at theta_hat,   d_i = (H - H_i)^-1 u_i
    leverage      h_i = tr(W_i x~_i H^-1 x~_i')            sums to the effective parameters p
    decrement^2   u_i'd_i = d_i'(H - H_i) d_i              twice the fall of F without i
    distance      d_i'H d_i
    chi-square    g_i'W_i^- g_i                            squared Pearson residual; for
                  Tweedie deviances with the expected W_i, which makes it (y - mu)^2 / mu^p
    phi           1, or sum of chi-squares / (n - p)       dispersion, for each output
    phi_(i)       the same without row i

For ordinary least squares F = sum w r^2 has the Hessian 2 X'WX, so phi = 2 s^2,
phi H^-1 = s^2 (X'WX)^-1, and every measure agrees with the textbooks:

    studentised residual   sqrt((chi-square_i + decrement_i^2) / phi_(i))
    Cook's distance        distance_i / (p phi)
    DFFITS                 sqrt(distance_i / phi_(i))
    DFBETAS                -d_ij / sqrt(phi_(i) (H^-1)_jj)
    COVRATIO               (phi_(i) / phi)^p det(H) / det(H - H_i)

Groups of rows have the same measures. Their d is that of the refit, see ``removal``, and
phi of a group comes from the other rows' chi-squares in the model without it.

Arrays have one column for each output. If a model has several targets, its outputs are
separate regressions, each with its own dispersion. For a coupled loss, only the sum over the
outputs is meaningful.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skinfluence import removal
from skinfluence.blocks import row_blocks, run_blocks
from skinfluence.namespaces import to_host
from skinfluence.objective import weigh
from skinfluence.objective.rows import absent_in

__all__ = [
    "DispersionSums",
    "GroupMeasures",
    "RemovalMeasures",
    "chi_squares",
    "curvature_shares",
    "degrees_of_freedom",
    "dispersion",
    "divide_by_deleted",
    "inverse_diagonal",
    "leverages",
    "scaled_moves",
]

_ROUNDING = 1e-10


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
            own = W @ factor.row_products(x[:, None])
            return own.diagonal(axis1=1, axis2=2), np.linalg.det(np.eye(K) - own)[:, None]
        solved = factor.solve(np.broadcast_to(x[:, None], (len(x), K, D)))
        leverage = W * np.einsum("bd,bkd->bk", x, design.readings(solved))
        return leverage, 1.0 - leverage

    outputs = K if point.objective.coupled else 1
    blocks = row_blocks(design.n_rows, 8 * 6 * outputs * K * D, n_jobs=n_jobs)
    parts = zip(*run_blocks(block_shares, blocks, n_jobs=n_jobs), strict=True)
    leverage, remaining = map(np.concatenate, parts)
    return leverage, remaining


def _remaining_in_mean_form(base, n_jobs=None):
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
        own = point.curvature(block) * np.einsum("bd,bkd->bk", x, solved)
        return (1.0 - own) * factor.determinant(t)

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
    return _ratio(chi_squares(point).sum(axis=0), degrees_of_freedom(point, leverage))


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


class RemovalMeasures:
    """Measures for single rows, filled with the models that ``removal.leave_out`` returns.

    Parameters
    ----------
    base : Base
        The start of removal.
    leverage, remaining : ndarray of shape (n, K)
        From `curvature_shares`.
    sums : DispersionSums or None, default=None
        Sums over all rows, if the base holds a part of them.

    Attributes
    ----------
    decrement2, distance : ndarray of shape (n, K)
        See the module docstring. NaN if there is no model without the row.
    loss : ndarray of shape (n,)
        Plain loss of each row in the model without it.
    """

    def __init__(self, base, leverage, remaining, sums=None):
        self.base = base
        self.leverage, self.remaining = leverage, remaining
        self.sums = DispersionSums.of(base.point, leverage) if sums is None else sums
        self.theta = base.theta + base.correction
        shape = leverage.shape
        self.loss = np.empty(shape[0], like=base.point.like)
        self.decrement2, self.distance, self._moved, self._regrown, self._penalty_fall = (
            np.zeros((5, *shape), like=base.point.like)
        )

    def add(self, indices, theta):
        """Add the parameters (b, K, D) without each of b rows; return the changes d."""
        point = self.base.point
        objective, form = point.objective, point.objective.formulation
        design = objective.design.take(indices)
        d = theta - self.theta
        ahead = design.predict(self.base.correction)
        moved = np.einsum("bd,bkd->bk", design.rows(), design.readings(d))
        w = objective.sample_weight[indices, None]
        u = w * point.rows.raw_gradient[indices] + point.curvature_product(ahead, indices)
        bend = point.curvature_product(moved, indices)
        penalty = np.broadcast_to(objective.penalty, d.shape)
        self.decrement2[indices] = u * moved
        if form.penalty_share is not None:
            row_penalty = w[:, :, None] * form.penalty_share
            share = w[:, :, None] * form.share_gradient(self.theta)
            self.decrement2[indices] += np.sum(share * d, axis=-1)
            self.distance[indices] = np.sum(row_penalty * d * d, axis=-1)
            penalty = penalty - row_penalty
        else:
            self.distance[indices] = 0.0
        self.distance[indices] += self.decrement2[indices] + bend * moved
        if objective.balance is not None:
            self._add_class_weights(indices, d, u * moved)
        self._moved[indices] = moved
        before, after = (t * design.readings(t) for t in (self.theta, theta))
        self._penalty_fall[indices] = np.sum(penalty * (before - after), axis=-1)
        # The penalty 2 l |theta| changes likewise.
        l1 = form.support.slope(objective.weight_sum - w[:, :, None])
        self._penalty_fall[indices] -= 2.0 * np.sum(l1 * d, axis=-1)
        raw = point.raw_prediction[indices] + ahead + moved
        self.loss[indices] = form.loss.loss(objective.target[indices], raw)
        return d

    def _add_class_weights(self, indices, d, own):
        """Correct b rows for "balanced" class weights that change without them.

        `own` is -v_i'd at the present class weights, (b, K).
        """
        point, balance = self.base.point, self.base.point.objective.balance
        readings = point.objective.design.readings(d)
        growth = balance.growth(indices[:, None])  # (b, n_classes, 1 or K)
        of_row = growth[np.arange(len(indices)), balance.codes[indices]]
        pulls = np.einsum("ckd,bkd->bck", point.class_gradients, readings)
        self.decrement2[indices] = (1.0 + of_row) * own - np.sum(growth * pulls, axis=1)
        self.distance[indices] = np.sum(readings * self.base.hessian_product(d), axis=-1)
        if point.objective.formulation.loss.has_dispersion:
            others = np.sum(growth * self.sums.of_classes, axis=1)
            self._regrown[indices] = others - of_row * self._chi_squares[indices]

    @cached_property
    def _chi_squares(self):
        """Pearson's chi-squares of the rows, (n, K)."""
        return chi_squares(self.base.point)

    def refine_loss(self, indices, theta):
        """Replace the losses of b rows by those for more accurate parameters (b, K, D)."""
        objective = self.base.point.objective
        design = objective.design.take(indices)
        raw = np.einsum("bd,bkd->bk", design.rows(), design.readings(theta))
        loss = objective.formulation.loss.loss(objective.target[indices], raw)
        self.loss[indices] = np.where(np.isnan(raw).any(axis=1), np.nan, loss)

    def doubtful(self):
        """Return the indices of rows for which a Newton step may not be accurate."""
        decrement = to_host(self.newton_decrement())
        if not self.base.point.objective.formulation.is_smooth:
            return np.flatnonzero(decrement > 0)  # the support may change without the row
        error = self.base.step_error.bound(decrement, to_host(self.leverage.max(axis=1)))
        return np.flatnonzero(~(error <= removal.ACCURATE) & np.isfinite(decrement))

    @cached_property
    def dispersion(self):
        """phi, (K,)."""
        if not self.base.point.objective.formulation.loss.has_dispersion:
            return np.ones(self.leverage.shape[1])
        return _ratio(self.sums.chi_square, self.sums.degrees())

    @cached_property
    def deleted_dispersion(self):
        """phi_(i), (n, K).

        Without row i, the minimum of F is F - (chi-square_i + decrement_i^2)/2, and its
        penalty term changes too. The remainder is the squared error of the other rows in the
        model without row i. The effective number of parameters is kept fixed. The result is
        exact for squared error, and has the accuracy of a Newton step for other deviances.
        """
        point = self.base.point
        if not point.objective.formulation.loss.has_dispersion:
            return np.ones_like(self.leverage)
        others = self.sums.chi_square - self._chi_squares - self.decrement2
        others += self._penalty_fall
        others += self._regrown
        counted = (point.objective.sample_weight > 0)[:, None]
        return _ratio(np.maximum(others, 0.0), self.sums.degrees(counted))

    def columns(self, self_influence, *, n_jobs=None):
        """Return the columns of `influence_summary`, a dict of arrays (n,)."""
        return {
            "leverage": self.leverage.sum(axis=1),
            "self_influence": self_influence,
            "cooks_distance": self.cooks_distance(),
            "dffits": self.dffits(),
            "covratio": self.covratio(n_jobs=n_jobs),
            "studentized_residual": self.studentized_residual(),
            "standardized_residual": self.standardized_residual(),
            "leave_out_loss": self.loss,
            "newton_decrement": self.newton_decrement(),
        }

    def studentized_residual(self):
        """Return externally studentised residuals, (n,); norms over several outputs."""
        return self.residual(self.deleted_dispersion)

    def standardized_residual(self):
        """Return internally studentised residuals, (n,); norms over several outputs."""
        return self.residual(self.dispersion)

    def residual(self, dispersion):
        """Return studentised residuals in units of a dispersion (K,) or (n, K), (n,)."""
        squares = self._chi_squares + self.decrement2
        raw_gradient = self.base.point.rows.raw_gradient
        return self._signed_root(_ratio(squares, dispersion), -raw_gradient)

    def covratio(self, *, n_jobs=None):
        """Return COVRATIO, (n,), with the leverages' sum as the number of parameters.

        It is infinite if the row alone determines a parameter.
        """
        remaining, share = self.remaining, self.base.point.objective.formulation.penalty_share
        if share is not None and share.any():
            remaining = _remaining_in_mean_form(self.base, n_jobs)
        grown = _ratio(self.deleted_dispersion, self.dispersion) ** self.sums.leverage
        ratio = _ratio(grown.prod(axis=1), remaining.prod(axis=1))
        ratio[remaining.prod(axis=1) <= 0] = np.inf
        ratio[np.isnan(self.decrement2).any(axis=1)] = np.nan
        return ratio

    def cooks_distance(self):
        """Return Cook's distance, (n,); 0 if no parameter is free to move."""
        return _per_parameter(_ratio(self.distance, self.dispersion), self.sums.leverage)

    def dffits(self):
        """Return DFFITS, (n,); norms over several outputs."""
        squares = _ratio(self.distance, self.deleted_dispersion)
        return self._signed_root(squares, -self._moved)

    def newton_decrement(self):
        """Return the Newton decrement of F without each row, at the optimum of F, (n,)."""
        return np.sqrt(np.maximum(0.0, self.decrement2.sum(axis=1)))

    def _signed_root(self, squares, direction):
        """Return the root of the sum of squares, with a sign if there is one prediction."""
        root = np.sqrt(np.maximum(0.0, squares.sum(axis=1)))
        single = self.base.point.objective.formulation.layout.n_predictions == 1
        return np.copysign(root, direction[:, 0]) if single else root


class GroupMeasures:
    """Measures for groups of rows, filled with the models that ``removal.leave_out`` returns.

    Parameters
    ----------
    base : Base
        The start of removal.
    leverage : ndarray of shape (n, K)
        From `leverages`.
    n_groups : int
        Number of groups.

    Attributes
    ----------
    distance, deleted_dispersion : ndarray of shape (n_groups, K)
        d' H d and phi without each group. NaN if there is no model without the group.
    loss : ndarray of shape (n_groups,)
        Mean plain loss of each group's rows in the model without them.
    """

    def __init__(self, base, leverage, n_groups):
        self.base, self.leverage = base, leverage
        self.theta = base.theta + base.correction
        shape, like = (n_groups, leverage.shape[1]), base.point.like
        self.distance = np.empty(shape, like=like)
        self.deleted_dispersion = np.ones(shape, like=like)
        self.loss = np.empty(n_groups, like=like)

    def add(self, indices, rows, theta):
        """Add the parameters (b, K, D) without groups of rows (b, a); return the changes d."""
        objective = self.base.point.objective
        form, design = objective.formulation, objective.design
        d = theta - self.theta
        readings = design.readings(d)
        distance = self.penalty_distance(d, readings)
        chi2 = np.zeros_like(distance)
        for block in row_blocks(objective.n_rows, 8 * 6 * len(d) * d.shape[1]):
            part = design.take(block)
            moved = part.read(readings)
            bend = self.base.point.curvature_product(moved, block)
            distance += np.einsum("mbk,mbk->bk", moved, bend)
            if form.loss.has_dispersion:
                chi2 += self._chi_squares(block, part.predict(theta), rows)
        self.distance[indices] = distance
        counted = np.sum((rows >= 0) & (objective.sample_weight[rows] > 0), axis=1)[:, None]
        self.add_dispersion(indices, chi2, counted)
        for index, line, one in zip(indices, rows, theta, strict=True):
            members = line[line >= 0]
            raw = design.take(members).predict(one)
            self.loss[index] = form.loss.loss(objective.target[members], raw).mean()
        self.loss[indices[to_host(np.isnan(theta).any(axis=(1, 2)))]] = np.nan
        return d

    def add_dispersion(self, indices, chi2, counted):
        """Add phi from the others' chi-squares (b, K) without `counted` (b, 1) rows."""
        if self.base.point.objective.formulation.loss.has_dispersion:
            degrees = degrees_of_freedom(self.base.point, self.leverage, counted)
            self.deleted_dispersion[indices] = _ratio(chi2, degrees)

    def penalty_distance(self, d, readings):
        """Return the penalty's part of d'Hd for changes (b, K, D), (b, K)."""
        return np.sum(self.base.point.objective.penalty_product(d) * readings, axis=-1)

    def _chi_squares(self, block, raw, rows):
        """Return the sums of chi-squares in a block without the groups' rows, (b, K)."""
        objective = self.base.point.objective
        loss, target = objective.formulation.loss, objective.target[block]
        chi2 = np.stack([loss.chi_square(target, one) for one in raw.transpose(1, 0, 2)], 1)
        chi2 = weigh(objective.row_weight[block, None], chi2)
        if objective.balance is not None:  # class weights are those without the groups
            chi2 += chi2 * objective.balance.of_rows(objective.balance.growth(rows), block)
        chi2[absent_in(block, rows)] = 0.0
        return chi2.sum(axis=0)

    def cooks_distance(self):
        """Return Cook's distance, (n_groups,); 0 if no parameter is free to move."""
        phi = dispersion(self.base.point, self.leverage)
        return _per_parameter(_ratio(self.distance, phi), self.leverage)

    def dffits(self):
        """Return the norms of DFFITS, (n_groups,)."""
        squares = _ratio(self.distance, self.deleted_dispersion).sum(axis=1)
        return np.sqrt(np.maximum(0.0, squares))


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


def _per_parameter(squares, leverage):
    """Return the sums of squares (m, K) over the effective number of parameters, (m,)."""
    total = leverage.sum()
    squares = squares.sum(axis=1)
    return squares / total if total > 0 else np.zeros(len(squares))


def _ratio(a, b):
    """Return a / b, NaN if b is not positive."""
    a, b = np.broadcast_arrays(a, b)
    return np.divide(a, b, out=np.full_like(a, np.nan, dtype=np.float64), where=b > 0)
