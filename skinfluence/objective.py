"""What scikit-learn's `fit` minimises, and that objective evaluated at a point.

    F(theta) = sum_i s_i l(y_i, eta_i) + 1/2 theta' Lam theta,     eta_i = x~_i' theta'

in sum form, with s_i = w_i c_i: sample weight times loss weight (class weight, for SVMs
times C). Lam is diagonal and stored as `penalty`, shape (K, D) like theta. In mean form
(Poisson family, Lasso) the penalty grows with the weights, Lam = S share, S = sum_i w_i,
so each unit of sample weight owns `penalty_share`.

Three objects, each immutable:

    Formulation   what fit resolved: loss, labels, penalty, class weights; no data
    Objective     a formulation together with data and sample weights
    Point         an objective evaluated at theta: gradient, curvature, Hessian
"""

from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import combinations, combinations_with_replacement
from typing import Any

import numpy as np
from sklearn.utils import gen_batches

from skinfluence._compat import rank_cutoff
from skinfluence.blocks import memory_budget, row_blocks
from skinfluence.column_scales import ColumnScales
from skinfluence.design import Design
from skinfluence.gradients import GradientRows
from skinfluence.l1_support import L1Support
from skinfluence.layout import ParameterLayout
from skinfluence.losses import Loss
from skinfluence.products import add_gram
from skinfluence.rank import null_directions, spectrum

__all__ = [
    "Formulation",
    "Objective",
    "Point",
    "hessian_blocks",
    "weigh",
]

# Raw predictions kept between two products, in numbers: 2 MiB, a share of a core's cache.
_CACHED = 2**18

# Rows from which the spread of features is estimated.
_ENOUGH_ROWS = 64

# Columns up to which the blocks of a softmax Hessian are formed together: on two cores a SYRK
# of order 65 does 34 GFLOP/s, of order 500 it is 89, and 115 of order 1,000.
_NARROW = 200


@dataclass(frozen=True, eq=False)
class Formulation:
    """The objective without its data, frozen at `fit`.

    Parameters
    ----------
    loss : Loss
        Loss of a row in the raw prediction.
    target : object
        Encoder of `y`, from `targets.py`.
    layout : ParameterLayout
        Shapes of the parameters.
    penalty : ndarray of shape (K, D)
        Diagonal of the penalty Hessian Lam that does not depend on the weights.
    penalty_share : ndarray of shape (K, D) or None, default=None
        Diagonal of the penalty Hessian per unit of sample weight (mean form).
    class_weight : ndarray of shape (n_classes, 1) or (n_classes, K) or None, default=None
        Class weight of a row by its class, resolved at fit and frozen.
    loss_scale : float, default=1.0
        Factor of every row's loss: C of a support vector machine.
    minimum_norm : float or None, default=None
        Where the coefficients are those of least norm among many: what `_compat.rank_cutoff`
        makes the largest singular value, relative to the first, of a direction of the features
        that counts as none.
    l1_support : L1Support or None, default=None
        Which parameters an l1 penalty lets move. The others stay at 0.
    """

    loss: Loss
    target: Any
    layout: ParameterLayout
    penalty: np.ndarray
    penalty_share: np.ndarray | None = None
    class_weight: np.ndarray | None = None
    loss_scale: float = 1.0
    minimum_norm: float | None = None
    l1_support: L1Support | None = None

    def loss_weight(self, target):
        """Return c_i of encoded rows, shape (n, 1) or (n, K), or None for ones."""
        if self.class_weight is not None:
            return self.loss_scale * self.class_weight[self.target.class_codes(target)]
        if self.loss_scale != 1.0:
            return np.full((len(target), 1), self.loss_scale)
        return None

    def frozen_class_weight(self):
        """Return the class weights as the dict that gives the same ones again, or None.

        Where outputs have weights of their own, output k holds that of class k.
        """
        if self.class_weight is None:
            return None
        own = self.class_weight
        own = own.diagonal() if own.shape[1] > 1 else own[:, 0]
        return dict(zip(self.target.classes.tolist(), own.tolist(), strict=True))

    def query_gradients(self, design, target, theta):
        """Return gradients of the plain loss l(q), as `GradientRows`."""
        return GradientRows(design, self.loss.gradient(target, design.predict(theta)))

    def weight_gradients(self, design, target, theta):
        """Return gradients of L(z), a row's term of F per unit of sample weight.

        L = c l, plus the row's share of the penalty in mean form.
        """
        gradient = self.loss.gradient(target, design.predict(theta))
        c = self.loss_weight(target)
        if c is not None:
            gradient = c * gradient
        return GradientRows(design, gradient, self.share_gradient(theta))

    def weight_curvature(self, target, raw_prediction):
        """Return the curvature of L(z) in the raw prediction, (n, K) or (n, K, K).

        The share of the penalty is not in it.
        """
        curvature, c = self.loss.curvature(target, raw_prediction), self.loss_weight(target)
        if c is None:
            return curvature
        return curvature * (c[:, :, None] if curvature.ndim == 3 else c)

    def share_gradient(self, theta):
        """Return the gradient of one weight unit's share of the penalty, or None."""
        if self.penalty_share is None:
            return None
        share = self.penalty_share * theta
        support = self.l1_support
        return share if support is None else share + support.share * support.sign


@dataclass(frozen=True, eq=False)
class Objective:
    """A formulation with its training data.

    Parameters
    ----------
    formulation : Formulation
        What is minimised.
    design : Design
        Rows x~_i.
    target : ndarray
        Encoded y.
    sample_weight : ndarray of shape (n,)
        Weights w_i; ones where fit had none.
    index : pandas.Index or None, default=None
        Names of the rows, for tables of them.
    scales : ColumnScales or None, default=None
        How a scaler before the model multiplies the penalty when rows leave.
    """

    formulation: Formulation
    design: Design
    target: np.ndarray
    sample_weight: np.ndarray
    index: Any = None
    scales: ColumnScales | None = None

    #: Whether solvers can have nothing but sums over the rows.
    is_distributed = False

    def __getstate__(self):
        # What is cached follows from the fields and has no place in a pickle.
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def n_rows(self):
        """Number of training rows, n."""
        return self.design.n_rows

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
        """Class weight c_i of each row, (n, 1) or (n, K), or None."""
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
        """Ratio of the largest to the smallest positive weight of a row in the objective."""
        weight = self.row_weight[self.row_weight > 0]
        return float(weight.max() / weight.min()) if weight.size else 1.0

    @property
    def coupled(self):
        """Whether the Hessian mixes outputs."""
        return self.formulation.loss.coupled

    @cached_property
    def gauge(self):
        """Columns along which one shift of all outputs leaves F as it is, (D,) bool.

        A softmax prediction does not change when a number is added to every output, so
        the Hessian is singular along each column that no penalty holds.
        """
        if not self.formulation.loss.shift_invariant:
            return np.zeros(self.design.n_columns, dtype=bool)
        return np.all((self.penalty == 0.0) & self.free, axis=0)

    @property
    def free(self):
        """Parameters that move, (K, D) bool."""
        support = self.formulation.l1_support
        return np.ones(self.penalty.shape, dtype=bool) if support is None else support.free

    @cached_property
    def dependence(self):
        """Combinations of features without variance, where they make many minima, or None.

        Returns
        -------
        null : ndarray of shape (r, d)
            Orthonormal directions N of the coefficients along which no prediction changes
            once the intercept follows.
        level : ndarray of shape (r,)
            What the rows have in common along them: by how much the intercept follows.
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
            # Iterations on sparse features end at a solution of least norm without a
            # decision about singular values.
            moments = design.gram(self.sample_weight[:, None])[0]
            null, mean, scale = null_directions(moments, design, 0.0)
        if not len(null):
            return None
        return null, null @ mean, scale if scale > 0 else 1.0

    @cached_property
    def offset(self):
        """Means of features that are far from 0, if a free intercept can take them, or None.

        See `Design.offset`. Newton steps go in the features less this offset, see `centred`.
        """
        if not self.design.fit_intercept or self.design.has_metric:
            return None
        if self.penalty[:, -1].any() or not self.free[:, -1].all():
            return None
        return self.design.offset(self.sample_weight)

    def centred(self):
        """Return this objective in the features less the offset."""
        return replace(self, design=self.design.less(self.offset))

    def to_centred(self, theta):
        """Return parameters (..., K, D) of `centred` with the same predictions."""
        theta = np.array(theta, dtype=np.float64)
        theta[..., -1] += theta[..., :-1] @ self.offset
        return theta

    def from_centred(self, theta):
        """Return the parameters whose `to_centred` is theta (..., K, D)."""
        theta = np.array(theta, dtype=np.float64)
        theta[..., -1] -= theta[..., :-1] @ self.offset
        return theta

    @cached_property
    def spectrum(self):
        """Singular values of dense features, if they decide about the solution, or None."""
        unit, design = self.formulation.minimum_norm, self.design
        if unit is None or not design.is_dense:
            return None
        tol = rank_cutoff(unit, design.n_rows, design.n_features)
        return spectrum(design, self.sample_weight, tol)

    @cached_property
    def pin(self):
        """Rows P (r, d) such that 1/2 |P coef|^2 belongs to F, or None.

        Least squares has one minimum for each combination of features without variance, the
        directions N in which no prediction changes once the intercept follows. That of least
        norm has N coef = 0, and so is the minimum of F + tau/2 |N coef|^2 for any tau > 0,
        whose Hessian is regular. Gradients of rows have no part along N, so neither has
        H^-1 times one, and results do not depend on tau.
        """
        if self.dependence is None:
            return None
        null, _, scale = self.dependence
        return np.sqrt(scale) * null

    def make_consistent(self, V):
        """Return right-hand sides V (..., K, D) whose solution has no part along N.

        Among coefficients with N coef = 0 a product with V does not see the part of V that
        is taken away here. What is left is in the range of the Hessian without the pin, as
        gradients of rows are by themselves.
        """
        if self.dependence is None:
            return V
        null, level, _ = self.dependence
        V = np.array(V, dtype=np.float64)
        coef = V[..., : self.design.n_features]
        excess = coef @ null.T
        if self.design.fit_intercept:
            excess -= V[..., -1:] * level
        coef -= excess @ null
        return V

    def penalty_product(self, V):
        """Return the Hessian of the penalty times V (..., K, D)."""
        out = self.penalty * V
        if self.pin is not None:
            coef = V[..., : self.design.n_features]
            out[..., : self.design.n_features] += (coef @ self.pin.T) @ self.pin
        return out

    def penalty_gradient(self, theta):
        """Return the gradient of the penalty at theta (..., K, D)."""
        out = self.penalty_product(theta)
        support = self.formulation.l1_support
        if support is not None:
            out += support.total(self.weight_sum) * support.sign
        return out

    def freeze(self, V):
        """Set V (..., K, D) to zero, in place, where parameters do not move."""
        support = self.formulation.l1_support
        return V if support is None else support.freeze(V)

    def remove_gauge(self, V):
        """Project V (..., K, D) in place off the gauge directions and return it.

        H^+ = P (H + pin)^-1 P with this projection P: the solution keeps the shift that
        the fitted parameters have, and stays at 0 where a support says so.
        """
        self.freeze(V)
        if self.gauge.any():
            V[..., self.gauge] -= V[..., self.gauge].mean(axis=-2, keepdims=True)
        return V

    def with_extra_penalty(self, shift):
        """Return this objective with a penalty added to every parameter."""
        form = self.formulation
        return replace(self, formulation=replace(form, penalty=form.penalty + shift))

    def with_penalty_weight(self, extra):
        """Return this objective with the penalty of `extra` more units of weight."""
        form = self.formulation
        penalty = form.penalty + extra * form.penalty_share
        return replace(self, formulation=replace(form, penalty=penalty))

    def value(self, theta, readings=None, raw_prediction=None):
        """Return F(theta)."""
        readings = self.design.readings(theta) if readings is None else readings
        raw = self.design.read(readings) if raw_prediction is None else raw_prediction
        # Of two terms: the quadratic one, counted half, and the linear one of a support.
        quadratic = self.penalty_product(theta)
        penalty = np.sum(readings * (self.penalty_gradient(theta) - 0.5 * quadratic))
        loss, s = self.formulation.loss, self.row_weight
        with np.errstate(over="ignore"):  # of rows without weight, which count for nothing
            if s.shape[1] == 1:
                return float(_weighted_sum(s[:, 0], loss.loss(self.target, raw)) + penalty)
            # Weights of their own for each output are for outputs that do not interact.
            assert not loss.coupled
            by_output = [
                _weighted_sum(s[:, k], loss.loss(self.target[:, [k]], raw[:, [k]]))
                for k in range(raw.shape[1])
            ]
        return float(sum(by_output) + penalty)

    def gradients(self, theta, absent=None):
        """Return grad F at many parameter vectors (b, K, D), shape (b, K, D).

        Without the terms of the rows `absent` (b, a), different ones for each vector, padded
        by -1: to take them off afterwards would leave rounding in directions that no other
        row holds. Where a support holds parameters at 0, that of the smooth part of F.

        Two matrix products with X. The rows go by in chunks small enough that the raw
        predictions of all b models stay in cache between the two.
        """
        b, K, _ = theta.shape
        out = self.penalty_gradient(theta)
        loss = self.formulation.loss
        for rows in gen_batches(self.n_rows, max(64, _CACHED // (b * K))):
            part = self.design.take(rows)
            gradient = loss.gradient(self.target[rows], part.predict(theta))
            weigh(self.row_weight[rows, None], gradient, out=gradient)
            if absent is not None:
                gradient[_absent_in(rows, absent)] = 0.0
            out += part.adjoint(gradient)
        return out

    def without_rows(self):
        """Return an objective of no rows that keeps the penalty of all of them."""
        # What depends on the rows beside their sums is left out: no solve asks for it.
        form = replace(self.formulation, penalty=self.penalty, minimum_norm=None)
        return replace(self, formulation=form, scales=None).take(slice(0, 0))

    def without(self, rows):
        """Return this objective with the weights of some rows set to zero."""
        weight = self.sample_weight.copy()
        weight[rows] = 0.0
        scales = self.scales
        if scales is not None:
            scales = scales.without(self.design.take(rows).rows())
        return replace(self, sample_weight=weight, scales=scales)

    def take(self, rows):
        """Return this objective with only some of its rows."""
        return replace(
            self,
            design=self.design.take(rows),
            target=self.target[rows],
            sample_weight=self.sample_weight[rows],
            index=None if self.index is None else self.index[rows],
        )

    def restrict(self, rows):
        """Return the objective of a model that has only some of the rows.

        The same as `take`, but for kernel models, which lose the parameters of the others.
        """
        design = self.design.restrict(rows)
        form, n = self.formulation, design.n_features
        if n != form.layout.n_features:
            penalty = np.concatenate(
                [
                    np.repeat(form.penalty[:, :1], n, axis=1),
                    form.penalty[:, form.layout.n_features :],
                ],
                axis=1,
            )
            form = replace(form, layout=replace(form.layout, n_features=n), penalty=penalty)
        return replace(self.take(rows), formulation=form, design=design)

    def append(self, other):
        """Return this objective with the rows of another one behind its own."""
        named = self.index is not None and other.index is not None
        return replace(
            self,
            design=self.design.append(other.design),
            target=np.concatenate([self.target, other.target]),
            sample_weight=np.concatenate([self.sample_weight, other.sample_weight]),
            index=self.index.append(other.index) if named else None,
        )

    def at(self, theta):
        """Return this objective evaluated at theta (K, D)."""
        return Point(self, np.array(theta, dtype=np.float64))


class Point:
    """An objective evaluated at theta.

    Parameters
    ----------
    objective : Objective
        The objective F.
    theta : ndarray of shape (K, D)
        Where.

    Attributes
    ----------
    raw_prediction : ndarray of shape (n, K)
        eta.
    rows : GradientRows
        Gradient of every training row's term per unit of sample weight, grad L(z_i);
        v_i = w_i grad L(z_i).
    gradient : ndarray of shape (K, D)
        G = grad F.
    """

    def __init__(self, objective, theta):
        self.objective = objective
        self.theta = theta
        form = objective.formulation
        self.readings = objective.design.readings(theta)
        self.raw_prediction = objective.design.read(self.readings)
        gradient = form.loss.gradient(objective.target, self.raw_prediction)
        if objective.loss_weight is not None:
            gradient *= objective.loss_weight
        self.rows = GradientRows(objective.design, gradient, form.share_gradient(theta))
        weighted = weigh(objective.sample_weight[:, None], gradient)
        gradient = objective.design.adjoint(weighted) + objective.penalty_gradient(theta)
        self.gradient = objective.freeze(gradient)

    @cached_property
    def value(self):
        """F(theta)."""
        return self.objective.value(self.theta, self.readings, self.raw_prediction)

    def remainders(self, steps, absent):
        """Return grad F(theta + d) - G - H d for many steps d (b, K, D), in float32.

        Without the terms of the rows `absent` (b, a), different ones for each step, padded
        by -1. What a step leaves beyond first order is small, so single precision gives it to
        eight digits of the gradient at half the price; it is summed in float64.
        """
        objective = self.objective
        loss, (b, K, _) = objective.formulation.loss, steps.shape
        out = np.zeros(steps.shape)
        steps = steps.astype(np.float32)
        # The rows are copied to single precision, which at few steps is the larger array.
        size = 2 * _CACHED // max(b * K, objective.design.n_columns // 4)
        for rows in gen_batches(objective.n_rows, max(64, size)):
            part = objective.design.take(rows)
            delta = part.predict(steps, dtype=np.float32)
            delta[_absent_in(rows, absent)] = 0.0
            rest = loss.remainder(objective.target[rows], self.raw_prediction[rows], delta)
            weigh(objective.row_weight[rows, None].astype(rest.dtype), rest, out=rest)
            out += part.adjoint(rest, dtype=np.float32)
        return out

    @cached_property
    def magnitude(self):
        """sum_d |x~_id theta_kd|, (n, K): eta is known to eps times this."""
        return self.objective.design.magnitude(self.theta)

    def is_current(self):
        """Whether the training data are still those that this point was evaluated on.

        They are kept by reference, and their owner may have changed them.
        """
        if not self.objective.design.is_unchanged():
            return False
        raw = self.objective.design.predict(self.theta)
        tolerance = 1e-9 * np.abs(raw).max(initial=0.0)
        return bool(np.all(np.abs(raw - self.raw_prediction) <= tolerance))

    def curvature(self, rows=slice(None)):
        """Return s_i l''_i of some rows: (m, K), or W_i (m, K, K) where coupled."""
        return self._weighted(rows, self._of_loss("curvature", rows))

    def curvature_diagonal(self):
        """Return the diagonal of s_i l''_i, shape (n, K)."""
        rows = slice(None)
        return self._weighted(rows, self._of_loss("curvature_diagonal", rows))

    def curvature_product(self, direction, rows=slice(None)):
        """Return s_i l''_i times directions of the raw prediction (m, ..., K)."""
        product = self.objective.formulation.loss.curvature_product(
            self.objective.target[rows], self.raw_prediction[rows], direction
        )
        s = self.objective.row_weight[rows]
        return weigh(np.expand_dims(s, tuple(range(1, direction.ndim - 1))), product)

    def hessian_product(self, V, readings=None):
        """Return H V for V (m, K, D), without forming H; `readings` of V where known."""
        objective = self.objective
        readings = objective.design.readings(V) if readings is None else readings
        out = objective.penalty_product(V)
        for rows in objective.design.pass_blocks(V.shape[0] * V.shape[1]):
            part = objective.design.take(rows).loaded()
            out += part.adjoint(self.curvature_product(part.read(readings), rows))
        return objective.freeze(out)

    def hessian_diagonal(self):
        """Return the diagonal of H, shape (K, D)."""
        diagonal = self.objective.design.squared_adjoint(self.curvature_diagonal())
        diagonal += self.objective.penalty
        pin = self.objective.pin
        if pin is not None:
            diagonal[:, : pin.shape[1]] += np.sum(pin**2, axis=0)
        diagonal[~self.objective.free] = 1.0
        return diagonal

    def centre(self):
        """Return the mean of the features with the rows as they count in H, or None.

        None also where the features are as good as centred: the shift would improve the
        condition of H by less than a factor of two.

        A row without curvature, however far away, does not move it. See `Design.centre`.
        """
        design = self.objective.design
        mean = design.centre(self.curvature_diagonal().sum(axis=1))
        if mean is None:
            return None
        # An order of magnitude of the spread tells whether anything is gained.
        some = design.take(slice(None, None, 1 + design.n_rows // _ENOUGH_ROWS)).rows()
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            ratio = np.where(mean == 0, 0.0, mean / some[:, : len(mean)].std(axis=0))
        return None if np.sum(ratio**2) < 1 else mean

    def without_rows(self):
        """Return this point without its rows, for solves alone."""
        return self.objective.without_rows().at(self.theta)

    def slope_along(self, direction):
        """Return the function of t that is the slope of F at theta + t `direction`.

        Along a line raw predictions are linear: the slope costs no product with X.
        """
        objective = self.objective
        loss, s = objective.formulation.loss, objective.row_weight
        readings = objective.design.readings(direction)
        step = objective.design.read(readings)
        linear = np.sum(objective.penalty_gradient(self.theta) * readings)
        quadratic = np.sum(objective.penalty_product(direction) * readings)

        def slope_at(t):
            with np.errstate(over="ignore", invalid="ignore"):
                raw = self.raw_prediction + t * step
                pull = np.sum(weigh(s, loss.gradient(objective.target, raw)) * step)
            return pull + linear + t * quadratic

        return slope_at

    def total(self, function, *arguments):
        """Return function(point, *arguments), an array that adds up over the rows.

        With `per_row` the way to ask something of all rows, wherever they are.
        """
        return function(self, *arguments)

    def per_row(self, function, *arguments):
        """Return function(point, *arguments), an array with an entry for each row, (n,)."""
        return function(self, *arguments)

    def hessian_blocks(self, shift=None):
        """Return the diagonal blocks of H and which outputs each one serves.

        A coupled loss has one block of order K D, laid out as theta. Otherwise every
        output has a block of order D; outputs with equal curvature and penalty share it.

        Parameters
        ----------
        shift : ndarray of shape (d,) or None, default=None
            Subtracted from the features, see ``Design.gram``.

        Returns
        -------
        list of (outputs, block)
            `outputs` an index array, `block` a square array whose upper triangle counts.
        """
        return hessian_blocks(self.objective, self.curvature_grams(shift))

    def curvature_grams(self, shift=None):
        """Return the blocks of H without the penalty, sums over the rows.

        One of order K D for a coupled loss, shape (1, K D, K D); one for all outputs where
        they have the same curvature, (1, D, D); else one for each output, (K, D, D).
        """
        if self.objective.coupled:
            return self._coupled_gram(shift)[None]
        curvature = self.curvature()
        same = self.objective.formulation.loss.constant_curvature
        if same and self.objective.row_weight.shape[1] == 1:
            curvature = curvature[:, :1]
        return _signed_gram(self.objective.design, curvature, shift)

    def _coupled_gram(self, shift):
        """Return H of order K D without the penalty.

        Block (k, l) is X~' diag(W_kl) X~. Where a shift of all outputs leaves predictions as
        they are, the W_kl of a row add up to 0 over l, and so do the blocks: those on the
        diagonal follow from the others, which share one sign and lose no digit.
        """
        K, D = self.theta.shape
        if not self.objective.formulation.loss.shift_invariant:
            return self._gram_by_pairs(combinations_with_replacement(range(K), 2), shift)
        if D <= _NARROW:
            flat = self._gram_at_once(shift)
        else:
            flat = self._gram_by_pairs(combinations(range(K), 2), shift)
        hessian = flat.reshape(K, D, K, D)
        for k in range(K):
            hessian[k, :, k] = 0.0
        for k, l in combinations(range(K), 2):
            hessian[k, :, k] -= hessian[k, :, l]
            hessian[l, :, l] -= hessian[k, :, l]
        return flat

    def _gram_at_once(self, shift):
        """Return the blocks off the diagonal where W_kl = -r_k r_l, from rows r (x) x~.

        One SYRK of order K D has twice the operations of one for each pair of outputs, and
        does four times as many in a second where D is small.
        """
        K, D = self.theta.shape
        objective = self.objective
        hessian = np.zeros((K * D, K * D))
        for rows in row_blocks(objective.n_rows, 16 * K * D):
            r = self._of_loss("curvature_factor", rows)
            r = r * np.sqrt(objective.row_weight[rows])
            outer = objective.design.take(rows).outer(r, shift)
            add_gram(outer.reshape(-1, K * D), hessian)
        return np.negative(hessian, out=hessian)

    def _gram_by_pairs(self, pairs, shift):
        """Return the blocks of some pairs of outputs."""
        K, D = self.theta.shape
        objective = self.objective
        hessian = np.zeros((K, D, K, D))
        first, second = np.array(list(pairs)).reshape(-1, 2).T
        at_once = max(1, int(memory_budget() // (32 * D * D)))
        for rows in row_blocks(objective.n_rows, 24 * K * K, largest=np.inf):
            part, W = objective.design.take(rows), self.curvature(rows)[:, first, second]
            for some in gen_batches(W.shape[1], at_once):
                grams = _signed_gram(part, W[:, some], shift)
                for k, l, gram in zip(first[some], second[some], grams, strict=True):
                    hessian[k, :, l] += gram
        return hessian.reshape(K * D, K * D)

    def _of_loss(self, name, rows):
        function = getattr(self.objective.formulation.loss, name)
        return function(self.objective.target[rows], self.raw_prediction[rows])

    def _weighted(self, rows, values):
        s = self.objective.row_weight[rows]
        return weigh(s[:, :, None] if values.ndim == 3 else s, values)


def _signed_gram(design, weights, shift):
    """Return sum_i weights_im x~_i x~_i' for weights (n, M) of any sign, (M, D, D).

    A Gram matrix takes square roots of its weights: one for each sign that occurs.
    """
    if not (weights < 0).any():
        return design.gram(weights, shift)
    grams = -design.gram(np.maximum(-weights, 0.0), shift)
    if (weights > 0).any():
        grams += design.gram(np.maximum(weights, 0.0), shift)
    return grams


def hessian_blocks(objective, grams):
    """Return `Point.hessian_blocks` from `Point.curvature_grams`, which it overwrites."""
    penalty, free, pin = objective.penalty, objective.free, objective.pin
    support = objective.formulation.l1_support
    if objective.coupled:
        outputs = np.arange(len(penalty))
        blocks = [(outputs, _add_diagonal(grams[0], penalty.ravel()))]
    else:
        if pin is not None:
            grams[:, : pin.shape[1], : pin.shape[1]] += pin.T @ pin
        if len(grams) == len(penalty):
            parts = [(np.array([k]), gram) for k, gram in enumerate(grams)]
        else:
            kinds = np.hstack([penalty, free])
            distinct, group = np.unique(kinds, axis=0, return_inverse=True)
            groups = [np.flatnonzero(group.ravel() == g) for g in range(len(distinct))]
            parts = [(outputs, grams[0].copy()) for outputs in groups]
        blocks = [
            (outputs, _add_diagonal(gram, penalty[outputs[0]])) for outputs, gram in parts
        ]
    if support is not None:
        for outputs, block in blocks:
            moves = free if objective.coupled else free[outputs[0]]
            support.freeze_hessian(block, moves.ravel())
    return blocks


def _absent_in(rows, absent):
    """Return (row, vector) of the rows `absent` (b, a) of each vector in a slice of rows."""
    vector, at = np.nonzero((absent >= rows.start) & (absent < rows.stop))
    return absent[vector, at] - rows.start, vector


def weigh(weight, values, out=None):
    """Return w_i v_i, in which rows of weight zero are 0, infinite or not."""
    if weight.all():
        return np.multiply(weight, values, out=out)
    out = np.empty_like(values) if out is None else out
    np.multiply(weight, values, out=out, where=weight != 0)
    np.copyto(out, 0.0, where=weight == 0)
    return out


def _weighted_sum(weight, values):
    """Return sum_i w_i v_i, in which rows of weight zero do not count, infinite or not."""
    with np.errstate(invalid="ignore"):
        total = weight @ values
    return weight[weight != 0] @ values[weight != 0] if np.isnan(total) else total


def _add_diagonal(matrix, diagonal):
    order = np.arange(matrix.shape[0])
    matrix[order, order] += diagonal
    return matrix
