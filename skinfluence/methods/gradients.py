"""Chapter A, continued: losses, gradients, and influence on parameters."""

from __future__ import annotations

from collections.abc import Callable

from numpy.typing import ArrayLike, DTypeLike

from skinfluence._typing import Floats, MatrixLike
from skinfluence.methods.available import HasProblem, available
from skinfluence.solvers import HessianSolver

__all__ = ["GradientMixin"]


class GradientMixin(HasProblem):
    """Losses, gradients, and influence on parameters and functions of them."""

    @available
    def sample_loss(self, X: MatrixLike, y: ArrayLike) -> Floats:
        """Return the plain loss l(z) of each sample, without weights or penalty.

        Log loss for logistic regression, squared error (without 1/2) for ridge, summed
        over targets.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (m, n_features)
            Samples.
        y : array-like of shape (m,) or (m, n_targets)
            Targets, or labels seen in `fit`.

        Returns
        -------
        loss : ndarray of shape (m,)
            Loss of each sample.

        Examples
        --------
        >>> from skinfluence.linear_model import Ridge
        >>> reg = Ridge(alpha=1.0).fit([[0.0], [2.0]], [0.0, 3.0])
        >>> reg.predict([[4.0]])
        array([4.5])
        >>> reg.sample_loss([[4.0]], [5.0])
        array([0.25])
        """
        return self._problem("sample_loss").sample_loss(X, y)

    @available
    def loss_gradient(
        self,
        X: MatrixLike,
        y: ArrayLike,
        *,
        n_jobs: int | None = None,
        dtype: DTypeLike | None = None,
        out: Floats | None = None,
    ) -> Floats:
        """Return the gradient of the plain loss of each sample in the parameters.

        ``grad l(z) = l'(y, eta) (x, 1)``, without weights or penalty.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (m, n_features)
            Samples.
        y : array-like of shape (m,) or (m, n_targets)
            Targets, or labels seen in `fit`.
        n_jobs : int, default=None
            Number of joblib threads over blocks of samples.
        dtype : numpy dtype, default=None
            Type of the result, float64 by default. Computations are in float64.
        out : ndarray of shape (m, p), default=None
            Array or memmap to fill.

        Returns
        -------
        gradient : ndarray of shape (m, p)
            Laid out as `params_`.

        Examples
        --------
        >>> from skinfluence.linear_model import Ridge
        >>> reg = Ridge(alpha=1.0).fit([[0.0], [2.0]], [0.0, 3.0])
        >>> reg.loss_gradient([[4.0]], [5.0])
        array([[-4., -1.]])
        """
        return self._problem("loss_gradient").loss_gradient(
            X, y, n_jobs=n_jobs, dtype=dtype, out=out
        )

    @available
    def solve_hessian(
        self,
        V: ArrayLike,
        *,
        hessian_solver: str | HessianSolver = "auto",
        n_jobs: int | None = None,
        dtype: DTypeLike | None = None,
        out: Floats | None = None,
    ) -> Floats:
        """Return rows times the inverse Hessian, ``H^-1 v`` for each row v.

        H is the Hessian of the objective in sum form, ``F = sum_i s_i l + penalty`` (the
        paper's is H / S). A multinomial model leaves H singular along one direction for
        each column without penalty, usually the intercept's; there the solution is the one
        that keeps the mean over the classes.

        Parameters
        ----------
        V : array-like of shape (k, p)
            Right-hand sides, laid out as `params_`.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1: "auto", a name in `skinfluence.solvers.SOLVERS`, or a
            solver instance. Results do not depend on it.
        n_jobs : int, default=None
            Number of joblib threads over blocks of right-hand sides.
        dtype : numpy dtype, default=None
            Type of the result, float64 by default. Computations are in float64.
        out : ndarray of shape (k, p), default=None
            Array or memmap to fill.

        Returns
        -------
        solution : ndarray of shape (k, p)
            Laid out as `params_`.

        Examples
        --------
        >>> from skinfluence.linear_model import Ridge
        >>> reg = Ridge(alpha=1.0, fit_intercept=False).fit([[0.0], [2.0]], [0.0, 3.0])
        >>> reg.solve_hessian([[10.0]])  # H = 2 (0 + 4) + 2 alpha
        array([[1.]])
        """
        return self._problem("solve_hessian").solve_hessian(
            V, hessian_solver=hessian_solver, n_jobs=n_jobs, dtype=dtype, out=out
        )

    @available
    def influence_params(
        self,
        X: MatrixLike | None = None,
        y: ArrayLike | None = None,
        *,
        hessian_solver: str | HessianSolver = "auto",
        n_jobs: int | None = None,
        dtype: DTypeLike | None = None,
        out: Floats | None = None,
    ) -> Floats:
        """Return the influence of samples on the parameters.

        ``I_up,params(z) = -(H/S)^-1 grad L(z)``: the derivative of the fitted parameters
        when sample z gets weight epsilon in the mean objective, at epsilon = 0. For a
        training sample it is ``S d params / d w_i``, so ``-w_i/S`` times it is the first
        order change when the sample is left out.

        Parameters
        ----------
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
        influence : ndarray of shape (m, p)
            Laid out as `params_`; `split_params` gives the shapes of `coef_` and
            `intercept_`.

        References
        ----------
        Koh & Liang, "Understanding Black-box Predictions via Influence Functions", 2017,
        equation (10).

        Examples
        --------
        >>> from sklearn.datasets import load_breast_cancer
        >>> from sklearn.preprocessing import scale
        >>> from skinfluence.linear_model import LogisticRegression
        >>> X, y = load_breast_cancer(return_X_y=True)
        >>> clf = LogisticRegression(tol=1e-8).fit(scale(X), y)
        >>> clf.influence_params().shape
        (569, 31)
        """
        return self._problem("influence_params").influence_params(
            X, y, hessian_solver=hessian_solver, n_jobs=n_jobs, dtype=dtype, out=out
        )

    @available
    def influence_functional(
        self,
        gradient: ArrayLike | Callable[[Floats], ArrayLike],
        *,
        hessian_solver: str | HessianSolver = "auto",
        n_jobs: int | None = None,
        dtype: DTypeLike | None = None,
        out: Floats | None = None,
    ) -> Floats:
        """Return the influence of every training sample on differentiable scalars.

        ``grad f' I_up,params(z_j)`` for scalars f of the parameters: a coefficient, a
        difference of two groups, a metric with a smooth surrogate.

        Parameters
        ----------
        gradient : array-like of shape (p,) or (m, p), or callable
            Gradient of the scalar, or of m of them, in the parameters, laid out as
            `params_`; or a function of the parameter vector that returns it.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1; results do not depend on it.
        n_jobs : int, default=None
            Number of joblib threads over blocks of scalars.
        dtype : numpy dtype, default=None
            Type of the result, float64 by default. Computations are in float64.
        out : ndarray, default=None
            Array or memmap to fill.

        Returns
        -------
        influence : ndarray of shape (n,) or (m, n)
            Influence of each training sample on each scalar.

        Examples
        --------
        Which rows pull the first coefficient up most?

        >>> import numpy as np
        >>> from sklearn.datasets import load_diabetes
        >>> from skinfluence.linear_model import Ridge
        >>> X, y = load_diabetes(return_X_y=True)
        >>> reg = Ridge(alpha=0.1).fit(X, y)
        >>> first = np.eye(reg.params_.size)[0]
        >>> np.argsort(-reg.influence_functional(first))[:3].tolist()
        [204, 289, 331]
        """
        return self._problem("influence_functional").influence_functional(
            gradient, hessian_solver=hessian_solver, n_jobs=n_jobs, dtype=dtype, out=out
        )
