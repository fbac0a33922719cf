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

from abc import ABC, abstractmethod

import numpy as np
from scipy.special import expit, log_expit, logsumexp, softmax, xlogy

__all__ = ["LOSSES", "LogisticLoss", "Loss", "PoissonLoss", "SoftmaxLoss", "SquaredLoss"]


class Loss(ABC):
    """Base class: value, gradient and curvature in the raw prediction.

    Attributes
    ----------
    coupled : bool
        Whether one row's curvature mixes its outputs.
    constant_curvature : bool
        Whether the curvature is the same everywhere, so that outputs with equal
        weights share one Gram matrix and one Newton step reaches the optimum.
    """

    coupled = False
    constant_curvature = False

    @abstractmethod
    def loss(self, target, raw_prediction):
        """Return the loss of each row, shape (n, ...), summed over outputs."""

    @abstractmethod
    def gradient(self, target, raw_prediction):
        """Return the gradient in the raw prediction, shape (n, ..., K)."""

    @abstractmethod
    def curvature(self, target, raw_prediction):
        """Return the second derivative, shape (n, K), or (n, K, K) where coupled."""

    def curvature_product(self, target, raw_prediction, direction):
        """Return curvature times directions (n, ..., K) of the raw prediction."""
        curvature = self.curvature(target, raw_prediction)
        return _like(curvature, direction) * direction

    def curvature_diagonal(self, target, raw_prediction):
        """Return the diagonal of the curvature, shape (n, K)."""
        return self.curvature(target, raw_prediction)

    def response(self, raw_prediction):
        """Return the mean that is predicted, (n, ..., K), or class probabilities."""
        return raw_prediction

    def probability_jacobian(self, raw_prediction):
        """Return d predict_proba / d raw_prediction, shape (n, n_classes, K)."""
        raise NotImplementedError(f"{type(self).__name__} predicts no probabilities.")


class SquaredLoss(Loss):
    """Squared error l = sum_k (y_k - eta_k)^2, without the 1/2; target (n, K)."""

    constant_curvature = True

    def loss(self, target, raw_prediction):
        return np.sum((_like(target, raw_prediction) - raw_prediction) ** 2, axis=-1)

    def gradient(self, target, raw_prediction):
        return 2.0 * (raw_prediction - _like(target, raw_prediction))

    def curvature(self, target, raw_prediction):
        return np.full(raw_prediction.shape, 2.0)


class LogisticLoss(Loss):
    """Log loss l = log(1 + exp(-y eta)) of labels y in {-1, +1}; target (n, 1)."""

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

    def response(self, raw_prediction):
        probability = expit(raw_prediction)
        return np.concatenate([1.0 - probability, probability], axis=-1)

    def curvature(self, target, raw_prediction):
        return expit(raw_prediction) * expit(-raw_prediction)

    def probability_jacobian(self, raw_prediction):
        slope = self.curvature(None, raw_prediction)
        return np.stack([-slope, slope], axis=1)


class SoftmaxLoss(Loss):
    """Multinomial log loss l = logsumexp(eta) - eta_y; target (n,) class codes.

    With p = softmax(eta) the gradient is p - e_y and the curvature diag(p) - p p'. Both
    vanish along the all-ones direction: adding one number to every output changes no
    prediction, which is why a softmax Hessian with a free intercept is singular.
    """

    coupled = True

    def loss(self, target, raw_prediction):
        own = np.take_along_axis(raw_prediction, self._own(target, raw_prediction), -1)
        return logsumexp(raw_prediction, axis=-1) - own[..., 0]

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

    def curvature_product(self, target, raw_prediction, direction):
        p = _like(softmax(raw_prediction, axis=1), direction)
        return p * (direction - np.sum(p * direction, axis=-1, keepdims=True))

    def curvature_diagonal(self, target, raw_prediction):
        return self._diagonal(softmax(raw_prediction, axis=1))

    def probability_jacobian(self, raw_prediction):
        return self.curvature(None, raw_prediction)

    @staticmethod
    def _own(target, raw_prediction):
        """Return the class codes with the axes of raw predictions (n, ..., 1)."""
        own = np.expand_dims(target, tuple(range(1, raw_prediction.ndim)))
        return np.broadcast_to(own, (*raw_prediction.shape[:-1], 1))

    @staticmethod
    def _diagonal(p):
        return p * (1.0 - p)


class PoissonLoss(Loss):
    """Half Poisson deviance l = y log(y/mu) - y + mu, mu = exp(eta); target (n, 1)."""

    def loss(self, target, raw_prediction):
        target = _like(target, raw_prediction)
        constant = xlogy(target, target) - target
        return np.sum(constant - target * raw_prediction + _exp(raw_prediction), axis=-1)

    def gradient(self, target, raw_prediction):
        return _exp(raw_prediction) - _like(target, raw_prediction)

    def curvature(self, target, raw_prediction):
        return _exp(raw_prediction)

    def response(self, raw_prediction):
        return _exp(raw_prediction)


def _exp(raw_prediction):
    """Return exp; inf where a line search tries a step that is far too long."""
    with np.errstate(over="ignore"):
        return np.exp(raw_prediction)


def _like(values, direction):
    """Return values (n, K) shaped to broadcast against (n, ..., K)."""
    return np.expand_dims(values, tuple(range(1, direction.ndim - 1)))


#: Every loss, in one list that every test runs over.
LOSSES = [SquaredLoss, LogisticLoss, SoftmaxLoss, PoissonLoss]
