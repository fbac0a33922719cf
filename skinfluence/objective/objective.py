"""What changes with an objective's rows, weights and parameters."""

from dataclasses import dataclass, replace

import numpy as np

from skinfluence.class_balance import ClassBalance
from skinfluence.design import make_design
from skinfluence.gradients import cached_batches
from skinfluence.namespaces import to_host
from skinfluence.objective.formulation import FixedObjective


@dataclass(frozen=True, eq=False)
class Objective(FixedObjective):
    """A formulation with its training data, see `FixedObjective` for the parameters."""

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

    def with_extra_penalty(self, shift):
        """Return this objective with `shift` added to every parameter's penalty."""
        form = self.formulation
        return replace(self, formulation=replace(form, penalty=form.penalty + shift))

    def with_penalty_weight(self, extra):
        """Return this objective with the penalty for `extra` more units of weight."""
        form = self.formulation
        penalty = form.penalty + extra * form.penalty_share
        return replace(self, formulation=replace(form, penalty=penalty))

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


def _curvature_of_each(loss, target, raw):
    """Return the diagonal of the curvature for raw predictions (m, b, K), on the host."""
    m, b, K = raw.shape
    found = loss.curvature_diagonal(np.repeat(target, b, axis=0), raw.reshape(m * b, K))
    return to_host(found).reshape(m, b, K)
