"""Stacking: a final estimator on other estimators' predictions, cross-fitted in its fit.

Let Z_k be the final estimator's features for training row k, predicted by the fold models, z
the features for a query, and theta the final estimator's parameters. Then

    d eta = theta dz + x~ d theta,    d theta = direct + sum_k (d theta/dZ_k) dZ_k,

with its raw prediction eta. The term "direct" changes the weights at fixed features.
"""

from dataclasses import replace

import numpy as np
from scipy import sparse
from sklearn.utils import Bunch

from skinfluence.composite.folds import FoldedProblem
from skinfluence.exceptions import UnsupportedEstimatorError


def name_members(estimator, fitted):
    """Set `named_estimators_` of an estimator that has `estimators_`.

    `fitted` has the constructor parameters of the fit.
    """
    found = iter(estimator.estimators_)
    estimator.named_estimators_ = Bunch(
        **{name: "drop" if e == "drop" else next(found) for name, e in fitted.estimators}
    )


class StackingProblem(FoldedProblem):
    """Members on all rows, their fold models, and last the final estimator."""

    n_combined = 1
    has_combiners = True
    codes_classes = True

    def members(self):
        return [*super().members(), self.estimator.final_estimator_]

    def put(self, estimator, members):
        super().put(estimator, members[:-1])
        estimator.final_estimator_ = members[-1]
        name_members(estimator, self.as_fitted)

    def path_of(self, k):
        n_members = len(super().members())
        return "final_estimator_" if k == n_members else super().path_of(k)

    def prepare(self, data):
        if np.ndim(data.y) > 1 and np.shape(data.y)[1] > 1:
            raise UnsupportedEstimatorError(
                f"{self.name} with several outputs has no influence. Fit one for each output."
            )
        super().prepare(data)

    def shares_with_last(self, shares, data, tests):
        *found, (part, _, y) = shares
        members = [one.member for one, _, _ in found]
        return [*found, (part, self.cross_features(members, data, tests), y)]

    # ---------------------------------------------------------------- features

    def fed_method(self, m):
        return self.estimator.stack_method_[m]

    def moved_fed(self, m, k, moved, rows=None):
        if self.fed_method(m) == "predict" and self.is_classifier:
            raise UnsupportedEstimatorError(
                f"{self.name} stacks class labels, which have no derivative. Use "
                "stack_method='predict_proba' or 'decision_function'."
            )
        return super().moved_fed(m, k, moved, rows)

    def cross_features(self, members, data, tests):
        """Return the final estimator's features for the rows, from the fold models."""
        found = [self.fed_values(m, members, data, tests)[1] for m in range(self.n_whole)]
        return self.features_of(np.concatenate(found, axis=1), data.X)

    def features_of(self, Z, X):
        """Return the final estimator's features: predictions and, if asked, samples."""
        if not self.as_fitted.passthrough:
            return Z
        if sparse.issparse(X):
            return sparse.hstack([Z, X], format=X.format)
        return np.hstack([Z, X])

    @property
    def answering(self):
        return [len(self.members()) - 1]

    def members_loss(self, X, y, loss_of):
        features = self.as_fitted.transform(X)
        return loss_of(self.estimator.final_estimator_, features, self.coded(y))

    # ---------------------------------------------------------------- influence

    def moved_members_loss(self, X, y, moved):
        return self.moved_final(X, "sample_loss", moved, self.coded(y))

    def tangent(self, X, method, moved):
        return self.moved_final(X, method, moved)

    def moved_final(self, X, method, moved, y=None):
        """Return the influence on a response of the final estimator, or on its losses."""
        features, last = self.as_fitted.transform(X), len(self.parts) - 1
        width = features.shape[1] - (X.shape[1] if self.as_fitted.passthrough else 0)
        members = range(self.n_whole)

        def fed(rows):
            """Return the derivatives of cross-fitted predictions, (b, F, N)."""
            found = [self.fed_moves(m, moved, rows) for m in members]
            return np.concatenate(found, axis=-1).transpose(0, 2, 1)

        now = [self.moved_fed(m, m, moved) for m in members]
        now = np.concatenate(now, axis=-1).transpose(0, 2, 1)
        return moved.with_fed(last, method, features, slice(0, width), now, fed, y=y)

    def places(self, k):
        if k < len(self.members()) - 1:
            return super().places(k)
        n_features = self.data.X.shape[1]
        if not self.as_fitted.passthrough:
            return np.arange(0), 0
        return None, self.estimator.final_estimator_.n_features_in_ - n_features

    # ---------------------------------------------------------------- removal

    def combine(self, estimator, data, tests, method, *, kept=None, remember=False):
        members = type(self)(estimator).members()
        rows = np.arange(data.n_rows)
        final = replace(self.parts[-1], rows=rows, counts=np.ones(data.n_rows))
        X, y = self.cross_features(members, data, tests), self.coded(data.y)
        model = self.refit_model(final, X, y, data, method, kept, remember=remember)
        if model is None:
            return False
        estimator.final_estimator_ = model
        return True
