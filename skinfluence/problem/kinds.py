"""Three kinds of objective, which differ in how the optimum moves when the weights change.

    Smooth      by Newton steps in all parameters
    OnSupport   by Newton steps in the free parameters, until others become free
    Kinked      along the path of a piecewise linear loss, on its active sets

A problem asks `kind_of` once for each task in which they differ.
"""

from contextlib import contextmanager

import numpy as np

from skinfluence import active_set, data_check, existence, l1_support, removal
from skinfluence._compat import TOL_DECIDES_RANK
from skinfluence.exceptions import SingularHessianError, UnsupportedEstimatorError, warn
from skinfluence.optimum import polish
from skinfluence.problem import repeated_fit
from skinfluence.problem.directions import NO_VALUE, Directions, lost_params

# Largest difference between the active set's predictions and the fit's, relative to the
# largest prediction, that gives no warning.
_LOST_PATH = 0.05
# Share by which a dual coefficient may exceed its bound by rounding.
_BEYOND = 1 + 1e-6
# Share by which fits of losses with kinks may differ, because liblinear stops early.
_KINKED = 0.02
# Share by which one-sided derivatives may differ at the bound of a penalty.
_SAME_EDGE = 1e-3
# Singular values that least squares drops are not looked at if they are smaller than this
# share of the kept ones. Warn if a row's influence lacks more than this share.
_MIXED, _LACKS = 1e-3, 0.05


def kind_of(problem, formulation=None):
    """Return the kind of a formulation, by default of the problem's own one."""
    form = problem.formulation if formulation is None else formulation
    if form.loss.is_piecewise_linear:
        return Kinked(problem)
    return OnSupport(problem) if form.support_may_change else Smooth(problem)


def no_bound(name):
    """Return the error for a bound of a model without a smooth loss in coefficients."""
    return UnsupportedEstimatorError(
        f"return_bound of {name}: the bound is one on coefficients of features under a smooth "
        "loss. Leave it out; leave_out_check refits."
    )


class Smooth:
    """An objective with a smooth loss, in which all parameters move.

    Parameters
    ----------
    problem : Problem
        The fitted estimator's problem.
    """

    def __init__(self, problem):
        self.problem = problem

    def evaluate(self, objective):
        """Return an objective at the fitted parameters, or at the nearby optimum."""
        return objective.at(self.problem.theta)

    def check_curved(self, lacks):
        """Raise if the loss has no curvature that Newton's method could use."""

    def check_bounded(self):
        """Raise if removals have no bound."""

    def warn_of_other_data(self, objective, data, guess):
        """Warn if the parameters cannot have been fitted on these training data."""
        self.problem.warn_of_other_gradient(objective, data, guess)

    def warn_of_misfit(self, state):
        """Warn if the derivatives are evaluated far from the optimum."""
        if state.recession is not None:
            return  # `state` has warned: if there is no optimum, every distance is infinite
        self.warn_of_support(state)
        if not state.is_near:
            warn(
                f"The fit is not at its optimum: {state.distance}. Call polish() or refit "
                "with a smaller tol or a larger max_iter. If the solver has converged, the "
                "training arrays changed since fit: fit again.",
            )

    def warn_of_support(self, state):
        """Warn if other parameters are free at the optimum, or for a small change."""

    def warn_of_edge(self, state):
        """Warn if a parameter is about to leave 0: its one-sided derivatives differ."""

    def start_base(self, method, hessian_solver, solver):
        """Return the start of removal, or of a move to other weights."""
        return self.problem.removal_base(method, hessian_solver)

    def restart(self, objective):
        """Return another (objective, theta) if no optimum is found from the fit, or None."""
        return None

    def start_of_polish(self, objective, start):
        """Return (objective, start) for Newton steps from a refit's parameters `start`."""
        present = self.problem.theta
        if np.isfinite(start).all() and objective.value(start) <= objective.value(present):
            return objective, start
        return objective, present

    def settle(self, objective, theta):
        """Return (objective, theta) at the optimum in all parameters, see `ProblemBase`."""
        return objective, theta

    def enlarge(self, before, objective, theta, solver):
        """Return (theta, converged) for an objective with more rows than `before`."""
        polished = polish(objective, theta, solver, tol=1e-11, max_iter=100)
        theta, step = polished.theta, polished.correction
        found = existence.recession_direction(objective, theta, step)
        if found is not None:
            told = self.problem.describe_direction(found, objective)
            raise ValueError(f"With these samples: {told} The model is unchanged.")
        return theta, polished.converged


class OnSupport(Smooth):
    """An objective with parameters at 0 that may become free, by an l1 penalty or bounds."""

    def check_bounded(self):
        raise ValueError(
            "return_bound=True needs a penalty that is smooth, and this one has an l1 part or "
            "bounds: use method='exact' instead."
        )

    def warn_of_support(self, state):
        if l1_support.holds(state):
            self.warn_of_edge(state)
            return
        remedy = "refit with a smaller tol or a larger max_iter."
        if "tol" not in self.problem.fitted.params:  # a path, which misses it by rounding
            remedy = "fit Lasso: least angle regression may miss it if columns are repeated."
        warn(
            "The fit is not at its optimum: there other coefficients are zero, or have other "
            "signs, and results on the support of the fit are wrong. Call polish() or "
            f"{remedy}"
        )

    def warn_of_edge(self, state):
        edge, difference = state.kink or (None, 0.0)
        if difference < _SAME_EDGE:
            return
        public = self.problem.layout.to_public(edge.astype(np.float64))
        names = zip(self.problem.param_names(), public, strict=True)
        names = [name for name, is_edge in names if is_edge]
        warn(
            f"The gradient of {', '.join(names[:4])}, which is 0, is exactly at the bound of "
            "the penalty: the derivatives for more weight and for less weight differ, by "
            f"{difference:.2g} of their size (root mean square over samples). Results to "
            "first order and by one Newton step keep it at 0. Use the leave_out methods with "
            "method='exact', or another alpha."
        )

    def start_base(self, method, hessian_solver, solver):
        base = self.problem.removal_base(method, hessian_solver)
        return removal.SupportBase.of(base, self.problem.refitted_theta)

    def settle(self, objective, theta):
        return l1_support.settle(objective, theta, self.problem.refit_on)

    def start_of_polish(self, objective, start):
        return l1_support.on_support_of(objective, start), start

    def restart(self, objective):
        # A fit that stopped early may have more parameters off 0 than the rows determine, such
        # as a feature's coefficients for all classes. The optimum may have fewer.
        theta = objective.formulation.layout.from_public(self.problem.refit_on(objective))
        return l1_support.on_support_of(objective, theta), theta


class Kinked(Smooth):
    """An objective with a piecewise linear loss, whose optimum depends on its active set."""

    def evaluate(self, objective):
        return active_set.evaluate(objective, self.problem.theta)

    def check_curved(self, lacks):
        name, loss = self.problem.name, self.problem.fitted.params["loss"]
        raise UnsupportedEstimatorError(
            f"{name}(loss={loss!r}) has no curvature outside its kinks, and no {lacks}: use "
            f"loss='squared_{loss}', or smooth() of a classifier (of a pipeline's step: "
            "pipe[-1].smooth()) for a smooth model at the same parameters."
        )

    def check_bounded(self):
        raise no_bound(self.problem.name)

    def warn_of_misfit(self, state):
        self.warn_of_lost_path(state.point)

    def warn_of_lost_path(self, point):
        """Warn if a fit is far from its active set's optimum."""
        largest = np.abs(point.raw_prediction).max()
        if np.isfinite(point.misfit) and point.misfit <= _LOST_PATH * largest:
            return
        found = "no optimum was found from it"
        if np.isfinite(point.misfit):
            found = (
                f"predictions there differ by up to {point.misfit / largest:.3g} of the "
                "largest one"
            )
        warn(
            f"The fit is not at its optimum: {found}, and the active set may be wrong. Refit "
            "with a smaller tol or a larger max_iter. If the solver has converged, the "
            "training arrays changed since fit: fit again.",
        )

    def warn_of_other_data(self, objective, data, guess):
        if not self.warn_of_other_weights(objective):
            self.warn_of_other_margins(objective, data, guess)

    def warn_of_other_weights(self, objective):
        """Warn if dual coefficients exceed the bounds that these weights give them.

        Returns whether they do.
        """
        if not objective.design.has_metric:
            return False
        problem = self.problem
        size = np.abs(problem.theta[:, : objective.n_rows]).max(axis=0, initial=0.0)
        limit = np.max(objective.row_weight.reshape(objective.n_rows, -1), axis=1)
        beyond = np.flatnonzero(size > limit * _BEYOND)
        if beyond.size:
            i = beyond[0]
            warn(
                f"X, y and sample_weight are not those that this {problem.name} was fitted "
                f"on: the dual coefficients of {beyond.size} sample(s) exceed their bound C * "
                f"sample_weight * class weight, first that of sample {i}, {size[i]:.3g}, the "
                f"bound {limit[i]:.3g}. It looks like sample_weight left out or changed. Pass "
                "the data of the fit."
            )
        return bool(beyond.size)

    def warn_of_other_margins(self, objective, data, guess):
        """Warn if a loss with kinks has its minimum elsewhere on these training data.

        Dual coefficients have to agree with the samples' margins. Linear models do not keep
        them, so a repeated fit decides.
        """
        problem, rows, number = self.problem, None, ""
        if objective.design.has_metric:
            tol = problem.fitted.params["tol"]
            rows = data_check.contradicted(objective, problem.theta, tol)
            if not rows.size:
                return
            number = (
                f"the margins of {rows.size} sample(s), first of sample {rows[0]}, contradict "
                "their dual coefficients"
            )
            guess = guess or data_check.order_of_margins(objective, problem.theta, tol)
        difference = repeated_fit.difference(problem, objective, data)
        if difference is None and rows is None:
            return
        if difference is not None:
            if difference <= _KINKED:
                return
            differ = "are not 0, unlike those of the fit"
            if np.isfinite(difference):
                differ = f"differ by {difference:.2g} of their size"
            number += ", and a" if number else "a"
            number += f" fit on them with the same settings gives coefficients that {differ}"
        guess = f" It looks like {guess}." if guess else ""
        warn(
            f"X, y and sample_weight are not those that this {problem.name} was fitted on: "
            f"{number}.{guess} Pass the data of the fit."
        )

    def start_base(self, method, hessian_solver, solver):
        objective, refit = self.problem.objective, self.problem.refitted_theta
        point = self.evaluate(objective)
        if method == "influence":  # first order at the fit, as influence is
            self.warn_of_lost_path(point)
        elif not np.isfinite(point.misfit):
            # libsvm sets no limit to its steps, and may not end where no path leads on.
            if not objective.design.has_metric:
                refitted = active_set.evaluate(objective, refit(objective))
                point = refitted if np.isfinite(refitted.misfit) else point
            self.warn_of_lost_path(point)
        return removal.ActiveSetBase(point, solver, refit)

    def enlarge(self, before, objective, theta, solver):
        # A path leads on from the optimum at which the new rows have no weight.
        new = np.arange(before.n_rows, objective.n_rows)
        point = active_set.evaluate(objective.without(new), theta)
        if np.isfinite(point.misfit):
            found, arrived, _ = active_set.follow(point, objective, range(len(theta)))
            if arrived:
                return found, True
        # Where it does not, the optimum is looked for near the fit or a refit.
        if not objective.design.has_metric:
            theta = self.problem.refitted_theta(objective)
        point = active_set.evaluate(objective, theta)
        return point.theta, np.isfinite(point.misfit)


class Doubts(Directions):
    """Warns about doubtful points and about results without a value."""

    def warn_of_mixing(self, state):
        """Warn if directions that least squares drops have variance that matters."""
        spectrum = getattr(state.point.objective, "spectrum", None)
        if spectrum is None or spectrum.mixing <= _MIXED:
            return
        point, objective = state.point, state.point.objective
        residual = (objective.target - point.raw_prediction).reshape(objective.n_rows, -1)
        share = spectrum.turning(
            objective.design, objective.sample_weight, point.theta, residual
        )
        if share.max() > _LACKS:
            lower = ", or lower tol" if TOL_DECIDES_RANK else ""
            warn(
                "Least squares drops directions of the features whose singular values are up "
                f"to {spectrum.mixing:.2g} of the smallest one above {spectrum.tol:.2g} times "
                "the largest. First-order results keep the directions fixed, and those of "
                f"{np.sum(share > _LACKS)} of {len(share)} samples are off by more than "
                f"{_LACKS:.0%}, of sample {share.argmax()} by {share.max():.2g} times their "
                f"size. Put the features in similar units{lower}."
            )

    def warn_of_misfit(self, state):
        """Warn if the derivatives are evaluated far from the optimum."""
        kind_of(self, state.point.objective.formulation).warn_of_misfit(state)

    def warn_of_counts(self, objective):
        """Warn if samples without weight count for "balanced" class weights and say so."""
        balance = None if objective.is_distributed else getattr(objective, "balance", None)
        factor = None if balance is None else balance.per_weight(objective.unit_weight)
        lost = 0 if factor is None else np.isnan(factor).sum()
        if lost:
            warn(
                f"{lost} training sample(s) with a weight of 0 have no influence, because "
                f"they count for the 'balanced' class weights of {self.name}: their entries "
                "are NaN. The methods that remove samples (leave_out_*) take them into "
                "account."
            )
        return bool(lost)

    def factorise(self, solver, point):
        """Return a solver's factor at a point, or raise an error that names directions."""
        without_scale = self._error_without_scale(point)
        if without_scale is not None:  # whether rounding leaves a Hessian or not
            raise without_scale
        with self.naming_directions():
            return solver.factorise(point)

    @contextmanager
    def naming_directions(self):
        """Raise a solver's SingularHessianError again with parameter names.

        If the Hessian is singular because there is no optimum, the error says so.
        """
        try:
            yield
        except SingularHessianError as error:
            without_scale = self._error_without_scale()
            if without_scale is not None:
                raise without_scale from None
            found = existence.recession_direction(self.objective, self.theta)
            if found is not None:
                public = self.layout.to_public(found)
                raise SingularHessianError(self.describe_direction(found), public) from None
            if error.direction is None:
                raise
            direction = self.layout.to_public(error.direction)
            terms = self.name_terms(direction)
            message = f"{error} The objective is flat along {terms}." if terms else error
            raise SingularHessianError(str(message), direction) from None

    def _error_without_scale(self, point=None):
        """Return the error for a fit whose scale is 0, None for other fits."""
        why = self.why_no_scale(point)
        if why is None:
            return None
        direction = np.zeros(self.theta.shape)
        direction[self.formulation.loss.positive_output, -1] = 1.0
        return SingularHessianError(why, self.layout.to_public(direction))

    def why_no_scale(self, point=None):
        """Return why the fit's scale is 0 and a remedy, None if it has none or is not 0.

        `point` is the objective at the fit, if the caller has evaluated it.
        """
        loss, objective = self.formulation.loss, self.objective
        if loss.positive_output is None or objective.is_distributed:
            return None
        raw = (point or objective.at(self.theta)).raw_prediction
        return loss.why_no_scale(objective.target, raw, objective.sample_weight)

    def warn_of_cases(self, cases, outcome, base, method):
        """Warn of `Cases` whose results are NaN, or come from a refit by scikit-learn.

        Members of composites are silent about lost classes and failures, because the composite
        names its own cases.
        """
        separated, lost = outcome.separated, dict(outcome.without_optimum)
        unsolved = [case for case in outcome.unsolved if case not in separated]
        flat = {c: V for c, V in outcome.undetermined.items() if c not in separated}
        told = (
            "Parameters in such a direction are NaN, and so are predictions and losses that "
            "depend on them; of softmax all are."
        )
        if separated:
            first = min(separated)
            found = self.describe_direction(separated[first], cases.objective(first))
            told = f"{cases.at_one(first)}: {found} {told}"
        cases.tell(separated, "there is no optimum", told)
        if not self.is_member:
            told = "Their results are NaN."
            cases.tell(
                lost,
                "the last samples of a class have no weight, and its free intercept no finite "
                "optimum",
                told,
                lambda c: f"{cases.name(c)} (class {self.label(lost[c])!r})",
            )
            told += f" {base.point.objective.formulation.loss.if_lost}"
            cases.tell(unsolved, "the objective is singular or did not converge", told)
        layout, names = base.point.objective.formulation.layout, np.array(self.param_names())

        def open_names(case, directions):
            scales = cases.objective(case).scales if has_scales else None
            return ", ".join(names[lost_params(layout, directions, scales)][:4])

        has_scales = base.point.objective.scales is not None and cases.objective is not None
        params = {c: open_names(c, V) for c, V in flat.items()}
        problem = "the samples do not determine every parameter"
        told = "A quadratic penalty determines them."
        told = told if self.is_member else f"{NO_VALUE} {told}"
        cases.tell(flat, problem, told, lambda c: f"{cases.name(c)} ({params[c]})")
        widths = getattr(base, "widths", {})
        if widths:
            warn(
                f"{cases.share(widths)} no row is a margin vector, and every intercept in an "
                f"interval is optimal, of width up to {max(widths.values()):.3g}. The results "
                "are for its middle, which scikit-learn takes, too, except by rounding."
            )
        if base.refitted:
            share = cases.share(base.refitted)
            warn(f"{share} the active set could not be followed: scikit-learn refitted them.")
