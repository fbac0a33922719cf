"""Losses: gradient and curvature are derivatives, and no raw prediction overflows."""

import numpy as np
import pytest

from skinfluence.losses import (
    LOSSES,
    HalfHuberLoss,
    HingeLoss,
    HuberLoss,
    LogisticLoss,
    ModifiedHuberLoss,
    PoissonLoss,
    SmoothHingeLoss,
    SoftmaxLoss,
    SquaredEpsilonInsensitiveLoss,
    SquaredHingeLoss,
    SquaredLoss,
    TweedieIdentityLoss,
    TweedieLoss,
)


def name(loss):
    return repr(loss) if vars(loss) else type(loss).__name__


each_loss = pytest.mark.parametrize("loss", LOSSES, ids=name)
SMOOTH_HINGES = [l for l in LOSSES if isinstance(l, SmoothHingeLoss)]
# At a width of 1e-6 a raw prediction near 1 has too few digits for differences.
WIDE = [l for l in LOSSES if l not in SMOOTH_HINGES or l.temperature >= 1e-3]
each_wide_loss = pytest.mark.parametrize("loss", WIDE, ids=name)


DEVIANCES = PoissonLoss | TweedieLoss | TweedieIdentityLoss


def example(loss, n=6, seed=0):
    rng = np.random.default_rng(seed)
    single = isinstance(loss, LogisticLoss | DEVIANCES)
    raw = 2 * rng.standard_normal((n, 1 if single else 4))
    if isinstance(loss, HuberLoss):
        return rng.standard_normal((n, 1)), np.column_stack([raw[:, 0], np.exp(raw[:, 1] / 2)])
    if isinstance(loss, TweedieIdentityLoss):
        raw = np.exp(raw / 2)
    if isinstance(loss, DEVIANCES):
        positive = getattr(loss, "power", 1) >= 2
        return rng.poisson(2.0, raw.shape) + 0.5 * positive, raw
    if isinstance(loss, SquaredLoss | HalfHuberLoss | SquaredEpsilonInsensitiveLoss):
        return rng.standard_normal(raw.shape), raw
    if isinstance(loss, SoftmaxLoss):
        return rng.integers(0, 4, n), raw
    target = rng.choice([-1.0, 1.0], size=raw.shape)
    if isinstance(loss, SmoothHingeLoss):
        # Within some widths of the kink, where there is something to see.
        raw = target * (1 + loss.temperature * raw)
    return target, raw


@pytest.mark.parametrize("loss", [l for l in LOSSES if l.has_kinks], ids=name)
def test_shorter_moves_than_the_distance_cross_no_kink(loss):
    target, raw = example(loss, 200)
    distance = loss.kink_distance(target, raw)
    move = np.random.default_rng(1).standard_normal(raw.shape)
    move /= np.linalg.norm(move, axis=1, keepdims=True) if loss.coupled else np.abs(move)

    def is_curved(share):
        after = raw + share * distance * move
        curved = loss.curvature_diagonal(target, after)[:, : distance.shape[1]] > 0
        return curved, after[:, -1] > 0 if loss.coupled else np.ones(len(raw), dtype=bool)

    before, _ = is_curved(0.0)
    inside, possible = is_curved(1 - 1e-9)
    np.testing.assert_array_equal(inside[possible], before[possible])
    assert distance.shape == (200, 1 if loss.coupled else raw.shape[1])
    if not loss.coupled:  # one of both sides has the kink
        beyond = [is_curved(share)[0] != before for share in (1 + 1e-9, -1 - 1e-9)]
        assert np.logical_or(*beyond).all() or loss.epsilon == 0


def difference(function, raw, k, step=1e-7):
    shift = step * np.eye(raw.shape[1])[k]
    return (function(raw + shift) - function(raw - shift)) / (2 * step)


@each_wide_loss
def test_gradient_is_the_derivative_of_the_loss(loss):
    target, raw = example(loss)
    for k in range(raw.shape[1]):
        expected = difference(lambda r: loss.loss(target, r), raw, k)
        np.testing.assert_allclose(
            loss.gradient(target, raw)[:, k], expected, rtol=1e-7, atol=1e-7
        )


@each_wide_loss
def test_curvature_is_the_derivative_of_the_gradient(loss):
    target, raw = example(loss)
    curvature = loss.curvature(target, raw)
    assert (curvature.ndim == 3) == loss.coupled
    if curvature.ndim == 2:
        curvature = curvature[:, :, None] * np.eye(raw.shape[1])
    rounding = 1e-7 * max(1.0, np.abs(curvature).max())
    for k in range(raw.shape[1]):
        expected = difference(lambda r: loss.gradient(target, r), raw, k)
        np.testing.assert_allclose(curvature[:, k], expected, rtol=1e-7, atol=rounding)


@each_loss
def test_short_cuts_of_the_curvature_agree_with_it(loss):
    target, raw = example(loss)
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
def test_raw_predictions_of_many_models_at_once(loss):
    target, raw = example(loss)
    many = np.stack([raw, raw + 0.5, -raw], axis=1)
    for name in ("loss", "gradient"):
        found = getattr(loss, name)(target, many)
        for m in range(3):
            expected = getattr(loss, name)(target, many[:, m])
            np.testing.assert_allclose(found[:, m], expected, rtol=1e-14)
    np.testing.assert_allclose(loss.response(many)[:, 1], loss.response(many[:, 1]))


@pytest.mark.parametrize("n_outputs", [1, 4])
@pytest.mark.parametrize(
    "loss", [LogisticLoss(), SoftmaxLoss(), ModifiedHuberLoss()], ids=name
)
def test_response_jacobian_is_the_derivative_of_the_probabilities(loss, n_outputs):
    raw = np.random.default_rng(0).standard_normal((6, n_outputs))
    probabilities = loss.response(raw)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)
    for k in range(n_outputs):
        np.testing.assert_allclose(
            loss.response_jacobian(raw)[:, :, k],
            difference(loss.response, raw, k),
            rtol=1e-7,
            atol=1e-8,
        )


BOUNDED = [l for l in LOSSES if not isinstance(l, DEVIANCES)]


@pytest.mark.parametrize("loss", BOUNDED, ids=name)
@pytest.mark.parametrize("size", [1e3, 1e10, 1e100])
def test_huge_raw_predictions_neither_overflow_nor_become_nan(loss, size):
    target, raw = example(loss)
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


def test_the_softmax_loss_and_curvature_keep_the_small_tail():
    raw, target = np.array([[45.0, 0.0, -1.0]]), np.array([0])
    tail = np.exp(-45.0) + np.exp(-46.0)
    np.testing.assert_allclose(SoftmaxLoss().loss(target, raw), tail)
    curvature = SoftmaxLoss().curvature(target, raw)[0]
    np.testing.assert_allclose(curvature[0, 0], tail)
    np.testing.assert_allclose(curvature.sum(axis=1), 0.0, atol=1e-12 * tail)
    direction = np.array([[1.0, 0.0, 0.0]])
    product = SoftmaxLoss().curvature_product(target, raw, direction)
    np.testing.assert_allclose(product[0], curvature[:, 0], rtol=1e-12)


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

    target, raw = example(PoissonLoss())
    np.testing.assert_allclose(
        2 * PoissonLoss().loss(target, raw).mean(),
        mean_poisson_deviance(target[:, 0], np.exp(raw[:, 0])),
    )


@pytest.mark.parametrize(
    "loss", [l for l in LOSSES if isinstance(l, TweedieLoss | TweedieIdentityLoss)], ids=name
)
def test_the_tweedie_losses_are_half_the_deviance(loss):
    from sklearn.metrics import mean_tweedie_deviance

    target, raw = example(loss)
    if loss.power < 0:
        target = target - 3  # of either sign
    np.testing.assert_allclose(
        2 * loss.loss(target, raw).mean(),
        mean_tweedie_deviance(
            target[:, 0],
            raw[:, 0] if isinstance(loss, TweedieIdentityLoss) else np.exp(raw[:, 0]),
            power=loss.power,
        ),
    )


def test_tweedie_at_power_one_is_poisson():
    target, raw = example(PoissonLoss())
    for function in ("loss", "gradient", "curvature"):
        np.testing.assert_allclose(
            getattr(TweedieLoss(1), function)(target, raw),
            getattr(PoissonLoss(), function)(target, raw),
            rtol=1e-13,
        )


@each_loss
def test_convex_losses_have_no_negative_curvature_and_others_have(loss):
    target, raw = example(loss, n=500)
    raw = raw if isinstance(loss, TweedieIdentityLoss | HuberLoss) else 2 * raw
    curvature = loss.curvature(target, raw)
    if not loss.coupled:
        assert (curvature.min() >= 0) == loss.convex
        return
    values = np.linalg.eigvalsh(curvature)
    assert (values[:, 0] >= -1e-14 * values[:, -1]).all() == loss.convex


@pytest.mark.parametrize("power", [-1, 1, 1.5, 2, 3])
def test_identity_links_are_infinite_where_the_mean_is_not_positive(power):
    raw, target = np.array([[-1.0], [0.0], [1.0]]), np.full((3, 1), 2.0)
    value = TweedieIdentityLoss(power).loss(target, raw)
    assert not np.isfinite(value[:2]).any()
    assert np.isfinite(value[2])


@pytest.mark.parametrize("loss", SMOOTH_HINGES, ids=name)
def test_the_temperature_is_a_scale(loss):
    # With u = (1 - y eta)/t: l = t l_1(u), l' = l_1'(u), l'' = l_1''(u)/t.
    t, one = loss.temperature, SmoothHingeLoss(1.0)
    target = np.array([[1.0], [-1.0], [1.0], [-1.0], [1.0], [1.0]])
    u = np.array([[0.0], [3.0], [-3.0], [-30.0], [-600.0], [700.0]])
    raw, scaled = target * (1 - t * u), target * (1 - u)
    # u is known to eps/t, and the tail to |u| times that.
    accuracy = {"rtol": 1e-13 + 1e-15 / t, "atol": 0}
    np.testing.assert_allclose(
        loss.loss(target, raw), t * one.loss(target, scaled), **accuracy
    )
    np.testing.assert_allclose(
        loss.gradient(target, raw), one.gradient(target, scaled), **accuracy
    )
    np.testing.assert_allclose(
        loss.curvature(target, raw), one.curvature(target, scaled) / t, **accuracy
    )
    slope = (SmoothHingeLoss(1 + 1e-6), SmoothHingeLoss(1 - 1e-6))
    slope = (slope[0].gradient(target, scaled) - slope[1].gradient(target, scaled)) / 2e-6
    found = loss.temperature_slope(target, raw)[:4]
    np.testing.assert_allclose(found, slope[:4] / t, rtol=1e-8 + 1e-15 / t, atol=1e-9 / t)


@pytest.mark.parametrize("loss", SMOOTH_HINGES, ids=name)
def test_the_smooth_hinge_is_above_the_hinge_and_tends_to_it(loss):
    t = loss.temperature
    target, raw = np.ones((201, 1)), np.linspace(-4, 6, 201)[:, None]
    excess = loss.loss(target, raw) - HingeLoss().loss(target, raw)
    assert np.all(excess >= 0)
    np.testing.assert_allclose(excess.max(), t * np.log(2), rtol=1e-9)
    far = np.abs(1 - raw) > 40 * t
    np.testing.assert_allclose(
        loss.gradient(target, raw)[far], HingeLoss().gradient(target, raw)[far], atol=1e-15
    )


def test_the_small_tail_of_the_smooth_hinge_is_kept():
    loss, target, raw = SmoothHingeLoss(0.1), np.array([[-1.0]]), np.array([[-5.0]])
    np.testing.assert_allclose(loss.loss(target, raw), 0.1 * np.exp(-40.0))
    np.testing.assert_allclose(loss.gradient(target, raw), np.exp([[-40.0]]))
    np.testing.assert_allclose(loss.curvature(target, raw), 10 * np.exp([[-40.0]]))


@pytest.mark.parametrize("loss", SMOOTH_HINGES, ids=name)
@pytest.mark.parametrize("raw", [1e-300, 1.0, 1e5, 1e300, np.finfo(float).max])
def test_no_raw_prediction_is_too_large_for_the_smooth_hinge(loss, raw):
    target, raw = np.array([[1.0], [-1.0]]), np.array([[raw], [raw]])
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        value, gradient = loss.loss(target, raw), loss.gradient(target, raw)
        curvature, slope = loss.curvature(target, raw), loss.temperature_slope(target, raw)
    for found in (value, gradient, curvature, slope):
        assert np.all(np.isfinite(found))
    assert value[1] >= 1 + raw[1, 0]


def test_the_huber_losses_are_those_of_their_definition():
    target, raw = np.ones((3, 1)), np.array([[1.5], [0.25], [-2.0]])
    np.testing.assert_allclose(ModifiedHuberLoss().loss(target, raw), [0, 0.75**2, 8])
    target = np.zeros((3, 1))
    expected = [0.5**2 / 2, 0.25**2 / 2, 0.5 * 2 - 0.5**2 / 2]
    raw = np.array([[0.5], [0.25], [-2.0]])
    np.testing.assert_allclose(HalfHuberLoss(0.5).loss(target, raw), expected)


def test_the_squared_losses_are_those_of_their_definition():
    target, raw = np.array([[1.0, -1.0]]), np.array([[0.25, -2.0]])
    np.testing.assert_allclose(SquaredHingeLoss().loss(target, raw), 0.75**2)
    target, raw = np.array([[3.0, -1.0]]), np.array([[2.0, -1.2]])
    loss = SquaredEpsilonInsensitiveLoss(0.3)
    np.testing.assert_allclose(loss.loss(target, raw), 0.7**2)
    np.testing.assert_allclose(loss.gradient(target, raw), [[-1.4, 0.0]])
    np.testing.assert_allclose(
        SquaredEpsilonInsensitiveLoss().loss(target, raw), SquaredLoss().loss(target, raw)
    )
