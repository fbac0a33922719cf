"""Conventional bounds for case diagnostics, and the test for outliers."""

from __future__ import annotations

from typing import Literal, overload

import numpy as np
from scipy import stats
from sklearn.utils import Bunch

from skinfluence._typing import DataFrame, Estimator
from skinfluence.checks import import_pandas
from skinfluence.methods.available import require
from skinfluence.pipeline import problem_of
from skinfluence.results import Result
from skinfluence.solvers import HessianSolver


def influence_cutoffs(
    estimator: Estimator,
    *,
    hessian_solver: str | HessianSolver = "auto",
    n_jobs: int | None = None,
) -> Bunch:
    """Return the conventional bounds for the measures in `influence_summary`.

    Samples beyond a bound deserve a look; they need not be wrong. With n samples that have
    a weight, and p the sum of the leverages, the effective number of parameters:

    - leverage: ``2 p / n``; leverage_high: ``3 p / n``
    - cooks_distance: ``4 / n``
    - dffits: ``2 sqrt(p / n)``, for absolute values
    - dfbetas: ``2 / sqrt(n)``, for absolute values
    - covratio: ``(1 - 3 p / n, 1 + 3 p / n)``, lower and upper bound

    All but the bound for Cook's distance come from Belsley, Kuh and Welsch, who derive them
    for least squares. With several outputs, p is the sum over them, and the bounds apply to
    the norms. Bounds do not apply to groups.

    Parameters
    ----------
    estimator : object
        Fitted skinfluence estimator, or a pipeline that ends in one.
    hessian_solver : str or HessianSolver, default="auto"
        Solver for the Hessian H; results do not depend on it.
    n_jobs : int, default=None
        Number of joblib threads.

    Returns
    -------
    cutoffs : Bunch
        The bounds above, and ``n_samples`` (n) and ``n_params`` (p).

    Raises
    ------
    UnsupportedEstimatorError
        If the estimator has no leverages, as with a plain hinge loss or a kernel.

    See Also
    --------
    outlier_test : Test of each sample's residual.
    LeverageDisplay : Leverages and residuals with these bounds.

    References
    ----------
    Belsley, Kuh & Welsch, "Regression Diagnostics", 1980, sections 2.1 and 2.2; Bollen &
    Jackman, "Regression diagnostics: an expository treatment of outliers and influential
    cases", 1985, for ``4 / n``.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.inspection import influence_cutoffs
    >>> from skinfluence.linear_model import LinearRegression
    >>> reg = LinearRegression().fit(*load_diabetes(return_X_y=True))
    >>> cutoffs = influence_cutoffs(reg)
    >>> round(cutoffs.leverage_high, 3)
    0.075
    >>> int((reg.influence_summary().leverage > cutoffs.leverage_high).sum())
    7
    """
    problem = problem_of(estimator)
    require(problem.estimator, "influence_summary")
    n, p = problem.effective_counts("influence_cutoffs", hessian_solver, n_jobs)
    return Result(
        leverage=2.0 * p / n,
        leverage_high=3.0 * p / n,
        cooks_distance=4.0 / n,
        dffits=2.0 * float(np.sqrt(p / n)),
        dfbetas=2.0 / float(np.sqrt(n)),
        covratio=(1.0 - 3.0 * p / n, 1.0 + 3.0 * p / n),
        n_samples=n,
        n_params=p,
    )


@overload
def outlier_test(
    estimator: Estimator,
    *,
    as_frame: Literal[False] = ...,
    hessian_solver: str | HessianSolver = ...,
    n_jobs: int | None = ...,
) -> Bunch: ...


@overload
def outlier_test(
    estimator: Estimator,
    *,
    as_frame: Literal[True],
    hessian_solver: str | HessianSolver = ...,
    n_jobs: int | None = ...,
) -> DataFrame: ...


def outlier_test(
    estimator: Estimator,
    *,
    as_frame: bool = False,
    hessian_solver: str | HessianSolver = "auto",
    n_jobs: int | None = None,
) -> Bunch | DataFrame:
    """Test for each training sample if its residual is too large for the model.

    The statistic is the externally studentized residual from `influence_summary`. If the
    model without the sample holds for it with normal errors, the statistic has Student's t
    distribution with ``n - p - 1`` degrees of freedom. Here n is the number of samples with
    a weight, and p the sum of the leverages. The result is exact for least squares without
    a penalty, and an approximation with one. Bonferroni's p-value takes into account that
    the sample was selected among n: it is ``min(1, n p_value)``.

    Parameters
    ----------
    estimator : object
        Fitted skinfluence regressor with squared error and one target, or a pipeline that
        ends in one.
    as_frame : bool, default=False
        Return a pandas DataFrame with the same index as the fitted X.
    hessian_solver : str or HessianSolver, default="auto"
        Solver for the Hessian H; results do not depend on it.
    n_jobs : int, default=None
        Number of joblib threads.

    Returns
    -------
    test : Bunch or DataFrame
        ``statistic``, ``p_value`` (two-sided) and ``bonferroni``, each of shape (n,), in the
        order of the training data. Samples without a studentized residual are NaN.

    Raises
    ------
    ValueError
        If the model is no regression with squared error, or has several targets.

    See Also
    --------
    influence_cutoffs : Conventional bounds for other measures.
    rank_label_errors : Targets that contradict the other samples, for any loss.

    References
    ----------
    Cook & Weisberg, "Residuals and Influence in Regression", 1982, section 2.2.2.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.inspection import outlier_test
    >>> from skinfluence.linear_model import LinearRegression
    >>> X, y = load_diabetes(return_X_y=True, as_frame=True)
    >>> y[7] = 630  # a slip of the pen: it was 63
    >>> test = outlier_test(LinearRegression().fit(X, y), as_frame=True)
    >>> test[test.bonferroni < 0.05].round(3)
       statistic  p_value  bonferroni
    7      9.249      0.0         0.0
    """
    pandas = import_pandas("as_frame=True") if as_frame else None
    problem = problem_of(estimator, "influence_summary", "outlier_test")
    require(problem.estimator, "influence_summary")
    problem.check_leverage()
    problem.check_squared_error("outlier_test")
    options = {"hessian_solver": hessian_solver, "n_jobs": n_jobs}
    n, p = problem.effective_counts("outlier_test", **options)
    statistic = problem.influence_summary(**options)["studentized_residual"]
    p_value = 2.0 * stats.t.sf(np.abs(statistic), n - p - 1.0)
    columns = {
        "statistic": statistic,
        "p_value": p_value,
        "bonferroni": np.minimum(1.0, n * p_value),
    }
    return Result(**columns) if pandas is None else pandas.DataFrame(columns, problem.index)
