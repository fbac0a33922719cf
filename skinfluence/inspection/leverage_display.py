"""Display for leverage against studentised residual."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from skinfluence._typing import Axes, Estimator, Floats
from skinfluence.checks import check_count
from skinfluence.inspection.plotting import (
    BLUE,
    GREY,
    label_points,
    make_axes,
    row_names,
    tidy,
)
from skinfluence.methods.available import require
from skinfluence.pipeline import problem_of


@dataclass(eq=False, repr=False)
class LeverageDisplay:
    """Leverage of the training samples against their studentised residuals.

    A sample changes the fit if both are large. Samples on one dashed curve have the same
    Cook's distance, so they change the fit by the same amount. Labels mark the samples with
    the largest Cook's distance. Dotted lines are conventional bounds, see
    `influence_cutoffs` and `outlier_test`. In a pipeline the curves are those for its last
    step, and the labels follow the Cook's distances of the whole fit.

    Parameters
    ----------
    leverage : ndarray of shape (n,)
        Leverage of each training sample.
    studentized_residual : ndarray of shape (n,)
        Externally studentised residuals.
    cooks_distance : ndarray of shape (n,)
        Cook's distances.
    dof : float, default=None
        Degrees of freedom ``n - p`` for the curves if the dispersion is estimated; None if
        it is known.
    names : sequence of length n, default=None
        Sample names; None for indices.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the plot.
    figure_ : matplotlib Figure
        Figure with the axes.
    scatter_ : matplotlib PathCollection
        The samples.

    See Also
    --------
    influence_cutoffs : The bounds.
    outlier_test : P-values for the residuals.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.inspection import LeverageDisplay
    >>> from skinfluence.linear_model import Ridge
    >>> reg = Ridge(alpha=0.1).fit(*load_diabetes(return_X_y=True))
    >>> display = LeverageDisplay.from_estimator(reg)
    >>> display.ax_.get_xlabel()
    'leverage'
    """

    leverage: Floats
    studentized_residual: Floats
    _: KW_ONLY
    cooks_distance: Floats
    dof: float | None = None
    names: Sequence[Any] | None = None

    @classmethod
    def from_estimator(
        cls, estimator: Estimator, *, ax: Axes | None = None, **kwargs: Any
    ) -> Self:
        """Plot the training samples of a fitted estimator.

        Parameters
        ----------
        estimator : object
            Fitted skinfluence estimator, or a pipeline that ends in one.
        ax : matplotlib Axes, default=None
            Axes to plot on; None for a new figure.
        **kwargs : dict
            Passed to `plot`.

        Returns
        -------
        display : LeverageDisplay
            The plot.
        """
        problem = problem_of(estimator, "influence_summary", "LeverageDisplay")
        require(problem.estimator, "influence_summary")
        problem.check_leverage()
        summary = problem.influence_summary()
        objective = problem.objective
        if objective.formulation.layout.n_outputs > 1:
            kwargs.setdefault("cook_levels", ())  # the curves assume a single output
        dof = None
        if objective.formulation.loss.has_dispersion:
            dof = np.sum(objective.sample_weight > 0) - summary.leverage.sum()
        display = cls(
            summary.leverage,
            summary.studentized_residual,
            cooks_distance=summary.cooks_distance,
            dof=dof,
            names=objective.index,
        )
        return display.plot(ax=ax, **kwargs)

    @classmethod
    def from_predictions(
        cls,
        leverage: ArrayLike,
        studentized_residual: ArrayLike,
        *,
        cooks_distance: ArrayLike,
        dof: float | None = None,
        names: Sequence[Any] | None = None,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Plot precomputed measures.

        Parameters
        ----------
        leverage : array-like of shape (n,)
            Leverage of each training sample.
        studentized_residual : array-like of shape (n,)
            Externally studentised residuals.
        cooks_distance : array-like of shape (n,)
            Cook's distances.
        dof : float, default=None
            Degrees of freedom if the dispersion is estimated.
        names : sequence of length n, default=None
            Sample names.
        ax : matplotlib Axes, default=None
            Axes to plot on; None for a new figure.
        **kwargs : dict
            Passed to `plot`.

        Returns
        -------
        display : LeverageDisplay
            The plot.
        """
        arrays = map(np.asarray, (leverage, studentized_residual, cooks_distance))
        leverage, residual, cook = arrays
        display = cls(leverage, residual, cooks_distance=cook, dof=dof, names=names)
        return display.plot(ax=ax, **kwargs)

    def plot(
        self,
        ax: Axes | None = None,
        *,
        n_labels: int = 5,
        cook_levels: Sequence[float] | None = None,
        cutoffs: bool = True,
        **kwargs: Any,
    ) -> Self:
        """Draw the plot.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to plot on; None for a new figure.
        n_labels : int, default=5
            Number of samples to label.
        cook_levels : sequence of float, default=None
            Cook's distances to draw curves for. None means three round numbers up to the
            largest Cook's distance. There are no curves if the model has several outputs or
            a scale parameter.
        cutoffs : bool, default=True
            Whether to draw the bounds ``2 p / n`` and ``3 p / n`` for leverages. If the
            dispersion is estimated and the residuals have a sign, also the bound that
            residuals of normal errors exceed with probability 0.05 (Bonferroni).
        **kwargs : dict
            Passed to ``ax.scatter``.

        Returns
        -------
        display : LeverageDisplay
            The plot.
        """
        finite = np.isfinite(self.cooks_distance) & np.isfinite(self.studentized_residual)
        known = np.flatnonzero(finite)
        check_count("n_labels", n_labels, len(self.cooks_distance))
        self.figure_, ax = make_axes(ax)
        self.ax_ = ax
        style = {"s": 18, "alpha": 0.6, "color": BLUE, "linewidths": 0} | kwargs
        h, t = self.leverage[known], self.studentized_residual[known]
        self.scatter_ = ax.scatter(h, t, **style)
        ax.axhline(0.0, color=GREY, linewidth=0.6)
        signed = bool(np.any(t < 0))
        ax.set_xlim(0.0, 1.12 * h.max())
        low, high = ax.get_ylim()
        top = np.argsort(-self.cooks_distance[known], kind="stable")[:n_labels]
        title = "Leverage and residual of each training sample"
        # The curves do not apply to norms over several outputs, whose leverages are sums.
        if signed:
            largest = self.cooks_distance[known][top[0]]
            levels = _round_levels(largest) if cook_levels is None else cook_levels
            for level in levels:
                self._draw_curve(level)
            if len(levels):
                title += f"\ndashed: Cook's distance {', '.join(f'{v:g}' for v in levels)}"
        ax.set_ylim(low, high)
        if cutoffs:
            title += self._draw_cutoffs(signed)
        if not finite.all():
            title += f"\n{np.sum(~finite)} without a finite residual are not shown"
        tidy(
            ax,
            title=title,
            xlabel="leverage",
            ylabel="studentised residual" + ("" if signed else ", norm over outputs"),
        )
        label_points(ax, h[top], t[top], row_names(self.names, known[top]))
        return self

    def _draw_cutoffs(self, signed):
        """Draw the conventional bounds within the axes; return their line of the title."""
        n_params = np.sum(self.leverage)
        n_samples = len(self.leverage) if self.dof is None else self.dof + n_params
        bounds = {f"{k}p/n": k * n_params / n_samples for k in (2, 3)}
        right = self.ax_.get_xlim()[1]
        named = [name for name, bound in bounds.items() if bound < right]
        style = {"linestyle": ":", "color": GREY, "linewidth": 0.8}
        for name in named:
            self.ax_.axvline(bounds[name], **style)
        title = f"leverage {' and '.join(named)}" if named else ""
        if signed and self.dof is not None and self.dof > 1.0:
            bound = stats.t.isf(0.025 / n_samples, self.dof - 1.0)
            low, high = self.ax_.get_ylim()
            drawn = [t for t in (-bound, bound) if low < t < high]
            for t in drawn:
                self.ax_.axhline(t, **style)
            if drawn:
                title += (", " if title else "") + "outlier test at 0.05"
        return f"\ndotted: {title}" if title else ""

    def _draw_curve(self, level):
        """Draw the curve with Cook's distance r^2 h / (p (1 - h)) = level."""
        n_params = np.sum(self.leverage)
        h = np.linspace(*self.ax_.get_xlim(), 400)[1:]
        h = h[h < 1.0]
        squares = level * n_params * (1.0 - h) / h
        if self.dof is not None:
            # Convert from internally to externally studentised residuals.
            with np.errstate(divide="ignore"):
                ratio = (self.dof - 1.0) / np.maximum(self.dof - squares, 0.0)
            squares = squares * ratio
        t = np.sqrt(squares)
        for sign in (1.0, -1.0):
            self.ax_.plot(h, sign * t, "--", color=GREY, linewidth=0.8)


def _round_levels(largest):
    """Return the three largest numbers 1, 2 or 5 times a power of ten up to `largest`."""
    if not largest > 0:
        return []
    power = np.floor(np.log10(largest))
    steps = [m * 10.0 ** (power + e) for e in (-1, 0) for m in (1, 2, 5)]
    return [float(f"{step:g}") for step in steps if step <= largest][-3:]
