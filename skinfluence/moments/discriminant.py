"""Gaussian classes with covariances: linear and quadratic discriminant analysis."""

import numpy as np

from skinfluence._compat import UNBIASED_SCATTER
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.moments.base import MomentModel, Prior, names_of, pull_means, ravelled
from skinfluence.moments.covariance import Covariance, Inverse


class _Full(MomentModel):
    """Terms for each class's mean and covariance."""

    covariance: Covariance

    def __init__(self, estimator):
        super().__init__(estimator)
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


class LinearMoments(_Full):
    """LinearDiscriminantAnalysis: `coef_` and `intercept_`.

    With the means mu_k, probabilities pi_k and the inverse P of the within-class covariance,

        coef_k = P (mu_k - m),   intercept_k = log pi_k - (mu_k - m)'P(mu_k - m)/2 - m'coef_k,

    For the solver "svd", m = sum_k pi_k mu_k and the covariance is sum_k N_k S_k / n with the
    class covariances S_k. For the other solvers, m = 0 and the covariance is sum_k pi_k S_k
    with shrunk S_k. Two classes have the difference between their coefficients.
    """

    attributes = "coef_", "intercept_"

    def __init__(self, estimator):
        super().__init__(estimator)
        self.by_svd = estimator.solver == "svd"
        self.tol = float(estimator.tol)
        K, d = self.n_classes, self.n_features
        outputs = 1 if K == 2 else K
        self.sizes = [outputs * d, outputs]
        self.prior = Prior(None if estimator.priors is None else estimator.priors_)
        self.covariance = Covariance(d, None if self.by_svd else estimator.shrinkage)
        self.lost_freedom = K if self.by_svd and UNBIASED_SCATTER else 0

    def _inverse(self, N):
        if not self.by_svd:
            return Inverse(False, None)
        n = N.sum(axis=-1)[..., None]
        return Inverse(True, self.tol**2 * (n - self.lost_freedom) / n)

    def _shares(self, N):
        """Return the class weights in the covariance, (..., K)."""
        if not self.by_svd:
            return self.prior.of(N)
        return N / (N.sum(axis=-1, keepdims=True) - self.lost_freedom)

    def _parts(self, N, M, C):
        """Return means, their centre, class covariances, within-class covariance and P."""
        E = M / N[..., None]
        mean = C + E[..., : self.n_features]
        pi = self.prior.of(N)
        centre = (
            np.einsum("...k,...kd->...d", pi, mean) if self.by_svd else 0.0 * mean[..., 0, :]
        )
        of_classes = self.covariance.of(N, E)
        within = np.einsum("...k,...kij->...ij", self._shares(N), of_classes)
        return E, mean, centre, of_classes, within, self._inverse(N).of(within)

    def check(self, N, M, C):
        """Raise if this formula does not give the fit's derivative."""
        within = self._parts(N, M, C)[4]
        if self.by_svd and self._inverse(N).drops_more_than_rounding(within):
            raise UnsupportedEstimatorError(
                f"LinearDiscriminantAnalysis(tol={self.tol:g}) drops directions in which the "
                "classes vary, and no derivative is known of the choice. Use solver='lsqr' "
                "with shrinkage, or a smaller tol."
            )

    def params(self, N, M, C, rows):
        _, mean, centre, _, _, P = self._parts(N, M, C)
        deviation = mean - centre[..., None, :]
        coef = deviation @ P
        with np.errstate(divide="ignore"):
            intercept = np.log(self.prior.of(N)) - 0.5 * np.sum(deviation * coef, axis=-1)
        intercept = intercept - np.einsum("...d,...kd->...k", centre, coef)
        if self.n_classes == 2:
            coef, intercept = np.diff(coef, axis=-2), np.diff(intercept, axis=-1)
        return np.concatenate([coef.reshape(*N.shape[:-1], -1), intercept], axis=-1)

    def pull(self, N, M, C, V):
        g_coef, g_intercept = self.split(V)
        g_coef = g_coef.reshape(len(V), -1, self.n_features)
        if self.n_classes == 2:
            g_coef = np.concatenate([-g_coef, g_coef], axis=1)
            g_intercept = np.concatenate([-g_intercept, g_intercept], axis=1)
        E, mean, centre, of_classes, within, P = self._parts(N, M, C)
        deviation, pi = mean - centre, self.prior.of(N)
        coef, slope = deviation @ P, g_intercept[:, :, None]
        g_coef = g_coef - slope * (0.5 * deviation + centre)
        g_mean = g_coef @ P - 0.5 * slope * coef
        gP = np.einsum("kd,mke->mde", deviation, g_coef)
        g_prior = g_intercept / pi
        if self.by_svd:
            g_centre = -np.sum(g_mean + slope * coef, axis=1)
            g_mean = g_mean + pi[:, None] * g_centre[:, None]
            g_prior = g_prior + g_centre @ mean.T
        g_within = self._inverse(N).pull(within, gP)
        shares = self._shares(N)
        g_shares = np.einsum("mij,kij->mk", g_within, of_classes)
        gN, gE = self.covariance.pull(N, E, g_within[:, None] * shares[:, None, None])
        gE[..., : self.n_features] += g_mean
        of_means, gM = pull_means(N, E, gE)
        gN = gN + of_means
        if self.by_svd:
            n = N.sum() - self.lost_freedom
            gN = gN + (g_shares - g_shares @ shares[:, None]) / n
        else:
            g_prior = g_prior + g_shares
        return gN + self.prior.pull(N, g_prior), gM

    def _linear(self, theta):
        coef, intercept = self.split(theta)
        return coef.reshape(-1, self.n_features), intercept

    def raw(self, theta, X):
        coef, intercept = self._linear(theta)
        raw = X @ coef.T + intercept
        return np.hstack([np.zeros_like(raw), raw]) if self.n_classes == 2 else raw

    def _own(self, U):
        return U[:, 1:] if self.n_classes == 2 else U

    def pull_raw(self, theta, X, U):
        U = self._own(U)
        g = (U[:, :, None] * X[:, None]).reshape(len(X), -1)
        return np.concatenate([g, U], axis=1)

    def pull_input(self, theta, X, U):
        return self._own(U) @ self._linear(theta)[0]

    def names(self, classes, features):
        if self.n_classes == 2:
            return [f"coef[{feature}]" for feature in features] + ["intercept"]
        intercepts = [f"intercept[{label}]" for label in classes]
        return names_of("coef", classes, features) + intercepts


class QuadraticMoments(_Full):
    """QuadraticDiscriminantAnalysis: means, regularised covariances S_k, probabilities.

    Class k has the score log pi_k - 1/2 [log det S_k + (x - mu_k)'S_k^-1(x - mu_k)].
    """

    def __init__(self, estimator):
        super().__init__(estimator)
        K, d = self.n_classes, self.n_features
        self.sizes = [K * d, K * d * d, K]
        self.tol = float(estimator.tol)
        self.prior = Prior(estimator.priors)
        if estimator.solver == "svd":
            f = int(UNBIASED_SCATTER)
            self.covariance = Covariance(d, estimator.reg_param, target=1.0, lost_freedom=f)
            self.fewest = max(2, d)
        else:
            self.fewest = 2
            self.covariance = Covariance(d, estimator.shrinkage)

    def params(self, N, M, C, rows):
        E, lead = M / N[..., None], N.shape[:-1]
        mean = C + E[..., : self.n_features]
        covariance = self.covariance.of(N, E)
        parts = [mean.reshape(*lead, -1), covariance.reshape(*lead, -1), self.prior.of(N)]
        theta = np.concatenate(parts, axis=-1)
        # scikit-learn raises if a class has too few samples or a singular covariance.
        smallest = np.linalg.eigvalsh(covariance)[..., 0].min(axis=-1)
        theta[(rows.min(axis=-1) < self.fewest) | (smallest <= self.tol)] = np.nan
        return theta

    def pull(self, N, M, C, V):
        K, d = self.n_classes, self.n_features
        g_mean, g_covariance, g_prior = self.split(V)
        E = M / N[:, None]
        gN, gE = self.covariance.pull(N, E, g_covariance.reshape(-1, K, d, d))
        gE[..., :d] += g_mean.reshape(-1, K, d)
        of_means, gM = pull_means(N, E, gE)
        return gN + of_means + self.prior.pull(N, g_prior), gM

    def _parts(self, theta):
        K, d = self.n_classes, self.n_features
        mean, covariance, prior = self.split(theta)
        return mean.reshape(K, d), covariance.reshape(K, d, d), prior

    def raw(self, theta, X):
        mean, covariance, prior = self._parts(theta)
        raw = np.empty((len(X), self.n_classes))
        for k, (m, S) in enumerate(zip(mean, covariance, strict=True)):
            D = X - m
            solved = np.linalg.solve(S, D.T).T
            raw[:, k] = -0.5 * (np.linalg.slogdet(S)[1] + np.sum(D * solved, axis=1))
        return raw + np.log(prior)

    def pull_raw(self, theta, X, U):
        mean, covariance, prior = self._parts(theta)
        out = np.empty((len(X), theta.size))
        g_mean, g_covariance, g_prior = self.split(out)
        d = self.n_features
        for k, (m, S) in enumerate(zip(mean, covariance, strict=True)):
            R = np.linalg.inv(S)
            solved, u = (X - m) @ R, U[:, [k]]
            g_mean[:, k * d : (k + 1) * d] = u * solved
            outer = (solved[:, :, None] * solved[:, None] - R).reshape(len(X), -1)
            g_covariance[:, k * d * d : (k + 1) * d * d] = 0.5 * u * outer
        g_prior[:] = U / prior
        return out

    def pull_input(self, theta, X, U):
        mean, covariance, _ = self._parts(theta)
        pairs = enumerate(zip(mean, covariance, strict=True))
        return sum(U[:, [k]] * np.linalg.solve(S, (m - X).T).T for k, (m, S) in pairs)

    def read(self, estimator):
        pairs = zip(estimator.rotations_, estimator.scalings_, strict=True)
        covariances = [(rotation * scaling) @ rotation.T for rotation, scaling in pairs]
        return ravelled([estimator.means_, covariances, estimator.priors_])

    def names(self, classes, features):
        pairs = [f"{first}, {second}" for first in features for second in features]
        names = names_of("mean", classes, features) + names_of("covariance", classes, pairs)
        return names + [f"prior[{label}]" for label in classes]
