"""Where a kind of model keeps its parameters and rows: what its mixins say otherwise.

These defaults are for models with `coef_` and `intercept_` and a row of features for each
sample. Kernel models, a scale among the parameters, an l1 support and pairs of classes differ
in some of them, and in nothing else that the chapters see.
"""

import numpy as np
from scipy.sparse import issparse

from skinfluence import active_set
from skinfluence.design import make_design
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.layout import ParameterLayout

__all__ = ["Hooks"]


class Hooks:
    """How the fitted problem reads and writes an estimator, one question a method."""

    def _lend(self, X, sample_weight):
        """Return X for scikit-learn's `fit`: a copy where it would write into it unasked."""
        return X

    def _layout(self):
        """Return the shapes of the fitted parameters."""
        # Not n_features_in_, which fit(check_input=False) leaves out.
        *outputs, n_features = np.shape(self.coef_)
        return ParameterLayout(*(outputs or [1]), n_features, self.fit_intercept)

    def _read_params(self, estimator):
        """Return (coef, intercept) of a fitted estimator, this one or a refit of it."""
        coef = estimator.coef_
        return (coef.toarray() if issparse(coef) else coef), estimator.intercept_

    def _write_params(self, coef, intercept):
        """Store parameters in the shapes of `_read_params`, new arrays."""
        self.coef_ = coef
        if self._get_layout().fit_intercept:
            self.intercept_ = intercept

    def _column_names(self, n_features):
        features = getattr(self, "feature_names_in_", None)
        return [f"x{j}" for j in range(n_features)] if features is None else features

    def _output_names(self, n_outputs):
        if n_outputs == 1:
            return [""]
        classes = getattr(self, "classes_", None)
        if classes is not None and len(classes) == n_outputs:
            return [str(label) for label in classes]
        return [str(k) for k in range(n_outputs)]

    def _settle(self, objective, theta):
        """Return (objective, theta) at the optimum, where theta is one of what moves only."""
        return objective, theta

    def _support_holds(self, state):
        """Whether the optimum near a fit has what moves in common with it."""
        return True

    def _make_design(self, formulation, X, training):
        """Return the design of checked samples, of training data or of queries."""
        return make_design(X, formulation.layout.fit_intercept)

    def _rows_of_X(self, objective, rows):
        """Return some training rows as `fit` takes them."""
        return objective.design.X[rows]

    def _take_rows(self, objective, theta, rows):
        """Return (objective, theta) with only some of the training rows."""
        return objective.take(rows), theta

    def _append_rows(self, objective, theta, more):
        """Return (objective, theta) with the rows of another objective behind its own."""
        return objective.append(more), theta

    def _given_rows(self, state, X, y):
        """Return (design, target, grad L) of samples, or of the training data for None."""
        objective = state.point.objective
        if X is None:
            if y is not None:
                raise ValueError("y was given without X: pass both, or neither.")
            return objective.design, objective.target, state.point.rows
        formulation = objective.formulation
        design, target = self._check_samples(formulation, X, y)
        return design, target, formulation.weight_gradients(design, target, state.point.theta)

    def _check_training_data(self, objective):
        """Raise where a fit cannot take other training data than its own."""

    def _check_takes_dask(self, formulation):
        """Raise where a model cannot have its rows in dask arrays."""
        if formulation.loss.is_piecewise_linear:
            name, loss = type(self).__name__, self.loss
            raise UnsupportedEstimatorError(
                f"{name}(loss={loss!r}) takes no dask arrays: the kinks of its loss hold rows "
                f"one by one. Use loss='squared_{loss}', or call compute() on a part of the "
                "rows and pass that."
            )

    def _evaluate(self, objective):
        """Return the objective at the fitted parameters, or at the optimum beside them."""
        if objective.formulation.loss.is_piecewise_linear:
            return active_set.evaluate(objective, self._theta())
        return objective.at(self._theta())

    def _refitted_params(self, refit, rows):
        """Return the parameters of a refit on some of the training rows, as `params_`."""
        return self._flat_params(refit)

    def _decision_transform(self):
        """Return what makes decision_function of raw predictions, None for the identity."""
        return None

    def _labels(self, raw):
        """Return the classes that raw predictions (m, K) stand for."""
        code = (raw[:, 0] > 0).astype(int) if raw.shape[1] == 1 else raw.argmax(axis=1)
        return self.classes_[code]

    def _check_response(self, response_method):
        """Raise where a response is no function of the raw predictions of the objective."""
