"""Chapter B: fits that stopped before the optimum."""

from __future__ import annotations

from typing import Self

from numpy.typing import ArrayLike, DTypeLike
from sklearn.utils import Bunch

from skinfluence._typing import Floats, MatrixLike
from skinfluence.methods.available import HasProblem, available
from skinfluence.solvers import HessianSolver

__all__ = ["ConvergenceMixin"]


class ConvergenceMixin(HasProblem):
    """Newton correction, report and polish (Koh & Liang 2017, appendix B)."""

    @available
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
        return self._problem("newton_correction").newton_correction(
            hessian_solver=hessian_solver
        )

    @available
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
        return self._problem("newton_step").newton_step(
            epsilon, X, y, hessian_solver=hessian_solver, n_jobs=n_jobs, dtype=dtype, out=out
        )

    @available
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
        return self._problem("convergence_report").convergence_report(
            hessian_solver=hessian_solver, n_jobs=n_jobs
        )

    @available
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
        self._problem("polish").polish(
            tol=tol, max_iter=max_iter, hessian_solver=hessian_solver
        )
        return self
