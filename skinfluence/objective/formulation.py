"""The objective without its data."""

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from skinfluence.gradients import ClassShift, GradientRows
from skinfluence.l1_support import L1Support
from skinfluence.layout import ParameterLayout
from skinfluence.losses import Loss


@dataclass(frozen=True, eq=False)
class Formulation:
    """The objective without its data, as minimised by `fit`.

    Parameters
    ----------
    loss : Loss
        Loss as a function of the raw prediction.
    target : object
        Encoder for `y`, from `targets.py`.
    layout : ParameterLayout
        Shapes of the parameters.
    penalty : ndarray of shape (K, D)
        Diagonal of the penalty Hessian Lam that does not depend on the weights.
    penalty_share : ndarray of shape (K, D) or None, default=None
        Diagonal of the penalty Hessian per unit of sample weight (mean form).
    class_weight : ndarray of shape (n_classes, 1) or (n_classes, K) or None, default=None
        Class weights of the training rows.
    balanced_by : {"weight", "count"} or None, default=None
        If the class weights are "balanced", whether they depend on the sample weights in each
        class or on the number of samples.
    loss_scale : float, default=1.0
        Factor on every row's loss, such as C in a support vector machine.
    minimum_norm : float or None, default=None
        Set if the coefficients have least norm among many minima. `_compat.rank_cutoff` turns
        it into a tolerance: feature directions with a singular value up to this tolerance
        times the largest are treated as null directions.
    l1_support : L1Support or None, default=None
        Parameters that an l1 penalty leaves free. The others stay at 0.
    """

    loss: Loss
    target: Any
    layout: ParameterLayout
    penalty: np.ndarray
    penalty_share: np.ndarray | None = None
    class_weight: np.ndarray | None = None
    balanced_by: str | None = None
    loss_scale: float = 1.0
    minimum_norm: float | None = None
    l1_support: L1Support | None = None

    def __getstate__(self):
        # Cached values follow from the fields, so pickles leave them out.
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def support(self):
        """The `L1Support`, which leaves all parameters free if there is none."""
        return L1Support.of(self.l1_support, self.penalty.shape)

    @cached_property
    def support_may_change(self):
        """Whether parameters at 0 may become free: under an l1 penalty or at a bound.

        For a model with a scale the fixed entries are not parameters, so they stay at 0.
        """
        if self.l1_support is None or self.layout.n_predictions < self.layout.n_outputs:
            return False
        return bool(self.l1_support.penalised.any())

    @property
    def is_smooth(self):
        """Whether the loss has a curvature and no parameter is held at 0."""
        return not self.loss.is_piecewise_linear and self.l1_support is None

    def loss_weight(self, target):
        """Return c_i for encoded rows, shape (n, 1) or (n, K), or None for ones."""
        if self.class_weight is not None:
            weight = np.asarray(self.class_weight, like=target)
            return self.loss_scale * weight[self.target.class_codes(target)]
        if self.loss_scale != 1.0:
            return np.full((len(target), 1), self.loss_scale, like=target)
        return None

    def frozen_class_weight(self):
        """Return the class weights as the equivalent dict parameter, or None.

        If each output has its own weights, output k holds the weight for class k.
        """
        if self.class_weight is None:
            return None
        weights = self.class_weight
        weights = weights.diagonal() if weights.shape[1] > 1 else weights[:, 0]
        return dict(zip(self.target.classes.tolist(), weights.tolist(), strict=True))

    def query_gradients(self, design, target, theta):
        """Return gradients of the unweighted loss l(q), as `GradientRows`."""
        return GradientRows(design, self.loss.gradient(target, design.predict(theta)))

    def weight_gradients(self, design, target, theta, class_effects=None):
        """Return gradients of L(z), a row's contribution to F per unit of sample weight.

        L = c l, plus the row's share of the penalty in mean form. With `class_effects`, see
        `Point`, it includes the part through "balanced" class weights.
        """
        gradient = self.loss.gradient(target, design.predict(theta))
        c = self.loss_weight(target)
        if c is not None:
            gradient = c * gradient
        row_shifts = ()
        if class_effects is not None:
            row_shifts = (ClassShift(class_effects, self.target.class_codes(target)),)
        return GradientRows(
            design, gradient, self.share_gradient(theta), row_shifts=row_shifts
        )

    def weight_curvature(self, target, raw_prediction):
        """Return the curvature of L(z) in the raw prediction, (n, K) or (n, K, K).

        It does not include the penalty share.
        """
        curvature, c = self.loss.curvature(target, raw_prediction), self.loss_weight(target)
        if c is None:
            return curvature
        return curvature * (c[:, :, None] if curvature.ndim == 3 else c)

    def share_gradient(self, theta):
        """Return the penalty gradient per unit of sample weight, or None."""
        if self.penalty_share is None:
            return None
        return self.penalty_share * theta + self.support.share * self.support.sign
