"""Chapter C, continued: refits that check removals, and updates in place."""

import numpy as np
from scipy.stats import linregress
from sklearn.utils import check_array, check_random_state

from skinfluence import existence, removal
from skinfluence.checks import check_count
from skinfluence.exceptions import warn
from skinfluence.groups import check_indices
from skinfluence.namespaces import device_array, is_foreign, to_host
from skinfluence.problem.kinds import kind_of
from skinfluence.problem.requests import Removal
from skinfluence.results import Result
from skinfluence.solvers import get_solver

# Refits for a check, unless there are fewer groups.
_N_CHECKS = 20


def count_checks(n_checks, groups):
    """Return the number of groups to refit, for an argument that may be None."""
    if n_checks is None:
        return min(_N_CHECKS, len(groups))
    check_count("n_checks", n_checks, len(groups), of="groups")
    return n_checks


def choose_checks(predicted, n_checks, random_state):
    """Return the groups to refit: half by largest predicted change (G, p), half random."""
    size = np.linalg.norm(predicted, axis=1)
    order = np.argsort(-np.where(np.isfinite(size), size, -np.inf), kind="stable")
    order = order[np.isfinite(size[order])]
    if not len(order):
        raise ValueError(
            f"There is nothing to check: none of the {len(predicted)} group(s) leaves a "
            "model. Use groups that leave samples of every class, or a penalty."
        )
    n_checks = min(n_checks, len(order))
    half = -(-n_checks // 2)
    others = random_state.permutation(order[half:])[: n_checks - half]
    return np.concatenate([order[:half], others])


def compare_changes(predicted, actual, indices, optimum, read=lambda params: params):
    """Return the Bunch for `leave_out_check`.

    Parameters
    ----------
    predicted, actual : ndarray of shape (n_checks, p)
        Parameter changes.
    indices : ndarray of shape (n_checks,)
        Groups that were refitted.
    optimum : ndarray of shape (p,)
        Parameters with all rows.
    read : callable
        Maps parameters (..., p) to the values to compare.
    """
    size = np.linalg.norm(read(actual), axis=1)
    moved = size > 1e-6 * np.linalg.norm(read(optimum))
    error = np.linalg.norm(read(predicted) - read(actual), axis=1)[moved] / size[moved]
    pearson_r, slope = _line(read(predicted).ravel(), read(actual).ravel())
    return Result(
        predicted=predicted,
        actual=actual,
        indices=indices,
        pearson_r=pearson_r,
        slope=slope,
        max_relative_error=float(error.max(initial=0.0)),
    )


def _line(predicted, actual):
    """Return correlation and slope, NaN with a warning if no line can be fitted."""
    if len(predicted) < 2 or not np.ptp(predicted):
        warn(
            f"All {len(predicted)} predicted changes are {np.mean(predicted):g}: there is no "
            "correlation and no slope, which are NaN.",
        )
        return np.nan, np.nan
    fit = linregress(predicted, actual)
    return float(fit.rvalue), float(fit.slope)


class UpdateAnswers:
    """Checks for removals, and updates in place, see `methods.updates`."""

    def check_params(self, params):
        """Return parameter vectors (..., p) as an array of numbers."""
        foreign = is_foreign(params)
        params = check_array(
            params,
            ensure_2d=False,
            allow_nd=True,
            ensure_all_finite=False,
            input_name="params",
        )
        params = device_array(params) if foreign else params
        if params.ndim == 0 or params.shape[-1] != self.layout.size:
            raise ValueError(
                f"params has shape {params.shape}, but the last axis must hold the "
                f"{self.layout.size} parameters of the model."
            )
        return params

    def split_params(self, params):
        return self.parameters.split(self.estimator, self.check_params(params), self.layout)

    def leave_out_check(self, n_checks, request, *, random_state=None):
        self.refuse_dask("leave_out_check")
        random_state = check_random_state(random_state)
        request = self.resolve(request)
        groups = request.groups
        n_checks = count_checks(n_checks, groups)
        optimum, predicted = self.params_to_check(request)
        predicted = predicted - optimum
        indices = choose_checks(predicted, n_checks, random_state)
        actual = np.array([self.refit_without(groups.rows(g)) for g in indices]) - optimum
        return compare_changes(predicted[indices], actual, indices, optimum, self.readings)

    def params_to_check(self, request):
        """Return the parameters with all rows, (p,), and without each group, (G, p)."""
        base = self.start_base(request.method, request.hessian_solver)
        self.refuse_open(base, "Parameters of refits have nothing to compare with.")
        layout = base.point.objective.formulation.layout
        params = np.empty((len(request.groups), layout.size))

        def emit(indices, _rows, theta):
            params[indices] = to_host(layout.to_public(theta))

        optimum = to_host(layout.to_public(base.optimum()))
        self.remove_groups(base, request, emit)
        return optimum, params

    def refuse_open(self, base, consequence):
        """Raise if features leave parameters open although the objective has a minimum."""
        if base.open is None or existence.find_recession(self.objective, self.theta):
            return
        told = self.describe_undetermined(base.open, "", of="the fit")
        raise ValueError(f"{told} {consequence}")

    def readings(self, params):
        """Return K alpha and intercepts of a kernel model, else the parameters (..., p)."""
        objective = self.objective
        readings = objective.design.readings(objective.formulation.layout.from_public(params))
        return readings.reshape(*params.shape[:-1], -1)

    def remove_samples(self, indices, *, method="exact", hessian_solver="auto"):
        self.refuse_dask("remove_samples", indices)
        rows = check_indices(indices, self.objective.n_rows)
        base, request = self.start_removal(
            Removal([rows], method=method, hessian_solver=hessian_solver)
        )
        groups = request.groups
        result = []
        self.refuse_open(base, "The model was left as it is.")
        if base.open is not None or not base.has_optimum:
            told = self.describe_direction(
                existence.recession_direction(self.objective, self.theta)
            )
            raise ValueError(f"{told} The model was left as it is.")
        outcome = removal.leave_out(
            base, groups, method, lambda _i, _r, theta: result.append(theta[0]), recover=True
        )
        for _, label in outcome.without_optimum:
            raise ValueError(
                f"indices holds the last samples of class {label!r}: without them the "
                "model has no finite optimum. Keep at least one of them."
            )
        self.warn_of_lost_classes(groups)
        for direction in outcome.separated.values():
            told = self.describe_direction(direction, base.point.objective.without(rows))
            raise ValueError(f"Without these samples: {told} The model was left as it was.")
        for directions in outcome.undetermined.values():
            told = self.describe_undetermined(directions, "")
            raise ValueError(f"{told} The model was left as it is.")
        if outcome.unsolved.size:
            raise ValueError(
                "The objective without these samples has no optimum that Newton's method "
                "can reach: the model was left as it is. Strengthen the penalty."
            )
        kept = np.delete(np.arange(base.point.objective.n_rows), rows)
        reduced = base.point.objective.without(rows)
        objective, theta = self.parameters.take_rows(reduced, result[0], kept)
        self.replace_objective(*self.settle(objective, theta))

    def add_samples(self, X, y, sample_weight=None, *, hessian_solver="auto"):
        self.refuse_dask("add_samples", X, y, sample_weight)
        before = objective = self.objective
        more = self.make_objective(objective.formulation, X, y, sample_weight)
        objective, theta = self.parameters.append_rows(objective, self.theta, more)
        solver = get_solver(hessian_solver, objective)
        with self.naming_directions():
            theta, converged = kind_of(self).enlarge(before, objective, theta, solver)
        if not converged:
            raise ValueError(
                "The optimum of the enlarged objective was not reached: the model was left "
                "as it is. Strengthen the penalty."
            )
        self.replace_objective(*self.settle(objective, theta))
