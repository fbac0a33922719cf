"""Gaussian classes with one variance per feature: GaussianNB and NearestCentroid."""

from typing import ClassVar

import numpy as np

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.losses import SoftmaxLoss
from skinfluence.moments.base import MeanModel, Prior, joined
from skinfluence.moments.covariance import without_rounding


class _Diagonal(MeanModel):
    """Terms d and d^2 for d = x - c, which give each feature's mean and variance."""

    def terms(self, D):
        return np.concatenate([D, D * D], axis=1)

    def pull_terms(self, gM, D):
        d = self.n_features
        return gM[:, :d] + 2.0 * gM[:, d:] * D

    def moments(self, N, E, C):
        """Return (means, variances), each (..., B, d)."""
        a, b = np.split(E, 2, axis=-1)
        return C + a, without_rounding(b - a * a, b, N[..., None])

    def means_and_variances(self, theta):
        """Return m and v (K, d) of the scores -1/2 sum_j (x_j - m_kj)^2 / v_kj + constant."""
        raise NotImplementedError

    @staticmethod
    def squares(X, mean, variance):
        """Return -1/2 sum_j (x_j - m_kj)^2 / v_kj, (m, K)."""
        out = np.empty((len(X), len(mean)))
        for k, (m, v) in enumerate(zip(mean, variance, strict=True)):
            out[:, k] = np.sum((X - m) ** 2 / v, axis=1)
        return -0.5 * out

    def pull_squares(self, theta, X, U):
        """Return gradients (m, K, d) in m and v for gradients U in the scores."""
        mean, variance = self.means_and_variances(theta)
        Z = (X[:, None] - mean) / variance
        g_mean = U[:, : self.n_classes, None] * Z
        return g_mean, 0.5 * g_mean * Z

    def pull_input(self, theta, X, U):
        triples = zip(*self.means_and_variances(theta), U.T, strict=False)
        return sum(u[:, None] * (m - X) / v for m, v, u in triples)


class GaussianMoments(_Diagonal):
    """GaussianNB: means mu, variances v + epsilon, class probabilities pi.

    epsilon is `var_smoothing` times the largest feature variance over all rows, without
    weights. Class k has the score

        log pi_k - 1/2 sum_j [log 2 pi v_kj + (x_j - mu_kj)^2 / v_kj].
    """

    blocks: ClassVar = {"theta": "kj", "var": "kj", "class_prior": "k"}

    def __init__(self, estimator):
        super().__init__(estimator)
        self.smoothing = float(estimator.var_smoothing)
        self.counts_rows = self.smoothing > 0
        self.prior = Prior(estimator.priors)

    def of_means(self, N, E, C, rows):
        K = self.n_classes
        mean, variance = self.moments(N, E, C)
        within = variance[..., :K, :]
        if self.counts_rows:
            within = within + self.smoothing * variance[..., [K], :].max(-1, keepdims=True)
        return mean[..., :K, :], within, self.prior.of(N[..., :K])

    def pull_means(self, N, E, C, g_mean, g_variance, g_prior):
        K, d = self.n_classes, self.n_features
        gN, gE = np.zeros((len(g_mean), len(N))), np.zeros((len(g_mean), *E.shape))
        gE[:, :K] = np.concatenate([g_mean, g_variance], axis=-1)
        if self.counts_rows:
            gE[:, K, d + E[K, d:].argmax()] = self.smoothing * g_variance.sum(axis=(1, 2))
        gN[:, :K] = self.prior.pull(N[:K], g_prior)
        return gN, gE

    def means_and_variances(self, theta):
        return self.split(theta)[:2]

    def raw(self, theta, X):
        mean, variance, prior = self.split(theta)
        constant = np.log(prior) - 0.5 * np.log(2.0 * np.pi * variance).sum(axis=1)
        return self.squares(X, mean, variance) + constant

    def pull_raw(self, theta, X, U):
        _, variance, prior = self.split(theta)
        g_mean, g_variance = self.pull_squares(theta, X, U)
        g_variance -= 0.5 * U[:, :, None] / variance
        return joined([g_mean, g_variance, U / prior], [len(X)])


class _CentroidLoss(SoftmaxLoss):
    """Log loss for the first K columns; the other columns only determine labels."""

    def __init__(self, n_classes):
        self.n_classes = n_classes

    def loss(self, target, raw_prediction):
        return super().loss(target, raw_prediction[..., : self.n_classes])

    def gradient(self, target, raw_prediction):
        gradient = np.zeros_like(raw_prediction)
        scores = raw_prediction[..., : self.n_classes]
        gradient[..., : self.n_classes] = super().gradient(target, scores)
        return gradient

    def response(self, raw_prediction):
        return super().response(raw_prediction[..., : self.n_classes])

    def response_jacobian(self, raw_prediction):
        J = super().response_jacobian(raw_prediction[..., : self.n_classes])
        return np.concatenate([J, np.zeros_like(J)], axis=-1)


class CentroidMoments(_Diagonal):
    """NearestCentroid: centroids c, standard deviations s within classes, probabilities pi.

    Class k has the score 2 log pi_k - sum_j (x_j - c_kj)^2 / s_j^2, with 1 in place of
    s_j = 0. If all pi_k are equal, the label is the class with the nearest centroid in the
    unscaled features; the scores have K more columns with these squared distances.
    """

    blocks: ClassVar = {"centroid": "kj", "within_class_std_dev": "j", "class_prior": "k"}

    def __init__(self, estimator):
        super().__init__(estimator)
        is_given = not isinstance(estimator.priors, str) or estimator.priors == "uniform"
        self.prior = Prior(estimator.class_prior_ if is_given else None)
        self.pooled = Prior(None, lost_freedom=self.n_classes)
        self.loss = _CentroidLoss(self.n_classes)

    def check_supported(self, estimator):
        if estimator.metric != "euclidean":
            raise UnsupportedEstimatorError(
                f"NearestCentroid(metric={estimator.metric!r}): its centroids are medians: "
                "they have no influence function here. Use metric='euclidean'."
            )
        if estimator.shrink_threshold:
            raise UnsupportedEstimatorError(
                f"NearestCentroid(shrink_threshold={estimator.shrink_threshold!r}): the "
                "threshold puts kinks into the centroids. Use shrink_threshold=None, or "
                "LinearDiscriminantAnalysis with shrinkage."
            )

    def prepare(self, X):
        return X.toarray() if hasattr(X, "toarray") else X

    def read(self, estimator):
        blocks = estimator.centroids_, estimator.within_class_std_dev_, estimator.class_prior_
        return joined(blocks)

    def of_means(self, N, E, C, rows):
        mean, variance = self.moments(N, E, C)
        with np.errstate(divide="ignore", invalid="ignore"):
            pooled = np.sum(self.pooled.of(N)[..., None] * variance, axis=-2)
            return mean, np.sqrt(pooled), self.prior.of(N)

    def pull_means(self, N, E, C, g_mean, g_deviation, g_prior):
        _, variance = self.moments(N, E, C)
        shares = self.pooled.of(N)
        pooled = shares @ variance
        g = np.where(pooled > 0, 0.5 / np.sqrt(np.where(pooled > 0, pooled, 1.0)), 0.0)
        g = g * g_deviation
        gE = np.concatenate([g_mean, g[:, None] * shares[:, None]], axis=-1)
        return self.pooled.pull(N, g @ variance.T) + self.prior.pull(N, g_prior), gE

    def means_and_variances(self, theta):
        mean, deviation, _ = self.split(theta)
        deviation = np.where(deviation == 0, 1.0, deviation)
        return mean, np.broadcast_to(0.5 * deviation**2, mean.shape)

    def raw(self, theta, X):
        mean, variance = self.means_and_variances(theta)
        *_, prior = self.split(theta)
        raw = self.squares(X, mean, variance) + 2.0 * np.log(prior)
        is_uniform = np.isclose(prior, 1.0 / self.n_classes).all()
        nearest = self.squares(X, mean, np.full_like(mean, 0.5)) if is_uniform else raw
        return np.hstack([raw, nearest])

    def pull_raw(self, theta, X, U):
        _, deviation, prior = self.split(theta)
        g_mean, g_variance = self.pull_squares(theta, X, U)
        g_deviation = deviation * g_variance.sum(axis=1)
        g_prior = 2.0 * U[:, : self.n_classes] / prior
        return joined([g_mean, g_deviation, g_prior], [len(X)])
