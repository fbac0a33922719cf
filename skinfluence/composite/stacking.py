"""Stacking: a final estimator on other estimators' predictions, cross-fitted in its fit.

Let Z_k be the final estimator's features for training row k, predicted by the fold models, z
the features for a query, and theta the final estimator's parameters. Then

    d eta = theta dz + x~ d theta,    d theta = direct + sum_k (d theta/dZ_k) dZ_k,

with its raw prediction eta. The term "direct" changes the weights at fixed features.
"""

from dataclasses import replace

import numpy as np
from scipy import sparse
from sklearn.pipeline import Pipeline
from sklearn.utils import Bunch, column_or_1d

from skinfluence.composite.folds import FoldedProblem, fit_folds
from skinfluence.composite.influence import codes_of
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.whole import give_data, take_rows, training_data


def name_members(estimator):
    """Set `named_estimators_` of an estimator that has `estimators_`."""
    found = iter(estimator.estimators_)
    estimator.named_estimators_ = Bunch(
        **{name: "drop" if e == "drop" else next(found) for name, e in estimator.estimators}
    )


class StackingProblem(FoldedProblem):
    """Members on all rows, their fold models, and last the final estimator."""

    n_combined = 1
    has_combiners = True
    codes_classes = True

    def members(self):
        estimator = self.estimator
        folds = vars(estimator).get("_fold_members", [])
        return [*estimator.estimators_, *folds, estimator.final_estimator_]

    def put(self, estimator, members):
        count = len(estimator.estimators_)
        estimator.estimators_ = list(members[:count])
        estimator._fold_members = list(members[count:-1])
        estimator.final_estimator_ = members[-1]
        name_members(estimator)

    @property
    def methods(self):
        """Each member's response that the final estimator uses."""
        return self.estimator.stack_method_

    def prepare(self, data):
        if isinstance(self.estimator.cv, str):
            raise UnsupportedEstimatorError(
                f"{self.name} with cv={self.estimator.cv!r} has no influence, because the "
                "training samples of its members are unknown. Pass cv as a number or a "
                "splitter, and fit again."
            )
        if np.ndim(data.y) > 1 and np.shape(data.y)[1] > 1:
            raise UnsupportedEstimatorError(
                f"{self.name} with several outputs has no influence. Fit one for each output."
            )
        folds, y = self.folds(data), self.codes(data.y)
        fitted = [fit_folds(self, m, folds, data, y) for m in self.estimator.estimators_]
        self.estimator._fold_members = [model for models in fitted for model in models]

    def codes(self, y):
        """Return targets in the members' encoding."""
        return codes_of(y, self.estimator.classes_) if self.is_classifier else column_or_1d(y)

    def targets(self, y):
        return [(None, self.codes(y))] * len(self.members())

    def drawn(self, data):
        count = len(self.estimator.estimators_)
        return [(None, None)] * count + self.trains(data) * count + [(None, None)]

    def shares_with_last(self, shares, data, tests):
        *found, (part, _, y) = shares
        members = [one.member for one, _, _ in found]
        Z = self.cross_fitted(members, data, tests)
        return [*found, (part, self.features_of(Z, data.X), y)]

    # ---------------------------------------------------------------- features

    def column(self, response, method):
        """Return a response as features (q, F), without the first of two probabilities."""
        if response.ndim == 1:
            return response.reshape(-1, 1)
        two = method == "predict_proba" and len(self.estimator.classes_) == 2
        return response[:, 1:] if two else response

    def moved_columns(self, k, method, moved, rows=None):
        """Return the influence on the features from member k, (q, n, F)."""
        if method == "predict" and self.is_classifier:
            raise UnsupportedEstimatorError(
                f"{self.name} stacks class labels, which have no derivative. Use "
                "stack_method='predict_proba' or 'decision_function'."
            )
        found = moved(k, method, rows=rows)
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
                if not len(test):
                    continue
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

    @property
    def answering(self):
        return [len(self.members()) - 1]

    def members_loss(self, X, y, loss_of):
        return loss_of(self.estimator.final_estimator_, self.query_features(X), self.codes(y))

    # ---------------------------------------------------------------- influence

    def moved_members_loss(self, X, y, moved):
        return self.moved_final(X, "sample_loss", moved, self.codes(y))

    def tangent(self, X, method, moved):
        return self.moved_final(X, method, moved)

    def moved_final(self, X, method, moved, y=None):
        """Return the influence on a response of the final estimator, or on its losses."""
        count, last, features = len(self.methods), len(self.parts) - 1, self.query_features(X)
        width = features.shape[1] - (X.shape[1] if self.estimator.passthrough else 0)

        def fed(rows):
            """Return the derivatives of cross-fitted predictions, (b, F, N)."""
            found = [self.cross_fitted_moved(m, moved, rows) for m in range(count)]
            return np.concatenate(found, axis=-1).transpose(0, 2, 1)

        now = [self.moved_columns(k, m, moved) for k, m in enumerate(self.methods)]
        now = np.concatenate(now, axis=-1).transpose(0, 2, 1)
        return moved.with_fed(last, method, features, slice(0, width), now, fed, y=y)

    def cross_fitted_moved(self, m, moved, rows):
        """Return the influence on member m's cross-fitted features, (b, n, F)."""
        tests, count, found = self.remembered.tests, len(self.estimator.estimators_), None
        for fold, test in enumerate(tests):
            here = np.flatnonzero(np.isin(rows, test))
            if not len(here):
                continue
            k = count + m * len(tests) + fold
            dZ = self.moved_columns(k, self.methods[m], moved, rows[here])
            found = np.zeros((len(rows), *dZ.shape[1:])) if found is None else found
            found[here] = dZ
        return found

    def places(self, k):
        if k < len(self.members()) - 1:
            return super().places(k)
        n_features = self.data.X.shape[1]
        if not self.estimator.passthrough:
            return np.arange(0), 0
        return None, self.estimator.final_estimator_.n_features_in_ - n_features

    # ---------------------------------------------------------------- removal

    def combine(self, estimator, data, tests, method, *, kept=None, remember=False):
        if method == "influence":
            raise UnsupportedEstimatorError(
                f"Removal from {self.name} fits the final estimator again, because all of its "
                "features move: use method='newton' or 'exact'."
            )
        members = type(self)(estimator).members()
        Z = self.cross_fitted(members, data, tests)
        rows = np.arange(data.n_rows)
        final = replace(self.parts[-1], rows=rows, counts=np.ones(data.n_rows))
        X, y = self.features_of(Z, data.X), self.codes(data.y)
        model = self.refit_model(final, X, y, data, method, kept, remember=remember)
        if model is None:
            return False
        if remember and isinstance(model, Pipeline):
            weight = data.params["sample_weight"] if final.reached else None
            give_data(model, training_data(model, X, y, weight, data.routing))
        estimator.final_estimator_ = model
        return True
