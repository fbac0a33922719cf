"""Pointwise losses as functions of the raw prediction.

A loss does not depend on features, weights or penalties. For n rows and K outputs it maps

    target          encoded by `targets.py`, first axis n
    raw_prediction  eta = X coef' + intercept, shape (n, K), float64

to

    loss        l(y, eta)                      (n,)  summed over the outputs
    gradient    dl / d eta                     (n, K)
    curvature   d2l / d eta2                   (n, K), or (n, K, K) if `coupled`
    response    prediction returned by `predict` or `predict_proba`

The normalisation is the one that scikit-learn documents for the estimator (squared error
without 1/2). `loss`, `gradient` and `response` also take raw predictions (n, ..., K) from
many models at once and keep the axes in between.

If a loss is not `coupled`, its outputs do not interact: the Hessian is block diagonal over
the outputs, and `curvature` returns only the diagonal.

The formulas neither overflow nor lose small tails: at a margin of 800 the log loss is
exp(-800), not 0 or nan.
"""

from skinfluence.losses.base import Loss, PiecewiseLinearLoss
from skinfluence.losses.classification import LogisticLoss, SoftmaxLoss
from skinfluence.losses.deviances import PoissonLoss, TweedieIdentityLoss, TweedieLoss
from skinfluence.losses.hinges import (
    HingeLoss,
    ModifiedHuberLoss,
    SmoothHingeLoss,
    SquaredHingeLoss,
)
from skinfluence.losses.regression import (
    EpsilonInsensitiveLoss,
    HalfHuberLoss,
    HalfSquaredLoss,
    HuberLoss,
    SquaredEpsilonInsensitiveLoss,
    SquaredLoss,
)

__all__ = [
    "LOSSES",
    "EpsilonInsensitiveLoss",
    "HalfHuberLoss",
    "HalfSquaredLoss",
    "HingeLoss",
    "HuberLoss",
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

#: An instance of every loss; the tests run over this list.
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
