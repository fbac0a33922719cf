"""Mixins for scikit-learn's moment models."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from scipy import sparse
from sklearn.utils.validation import validate_data

from skinfluence.methods import InfluenceEstimatorMixin, get_problem
from skinfluence.moments.base import MomentLayout, MomentModel, MomentResponses
from skinfluence.moments.problem import MomentProblem
from skinfluence.parameters import Coefficients

__all__ = ["MomentMixin"]


class _Moments(Coefficients):
    """Fitted statistics in one vector, with the layout from the model's formulas."""

    def layout(self, model):
        return MomentLayout(len(self.vector(model, None)), len(model.classes_))

    def ndims(self, model, layout):
        return None

    def has_flat_target(self, model, layout):
        return True

    def vector(self, model, layout):
        return model._moments(model).read(model)

    def names(self, model, layout):
        classes, features = self.labels_and_features(model)
        return model._moments(model).names(classes, features)

    def labels_and_features(self, model):
        """Return class and feature names."""
        features = self.column_names(model, model.n_features_in_)
        return [str(label) for label in model.classes_.tolist()], features

    def rows_of_X(self, objective, rows):
        """Return some training rows."""
        return objective.X[rows]


class MomentMixin(InfluenceEstimatorMixin):
    """An estimator whose parameters are means, variances and counts.

    List before a scikit-learn class, and after `UnweightedMixin` if its `fit` takes no sample
    weights.
    """

    _parameters = _Moments()
    _responses = MomentResponses()
    #: The formulas, a subclass of `MomentModel`.
    _moments: ClassVar[type[MomentModel]]
    _has_objective = False
    #: Arguments for `validate_data`, as in scikit-learn's own `predict`.
    _row_checks: ClassVar[dict[str, Any]] = {}

    def _check_moment_rows(self, X):
        """Return samples after scikit-learn's own checks."""
        X = validate_data(self, X, reset=False, **self._row_checks)
        return X.tocsr() if sparse.issparse(X) else np.asarray(X)


@get_problem.register(MomentMixin)
def problem_of_moments(estimator, method=None):
    """Return a moment model's problem."""
    return MomentProblem(estimator)
