"""Losses: gradient and curvature are derivatives, and no raw prediction overflows."""

import numpy as np
import pytest

from skinfluence.losses import LOSSES, LogisticLoss, PoissonLoss, SoftmaxLoss, SquaredLoss

each_loss = pytest.mark.parametrize("loss_class", LOSSES)


def example(loss_class, n=6, seed=0):
    rng = np.random.default_rng(seed)
    single = loss_class in (LogisticLoss, PoissonLoss)
    raw = 2 * rng.standard_normal((n, 1 if single else 4))
    if loss_class is PoissonLoss:
        return rng.poisson(2.0, raw.shape).astype(float), raw
    if loss_class is SquaredLoss:
        return rng.standard_normal(raw.shape), raw
    if loss_class is SoftmaxLoss:
        return rng.integers(0, 4, n), raw
    return rng.choice([-1.0, 1.0], size=raw.shape), raw


def difference(function, raw, k, step=1e-6):
    shift = step * np.eye(raw.shape[1])[k]
    return (function(raw + shift) - function(raw - shift)) / (2 * step)


@each_loss
def test_gradient_is_the_derivative_of_the_loss(loss_class):
    loss = loss_class()
    target, raw = example(loss_class)
    for k in range(raw.shape[1]):
        expected = difference(lambda r: loss.loss(target, r), raw, k)
        np.testing.assert_allclose(
            loss.gradient(target, raw)[:, k], expected, rtol=1e-7, atol=1e-8
        )


@each_loss
def test_curvature_is_the_derivative_of_the_gradient(loss_class):
    loss = loss_class()
    target, raw = example(loss_class)
    curvature = loss.curvature(target, raw)
    assert (curvature.ndim == 3) == loss.coupled
    if curvature.ndim == 2:
        curvature = curvature[:, :, None] * np.eye(raw.shape[1])
    for k in range(raw.shape[1]):
        expected = difference(lambda r: loss.gradient(target, r), raw, k)
        np.testing.assert_allclose(curvature[:, k], expected, rtol=1e-7, atol=1e-8)


@each_loss
def test_short_cuts_of_the_curvature_agree_with_it(loss_class):
    loss = loss_class()
    target, raw = example(loss_class)
    curvature = loss.curvature(target, raw)
    if curvature.ndim == 2:
        curvature = curvature[:, :, None] * np.eye(raw.shape[1])
    diagonal = np.einsum("nkk->nk", curvature)
    np.testing.assert_allclose(loss.curvature_diagonal(target, raw), diagonal, rtol=1e-14)
    directions = np.random.default_rng(1).standard_normal((len(raw), 3, raw.shape[1]))
    np.testing.assert_allclose(
        loss.curvature_product(target, raw, directions),
        np.einsum("nkl,nml->nmk", curvature, directions),
        rtol=1e-13,
        atol=1e-15,
    )


@each_loss
def test_raw_predictions_of_many_models_at_once(loss_class):
    loss = loss_class()
    target, raw = example(loss_class)
    many = np.stack([raw, raw + 0.5, -raw], axis=1)
    for name in ("loss", "gradient"):
        found = getattr(loss, name)(target, many)
        for m in range(3):
            expected = getattr(loss, name)(target, many[:, m])
            np.testing.assert_allclose(found[:, m], expected, rtol=1e-14)
    np.testing.assert_allclose(loss.response(many)[:, 1], loss.response(many[:, 1]))


@pytest.mark.parametrize("loss_class", [LogisticLoss, SoftmaxLoss])
def test_probability_jacobian_is_the_derivative_of_the_probabilities(loss_class):
    loss = loss_class()
    _, raw = example(loss_class)

    def probabilities(raw):
        if loss_class is LogisticLoss:
            raw = np.column_stack([np.zeros(len(raw)), raw])
        exponential = np.exp(raw)
        return exponential / exponential.sum(axis=1, keepdims=True)

    for k in range(raw.shape[1]):
        np.testing.assert_allclose(
            loss.probability_jacobian(raw)[:, :, k],
            difference(probabilities, raw, k),
            rtol=1e-7,
            atol=1e-9,
        )


@pytest.mark.parametrize("loss_class", [l for l in LOSSES if l is not PoissonLoss])
@pytest.mark.parametrize("size", [1e3, 1e10, 1e100])
def test_huge_raw_predictions_neither_overflow_nor_become_nan(loss_class, size):
    loss = loss_class()
    target, raw = example(loss_class)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        for function in (loss.loss, loss.gradient, loss.curvature):
            assert np.all(np.isfinite(function(target, size * np.sign(raw))))


def test_the_small_tail_of_the_log_loss_is_kept():
    loss, target = LogisticLoss(), np.array([[1.0]])
    raw = np.array([[40.0]])
    np.testing.assert_allclose(loss.loss(target, raw), np.exp(-40.0))
    np.testing.assert_allclose(loss.gradient(target, raw), -np.exp([[-40.0]]))
    np.testing.assert_allclose(loss.curvature(target, raw), np.exp([[-40.0]]))


def test_the_softmax_gradient_sums_to_zero_and_keeps_the_small_tail():
    raw = np.array([[50.0, 0.0, 1.0]])
    gradient = SoftmaxLoss().gradient(np.array([0]), raw)
    assert gradient.sum() == 0.0
    np.testing.assert_allclose(gradient[0, 0], -(np.exp(-50.0) + np.exp(-49.0)))


def test_softmax_of_two_outputs_is_logistic():
    rng = np.random.default_rng(0)
    raw, target = rng.standard_normal((5, 2)), rng.integers(0, 2, 5)
    signed = (2.0 * target - 1.0)[:, None]
    np.testing.assert_allclose(
        SoftmaxLoss().loss(target, raw),
        LogisticLoss().loss(signed, raw[:, [1]] - raw[:, [0]]),
    )


def test_the_poisson_loss_is_half_the_deviance():
    from sklearn.metrics import mean_poisson_deviance

    target, raw = example(PoissonLoss)
    np.testing.assert_allclose(
        2 * PoissonLoss().loss(target, raw).mean(),
        mean_poisson_deviance(target[:, 0], np.exp(raw[:, 0])),
    )
