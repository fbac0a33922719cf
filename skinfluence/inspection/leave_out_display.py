"""Display for predicted changes against changes after refits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from skinfluence._typing import (
    Accuracy,
    Axes,
    CrossValidation,
    Estimator,
    Floats,
    GroupsLike,
    RandomState,
)
from skinfluence.checks import check_count
from skinfluence.inspection.plotting import (
    BLUE,
    GREY,
    label_points,
    make_axes,
    row_names,
    tidy,
)
from skinfluence.pipeline import problem_of
from skinfluence.problem.requests import Removal


@dataclass(eq=False, repr=False)
class LeaveOutDisplay:
    """Predicted changes if groups of samples leave, against refits by scikit-learn.

    There is one point for each group and each parameter or prediction. Points on the
    diagonal are predicted exactly. Labels mark the groups with the largest errors.

    Parameters
    ----------
    predicted, actual : ndarray of shape (n_checks, p)
        Changes in parameters or predictions, predicted and after a refit.
    names : sequence of length n_checks, default=None
        Group names; None for indices.
    unit : str, default=""
        Unit of the changes for the axis labels.
    pearson_r, slope : float, default=None
        Correlation between actual and predicted changes, and slope of the least-squares
        line, for the title. If `pearson_r` is None, the title contains neither.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the plot.
    figure_ : matplotlib Figure
        Figure with the axes.
    scatter_ : matplotlib PathCollection
        The points.

    See Also
    --------
    InfluenceDisplay : The training samples that help and harm one query.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from skinfluence.inspection import LeaveOutDisplay
    >>> from skinfluence.linear_model import LogisticRegression
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> clf = LogisticRegression(tol=1e-8).fit(scale(X), y)
    >>> display = LeaveOutDisplay.from_estimator(clf, method="influence", random_state=0)
    >>> display.slope > 1  # first order understates
    True
    """

    predicted: Floats
    actual: Floats
    _: KW_ONLY
    names: Sequence[Any] | None = None
    unit: str = ""
    pearson_r: float | None = None
    slope: float | None = None

    @classmethod
    def from_estimator(
        cls,
        estimator: Estimator,
        *,
        n_checks: int | None = None,
        groups: GroupsLike = None,
        cv: CrossValidation = None,
        method: Accuracy = "newton",
        refine: float | None = None,
        random_state: RandomState = None,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Refit without some groups, see `leave_out_check`, and plot the comparison.

        Each change is divided by the standard error of its parameter from
        ``params_covariance("hessian")``, so that all parameters share the axes. If an l1
        penalty keeps a parameter at zero, it has no standard error and is not shown. For
        kernel models and for estimators around others the changes are in the decision
        function or prediction at the training samples instead.

        Parameters
        ----------
        estimator : object
            Fitted skinfluence estimator, a pipeline that ends in one, or an estimator around
            others.
        n_checks : int, default=None
            Number of refits. None means 20, or one for each group if there are fewer.
        groups : None, array-like of shape (n,) or list of index arrays, default=None
            Rows that leave together, see `leave_out_params`.
        cv : int, splitter or iterable, default=None
            Splitter whose test folds are the groups.
        method : {"influence", "newton", "exact"}, default="newton"
            Accuracy to check.
        refine : float, default=None
            Fraction of the groups to recompute exactly.
        random_state : int, RandomState instance or None, default=None
            Seed for the half of the groups that is drawn at random.
        ax : matplotlib Axes, default=None
            Axes to plot on; None for a new figure.
        **kwargs : dict
            Passed to `plot`.

        Returns
        -------
        display : LeaveOutDisplay
            The plot.
        """
        problem = problem_of(estimator, "leave_out_check", "LeaveOutDisplay", composites=True)
        problem.refuse_dask("LeaveOutDisplay", groups)
        resolved = problem.groups_for(groups, cv)
        request = Removal(resolved, method=method, refine=refine)
        check = problem.leave_out_check(n_checks, request, random_state=random_state)
        names = problem.index if resolved.members is None else resolved.labels
        predicted, actual = check.predicted, check.actual
        unit = "prediction at a training sample"
        if not problem.has_parts and problem.parameters.is_dual:
            predicted, actual = (_predictions(problem, c) for c in (predicted, actual))
        elif not problem.has_parts:
            error = _standard_errors(problem)
            free = error > 0
            predicted, actual = (
                change[:, free] / error[free] for change in (check.predicted, check.actual)
            )
            unit = "standard errors"
        return cls.from_predictions(
            predicted,
            actual,
            names=row_names(names, check.indices),
            unit=unit,
            ax=ax,
            **kwargs,
        )

    @classmethod
    def from_predictions(
        cls,
        predicted: ArrayLike,
        actual: ArrayLike,
        *,
        names: Sequence[Any] | None = None,
        unit: str = "",
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Plot precomputed changes.

        Parameters
        ----------
        predicted, actual : array-like of shape (n_checks, p) or (n_checks,)
            Changes in parameters, losses or other numbers, predicted and after a refit.
        names : sequence of length n_checks, default=None
            Group names.
        unit : str, default=""
            Unit of the changes for the axis labels.
        ax : matplotlib Axes, default=None
            Axes to plot on; None for a new figure.
        **kwargs : dict
            Passed to `plot`.

        Returns
        -------
        display : LeaveOutDisplay
            The plot.
        """
        predicted, actual = (
            a.reshape(len(a), -1)
            for a in (np.asarray(predicted, np.float64), np.asarray(actual, np.float64))
        )
        x, y = predicted.ravel(), actual.ravel()
        pearson_r, slope = None, None
        if np.ptp(x) > 0 and np.ptp(y) > 0:
            pearson_r, slope = float(np.corrcoef(x, y)[0, 1]), float(np.polyfit(x, y, 1)[0])
        display = cls(
            predicted, actual, names=names, unit=unit, pearson_r=pearson_r, slope=slope
        )
        return display.plot(ax=ax, **kwargs)

    def plot(self, ax: Axes | None = None, *, n_labels: int = 3, **kwargs: Any) -> Self:
        """Draw the plot.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to plot on; None for a new figure.
        n_labels : int, default=3
            Number of groups to label.
        **kwargs : dict
            Passed to ``ax.scatter``.

        Returns
        -------
        display : LeaveOutDisplay
            The plot.
        """
        check_count("n_labels", n_labels)
        self.figure_, ax = make_axes(ax, (5.6, 5.2))
        self.ax_ = ax
        style = {"s": 16, "alpha": 0.6, "color": BLUE, "linewidths": 0} | kwargs
        self.scatter_ = ax.scatter(self.predicted, self.actual, **style)
        ends = [
            min(self.predicted.min(), self.actual.min()),
            max(self.predicted.max(), self.actual.max()),
        ]
        ax.plot(ends, ends, color=GREY, linewidth=0.8, zorder=0, label="refitted = predicted")
        ax.legend(loc="upper left", frameon=False, fontsize=9)
        ax.locator_params(axis="x", nbins=5)  # tick labels are wide
        title = "Changes when samples leave"
        if self.pearson_r is not None:
            title += f"\nr = {self.pearson_r:.4f}, slope = {self.slope:.3f}"
        unit = f" ({self.unit})" if self.unit else ""
        tidy(ax, title=title, xlabel=f"predicted{unit}", ylabel=f"refitted{unit}")
        error = np.abs(self.predicted - self.actual)
        worst = np.argsort(-error.max(axis=1), kind="stable")[:n_labels]
        columns = error[worst].argmax(axis=1)
        label_points(
            ax,
            self.predicted[worst, columns],
            self.actual[worst, columns],
            row_names(self.names, worst),
        )
        return self


def _predictions(problem, change):
    """Return changes of a kernel model's predictions (m, n K) from those of parameters."""
    objective = problem.objective
    theta = objective.formulation.layout.from_public(change)
    return objective.design.predict(np.concatenate(theta)).T.reshape(len(change), -1)


def _standard_errors(problem):
    """Return the parameters' standard errors, (p,)."""
    if problem.has_objective:
        return np.sqrt(np.diag(problem.params_covariance("hessian")))
    share = problem.sample_weight / problem.sample_weight.sum()
    return np.linalg.norm(share[:, None] * problem.influence_params(), axis=0)
