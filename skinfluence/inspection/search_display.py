"""Display for the scores of a search against one parameter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from numbers import Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from skinfluence._typing import Axes, Estimator, Floats
from skinfluence.checks import shown
from skinfluence.inspection.plotting import ORANGE, make_axes, tidy
from skinfluence.search import is_leave_one_out, scoring_name


@dataclass(eq=False, repr=False)
class SearchDisplay:
    """Leave-one-out score for each value of a parameter, with the best value marked.

    Parameters
    ----------
    values : sequence of length m
        Parameter values.
    scores : ndarray of shape (m,)
        Scores for the values; higher is better.
    lines : sequence of length m, default=None
        Other parameter settings. Values with the same setting share a line.
    param : str, default="parameter"
        Parameter name.
    score_name : str, default="leave-one-out score"
        Score name.
    best : int, default=None
        Index of the value to mark; None marks the highest score.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the plot.
    figure_ : matplotlib Figure
        Figure with the axes.
    lines_ : list of matplotlib Line2D
        One for each setting of the other parameters.

    See Also
    --------
    skinfluence.model_selection.LeaveOneOutSearchCV : The search.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.inspection import SearchDisplay
    >>> from skinfluence.linear_model import Ridge
    >>> from skinfluence.model_selection import LeaveOneOutSearchCV
    >>> X, y = load_diabetes(return_X_y=True)
    >>> search = LeaveOneOutSearchCV(Ridge(), {"alpha": np.logspace(-4, 1, 11)}).fit(X, y)
    >>> SearchDisplay.from_estimator(search).ax_.get_xlabel()
    'alpha'
    """

    values: Sequence[Any]
    scores: Floats
    _: KW_ONLY
    lines: Sequence[Any] | None = None
    param: str = "parameter"
    score_name: str = "leave-one-out score"
    best: int | None = None

    @classmethod
    def from_estimator(
        cls,
        search: Estimator,
        *,
        param: str | None = None,
        metric: str | None = None,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Plot the results of a search.

        Parameters
        ----------
        search : object
            Fitted `LeaveOneOutSearchCV`, or another fitted search from scikit-learn. In a
            search by successive halving there is one line for each number of resources.
        param : str, default=None
            Parameter on the horizontal axis; None selects the one with the most values.
        metric : str, default=None
            Metric to plot if the search has several; None selects the metric that `refit`
            names.
        ax : matplotlib Axes, default=None
            Axes to plot on; None for a new figure.
        **kwargs : dict
            Passed to `plot`.

        Returns
        -------
        display : SearchDisplay
            The plot.
        """
        if not hasattr(search, "cv_results_"):
            raise TypeError(
                f"SearchDisplay needs a fitted search, but {type(search).__name__} has no "
                "cv_results_: pass a fitted LeaveOneOutSearchCV or GridSearchCV."
            )
        results = search.cv_results_
        candidates = results["params"]
        names = sorted({name for params in candidates for name in params})
        if not names:
            raise ValueError("The search has no parameter to plot, because its grid is empty.")
        if param is None:
            param = max(names, key=lambda n: len({repr(c.get(n)) for c in candidates}))
        if param not in names:
            raise ValueError(f"param={shown(param)} was not searched: use one of {names}.")
        metric = _metric(search, metric)
        indices = [i for i, params in enumerate(candidates) if param in params]
        lines = [_line(results, i, param) for i in indices]
        kind = "leave-one-out" if is_leave_one_out(search) else "mean test"
        chosen = getattr(search, "best_index_", None)
        ranked = metric == "score" or metric == search.refit or callable(search.refit)
        return cls.from_predictions(
            [candidates[i][param] for i in indices],
            results[f"mean_test_{metric}"][indices],
            lines=lines if any(lines) else None,
            param=param,
            score_name=f"{kind} {scoring_name(search) if metric == 'score' else metric}",
            best=indices.index(chosen) if ranked and chosen in indices else None,
            ax=ax,
            **kwargs,
        )

    @classmethod
    def from_predictions(
        cls,
        values: Sequence[Any],
        scores: ArrayLike,
        *,
        lines: Sequence[Any] | None = None,
        param: str = "parameter",
        score_name: str = "leave-one-out score",
        best: int | None = None,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Plot precomputed scores.

        Parameters
        ----------
        values : sequence of length m
            Parameter values.
        scores : array-like of shape (m,)
            Scores for the values.
        lines : sequence of length m, default=None
            Other parameter settings.
        param : str, default="parameter"
            Parameter name.
        score_name : str, default="leave-one-out score"
            Score name.
        best : int, default=None
            Index of the value to mark; None marks the highest score.
        ax : matplotlib Axes, default=None
            Axes to plot on; None for a new figure.
        **kwargs : dict
            Passed to `plot`.

        Returns
        -------
        display : SearchDisplay
            The plot.
        """
        display = cls(
            list(values),
            np.asarray(scores, dtype=np.float64),
            lines=lines,
            param=param,
            score_name=score_name,
            best=best,
        )
        return display.plot(ax=ax, **kwargs)

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
        display : SearchDisplay
            The plot.
        """
        if np.isnan(self.scores).all():
            raise ValueError(
                f"All {len(self.scores)} scores are NaN, so there is nothing to plot. Fit the "
                "search with error_score='raise' to see why."
            )
        self.figure_, ax = make_axes(ax)
        self.ax_ = ax
        x = self._positions(ax)
        lines = [""] * len(x) if self.lines is None else list(self.lines)
        self.lines_ = []
        for name in dict.fromkeys(lines):
            points = np.flatnonzero([line == name for line in lines])
            points = points[np.argsort(x[points], kind="stable")]
            style = {"marker": "o", "markersize": 4, "label": name} | kwargs
            self.lines_ += ax.plot(x[points], self.scores[points], **style)
        tidy(
            ax,
            title=f"Score for each value of {self.param}",
            xlabel=self.param,
            ylabel=self.score_name,
        )
        best = int(np.nanargmax(self.scores)) if self.best is None else self.best
        ax.plot(x[best], self.scores[best], "o", markersize=11, mfc="none", color=ORANGE)
        ax.margins(y=0.12)
        if self.lines is not None:
            ax.legend(frameon=False, fontsize=9)
        value = self.values[best]
        value = f"{value:.3g}" if isinstance(value, Real) else str(value)
        ax.annotate(
            f"best: {value}" + (f", {lines[best]}" if lines[best] else ""),
            (x[best], self.scores[best]),
            xytext=(0, 10),
            textcoords="offset points",
            ha="center",
            color=ORANGE,
        )
        return self

    def _positions(self, ax):
        """Set the axis scale and return the positions of the values on it."""
        numbers = all(isinstance(v, Real) and not isinstance(v, bool) for v in self.values)
        if not numbers or not np.all(np.isfinite(self.values)):
            names = [str(value) for value in self.values]
            distinct = list(dict.fromkeys(names))
            ax.set_xticks(np.arange(len(distinct)), distinct)
            return np.array([distinct.index(name) for name in names], dtype=float)
        x = np.array(self.values, dtype=np.float64)
        if x.min() > 0 and x.max() >= 50 * x.min():
            ax.set_xscale("log")
        return x


def _metric(search, metric):
    """Return the name of the metric to plot, "score" if the search has only one."""
    prefix = "mean_test_"
    names = [key[len(prefix) :] for key in search.cv_results_ if key.startswith(prefix)]
    if metric is None:
        metric = search.refit if search.refit in names else names[0]
        if len(names) > 1 and metric != search.refit:
            raise ValueError(f"The search has several metrics: pass metric, one of {names}.")
    if metric not in names:
        raise ValueError(f"metric={shown(metric)} is not in the search: use one of {names}.")
    return metric


def _line(results, i, param):
    """Return the other settings of a candidate, which name its line."""
    others = {name: value for name, value in results["params"][i].items() if name != param}
    if "n_resources" in results:
        others["n_resources"] = results["n_resources"][i]
    return ", ".join(f"{name}={others[name]}" for name in sorted(others))
