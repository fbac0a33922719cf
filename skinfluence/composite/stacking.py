"""Stacking: a final estimator on other estimators' predictions, cross-fitted in its fit.

Let Z_k be the final estimator's features for training row k, predicted by the fold models, z
the features for a query, and theta the final estimator's parameters. Then

    d eta = theta dz + x~ d theta,    d theta = direct + sum_k (d theta/dZ_k) dZ_k,

with its raw prediction eta. The term "direct" changes the weights at fixed features.
"""

import numpy as np
from scipy import sparse
from sklearn.utils import Bunch

from skinfluence.blocks import row_blocks
from skinfluence.composite.folds import draw_folds, fit_folds
from skinfluence.composite.influence import codes_of
from skinfluence.composite.problem import CompositeProblem
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.methods import FittedMixin
from skinfluence.whole import take_rows
from skinfluence.whole.sweep import Sweep

__all__ = ["StackingProblem"]


class StackingProblem(CompositeProblem):
    """Members on all rows, their fold models, and last the final estimator."""

    n_combined = 1

    def members(self):
        estimator = self.estimator
        folds = vars(estimator).get("_fold_members", [])
        return [*estimator.estimators_, *folds, estimator.final_estimator_]

    def put(self, estimator, members):
        count = len(estimator.estimators_)
        estimator.estimators_ = list(members[:count])
        estimator._fold_members = list(members[count:-1])
        estimator.final_estimator_ = members[-1]
        found = iter(estimator.estimators_)
        named = [
            (name, "drop" if e == "drop" else next(found)) for name, e in estimator.estimators
        ]
        estimator.named_estimators_ = Bunch(**dict(named))

    @property
    def methods(self):
        """Each member's response that the final estimator uses."""
        return self.estimator.stack_method_

    def prepare(self, data):
        if isinstance(self.estimator.cv, str):
            raise UnsupportedEstimatorError(
                f"Influence of {self.name} with cv={self.estimator.cv!r}: what its members "
                "were fitted on is not known. Let it fit them."
            )
        if np.ndim(data.y) > 1:
            raise UnsupportedEstimatorError(
                f"Influence of {self.name} with several outputs. Fit one for each output."
            )
        folds, y = draw_folds(self, data), self.codes(data.y)
        fitted = [fit_folds(self, m, folds, data, y) for m in self.estimator.estimators_]
        self.estimator._fold_members = [model for models in fitted for model in models]

    def codes(self, y):
        """Return targets in the members' encoding."""
        return codes_of(y, self.estimator.classes_) if self.is_classifier else np.asarray(y)

    def targets(self, y):
        return [(None, self.codes(y))] * len(self.members())

    def tests(self, data):
        return [test for _, test in draw_folds(self, data)]

    def drawn(self, data):
        trains = [(train, None) for train, _ in draw_folds(self, data)]
        count = len(self.estimator.estimators_)
        return [(None, None)] * count + trains * count + [(None, None)]

    def shares(self, data):
        *found, (part, _, y) = super().shares(data)
        members = [one.member for one, _, _ in found]
        Z = self.cross_fitted(members, data, self.tests(data))
        return [*found, (part, self.features_of(Z, data.X), y)]

    # ---------------------------------------------------------------- features

    def column(self, response, method):
        """Return a response as features (q, F), without the first of two probabilities."""
        if response.ndim == 1:
            return response.reshape(-1, 1)
        two = method == "predict_proba" and len(self.estimator.classes_) == 2
        return response[:, 1:] if two else response

    def moved_columns(self, k, method, moved, X=None):
        """Return the influence on member k's features, (q, n, F)."""
        if method == "predict" and self.is_classifier:
            raise UnsupportedEstimatorError(
                f"{self.name} stacks class labels, which have no derivative. Use "
                "stack_method='predict_proba' or 'decision_function'."
            )
        found = moved(k, method, X)
        if found.ndim == 2:
            return found[:, :, None]
        two = method == "predict_proba" and len(self.estimator.classes_) == 2
        return found[:, :, 1:] if two else found

    def cross_fitted(self, members, data, tests):
        """Return the fold models' features for the test rows, (n, F)."""
        count, columns = len(self.estimator.estimators_), []
        for m, method in enumerate(self.methods):
            place = None
            for fold, test in enumerate(tests):
                model = members[count + m * len(tests) + fold]
                response = getattr(model, method)(take_rows(data.X, test))
                made = self.column(np.asarray(response, dtype=np.float64), method)
                if place is None:
                    place = np.full((data.n_rows, made.shape[1]), np.nan)
                place[test] = made
            columns.append(place)
        return np.hstack(columns)

    def features_of(self, Z, X):
        """Return the final estimator's features: predictions and, if asked, samples."""
        if not self.estimator.passthrough:
            return Z
        if sparse.issparse(X):
            return sparse.hstack([Z, X], format=X.format)
        return np.hstack([Z, X])

    def query_features(self, X):
        """Return features for samples from the members on all rows."""
        columns = [
            self.column(np.asarray(getattr(m, method)(X), dtype=np.float64), method)
            for m, method in zip(self.estimator.estimators_, self.methods, strict=True)
        ]
        return self.features_of(np.hstack(columns), X)

    # ---------------------------------------------------------------- influence

    def tangent(self, X, method, moved):
        direct = moved(len(self.parts) - 1, method, self.query_features(X))
        problem, point, through = self.final_state(moved)
        dz = [self.moved_columns(k, m, moved) for k, m in enumerate(self.methods)]
        dz = np.concatenate(dz, axis=-1)  # (q, n, F)
        design = problem.check_X(point.objective.formulation, self.query_features(X))
        raw = np.einsum("kf,qnf->qnk", point.theta[:, : dz.shape[-1]], dz)
        raw += np.einsum("qd,kdn->qnk", design.rows(), through)
        name = "predict" if not self.is_classifier else method
        jacobian, _ = problem.response_jacobian(name, design, point)
        if jacobian is not None:
            raw = np.einsum("qrk,qnk->qnr", jacobian(slice(None)), raw)
        return direct + (raw if direct.ndim == 3 else raw[:, :, 0])

    def final_state(self, moved):
        """Return (problem, point, sum_k (d theta/dZ_k) dZ_k as (K, D, n)), final fit."""
        known = vars(self).get("_final_state")
        if known is not None:
            return known
        final = self.estimator.final_estimator_
        problem = final._problem()
        plain = isinstance(final, FittedMixin) and not problem.objective.design.has_metric
        if not plain or problem.objective.formulation.loss.is_piecewise_linear:
            raise UnsupportedEstimatorError(
                f"Influence of {self.name} with the final estimator {final!r}: it has to be a "
                "linear model with a smooth loss, and no pipeline."
            )
        state = problem.state("auto", quiet=True)
        K, D = state.point.theta.shape
        basis = np.eye(K * D).reshape(-1, K, D)
        sweep = Sweep(state.point, state.factor, None)
        factors = sweep.factors(state.factor.solve_transposed(basis))
        B = np.array([one.toarray() if sparse.issparse(one) else one for one in factors])
        data, tests = self.data, self.remembered.tests
        through, start = np.zeros((K * D, data.n_rows)), 0
        count = len(self.estimator.estimators_)
        for m, method in enumerate(self.methods):
            width = 0
            for fold, test in enumerate(tests):
                k = count + m * len(tests) + fold
                for block in row_blocks(len(test), 64 * data.n_rows):
                    rows = test[block]
                    dZ = self.moved_columns(k, method, moved, take_rows(data.X, rows))
                    width = dZ.shape[-1]
                    pull = B[:, rows, start : start + width]
                    through += np.einsum("jkf,knf->jn", pull, dZ)
            start += width
        self._final_state = problem, state.point, through.reshape(K, D, -1)
        return self._final_state

    # ---------------------------------------------------------------- removal

    def combine(self, estimator, kept, method):
        if method == "influence":
            raise UnsupportedEstimatorError(
                f"Removal from {self.name} fits the final estimator again, because all of its "
                "features move: use method='newton' or 'exact'."
            )
        data = self.data
        members = type(self)(estimator).members()
        Z = self.cross_fitted(members, data, self.remembered.tests)[kept]
        rest = data.without(np.flatnonzero(~kept))
        final = self.parts[-1]
        weight = final.weight(self.sample_weight)[kept]
        model = final.member._problem("leave_out_loss").model_on(
            self.features_of(Z, rest.X), self.codes(rest.y), weight, method
        )
        if model is None:
            return False
        estimator.final_estimator_ = model
        return True
