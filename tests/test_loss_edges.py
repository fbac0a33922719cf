"""Losses where they bend, where they end, and where numbers overflow."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skinfluence.losses import (
    EpsilonInsensitiveLoss,
    HalfHuberLoss,
    HingeLoss,
    HuberLoss,
    ModifiedHuberLoss,
    SmoothHingeLoss,
    SquaredEpsilonInsensitiveLoss,
    SquaredHingeLoss,
    TweedieIdentityLoss,
    TweedieLoss,
)

ONE = np.ones((1, 1))


def at(*values):
    return np.array(values, dtype=float)[:, None]


@pytest.mark.parametrize(
    ("loss", "targets", "raw", "gradient", "curvature"),
    [
        (HingeLoss(), 1, 1.0, 0.0, None),
        (EpsilonInsensitiveLoss(0.5), 0, 0.5, 0.0, None),
        (SquaredHingeLoss(), 1, 1.0, 0.0, 0.0),
        (ModifiedHuberLoss(), 1, 1.0, 0.0, 0.0),
        (ModifiedHuberLoss(), 1, -1.0, -4.0, 2.0),
        (HalfHuberLoss(0.5), 0, 0.5, 0.5, 1.0),
        (SquaredEpsilonInsensitiveLoss(0.5), 0, 0.5, 0.0, 2.0),
        (SquaredEpsilonInsensitiveLoss(0.0), 0, 0.0, 0.0, 2.0),
    ],
)
def test_which_side_a_kink_belongs_to(loss, targets, raw, gradient, curvature):
    """Of the derivatives at a kink the ones documented are taken."""
    y, eta = at(targets), at(raw)
    assert loss.gradient(y, eta).item() == gradient
    if curvature is not None:
        assert loss.curvature(y, eta).item() == curvature


@pytest.mark.parametrize(
    "loss",
    [HingeLoss(), SmoothHingeLoss(0.1), SquaredHingeLoss()],
    ids=lambda loss: type(loss).__name__,
)
def test_a_row_that_a_problem_leaves_out_has_no_part_in_it(loss):
    y = np.array([[1.0, 0.0, -1.0]])
    eta = np.array([[0.4, 3.0, 0.7]])
    alone = sum(loss.loss(y[:, [k]], eta[:, [k]]) for k in (0, 2))
    np.testing.assert_allclose(loss.loss(y, eta), alone, rtol=1e-15)
    for values in (loss.gradient(y, eta), loss.curvature(y, eta)):
        assert values[0, 1] == 0.0
    if not loss.is_piecewise_linear:
        assert (loss.curvature(y, eta)[0, [0, 2]] > 0).all()
    assert (loss.gradient(y, eta)[0, [0, 2]] != 0).all()


def test_huber_on_both_sides_of_the_bend_and_beyond_the_scale():
    loss, sigma = HuberLoss(1.5), 0.8
    residual = np.array([-4.0, -1.3, -1.2, -0.3, 0.0, 0.5, 1.2, 1.3, 4.0])
    raw = np.column_stack([2.0 - residual, np.full(9, sigma)])
    y = np.full((9, 1), 2.0)
    size = np.abs(residual) / sigma
    bent = np.where(size <= 1.5, size**2, 2 * 1.5 * size - 1.5**2)
    np.testing.assert_allclose(loss.loss(y, raw), sigma + bent * sigma, rtol=1e-15)
    step = 1e-6
    for k in range(2):
        move = step * np.eye(2)[k]
        slope = (loss.loss(y, raw + move) - loss.loss(y, raw - move)) / (2 * step)
        np.testing.assert_allclose(loss.gradient(y, raw)[:, k], slope, rtol=1e-5, atol=1e-8)
    assert loss.response(raw).shape == (9, 1)
    np.testing.assert_array_equal(loss.response(raw)[:, 0], raw[:, 0])
    border = np.array([[2.0 - 1.5 * 0.5, 0.5]])
    assert loss.curvature(y[:1], border)[0, 0, 0] == 2 / 0.5
    for scale in (0.0, -1.0):
        nowhere = np.array([[2.5, scale]])
        assert loss.loss(y[:1], nowhere) == np.inf
        assert np.isnan(loss.gradient(y[:1], nowhere)).all()


def test_probabilities_of_modified_huber():
    loss = ModifiedHuberLoss()
    probability = loss.response(at(-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0))
    expected = [0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    np.testing.assert_array_equal(probability, np.column_stack([1 - at(*expected), expected]))


def test_classes_that_all_lack_probability_share_it():
    """As scikit-learn has it, which divides by the number of classes; nothing moves there."""
    raw = np.array([[-2.0, -3.0, -1.5], [0.0, -2.0, 0.5]])
    loss = ModifiedHuberLoss()
    with np.errstate(all="raise"):
        probability, jacobian = loss.response(raw), loss.response_jacobian(raw)
    np.testing.assert_allclose(probability, [[1 / 3] * 3, [0.4, 0.0, 0.6]], rtol=1e-15)
    assert not jacobian[0].any()
    assert jacobian[1, 0, 0] != 0


FAR = at(-1e300, -800.0, -1.0, 0.0, 1.0, 800.0, 1e300)


@pytest.mark.parametrize(
    ("loss", "raw", "target"),
    [
        *((TweedieLoss(power), FAR, 2.0) for power in (1, 1.5, 2, 3)),
        *((TweedieIdentityLoss(power), FAR, 2.0) for power in (1, 1.5, 2, 3)),
        (HuberLoss(), np.column_stack([FAR[1:-1], np.zeros(5)]), 1.0),
        *((SmoothHingeLoss(t), FAR, -1.0) for t in (1.0, 1e-6)),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_overflow_is_not_the_callers_to_hear_of(loss, raw, target):
    """A line search tries steps that are far too long; inf and NaN say so, not a warning."""
    y = np.full((len(raw), 1), target)
    with np.errstate(divide="raise", over="raise", invalid="raise"):
        loss.loss(y, raw)
        loss.gradient(y, raw)
        if not loss.coupled:
            loss.curvature(y, raw)


def test_an_identity_link_has_no_mean_that_is_not_positive():
    loss = TweedieIdentityLoss(1.5)
    for mean in (0.0, -1.0):
        assert not loss.loss(ONE, at(mean)) < np.inf
        assert not np.isfinite(loss.gradient(ONE, at(mean))).any()


def test_normal_deviance_of_negative_targets():
    y, raw = at(-3.0, -0.5, 2.0), at(0.1, 0.2, 0.3)
    expected = (y - np.exp(raw))[:, 0] ** 2 / 2
    np.testing.assert_allclose(TweedieLoss(0).loss(y, raw), expected, rtol=1e-14)


def test_the_slope_in_the_temperature_ends_at_zero():
    """Far from the kink it has underflown, and the product of 0 and inf is not taken."""
    loss = SmoothHingeLoss(1e-3)
    slope = loss.temperature_slope(np.ones((4, 1)), at(-1e300, -5.0, 7.0, 1e300))
    np.testing.assert_array_equal(slope, np.zeros((4, 1)))


@pytest.mark.parametrize(
    ("power", "mean", "target"),
    [(3, 1e-200, 1.0), (3, 1e-75, 1e20), (2, 1e-160, 0.5e-160)],
    ids=["power", "product", "infinity times zero"],
)
def test_curvature_beyond_all_numbers_is_silent(power, mean, target):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = TweedieIdentityLoss(power).curvature(at(target), at(mean))
    assert not np.isfinite(found).any()


def test_classes_that_are_all_out_of_the_question_share_alike():
    """As `predict_proba` of SGDClassifier(loss="modified_huber") does, whatever the axes."""
    raw = np.array(
        [[[-2.0, -3.0, -1.0], [1.0, -2.0, 1.0]], [[-1.0, -1.0, -9.0], [0.0, 0.0, 0.0]]]
    )
    found = ModifiedHuberLoss().response(raw)
    assert_allclose(found[:, 0], 1 / 3)
    assert_allclose(found[:, 1], [[0.5, 0.0, 0.5], [1 / 3, 1 / 3, 1 / 3]])
