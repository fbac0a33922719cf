"""Removal methods for a pipeline, which refit every transformer and then the model.

The refits are in `refitting`. Scalers and choices need none for most groups.
"""

from functools import cached_property

import numpy as np
from sklearn.utils import check_random_state

from skinfluence import removal
from skinfluence.blocks import run_blocks
from skinfluence.checks import check_count, check_option, check_refine, prepare_out
from skinfluence.column_scales import Cancellation
from skinfluence.exceptions import UnsupportedEstimatorError, warn
from skinfluence.groups import check_indices, resolve_groups
from skinfluence.namespaces import to_host
from skinfluence.problem.refit_checks import choose_checks, compare_changes
from skinfluence.whole.data import take_rows
from skinfluence.whole.metrics import WholeMetrics
from skinfluence.whole.refits import FirstOrder, warn_of_lost_features
from skinfluence.whole.refitting import PipelineRefits

__all__ = ["WholeRemoval"]


class WholeRemoval(WholeMetrics, PipelineRefits):
    """Removal methods with the signatures that estimators have."""

    #: The `Choices` that most removals leave as they are, None if every group needs a refit.
    choices = None

    def leave_out_params(
        self,
        groups=None,
        *,
        cv=None,
        method="newton",
        refine=None,
        return_bound=False,
        **options,
    ):
        if return_bound:
            raise UnsupportedEstimatorError(
                "return_bound of a pipeline: the bound is one for a model on fixed features, "
                "and these move. Leave it out, or explain the last step alone: "
                "from_fitted(pipe[-1], pipe[:-1].transform(X), y)."
            )
        groups = self.resolve(groups, cv, method, refine)
        return self._params_without(groups, method, refine=refine, **options)

    def _params_without(
        self,
        groups,
        method,
        *,
        refine=None,
        hessian_solver="auto",
        n_jobs=None,
        dtype=None,
        out=None,
        verbose=0,
    ):
        """Return `leave_out_params` for groups from `resolve`."""
        out = prepare_out(out, (len(groups), len(self.params)), dtype, self.like)
        if method == "influence":
            moved = self.influence_params(hessian_solver=hessian_solver, n_jobs=n_jobs)
            for group in range(len(groups)):
                out[group] = self.params - self._summed(moved, groups.rows(group))
            return out
        scaled = self.scaled_without(groups)
        if scaled is not None:
            scaled.leave_out_params(
                groups.members,
                method=method,
                refine=refine,
                hessian_solver=hessian_solver,
                n_jobs=n_jobs,
                out=out,
                verbose=verbose,
            )
            return self._rescale(out, groups)
        lacking = {}

        def write(group, refit):
            out[group] = self.matched(refit, groups.rows(group))
            if refit.open is None and np.isnan(out[group]).any():
                lacking[group] = self.lost_features(refit)

        self.each(groups, method, write, n_jobs, verbose, missing=out, refine=refine)
        if lacking:
            lost = {
                f"Without {groups.name(group)}": lacking[group] for group in sorted(lacking)
            }
            warn_of_lost_features(lost, self.parameters.layout(self.estimator).n_outputs)
        return out

    def leave_out_loss(
        self, X, y, groups=None, *, cv=None, method="newton", refine=None, **options
    ):
        groups = self.resolve(groups, cv, method, refine)
        scaled = self.scaled_without(groups)
        if scaled is None:
            return self._loss_without(X, y, groups, method, refine=refine, **options)
        return scaled.leave_out_loss(
            self.transform(X), y, groups, method=method, refine=refine, **options
        )

    def _loss_without(
        self,
        X,
        y,
        groups,
        method,
        *,
        refine=None,
        hessian_solver="auto",
        n_jobs=None,
        dtype=None,
        out=None,
        verbose=0,
    ):
        """Return `leave_out_loss` from pipeline refits."""
        plain = self.sample_loss(X, y)
        out = prepare_out(out, (len(plain), len(groups)), dtype, self.like)
        if method == "influence":
            loss = self.formulation.loss
            target = self.formulation.target.encode(to_host(y))
            members = [groups.rows(group) for group in range(len(groups))]
            for q in range(len(plain)):
                raw = self._first_order_raw(take_rows(X, [q]), members, hessian_solver)
                out[q] = loss.loss(np.repeat(target[[q]], len(raw), axis=0), raw)
            return out

        def write(group, refit):
            out[:, group] = refit.loss(X, y)

        self.each(groups, method, write, n_jobs, verbose, missing=out.T, refine=refine)
        return out

    def leave_out_predict(self, groups=None, *, response_method="predict", **options):
        self.check_left_out_response(response_method)
        return self.respond(self.raw_without(groups, **options), response_method)

    def leave_out_score(self, groups=None, *, scoring=None, sample_weight=None, **options):
        raw = self.raw_without(groups, **options)
        metadata = {} if sample_weight is None else {"sample_weight": sample_weight}
        return self.score_raw(raw, scoring, metadata)

    def raw_without(
        self,
        groups=None,
        cv=None,
        method="newton",
        refine=None,
        hessian_solver="auto",
        n_jobs=None,
        verbose=0,
    ):
        """Return each training sample's raw prediction without its group, (n, K)."""
        groups = self.resolve(groups, cv, method, refine)
        scaled = self.scaled_without(groups)
        if scaled is not None:
            return scaled.raw_without(
                groups, None, method, refine, hessian_solver, n_jobs, verbose
            )
        groups.partition()
        K = self.n_scores
        raw = np.full((self.data.n_rows, K), np.nan)
        if method == "influence":
            for group in range(len(groups)):
                for row in groups.rows(group):
                    one, members = take_rows(self.data.X, [row]), [groups.rows(group)]
                    raw[row] = to_host(self._first_order_raw(one, members, hessian_solver)[0])
            return raw

        def write(group, refit):
            rows = groups.rows(group)
            raw[rows] = to_host(refit.raw_predictions_of(self.data, rows))

        self.each(groups, method, write, n_jobs, verbose, refine=refine)
        return raw

    def leave_out_check(
        self,
        n_checks=20,
        groups=None,
        *,
        cv=None,
        method="newton",
        refine=None,
        random_state=None,
        **options,
    ):
        random_state = check_random_state(random_state)
        groups = self.resolve(groups, cv, method, refine)
        check_count("n_checks", n_checks, len(groups), of="groups")
        optimum = self.optimum()
        predicted = to_host(self._params_without(groups, method, refine=refine, **options))
        predicted = predicted - optimum
        indices = choose_checks(predicted, n_checks, random_state)
        actual = np.array([self.refitted_by_solver(groups.rows(g)) for g in indices])
        read = self._readings if self.parameters.is_dual else lambda params: params
        return compare_changes(predicted[indices], actual - optimum, indices, optimum, read)

    def remove_samples(self, indices, *, method="exact", hessian_solver="auto"):
        check_option("method", method, removal.METHODS)
        if method == "influence":
            raise UnsupportedEstimatorError(
                f"remove_samples of {self.name} fits the steps or the kernel before the model "
                "again, and parameters to first order are those for the present ones: use "
                "method='exact' or 'newton'."
            )
        rows = check_indices(indices, self.data.n_rows)
        self.resolve([rows], None, method, None)
        self.check_refits()
        refit = self.without(rows, method)
        if refit is None:
            raise ValueError(
                "Without these samples a class is lost, or the objective has no optimum: the "
                "pipeline was left as it is. Keep samples of every class, or strengthen the "
                "penalty."
            )
        self.become(refit, self.data.without(rows))

    def add_samples(self, X, y, sample_weight=None, *, hessian_solver="auto"):
        rows = X
        if hasattr(self.data.X, "columns") and not hasattr(X, "columns"):
            # The steps may select columns by name.
            data = self.data.append(X, y, sample_weight)
            rows = take_rows(data.X, np.arange(self.data.n_rows, data.n_rows))
        # The samples behind the current steps must pass the model's checks.
        objective = self.objective
        more = self.make_objective(objective.formulation, rows, y, sample_weight)
        self.check_refits()
        data = self.data.append(X, y, sample_weight)
        weight = np.concatenate([to_host(o.sample_weight) for o in (objective, more)])
        refit = self.refit(data, weight, "exact")
        if refit is None:
            raise ValueError(
                "With these samples there is another class, or the objective has no optimum: "
                "the pipeline was left as it is. Fit it again."
            )
        self.become(refit, data)

    def scaled_without(self, groups):
        """Return `scaled` for removals, or None if they need new fits of the steps.

        The steps are fitted again if a group has almost all of a column's variance.
        Subtraction would lose the digits of the variance that is left.
        """
        if self.scaled is None or self.cancellation.without_any(groups):
            return None
        return self.scaled

    @cached_property
    def cancellation(self):
        """The groups without which the scales of `scaled` lose their digits."""
        return Cancellation(self.scaled.objective)

    def optimum(self):
        """Return the parameters of the refit with all samples, (p,), else the fitted ones."""
        try:
            refit = self.without(np.empty(0, dtype=np.intp), "exact")
        except ValueError:
            return self.params
        return self.params if refit is None else self.matched(refit)

    def resolve(self, groups, cv, method, refine):
        """Check the arguments and return the selected `Groups`."""
        check_option("method", method, removal.METHODS)
        check_refine(refine, method)
        X, n = self.data.X, self.data.n_rows
        groups = resolve_groups(
            groups,
            cv,
            X=X if hasattr(X, "shape") else np.empty((n, 0)),
            y=to_host(self.data.y),
            classifier=self.is_classifier,
        )
        groups.check_leaves_weight(to_host(self.objective.sample_weight))
        return groups

    def each(self, groups, method, write, n_jobs, verbose, missing=None, refine=None):
        """Call ``write(group, refit)`` with the `Refit` without each group.

        Groups without a refit get NaN rows in `missing`, and a warning names them. A share
        `refine` of the groups that change no choice is written again, exactly.
        """
        self.check_refits()
        left = range(len(groups))
        if self.choices is not None:
            left = self.choices.write(groups, method, write, refine=refine, n_jobs=n_jobs)

        def find(group):
            return self.without(groups.rows(group), method)

        failed, undetermined = self.write_refits(find, left, write, missing, n_jobs, verbose)
        if failed:
            first = min(failed)
            warn(
                f"{len(failed)} of {len(groups)} group(s) leave no model; their results are "
                f"NaN: {', '.join(groups.name(group) for group in sorted(failed)[:5])}. "
                f"Without {groups.name(first)}: {failed[first]}."
            )
        if undetermined:
            first = min(undetermined)
            warn(
                f"{len(undetermined)} of {len(groups)} group(s) leave parameters without a "
                f"value. Without {groups.name(first)}: {undetermined[first]}"
            )

    def models_without(
        self, groups, method, *, refine=None, hessian_solver="auto", n_jobs=None, verbose=0
    ):
        """Return the pipeline without each group of rows, see `Problem.models_without`."""
        if method == "influence":
            return [self.first_order(rows, hessian_solver) for rows in groups]
        self.check_refits()

        def work(rows):
            try:
                refit = self.without(rows, method)
            except ValueError:
                return None
            return self.as_pipeline(refit)

        return run_blocks(work, groups, n_jobs=n_jobs, verbose=verbose)

    def first_order(self, rows, hessian_solver):
        """Return the pipeline without some samples, to first order."""

        def raw(X):
            queries = (take_rows(X, [q]) for q in range(X.shape[0]))
            one = [self._first_order_raw(q, [rows], hessian_solver) for q in queries]
            return np.concatenate(one)

        return FirstOrder(self, raw)

    def as_pipeline(self, refit):
        """Return a `Refit` as a pipeline, None if there is none."""
        if refit is None:
            return None
        return self.pipe_of([step for _, step in refit.before.steps], refit.model.estimator)

    def _readings(self, params):
        """Return K alpha and the intercepts for parameters (..., p) of a kernel model."""
        theta = self.formulation.layout.from_public(params)
        return self.objective.design.readings(theta).reshape(*params.shape[:-1], -1)

    def _rescale(self, params, groups):
        """Convert parameters (G, p) from current to refitted scales, in place."""
        objective = self.scaled.objective
        layout = objective.formulation.layout
        for group in range(len(groups)):
            scales = objective.scales.without(objective.design.take(groups.rows(group)).rows())
            theta = layout.from_public(params[[group]])[0]
            params[group] = layout.to_public(scales.to_refit(theta)[None])[0]
        return params

    def _summed(self, influence, rows):
        """Return sum_A w_i/S I for influences I (n, .), summed over some rows."""
        w = self.objective.sample_weight[rows] / self.objective.weight_sum
        return np.tensordot(w, influence[rows], 1)

    def _first_order_raw(self, X, members, hessian_solver):
        """Return one sample's raw prediction without each list of rows, (G, K)."""
        raw = self.raw_predictions(X)[0]
        moved = self.raw_influence(X, hessian_solver)  # (n, K)
        return np.stack([raw - self._summed(moved, rows) for rows in members])
