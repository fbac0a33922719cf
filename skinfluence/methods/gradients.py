"""Chapter A, continued: losses, gradients, and influence on parameters."""

from __future__ import annotations

from collections.abc import Callable

from numpy.typing import ArrayLike, DTypeLike

from skinfluence._typing import Floats, MatrixLike
from skinfluence.methods.available import available, get_problem
from skinfluence.problem.requests import Influence, Output
from skinfluence.solvers import HessianSolver


class GradientMixin:
    """Losses, gradients, and influence on parameters and their functions."""

    @available
    def sample_loss(self, X: MatrixLike, y: ArrayLike) -> Floats:
        """Return each sample's plain loss l(z), without weights or penalty.

        It is the log loss for logistic regression and the squared error (without 1/2) for
        ridge, summed over targets. It is the loss of the fit as it is. Before you subtract it
        from `leave_out_loss`, which is of converged refits, call `polish` or fit with
        ``tol=1e-8``.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (m, n_features)
            Samples.
        y : array-like of shape (m,) or (m, n_targets)
            Targets, or labels seen in `fit`.

        Returns
        -------
        loss : ndarray of shape (m,)
            Each sample's loss.

        Examples
        --------
        >>> from skinfluence.linear_model import Ridge
        >>> reg = Ridge(alpha=1.0).fit([[0.0], [2.0]], [0.0, 3.0])
        >>> reg.predict([[4.0]])
        array([4.5])
        >>> reg.sample_loss([[4.0]], [5.0])
        array([0.25])
        """
        return get_problem(self, "sample_loss").sample_loss(X, y)

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
        """Return the gradient of each sample's plain loss in the parameters.

        ``grad l(z) = l'(y, eta) (x, 1)``, without weights or penalty.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (m, n_features)
            Samples.
        y : array-like of shape (m,) or (m, n_targets)
            Targets, or labels seen in `fit`.
        n_jobs : int, default=None
            Number of joblib threads, which process samples in blocks.
        dtype : numpy dtype, default=None
            The result's dtype, float64 by default. Computations use float64.
        out : ndarray of shape (m, p), default=None
            Array or memmap that receives the result.

        Returns
        -------
        gradient : ndarray of shape (m, p)
            Laid out as `params_`. It is a lazy dask array if the samples are dask arrays.

        Examples
        --------
        >>> from skinfluence.linear_model import Ridge
        >>> reg = Ridge(alpha=1.0).fit([[0.0], [2.0]], [0.0, 3.0])
        >>> reg.loss_gradient([[4.0]], [5.0])
        array([[-4., -1.]])
        """
        return get_problem(self, "loss_gradient").loss_gradient(
            X, y, Output(dtype, out), n_jobs=n_jobs
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

        H is the Hessian of the objective in sum form, ``F = sum_i s_i l + penalty``. The
        paper's Hessian is H / S. In a multinomial model H is singular along one direction
        for each column without penalty, usually the intercept. The solution along this
        direction is the one that keeps the mean over the classes.

        Parameters
        ----------
        V : array-like of shape (k, p)
            Right-hand sides, laid out as `params_`.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1: "auto", a name in `skinfluence.solvers.SOLVERS`, or a
            solver instance. Results do not depend on it.
        n_jobs : int, default=None
            Number of joblib threads, which process right-hand sides in blocks.
        dtype : numpy dtype, default=None
            The result's dtype, float64 by default. Computations use float64.
        out : ndarray of shape (k, p), default=None
            Array or memmap that receives the result.

        Returns
        -------
        solution : ndarray of shape (k, p)
            Laid out as `params_`. It is a lazy dask array if V is a dask array.

        Examples
        --------
        >>> from skinfluence.linear_model import Ridge
        >>> reg = Ridge(alpha=1.0, fit_intercept=False).fit([[0.0], [2.0]], [0.0, 3.0])
        >>> reg.solve_hessian([[10.0]])  # H = 2 (0 + 4) + 2 alpha
        array([[1.]])
        """
        return get_problem(self, "solve_hessian").solve_hessian(
            V, Influence(hessian_solver, n_jobs), Output(dtype, out)
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
        """Return each sample's influence on the parameters.

        ``I_up,params(z) = -(H/S)^-1 grad L(z)``. This is the fitted parameters' derivative
        in epsilon, at epsilon = 0, if sample z is added to the mean objective with weight
        epsilon. For a training sample it equals ``S d params / d w_i``. grad L(z) includes
        the effect of z on "balanced" class weights. In a pipeline z moves every step, see the
        page on the whole fit. Multiply by
        ``-w_i/S`` for the first-order change when the sample is left out.

        Parameters
        ----------
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
        influence : ndarray of shape (m, p)
            Laid out as `params_`; `split_params` gives the shapes of `coef_` and
            `intercept_`. It is a lazy dask array if the samples are dask arrays.

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
        return get_problem(self, "influence_params").influence_params(
            X, y, Influence(hessian_solver, n_jobs), Output(dtype, out)
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
        """Return each training sample's influence on differentiable scalars.

        ``grad f' I_up,params(z_j)`` for a scalar function f of the parameters. Examples are
        a coefficient, a difference between two groups, or a metric's smooth surrogate.

        Parameters
        ----------
        gradient : array-like of shape (p,) or (m, p), or callable
            Gradient of one scalar, or m scalars, in the parameters, laid out as `params_`.
            A callable takes the parameter vector and returns this gradient.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1. Results do not depend on it.
        n_jobs : int, default=None
            Number of joblib threads, which process scalars in blocks.
        dtype : numpy dtype, default=None
            The result's dtype, float64 by default. Computations use float64.
        out : ndarray, default=None
            Array or memmap that receives the result.

        Returns
        -------
        influence : ndarray of shape (n,) or (m, n)
            Each training sample's influence on each scalar. It is a lazy dask array if the
            training samples are dask arrays.

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
        return get_problem(self, "influence_functional").influence_functional(
            gradient, Influence(hessian_solver, n_jobs), Output(dtype, out)
        )
