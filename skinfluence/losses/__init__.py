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
