"""Chapter D: case diagnostics and the uncertainty of the parameters."""

from __future__ import annotations

from typing import Literal, overload

from numpy.typing import DTypeLike
from sklearn.utils import Bunch

from skinfluence._typing import DataFrame, Floats, GroupsLike
from skinfluence.methods.available import HasProblem, available
from skinfluence.solvers import HessianSolver

__all__ = ["DiagnosticsMixin"]


class DiagnosticsMixin(HasProblem):
    """Leverage, Cook's distance, DFBETAS and their kin; covariance of the parameters.

    What regression textbooks define for least squares, for every objective here: with
    penalties, weights and several outputs. Leaving a sample out means one Newton step of
    the objective without it, exact for squared error. For unpenalised linear, logistic and
    Poisson regression the numbers are those of statsmodels. Frozen: class weights and
    hyperparameters as fitted.
    """

    @overload
    def influence_summary(
        self,
        *,
        as_frame: Literal[False] = ...,
        hessian_solver: str | HessianSolver = ...,
        n_jobs: int | None = ...,
    ) -> Bunch: ...

    @overload
    def influence_summary(
        self,
        *,
        as_frame: Literal[True],
        hessian_solver: str | HessianSolver = ...,
        n_jobs: int | None = ...,
    ) -> DataFrame: ...

    @available
    def influence_summary(
        self,
        *,
        as_frame: bool = False,
        hessian_solver: str | HessianSolver = "auto",
        n_jobs: int | None = None,
    ) -> Bunch | DataFrame:
        """Return the usual measures of what each training sample does to the fit.

        With d_i the change of the parameters when sample i leaves, H the Hessian of the
        objective, g_i and W_i gradient and curvature of the sample's weighted loss in the
        raw prediction, and p the sum of the leverages, the effective number of parameters:

        - leverage: ``h_i = tr(W_i x_i H^-1 x_i')``, summed over outputs
        - self_influence: `self_influence`
        - cooks_distance: ``d_i' H d_i / (p phi)``
        - dffits: ``sqrt(d_i' H d_i / phi_(i))``, with the sign of the fall of the
          prediction of i when it leaves
        - studentized_residual: ``r_i / sqrt(phi_(i) (1 - h_i))`` with the Pearson residual
          ``r_i = -g_i / sqrt(W_i)``, for Gamma and Tweedie deviances
          ``(y_i - mu_i) / mu_i^(power/2)``; external
        - leave_out_loss: plain loss of sample i under the model without it, as
          `leave_out_loss` has it
        - newton_decrement: ``sqrt(d_i' (H - H_i) d_i)``, half its square is how far the
          objective of the others falls when they are fitted alone

        The dispersion phi is 1 for losses that are log-likelihoods. For squared error it is
        ``2 s^2`` with ``s^2 = sum w r^2 / (n - p)``, for half of it ``s^2``, for Gamma and
        Tweedie deviances ``sum w r^2 / (n - p)``; phi_(i) is that of the other samples
        under the model without sample i, with ``n - 1 - p`` degrees of freedom. Samples of
        weight zero do not count. A residual of a sample whose loss has no curvature, as beyond
        epsilon of `HuberRegressor`, is infinite.

        With several outputs dffits and studentized_residual are norms without a sign:
        ``sqrt((g_i' W_i^- g_i + decrement_i^2) / phi_(i))`` for the latter, and the
        measures of several targets add up, each target with its own dispersion.

        Parameters
        ----------
        as_frame : bool, default=False
            Return a pandas DataFrame whose index is that of the X that was fitted.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1; results do not depend on it.
        n_jobs : int, default=None
            Number of joblib threads over blocks of samples.

        Returns
        -------
        summary : Bunch or DataFrame
            The measures above in this order, each of shape (n,). NaN, with an
            `InfluenceWarning`, where there is no model without the sample.

        References
        ----------
        Belsley, Kuh & Welsch, "Regression Diagnostics", 1980; Pregibon, "Logistic
        Regression Diagnostics", Annals of Statistics 9, 1981, for the one-step versions.

        Examples
        --------
        >>> from sklearn.datasets import load_diabetes
        >>> from skinfluence.linear_model import Ridge
        >>> X, y = load_diabetes(return_X_y=True, as_frame=True)
        >>> table = Ridge(alpha=0.1).fit(X, y).influence_summary(as_frame=True)
        >>> table.cooks_distance.nlargest(2).round(3).to_dict()
        {123: 0.023, 382: 0.02}
        """
        return self._problem("influence_summary").influence_summary(
            as_frame=as_frame, hessian_solver=hessian_solver, n_jobs=n_jobs
        )

    @available
    def dfbetas(
        self,
        *,
        hessian_solver: str | HessianSolver = "auto",
        n_jobs: int | None = None,
        dtype: DTypeLike | None = None,
        out: Floats | None = None,
    ) -> Floats:
        """Return how far each training sample moves each parameter, in standard errors.

        ``(theta_j - theta_(i)j) / sqrt(phi_(i) (H^-1)_jj)``, full minus deleted, with
        theta_(i) the parameters without sample i and phi_(i) the dispersion of the others,
        as in `influence_summary`.

        Parameters
        ----------
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1; results do not depend on it.
        n_jobs : int, default=None
            Number of joblib threads over blocks of samples.
        dtype : numpy dtype, default=None
            Type of the result, float64 by default. Computations are in float64.
        out : ndarray of shape (n, p), default=None
            Array or memmap to fill.

        Returns
        -------
        dfbetas : ndarray of shape (n, p)
            Laid out as `params_`. NaN, with an `InfluenceWarning`, where there is no model
            without the sample, and for parameters without a value because classes are
            separated.

        References
        ----------
        Belsley, Kuh & Welsch, "Regression Diagnostics", 1980, section 2.1.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.datasets import load_diabetes
        >>> from skinfluence.linear_model import Ridge
        >>> reg = Ridge(alpha=0.1).fit(*load_diabetes(return_X_y=True))
        >>> dfbetas = reg.dfbetas()
        >>> row, param = np.unravel_index(np.abs(dfbetas).argmax(), dfbetas.shape)
        >>> int(row), reg.param_names()[param], round(float(dfbetas[row, param]), 2)
        (256, 'coef[x2]', 0.3)
        """
        return self._problem("dfbetas").dfbetas(
            hessian_solver=hessian_solver, n_jobs=n_jobs, dtype=dtype, out=out
        )

    @available
    def params_covariance(
        self,
        kind: Literal[
            "infinitesimal_jackknife", "jackknife", "hessian"
        ] = "infinitesimal_jackknife",
        groups: GroupsLike = None,
        *,
        hessian_solver: str | HessianSolver = "auto",
        n_jobs: int | None = None,
    ) -> Floats:
        """Return an estimate of the covariance of the fitted parameters.

        - "infinitesimal_jackknife": ``sum_i (w_i/S)^2 I_i I_i'`` with I_i the
          `influence_params` of sample i. Robust to wrong dispersion and curvature: White's
          HC0 for least squares, the sandwich for others; with groups the contributions
          are summed within them first, the cluster-robust covariance.
        - "jackknife": ``sum_i d_i d_i'`` with d_i the change of the parameters when sample i
          leaves, by one Newton step: HC3 for least squares; with groups those leave
          together. Slightly conservative.
        - "hessian": ``phi H^-1`` with the dispersion phi of `influence_summary`: the
          model-based covariance, ``s^2 (X'WX)^-1`` for least squares; with a penalty, the
          posterior covariance of the normal approximation. Targets of a regression with
          several are taken as independent.

        No small-sample factor is applied. A penalty biases the parameters, which no
        covariance shows.

        Parameters
        ----------
        kind : {"infinitesimal_jackknife", "jackknife", "hessian"}, \
default="infinitesimal_jackknife"
            Which estimate.
        groups : None, array-like of shape (n,) or list of index arrays, default=None
            Samples that depend on each other, see `leave_out_params`; every training sample
            must be in exactly one group. Not with "hessian".
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1; results do not depend on it.
        n_jobs : int, default=None
            Number of joblib threads over blocks of samples.

        Returns
        -------
        covariance : ndarray of shape (p, p)
            Laid out as `params_`. All NaN, with an `InfluenceWarning` that names it, where
            "jackknife" meets a sample or group that no model can do without. Rows and columns
            of parameters without a value are NaN, with an `InfluenceWarning` that names the
            direction, if there is no optimum because classes are separated. The others are
            those of the limit in which the separated samples are fitted perfectly.

        References
        ----------
        Jaeckel, "The infinitesimal jackknife", 1972; MacKinnon & White, "Some
        heteroskedasticity-consistent covariance matrix estimators", Journal of
        Econometrics 29, 1985.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.datasets import load_diabetes
        >>> from skinfluence.linear_model import Ridge
        >>> reg = Ridge(alpha=0.0).fit(*load_diabetes(return_X_y=True))
        >>> for kind in ("hessian", "infinitesimal_jackknife", "jackknife"):
        ...     error = np.sqrt(np.diag(reg.params_covariance(kind)))
        ...     print(f"{kind}: {error[2]:.1f}")
        hessian: 66.5
        infinitesimal_jackknife: 66.5
        jackknife: 68.6
        """
        return self._problem("params_covariance").params_covariance(
            kind, groups, hessian_solver=hessian_solver, n_jobs=n_jobs
        )
