"""Display for the distance between a fit and its optimum during polishing."""

from __future__ import annotations

import copy
import warnings
from dataclasses import KW_ONLY, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.exceptions import ConvergenceWarning

from skinfluence._typing import Axes, Estimator, Floats
from skinfluence.checks import check_count
from skinfluence.inspection.plotting import BLUE, ORANGE, make_axes, tidy
from skinfluence.methods.available import require
from skinfluence.steps import final_estimator


@dataclass(eq=False, repr=False)
class ConvergenceDisplay:
    """Newton decrement after each Newton step from the fitted parameters.

    The decrement is the distance to the optimum in the Hessian metric. A horizontal line
    shows how far the removal of a median training sample moves the optimum in the same
    metric. If the decrement is above the line, the error in the fit is larger than a typical
    leave-one-out effect.

    Parameters
    ----------
    decrements : ndarray of shape (n_steps + 1,)
        Newton decrement at the fitted parameters and after each step, in square roots of
        loss units.
    row_effect : float, default=None
        Median over the training samples of ``|H^-1 v_i|_H``, in the same units; None draws
        no line.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the plot.
    figure_ : matplotlib Figure
        Figure with the axes.
    line_ : matplotlib Line2D
        The decrements.

    See Also
    --------
    LeaveOutDisplay : Predicted changes against refits.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from skinfluence.inspection import ConvergenceDisplay
    >>> from skinfluence.linear_model import LogisticRegression
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> clf = LogisticRegression().fit(scale(X), y)
    >>> display = ConvergenceDisplay.from_estimator(clf)
    >>> bool(display.decrements[-1] < 1e-6 * display.row_effect)
    True
    """

    decrements: Floats
    _: KW_ONLY
    row_effect: float | None = None

    @classmethod
    def from_estimator(
        cls,
        estimator: Estimator,
        *,
        max_iter: int = 20,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Polish a copy of a fitted estimator step by step, and plot.

        Parameters
        ----------
        estimator : object
            Fitted skinfluence estimator, or a pipeline that ends in one. It is not changed.
        max_iter : int, default=20
            Largest number of Newton steps.
        ax : matplotlib Axes, default=None
            Axes to plot on; None for a new figure.
        **kwargs : dict
            Passed to `plot`.

        Returns
        -------
        display : ConvergenceDisplay
            The plot.
        """
        check_count("max_iter", max_iter)
        polished = copy.copy(final_estimator(estimator))
        require(polished, "convergence_report")
        report = polished.convergence_report()
        row_effect = None
        if report.convergence_ratio > 0:
            row_effect = report.newton_decrement / report.convergence_ratio
        decrements = [report.newton_decrement]
        while len(decrements) <= max_iter:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # more steps follow
                polished.polish(tol=0.0, max_iter=1)
            decrements.append(polished.newton_decrement_)
            if not decrements[-1] < decrements[-2]:
                break
        return cls(np.array(decrements), row_effect=row_effect).plot(ax=ax, **kwargs)

    @classmethod
    def from_predictions(
        cls,
        decrements: ArrayLike,
        *,
        row_effect: float | None = None,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Plot precomputed decrements.

        Parameters
        ----------
        decrements : array-like of shape (n_steps + 1,)
            Newton decrements, the first one at the fitted parameters.
        row_effect : float, default=None
            Effect of a median training sample in the same units.
        ax : matplotlib Axes, default=None
            Axes to plot on; None for a new figure.
        **kwargs : dict
            Passed to `plot`.

        Returns
        -------
        display : ConvergenceDisplay
            The plot.
        """
        decrements = np.asarray(decrements, dtype=np.float64)
        return cls(decrements, row_effect=row_effect).plot(ax=ax, **kwargs)

    def plot(self, ax: Axes | None = None, **kwargs: Any) -> Self:
        """Draw the plot.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to plot on; None for a new figure.
        **kwargs : dict
            Passed to ``ax.plot``.

        Returns
        -------
        display : ConvergenceDisplay
            The plot.
        """
        self.figure_, ax = make_axes(ax)
        self.ax_ = ax
        style = {"marker": "o", "color": BLUE} | kwargs
        shown = np.where(self.decrements > 0, self.decrements, np.nan)
        (self.line_,) = ax.plot(np.arange(len(shown)), shown, **style)
        ax.set_yscale("log")
        ax.xaxis.get_major_locator().set_params(integer=True)
        if len(shown) == 1:
            ax.set(xlim=(-0.5, 0.5), xticks=[0])
        if self.row_effect is not None:
            ax.axhline(self.row_effect, color=ORANGE, linewidth=1.2)
            ax.margins(y=0.15)  # room for the label next to the horizontal line
            # The decrements fall from left to right. Before they cross the horizontal line,
            # the space below it is free; after that, the space above.
            above = np.mean(self.decrements > self.row_effect) > 0.4
            ax.annotate(
                "effect of a median training sample",
                (0.01 if above else 1.0, self.row_effect),
                xycoords=("axes fraction", "data"),
                xytext=(0, -4 if above else 4),
                textcoords="offset points",
                ha="left" if above else "right",
                va="top" if above else "bottom",
                color=ORANGE,
                fontsize=9,
            )
        tidy(
            ax,
            title="Distance of the fit from its optimum",
            xlabel="Newton steps after fit",
            ylabel="Newton decrement (square root of loss units)",
        )
        return self
