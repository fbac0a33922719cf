"""Chapter D: case diagnostics and the uncertainty of the parameters."""

from __future__ import annotations

from typing import Literal, overload

from numpy.typing import DTypeLike
from sklearn.utils import Bunch

from skinfluence._typing import DataFrame, Floats, GroupsLike
from skinfluence.methods.available import available, get_problem
from skinfluence.problem.requests import Output
from skinfluence.solvers import HessianSolver


class DiagnosticsMixin:
    """Leverage, Cook's distance, DFBETAS and related measures; parameter covariance.

    These measures extend the least squares diagnostics in regression textbooks to every
    objective here, with penalties, weights and several outputs. To leave a sample out, the
    parameters take one Newton step on the objective without it, which is exact for squared
    error. For unpenalised linear, logistic and Poisson regression the numbers agree with
    statsmodels. Hyperparameters and the kernel stay as fitted; "balanced" class weights are
    those without the sample.
    """

    @overload
    def influence_summary(
        self,
        *,
        groups: GroupsLike = ...,
        as_frame: Literal[False] = ...,
        hessian_solver: str | HessianSolver = ...,
        n_jobs: int | None = ...,
    ) -> Bunch: ...

    @overload
    def influence_summary(
        self,
        *,
        groups: GroupsLike = ...,
        as_frame: Literal[True],
        hessian_solver: str | HessianSolver = ...,
        n_jobs: int | None = ...,
    ) -> DataFrame: ...

    @available
    def influence_summary(
        self,
        *,
        groups: GroupsLike = None,
        as_frame: bool = False,
        hessian_solver: str | HessianSolver = "auto",
        n_jobs: int | None = None,
    ) -> Bunch | DataFrame:
        """Return the usual measures for each training sample's effect on the fit.

        Let d_i be the parameter change when sample i is left out and H the objective's
        Hessian. Let g_i and W_i be the gradient and curvature of the sample's weighted loss
        in the raw prediction. Let p be the leverages' sum, the effective number of
        parameters. The measures are:

        - leverage: ``h_i = tr(W_i x_i H^-1 x_i')``, summed over outputs
        - self_influence: `self_influence`
        - cooks_distance: ``d_i' H d_i / (p phi)``
        - dffits: ``sqrt(d_i' H d_i / phi_(i))``, positive if the prediction for sample i
          falls when the sample is left out
        - covratio: ``(phi_(i) / phi)^p det(H) / det(H - H_i)``; above 1 the sample makes
          the parameters more precise. Without a penalty it is the ratio of
          ``det(phi H^-1)`` without the sample to the same with all samples. "balanced" class
          weights in the Hessians are those of the fit
        - studentized_residual: ``r_i / sqrt(phi_(i) (1 - h_i))``, externally studentized,
          with the Pearson residual ``r_i = -g_i / sqrt(W_i)``; for Gamma and Tweedie
          deviances ``(y_i - mu_i) / mu_i^(power/2)``
        - standardized_residual: the same with phi, internally studentized
        - leave_out_loss: plain loss for sample i under the model without it, as in
          `leave_out_loss`
        - newton_decrement: ``sqrt(d_i' (H - H_i) d_i)``; half its square is the decrease in
          the other samples' objective when they are fitted without sample i

        The dispersion phi is 1 for losses that are log-likelihoods. For squared error it is
        ``2 s^2`` with ``s^2 = sum w r^2 / (n - p)``, for half the squared error ``s^2``, and
        for Gamma and Tweedie deviances ``sum w r^2 / (n - p)``. The deleted dispersion
        phi_(i) uses the other samples and the model without sample i, with ``n - 1 - p``
        degrees of freedom. Samples with weight zero are not counted. If a sample's loss has
        no curvature, as beyond epsilon in `HuberRegressor`, its residual is infinite.

        With several outputs dffits and the residuals are norms without a sign; the
        externally studentized one is ``sqrt((g_i' W_i^- g_i + decrement_i^2) / phi_(i))``.
        With several targets the measures are summed over targets, and each target has its
        own dispersion; covratio is a product over them.

        With `groups`, a row of the result describes a group A that leaves together. Then d_A
        is the change from `leave_out_params`, which takes more Newton steps if one is not
        accurate, and phi_(A) comes from the residuals of the other samples in the model
        without the group:

        - size: number of samples
        - cooks_distance: ``d_A' H d_A / (p phi)``
        - dffits: ``sqrt(d_A' H d_A / phi_(A))``, without a sign
        - leave_out_loss: mean plain loss of the group's samples in the model without it

        In a pipeline whose steps learn, and with a kernel whose ``gamma="scale"`` moves, a
        refit has other features. There the whole fit without the sample or group replaces
        the Newton step, and raw predictions f replace parameters:

        - ``d_i' H d_i`` becomes ``sum_k (f_k - f_(i)k)' W_k (f_k - f_(i)k)`` over all
          training samples, which leaves out the penalty's part
        - phi_(i) and leave_out_loss come from the refit, and self_influence is that of the
          whole fit; it is NaN if the derivative of a step is not known
        - studentized_residual keeps r_i and h_i, and takes this phi_(i)
        - leverage, covratio, standardized_residual and newton_decrement are those of the
          last step with the present features; so is p

        Naive Bayes, discriminant analysis and nearest centroids have no Hessian. Their
        measures are self_influence, cooks_distance, dffits and leave_out_loss, or those of
        groups. As in such a pipeline, ``d_i' H d_i`` is computed from the refit's scores f,
        with the curvature W_k of the log loss; p is the number of parameters. With two
        classes dffits has a sign: it is positive if the log-odds of the second class fall
        for sample i. This takes as long as `leave_out_loss` of all training samples.

        Parameters
        ----------
        groups : None, array-like of shape (n,) or list of index arrays, default=None
            Samples that leave together, see `leave_out_params`; None for single samples.
        as_frame : bool, default=False
            Return a pandas DataFrame with the same index as the fitted X, or with the
            groups' labels as its index.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1. Results do not depend on it.
        n_jobs : int, default=None
            Number of joblib threads, which process samples in blocks.

        Returns
        -------
        summary : Bunch or DataFrame
            The measures above in this order, each with shape (n,), or (G,) for G groups. They
            are lazy dask arrays if the training samples are dask arrays. If
            no model exists without a sample or group, its measures are NaN, with an
            `InfluenceWarning`.

        See Also
        --------
        skinfluence.inspection.influence_cutoffs : Conventional bounds for these measures.

        References
        ----------
        Belsley, Kuh & Welsch, "Regression Diagnostics", 1980; Cook & Weisberg, "Residuals
        and Influence in Regression", 1982, section 3.6 for groups; Pregibon, "Logistic
        Regression Diagnostics", Annals of Statistics 9, 1981, for the one-step versions.

        Examples
        --------
        >>> from sklearn.datasets import load_diabetes
        >>> from skinfluence.linear_model import Ridge
        >>> X, y = load_diabetes(return_X_y=True, as_frame=True)
        >>> table = Ridge(alpha=0.1).fit(X, y).influence_summary(as_frame=True)
        >>> table.cooks_distance.nlargest(2).round(3).to_dict()
        {123: 0.023, 382: 0.02}

        All patients of one decade leave together:

        >>> decade = load_diabetes(scaled=False, as_frame=True).data.age // 10 * 10
        >>> reg = Ridge(alpha=0.1).fit(X, y)
        >>> table = reg.influence_summary(groups=decade, as_frame=True)
        >>> table.cooks_distance.nlargest(2).round(2).to_dict()
        {50.0: 1.01, 60.0: 0.48}
        """
        return get_problem(self, "influence_summary").influence_summary(
            groups=groups, as_frame=as_frame, hessian_solver=hessian_solver, n_jobs=n_jobs
        )

    @available
    def dfbetas(
        self,
        groups: GroupsLike = None,
        *,
        hessian_solver: str | HessianSolver = "auto",
        n_jobs: int | None = None,
        dtype: DTypeLike | None = None,
        out: Floats | None = None,
    ) -> Floats:
        """Return how far each training sample moves each parameter, in standard errors.

        ``(theta_j - theta_(i)j) / sqrt(phi_(i) (H^-1)_jj)``, full minus deleted. Here
        theta_(i) are the parameters without sample i, and phi_(i) is the deleted dispersion,
        as in `influence_summary`. With `groups`, they are those without each group. In a
        pipeline, theta_(i) are the parameters of the whole fit without the sample, in the
        refit's features, as in `leave_out_params`; H is that of the last step. Models of
        means, variances and counts, such as naive Bayes, have no Hessian. Their standard
        errors are those of ``params_covariance("infinitesimal_jackknife")``.

        Parameters
        ----------
        groups : None, array-like of shape (n,) or list of index arrays, default=None
            Samples that leave together, see `leave_out_params`; None for single samples.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1. Results do not depend on it.
        n_jobs : int, default=None
            Number of joblib threads, which process samples in blocks.
        dtype : numpy dtype, default=None
            The result's dtype, float64 by default. Computations use float64.
        out : ndarray of shape (n, p) or (G, p), default=None
            Array or memmap that receives the result.

        Returns
        -------
        dfbetas : ndarray of shape (n, p), or (G, p) for G groups
            Laid out as `params_`. If no model exists without a sample or group, its row is
            NaN, with an `InfluenceWarning`. Parameters that have no value because classes are
            separated are also NaN. It is a lazy dask array if the training samples are dask
            arrays.

        Raises
        ------
        UnsupportedEstimatorError
            If the loss has no curvature except at kinks, as the hinge: phi H^-1 is then no
            covariance. Use `leave_out_params`, and ``params_covariance("jackknife")`` for
            standard errors.

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
        return get_problem(self, "dfbetas").dfbetas(
            groups, Output(dtype, out), hessian_solver=hessian_solver, n_jobs=n_jobs
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
        """Return an estimated covariance matrix for the fitted parameters.

        - "infinitesimal_jackknife": ``sum_i (w_i/S)^2 I_i I_i'``, where I_i is the
          `influence_params` row for sample i. It is robust to wrong dispersion and
          curvature. For least squares it is White's HC0, for other losses the sandwich. If
          groups are given, the contributions are first summed within each group, which
          gives the cluster-robust covariance.
        - "jackknife": ``sum_i d_i d_i'``, where d_i is the parameter change when sample i is
          left out, by one Newton step. For least squares it is HC3. If groups are given,
          each group is left out together. It is slightly conservative.
        - "hessian": ``phi H^-1`` with the dispersion phi from `influence_summary`. This is
          the model-based covariance, ``s^2 (X'WX)^-1`` for least squares. With a penalty it
          is the posterior covariance under the normal approximation. Several regression
          targets are assumed to be independent. Models of means, variances and counts do not
          have it.

        No small-sample factor is applied. A penalty biases the parameters towards 0, and no
        covariance shows this bias, so z values are no tests then. The z value of parameter j
        is ``params_[j] / sqrt(params_covariance("hessian")[j, j])``.

        Parameters
        ----------
        kind : {"infinitesimal_jackknife", "jackknife", "hessian"}, \
default="infinitesimal_jackknife"
            Which estimate to return.
        groups : None, array-like of shape (n,) or list of index arrays, default=None
            Samples that depend on each other, see `leave_out_params`. Each training sample
            must be in exactly one group. Not available with "hessian".
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1. Results do not depend on it.
        n_jobs : int, default=None
            Number of joblib threads, which process samples in blocks.

        Returns
        -------
        covariance : ndarray of shape (p, p)
            Laid out as `params_`. With "jackknife", all entries are NaN if no model exists
            without some sample or group, and an `InfluenceWarning` names it. If no optimum
            exists because classes are separated, rows and columns for parameters without a
            value are NaN, and an `InfluenceWarning` names the direction. The other entries
            are their limit as the separated samples are fitted perfectly.

        Raises
        ------
        UnsupportedEstimatorError
            If `kind` is "hessian" and the loss has no curvature except at kinks, as the hinge:
            phi H^-1 is then no covariance.

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
        return get_problem(self, "params_covariance").params_covariance(
            kind, groups, hessian_solver=hessian_solver, n_jobs=n_jobs
        )
