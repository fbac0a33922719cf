"""Gaussian classes with covariances: linear and quadratic discriminant analysis."""

from typing import ClassVar

import numpy as np

from skinfluence._compat import has_unbiased_scatter
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.moments.base import LinearScores, MeanModel, Prior, joined
from skinfluence.moments.covariance import Covariance, Inverse


class _Full(MeanModel):
    """Terms for each class's mean and covariance."""

    covariance: Covariance

    def check_supported(self, estimator):
        if estimator.covariance_estimator is not None:
            name = type(estimator).__name__
            raise UnsupportedEstimatorError(
                f"{name}(covariance_estimator=...): the derivative of the covariance "
                "estimator is not known. Use shrinkage='auto' or a number."
            )

    def terms(self, D):
        return self.covariance.terms(D)

    def pull_terms(self, gM, D):
        return self.covariance.pull_terms(gM, D)


class LinearMoments(_Full, LinearScores):
    """LinearDiscriminantAnalysis: `coef_` and `intercept_`.

    With the means mu_k, probabilities pi_k and the inverse P of the within-class covariance,

        coef_k = P (mu_k - m),   intercept_k = log pi_k - (mu_k - m)'P(mu_k - m)/2 - m'coef_k,

    For the solver "svd", m = sum_k pi_k mu_k and the covariance is sum_k N_k S_k / n with the
    class covariances S_k. For the other solvers, m = 0 and the covariance is sum_k pi_k S_k
    with shrunk S_k. Two classes have the difference between their coefficients.
    """

    blocks: ClassVar = {"coef": "oj", "intercept": "o"}

    def __init__(self, estimator):
        super().__init__(estimator)
        self.by_svd = estimator.solver == "svd"
        self.tol = float(estimator.tol)
        K, d = self.n_classes, self.n_features
        # The outputs are differences between classes, and their scores are among the classes'.
        self.contrasts = np.array([[-1.0, 1.0]]) if K == 2 else np.eye(K)
        self.own = slice(K - self.lengths["o"], None)
        self.prior = Prior(None if estimator.priors is None else estimator.priors_)
        self.covariance = Covariance(d, None if self.by_svd else estimator.shrinkage)
        lost_freedom = K if self.by_svd and has_unbiased_scatter(estimator) else 0
        self.shares = Prior(None, lost_freedom) if self.by_svd else self.prior
        self.centre = self.prior if self.by_svd else Prior(np.zeros(K))

    def _inverse(self, N):
        if not self.by_svd:
            return Inverse(False, None)
        n = N.sum(axis=-1)[..., None]
        return Inverse(True, self.tol**2 * (n - self.shares.lost_freedom) / n)

    def _parts(self, N, E, C):
        """Return means, their centre, class covariances, within-class covariance and P."""
        mean = C + E[..., : self.n_features]
        centre = np.einsum("...k,...kd->...d", self.centre.of(N), mean)
        of_classes = self.covariance.of(N, E)
        within = np.einsum("...k,...kij->...ij", self.shares.of(N), of_classes)
        return mean, centre, of_classes, within, self._inverse(N).of(within)

    def check(self, N, M, C):
        """Raise if this formula does not give the fit's derivative."""
        *_, within, _ = self._parts(N, M / N[:, None], C)
        if self.by_svd and self._inverse(N).drops_more_than_rounding(within):
            raise UnsupportedEstimatorError(
                f"LinearDiscriminantAnalysis(tol={self.tol:g}) drops directions in which the "
                "classes vary, and no derivative is known of the choice. Use solver='lsqr' "
                "with shrinkage, or a smaller tol."
            )

    def of_means(self, N, E, C, rows):
        mean, centre, _, _, P = self._parts(N, E, C)
        coef = (mean - centre[..., None, :]) @ P
        middle = 0.5 * (mean + centre[..., None, :])
        with np.errstate(divide="ignore"):
            intercept = np.log(self.prior.of(N)) - np.sum(middle * coef, axis=-1)
        return self.contrasts @ coef, intercept @ self.contrasts.T

    def pull_means(self, N, E, C, g_coef, g_intercept):
        g_coef, g_intercept = self.contrasts.T @ g_coef, g_intercept @ self.contrasts
        mean, centre, of_classes, within, P = self._parts(N, E, C)
        deviation, slope = mean - centre, g_intercept[:, :, None]
        coef = deviation @ P
        g_coef = g_coef - slope * 0.5 * (mean + centre)
        g_mean = g_coef @ P - 0.5 * slope * coef
        g_prior = g_intercept / self.prior.of(N)
        g_centre = -np.sum(g_mean + slope * coef, axis=1)
        g_mean = g_mean + self.centre.of(N)[:, None] * g_centre[:, None]
        g_within = self._inverse(N).pull(within, np.einsum("kd,mke->mde", deviation, g_coef))
        g_shares = np.einsum("mij,kij->mk", g_within, of_classes)
        g_classes = g_within[:, None] * self.shares.of(N)[:, None, None]
        gN, gE = self.covariance.pull(N, E, g_classes)
        gE[..., : self.n_features] += g_mean
        gN = gN + self.prior.pull(N, g_prior) + self.shares.pull(N, g_shares)
        return gN + self.centre.pull(N, g_centre @ mean.T), gE


class QuadraticMoments(_Full):
    """QuadraticDiscriminantAnalysis: means, regularised covariances S_k, probabilities.

    Class k has the score log pi_k - 1/2 [log det S_k + (x - mu_k)'S_k^-1(x - mu_k)].
    """

    blocks: ClassVar = {"mean": "kj", "covariance": "kjj", "prior": "k"}

    def __init__(self, estimator):
        super().__init__(estimator)
        d = self.n_features
        self.tol = float(estimator.tol)
        self.prior = Prior(estimator.priors)
        if estimator.solver == "svd":
            f = int(has_unbiased_scatter(estimator))
            self.covariance = Covariance(d, estimator.reg_param, target=1.0, lost_freedom=f)
            self.fewest = max(2, d)
        else:
            self.fewest = 2
            self.covariance = Covariance(d, estimator.shrinkage)

    def of_means(self, N, E, C, rows):
        mean, prior = C + E[..., : self.n_features], np.array(self.prior.of(N))
        covariance = self.covariance.of(N, E)
        # scikit-learn raises if a class has too few samples or a singular covariance.
        smallest = np.linalg.eigvalsh(covariance)[..., 0].min(axis=-1)
        lacks = (rows.min(axis=-1) < self.fewest) | (smallest <= self.tol)
        for block in (mean, covariance, prior):
            block[lacks] = np.nan
        return mean, covariance, prior

    def pull_means(self, N, E, C, g_mean, g_covariance, g_prior):
        gN, gE = self.covariance.pull(N, E, g_covariance)
        gE[..., : self.n_features] += g_mean
        return gN + self.prior.pull(N, g_prior), gE

    def _scored(self, theta, X):
        """Generate each class's covariance S, x - mu and S^-1 (x - mu), (m, d)."""
        for m, S in zip(*self.split(theta)[:2], strict=True):
            yield S, X - m, np.linalg.solve(S, (X - m).T).T

    def raw(self, theta, X):
        *_, prior = self.split(theta)
        raw = [
            -0.5 * (np.linalg.slogdet(S)[1] + np.sum(D * solved, axis=1))
            for S, D, solved in self._scored(theta, X)
        ]
        return np.stack(raw, axis=1) + np.log(prior)

    def pull_raw(self, theta, X, U):
        *_, prior = self.split(theta)
        solved = np.stack([z for _, _, z in self._scored(theta, X)], axis=1)
        outer = solved[..., :, None] * solved[..., None, :] - np.linalg.inv(
            self.split(theta)[1]
        )
        g_mean, g_covariance = U[:, :, None] * solved, 0.5 * U[:, :, None, None] * outer
        return joined([g_mean, g_covariance, U / prior], [len(X)])

    def pull_input(self, theta, X, U):
        pairs = zip(U.T, self._scored(theta, X), strict=True)
        return sum(-u[:, None] * solved for u, (_, _, solved) in pairs)

    def read(self, estimator):
        pairs = zip(estimator.rotations_, estimator.scalings_, strict=True)
        covariances = [(rotation * scaling) @ rotation.T for rotation, scaling in pairs]
        return joined([estimator.means_, covariances, estimator.priors_])
