"""Refits by scikit-learn at frozen values, and on rows from refitted pipeline steps.

`refit_on` and `refit_without` take "balanced" class weights from the objective that they
refit, and keep all other values frozen at `fit`. `refit_near` and `refit_by_solver` take the
rows that a refitted pipeline passes to the model, and recompute everything that depends on the
rows: "balanced" class weights, kernels, features.
"""

import copy
from dataclasses import replace

import numpy as np
from scipy import sparse
from sklearn import config_context

from skinfluence import existence, removal
from skinfluence.exceptions import SingularHessianError, warn
from skinfluence.namespaces import as_given, from_host, is_device, to_host
from skinfluence.optimum import follow, newton_correction, polish
from skinfluence.problem.kinds import kind_of
from skinfluence.solvers import get_solver
from skinfluence.solvers.cg import ConjugateGradientSolver

# Newton decrement to reach, relative to sqrt(F), for each method. One more step follows,
# which squares the error.
TOL = {"newton": 1e-6, "exact": 1e-11}
# From this order, a solve with a dense factor costs more than conjugate gradients on text.
_WIDE = 2_000
# Smallest penalty, as a share of the largest curvature of a feature, for inexact steps.
_SHARE_OF_PENALTY = 1e-4
_MAX_INEXACT = 20
# Tolerance of a refit on a device, which Newton steps follow.
_ON_DEVICE = 1e-8
#: What becomes of predictions by a model that its samples leave open.
OF_ONE = (
    "Predictions that depend on them are those of the optimum of least norm, one among many."
)


class RefitAnswers:
    """Refits a model."""

    def models_without(self, request):
        """Return the fitted model without each group of rows, None if there is none.

        Parameters
        ----------
        request : Removal
            Its groups are a list of arrays of rows. With the method "refit" scikit-learn
            refits the model.
        """
        groups = request.groups
        weight = self.objective.sample_weight
        models = [None] * len(groups)
        with_model = [g for g, rows in enumerate(groups) if np.delete(weight, rows).any()]
        if not with_model:
            return models
        if request.method == "refit":
            found = [self.refit_without(groups[g]) for g in with_model]
        else:
            found = self.leave_out_params(request.of([groups[g] for g in with_model]))
        for g, params in zip(with_model, found, strict=True):
            left = to_host(weight).copy()
            left[groups[g]] = 0.0
            models[g] = self.model_with(params, left, request.method)
        return models

    def model_with(self, params, weight, method):
        """Return the model with parameters (p,), which are those at sample weights (n,).

        If the samples leave some of them open, which are NaN, it is the optimum of least
        norm. None if there is no optimum.
        """
        finite = np.isfinite(params)
        if finite.all():
            return self.model_at(params)
        if not finite.any() or method == "refit":
            return None
        rows = np.flatnonzero(weight)
        X = self.parameters.rows_of_X(self.objective, rows)
        y = self.decode(to_host(self.objective.target)[rows])
        method = "newton" if method == "influence" else method
        return self.model_on(X, y, weight[rows], method)

    def model_at(self, params):
        """Return a copy of the fitted model with other parameters, (p,)."""
        other = self.of(copy.copy(self.estimator))
        other.theta = self.formulation.layout.from_public(params[None])[0]
        other.forget_state()
        self.responses.limit(other.estimator)
        return self.as_model(other.estimator)

    def model_on(self, X, y, sample_weight, method, *, is_near=False, counts=None):
        """Return a copy of the model fitted on other rows, None if it has no optimum there.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (m, d)
            Rows as the public methods take them.
        y : array-like of shape (m,) or (m, n_targets)
            Targets.
        sample_weight : ndarray of shape (m,)
            Weights.
        method : {"newton", "exact", "refit"}
            Accuracy; "refit" lets scikit-learn fit it.
        is_near : bool, default=False
            Whether most rows are present ones, with features that changed little.
        counts : ndarray of shape (m,) or None, default=None
            Number of times that each row occurs, for steps of a pipeline. The weights include
            it.
        """
        rows = self.transform(X)
        if method == "refit":
            fresh = self.refit_by_solver(rows, y, sample_weight)
        else:
            columns, factor = None, self.nearby_factor if is_near else None
            if rows.shape[1] != self.parameters.layout(self.estimator).n_features:
                columns = np.full(rows.shape[1], -1)
            fresh = self.refit_near(rows, y, sample_weight, method, columns, factor)
        if fresh is None:
            return None
        if fresh.open is not None:
            warn(fresh.describe_undetermined(fresh.open, OF_ONE))
            fresh.take_least_norm()
        return self.as_model(fresh.estimator)

    def take_least_norm(self):
        """Remove the parameters' part in the open directions, as a fit from 0 does."""
        directions = self.open.reshape(len(self.open), -1)
        basis = np.linalg.qr(directions.T)[0]
        flat = self.theta.ravel()
        self.theta = (flat - basis @ (basis.T @ flat)).reshape(self.theta.shape)

    @property
    def nearby_state(self):
        """The model's `State` for nearby refits, None if these do not start from it."""
        objective = self.objective
        if objective.design.has_metric or not objective.formulation.is_smooth:
            return None
        if _products_are_cheap(objective):
            return None
        try:
            return self.state("auto", quiet=True)
        except SingularHessianError:
            return None

    @property
    def nearby_factor(self):
        """The model's H^-1 for nearby refits, None if these do not start from it."""
        state = self.nearby_state
        return None if state is None else state.factor

    def as_model(self, estimator):
        """Return the model to hand out for another estimator: the estimator itself."""
        return estimator

    @property
    def model_bytes(self):
        """Number of bytes for the parameters in a model copy."""
        return self.params.nbytes

    def refit_near(self, X, y, sample_weight, method, columns=None, factor=None):
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
            Each feature's position among this model's features, -1 if it is new; None if the
            features are the same.
        factor : Factor or None, default=None
            This model's H^-1, for the first steps if no feature is new.

        Returns
        -------
        problem : Problem or None
            The refitted copy's problem.
        """
        if not self.has_every_class(y, sample_weight):
            return None
        form = self.formulation
        if not form.is_smooth or form.minimum_norm or self.objective.design.has_metric:
            fresh = self.refit_by_solver(X, y, sample_weight)
            if not (form.minimum_norm or fresh.objective.design.has_metric):
                fresh.open = removal.flat_directions(fresh.objective, fresh.theta)
            return fresh
        fresh = self.with_features(X, columns)
        formulation = fresh.estimator._formulate(to_host(y), sample_weight)
        fitted = replace(self.fitted, formulation=formulation, layout=formulation.layout)
        fresh.fitted = replace(fitted, objective=None)
        objective = fresh.make_objective(formulation, X, y, sample_weight)
        fresh.fitted = replace(fitted, objective=objective)
        found = self.descend(objective, fresh.theta, method, columns, factor)
        if found is None:
            return None
        fresh.theta, fresh.open = found
        return fresh

    def descend(self, objective, theta, method, columns=None, factor=None):
        """Return (theta, open) at the optimum of a smooth objective, None if there is none.

        `open` holds the directions that the rows leave undetermined, None without any.
        """
        tol = _tolerance(objective, method)
        found = self.optimum_near(objective, theta, tol, columns, factor)
        return None if found is None else _if_minimum(objective, *found)

    def descend_each(self, objectives, method, optimum):
        """Return `descend` for objectives with the present features, a list.

        All start together from the present `Optimum`; None if there is none.
        """
        if optimum is None or optimum.point.objective.offset is not None:
            return [self.descend(one, self.theta, method) for one in objectives]
        found, tol = [], _tolerance(optimum.point.objective, method)
        optima, steps = removal.optima_near(objectives, optimum, tol)
        for objective, theta, step in zip(objectives, optima, steps, strict=True):
            if np.isfinite(theta).all():
                found.append(_if_minimum(objective, theta, step, None))
            else:
                found.append(self.descend(objective, optimum.point.theta, method))
        return found

    def has_every_class(self, y, sample_weight):
        """Return whether rows with a weight have every class of the fit, if it has classes."""
        if not hasattr(self.formulation.target, "classes"):
            return True
        present = np.unique(np.asarray(to_host(y))[sample_weight > 0])
        return np.array_equal(present, to_host(self.estimator.classes_))

    def optimum_near(self, objective, theta, tol, columns, factor):
        """Return (theta, last step, open) at the optimum, None if there is none."""
        if _products_are_cheap(objective):
            steps = {"tol": tol, "max_iter": _MAX_INEXACT}
            polished = polish(objective, theta, _Inexact, **steps)
            if polished.converged:
                return polished.theta, polished.correction, None
            theta = polished.theta
        point = objective.at(theta)
        if factor is not None and _serves(factor, columns, point):
            if columns is not None:
                factor = _Restricted(factor, columns, self.objective.design)
            step = newton_correction(point, factor)
            point, step, decrement = follow(point, factor, step, tol)
            if decrement <= tol * np.sqrt(abs(point.value)):
                return point.theta + step, step, None
            theta = point.theta
        solver, steps = get_solver("auto", objective), {"tol": tol, "max_iter": 100}
        directions, polished = None, _polished(objective, theta, solver, **steps)
        if polished is None:
            found = removal.determined(objective)
            if found is None:
                return None
            part, directions = found
            polished = _polished(part, theta, solver, **steps)
        if polished is None or not polished.converged:
            return None
        return polished.theta, polished.correction, directions

    def refit_by_solver(self, X, y, sample_weight):
        """Return the problem for this model, fitted by scikit-learn at a tight tolerance."""
        refit = self.unfitted_parent()
        params = self.fitted.params
        # Recompute the values that depend on the rows.
        again = ("class_weight", "gamma")
        refit.set_params(**{name: params[name] for name in again if name in params})
        if np.all(sample_weight == 1):
            sample_weight = None
        refit.fit(X, y, sample_weight=sample_weight)
        fresh = self.of(copy.copy(self.estimator))
        vars(fresh.estimator).pop("feature_names_in_", None)
        vars(fresh.estimator).update(vars(refit) | params)
        fresh.forget_fit()
        fresh.adopt(X, y, sample_weight, check=False)
        if self.space is not None:
            params = fresh.polish_refit(fresh.objective, fresh.params)
            fresh.theta = fresh.layout.from_public(params)
        return fresh

    def with_features(self, X, columns):
        """Return the problem for a copy whose parameters match the features in X."""
        fresh = self.of(copy.copy(self.estimator))
        fresh.forget_state()
        model, layout = fresh.estimator, self.layout
        vars(model).update(self.fitted.params)
        model.n_features_in_ = X.shape[1]
        vars(model).pop("feature_names_in_", None)
        if hasattr(X, "columns"):
            model.feature_names_in_ = np.asarray(X.columns, dtype=object)
        if columns is None:
            return fresh
        coef, intercept = self.parameters.read(self.estimator, layout)
        known = columns >= 0
        start = np.zeros((*np.shape(coef)[:-1], len(columns)))
        start[..., known] = coef[..., columns[known]]
        start, intercept = (from_host(v, self.like) for v in (start, intercept))
        self.parameters.store(model, start, intercept, layout, None)
        return fresh

    def raw_predictions(self, X):
        """Return raw predictions for samples, (m, K)."""
        return self.predict_rows(self.check_X(self.formulation, X))

    def unfitted_parent(self, formulation=None):
        """Return scikit-learn's own estimator with a tight tolerance.

        On a device it keeps the solver of the fit, because other solvers run on the host only.
        Class weights are those of another formulation, or as fitted, as numbers.
        """
        chosen, plain = self.fitted.params, self.estimator._plain
        params = (chosen if plain is None else {}) | self.estimator._tight_params(chosen)
        if self.space is not None:
            # The solvers on devices are "lbfgs", which the fit then named, and "svd".
            solver = "lbfgs" if self.fitted.params.get("solver") == "lbfgs" else "svd"
            params |= {"solver": solver, "tol": _ON_DEVICE}
        if "class_weight" in chosen:
            params["class_weight"] = (formulation or self.formulation).frozen_class_weight()
        return (plain or self.parent_class)(**params)

    def refitted_theta(self, objective):
        """Return the parameters (K, D) from scikit-learn's own refit on an objective."""
        problem = self
        if objective.formulation.class_weight is not self.formulation.class_weight:
            problem = self.on(objective)  # whose refits keep these class weights
        return self.formulation.layout.from_public(problem.refit_on(objective))

    def refit_without(self, rows):
        """Return the parameters (p,) from scikit-learn's own refit without some rows."""
        return self.refit_on(self.objective.without(rows))

    def refit_on(self, objective):
        """Return the parameters (p,) from scikit-learn's own refit on an objective's rows."""
        weight, kept = to_host(objective.sample_weight), np.arange(objective.n_rows)
        if not self.estimator._refits_on_all_rows:
            kept = kept[weight > 0]
        refit = self.unfitted_parent(objective.formulation)
        X = self.parameters.rows_of_X(objective, kept)
        if X.dtype == np.float32:  # otherwise scikit-learn would compute in float32
            X = X.astype(np.float64)
        y, weight = self.decode(objective.target[kept]), weight[kept]
        with config_context(array_api_dispatch=is_device(X) or None):
            if is_device(X):
                X, y, weight = as_given((X, y, weight), X.space)
            refit.fit(X, y, sample_weight=weight)
        params = self.parameters.refitted(self.estimator, refit, kept, self.layout)
        if self.estimator._refits_stop_early or self.space is not None:
            return self.polish_refit(objective, params)
        return params

    def polish_refit(self, objective, params):
        """Return the optimum near a refit whose solver stops far from it."""
        layout, kind = objective.formulation.layout, kind_of(self, objective.formulation)
        objective, start = kind.start_of_polish(objective, layout.from_public(params))
        solver = get_solver("auto", objective)
        polished = polish(objective, start, solver, tol=1e-11, max_iter=100)
        return layout.to_public(to_host(polished.theta))


def _tolerance(objective, method):
    """Return the Newton decrement to reach, relative to sqrt(F)."""
    # For squared loss "newton" is exact.
    return TOL["exact" if objective.formulation.loss.constant_curvature else method]


def _if_minimum(objective, theta, correction, directions):
    """Return (theta, directions), None if the last Newton step tells of no minimum."""
    found = existence.recession_direction(objective, theta, correction)
    return (theta, directions) if found is None else None


def _polished(objective, theta, solver, **steps):
    """Return `polish`, None if it ends at a singular Hessian."""
    try:
        return polish(objective, theta, solver, **steps)
    except SingularHessianError:
        return None


def _products_are_cheap(objective):
    """Return whether conjugate gradients need much less time than one dense solve.

    The penalty must keep H away from singular, so that a few products suffice.
    """
    design, penalty = objective.design, objective.penalty
    K, D = penalty.shape
    wide = sparse.issparse(design.X) and min(design.n_rows, K * D) > _WIDE
    if not wide or design.has_metric or objective.offset is not None:
        return False
    if not objective.formulation.loss.convex or not objective.free.all():
        return False
    features = penalty[:, : design.n_features]
    largest = design.squared_adjoint(objective.row_weight)[:, : design.n_features]
    return bool(np.all(features > _SHARE_OF_PENALTY * largest))


class _Inexact:
    """Newton steps to three digits, each from a few products with H."""

    solver = ConjugateGradientSolver(tol=1e-3, max_iter=300)

    def __init__(self, factor):
        self.factor = factor

    @classmethod
    def factorise(cls, point):
        """Return an approximate H^-1 at a point."""
        return cls(cls.solver.factorise(point))

    def solve(self, V):
        """Return H^-1 V for vectors (m, K, D)."""
        return self.factor.rough_solve(V)


def _serves(factor, columns, point):
    """Return whether steps with another model's factor contract at a point.

    The features must be among those of the factor.
    """
    if point.objective.offset is not None or (columns is not None and (columns < 0).any()):
        return False
    before, now = factor.point.hessian_diagonal(), point.hessian_diagonal()
    if columns is not None:
        design = factor.point.objective.design
        before = before[:, _kept(columns, design)]
    return bool(removal.are_alike(before, now))


def _kept(columns, design):
    """Return the positions of features and of an intercept among a design's columns."""
    return np.append(columns, np.arange(design.n_features, design.n_columns))


class _Restricted:
    """A model's H^-1 for some of its features, with the other parameters fixed.

    Parameters
    ----------
    factor : Factor
        H^-1.
    columns : ndarray of shape (d,)
        The position of each feature among the model's features.
    design : Design
        The model's design, whose last column may be an intercept.
    """

    def __init__(self, factor, columns, design):
        self.factor = factor
        self.n_columns = design.n_columns
        self.kept = _kept(columns, design)

    def solve(self, V):
        """Return H^-1 V for vectors (m, K, D)."""
        spread = np.zeros((*V.shape[:-1], self.n_columns))
        spread[..., self.kept] = V
        return self.factor.solve(spread)[..., self.kept]
