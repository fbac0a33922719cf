"""Chapter B: fits that stopped before the optimum."""

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skinfluence import convergence, existence, l1_support
from skinfluence.checks import check_count, check_number
from skinfluence.exceptions import SingularHessianError, warn
from skinfluence.namespaces import to_host
from skinfluence.optimum import newton_decrement, polish
from skinfluence.problem.kinds import kind_of
from skinfluence.problem.requests import NEW, PLAIN
from skinfluence.results import Result
from skinfluence.solvers import get_solver


class ConvergenceAnswers:
    """Newton correction, report and polish, see `methods.convergence`."""

    def newton_correction(self, *, hessian_solver="auto"):
        self.check_curved()
        state = self.state(hessian_solver)
        return state.layout.to_public(state.correction)

    def newton_step(self, epsilon, X=None, y=None, request=PLAIN, output=NEW):
        hessian_solver, n_jobs = request.hessian_solver, request.n_jobs
        check_number("epsilon", epsilon)
        self.refuse_dask("newton_step", X, y)
        self.check_curved()
        state = self.state(hessian_solver)
        point, factor = state.point, state.factor
        form, objective = point.objective.formulation, point.objective
        design, target, rows = self.given_rows(state, X, y, class_effects=False)
        if form.penalty_share is not None:
            extra = epsilon * objective.weight_sum
            heavier = objective.with_penalty_weight(extra).at(point.theta)
            with self.naming_directions():
                factor = get_solver(hessian_solver, objective).factorise(heavier)
        out = output.prepare((len(rows), form.layout.size), self.like)
        if objective.balance is None:
            convergence.newton_step(point, factor, epsilon, rows, target, out, n_jobs=n_jobs)
        else:
            solver, own = get_solver(hessian_solver, objective), X is None
            with self.naming_directions():
                convergence.balanced_newton_step(
                    point, solver, epsilon, design, target, out, own=own, n_jobs=n_jobs
                )
        lost = to_host(np.isnan(out).any(axis=1))
        if X is None and self.warn_of_counts(objective):
            lost &= to_host(objective.unit_weight) > 0
        lost = np.flatnonzero(lost)
        if lost.size:
            warn(
                f"With epsilon={epsilon:g} the Hessian is not positive definite for "
                f"{lost.size} sample(s), whose step is NaN: {lost[:5].tolist()}. More weight "
                "was taken than they have, or they alone determine a parameter.",
            )
        return out

    def convergence_report(self, *, hessian_solver="auto", n_jobs=None):
        self.check_curved()
        try:
            state = self.state(hessian_solver, quiet=True)
        except SingularHessianError as error:
            return self.report_of_no_optimum(error)
        if state.recession is None and state.factor.doubt is not None:
            warn(state.factor.doubt)
        point, factor, correction = state.point, state.factor, state.correction
        readings = point.objective.design.readings
        S = point.objective.weight_sum
        decrement = newton_decrement(point, correction)
        shift = state.gradient_shift
        ratio = convergence.convergence_ratio(point, factor, correction, n_jobs=n_jobs)
        holds = l1_support.holds(state)
        converged = state.is_near and holds
        message = _verdict(state, holds, ratio, decrement)
        if state.recession is not None:
            converged = False
            message = self.describe_direction(state.recession.direction)
        return Result(
            gradient_norm=float(np.abs(readings(point.gradient)).max() / S),
            newton_decrement=decrement,
            gradient_shift=shift,
            convergence_ratio=ratio,
            correction=point.objective.formulation.layout.to_public(correction),
            converged=converged,
            message=message,
        )

    def report_of_no_optimum(self, error):
        """Return the report if the Hessian is singular because there is no optimum.

        Other errors are raised again.
        """
        objective, theta = self.objective, self.theta
        direction = existence.recession_direction(objective, theta)
        if direction is None:
            raise error
        point = objective.at(theta)
        gradient = objective.design.readings(point.gradient)
        names = ("newton_decrement", "gradient_shift", "convergence_ratio")
        return Result(
            gradient_norm=float(np.abs(gradient).max() / objective.weight_sum),
            **dict.fromkeys(names, np.nan),
            correction=np.full(objective.formulation.layout.size, np.nan),
            converged=False,
            message=self.describe_direction(direction),
        )

    def polish(self, *, tol=1e-10, max_iter=50, hessian_solver="auto"):
        check_number("tol", tol, "a number from 0 to 1", least=0, most=1, closed="left")
        check_count("max_iter", max_iter)
        self.check_curved()
        objective = self.objective
        solver = get_solver(hessian_solver, objective)
        with self.naming_directions():
            try:
                polished = polish(objective, self.theta, solver, tol=tol, max_iter=max_iter)
            except SingularHessianError:
                restart = kind_of(self).restart(objective)
                if restart is None:
                    raise
                objective, theta = restart
                polished = polish(objective, theta, solver, tol=tol, max_iter=max_iter)
        settled, theta = self.settle(objective, polished.theta)
        if settled is self.objective:
            self.theta = theta
        else:
            self.replace_objective(settled, theta)
        self.estimator.n_newton_iter_ = polished.n_iter
        self.estimator.newton_decrement_ = polished.decrement
        direction = existence.recession_direction(settled, theta, polished.correction)
        if direction is not None:
            warn(self.describe_direction(direction), ConvergenceWarning)
        elif not polished.converged:
            remedy = "Raise max_iter."
            if polished.n_iter < max_iter:
                remedy = f"No step lowers F. {settled.formulation.loss.if_lost}"
            warn(
                f"polish stopped after {polished.n_iter} Newton steps at a Newton "
                f"decrement of {polished.decrement:.3g}. {remedy}",
                ConvergenceWarning,
            )

    def check_curved(self, lacks="Newton step"):
        """Raise if the loss has no curvature that Newton's method could use."""
        kind_of(self).check_curved(lacks)


def _verdict(state, holds, ratio, decrement):
    """Return the report's message."""
    if not holds:
        return (
            "Not converged: at the optimum other coefficients are zero, or have other signs. "
            "Call polish(), or refit with a smaller tol or a larger max_iter."
        )
    if not state.is_near:
        return (
            f"Not converged: {state.distance}. Call polish(), or refit with a smaller tol or "
            "a larger max_iter."
        )
    message = (
        "Converged well enough for influence: one Newton step would change the rows' "
        f"gradients by {state.gradient_shift:.2g} of their size (Newton decrement "
        f"{decrement:.2g})."
    )
    if ratio > 1:
        message += (
            f" The optimum is {ratio:.2g} times the effect of a median row away: "
            "leave-one-out changes need the Newton correction."
        )
    return message
