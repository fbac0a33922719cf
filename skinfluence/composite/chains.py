"""Several outputs as one model each, or as a chain in which models feed the next ones."""

from dataclasses import replace

import numpy as np
from scipy import sparse
from sklearn.base import clone

from skinfluence.composite import (
    CompositeProblem,
    log_loss,
    marginal_log_loss,
)
from skinfluence.composite.folds import FoldedProblem, draw_folds
from skinfluence.composite.influence import codes_of
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.whole import take_rows


class MultiOutputProblem(CompositeProblem):
    """One member for each output, on all rows."""

    takes_weights = True

    def targets(self, y):
        return [(None, column) for column in self.outputs(y).T]

    def outputs(self, y):
        """Return targets (q, n_outputs) after a check that there is a column for each."""
        y, n_outputs = np.asarray(y), len(self.estimator.estimators_)
        if y.ndim != 2 or y.shape[1] != n_outputs:
            raise ValueError(
                f"y has shape {y.shape}, but {self.name} needs {n_outputs} outputs: one "
                "column for each."
            )
        return y

    def loss(self, value, y):
        if not self.is_classifier:
            return super().loss(value, y)
        found = [
            log_loss(proba, codes_of(column, member.classes_))
            for proba, member, (_, column) in zip(
                value, self.members(), self.targets(y), strict=True
            )
        ]
        return sum(loss for loss, _ in found), [gradient for _, gradient in found]

    def tangent(self, X, method, moved):
        parts = [moved(k, method) for k in range(len(self.members()))]
        return parts if method == "predict_proba" else np.stack(parts, axis=-1)


class ChainProblem(MultiOutputProblem):
    """One member for each output, with X and the preceding outputs as features.

    In `fit` these outputs are the targets. In a prediction they are the preceding members'
    responses r_j, so ``dr_k = moved_k + sum_(j < k) (dr_k/dr_j) dr_j``.
    """

    takes_arrays = True

    def targets(self, y):
        y = self.outputs(y)
        return [(None, y[:, output]) for output in self.estimator.order_]

    def shares(self, data, drawn, tests):
        found = super().shares(data, drawn, tests)
        before = np.array([y for _, _, y in found], dtype=np.float64).T
        return [(part, beside(X, before[:, :k]), y) for k, (part, X, y) in enumerate(found)]

    @property
    def loss_method(self):
        if super().loss_method is None:
            raise UnsupportedEstimatorError(
                f"The members of this {self.name} have no probabilities, and a sample's loss "
                "in a chain is a log loss of these. Use influence_prediction or "
                "leave_out_predict."
            )
        return super().loss_method

    def loss(self, value, y):
        if not self.is_classifier:
            return super().loss(value, y)
        labels = np.empty(value.shape)
        y = self.outputs(y)
        for output, member in zip(
            self.estimator.order_, self.estimator.estimators_, strict=True
        ):
            labels[:, output] = codes_of(y[:, output], member.classes_)
        return marginal_log_loss(value, labels)

    @property
    def chain_method(self):
        """The response that following members use, and whether it has a derivative."""
        fed = getattr(self.estimator, "chain_method_", "predict")
        return fed, fed != "predict" or not self.is_classifier  # labels have none

    def tangent(self, X, method, moved):
        fed, smooth = self.chain_method
        order, before = self.estimator.order_, np.empty((X.shape[0], 0))
        X, found, through = self.features(0, X), [None] * len(order), []
        for k, member in enumerate(self.estimator.estimators_):
            found[order[k]] = self.through(k, method, X, before, through, moved)
            if k + 1 < len(order):
                step = np.zeros((X.shape[0], moved.width))
                if smooth and fed == method:
                    step = found[order[k]]
                elif smooth:
                    step = self.through(k, fed, X, before, through, moved)
                through.append(step)
                response = positive(getattr(member, fed)(beside(X, before)))
                before = np.column_stack([before, response])
        return np.stack(found, axis=-1)

    def through(self, k, method, X, before, fed, moved):
        """Return the derivative of one member's response, (q, N).

        Parameters
        ----------
        k, method, moved
            The member's position, its response, and the part of its features that `tangent`
            gets.
        X, before : array-like of shape (q, d) and ndarray of shape (q, k)
            The member's features.
        fed : list of ndarray of shape (q, N)
            Derivatives of the preceding responses.
        """
        total = positive_moved(moved(k, method, beside(X, before)))
        for j, step in enumerate(fed):
            if step.any():
                slope = derivative(self.estimator.estimators_[k], method, X, before, j)
                total = total + slope[:, None] * step
        return total


class CrossFittedChainProblem(ChainProblem, FoldedProblem):
    """A chain whose members are fitted on cross-fitted responses of the preceding outputs.

    The members for all outputs come first. For each output but the last follow the models of
    its folds, which scikit-learn does not keep, and fits without weights.
    """

    moves_as_one = True
    takes_weights = False

    @property
    def n_fed(self):
        return self.n_whole - 1  # nothing follows the last output

    def output_of(self, k):
        """Return the position in the chain of a member's output."""
        return next(j for j in range(self.n_whole) if k == j or k in self.of_folds(j))

    def fed_method(self, m):
        return self.chain_method[0]

    def targets(self, y):
        of_outputs = super().targets(y)
        return [of_outputs[self.output_of(k)] for k in range(len(self.members()))]

    def folds(self, data):
        """Return (train, test) for the folds of all outputs but the last."""
        y = self.outputs(data.y)[:, self.estimator.order_].T[:-1]
        return [pair for column in y for pair in draw_folds(self, data, column)]

    def prepare(self, data):
        model = self.members()[0]
        self.estimator._fold_members = [clone(model) for _ in self.folds(data)]

        def fit(k, share):
            part, X, y = share
            return part.member if k < self.n_whole else part.member.fit(X, y)

        self.follow(data, self.drawn(data), self.tests(data), fit)

    def follow(self, data, drawn, tests, member_of):
        """Return (Z, shares): cross-fitted responses (n, K - 1), and as `shares`.

        ``member_of(k, share)`` returns member k, in the order of the chain, or None to stop.
        """
        shares = CompositeProblem.shares(self, data, drawn, tests)
        X, Z = self.features(0, data.X), np.zeros((data.n_rows, self.n_fed))
        members = self.members()
        for j in range(self.n_whole):
            for k in (j, *self.of_folds(j)):
                part, own, y = shares[k]
                part = replace(part, reached=part.reached and k < self.n_whole)
                shares[k] = part, beside(own, Z[part.rows, :j]), y
                members[k] = member_of(k, shares[k])
                if members[k] is None:
                    return None
            if j < self.n_fed:
                beside_fed = replace(data, X=beside(X, Z[:, :j]))
                rows, found = self.fed_values(j, members, beside_fed, tests)
                Z[rows, j] = found[:, 0]
        return Z, shares

    def shares(self, data, drawn, tests):
        return self.follow(data, drawn, tests, lambda k, share: share[0].member)[1]

    def refit(self, data, drawn, tests, method, *, kept=None, remember=False):
        members = self.members()

        def fit(k, share):
            members[k] = self.refit_member(k, share, data, method, kept, remember)
            return members[k]

        if self.follow(data, drawn, tests, fit) is None:
            return None
        return self.assembled(
            members, data, drawn, tests, method, kept=kept, remember=remember
        )

    def through(self, k, method, X, before, fed, moved, rows=None):
        now = np.stack(fed, axis=1) if fed else np.zeros((X.shape[0], 0, moved.width))
        j = self.output_of(k)
        columns = slice(X.shape[1], X.shape[1] + j)

        def crossed(rows):
            """Return the derivatives of the member's fed features, (b, j, N)."""
            return self.crossed_moved(j, moved, rows)

        features = beside(X, before)
        found = moved.with_fed(k, method, features, columns, now, crossed, rows=rows)
        return positive_moved(found)

    def crossed_moved(self, n_outputs, moved, rows):
        """Return cross-fitted responses' derivatives for sorted training rows, (b, j, N)."""
        fed, smooth = self.chain_method
        found, tests = np.zeros((len(rows), n_outputs, moved.width)), self.remembered.tests
        X, Z = self.features(0, self.data.X), self.crossed(moved)

        for j in range(n_outputs if smooth else 0):

            def respond(k, here, j=j):
                steps = list(found[np.searchsorted(rows, here), :j].transpose(1, 0, 2))
                X_here, Z_here = take_rows(X, here), Z[here, :j]
                return self.through(k, fed, X_here, Z_here, steps, moved, here)

            found[:, j] = self.cross_fitted(respond, j, tests, rows)
        return found

    def crossed(self, moved):
        """Return the cross-fitted responses of the training rows, (n, K - 1)."""
        if "crossed" not in moved.known:
            drawn, tests = self.rest(np.ones(self.data.n_rows, dtype=bool))
            found = self.follow(self.data, drawn, tests, lambda k, share: share[0].member)
            moved.known["crossed"] = found[0]
        return moved.known["crossed"]


def beside(X, columns):
    """Return rows with more columns appended."""
    if sparse.issparse(X):
        return sparse.hstack([X, columns], format="csr") if columns.shape[1] else X
    return np.hstack([X, columns])


def positive(response):
    """Return the second probability, or the only number, (q,)."""
    response = np.asarray(response, dtype=np.float64)
    return response[:, 1] if response.ndim == 2 else response


def positive_moved(moved):
    """Return the derivative of the second probability, or of the only number, (q, N)."""
    return moved[:, :, 1] if moved.ndim == 3 else moved


def derivative(member, name, X, before, j):
    """Return d response / d (column j of `before`) by a central difference, (q,).

    It is exact for responses that are linear in the features.
    """
    step = 1e-5 * max(1.0, np.abs(before[:, j]).max())
    sides = []
    for sign in (1.0, -1.0):
        shifted = before.copy()
        shifted[:, j] += sign * step
        sides.append(positive(getattr(member, name)(beside(X, shifted))))
    return (sides[0] - sides[1]) / (2 * step)
