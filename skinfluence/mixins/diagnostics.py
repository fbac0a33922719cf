"""Chapter D: case diagnostics and the uncertainty of the parameters."""

from typing import Literal, overload

import numpy as np
from numpy.typing import DTypeLike
from sklearn.base import is_classifier
from sklearn.utils import Bunch

from skinfluence import diagnostics, influence, removal
from skinfluence._typing import DataFrame, Floats, GroupsLike
from skinfluence.blocks import row_blocks
from skinfluence.exceptions import warn
from skinfluence.groups import Groups, resolve_groups
from skinfluence.mixins.checks import check_option, prepare_out
from skinfluence.products import add_gram, fill_lower
from skinfluence.solvers import HessianSolver, get_solver

__all__ = ["DiagnosticsMixin"]

KINDS = ("infinitesimal_jackknife", "jackknife", "hessian")


class DiagnosticsMixin:
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
        self._refuse_dask("influence_summary")
        self._check_curved(lacks="leverage")
        state = self._get_influence_state(hessian_solver)
        measures = self._measure(state, hessian_solver, n_jobs)
        doubtful = measures.doubtful()
        if len(doubtful) and state.recession is None:
            rows = [np.array([i]) for i in doubtful]
            base, groups = self._removal(rows, None, "newton", hessian_solver)

            def refine(indices, _rows, theta):
                measures.refine_loss(doubtful[indices], theta)

            self._leave_out(base, groups, "newton", refine, None, n_jobs, 0)
        columns = {
            "leverage": measures.leverage.sum(axis=1),
            "self_influence": influence.self_influence(
                state.point, state.factor, n_jobs=n_jobs
            ),
            "cooks_distance": measures.cooks_distance(),
            "dffits": measures.dffits(),
            "studentized_residual": measures.studentized_residual(),
            "leave_out_loss": measures.loss,
            "newton_decrement": measures.newton_decrement(),
        }
        if not as_frame:
            return Bunch(**columns)
        import pandas as pd

        return pd.DataFrame(columns, index=state.point.objective.index)

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
        self._refuse_dask("dfbetas")
        state = self._get_influence_state(hessian_solver)
        layout = state.point.objective.formulation.layout
        out = prepare_out(out, (state.point.objective.n_rows, layout.size), dtype)
        scale = diagnostics.inverse_diagonal(state.point, state.factor, n_jobs=n_jobs)
        scale = np.sqrt(layout.to_public(scale))

        def write(indices, d):
            # What the penalty holds at 0 has no standard error, and does not move.
            moves = -layout.to_public(d)
            out[indices] = np.divide(moves, scale, out=np.zeros_like(moves), where=scale > 0)

        measures = self._measure(state, hessian_solver, n_jobs, write)
        deleted = np.sqrt(measures.deleted_dispersion)[:, :, None]
        for rows in row_blocks(len(out), 4 * 8 * layout.size):
            part = np.broadcast_to(deleted[rows], (*deleted[rows].shape[:2], layout.n_columns))
            part = layout.to_public(part)
            with np.errstate(divide="ignore", invalid="ignore"):
                out[rows] = np.where(part > 0, out[rows] / part, np.nan)
        out[:, self._lost_params()] = np.nan
        return out

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
        self._refuse_dask("params_covariance", groups)
        check_option("kind", kind, KINDS)
        if kind == "hessian" and groups is not None:
            raise ValueError(
                "kind='hessian' takes the samples as independent and no groups: use "
                "'infinitesimal_jackknife' or 'jackknife'."
            )
        covariance = self._covariance(kind, groups, hessian_solver, n_jobs)
        lost = self._lost_params()
        covariance[lost] = covariance[:, lost] = np.nan
        return covariance

    def _covariance(self, kind, groups, hessian_solver, n_jobs):
        """Return `params_covariance`, whether or not there is an optimum."""
        if kind == "jackknife":
            return self._jackknife_covariance(groups, hessian_solver, n_jobs)
        state = self._get_influence_state(hessian_solver)
        if kind == "hessian":
            return self._hessian_covariance(state, n_jobs)
        objective = state.point.objective
        groups = resolve_groups(
            groups,
            None,
            X=objective.design.X,
            y=self._decode(objective.target),
            classifier=is_classifier(self),
        )
        groups.partition()
        return diagnostics.sandwich(state.point, state.factor, groups, n_jobs=n_jobs)

    def _measure(self, state, hessian_solver, n_jobs, write=None):
        """Return the `RemovalMeasures`; `write(indices, d)` gets the changes as they come."""
        objective = state.point.objective
        solver = get_solver(hessian_solver, objective)
        base = removal.Base.at(state.point, state.factor, solver)
        leverage = diagnostics.leverages(state.point, state.factor, n_jobs=n_jobs)
        _check_dispersion(state.point, leverage, n_deleted=1)
        measures = diagnostics.RemovalMeasures(base, leverage)

        def emit(indices, _rows, theta):
            d = measures.add(indices, theta)
            if write is not None:
                write(indices, d)

        groups = Groups(objective.n_rows)
        self._leave_out(base, groups, removal.ONE_STEP, emit, None, n_jobs, 0)
        perfect = np.flatnonzero((measures.deleted_dispersion == 0).any(axis=1))
        if perfect.size:
            warn(
                f"Without {perfect.size} of {objective.n_rows} sample(s) the others are "
                f"fitted with a dispersion of 0: {perfect[:5].tolist()}. What is in units of "
                "it is NaN."
            )
        return measures

    def _hessian_covariance(self, state, n_jobs):
        """Return phi H^-1."""
        point, factor = state.point, state.factor
        layout = point.objective.formulation.layout
        covariance = np.empty((layout.size, layout.size))
        influence.write_solutions(
            factor, np.eye(layout.size), layout, covariance, n_jobs=n_jobs
        )
        if point.objective.formulation.loss.has_dispersion:
            leverage = diagnostics.leverages(point, factor, n_jobs=n_jobs)
            _check_dispersion(point, leverage)
            phi = diagnostics.dispersion(point, leverage)
            root = diagnostics.covariance_factor(phi, layout)
            covariance *= root[:, None] * root
        return covariance

    def _jackknife_covariance(self, groups, hessian_solver, n_jobs):
        """Return sum d d' over the groups."""
        self._warn_of_misfit(self._get_state(hessian_solver, quiet=True))
        base, groups = self._removal(groups, None, "newton", hessian_solver)
        groups.partition()
        layout = base.point.objective.formulation.layout
        full = base.theta + base.correction
        covariance = np.zeros((layout.size, layout.size))

        def emit(_indices, _rows, theta):
            return np.ascontiguousarray(layout.to_public(theta - full))

        def add(change):
            add_gram(change, covariance)

        self._leave_out(base, groups, "newton", emit, None, n_jobs, 0, reduce=add)
        return fill_lower(covariance)


def _check_dispersion(point, leverage, n_deleted=0):
    """Say so where no degree of freedom is left to estimate a dispersion from."""
    if not point.objective.formulation.loss.has_dispersion:
        return
    if not diagnostics.degrees_of_freedom(point, leverage, n_deleted).all():
        left = diagnostics.degrees_of_freedom(point, leverage).min()
        warn(
            f"The fit leaves {left:.3g} degrees of freedom, the number of samples less the "
            "effective number of parameters: there is no dispersion to estimate, and what is "
            "in units of it is NaN. Strengthen the penalty or use fewer features.",
        )
