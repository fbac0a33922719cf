"""Refits: by scikit-learn at frozen values, and on rows that other steps made anew."""

import copy
from dataclasses import replace

import numpy as np
from sklearn.base import is_classifier

from skinfluence import convergence, existence, removal
from skinfluence.exceptions import SingularHessianError
from skinfluence.solvers import get_solver

__all__ = ["RefitMixin"]

# Newton decrement to reach, relative to sqrt(F), by method. One more step is taken there,
# which squares the error.
_TOL = {"newton": 1e-6, "exact": 1e-11}


class RefitMixin:
    """Refits of a model.

    `_refit_on` and its kin keep what was frozen at `fit`. `_refit_near` and
    `_refit_by_solver` take the rows that a refitted pipeline hands to the model, and form
    everything anew that depends on the rows: "balanced" class weights, kernels, features.
    """

    # Whether refits of scikit-learn stop far from the optimum whatever their tolerance.
    _refits_stop_early = False

    #: Whether rows that leave stay in refits with a weight of zero: where the penalty counts
    #: samples, or an optimum exists without the last sample of a class.
    _refits_on_all_rows = False

    def _refit_near(self, X, y, sample_weight, method, columns=None, factor=None):
        """Return this model fitted on other rows, None if it has no optimum there.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (m, d)
            Rows.
        y : array-like of shape (m,) or (m, n_targets)
            Targets.
        sample_weight : ndarray of shape (m,)
            Weights.
        method : {"newton", "exact"}
            Accuracy.
        columns : ndarray of shape (d,) or None, default=None
            For each feature its position among the features of this model, -1 if it is new;
            None if the features are the same.
        factor : Factor or None, default=None
            H^-1 of this model, for the first steps if the features are the same.
        """
        if is_classifier(self):
            present = np.unique(np.asarray(y)[sample_weight > 0])
            if not np.array_equal(present, self.classes_):
                return None
        form = self._get_formulation()
        smooth = not form.loss.is_piecewise_linear and form.l1_support is None
        if not smooth or form.minimum_norm or self._get_objective().design.has_metric:
            return self._refit_by_solver(X, y, sample_weight)
        fresh = self._with_features(X, columns)
        formulation = fresh._formulate(y, sample_weight)
        problem = replace(
            self._get_problem(), formulation=formulation, layout=formulation.layout
        )
        fresh._influence_problem = replace(problem, objective=None)
        objective = fresh._make_objective(formulation, X, y, sample_weight)
        fresh._influence_problem = replace(problem, objective=objective)
        # For squared loss "newton" is exact.
        tol = _TOL["exact" if formulation.loss.constant_curvature else method]
        found = self._optimum_near(objective, fresh._theta(), tol, columns, factor)
        if found is None:
            return None
        theta, correction = found
        doubtful = existence.may_lack_minimum(objective, correction)
        if doubtful and existence.recession_direction(objective, theta) is not None:
            return None
        fresh._set_theta(theta)
        return fresh

    def _optimum_near(self, objective, theta, tol, columns, factor):
        """Return (theta, last step) at the optimum, None if there is none."""
        if factor is not None and columns is None and objective.offset is None:
            # The features moved little, so steps with the factor of this model contract.
            point = objective.at(theta)
            step = convergence.newton_correction(point, factor)
            point, step, decrement = removal.follow(point, factor, step, tol)
            if decrement <= tol * np.sqrt(abs(point.value)):
                return point.theta + step, step
            theta = point.theta
        solver = get_solver("auto", objective)
        try:
            polished = convergence.polish(objective, theta, solver, tol=tol, max_iter=100)
        except SingularHessianError:
            return None
        return (polished.theta, polished.correction) if polished.converged else None

    def _refit_by_solver(self, X, y, sample_weight):
        """Return this model fitted by scikit-learn's solver at a tight tolerance."""
        refit = self._refit_estimator()
        params = self._get_problem().params
        # What was computed from the rows is computed anew.
        again = ("class_weight", "gamma")
        refit.set_params(**{name: params[name] for name in again if name in params})
        if np.all(sample_weight == 1):
            sample_weight = None
        refit.fit(X, y, sample_weight=sample_weight)
        fresh = copy.copy(self)
        vars(fresh).pop("feature_names_in_", None)
        vars(fresh).update(vars(refit) | params)
        fresh._forget_fit()
        fresh._adopt_fit(X, y, sample_weight)
        return fresh

    def _with_features(self, X, columns):
        """Return a copy whose parameters are laid out for the features of X."""
        fresh = copy.copy(self)
        fresh._forget_state()
        vars(fresh).update(self._get_problem().params)
        fresh.n_features_in_ = X.shape[1]
        vars(fresh).pop("feature_names_in_", None)
        if hasattr(X, "columns"):
            fresh.feature_names_in_ = np.asarray(X.columns, dtype=object)
        if columns is None:
            return fresh
        coef, intercept = self._read_params(self)
        known = columns >= 0
        start = np.zeros((*np.shape(coef)[:-1], len(columns)))
        start[..., known] = coef[..., columns[known]]
        fresh._write_params(start, intercept)
        return fresh

    def _raw_predictions(self, X):
        """Return raw predictions of samples, (m, K)."""
        design = self._check_X(self._get_formulation(), X)
        return design.predict(self._theta())

    def _refitted_theta(self, rows):
        """Return the parameters (K, D) of scikit-learn's own refit without some rows."""
        return self._get_formulation().layout.from_public(self._refit_without(rows))

    def _refit_without(self, rows):
        """Return the parameters of scikit-learn's own refit without some rows."""
        return self._refit_on(self._get_objective().without(rows))

    def _refit_on(self, objective):
        """Return the parameters of scikit-learn's own refit on an objective's rows."""
        weight, kept = objective.sample_weight, np.arange(objective.n_rows)
        if not self._refits_on_all_rows:
            kept = kept[weight > 0]
        refit = self._refit_estimator()
        X = self._rows_of_X(objective, kept)
        if X.dtype == np.float32:  # in which scikit-learn would compute
            X = X.astype(np.float64)
        refit.fit(
            X,
            self._decode(objective.target[kept]),
            sample_weight=weight[kept],
        )
        params = self._refitted_params(refit, kept)
        return self._polish_refit(objective, params) if self._refits_stop_early else params

    def _polish_refit(self, objective, params):
        """Return the optimum that a solver which stops far from it was going to."""
        layout, present = objective.formulation.layout, self._theta()
        start = layout.from_public(params)
        if not np.isfinite(start).all() or objective.value(start) > objective.value(present):
            start = present
        solver = get_solver("auto", objective)
        polished = convergence.polish(objective, start, solver, tol=1e-11, max_iter=100)
        return layout.to_public(polished.theta)
