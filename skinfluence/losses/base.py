"""Base classes for losses, and arithmetic that several of them share."""

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from scipy import special

# The logistic series with four terms is accurate to 1e-6 relative to the remainder for steps
# in the raw prediction up to SHORT. The exponential series is taken up to MEDIUM: expm1 of
# single precision takes four times as long as the 22 terms there. In single precision
# remainders are inaccurate beyond LONGEST.
SHORT, MEDIUM, LONGEST = 0.1, 4.0, 8.0


def align(values, direction):
    """Reshape values (n, K) so that they broadcast against (n, ..., K)."""
    return np.expand_dims(values, tuple(range(1, direction.ndim - 1)))


def ratio(numerator, denominator):
    """Return numerator / denominator, and 0 for 0 / 0."""
    with np.errstate(divide="ignore", over="ignore"):
        return np.divide(
            numerator, denominator, out=np.zeros_like(numerator), where=numerator > 0
        )


def exp(raw_prediction):
    """Return exp, and inf on overflow: a line search may try a step that is far too long."""
    with np.errstate(over="ignore"):
        return np.exp(raw_prediction)


# SciPy's functions of one NumPy array are a single pass. They take no other arrays.


def expit(values):
    """Return 1 / (1 + exp(-values))."""
    if isinstance(values, np.ndarray):
        return special.expit(values)
    return 1.0 / (1.0 + exp(-values))


def log_expit(values):
    """Return log expit without loss of small tails."""
    if isinstance(values, np.ndarray):
        return special.log_expit(values)
    return np.minimum(values, 0.0) - np.log1p(np.exp(-np.abs(values)))


def xlogy(x, y):
    """Return x log y, and 0 if x is 0."""
    if isinstance(x, np.ndarray):
        return special.xlogy(x, y)
    return x * np.log(np.where(x == 0, 1.0, y))


def softmax(values):
    """Return exp(values), divided by the sum over the last axis."""
    out = np.exp(values - values.max(axis=-1, keepdims=True))
    out /= out.sum(axis=-1, keepdims=True)
    return out


def log_sum_exp(values):
    """Return log sum exp over the last axis.

    `scipy.special.logsumexp` supports several array libraries, and takes two to four times as
    long. Line searches call it thousands of times.
    """
    largest = values.max(axis=-1, keepdims=True)
    largest[~np.isfinite(largest)] = 0.0
    with np.errstate(over="ignore"):
        return np.log(np.exp(values - largest).sum(axis=-1)) + largest[..., 0]


def exp_remainder(delta):
    """Return exp(delta) - 1 - delta, by a series unless a step is long."""
    largest = float(np.abs(delta).max(initial=0.0))
    if not largest <= MEDIUM:
        return np.expm1(delta) - delta
    terms, omitted = 2, largest**2 / 12  # relative to delta^2 / 2
    while omitted > 0.25 * np.finfo(delta.dtype).eps:
        terms += 1
        omitted *= largest / (terms + 2)
    return series([1 / math.factorial(k) for k in range(2, 2 + terms)], delta)


def series(coefficients, delta):
    """Return delta^2 (c_0 + c_1 delta + ...); each c is a number or an array (n, K)."""
    coefficients = [
        align(c.astype(delta.dtype), delta) if np.ndim(c) else delta.dtype.type(c)
        for c in coefficients
    ]
    total = delta * coefficients[-1]
    for c in coefficients[-2:0:-1]:
        total += c
        total *= delta
    total += coefficients[0]
    total *= delta
    total *= delta
    return total


class Loss(ABC):
    """Base class with value, gradient and curvature in the raw prediction.

    Attributes
    ----------
    coupled : bool
        Whether the curvature mixes the outputs within a row.
    shift_invariant : bool
        Whether adding one number to every output leaves the loss unchanged.
    constant_curvature : bool
        Whether the curvature is the same everywhere. Outputs with equal weights then share
        one Gram matrix, and one Newton step reaches the optimum.
    has_kinks : bool
        Whether the curvature jumps, so that a Newton step may converge fast and the next
        one slowly.
    is_piecewise_linear : bool
        Whether the curvature is zero except at kinks.
    has_dispersion : bool
        Whether the loss is a deviance in units of an unknown dispersion, as the squared
        error is in units of the variance, rather than a log-likelihood.
    convex : bool
        Whether the curvature is never negative.
    positive_output : int or None
        The output that has to stay above 0, such as a scale; None if there is none.
    curvature_rate : float or None
        The smallest rate with ``|h'| <= rate h`` for the curvature h along any line of raw
        predictions with unit speed. Over a step d the curvature changes at most by the
        factor ``exp(rate |d|)``. 0 if the curvature is constant; None if no such rate
        exists, for example because of kinks.
    description : str
        Name of the loss in error messages.
    why_flat : str
        Why no row has a curvature, and a remedy, for error messages.
    if_lost : str
        What helps if no optimum is found, for messages.
    lower : float
        The loss is infinite for raw predictions at or below this value.
    """

    coupled: ClassVar[bool] = False
    shift_invariant: ClassVar[bool] = False
    constant_curvature: ClassVar[bool] = False
    has_kinks: ClassVar[bool] = False
    is_piecewise_linear: ClassVar[bool] = False
    has_dispersion: ClassVar[bool] = False
    convex: ClassVar[bool] = True
    positive_output: ClassVar[int | None] = None
    curvature_rate: ClassVar[float | None] = None
    why_flat: ClassVar[str] = "every prediction is saturated. Strengthen the penalty."
    if_lost: ClassVar[str] = "A stronger penalty or centred features help."
    lower: ClassVar[float] = -np.inf

    @property
    def description(self):
        return type(self).__name__

    @abstractmethod
    def loss(self, target, raw_prediction):
        """Return the loss of each row summed over the outputs, shape (n, ...)."""

    @abstractmethod
    def gradient(self, target, raw_prediction):
        """Return the gradient in the raw prediction, shape (n, ..., K)."""

    @abstractmethod
    def curvature(self, target, raw_prediction):
        """Return the second derivative, shape (n, K), or (n, K, K) if coupled."""

    def falls_forever(self, target, n_outputs):
        """Return the sign of the raw predictions along which each loss never rises, (n, K).

        As a raw prediction tends to sign * inf, the loss falls without reaching a minimum. The
        sign is 0 if the loss rises in both directions in the end. It is NaN if the output's
        problem does not include the row. For a coupled loss the signs describe
        the difference between an output with sign 1 and one with sign -1. The result is None
        if no row has such a direction; then every objective with this loss has a minimum.
        """
        return None

    def shortest_step(self):
        """Return the least absolute gradient / curvature in a direction of `falls_forever`.

        If the objective has no minimum, no Newton step moves a raw prediction by less.
        """
        return 1.0

    def curvature_factor(self, target, raw_prediction):
        """Return r (n, K) with W_kl = -r_k r_l off the diagonal, if `shift_invariant`."""
        raise NotImplementedError

    def curvature_product(self, target, raw_prediction, direction):
        """Return the curvature times directions (n, ..., K) in the raw prediction."""
        curvature = self.curvature(target, raw_prediction)
        return align(curvature, direction) * direction

    def curvature_diagonal(self, target, raw_prediction):
        """Return the diagonal of the curvature, shape (n, K)."""
        return self.curvature(target, raw_prediction)

    def higher_derivatives(self, target, raw_prediction):
        """Return the third and fourth derivatives, (n, K) each, None if they are not known."""
        return None

    def kink_distance(self, target, raw_prediction):
        """Return how far each raw prediction may move before its curvature changes, (n, K).

        If the loss is coupled, this is the distance to the next kink over all outputs, (n, 1),
        and the curvature may change before. 0 is always right, but then removals look at all
        rows.
        """
        return np.zeros((len(raw_prediction), 1))

    def chi_square(self, target, raw_prediction):
        """Return Pearson's chi-square g'W^- g for each row and output, shape (n, K).

        This is the squared Pearson residual. If the loss is coupled, only its sum over the
        outputs has a meaning. Tweedie deviances, whose W depends on a real target, use the
        expectation of W at the prediction.
        """
        gradient = self.gradient(target, raw_prediction)
        return ratio(gradient**2, self.curvature_diagonal(target, raw_prediction))

    def remainder(self, target, raw_prediction, delta):
        """Return the change in the gradient beyond first order.

        gradient(eta + delta) - gradient(eta) - curvature(eta) delta for steps delta
        (n, ..., K) in the raw prediction. Losses with a cheap series return the remainder in
        the dtype of delta. It has that precision relative to its own small size, because
        no terms cancel.
        """
        delta = delta.astype(np.float64)
        moved = self.gradient(target, align(raw_prediction, delta) + delta)
        moved -= align(self.gradient(target, raw_prediction), delta)
        return moved - self.curvature_product(target, raw_prediction, delta)

    def response(self, raw_prediction):
        """Return the predicted mean, (n, ..., K), or class probabilities."""
        return raw_prediction

    def response_jacobian(self, raw_prediction):
        """Return d response / d raw_prediction, (n, R, K), or None for the identity."""
        return None


class LabelLoss(Loss):
    """Base class for label losses whose raw predictions define probabilities.

    A single output gives the probability of the positive class. With several outputs, each
    for one class against the rest, the probabilities are divided by their sum. If all are 0,
    every class gets the same probability.
    """

    @abstractmethod
    def probability(self, raw_prediction):
        """Return the probability of the positive class for each output, (n, ..., K)."""

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
        # d (p_r / t) / d eta_k = (1[r = k] - p_r / t) slope_k / t with the total t.
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
    """A convex, piecewise linear loss, whose kinks fix some raw predictions.

    The gradient is the slope of the piece on which a row lies; on a kink it is the smaller
    slope of the two adjacent pieces in absolute value. The curvature is zero almost
    everywhere, so derivatives of an optimum come from its active set, see `active_set.py`.
    """

    is_piecewise_linear = True
    why_flat = "Weaken the penalty, as by a larger C."
    if_lost = "With method='exact' scikit-learn refits them."

    @abstractmethod
    def kinks(self, target):
        """Return the positions of the m kinks and the slopes of the m + 1 pieces.

        Returns
        -------
        positions : ndarray of shape (n, K, m)
            Raw predictions at which the slope changes, ascending.
        slopes : ndarray of shape (n, K, m + 1)
            Slopes from left to right, ascending.
        """

    def curvature(self, target, raw_prediction):
        return np.zeros(raw_prediction.shape)
