"""Base classes of losses."""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from skinfluence.losses.numerics import align, ratio

__all__ = ["LabelLoss", "Loss", "PiecewiseLinearLoss"]


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
        return align(curvature, direction) * direction

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
        return ratio(gradient**2, self.curvature_diagonal(target, raw_prediction))

    def remainder(self, target, raw_prediction, delta):
        """Return what a step of the raw prediction changes beyond first order.

        gradient(eta + delta) - gradient(eta) - curvature(eta) delta for steps (n, ..., K).
        Losses with a cheap series give it in the dtype of delta and to that precision
        relative to the result, which is small; nothing cancels.
        """
        delta = delta.astype(np.float64)
        moved = self.gradient(target, align(raw_prediction, delta) + delta)
        moved -= align(self.gradient(target, raw_prediction), delta)
        return moved - self.curvature_product(target, raw_prediction, delta)

    def response(self, raw_prediction):
        """Return the mean that is predicted, (n, ..., K), or class probabilities."""
        return raw_prediction

    def response_jacobian(self, raw_prediction):
        """Return d response / d raw_prediction, (n, R, K), or None for the identity."""
        return None


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
