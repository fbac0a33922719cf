"""Removal from a moment model by subtracting the removed rows' sums.

"newton" and "exact" are the refit, and "influence" is first order in the sums. At other
weights the formulas are those on the sums with these weights. There is no Hessian, so the
covariance of the parameters is that of the infinitesimal jackknife,

    sum_A c_A c_A'      with      c_A = sum_(i in A) (w_i/S) I_up,params(z_i)

over single samples or groups A, or of the jackknife, with the change without A as c_A.
"""

import copy
from dataclasses import replace

import numpy as np
from sklearn.utils.validation import has_fit_parameter

from skinfluence._compat import check_sample_weight
from skinfluence.blocks import row_blocks, run_blocks
from skinfluence.checks import check_option
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.groups import Cases, check_indices, resolve_groups
from skinfluence.moments.data import MomentData
from skinfluence.problem import FittedObjective
from skinfluence.problem.requests import NEW, Influence, Output, Removal
from skinfluence.removal import METHODS


class MomentRemoval:
    """Leave-one-out and group removal, checks by refits, and updates in place."""

    def groups_for(self, groups, cv=None):
        data = self.data_of_fit
        y = data.formulation.target.decode(data.target)
        return resolve_groups(groups, cv, X=data.X, y=y, classifier=True, index=data.index)

    def remove_groups(self, base, request, emit, **options):
        """Call ``emit(indices, rows, theta)`` for blocks of groups, see `Problem`.

        The parameters are NaN if there is no model; a warning names these groups.
        """
        groups, data = request.groups, self.objective
        model, theta = data.model, self.params
        (N, M), C = data.sums, data.centres
        counts = data.counts
        lost, undefined, partly = {}, [], []

        def work(block):
            members = [groups.rows(g) for g in range(block.start, block.stop)]
            owner = np.repeat(np.arange(len(members)), [len(rows) for rows in members])
            rows = np.concatenate(members).astype(np.intp)
            removed_N, removed_M, removed = data.sums_of(rows, owner, len(members))
            left = counts - removed
            empty = (left == 0).any(axis=1)
            params = np.full((len(members), len(theta)), np.nan)
            kept = np.flatnonzero(~empty)
            if request.method == "influence":
                flat = removed_M[kept].reshape(len(kept), -1)
                for at, V in self._param_blocks():
                    gN, gM = model.pull(N, M, C, V)
                    change = removed_N[kept] @ gN.T + flat @ gM.reshape(len(V), -1).T
                    params[kept, at] = theta[at] - change
            elif len(kept):
                cancels = data.cancels(rows, owner, removed_N, removed_M)[kept]
                for one in kept[cancels]:
                    rest = data.take(np.delete(np.arange(data.n_rows), members[one]))
                    params[one] = model.params(*rest.sums, rest.centres, rest.counts)
                kept = kept[~cancels]
                if len(kept):
                    params[kept] = model.params(
                        N - removed_N[kept], M - removed_M[kept], C, left[kept]
                    )
            indices = np.arange(block.start, block.stop)
            for group, one, hole in zip(indices, params, empty, strict=True):
                unknown = np.isnan(one)
                if hole:
                    k = int(np.flatnonzero(left[group - block.start] == 0)[0])
                    lost[group] = self.label(self.estimator.classes_.tolist()[k])
                elif unknown.all():
                    undefined.append(group)
                elif unknown.any() and not np.isnan(theta).any():
                    partly.append(group)
            emit(indices, groups.padded(indices), params[:, None])

        width = 8 * (6 * (M.size + len(theta)) + 4 * data.n_terms)
        n_jobs, verbose = request.n_jobs, request.verbose
        blocks = row_blocks(len(groups), width, n_jobs=n_jobs)
        run_blocks(work, blocks, n_jobs=n_jobs, verbose=verbose)
        self._warn_of_groups(groups, lost, undefined, partly)

    def _warn_of_groups(self, groups, lost, undefined, partly):
        cases = Cases.of_groups(groups)
        cases.tell(
            lost,
            "the last samples of a class are gone, and a refit would not have this class; "
            "their results are NaN",
            name=lambda group: f"{groups.name(group)} (class {lost[group]!r})",
        )
        cases.tell(
            undefined,
            "there is no model, because a class has too few samples or a singular covariance "
            "then; their results are NaN",
            "Use solver='eigen' with shrinkage, which needs two samples.",
        )
        cases.tell(
            partly,
            "some parameters do not exist, such as those of categories that no other sample "
            "has; these are NaN, and so are the results that depend on them",
        )

    def scores_without(self, metric, X, request):
        if not metric.needs_model:
            return super().scores_without(metric, X, request)
        scores, design = metric.table(len(request.groups)), self.check_X(self.formulation, X)

        def emit(indices, rows, theta):
            for group, line, one in zip(indices, rows, theta, strict=True):
                if not np.isnan(design.predict(one)).any():
                    (model,) = self.models_without(request.of([line[line >= 0]]))
                    scores.add_model(group, model)

        self.remove_groups(None, request, emit)
        return scores

    def _same_size(self, params):
        """Return a refit's parameters, NaN if their number differs."""
        size = len(self.params)
        return params if len(params) == size else np.full(size, np.nan)

    # ---------------------------------------------------------------- updates and refits

    def refit(self, data):
        """Return scikit-learn's estimator fitted on training data."""
        y = self.formulation.target.decode(data.target)
        return self._fitted_on(data.X, y, data.sample_weight)

    def _fitted_on(self, X, y, weight):
        model = self.parent_class(**self.fitted.params)
        if np.all(weight == 1):
            return model.fit(X, y)
        if has_fit_parameter(model, "sample_weight"):
            return model.fit(X, y, sample_weight=weight)
        counts = np.rint(weight)
        if not np.array_equal(counts, weight):
            raise UnsupportedEstimatorError(
                f"{self.name} has no sample weights: use whole numbers, which repeat samples."
            )
        rows = np.repeat(np.arange(len(weight)), counts.astype(np.intp))
        return model.fit(X[rows], y[rows])

    def _become(self, refit, data):
        """Write a refit into the estimator, with its training data."""
        kept = {"feature_names_in_", *self.fitted.params}
        state = {name: value for name, value in vars(refit).items() if name not in kept}
        adopted = self.of(copy.copy(self.estimator))
        vars(adopted.estimator).update(state | self.fitted.params)
        formulation = adopted.formulate(None, None)
        data = replace(data, formulation=formulation)
        fitted = FittedObjective(
            formulation, data, layout=formulation.layout, params=self.fitted.params
        )
        vars(self.estimator).update(state)
        self.fitted = fitted
        self.forget_state()

    def remove_samples(self, indices, *, method="exact", hessian_solver="auto"):
        check_option("method", method, METHODS)
        data = self.objective
        if method == "influence":
            raise UnsupportedEstimatorError(
                f"remove_samples of {self.name} computes all its statistics again, and has no "
                "first-order form: use method='exact' or 'newton'."
            )
        rows = check_indices(indices, data.n_rows)
        self.resolve(Removal([rows], method=method))
        data = data.take(np.delete(np.arange(data.n_rows), rows))
        if not data.counts.all():
            label = self.estimator.classes_.tolist()[int(data.counts.argmin())]
            raise ValueError(
                f"indices holds the last samples of class {label!r}: a refit would not have "
                "this class. Keep at least one of them."
            )
        self._become(self.refit(data), data)

    def add_samples(self, X, y, sample_weight=None, *, hessian_solver="auto"):
        data = self.objective
        design, codes = self.check_samples(self.formulation, X, y)
        weight = check_sample_weight(sample_weight, design.X, dtype=np.float64)
        if not has_fit_parameter(self.estimator, "sample_weight") and not np.all(weight == 1):
            raise ValueError(
                f"{self.name} has no sample weights: leave out sample_weight, or repeat "
                "samples."
            )
        data = data.append(MomentData(self.formulation, design.X, codes, weight))
        self._become(self.refit(data), data)

    def models_without(self, request):
        """Return the fitted model without each group of rows, None if a class is lost.

        See `Problem.models_without`. All methods fit again, because the sums are exact.
        """
        data = self.objective
        y = self.formulation.target.decode(data.target)
        models = []
        for rows in request.groups:
            kept = np.delete(np.arange(data.n_rows), rows)
            weight = data.sample_weight[kept]
            refit = self.refit_near(data.X[kept], y[kept], weight, request.method)
            models.append(None if refit is None else self.as_model(refit.estimator))
        return models

    def refit_near(self, X, y, sample_weight, method, columns=None, factor=None):
        present = np.unique(np.asarray(y)[sample_weight > 0])
        if not np.array_equal(present, self.estimator.classes_):
            return None
        return self.refit_by_solver(X, y, sample_weight)

    def refit_by_solver(self, X, y, sample_weight):
        try:
            refit = self._fitted_on(X, y, sample_weight)
        except np.linalg.LinAlgError as error:  # from singular covariances
            raise ValueError(str(error)) from None
        fresh = self.of(copy.copy(self.estimator))
        vars(fresh.estimator).pop("feature_names_in_", None)
        vars(fresh.estimator).update(vars(refit) | self.fitted.params)
        fresh.forget_fit()
        formulation = fresh.formulate(None, None)
        fresh.fitted = FittedObjective(
            formulation,
            fresh.make_objective(formulation, X, y, sample_weight),
            layout=formulation.layout,
            params=self.fitted.params,
        )
        return fresh

    def refit_without(self, rows):
        data = self.objective
        kept = data.take(np.delete(np.arange(data.n_rows), rows))
        return self._same_size(self.formulation.model.read(self.refit(kept)))


class MomentReweighting:
    """Methods for other sample weights; "newton" and "exact" are the fit itself."""

    def models_at_weights(self, request):
        """Return the fitted model at each vector of weights, None if a class is lost."""
        data = self.objective
        y, models = self.formulation.target.decode(data.target), []
        for weight in self.resolve_weights(request).sample_weight:
            refit = self.refit_near(data.X, y, weight, request.method)
            models.append(None if refit is None else self.as_model(refit.estimator))
        return models

    def reweigh(self, request, emit):
        """Call ``emit(vectors, theta)`` at each vector of weights, see `Problem.reweigh`.

        The parameters are NaN if there is no model; a warning names these vectors.
        """
        values, method = request.sample_weight, request.method
        data = self.data_of_fit if method == "influence" else self.checked_data
        model, fitted = data.model, self.params
        (N, M), C = data.sums, data.centres
        lost, y = [], self.formulation.target.decode(data.target)
        takes_weights = has_fit_parameter(self.estimator, "sample_weight")

        def work(vector):
            moved = replace(data, sample_weight=values[vector])
            if method == "influence":
                vars(moved)["centres"] = C
            theta = np.full(len(fitted), np.nan)
            if not moved.counts.all():
                lost.append(vector)
            elif method == "influence":
                new_N, new_M = moved.sums
                for at, V in self._param_blocks():
                    gN, gM = model.pull(N, M, C, V)
                    change = gN @ (new_N - N) + np.einsum("mbs,bs->m", gM, new_M - M)
                    theta[at] = fitted[at] + change
            else:
                with np.errstate(divide="ignore", invalid="ignore"):
                    theta = model.params(*moved.sums, moved.centres, moved.counts)
                if takes_weights and np.isnan(theta).any() and not np.isnan(fitted).any():
                    # A category whose samples have weight 0 still counts in such a fit.
                    refit = self._fitted_on(data.X, y, values[vector])
                    theta = self._same_size(model.read(refit))
                if np.isnan(theta).all():
                    lost.append(vector)
            emit(np.array([vector]), theta[None, None])

        vectors = range(len(values))
        run_blocks(work, vectors, n_jobs=request.n_jobs, verbose=request.verbose)
        Cases.of_weights(values).tell(
            lost,
            "there is no model, because a class has no weight or its covariance is singular; "
            "their results are NaN",
        )
        return []


class MomentUncertainty:
    """Covariances, and changes in units of standard errors."""

    def covariance(self, kind, groups, hessian_solver, n_jobs):
        if kind == "hessian":
            raise UnsupportedEstimatorError(
                f"kind='hessian' of {self.name}: its parameters are no optimum of an "
                "objective with a Hessian. Use 'infinitesimal_jackknife' or 'jackknife'."
            )
        groups = self.groups_for(groups)
        owner = groups.partition()
        if kind == "jackknife":
            moved = self.leave_out_params(Removal(groups, n_jobs=n_jobs)) - self.params
        else:
            moved = np.zeros((len(groups), len(self.params)))
            np.add.at(moved, owner, self._first_order_moves(n_jobs))
        return moved.T @ moved

    def dfbetas(self, groups=None, output=NEW, *, hessian_solver="auto", n_jobs=None):
        groups = self.groups_for(groups)
        error = np.linalg.norm(self._first_order_moves(n_jobs), axis=0)
        out = output.prepare((len(groups), len(self.params)))
        # In single precision, differences between parameters would lose their digits.
        params = out if out.dtype == np.float64 else np.empty(out.shape)
        self.leave_out_params(Removal(groups, n_jobs=n_jobs), Output(out=params))
        error[error == 0] = np.nan  # a parameter that does not move has no unit
        for rows in row_blocks(len(out), 4 * 8 * out.shape[1]):
            moved = self.params - params[rows]
            out[rows] = np.where(moved == 0, 0.0, moved / error)
        return out

    def _first_order_moves(self, n_jobs):
        """Return (w_i/S) I_up,params for each training row, (n, p)."""
        data = self.objective
        share = (data.sample_weight / data.weight_sum)[:, None]
        moved = self.influence_params(request=Influence(n_jobs=n_jobs))
        return np.where(share > 0, share * moved, 0.0)
