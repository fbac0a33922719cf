"""Chapter B: fits that stopped before the optimum."""

from numbers import Real
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from skinfluence import convergence, existence
from skinfluence._typing import Floats, MatrixLike
from skinfluence.exceptions import SingularHessianError, UnsupportedEstimatorError, warn
from skinfluence.mixins.checks import check_count, prepare_out
from skinfluence.mixins.problem import distance
from skinfluence.solvers import HessianSolver, get_solver

__all__ = ["ConvergenceMixin"]


class ConvergenceMixin:
    """Newton correction, report and polish (Koh & Liang 2017, appendix B)."""

    def newton_correction(self, *, hessian_solver: str | HessianSolver = "auto") -> Floats:
        """Return the Newton step from the fitted parameters, ``N = -H^-1 G``.

        G and H are gradient and Hessian of the whole objective at the fitted parameters.
        To first order ``params_ + N`` is the optimum; at an optimum N is zero.

        Parameters
        ----------
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1; results do not depend on it.

        Returns
        -------
        correction : ndarray of shape (p,)
            Laid out as `params_`.

        References
        ----------
        Koh & Liang, "Understanding Black-box Predictions via Influence Functions", 2017,
        appendix B.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.datasets import load_diabetes
        >>> from skinfluence.linear_model import Ridge
        >>> reg = Ridge().fit(*load_diabetes(return_X_y=True))
        >>> bool(np.abs(reg.newton_correction()).max() < 1e-9)
        True
        """
        self._check_curved()
        state = self._get_state(hessian_solver)
        return state.point.objective.formulation.layout.to_public(state.correction)

    def newton_step(
        self,
        epsilon: float,
        X: MatrixLike | None = None,
        y: ArrayLike | None = None,
        *,
        hessian_solver: str | HessianSolver = "auto",
        n_jobs: int | None = None,
        dtype: DTypeLike | None = None,
        out: Floats | None = None,
    ) -> Floats:
        """Return the Newton step after each sample gets weight epsilon.

        ``N_eps,z = -[H/S + eps hess L(z)]^-1 [G/S + eps grad L(z)]``, in full: every
        sample updates one factorisation. It is `newton_correction` plus epsilon times
        `influence_params` up to terms of second order. ``epsilon = -w_i/S`` on training
        sample i is the Newton step of the objective without it.

        Parameters
        ----------
        epsilon : float
            Weight that the sample gets in the mean objective.
        X : {array-like, sparse matrix} of shape (m, n_features), default=None
            Samples; None for the training samples.
        y : array-like of shape (m,) or (m, n_targets), default=None
            Their targets or labels.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1; results do not depend on it.
        n_jobs : int, default=None
            Number of joblib threads over blocks of samples.
        dtype : numpy dtype, default=None
            Type of the result, float64 by default. Computations are in float64.
        out : ndarray of shape (m, p), default=None
            Array or memmap to fill.

        Returns
        -------
        step : ndarray of shape (m, p)
            Laid out as `params_`.

        References
        ----------
        Koh & Liang, "Understanding Black-box Predictions via Influence Functions", 2017,
        equation (11).

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skinfluence.linear_model import LogisticRegression
        >>> X, y = load_iris(return_X_y=True)
        >>> clf = LogisticRegression(max_iter=1000).fit(X, y)
        >>> clf.newton_step(-1 / 150).shape
        (150, 15)
        """
        if not isinstance(epsilon, Real) or not np.isfinite(epsilon):
            raise ValueError(f"epsilon={epsilon!r} must be a finite number.")
        self._refuse_dask("newton_step", X, y)
        self._check_curved()
        state = self._get_state(hessian_solver)
        point, factor = state.point, state.factor
        form, objective = point.objective.formulation, point.objective
        _, target, rows = self._given_rows(state, X, y)
        if form.penalty_share is not None:
            extra = epsilon * objective.weight_sum
            heavier = objective.with_penalty_weight(extra).at(point.theta)
            with self._naming_directions():
                factor = get_solver(hessian_solver, objective).factorise(heavier)
        out = prepare_out(out, (len(rows), form.layout.size), dtype)
        convergence.newton_step(point, factor, epsilon, rows, target, out, n_jobs=n_jobs)
        lost = np.flatnonzero(np.isnan(out).any(axis=1))
        if lost.size:
            warn(
                f"With epsilon={epsilon:g} the Hessian is not positive definite for "
                f"{lost.size} sample(s), whose step is NaN: {lost[:5].tolist()}. More weight "
                "was taken than they have, or they alone determine a parameter.",
            )
        return out

    def convergence_report(
        self, *, hessian_solver: str | HessianSolver = "auto", n_jobs: int | None = None
    ) -> Bunch:
        """Say how far the fitted parameters are from the optimum.

        Parameters
        ----------
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1; results do not depend on it.
        n_jobs : int, default=None
            Number of joblib threads over blocks of training samples.

        Returns
        -------
        report : Bunch
            Measurements, as attributes:

            gradient_norm : float
                Largest entry of the gradient of the mean objective, ``max |G| / S``, of kernel
                models in their dual coefficients.
            newton_decrement : float
                ``sqrt(G' H^-1 G)``; half its square estimates ``F(params_) - min F``.
            gradient_shift : float
                By how much one Newton step changes the rows' gradients, relative to
                them; it tracks the relative error of influence values.
            convergence_ratio : float
                Distance to the optimum in units of one row's removal, the median over
                rows: above 1 leave-one-out changes need the correction.
            correction : ndarray of shape (p,)
                `newton_correction`.
            converged : bool
                Whether gradient_shift <= 0.015, one Newton step changes no row's curvature by
                a factor above exp(0.5), and there is an optimum. There is none if
                classes are separated and no penalty holds the parameters that do it.
            message : str
                The verdict in a sentence, with the remedy; without an optimum it names the
                direction along which the objective falls forever. If the Hessian is singular
                there, the numbers are NaN.

        Examples
        --------
        >>> from sklearn.datasets import load_breast_cancer
        >>> from sklearn.preprocessing import scale
        >>> from skinfluence.linear_model import LogisticRegression
        >>> X, y = load_breast_cancer(return_X_y=True)
        >>> report = LogisticRegression().fit(scale(X), y).convergence_report()
        >>> report.converged, bool(report.gradient_shift < 0.01)
        (True, True)
        """
        self._check_curved()
        try:
            state = self._get_state(hessian_solver, quiet=True)
        except SingularHessianError as error:
            return self._report_of_no_optimum(error)
        if state.recession is None and state.factor.doubt is not None:
            warn(state.factor.doubt)
        point, factor, correction = state.point, state.factor, state.correction
        readings = point.objective.design.readings
        S = point.objective.weight_sum
        decrement = convergence.newton_decrement(point, correction)
        shift = state.gradient_shift
        ratio = convergence.convergence_ratio(point, factor, correction, n_jobs=n_jobs)
        holds = self._support_holds(state)
        converged = state.is_near and holds
        message = _verdict(state, holds, ratio, decrement)
        if state.recession is not None:
            converged = False
            message = self._describe_direction(state.recession.direction)
        return Bunch(
            gradient_norm=float(np.abs(readings(point.gradient)).max() / S),
            newton_decrement=decrement,
            gradient_shift=shift,
            convergence_ratio=ratio,
            correction=point.objective.formulation.layout.to_public(correction),
            converged=converged,
            message=message,
        )

    def _report_of_no_optimum(self, error):
        """Return the report where the Hessian is singular because there is no optimum.

        Other errors are raised again.
        """
        objective, theta = self._get_objective(), self._theta()
        direction = existence.recession_direction(objective, theta)
        if direction is None:
            raise error
        point = objective.at(theta)
        gradient = objective.design.readings(point.gradient)
        names = ("newton_decrement", "gradient_shift", "convergence_ratio")
        return Bunch(
            gradient_norm=float(np.abs(gradient).max() / objective.weight_sum),
            **dict.fromkeys(names, np.nan),
            correction=np.full(objective.formulation.layout.size, np.nan),
            converged=False,
            message=self._describe_direction(direction),
        )

    def polish(
        self,
        *,
        tol: float = 1e-10,
        max_iter: int = 50,
        hessian_solver: str | HessianSolver = "auto",
    ) -> Self:
        """Move the parameters to the optimum of the objective, in place.

        Damped Newton on the objective that `fit` minimised, with a line search on its
        value. Stops when the Newton decrement is at most ``tol sqrt(F)`` or when it no
        longer falls; `coef_` and `intercept_` are then float64 whatever the data were.

        Parameters
        ----------
        tol : float, default=1e-10
            Newton decrement to reach, relative to the square root of the objective.
        max_iter : int, default=50
            Largest number of Newton steps. The parameters reached are kept either way,
            with a `ConvergenceWarning` when they are not the optimum; if there is none, it
            names the direction along which the objective falls forever.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1; results do not depend on it.

        Returns
        -------
        self : object
            The estimator, with `n_newton_iter_` and `newton_decrement_` set.

        Examples
        --------
        >>> import warnings
        >>> from sklearn.datasets import load_breast_cancer
        >>> from skinfluence.linear_model import LogisticRegression
        >>> X, y = load_breast_cancer(return_X_y=True)
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore")  # unscaled features: no convergence
        ...     clf = LogisticRegression().fit(X, y)
        >>> clf.convergence_report().converged
        False
        >>> clf.polish().convergence_report().converged
        True
        """
        if not isinstance(tol, Real) or not 0 <= tol < 1:
            raise ValueError(f"tol={tol!r} must be a number from 0 to 1.")
        check_count("max_iter", max_iter)
        self._check_curved()
        objective = self._get_objective()
        solver = get_solver(hessian_solver, objective)
        with self._naming_directions():
            polished = convergence.polish(
                objective, self._theta(), solver, tol=tol, max_iter=max_iter
            )
        settled, theta = self._settle(objective, polished.theta)
        if settled is objective:
            self._set_theta(theta)
        else:
            self._replace_objective(settled, theta)
        self.n_newton_iter_ = polished.n_iter
        self.newton_decrement_ = polished.decrement
        direction = None
        if existence.may_lack_minimum(settled, polished.correction):
            direction = existence.recession_direction(settled, theta)
        if direction is not None:
            warn(self._describe_direction(direction), ConvergenceWarning)
        elif not polished.converged:
            warn(
                f"polish stopped after {polished.n_iter} Newton steps at a Newton "
                f"decrement of {polished.decrement:.3g}. Raise max_iter.",
                ConvergenceWarning,
            )
        return self

    def _check_curved(self, lacks="Newton step"):
        """Raise where the loss has no curvature that Newton's method could use."""
        check_is_fitted(self)
        if self._get_formulation().loss.is_piecewise_linear:
            name, loss = type(self).__name__, self._get_problem().params["loss"]
            raise UnsupportedEstimatorError(
                f"{name}(loss={loss!r}) has no curvature but in its kinks, and no {lacks}: "
                f"use loss='squared_{loss}', or smooth() of a classifier for a smooth model "
                "at the same parameters."
            )


def _verdict(state, holds, ratio, decrement):
    """Return the report's message."""
    if not holds:
        return (
            "Not converged: at the optimum other coefficients are zero, or have other signs. "
            "Call polish(), or refit with a smaller tol or a larger max_iter."
        )
    if not state.is_near:
        return (
            f"Not converged: {distance(state)}. Call polish(), or refit with a smaller tol or "
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
