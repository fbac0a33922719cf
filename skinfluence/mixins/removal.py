"""Chapter C: the model without some of its training rows, without refitting."""

from collections.abc import Callable
from typing import Any, Literal, Self, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray
from sklearn.base import is_classifier
from sklearn.metrics import check_scoring
from sklearn.utils import Bunch, check_random_state

from skinfluence import active_set, convergence, existence, removal
from skinfluence._typing import (
    Accuracy,
    CrossValidation,
    Floats,
    GroupsLike,
    MatrixLike,
    RandomState,
)
from skinfluence.exceptions import SingularHessianError, UnsupportedEstimatorError, warn
from skinfluence.groups import check_indices, resolve_groups
from skinfluence.mixins.checks import check_count, check_option, check_refine, prepare_out
from skinfluence.mixins.pooled import pooled_predictions
from skinfluence.mixins.refit_checks import choose_checks, compare_changes
from skinfluence.solvers import HessianSolver, get_solver

__all__ = ["RemovalMixin"]


class RemovalMixin:
    """Leave-one-out and group removal at three accuracies.

    "influence" is first order and additive over rows. "newton" is one Newton step of the
    reduced objective, exact for squared loss, with further steps for groups for which it is
    not accurate to about 1 %. "exact" is scikit-learn's refit: the error is usually below
    1e-8 of the change of the parameters, and 3e-7 is the largest measured. Groups that
    scikit-learn itself refits, as a warning then says, are as exact as its solver.
    All three start at the optimum of all rows, so they predict the converged refit from any
    fit. Frozen: class weights and hyperparameters as fitted. In a pipeline the steps before
    the model are fitted again without the rows.
    """

    @overload
    def leave_out_params(
        self,
        groups: GroupsLike = ...,
        *,
        cv: CrossValidation = ...,
        method: Accuracy = ...,
        refine: float | None = ...,
        return_bound: Literal[False] = ...,
        hessian_solver: str | HessianSolver = ...,
        n_jobs: int | None = ...,
        verbose: int = ...,
        dtype: DTypeLike | None = ...,
        out: Floats | None = ...,
    ) -> Floats: ...

    @overload
    def leave_out_params(
        self,
        groups: GroupsLike = ...,
        *,
        cv: CrossValidation = ...,
        method: Accuracy = ...,
        refine: float | None = ...,
        return_bound: Literal[True],
        hessian_solver: str | HessianSolver = ...,
        n_jobs: int | None = ...,
        verbose: int = ...,
        dtype: DTypeLike | None = ...,
        out: Floats | None = ...,
    ) -> tuple[Floats, Floats]: ...

    def leave_out_params(
        self,
        groups: GroupsLike = None,
        *,
        cv: CrossValidation = None,
        method: Accuracy = "newton",
        refine: float | None = None,
        return_bound: bool = False,
        hessian_solver: str | HessianSolver = "auto",
        n_jobs: int | None = None,
        verbose: int = 0,
        dtype: DTypeLike | None = None,
        out: Floats | None = None,
    ) -> Floats | tuple[Floats, Floats]:
        """Return the parameters of the model refitted without each group of rows.

        ``argmin of F with w_i = 0 for i in the group``, all else frozen.

        Parameters
        ----------
        groups : None, array-like of shape (n,) or list of index arrays, default=None
            None leaves out every training sample on its own; labels leave out the
            samples of each label, in the order of `np.unique`; a list of 1-d index
            arrays names the groups, which may overlap.
        cv : int, splitter or iterable, default=None
            The test folds are the groups; `groups` then goes to ``cv.split``.
        method : {"influence", "newton", "exact"}, default="newton"
            Accuracy: first order; a Newton step, refined if it is not accurate; the refit.
        refine : float, default=None
            Share of the groups, those with the largest Newton decrement, recomputed
            exactly. With "newton" only.
        return_bound : bool, default=False
            Also return a bound on the distance to the exact parameters,
            ``|grad F without the group| / min diag(penalty)``. Needs a convex loss
            and a penalty on every parameter, the intercept too.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1; results do not depend on it.
        n_jobs : int, default=None
            Number of joblib threads over stacks of groups.
        verbose : int, default=0
            Messages of joblib about progress; more of them for larger values.
        dtype : numpy dtype, default=None
            Type of the result, float64 by default. Computations are in float64.
        out : ndarray of shape (G, p), default=None
            Array or memmap to fill.

        Returns
        -------
        params : ndarray of shape (G, p)
            Parameters without each group, laid out as `params_`. NaN, with an
            `InfluenceWarning` that names the group, where there is no such model. Without an
            optimum of all rows, parameters without a value are NaN; of softmax all are.
        bound : ndarray of shape (G,)
            Bound on the error in the 2-norm. Only if `return_bound`.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.datasets import load_diabetes
        >>> from skinfluence.linear_model import Ridge
        >>> X, y = load_diabetes(return_X_y=True)
        >>> reg = Ridge(alpha=0.1).fit(X, y)
        >>> params = reg.leave_out_params()
        >>> refit = Ridge(alpha=0.1).fit(X[1:], y[1:])
        >>> bool(np.allclose(params[0], refit.params_, rtol=1e-9))
        True
        """
        self._refuse_dask("leave_out_params")
        base, groups = self._removal(groups, cv, method, hessian_solver)
        layout = base.point.objective.formulation.layout
        out = prepare_out(out, (len(groups), layout.size), dtype)
        bound = np.full(len(groups), np.nan)
        if return_bound:
            self._check_bounded(base.point.objective)

        def emit(indices, rows, theta):
            out[indices] = layout.to_public(theta)
            if return_bound:
                bound[indices] = removal.error_bound(base, rows, theta)

        outcome = self._leave_out(
            base, groups, method, emit, refine, n_jobs, verbose, recover=True
        )
        for group, directions in base.open_directions(outcome, len(groups)):
            out[group, _lost(layout, directions)] = bound[group] = np.nan
        return (out, bound) if return_bound else out

    def leave_out_loss(
        self,
        X: MatrixLike,
        y: ArrayLike,
        groups: GroupsLike = None,
        *,
        cv: CrossValidation = None,
        method: Accuracy = "newton",
        refine: float | None = None,
        hessian_solver: str | HessianSolver = "auto",
        n_jobs: int | None = None,
        verbose: int = 0,
        dtype: DTypeLike | None = None,
        out: Floats | None = None,
    ) -> Floats:
        """Return the loss of query samples under the model without each group of rows.

        The plain loss at the moved parameters: evaluated, not linearised.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (q, n_features)
            Query samples.
        y : array-like of shape (q,) or (q, n_targets)
            Their targets or labels.
        groups : None, array-like of shape (n,) or list of index arrays, default=None
            Which rows leave together, see `leave_out_params`.
        cv : int, splitter or iterable, default=None
            The test folds are the groups.
        method : {"influence", "newton", "exact"}, default="newton"
            Accuracy: first order; a Newton step, refined if it is not accurate; the refit.
        refine : float, default=None
            Share of the groups recomputed exactly, see `leave_out_params`.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1; results do not depend on it.
        n_jobs : int, default=None
            Number of joblib threads over stacks of groups.
        verbose : int, default=0
            Messages of joblib about progress; more of them for larger values.
        dtype : numpy dtype, default=None
            Type of the result, float64 by default. Computations are in float64.
        out : ndarray of shape (q, G), default=None
            Array or memmap to fill.

        Returns
        -------
        loss : ndarray of shape (q, G)
            Loss of each query without each group.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skinfluence.linear_model import LogisticRegression
        >>> X, y = load_iris(return_X_y=True)
        >>> clf = LogisticRegression(max_iter=1000).fit(X, y)
        >>> clf.leave_out_loss(X[:3], y[:3]).shape
        (3, 150)
        """
        self._refuse_dask("leave_out_loss", X, y)
        formulation = self._get_objective().formulation
        design, target = self._check_samples(formulation, X, y)
        base, groups = self._removal(groups, cv, method, hessian_solver)
        out = prepare_out(out, (design.n_rows, len(groups)), dtype)

        def emit(indices, _rows, theta):
            removal.losses_into(out, indices, formulation.loss, design, target, theta)

        outcome = self._leave_out(
            base, groups, method, emit, refine, n_jobs, verbose, recover=True
        )
        for group, directions in base.open_directions(outcome, len(groups)):
            out[removal.depends(directions, design), group] = np.nan
        return out

    def leave_out_predict(
        self,
        groups: GroupsLike = None,
        *,
        cv: CrossValidation = None,
        method: Accuracy = "newton",
        refine: float | None = None,
        response_method: Literal["predict", "decision_function", "predict_proba"] = "predict",
        hessian_solver: str | HessianSolver = "auto",
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> NDArray[Any]:
        """Return for every training sample the prediction of a model that never saw it.

        `sklearn.model_selection.cross_val_predict` without refitting.

        Parameters
        ----------
        groups : None, array-like of shape (n,) or list of index arrays, default=None
            Which rows leave together, see `leave_out_params`. Every training sample must
            be in exactly one group.
        cv : int, splitter or iterable, default=None
            The test folds are the groups.
        method : {"influence", "newton", "exact"}, default="newton"
            Accuracy: first order; a Newton step, refined if it is not accurate; the refit.
        refine : float, default=None
            Share of the groups recomputed exactly, see `leave_out_params`.
        response_method : {"predict", "decision_function", "predict_proba"}, \
default="predict"
            Which response.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1; results do not depend on it.
        n_jobs : int, default=None
            Number of joblib threads over stacks of groups.
        verbose : int, default=0
            Messages of joblib about progress; more of them for larger values.

        Returns
        -------
        prediction : ndarray of shape (n,) or (n, n_responses)
            As the response method gives it.

        Examples
        --------
        >>> from sklearn.datasets import load_breast_cancer
        >>> from sklearn.preprocessing import scale
        >>> from skinfluence.linear_model import LogisticRegression
        >>> X, y = load_breast_cancer(return_X_y=True)
        >>> clf = LogisticRegression().fit(scale(X), y)
        >>> round(float((clf.leave_out_predict(cv=5) == y).mean()), 2)
        0.98
        """
        self._refuse_dask("leave_out_predict")
        self._check_left_out_response(response_method)
        raw = self._leave_out_raw(groups, cv, method, refine, hessian_solver, n_jobs, verbose)
        return self._respond(raw, response_method)

    def _check_left_out_response(self, response_method):
        """Raise if there is no such response."""
        options = ("predict", "decision_function", "predict_proba")
        check_option("response_method", response_method, options)
        if not hasattr(self, response_method):
            raise ValueError(f"{type(self).__name__} has no {response_method}.")
        self._check_response(response_method)

    def _respond(self, raw, response_method):
        """Return a response from raw predictions (m, K), NaN if there is no model."""
        if response_method == "predict":
            self._check_labelled(raw)
        return self._pooled(raw)._response(response_method)

    def leave_out_score(
        self,
        groups: GroupsLike = None,
        *,
        cv: CrossValidation = None,
        scoring: str | Callable[..., Any] | None = None,
        sample_weight: ArrayLike | None = None,
        method: Accuracy = "newton",
        refine: float | None = None,
        hessian_solver: str | HessianSolver = "auto",
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> float:
        """Return the score of the predictions of models that never saw their samples.

        The predictions of `leave_out_predict` of all groups are pooled and scored once.
        `sklearn.model_selection.cross_val_score` instead scores each fold and its mean is
        another number: by a little for a mean over samples, as accuracy, if folds differ in
        size, and in general for R^2 or the area under the ROC curve.

        Parameters
        ----------
        groups : None, array-like of shape (n,) or list of index arrays, default=None
            Which rows leave together, see `leave_out_params`. Every training sample must
            be in exactly one group.
        cv : int, splitter or iterable, default=None
            The test folds are the groups.
        scoring : str or callable, default=None
            A scoring of scikit-learn, or a scorer; None for the estimator's own `score`
            (accuracy or R^2; D^2 for the Poisson family).
        sample_weight : array-like of shape (n,), default=None
            Weights of the samples in the score; None counts each once, whatever their
            weights in the fit.
        method : {"influence", "newton", "exact"}, default="newton"
            Accuracy: first order; a Newton step, refined if it is not accurate; the refit.
        refine : float, default=None
            Share of the groups recomputed exactly, see `leave_out_params`.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1; results do not depend on it.
        n_jobs : int, default=None
            Number of joblib threads over stacks of groups.
        verbose : int, default=0
            Messages of joblib about progress; more of them for larger values.

        Returns
        -------
        score : float
            Pooled score.

        Examples
        --------
        >>> from sklearn.datasets import load_diabetes
        >>> from skinfluence.linear_model import Ridge
        >>> reg = Ridge(alpha=0.1).fit(*load_diabetes(return_X_y=True))
        >>> round(reg.leave_out_score(scoring="neg_mean_absolute_error"), 1)
        -44.5
        """
        self._refuse_dask("leave_out_score", sample_weight)
        return self._leave_out_score(
            groups,
            cv=cv,
            scoring=scoring,
            method=method,
            refine=refine,
            hessian_solver=hessian_solver,
            n_jobs=n_jobs,
            verbose=verbose,
            metadata={} if sample_weight is None else {"sample_weight": sample_weight},
        )

    def leave_out_check(
        self,
        n_checks: int = 20,
        groups: GroupsLike = None,
        *,
        cv: CrossValidation = None,
        method: Accuracy = "newton",
        refine: float | None = None,
        random_state: RandomState = None,
        hessian_solver: str | HessianSolver = "auto",
        n_jobs: int | None = None,
    ) -> Bunch:
        """Really refit with scikit-learn without some groups, and compare.

        Half of the checked groups are those with the largest predicted change of the
        parameters, half are drawn at random from the others. Refits use the parent class
        of scikit-learn with class weights frozen and its tolerance tight.

        Parameters
        ----------
        n_checks : int, default=20
            How many refits.
        groups : None, array-like of shape (n,) or list of index arrays, default=None
            Which rows leave together, see `leave_out_params`.
        cv : int, splitter or iterable, default=None
            The test folds are the groups.
        method : {"influence", "newton", "exact"}, default="newton"
            Accuracy to check.
        refine : float, default=None
            Share of the groups recomputed exactly, see `leave_out_params`.
        random_state : int, RandomState instance or None, default=None
            Draws the random half.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1; results do not depend on it.
        n_jobs : int, default=None
            Number of joblib threads.

        Returns
        -------
        check : Bunch
            Measurements, as attributes:

            predicted, actual : ndarray of shape (n_checks, p)
                Change of the parameters from the optimum of all rows.
            indices : ndarray of shape (n_checks,)
                Groups that were refitted.
            pearson_r, slope : float
                Of actual against predicted changes, over all entries; of kernel models
                over predictions for the training samples, since dual coefficients need
                not be unique.
            max_relative_error : float
                Largest ``|predicted - actual| / |actual|`` in the 2-norm, among groups
                that move the parameters by more than 1e-6 of their size.

        Examples
        --------
        >>> from sklearn.datasets import load_diabetes
        >>> from skinfluence.linear_model import Ridge
        >>> reg = Ridge(alpha=0.1).fit(*load_diabetes(return_X_y=True))
        >>> reg.leave_out_check(random_state=0).max_relative_error < 1e-9
        True
        """
        self._refuse_dask("leave_out_check")
        random_state = check_random_state(random_state)
        base, groups = self._removal(groups, cv, method, hessian_solver)
        check_count("n_checks", n_checks, len(groups), of="groups")
        optimum = self._optimum(base)
        layout = base.point.objective.formulation.layout
        predicted = np.empty((len(groups), layout.size))

        def emit(indices, _rows, theta):
            predicted[indices] = layout.to_public(theta)

        self._leave_out(base, groups, method, emit, refine, n_jobs, 0)
        predicted -= optimum
        indices = choose_checks(predicted, n_checks, random_state)
        actual = np.array([self._refit_without(groups.rows(g)) for g in indices]) - optimum
        predicted = predicted[indices]

        def read(params):
            """Return what the rows read of parameters, for all but kernels themselves."""
            readings = base.point.objective.design.readings(layout.from_public(params))
            return readings.reshape(*params.shape[:-1], -1)

        return compare_changes(predicted, actual, indices, optimum, read)

    def remove_samples(
        self,
        indices: ArrayLike,
        *,
        method: Accuracy = "exact",
        hessian_solver: str | HessianSolver = "auto",
    ) -> Self:
        """Take training samples out of the fitted model, in place.

        The parameters become those of `leave_out_params` for this group, and the samples
        leave the training data.

        Parameters
        ----------
        indices : array-like of shape (m,) or int
            Rows of the training data.
        method : {"influence", "newton", "exact"}, default="exact"
            Accuracy: first order; a Newton step, refined if it is not accurate; the refit.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1; results do not depend on it.

        Returns
        -------
        self : object
            The estimator.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.datasets import load_diabetes
        >>> from skinfluence.linear_model import Ridge
        >>> X, y = load_diabetes(return_X_y=True)
        >>> reg = Ridge(alpha=0.1).fit(X, y).remove_samples([0, 1])
        >>> refit = Ridge(alpha=0.1).fit(X[2:], y[2:])
        >>> bool(np.allclose(reg.coef_, refit.coef_))
        True
        """
        self._refuse_dask("remove_samples", indices)
        rows = check_indices(indices, self._get_objective().n_rows)
        base, groups = self._removal([rows], None, method, hessian_solver)
        result = []
        if base.open is not None or not base.has_optimum:
            objective, theta = self._get_objective(), self._theta()
            told = self._describe_direction(existence.recession_direction(objective, theta))
            raise ValueError(f"{told} The model was left as it is.")
        outcome = removal.leave_out(
            base, groups, method, lambda _i, _r, theta: result.append(theta[0]), recover=True
        )
        for _, label in outcome.without_optimum:
            raise ValueError(
                f"indices holds the last samples of class {label!r}: without them the "
                "model has no finite optimum. Keep at least one of them."
            )
        for direction in outcome.separated.values():
            told = self._describe_direction(direction, base.point.objective.without(rows))
            raise ValueError(f"Without these samples: {told} The model was left as it was.")
        if outcome.unsolved.size or outcome.undetermined:
            raise ValueError(
                "The objective without these samples has no optimum that Newton's method "
                "can reach: the model was left as it is. Strengthen the penalty."
            )
        kept = np.delete(np.arange(base.point.objective.n_rows), rows)
        objective, theta = self._take_rows(base.point.objective, result[0], kept)
        self._replace_objective(*self._settle(objective, theta))
        return self

    def add_samples(
        self,
        X: MatrixLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        hessian_solver: str | HessianSolver = "auto",
    ) -> Self:
        """Add samples to the training data and refit exactly, in place.

        Damped Newton from the present parameters on the enlarged objective. Class weights
        stay as fitted, and labels must be among those seen in `fit`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (m, n_features)
            New training samples.
        y : array-like of shape (m,) or (m, n_targets)
            Their targets or labels.
        sample_weight : array-like of shape (m,), default=None
            Their weights; None for ones.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1; results do not depend on it.

        Returns
        -------
        self : object
            The estimator.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.datasets import load_diabetes
        >>> from skinfluence.linear_model import Ridge
        >>> X, y = load_diabetes(return_X_y=True)
        >>> reg = Ridge(alpha=0.1).fit(X[:400], y[:400]).add_samples(X[400:], y[400:])
        >>> bool(np.allclose(reg.coef_, Ridge(alpha=0.1).fit(X, y).coef_))
        True
        """
        self._refuse_dask("add_samples", X, y, sample_weight)
        objective = self._get_objective()
        more = self._make_objective(objective.formulation, X, y, sample_weight)
        objective, theta = self._append_rows(objective, self._theta(), more)
        solver = get_solver(hessian_solver, objective)
        with self._naming_directions():
            if objective.formulation.loss.is_piecewise_linear:
                point = active_set.evaluate(objective, theta)
                theta, converged = point.theta, np.isfinite(point.misfit)
            else:
                polished = convergence.polish(
                    objective, theta, solver, tol=1e-11, max_iter=100
                )
                theta, converged = polished.theta, polished.converged
                if existence.may_lack_minimum(objective, polished.correction):
                    found = existence.recession_direction(objective, theta)
                    if found is not None:
                        told = self._describe_direction(found, objective)
                        raise ValueError(f"With these samples: {told} The model is unchanged.")
        if not converged:
            raise ValueError(
                "The optimum of the enlarged objective was not reached: the model was left "
                "as it is. Strengthen the penalty."
            )
        self._replace_objective(*self._settle(objective, theta))
        return self

    def _removal(self, groups, cv, method, hessian_solver):
        """Return (base, groups) for one call."""
        check_option("method", method, removal.METHODS)
        objective = self._get_objective()
        groups = resolve_groups(
            groups,
            cv,
            X=objective.design.X,
            y=self._decode(objective.target),
            classifier=is_classifier(self),
        )
        groups.check_leaves_weight(objective.sample_weight)
        solver = get_solver(hessian_solver, objective)
        if objective.formulation.loss.is_piecewise_linear:
            point = self._evaluate(objective)
            self._warn_of_lost_path(point)
            return removal.ActiveSetBase(point, solver, self._refitted_theta), groups
        return self._removal_base(method, hessian_solver), groups

    def _removal_base(self, method, hessian_solver):
        """Return the base at the optimum of all rows, for "exact" to rounding.

        If there is no optimum, at that of the part that has one.
        """
        objective = self._get_objective()
        solver = get_solver(hessian_solver, objective)
        try:
            state = self._get_state(hessian_solver)  # warns if there is no optimum
            recession = state.recession
        except SingularHessianError:
            # A Hessian that is singular at the fit need not be so at the optimum.
            state, recession = None, existence.find_recession(objective, self._theta())
            if recession is not None:
                warn(self._describe_direction(recession.direction))
        if recession is not None:
            return removal.base_of_part(objective, self._theta(), solver, recession)
        if method == "influence" and state is not None:
            self._warn_of_mixing(state)
        with self._naming_directions():
            if state is not None:
                optimum = state.optimum
            else:
                optimum = removal.optimum_from(objective, self._theta(), solver)
            if method == "exact":
                optimum = removal.refine_optimum(optimum, solver)
            point, factor = optimum.point, optimum.factor
            try:
                settled, theta = self._settle(objective, point.theta)
            except ValueError as error:
                settled = objective
                warn(str(error))
            if settled is not objective:
                point = settled.at(theta)
                factor = solver.factorise(point)
        if not optimum.converged:
            warn(
                "No optimum was reached from the fit: Newton's method ended at a Newton "
                f"decrement of {optimum.decrement:.3g}, and results may be off by as much "
                "as it is from the optimum. Scale the features, or strengthen the penalty.",
            )
        return removal.Base.at(point, factor, solver)

    def _leave_out(self, base, groups, method, emit, refine, n_jobs, verbose, **how):
        """Walk over the groups, warn of those without a result, return the outcome."""
        check_refine(refine, method)
        outcome = removal.leave_out(
            base,
            groups,
            method,
            emit,
            refine=refine,
            n_jobs=n_jobs,
            verbose=verbose,
            **how,
        )
        self._warn_of_outcome(base, groups, outcome)
        return outcome

    def _warn_of_outcome(self, base, groups, outcome):
        """Warn of groups without a result, or with one that is not unique."""
        if outcome.separated:
            named = ", ".join(groups.name(group) for group in sorted(outcome.separated)[:5])
            group = min(outcome.separated)
            reduced = base.point.objective.without(groups.rows(group))
            told = self._describe_direction(outcome.separated[group], reduced)
            warn(
                f"Without {len(outcome.separated)} of {len(groups)} group(s) the others have "
                f"no optimum: {named}. Without {groups.name(group)}: {told} Parameters in "
                "such a direction are NaN, and so are predictions and losses that depend on "
                "them; of softmax all are."
            )
        if outcome.without_optimum:
            named = ", ".join(
                f"{groups.name(group)} (class {label!r})"
                for group, label in outcome.without_optimum[:5]
            )
            warn(
                f"{len(outcome.without_optimum)} group(s) hold the last samples of a class, "
                "whose free intercept then has no finite optimum; their results are NaN: "
                f"{named}.",
            )
        if getattr(base, "refitted", ()):
            warn(
                f"The active set could not be followed for {len(base.refitted)} of "
                f"{len(groups)} group(s), which scikit-learn has refitted.",
            )
        unsolved = [group for group in outcome.unsolved if group not in outcome.separated]
        if unsolved and base.has_optimum:
            named = ", ".join(groups.name(group) for group in unsolved[:5])
            warn(
                f"{len(unsolved)} group(s) leave an objective that is singular or "
                f"did not converge; their results are NaN: {named}. A stronger penalty "
                "or centred features help.",
            )
        flat = {g: V for g, V in outcome.undetermined.items() if g not in outcome.separated}
        if flat:
            layout, names = base.point.objective.formulation.layout, self.param_names()
            lost = [
                f"{groups.name(group)} ({', '.join(np.array(names)[_lost(layout, V)][:4])})"
                for group, V in sorted(flat.items())[:5]
            ]
            warn(
                f"Without {len(flat)} group(s) the others do not determine "
                f"every parameter: {', '.join(lost)}. These parameters are NaN, and so are "
                "predictions and losses that depend on them. A penalty determines them.",
            )

    def _leave_out_raw(self, groups, cv, method, refine, hessian_solver, n_jobs, verbose):
        """Return each training sample's raw prediction without its group, (n, K)."""
        base, groups = self._removal(groups, cv, method, hessian_solver)
        groups.partition()
        design = base.point.objective.design
        raw = np.empty((base.point.objective.n_rows, base.theta.shape[0]))

        def emit(_indices, rows, theta):
            if rows.shape[1] == 1:  # row by row, products would be most of the work
                single = rows[:, 0] >= 0
                alone, readings = rows[single, 0], design.readings(theta[single])
                raw[alone] = np.einsum("bd,bkd->bk", design.take(alone).rows(), readings)
                return
            for line, one in zip(rows, theta, strict=True):
                rows_of_group = line[line >= 0]
                raw[rows_of_group] = design.take(rows_of_group).predict(one)

        outcome = self._leave_out(
            base, groups, method, emit, refine, n_jobs, verbose, recover=True
        )
        for group, directions in base.open_directions(outcome, len(groups)):
            rows = groups.rows(group)
            raw[rows[removal.depends(directions, design.take(rows))]] = np.nan
        return raw

    def _leave_out_score(
        self,
        groups=None,
        *,
        cv=None,
        scoring=None,
        method,
        refine=None,
        hessian_solver="auto",
        n_jobs=None,
        verbose=0,
        metadata,
    ):
        """Return the pooled score, the scorer given more than predictions and targets."""
        raw = self._leave_out_raw(groups, cv, method, refine, hessian_solver, n_jobs, verbose)
        return self._score_raw(raw, scoring, metadata)

    def _score_raw(self, raw, scoring, metadata):
        """Return the score of raw predictions (n, K) of the training samples."""
        self._check_labelled(raw, scored=True)
        objective = self._get_objective()
        pooled = self._pooled(raw)
        y = self._decode(objective.target)
        try:
            if scoring is None:
                return float(self._score_predictions(pooled, y, **metadata))
            scorer = check_scoring(pooled, scoring=scoring)
            return float(scorer(pooled, objective.design.X, y, **metadata))
        except ValueError as error:
            missing = np.flatnonzero(np.isnan(raw).any(axis=1))
            if not missing.size:
                raise
            raise ValueError(
                f"There is no optimum without the groups of {missing.size} sample(s), and the "
                f"scoring takes no NaN: {missing[:5].tolist()}. Use leave_out_predict, where "
                "they are NaN."
            ) from error

    def _check_labelled(self, raw, *, scored=False):
        """Raise if a classifier has no label for a sample: NaN would read as a class."""
        missing = np.flatnonzero(np.isnan(raw).any(axis=1))
        if not missing.size or not is_classifier(self):
            return
        response = "response_method='decision_function'"
        remedy = f"leave_out_predict({response})" if scored else response
        raise ValueError(
            f"There is no model without the groups of {missing.size} sample(s), so they have "
            f"no predicted class: {missing[:5].tolist()}. Use groups that leave members of "
            f"every class, or {remedy}, where they are NaN."
        )

    def _pooled(self, raw):
        """Return an estimator that answers with these raw predictions."""
        return pooled_predictions(self, self._get_formulation().loss, raw)

    def _decode(self, target):
        """Return the training targets as they were given to `fit`."""
        y = self._get_formulation().target.decode(target)
        return y[:, 0] if y.ndim == 2 and self._has_flat_target() else y

    def _score_predictions(self, pooled, y, **metadata):
        """Return what the estimator's own `score` makes of pooled predictions."""
        return pooled.score(self._get_objective().design.X, y, **metadata)

    def _optimum(self, base):
        """Return the parameters at the optimum of all rows, laid out as `params_`."""
        return base.point.objective.formulation.layout.to_public(base.optimum())

    def _check_bounded(self, objective):
        """Raise unless the objective is strongly convex in coefficients of features."""
        loss = objective.formulation.loss
        if objective.design.has_metric or loss.is_piecewise_linear:
            raise UnsupportedEstimatorError(
                f"return_bound of {type(self).__name__}: the bound is one on coefficients of "
                "features under a smooth loss. Leave it out; leave_out_check refits."
            )
        if not loss.convex:
            raise UnsupportedEstimatorError(
                f"return_bound of {type(self).__name__}: the bound needs a convex loss, and "
                f"{loss.description} is not convex. Use method='exact', which needs no bound, "
                "or leave_out_check, which refits."
            )
        if np.all(objective.penalty > 0):
            return
        free = objective.formulation.layout.to_public(objective.penalty) == 0
        names = [n for n, f in zip(self.param_names(), free, strict=True) if f]
        remedy = "fit_intercept=False on centred data"
        if not np.any(objective.penalty > 0):
            remedy = "a penalty and fit_intercept=False"
        elif (
            "solver" in self.get_params(deep=False) and len(getattr(self, "classes_", ())) == 2
        ):
            remedy += ", or solver='liblinear' for logistic regression"
        raise ValueError(
            "return_bound=True needs a penalty on every parameter, but these have none: "
            f"{', '.join(names[:5])}. Use {remedy}."
        )


def _lost(layout, directions):
    """Return which entries of `params_` change along any of some directions, (p,) bool."""
    return layout.to_public(removal.depends(directions)[None])[0].astype(bool)
