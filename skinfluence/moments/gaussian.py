"""Gaussian classes with one variance per feature: GaussianNB and NearestCentroid."""

import numpy as np

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.losses import SoftmaxLoss
from skinfluence.moments.base import MomentModel, Prior, names_of, pull_means
from skinfluence.moments.covariance import without_rounding


class _Diagonal(MomentModel):
    """Terms d and d^2 for d = x - c, which give each feature's mean and variance."""

    def terms(self, D):
        return np.concatenate([D, D * D], axis=1)

    def pull_terms(self, gM, D):
        d = self.n_features
        return gM[:, :d] + 2.0 * gM[:, d:] * D

    def moments(self, N, M, C):
        """Return (means, variances), each (..., B, d)."""
        E = M / N[..., None]
        a, b = E[..., : self.n_features], E[..., self.n_features :]
        return C + a, without_rounding(b - a * a, b, N[..., None])


class GaussianMoments(_Diagonal):
    """GaussianNB: means mu, variances v + epsilon, class probabilities pi.

    epsilon is `var_smoothing` times the largest feature variance over all rows, without
    weights. Class k has the score

        log pi_k - 1/2 sum_j [log 2 pi v_kj + (x_j - mu_kj)^2 / v_kj].
    """

    attributes = "theta_", "var_", "class_prior_"

    def __init__(self, estimator):
        super().__init__(estimator)
        K, d = self.n_classes, self.n_features
        self.sizes = [K * d, K * d, K]
        self.smoothing = float(estimator.var_smoothing)
        self.counts_rows = self.smoothing > 0
        self.prior = Prior(estimator.priors)

    def params(self, N, M, C, rows):
        K, lead = self.n_classes, N.shape[:-1]
        mean, variance = self.moments(N, M, C)
        within = variance[..., :K, :]
        if self.counts_rows:
            within = within + self.smoothing * variance[..., [K], :].max(-1, keepdims=True)
        prior = self.prior.of(N[..., :K])
        parts = [mean[..., :K, :].reshape(*lead, -1), within.reshape(*lead, -1), prior]
        return np.concatenate(parts, axis=-1)

    def pull(self, N, M, C, V):
        K, d = self.n_classes, self.n_features
        g_mean, g_variance, g_prior = self.split(V)
        gE = np.zeros((len(V), len(N), 2 * d))
        gE[:, :K, :d] = g_mean.reshape(-1, K, d)
        gE[:, :K, d:] = g_variance.reshape(-1, K, d)
        E = M / N[:, None]
        if self.counts_rows:
            gE[:, K, d + E[K, d:].argmax()] = self.smoothing * g_variance.sum(axis=1)
        gN, gM = pull_means(N, E, gE)
        gN[:, :K] += self.prior.pull(N[:K], g_prior)
        return gN, gM

    def _parts(self, theta):
        K, d = self.n_classes, self.n_features
        mean, variance, prior = self.split(theta)
        return mean.reshape(K, d), variance.reshape(K, d), prior

    def raw(self, theta, X):
        mean, variance, prior = self._parts(theta)
        raw = np.empty((len(X), self.n_classes))
        for k, (m, v) in enumerate(zip(mean, variance, strict=True)):
            raw[:, k] = -0.5 * np.sum((X - m) ** 2 / v, axis=1)
        return raw + (np.log(prior) - 0.5 * np.log(2.0 * np.pi * variance).sum(axis=1))

    def pull_raw(self, theta, X, U):
        mean, variance, prior = self._parts(theta)
        d = self.n_features
        out = np.empty((len(X), theta.size))
        g_mean, g_variance, g_prior = self.split(out)
        for k, (m, v) in enumerate(zip(mean, variance, strict=True)):
            columns, u = slice(k * d, k * d + d), U[:, [k]]
            g_mean[:, columns] = u * (X - m) / v
            g_variance[:, columns] = 0.5 * u * (((X - m) / v) ** 2 - 1.0 / v)
        g_prior[:] = U / prior
        return out

    def pull_input(self, theta, X, U):
        mean, variance, _ = self._parts(theta)
        pairs = enumerate(zip(mean, variance, strict=True))
        return sum(U[:, [k]] * (m - X) / v for k, (m, v) in pairs)

    def names(self, classes, features):
        names = names_of("theta", classes, features) + names_of("var", classes, features)
        return names + [f"class_prior[{label}]" for label in classes]


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

    attributes = "centroids_", "within_class_std_dev_", "class_prior_"

    def __init__(self, estimator):
        super().__init__(estimator)
        K, d = self.n_classes, self.n_features
        self.sizes = [K * d, d, K]
        is_given = not isinstance(estimator.priors, str) or estimator.priors == "uniform"
        self.prior = Prior(estimator.class_prior_ if is_given else None)
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

    def _pooled(self, N, variance):
        return np.sum(N[..., None] * variance, axis=-2) / self._freedom(N)[..., None]

    def _freedom(self, N):
        return N.sum(axis=-1) - self.n_classes

    def params(self, N, M, C, rows):
        mean, variance = self.moments(N, M, C)
        with np.errstate(divide="ignore", invalid="ignore"):
            deviation = np.sqrt(self._pooled(N, variance))
        parts = [mean.reshape(*N.shape[:-1], -1), deviation, self.prior.of(N)]
        return np.concatenate(parts, axis=-1)

    def pull(self, N, M, C, V):
        K, d = self.n_classes, self.n_features
        g_mean, g_deviation, g_prior = self.split(V)
        _, variance = self.moments(N, M, C)
        pooled = self._pooled(N, variance)
        g = np.where(pooled > 0, 0.5 / np.sqrt(np.where(pooled > 0, pooled, 1.0)), 0.0)
        g = g * g_deviation / self._freedom(N)
        gE = np.zeros((len(V), K, 2 * d))
        gE[..., :d] = g_mean.reshape(-1, K, d)
        gE[..., d:] = g[:, None] * N[:, None]
        gN, gM = pull_means(N, M / N[:, None], gE)
        gN += g @ (variance - pooled).T + self.prior.pull(N, g_prior)
        return gN, gM

    def _parts(self, theta):
        mean, deviation, prior = self.split(theta)
        mean = mean.reshape(self.n_classes, self.n_features)
        return mean, np.where(deviation == 0, 1.0, deviation), prior

    def raw(self, theta, X):
        mean, deviation, prior = self._parts(theta)
        raw = np.empty((len(X), 2 * self.n_classes))
        for k, m in enumerate(mean):
            raw[:, k] = 2.0 * np.log(prior[k]) - np.sum(((X - m) / deviation) ** 2, axis=1)
            raw[:, self.n_classes + k] = -np.sum((X - m) ** 2, axis=1)
        if not np.isclose(prior, 1.0 / self.n_classes).all():
            raw[:, self.n_classes :] = raw[:, : self.n_classes]
        return raw

    def pull_raw(self, theta, X, U):
        mean, deviation, prior = self._parts(theta)
        out = np.zeros((len(X), theta.size))
        g_mean, g_deviation, g_prior = self.split(out)
        for k, m in enumerate(mean):
            pulled = 2.0 * U[:, [k]] * (X - m) / deviation**2
            g_mean[:, k * self.n_features : (k + 1) * self.n_features] = pulled
            g_deviation += pulled * (X - m) / deviation
        g_deviation[:, self.split(theta)[1] == 0] = 0.0
        g_prior[:] = 2.0 * U[:, : self.n_classes] / prior
        return out

    def pull_input(self, theta, X, U):
        mean, deviation, _ = self._parts(theta)
        return sum(2.0 * U[:, [k]] * (m - X) / deviation**2 for k, m in enumerate(mean))

    def names(self, classes, features):
        names = names_of("centroid", classes, features)
        names += [f"within_class_std_dev[{feature}]" for feature in features]
        return names + [f"class_prior[{label}]" for label in classes]
