"""An objective evaluated at one parameter vector."""

from functools import cached_property

import numpy as np

from skinfluence.gradients import GradientRows
from skinfluence.objective.hessian import coupled_gram, hessian_blocks, signed_gram
from skinfluence.objective.rows import absent_in, cached_batches, weigh

__all__ = ["Point"]

# Rows from which the spread of features is estimated.
_ENOUGH_ROWS = 64


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
        width = max(b * K, objective.design.n_columns // 4)
        for rows in cached_batches(objective.n_rows, width, np.float32):
            part = objective.design.take(rows)
            delta = part.predict(steps, dtype=np.float32)
            delta[absent_in(rows, absent)] = 0.0
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
            return coupled_gram(self, shift)[None]
        curvature = self.curvature()
        same = self.objective.formulation.loss.constant_curvature
        if same and self.objective.row_weight.shape[1] == 1:
            curvature = curvature[:, :1]
        return signed_gram(self.objective.design, curvature, shift)

    def _of_loss(self, name, rows):
        function = getattr(self.objective.formulation.loss, name)
        return function(self.objective.target[rows], self.raw_prediction[rows])

    def _weighted(self, rows, values):
        s = self.objective.row_weight[rows]
        return weigh(s[:, :, None] if values.ndim == 3 else s, values)
