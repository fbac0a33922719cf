"""Null directions in the features, as scikit-learn's least squares defines them.

Without a penalty, scikit-learn passes dense features to ``scipy.linalg.lstsq``, centred and
multiplied by the square roots of the weights. A direction is null if its singular value is at
most ``tol`` times the largest, and coefficients have no component along null directions.
Second moments square the singular values, so they are not accurate enough below
``sqrt(eps)``; a triangular factor of the rows is.

If rows leave, every sigma_j^2 is multiplied by a factor between 1 - h and 1, with the largest
eigenvalue h of their hat matrix. The null directions can change only if this factor may move
some sigma_j / sigma_max across ``tol``.
"""

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from skinfluence.blocks import row_blocks

_EPS = np.finfo(np.float64).eps
# Second moments are accurate enough if their least eigenvalue is this far above its limit.
_CLEAR = 1e4
# Relative margin for rounding in singular values and leverages.
_MARGIN = 1e-3
# Changes of predictions below this share of the largest count as this share of it.
_SMALL = 1e-3


@dataclass(frozen=True)
class Spectrum:
    """Singular values of the features, centred and multiplied by square roots of weights.

    Parameters
    ----------
    mean : ndarray of shape (d,)
        Weighted mean of the features; zeros without intercept.
    values : ndarray of shape (d,)
        Singular values in descending order.
    vectors : ndarray of shape (d, d)
        Directions in the features, one per row.
    tol : float
        Largest singular value, relative to the first, for a null direction.
    rounding : float
        Largest relative singular value that rounding errors alone can produce.
    """

    mean: np.ndarray
    values: np.ndarray
    vectors: np.ndarray
    tol: float
    rounding: float

    @property
    def kept(self):
        """Mask of the directions that are not null, (d,) bool."""
        return self.values > max(self.tol, self.rounding) * self.values.max(initial=0.0)

    @property
    def is_exact(self):
        """Whether the null directions have no variance at all."""
        dropped = self.values[~self.kept]
        return bool(np.all(dropped <= self.rounding * self.values.max(initial=0.0)))

    @property
    def mixing(self):
        """Largest dropped singular value over the smallest kept one, 0 if there is none.

        If rows change, dropped directions that have variance rotate into the kept ones by
        about this fraction.
        """
        if self.is_exact or not self.kept.any():
            return 0.0
        return float(self.values[~self.kept][0] / self.values[self.kept][-1])

    def turning(self, design, weight, theta, residual):
        """Return which share of each row's influence the turning directions have, (n,).

        With u_j = v_j'(x - mean), b_j = v_j'coef, squared singular values l_j and
        c_j = sum_i w_i u_ij r_i, the influence of a row on the coefficients along v_j is

            u_a r / l_a + u_a / l_a sum_b u_b c_b / (l_a - l_b)     kept a, sum over dropped b
            u_b sum_a u_a b_a / (l_a - l_b)                     dropped b, sum over kept a

        and first-order results have its first term alone. The share is that of the others
        in the changes of training predictions. Changes count as at least `_SMALL` times the
        largest one.

        Parameters
        ----------
        design : Design
            The features.
        weight : ndarray of shape (n,)
            Weights of the rows.
        theta : ndarray of shape (K, D)
            Coefficients, and intercepts if there are any.
        residual : ndarray of shape (n, K)
            Targets less predictions r.
        """
        n, d = design.n_rows, design.n_features
        kept, squares = self.kept, self.values**2
        kept_squares, dropped_squares = squares[kept], squares[~kept]
        gaps = kept_squares[:, None] - dropped_squares
        coef = theta[:, :d] @ self.vectors[kept].T
        blocks = row_blocks(n, 8 * 6 * d)
        pull = np.zeros((len(theta), len(dropped_squares)))
        for rows in blocks:
            x = design.take(rows).rows()[:, :d] - self.mean
            pull += (weight[rows, None] * residual[rows]).T @ (x @ self.vectors[~kept].T)
        omitted, present = np.zeros(n), np.zeros(n)
        for rows in blocks:
            u = (design.take(rows).rows()[:, :d] - self.mean) @ self.vectors.T
            u_kept, u_dropped = u[:, kept], u[:, ~kept]
            for one, of_dropped, r in zip(coef, pull, residual[rows].T, strict=True):
                along_kept = u_kept * (u_dropped @ (of_dropped / gaps).T)
                along_dropped = u_dropped * (u_kept @ (one[:, None] / gaps))
                omitted[rows] += np.sum(along_kept**2 / kept_squares, axis=1)
                omitted[rows] += np.sum(along_dropped**2 * dropped_squares, axis=1)
                present[rows] += np.sum(u_kept**2 / kept_squares, axis=1) * r**2
                if design.fit_intercept:
                    present[rows] += r**2 / weight.sum()
        least = _SMALL**2 * present.max(initial=0.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.sqrt(omitted / np.maximum(present, least))
        return np.where(omitted > 0, share, 0.0)

    def may_change(self, design, weight, rows):
        """Return whether the null directions may change without groups of rows, (b,) bool.

        Parameters
        ----------
        design : Design
            The features.
        weight : ndarray of shape (n,)
            Weights of the rows.
        rows : ndarray of shape (b, a)
            The groups, padded by -1.
        """
        kept = self.kept
        if not self.is_exact:
            # Dropped directions rotate into kept ones.
            return np.ones(len(rows), dtype=bool)
        if not kept.any():
            return np.zeros(len(rows), dtype=bool)
        least = self.values[kept][-1] / self.values[0]
        factor = 1.0 - self._leverages(design, weight, rows, kept)
        enough = max(self.tol, self.rounding) / least * (1.0 + _MARGIN)
        return factor - 1e3 * self.rounding <= enough**2

    def _leverages(self, design, weight, rows, kept):
        """Return the largest eigenvalue of each group's hat matrix, (b,)."""
        b, a = rows.shape
        d, basis = design.n_features, self.vectors[kept] / self.values[kept, None]
        root = np.sqrt(np.where(rows >= 0, weight[rows], 0.0))
        out = np.empty(b)
        for groups in row_blocks(b, 8 * a * (3 * d + a)):
            members = np.where(rows[groups] >= 0, rows[groups], 0)
            X = design.take(members.ravel()).rows()[:, :d] - self.mean
            U = (X @ basis.T).reshape(*members.shape, -1) * root[groups, :, None]
            if design.fit_intercept:
                U = np.concatenate([U, root[groups, :, None] / np.sqrt(weight.sum())], axis=2)
            gram = np.matmul(U, U.transpose(0, 2, 1))
            if a > U.shape[2]:
                gram = np.matmul(U.transpose(0, 2, 1), U)
            out[groups] = np.linalg.eigvalsh(gram)[:, -1]
        return out


def spectrum(design, weight, tol):
    """Return the `Spectrum` for a dense design with weights (n,)."""
    d, total = design.n_features, weight.sum()
    shift = design.centre(weight)
    moments = design.gram(weight[:, None], shift)[0]
    mean = np.zeros(d) if shift is None else shift
    rounding = 10 * max(d, np.sqrt(design.n_rows)) * _EPS
    variances = moments[:d, :d]
    if design.fit_intercept and total > 0:
        variances = variances - np.outer(moments[:d, d], moments[:d, d]) / moments[d, d]
    squares, vectors = np.linalg.eigh(variances)
    if squares[0] > _CLEAR * max(tol**2, 10 * d * _EPS) * squares[-1]:
        return Spectrum(mean, np.sqrt(squares[::-1]), vectors[:, ::-1].T, tol, rounding)
    triangle = _triangle(design, weight, mean)
    _, computed, vectors = linalg.svd(triangle)
    values = np.zeros(d)
    values[: len(computed)] = computed
    return Spectrum(mean, values, vectors, tol, rounding)


def has_full_rank(moments, n_features, tol):
    """Return for which second moments no feature direction is null or close to it, (b,) bool.

    The input is the weighted second moments (b, D, D) of a design's rows, around any mean.
    """
    d = n_features
    variances = moments[:, :d, :d]
    if moments.shape[1] > d:
        mean = moments[:, :d, d]
        variances = variances - mean[:, :, None] * mean[:, None] / moments[:, d, d, None, None]
    finite = np.isfinite(variances).all(axis=(1, 2))
    squares = np.zeros((len(moments), d))
    squares[finite] = np.linalg.eigvalsh(variances[finite])
    return squares[:, 0] > _CLEAR * max(tol**2, 10 * d * _EPS) * squares[:, -1]


def _triangle(design, weight, mean):
    """Return R for the features, centred and times the weights' roots, block by block."""
    D, d = design.n_columns, design.n_features
    R = np.empty((0, D))
    for rows in row_blocks(design.n_rows, 32 * D):
        present = np.flatnonzero(weight[rows]) + rows.start
        block = design.take(present).rows()
        block[:, :d] -= mean
        # With the intercept first, the entries below its row are centred to the last bit.
        block = np.roll(block, D - d, axis=1) * np.sqrt(weight[present])[:, None]
        R = np.linalg.qr(np.concatenate([R, block]), mode="r")
    return R[D - d :, D - d :]


def least_norm(design, target, weight, tol):
    """Return the least squares solution with least norm, as scikit-learn's refit, (K, D).

    Parameters
    ----------
    design : Design
        The features, dense.
    target : ndarray of shape (n, K)
        Targets.
    weight : ndarray of shape (n,)
        Weights of the rows.
    tol : float
        Largest singular value, relative to the first, for a null direction.
    """
    present, d = np.flatnonzero(weight), design.n_features
    X, y, w = design.take(present).rows()[:, :d], target[present], weight[present]
    centre, level = np.zeros(d), np.zeros(y.shape[1])
    if design.fit_intercept:
        centre, level = np.average(X, axis=0, weights=w), np.average(y, axis=0, weights=w)
    root = np.sqrt(w)[:, None]
    coef = linalg.lstsq(root * (X - centre), root * (y - level), cond=tol)[0].T
    if not design.fit_intercept:
        return coef
    return np.concatenate([coef, (level - coef @ centre)[:, None]], axis=1)


def null_directions(moments, design, tol):
    """Return feature directions without variance (r, d), the mean, and the mean variance.

    The input is the weighted second moments (D, D) of a design's rows, at any scale.
    """
    d = design.n_features
    variances, mean = moments[:d, :d], np.zeros(d)
    if design.fit_intercept:
        mean = moments[:d, d] / moments[d, d]
        variances = variances - np.outer(mean, moments[:d, d])
    values, vectors = np.linalg.eigh(variances)
    # A variance is a difference from a second moment, so it has that moment's rounding error.
    size = np.abs(moments.diagonal()[:d]).max(initial=0.0)
    least = max(tol**2 * max(values[-1], 0.0), 10 * d * _EPS * size)
    null = vectors[:, values <= least].T
    return null, mean, variances.trace() / d
