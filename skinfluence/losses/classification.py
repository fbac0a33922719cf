"""Log losses for class labels."""

import math

import numpy as np

from skinfluence.losses.base import (
    LONGEST,
    SHORT,
    LabelLoss,
    Loss,
    align,
    exp_remainder,
    expit,
    log_expit,
    log_sum_exp,
    ratio,
    series,
    softmax,
)


class LogisticLoss(LabelLoss):
    """Log loss l = sum_k log(1 + exp(-y_k eta_k)), y in {-1, +1}; target (n, K)."""

    curvature_rate = 1.0

    def loss(self, target, raw_prediction):
        margin = align(target, raw_prediction) * raw_prediction
        return -np.sum(log_expit(margin), axis=-1)

    def gradient(self, target, raw_prediction):
        # -y / (1 + exp(y eta)); exp(710) overflows to inf, which gives the correct 0.
        target = align(target, raw_prediction)
        gradient = target * raw_prediction
        with np.errstate(over="ignore"):
            np.exp(gradient, out=gradient)
        gradient += 1.0
        return np.divide(-target, gradient, out=gradient)

    def curvature(self, target, raw_prediction):
        return expit(raw_prediction) * expit(-raw_prediction)

    def higher_derivatives(self, target, raw_prediction):
        # With h = p q and d = q - p.
        p, q = expit(raw_prediction), expit(-raw_prediction)
        h = p * q
        return h * (q - p), h * (1 - 6 * h)

    def falls_forever(self, target, n_outputs):
        return target

    def probability(self, raw_prediction):
        return expit(raw_prediction)

    def probability_slope(self, raw_prediction):
        return self.curvature(None, raw_prediction)

    def remainder(self, target, raw_prediction, delta):
        largest = np.abs(delta).max(initial=0.0)
        if largest > LONGEST:
            return super().remainder(target, raw_prediction, delta)
        if largest > SHORT:
            # p changes by p q e / (1 + p e) with e = exp(delta) - 1 = delta + b.
            p, h = (
                align(a, delta).astype(delta.dtype)
                for a in (expit(raw_prediction), self.curvature(target, raw_prediction))
            )
            bend = exp_remainder(delta)
            e = delta + bend
            return h * (bend - p * e * e / (1 + p * e))
        third, fourth = self.higher_derivatives(target, raw_prediction)
        h = self.curvature(target, raw_prediction)
        fifth = third * (1 - 12 * h)
        sixth = h * (1 - 30 * h + 120 * h**2)
        return series([third / 2, fourth / 6, fifth / 24, sixth / 120], delta)


class SoftmaxLoss(Loss):
    """Multinomial log loss l = logsumexp(eta) - eta_y; target (n,) class codes.

    With p = softmax(eta) the gradient is p - e_y and the curvature diag(p) - p p'. Both
    vanish along the all-ones direction, because adding one number to every output changes no
    prediction. A softmax Hessian with a free intercept is therefore singular.
    """

    coupled = True
    shift_invariant = True
    curvature_rate = math.sqrt(2.0)  # the range of d is at most sqrt(2) |d|

    def loss(self, target, raw_prediction):
        # With z the log-odds against the row's class, log(1 + exp(z)) resolves 1e-20.
        codes = self._codes(target, raw_prediction)
        others = raw_prediction.copy()
        np.put_along_axis(others, codes, -np.inf, axis=-1)
        z = log_sum_exp(others)
        z -= np.take_along_axis(raw_prediction, codes, axis=-1)[..., 0]
        return -log_expit(-z)

    def gradient(self, target, raw_prediction):
        # With e_k = exp(eta_k - eta_y) the others' p_k is e_k / (1 + sum of e_k). Their sum is
        # 1 - p_y without cancellation if p_y ~ 1. So the row sums to zero as exactly as the
        # gauge requires.
        codes = self._codes(target, raw_prediction)
        with np.errstate(over="ignore"):
            out = np.exp(raw_prediction - np.take_along_axis(raw_prediction, codes, axis=-1))
            np.put_along_axis(out, codes, 0.0, axis=-1)
            others = (out @ np.ones(out.shape[-1], like=out))[..., None]
        if not np.isfinite(others).all():
            return self._gradient_of_far(codes, raw_prediction)
        total = 1.0 + others
        out /= total
        np.put_along_axis(out, codes, -others / total, axis=-1)
        return out

    @staticmethod
    def _gradient_of_far(codes, raw_prediction):
        """Return `gradient` if exp(eta_k - eta_y) overflows in a row."""
        out = softmax(raw_prediction)
        np.put_along_axis(out, codes, 0.0, axis=-1)
        np.put_along_axis(out, codes, -out.sum(axis=-1, keepdims=True), axis=-1)
        return out

    def response(self, raw_prediction):
        return softmax(raw_prediction)

    def curvature(self, target, raw_prediction):
        p = softmax(raw_prediction)
        curvature = -p[:, :, None] * p[:, None, :]
        outputs = np.arange(p.shape[1])
        curvature[:, outputs, outputs] = self._diagonal(p)
        return curvature

    def falls_forever(self, target, n_outputs):
        return np.where(target[:, None] == np.arange(n_outputs), 1.0, -1.0)

    def curvature_factor(self, target, raw_prediction):
        return softmax(raw_prediction)

    def curvature_product(self, target, raw_prediction, direction):
        # Directions relative to the most likely class: p_k u_k is summed over small p only.
        u = direction - _most_likely(raw_prediction, direction)
        p = align(softmax(raw_prediction), direction)
        return p * (u - np.sum(p * u, axis=-1, keepdims=True))

    def curvature_diagonal(self, target, raw_prediction):
        return self._diagonal(softmax(raw_prediction))

    def chi_square(self, target, raw_prediction):
        # g sums to zero, so diag(p) - p p' maps g / p to g and g'W^- g = sum_k g_k^2 / p_k.
        gradient = self.gradient(target, raw_prediction)
        return ratio(gradient**2, softmax(raw_prediction))

    def response_jacobian(self, raw_prediction):
        return self.curvature(None, raw_prediction)

    def remainder(self, target, raw_prediction, delta):
        if np.abs(delta).max(initial=0.0) > 0.5 * LONGEST:
            return super().remainder(target, raw_prediction, delta)
        # Relative to the most likely class only small p enter the sums, which do not cancel.
        delta = delta - _most_likely(raw_prediction, delta)
        # p changes by p (e - s) / (1 + s) with e = exp(delta) - 1 and s = p'e. With
        # e = delta + b, the remainder is p (b - p'b) - p (e - s) s / (1 + s).
        p = softmax(raw_prediction).astype(delta.dtype)
        bend = exp_remainder(delta)
        p_column = align(p, delta)[..., None]
        mean_bend = np.matmul(bend[..., None, :], p_column)[..., 0]
        s = np.matmul(delta[..., None, :], p_column)[..., 0] + mean_bend
        share = s / (1 + s)
        out = bend * (1 - share)  # b - e s / (1 + s) = b (1 - share) - delta share
        out -= delta * share
        out += s * share - mean_bend
        out *= align(p, delta)
        return out

    @staticmethod
    def _codes(target, raw_prediction):
        """Return class codes that broadcast against raw predictions, (n, ..., 1)."""
        codes = np.expand_dims(target, tuple(range(1, raw_prediction.ndim)))
        return np.broadcast_to(codes, (*raw_prediction.shape[:-1], 1))

    @staticmethod
    def _diagonal(p):
        # The largest p_k may be near one. Then 1 - p_k is the sum of the others, so that every
        # row of the curvature sums to zero.
        top = p.argmax(axis=1)[:, None]
        others, complement = p.copy(), 1.0 - p
        np.put_along_axis(others, top, 0.0, axis=1)
        np.put_along_axis(complement, top, others.sum(axis=1, keepdims=True), axis=1)
        return p * complement


def _most_likely(raw_prediction, direction):
    """Return the entries (n, ..., 1) of directions (n, ..., K) for the most likely class."""
    top = np.expand_dims(raw_prediction.argmax(axis=1), tuple(range(1, direction.ndim)))
    top = np.broadcast_to(top, (*direction.shape[:-1], 1))
    return np.take_along_axis(direction, top, axis=-1)
