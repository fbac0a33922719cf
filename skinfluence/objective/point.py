"""An objective evaluated at one parameter vector, and how far a step changes its rows."""

from functools import cached_property

import numpy as np

from skinfluence.class_balance import shifts
from skinfluence.column_scales import penalty_effect
from skinfluence.gradients import ClassShift, GradientRows, absent_in, cached_batches, weigh
from skinfluence.l1_support import freeze_hessian
from skinfluence.objective.coupled import coupled_gram

# Rows used to estimate the spread of features.
_SPREAD_ROWS = 64
# Number of rows from which the rounding in a gradient is estimated.
_ENOUGH_ROWS = 256


class Point:
    """An objective evaluated at theta.

    Parameters
    ----------
    objective : Objective
        The objective F.
    theta : ndarray of shape (K, D)
        Parameters.

    Attributes
    ----------
    raw_prediction : ndarray of shape (n, K)
        eta.
    rows : GradientRows
        Gradient of every training row's contribution to F per unit of sample weight,
        grad L(z_i); v_i = w_i grad L(z_i).
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
    def like(self):
        """An array beside which new arrays are made, see `Design`; None for NumPy's."""
        return self.objective.design.like

    def why_flat(self):
        """Return why no row determines the intercept."""
        return self.objective.formulation.loss.why_flat

    @cached_property
    def class_gradients(self):
        """Gradient of the loss of each class's rows in its class weight, times that weight.

        Shape (n_classes, K, D). Entries for outputs in which the class weight is fixed are 0.
        """
        objective = self.objective
        balance, design = objective.class_sums, objective.design
        out = np.zeros((len(balance.moves), *self.theta.shape), like=self.theta)
        for k, moves in enumerate(balance.moves):
            rows = np.flatnonzero(balance.codes == k)
            weight = objective.sample_weight[rows, None]
            pull = weigh(weight, self.rows.raw_gradient[rows])
            out[k] = design.take(rows).adjoint(np.where(moves, pull, 0.0))
        return objective.freeze(out)

    @cached_property
    def class_effects(self):
        """Derivative of grad F in m_i through class weights, divided by u_i, or None.

        It depends on the row's class only, (n_classes, K, D).
        """
        balance = self.objective.balance
        return None if balance is None else shifts(self.class_gradients, balance.sums[0])

    @cached_property
    def class_shift(self):
        """Derivative of grad F in m_i through class weights, for every row, or None."""
        if self.class_effects is None:
            return None
        balance = self.objective.balance
        return ClassShift(self.class_effects, balance.codes, balance.u)

    @cached_property
    def weight_rows(self):
        """Derivative of grad F in every row's multiplicity m_i, divided by w_i.

        These are `rows`, and the part through "balanced" class weights. It is NaN for a row
        that counts for the class weights, but has no weight.
        """
        return self.weight_rows_with(*self.effects)

    @property
    def effects(self):
        """The sums over all rows on which `weight_rows` depends.

        These are `class_effects`, and the `PenaltyShift` without its rows, each or None.
        """
        of_scales = None if self.objective.scales is None else penalty_effect(self)
        return self.class_effects, of_scales

    def weight_rows_with(self, class_effects, penalty_effect):
        """Return `weight_rows` for the `effects` of more rows."""
        objective, rows = self.objective, self.rows
        if objective.drawn:
            raw = np.where(objective.sample_weight[:, None] > 0, rows.raw_gradient, 0.0)
            rows = GradientRows(rows.design, raw, rows.shift)
        moving = []
        if class_effects is not None:
            balance = objective.class_sums
            factor = balance.per_weight(objective.unit_weight)
            moving.append(ClassShift(class_effects, balance.codes, factor))
        if penalty_effect is not None:
            moving.append(penalty_effect.on(objective.design, objective.unit_weight))
        if not moving:
            return rows
        return GradientRows(rows.design, rows.raw_gradient, rows.shift, tuple(moving))

    @cached_property
    def multiplicity_rows(self):
        """Derivative of grad F in every row's multiplicity m_i, without a penalty share."""
        weighted = weigh(self.objective.sample_weight[:, None], self.rows.raw_gradient)
        row_shifts = () if self.class_shift is None else (self.class_shift,)
        return GradientRows(self.objective.design, weighted, row_shifts=row_shifts)

    @cached_property
    def value(self):
        """F(theta)."""
        return self.objective.value(self.theta, self.readings, self.raw_prediction)

    def remainders(self, steps, absent, growth=None):
        """Return grad F(theta + d) - G - H d for many steps d (b, K, D), in float32.

        The rows `absent` (b, a), different for each step and padded by -1, do not contribute.
        If class weights grow by `growth`, see `Objective.gradients`, F, G and H are those at
        the new class weights. These remainders are small, so single
        precision still yields eight digits of the gradient, at half the cost. The sums are in
        float64.
        """
        objective = self.objective
        loss, (b, K, _) = objective.formulation.loss, steps.shape
        out = np.zeros_like(steps)
        steps = steps.astype(np.float32)
        # The single precision copy of the rows is the larger array if there are few steps.
        width = max(b * K, objective.design.n_columns // 4)
        for rows in cached_batches(objective.n_rows, width, np.float32, self.like):
            part = objective.design.take(rows)
            delta = part.predict(steps, dtype=np.float32)
            delta[absent_in(rows, absent)] = 0.0
            rest = loss.remainder(objective.target[rows], self.raw_prediction[rows], delta)
            if growth is not None:
                rest += rest * objective.balance.of_rows(growth, rows).astype(np.float32)
            weigh(objective.row_weight[rows, None].astype(rest.dtype), rest, out=rest)
            out += part.adjoint(rest, dtype=np.float32)
        return out

    @cached_property
    def magnitude(self):
        """sum_d |x~_id theta_kd|, (n, K); the rounding error in eta is eps times this."""
        return self.objective.design.magnitude(self.theta)

    def is_current(self):
        """Whether the training data are unchanged since this point was evaluated.

        The data are kept by reference, so the caller may have changed them.
        """
        if not self.objective.design.is_unchanged():
            return False
        raw = self.objective.design.predict(self.theta)
        tolerance = 1e-9 * np.abs(raw).max(initial=0.0)
        return bool(np.all(np.abs(raw - self.raw_prediction) <= tolerance))

    def curvature(self, rows=slice(None)):
        """Return s_i l''_i for some rows: (m, K), or W_i (m, K, K) if coupled."""
        return self._weighted(rows, self._of_loss("curvature", rows))

    def curvature_diagonal(self):
        """Return the diagonal of s_i l''_i, shape (n, K)."""
        rows = slice(None)
        return self._weighted(rows, self._of_loss("curvature_diagonal", rows))

    def curvature_product(self, direction, rows=slice(None)):
        """Return s_i l''_i times directions in the raw prediction (m, ..., K)."""
        product = self.objective.formulation.loss.curvature_product(
            self.objective.target[rows], self.raw_prediction[rows], direction
        )
        s = self.objective.row_weight[rows]
        return weigh(np.expand_dims(s, tuple(range(1, direction.ndim - 1))), product)

    def hessian_product(self, V, readings=None):
        """Return H V for V (m, K, D) without forming H; pass `readings` of V if known."""
        objective = self.objective
        readings = objective.design.readings(V) if readings is None else readings
        out = objective.penalty_product(V)
        for rows in objective.design.pass_blocks(V.shape[0] * V.shape[1]):
            part = objective.design.take(rows).loaded()
            out += part.adjoint(self.curvature_product(part.read(readings), rows))
        return objective.freeze(out)

    def hessian_products(self, steps, absent, growth):
        """Return the Hessian of F times many steps (b, K, D), for other rows and weights.

        The rows `absent` (b, a) do not contribute, and class weights grow by `growth`, see
        `Objective.gradients`.
        """
        objective, b = self.objective, len(steps)
        out = objective.penalty_product(steps)
        for rows in cached_batches(objective.n_rows, b * steps.shape[1], like=self.like):
            part = objective.design.take(rows)
            product = self.curvature_product(part.predict(steps), rows)
            product += product * objective.balance.of_rows(growth, rows)
            product[absent_in(rows, absent)] = 0.0
            out += part.adjoint(product)
        return objective.freeze(out)

    def hessian_diagonal(self):
        """Return the diagonal of H, shape (K, D)."""
        return self._hessian_diagonal.copy()

    @cached_property
    def _hessian_diagonal(self):
        diagonal = self.objective.design.squared_adjoint(self.curvature_diagonal())
        diagonal += self.objective.penalty
        pin = self.objective.pin
        if pin is not None:
            diagonal[:, : pin.shape[1]] += np.sum(pin**2, axis=0)
        diagonal[~self.objective.free] = 1.0
        return diagonal

    def centre(self):
        """Return the mean of the features, weighted by curvature, or None.

        The result is also None if the shift would improve the condition of H by less than a
        factor of two, because the features are almost centred.

        A row without curvature does not change the mean, however far away it is. See
        `Design.centre`.
        """
        design = self.objective.design
        mean = design.centre(self.curvature_diagonal().sum(axis=1))
        if mean is None:
            return None
        # A rough estimate of the spread shows whether the shift is worthwhile.
        sample = design.take(slice(None, None, 1 + design.n_rows // _SPREAD_ROWS)).rows()
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            ratio = np.where(mean == 0, 0.0, mean / sample[:, : len(mean)].std(axis=0))
        return None if np.sum(ratio**2) < 1 else mean

    def without_rows(self):
        """Return this point without its rows; only solves work on the result."""
        return self.objective.without_rows().at(self.theta)

    def slope_along(self, direction):
        """Return a function that maps t to the slope of F at theta + t `direction`.

        Raw predictions are linear along a line, so a slope takes no product with X.
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
        """Return function(point, *arguments), an array that is a sum over the rows.

        Use this, `largest`, `collect` and `per_row` for computations on all rows, because they
        may be distributed.
        """
        return function(self, *arguments)

    def largest(self, function, *arguments):
        """Return function(point, *arguments), a number that is a maximum over the rows."""
        return function(self, *arguments)

    def collect(self, function, *arguments):
        """Return function(point, *arguments), a short array about some of the rows."""
        return function(self, *arguments)

    def per_row(self, function, *arguments):
        """Return function(point, *arguments), an array with one entry per row, (n,)."""
        return function(self, *arguments)

    def hessian_blocks(self, shift=None):
        """Return the diagonal blocks of H and the outputs that belong to each block.

        A coupled loss has one block of order K D, laid out as theta. Otherwise every
        output has a block of order D; outputs with equal curvature and penalty share it.

        Parameters
        ----------
        shift : ndarray of shape (d,) or None, default=None
            Subtracted from the features, see ``Design.gram``.

        Returns
        -------
        list of (outputs, block)
            `outputs` is an index array and `block` a square array. Only the upper triangle
            of `block` is valid.
        """
        return hessian_blocks(self.objective, self.curvature_grams(shift))

    def curvature_grams(self, shift=None):
        """Return the blocks of H without the penalty, as sums over the rows.

        A coupled loss has one block of order K D, shape (1, K D, K D). Outputs with the same
        curvature share one block, (1, D, D). Otherwise each output has its own, (K, D, D).
        """
        if self.objective.coupled:
            return coupled_gram(self, shift)[None]
        curvature = self.curvature()
        same = self.objective.formulation.loss.constant_curvature
        if same and self.objective.row_weight.shape[1] == 1:
            curvature = curvature[:, :1]
        return self.objective.design.signed_gram(curvature, shift)

    def _of_loss(self, name, rows):
        function = getattr(self.objective.formulation.loss, name)
        return function(self.objective.target[rows], self.raw_prediction[rows])

    def _weighted(self, rows, values):
        s = self.objective.row_weight[rows]
        return weigh(s[:, :, None] if values.ndim == 3 else s, values)


def hessian_blocks(objective, grams):
    """Return `Point.hessian_blocks`, computed in place from `Point.curvature_grams`."""
    penalty, free, pin = objective.penalty, objective.free, objective.pin
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
    if objective.fixed is not None:
        for outputs, block in blocks:
            moves = free if objective.coupled else free[outputs[0]]
            freeze_hessian(block, moves.ravel())
    return blocks


def _add_diagonal(matrix, diagonal):
    order = np.arange(matrix.shape[0])
    matrix[order, order] += diagonal
    return matrix


def gradient_shift(point, correction):
    """Return ||(h_i x~_i'N)_i|| / ||(g_i)_i||, the relative change in the rows' gradients.

    If a model fits perfectly, both norms are rounding, and the ratio is set to 0.
    """
    moved, size, known = np.sqrt(point.total(_squares_of_shift, correction))
    if moved <= 64 * np.finfo(np.float64).eps * known:
        return 0.0
    return float(moved / size) if size > 0 else np.inf


def curvature_change(point, correction):
    """Return a bound on the relative change in any row's curvature over a step.

    This is rate max_i |x~_i'N| with the loss's `curvature_rate`. It is 0 if the loss has none.
    `gradient_shift` takes a norm over all rows, in which rows with small gradients are
    invisible.
    """
    rate = point.objective.formulation.loss.curvature_rate
    return float(rate * largest_move(point, correction)) if rate else 0.0


def largest_move(point, step):
    """Return max_i |x~_i'd| for a step d over the rows with a weight."""
    return point.largest(_largest_move, step)


def _largest_move(point, correction):
    """Return `largest_move` over the rows of a part."""
    objective = point.objective
    moved = objective.design.predict(correction)[objective.sample_weight > 0]
    return np.linalg.norm(moved, axis=1).max(initial=0.0)


def _squares_of_shift(point, correction):
    """Return the squared norms of (h_i x~_i'N)_i, of (g_i)_i and of the accuracy of g_i.

    The raw prediction is accurate to eps |x~|'|theta|, so g_i is accurate to h_i times that.
    The factor eps is left out here. A sample of the rows suffices, because only the order of
    magnitude is needed.
    """
    objective = point.objective
    moved = point.curvature_product(objective.design.predict(correction))
    weighted = objective.sample_weight[:, None] * point.rows.raw_gradient
    sample = slice(None, None, 1 + objective.n_rows // _ENOUGH_ROWS)
    magnitude = objective.design.take(sample).magnitude(point.theta)
    known = point.curvature_product(magnitude, sample)
    squares = [np.sum(a * a) for a in (moved, weighted, known)]
    return np.array(squares) * [1.0, 1.0, len(moved) / max(1, len(known))]
