"""A formulation with its training data."""

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from skinfluence._compat import rank_cutoff
from skinfluence.class_balance import ClassBalance
from skinfluence.column_scales import ColumnScales
from skinfluence.design import Design, make_design
from skinfluence.gradients import absent_in, cached_batches, weigh, weighted_sum
from skinfluence.namespaces import to_host
from skinfluence.objective.formulation import Formulation
from skinfluence.objective.point import Point
from skinfluence.rank import null_directions, spectrum


@dataclass(frozen=True, eq=False)
class Objective:
    """A formulation with its training data.

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

    def balanced(self):
        """Return this objective with "balanced" class weights computed from its rows."""
        balance = self.class_sums
        return self if balance is None else self.with_balance(balance)

    @property
    def class_sums(self):
        """The sums over these rows that determine "balanced" class weights, or None."""
        form = self.formulation
        if self.balance is not None or form.balanced_by is None:
            return self.balance
        codes, weight = (
            to_host(form.target.class_codes(self.target)),
            to_host(self.sample_weight),
        )
        return ClassBalance.of(form.class_weight, codes, weight, form.balanced_by == "weight")

    def with_balance(self, balance):
        """Return this objective with the class weights of a `ClassBalance`."""
        form = replace(self.formulation, class_weight=balance.class_weight)
        return replace(self, formulation=form, balance=balance)

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
    def free(self):
        """Mask of the free parameters, (K, D) bool."""
        support = self.formulation.l1_support
        return np.ones(self.penalty.shape, dtype=bool) if support is None else support.free

    @cached_property
    def fixed(self):
        """Mask of the parameters that are not free, None if all are."""
        return None if self.free.all() else ~self.free

    @cached_property
    def unpenalised(self):
        """Mask of the parameters without a quadratic or l1 penalty, (K, D) bool."""
        support, flat = self.formulation.l1_support, self.penalty == 0
        return flat if support is None else flat & ~support.penalised

    @cached_property
    def slope(self):
        """Gradient of the linear penalty on an l1 support, (K, D), or None."""
        support = self.formulation.l1_support
        return None if support is None else support.slope(self.weight_sum)

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

    def centred(self):
        """Return this objective for the features less the offset."""
        return replace(self, design=self.design.less(self.offset))

    def to_centred(self, theta):
        """Return the parameters (..., K, D) for `centred` with the same predictions."""
        theta = np.array(theta, dtype=np.float64, like=self.design.like)
        theta[..., -1] += theta[..., :-1] @ self.offset
        return theta

    def from_centred(self, theta):
        """Return the parameters whose `to_centred` is theta (..., K, D)."""
        theta = np.array(theta, dtype=np.float64, like=self.design.like)
        theta[..., -1] -= theta[..., :-1] @ self.offset
        return theta

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

    def with_extra_penalty(self, shift):
        """Return this objective with `shift` added to every parameter's penalty."""
        form = self.formulation
        return replace(self, formulation=replace(form, penalty=form.penalty + shift))

    def with_penalty_weight(self, extra):
        """Return this objective with the penalty for `extra` more units of weight."""
        form = self.formulation
        penalty = form.penalty + extra * form.penalty_share
        return replace(self, formulation=replace(form, penalty=penalty))

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
        (b, n_classes, 1 or K), see `ClassBalance.growth`. For parameters that a support fixes
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

    def fallen(self, before, theta, weight=None):
        """Return the rows that lost more than half of their curvature between parameters.

        Parameters
        ----------
        before : ndarray of shape (b, K, D) or (1, K, D)
            Parameters, one for each pair or the same for all.
        theta : ndarray of shape (b, K, D)
            The other parameters of each pair.
        weight : ndarray of shape (n, b, 1 or K) or None, default=None
            Row weights of each pair; None for `row_weight`.

        Returns
        -------
        pair, row : ndarray of shape (m,)
            The pairs, and the rows that lost curvature in them.
        root : ndarray of shape (m, K)
            The curvature before, with weights, is r_k^2 in each output k that lost it, and
            r r' if the loss is coupled. 0 in other outputs.
        """
        loss, (b, K, _) = self.formulation.loss, theta.shape
        weight = self.row_weight[:, None] if weight is None else weight
        none = np.zeros(0, dtype=np.intp)
        found = [(none, none, np.zeros((0, K)))]
        for rows in cached_batches(self.n_rows, 2 * b * K, like=self.design.like):
            part, target = self.design.take(rows), self.target[rows]
            raw = part.predict(before)
            old = _curvature_of_each(loss, target, raw)
            new = _curvature_of_each(loss, target, part.predict(theta))
            fell = new < 0.5 * old
            if loss.coupled:
                fell = (new.sum(axis=2) < 0.5 * old.sum(axis=2))[:, :, None]
            fell &= to_host(weight[rows] > 0)
            row, pair = np.nonzero(fell.any(axis=2))
            if len(row):
                root = np.sqrt(np.where(fell, old * to_host(weight[rows]), 0.0))[row, pair]
                if loss.coupled:  # the curvature has rank one
                    W = to_host(loss.curvature(target[row], raw[row, pair % raw.shape[1]]))
                    largest = np.einsum("mkk->mk", W).argmax(axis=1)
                    root *= np.sign(W[np.arange(len(row)), largest])
                found.append((pair, row + rows.start, root))
        return tuple(np.concatenate(arrays) for arrays in zip(*found, strict=True))

    def without_rows(self):
        """Return an objective without rows that keeps the penalty for all of them."""
        # Other values that depend on the rows are dropped, because no solve needs them.
        form = replace(self.formulation, penalty=self.penalty, minimum_norm=None)
        return replace(self, formulation=form, scales=None).take(slice(0, 0))

    def among_all(self, rows):
        """Return the indices among all rows of the fit of rows, padded by -1."""
        return rows

    def design_of(self, rows):
        """Return a design with some rows among all rows of the fit, and their places in it."""
        return self.design, rows

    def without(self, rows):
        """Return this objective with weight zero for some rows."""
        weight = self.sample_weight.copy()
        weight[rows] = 0.0
        scales = self.scales
        if scales is not None:
            scales = scales.without(self.design.take(rows).rows())
        reduced = replace(self, sample_weight=weight, scales=scales)
        if self.balance is None:
            return reduced
        return reduced.with_balance(self.balance.without(rows))

    def reweighted(self, weight, class_weight=None):
        """Return this objective at other sample weights (n,) and, if given, class weights."""
        form = self.formulation
        if class_weight is not None:
            form = replace(form, class_weight=class_weight)
        scales = None if self.scales is None else self.scales.at(self.design, weight)
        balance = self.balance
        if balance is not None and balance.by_weight:
            balance = replace(balance, u=weight)
        changed = {"sample_weight": weight, "scales": scales, "balance": balance}
        return replace(self, formulation=form, **changed)

    def take(self, rows, design=None):
        """Return this objective with only some of its rows and the same parameters.

        Class weights stay as they are. The rows may have other features, in a `design`.
        """
        return replace(
            self,
            design=self.design.take(rows) if design is None else design,
            target=self.target[rows],
            sample_weight=self.sample_weight[rows],
            index=None if self.index is None else self.index[rows],
            balance=None if self.balance is None else self.balance.take(rows),
        )

    def restrict(self, rows):
        """Return the objective of a model fitted on only some of the rows.

        Equal to `take`, except that kernel models lose the parameters of the other rows.
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
        """Return this objective with the rows of another one appended."""
        named = self.index is not None and other.index is not None
        joined = replace(
            self,
            design=self.design.append(other.design),
            target=np.concatenate([self.target, other.target]),
            sample_weight=np.concatenate([self.sample_weight, other.sample_weight]),
            index=self.index.append(other.index) if named else None,
        )
        if self.balance is None:
            return joined
        return joined.with_balance(self.balance.append(other.balance))

    def on_host(self):
        """Return this objective with NumPy arrays."""
        if self.design.like is None:
            return self
        design = make_design(to_host(self.design.X), self.design.fit_intercept)
        target, weight = to_host(self.target), to_host(self.sample_weight)
        return replace(self, design=design, target=target, sample_weight=weight)

    def at(self, theta):
        """Return this objective evaluated at theta (K, D)."""
        return Point(self, np.array(theta, dtype=np.float64, like=self.design.like))


def _curvature_of_each(loss, target, raw):
    """Return the diagonal of the curvature for raw predictions (m, b, K), on the host."""
    m, b, K = raw.shape
    found = loss.curvature_diagonal(np.repeat(target, b, axis=0), raw.reshape(m * b, K))
    return to_host(found).reshape(m, b, K)
