"""The objective that `fit` minimises: without data, and its values at the training data."""

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from skinfluence._compat import rank_cutoff
from skinfluence.class_balance import ClassBalance
from skinfluence.column_scales import ColumnScales
from skinfluence.design import Design
from skinfluence.gradients import (
    ClassShift,
    GradientRows,
    absent_in,
    cached_batches,
    weigh,
    weighted_sum,
)
from skinfluence.l1_support import L1Support
from skinfluence.layout import ParameterLayout
from skinfluence.losses import Loss
from skinfluence.objective.point import Point
from skinfluence.rank import null_directions, spectrum


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


@dataclass(frozen=True, eq=False)
class FixedObjective:
    """A formulation with its training data, at fixed rows and weights.

    Parameters
    ----------
    formulation : Formulation
        Loss, penalty and labels.
    design : Design
        Rows x~_i.
    target : ndarray
        Encoded y.
    sample_weight : ndarray of shape (n,)
        Weights w_i; ones if `fit` got none.
    index : pandas.Index or None, default=None
        Names of the rows, for tables.
    scales : ColumnScales or None, default=None
        Penalty factors that follow a scaler before the model when rows leave.
    balance : ClassBalance or None, default=None
        The rows' sums that determine "balanced" class weights, which change when rows leave.
    drawn : bool, default=False
        Whether the weights are numbers of draws, among them 0. Such a row may still count for
        class weights or a kernel, and its influence is that of weight 1 through these alone.
    """

    formulation: Formulation
    design: Design
    target: np.ndarray
    sample_weight: np.ndarray
    index: Any = None
    scales: ColumnScales | None = None
    balance: ClassBalance | None = None
    drawn: bool = False

    #: Whether solvers can only get sums over the rows.
    is_distributed = False
    #: Whether all rows of the fit are here, and not a part of them.
    has_all_rows = True

    def __getstate__(self):
        # Cached values follow from the fields, so pickles leave them out.
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def n_rows(self):
        """Number of training rows, n."""
        return self.design.n_rows

    @property
    def unit_weight(self):
        """Weights whose derivatives influences are, (n,); NaN for rows without weight."""
        w = self.sample_weight
        return np.where(w > 0, w, 1.0 if self.drawn else np.nan)

    @cached_property
    def weight_sum(self):
        """S = sum_i w_i."""
        return float(self.sample_weight.sum())

    @cached_property
    def penalty(self):
        """Diagonal of Lam at the present weights, shape (K, D)."""
        form = self.formulation
        penalty = form.penalty
        if form.penalty_share is not None:
            penalty = penalty + self.weight_sum * form.penalty_share
        return penalty if self.scales is None else penalty * self.scales.ratio()

    @cached_property
    def loss_weight(self):
        """Class weight c_i for each row, (n, 1) or (n, K), or None."""
        return self.formulation.loss_weight(self.target)

    @cached_property
    def row_weight(self):
        """s_i = w_i c_i, shape (n, 1) or (n, K)."""
        w = self.sample_weight[:, None]
        if self.loss_weight is None:
            return w
        return w * self.loss_weight

    @cached_property
    def weight_spread(self):
        """Ratio of the largest to the smallest positive row weight s_i."""
        weight = self.row_weight[self.row_weight > 0]
        return float(weight.max() / weight.min()) if weight.size else 1.0

    @cached_property
    def coupled(self):
        """Whether the Hessian mixes outputs."""
        return self.formulation.loss.coupled

    @cached_property
    def gauge(self):
        """Columns along which shifting all outputs together does not change F, (D,) bool.

        A softmax prediction does not change when a number is added to every output, so
        the Hessian is singular along each column without a penalty.
        """
        if not self.formulation.loss.shift_invariant:
            return np.zeros(self.design.n_columns, dtype=bool)
        return np.all((self.penalty == 0.0) & self.free, axis=0)

    @cached_property
    def _at_0(self):
        """The masks of free and of l1 penalised parameters, and `slope`."""
        support, every = self.formulation.l1_support, np.ones(self.penalty.shape, dtype=bool)
        if support is None:
            return every, ~every, None
        return support.free, support.penalised, support.slope(self.weight_sum)

    @property
    def free(self):
        """Mask of the free parameters, (K, D) bool."""
        return self._at_0[0]

    @property
    def slope(self):
        """Gradient of the linear penalty on an l1 support, (K, D), None without any."""
        return self._at_0[2]

    @cached_property
    def fixed(self):
        """Mask of the parameters that are not free, None if all are."""
        return None if self.free.all() else ~self.free

    @cached_property
    def unpenalised(self):
        """Mask of the parameters without a quadratic or l1 penalty, (K, D) bool."""
        return (self.penalty == 0) & ~self._at_0[1]

    @cached_property
    def n_opposed(self):
        """The number of rows that have to leave before F can fall forever, see `existence`.

        0 if it may fall already, infinite if the loss or the penalties prevent it. An
        intercept moves all rows to the same side, so the loss of each has to fall there.
        """
        loss, (K, _) = self.formulation.loss, self.penalty.shape
        if loss.falls_forever(self.target[:1], K) is None or not self.unpenalised.any():
            return np.inf
        if self.unpenalised[:, : self.design.n_features].any():
            return 0
        falls = loss.falls_forever(self.target, K)
        counts = (self.row_weight > 0) & ~np.isnan(falls)
        opposed = [np.sum((falls != side) & counts, axis=0).min() for side in (-1.0, 1.0)]
        return int(min(opposed))

    @cached_property
    def dependence(self):
        """Feature combinations without variance if they allow many minima, or None.

        Returns
        -------
        null : ndarray of shape (r, d)
            Orthonormal directions N in the coefficients along which no prediction changes
            once the intercept compensates.
        level : ndarray of shape (r,)
            Each direction has the same value for all rows. The intercept compensates it.
        scale : float
            Mean variance of the features.
        """
        if self.formulation.minimum_norm is None:
            return None
        design, known = self.design, self.spectrum
        if known is not None:
            null, mean = known.vectors[~known.kept], known.mean
            scale = np.sum(known.values**2) / max(self.weight_sum, 1e-300) / len(mean)
        else:
            # Iterative solvers for sparse features end at a solution with least norm without
            # deciding about singular values.
            moments = design.gram(self.sample_weight[:, None])[0]
            null, mean, scale = null_directions(moments, design, 0.0)
        if not len(null):
            return None
        return null, null @ mean, scale if scale > 0 else 1.0

    @cached_property
    def offset(self):
        """Feature means far from 0, if a free intercept can compensate them, or None.

        See `Design.offset`. Newton steps use the features less this offset, see `centred`.
        """
        if not self.design.fit_intercept:
            return None
        if self.penalty[:, -1].any() or not self.free[:, -1].all():
            return None
        return self.design.offset(self.sample_weight)

    @cached_property
    def spectrum(self):
        """Singular values of dense features if the solution depends on them, or None."""
        unit, design = self.formulation.minimum_norm, self.design
        if unit is None or not design.is_dense:
            return None
        tol = rank_cutoff(unit, design.n_rows, design.n_features)
        return spectrum(design, self.sample_weight, tol)

    @cached_property
    def pin(self):
        """Rows P (r, d) such that 1/2 |P coef|^2 belongs to F, or None.

        Least squares has many minima if no prediction changes along some directions N once
        the intercept compensates. The minimum with least norm has N coef = 0. It is
        therefore also the minimum of F + tau/2 |N coef|^2 for any tau > 0, whose Hessian is
        regular. Row gradients have no component along N, so neither has their product with
        H^-1, and results do not depend on tau.
        """
        if self.dependence is None:
            return None
        null, _, scale = self.dependence
        return np.sqrt(scale) * null

    def make_consistent(self, V):
        """Remove the component along N from right-hand sides V (..., K, D).

        For coefficients with N coef = 0 this component does not change products with V. The
        result is in the range of the Hessian without the pin, as row gradients always are,
        so its solution has no component along N.
        """
        if self.dependence is None:
            return V
        null, level, _ = self.dependence
        V = np.array(V, dtype=np.float64, like=self.design.like)
        coef = V[..., : self.design.n_features]
        excess = coef @ null.T
        if self.design.fit_intercept:
            excess -= V[..., -1:] * level
        coef -= excess @ null
        return V

    def penalty_product(self, V):
        """Return the penalty Hessian times V (..., K, D)."""
        out = self.penalty * V
        if self.pin is not None:
            coef = V[..., : self.design.n_features]
            out[..., : self.design.n_features] += (coef @ self.pin.T) @ self.pin
        return out

    def penalty_gradient(self, theta):
        """Return the penalty gradient at theta (..., K, D)."""
        product = self.penalty_product(theta)
        return product if self.slope is None else product + self.slope

    def freeze(self, V):
        """Set V (..., K, D) to zero for fixed parameters, in place."""
        if self.fixed is not None:
            V[..., self.fixed] = 0.0
        return V

    def remove_gauge(self, V):
        """Remove the gauge directions from V (..., K, D) in place and return it.

        H^+ = P (H + pin)^-1 P with this projection P. The solution keeps the shift that the
        fitted parameters have, and parameters outside the l1 support stay at 0.
        """
        self.freeze(V)
        if self.gauge.any():
            V[..., self.gauge] -= V[..., self.gauge].mean(axis=-2, keepdims=True)
        return V

    def value(self, theta, readings=None, raw_prediction=None):
        """Return F(theta)."""
        readings = self.design.readings(theta) if readings is None else readings
        raw = self.design.read(readings) if raw_prediction is None else raw_prediction
        # The quadratic term counts half, the linear term from an l1 support counts fully.
        quadratic = self.penalty_product(theta)
        penalty = np.sum(readings * (self.penalty_gradient(theta) - 0.5 * quadratic))
        loss, s = self.formulation.loss, self.row_weight
        with np.errstate(over="ignore"):  # rows without weight may overflow, but do not count
            if s.shape[1] == 1:
                return float(weighted_sum(s[:, 0], loss.loss(self.target, raw)) + penalty)
            # Only outputs that do not interact have separate weights.
            assert not loss.coupled
            by_output = [
                weighted_sum(s[:, k], loss.loss(self.target[:, [k]], raw[:, [k]]))
                for k in range(raw.shape[1])
            ]
        return float(sum(by_output) + penalty)

    def gradients(self, theta, absent=None, growth=None):
        """Return grad F at many parameter vectors (b, K, D), shape (b, K, D).

        The rows `absent` (b, a), different for each vector and padded by -1, do not
        contribute. Subtracting their terms afterwards would leave rounding errors in
        directions that no other row constrains. Class weights grow by `growth`
        (b, n_classes, 1 or K), see `ClassBalance`. For parameters that a support fixes
        at 0, the result is the gradient of the smooth part of F.

        This takes two matrix products with X. The rows come in chunks small enough that the
        raw predictions of all b models stay in cache between the two.
        """
        b, K, _ = theta.shape
        out = self.penalty_gradient(theta)
        loss = self.formulation.loss
        for rows in cached_batches(self.n_rows, b * K, like=self.design.like):
            part = self.design.take(rows)
            gradient = loss.gradient(self.target[rows], part.predict(theta))
            weigh(self.row_weight[rows, None], gradient, out=gradient)
            if growth is not None:
                gradient += gradient * self.balance.of_rows(growth, rows)
            if absent is not None:
                gradient[absent_in(rows, absent)] = 0.0
            out += part.adjoint(gradient)
        return out

    def at(self, theta):
        """Return this objective evaluated at theta (K, D)."""
        return Point(self, np.array(theta, dtype=np.float64, like=self.design.like))
