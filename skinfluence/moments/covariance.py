"""Shrunk covariances and inverses as functions of moments, with their derivatives.

One class's covariance depends on the means E over its rows for the terms d, d d' and, with
Ledoit-Wolf shrinkage, d (d^2)' and d^2 (d^2)'. Derivatives are taken at the mean, E[d] = 0.
"""

import numpy as np


def without_rounding(variance, square, N):
    """Return variances E[d^2] - E[d]^2, but exactly 0 for constant features.

    A removal may leave a feature constant. Then the difference between sums is not exactly 0.
    """
    return np.where(variance > 16.0 * np.finfo(np.float64).eps * N * square, variance, 0.0)


def _diagonal(A):
    return np.diagonal(A, axis1=-2, axis2=-1)


class Covariance:
    """A class's covariance S, shrunk towards a multiple of the identity.

    Parameters
    ----------
    n_features : int
        Number of features, d.
    shrinkage : float, "auto" or None
        A number r gives (1 - r) S + r m I; "auto" is the Ledoit-Wolf shrinkage for the
        standardised features.
    target : float or None, default=None
        m; None for the mean variance, tr(S)/d.
    lost_freedom : int, default=0
        f, if sums are divided by N - f instead of N; not used with "auto".
    """

    def __init__(self, n_features, shrinkage, target=None, lost_freedom=0):
        self.lost_freedom = lost_freedom
        self.d = n_features
        self.automatic = shrinkage == "auto" and n_features > 1
        self.shrinkage = 0.0 if shrinkage in ("auto", None) else float(shrinkage)
        self.target = target

    def terms(self, D):
        """Return the terms for centred rows, (m, s)."""
        m, squares = len(D), D * D
        parts = [D, (D[:, :, None] * D[:, None]).reshape(m, -1)]
        if self.automatic:
            parts.append((D[:, :, None] * squares[:, None]).reshape(m, -1))
            parts.append((squares[:, :, None] * squares[:, None]).reshape(m, -1))
        return np.concatenate(parts, axis=1)

    def pull_terms(self, gM, D):
        """Return gM . t's gradients in the rows, (m, d)."""
        g, B, *higher = self._parts(gM)
        g = g + np.einsum("mij,mj->mi", B + B.swapaxes(-1, -2), D)
        if higher:
            G, F = higher
            g = g + np.einsum("mij,mj->mi", G, D * D)
            g += 2.0 * D * np.einsum("mij,mi->mj", G, D)
            g += 2.0 * D * np.einsum("mij,mj->mi", F + F.swapaxes(-1, -2), D * D)
        return g

    def _parts(self, E):
        """Return E[d] and the matrices in E, (..., d, d) each."""
        d = self.d
        matrices = E[..., d:].reshape(*E.shape[:-1], -1, d, d)
        return [E[..., :d], *np.moveaxis(matrices, -3, 0)]

    def of(self, N, E):
        """Return the covariances, (..., d, d), for counts N (...) and means E (..., s)."""
        a, H, *higher = self._parts(E)
        S = self._spread(N, a, H)
        if self.automatic:
            return self._ledoit_wolf(N, a, H, S, *higher)[0]
        S = S * self._unbiased(N)[..., None, None]
        target = self.target
        if target is None:
            target = _diagonal(S).mean(axis=-1)[..., None, None]
        return (1.0 - self.shrinkage) * S + self.shrinkage * target * np.eye(self.d)

    @staticmethod
    def _spread(N, a, H):
        """Return E[d d'] - E[d] E[d]', with zeros for constant features."""
        S = H - a[..., :, None] * a[..., None, :]
        moves = without_rounding(_diagonal(S), _diagonal(H), N[..., None]) > 0
        return np.where(moves[..., :, None] & moves[..., None, :], S, 0.0)

    def pull(self, N, E, g):
        """Return (gN (m, K), gE (m, K, s)) for gradients g (m, K, d, d) in covariances."""
        g = 0.5 * (g + g.swapaxes(-1, -2))
        gE = np.zeros((*g.shape[:2], E.shape[-1]))
        if self.automatic:
            return self._pull_ledoit_wolf(N, E, g, gE)
        gS = (1.0 - self.shrinkage) * g
        if self.target is None:
            trace = _diagonal(g).sum(axis=-1)[..., None, None]
            gS = gS + self.shrinkage / self.d * trace * np.eye(self.d)
        f, factor = self.lost_freedom, self._unbiased(N)
        self._parts(gE)[1][:] = gS * factor[:, None, None]
        along = np.sum(gS * self._parts(E)[1], axis=(-2, -1))
        return -f * along * (factor / N) ** 2, gE

    def _unbiased(self, N):
        """Return N / (N - f); for f = 0 this is 1 even if N = 0."""
        return N / (N - self.lost_freedom) if self.lost_freedom else np.ones_like(N)

    def _ledoit_wolf(self, N, a, H, S, G, F):
        """Return the covariance and the intermediate results.

        With the correlations R, the variances v and U_jk = E[(d - a)_j^2 (d - a)_k^2],

            beta = (sum_jk U_jk/(v_j v_k) - |R|^2)/(d N),   delta = (|R|^2 - d m^2)/d,

        m = tr(R)/d, the shrinkage is min(beta, delta)/delta.
        """
        d, square = self.d, a * a
        U = F - 2.0 * (a[..., None, :] * G.swapaxes(-1, -2) + a[..., :, None] * G)
        U = U + square[..., None, :] * _diagonal(H)[..., :, None]
        U = U + square[..., :, None] * _diagonal(H)[..., None, :]
        U = U + 4.0 * a[..., :, None] * a[..., None, :] * H
        U = U - 3.0 * square[..., :, None] * square[..., None, :]
        # scikit-learn's StandardScaler does not change constant features.
        variance = _diagonal(S)
        moves = variance > 1e-26 * np.maximum(_diagonal(H).max(axis=-1, keepdims=True), 1e-300)
        v = np.where(moves, variance, 1.0)
        e = 1.0 / np.sqrt(v)
        R = S * e[..., :, None] * e[..., None, :]
        m = _diagonal(R).mean(axis=-1)
        norm = np.sum(R * R, axis=(-2, -1))
        fourth = np.einsum("...i,...ij,...j->...", e * e, U, e * e)
        beta, delta = (fourth - norm) / (d * N), (norm - d * m * m) / d
        with np.errstate(divide="ignore", invalid="ignore"):
            r = np.where(np.minimum(beta, delta) == 0, 0.0, np.minimum(beta, delta) / delta)
        covariance = (1.0 - r)[..., None, None] * S
        covariance = covariance + (r * m)[..., None, None] * (v[..., None] * np.eye(d))
        return covariance, (r, m, v, moves, e, R, U, beta, delta)

    def _pull_ledoit_wolf(self, N, E, g, gE):
        d, eye = self.d, np.eye(self.d)
        a, H, G, F = self._parts(E)
        S = self._spread(N, a, H)
        _, (r, m, v, moves, e, R, U, beta, delta) = self._ledoit_wolf(N, a, H, S, G, F)
        on_target = np.sum(_diagonal(g) * v, axis=-1)
        g_r = m * on_target - np.sum(g * S, axis=(-2, -1))
        g_m, g_v = r * on_target, (r * m)[:, None] * _diagonal(g)
        gS = (1.0 - r)[:, None, None] * g
        inner = (beta < delta) & (beta != 0)
        safe = np.where(inner, delta, 1.0)
        g_beta = np.where(inner, g_r / safe, 0.0)
        g_delta = np.where(inner, -g_r * beta / safe**2, 0.0)
        gN = -g_beta * beta / N
        g_norm, g_fourth = g_delta / d - g_beta / (d * N), g_beta / (d * N)
        g_m = g_m - 2.0 * m * g_delta
        gR = 2.0 * g_norm[..., None, None] * R + (g_m / d)[..., None, None] * eye
        square = e * e
        gU = g_fourth[..., None, None] * square[:, :, None] * square[:, None, :]
        g_square = 2.0 * g_fourth[..., None] * np.einsum("kij,kj->ki", U, square)
        gS = gS + gR * e[:, :, None] * e[:, None, :]
        g_e = 2.0 * np.einsum("mkij,kij,kj->mki", gR, S, e) + 2.0 * e * g_square
        g_v = np.where(moves, g_v - 0.5 * e**3 * g_e, 0.0)
        gS = gS + g_v[..., None] * eye
        parts = self._parts(gE)
        parts[0][:] = -4.0 * np.einsum("mkij,kij->mki", gU, G)
        parts[1][:], parts[3][:] = gS, gU
        return gN, gE


class Inverse:
    """P = D^-1 (D^-1 A D^-1)^+ D^-1 for a covariance A.

    Parameters
    ----------
    scaled : bool
        Whether D has the standard deviations sqrt(A_jj), with 1 in place of 0; else D = I.
        This only matters for singular A.
    cutoff : float or None
        Eigenvalues of D^-1 A D^-1 up to this are dropped; None for those at rounding error.
    """

    def __init__(self, scaled, cutoff):
        self.scaled = scaled
        self.cutoff = cutoff

    def _factors(self, A):
        """Return e = 1/D (..., d), Q = (D^-1 A D^-1)^+ and the eigenvalues."""
        variance = _diagonal(A)
        e = 1.0 / np.sqrt(np.where(variance > 0, variance, 1.0))
        factors = self._factors_of(A, e)
        if self.scaled or factors[2][1].all():  # any D gives the inverse if A is regular
            return factors
        singular = ~factors[2][1].all(axis=-1)
        return self._factors_of(A, np.where(singular[..., None], 1.0, e))

    def _factors_of(self, A, e):
        values, vectors = np.linalg.eigh(A * e[..., :, None] * e[..., None, :])
        rounding = 1e-14 * A.shape[-1] * np.abs(values).max(axis=-1, keepdims=True)
        kept = values > (rounding if self.cutoff is None else self.cutoff)
        inverse = np.where(kept, 1.0 / np.where(kept, values, 1.0), 0.0)
        Q = (vectors * inverse[..., None, :]) @ vectors.swapaxes(-1, -2)
        return e, Q, (values, kept, rounding)

    def of(self, A):
        """Return P, (..., d, d)."""
        e, Q, _ = self._factors(A)
        return Q * e[..., :, None] * e[..., None, :]

    def drops_more_than_rounding(self, A):
        """Return whether a direction with variance is dropped: P has no derivative formula."""
        _, _, (values, kept, rounding) = self._factors(A)
        return bool(np.any(~kept & (values > 100.0 * rounding)))

    def pull(self, A, g):
        """Return gradients in A for gradients g in P, both (m, d, d)."""
        e, Q, _ = self._factors(A)
        outer = e[:, None] * e
        g = 0.5 * (g + g.swapaxes(-1, -2))
        gQ = g * outer
        # dQ = -Q dC Q + Q^2 dC N + N dC Q^2 with N = I - C Q.
        N = np.eye(len(A)) - (A * outer) @ Q
        cross = Q @ Q @ gQ @ N.T
        gC = -Q @ gQ @ Q + cross + cross.swapaxes(-1, -2)
        gA = gC * outer
        if not self.scaled:
            return gA
        g_e = 2.0 * ((g * Q) @ e + (gC * A) @ e)
        moves = np.diagonal(A) > 0
        g_variance = np.where(moves, -0.5 * e**3 * g_e, 0.0)
        return gA + g_variance[..., None] * np.eye(len(A))
