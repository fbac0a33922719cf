"""Chapter B: fits that stopped before the optimum."""

from __future__ import annotations

from typing import Self

from numpy.typing import ArrayLike, DTypeLike
from sklearn.utils import Bunch

from skinfluence._typing import Floats, MatrixLike
from skinfluence.methods.available import available, get_problem
from skinfluence.problem.requests import Influence, Output
from skinfluence.solvers import HessianSolver


class ConvergenceMixin:
    """Newton correction, report and polish (Koh & Liang 2017, appendix B)."""

    @available
    def newton_correction(self, *, hessian_solver: str | HessianSolver = "auto") -> Floats:
        """Return the Newton step from the fitted parameters, ``N = -H^-1 G``.

        G and H are the whole objective's gradient and Hessian at the fitted parameters.
        To first order, ``params_ + N`` is the optimum. At an optimum N is zero.

        Parameters
        ----------
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1. Results do not depend on it.

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
        return get_problem(self, "newton_correction").newton_correction(
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

        ``N_eps,z = -[H/S + eps hess L(z)]^-1 [G/S + eps grad L(z)]``. The inverse is not
        approximated: each sample updates one factorisation. Up to second-order terms, the
        step equals `newton_correction` plus epsilon times `influence_params`. With
        ``epsilon = -w_i/S`` for training sample i, it is the Newton step on the objective
        without that sample. "balanced" class weights are those after the change; a kernel's
        gamma stays as fitted.

        Parameters
        ----------
        epsilon : float
            Weight added to the sample in the mean objective.
        X : {array-like, sparse matrix} of shape (m, n_features), default=None
            Samples; None means the training samples.
        y : array-like of shape (m,) or (m, n_targets), default=None
            Their targets or labels.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1. Results do not depend on it.
        n_jobs : int, default=None
            Number of joblib threads, which process samples in blocks.
        dtype : numpy dtype, default=None
            The result's dtype, float64 by default. Computations use float64.
        out : ndarray of shape (m, p), default=None
            Array or memmap that receives the result.

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
        return get_problem(self, "newton_step").newton_step(
            epsilon, X, y, Influence(hessian_solver, n_jobs), Output(dtype, out)
        )

    @available
    def convergence_report(
        self, *, hessian_solver: str | HessianSolver = "auto", n_jobs: int | None = None
    ) -> Bunch:
        """Return how far the fitted parameters are from the optimum.

        Parameters
        ----------
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1. Results do not depend on it.
        n_jobs : int, default=None
            Number of joblib threads, which process training samples in blocks.

        Returns
        -------
        report : Bunch
            Measurements, as attributes:

            gradient_norm : float
                Largest absolute gradient entry for the mean objective, ``max |G| / S``.
                Kernel models use the gradient in their dual coefficients.
            newton_decrement : float
                ``sqrt(G' H^-1 G)``. Half its square estimates ``F(params_) - min F``.
            gradient_shift : float
                Relative change in the rows' gradients after one Newton step. It tracks
                the relative error in influence values.
            convergence_ratio : float
                Distance to the optimum divided by the median distance that removing one row
                moves the parameters, both in the H-norm. If it is above 1, leave-one-out
                changes need the correction.
            correction : ndarray of shape (p,)
                `newton_correction`.
            converged : bool
                True if gradient_shift <= 0.007, one Newton step changes no row's curvature
                by a factor above exp(0.1), and an optimum exists. No optimum exists if
                classes are separated and the separating parameters are not penalised.
            message : str
                The verdict and a remedy, in a sentence. If no optimum exists, it names the
                direction along which the objective decreases without end. If the Hessian is
                also singular, the numbers are NaN.

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
        return get_problem(self, "convergence_report").convergence_report(
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

        Runs damped Newton steps on the objective that `fit` minimised, with a line search
        on its value. It stops when the Newton decrement is at most ``tol sqrt(F)`` or no
        longer decreases. Afterwards `coef_` and `intercept_` are float64, even if the data
        had another dtype.

        Parameters
        ----------
        tol : float, default=1e-10
            Newton decrement to reach, relative to the square root of the objective.
        max_iter : int, default=50
            Largest number of Newton steps. The last parameters are kept even if they are
            not the optimum, and a `ConvergenceWarning` is issued. If no optimum exists, the
            warning names the direction along which the objective decreases without end.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1. Results do not depend on it.

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
        get_problem(self, "polish").polish(
            tol=tol, max_iter=max_iter, hessian_solver=hessian_solver
        )
        return self
