"""Pointwise losses as functions of the raw prediction.

A loss knows nothing of features, weights or penalties. With n rows and K outputs it maps

    target          what `targets.py` encodes, first axis n
    raw_prediction  eta = X coef' + intercept, shape (n, K), float64

to

    loss        l(y, eta)                      (n,)  summed over the outputs
    gradient    dl / d eta                     (n, K)
    curvature   d2l / d eta2                   (n, K), or (n, K, K) where `coupled`
    response    what `predict` or `predict_proba` makes of eta

`loss`, `gradient` and `response` also take raw predictions (n, ..., K) of many models at
once and keep the axes in between.

in the normalisation scikit-learn documents for the estimator (squared error without 1/2).
Outputs of a loss that is not `coupled` do not interact: its Hessian is block diagonal
over the outputs, and `curvature` holds the diagonal only.

Every formula is written so that it neither overflows nor loses the small tail: for a
margin of 800 the log loss is exp(-800), not 0 and not nan.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import expit, log_expit, logsumexp, softmax, xlogy

__all__ = [
    "LOSSES",
    "EpsilonInsensitiveLoss",
    "HalfHuberLoss",
    "HuberLoss",
    "HingeLoss",
    "HalfSquaredLoss",
    "LogisticLoss",
    "Loss",
    "ModifiedHuberLoss",
    "PiecewiseLinearLoss",
    "PoissonLoss",
    "SmoothHingeLoss",
    "SoftmaxLoss",
    "SquaredEpsilonInsensitiveLoss",
    "SquaredHingeLoss",
    "SquaredLoss",
    "TweedieIdentityLoss",
    "TweedieLoss",
]


class Loss(ABC):
    """Base class: value, gradient and curvature in the raw prediction.

    Attributes
    ----------
    coupled : bool
        Whether one row's curvature mixes its outputs.
    shift_invariant : bool
        Whether a number added to every output changes nothing.
    constant_curvature : bool
        Whether the curvature is the same everywhere, so that outputs with equal
        weights share one Gram matrix and one Newton step reaches the optimum.
    has_kinks : bool
        Whether the curvature jumps, so that one fast step does not promise the next.
    is_piecewise_linear : bool
        Whether there is no curvature but in kinks.
    has_dispersion : bool
        Whether the loss is a deviance in units of a dispersion that nobody knows, as the
        squared error is in units of the variance, rather than a log-likelihood.
    convex : bool
        Whether the curvature is nowhere negative.
    curvature_rate : float or None
        The smallest rate with ``|h'| <= rate h`` for the curvature h along any line of raw
        predictions of unit speed: over a step d it changes by a factor of at most
        ``exp(rate |d|)``. 0 if it is constant, None if there is no such rate, as with kinks.
    description : str
        The loss in the words of an error message.
    lower : float
        Raw predictions of at most this have no finite loss.
    """

    coupled: ClassVar[bool] = False
    shift_invariant: ClassVar[bool] = False
    constant_curvature: ClassVar[bool] = False
    has_kinks: ClassVar[bool] = False
    is_piecewise_linear: ClassVar[bool] = False
    has_dispersion: ClassVar[bool] = False
    convex: ClassVar[bool] = True
    curvature_rate: ClassVar[float | None] = None
    lower: ClassVar[float] = -np.inf

    @property
    def description(self):
        return type(self).__name__

    @abstractmethod
    def loss(self, target, raw_prediction):
        """Return the loss of each row, shape (n, ...), summed over outputs."""

    @abstractmethod
    def gradient(self, target, raw_prediction):
        """Return the gradient in the raw prediction, shape (n, ..., K)."""

    @abstractmethod
    def curvature(self, target, raw_prediction):
        """Return the second derivative, shape (n, K), or (n, K, K) where coupled."""

    def falls_forever(self, target, n_outputs):
        """Return the sign of the raw predictions along which each loss never rises, (n, K).

        Towards sign * inf the loss falls and reaches no minimum. 0 marks an output that moves
        the loss up in the end whichever way it goes, NaN one that the row has no part in. Of a
        coupled loss the differences of an output of sign 1 and one of sign -1 are meant. None
        if no row has such a side: then every objective of this loss has a minimum.
        """
        return None

    def shortest_step(self):
        """Return the least gradient / curvature, in size, on a side of `falls_forever`.

        A Newton step moves no raw prediction by less if the objective has no minimum.
        """
        return 1.0

    def curvature_factor(self, target, raw_prediction):
        """Return r (n, K) with W_kl = -r_k r_l off the diagonal, where `shift_invariant`."""
        raise NotImplementedError

    def curvature_product(self, target, raw_prediction, direction):
        """Return curvature times directions (n, ..., K) of the raw prediction."""
        curvature = self.curvature(target, raw_prediction)
        return _like(curvature, direction) * direction

    def curvature_diagonal(self, target, raw_prediction):
        """Return the diagonal of the curvature, shape (n, K)."""
        return self.curvature(target, raw_prediction)

    def chi_square(self, target, raw_prediction):
        """Return Pearson's chi-square g'W^- g of each row by output, shape (n, K).

        The square of the Pearson residual; only its sum over outputs has a meaning where
        the loss is coupled. Where W depends on the target beyond labels, in Tweedie
        deviances, it is the one expected at the prediction.
        """
        gradient = self.gradient(target, raw_prediction)
        return _share(gradient**2, self.curvature_diagonal(target, raw_prediction))

    def remainder(self, target, raw_prediction, delta):
        """Return what a step of the raw prediction changes beyond first order.

        gradient(eta + delta) - gradient(eta) - curvature(eta) delta for steps (n, ..., K).
        Losses with a cheap series give it in the dtype of delta and to that precision
        relative to the result, which is small; nothing cancels.
        """
        delta = delta.astype(np.float64)
        moved = self.gradient(target, _like(raw_prediction, delta) + delta)
        moved -= _like(self.gradient(target, raw_prediction), delta)
        return moved - self.curvature_product(target, raw_prediction, delta)

    def response(self, raw_prediction):
        """Return the mean that is predicted, (n, ..., K), or class probabilities."""
        return raw_prediction

    def response_jacobian(self, raw_prediction):
        """Return d response / d raw_prediction, (n, R, K), or None for the identity."""
        return None


class SquaredLoss(Loss):
    """Squared error l = sum_k (y_k - eta_k)^2, without the 1/2; target (n, K)."""

    constant_curvature = True
    curvature_rate = 0.0
    has_dispersion = True

    def loss(self, target, raw_prediction):
        return np.sum((_like(target, raw_prediction) - raw_prediction) ** 2, axis=-1)

    def gradient(self, target, raw_prediction):
        return 2.0 * (raw_prediction - _like(target, raw_prediction))

    def curvature(self, target, raw_prediction):
        return np.full(raw_prediction.shape, 2.0)

    def remainder(self, target, raw_prediction, delta):
        return np.zeros_like(delta)


class HalfSquaredLoss(SquaredLoss):
    """Half the squared error l = 1/2 sum_k (y_k - eta_k)^2; target (n, K)."""

    def loss(self, target, raw_prediction):
        return 0.5 * super().loss(target, raw_prediction)

    def gradient(self, target, raw_prediction):
        return raw_prediction - _like(target, raw_prediction)

    def curvature(self, target, raw_prediction):
        return np.ones(raw_prediction.shape)


class LabelLoss(Loss):
    """Base class of losses whose raw predictions of labels have probabilities.

    One output has the probability of the positive class. Several, each one class against the
    rest, share it in proportion, equally where all are 0.
    """

    @abstractmethod
    def probability(self, raw_prediction):
        """Return the probability of the positive side of each output, (n, ..., K)."""

    @abstractmethod
    def probability_slope(self, raw_prediction):
        """Return its derivative in the raw prediction, (n, K)."""

    def response(self, raw_prediction):
        probability = self.probability(raw_prediction)
        if probability.shape[-1] == 1:
            return np.concatenate([1.0 - probability, probability], axis=-1)
        return self._share(probability)

    def response_jacobian(self, raw_prediction):
        slope = self.probability_slope(raw_prediction)
        K = slope.shape[1]
        if K == 1:
            return np.stack([-slope, slope], axis=1)
        # d (p_r / t) / d eta_k = (1[r = k] - p_r / t) slope_k / t with t the total.
        probability = self.probability(raw_prediction)
        total = probability.sum(axis=1)[:, None, None]
        jacobian = np.eye(K) - self._share(probability)[:, :, None]
        jacobian = jacobian * slope[:, None]
        return np.divide(jacobian, total, out=np.zeros_like(jacobian), where=total > 0)

    @staticmethod
    def _share(probability):
        total = probability.sum(axis=-1, keepdims=True)
        equal = np.full_like(probability, 1.0 / probability.shape[-1])
        return np.divide(probability, total, out=equal, where=total > 0)


class LogisticLoss(LabelLoss):
    """Log loss l = sum_k log(1 + exp(-y_k eta_k)), y in {-1, +1}; target (n, K)."""

    curvature_rate = 1.0

    def loss(self, target, raw_prediction):
        margin = _like(target, raw_prediction) * raw_prediction
        return -np.sum(log_expit(margin), axis=-1)

    def gradient(self, target, raw_prediction):
        # -y / (1 + exp(y eta)); exp(710) overflows to inf, which gives the right 0.
        target = _like(target, raw_prediction)
        gradient = target * raw_prediction
        with np.errstate(over="ignore"):
            np.exp(gradient, out=gradient)
        gradient += 1.0
        return np.divide(-target, gradient, out=gradient)

    def curvature(self, target, raw_prediction):
        return expit(raw_prediction) * expit(-raw_prediction)

    def falls_forever(self, target, n_outputs):
        return target

    def probability(self, raw_prediction):
        return expit(raw_prediction)

    def probability_slope(self, raw_prediction):
        return self.curvature(None, raw_prediction)

    def remainder(self, target, raw_prediction, delta):
        largest = np.abs(delta).max(initial=0.0)
        if largest > _LONGEST:
            return super().remainder(target, raw_prediction, delta)
        if largest > _SHORT:
            # p moves by p q e / (1 + p e), e = exp(delta) - 1 = delta + b.
            p, h = (
                _like(a, delta).astype(delta.dtype)
                for a in (expit(raw_prediction), self.curvature(target, raw_prediction))
            )
            bend = _bend(delta)
            e = delta + bend
            return h * (bend - p * e * e / (1 + p * e))
        # Derivatives of expit from the third of the loss on, in h = p q and d = q - p.
        p, q = expit(raw_prediction), expit(-raw_prediction)
        h, d = p * q, q - p
        third, fourth, fifth = h * d, h * (1 - 6 * h), h * d * (1 - 12 * h)
        sixth = h * (1 - 30 * h + 120 * h**2)
        return _series([third / 2, fourth / 6, fifth / 24, sixth / 120], delta)


class SoftmaxLoss(Loss):
    """Multinomial log loss l = logsumexp(eta) - eta_y; target (n,) class codes.

    With p = softmax(eta) the gradient is p - e_y and the curvature diag(p) - p p'. Both
    vanish along the all-ones direction: adding one number to every output changes no
    prediction, which is why a softmax Hessian with a free intercept is singular.
    """

    coupled = True
    shift_invariant = True
    curvature_rate = math.sqrt(2.0)  # the range of d is at most sqrt(2) |d|

    def loss(self, target, raw_prediction):
        # log(1 + exp(z)) with z the log-odds against the own class keeps a loss of 1e-20.
        own = self._own(target, raw_prediction)
        others = raw_prediction.copy()
        np.put_along_axis(others, own, -np.inf, axis=-1)
        z = logsumexp(others, axis=-1)
        z -= np.take_along_axis(raw_prediction, own, axis=-1)[..., 0]
        return -log_expit(-z)

    def gradient(self, target, raw_prediction):
        gradient = softmax(raw_prediction, axis=-1)
        own = self._own(target, raw_prediction)
        np.put_along_axis(gradient, own, 0.0, axis=-1)
        # 1 - p_y as the sum of the other probabilities: no cancellation when p_y ~ 1,
        # and the row sums to zero to the last bit that matters for the gauge.
        others = gradient.sum(axis=-1, keepdims=True)
        np.put_along_axis(gradient, own, -others, axis=-1)
        return gradient

    def response(self, raw_prediction):
        return softmax(raw_prediction, axis=-1)

    def curvature(self, target, raw_prediction):
        p = softmax(raw_prediction, axis=1)
        curvature = -p[:, :, None] * p[:, None, :]
        outputs = np.arange(p.shape[1])
        curvature[:, outputs, outputs] = self._diagonal(p)
        return curvature

    def falls_forever(self, target, n_outputs):
        return np.where(target[:, None] == np.arange(n_outputs), 1.0, -1.0)

    def curvature_factor(self, target, raw_prediction):
        return softmax(raw_prediction, axis=1)

    def curvature_product(self, target, raw_prediction, direction):
        # Measured from the most likely class, so that p_k u_k sums over small p only.
        top = np.expand_dims(raw_prediction.argmax(axis=1), tuple(range(1, direction.ndim)))
        top = np.broadcast_to(top, (*direction.shape[:-1], 1))
        u = direction - np.take_along_axis(direction, top, axis=-1)
        p = _like(softmax(raw_prediction, axis=1), direction)
        return p * (u - np.sum(p * u, axis=-1, keepdims=True))

    def curvature_diagonal(self, target, raw_prediction):
        return self._diagonal(softmax(raw_prediction, axis=1))

    def chi_square(self, target, raw_prediction):
        # diag(p) - p p' maps g / p to g, because g sums to zero: g'W^- g = sum_k g_k^2 / p_k.
        gradient = self.gradient(target, raw_prediction)
        return _share(gradient**2, softmax(raw_prediction, axis=1))

    def response_jacobian(self, raw_prediction):
        return self.curvature(None, raw_prediction)

    def remainder(self, target, raw_prediction, delta):
        if np.abs(delta).max(initial=0.0) > _LONGEST:
            return super().remainder(target, raw_prediction, delta)
        # p changes by p (e - s) / (1 + s), e = exp(delta) - 1, s = p'e. With e = delta + b
        # the first order leaves p (b - p'b) - p (e - s) s / (1 + s).
        p = softmax(raw_prediction, axis=1).astype(delta.dtype)
        bend = _bend(delta)
        p_column = _like(p, delta)[..., None]
        mean_bend = np.matmul(bend[..., None, :], p_column)[..., 0]
        s = np.matmul(delta[..., None, :], p_column)[..., 0] + mean_bend
        share = s / (1 + s)
        out = bend * (1 - share)  # b - e s / (1 + s) = b (1 - share) - delta share
        out -= delta * share
        out += s * share - mean_bend
        out *= _like(p, delta)
        return out

    @staticmethod
    def _own(target, raw_prediction):
        """Return the class codes with the axes of raw predictions (n, ..., 1)."""
        own = np.expand_dims(target, tuple(range(1, raw_prediction.ndim)))
        return np.broadcast_to(own, (*raw_prediction.shape[:-1], 1))

    @staticmethod
    def _diagonal(p):
        # 1 - p_k as the sum of the others where p_k is near one, so that every row of the
        # curvature sums to zero.
        rows, top = np.arange(len(p)), p.argmax(axis=1)
        others = p.copy()
        others[rows, top] = 0.0
        complement = 1.0 - p
        complement[rows, top] = others.sum(axis=1)
        return p * complement


class PoissonLoss(Loss):
    """Half Poisson deviance l = y log(y/mu) - y + mu, mu = exp(eta); target (n, 1)."""

    curvature_rate = 1.0

    def loss(self, target, raw_prediction):
        target = _like(target, raw_prediction)
        constant = xlogy(target, target) - target
        return np.sum(constant - target * raw_prediction + _exp(raw_prediction), axis=-1)

    def gradient(self, target, raw_prediction):
        return _exp(raw_prediction) - _like(target, raw_prediction)

    def curvature(self, target, raw_prediction):
        return _exp(raw_prediction)

    def falls_forever(self, target, n_outputs):
        return np.where(target > 0, 0.0, -1.0)

    def response(self, raw_prediction):
        return _exp(raw_prediction)

    def response_jacobian(self, raw_prediction):
        return _exp(raw_prediction)[:, :, None]

    def remainder(self, target, raw_prediction, delta):
        if np.abs(delta).max(initial=0.0) > _LONGEST:
            return super().remainder(target, raw_prediction, delta)
        return _like(_exp(raw_prediction), delta).astype(delta.dtype) * _bend(delta)


@dataclass(frozen=True)
class TweedieLoss(Loss):
    """Half Tweedie deviance with the log link, mu = exp(eta); target (n, 1).

        l = y^(2-p)/((1-p)(2-p)) - y mu^(1-p)/(1-p) + mu^(2-p)/(2-p)

    and its limits y log(y/mu) - y + mu at p = 1 (Poisson) and y/mu - log(y/mu) - 1 at p = 2
    (Gamma). Convex for 1 <= p <= 2. Below p = 0 targets may be negative, and count as 0 in the
    first term.

    Parameters
    ----------
    power : float
        p.
    """

    power: float

    @property
    def curvature_rate(self):
        """The faster of the two exponentials in the curvature, None if it has both signs."""
        return max(2.0 - self.power, self.power - 1.0) if self.convex else None

    @property
    def convex(self):
        """Whether the curvature (2-p) mu^(2-p) - (1-p) y mu^(1-p) is nowhere negative."""
        return 1 <= self.power <= 2

    @property
    def description(self):
        return f"the Tweedie deviance of power={self.power:g} with link='log'"

    @property
    def has_dispersion(self):
        """Whether the deviance is in units of a dispersion; that of Poisson, p = 1, is not."""
        return self.power != 1

    def loss(self, target, raw_prediction):
        target, p = _like(target, raw_prediction), self.power
        # The terms are those of logarithms where an exponent is 0.
        own = _saturated(target, p)
        with np.errstate(over="ignore", invalid="ignore"):
            if p == 1:
                pull, push = target * raw_prediction, _exp(raw_prediction)
            else:
                pull = target * np.exp((1 - p) * raw_prediction) / (1 - p)
                push = raw_prediction if p == 2 else np.exp((2 - p) * raw_prediction) / (2 - p)
            return np.sum(own - pull + push, axis=-1)

    def gradient(self, target, raw_prediction):
        # mu^(2-p) - y mu^(1-p)
        pull, push = self._powers(target, raw_prediction)
        with np.errstate(invalid="ignore"):
            return push - pull

    def curvature(self, target, raw_prediction):
        pull, push = self._powers(target, raw_prediction)
        with np.errstate(invalid="ignore"):
            return (2 - self.power) * push - (1 - self.power) * pull

    def falls_forever(self, target, n_outputs):
        # Of y <= 0 both terms vanish with mu. A positive y has its minimum at mu = y: the loss
        # rises beyond on either side, up to a limit at most where it is not convex.
        return None if self.power >= 2 else np.where(target > 0, 0.0, -1.0)

    def shortest_step(self):
        # (mu^(2-p) - y mu^(1-p)) / ((2-p) mu^(2-p) - (1-p) y mu^(1-p)) where y <= 0.
        return 1 / (2 - self.power)

    def chi_square(self, target, raw_prediction):
        # (y - mu)^2 / mu^p
        mean, p = _exp(raw_prediction), self.power
        return (_like(target, raw_prediction) - mean) ** 2 * _exp(-p * raw_prediction)

    def response(self, raw_prediction):
        return _exp(raw_prediction)

    def response_jacobian(self, raw_prediction):
        return _exp(raw_prediction)[:, :, None]

    def _powers(self, target, raw_prediction):
        """Return y mu^(1-p) and mu^(2-p)."""
        pull = _like(target, raw_prediction) * _exp((1 - self.power) * raw_prediction)
        return pull, _exp((2 - self.power) * raw_prediction)


@dataclass(frozen=True)
class TweedieIdentityLoss(Loss):
    """Half Tweedie deviance of `TweedieLoss` with the identity link, mu = eta > 0.

    Target (n, 1). Infinite where eta is not positive. At p = 0, where eta may be any number,
    it is `HalfSquaredLoss`. Convex at p = 1; elsewhere the curvature
    (1-p) mu^-p + p y mu^(-p-1) has both signs.

    Parameters
    ----------
    power : float
        p, not 0.
    """

    power: float
    lower: ClassVar[float] = 0.0

    @property
    def convex(self):
        """Whether the curvature is nowhere negative."""
        return self.power == 1

    @property
    def description(self):
        return f"the Tweedie deviance of power={self.power:g} with link='identity'"

    @property
    def has_dispersion(self):
        """Whether the deviance is in units of a dispersion; that of Poisson, p = 1, is not."""
        return self.power != 1

    def loss(self, target, raw_prediction):
        with np.errstate(divide="ignore", invalid="ignore"):
            log_mean = np.log(raw_prediction)
        value = TweedieLoss(self.power).loss(target, log_mean)
        return np.where(np.all(raw_prediction > 0, axis=-1), value, np.inf)

    def gradient(self, target, raw_prediction):
        # mu^-p (mu - y)
        target = _like(target, raw_prediction)
        return self._power(raw_prediction, -self.power) * (raw_prediction - target)

    def curvature(self, target, raw_prediction):
        p = self.power
        slope = self._power(raw_prediction, -p - 1)
        with np.errstate(over="ignore", invalid="ignore"):
            return slope * ((1 - p) * raw_prediction + p * _like(target, raw_prediction))

    def chi_square(self, target, raw_prediction):
        residual = _like(target, raw_prediction) - raw_prediction
        return residual**2 * self._power(raw_prediction, -self.power)

    @staticmethod
    def _power(mean, exponent):
        """Return mu^exponent, NaN where mu is not positive."""
        with np.errstate(over="ignore"):
            return np.where(mean > 0, mean, np.nan) ** exponent


class PiecewiseLinearLoss(Loss):
    """A convex loss made of straight pieces, so that kinks hold predictions in place.

    The gradient is the slope of a row's piece, on a kink that of the piece nearer to a slope
    of zero; the curvature is zero almost everywhere. Derivatives of an optimum come from
    its active set instead, see `active_set.py`.
    """

    is_piecewise_linear = True

    @abstractmethod
    def kinks(self, target):
        """Return where the kinks of m + 1 pieces are and how steep the pieces.

        Returns
        -------
        positions : ndarray of shape (n, K, m)
            Raw predictions at which the slope changes, ascending.
        slopes : ndarray of shape (n, K, m + 1)
            Slopes from the left to the right, ascending.
        """

    def curvature(self, target, raw_prediction):
        return np.zeros(raw_prediction.shape)


class HingeLoss(PiecewiseLinearLoss):
    """Hinge l = sum_k max(0, 1 - y_k eta_k) of labels y in {-1, +1}; target (n, K).

    Not smooth; `SmoothHingeLoss` tends to it. A label of 0 is no part of problem k.
    """

    def loss(self, target, raw_prediction):
        return np.sum(np.maximum(0.0, _shortfall(target, raw_prediction)), axis=-1)

    def gradient(self, target, raw_prediction):
        short = _shortfall(target, raw_prediction) > 0.0
        return np.where(short, -_like(target, raw_prediction), 0.0)

    def kinks(self, target):
        y = np.asarray(target, dtype=np.float64)
        slopes = np.stack([np.minimum(-y, 0.0), np.maximum(-y, 0.0)], axis=-1)
        return y[..., None], slopes


@dataclass(frozen=True)
class EpsilonInsensitiveLoss(PiecewiseLinearLoss):
    """Loss l = sum_k max(0, |y_k - eta_k| - epsilon); target (n, K).

    Parameters
    ----------
    epsilon : float, default=0.0
        Half the width of the tube in which the loss is zero.
    """

    epsilon: float = 0.0

    def loss(self, target, raw_prediction):
        residual = np.abs(raw_prediction - _like(target, raw_prediction))
        return np.sum(np.maximum(0.0, residual - self.epsilon), axis=-1)

    def gradient(self, target, raw_prediction):
        residual = raw_prediction - _like(target, raw_prediction)
        return np.where(np.abs(residual) > self.epsilon, np.sign(residual), 0.0)

    def kinks(self, target):
        y = np.asarray(target, dtype=np.float64)
        positions = np.stack([y - self.epsilon, y + self.epsilon], axis=-1)
        return positions, np.broadcast_to([-1.0, 0.0, 1.0], (*y.shape, 3))


@dataclass(frozen=True)
class SmoothHingeLoss(Loss):
    """Smooth hinge l = sum_k t log(1 + exp((1 - y_k eta_k)/t)), y in {-1, +1}.

    Target (n, K). Above the hinge by at most t log 2, at the kink, and by t exp(-|z|/t) at
    a distance |z| from it. Gradient and curvature are those of a logistic function of
    width t: -y sigma(z/t) and sigma(z/t) sigma(-z/t)/t with z = 1 - y eta.

    Parameters
    ----------
    temperature : float, default=0.1
        t > 0.
    """

    temperature: float = 0.1

    @property
    def curvature_rate(self):
        """1/t."""
        return 1.0 / self.temperature

    def loss(self, target, raw_prediction):
        z, t = _shortfall(target, raw_prediction), self.temperature
        with np.errstate(over="ignore"):
            # |z|/t of inf: exp gives the right 0.
            excess = t * np.log1p(np.exp(-np.abs(z) / t))
        return np.sum(np.maximum(0.0, z) + excess, axis=-1)

    def gradient(self, target, raw_prediction):
        return -_like(target, raw_prediction) * expit(self._scaled(target, raw_prediction))

    def curvature(self, target, raw_prediction):
        u = self._scaled(target, raw_prediction)
        return expit(u) * expit(-u) / self.temperature

    def falls_forever(self, target, n_outputs):
        return np.where(target == 0, np.nan, target)

    def shortest_step(self):
        return self.temperature

    def temperature_slope(self, target, raw_prediction):
        """Return d gradient / d temperature, shape (n, ..., K).

        y sigma(u) sigma(-u) u/t with u = (1 - y eta)/t.
        """
        # Beyond 750 the product of the two logistic functions is 0.
        u = np.clip(self._scaled(target, raw_prediction), -750.0, 750.0)
        return _like(target, raw_prediction) * expit(u) * expit(-u) * u / self.temperature

    def _scaled(self, target, raw_prediction):
        """Return u = (1 - y eta)/t; inf, which expit takes, where that overflows."""
        with np.errstate(over="ignore"):
            return _shortfall(target, raw_prediction) / self.temperature


class SquaredHingeLoss(Loss):
    """Squared hinge l = sum_k max(0, 1 - y_k eta_k)^2, y in {-1, +1}; target (n, K).

    Once differentiable; the curvature, 2 where the margin y eta is below 1 and 0 above,
    is an element of the generalised second derivative at the kink.
    """

    has_kinks = True

    def loss(self, target, raw_prediction):
        return np.sum(np.maximum(0.0, _shortfall(target, raw_prediction)) ** 2, axis=-1)

    def gradient(self, target, raw_prediction):
        short = np.maximum(0.0, _shortfall(target, raw_prediction))
        return -2.0 * _like(target, raw_prediction) * short

    def curvature(self, target, raw_prediction):
        return np.where(_shortfall(target, raw_prediction) > 0.0, 2.0, 0.0)


class ModifiedHuberLoss(LabelLoss):
    """Squared hinge with a straight tail, of labels y in {-1, +1}; target (n, K).

        l = sum_k max(0, 1 - m_k)^2 where m_k = y_k eta_k >= -1, -4 m_k below

    Once differentiable; the curvature, 2 between the margins -1 and 1 and 0 elsewhere, is an
    element of the generalised second derivative at them.
    """

    has_kinks = True

    def loss(self, target, raw_prediction):
        short = np.maximum(0.0, _shortfall(target, raw_prediction))
        inner = np.minimum(short, 2.0)
        return np.sum(inner * (2.0 * short - inner), axis=-1)

    def gradient(self, target, raw_prediction):
        short = np.clip(_shortfall(target, raw_prediction), 0.0, 2.0)
        return -2.0 * _like(target, raw_prediction) * short

    def curvature(self, target, raw_prediction):
        short = _shortfall(target, raw_prediction)
        return np.where((short > 0.0) & (short <= 2.0), 2.0, 0.0)

    def probability(self, raw_prediction):
        return (np.clip(raw_prediction, -1.0, 1.0) + 1.0) / 2.0

    def probability_slope(self, raw_prediction):
        return np.where(np.abs(raw_prediction) < 1.0, 0.5, 0.0)


@dataclass(frozen=True)
class HuberLoss(Loss):
    """Huber's loss with its scale, l = sigma + H((y - eta)/sigma) sigma; target (n, 1).

    H(u) = u^2 up to |u| = epsilon and 2 epsilon |u| - epsilon^2 beyond. Raw predictions are
    (eta, sigma), two outputs: sigma is fitted too, one number for all rows. Inside, the
    curvature is 2/sigma times that of u, (1, u)(1, u)'; beyond it is 0.

    Parameters
    ----------
    epsilon : float, default=1.35
        Where the square ends, in units of sigma.
    """

    epsilon: float = 1.35
    coupled: ClassVar[bool] = True
    has_kinks: ClassVar[bool] = True

    def loss(self, target, raw_prediction):
        u, sigma = self._scaled(target, raw_prediction)
        size = np.abs(u)
        bent = np.where(size <= self.epsilon, u**2, 2 * self.epsilon * size - self.epsilon**2)
        with np.errstate(invalid="ignore"):  # inf * 0 where sigma is 0
            return np.where(sigma > 0, sigma + bent * sigma, np.inf)

    def gradient(self, target, raw_prediction):
        u, sigma = self._scaled(target, raw_prediction)
        cut = np.clip(u, -self.epsilon, self.epsilon)
        gradient = np.stack([-2 * cut, 1 - cut**2], axis=-1)
        return np.where(sigma[..., None] > 0, gradient, np.nan)

    def curvature(self, target, raw_prediction):
        u, sigma = self._scaled(target, raw_prediction)
        inside = np.where(np.abs(u) <= self.epsilon, 2 / sigma, 0.0)
        direction = np.stack([np.ones_like(u), u], axis=-1)
        return inside[:, None, None] * direction[:, :, None] * direction[:, None]

    def curvature_product(self, target, raw_prediction, direction):
        curvature = self.curvature(target, raw_prediction)
        curvature = np.expand_dims(curvature, tuple(range(1, direction.ndim - 1)))
        return np.matmul(curvature, direction[..., None])[..., 0]

    def curvature_diagonal(self, target, raw_prediction):
        return np.einsum("nkk->nk", self.curvature(target, raw_prediction))

    def chi_square(self, target, raw_prediction):
        # A scale has no residual.
        found = super().chi_square(target, raw_prediction)
        found[..., 1] = 0.0
        return found

    def response(self, raw_prediction):
        return raw_prediction[..., :1]

    def response_jacobian(self, raw_prediction):
        return np.broadcast_to([[1.0, 0.0]], (len(raw_prediction), 1, 2))

    @staticmethod
    def _scaled(target, raw_prediction):
        """Return u = (y - eta)/sigma and sigma, (n, ...)."""
        eta, sigma = raw_prediction[..., 0], raw_prediction[..., 1]
        with np.errstate(divide="ignore", invalid="ignore"):
            return (_like(target, raw_prediction)[..., 0] - eta) / sigma, sigma


@dataclass(frozen=True)
class HalfHuberLoss(Loss):
    """Half the squared error up to a residual of epsilon, straight beyond; target (n, K).

        l = sum_k 1/2 r_k^2 where |r_k| = |y_k - eta_k| <= epsilon,
                  epsilon |r_k| - epsilon^2/2 beyond

    Parameters
    ----------
    epsilon : float
        Residual at which the loss becomes straight.
    """

    epsilon: float
    has_kinks: ClassVar[bool] = True

    def loss(self, target, raw_prediction):
        size = np.abs(raw_prediction - _like(target, raw_prediction))
        inner = np.minimum(size, self.epsilon)
        return np.sum(inner * (size - inner / 2), axis=-1)

    def gradient(self, target, raw_prediction):
        residual = raw_prediction - _like(target, raw_prediction)
        return np.clip(residual, -self.epsilon, self.epsilon)

    def curvature(self, target, raw_prediction):
        return np.where(np.abs(raw_prediction - target) <= self.epsilon, 1.0, 0.0)


@dataclass(frozen=True)
class SquaredEpsilonInsensitiveLoss(Loss):
    """Loss l = sum_k max(0, |y_k - eta_k| - epsilon)^2; target (n, K).

    Once differentiable; the curvature, 2 outside the tube of width epsilon around y and 0
    inside, is an element of the generalised second derivative at its border.

    Parameters
    ----------
    epsilon : float, default=0.0
        Half the width of the tube; with 0 the loss is the squared error.
    """

    epsilon: float = 0.0
    has_kinks: ClassVar[bool] = True

    def loss(self, target, raw_prediction):
        return np.sum(self._excess(target, raw_prediction) ** 2, axis=-1)

    def gradient(self, target, raw_prediction):
        residual = raw_prediction - _like(target, raw_prediction)
        return 2.0 * np.sign(residual) * self._excess(target, raw_prediction)

    def curvature(self, target, raw_prediction):
        residual = np.abs(raw_prediction - target)
        return np.where(residual >= self.epsilon, 2.0, 0.0)

    def _excess(self, target, raw_prediction):
        residual = np.abs(raw_prediction - _like(target, raw_prediction))
        return np.maximum(0.0, residual - self.epsilon)


def _shortfall(target, raw_prediction):
    """Return z = 1 - y eta, by how much a margin falls short of 1; -inf where y = 0."""
    y = _like(target, raw_prediction)
    short = 1.0 - y * raw_prediction
    if np.all(target):
        return short
    return np.where(y == 0, -np.inf, short)


def _share(numerator, denominator):
    """Return numerator / denominator, 0 where both are 0."""
    with np.errstate(divide="ignore", over="ignore"):
        return np.divide(
            numerator, denominator, out=np.zeros_like(numerator), where=numerator > 0
        )


# Steps of the raw prediction up to which four terms of the logistic series, and six of the
# exponential's, are right to 1e-6 of the remainder; and beyond which single precision is not.
_SHORT, _MEDIUM, _LONGEST = 0.1, 0.5, 8.0


def _bend(delta):
    """Return exp(delta) - 1 - delta, small steps by their series."""
    if np.abs(delta).max(initial=0.0) > _MEDIUM:
        return np.expm1(delta) - delta
    return _series([1 / math.factorial(k) for k in range(2, 8)], delta)


def _series(coefficients, delta):
    """Return delta^2 (c_0 + c_1 delta + ...) for numbers or arrays (n, K) c."""
    coefficients = [np.asarray(c, dtype=delta.dtype) for c in coefficients]
    coefficients = [_like(c, delta) if c.ndim else c for c in coefficients]
    total = delta * coefficients[-1]
    for c in coefficients[-2:0:-1]:
        total += c
        total *= delta
    total += coefficients[0]
    total *= delta
    total *= delta
    return total


def _saturated(target, power):
    """Return what makes the half Tweedie deviance of a perfect prediction 0."""
    if power == 1:
        return xlogy(target, target) - target
    if power == 2:
        return -np.log(target) - 1
    if power == 0:
        return target**2 / 2
    return np.maximum(target, 0.0) ** (2 - power) / ((1 - power) * (2 - power))


def _exp(raw_prediction):
    """Return exp; inf where a line search tries a step that is far too long."""
    with np.errstate(over="ignore"):
        return np.exp(raw_prediction)


def _like(values, direction):
    """Return values (n, K) shaped to broadcast against (n, ..., K)."""
    return np.expand_dims(values, tuple(range(1, direction.ndim - 1)))


#: Every loss, in one list that every test runs over.
LOSSES = [
    SquaredLoss(),
    HalfSquaredLoss(),
    LogisticLoss(),
    SoftmaxLoss(),
    PoissonLoss(),
    *(TweedieLoss(power) for power in (-1, 0, 1, 1.5, 2, 3)),
    *(TweedieIdentityLoss(power) for power in (-1, 1, 1.5, 2, 3)),
    HingeLoss(),
    EpsilonInsensitiveLoss(0.3),
    *(SmoothHingeLoss(t) for t in (1.0, 0.1, 1e-3, 1e-6)),
    SquaredHingeLoss(),
    ModifiedHuberLoss(),
    HalfHuberLoss(0.5),
    HuberLoss(),
    SquaredEpsilonInsensitiveLoss(),
    SquaredEpsilonInsensitiveLoss(0.3),
]
